//! The callbacks of one peer's pipeline. They run on GStreamer's threads, only forward events, and never wait.

use std::{collections::BTreeMap, sync::Arc};

use callbin_protocol::SdpType;
use gst::prelude::*;
use gst_webrtc::{
    WebRTCDataChannel, WebRTCDataChannelState, WebRTCICEConnectionState, WebRTCKind,
    WebRTCPeerConnectionState, WebRTCRTPTransceiver, WebRTCSessionDescription,
};

use super::{
    PeerEvent, Voice, buffers,
    certificate::Certificate,
    channels::Channels,
    clock_rate,
    dtls::{self, Gate},
    entry, ice, intake, nack,
    nack::Requests,
    outflow::Outflow,
    probe::{DATA, DROP},
    rtcp,
};
use crate::{
    data::{self, Desk},
    media::{
        encode::codec::Format,
        meter::Meter,
        receive::{self, Routes},
    },
    sdp::Kind,
};

/// Most streams of a peer that are linked to a branch; further ones end in a fakesink. webrtcbin never removes their
/// pads.
const MAX_STREAMS: usize = 24;

/// What the callbacks share with the peer.
pub(super) struct Shared<'a> {
    pub(super) voice: &'a Voice,
    pub(super) gate: &'a Arc<Gate>,
    pub(super) meter: &'a Arc<Meter>,
    pub(super) outflow: &'a Arc<Outflow>,
    pub(super) requests: &'a Arc<Requests>,
    pub(super) routes: &'a Arc<Routes>,
    pub(super) desk: &'a Arc<Desk>,
    pub(super) channels: &'a Channels,
    /// Certificate and key for DTLS, in PEM.
    pub(super) certificate: &'a str,
}

/// Connects all callbacks.
pub(super) fn connect(pipeline: &gst::Pipeline, webrtcbin: &gst::Element, shared: &Shared<'_>) {
    watch_bus(pipeline, shared.voice);
    watch_candidates(webrtcbin, shared.voice);
    watch_states(webrtcbin, shared.voice);
    watch_channels(webrtcbin, shared);
    watch_insides(webrtcbin, shared);
    watch_streams(pipeline, webrtcbin, shared);
}

fn watch_bus(pipeline: &gst::Pipeline, voice: &Voice) {
    let Some(bus) = pipeline.bus() else { return };
    let voice = voice.clone();
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::Error(error) = message.view() {
            let source = message.src().map(|src| src.name().to_string()).unwrap_or_default();
            // A browser that hangs up aborts its SCTP association first, and our write to it fails before the reason is
            // known. A call goes on without its data channel; its real end is reported separately.
            if source.starts_with("sctp") {
                tracing::debug!(source, error = %error.error(), "the data channels are gone");
            } else {
                voice.tell(PeerEvent::Error(format!("{source}: {}", error.error())));
            }
        }
        gst::BusSyncReply::Drop
    });
}

fn watch_candidates(webrtcbin: &gst::Element, voice: &Voice) {
    let (voice, guard) = (voice.clone(), ice::Guard::new(webrtcbin));
    webrtcbin.connect("on-ice-candidate", false, move |args| {
        let index = args.get(1).and_then(|arg| arg.get::<u32>().ok());
        let candidate = args.get(2).and_then(|arg| arg.get::<String>().ok());
        if let (Some(index), Some(candidate)) = (index, candidate) {
            guard.apply();
            voice.tell(PeerEvent::LocalCandidate(index, candidate));
        }
        None
    });
}

fn watch_states(webrtcbin: &gst::Element, voice: &Voice) {
    let ice = voice.clone();
    webrtcbin.connect_notify(Some("ice-connection-state"), move |webrtcbin, _| match webrtcbin
        .property::<WebRTCICEConnectionState>(
        "ice-connection-state",
    ) {
        WebRTCICEConnectionState::Connected | WebRTCICEConnectionState::Completed => {
            ice.tell(PeerEvent::IceConnected);
        }
        WebRTCICEConnectionState::Failed => ice.tell(PeerEvent::IceFailed),
        _ => {}
    });
    let dtls = voice.clone();
    webrtcbin.connect_notify(Some("connection-state"), move |webrtcbin, _| {
        match webrtcbin.property::<WebRTCPeerConnectionState>("connection-state") {
            WebRTCPeerConnectionState::Connected => dtls.tell(PeerEvent::DtlsConnected),
            WebRTCPeerConnectionState::Failed => dtls.tell(PeerEvent::DtlsFailed),
            _ => {}
        }
    });
}

