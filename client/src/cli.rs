//! The command line: flags, environment variables, and their checks.

mod data;
mod media;
mod record;
mod sources;
mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use callbin_options::{OptionsError, Shell, Special};
use callbin_protocol::{PeerId, RoomId};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

use self::values::{http_url, random_uid, seconds, stats_interval, stun_url, turn_url, wait_for_server};
pub use self::{
    data::Data,
    media::{Latency, Media, Size, Which},
    record::Recording,
    sources::Sources,
};
use crate::{
    address::Address,
    backoff::WaitForServer,
    exit::ExitCode,
    media::input::grab,
    tls::Trust,
    token::{Token, TokenSource},
    view::window,
};

/// Makes and takes WebRTC calls with GStreamer.
#[derive(Debug, Parser)]
#[command(version, about, after_help = after_help(), arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads arguments, environment and `--config`. Its error messages hold no secret.
    pub fn read(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, OptionsError> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let special = Special { not_in_file: &NOT_IN_FILE, secret: &SECRET };
        let cli = Self::from_arg_matches(&callbin_options::parse(&Self::command(), &args, special)?)?;
        match cli.command.options().and_then(Options::conflict) {
            Some(words) => Err(Self::command().error(ErrorKind::ArgumentConflict, words).into()),
            None => Ok(cli),
        }
    }
}

impl Command {
    fn options(&self) -> Option<&Options> {
        match self {
            Self::Call { options, .. }
            | Self::Wait { options, .. }
            | Self::Room { options, .. }
            | Self::Record { options, .. }
            | Self::Publish { options, .. }
            | Self::Play { options, .. } => Some(options),
            _ => None,
        }
    }
}

/// Options whose values are or may hold secrets.
const SECRET: [&str; 6] = ["token", "turn", "server", "url", "video", "audio"];
/// Options that cannot be set in a file.
const NOT_IN_FILE: [&str; 3] = ["config", "help", "version"];

fn after_help() -> String {
    format!("Exit codes:\n{}", ExitCode::table())
}

