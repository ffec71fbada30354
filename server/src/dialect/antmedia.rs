//! Ant Media's JSON commands: two peers that `join` a stream, and publishers and players of peers of any dialect.
//!
//! A stream id is an id of the hub and the name of the call under it, so one connection may have many streams. A stream
//! keeps what the protocol needs and the hub does not know: what the client wants with it, and how far a call got.

mod errors;
mod stream;

use std::{borrow::Cow, collections::BTreeMap};

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::{
    PeerId, Signal,
    antmedia::{Command, Definition, Frame, IceServer, Reply, Written, named},
    cut_id, ice_urls,
};
use serde_json::Value;

use self::stream::{Ongoing, Role, Stream};
use super::{Dialect, Step, Translator};
use crate::hub::{
    About, Call, Card, Ended, Flow, Incoming, Key, Notice, Payload, Refusal, Refused, Request, Start,
};

/// The most streams of one connection. The hub has as many places for ids and calls.
const MAX_STREAMS: usize = 256;

/// The state of a connection.
#[derive(Debug, Default)]
pub struct Antmedia {
    streams: BTreeMap<PeerId, Stream>,
}

/// What a client wants to know about a stream: how the key of the question begins.
const STREAM_INFO: &str = "info";
const TRACK_LIST: &str = "list";
/// What follows if the client knows the stream only by `streamName`.
const BY_NAME: &str = "+";

impl Translator for Antmedia {
    fn dialect(&self) -> Dialect {
        Dialect::Antmedia
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        let parsed = match &frame {
            Message::Text(text) => Frame::parse(text).ok().map(|frame| (frame, text)),
            _ => None,
        };
        match parsed {
            Some((frame, text)) => self.obey(frame, text, steps),
            None => steps.push(refuse(Definition::InvalidMessage, None, None)),
        }
    }

    fn write_ice_servers(&mut self, servers: &[Value], frames: &mut Vec<Message>) {
        frames.push(Message::Text(answer(&Reply::IceServers(choose(servers)), None)));
    }

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        match notice {
            Notice::Registered(uid) => self.registered(&uid, frames),
            Notice::Called(call) => self.called(*call, frames),
            Notice::Refused(refused) => self.refused(*refused, frames),
            Notice::Signal(signal) => self.signal(*signal, frames),
            Notice::Ended(ended) => self.ended(&ended, frames),
            Notice::Found(found) => frames.extend(information(&found.key, None)),
            // It is in no room, and asks for no list.
            Notice::Joined(_)
            | Notice::Change(_)
            | Notice::Message(_)
            | Notice::Members(_)
            | Notice::Peers(_)
            | Notice::Presence(_)
            | Notice::Attached => {}
        }
    }
}

/// What a client asks for.
impl Antmedia {
    fn obey(&mut self, frame: Frame, text: &Utf8Bytes, steps: &mut Vec<Step>) {
        match &frame.command {
            Command::Ping => return steps.push(Step::Say(answer(&Reply::Pong, None))),
            Command::IceServers => return steps.push(Step::IceServers),
            Command::RoomInfo(room) => {
                let reply = Reply::RoomInformation(cut_id(room).into());
                return steps.push(Step::Say(answer(&reply, Some(&frame))));
            }
            Command::Other(name) => {
                return steps.push(refuse(Definition::UnsupportedCommand, Some(name), Some(&frame)));
            }
            // Clients of the first version have one stream and do not name it.
            Command::Stop | Command::Leave if frame.is_unnamed() => {
                return self.end_all(frame.command == Command::Leave, steps);
            }
            _ => {}
        }
        let Some(name) = frame.stream.as_deref() else {
            return steps.push(refuse(Definition::NoStreamNameSpecified, None, None));
        };
        match PeerId::new(name) {
            Ok(uid) => self.obey_for(uid, &frame, text, steps),
            Err(_) => steps.push(refuse(Definition::InvalidStreamName, None, Some(&frame))),
        }
    }

