//! A room whose media go through a media node: what becomes of each message of a member, and of what the node says. Pure.
//!
//! Each member has a link to the node and one to each other member, as far as it negotiates with them. The link to the node is a
//! session that publishes the member's stream. The link to another member is a session that plays the stream of that member;
//! the node speaks in its name. So a member sends its media once, however many members there are, and its client sees nothing
//! but members, of which one only receives and the others only send.
//!
//! A client that joins offers to all that are there, as in any room. To a client that was there before, the node offers in the
//! name of the one that has joined, as soon as the media of that one arrive. If a session is lost, the client gets a
//! notice that the peer has left, and when there can be another session, one that it has joined. All clients handle these.

mod plain;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, mem};

use callbin_protocol::{PeerId, SdpType, Signal};

/// The most bytes of signals that are kept for one member until there are streams to play, or a node.
const MAX_HELD: usize = 512 * 1024;

/// What is compared of a fingerprint: more than that of SHA-512 has.
const MAX_FINGERPRINT: usize = 256;

/// How often in a row a session is started again that fails before it is connected.
const MAX_FAILURES: u8 = 3;

/// The other side of a link, as the member's client sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The node: the link publishes the member's stream.
    Node,
    /// Another member: the link plays its stream.
    Member(PeerId),
}

/// What has to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start a session. If that is not possible, [`NodeRoom::refused`] has to follow.
    Start {
        /// The member.
        member: PeerId,
        /// The other side.
        peer: Peer,
        /// The node offers.
        is_asked: bool,
        /// Once it is started, the member gets a notice that the peer has joined.
        shows: bool,
    },
    /// Pass a signal of the member to its session.
    Send {
        /// The member.
        member: PeerId,
        /// The other side.
        peer: Peer,
        /// The signal.
        signal: Signal,
    },
    /// End a session.
    End {
        /// The member.
        member: PeerId,
        /// The other side.
        peer: Peer,
    },
    /// Pass a signal of the node to the member.
    Deliver {
        /// The member.
        member: PeerId,
        /// In whose name.
        peer: Peer,
        /// The signal.
        signal: Signal,
    },
    /// Notify the member that the peer has joined.
    Show {
        /// The member.
        member: PeerId,
        /// The peer.
        peer: Peer,
    },
    /// Notify the member that the peer has left.
    Hide {
        /// The member.
        member: PeerId,
        /// The peer.
        peer: Peer,
    },
}

/// Why a session has ended without a request of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The client has closed the connection.
    Left,
    /// The connection has failed.
    Failed,
    /// The node is gone, or is about to go.
    Lost,
    /// The stream that is played is gone, or has other tracks.
    Gone,
    /// There are no media that the node could take or send.
    Unacceptable,
    /// A limit, or an operator.
    Refused,
}

/// The room (see the module's description).
#[derive(Debug, Default)]
pub struct NodeRoom {
    members: BTreeMap<PeerId, Member>,
    has_node: bool,
}

#[derive(Debug, Default)]
struct Member {
    /// Its media arrive at the node.
    is_live: bool,
    /// It has offered nothing that the node could take: it only receives.
    is_silent: bool,
    /// Its client has to send to all ([`plain`]).
    is_plain: bool,
    node: Link,
    others: BTreeMap<PeerId, Link>,
    /// The bytes kept in its links.
    held: usize,
}

#[derive(Debug, Default)]
struct Link {
    state: State,
    failures: u8,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// There is no session, and the client begins the next one.
    #[default]
    Idle,
    /// There is no session. The client waits for an offer of a peer that joined after it.
    Awaits,
    /// There is no session yet. The client has offered.
    Held(Vec<Signal>),
    /// There is a session.
    Open {
        /// The node has offered or will, and the client has not answered.
        is_asked: bool,
        /// That of the client's last description. Another one belongs to another connection.
        certificate: String,
    },
    /// There is no session. For the client, the peer is not there.
    Hidden,
}

impl NodeRoom {
    /// Sets whether there is a node that takes streams. Has to be up to date before any other call.
    pub fn set_has_node(&mut self, has_node: bool) {
        self.has_node = has_node;
    }

    /// Whether this is a member.
    pub fn has(&self, uid: &PeerId) -> bool {
        self.members.contains_key(uid)
    }

    /// A member joined. It knows all others, and all others know it.
    pub fn joined(&mut self, uid: &PeerId) {
        for member in self.members.values_mut() {
            member.others.insert(uid.clone(), Link { state: State::Awaits, failures: 0 });
        }
        self.members.insert(uid.clone(), Member::default());
    }

