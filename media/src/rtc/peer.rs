//! One peer connection: a publisher's or a viewer's.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{
    IceConnectionState, Input, Output, Reason, Rtc,
    bwe::{Bitrate, BweKind},
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    media::{KeyframeRequestKind, Mid, Pt},
    net::{DatagramRecv, Protocol, Receive},
    rtp::{AbsCaptureTime, ExtensionValues, RtpPacket, RtpWrite, VideoOrientation},
};

use super::{
    formats::{Chosen, Formats, PayloadTypes, choose},
    sdp::{self, Use},
    stack::{self, Panicked, Refused, guarded},
};
use crate::core::{
    clock::{Clock, Report},
    numbers::Numbers,
    packet::{Extras, Kind, Packet},
};

/// The packets of one connection that leave before others get their turn: as many as the library's pacing lets leave at once.
const BURST: usize = 64;
/// A timeout this close means that the library wants to be called again at once.
const AT_ONCE: Duration = Duration::from_micros(100);

/// Without feedback from a viewer, which does not send any or has no packets to report, the library wants to be called once
/// per round trip for its estimate. It may wait this long when nothing is to be sent.
const ESTIMATE_EVERY: Duration = Duration::from_millis(5);

/// The direction of the media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The client sends.
    Publisher,
    /// The client receives a stream that needs this many bits per second.
    Viewer { needed: u64 },
}

impl Side {
    pub(super) fn usage(self) -> Use {
        match self {
            Self::Publisher => Use::Sends,
            Self::Viewer { .. } => Use::Receives,
        }
    }

    /// Whether media flow in our direction on an m-line.
    pub(super) fn takes(self, line: &sdp::Line<'_>) -> bool {
        match self {
            Self::Publisher => line.sends,
            Self::Viewer { .. } => line.receives,
        }
    }

    /// What a viewer's line is believed to carry before there is feedback, in bits per second.
    pub(super) fn first_estimate(self) -> Option<u64> {
        match self {
            Self::Publisher => None,
            Self::Viewer { needed } => Some((needed.saturating_mul(3) / 2).max(3_000_000)),
        }
    }
}

/// What happens on a connection.
#[derive(Debug)]
pub enum Event {
    /// ICE and DTLS are connected.
    Connected,
    /// A packet of a publisher.
    Media(Kind, Packet),
    /// A viewer asks for a key frame.
    KeyFrameWanted,
    /// The client's line carries this many bits per second, says transport-wide feedback.
    Estimate(u64),
    /// The viewer has reported this many more packets as lost.
    Lost(u64),
    /// Nothing came from the client for 15 s.
    PathLost,
    /// The client is back.
    PathBack,
    /// The client has closed the connection.
    Closed,
}

/// A datagram to send.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'a> {
    /// Our address, one of the candidates.
    pub source: SocketAddr,
    /// The client's address.
    pub destination: SocketAddr,
    /// The datagram.
    pub contents: &'a [u8],
}

/// The connection cannot go on: DTLS failed, or the library panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An error of the library.
    #[error("the connection failed")]
    Failed,
    /// The library panicked.
    #[error("the WebRTC library failed")]
    Panicked,
}

/// Notes the library's error for the log.
fn failed(error: str0m::RtcError) -> Broken {
    tracing::debug!(%error, "a connection failed");
    Broken::Failed
}

impl From<Panicked> for Broken {
    fn from(_: Panicked) -> Self {
        Self::Panicked
    }
}

/// A peer connection.
#[derive(Debug)]
pub struct Peer {
    rtc: Rtc,
    side: Side,
    formats: Formats,
    lines: Vec<Line>,
    pending: Option<Pending>,
    clock: Clock,
    /// The bits per second that the estimate is to reach.
    wanted: u64,
}

/// An m-line that carries media.
#[derive(Debug, Clone, Copy)]
struct Line {
    kind: Kind,
    mid: Mid,
    /// None: not negotiated yet.
    number: Option<Pt>,
    /// The clock rate of its timestamps, in Hz.
    rate: u32,
    /// The packets that the viewer has reported as lost.
    lost: u64,
}

