//! The parts of messages between nodes that only the peers' dialects understand, as bytes. Pure.

use std::{net::IpAddr, sync::Arc};

use async_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use callbin_protocol::{PeerId, RoomId, Signal};

use super::{
    bytes::{Reader, Writer},
    link::Body,
};
use crate::{
    access::{Ability, Grant},
    dialect::Dialect,
    hub::{Card, FarMessage, Flow, Payload, Refusal, Start},
};

/// The dialect with this name.
pub fn dialect(name: &str) -> Option<Dialect> {
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
}

/// What a peer asks a peer of another node for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// To be called.
    Call(Start),
    /// To be called, if the two can meet.
    Meet(Start, Card),
    /// Whether it is there.
    Find,
}

/// A request for another node, and what that has to know of the peer that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The request.
    pub what: What,
    /// What the peer speaks.
    pub dialect: Dialect,
    /// The permissions of its token.
    pub grant: Grant,
    /// Its address.
    pub address: IpAddr,
}

const STARTS: [Start; 4] = [Start::AtOnce, Start::WhenAsked, Start::IfNeeded, Start::Never];
const FLOWS: [Flow; 5] = [Flow::Both, Flow::Sends, Flow::Receives, Flow::Awaits, Flow::None];

fn place<T: PartialEq>(all: &[T], one: &T) -> u64 {
    all.iter().position(|it| it == one).unwrap_or_default() as u64
}

fn at<T: Copy>(all: &[T], reader: &mut Reader<'_>) -> Option<T> {
    all.get(usize::try_from(reader.number()?).ok()?).copied()
}

impl Question {
    /// As bytes.
    pub fn encode(&self) -> Body {
        let mut to = Writer::default();
        match &self.what {
            What::Call(start) => {
                to.number(0);
                to.number(place(&STARTS, start));
            }
            What::Meet(start, card) => {
                to.number(1);
                to.number(place(&STARTS, start));
                to.number(card.is_shared.into());
                to.number(card.leads.into());
                to.number(place(&FLOWS, &card.flow));
                to.option(card.meta.as_deref());
            }
            What::Find => to.number(2),
        }
        to.text(self.dialect.name());
        to.option(self.grant.identity.as_deref());
        let can = |ability| u64::from(self.grant.allows(ability));
        to.number(can(Ability::Call) | can(Ability::Answer) << 1);
        to.text(&self.address.to_string());
        to.done()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let what = match from.number()? {
            0 => What::Call(at(&STARTS, &mut from)?),
            1 => {
                let start = at(&STARTS, &mut from)?;
                let (is_shared, leads) = (from.number()? == 1, from.number()? == 1);
                let flow = at(&FLOWS, &mut from)?;
                let meta = from.option()?.map(Arc::from);
                What::Meet(start, Card { is_shared, leads, flow, meta })
            }
            2 => What::Find,
            _ => return None,
        };
        let dialect = dialect(from.text()?)?;
        let identity = from.option()?.map(Arc::from);
        let abilities = from.number()?;
        let all = [(1, Ability::Call), (2, Ability::Answer)];
        let allow =
            all.into_iter().filter(|(bit, _)| abilities & bit != 0).map(|(_, ability)| ability).collect();
        let grant = Grant { identity, allow: Some(allow), ..Grant::default() };
        Some(Self { what, dialect, grant, address: from.text()?.parse().ok()? })
    }
}

/// The answer to a [`Question`] that is no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Refused.
    Refused(Refusal),
    /// The peer is there.
    Found,
}

impl Answer {
    /// As bytes.
    pub fn encode(&self) -> Body {
        let mut to = Writer::default();
        match self {
            Self::Found => to.number(0),
            Self::Refused(refusal) => {
                let (number, text) = match refusal {
                    Refusal::PeerNotFound(text) => (1, text.as_str()),
                    Refusal::PeerBusy(text) => (2, text.as_str()),
                    Refusal::NobodyOffers => (3, ""),
                    Refusal::TooManySessions => (4, ""),
                    Refusal::UidTaken => (5, ""),
                    Refusal::Other(text) => (6, text.as_str()),
                    _ => (7, ""),
                };
                to.number(number);
                to.text(text);
            }
        }
        to.done()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let number = from.number()?;
        if number == 0 {
            return Some(Self::Found);
        }
        let text = from.text()?.to_owned();
        Some(Self::Refused(match number {
            1 => Refusal::PeerNotFound(text),
            2 => Refusal::PeerBusy(text),
            3 => Refusal::NobodyOffers,
            4 => Refusal::TooManySessions,
            5 => Refusal::UidTaken,
            6 => Refusal::Other(text),
            _ => Refusal::Unavailable,
        }))
    }
}

/// What the caller's node has to know of a call that has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// What the callee speaks.
    pub dialect: Dialect,
    /// Whether the caller has to offer now.
    pub is_asked: bool,
    /// Whether the caller has the id after the call, if the callee leaves first.
    pub returns: bool,
}

