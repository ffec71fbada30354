//! One peer: one pipeline with one webrtcbin, from birth to teardown.
//!
//! No other code touches the pipeline, and nothing in it waits for another peer: encoded media comes in through a
//! bounded, leaky appsrc, and decoded media goes out to a sink that never blocks. Callbacks only forward events to a
//! channel; the app's loop decides.

mod buffers;
mod callbacks;
mod certificate;
mod channels;
mod clock_rate;
pub(crate) mod compound;
mod congestion;
mod dtls;
mod entry;
mod extensions;
mod ice;
mod intake;
mod nack;
mod outflow;
mod output;
mod path;
mod playout;
mod probe;
mod reaper;
mod renumber;
mod rtcp;
mod voice;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use callbin_protocol::{PeerId, SdpType};
use gst::prelude::*;
use gst_webrtc::{
    WebRTCDataChannel, WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection as Direction, WebRTCSDPType,
    WebRTCSessionDescription,
};

use self::{
    buffers::Buffers, channels::Channels, dtls::Gate, nack::Requests, outflow::Outflow, output::Output,
    playout::Playout,
};
pub use self::{
    certificate::Certificate,
    channels::Lasting,
    reaper::Reaper,
    voice::{Inbox, Said, Voice},
};
use crate::{
    age::fresh::State,
    agreement::{Applied, Flow},
    cli::IcePolicy,
    data::{self, Desk, Joins},
    exit::Failure,
    ice::{IceServers, tunnel::Tunnels},
    mdns::Responder,
    media::{
        encode::codec::{Format, Formats},
        make,
        meter::Meter,
        receive,
        source::Source,
    },
    record::Archive,
    sdp::{Codec, EXTENSION_CAPTURE, EXTENSION_TWCC, EXTENSIONS, Fingerprint, Kind},
    stats::{Path, PeerStats},
    tls::Trust,
};

/// An event of a peer's pipeline.
#[derive(Debug)]
pub enum PeerEvent {
    /// webrtcbin made a description.
    Created(SdpType, String),
    /// webrtcbin accepted the peer's description.
    RemoteSet,
    /// webrtcbin accepted its own description.
    LocalSet,
    /// webrtcbin refused a description, or could not create one.
    Refused(String),
    /// libnice found a candidate.
    LocalCandidate(u32, String),
    /// ICE has found a path.
    IceConnected,
    /// ICE has found no path, or lost it.
    IceFailed,
    /// The peer presented its DTLS certificate; true if its fingerprint is that of the description.
    Certificate(bool),
    /// The path that ICE has chosen.
    Path(Path),
    /// DTLS is up.
    DtlsConnected,
    /// DTLS failed.
    DtlsFailed,
    /// The peer closed DTLS: it hung up.
    DtlsClosed,
    /// The first decoded sound or frame.
    First(receive::First),
    /// A data channel is open.
    ChannelOpen,
    /// A text message arrived.
    Text(String),
    /// An element failed.
    Error(String),
    /// The peer exceeds the bound on this. It is the pipeline's last event.
    Flood(&'static str),
}

impl PeerEvent {
    /// Length of the text in the event, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Created(_, text)
            | Self::Refused(text)
            | Self::LocalCandidate(_, text)
            | Self::Text(text)
            | Self::Error(text) => text.len(),
            _ => 0,
        }
    }
}

/// How a peer is set up.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// `stun://…`
    pub stun: Option<String>,
    /// `turn://…`
    pub turn: Vec<String>,
    /// Which candidates to use.
    pub policy: IcePolicy,
    /// Jitter buffer in milliseconds; `None` follows the line.
    pub latency: Option<u32>,
    /// Whether sound is sent, and received.
    pub audio: (bool, bool),
    /// Whether a picture is sent, and received.
    pub video: (bool, bool),
    /// How many cameras are sent.
    pub cameras: usize,
    /// The codecs to negotiate, once GStreamer has started and it is known what is installed.
    pub codecs: Arc<OnceLock<Formats>>,
    /// What data channels are joined to.
    pub joins: Arc<Joins>,
    /// Recordings and snapshots.
    pub archive: Arc<Archive>,
    /// Whether our offers have data channels.
    pub channels: bool,
    /// Gives names to our addresses, if peers must not learn them.
    pub hides: Option<Arc<Responder>>,
    /// Tunnels to TURN servers with TLS.
    pub tunnels: Arc<Tunnels>,
    /// The time between two reports of statistics.
    pub stats_interval: Duration,
    /// How long the path to a connected peer may be lost.
    pub give_up_after: Duration,
}