    /// A member left. The others learn that in the usual way, and some clients end if a peer leaves that is not there.
    pub fn left(&mut self, uid: &PeerId, effects: &mut Vec<Effect>) {
        let Some(gone) = self.members.remove(uid) else { return };
        let end = |peer| Effect::End { member: uid.clone(), peer };
        let played = gone.others.iter().filter(|(_, link)| link.is_open());
        effects.extend(played.map(|(other, _)| end(Peer::Member(other.clone()))));
        for (name, member) in &mut self.members {
            if let Some(link) = member.others.remove(uid) {
                member.held -= link.held();
                let (member, peer) = (name.clone(), Peer::Member(uid.clone()));
                match link.state {
                    State::Open { .. } => effects.push(Effect::End { member, peer }),
                    State::Hidden => effects.push(Effect::Show { member, peer }),
                    State::Idle | State::Awaits | State::Held(_) => {}
                }
            }
        }
        // Last, so that nobody plays it any more.
        effects.extend(gone.node.is_open().then(|| end(Peer::Node)));
    }

    /// A member sent a signal.
    pub fn said(&mut self, uid: &PeerId, peer: &Peer, signal: Signal, effects: &mut Vec<Effect>) {
        // To a peer that is not there any more, it is late.
        if !self.knows(uid, peer) || self.state(uid, peer) == Some(&State::Hidden) {
            return;
        }
        if let (Some(sdp), Some(member)) = (sdp(&signal), self.members.get_mut(uid)) {
            member.is_plain = plain::is_plain(sdp);
        }
        match signal {
            Signal::Sdp { kind: SdpType::Offer, sdp } => self.offered(uid, peer, sdp, effects),
            Signal::Sdp { kind: SdpType::Answer, sdp } => {
                let has_to_send = self.has_to_send(uid, peer);
                let Some(link) = self.link(uid, peer) else { return };
                if let State::Open { is_asked: is_asked @ true, certificate } = &mut link.state {
                    (*is_asked, *certificate) = (false, fingerprint(&sdp));
                    let sdp = if has_to_send { plain::without_sending(&sdp).into_owned() } else { sdp };
                    let signal = Signal::Sdp { kind: SdpType::Answer, sdp };
                    effects.push(Effect::Send { member: uid.clone(), peer: peer.clone(), signal });
                }
            }
            Signal::Ice(candidate) => match self.link(uid, peer).map(|link| &link.state) {
                // Before its answer, it can only be one of an earlier connection.
                Some(State::Open { is_asked: false, .. }) => {
                    let signal = Signal::Ice(candidate);
                    effects.push(Effect::Send { member: uid.clone(), peer: peer.clone(), signal });
                }
                Some(State::Held(_)) => drop(self.hold(uid, peer, Signal::Ice(candidate))),
                _ => {}
            },
            Signal::OfferRequest => {
                if self.link(uid, peer).is_some_and(|link| !link.is_open()) {
                    self.ask(uid, peer, effects);
                }
            }
        }
    }

    /// A member declined a connection to a peer: it wants no media of it.
    pub fn declined(&mut self, uid: &PeerId, peer: &Peer, effects: &mut Vec<Effect>) {
        if !self.knows(uid, peer) || self.state(uid, peer) == Some(&State::Hidden) {
            return;
        }
        if self.set(uid, peer, State::Idle).is_open() {
            effects.push(Effect::End { member: uid.clone(), peer: peer.clone() });
        }
    }

    /// The node sent a signal.
    pub fn signalled(&mut self, uid: &PeerId, peer: &Peer, signal: Signal, effects: &mut Vec<Effect>) {
        if !self.state(uid, peer).is_some_and(State::is_open) {
            return;
        }
        let signal = match signal {
            Signal::Sdp { kind, sdp } if self.has_to_send(uid, peer) => {
                Signal::Sdp { kind, sdp: plain::with_receiving(&sdp).into_owned() }
            }
            signal => signal,
        };
        effects.push(Effect::Deliver { member: uid.clone(), peer: peer.clone(), signal });
    }

    /// A session is connected.
    pub fn connected(&mut self, uid: &PeerId, peer: &Peer) {
        if let Some(link) = self.link(uid, peer) {
            link.failures = 0;
        }
    }

    /// The media of a member arrive: those that wait for them get them.
    pub fn live(&mut self, uid: &PeerId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(uid) else { return };
        (member.is_live, member.is_silent) = (true, false);
        let peer = Peer::Member(uid.clone());
        for other in self.others(uid) {
            self.go_on(&other, &peer, effects);
        }
    }

    /// The media of a member arrive no longer. Sessions that play them go on.
    pub fn silent(&mut self, uid: &PeerId) {
        if let Some(member) = self.members.get_mut(uid) {
            member.is_live = false;
        }
    }

