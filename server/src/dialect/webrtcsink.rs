//! The protocol of GStreamer's `webrtcsink` and `webrtcsrc`: producers that serve several consumers, and listeners that
//! hear who comes and goes.
//!
//! A session is a call. The side that produces gets `startSession`, the other one `sessionStarted`. A producer that is
//! to answer gets `startSession` only with the offer, so the start of such a session waits for it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::{
    InvalidId, PeerId, SdpType, Signal, cut_id,
    webrtcsink::{ClientMessage, Listed, PeerMessage, Role, ServerMessage},
};
use serde_json::Value;

use super::{Dialect, Opening, Step, Translator, to_frame};
use crate::{
    bridge::Inbound,
    hub::{
        About, Call, Card, Flow, Key, Notice, Payload, Peers, Refusal, Refused, Request, Start, Use, guest,
    },
};

/// The longest description of a peer, as JSON in bytes: it is kept, and in every list.
const MAX_META: usize = 4096;

/// The state of a connection.
#[derive(Debug)]
pub struct Webrtcsink {
    /// The id in the welcome.
    id: PeerId,
    /// The id is the client's wish (`?id=`), which the server refuses if it is no id.
    wish: Option<Result<PeerId, InvalidId>>,
    /// The id is the server's choice, so that no other peer is called by it.
    is_own_choice: bool,
    status: Status,
    /// The id that is registered, or about to be.
    uid: Option<PeerId>,
    card: Card,
    /// The hub bounds their number.
    sessions: HashMap<Key, Session>,
    random: RandomState,
    last_session: u64,
}

/// What the client said about itself.
#[derive(Debug, Clone, Default, PartialEq)]
struct Status {
    is_producer: bool,
    is_consumer: bool,
    is_listener: bool,
    meta: Option<Value>,
}

#[derive(Debug)]
struct Session {
    peer: PeerId,
    /// The dialect of the other side.
    dialect: Dialect,
    produces: bool,
    /// The client knows of the session.
    is_started: bool,
    inbound: Inbound,
}

impl Status {
    fn new(roles: &[Role], meta: Option<Value>) -> Self {
        let has = |role| roles.contains(&role);
        Self {
            is_producer: has(Role::Producer),
            is_consumer: has(Role::Consumer),
            is_listener: has(Role::Listener),
            meta,
        }
    }

    fn roles(&self) -> Vec<Role> {
        let roles = [
            (self.is_producer, Role::Producer),
            (self.is_listener, Role::Listener),
            (self.is_consumer, Role::Consumer),
        ];
        roles.into_iter().filter_map(|(is_set, role)| is_set.then_some(role)).collect()
    }

    /// How it may be called, if it may be.
    fn card(&self) -> Option<Card> {
        let flow = match (self.is_producer, self.is_consumer) {
            (true, _) => Flow::Both,
            (false, true) => Flow::Receives,
            (false, false) => return None,
        };
        let meta = self.meta.as_ref().map(|meta| meta.to_string().into());
        Some(Card { is_shared: true, leads: self.is_producer, flow, meta })
    }

    /// The id that the description names: an extension of ours.
    fn uid(&self) -> Option<&str> {
        self.meta.as_ref()?.get("uid")?.as_str()
    }
}

impl Webrtcsink {
    /// A translator for a new connection. Its id is the client's wish, or its token's subject, or a random one.
    pub fn new(opening: &Opening) -> Self {
        let random = RandomState::new();
        let wish = opening.query("id").map(|id| PeerId::new(&id));
        let identity = || PeerId::new(opening.identity.as_deref()?).ok();
        let given = wish.clone().and_then(Result::ok).or_else(identity);
        let is_own_choice = given.is_none();
        let id =
            given.unwrap_or_else(|| PeerId::new(&uuid(&random, 0)).unwrap_or_else(|_| guest(opening.number)));
        Self {
            id,
            wish,
            is_own_choice,
            status: Status::default(),
            uid: None,
            card: Card::default(),
            sessions: HashMap::new(),
            random,
            last_session: 0,
        }
    }

