//! The node without its sockets: messages of the server and datagrams in, messages and datagrams out.

mod client;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use callbin_protocol::{
    SdpType, Signal,
    node::{FromNode, Reason, SessionId, SessionSignal, Stats, ToNode, Track},
};

use self::client::{Client, Counters, Outbox, Role};
use crate::{
    core::{
        node::{Limits, Node, Notice, Why},
        packet::{Kind, Packet},
        stream::Key,
        timers::Timers,
    },
    net::{routes::Routes, stun},
    rtc::{Broken, Event, Formats, Peer, Refused, Stack, Transmit},
};

/// How long a client may be away after its path was lost.
const LOST: Duration = Duration::from_secs(15);

/// Where datagrams go.
pub trait Wire {
    /// Sends a datagram, now or with the next ones.
    fn send(&mut self, transmit: Transmit<'_>);
}

/// All sessions of the node.
#[derive(Debug)]
pub struct Engine {
    stack: Stack,
    node: Node<Formats>,
    clients: HashMap<Key, Client>,
    keys: HashMap<SessionId, Key>,
    next: Key,
    routes: Routes,
    timers: Timers<Key>,
    /// Viewers with packets that are not sent yet.
    written: Vec<Key>,
    counters: Counters,
    messages: Vec<FromNode>,
    stats: Option<(Duration, Instant)>,
}

impl Engine {
    /// A node without sessions.
    pub fn new(stack: Stack, limits: Limits) -> Self {
        Self {
            stack,
            node: Node::new(limits),
            clients: HashMap::new(),
            keys: HashMap::new(),
            next: 0,
            routes: Routes::default(),
            timers: Timers::default(),
            written: Vec::new(),
            counters: Counters::default(),
            messages: Vec::new(),
            stats: None,
        }
    }

    /// A message of the server. Those about unknown sessions are late, and ignored.
    pub fn handle_message(&mut self, message: ToNode, now: Instant, wire: &mut impl Wire) {
        match message {
            ToNode::Welcome { stats_interval, .. } => {
                let every = Duration::from_secs(u64::from(stats_interval.max(1)));
                self.stats = Some((every, now + every));
            }
            ToNode::Publish { session, stream, max_bitrate, offers } => {
                let key = self.next_key();
                match self.node.publish(key, stream.as_str(), max_bitrate, now) {
                    Ok(()) => {
                        self.open(key, session, Role::Publisher { formats: None }, now);
                        if offers {
                            self.offer(key, self.stack.invite(now), now, wire);
                        }
                    }
                    Err(why) => self.refuse(session, why),
                }
            }
            ToNode::Play { session, stream, offers, like } => {
                let key = self.next_key();
                match self.node.play(key, stream.as_str()) {
                    Ok(tracks) => {
                        self.open(key, session, Role::Viewer { formats: tracks.formats }, now);
                        if offers {
                            let like = like.and_then(|like| self.keys.get(&like).copied());
                            let numbers = like.and_then(|key| self.peer(key)).map(|peer| peer.numbers());
                            let (numbers, needed) = (numbers.unwrap_or_default(), self.node.needed(key));
                            let offer = self.stack.offer(tracks.formats, &numbers, needed, now);
                            self.offer(key, offer, now, wire);
                        }
                    }
                    Err(why) => self.refuse(session, why),
                }
            }
            ToNode::Signal(SessionSignal { session, signal }) => {
                if let Some(key) = self.keys.get(&session).copied() {
                    self.signal(key, signal, now, wire);
                }
            }
            ToNode::End { session, .. } => {
                if let Some(key) = self.keys.get(&session).copied() {
                    self.end(key, None, now, wire);
                }
            }
        }
        self.flush(now, wire);
    }

    fn next_key(&mut self) -> Key {
        self.next += 1;
        self.next
    }

    fn open(&mut self, key: Key, session: SessionId, role: Role, now: Instant) {
        self.keys.insert(session.clone(), key);
        self.clients.insert(key, Client::new(session, role, now));
        self.arm(key);
    }

    fn refuse(&mut self, session: SessionId, why: Why) {
        let (reason, detail) = explain(why);
        self.messages.push(FromNode::End { session, reason, detail });
    }

    fn offer(
        &mut self,
        key: Key,
        offer: Result<(Peer, String), Refused>,
        now: Instant,
        wire: &mut impl Wire,
    ) {
        match offer {
            Ok((peer, sdp)) => {
                self.attach(key, peer);
                self.send_signal(key, Signal::Sdp { kind: SdpType::Offer, sdp });
                self.poll(key, now, wire);
            }
            Err(refused) => self.end_refused(key, &refused, now, wire),
        }
    }