    /// A session cannot be started. `shows` is that of [`Effect::Start`].
    pub fn refused(&mut self, uid: &PeerId, peer: &Peer, shows: bool, effects: &mut Vec<Effect>) {
        match shows {
            true => drop(self.set(uid, peer, State::Hidden)),
            false => self.hide(uid, peer, effects),
        }
    }

    /// A session has ended.
    pub fn ended(&mut self, uid: &PeerId, peer: &Peer, why: Why, effects: &mut Vec<Effect>) {
        let Some(link) = self.link(uid, peer).filter(|link| link.is_open()) else { return };
        if matches!(why, Why::Failed | Why::Gone) {
            link.failures += 1;
        }
        let has_patience = link.failures < MAX_FAILURES;
        link.state = State::Idle;
        if *peer == Peer::Node {
            self.silent(uid);
        }
        match why {
            // A client that goes on offers again.
            Why::Left => {}
            Why::Failed | Why::Gone if has_patience => self.start_over(uid, peer, effects),
            Why::Lost => self.start_over(uid, peer, effects),
            Why::Failed | Why::Gone | Why::Unacceptable | Why::Refused => self.hide(uid, peer, effects),
        }
        if why == Why::Unacceptable && *peer == Peer::Node {
            self.only_receives(uid, effects);
        }
    }

    /// There is a node, or another one: what could not be started before may be possible.
    pub fn look_again(&mut self, effects: &mut Vec<Effect>) {
        let members: Vec<PeerId> = self.members.keys().cloned().collect();
        for uid in &members {
            if self.members.get(uid).is_some_and(|member| !member.is_silent) {
                self.go_on(uid, &Peer::Node, effects);
            }
            for other in self.others(uid) {
                let peer = Peer::Member(other);
                if self.state(uid, &peer) == Some(&State::Hidden) {
                    self.go_on(uid, &peer, effects);
                }
            }
        }
    }

    fn offered(&mut self, uid: &PeerId, peer: &Peer, sdp: String, effects: &mut Vec<Effect>) {
        let of_offer = fingerprint(&sdp);
        let signal = Signal::Sdp { kind: SdpType::Offer, sdp };
        if let Some(Link { state: State::Open { is_asked, certificate }, .. }) = self.link(uid, peer) {
            // Both have offered. The client withdraws its offer: to it, the peer is the one that joined later.
            if *is_asked {
                return;
            }
            if *certificate == of_offer {
                return effects.push(Effect::Send { member: uid.clone(), peer: peer.clone(), signal });
            }
            effects.push(Effect::End { member: uid.clone(), peer: peer.clone() });
            if *peer == Peer::Node {
                self.silent(uid);
            }
        }
        self.set(uid, peer, State::Held(Vec::new()));
        if self.lacks_media(peer) || !self.hold(uid, peer, signal) {
            return self.hide(uid, peer, effects);
        }
        self.go_on(uid, peer, effects);
    }

    /// Starts what a link waits for, if there is what it needs.
    fn go_on(&mut self, uid: &PeerId, peer: &Peer, effects: &mut Vec<Effect>) {
        if !self.is_there(peer) {
            return;
        }
        match self.state(uid, peer) {
            Some(State::Held(_)) => self.start_held(uid, peer, effects),
            Some(State::Awaits | State::Hidden) => self.ask(uid, peer, effects),
            _ => {}
        }
    }

    /// Starts a session with what the client has sent.
    fn start_held(&mut self, uid: &PeerId, peer: &Peer, effects: &mut Vec<Effect>) {
        let State::Held(signals) = self.set(uid, peer, State::Idle) else { return };
        let certificate = signals.iter().find_map(sdp).map(fingerprint).unwrap_or_default();
        self.set(uid, peer, State::Open { is_asked: false, certificate });
        let (member, peer) = (uid.clone(), peer.clone());
        effects.push(Effect::Start {
            member: member.clone(),
            peer: peer.clone(),
            is_asked: false,
            shows: false,
        });
        let send = |signal| Effect::Send { member: member.clone(), peer: peer.clone(), signal };
        effects.extend(signals.into_iter().map(send));
    }

    /// Starts a session in which the node offers.
    fn ask(&mut self, uid: &PeerId, peer: &Peer, effects: &mut Vec<Effect>) {
        if !self.is_there(peer) {
            return;
        }
        let before = self.set(uid, peer, State::Open { is_asked: true, certificate: String::new() });
        effects.push(Effect::Start {
            member: uid.clone(),
            peer: peer.clone(),
            is_asked: true,
            shows: before == State::Hidden,
        });
    }

