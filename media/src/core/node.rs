//! Which sessions publish and play which streams. Commands and packets in, packets and notices out.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    codec::VideoCodec,
    loss::Loss,
    packet::{Kind, Packet},
    stream::{AudioTrack, Key, Outlet, Stream},
    timers::Timers,
};

/// How long the viewers of a stream wait for a new publisher.
const GRACE: Duration = Duration::from_secs(10);
/// A publisher that sends nothing for this time has no media.
const SILENCE: Duration = Duration::from_secs(5);

/// The tracks of a publisher, and what `F` says about their format for the negotiation with viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracks<F> {
    /// The audio track.
    pub audio: Option<AudioTrack>,
    /// The codec of the video track.
    pub video: Option<VideoCodec>,
    /// The negotiated formats.
    pub formats: F,
}

/// The bounds of a node.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most streams.
    pub streams: usize,
    /// The most viewers of all streams together.
    pub viewers: usize,
    /// The most bits per second of a publisher.
    pub bits: Option<u64>,
}

/// Why a session is refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A limit of the node is reached.
    Full,
    /// The stream has no publisher.
    Gone,
    /// The stream has a publisher already.
    Taken,
    /// The publisher exceeds its bit rate.
    TooFast,
}

/// What the node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Media of this publisher arrive.
    Live(Key),
    /// No media of this publisher arrive any more.
    Silent(Key),
    /// Ask this publisher for a key frame.
    KeyFrame(Key),
    /// This session ends.
    End(Key, Why),
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets of publishers.
    pub packets_in: u64,
    /// Their payload in bytes.
    pub bytes_in: u64,
    /// Packets of publishers that never came.
    pub lost_in: u64,
    /// Key frames requested from publishers.
    pub key_frame_requests: u64,
}

/// All streams and sessions.
#[derive(Debug)]
pub struct Node<F> {
    limits: Limits,
    names: HashMap<String, u64>,
    streams: HashMap<u64, Published<F>>,
    sessions: HashMap<Key, Session>,
    timers: Timers<u64>,
    viewers: usize,
    next: u64,
    notices: Vec<Notice>,
    counters: Counters,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    stream: u64,
    is_publisher: bool,
}

#[derive(Debug)]
struct Published<F> {
    name: String,
    publisher: Option<Publisher>,
    /// Those of the latest publisher, once they are negotiated.
    tracks: Option<Tracks<F>>,
    media: Stream,
    /// The packets that did not come, of audio and video.
    losses: [Loss; 2],
    /// When viewers stop to wait for a publisher.
    over: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Publisher {
    key: Key,
    bits: Option<u64>,
    /// When the latest packet came.
    heard: Option<Instant>,
    is_live: bool,
}

impl<F: Clone + PartialEq> Node<F> {
    /// A node without streams.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: HashMap::new(),
            streams: HashMap::new(),
            sessions: HashMap::new(),
            timers: Timers::default(),
            viewers: 0,
            next: 0,
            notices: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// A session publishes this stream. `bits` is the limit of its bit rate, per second.
    pub fn publish(&mut self, key: Key, name: &str, bits: Option<u64>, now: Instant) -> Result<(), Why> {
        let id = match self.names.get(name) {
            Some(id) => *id,
            None if self.streams.len() >= self.limits.streams => return Err(Why::Full),
            None => self.create(name, now),
        };
        let Some(published) = self.streams.get_mut(&id) else { return Err(Why::Gone) };
        if published.publisher.is_some() {
            return Err(Why::Taken);
        }
        let bits = [bits, self.limits.bits].into_iter().flatten().min();
        published.publisher = Some(Publisher { key, bits, heard: None, is_live: false });
        self.sessions.insert(key, Session { stream: id, is_publisher: true });
        Ok(())
    }

    fn create(&mut self, name: &str, now: Instant) -> u64 {
        let id = self.next;
        self.next += 1;
        self.names.insert(name.to_owned(), id);
        let published = Published {
            name: name.to_owned(),
            publisher: None,
            tracks: None,
            media: Stream::new(now),
            losses: Default::default(),
            over: None,
        };
        self.streams.insert(id, published);
        id
    }

    /// A publisher's tracks are negotiated. Viewers with other tracks are ended: they can only negotiate anew.
    pub fn negotiated(&mut self, key: Key, tracks: Tracks<F>, now: Instant) {
        let Some((id, published)) = self.published_by(key) else { return };
        let Some(publisher) = published.publisher else { return };
        published.over = None;
        let is_same = published.tracks.as_ref().is_none_or(|old| *old == tracks);
        published.media.begin(tracks.audio, tracks.video, publisher.bits, now);
        published.tracks = Some(tracks);
        if !is_same {
            self.end_viewers(id);
        }
        self.arm(id);
    }