/// No ICE servers, the test sources in both directions, and nothing beside them.
impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            stun: None,
            turn: Vec::new(),
            policy: IcePolicy::All,
            latency: None,
            audio: (true, true),
            video: (true, true),
            cameras: 1,
            codecs: Arc::default(),
            joins: Arc::default(),
            archive: Arc::default(),
            channels: true,
            hides: None,
            tunnels: Arc::new(Tunnels::new(Trust::System)),
            stats_interval: Duration::from_secs(1),
            give_up_after: Duration::from_secs(120),
        }
    }
}

impl PeerConfig {
    /// The codecs to negotiate; before they are known, those that every installation has.
    pub fn formats(&self) -> Formats {
        self.codecs.get().copied().unwrap_or(Formats::USUAL)
    }

    /// Adds the ICE servers that the signalling server names: the STUN server only if none is set, because webrtcbin
    /// takes only one; the TURN servers in addition to those of the configuration.
    pub fn with(mut self, servers: &IceServers) -> Self {
        self.stun = self.stun.or_else(|| servers.stun.clone());
        self.turn.extend(servers.turn.iter().cloned());
        self
    }
}

/// Makes the sink for decoded media of this kind.
pub type MakeSink<'a> = &'a dyn Fn(Kind) -> Result<gst::Element, Failure>;

/// One peer of a call: its pipeline and the state around it.
#[derive(Debug)]
pub struct Peer {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    voice: Voice,
    config: PeerConfig,
    /// The audio and video m-lines of webrtcbin.
    media: Vec<Medium>,
    /// The kind of each receiving branch.
    inputs: Vec<Kind>,
    routes: Arc<receive::Routes>,
    channels: Channels,
    desk: Arc<Desk>,
    gate: Arc<Gate>,
    certificate: Certificate,
    meter: Arc<Meter>,
    /// The media that were agreed on.
    flows: Vec<Flow>,
    /// Whether our ICE agent controls, although webrtcbin answers.
    controls_ice: bool,
    outflow: Arc<Outflow>,
    requests: Arc<Requests>,
    /// Payload types that the answer changed.
    renumbered: Vec<renumber::Pair>,
    path: Option<Path>,
    playout: Playout,
    buffers: Buffers,
    /// The jitter buffer of the video in milliseconds, once it follows the line.
    buffer: Option<u32>,
}

/// One m-line of webrtcbin.
#[derive(Debug)]
struct Medium {
    /// Its index.
    seat: usize,
    kind: Kind,
    output: Option<Output>,
}

/// Most SSRCs of one peer; packets of further ones are dropped. A camera that is removed and added again has two new
/// ones.
const MAX_SSRCS: u32 = 32;

/// The label of the data channel for texts.
const CHAT: &str = "chat";

/// The codec of webrtcbin's own offers. It takes only one; the agreement adds the others.
fn own_codec(format: Format) -> Codec {
    let extensions = (1..).zip(EXTENSIONS).collect();
    Codec { extensions, ..Codec::ours(format) }
}

