//! A client's side of a peer connection, for tests: the real library with full ICE, without sockets.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    media::{Direction, KeyframeRequestKind, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::RtpWrite,
};

use crate::core::packet::Kind;

/// A received packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) seq: u64,
    pub(crate) time: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

/// A client that sends or receives one audio and one video track.
pub(crate) struct TestClient {
    rtc: Rtc,
    pub(crate) address: SocketAddr,
    node: SocketAddr,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    video: Option<Mid>,
    next: u64,
    pub(crate) is_connected: bool,
    pub(crate) is_closed: bool,
    pub(crate) key_frame_requests: usize,
    pub(crate) received: Vec<Received>,
    /// Whether reports are sent.
    pub(crate) sends_rtcp: bool,
    pub(crate) wake: Instant,
}

/// The codecs of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codecs {
    pub(crate) vp8: bool,
    pub(crate) h264: bool,
}

impl Default for Codecs {
    fn default() -> Self {
        Self { vp8: true, h264: true }
    }
}

impl TestClient {
    pub(crate) fn new(port: u16, node: SocketAddr, codecs: Codecs, now: Instant) -> Self {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(codecs.vp8)
            .enable_h264(codecs.h264)
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            address,
            node,
            pending: None,
            audio: None,
            video: None,
            next: 60_000,
            is_connected: false,
            is_closed: false,
            key_frame_requests: 0,
            received: Vec::new(),
            sends_rtcp: true,
            wake: now,
        }
    }

    pub(crate) fn offer(&mut self, sends: bool, kinds: &[Kind]) -> String {
        let direction = if sends { Direction::SendOnly } else { Direction::RecvOnly };
        let mut changes = self.rtc.sdp_api();
        for kind in kinds {
            match kind {
                Kind::Audio => {
                    self.audio = Some(changes.add_media(MediaKind::Audio, direction, None, None, None))
                }
                Kind::Video => {
                    self.video = Some(changes.add_media(MediaKind::Video, direction, None, None, None))
                }
            }
        }
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// An offer that restarts ICE.
    pub(crate) fn restart(&mut self) -> String {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().unwrap();
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    pub(crate) fn answered(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }

    pub(crate) fn answer(&mut self, offer: &str) -> String {
        for line in super::sdp::lines(offer) {
            match line.kind {
                Kind::Audio => self.audio = Some(line.mid.into()),
                Kind::Video => self.video = Some(line.mid.into()),
            }
        }
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        self.rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string()
    }

    /// Sends a packet of a kind with this timestamp.
    pub(crate) fn send(&mut self, kind: Kind, time: u32, marker: bool, payload: &[u8], now: Instant) {
        let mid = match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
        }
        .unwrap();
        let number = self.rtc.media(mid).unwrap().remote_pts()[0];
        let seq = self.next;
        self.next += 1;
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).unwrap();
        stream.write_rtp(RtpWrite::new(number, seq.into(), time, now, payload).marker(marker).nackable(true));
        self.wake = now;
    }

    /// Leaves out a sequence number, as if a packet was lost.
    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    pub(crate) fn request_key_frame(&mut self, now: Instant) {
        let mid = self.video.unwrap();
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.wake = now;
    }

    pub(crate) fn close(&mut self, now: Instant) {
        self.rtc.close().unwrap();
        self.wake = now;
    }

    pub(crate) fn receive(&mut self, datagram: &[u8], now: Instant) {
        let receive = Receive::new(Protocol::Udp, self.node, self.address, datagram).unwrap();
        self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
    }

    /// The datagrams to send.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let (mut datagrams, mut turns) = (Vec::new(), 0);
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) if at <= now && turns < 1000 => {
                    turns += 1;
                    self.handle_timeout(now);
                }
                Output::Timeout(at) => {
                    self.wake = at.max(now + Duration::from_millis(1));
                    return datagrams;
                }
                Output::Transmit(transmit) => {
                    let is_rtcp = matches!(transmit.contents[..], [128..=191, 192..=223, ..]);
                    if !is_rtcp || self.sends_rtcp {
                        datagrams.push(transmit.contents.to_vec());
                    }
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::Closed) => self.is_closed = true,
                Output::Event(Event::KeyframeRequest(_)) => self.key_frame_requests += 1,
                Output::Event(Event::RtpPacket(packet)) => self.received.push(Received {
                    at: now,
                    seq: *packet.seq_no,
                    time: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload: packet.payload.to_vec(),
                }),
                Output::Event(_) => {}
            }
        }
    }
}