    fn attach(&mut self, key: Key, mut peer: Peer) {
        self.routes.name(peer.ufrag(), key);
        if let Some(client) = self.clients.get_mut(&key) {
            client.peer = Some(Box::new(peer));
        }
    }

    fn send_signal(&mut self, key: Key, signal: Signal) {
        if let Some(client) = self.clients.get(&key) {
            let session = client.session.clone();
            self.messages.push(FromNode::Signal(SessionSignal { session, signal }));
        }
    }

    fn signal(&mut self, key: Key, signal: Signal, now: Instant, wire: &mut impl Wire) {
        let result = match signal {
            Signal::Sdp { kind: SdpType::Offer, sdp } => {
                if !self.clients.get_mut(&key).is_some_and(|client| client.offers.take(1.0, now)) {
                    return self.end(key, Some((Reason::Limit, "too many offers".into())), now, wire);
                }
                self.offered(key, &sdp, now)
            }
            // Before the connection exists, there is nothing to answer.
            Signal::Sdp { kind: SdpType::Answer, sdp } => self.answered(key, &sdp, now),
            // The node is an ICE-lite agent: it sends no checks, so it needs no candidates of clients.
            Signal::Ice(_) | Signal::OfferRequest => return,
        };
        match result {
            Ok(()) => self.poll(key, now, wire),
            Err(refused) => self.end_refused(key, &refused, now, wire),
        }
    }

    fn peer(&mut self, key: Key) -> Option<&mut Peer> {
        self.clients.get_mut(&key)?.peer.as_deref_mut()
    }

    fn offered(&mut self, key: Key, offer: &str, now: Instant) -> Result<(), Refused> {
        let Some(client) = self.clients.get_mut(&key) else { return Ok(()) };
        let sdp = match (&mut client.peer, client.role) {
            (Some(peer), _) => {
                let answer = peer.renegotiate(offer)?;
                self.routes.name(peer.ufrag(), key);
                answer
            }
            (None, Role::Publisher { .. }) => {
                let (peer, answer, formats) = self.stack.publisher(offer, now)?;
                client.role = Role::Publisher { formats: Some(formats) };
                self.attach(key, peer);
                self.node.negotiated(key, formats.tracks(), now);
                answer
            }
            (None, Role::Viewer { formats }) => {
                let (peer, answer) = self.stack.viewer(offer, formats, self.node.needed(key), now)?;
                self.attach(key, peer);
                answer
            }
        };
        self.send_signal(key, Signal::Sdp { kind: SdpType::Answer, sdp });
        Ok(())
    }

    /// A publisher's answer decides about the tracks of its stream.
    fn answered(&mut self, key: Key, answer: &str, now: Instant) -> Result<(), Refused> {
        let Some(client) = self.clients.get_mut(&key) else { return Ok(()) };
        let Some(peer) = client.peer.as_deref_mut() else { return Ok(()) };
        let formats = peer.answered(answer)?;
        if let Role::Publisher { formats: known @ None } = &mut client.role {
            *known = Some(formats);
            self.node.negotiated(key, formats.tracks(), now);
        }
        Ok(())
    }

    /// A datagram from `source` to our address `destination`.
    pub fn handle_datagram(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
        now: Instant,
        wire: &mut impl Wire,
    ) {
        let Some(key) = self.routes.find(source, datagram) else { return };
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(peer) = client.peer.as_deref_mut().filter(|_| client.datagrams.take(1.0, now)) else {
            return;
        };
        // The work of each check grows with the addresses that the client has checked from.
        let is_check = stun::is_stun(datagram);
        if is_check && !self.routes.is_at(source, key) && !client.sources.take(1.0, now) {
            return;
        }
        match peer.receive(source, destination, datagram, now) {
            Ok(()) => self.poll(key, now, wire),
            Err(broken) => self.end_broken(key, broken, now, wire),
        }
    }

    /// Sends what earlier calls have written for viewers, so that packets of one batch leave together. It is due after each
    /// batch of [`Self::handle_datagram`].
    pub fn flush(&mut self, now: Instant, wire: &mut impl Wire) {
        loop {
            while let Some(key) = self.written.pop() {
                let Some(client) = self.clients.get_mut(&key) else { continue };
                client.is_written = false;
                self.wake(key, now, wire);
            }
            let notices = self.node.notices();
            for notice in &notices {
                self.report(*notice, now, wire);
            }
            if notices.is_empty() && self.written.is_empty() {
                return;
            }
        }
    }

    /// Lets time pass for a connection.
    fn wake(&mut self, key: Key, now: Instant, wire: &mut impl Wire) {
        let Some(peer) = self.peer(key) else { return };
        match peer.handle_timeout(now) {
            Ok(()) => self.poll(key, now, wire),
            Err(broken) => self.end_broken(key, broken, now, wire),
        }
    }