fn watch_channels(webrtcbin: &gst::Element, shared: &Shared<'_>) {
    let (voice, gate, desk) = (shared.voice.clone(), shared.gate.clone(), shared.desk.clone());
    let channels = shared.channels.clone();
    webrtcbin.connect("on-data-channel", false, move |args| {
        let channel = args.get(1).and_then(|arg| arg.get::<WebRTCDataChannel>().ok());
        if let Some(channel) = channel {
            channels.keep(channel.clone());
            if voice.channel() {
                connect_channel(&channel, &voice, &gate, &desk);
            }
        }
        None
    });
}

/// Connects the callbacks of a data channel: it is joined to something else, or it is for texts.
pub(super) fn connect_channel(
    channel: &WebRTCDataChannel,
    voice: &Voice,
    gate: &Arc<Gate>,
    desk: &Arc<Desk>,
) {
    let is_open = gate.clone();
    if desk.join(channel, move || is_open.is_open()) || data::is_data(channel) {
        return;
    }
    let (text, gate) = (voice.clone(), gate.clone());
    // Not `connect_on_message_string`: it assumes that the peer's bytes are UTF-8, unchecked.
    channel.connect("on-message-string", false, move |args| {
        if gate.is_open() {
            text.text(&args.get(1).and_then(callbin_foreign::text::lossy).unwrap_or_default());
        }
        None
    });
    let open = voice.clone();
    channel.connect_on_open(move |_| open.tell(PeerEvent::ChannelOpen));
    if channel.ready_state() == WebRTCDataChannelState::Open {
        voice.tell(PeerEvent::ChannelOpen);
    }
}

/// Configures and watches the elements that webrtcbin adds inside itself.
fn watch_insides(webrtcbin: &gst::Element, shared: &Shared<'_>) {
    let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else { return };
    let (voice, gate, meter) = (shared.voice.clone(), shared.gate.clone(), shared.meter.clone());
    let (outflow, certificate) = (shared.outflow.clone(), shared.certificate.to_owned());
    let requests = shared.requests.clone();
    let desk = shared.desk.clone();
    bin.connect_deep_element_added(move |_, _, element| {
        let Some(factory) = element.factory() else { return };
        outflow.watch(&factory.name(), element, &voice);
        match factory.name().as_str() {
            "dtlsdec" => {
                element.set_property("pem", &certificate);
                watch_dtls(element, &voice, &gate);
            }
            "sctpenc" => desk.watch(element),
            "nicesrc" => watch_arrivals(element, &meter),
            "sctpdec" => intake::guard(element, &voice, &gate),
            "srtpdec" => entry::guard_srtp(element),
            "rtpsession" => {
                entry::guard(element, &outflow);
                clock_rate::tell(element);
                rtcp::map_capture_times(element);
                requests.watch_session(element);
                watch_reports(element, &meter);
            }
            "rtpjitterbuffer" => {
                buffers::prepare(element);
                nack::watch_buffer(element);
            }
            // Its input is live: a second wait for the clock would only add delay and work.
            "clocksync" => element.set_property("sync", false),
            _ => {}
        }
    });
}

fn watch_dtls(dtlsdec: &gst::Element, voice: &Voice, gate: &Arc<Gate>) {
    dtls::guard(dtlsdec);
    let (show, gate) = (voice.clone(), gate.clone());
    // Runs on the thread of the handshake: nothing is decrypted before it returns.
    dtlsdec.connect_notify(Some("peer-pem"), move |dtlsdec, _| {
        let pem = dtlsdec.property::<Option<String>>("peer-pem");
        let verified = pem.is_some_and(|pem| gate.show(&pem));
        show.tell(PeerEvent::Certificate(verified));
    });
    let closed = voice.clone();
    dtlsdec.connect_notify(Some("connection-state"), move |dtlsdec, _| {
        let state = dtlsdec.property_value("connection-state");
        let is = |nick| gst::glib::EnumValue::from_value(&state).is_some_and(|(_, v)| v.nick() == nick);
        if is("closed") {
            closed.tell(PeerEvent::DtlsClosed);
        } else if is("failed") {
            closed.tell(PeerEvent::DtlsFailed);
        }
    });
}

