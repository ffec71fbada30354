//! A published stream and its viewers: one packet in, the packets for all viewers out.

use std::time::{Duration, Instant};

use super::{
    bucket::Bucket,
    cache::{Cache, Cached},
    codec::VideoCodec,
    gate::Gate,
    numbers::{Numbers, Renumber},
    packet::{Kind, Packet},
    quality::Quality,
    rate::Rate,
    requests::{Allowance, Requests},
};

/// The time between two batches of cached packets for a viewer that is behind.
const REPLAY_PAUSE: Duration = Duration::from_millis(5);
/// The packets of such a batch: with the pause, some 30 Mbit/s.
const REPLAY_BATCH: usize = 16;
/// How long a publisher may leave a key frame request unanswered before viewers start over with the cached key frame.
const PATIENCE: Duration = Duration::from_secs(1);
/// A cache that spans more time than this, in units of 90 kHz, has more frames than a new viewer should decode at once.
const LONG: u32 = 3 * 90_000;
/// How long a new viewer waits with the key frame of such a cache for a newer one.
const HOLD: Duration = Duration::from_millis(500);
/// How long packets of a source that was replaced may arrive late.
const LATE: Duration = Duration::from_secs(1);
/// How long a burst of a publisher may last at the limit of its bit rate.
const BURST_SECONDS: f64 = 2.0;

/// The time between two looks at the viewers' lines.
const LOOK: Duration = Duration::from_millis(500);

/// A session of a publisher or a viewer.
pub type Key = u64;

/// What takes the packets for viewers.
pub trait Outlet {
    /// Sends a packet to a viewer with the viewer's numbers.
    fn forward(&mut self, viewer: Key, kind: Kind, numbers: Numbers, packet: &Packet);
}

/// An audio track, as far as forwarding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioTrack {
    /// The clock rate of its timestamps, in Hz.
    pub clock_rate: u32,
}

/// The media of a stream and those who get it.
#[derive(Debug)]
pub struct Stream {
    audio: Option<AudioTrack>,
    video: Option<VideoCodec>,
    /// The source of the video packets in the cache.
    source: Option<u64>,
    /// The source before, and until when its late packets are dropped.
    previous: Option<(u64, Instant)>,
    cache: Cache,
    requests: Requests,
    /// Since when a request is unanswered.
    unanswered: Option<Instant>,
    viewers: Vec<Viewer>,
    /// When the next batch is due for viewers that are behind.
    replay: Option<Instant>,
    allowed: Option<Bucket>,
    rate: Rate,
    /// The bits per second of all tracks, at the latest look.
    needed: u64,
    /// When the next look at the viewers' lines is due.
    look: Option<Instant>,
}

#[derive(Debug)]
struct Viewer {
    key: Key,
    audio: Option<Renumber>,
    video: Option<Gate>,
    requests: Allowance,
    quality: Quality,
}

impl Stream {
    /// A stream without packets and viewers.
    pub fn new(now: Instant) -> Self {
        Self {
            audio: None,
            video: None,
            source: None,
            previous: None,
            cache: Cache::default(),
            requests: Requests::default(),
            unanswered: None,
            viewers: Vec::new(),
            replay: None,
            allowed: None,
            rate: Rate::new(now),
            needed: 0,
            look: None,
        }
    }

    /// A publisher begins with these tracks. `bits` is the limit of its bit rate, per second.
    pub fn begin(
        &mut self,
        audio: Option<AudioTrack>,
        video: Option<VideoCodec>,
        bits: Option<u64>,
        now: Instant,
    ) {
        (self.audio, self.video) = (audio, video);
        self.allowed = bits.map(|bits| Bucket::new(bits as f64, bits as f64 * BURST_SECONDS, now));
        self.requests = Requests::default();
        self.forget_video();
        self.ask_for_closed(now);
    }

    /// Adds a viewer that gets the tracks it wants. `first` is its first sequence number.
    pub fn add(
        &mut self,
        key: Key,
        wants_audio: bool,
        wants_video: bool,
        first: u16,
        now: Instant,
        out: &mut impl Outlet,
    ) {
        let audio = self.audio.filter(|_| wants_audio).map(|track| Renumber::new(first, track.clock_rate));
        let video = (wants_video && self.video.is_some()).then(|| Gate::new(first));
        let mut viewer =
            Viewer { key, audio, video, requests: Allowance::new(now), quality: Quality::new(now) };
        let is_long = self.cache.span() > LONG;
        let mut needs_key_frame = false;
        if let Some(gate) = &mut viewer.video {
            gate.restart(&self.cache, (is_long && !self.is_deaf(now)).then(|| now + HOLD), now);
            needs_key_frame = is_long || gate.is_closed();
        }
        self.viewers.push(viewer);
        if needs_key_frame {
            self.ask(now);
        }
        self.replay(now, out);
    }