    /// The client needs another connection.
    fn start_over(&mut self, uid: &PeerId, peer: &Peer, effects: &mut Vec<Effect>) {
        self.hide(uid, peer, effects);
        self.go_on(uid, peer, effects);
    }

    /// A member sends nothing: those that wait for its media need not wait.
    fn only_receives(&mut self, uid: &PeerId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(uid) else { return };
        member.is_silent = true;
        let peer = Peer::Member(uid.clone());
        for other in self.others(uid) {
            if matches!(self.state(&other, &peer), Some(State::Awaits | State::Held(_))) {
                self.hide(&other, &peer, effects);
            }
        }
    }

    fn hide(&mut self, uid: &PeerId, peer: &Peer, effects: &mut Vec<Effect>) {
        if self.set(uid, peer, State::Hidden) != State::Hidden {
            effects.push(Effect::Hide { member: uid.clone(), peer: peer.clone() });
        }
    }

    /// Keeps a signal until there is a session. False: there are too many.
    fn hold(&mut self, uid: &PeerId, peer: &Peer, signal: Signal) -> bool {
        let Some(member) = self.members.get_mut(uid) else { return false };
        let held = member.held + len(&signal);
        if held > MAX_HELD {
            return false;
        }
        if let State::Held(signals) = &mut member.link(peer).state {
            signals.push(signal);
            member.held = held;
        }
        true
    }

    /// Sets the state of a link, and returns the one before.
    fn set(&mut self, uid: &PeerId, peer: &Peer, state: State) -> State {
        let Some(member) = self.members.get_mut(uid) else { return State::Idle };
        let link = member.link(peer);
        let released = link.held();
        let before = mem::replace(&mut link.state, state);
        member.held -= released;
        before
    }

    fn state(&self, uid: &PeerId, peer: &Peer) -> Option<&State> {
        let member = self.members.get(uid)?;
        Some(match peer {
            Peer::Node => &member.node.state,
            Peer::Member(other) => &member.others.get(other)?.state,
        })
    }

    /// A member's link, which is made if there is none.
    fn link(&mut self, uid: &PeerId, peer: &Peer) -> Option<&mut Link> {
        Some(self.members.get_mut(uid)?.link(peer))
    }

    fn knows(&self, uid: &PeerId, peer: &Peer) -> bool {
        match peer {
            Peer::Node => self.has(uid),
            Peer::Member(other) => other != uid && self.has(uid) && self.has(other),
        }
    }

    /// Whether a session with this peer can be started.
    fn is_there(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Node => self.has_node,
            Peer::Member(other) => self.members.get(other).is_some_and(|member| member.is_live),
        }
    }

    /// Whether a member's client has to send to this peer, though nobody wants its media there.
    fn has_to_send(&self, uid: &PeerId, peer: &Peer) -> bool {
        *peer != Peer::Node && self.members.get(uid).is_some_and(|member| member.is_plain)
    }

    fn lacks_media(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Node => false,
            Peer::Member(other) => self.members.get(other).is_some_and(|member| member.is_silent),
        }
    }

    fn others(&self, uid: &PeerId) -> Vec<PeerId> {
        self.members.keys().filter(|other| *other != uid).cloned().collect()
    }
}

impl Member {
    fn link(&mut self, peer: &Peer) -> &mut Link {
        match peer {
            Peer::Node => &mut self.node,
            Peer::Member(other) => self.others.entry(other.clone()).or_default(),
        }
    }
}

impl Link {
    fn is_open(&self) -> bool {
        self.state.is_open()
    }

    fn held(&self) -> usize {
        match &self.state {
            State::Held(signals) => signals.iter().map(len).sum(),
            _ => 0,
        }
    }
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// The bytes of a signal, and of its place in the list.
fn len(signal: &Signal) -> usize {
    let text = match signal {
        Signal::Sdp { sdp, .. } => sdp.len(),
        Signal::Ice(candidate) => {
            candidate.candidate.len() + candidate.sdp_mid.as_deref().map_or(0, str::len)
        }
        Signal::OfferRequest => 0,
    };
    text + mem::size_of::<Signal>()
}

fn sdp(signal: &Signal) -> Option<&str> {
    match signal {
        Signal::Sdp { sdp, .. } => Some(sdp),
        _ => None,
    }
}

/// The fingerprint of the first certificate in a description. Clients make one for each connection.
fn fingerprint(sdp: &str) -> String {
    let line = sdp.lines().find_map(|line| line.strip_prefix("a=fingerprint:"));
    line.map(|line| line.trim().to_ascii_uppercase().chars().take(MAX_FINGERPRINT).collect())
        .unwrap_or_default()
}
