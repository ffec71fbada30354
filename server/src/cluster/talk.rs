//! The parts of messages between nodes that only the peers' dialects understand, as bytes. Pure.

use std::{net::IpAddr, sync::Arc};

use async_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use callbin_protocol::{PeerId, RoomId, Signal, node::Reason};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::StrDeserializer},
};

use super::{
    bytes::{Reader, Writer},
    link::Body,
};
use crate::{
    access::{Ability, Grant, owner::Owner},
    dialect::Dialect,
    hub::{Card, FarMessage, Flow, Payload, Refusal, Share, Start, Use},
};

/// The dialect with this name.
pub fn dialect(name: &str) -> Option<Dialect> {
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
}

/// What a peer asks a peer of another node for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// To be called, or to publish or play the stream of this name, if no peer has it.
    Call(Start, Option<Use>),
    /// To publish or play the stream of this name.
    Stream(Start, Use),
    /// To be called, if the two can meet.
    Meet {
        /// How it gets to an offer.
        start: Start,
        /// What it would register.
        card: Card,
        /// If there is a stream of this name instead, it publishes or plays that.
        or_stream: bool,
    },
    /// Whether it is there.
    Find,
    /// The ICE servers that the webhook has added for it: it asks itself.
    IceServers,
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
const USES: [Use; 2] = [Use::Publish, Use::Play];
const ABILITIES: [Ability; 4] = [Ability::Call, Ability::Answer, Ability::Publish, Ability::Play];
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
            What::Call(start, media) => {
                to.number(0);
                to.number(place(&STARTS, start));
                to.number(media.map_or(0, |media| place(&USES, &media) + 1));
            }
            What::Stream(start, media) => {
                to.number(3);
                to.number(place(&STARTS, start));
                to.number(place(&USES, media));
            }
            What::Meet { start, card, or_stream } => {
                to.number(1);
                to.number(place(&STARTS, start));
                to.number(card.is_shared.into());
                to.number(card.leads.into());
                to.number(place(&FLOWS, &card.flow));
                to.option(card.meta.as_deref());
                to.number((*or_stream).into());
            }
            What::Find => to.number(2),
            What::IceServers => to.number(4),
        }
        to.text(self.dialect.name());
        to.option(self.grant.identity.as_deref());
        let bits = ABILITIES.iter().enumerate().filter(|(_, ability)| self.grant.allows(**ability));
        to.number(bits.map(|(place, _)| 1 << place).sum());
        to.text(&self.address.to_string());
        to.done()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let what = match from.number()? {
            0 => {
                let start = at(&STARTS, &mut from)?;
                let media = match from.number()? {
                    0 => None,
                    number => Some(*USES.get(usize::try_from(number).ok()? - 1)?),
                };
                What::Call(start, media)
            }
            1 => {
                let start = at(&STARTS, &mut from)?;
                let (is_shared, leads) = (from.number()? == 1, from.number()? == 1);
                let flow = at(&FLOWS, &mut from)?;
                let meta = from.option()?.map(Arc::from);
                let card = Card { is_shared, leads, flow, meta };
                What::Meet { start, card, or_stream: from.number()? == 1 }
            }
            2 => What::Find,
            4 => What::IceServers,
            3 => What::Stream(at(&STARTS, &mut from)?, at(&USES, &mut from)?),
            _ => return None,
        };
        let dialect = dialect(from.text()?)?;
        let identity = from.option()?.map(Arc::from);
        let abilities = from.number()?;
        let has = |place: usize| abilities & 1 << place != 0;
        let all = ABILITIES.into_iter().enumerate();
        let allow = all.filter(|(place, _)| has(*place)).map(|(_, ability)| ability).collect();
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
    /// ICE servers, JSON.
    IceServers(String),
}

/// The number of [`Answer::IceServers`]: behind those of the refusals.
const ICE_SERVERS: u64 = 100;

