//! A publisher or a viewer: a whole peer with a UDP socket, without codecs.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::{SdpAnswer, SdpOffer},
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::RtpWrite,
};

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
const SOUND: Duration = Duration::from_millis(20);

pub struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    /// Those of a publisher: whether it is sound, and its m-line.
    mids: BTreeMap<bool, Mid>,
    wake: Instant,
    pub is_connected: bool,
    /// The RTP packets that have come.
    pub received: u64,
}

impl Client {
    /// Offers, and takes the answer.
    pub fn offer(at: IpAddr, publishes: bool, exchange: impl FnOnce(String) -> String) -> Self {
        let mut client = Self::new(at);
        let mut changes = client.rtc.sdp_api();
        let direction = if publishes { Direction::SendOnly } else { Direction::RecvOnly };
        for (is_audio, kind) in [(true, MediaKind::Audio), (false, MediaKind::Video)] {
            client.mids.insert(is_audio, changes.add_media(kind, direction, None, None, None));
        }
        let (offer, pending) = changes.apply().expect("media were added");
        let answer = exchange(offer.to_sdp_string());
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
        client.rtc.sdp_api().accept_answer(pending, answer).expect("an answer to the offer");
        client
    }

    /// Answers an offer.
    pub fn answer(at: IpAddr, offer: &str, send: impl FnOnce(String)) -> Self {
        let mut client = Self::new(at);
        let offer = SdpOffer::from_sdp_string(offer).expect("an offer");
        let answer = client.rtc.sdp_api().accept_offer(offer).expect("an offer that can be answered");
        send(answer.to_sdp_string());
        client
    }

    fn new(at: IpAddr) -> Self {
        let socket = UdpSocket::bind((at, 0)).expect("sockets exist");
        socket.set_nonblocking(true).expect("UDP sockets can do that");
        let now = Instant::now();
        let config = RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true);
        let mut rtc = config.set_rtp_mode(true).build(now);
        let address = socket.local_addr().expect("bound");
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("an address"));
        Self { rtc, socket, mids: BTreeMap::new(), wake: now, is_connected: false, received: 0 }
    }

    /// Does what is due. Returns whether anything came.
    pub fn work(&mut self) -> bool {
        let mut buffer = [0; 2000];
        let address = self.socket.local_addr().expect("bound");
        let mut is_busy = false;
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    is_busy = true;
                    if let Ok(receive) = Receive::new(Protocol::Udp, from, address, &buffer[..length]) {
                        self.rtc
                            .handle_input(Input::Receive(Instant::now(), receive))
                            .expect("a good packet");
                        self.poll();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.wake <= Instant::now() {
            self.rtc.handle_input(Input::Timeout(Instant::now())).expect("time passes");
            self.poll();
        }
        is_busy
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().expect("the connection works") {
                Output::Timeout(at) => break self.wake = at,
                Output::Transmit(transmit) => {
                    drop(self.socket.send_to(&transmit.contents, transmit.destination))
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::RtpPacket(_)) => self.received += 1,
                Output::Event(_) => {}
            }
        }
    }
}

/// What is sent, and when.
pub struct Publisher {
    frame: Instant,
    sound: Instant,
    frames: u32,
    sounds: u32,
    seqs: [u64; 2],
    pub sent: u64,
}

impl Publisher {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { frame: now, sound: now, frames: 0, sounds: 0, seqs: [0; 2], sent: 0 }
    }

    pub fn send(&mut self, client: &mut Client) {
        let now = Instant::now();
        while self.frame <= now {
            // A key frame every 2 s, of the size of the others.
            let first = if self.frames.is_multiple_of(60) { 0x00 } else { 0x01 };
            for part in 0..5 {
                let mut payload = vec![0; 1100];
                (payload[0], payload[1]) = (if part == 0 { 0x10 } else { 0x00 }, first);
                self.write(client, false, 3000 * self.frames, part == 4, payload);
            }
            self.frames += 1;
            self.frame += FRAME;
        }
        while self.sound <= now {
            self.write(client, true, 960 * self.sounds, false, vec![0; 80]);
            self.sounds += 1;
            self.sound += SOUND;
        }
        client.wake = now;
    }

    fn write(&mut self, client: &mut Client, is_audio: bool, time: u32, marker: bool, payload: Vec<u8>) {
        let mid = client.mids[&is_audio];
        let number = client.rtc.media(mid).expect("it was offered").remote_pts()[0];
        let seq = &mut self.seqs[usize::from(is_audio)];
        *seq += 1;
        self.sent += 1;
        let write = RtpWrite::new(number, (*seq).into(), time, Instant::now(), payload).marker(marker);
        client.rtc.direct_api().stream_tx_by_mid(mid, None).expect("it sends").write_rtp(write);
    }
}