    /// A session plays this stream. Returns the tracks to negotiate.
    pub fn play(&mut self, key: Key, name: &str) -> Result<Tracks<F>, Why> {
        let id = *self.names.get(name).ok_or(Why::Gone)?;
        let tracks = self.streams.get(&id).and_then(|published| published.tracks.clone()).ok_or(Why::Gone)?;
        if self.viewers >= self.limits.viewers {
            return Err(Why::Full);
        }
        self.viewers += 1;
        self.sessions.insert(key, Session { stream: id, is_publisher: false });
        Ok(tracks)
    }

    /// A viewer is connected and gets the tracks that it wants. `first` is its first sequence number.
    pub fn start(
        &mut self,
        key: Key,
        (wants_audio, wants_video): (bool, bool),
        first: u16,
        now: Instant,
        out: &mut impl Outlet,
    ) {
        let Some((id, published)) = self.watched_by(key) else { return };
        published.media.add(key, wants_audio, wants_video, first, now, out);
        self.arm(id);
    }

    /// A session is over. The viewers of a publisher wait for the next one for a while.
    pub fn end(&mut self, key: Key, now: Instant) {
        let Some(session) = self.sessions.remove(&key) else { return };
        let Some(published) = self.streams.get_mut(&session.stream) else { return };
        if session.is_publisher {
            published.publisher = None;
            published.over = Some(now + GRACE);
        } else {
            published.media.remove(key);
            self.viewers -= 1;
        }
        let is_empty = self.streams.get(&session.stream).is_some_and(|it| it.publisher.is_none())
            && !self.sessions.values().any(|other| other.stream == session.stream);
        match is_empty {
            true => self.remove(session.stream),
            false => self.arm(session.stream),
        }
    }

    fn remove(&mut self, id: u64) {
        self.timers.set(id, None);
        if let Some(published) = self.streams.remove(&id) {
            self.names.remove(&published.name);
            self.counters.lost_in += published.lost();
        }
    }

    /// Reports the end of all viewers of a stream. They are removed by [`Self::end`].
    fn end_viewers(&mut self, id: u64) {
        let viewers =
            self.sessions.iter().filter(|(_, session)| session.stream == id && !session.is_publisher);
        self.notices.extend(viewers.map(|(key, _)| Notice::End(*key, Why::Gone)));
    }

    /// A packet of a publisher.
    pub fn receive(&mut self, key: Key, kind: Kind, packet: &Packet, now: Instant, out: &mut impl Outlet) {
        let Some(session) = self.sessions.get(&key).filter(|session| session.is_publisher) else { return };
        let id = session.stream;
        let Some(published) = self.streams.get_mut(&id) else { return };
        let Some(publisher) = &mut published.publisher else { return };
        self.counters.packets_in += 1;
        self.counters.bytes_in += packet.payload.len() as u64;
        let [audio, video] = &mut published.losses;
        match kind {
            Kind::Audio => audio.add(packet),
            Kind::Video => video.add(packet),
        }
        publisher.heard = Some(now);
        if !publisher.is_live {
            publisher.is_live = true;
            self.notices.push(Notice::Live(key));
        }
        if !published.media.receive(kind, packet, now, out) {
            self.notices.push(Notice::End(key, Why::TooFast));
        }
        self.arm(id);
    }

    /// A viewer asks for a key frame.
    pub fn request_key_frame(&mut self, key: Key, now: Instant, out: &mut impl Outlet) {
        let Some((id, published)) = self.watched_by(key) else { return };
        published.media.request_key_frame(key, now, out);
        self.arm(id);
    }

    /// A viewer's line carries this many bits per second.
    pub fn estimated(&mut self, key: Key, bits: u64) {
        if let Some((_, published)) = self.watched_by(key) {
            published.media.estimated(key, bits);
        }
    }

    /// The bits per second of the stream that a viewer plays.
    pub fn needed(&mut self, key: Key) -> u64 {
        self.watched_by(key).map_or(0, |(_, published)| published.media.needed())
    }

    fn published_by(&mut self, key: Key) -> Option<(u64, &mut Published<F>)> {
        let session = self.sessions.get(&key).filter(|session| session.is_publisher)?;
        Some((session.stream, self.streams.get_mut(&session.stream)?))
    }

    fn watched_by(&mut self, key: Key) -> Option<(u64, &mut Published<F>)> {
        let session = self.sessions.get(&key).filter(|session| !session.is_publisher)?;
        Some((session.stream, self.streams.get_mut(&session.stream)?))
    }