fn watch_arrivals(nicesrc: &gst::Element, meter: &Arc<Meter>) {
    let Some(pad) = nicesrc.static_pad("src") else { return };
    let meter = meter.clone();
    pad.add_probe(DATA, move |_, _| {
        meter.packet();
        gst::PadProbeReturn::Ok
    });
}

/// Lets the meter learn the peer's clock from its RTCP.
fn watch_reports(session: &gst::Element, meter: &Arc<Meter>) {
    let meter = meter.clone();
    session.connect_pad_added(move |_, pad| {
        if pad.name() != "recv_rtcp_sink" {
            return;
        }
        let meter = meter.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(compound) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                meter.reports(&compound);
            }
            gst::PadProbeReturn::Ok
        });
    });
}

/// Links each new stream of the peer to the branch for it.
fn watch_streams(pipeline: &gst::Pipeline, webrtcbin: &gst::Element, shared: &Shared<'_>) {
    let pipeline = pipeline.downgrade();
    let (gate, meter, routes) = (shared.gate.clone(), shared.meter.clone(), shared.routes.clone());
    webrtcbin.connect_pad_added(move |webrtcbin, pad| {
        let Some(pipeline) = pipeline.upgrade().filter(|_| pad.direction() == gst::PadDirection::Src) else {
            return;
        };
        let kind = kind(pad);
        guard(pad, kind, &gate, &meter);
        let is_one_too_many = webrtcbin.src_pads().len() > MAX_STREAMS;
        let _linking = routes.linking();
        let stream = stream(pad).filter(|_| !is_one_too_many);
        let branch = kind.and_then(|kind| Some((kind, routes.find(kind, seat(pad, kind))?)));
        match stream.zip(branch) {
            Some((stream, branch)) => play(&pipeline, pad, stream, branch, &routes),
            None => swallow(&pipeline, pad),
        }
    });
}

/// Counts received packets, and drops those that arrive before the peer's certificate is verified.
fn guard(pad: &gst::Pad, kind: Option<Kind>, gate: &Arc<Gate>, meter: &Arc<Meter>) {
    let (gate, meter) = (gate.clone(), meter.clone());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if !gate.is_open() {
            return DROP;
        }
        if let Some(buffer) = info.buffer() {
            let rtp = if kind == Some(Kind::Audio) { &meter.audio } else { &meter.video };
            rtp.count(buffer.size());
        }
        gst::PadProbeReturn::Ok
    });
}

fn kind(pad: &gst::Pad) -> Option<Kind> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    match caps.structure(0)?.get::<&str>("media").ok()? {
        "audio" => Some(Kind::Audio),
        "video" => Some(Kind::Video),
        _ => None,
    }
}

/// SSRC and codec of a stream.
type Stream = (u32, Format);

fn stream(pad: &gst::Pad) -> Option<Stream> {
    let caps = pad.current_caps()?;
    let structure = caps.structure(0)?;
    let (name, clock_rate) =
        (structure.get::<&str>("encoding-name").ok()?, structure.get::<i32>("clock-rate").ok()?);
    let format = Format::of_map(&format!("{name}/{clock_rate}"))?;
    Some((structure.get::<u32>("ssrc").unwrap_or(0), format))
}

/// The m-line of the stream. If webrtcbin does not know it, it names the first m-line, of either kind; hence the check.
fn seat(pad: &gst::Pad, kind: Kind) -> Option<usize> {
    let transceiver = pad.property::<Option<WebRTCRTPTransceiver>>("transceiver")?;
    let is_of_kind = match transceiver.kind() {
        WebRTCKind::Audio => kind == Kind::Audio,
        WebRTCKind::Video => kind == Kind::Video,
        _ => false,
    };
    usize::try_from(transceiver.mlineindex()).ok().filter(|_| is_of_kind)
}

/// Links existing streams according to the new routes: the newest stream of each m-line, with all payload types that the
/// peer has used for it.
pub(super) fn follow_routes(pipeline: &gst::Pipeline, webrtcbin: &gst::Element, routes: &Routes) {
    let _linking = routes.linking();
    let mut newest: BTreeMap<(Kind, usize), Vec<(gst::Pad, Stream)>> = BTreeMap::new();
    for pad in webrtcbin.src_pads() {
        let place = kind(&pad).and_then(|kind| Some((kind, seat(&pad, kind)?)));
        if let Some((place, stream)) = place.zip(stream(&pad)) {
            let pads = newest.entry(place).or_default();
            pads.retain(|(_, (ssrc, _))| *ssrc == stream.0);
            pads.push((pad, stream));
        }
    }
    for ((kind, seat), pads) in newest {
        let Some(branch) = routes.find(kind, Some(seat)) else { continue };
        pads.into_iter().for_each(|(pad, stream)| play(pipeline, &pad, stream, (kind, branch), routes));
    }
}