    /// The commands that concern a stream.
    fn obey_for(&mut self, uid: PeerId, frame: &Frame, text: &Utf8Bytes, steps: &mut Vec<Step>) {
        match &frame.command {
            Command::Join => self.begin(uid, Role::Join, frame, steps),
            Command::Publish => self.begin(uid, Role::Publish, frame, steps),
            Command::Play => self.begin(uid, Role::Play, frame, steps),
            Command::Stop => self.end(&uid, steps),
            Command::Leave => {
                if self.streams.get(&uid).is_none_or(|stream| stream.role.is_none()) {
                    let reply = Reply::Notification(Definition::Leaved);
                    steps.push(Step::Say(answer(&reply, Some(frame))));
                }
                self.end(&uid, steps);
            }
            Command::Description { .. } | Command::Candidate(_) => self.relay(&uid, frame, text, steps),
            Command::PeerMessage => self.relay_private(&uid, frame, text, steps),
            Command::StreamInfo => steps.push(Step::Ask(question(STREAM_INFO, uid, frame.by_name))),
            Command::TrackList => steps.push(Step::Ask(question(TRACK_LIST, uid, frame.by_name))),
            Command::InvalidDescription => {
                steps.push(refuse(Definition::NotSetRemoteDescription, None, Some(frame)));
            }
            Command::InvalidCandidate => {
                steps.push(refuse(Definition::MissingParameter, Some("candidate"), Some(frame)));
            }
            Command::Ping | Command::IceServers | Command::RoomInfo(_) | Command::Other(_) => {}
        }
    }

    fn begin(&mut self, uid: PeerId, role: Role, frame: &Frame, steps: &mut Vec<Step>) {
        let count = self.streams.len();
        let stream = match self.streams.get_mut(&uid) {
            Some(stream) => stream,
            None if count >= MAX_STREAMS => {
                return steps.push(refuse(Definition::HighResourceUsage, None, Some(frame)));
            }
            None => self.streams.entry(uid.clone()).or_default(),
        };
        match stream.role {
            None => steps.push(Step::Ask(stream.begin(&uid, role, frame.by_name))),
            Some(current) if current == role && stream.is_waiting() => match role {
                Role::Join => {
                    let joined = Reply::Notification(Definition::Joined);
                    steps.push(Step::Say(stream.names.print(&uid, &joined)));
                }
                // It can be called, and has the id.
                Role::Publish => {}
                // Another peer may have got the id.
                Role::Play => {
                    steps.extend(stream.end(&uid).map(Step::Ask));
                    steps.push(Step::Ask(stream.begin(&uid, role, frame.by_name)));
                }
            },
            Some(current) => steps.push(refuse(current.taken(), None, Some(frame))),
        }
    }

    /// Ends what is done with a stream. Nothing happens if that is nothing: clients stop twice.
    fn end(&mut self, uid: &PeerId, steps: &mut Vec<Step>) {
        let Some(stream) = self.streams.get_mut(uid) else { return };
        let Some(role) = stream.role else { return };
        // A player that waits already has the answer `no_stream_exist`.
        let finished =
            (role != Role::Play || !stream.is_waiting()).then(|| Reply::Notification(role.finished()));
        steps.extend(stream.end(uid).map(Step::Ask));
        steps.extend(finished.map(|finished| Step::Say(stream.names.print(uid, &finished))));
        self.forget(uid);
    }

    fn end_all(&mut self, leaves: bool, steps: &mut Vec<Step>) {
        let is_meant = |stream: &Stream| stream.role.is_some_and(|role| (role == Role::Join) == leaves);
        let meant = self.streams.iter().filter(|(_, stream)| is_meant(stream));
        let uids: Vec<PeerId> = meant.map(|(uid, _)| uid.clone()).collect();
        uids.iter().for_each(|uid| self.end(uid, steps));
    }

    /// An offer, an answer or a candidate.
    fn relay(&mut self, uid: &PeerId, frame: &Frame, text: &Utf8Bytes, steps: &mut Vec<Step>) {
        let Some((names, call)) = self.streams.get_mut(uid).and_then(Stream::talk) else {
            return steps.push(refuse(Definition::NoPeerAssociated, None, Some(frame)));
        };
        let signal = match &frame.command {
            Command::Description { kind, sdp } => Signal::Sdp { kind: *kind, sdp: sdp.clone() },
            Command::Candidate(candidate) => Signal::Ice(candidate.clone()),
            _ => return,
        };
        let answers = signal.is_answer();
        // Others read the signal only.
        let text = if call.is_own { changed(frame.relayed(text, uid.as_str()), text) } else { text.clone() };
        let started = if answers { call.start() } else { None };
        let payload = Payload::new(Dialect::Antmedia, text, signal);
        steps.push(Step::Ask(Request::Signal { key: Key::from(uid.as_str()), payload }));
        steps.extend(started.map(|started| Step::Say(names.print(uid, &Reply::Notification(started)))));
    }