    fn arm(&mut self, id: u64) {
        let at = self.streams.get(&id).and_then(Published::deadline);
        self.timers.set(id, at);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outlet) {
        while let Some(id) = self.timers.pop(now) {
            let Some(published) = self.streams.get_mut(&id) else { continue };
            if published.media.handle_timeout(now, out)
                && let Some(publisher) = published.publisher
            {
                self.counters.key_frame_requests += 1;
                self.notices.push(Notice::KeyFrame(publisher.key));
            }
            if let Some(publisher) = &mut published.publisher
                && publisher.is_live
                && publisher.heard.is_some_and(|heard| heard + SILENCE <= now)
            {
                publisher.is_live = false;
                self.notices.push(Notice::Silent(publisher.key));
            }
            if published.over.is_some_and(|over| over <= now) {
                published.over = None;
                self.end_viewers(id);
            }
            self.arm(id);
        }
    }

    /// Takes what is to be reported.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The streams that have a publisher, and the viewers.
    pub fn counts(&self) -> (usize, usize) {
        (self.streams.values().filter(|published| published.publisher.is_some()).count(), self.viewers)
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        let lost: u64 = self.streams.values().map(Published::lost).sum();
        Counters { lost_in: self.counters.lost_in + lost, ..self.counters }
    }
}

impl<F> Published<F> {
    fn lost(&self) -> u64 {
        self.losses.iter().map(Loss::lost).sum()
    }

    fn deadline(&self) -> Option<Instant> {
        let silent =
            self.publisher.filter(|it| it.is_live).and_then(|it| it.heard).map(|heard| heard + SILENCE);
        [self.media.deadline(), silent, self.over].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{numbers::Numbers, testing::packet},
        *,
    };

    const LIMITS: Limits = Limits { streams: 2, viewers: 3, bits: None };

    /// Counts the packets of each viewer.
    #[derive(Default)]
    struct Sent(HashMap<Key, usize>);

    impl Outlet for Sent {
        fn forward(&mut self, viewer: Key, _: Kind, _: Numbers, _: &Packet) {
            *self.0.entry(viewer).or_default() += 1;
        }
    }

    fn tracks(formats: u8) -> Tracks<u8> {
        Tracks { audio: Some(AudioTrack { clock_rate: 48_000 }), video: Some(VideoCodec::Vp8), formats }
    }

    fn key_frame(source: u64, seq: u64) -> Packet {
        Packet { source, payload: [0x10, 0].as_slice().into(), ..packet(seq, seq as u32) }
    }

    /// A node with the stream "a" of session 1.
    fn node(now: Instant) -> Node<u8> {
        let mut node = Node::new(LIMITS);
        node.publish(1, "a", None, now).unwrap();
        node.negotiated(1, tracks(0), now);
        node
    }

    fn settle(node: &mut Node<u8>, until: Instant) -> Vec<Notice> {
        while let Some(at) = node.deadline().filter(|at| *at <= until) {
            node.handle_timeout(at, &mut Sent::default());
        }
        node.notices()
    }

    #[test]
    fn a_viewer_of_an_unknown_stream_is_refused() {
        let now = Instant::now();
        let mut node: Node<u8> = Node::new(LIMITS);
        assert_eq!(node.play(2, "a"), Err(Why::Gone));
        node.publish(1, "a", None, now).unwrap();
        assert_eq!(node.play(2, "a"), Err(Why::Gone), "nothing is negotiated yet");
        node.negotiated(1, tracks(0), now);
        assert_eq!(node.play(2, "a"), Ok(tracks(0)));
    }

    #[test]
    fn a_stream_has_one_publisher() {
        let now = Instant::now();
        let mut node = node(now);
        assert_eq!(node.publish(2, "a", None, now), Err(Why::Taken));
        node.end(1, now);
        assert_eq!(node.publish(2, "a", None, now), Ok(()));
    }

    #[test]
    fn streams_and_viewers_are_bounded() {
        let now = Instant::now();
        let mut node = node(now);
        node.publish(2, "b", None, now).unwrap();
        assert_eq!(node.publish(3, "c", None, now), Err(Why::Full));
        for key in 10..13 {
            node.play(key, "a").unwrap();
        }
        assert_eq!(node.play(13, "a"), Err(Why::Full));
        node.end(10, now);
        assert!(node.play(13, "a").is_ok());
        node.end(2, now);
        assert_eq!(node.publish(3, "c", None, now), Ok(()));
    }

    #[test]
    fn media_are_reported_when_they_come_and_when_they_stop() {
        let now = Instant::now();
        let mut node = node(now);
        node.receive(1, Kind::Video, &key_frame(1, 0), now, &mut Sent::default());
        assert_eq!(node.notices(), [Notice::Live(1)]);
        assert_eq!(settle(&mut node, now + SILENCE - Duration::from_millis(1)), []);
        assert_eq!(settle(&mut node, now + SILENCE), [Notice::Silent(1)]);
        let later = now + SILENCE * 2;
        node.receive(1, Kind::Video, &key_frame(1, 1), later, &mut Sent::default());
        assert_eq!(node.notices(), [Notice::Live(1)]);
    }