    /// Removes a viewer.
    pub fn remove(&mut self, key: Key) {
        self.viewers.retain(|viewer| viewer.key != key);
    }

    /// Forwards a packet of the publisher. False: the publisher exceeds its bit rate, and the packet was dropped.
    pub fn receive(&mut self, kind: Kind, packet: &Packet, now: Instant, out: &mut impl Outlet) -> bool {
        let bits = 8.0 * packet.payload.len() as f64;
        if self.allowed.as_mut().is_some_and(|allowed| !allowed.take(bits, now)) {
            return false;
        }
        self.rate.add(packet.payload.len());
        self.look.get_or_insert(now + LOOK);
        match kind {
            Kind::Audio => self.receive_audio(packet, now, out),
            Kind::Video => self.receive_video(packet, now, out),
        }
        true
    }

    fn receive_audio(&mut self, packet: &Packet, now: Instant, out: &mut impl Outlet) {
        for viewer in &mut self.viewers {
            let Some(numbers) = &mut viewer.audio else { continue };
            if !numbers.knows(packet.source) {
                numbers.begin(packet, now);
            }
            if let Some(numbers) = numbers.map(packet, now) {
                out.forward(viewer.key, Kind::Audio, numbers, packet);
            }
        }
    }

    fn receive_video(&mut self, packet: &Packet, now: Instant, out: &mut impl Outlet) {
        let Some(codec) = self.video else { return };
        if self.source.is_none_or(|source| source != packet.source) && !self.change_source(packet.source, now)
        {
            return;
        }
        let result = self.cache.push(packet, codec.starts_key_frame(&packet.payload));
        match result {
            Cached::Restarted => {
                self.requests.satisfy();
                self.unanswered = None;
            }
            Cached::Continued => {}
            Cached::Overflowed => self.ask(now),
        }
        if self.cache.is_filling() && self.unanswered.is_none() {
            self.ask(now);
        }
        let is_key = self.cache.start().is_some_and(|start| start.time == packet.time);
        for viewer in &mut self.viewers {
            let Some(gate) = &mut viewer.video else { continue };
            match result {
                Cached::Restarted => gate.restart(&self.cache, None, now),
                Cached::Continued => {}
                Cached::Overflowed => gate.lose_cache(),
            }
            if let Some(numbers) = gate.pass(packet, is_key, now) {
                out.forward(viewer.key, Kind::Video, numbers, packet);
            }
        }
        if result == Cached::Restarted {
            self.replay(now, out);
        }
    }

    /// Whether packets of another source are the video from now on.
    fn change_source(&mut self, source: u64, now: Instant) -> bool {
        if self.previous.is_some_and(|(previous, until)| previous == source && now < until) {
            return false;
        }
        if let Some(old) = self.source {
            self.forget_video();
            self.previous = Some((old, now + LATE));
            self.ask_for_closed(now);
        }
        self.source = Some(source);
        true
    }

    /// The video has another source: its packets do not follow those of the old one.
    fn forget_video(&mut self) {
        self.cache.clear();
        self.source = None;
        self.unanswered = None;
        for gate in self.viewers.iter_mut().filter_map(|viewer| viewer.video.as_mut()) {
            gate.close();
        }
    }

    /// Whether the publisher leaves a request unanswered.
    fn is_deaf(&self, now: Instant) -> bool {
        self.unanswered.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }

