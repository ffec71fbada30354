//! Clients of the dialects over HTTP, calling a waiting `callbin`: WHIP, WHEP, and `/offer`, `/answer`, `/ice`; and a server
//! of WHIP and WHEP, which `callbin publish` and `callbin play` call.
//!
//! They have no data channel and no later offers, so only their media are checked.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{
    Browser, BrowserOptions, Client, Page, Server,
    process::{Process, workspace},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    call::{PATIENCE, Way, measure},
    flow::Flow,
    link::Link,
    stack::Role,
    table::{Column, Row},
};

/// Width and height of the frames that `whepsrc`'s pipeline hands to us, in RGB.
const SIZE: usize = 8;

/// What `whepsrc` asks for.
const WHEPSRC_VIDEO: &str =
    "video-caps=application/x-rtp,media=video,payload=96,encoding-name=VP8,clock-rate=90000";

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpClient {
    /// GStreamer's `whipsink`.
    WhipSink,
    /// GStreamer's `whepsrc`.
    WhepSrc,
    /// GStreamer's `whipclientsink`: `webrtcsink` with WHIP.
    WhipClientSink,
    /// `@eyevinn/whip-web-client`, in Chromium.
    WhipWebClient,
    /// `whip-whep`'s WHIP client, in Chromium.
    Publish,
    /// `whip-whep`'s WHEP client, in Chromium.
    View,
    /// aiortc, with plain HTTP requests.
    Rest,
    /// curl, with the same requests, for aiortc's media.
    Curl,
    /// A WHIP server on aiortc, for `callbin publish`.
    WhipServer,
    /// A WHEP server on aiortc, for `callbin play`.
    WhepServer,
}

impl HttpClient {
    /// All clients.
    pub const ALL: [Self; 10] = [
        Self::WhipSink,
        Self::WhepSrc,
        Self::WhipClientSink,
        Self::WhipWebClient,
        Self::Publish,
        Self::View,
        Self::Rest,
        Self::Curl,
        Self::WhipServer,
        Self::WhepServer,
    ];

    /// The name in the table and in uids.
    pub fn name(self) -> &'static str {
        match self {
            Self::WhipSink => "whipsink",
            Self::WhepSrc => "whepsrc",
            Self::WhipClientSink => "whipclientsink",
            Self::WhipWebClient => "whip-web-client",
            Self::Publish => "whip-whep-publish",
            Self::View => "whip-whep-view",
            Self::Rest => "aiortc-rest",
            Self::Curl => "curl",
            Self::WhipServer => "aiortc-whip",
            Self::WhepServer => "aiortc-whep",
        }
    }

    /// The media that it has. `whepsrc` only has video here.
    fn ways(self) -> &'static [Way] {
        match self {
            Self::WhipSink
            | Self::WhipClientSink
            | Self::WhipWebClient
            | Self::Publish
            | Self::WhepServer => &[Way::PictureOut, Way::SoundOut],
            Self::WhepSrc => &[Way::PictureIn],
            Self::View | Self::WhipServer => &[Way::PictureIn, Way::SoundIn],
            Self::Rest | Self::Curl => &Way::MEDIA,
        }
    }

    /// What calls it, if it is a server: the mode of `callbin` and the path of its URL.
    fn called_by(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::WhipServer => Some(("publish", "whip")),
            Self::WhepServer => Some(("play", "whep")),
            _ => None,
        }
    }

    /// The reason not to run it: the plugin that has its element is not built.
    fn missing_plugin(self, packages: &Path) -> Option<&'static str> {
        let (file, reason) = match self {
            Self::WhipSink | Self::WhepSrc => ("libgstwebrtchttp.so", "gst-plugin-webrtchttp is not built"),
            Self::WhipClientSink => ("libgstrswebrtc.so", "gst-plugin-webrtc is not built"),
            Self::WhipWebClient
            | Self::Publish
            | Self::View
            | Self::Rest
            | Self::Curl
            | Self::WhipServer
            | Self::WhepServer => return None,
        };
        (!plugins(packages).join(file).exists()).then_some(reason)
    }
}

/// Runs one client.
pub fn run(client: HttpClient, packages: &Path) -> Vec<Row> {
    if let Some(reason) = client.missing_plugin(packages) {
        return vec![Row::not_run(client.name(), reason)];
    }
    let row = || {
        let role = if client.called_by().is_some() { Role::CalledAnswers } else { Role::CallsOffers };
        let mut row = Row::new(client.name(), role);
        let looks = crate::guarded(|| call(client, packages));
        for way in client.ways() {
            let result = looks.as_ref().map_err(Clone::clone).and_then(|looks| looks.verdict(*way));
            row.set(Column::Way(*way), result);
        }
        row
    };
    let first = row();
    if !first.has_failed(&[]) {
        return vec![first];
    }
    eprintln!("{}: a second try", client.name());
    vec![row().on_second_try()]
}

/// The media of a call, at both ends.
#[derive(Default)]
struct Looks {
    picture_out: Flow,
    sound_out: Flow,
    picture_in: Flow,
    sound_in: Flow,
    trouble: Option<String>,
}