    #[test]
    fn viewers_stay_for_a_publisher_that_comes_back_soon() {
        let now = Instant::now();
        let (mut node, mut sent) = (node(now), Sent::default());
        node.receive(1, Kind::Video, &key_frame(1, 0), now, &mut sent);
        node.play(2, "a").unwrap();
        node.start(2, (true, true), 0, now, &mut sent);
        node.end(1, now);
        node.publish(3, "a", None, now).unwrap();
        node.negotiated(3, tracks(0), now);
        node.receive(3, Kind::Video, &key_frame(9, 0), now, &mut sent);
        assert_eq!(sent.0[&2], 2);
        let notices = settle(&mut node, now + GRACE * 2);
        assert!(!notices.contains(&Notice::End(2, Why::Gone)), "{notices:?}");
    }

    #[test]
    fn viewers_end_without_a_publisher_or_with_one_of_other_tracks() {
        let now = Instant::now();
        for changed in [false, true] {
            let mut node = node(now);
            node.play(2, "a").unwrap();
            node.end(1, now);
            if changed {
                node.publish(3, "a", None, now).unwrap();
                node.negotiated(3, tracks(1), now);
                assert_eq!(node.notices(), [Notice::End(2, Why::Gone)]);
            } else {
                assert_eq!(settle(&mut node, now + GRACE - Duration::from_millis(1)), []);
                assert_eq!(settle(&mut node, now + GRACE), [Notice::End(2, Why::Gone)]);
            }
        }
    }

    #[test]
    fn nothing_is_left_when_all_sessions_are_over() {
        let now = Instant::now();
        for publisher_first in [false, true] {
            let mut node = node(now);
            node.play(2, "a").unwrap();
            node.start(2, (true, true), 0, now, &mut Sent::default());
            for key in if publisher_first { [1, 2] } else { [2, 1] } {
                node.end(key, now);
                node.end(key, now);
            }
            assert!(node.names.is_empty() && node.streams.is_empty() && node.sessions.is_empty());
            assert_eq!((node.viewers, node.deadline()), (0, None));
        }
    }

    #[test]
    fn a_publisher_above_the_lower_limit_of_its_bit_rate_ends() {
        let now = Instant::now();
        let mut node: Node<u8> = Node::new(Limits { bits: Some(1000), ..LIMITS });
        node.publish(1, "a", Some(1_000_000), now).unwrap();
        node.negotiated(1, tracks(0), now);
        let large = Packet { payload: vec![0; 1200].into(), ..packet(0, 0) };
        node.receive(1, Kind::Video, &large, now, &mut Sent::default());
        assert!(node.notices().contains(&Notice::End(1, Why::TooFast)));
    }

    #[test]
    fn a_viewer_cannot_send_media() {
        let now = Instant::now();
        let (mut node, mut sent) = (node(now), Sent::default());
        for key in [2, 3] {
            node.play(key, "a").unwrap();
            node.start(key, (true, true), 0, now, &mut sent);
        }
        node.receive(2, Kind::Video, &key_frame(1, 0), now, &mut sent);
        assert!(sent.0.is_empty());
    }

    #[test]
    fn lost_packets_are_counted_also_after_the_stream() {
        let now = Instant::now();
        let mut node = node(now);
        for (kind, seq) in [(Kind::Video, 0), (Kind::Video, 3), (Kind::Audio, 7), (Kind::Audio, 9)] {
            node.receive(1, kind, &key_frame(1, seq), now, &mut Sent::default());
        }
        assert_eq!(node.counters().lost_in, 3);
        node.end(1, now);
        assert_eq!(node.counters().lost_in, 3);
    }

    #[test]
    fn a_thousand_viewers_get_a_stream() {
        let now = Instant::now();
        let mut node: Node<u8> = Node::new(Limits { viewers: 1000, ..LIMITS });
        node.publish(0, "a", None, now).unwrap();
        node.negotiated(0, tracks(0), now);
        let mut sent = Sent::default();
        node.receive(0, Kind::Video, &key_frame(1, 0), now, &mut sent);
        for key in 1..=1000 {
            node.play(key, "a").unwrap();
            node.start(key, (true, true), key as u16, now, &mut sent);
        }
        for seq in 1..10 {
            let frame = Packet { payload: [0x10, 1].as_slice().into(), ..key_frame(1, seq) };
            node.receive(0, Kind::Video, &frame, now, &mut sent);
        }
        assert!(sent.0.len() == 1000 && sent.0.values().all(|count| *count == 10));
    }
}