    /// A viewer has lost packets and asks for a key frame.
    pub fn request_key_frame(&mut self, key: Key, now: Instant, out: &mut impl Outlet) {
        let is_deaf = self.is_deaf(now);
        let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.key == key) else { return };
        let Some(gate) = &mut viewer.video else { return };
        // A viewer that is closed or behind gets a key frame anyway.
        if gate.is_closed() || gate.is_behind() || !viewer.requests.accepts(now) {
            return;
        }
        if is_deaf && self.cache.start().is_some() {
            gate.close();
            gate.restart(&self.cache, None, now);
            self.replay(now, out);
        }
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        self.requests.want(now);
        self.unanswered.get_or_insert(now);
    }

    fn ask_for_closed(&mut self, now: Instant) {
        if self.viewers.iter().any(|viewer| viewer.video.as_ref().is_some_and(Gate::is_closed)) {
            self.ask(now);
        }
    }

    /// A viewer's line carries this many bits per second.
    pub fn estimated(&mut self, key: Key, bits: u64) {
        if let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.key == key) {
            viewer.quality.estimated(bits);
        }
    }

    /// The bits per second of all tracks.
    pub fn needed(&self) -> u64 {
        self.needed
    }

    /// Sends key frames only to viewers whose line is too slow.
    fn look(&mut self, now: Instant) {
        self.needed = self.rate.measure(now);
        let mut is_wanted = false;
        for viewer in &mut self.viewers {
            let Some(gate) = &mut viewer.video else { continue };
            if let Some(is_thin) = viewer.quality.update(self.needed, now) {
                gate.set_thin(is_thin);
                is_wanted = true;
            }
        }
        if is_wanted {
            self.ask(now);
        }
        // Without packets there is nothing to compare with.
        self.look = (self.needed > 0).then(|| now + LOOK);
    }

    /// Sends the next cached packets to the viewers that are behind.
    fn replay(&mut self, now: Instant, out: &mut impl Outlet) {
        let mut next: Option<Instant> = None;
        for viewer in &mut self.viewers {
            let Some(gate) = viewer.video.as_mut().filter(|gate| gate.is_behind()) else { continue };
            for _ in 0..REPLAY_BATCH {
                let Some((packet, numbers)) = gate.replay(&self.cache, now) else { break };
                out.forward(viewer.key, Kind::Video, numbers, packet);
            }
            if gate.is_behind() {
                let at = gate.held_until(now).unwrap_or(now + REPLAY_PAUSE);
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        self.replay = next;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        [self.replay, self.look, self.requests.deadline()].into_iter().flatten().min()
    }

    /// Does what is due. True: ask the publisher for a key frame.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outlet) -> bool {
        if self.replay.is_some_and(|at| at <= now) {
            self.replay(now, out);
        }
        if self.look.is_some_and(|at| at <= now) {
            self.look(now);
        }
        self.requests.is_due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::packet, *};

    /// What the viewers got: key, kind, sequence number, the publisher's sequence number.
    #[derive(Default)]
    struct Sent(Vec<(Key, Kind, u64, u64)>);

    impl Outlet for Sent {
        fn forward(&mut self, viewer: Key, kind: Kind, numbers: Numbers, packet: &Packet) {
            self.0.push((viewer, kind, numbers.seq, packet.seq));
        }
    }

    impl Sent {
        /// The publisher's sequence numbers of the video that a viewer got since the last call.
        fn video(&mut self, viewer: Key) -> Vec<u64> {
            let (mine, others) = self.0.drain(..).partition(|sent| sent.0 == viewer && sent.1 == Kind::Video);
            self.0 = others;
            mine.into_iter().map(|sent: (Key, Kind, u64, u64)| sent.3).collect()
        }
    }

    const KEY_FRAME: &[u8] = &[0x10, 0x00];
    const FRAME: &[u8] = &[0x10, 0x01];

    fn video(seq: u64, payload: &[u8]) -> Packet {
        Packet { payload: payload.into(), ..packet(seq, 3000 * seq as u32) }
    }

    fn stream(now: Instant) -> Stream {
        let mut stream = Stream::new(now);
        stream.begin(Some(AudioTrack { clock_rate: 48_000 }), Some(VideoCodec::Vp8), None, now);
        stream
    }

    /// A stream that has sent a key frame, number 0, and `frames` more.
    fn running(now: Instant, frames: u64) -> Stream {
        let mut stream = stream(now);
        stream.receive(Kind::Video, &video(0, KEY_FRAME), now, &mut Sent::default());
        for seq in 1..=frames {
            stream.receive(Kind::Video, &video(seq, FRAME), now, &mut Sent::default());
        }
        stream
    }

    /// Lets the stream do what is due until nothing is. The number of requests for a key frame.
    fn settle(stream: &mut Stream, until: Instant, sent: &mut Sent) -> usize {
        let mut requests = 0;
        while let Some(at) = stream.deadline().filter(|at| *at <= until) {
            requests += usize::from(stream.handle_timeout(at, sent));
        }
        requests
    }

    #[test]
    fn each_viewer_gets_each_packet_with_its_own_numbers() {
        let now = Instant::now();
        let (mut stream, mut sent) = (running(now, 0), Sent::default());
        stream.add(1, true, true, 10, now, &mut sent);
        stream.add(2, true, true, 20, now, &mut sent);
        stream.receive(Kind::Video, &video(1, FRAME), now, &mut sent);
        stream.receive(Kind::Audio, &packet(500, 7), now, &mut sent);
        let expected = [
            (1, Kind::Video, 10, 0),
            (2, Kind::Video, 20, 0),
            (1, Kind::Video, 11, 1),
            (2, Kind::Video, 21, 1),
            (1, Kind::Audio, 10, 500),
            (2, Kind::Audio, 20, 500),
        ];
        assert_eq!(sent.0, expected);
    }

    #[test]
    fn a_late_viewer_gets_the_cached_key_frame_at_once_and_catches_up() {
        let now = Instant::now();
        let (mut stream, mut sent) = (running(now, 60), Sent::default());
        stream.add(1, true, true, 0, now, &mut sent);
        assert_eq!(sent.video(1).first(), Some(&0));
        stream.receive(Kind::Video, &video(61, FRAME), now, &mut sent);
        assert_eq!(
            settle(&mut stream, now + Duration::from_secs(1), &mut sent),
            0,
            "no request to the publisher"
        );
        stream.receive(Kind::Video, &video(62, FRAME), now, &mut sent);
        assert_eq!(sent.video(1), (REPLAY_BATCH as u64..=62).collect::<Vec<_>>());
    }

    #[test]
    fn a_very_late_viewer_gets_the_cached_key_frame_and_soon_a_new_one() {
        let now = Instant::now();
        let (mut stream, mut sent) = (running(now, 300), Sent::default());
        stream.add(1, true, true, 0, now, &mut sent);
        assert_eq!(sent.video(1), [0]);
        assert_eq!(settle(&mut stream, now + HOLD / 2, &mut sent), 1, "the publisher is asked");
        stream.receive(Kind::Video, &video(301, KEY_FRAME), now + HOLD / 2, &mut sent);
        stream.receive(Kind::Video, &video(302, FRAME), now + HOLD / 2, &mut sent);
        assert_eq!(sent.video(1), [301, 302]);
    }

    #[test]
    fn a_very_late_viewer_gets_all_frames_if_the_publisher_answers_no_request() {
        let now = Instant::now();
        let (mut stream, mut sent) = (running(now, 300), Sent::default());
        stream.add(1, true, true, 0, now, &mut sent);
        settle(&mut stream, now + Duration::from_secs(1), &mut sent);
        assert_eq!(sent.video(1), (0..=300).collect::<Vec<_>>());
        // The next one does not wait in vain.
        let later = now + Duration::from_secs(2);
        stream.add(2, true, true, 0, later, &mut sent);
        settle(&mut stream, later + HOLD / 2, &mut sent);
        assert_eq!(sent.video(2), (0..=300).collect::<Vec<_>>());
    }

    #[test]
    fn a_viewer_without_a_key_frame_waits_for_one_that_is_requested_once() {
        let now = Instant::now();
        let (mut stream, mut sent) = (stream(now), Sent::default());
        for key in 0..100 {
            stream.add(key, true, true, 0, now, &mut sent);
        }
        assert_eq!(settle(&mut stream, now, &mut sent), 1);
        stream.receive(Kind::Video, &video(0, FRAME), now, &mut sent);
        assert_eq!(sent.0, []);
        stream.receive(Kind::Video, &video(1, KEY_FRAME), now, &mut sent);
        assert_eq!(sent.0.len(), 100);
        assert_eq!(settle(&mut stream, now + Duration::from_secs(60), &mut sent), 0);
    }

    #[test]
    fn a_viewer_gets_only_the_tracks_it_wants() {
        let now = Instant::now();
        let (mut stream, mut sent) = (running(now, 0), Sent::default());
        stream.add(1, true, false, 0, now, &mut sent);
        stream.add(2, false, true, 0, now, &mut sent);
        stream.receive(Kind::Audio, &packet(9, 9), now, &mut sent);
        assert_eq!(sent.0, [(2, Kind::Video, 0, 0), (1, Kind::Audio, 0, 9)]);
    }

    #[test]
    fn a_new_source_is_forwarded_from_its_key_frame_on_in_the_same_numbering() {
        let now = Instant::now();
        let (mut stream, mut sent) = (running(now, 1), Sent::default());
        stream.add(1, false, true, 5, now, &mut sent);
        stream.receive(Kind::Video, &Packet { source: 2, ..video(70_000, FRAME) }, now, &mut sent);
        assert_eq!(sent.0.len(), 2, "a frame without its key frame");
        assert_eq!(settle(&mut stream, now, &mut sent), 1, "a key frame is requested");
        stream.receive(Kind::Video, &Packet { source: 2, ..video(70_001, KEY_FRAME) }, now, &mut sent);
        assert_eq!(sent.0.last(), Some(&(1, Kind::Video, 7, 70_001)));
        // A late packet of the old source does not bring it back.
        stream.receive(Kind::Video, &video(2, FRAME), now, &mut sent);
        stream.receive(Kind::Video, &Packet { source: 2, ..video(70_002, FRAME) }, now, &mut sent);
        assert_eq!(sent.0.last(), Some(&(1, Kind::Video, 8, 70_002)));
    }

    #[test]
    fn a_flood_of_requests_of_one_viewer_costs_the_publisher_few_key_frames() {
        let start = Instant::now();
        let (mut stream, mut sent) = (running(start, 0), Sent::default());
        stream.add(1, false, true, 0, start, &mut sent);
        let mut requests = 0;
        for at in 0..60_000_u64 {
            let now = start + Duration::from_millis(at);
            stream.request_key_frame(1, now, &mut sent);
            if settle(&mut stream, now, &mut sent) > 0 {
                requests += 1;
                stream.receive(Kind::Video, &video(1 + at, KEY_FRAME), now, &mut sent);
            }
        }
        assert!(requests <= 16, "{requests} requests in a minute");
    }

    #[test]
    fn a_viewer_of_a_publisher_that_answers_no_request_starts_over_with_the_cached_key_frame() {
        let start = Instant::now();
        let (mut stream, mut sent) = (running(start, 3), Sent::default());
        stream.add(1, false, true, 0, start, &mut sent);
        stream.add(2, false, true, 0, start, &mut sent);
        settle(&mut stream, start + Duration::from_millis(100), &mut sent);
        sent.0.clear();
        stream.request_key_frame(1, start + Duration::from_millis(200), &mut sent);
        assert!(sent.video(1).is_empty(), "the publisher has time to answer");
        stream.request_key_frame(1, start + Duration::from_millis(1300), &mut sent);
        settle(&mut stream, start + Duration::from_millis(1400), &mut sent);
        assert_eq!(sent.video(1), [0, 1, 2, 3]);
        assert!(sent.video(2).is_empty(), "others are not affected");
    }

    #[test]
    fn a_publisher_above_its_bit_rate_is_noticed_after_a_burst() {
        let start = Instant::now();
        let mut stream = stream(start);
        stream.begin(None, Some(VideoCodec::Vp8), Some(80_000), start);
        let large = video(0, &[0; 1000]);
        let accepted =
            (0..100).take_while(|_| stream.receive(Kind::Video, &large, start, &mut Sent::default())).count();
        assert_eq!(accepted, 20);
    }

    #[test]
    fn a_viewer_on_a_slow_line_gets_sound_and_key_frames_and_the_others_everything() {
        let start = Instant::now();
        let (mut stream, mut sent) = (running(start, 0), Sent::default());
        for key in [1, 2] {
            stream.add(key, true, true, 0, start, &mut sent);
            stream.estimated(key, if key == 1 { 20_000 } else { 10_000_000 });
        }
        let mut asked = 0;
        for frame in 1..=300_u64 {
            let now = start + Duration::from_millis(frame * 33);
            let payload = [if frame % 150 == 0 { KEY_FRAME } else { FRAME }, &[0; 500]].concat();
            stream.receive(Kind::Video, &video(frame, &payload), now, &mut sent);
            stream.receive(Kind::Audio, &packet(frame, frame as u32), now, &mut sent);
            asked += settle(&mut stream, now, &mut sent);
        }
        let of = |key, kind| sent.0.iter().filter(|sent| sent.0 == key && sent.1 == kind).count();
        assert_eq!((of(1, Kind::Audio), of(2, Kind::Audio)), (300, 300));
        assert_eq!(of(2, Kind::Video), 301);
        assert!((2..80).contains(&of(1, Kind::Video)), "{}", of(1, Kind::Video));
        assert!(asked > 0, "a picture for the slow viewer");
    }

    #[test]
    fn a_late_viewer_gets_one_batch_at_once() {
        let now = Instant::now();
        for cached in [20, 80] {
            let (mut stream, mut sent) = (running(now, cached), Sent::default());
            stream.add(1, false, true, 0, now, &mut sent);
            assert_eq!(sent.0.len(), REPLAY_BATCH, "{cached}");
        }
    }
}