/// Our offer, while there is no answer.
struct Pending(SdpPendingOffer);

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

impl Peer {
    pub(super) fn new(
        rtc: Rtc,
        side: Side,
        formats: Formats,
        mids: Vec<(Kind, Mid)>,
        pending: Option<SdpPendingOffer>,
        now: Instant,
    ) -> Self {
        let rate = |kind| formats.of(kind).map_or(90_000, |spec| spec.clock_rate.get());
        let lines = mids
            .into_iter()
            .map(|(kind, mid)| Line { kind, mid, number: None, rate: rate(kind), lost: 0 })
            .collect();
        let mut peer = Self {
            rtc,
            side,
            formats,
            lines,
            pending: pending.map(Pending),
            clock: Clock::new(now),
            wanted: 0,
        };
        peer.learn_numbers();
        if let Side::Viewer { needed } = side {
            let _ = peer.want(needed);
        }
        peer
    }

    /// Notes the payload types of the m-lines.
    fn learn_numbers(&mut self) {
        for line in &mut self.lines {
            let Some(media) = self.rtc.media(line.mid) else { continue };
            let is_of_kind = |codec: str0m::format::Codec| codec.is_audio() == (line.kind == Kind::Audio);
            let numbers = media.remote_pts();
            line.number = self
                .rtc
                .codec_config()
                .params()
                .iter()
                .find(|it| numbers.contains(&it.pt()) && is_of_kind(it.spec().codec))
                .map(|it| it.pt());
            // The core decides what a line gets, and never waits with a packet.
            if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(line.mid, None) {
                stream.set_unpaced(true);
            }
        }
    }

    /// The payload types that the client uses.
    pub fn numbers(&self) -> PayloadTypes {
        let number = |line: &Line| Some((line.kind, self.formats.of(line.kind)?.codec, *line.number?));
        PayloadTypes(self.lines.iter().filter_map(number).collect())
    }

    /// Whether this viewer gets media of a kind.
    pub fn takes(&self, kind: Kind) -> bool {
        self.lines.iter().any(|line| line.kind == kind && line.number.is_some())
    }