    /// Changes what the client is, and registers, changes or unregisters its id accordingly.
    fn set_status(&mut self, status: Status, steps: &mut Vec<Step>) {
        if status == self.status {
            return;
        }
        let wanted = match self.wanted(&status) {
            Ok(wanted) => wanted,
            Err(refusal) => return steps.push(reject(refusal)),
        };
        self.end_sessions(&status, steps);
        let registers = self.register(wanted, steps);
        let was_listener = std::mem::replace(&mut self.status, status).is_listener;
        let is_listener = self.status.is_listener;
        if !registers && is_listener {
            steps.push(Step::Say(self.echo()));
        }
        if is_listener != was_listener {
            steps.push(Step::Ask(if is_listener { Request::Watch } else { Request::Unwatch }));
        }
    }

    /// The id and the card to register.
    fn wanted(&self, status: &Status) -> Result<Option<(PeerId, Card)>, Refusal> {
        if status.is_producer && status.is_consumer {
            return Err(Refusal::Other("a peer is either a producer or a consumer".into()));
        }
        // The description of a listener, too, is kept and echoed.
        if status.meta.as_ref().is_some_and(|meta| meta.to_string().len() > MAX_META) {
            return Err(Refusal::Other(format!("meta is longer than {MAX_META} bytes")));
        }
        let Some(card) = status.card() else { return Ok(None) };
        let uid = match (status.uid(), &self.wish) {
            (Some(uid), _) => PeerId::new(uid),
            (None, Some(wish)) => wish.clone(),
            (None, None) => Ok(self.id.clone()),
        };
        Ok(Some((uid.map_err(|_| Refusal::UidInvalid)?, card)))
    }

    /// Ends the sessions of the role that the client gives up.
    fn end_sessions(&mut self, status: &Status, steps: &mut Vec<Step>) {
        let stops_producing = self.status.is_producer && !status.is_producer;
        let stops_consuming = self.status.is_consumer && !status.is_consumer;
        self.sessions.retain(|key, session| {
            let ends = if session.produces { stops_producing } else { stops_consuming };
            if ends {
                steps.push(Step::Ask(Request::End(key.clone())));
            }
            !ends
        });
    }

    /// True if the hub answers.
    fn register(&mut self, wanted: Option<(PeerId, Card)>, steps: &mut Vec<Step>) -> bool {
        let is_same = wanted.as_ref().map(|(uid, _)| uid) == self.uid.as_ref();
        match (self.uid.take(), wanted) {
            (_, Some((uid, card))) if is_same => {
                self.uid = Some(uid.clone());
                if card == self.card {
                    return false;
                }
                self.card = card.clone();
                steps.push(Step::Ask(Request::Describe { uid, card }));
                true
            }
            (old, wanted) => {
                steps.extend(old.map(|uid| Step::Ask(Request::Unregister(uid))));
                let Some((uid, card)) = wanted else { return false };
                self.uid = Some(uid.clone());
                self.card = card.clone();
                steps.push(Step::Ask(Request::Register { uid, card }));
                true
            }
        }
    }

    /// A listener gets its own status, too, under the id that it knows.
    fn echo(&self) -> Utf8Bytes {
        let (roles, meta) = (self.status.roles(), self.status.meta.clone());
        let message = ServerMessage::PeerStatusChanged { roles, meta, peer_id: self.id.as_str().into() };
        message.to_string().into()
    }

    fn start_session(&mut self, peer: &str, offer: Option<String>, steps: &mut Vec<Step>) {
        let Ok(to) = PeerId::new(peer) else {
            return steps.push(reject(Refusal::PeerNotFound(cut_id(peer).into())));
        };
        self.last_session += 1;
        let key = Key::from(uuid(&self.random, self.last_session).as_str());
        let start = match offer {
            Some(_) => Start::AtOnce,
            None if self.status.is_producer => Start::IfNeeded,
            None => Start::Never,
        };
        // The offer of a consumer may ask for media or send some: only one without is plain.
        let media = (start == Start::Never).then_some(Use::Play);
        // Without a registration the hub would know it by its number.
        let from = (self.uid.is_none() && self.is_own_choice).then(|| self.id.clone());
        steps.push(Step::Ask(Request::Call { key: key.clone(), to, from, start, media, only: None }));
        if let Some(sdp) = offer {
            steps.push(send(key, Signal::Sdp { kind: SdpType::Offer, sdp }));
        }
    }