/// Links a stream to its branch. Earlier streams of the branch end: a peer that starts over uses a new SSRC. The same stream
/// with another payload type does not end: a peer may change between those that were negotiated.
fn play(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    (ssrc, format): Stream,
    branch: (Kind, usize),
    routes: &Routes,
) {
    let Ok(Some(door)) = receive::door(pipeline, branch, format, routes) else {
        if pad.peer().is_none() {
            swallow(pipeline, pad);
        }
        return;
    };
    if pad.peer().as_ref() == Some(&door) {
        return;
    }
    if let Some(other) = pad.peer() {
        let _ = pad.unlink(&other);
        remove_if_unwanted(pipeline, &other);
    }
    for other in receive::doors(pipeline, branch) {
        let Some(old) = other.peer() else { continue };
        if other == door || stream(&old).is_none_or(|(it, _)| it != ssrc) {
            let _ = old.unlink(&other);
            swallow(pipeline, &old);
        }
    }
    let _ = pad.link(&door);
}

/// Links an unwanted stream to a fakesink: an unlinked pad would stop with an error.
fn swallow(pipeline: &gst::Pipeline, pad: &gst::Pad) {
    let Ok(sink) = receive::null_sink() else { return };
    if pipeline.add(&sink).is_ok() {
        let _ = sink.sync_state_with_parent();
        if let Some(entry) = sink.static_pad("sink") {
            let _ = pad.link(&entry);
        }
    }
}

/// Removes the fakesink of an unwanted stream that is wanted now.
fn remove_if_unwanted(pipeline: &gst::Pipeline, entry: &gst::Pad) {
    let Some(sink) = entry.parent_element() else { return };
    if sink.factory().is_some_and(|factory| factory.name() == "fakesink") {
        let _ = pipeline.remove(&sink);
        let _ = sink.set_state(gst::State::Null);
    }
}

/// Forwards the description that webrtcbin creates.
pub(super) fn on_created(kind: SdpType, voice: &Voice, certificate: Certificate) -> gst::Promise {
    let voice = voice.clone();
    gst::Promise::with_change_func(move |reply| {
        let name = if kind == SdpType::Offer { "offer" } else { "answer" };
        voice.tell(match reply.map(|reply| reply.map(|reply| read_description(reply, name))) {
            Ok(Some(Ok(sdp))) => PeerEvent::Created(kind, certificate.announce(&sdp)),
            Ok(Some(Err(why))) => PeerEvent::Refused(format!("webrtcbin makes no {name}: {why}")),
            Ok(None) => PeerEvent::Refused(format!("webrtcbin makes no {name}")),
            Err(error) => PeerEvent::Refused(format!("webrtcbin makes no {name}: {error:?}")),
        });
    })
}

fn read_description(reply: &gst::StructureRef, name: &str) -> Result<String, String> {
    if let Ok(error) = reply.get::<gst::glib::Error>("error") {
        return Err(error.to_string());
    }
    let description = reply.get::<WebRTCSessionDescription>(name).map_err(|error| error.to_string())?;
    description.sdp().as_text().map_err(|error| error.to_string())
}

/// Reports whether webrtcbin accepted the remote description.
pub(super) fn on_remote_set(voice: &Voice) -> gst::Promise {
    on_set(voice, || PeerEvent::RemoteSet)
}

/// Reports whether webrtcbin accepted the local description.
pub(super) fn on_local_set(voice: &Voice) -> gst::Promise {
    on_set(voice, || PeerEvent::LocalSet)
}

fn on_set(voice: &Voice, done: fn() -> PeerEvent) -> gst::Promise {
    let voice = voice.clone();
    gst::Promise::with_change_func(move |reply| {
        let refused = match reply {
            Ok(reply) => reply.and_then(|reply| reply.get::<gst::glib::Error>("error").ok()),
            Err(gst::PromiseError::Interrupted | gst::PromiseError::Expired) => return,
            Err(_) => None,
        };
        voice.tell(match refused {
            Some(error) => PeerEvent::Refused(format!("webrtcbin refuses a description: {error}")),
            None => done(),
        });
    })
}