impl Answer {
    /// As bytes.
    pub fn encode(&self) -> Body {
        let mut to = Writer::default();
        match self {
            Self::Found => to.number(0),
            Self::IceServers(text) => {
                to.number(ICE_SERVERS);
                to.text(text);
            }
            Self::Refused(refusal) => {
                write_refusal(refusal, &mut to);
            }
        }
        to.done()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        match from.number()? {
            0 => Some(Self::Found),
            ICE_SERVERS => Some(Self::IceServers(from.text()?.to_owned())),
            number => Some(Self::Refused(refusal(number, &mut from)?)),
        }
    }
}

/// Never begins with 0.
fn write_refusal(refusal: &Refusal, to: &mut Writer) {
    let (number, text) = match refusal {
        Refusal::PeerNotFound(text) => (1, text.as_str()),
        Refusal::PeerBusy(text) => (2, text.as_str()),
        Refusal::NobodyOffers => (3, ""),
        Refusal::TooManySessions => (4, ""),
        Refusal::UidTaken => (5, ""),
        Refusal::Other(text) => (6, text.as_str()),
        Refusal::NoCapacity => (8, ""),
        Refusal::StreamNotAllowed => (9, ""),
        Refusal::TooManyStreams => (10, ""),
        Refusal::TooManyViewers => (11, ""),
        Refusal::NodeLost => (12, ""),
        Refusal::Replaced => (13, ""),
        Refusal::Node(reason) => (14, reason.as_str()),
        _ => (7, ""),
    };
    to.number(number);
    to.text(text);
}

fn reason(text: &str) -> Reason {
    let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    Reason::deserialize(text).unwrap_or(Reason::Other)
}