/// The modes of the client.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Call a peer.
    Call {
        /// The uid of the peer to call.
        peer: PeerId,
        /// Ask the peer to send the offer.
        #[arg(long)]
        remote_offerer: bool,
        /// What the modes have in common.
        #[command(flatten)]
        options: Options,
    },
    /// Wait to be called, and answer call after call.
    Wait {
        /// Answer one call and end with it.
        #[arg(long)]
        once: bool,
        /// What the modes have in common.
        #[command(flatten)]
        options: Options,
    },
    /// Join a room: one call of many.
    Room {
        /// The room to join; created if it does not exist.
        room: RoomId,
        /// How to watch and listen to the others.
        #[arg(long, value_enum, default_value_t = View::Auto)]
        view: View,
        /// Refuse peers beyond this number.
        #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
        max_peers: u16,
        /// What the modes have in common.
        #[command(flatten)]
        options: Options,
    },
    /// Record the members of a room: receive their media, send nothing, and show nothing.
    Record {
        /// The room to join; made if it is not there.
        room: RoomId,
        /// Refuse peers beyond this number.
        #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
        max_peers: u16,
        /// What the modes have in common. Without --record, the folder is the current one.
        #[command(flatten)]
        options: Options,
    },
    /// Send to a media server with WHIP.
    Publish {
        /// The WHIP endpoint, https:// or http://.
        #[arg(value_parser = http_url)]
        url: Address,
        /// What the modes have in common. --server and --id have no effect.
        #[command(flatten)]
        options: Options,
    },
    /// Receive from a media server with WHEP.
    Play {
        /// The WHEP endpoint, https:// or http://.
        #[arg(value_parser = http_url)]
        url: Address,
        /// What the modes have in common. --server and --id have no effect.
        #[command(flatten)]
        options: Options,
    },
    /// List the cameras, microphones and screens of this machine.
    Devices {
        /// Write one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// List the codecs that this machine encodes and decodes.
    Codecs {
        /// Write one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Write the manual pages.
    Man {
        /// The folder; it is created if it is missing.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Internal: the process that shows the window.
    #[command(hide = true)]
    Window(window::Options),
    /// Internal: the process that grabs a screen.
    #[command(hide = true)]
    Grab(grab::Options),
}

/// How received media is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// A grid if there is a display, else none.
    Auto,
    /// One window with a tile per peer, and a mix of their sound. Closing it does not hang up.
    Grid,
    /// Decode and count.
    None,
}

/// What the modes have in common.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A TOML file with options of this command, as in `fps = 15`. The command line and the environment come first.
    #[arg(long, env = "CALLBIN_CLIENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The signalling server, ws:// or wss://. A user and password, as in wss://user:password@host, are sent as
    /// HTTP Basic authentication. The environment names proxies as for curl: http_proxy, https_proxy, all_proxy,
    /// no_proxy.
    #[arg(
        long,
        env = "CALLBIN_SERVER",
        hide_env_values = true,
        value_name = "URL",
        default_value = "ws://127.0.0.1:8443"
    )]
    pub server: Address,
    /// Retry while the signalling server is not reachable yet: for this many seconds, or for ever; 0 means no retry
    /// [default: for ever with `wait`, else 0]. Permanent failures end the program at once: an
    /// untrusted certificate, a refusal, another service at the address.
    #[arg(long, value_name = "SECONDS|forever", num_args = 0..=1, require_equals = true, default_missing_value = "forever", value_parser = wait_for_server)]
    pub wait_for_server: Option<WaitForServer>,
    /// The uid to register as [default: a random name].
    #[arg(long, env = "CALLBIN_ID", value_name = "UID")]
    pub id: Option<PeerId>,
    /// Trust the certificates in this PEM file, besides the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca_file: Option<PathBuf>,
    /// Trust any certificate of the signalling, TURN, WHIP or WHEP server.
    #[arg(long)]
    pub insecure: bool,
    /// The access token, for a server that requires one. Other users of this machine can see arguments: prefer
    /// --token-file or the environment.
    #[arg(long, env = "CALLBIN_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = Token::new, conflicts_with = "token_file")]
    pub token: Option<Token>,
    /// Like --token, but read from this file, again for each connection.
    #[arg(long, env = "CALLBIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A STUN server, stun://host:port, in place of the one that the signalling server names.
    #[arg(long, value_name = "URL", value_parser = stun_url)]
    pub stun: Option<String>,
    /// A TURN server, turn://user:password@host:port, or turns:// with TLS, besides those that the signalling server names; may be
    /// repeated.
    #[arg(long, value_name = "URL", value_parser = turn_url)]
    pub turn: Vec<String>,
    /// Do not ask the signalling server for ICE servers.
    #[arg(long)]
    pub no_ice_servers: bool,
    /// Which paths to look for: any, or only those through a TURN server.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = IcePolicy::All)]
    pub ice_transport_policy: IcePolicy,
    /// Hide our addresses behind mDNS names, as browsers do: only peers in our own network can look them up.
    #[arg(long)]
    pub hide_addresses: bool,
    /// Decode and count what arrives, without a window or a sound card.
    #[arg(long)]
    pub headless: bool,
    /// The window's sink, as gst-launch-1.0 takes it [default: the best that the display has].
    #[arg(long, env = "CALLBIN_VIDEO_SINK", value_name = "ELEMENT")]
    pub video_sink: Option<String>,
    /// The sink for sound, as gst-launch-1.0 takes it [default: the sound card].
    #[arg(long, env = "CALLBIN_AUDIO_SINK", value_name = "ELEMENT")]
    pub audio_sink: Option<String>,
    /// Hang up, with success, after this many seconds of a connected call. In a room they count from the entry into the
    /// room, also while the connection to the server is lost.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Give up on a call that is not connected after this many seconds; with --expect-video-frames, on frames that did
    /// not arrive [default: 45 until the peer answers, because a person may have to accept, and 20 from then on; with
    /// --expect-video-frames 30].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// How long a connected peer may be without a path while new connections to it are tried: in rooms, and in calls with
    /// peers that resume calls. Other peers are given up when ICE fails, or after 30 s without a packet. No effect with
    /// publish and play.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
    pub give_up_after: Duration,
    /// End with success once N video frames were decoded, with "no media" if the timeout or the duration's end
    /// comes first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub expect_video_frames: Option<u64>,
    /// Send this text on the data channel once it is open.
    #[arg(long, value_name = "TEXT")]
    pub send_text: Option<String>,
    /// The form of the events: lines for people, or one JSON object per line.
    #[arg(long, value_enum, default_value_t = Events::Human)]
    pub events: Events,
    /// The time between two `stats` events of a peer: 0.1 to 3600 seconds.
    #[arg(long, value_name = "SECONDS", value_parser = stats_interval, default_value = "1")]
    pub stats_interval: Duration,
    /// Whether data channels are left out of offers.
    #[arg(skip)]
    pub no_channels: bool,
    /// Data channels joined to something else.
    #[command(flatten)]
    pub data: Data,
    /// Recordings and snapshots.
    #[command(flatten)]
    pub record: Recording,
    /// What to send and receive.
    #[command(flatten)]
    pub media: Media,
}

