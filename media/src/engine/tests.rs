//! The engine with real clients, in simulated time.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use callbin_protocol::{
    PeerId, SdpType, Signal,
    node::{FromNode, Reason, SessionId, SessionSignal, ToNode},
};

use super::{Engine, Wire};
use crate::{
    core::{node::Limits, packet::Kind},
    net::stun,
    rtc::{
        Stack, Transmit,
        testing::{Codecs, TestClient},
    },
};

const BOTH: &[Kind] = &[Kind::Audio, Kind::Video];
const KEY_FRAME: &[u8] = &[0x10, 0x00];
const FRAME: &[u8] = &[0x10, 0x01];

/// The datagrams of the engine, with their destination.
#[derive(Default)]
struct Sent(VecDeque<(SocketAddr, Vec<u8>)>);

impl Wire for Sent {
    fn send(&mut self, transmit: Transmit<'_>) {
        self.0.push_back((transmit.destination, transmit.contents.to_vec()));
    }
}

/// A node, its clients, and the time.
struct World {
    engine: Engine,
    sent: Sent,
    clients: BTreeMap<&'static str, TestClient>,
    messages: Vec<FromNode>,
    now: Instant,
    ports: u16,
    lines: BTreeMap<SocketAddr, Line>,
}

/// A line to a client with a rate in bits per second, and a queue of 300 ms.
struct Line {
    rate: f64,
    free: Instant,
    queue: VecDeque<(Instant, Vec<u8>)>,
    dropped: usize,
}

impl Line {
    fn push(&mut self, datagram: Vec<u8>, now: Instant) {
        let start = self.free.max(now);
        if start - now > Duration::from_millis(300) {
            self.dropped += 1;
            return;
        }
        self.free = start + Duration::from_secs_f64(8.0 * datagram.len() as f64 / self.rate);
        self.queue.push_back((self.free, datagram));
    }
}

fn node() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 9], 9000))
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn offer(name: &str, sdp: String) -> ToNode {
    let signal = Signal::Sdp { kind: SdpType::Offer, sdp };
    ToNode::Signal(SessionSignal { session: session(name), signal })
}

impl World {
    fn new() -> Self {
        let limits = Limits { streams: 10, viewers: 10, bits: None };
        let engine = Engine::new(Stack::new(vec![node()]).unwrap(), limits);
        Self {
            engine,
            sent: Sent::default(),
            clients: BTreeMap::new(),
            messages: Vec::new(),
            now: Instant::now(),
            ports: 1000,
            lines: BTreeMap::new(),
        }
    }

    /// A stream "a" of "studio" with a key frame, and its viewer "one".
    fn watched() -> Self {
        let mut world = Self::new();
        world.publish("studio", "a", &[Kind::Video]);
        world.frames("studio", 0..1, KEY_FRAME);
        world.watch("one", "a");
        world
    }

    fn tell(&mut self, message: ToNode) {
        self.engine.handle_message(message, self.now, &mut self.sent);
        self.messages.extend(self.engine.messages());
    }

    fn client(&mut self, name: &'static str, codecs: Codecs) {
        self.ports += 1;
        self.clients.insert(name, TestClient::new(self.ports, node(), codecs, self.now));
    }

    fn publish(&mut self, name: &'static str, stream: &str, kinds: &[Kind]) {
        self.client(name, Codecs::default());
        self.tell(ToNode::Publish {
            session: session(name),
            stream: PeerId::new(stream).unwrap(),
            max_bitrate: None,
            offers: false,
        });
        let sdp = self.at(name).offer(true, kinds);
        self.tell(offer(name, sdp));
        self.take_answer(name);
        self.connect(name);
    }

    fn play(&mut self, name: &'static str, stream: &str, kinds: &[Kind], codecs: Codecs) {
        self.client(name, codecs);
        self.tell(ToNode::Play {
            session: session(name),
            stream: PeerId::new(stream).unwrap(),
            offers: false,
            like: None,
        });
        let sdp = self.at(name).offer(false, kinds);
        self.tell(offer(name, sdp));
    }

    fn watch(&mut self, name: &'static str, stream: &str) {
        self.play(name, stream, BOTH, Codecs::default());
        self.take_answer(name);
        self.connect(name);
    }

    fn at(&mut self, name: &'static str) -> &mut TestClient {
        self.clients.get_mut(name).unwrap()
    }