impl Begun {
    /// As bytes.
    pub fn encode(&self) -> Body {
        let mut to = Writer::default();
        to.text(self.dialect.name());
        to.number(self.is_asked.into());
        to.number(self.returns.into());
        to.done()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let dialect = dialect(from.text()?)?;
        Some(Self { dialect, is_asked: from.number()? == 1, returns: from.number()? == 1 })
    }
}

/// Something in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A frame of a peer, unread.
    Frame(Message),
    /// A message that the peer's dialect has read.
    Signal(Payload),
    /// Ping the peer: it may be gone.
    Probe,
}

impl Part {
    /// As bytes. `None`: frames of this kind are for one connection only.
    pub fn encode(&self) -> Option<Body> {
        let mut to = Writer::default();
        match self {
            Self::Frame(Message::Text(text)) => {
                to.number(0);
                to.text(text);
            }
            Self::Frame(Message::Binary(bytes)) => {
                to.number(1);
                to.bytes(bytes);
            }
            Self::Frame(_) => return None,
            Self::Signal(payload) => {
                to.number(2);
                write_payload(payload, &mut to);
            }
            Self::Probe => to.number(3),
        }
        Some(to.done())
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        Some(match from.number()? {
            0 => Self::Frame(Message::text(from.text()?)),
            1 => Self::Frame(Message::Binary(Bytes::copy_from_slice(from.bytes()?))),
            2 => Self::Signal(read_payload(&mut from)?),
            3 => Self::Probe,
            _ => return None,
        })
    }
}

fn write_payload(payload: &Payload, to: &mut Writer) {
    let (frame, start, signal) = payload.parts();
    to.text(payload.dialect().name());
    to.text(frame);
    to.number(start as u64);
    to.option(signal.map(Signal::to_string).as_deref());
}

fn read_payload(from: &mut Reader<'_>) -> Option<Payload> {
    let dialect = dialect(from.text()?)?;
    let frame = Utf8Bytes::from(from.text()?);
    let start = usize::try_from(from.number()?).ok()?;
    let signal = match from.option()? {
        Some(text) => Some(Signal::parse(text).ok()?),
        None => None,
    };
    Some(Payload::from_parts(dialect, frame, start, signal))
}

/// A message between members of a room, without the room.
pub fn encode_far(message: &FarMessage) -> Body {
    let mut to = Writer::default();
    to.text(message.from.as_str());
    to.option(message.to.as_ref().map(PeerId::as_str));
    to.option(message.hint.as_ref().map(PeerId::as_str));
    write_payload(&message.payload, &mut to);
    to.done()
}

/// The message from bytes.
pub fn decode_far(room: RoomId, bytes: &[u8]) -> Option<FarMessage> {
    let mut reader = Reader::new(bytes);
    let from = PeerId::new(reader.text()?).ok()?;
    let to = peer(reader.option()?)?;
    let hint = peer(reader.option()?)?;
    Some(FarMessage { room, from, to, hint, payload: read_payload(&mut reader)? })
}

/// The uid in an optional text. `None`: it is none.
fn peer(text: Option<&str>) -> Option<Option<PeerId>> {
    match text {
        Some(text) => PeerId::new(text).ok().map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let card = Card { is_shared: true, leads: false, flow: Flow::Sends, meta: Some("{}".into()) };
        for what in [What::Call(Start::Never), What::Meet(Start::IfNeeded, card), What::Find] {
            let grant =
                Grant { identity: Some("me".into()), allow: Some(vec![Ability::Call]), ..Grant::default() };
            let address = "2001:db8::1".parse().unwrap();
            let question = Question { what, dialect: Dialect::Antmedia, grant, address };
            assert_eq!(Question::decode(&question.encode()), Some(question));
        }
        let peer = || "x".to_owned();
        for answer in [
            Answer::Found,
            Answer::Refused(Refusal::PeerNotFound(peer())),
            Answer::Refused(Refusal::PeerBusy(peer())),
            Answer::Refused(Refusal::NobodyOffers),
            Answer::Refused(Refusal::Unavailable),
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        let begun = Begun { dialect: Dialect::Whip, is_asked: true, returns: false };
        assert_eq!(Begun::decode(&begun.encode()), Some(begun));
        let text = r#"{"ice":{"candidate":"a","sdpMLineIndex":0}}"#;
        let signal = Payload::new(Dialect::Rooms, "frame".into(), Signal::parse(text).unwrap());
        for part in [
            Part::Frame(Message::text("hello")),
            Part::Frame(Message::binary(vec![1, 2, 255])),
            Part::Signal(signal.clone()),
            Part::Signal(Payload::text_from("ROOM_PEER_MSG a b".into(), 16)),
            Part::Probe,
        ] {
            assert_eq!(Part::decode(&part.encode().unwrap()), Some(part));
        }
        let id = |name| PeerId::new(name).unwrap();
        let room = RoomId::new("r").unwrap();
        let message =
            FarMessage { room: room.clone(), from: id("a"), to: None, hint: Some(id("b")), payload: signal };
        assert_eq!(decode_far(room, &encode_far(&message)), Some(message));
    }
}