    /// A message of an unknown session is ignored: the other side may just have ended it.
    fn peer_message(&self, message: PeerMessage, steps: &mut Vec<Step>) {
        let key = Key::from(message.session_id.as_str());
        let Some(session) = self.sessions.get(&key) else { return };
        if message.signal.is_offer() && !session.produces && session.dialect == Dialect::Webrtcsink {
            return steps.push(reject(Refusal::Other("only the producer of a session offers in it".into())));
        }
        steps.push(send(key, message.signal));
    }

    fn called(&mut self, call: Call, frames: &mut Vec<Message>) {
        let produces = if call.is_caller { call.is_asked } else { !self.status.is_consumer };
        let is_started = !produces || call.is_asked;
        if is_started {
            frames.push(if produces {
                start(&call.peer, &call.key, None)
            } else {
                let (peer_id, session_id) = (call.peer.as_str().into(), call.key.as_str().into());
                to_frame(&ServerMessage::SessionStarted { peer_id, session_id })
            });
        }
        let Call { key, peer, dialect, .. } = call;
        let inbound = Inbound::default();
        self.sessions.insert(key, Session { peer, dialect, produces, is_started, inbound });
    }

    fn signal(&mut self, key: &Key, payload: Payload, frames: &mut Vec<Message>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(signal) = payload.into_signal() else { return };
        for signal in session.inbound.take(signal) {
            match signal {
                Signal::OfferRequest if session.produces && !session.is_started => {
                    session.is_started = true;
                    frames.push(start(&session.peer, key, None));
                }
                Signal::Sdp { kind: SdpType::Offer, sdp } if !session.is_started => {
                    session.is_started = true;
                    frames.push(start(&session.peer, key, Some(&sdp)));
                }
                // Its clients do not know the end of candidates.
                Signal::Ice(candidate) if candidate.is_end() => {}
                Signal::Sdp { .. } | Signal::Ice(_) if session.is_started => {
                    let session_id = key.as_str().into();
                    frames.push(to_frame(&ServerMessage::Peer(PeerMessage { session_id, signal })));
                }
                _ => {}
            }
        }
    }

    fn refused(&mut self, refused: Refused, frames: &mut Vec<Message>) {
        if refused.refusal == Refusal::TooManyWatchers {
            self.status.is_listener = false;
        }
        match refused.about {
            // The session has ended; the client hears of it, or has ended it itself.
            About::Signal => return,
            About::Register => {
                self.uid = None;
                (self.status.is_producer, self.status.is_consumer) = (false, false);
            }
            About::Call | About::Find | About::Join | About::Send => {}
        }
        frames.push(to_frame(&ServerMessage::Error { details: details(refused.refusal).into() }));
    }
}

impl Translator for Webrtcsink {
    fn dialect(&self) -> Dialect {
        Dialect::Webrtcsink
    }

    fn open(&mut self, steps: &mut Vec<Step>) {
        let welcome = ServerMessage::Welcome { peer_id: self.id.as_str().into() };
        steps.push(Step::Say(welcome.to_string().into()));
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        let Message::Text(frame) = frame else {
            return steps.push(reject(Refusal::Other("a binary frame".into())));
        };
        match ClientMessage::parse(&frame) {
            Ok(ClientMessage::SetPeerStatus { roles, meta, .. }) => {
                self.set_status(Status::new(&roles, meta), steps);
            }
            Ok(ClientMessage::StartSession { peer_id, offer }) => self.start_session(&peer_id, offer, steps),
            Ok(ClientMessage::EndSession { session_id }) => {
                let key = Key::from(session_id.as_str());
                if self.sessions.remove(&key).is_some() {
                    steps.push(Step::Ask(Request::End(key)));
                }
            }
            Ok(ClientMessage::Peer(message)) => self.peer_message(message, steps),
            Ok(ClientMessage::List) => steps.push(Step::Ask(Request::List(Flow::Sends))),
            Ok(ClientMessage::ListConsumers) => steps.push(Step::Ask(Request::List(Flow::Receives))),
            Ok(ClientMessage::SetProtocolVersion) => {}
            Err(error) => steps.push(reject(Refusal::Other(format!("malformed message: {error}")))),
        }
    }

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        match notice {
            Notice::Registered(uid) => {
                self.uid = Some(uid);
                if self.status.is_listener {
                    frames.push(Message::Text(self.echo()));
                }
            }
            Notice::Called(call) => self.called(*call, frames),
            Notice::Refused(refused) => self.refused(*refused, frames),
            Notice::Signal(signal) => self.signal(&signal.key, signal.payload, frames),
            Notice::Ended(ended) => {
                // A session that has no offer yet was never announced.
                if self.sessions.remove(&ended.key).is_some_and(|session| session.is_started) {
                    let session_id = ended.key.as_str().into();
                    frames.push(to_frame(&ServerMessage::EndSession { session_id }));
                }
            }
            Notice::Peers(peers) => frames.push(to_frame(&list(&peers))),
            Notice::Presence(presence) => {
                if self.uid.as_ref() != Some(&presence.uid) {
                    frames.push(Message::Text(presence.text.clone()));
                }
            }
            // It joins no room, and does not look for a peer.
            Notice::Found(_)
            | Notice::Joined(_)
            | Notice::Change(_)
            | Notice::Message(_)
            | Notice::Members(_)
            | Notice::Attached => {}
        }
    }
}