impl Looks {
    fn flow(&self, way: Way) -> Option<&Flow> {
        match way {
            Way::PictureOut => Some(&self.picture_out),
            Way::SoundOut => Some(&self.sound_out),
            Way::PictureIn => Some(&self.picture_in),
            Way::SoundIn => Some(&self.sound_in),
            Way::TextOut | Way::TextIn => None,
        }
    }

    fn verdict(&self, way: Way) -> Result<(), String> {
        let flow = self.flow(way).ok_or("has none")?;
        let trouble = self.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        if flow.flows() { Ok(()) } else { Err(format!("{}{trouble}", flow.describe())) }
    }

    /// Takes the statistics of the client.
    fn take(&mut self, stats: &Value) {
        let count = |kind: &str| stats[kind]["frames"].as_f64().unwrap_or_default();
        let color: Vec<f64> =
            stats["video"]["color"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let red = matches!(color[..], [r, g, b] if r > 150.0 && g < 80.0 && b < 80.0);
        self.picture_in.push(count("video"), red);
        self.sound_in
            .push(count("audio"), stats["audio"]["level"].as_f64().is_some_and(|level| level > 0.01));
    }
}

/// One call: samples of both ends, until all media of the client flow or the time is over.
fn call(client: HttpClient, packages: &Path) -> Result<Looks, String> {
    let www = TempDir::new().map_err(|error| error.to_string())?;
    let server = Server::start(&["--www", bundle(client, packages, www.path())?]);
    let uid = format!("{}-gst", client.name());
    let video = ["--video-pattern", "red", "--size", "320x240", "--fps", "15"];
    let (mut ours, mut far) = match client.called_by() {
        Some((mode, path)) => {
            let mut far = Far::start(client, packages, &server, &uid);
            let url = format!("http://127.0.0.1:{}/{path}", far.port().ok_or("the server does not start")?);
            let ours = Client::start(&server, &[&[mode, &url, "--token", "hush"][..], &video].concat());
            (ours, far)
        }
        None => {
            let mut ours = Client::start(&server, &[&["wait", "--id", &uid][..], &video].concat());
            let waits = ours.find(Instant::now() + PATIENCE, |event| event.name() == "waiting");
            waits.ok_or("callbin does not wait")?;
            let far = Far::start(client, packages, &server, &uid);
            (ours, far)
        }
    };
    let mut looks = Looks::default();
    let until = Instant::now() + 2 * PATIENCE;
    while Instant::now() < until && looks.trouble.is_none() {
        far.listen(&mut looks);
        while let Some(event) = ours.find(Instant::now() + Duration::from_millis(20), |_| true) {
            match event.name() {
                "stats" => measure(&event, &mut looks.picture_out, &mut looks.sound_out),
                "ended" | "error" => looks.trouble = Some(format!("callbin: {}", event.json())),
                _ => {}
            }
        }
        if client.ways().iter().all(|way| looks.verdict(*way).is_ok()) {
            break;
        }
    }
    Ok(looks)
}

/// The page for the libraries, as one script. Other clients need none.
fn bundle<'a>(client: HttpClient, packages: &Path, www: &'a Path) -> Result<&'a str, String> {
    let page = workspace().join("tests/interop/page");
    fs::copy(page.join("http.html"), www.join("index.html")).map_err(|error| error.to_string())?;
    if matches!(client, HttpClient::WhipWebClient | HttpClient::Publish | HttpClient::View) {
        let modules = packages.join("node_modules");
        let mut esbuild = Command::new(modules.join(".bin/esbuild"));
        esbuild.arg(page.join("http.js")).args([
            "--bundle",
            "--format=esm",
            "--target=es2022",
            "--log-level=error",
        ]);
        esbuild.arg(format!("--outfile={}", www.join("http.js").display())).env("NODE_PATH", modules);
        let output = esbuild.output().map_err(|error| format!("esbuild: {error}"))?;
        if !output.status.success() {
            return Err(format!("esbuild: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    www.to_str().ok_or_else(|| "the path is no text".into())
}

/// The client's end.
enum Far {
    /// It reports nothing: `callbin` sees its media.
    Silent(Process),
    /// A pipeline whose frames we count.
    Frames { _process: Process, seen: Arc<Mutex<Seen>> },
    /// A page.
    Page { page: Page, _browser: Browser },
    /// A program that reports.
    Program(Link),
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    frames: usize,
    color: [u8; 3],
}

impl Far {
    fn start(client: HttpClient, packages: &Path, server: &Server, uid: &str) -> Self {
        let url = server.url();
        match client {
            HttpClient::WhipSink => {
                let endpoint = format!("whip-endpoint={url}whip/{uid}");
                let pipeline = "videotestsrc is-live=true pattern=green ! video/x-raw,width=320,height=240,framerate=15/1 ! \
                    videoconvert ! vp8enc deadline=1 keyframe-max-dist=15 ! rtpvp8pay ! w. \
                    audiotestsrc is-live=true freq=1000 ! audioconvert ! opusenc ! rtpopuspay pt=111 ! w. whipsink name=w";
                let mut command = gst_launch(packages, pipeline);
                Self::Silent(Process::spawn(
                    command.arg(endpoint).stdout(Stdio::null()).stderr(Stdio::null()),
                ))
            }
            HttpClient::WhipClientSink => {
                let pipeline = format!(
                    "whipclientsink name=w stun-server=NULL signaller::whip-endpoint={url}whip/{uid} video-caps=video/x-vp8 \
                    videotestsrc is-live=true pattern=green ! video/x-raw,width=320,height=240,framerate=15/1 ! w. \
                    audiotestsrc is-live=true freq=1000 ! w."
                );
                let mut command = gst_launch(packages, &pipeline);
                Self::Silent(Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null())))
            }
            HttpClient::WhepSrc => {
                let mut command = gst_launch(packages, "");
                command.args(["whepsrc", "name=w", &format!("whep-endpoint={url}whep/{uid}")]);
                // gst-launch-1.0 cannot tell its audio pad from its video pad.
                command.args(["audio-caps=EMPTY", WHEPSRC_VIDEO]);
                let video = format!(
                    "w. ! rtpvp8depay ! vp8dec ! videoconvert ! videoscale ! \
                    video/x-raw,format=RGB,width={SIZE},height={SIZE} ! fdsink fd=1 sync=false"
                );
                command.args(video.split_whitespace());
                let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
                let mut frames = process.child().stdout.take().expect("stdout is piped");
                let seen = Arc::new(Mutex::new(Seen::default()));
                let counted = seen.clone();
                thread::spawn(move || {
                    let mut frame = [0; SIZE * SIZE * 3];
                    while frames.read_exact(&mut frame).is_ok() {
                        let mut seen = counted.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.frames += 1;
                        seen.color.copy_from_slice(&frame[..3]);
                    }
                });
                Self::Frames { _process: process, seen }
            }
            HttpClient::WhipWebClient | HttpClient::Publish | HttpClient::View => {
                let options = BrowserOptions { fake_devices: false, ..BrowserOptions::whole() };
                let browser = Browser::start(options);
                let page = browser.open(&format!("{url}?client={}&peer={uid}", client.name()));
                Self::Page { page, _browser: browser }
            }
            HttpClient::WhipServer | HttpClient::WhepServer => {
                let mut command = Command::new(packages.join("python/bin/python"));
                command.arg(workspace().join("tests/interop/aiortc_whip.py"));
                Self::Program(Link::program(&mut command))
            }
            HttpClient::Rest | HttpClient::Curl => {
                let mut command = Command::new(packages.join("python/bin/python"));
                command.arg(workspace().join("tests/interop/aiortc_rest.py")).args([url, uid]);
                Self::Program(Link::program(command.args((client == HttpClient::Curl).then_some("curl"))))
            }
        }
    }

    /// The port of a server, which is its first report.
    fn port(&mut self) -> Option<u64> {
        match self {
            Self::Program(link) => link.next(Instant::now() + PATIENCE)?["port"].as_u64(),
            _ => None,
        }
    }

    /// Takes what it reports.
    fn listen(&mut self, looks: &mut Looks) {
        match self {
            Self::Silent(process) => {
                if !process.is_running() {
                    looks.trouble = Some("it has ended".into());
                }
            }
            Self::Frames { seen, .. } => {
                let Seen { frames, color } = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                looks.take(&json!({ "video": { "frames": frames, "color": color } }));
            }
            Self::Page { page, .. } => {
                let report = page.try_eval("window.report").unwrap_or_default();
                if let Some(error) = report["error"].as_str() {
                    looks.trouble = Some(error.into());
                }
                looks.take(&report["stats"]);
            }
            Self::Program(link) => {
                while let Some(report) = link.next(Instant::now() + Duration::from_millis(50)) {
                    match report["is"].as_str() {
                        Some("stats") => looks.take(&report),
                        Some("stderr" | "error") => looks.trouble = Some(report.to_string()),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Where scripts/interop.sh has built the plugins.
fn plugins(packages: &Path) -> PathBuf {
    packages.join("gst-plugins-rs/debug")
}

/// A pipeline with the plugins that scripts/interop.sh has built.
fn gst_launch(packages: &Path, pipeline: &str) -> Command {
    let mut command = Command::new("gst-launch-1.0");
    command
        .env("GST_PLUGIN_PATH", plugins(packages))
        .arg("-q")
        .args(pipeline.split_whitespace())
        .stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn a_client_whose_plugin_is_not_built_is_not_run() {
        let packages = TempDir::new().unwrap();
        for (client, plugin) in [
            (HttpClient::WhipSink, "gst-plugin-webrtchttp"),
            (HttpClient::WhepSrc, "gst-plugin-webrtchttp"),
            (HttpClient::WhipClientSink, "gst-plugin-webrtc"),
        ] {
            let mut table = Table::new(&[]);
            table.extend(run(client, packages.path()));
            let row = format!("| {} | not run: {plugin} is not built |", client.name());
            assert!(!table.has_failed() && table.to_string().contains(&row), "{table}");
        }
    }
}