    fn take_answer(&mut self, name: &'static str) -> String {
        let at = self.messages.iter().position(|message| {
            matches!(message, FromNode::Signal(it) if it.session == session(name) && it.signal.is_answer())
        });
        let FromNode::Signal(SessionSignal { signal: Signal::Sdp { sdp, .. }, .. }) =
            self.messages.remove(at.unwrap_or_else(|| panic!("no answer for {name}: {:?}", self.messages)))
        else {
            unreachable!()
        };
        self.at(name).answered(&sdp);
        sdp
    }

    fn take_offer(&mut self, name: &'static str) -> String {
        let offer = self.messages.iter().find_map(|message| match message {
            FromNode::Signal(SessionSignal {
                session: of,
                signal: Signal::Sdp { kind: SdpType::Offer, sdp },
            }) if *of == session(name) => Some(sdp.clone()),
            _ => None,
        });
        offer.unwrap_or_else(|| panic!("no offer for {name}: {:?}", self.messages))
    }

    fn answer_offer(&mut self, name: &'static str) -> String {
        let offer = self.take_offer(name);
        let sdp = self.at(name).answer(&offer);
        let signal = Signal::Sdp { kind: SdpType::Answer, sdp: sdp.clone() };
        self.tell(ToNode::Signal(SessionSignal { session: session(name), signal }));
        sdp
    }

    fn connect(&mut self, name: &'static str) {
        self.run_until(|world| world.clients[name].is_connected);
        self.run_until(|world| world.messages.contains(&FromNode::Connected { session: session(name) }));
    }

    /// A client's next check of its path, which is not delivered.
    fn check(&mut self, name: &'static str) -> Vec<u8> {
        loop {
            let now = self.at(name).wake;
            self.now = now;
            self.at(name).handle_timeout(now);
            if let Some(check) = self.at(name).poll(now).into_iter().find(|it| stun::ufrag(it).is_some()) {
                return check;
            }
        }
    }

    /// Delivers everything, and lets time pass, until the condition holds.
    fn run_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(120);
        while !condition(self) {
            assert!(self.now < end, "messages: {:?}", self.messages);
            self.step(end);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    /// Lets time pass until something is due, a millisecond at least and until `end` at most.
    fn step(&mut self, end: Instant) {
        let clients = self.clients.values().map(|client| client.wake);
        let lines = self.lines.values().filter_map(|line| line.queue.front().map(|(at, _)| *at));
        let due = clients.chain(lines).chain(self.engine.deadline()).min().unwrap_or(end);
        self.now = due.min(end).max(self.now + Duration::from_millis(1));
        let now = self.now;
        if self.engine.deadline().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now, &mut self.sent);
        }
        for client in self.clients.values_mut() {
            if client.wake <= now {
                client.handle_timeout(now);
                for datagram in client.poll(now) {
                    self.engine.handle_datagram(client.address, node(), &datagram, now, &mut self.sent);
                }
            }
        }
        self.engine.flush(now, &mut self.sent);
        for (address, line) in &mut self.lines {
            while line.queue.front().is_some_and(|(at, _)| *at <= now) {
                let Some((_, datagram)) = line.queue.pop_front() else { break };
                let client = self.clients.values_mut().find(|client| client.address == *address).unwrap();
                client.receive(&datagram, now);
                for datagram in client.poll(now) {
                    self.engine.handle_datagram(*address, node(), &datagram, now, &mut self.sent);
                }
            }
        }
        while let Some((destination, datagram)) = self.sent.0.pop_front() {
            if let Some(line) = self.lines.get_mut(&destination) {
                line.push(datagram, now);
                continue;
            }
            let Some(client) = self.clients.values_mut().find(|client| client.address == destination) else {
                continue;
            };
            client.receive(&datagram, now);
            for datagram in client.poll(now) {
                self.engine.handle_datagram(client.address, node(), &datagram, now, &mut self.sent);
            }
            self.engine.flush(now, &mut self.sent);
        }
        self.messages.extend(self.engine.messages());
    }

    /// Sends video frames of one packet, 33 ms apart.
    fn frames(&mut self, name: &'static str, frames: std::ops::Range<u32>, payload: &[u8]) {
        for frame in frames {
            let now = self.now;
            self.at(name).send(Kind::Video, 3000 * frame, true, payload, now);
            self.run_for(Duration::from_millis(33));
        }
    }

    /// Sends sound, and video of 1.2 Mbit/s with a key frame every 5 s and whenever one is requested.
    fn stream(&mut self, name: &'static str, frames: std::ops::Range<u32>) {
        let mut answered = self.clients[name].key_frame_requests;
        for frame in frames {
            let now = self.now;
            let requests = self.clients[name].key_frame_requests;
            let is_key = requests > answered || frame % 150 == 0;
            let payload = [if is_key { KEY_FRAME } else { FRAME }, &[0; 1000]].concat();
            answered = requests;
            for _ in 0..5 {
                self.at(name).send(Kind::Video, 3000 * frame, false, &payload, now);
            }
            self.at(name).send(Kind::Audio, 1600 * frame, false, b"sound", now);
            self.run_for(Duration::from_millis(33));
        }
    }

    /// The payloads that a client received.
    fn payloads(&self, name: &str) -> Vec<&[u8]> {
        self.clients[name].received.iter().map(|packet| &packet.payload[..]).collect()
    }

    fn end_of(&self, name: &str) -> Option<Reason> {
        self.messages.iter().find_map(|message| match message {
            FromNode::End { session: it, reason, .. } if *it == session(name) => Some(*reason),
            _ => None,
        })
    }
}