/// The frame about a peer that comes, changes or goes. All listeners get the same text, so it is made once.
pub fn presence(uid: &PeerId, card: &Card, is_there: bool) -> Utf8Bytes {
    let role = match card.flow {
        Flow::Both | Flow::Sends => Role::Producer,
        Flow::Receives | Flow::Awaits | Flow::None => Role::Consumer,
    };
    let roles = if is_there { vec![role] } else { Vec::new() };
    let message = ServerMessage::PeerStatusChanged {
        roles,
        meta: meta(card.meta.as_deref()),
        peer_id: uid.as_str().into(),
    };
    message.to_string().into()
}

fn list(peers: &Peers) -> ServerMessage<'_> {
    let each = peers.peers.iter();
    let listed =
        each.map(|peer| Listed { id: peer.uid.as_str().into(), meta: meta(peer.meta.as_deref()) }).collect();
    match peers.flow {
        Flow::Both | Flow::Sends => ServerMessage::List { producers: listed },
        Flow::Receives | Flow::Awaits | Flow::None => ServerMessage::ListConsumers { consumers: listed },
    }
}

fn meta(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

fn start(peer: &PeerId, key: &Key, offer: Option<&str>) -> Message {
    let (peer_id, session_id) = (peer.as_str().into(), key.as_str().into());
    to_frame(&ServerMessage::StartSession { peer_id, session_id, offer: offer.map(Into::into) })
}

fn send(key: Key, signal: Signal) -> Step {
    let payload = Payload::new(Dialect::Webrtcsink, Utf8Bytes::default(), signal);
    Step::Ask(Request::Signal { key, payload })
}

fn reject(refusal: Refusal) -> Step {
    Step::Ask(Request::Reject { about: About::Send, refusal })
}

fn details(refusal: Refusal) -> String {
    match refusal {
        Refusal::PeerNotFound(id) => format!("peer {id:?} not found"),
        Refusal::PeerBusy(id) => format!("peer {id:?} is busy"),
        Refusal::UidInvalid => "the id is empty, too long or has white space".into(),
        Refusal::UidTaken => "another peer has the id".into(),
        Refusal::UidNotAllowed => "the token does not allow the id".into(),
        Refusal::TooManyIds | Refusal::TooManySessions => "too many sessions".into(),
        Refusal::StreamNotAllowed => "the token does not allow the stream".into(),
        Refusal::TooManyWatchers => "too many listeners from here".into(),
        Refusal::NobodyOffers => "the peer only receives, and only a producer can call it".into(),
        Refusal::Unavailable => "not available, try again later".into(),
        Refusal::Other(text) => text,
        other => other.kind().into(),
    }
}

/// A random id in the form of a UUID, version 4 (RFC 9562).
fn uuid(random: &RandomState, number: u64) -> String {
    let half = |which: u8| u128::from(random.hash_one((number, which)));
    let bits = (half(0) << 64 | half(1)) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    parts.join("-")
}

#[cfg(test)]
mod tests;