impl Peer {
    /// A pipeline that has only a webrtcbin so far, with this certificate or else a new one.
    pub fn new(
        config: PeerConfig,
        source: &Source,
        voice: Voice,
        uid: Option<PeerId>,
        certificate: Option<Certificate>,
    ) -> Result<Self, Failure> {
        let pipeline = gst::Pipeline::with_name(&format!("peer-{}", voice.generation()));
        source.timing.apply(&pipeline);
        let webrtcbin = make("webrtcbin")?;
        webrtcbin.set_property_from_str("bundle-policy", "max-bundle");
        let playout = Playout::new(config.latency);
        webrtcbin.set_property("latency", playout.start());
        let buffers = Buffers::new(&webrtcbin, playout.start());
        if config.policy == IcePolicy::Relay {
            webrtcbin.set_property_from_str("ice-transport-policy", "relay");
        }
        let gate = Arc::new(Gate::default());
        let meter = Arc::new(Meter::default());
        let certificate = certificate.map_or_else(Certificate::generate, Ok)?;
        let outflow = Outflow::new(source.target, !config.joins.is_empty());
        let requests = Requests::new();
        let routes = Arc::new(receive::Routes::new(config.archive.taps(uid.clone()), meter.clone()));
        let channels = Channels::default();
        let desk = config.joins.desk(uid);
        let shared = callbacks::Shared {
            voice: &voice,
            gate: &gate,
            meter: &meter,
            outflow: &outflow,
            requests: &requests,
            routes: &routes,
            desk: &desk,
            channels: &channels,
            certificate: &certificate.pem,
        };
        callbacks::connect(&pipeline, &webrtcbin, &shared);
        bound_streams(&webrtcbin);
        if let Some(stun) = &config.stun {
            webrtcbin.set_property("stun-server", stun);
        }
        for turn in &config.turn {
            if !webrtcbin.emit_by_name::<bool>("add-turn-server", &[turn]) {
                tracing::warn!("webrtcbin does not take the TURN server");
            }
        }
        ice::configure(&webrtcbin);
        ice::agent(&webrtcbin).iter().for_each(|agent| path::watch(agent, &voice));
        pipeline.add(&webrtcbin).map_err(Failure::internal)?;
        // Data channels need webrtcbin's thread, which READY starts.
        let peer = Self {
            pipeline,
            webrtcbin,
            voice,
            config,
            media: Vec::new(),
            inputs: Vec::new(),
            routes,
            channels,
            desk,
            gate,
            certificate,
            meter,
            flows: Vec::new(),
            controls_ice: false,
            outflow,
            requests,
            renumbered: Vec::new(),
            path: None,
            playout,
            buffers,
            buffer: None,
        };
        peer.set_state(gst::State::Ready)?;
        Ok(peer)
    }

    /// Sets up the media to send and receive, and a data channel. [`Peer::create`] then creates the offer.
    pub fn prepare_offer(&mut self, source: &Source, sink: MakeSink<'_>) -> Result<(), Failure> {
        for kind in [Kind::Audio, Kind::Video] {
            let (send, receive) = self.directions(kind);
            let Some(format) = self.config.formats().of(kind).next().filter(|_| send || receive) else {
                continue;
            };
            let first = self.media.len();
            let lines = if kind == Kind::Video && send { self.config.cameras.max(1) } else { 1 };
            for track in 0..lines {
                self.add_medium(source, first + track, kind, Some(track), &own_codec(format))?;
            }
            if receive {
                self.receive(kind, &[(first, format)], sink)?;
            }
        }
        if self.config.channels {
            self.open_channel(CHAT, None)?;
            for (label, options) in self.desk.offers() {
                self.open_channel(&label, Some(options))?;
            }
        }
        self.play()
    }

    /// Adds the media of `offer` that webrtcbin does not have yet, and sets the offer as its remote description.
    pub fn apply_offer(&mut self, source: &Source, offer: &Applied, flows: &[Flow]) -> Result<(), Failure> {
        for (seat, kind, codec) in &offer.media {
            let seat = usize::try_from(*seat).map_err(Failure::internal)?;
            if !self.media.iter().any(|medium| medium.seat == seat) {
                let track = flows.iter().find(|flow| flow.seat == seat).and_then(|flow| flow.track);
                self.add_medium(source, seat, *kind, track, codec)?;
            }
        }
        self.controls_ice = offer.controls_ice;
        self.play()?;
        self.set_remote(offer)
    }

    /// Sets the answer to our offer as webrtcbin's remote description.
    pub fn apply_answer(&mut self, answer: &Applied) -> Result<(), Failure> {
        self.renumbered.clone_from(&answer.renumbered);
        self.set_remote(answer)
    }

    /// Starts the pipeline. webrtcbin leaves out of its descriptions what it has no caps for.
    fn play(&self) -> Result<(), Failure> {
        self.set_state(gst::State::Playing)?;
        self.outputs().for_each(Output::announce);
        Ok(())
    }

    /// Lets webrtcbin create an offer or answer.
    pub fn create(&self, kind: SdpType) {
        let signal = if kind == SdpType::Offer { "create-offer" } else { "create-answer" };
        let promise = callbacks::on_created(kind, &self.voice, self.certificate.clone());
        self.webrtcbin.emit_by_name::<()>(signal, &[&None::<gst::Structure>, &promise]);
    }

    /// Sets webrtcbin's own description as its local one; gathering of candidates starts.
    pub fn set_local(&mut self, kind: SdpType, sdp: &str) -> Result<(), Failure> {
        let promise = callbacks::on_local_set(&self.voice);
        if self.controls_ice {
            // webrtcbin gave that up when it made the answer.
            ice::control(&self.webrtcbin);
        }
        self.webrtcbin.emit_by_name::<()>("set-local-description", &[&description(kind, sdp)?, &promise]);
        Ok(())
    }