#[test]
fn two_viewers_get_what_is_published() {
    let mut world = World::new();
    world.publish("studio", "a", BOTH);
    world.frames("studio", 0..1, KEY_FRAME);
    assert!(world.messages.iter().any(|it| matches!(it, FromNode::Live { tracks, .. } if tracks.len() == 2)));
    world.watch("one", "a");
    world.watch("two", "a");
    world.frames("studio", 1..3, FRAME);
    let now = world.now;
    world.at("studio").send(Kind::Audio, 960, false, b"sound", now);
    world.run_for(Duration::from_millis(100));
    for name in ["one", "two"] {
        assert_eq!(world.payloads(name), [KEY_FRAME, FRAME, FRAME, b"sound"]);
        let client = &world.clients[name];
        assert!(client.received[0].seq < 65_536, "{:?}", client.received);
        assert!(client.received[0].marker && !client.received[3].marker);
    }
}

#[test]
fn the_packets_of_a_frame_leave_together() {
    let mut world = World::watched();
    world.run_for(Duration::from_millis(500));
    for _ in 0..3 {
        let (now, before) = (world.now, world.clients["one"].received.len());
        let payload = [FRAME, &[0; 1000]].concat();
        (0..20).for_each(|_| world.at("studio").send(Kind::Video, 90_000, false, &payload, now));
        world.run_for(Duration::from_millis(200));
        let times: Vec<Instant> = world.clients["one"].received[before..].iter().map(|it| it.at).collect();
        assert_eq!(times.len(), 20);
        // Those beyond a burst of the library's pacing, which is 40 ms of the estimate, leave later.
        let gaps: Vec<u128> = times.iter().map(|at| (*at - times[0]).as_micros()).collect();
        assert!(times[11] == times[0], "{gaps:?}");
    }
}

#[test]
fn a_late_viewer_has_its_picture_at_once_and_costs_the_publisher_no_key_frame() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    world.frames("studio", 0..1, KEY_FRAME);
    world.frames("studio", 1..80, FRAME);
    world.play("late", "a", BOTH, Codecs::default());
    world.take_answer("late");
    world.connect("late");
    world.run_for(Duration::from_millis(200));
    let payloads = world.payloads("late");
    assert_eq!(payloads[0], KEY_FRAME);
    assert_eq!(payloads.len(), 80, "it has caught up");
    assert_eq!(world.clients["studio"].key_frame_requests, 0);
}

#[test]
fn the_node_can_offer() {
    let mut world = World::new();
    world.publish("studio", "a", BOTH);
    world.frames("studio", 0..1, KEY_FRAME);
    world.client("viewer", Codecs::default());
    world.tell(ToNode::Play {
        session: session("viewer"),
        stream: PeerId::new("a").unwrap(),
        offers: true,
        like: None,
    });
    world.answer_offer("viewer");
    world.connect("viewer");
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.payloads("viewer"), [KEY_FRAME]);
}