    /// The user name fragment of our ICE credentials, by which STUN requests are assigned to a connection.
    pub fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Answers a later offer of the client: an ICE restart. The m-lines keep their use.
    pub fn renegotiate(&mut self, offer: &str) -> Result<String, Refused> {
        let lines = stack::read(offer)?;
        let is_used = |line: &sdp::Line<'_>| {
            self.side.takes(line) && self.lines.iter().any(|known| known.mid == Mid::from(line.mid))
        };
        // A client that wants another codec has to begin a new session.
        if lines.iter().any(|line| is_used(line) && !self.formats.match_line(line)) {
            return Err(Refused::NoCodec);
        }
        let usage = |line| if is_used(line) { self.side.usage() } else { Use::Nothing };
        let uses: Vec<(usize, Use)> = lines.iter().map(|line| (line.index, usage(line))).collect();
        let offer = sdp::prepared(offer, &uses);
        let answer = guarded(|| {
            let offer = SdpOffer::from_sdp_string(&offer).map_err(|_| Refused::Invalid)?;
            self.rtc.sdp_api().accept_offer(offer).map_err(|_| Refused::Invalid)
        })?;
        self.learn_numbers();
        Ok(answer.to_sdp_string())
    }

    /// The client's answer to our offer. Returns the formats of the stream; those of a publisher are the ones that it chooses.
    pub fn answered(&mut self, answer: &str) -> Result<Formats, Refused> {
        let Some(Pending(pending)) = self.pending.take() else { return Err(Refused::Invalid) };
        let lines = stack::read(answer)?;
        let chosen = (self.side == Side::Publisher).then(|| choose(&lines));
        if chosen.as_ref().is_some_and(|chosen| chosen.lines.is_empty()) {
            return Err(Refused::NoCodec);
        }
        let answer = sdp::without_candidates(answer);
        guarded(|| {
            let answer = SdpAnswer::from_sdp_string(&answer).map_err(|_| Refused::Invalid)?;
            self.rtc.sdp_api().accept_answer(pending, answer).map_err(|_| Refused::Invalid)
        })?;
        self.learn_numbers();
        if let Some(Chosen { formats, lines: chosen }) = chosen {
            self.formats = formats;
            for line in &mut self.lines {
                let number = chosen.iter().find(|(_, kind, _)| *kind == line.kind);
                line.number = number.map(|(.., number)| (*number).into());
                line.rate = formats.of(line.kind).map_or(line.rate, |spec| spec.clock_rate.get());
            }
        }
        Ok(self.formats)
    }

    /// A datagram from the client at `source` to our candidate `destination`.
    pub fn receive(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) -> Result<(), Broken> {
        // Any host may send any bytes to the port.
        let Ok(contents) = DatagramRecv::try_from(contents) else { return Ok(()) };
        let input = Input::Receive(now, Receive { proto: Protocol::Udp, source, destination, contents });
        guarded(|| self.rtc.handle_input(input).map_err(failed))
    }

    /// The time goes on. Packets that were written are sent by the next [`Self::poll`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Broken> {
        guarded(|| self.rtc.handle_input(Input::Timeout(now)).map_err(failed))
    }

    /// Queues a packet for this viewer. It is sent after the next [`Self::handle_timeout`].
    pub fn write(&mut self, kind: Kind, numbers: Numbers, packet: &Packet) -> Result<(), Broken> {
        let Some(line) = self.lines.iter().find(|line| line.kind == kind) else { return Ok(()) };
        let Some(number) = line.number else { return Ok(()) };
        let mid = line.mid;
        guarded(|| {
            let mut api = self.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, None) else { return Ok(()) };
            let write =
                RtpWrite::new(number, numbers.seq.into(), numbers.time, numbers.at, packet.payload.clone())
                    .marker(packet.marker)
                    .ext_vals(extensions(packet.extras))
                    .nackable(kind == Kind::Video);
            stream.write_rtp(write);
            Ok(())
        })
    }

    /// Asks the publisher for a key frame.
    pub fn request_key_frame(&mut self) -> Result<(), Broken> {
        let Some(line) = self.lines.iter().find(|line| line.kind == Kind::Video) else { return Ok(()) };
        let mid = line.mid;
        guarded(|| {
            if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
            Ok(())
        })
    }

    /// The bits per second that this viewer would get on a fast line: the estimate is to reach them.
    pub fn want(&mut self, bits: u64) -> Result<(), Broken> {
        // Some more, so that a line that is just fast enough is known as such.
        let bits = bits.saturating_mul(5) / 4;
        if bits.abs_diff(self.wanted) <= self.wanted / 4 {
            return Ok(());
        }
        self.wanted = bits;
        guarded(|| {
            self.rtc.bwe().set_bitrate(Bitrate::ZERO, bits.into());
            Ok(())
        })
    }

    /// Says goodbye: the next [`Self::poll`] has the last datagrams.
    pub fn close(&mut self) -> Result<(), Broken> {
        guarded(|| self.rtc.close().map_err(failed))
    }

    /// Whether it is the estimate that the library was given: a client without feedback has no other one.
    fn is_first_estimate(&self, event: &Event) -> bool {
        matches!(event, Event::Estimate(bits) if Some(*bits) == self.side.first_estimate())
    }

    /// Takes what happened and what is to be sent, until nothing is left. Returns when [`Self::handle_timeout`] is due.
    pub fn poll(
        &mut self,
        now: Instant,
        events: &mut Vec<Event>,
        send: &mut impl FnMut(Transmit<'_>),
    ) -> Result<Instant, Broken> {
        guarded(|| {
            let (mut turns, mut has_sent) = (0, false);
            loop {
                let output = self.rtc.poll_output().map_err(failed)?;
                let for_estimate = self.rtc.last_timeout_reason() == Reason::BweDelayControl;
                match output {
                    // After each packet the library wants to be called again, although the next one may leave now: packets that
                    // leave together cost less.
                    Output::Timeout(at)
                        if at <= now + AT_ONCE && turns < BURST && !(for_estimate && turns > 0) =>
                    {
                        turns += 1;
                        self.rtc.handle_input(Input::Timeout(at.max(now))).map_err(failed)?;
                    }
                    Output::Timeout(at) if for_estimate && !has_sent => {
                        return Ok(at.max(now + ESTIMATE_EVERY));
                    }
                    Output::Timeout(at) => return Ok(at),
                    Output::Transmit(transmit) => {
                        has_sent = true;
                        send(Transmit {
                            source: transmit.source,
                            destination: transmit.destination,
                            contents: &transmit.contents,
                        });
                    }
                    Output::Event(event) => {
                        let event = translate(&mut self.lines, &mut self.clock, event, now);
                        events.extend(event.filter(|event| !self.is_first_estimate(event)));
                    }
                }
            }
        })
    }
}

