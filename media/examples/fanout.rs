//! Measures the media node: CPU time of its worker for each packet delivered to a viewer.
//!
//! `cargo run --release -p callbin-media --example fanout -- [VIEWERS [SECONDS]]`
//!
//! One publisher of 1.4 Mbit/s (30 frames a second in bursts of 5 packets, and 50 packets of sound) and its viewers run in this
//! process, each with a UDP socket, over the loopback interface. The CPU time is that of the worker's thread only: receiving,
//! decrypting, encrypting and sending, with the system calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use callbin_media::{
    control::link::{Inbound, Mailbox, Outbox},
    core::node::Limits,
    engine::Engine,
    net::{local::Local, socket},
    rtc::Stack,
    worker::Worker,
};
use callbin_protocol::{
    PeerId, SdpType, Signal,
    node::{FromNode, SessionId, SessionSignal, ToNode},
};
use mio::{Poll, Token, Waker};
use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::SdpAnswer,
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::RtpWrite,
};

const STREAM: &str = "stream";
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
const SOUND: Duration = Duration::from_millis(20);

fn main() {
    let mut args = std::env::args().skip(1).map(|it| it.parse::<u64>().expect("a number"));
    let (viewers, seconds) = (args.next().unwrap_or(100), args.next().unwrap_or(10));
    let node = Running::start();
    let mut clients = vec![Client::publish(&node)];
    clients[0].run_until_connected();
    for number in 0..viewers {
        clients.push(Client::play(&node, number));
    }
    let mut publisher = Publisher::new();
    let mut work = |clients: &mut Vec<Client>, until: &dyn Fn(&[Client]) -> bool| {
        let end = Instant::now() + Duration::from_secs(60 + seconds);
        while !until(clients) {
            assert!(Instant::now() < end, "not all viewers get the stream");
            publisher.send(&mut clients[0]);
            let busy = clients.iter_mut().map(Client::work).filter(|is_busy| *is_busy).count();
            if busy == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
        publisher.sent
    };
    work(&mut clients, &|clients| clients[1..].iter().all(|client| client.received > 100));
    let count = |clients: &[Client]| clients[1..].iter().map(|client| client.received).sum::<u64>();
    let (sent, received, cpu, start) =
        (work(&mut clients, &|_| true), count(&clients), node.cpu(), Instant::now());
    let end = start + Duration::from_secs(seconds);
    let sent = work(&mut clients, &|_| Instant::now() >= end) - sent;
    let (received, cpu, passed) = (count(&clients) - received, node.cpu() - cpu, start.elapsed());
    let (each, share) = (cpu.as_secs_f64() * 1e6 / received as f64, cpu.as_secs_f64() / passed.as_secs_f64());
    let lost = (sent * viewers).saturating_sub(received);
    println!(
        "{viewers} viewers, {received} packets in {:.1} s: {each:.2} µs each, {:.0} % of a core, {lost} not yet delivered",
        passed.as_secs_f64(),
        share * 100.0
    );
}

/// A node in this process.
struct Running {
    address: SocketAddr,
    mailbox: Mailbox,
    messages: Receiver<FromNode>,
    worker: u32,
    _poll: Poll,
}

impl Running {
    fn start() -> Self {
        let udp = socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = udp.local_addr().unwrap();
        let limits = Limits { streams: 1, viewers: 100_000, bits: None };
        let engine = Engine::new(Stack::new(vec![address]).unwrap(), limits);
        let (worker, mailbox) = Worker::new(udp, Local::new(address, &[], Vec::new()), engine).unwrap();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            sender.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            worker.run()
        });
        let worker = receiver.recv().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
        let poll = Poll::new().unwrap();
        let (outbox, messages) = Outbox::new(Waker::new(poll.registry(), Token(0)).unwrap());
        mailbox.send(Inbound::Attached(outbox));
        Self { address, mailbox, messages, worker, _poll: poll }
    }

    /// The CPU time of the worker so far.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.worker)).unwrap();
        Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
    }

    /// Offers, and waits for the answer.
    fn exchange(&self, open: ToNode, session: &SessionId, sdp: String) -> String {
        self.mailbox.send(Inbound::Message(open));
        let signal = Signal::Sdp { kind: SdpType::Offer, sdp };
        self.mailbox
            .send(Inbound::Message(ToNode::Signal(SessionSignal { session: session.clone(), signal })));
        loop {
            match self.messages.recv().unwrap() {
                FromNode::Signal(SessionSignal { session: of, signal: Signal::Sdp { sdp, .. } })
                    if of == *session =>
                {
                    return sdp;
                }
                FromNode::End { reason, .. } => panic!("a session ended: {reason:?}"),
                _ => {}
            }
        }
    }
}

/// A publisher or a viewer.
struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    node: SocketAddr,
    mids: BTreeMap<bool, Mid>,
    wake: Instant,
    is_connected: bool,
    received: u64,
}

impl Client {
    fn publish(node: &Running) -> Self {
        let session = SessionId::new("publisher").unwrap();
        let open = ToNode::Publish {
            session: session.clone(),
            stream: PeerId::new(STREAM).unwrap(),
            max_bitrate: None,
        };
        Self::new(node, Direction::SendOnly, open, &session)
    }

    fn play(node: &Running, number: u64) -> Self {
        let session = SessionId::new(&format!("viewer-{number}")).unwrap();
        let open =
            ToNode::Play { session: session.clone(), stream: PeerId::new(STREAM).unwrap(), offers: false };
        Self::new(node, Direction::RecvOnly, open, &session)
    }

    fn new(node: &Running, direction: Direction, open: ToNode, session: &SessionId) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let now = Instant::now();
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut changes = rtc.sdp_api();
        let mut mids = BTreeMap::new();
        for (is_audio, kind) in [(true, MediaKind::Audio), (false, MediaKind::Video)] {
            mids.insert(is_audio, changes.add_media(kind, direction, None, None, None));
        }
        let (offer, pending) = changes.apply().unwrap();
        let answer = node.exchange(open, session, offer.to_sdp_string());
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        Self { rtc, socket, node: node.address, mids, wake: now, is_connected: false, received: 0 }
    }

    fn run_until_connected(&mut self) {
        while !self.is_connected {
            self.work();
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Does what is due. Whether anything came.
    fn work(&mut self) -> bool {
        let mut buffer = [0; 2000];
        let address = self.socket.local_addr().unwrap();
        let mut is_busy = false;
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    is_busy = true;
                    let receive = Receive::new(Protocol::Udp, self.node, address, &buffer[..length]).unwrap();
                    self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
                    self.poll();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.wake <= Instant::now() {
            self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            self.poll();
        }
        is_busy
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
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
struct Publisher {
    frame: Instant,
    sound: Instant,
    frames: u32,
    sounds: u32,
    seqs: [u64; 2],
    sent: u64,
}

impl Publisher {
    fn new() -> Self {
        let now = Instant::now();
        Self { frame: now, sound: now, frames: 0, sounds: 0, seqs: [0; 2], sent: 0 }
    }

    fn send(&mut self, client: &mut Client) {
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
        let number = client.rtc.media(mid).unwrap().remote_pts()[0];
        let seq = &mut self.seqs[usize::from(is_audio)];
        *seq += 1;
        self.sent += 1;
        let write = RtpWrite::new(number, (*seq).into(), time, Instant::now(), payload).marker(marker);
        client.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
    }
}