/// The client chooses the codecs: H264 here, though the node prefers VP8.
#[test]
fn the_node_can_offer_to_a_publisher() {
    let mut world = World::new();
    world.client("studio", Codecs { vp8: false, h264: true });
    let stream = PeerId::new("a").unwrap();
    world.tell(ToNode::Publish { session: session("studio"), stream, max_bitrate: None, offers: true });
    let answer = world.answer_offer("studio");
    assert_eq!(answer.matches("a=sendonly").count(), 2, "{answer}");
    world.connect("studio");
    let key_frame = [0x65, 0x88, 0x84, 0x00];
    world.frames("studio", 0..1, &key_frame);
    world.run_for(Duration::from_millis(50));
    let tracks = world.messages.iter().find_map(|message| match message {
        FromNode::Live { tracks, .. } => {
            Some(tracks.iter().map(|track| track.codec.clone()).collect::<Vec<_>>())
        }
        _ => None,
    });
    assert_eq!(tracks.unwrap(), ["opus", "H264"]);
    world.watch("viewer", "a");
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.payloads("viewer"), [key_frame]);
}

#[test]
fn a_client_that_sends_nothing_is_no_publisher() {
    let mut world = World::new();
    world.client("studio", Codecs::default());
    let stream = PeerId::new("a").unwrap();
    world.tell(ToNode::Publish { session: session("studio"), stream, max_bitrate: None, offers: true });
    let offer = world.take_offer("studio");
    let sdp = world.at("studio").answer(&offer).replace("a=sendonly", "a=inactive");
    let signal = Signal::Sdp { kind: SdpType::Answer, sdp };
    world.tell(ToNode::Signal(SessionSignal { session: session("studio"), signal }));
    assert_eq!(world.end_of("studio"), Some(Reason::Unacceptable));
}

#[test]
fn a_viewer_without_the_codec_of_the_stream_gets_what_it_can_play() {
    let mut world = World::new();
    world.publish("studio", "a", BOTH);
    let only_h264 = Codecs { vp8: false, h264: true };
    world.play("sound", "a", BOTH, only_h264);
    let answer = world.take_answer("sound");
    assert!(answer.contains("a=inactive") && answer.contains("a=sendonly"), "{answer}");
    world.play("nothing", "a", &[Kind::Video], only_h264);
    assert_eq!(world.end_of("nothing"), Some(Reason::Unacceptable));
}

#[test]
fn a_viewer_that_asks_for_key_frames_reaches_the_publisher() {
    let mut world = World::watched();
    world.run_for(Duration::from_millis(100));
    let now = world.now;
    world.at("one").request_key_frame(now);
    world.run_until(|world| world.clients["studio"].key_frame_requests == 1);
}

#[test]
fn a_viewer_gets_a_lost_packet_again() {
    let mut world = World::watched();
    world.run_for(Duration::from_millis(50));
    // This packet is lost on its way to the viewer.
    let now = world.now;
    world.at("studio").send(Kind::Video, 3000, true, b"\x10\x01lost", now);
    world.at("studio").handle_timeout(now);
    for datagram in world.at("studio").poll(now) {
        let address = world.clients["studio"].address;
        world.engine.handle_datagram(address, node(), &datagram, now, &mut world.sent);
    }
    world.engine.flush(now, &mut world.sent);
    world.sent.0.retain(|(to, _)| *to != world.clients["one"].address);
    world.frames("studio", 2..4, FRAME);
    world.run_until(|world| world.payloads("one").contains(&&b"\x10\x01lost"[..]));
    assert!(world.engine.statistics().retransmitted >= 1);
}

#[test]
fn an_ice_restart_keeps_the_session() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    world.watch("one", "a");
    let sdp = world.at("one").restart();
    world.tell(offer("one", sdp));
    world.take_answer("one");
    world.run_for(Duration::from_secs(20));
    world.frames("studio", 0..1, KEY_FRAME);
    assert_eq!(world.payloads("one"), [KEY_FRAME]);
    assert_eq!(world.end_of("one"), None);
}

#[test]
fn a_client_that_restarts_ice_all_the_time_ends_its_session() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    for name in ["often", "seldom"] {
        world.watch(name, "a");
    }
    let mut answers = 0;
    while world.end_of("often").is_none() {
        let sdp = world.at("often").restart();
        world.tell(offer("often", sdp));
        answers += world.messages.iter().filter(|it| matches!(it, FromNode::Signal(_))).count();
        world.messages.retain(|it| !matches!(it, FromNode::Signal(_)));
        assert!(answers < 10);
    }
    assert_eq!(world.end_of("often"), Some(Reason::Limit));
    for _ in 0..20 {
        let sdp = world.at("seldom").restart();
        world.tell(offer("seldom", sdp));
        world.take_answer("seldom");
        world.run_for(Duration::from_secs(6));
    }
    assert_eq!(world.end_of("seldom"), None);
}