fn translate(lines: &mut [Line], clock: &mut Clock, event: str0m::Event, now: Instant) -> Option<Event> {
    Some(match event {
        str0m::Event::Connected => Event::Connected,
        str0m::Event::IceConnectionStateChange(IceConnectionState::Disconnected) => Event::PathLost,
        str0m::Event::IceConnectionStateChange(state) if state.is_connected() => Event::PathBack,
        str0m::Event::Closed => Event::Closed,
        str0m::Event::KeyframeRequest(_) => Event::KeyFrameWanted,
        str0m::Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
            Event::Estimate(estimate.as_u64())
        }
        str0m::Event::MediaEgressStats(stats) => {
            let line = lines.iter_mut().find(|line| line.mid == stats.mid)?;
            let (before, lost) = (line.lost, stats.remote?.packets_lost);
            line.lost = lost.max(before);
            Event::Lost(line.lost - before)
        }
        str0m::Event::RtpPacket(packet) => {
            let line = lines.iter().find(|line| line.number == Some(packet.header.payload_type))?;
            Event::Media(line.kind, convert(packet, line.rate, clock, now))
        }
        _ => return None,
    })
}

fn convert(packet: RtpPacket, rate: u32, clock: &mut Clock, now: Instant) -> Packet {
    let report = packet
        .last_sender_info
        .map(|info| Report { clock: info.ntp_time, time: info.rtp_time.numer() as u32 });
    let values = &packet.header.ext_vals;
    let rotation = values.video_orientation.map(|it| match it {
        VideoOrientation::Deg0 => 0,
        VideoOrientation::Deg90 => 90,
        VideoOrientation::Deg180 => 180,
        VideoOrientation::Deg270 => 270,
    });
    let extras = Extras {
        level: values.audio_level.map(|level| (level, values.voice_activity.unwrap_or(false))),
        rotation,
        captured: values.abs_capture_time.as_ref().map(|it| (it.capture_time, it.clock_offset)),
    };
    Packet {
        source: u64::from(*packet.header.ssrc),
        seq: *packet.seq_no,
        time: packet.header.timestamp,
        marker: packet.header.marker,
        payload: packet.payload,
        captured_at: clock.place(packet.header.timestamp, rate, report, now),
        extras,
    }
}

fn extensions(extras: Extras) -> ExtensionValues {
    ExtensionValues {
        audio_level: extras.level.map(|(level, _)| level),
        voice_activity: extras.level.map(|(_, voice)| voice),
        video_orientation: extras.rotation.map(|degrees| match degrees {
            90 => VideoOrientation::Deg90,
            180 => VideoOrientation::Deg180,
            270 => VideoOrientation::Deg270,
            _ => VideoOrientation::Deg0,
        }),
        abs_capture_time: extras
            .captured
            .map(|(capture_time, clock_offset)| AbsCaptureTime { capture_time, clock_offset }),
        ..ExtensionValues::default()
    }
}