/// Which paths ICE may take, as in an `RTCConfiguration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IcePolicy {
    /// Any.
    All,
    /// Only through a TURN server: the peer never learns our addresses.
    Relay,
}

/// The form of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Events {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl Options {
    /// The error message for flags that contradict each other.
    fn conflict(&self) -> Option<String> {
        self.data.conflict().or_else(|| self.contradiction().map(String::from))
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.expects_the_impossible() {
            return Some("--expect-video-frames needs a picture to receive: see --no-video and --send-only");
        }
        if self.server.login.is_some() && self.token_source().is_some() {
            return Some(
                "the server's address has a user and password, and there is a token, too: only one of them can be \
                 sent (see --server, --token, --token-file and their environment variables)",
            );
        }
        if let Some(words) = self.media.sources.conflict() {
            return Some(words);
        }
        let relay = self.ice_transport_policy == IcePolicy::Relay;
        (relay && self.no_ice_servers && self.turn.is_empty())
            .then_some("--ice-transport-policy relay needs a TURN server: see --turn and --no-ice-servers")
    }

    /// For `callbin publish`: send, and show nothing.
    pub fn for_publishing(&self) -> Self {
        let mut options = self.clone();
        options.headless = true;
        options.no_channels = true;
        options.media.send_only = Some(Which::Both);
        options
    }

    /// For `callbin play`: receive only.
    pub fn for_playing(&self) -> Self {
        let mut options = self.clone();
        options.no_channels = true;
        options.media.receive_only = Some(Which::Both);
        options
    }

    /// For `callbin record`: receive, send and show nothing, and record.
    pub fn for_recording(&self) -> Self {
        let mut options = self.clone();
        options.headless = true;
        options.media.receive_only = Some(Which::Both);
        options.media.send_only = None;
        options.record.folder.get_or_insert_with(|| ".".into());
        options
    }

    /// The uid given, or a readable random one.
    pub fn uid(&self) -> PeerId {
        self.id.clone().unwrap_or_else(random_uid)
    }

    /// The certificates to trust.
    pub fn trust(&self) -> Trust {
        match (&self.ca_file, self.insecure) {
            (_, true) => Trust::Anybody,
            (Some(file), false) => Trust::Also(file.clone()),
            (None, false) => Trust::System,
        }
    }

    /// The source of the token, if there is one.
    pub fn token_source(&self) -> TokenSource {
        match (&self.token, &self.token_file) {
            (Some(token), _) => TokenSource::Given(token.clone()),
            (None, Some(file)) => TokenSource::File(file.clone()),
            (None, None) => TokenSource::None,
        }
    }

    /// How long a call may take to connect, without the extra time of `ring_limit`.
    pub fn setup_limit(&self) -> Duration {
        match (self.timeout, self.expect_video_frames) {
            (Some(limit), None) => limit,
            _ => Duration::from_secs(20),
        }
    }

    /// The extra time in which a person may accept: a page rings for 30 seconds. There is none with `--timeout` or
    /// `--expect-video-frames`.
    pub fn ring_limit(&self) -> Duration {
        let patient = self.timeout.is_none() && self.expect_video_frames.is_none();
        if patient { Duration::from_secs(25) } else { Duration::ZERO }
    }

    /// Whether video frames are expected, but no video is received.
    fn expects_the_impossible(&self) -> bool {
        let (_, receives) = self.media.video();
        self.expect_video_frames.is_some() && !receives
    }

    /// How long a probe waits for its frames.
    pub fn probe_limit(&self) -> Option<Duration> {
        self.expect_video_frames.map(|_| self.timeout.unwrap_or(Duration::from_secs(30)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::input::spec::Named;

    fn options(args: &[&str]) -> Result<Options, OptionsError> {
        let all = ["callbin", "call", "someone"].iter().chain(args);
        match Cli::read(all)?.command {
            Command::Call { options, .. } => Ok(options),
            other => panic!("not a call: {other:?}"),
        }
    }

    #[test]
    fn a_person_may_take_longer_to_answer_unless_a_time_is_named() {
        let limits = |args: &[&str]| {
            let options = options(args).unwrap();
            (options.setup_limit().as_secs(), options.ring_limit().as_secs())
        };
        assert_eq!(limits(&[]), (20, 25));
        assert_eq!(limits(&["--timeout", "5"]), (5, 0));
        assert_eq!(limits(&["--expect-video-frames", "1"]), (20, 0));
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for bad in [
            &["--size", "0x0"][..],
            &["--size", "641x480"],
            &["--fps", "0"],
            &["--timeout", "-1"],
            &["--timeout", "nan"],
            &["--stats-interval", "0"],
            &["--stats-interval", "0.09"],
            &["--stats-interval", "3601"],
            &["--server", "http://x"],
            &["--server", "ws://"],
            &["--stun", "example.org"],
            &["--turn", "turn://example.org"],
            &["--id", "a b"],
            &["--video-pattern", "nonsense"],
            &["--audio-wave", "nonsense"],
            &["--video", "nonsense"],
            &["--video", "microphone"],
            &["--audio", "camera"],
            &["--video", "test", "--no-video"],
            &["--audio", "test", "--no-audio"],
            &["--video", "camera", "--video", "none"],
            &["--video", "a=camera", "--video", "a=screen"],
            &["--video", "camera", "--video", "camera"],
            &["--video", "a=-", "--video", "b=fd:0"],
            &[
                "--video", "a=test", "--video", "b=test", "--video", "c=test", "--video", "d=test",
                "--video", "e=test",
            ],
            &["--receive-only", "--send-only"],
            &["--expect-video-frames", "1", "--no-video"],
            &["--expect-video-frames", "1", "--send-only"],
            &["--expect-video-frames", "1", "--send-only=video"],
            &["--token", "two words"],
            &["--token", "a", "--token-file", "b"],
            &["--ice-transport-policy", "some"],
            &["--ice-transport-policy", "relay", "--no-ice-servers"],
            &["--server", "ws://me:hush@x", "--token", "a"],
            &["--wait-for-server=-1"],
            &["--wait-for-server=soon"],
            &["--data", "x"],
            &["--data", "x=stdio", "--data", "x=tcp:a:1"],
            &["--data", "x=stdio", "--on-stale", "true"],
            &["--nonsense"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_secret_is_not_shown() {
        for (args, reason) in [
            (["--token", "hush hush"], "want a token"),
            (["--turn", "turn://me:hush@"], "want turn:"),
            (["--server", "http://x/?token=hush"], "want ws:"),
            (["--video", "rtsp://me:hush@/"], "want rtsp:"),
            (["--audio", "rtsp://me:hush@/"], "want rtsp:"),
        ] {
            let words = options(&args).unwrap_err().to_string();
            assert!(!words.contains("hush") && words.contains(args[0]) && words.contains(reason), "{words}");
        }
        let words = options(&["--fps", "many"]).unwrap_err().to_string();
        assert!(words.contains("many"), "{words}");
    }

    #[test]
    fn a_file_may_hold_the_options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(path, "fps = 15\nid = \"robot\"\nreceive-only = \"audio\"\ninsecure = true").unwrap();
        let given = options(&["--config", path, "--id", "other"]).unwrap();
        assert_eq!((given.media.fps, given.uid().as_str(), given.insecure), (15, "other", true));
        assert_eq!(given.media.receive_only, Some(Which::Audio));
        std::fs::write(path, "\nserver = \"http://me:hush@x\"").unwrap();
        let words = options(&["--config", path]).unwrap_err().to_string();
        assert!(words.contains("line 2: invalid value '…' for '--server <URL>'"), "{words}");
    }

    #[test]
    fn a_server_is_waited_for_as_told() {
        let given = |args: &[&str]| options(args).unwrap().wait_for_server;
        assert_eq!(given(&[]), None);
        assert_eq!(given(&["--wait-for-server"]), Some(WaitForServer::Forever));
        assert_eq!(given(&["--wait-for-server=forever"]), Some(WaitForServer::Forever));
        assert_eq!(given(&["--wait-for-server=0"]), Some(WaitForServer::Limit(Duration::ZERO)));
        assert_eq!(
            given(&["--wait-for-server=1.5"]),
            Some(WaitForServer::Limit(Duration::from_millis(1500)))
        );
    }

    #[test]
    fn directions_follow_the_flags() {
        let directions = |args: &[&str]| {
            let media = options(args).unwrap().media;
            (media.audio(), media.video())
        };
        assert_eq!(directions(&[]), ((true, true), (true, true)));
        assert_eq!(directions(&["--no-audio"]), ((false, false), (true, true)));
        assert_eq!(directions(&["--receive-only"]), ((false, true), (false, true)));
        assert_eq!(directions(&["--send-only=video"]), ((true, true), (true, false)));
        assert_eq!(directions(&["--video", "none"]), ((true, true), (false, true)));
        assert_eq!(directions(&["--audio", "none"]), ((false, true), (true, true)));
    }

    #[test]
    fn several_cameras_have_names() {
        let media = options(&["--video", "front=camera", "--video", "rear=test:red"]).unwrap().media;
        let labels: Vec<String> = media.sources.videos().iter().map(Named::label).collect();
        assert_eq!(labels, ["front", "rear"]);
        let media = options(&["--video", "-", "--audio", "-"]).unwrap().media;
        assert_eq!(media.sources.sound().unwrap().spec, media.sources.videos()[0].spec);
    }

    #[test]
    fn a_probe_needs_no_sound() {
        for good in [&["--send-only=audio"][..], &["--no-audio"], &["--receive-only"]] {
            assert!(options(&[&["--expect-video-frames", "1"], good].concat()).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn completes_stun_and_turn() {
        assert_eq!(stun_url("stun:example.org"), Ok("stun://example.org:3478".into()));
        assert_eq!(turn_url("turn:u:p@example.org:3478"), Ok("turn://u:p@example.org:3478".into()));
        assert_eq!(turn_url("turns:u:p@example.org"), Ok("turns://u:p@example.org".into()));
    }

    #[test]
    fn a_random_uid_is_readable() {
        let uid = random_uid();
        assert_eq!(uid.as_str().split('-').count(), 3, "{uid}");
    }
}