    /// Takes all output of a connection.
    fn poll(&mut self, key: Key, now: Instant, wire: &mut impl Wire) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let is_viewer = client.is_viewer();
        let Some(peer) = &mut client.peer else { return self.arm(key) };
        let mut events = Vec::new();
        let (routes, counters) = (&mut self.routes, &mut self.counters);
        let result = peer.poll(now, &mut events, &mut |transmit| {
            if stun::is_success(transmit.contents) {
                routes.confirm(transmit.destination, key, now);
            }
            if is_viewer && is_media(transmit.contents) {
                counters.packets_out += 1;
                counters.bytes_out += transmit.contents.len() as u64;
            }
            wire.send(transmit);
        });
        match result {
            // Never at once: a connection must not keep the others from their turns.
            Ok(at) => client.wake = Some(at.max(now + Duration::from_millis(1))),
            Err(broken) => return self.end_broken(key, broken, now, wire),
        }
        for event in events {
            self.handle_event(key, event, now, wire);
        }
        self.arm(key);
    }

    fn handle_event(&mut self, key: Key, event: Event, now: Instant, wire: &mut impl Wire) {
        match event {
            Event::Connected => self.connected(key, now, wire),
            Event::Media(kind, packet) => {
                let packet = Packet { source: key << 32 | packet.source, ..packet };
                self.with_outbox(now, wire, |node, out| node.receive(key, kind, &packet, now, out));
            }
            Event::KeyFrameWanted => {
                tracing::debug!(key, "a viewer asks for a key frame");
                self.with_outbox(now, wire, |node, out| node.request_key_frame(key, now, out));
            }
            Event::Estimate(bits) => {
                self.node.estimated(key, bits);
                let needed = self.node.needed(key);
                if let Some(peer) = self.peer(key)
                    && let Err(broken) = peer.want(needed)
                {
                    self.end_broken(key, broken, now, wire);
                }
            }
            Event::Lost(packets) => self.counters.lost_out += packets,
            Event::PathLost => self.set_deadline(key, Some(now + LOST)),
            Event::PathBack => self.set_deadline(key, None),
            Event::Closed => self.end(key, Some((Reason::Left, String::new())), now, wire),
        }
    }

    fn connected(&mut self, key: Key, now: Instant, wire: &mut impl Wire) {
        let Some(client) = self.clients.get_mut(&key).filter(|client| !client.is_connected) else { return };
        client.is_connected = true;
        client.deadline = None;
        self.messages.push(FromNode::Connected { session: client.session.clone() });
        tracing::debug!(session = client.session.as_str(), "connected");
        let takes = |kind| client.peer.as_deref().is_some_and(|peer| peer.takes(kind));
        let wants = (takes(Kind::Audio), takes(Kind::Video));
        if client.is_viewer() {
            let first = rand::random();
            self.with_outbox(now, wire, |node, out| node.start(key, wants, first, now, out));
        }
    }

    /// The connection's deadline once it is connected. Before, it has to connect in time.
    fn set_deadline(&mut self, key: Key, at: Option<Instant>) {
        if let Some(client) = self.clients.get_mut(&key).filter(|client| client.is_connected) {
            client.deadline = at;
        }
    }