/// The library keeps each address from which it got a check, and looks at all of them for each check.
#[test]
fn a_client_checks_from_few_addresses() {
    let mut world = World::watched();
    world.run_for(Duration::from_secs(60));
    let check = world.check("one");
    let answered = |world: &mut World, ports: std::ops::Range<u16>| {
        for port in ports {
            let source = SocketAddr::from(([10, 0, 0, 2], port));
            world.engine.handle_datagram(source, node(), &check, world.now, &mut world.sent);
            world.engine.handle_timeout(world.now + Duration::from_millis(1), &mut world.sent);
        }
        world.sent.0.drain(..).filter(|(_, datagram)| stun::is_success(datagram)).count()
    };
    assert_eq!(answered(&mut world, 2000..3000), 16);
    world.run_for(Duration::from_secs(6));
    assert_eq!(answered(&mut world, 4000..4001), 1, "a client may move later");
    world.frames("studio", 1..2, FRAME);
    assert_eq!(world.payloads("one"), [KEY_FRAME, FRAME]);
}

#[test]
fn a_client_that_closes_or_vanishes_ends_its_session() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    for name in ["one", "two"] {
        world.watch(name, "a");
    }
    let now = world.now;
    world.at("one").close(now);
    world.run_until(|world| world.end_of("one") == Some(Reason::Left));
    world.clients.remove("two");
    world.run_until(|world| world.end_of("two") == Some(Reason::Failed));
}

#[test]
fn a_session_that_does_not_connect_ends() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    world.play("silent", "a", BOTH, Codecs::default());
    world.run_until(|world| world.end_of("silent") == Some(Reason::Failed));
    world.tell(ToNode::Play {
        session: session("mute"),
        stream: PeerId::new("a").unwrap(),
        offers: false,
        like: None,
    });
    world.run_until(|world| world.end_of("mute") == Some(Reason::Failed));
}

#[test]
fn a_viewer_of_nothing_is_refused_and_invalid_offers_are_unacceptable() {
    let mut world = World::new();
    world.tell(ToNode::Play {
        session: session("early"),
        stream: PeerId::new("a").unwrap(),
        offers: false,
        like: None,
    });
    assert_eq!(world.end_of("early"), Some(Reason::Gone));
    for (name, sdp) in [
        ("empty", ""),
        ("text", "hello"),
        ("cut", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=rtpmap:96 VP8/90000\r\n"),
    ] {
        let stream = PeerId::new(name).unwrap();
        world.tell(ToNode::Publish { session: session(name), stream, max_bitrate: None, offers: false });
        world.tell(offer(name, sdp.into()));
        assert_eq!(world.end_of(name), Some(Reason::Unacceptable), "{name}");
    }
    assert!(world.engine.clients.is_empty() && world.engine.keys.is_empty());
}

#[test]
fn garbage_and_floods_of_one_viewer_do_not_disturb_another() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    world.frames("studio", 0..1, KEY_FRAME);
    for name in ["good", "bad", "mute"] {
        world.watch(name, "a");
    }
    world.at("mute").sends_rtcp = false;
    let (bad, stranger) = (world.clients["bad"].address, SocketAddr::from(([10, 9, 9, 9], 9)));
    for frame in 1..60 {
        for byte in 0..=255_u8 {
            let garbage: Vec<u8> = (0..usize::from(byte)).map(|at| byte.wrapping_add(at as u8)).collect();
            for source in [bad, stranger] {
                world.engine.handle_datagram(source, node(), &garbage, world.now, &mut world.sent);
            }
        }
        let now = world.now;
        world.at("bad").request_key_frame(now);
        world.frames("studio", frame..frame + 1, FRAME);
    }
    world.run_for(Duration::from_secs(40));
    for name in ["good", "mute"] {
        assert_eq!(world.payloads(name).len(), 60, "{name}");
        assert_eq!(world.end_of(name), None);
    }
    let requests = world.clients["studio"].key_frame_requests;
    assert!((1..=8).contains(&requests), "{requests}");
}