fn refusal(number: u64, from: &mut Reader<'_>) -> Option<Refusal> {
    let text = from.text()?;
    let owned = || text.to_owned();
    Some(match number {
        1 => Refusal::PeerNotFound(owned()),
        2 => Refusal::PeerBusy(owned()),
        3 => Refusal::NobodyOffers,
        4 => Refusal::TooManySessions,
        5 => Refusal::UidTaken,
        6 => Refusal::Other(owned()),
        8 => Refusal::NoCapacity,
        9 => Refusal::StreamNotAllowed,
        10 => Refusal::TooManyStreams,
        11 => Refusal::TooManyViewers,
        12 => Refusal::NodeLost,
        13 => Refusal::Replaced,
        14 => Refusal::Node(reason(text)),
        _ => Refusal::Unavailable,
    })
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
    /// Why the call ends, before its end.
    Ended(Refusal),
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
            Self::Ended(reason) => {
                to.number(4);
                write_refusal(reason, &mut to);
            }
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
            4 => {
                let number = from.number()?;
                Self::Ended(refusal(number, &mut from)?)
            }
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

/// Who can be called at a node.
pub fn encode_directory(peers: &[(PeerId, Card)]) -> Body {
    let mut to = Writer::default();
    peers.iter().for_each(|(uid, card)| write_listed(uid, card, &mut to));
    to.done()
}

/// The same from bytes.
pub fn decode_directory(bytes: &[u8]) -> Option<Vec<(PeerId, Card)>> {
    let mut from = Reader::new(bytes);
    let mut peers = Vec::new();
    while !from.is_empty() {
        peers.push(read_listed(&mut from)?);
    }
    Some(peers)
}

/// One of them that has come or gone.
pub fn encode_listed(uid: &PeerId, card: &Card, is_there: bool) -> Body {
    let mut to = Writer::default();
    to.number(is_there.into());
    write_listed(uid, card, &mut to);
    to.done()
}

/// The same from bytes.
pub fn decode_listed(bytes: &[u8]) -> Option<(PeerId, Card, bool)> {
    let mut from = Reader::new(bytes);
    let is_there = from.number()? == 1;
    let (uid, card) = read_listed(&mut from)?;
    Some((uid, card, is_there))
}

/// What a list has of a card.
fn write_listed(uid: &PeerId, card: &Card, to: &mut Writer) {
    to.text(uid.as_str());
    to.number(place(&FLOWS, &card.flow));
    to.option(card.meta.as_deref());
}

fn read_listed(from: &mut Reader<'_>) -> Option<(PeerId, Card)> {
    let uid = PeerId::new(from.text()?).ok()?;
    let flow = at(&FLOWS, from)?;
    let meta = from.option()?.map(Arc::from);
    Some((uid, Card { flow, meta, ..Card::default() }))
}

/// What owners use of a node.
pub fn encode_usage(owners: &[(Owner, Share)]) -> Body {
    let mut to = Writer::default();
    for (owner, share) in owners {
        write_owner(owner, &mut to);
        to.number(share.sessions as u64);
        to.number(share.rooms as u64);
    }
    to.done()
}

/// The same from bytes.
pub fn decode_usage(bytes: &[u8]) -> Option<Vec<(Owner, Share)>> {
    let mut from = Reader::new(bytes);
    let mut owners = Vec::new();
    while !from.is_empty() {
        let owner = read_owner(&mut from)?;
        let (sessions, rooms) = (from.number()?, from.number()?);
        let share = Share { sessions: usize::try_from(sessions).ok()?, rooms: usize::try_from(rooms).ok()? };
        owners.push((owner, share));
    }
    Some(owners)
}

fn write_owner(owner: &Owner, to: &mut Writer) {
    match owner {
        Owner::Address(address) => {
            to.number(0);
            to.text(&address.to_string());
        }
        Owner::Network(network, length) => {
            to.number(1);
            to.text(&network.to_string());
            to.number((*length).into());
        }
        Owner::Identity(identity) => {
            to.number(2);
            to.text(identity);
        }
        Owner::Pages(place) => {
            to.number(3);
            write_owner(place, to);
        }
    }
}

fn read_owner(from: &mut Reader<'_>) -> Option<Owner> {
    Some(match from.number()? {
        0 => Owner::Address(from.text()?.parse().ok()?),
        1 => {
            let network = from.text()?.parse().ok()?;
            Owner::Network(network, u8::try_from(from.number()?).ok()?)
        }
        2 => Owner::Identity(from.text()?.into()),
        // Sessions and rooms do not count for them.
        _ => return None,
    })
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
        let streams = [What::Call(Start::Never, Some(Use::Play)), What::Stream(Start::AtOnce, Use::Publish)];
        let meeting = What::Meet { start: Start::IfNeeded, card, or_stream: true };
        let others = [What::Call(Start::Never, None), meeting, What::Find];
        for what in streams.into_iter().chain(others) {
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
            Answer::Refused(Refusal::NoCapacity),
            Answer::IceServers("[]".into()),
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
            Part::Ended(Refusal::Node(Reason::Limit)),
        ] {
            assert_eq!(Part::decode(&part.encode().unwrap()), Some(part));
        }
        let id = |name| PeerId::new(name).unwrap();
        let owners = [
            Owner::Address("192.0.2.1".parse().unwrap()),
            Owner::Network("2001:db8::".parse().unwrap(), 56),
            Owner::Identity("me".into()),
        ];
        let owners: Vec<_> = owners.into_iter().map(|it| (it, Share { sessions: 300, rooms: 2 })).collect();
        assert_eq!(decode_usage(&encode_usage(&owners)), Some(owners));
        let card = Card { flow: Flow::Receives, meta: Some("{}".into()), ..Card::default() };
        let peers = vec![(id("a"), card.clone()), (id("b"), Card::default())];
        assert_eq!(decode_directory(&encode_directory(&peers)), Some(peers));
        assert_eq!(decode_listed(&encode_listed(&id("a"), &card, true)), Some((id("a"), card, true)));
        let room = RoomId::new("r").unwrap();
        let message =
            FarMessage { room: room.clone(), from: id("a"), to: None, hint: Some(id("b")), payload: signal };
        assert_eq!(decode_far(room, &encode_far(&message)), Some(message));
    }
}