    /// The certificate that our descriptions announce.
    pub fn certificate(&self) -> Certificate {
        self.certificate.clone()
    }

    fn set_remote(&self, remote: &Applied) -> Result<(), Failure> {
        self.expect(&remote.fingerprints);
        let promise = callbacks::on_remote_set(&self.voice);
        let description = description(remote.kind, &remote.text)?;
        self.webrtcbin.emit_by_name::<()>("set-remote-description", &[&description, &promise]);
        Ok(())
    }

    fn expect(&self, fingerprints: &[Fingerprint]) {
        self.gate.expect(fingerprints.to_vec());
    }

    fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.media.iter().filter_map(|medium| medium.output.as_ref())
    }

    /// Restarts ICE below webrtcbin with the peer's new credentials. Returns our new ufrag and password.
    pub fn restart_ice(&self, ufrag: &str, password: &str) -> Result<(String, String), Failure> {
        let remote = callbin_foreign::ice::Credentials { ufrag: ufrag.into(), password: password.into() };
        let own = ice::restart(&self.webrtcbin, &remote);
        let own = own.ok_or_else(|| Failure::internal("libnice does not restart ICE"))?;
        Ok((own.ufrag, own.password))
    }

    /// Passes a remote candidate to libnice; `None` means end of candidates.
    pub fn add_candidate(&self, index: u32, candidate: Option<&str>) {
        self.webrtcbin.emit_by_name::<()>("add-ice-candidate", &[&index, &candidate.unwrap_or("")]);
    }

    /// Whether the peer's certificate matched the fingerprint of its description.
    pub fn is_verified(&self) -> bool {
        self.gate.is_open()
    }

    /// Starts and stops media as negotiated.
    pub fn set_flows(&mut self, source: &Source, flows: &[Flow], sink: MakeSink<'_>) -> Result<(), Failure> {
        // Silence counts from now on: earlier, nothing may have been negotiated.
        self.meter.packet();
        self.flows = flows.to_vec();
        renumber::install(&self.webrtcbin, &std::mem::take(&mut self.renumbered));
        self.add_inputs(flows, sink)?;
        for medium in &mut self.media {
            let flow = flows.iter().find(|flow| flow.seat == medium.seat).filter(|flow| flow.direction.sends);
            let Some(output) = &mut medium.output else { continue };
            match flow {
                None => output.stop(),
                Some(flow) => {
                    if medium.kind == Kind::Video {
                        self.outflow.count_by(flow.codec.extension(EXTENSION_TWCC));
                    }
                    output.send(&self.pipeline, source, flow, &self.outflow)?;
                }
            }
        }
        Ok(())
    }

    /// The media that were agreed on, since the peer is connected.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Whether media have been agreed on that the peer sends.
    pub fn receives(&self) -> bool {
        self.flows.iter().any(|flow| flow.direction.receives)
    }

    /// Whether a data channel is open.
    pub fn has_open_channel(&self) -> bool {
        self.channels.all().iter().any(channels::is_open)
    }

    /// Ends the data channels, for a pipeline that is about to be replaced.
    pub fn end_data(&self) {
        self.desk.close();
    }

    /// Begins to send what waits for its encoder. Called once per second.
    pub fn go_on(&mut self, source: &Source) -> Result<(), Failure> {
        let mut outputs = self.media.iter_mut().filter_map(|medium| medium.output.as_mut());
        outputs.try_for_each(|output| output.go_on(source, &self.outflow))
    }

    /// Adds the branches that receive the peer's streams.
    pub fn add_inputs(&mut self, flows: &[Flow], sink: MakeSink<'_>) -> Result<(), Failure> {
        for kind in [Kind::Audio, Kind::Video] {
            let received = flows.iter().filter(|flow| flow.kind == kind && flow.direction.receives);
            if let Some(flow) = received.clone().next().filter(|_| kind == Kind::Video) {
                self.meter.set_capture_id(flow.codec.extension(EXTENSION_CAPTURE));
            }
            let received = received.map(|flow| (flow.seat, flow.codec.format));
            self.receive(kind, &received.collect::<Vec<_>>(), sink)?;
        }
        Ok(())
    }

    /// The first stream of a kind is played and measured; further streams are only decoded.
    fn receive(&mut self, kind: Kind, seats: &[(usize, Format)], sink: MakeSink<'_>) -> Result<(), Failure> {
        let needed = self.routes.set(kind, &seats.iter().map(|(seat, _)| *seat).collect::<Vec<_>>());
        for number in self.inputs(kind)..needed {
            let is_first = number == 0;
            let branch = receive::Branch {
                kind,
                number,
                sink: if is_first { sink(kind)? } else { receive::null_sink()? },
                meter: if is_first { self.meter.clone() } else { Arc::default() },
                taps: self.routes.taps(),
            };
            let voice = self.voice.clone();
            let tell: receive::Tell = Arc::new(move |first| voice.tell(PeerEvent::First(first)));
            receive::add(&self.pipeline, branch, is_first.then_some(tell))?;
            self.inputs.push(kind);
        }
        // The decoder is ready before the first packet comes.
        let linking = self.routes.linking();
        for (seat, format) in seats {
            let branch = self.routes.find(kind, Some(*seat));
            let branch = branch.map(|branch| (kind, branch));
            branch.map(|it| receive::door(&self.pipeline, it, *format, &self.routes)).transpose()?;
        }
        drop(linking);
        callbacks::follow_routes(&self.pipeline, &self.webrtcbin, &self.routes);
        Ok(())
    }

    /// How many branches there are for streams of a kind.
    fn inputs(&self, kind: Kind) -> usize {
        self.inputs.iter().filter(|it| **it == kind).count()
    }

    /// The data channels that the peer goes on to use after it has replaced its transport.
    pub fn lasting_channels(&self) -> Vec<Lasting> {
        self.channels.all().iter().filter_map(Lasting::of).collect()
    }

    /// Takes over the data channels of this peer's last pipeline. Call it before the offer is applied.
    pub fn take_over(&mut self, channels: &[Lasting]) -> Result<(), Failure> {
        // They count like those that the peer opens.
        let counted = channels.iter().take_while(|_| self.voice.channel()).collect::<Vec<_>>();
        counted.into_iter().try_for_each(|it| self.open_channel(it.label(), Some(it.options())))
    }

    fn open_channel(&self, label: &str, options: Option<gst::Structure>) -> Result<(), Failure> {
        let channel = self
            .webrtcbin
            .emit_by_name::<Option<WebRTCDataChannel>>("create-data-channel", &[&label, &options])
            .ok_or_else(|| Failure::internal("webrtcbin makes no data channel"))?;
        callbacks::connect_channel(&channel, &self.voice, &self.gate, &self.desk);
        self.channels.keep(channel);
        Ok(())
    }

    /// Sends `text` on the first open data channel; false if there is none or sending fails.
    pub fn say(&self, text: &str) -> bool {
        let channels = self.channels.all();
        let channel = channels
            .iter()
            .filter(|it| channels::is_open(it))
            .find(|it| !self.desk.has(it) && !data::is_data(it));
        channel.is_some_and(|channel| channel.send_string_full(Some(text)).is_ok())
    }

    /// The peer's measurements.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Whether new pictures come from the peer, and when to look again.
    pub fn look_for_pictures(&self) -> (State, Duration) {
        self.meter.look_for_pictures(self.routes.has_picture())
    }

    /// Whether the peer still consents to what is sent to it.
    pub fn set_consent(&self, consents: bool) {
        self.outflow.set_consent(consents);
    }

    /// Stores the path that ICE has chosen.
    pub fn set_path(&mut self, path: Path) {
        self.path = Some(path);
    }

    /// The statistics. Rates and levels cover the time since the last call.
    pub fn stats(&self) -> PeerStats {
        self.outflow.round_trip().iter().for_each(|time| self.meter.round_trip(*time));
        let mut stats = PeerStats {
            video: self.meter.video_stats(),
            audio: self.meter.audio_stats(),
            path: self.path.clone(),
            silence_ms: u64::try_from(self.meter.silence().as_millis()).unwrap_or(u64::MAX),
            ..PeerStats::default()
        };
        for medium in &self.media {
            let Some(output) = &medium.output else { continue };
            let (Some(feed), codec) = (output.feed(), output.format()) else { continue };
            let codec = codec.map(|format| format.row().name);
            if medium.kind == Kind::Video {
                stats.sent.video_frames += feed.pushed();
                stats.sent.video_dropped += feed.dropped();
                stats.sent.video_codec = codec;
                stats.sent.video_tier = Some(feed.tier().name());
            } else {
                stats.sent.audio_frames = feed.pushed();
                stats.sent.audio_codec = codec;
            }
        }
        rtcp::fill_in(&self.webrtcbin, &mut stats);
        self.outflow.fill_in(&mut stats);
        stats.video.buffer_ms = self.buffer;
        stats
    }

    /// Sets the jitter buffers to what the line needs. Call it once a second.
    pub fn look(&mut self) {
        let line = line(&rtcp::reports(&self.webrtcbin), &self.meter);
        line.round_trip.iter().for_each(|round_trip| self.requests.set_round_trip(*round_trip));
        let buffer = self.playout.follow(line);
        self.buffers.set(buffer);
        self.buffer = Some(buffer.latency);
    }

    /// Ends the pipeline on its own thread, not on this one or a streaming thread. With `goodbye`, the peer gets a DTLS
    /// `close_notify`.
    pub fn close(mut self, reaper: &Reaper, goodbye: bool) {
        self.voice.silence();
        self.outflow.close();
        self.desk.close();
        self.routes.end_taps();
        // Stop the buffers: they would delay the teardown.
        self.media.clear();
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        let Self { pipeline, webrtcbin, .. } = self;
        reaper.take(pipeline, webrtcbin, goodbye);
    }

    fn directions(&self, kind: Kind) -> (bool, bool) {
        if kind == Kind::Audio { self.config.audio } else { self.config.video }
    }

    fn set_state(&self, state: gst::State) -> Result<(), Failure> {
        let failed = |_| Failure::internal(format!("a peer's pipeline does not become {state:?}"));
        self.pipeline.set_state(state).map(|_| ()).map_err(failed)
    }

    /// Adds webrtcbin's m-line number `seat`, with all directions that our user wants.
    fn add_medium(
        &mut self,
        source: &Source,
        seat: usize,
        kind: Kind,
        track: Option<usize>,
        codec: &Codec,
    ) -> Result<(), Failure> {
        let (send, receive) = self.directions(kind);
        let direction = match (send, receive) {
            (true, true) => Direction::Sendrecv,
            (true, false) => Direction::Sendonly,
            (false, true) => Direction::Recvonly,
            (false, false) => Direction::Inactive,
        };
        let (transceiver, output): (WebRTCRTPTransceiver, _) = if send && source.sends(kind) {
            let name = track.and_then(|track| source.name(kind, track));
            let output = Output::new(&self.webrtcbin, seat, name, codec)?;
            output.transceiver().set_direction(direction);
            (output.transceiver().clone(), Some(output))
        } else {
            (self.webrtcbin.emit_by_name("add-transceiver", &[&direction, &output::rtp_caps(codec)]), None)
        };
        transceiver.set_property("do-nack", kind == Kind::Video);
        self.media.push(Medium { seat, kind, output });
        Ok(())
    }
}