#[test]
fn a_viewer_without_feedback_costs_few_turns() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    world.frames("studio", 0..1, KEY_FRAME);
    world.watch("mute", "a");
    world.at("mute").sends_rtcp = false;
    world.frames("studio", 1..60, FRAME);
    let (start, mut turns) = (world.now, 0);
    let end = start + Duration::from_secs(10);
    while world.now < end {
        world.step(end);
        turns += 1;
    }
    // Every 5 ms, and after each packet of padding. Once it was each millisecond, with 64 calls of the library.
    assert!(turns < 5000, "{turns} turns in 10 s");
}

#[test]
fn a_stream_goes_on_with_a_publisher_that_comes_back() {
    let mut world = World::watched();
    world.run_for(Duration::from_millis(50));
    let now = world.now;
    world.at("studio").close(now);
    world.run_until(|world| world.end_of("studio") == Some(Reason::Left));
    world.publish("again", "a", &[Kind::Video]);
    world.frames("again", 500..501, FRAME);
    world.frames("again", 501..502, KEY_FRAME);
    let received = &world.clients["one"].received;
    assert_eq!(world.payloads("one"), [KEY_FRAME, KEY_FRAME]);
    assert_eq!(received[0].seq + 1, received[1].seq);
    assert!(received[1].time.wrapping_sub(received[0].time) < 90_000 * 10);
}

#[test]
fn viewers_end_when_the_publisher_stays_away() {
    let mut world = World::new();
    world.publish("studio", "a", &[Kind::Video]);
    world.watch("one", "a");
    world.tell(ToNode::End { session: session("studio"), reason: Reason::Closed });
    world.run_until(|world| world.end_of("one") == Some(Reason::Gone));
    world.run_until(|world| world.clients["one"].is_closed);
    assert_eq!(world.end_of("studio"), None, "the server knows");
}

#[test]
fn nothing_is_left_when_the_server_is_lost() {
    let mut world = World::new();
    world.publish("studio", "a", BOTH);
    world.watch("one", "a");
    world.tell(ToNode::welcome(5));
    world.run_until(|world| {
        world.messages.iter().any(|it| matches!(it, FromNode::Stats(stats) if stats.viewers == 1))
    });
    world.engine.reset(world.now, &mut world.sent);
    assert!(world.engine.clients.is_empty() && world.engine.keys.is_empty());
    assert_eq!(world.engine.deadline(), None);
    assert_eq!(world.engine.messages(), []);
    world.run_until(|world| world.clients.values().all(|client| client.is_closed));
}

#[test]
fn a_slow_line_keeps_its_sound_and_costs_no_other_viewer_anything() {
    let mut world = World::new();
    world.publish("studio", "a", BOTH);
    world.frames("studio", 0..1, KEY_FRAME);
    for name in ["fast", "slow"] {
        world.watch(name, "a");
    }
    let line = Line { rate: 400_000.0, free: world.now, queue: VecDeque::new(), dropped: 0 };
    world.lines.insert(world.clients["slow"].address, line);
    world.stream("studio", 1..300);
    let dropped = world.lines.values().map(|line| line.dropped).sum::<usize>();
    world.clients.values_mut().for_each(|client| client.received.clear());
    world.stream("studio", 300..600);
    let sounds = |name: &str| world.payloads(name).iter().filter(|it| **it == b"sound").count();
    assert_eq!((world.payloads("fast").len(), sounds("fast")), (300 * 6, 300));
    assert!(sounds("slow") >= 295, "{} of 300", sounds("slow"));
    let pictures = world.payloads("slow").len() - sounds("slow");
    assert!((1..300).contains(&pictures), "{pictures} of {}", 300 * 5);
    let dropped = world.lines.values().map(|line| line.dropped).sum::<usize>() - dropped;
    assert!(dropped < 100, "{dropped} packets more than the line carries");

    // The line gets faster: all pictures again.
    world.lines.clear();
    world.stream("studio", 600..1500);
    world.at("slow").received.clear();
    world.stream("studio", 1500..1530);
    assert_eq!(world.payloads("slow").len(), 30 * 6);
}

#[test]
fn a_gap_of_the_publisher_stays_a_gap() {
    let mut world = World::watched();
    world.at("studio").skip();
    world.frames("studio", 1..2, FRAME);
    let seqs: Vec<u64> = world.clients["one"].received.iter().map(|packet| packet.seq).collect();
    assert_eq!(seqs[1] - seqs[0], 2);
    world.run_until(|world| world.engine.statistics().lost_out == 1);
    assert_eq!(world.engine.statistics().lost_in, 1);
}