    /// A message that only a peer of this dialect can read.
    fn relay_private(&mut self, uid: &PeerId, frame: &Frame, text: &Utf8Bytes, steps: &mut Vec<Step>) {
        let refusal = match self.streams.get_mut(uid).and_then(Stream::talk) {
            None => Definition::NoPeerAssociated,
            Some((_, call)) if !call.is_own => Definition::UnsupportedCommand,
            Some(_) => {
                let text = changed(frame.relayed(text, uid.as_str()), text);
                let payload = Payload::private(Dialect::Antmedia, text);
                return steps.push(Step::Ask(Request::Signal { key: Key::from(uid.as_str()), payload }));
            }
        };
        steps.push(refuse(refusal, Some("peerMessageCommand"), Some(frame)));
    }

    /// Forgets a stream that is neither wanted nor awaits an answer of the hub.
    fn forget(&mut self, uid: &PeerId) {
        if self.streams.get(uid).is_some_and(Stream::is_over) {
            self.streams.remove(uid);
        }
    }
}

/// What a client is sent.
impl Antmedia {
    fn registered(&mut self, uid: &PeerId, frames: &mut Vec<Message>) {
        let Some(stream) = self.streams.get_mut(uid) else { return };
        if stream.is_answered() {
            stream.is_registered = true;
            let reply = match stream.role {
                Some(Role::Join) => Some(Reply::Notification(Definition::Joined)),
                // Also for the stock client, which asks again and again, and takes an offer that comes meanwhile.
                Some(Role::Play) => Some(Reply::Error(Definition::NoStreamExist, None)),
                Some(Role::Publish) | None => None,
            };
            frames.extend(reply.map(|reply| stream.names.frame(uid, &reply)));
        }
        self.forget(uid);
    }

    fn called(&mut self, call: Call, frames: &mut Vec<Message>) {
        let Some((uid, stream)) = self.of(&call.key) else { return };
        // A call to the stream as it was before the last command has ended already.
        let is_current = if call.is_caller { stream.is_answered() } else { stream.is_waiting() };
        if is_current {
            stream.is_registered &= !call.is_caller;
            stream.call = stream.role.map(|role| Ongoing::new(role, &call));
            if call.is_caller && stream.role == Some(Role::Join) {
                frames.push(stream.names.frame(&uid, &Reply::Notification(Definition::Joined)));
            }
            if call.is_asked {
                frames.push(stream.names.frame(&uid, &Reply::Start));
            }
        }
        self.forget(&uid);
    }

    fn refused(&mut self, refused: Refused, frames: &mut Vec<Message>) {
        match (refused.about, refused.refusal) {
            // One of ours, see `refuse`.
            (About::Send, Refusal::Other(text)) => frames.push(Message::text(text)),
            (About::Find, refusal) => frames.extend(information(&refused.key, Some(refusal))),
            (About::Call, refusal) => {
                let Some((uid, stream)) = self.of(&refused.key) else { return };
                if stream.is_answered()
                    && let Some(role) = stream.role.take()
                {
                    let (definition, information) = errors::begin(role, refusal);
                    frames.push(stream.names.frame(&uid, &Reply::Error(definition, information)));
                }
                self.forget(&uid);
            }
            // The call has ended meanwhile, and the client has heard of that.
            _ => {}
        }
    }

    fn signal(&mut self, signal: Incoming, frames: &mut Vec<Message>) {
        let Some((uid, stream)) = self.of(&signal.key) else { return };
        let Some((names, call)) = stream.talk() else { return };
        let payload = signal.payload;
        let mut signals = Vec::new();
        if call.is_own {
            let text = match names.by_name {
                true => named(payload.text(), uid.as_str()),
                false => Cow::Borrowed(payload.text()),
            };
            frames.push(Message::text(&*text));
            signals.extend(payload.into_signal());
        } else if let Some(signal) = payload.into_signal() {
            signals.extend(call.inbound.take(signal));
        }
        let started = if signals.iter().any(Signal::is_answer) { call.start() } else { None };
        if !call.is_own {
            let replies = signals.into_iter().filter_map(|signal| reply(call.role, signal));
            frames.extend(replies.map(|reply| names.frame(&uid, &reply)));
        }
        frames.extend(started.map(|started| names.frame(&uid, &Reply::Notification(started))));
    }