    fn with_outbox(
        &mut self,
        now: Instant,
        wire: &mut impl Wire,
        call: impl FnOnce(&mut Node<Formats>, &mut Outbox<'_>),
    ) {
        let mut out = Outbox {
            clients: &mut self.clients,
            written: &mut self.written,
            counters: &mut self.counters,
            broken: Vec::new(),
        };
        call(&mut self.node, &mut out);
        for (key, broken) in out.broken {
            self.end_broken(key, broken, now, wire);
        }
    }

    fn report(&mut self, notice: Notice, now: Instant, wire: &mut impl Wire) {
        match notice {
            Notice::Live(key) => {
                let Some(client) = self.clients.get(&key) else { return };
                let Role::Publisher { formats: Some(formats) } = client.role else { return };
                let tracks = formats.names().map(|(kind, codec)| Track { kind, codec }).collect();
                self.messages.push(FromNode::Live { session: client.session.clone(), tracks });
            }
            Notice::Silent(key) => {
                let Some(client) = self.clients.get(&key) else { return };
                self.messages.push(FromNode::Gone { session: client.session.clone() });
            }
            Notice::KeyFrame(key) => {
                tracing::debug!(key, "the publisher is asked for a key frame");
                let Some(peer) = self.peer(key) else { return };
                match peer.request_key_frame() {
                    Ok(()) => self.wake(key, now, wire),
                    Err(broken) => self.end_broken(key, broken, now, wire),
                }
            }
            Notice::End(key, why) => self.end(key, Some(explain(why)), now, wire),
        }
    }

    fn end_refused(&mut self, key: Key, refused: &Refused, now: Instant, wire: &mut impl Wire) {
        let reason = match refused {
            Refused::Invalid | Refused::NoCodec => Reason::Unacceptable,
            Refused::Panicked => Reason::Internal,
        };
        self.end(key, Some((reason, refused.to_string())), now, wire);
    }

    fn end_broken(&mut self, key: Key, broken: Broken, now: Instant, wire: &mut impl Wire) {
        let reason = match broken {
            Broken::Failed => Reason::Failed,
            Broken::Panicked => Reason::Internal,
        };
        self.end(key, Some((reason, broken.to_string())), now, wire);
    }

    /// Ends a session. The server is informed of `reason`.
    fn end(&mut self, key: Key, reason: Option<(Reason, String)>, now: Instant, wire: &mut impl Wire) {
        let Some(mut client) = self.clients.remove(&key) else { return };
        if let Some(peer) = &mut client.peer
            && peer.close().and_then(|()| peer.handle_timeout(now)).is_ok()
        {
            let _ = peer.poll(now, &mut Vec::new(), &mut |transmit| wire.send(transmit));
        }
        self.keys.remove(&client.session);
        self.routes.remove(key);
        self.timers.set(key, None);
        self.node.end(key, now);
        let word = reason.as_ref().map_or("ended by the server", |(reason, _)| reason.as_str());
        tracing::debug!(session = client.session.as_str(), reason = word, "session ended");
        if let Some((reason, detail)) = reason {
            self.messages.push(FromNode::End { session: client.session, reason, detail });
        }
    }

    /// The connection to the server is lost: all sessions are over.
    pub fn reset(&mut self, now: Instant, wire: &mut impl Wire) {
        let keys: Vec<Key> = self.clients.keys().copied().collect();
        for key in keys {
            self.end(key, None, now, wire);
        }
        self.flush(now, wire);
        self.messages.clear();
        self.stats = None;
    }

    fn arm(&mut self, key: Key) {
        let at = self
            .clients
            .get(&key)
            .and_then(|client| [client.wake, client.deadline].into_iter().flatten().min());
        self.timers.set(key, at);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let stats = self.stats.map(|(_, at)| at);
        [self.node.deadline(), self.timers.next(), stats].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, wire: &mut impl Wire) {
        self.with_outbox(now, wire, |node, out| node.handle_timeout(now, out));
        while let Some(key) = self.timers.pop(now) {
            let Some(client) = self.clients.get(&key) else { continue };
            match client.deadline.is_some_and(|deadline| deadline <= now) {
                true => {
                    let what = if client.is_connected { "the path is lost" } else { "not connected in time" };
                    self.end(key, Some((Reason::Failed, what.into())), now, wire);
                }
                false => self.wake(key, now, wire),
            }
        }
        if let Some((every, at)) = self.stats.filter(|(_, at)| *at <= now) {
            self.stats = Some((every, (at + every).max(now)));
            self.messages.push(FromNode::Stats(self.statistics()));
        }
        self.flush(now, wire);
    }

    fn statistics(&self) -> Stats {
        let ((streams, viewers), counters) = (self.node.counts(), self.node.counters());
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Stats {
            streams: number(streams),
            viewers: number(viewers),
            packets_in: counters.packets_in,
            bytes_in: counters.bytes_in,
            packets_out: self.counters.packets_out,
            bytes_out: self.counters.bytes_out,
            lost_in: counters.lost_in,
            lost_out: self.counters.lost_out,
            // Padding with which the library looks for more bandwidth is sent as retransmissions, too.
            retransmitted: self.counters.packets_out.saturating_sub(self.counters.forwarded),
            key_frame_requests: counters.key_frame_requests,
            ..Stats::default()
        }
    }

    /// Takes the messages for the server.
    pub fn messages(&mut self) -> Vec<FromNode> {
        std::mem::take(&mut self.messages)
    }
}

fn explain(why: Why) -> (Reason, String) {
    match why {
        Why::Full => (Reason::Full, String::new()),
        Why::Gone => (Reason::Gone, String::new()),
        Why::Taken => (Reason::Internal, "the stream has a publisher".into()),
        Why::TooFast => (Reason::Limit, "the bit rate is too high".into()),
    }
}

/// Whether a datagram is RTP and not RTCP (RFC 5761, section 4).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !(64..96).contains(&(kind & 0x7f)))
}