/// What `reports` and the packets that came say about the line.
fn line(reports: &PeerStats, meter: &Meter) -> playout::Line {
    let ms = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).ok();
    playout::Line {
        round_trip: reports.rtt_ms.and_then(ms),
        jitter: reports.video.rtp.jitter_ms.and_then(ms),
        received: meter.video_packets(),
        lost: reports.video.rtp.lost,
    }
}

/// The element inside a webrtcbin that has the RTP sessions.
fn rtpbin(webrtcbin: &gst::Element) -> Option<gst::Bin> {
    webrtcbin.downcast_ref::<gst::Bin>()?.by_name("rtpbin")?.downcast().ok()
}

/// rtpbin creates elements and threads for each received SSRC: an honest peer has two, their retransmissions, and new
/// ones after a restart.
fn bound_streams(webrtcbin: &gst::Element) {
    if let Some(rtpbin) = rtpbin(webrtcbin).filter(|rtpbin| rtpbin.has_property("max-streams")) {
        rtpbin.set_property("max-streams", MAX_SSRCS);
    }
}

fn description(kind: SdpType, sdp: &str) -> Result<WebRTCSessionDescription, Failure> {
    let message = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()).map_err(Failure::internal)?;
    let kind = if kind == SdpType::Offer { WebRTCSDPType::Offer } else { WebRTCSDPType::Answer };
    Ok(WebRTCSessionDescription::new(kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_packet_is_one_of_all_that_were_sent() {
        let meter = Meter::default();
        (0..99).for_each(|_| meter.video.count(1000));
        let mut reports = PeerStats { rtt_ms: Some(100.0), ..PeerStats::default() };
        reports.video.rtp.lost = 1;
        let line = line(&reports, &meter);
        assert_eq!((line.received, line.lost, line.round_trip), (99, 1, Some(Duration::from_millis(100))));
    }
}