    fn ended(&mut self, ended: &Ended, frames: &mut Vec<Message>) {
        let Some((uid, stream)) = self.of(&ended.key) else { return };
        let Some(call) = stream.call.take() else { return };
        stream.is_registered = ended.stays;
        let meets = call.role == Role::Join;
        if !meets {
            frames.push(stream.names.frame(&uid, &Reply::Notification(call.role.finished())));
        }
        if meets || stream.is_registered {
            // The next call needs another peer connection.
            frames.push(stream.names.frame(&uid, &Reply::Stop));
        }
        if !stream.is_registered {
            stream.role = None;
        }
        self.forget(&uid);
    }

    /// The stream of a call.
    fn of(&mut self, key: &Key) -> Option<(PeerId, &mut Stream)> {
        let uid = PeerId::new(key.as_str()).ok()?;
        let stream = self.streams.get_mut(&uid)?;
        Some((uid, stream))
    }
}

/// A signal of another dialect. A player cannot be asked for an offer.
fn reply(role: Role, signal: Signal) -> Option<Reply> {
    match signal {
        Signal::Sdp { kind, sdp } => Some(Reply::Description { kind, sdp }),
        Signal::Ice(candidate) => Some(Reply::Candidate(candidate)),
        Signal::OfferRequest => (role != Role::Play).then_some(Reply::Start),
    }
}

/// How the hub is asked to begin, by role.
impl Role {
    fn request(self, uid: &PeerId) -> Request {
        let (start, card) = match self {
            Self::Join => (Start::WhenAsked, Card { leads: true, ..Card::default() }),
            Self::Publish => (Start::WhenAsked, Card { flow: Flow::Sends, ..Card::default() }),
            Self::Play => (Start::Never, Card { flow: Flow::Awaits, ..Card::default() }),
        };
        Request::Meet { key: Key::from(uid.as_str()), uid: uid.clone(), card, start, only: None }
    }
}

fn question(what: &str, uid: PeerId, by_name: bool) -> Request {
    let mark = if by_name { BY_NAME } else { "" };
    Request::Find { key: Key::from(format!("{what} {uid} {mark}").as_str()), uid }
}

/// The answer to a question: information, or an error.
fn information(key: &Key, refusal: Option<Refusal>) -> Option<Message> {
    let mut parts = key.as_str().split(' ');
    let (what, name, mark) = (parts.next()?, parts.next()?, parts.next()?);
    let reply = match (refusal.map(errors::find), what) {
        (Some((definition, information)), _) => Reply::Error(definition, information),
        (None, STREAM_INFO) => Reply::StreamInformation,
        (None, TRACK_LIST) => Reply::TrackList(vec![name.into()]),
        (None, _) => return None,
    };
    Some(Message::Text(print(&reply, Some(name), mark == BY_NAME)))
}

/// The changed text, or else the frame itself.
fn changed(text: Cow<'_, str>, frame: &Utf8Bytes) -> Utf8Bytes {
    match text {
        Cow::Owned(text) => text.into(),
        Cow::Borrowed(_) => frame.clone(),
    }
}

/// An error that needs no other peer's state. The hub counts it and gives it back.
fn refuse(definition: Definition, information: Option<&str>, frame: Option<&Frame>) -> Step {
    let reply = Reply::Error(definition, information.map(|text| cut_id(text).into()));
    let text = answer(&reply, frame).to_string();
    Step::Ask(Request::Reject { about: About::Send, refusal: Refusal::Other(text) })
}

/// The text of a frame about the stream of the client's frame.
fn answer(reply: &Reply, frame: Option<&Frame>) -> Utf8Bytes {
    let stream = frame.and_then(|frame| frame.stream.as_deref()).map(cut_id);
    print(reply, stream, frame.is_some_and(|frame| frame.by_name))
}

fn print(reply: &Reply, stream: Option<&str>, by_name: bool) -> Utf8Bytes {
    Written { reply, stream, by_name }.to_string().into()
}

/// The one server that the protocol can name: TURN without TLS, which is all that the stock client reads, or else STUN.
fn choose(servers: &[Value]) -> Option<IceServer> {
    let first = |scheme: &str| ice_urls(servers).find(|(uri, _)| uri.starts_with(scheme));
    let (uri, server) = first("turn:").or_else(|| first("stun:"))?;
    let text = |member: &str| server[member].as_str().map(String::from);
    let credentials = text("username").zip(text("credential"));
    Some(IceServer { uri: uri.into(), credentials })
}

#[cfg(test)]
mod tests;
