//! Commands, answers and inbox messages as Redis has them. Pure.
//!
//! A batch between nodes is authenticated by an HMAC over the receiver and the bytes, with the key of
//! `--cluster-secret-file`. Events come from the script; they carry a digest of the secret instead.
//!
//! Nodes of several releases run side by side during an upgrade. Unknown messages and events, and what follows the known
//! fields of a message, are ignored; a member that speaks an unknown dialect is left out. So a release may add any of these.
//! `VERSION` changes only if a batch cannot be read at all, or would be misunderstood. Nodes of different versions
//! then share uids and rooms, which the script orders, and cannot call each other.

use callbin_protocol::{PeerId, RoomId};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::{
    bytes::{Reader, Writer},
    link::{Batch, Call, Message},
    store::{Command, Event, Member, NodeId, Reply, STREAM},
    talk,
};
use crate::hub::ConnId;

/// The prefix of all keys and channels.
pub const PREFIX: &str = "callbin:";

/// The version of batches. Those of another one are refused.
const VERSION: u8 = 1;

/// The length of the HMAC.
const MAC: usize = 20;

/// The channel of a node's inbox.
pub fn channel(node: &NodeId) -> String {
    format!("{PREFIX}in:{node}")
}

/// The cluster's secret.
#[derive(Clone)]
pub struct Secret {
    key: Vec<u8>,
    /// HMAC of a constant. It is stored in Redis and precedes each event, so readers of Redis know it.
    digest: String,
}

impl Secret {
    /// From the contents of the file. Without a file, the key is empty.
    pub fn new(key: &[u8]) -> Self {
        let mut secret = Self { key: key.to_vec(), digest: String::new() };
        let mac = secret.mac(&[b"callbin cluster"]);
        secret.digest = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        secret
    }

    /// The digest, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        // Any length of key is valid.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.key) else { return Vec::new() };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }

    fn is_right(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.mac(parts).ct_eq(mac).into()
    }
}

/// The arguments of the script for a command, behind the sender, the lease and the digest. `None`: it needs no script.
pub fn arguments(command: &Command) -> Option<(&'static str, Vec<String>)> {
    let number = |number: usize| number.to_string();
    Some(match command {
        Command::Enter { before } => {
            ("enter", vec![before.as_ref().map(NodeId::to_string).unwrap_or_default()])
        }
        Command::Renew { has_media } => ("renew", vec![number((*has_media).into())]),
        Command::Bury(node) => ("bury", vec![node.to_string()]),
        Command::Claim { uid, conn, identity, again } => {
            let identity = match identity.as_deref() {
                Some(STREAM) => "stream".into(),
                Some(identity) => format!("={identity}"),
                None => String::new(),
            };
            ("claim", vec![uid.to_string(), conn.0.to_string(), identity, number((*again).into())])
        }
        Command::Release { uid, conn } => ("release", vec![uid.to_string(), conn.0.to_string()]),
        Command::Find(uid) => ("find", vec![uid.to_string()]),
        Command::Join { room, own, most, bytes, lists } => (
            "join",
            vec![
                room.to_string(),
                own.uid.to_string(),
                own.conn.0.to_string(),
                own.dialect.name().into(),
                number(*most),
                number(*bytes),
                number((*lists).into()),
            ],
        ),
        Command::Leave { room, uid, conn } => {
            ("leave", vec![room.to_string(), uid.to_string(), conn.0.to_string()])
        }
        Command::Sync { room, own, whole } => {
            let mut words = vec![room.to_string(), number((*whole).into())];
            for own in own {
                words.extend([own.uid.to_string(), own.conn.0.to_string(), own.dialect.name().into()]);
            }
            ("sync", words)
        }
        Command::Quit => ("quit", Vec::new()),
        Command::Publish { .. } => return None,
    })
}

/// The answer of the script. `None`: it is of another version.
pub fn reply(words: &[String]) -> Option<Reply> {
    let (first, rest) = words.split_first()?;
    Some(match first.as_str() {
        "done" => Reply::Done,
        "empty" => Reply::Empty,
        "fenced" => Reply::Fenced,
        "name" => Reply::NameTaken,
        "secret" => Reply::WrongSecret,
        "taken" => Reply::Taken(NodeId::parse(rest.first()?)?),
        "at" => Reply::At(NodeId::parse(rest.first()?)?),
        "nowhere" => Reply::Nowhere,
        "full" => Reply::Full,
        "more" => Reply::More,
        "nodes" | "nodes-full" => {
            let (mut alive, mut dead, mut media) = (Vec::new(), Vec::new(), Vec::new());
            for word in rest {
                let (mark, node) = word.split_at_checked(1)?;
                let node = NodeId::parse(node)?;
                if mark == "*" {
                    media.push(node.clone());
                }
                if mark == "-" { &mut dead } else { &mut alive }.push(node);
            }
            Reply::Nodes { alive, dead, media, is_full: first == "nodes-full" }
        }
        _ => return None,
    })
}

/// What arrived in an inbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// An event.
    Event(Event),
    /// A later release may have this event: it is ignored.
    Unknown,
    /// A batch of a node with another `VERSION`.
    OtherVersion,
    /// Not from a node of this cluster.
    Garbage,
}

/// What arrived in the inbox of `me`.
pub fn event(me: &NodeId, secret: &Secret, bytes: &[u8]) -> Heard {
    match bytes.split_first() {
        Some((b'B', rest)) => batch(me, secret, rest).unwrap_or(Heard::Garbage),
        Some((b'E', rest)) => {
            str::from_utf8(rest).map_or(Heard::Garbage, |text| event_of_script(secret, text))
        }
        _ => Heard::Garbage,
    }
}

fn event_of_script(secret: &Secret, text: &str) -> Heard {
    use subtle::ConstantTimeEq;
    // A list without members leaves a space at the end.
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let digest = words.next().unwrap_or_default();
    if !bool::from(digest.as_bytes().ct_eq(secret.digest.as_bytes())) {
        return Heard::Garbage;
    }
    script_event(&mut words).map_or(Heard::Unknown, Heard::Event)
}

fn script_event<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Event> {
    let kind = words.next()?;
    let room = |word: &str| RoomId::new(word).ok();
    let peer = |word: &str| PeerId::new(word).ok();
    let conn = |word: &str| word.parse().ok().map(ConnId);
    Some(match kind {
        "joined" => {
            let room = room(words.next()?)?;
            Event::Joined(room, member(words)??)
        }
        "entered" => {
            let (room, uid, conn) = (room(words.next()?)?, peer(words.next()?)?, conn(words.next()?)?);
            Event::Entered(room, uid, conn, Some(members(words)?))
        }
        "added" => {
            let (room, uid, conn) = (room(words.next()?)?, peer(words.next()?)?, conn(words.next()?)?);
            Event::Entered(room, uid, conn, None)
        }
        "left" => Event::Left(room(words.next()?)?, peer(words.next()?)?),
        "members" => {
            let (room, whole) = (room(words.next()?)?, words.next()? == "1");
            Event::Members(room, members(words)?, whole)
        }
        "taken" => Event::TakenOver(peer(words.next()?)?, conn(words.next()?)?),
        "probe" => Event::Probe(peer(words.next()?)?, conn(words.next()?)?),
        "died" => Event::Died(NodeId::parse(words.next()?)?),
        "kick" => Event::Kick(peer(words.next()?)?, conn(words.next()?)?),
        "close" => Event::Close(room(words.next()?)?),
        _ => return None,
    })
}

/// The next member. `None` inside: it speaks a dialect of a later release.
fn member<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Option<Member>> {
    let uid = PeerId::new(words.next()?).ok()?;
    let node = NodeId::parse(words.next()?)?;
    let dialect = talk::dialect(words.next()?);
    Some(dialect.map(|dialect| Member { uid, node, dialect }))
}

fn members<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Vec<Member>> {
    let mut words = words.peekable();
    let mut members = Vec::new();
    while words.peek().is_some() {
        members.extend(member(&mut words)?);
    }
    Some(members)
}

/// A batch as bytes.
pub fn encode(to: &NodeId, secret: &Secret, batch: &Batch) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(&batch.from.to_string());
    body.number(batch.number);
    for message in &batch.messages {
        body.bytes(&encode_message(message));
    }
    let body = body.done();
    let mut bytes = vec![b'B', VERSION];
    bytes.extend(secret.mac(&[to.to_string().as_bytes(), &[VERSION], &body]));
    bytes.extend(body);
    bytes
}

fn encode_message(message: &Message) -> Vec<u8> {
    let mut to = Writer::default();
    match message {
        Message::Ask { no, from, to: callee, is_exclusive, body } => {
            to.number(0);
            to.number(*no);
            to.text(from.as_str());
            to.text(callee.as_str());
            to.number((*is_exclusive).into());
            to.bytes(body);
        }
        Message::Called(no, body) => {
            to.number(1);
            to.number(*no);
            to.bytes(body);
        }
        Message::Answered(no, body) => {
            to.number(2);
            to.number(*no);
            to.bytes(body);
        }
        Message::Item(call, body) => {
            to.number(3);
            write_call(*call, &mut to);
            to.bytes(body);
        }
        Message::End(call) => {
            to.number(4);
            write_call(*call, &mut to);
        }
        Message::Room(room, body) => {
            to.number(5);
            to.text(room.as_str());
            to.bytes(body);
        }
        Message::Lost => to.number(6),
        Message::Check => to.number(7),
        Message::Watch(watches) => {
            to.number(8);
            to.number((*watches).into());
        }
        Message::Usage(body) => {
            to.number(11);
            to.bytes(body);
        }
        Message::Directory(body) => {
            to.number(9);
            to.bytes(body);
        }
        Message::Listed(body) => {
            to.number(10);
            to.bytes(body);
        }
    }
    to.done()
}

fn write_call(call: Call, to: &mut Writer) {
    to.number(call.no);
    to.number(call.to_callee.into());
}

fn batch(me: &NodeId, secret: &Secret, bytes: &[u8]) -> Option<Heard> {
    let (version, rest) = bytes.split_at_checked(1)?;
    let (mac, body) = rest.split_at_checked(MAC)?;
    if !secret.is_right(&[me.to_string().as_bytes(), version, body], mac) {
        return None;
    }
    if version != [VERSION] {
        return Some(Heard::OtherVersion);
    }
    let mut reader = Reader::new(body);
    let from = NodeId::parse(reader.text()?)?;
    let number = reader.number()?;
    let mut messages = Vec::new();
    while !reader.is_empty() {
        messages.extend(decode_message(reader.bytes()?));
    }
    Some(Heard::Event(Event::Batch(Batch { from, number, messages })))
}

fn decode_message(bytes: &[u8]) -> Option<Message> {
    let mut from = Reader::new(bytes);
    Some(match from.number()? {
        0 => Message::Ask {
            no: from.number()?,
            from: PeerId::new(from.text()?).ok()?,
            to: PeerId::new(from.text()?).ok()?,
            is_exclusive: from.number()? == 1,
            body: from.bytes()?.to_vec(),
        },
        1 => Message::Called(from.number()?, from.bytes()?.to_vec()),
        2 => Message::Answered(from.number()?, from.bytes()?.to_vec()),
        3 => Message::Item(read_call(&mut from)?, from.bytes()?.to_vec()),
        4 => Message::End(read_call(&mut from)?),
        5 => Message::Room(RoomId::new(from.text()?).ok()?, from.bytes()?.to_vec()),
        6 => Message::Lost,
        7 => Message::Check,
        8 => Message::Watch(from.number()? == 1),
        9 => Message::Directory(from.bytes()?.to_vec()),
        10 => Message::Listed(from.bytes()?.to_vec()),
        11 => Message::Usage(from.bytes()?.to_vec()),
        _ => return None,
    })
}

fn read_call(from: &mut Reader<'_>) -> Option<Call> {
    Some(Call { no: from.number()?, to_callee: from.number()? == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId { name: name.into(), life: 7 }
    }

    fn some_batch() -> Batch {
        let (from, to) = (PeerId::new("a").unwrap(), PeerId::new("b").unwrap());
        let call = Call { no: 300, to_callee: true };
        let messages = vec![
            Message::Ask { no: 1, from, to, is_exclusive: true, body: vec![1] },
            Message::Called(2, vec![2]),
            Message::Answered(3, vec![]),
            Message::Item(call, vec![0; 300]),
            Message::End(call),
            Message::Room(RoomId::new("r").unwrap(), vec![5]),
            Message::Lost,
            Message::Check,
            Message::Watch(true),
            Message::Directory(vec![6]),
            Message::Listed(vec![7]),
            Message::Usage(vec![8]),
        ];
        Batch { from: node("one"), number: 5, messages }
    }

    #[test]
    fn a_batch_arrives_where_it_is_meant_to_and_unchanged() {
        let secret = Secret::new(b"secret");
        let batch = some_batch();
        let bytes = encode(&node("two"), &secret, &batch);
        assert_eq!(event(&node("two"), &secret, &bytes), Heard::Event(Event::Batch(batch)));
        assert_eq!(event(&node("three"), &secret, &bytes), Heard::Garbage, "for another node");
        assert_eq!(event(&node("two"), &Secret::new(b"other"), &bytes), Heard::Garbage, "another secret");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(event(&node("two"), &secret, &changed), Heard::Garbage, "byte {at}");
        }
    }

    #[test]
    fn events_need_the_digest() {
        let secret = Secret::new(b"secret");
        let text = |digest: &str| format!("E{digest} left lobby alice").into_bytes();
        let (room, uid) = (RoomId::new("lobby").unwrap(), PeerId::new("alice").unwrap());
        assert_eq!(event(&node("x"), &secret, &text(secret.digest())), Heard::Event(Event::Left(room, uid)));
        assert_eq!(event(&node("x"), &secret, &text("")), Heard::Garbage);
        for garbage in ["", "E", "B", "hello", "E joined", "B\u{1}"] {
            assert_eq!(event(&node("x"), &secret, garbage.as_bytes()), Heard::Garbage, "{garbage}");
        }
    }

    /// The batch as a node of a later release sends it.
    fn later(version: u8, messages: &[Vec<u8>], secret: &Secret) -> Vec<u8> {
        let mut body = Writer::default();
        body.text(&node("later").to_string());
        body.number(1);
        messages.iter().for_each(|message| body.bytes(message));
        let body = body.done();
        let mut bytes = vec![b'B', version];
        bytes.extend(secret.mac(&[node("me").to_string().as_bytes(), &[version], &body]));
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_later_release_is_understood_as_far_as_possible() {
        let secret = Secret::new(b"secret");
        let call = Call { no: 1, to_callee: true };
        let known = encode_message(&Message::Item(call, b"hello".to_vec()));
        let longer = [encode_message(&Message::Answered(2, vec![1])), vec![9; 9]].concat();
        let unknown = vec![99, 1, 2, 3];
        let bytes = later(VERSION, &[known, unknown, longer], &secret);
        let messages = vec![Message::Item(call, b"hello".to_vec()), Message::Answered(2, vec![1])];
        let expected = Batch { from: node("later"), number: 1, messages };
        assert_eq!(event(&node("me"), &secret, &bytes), Heard::Event(Event::Batch(expected)));
        let bytes = later(VERSION + 1, &[vec![1]], &secret);
        assert_eq!(event(&node("me"), &secret, &bytes), Heard::OtherVersion);
    }

    #[test]
    fn later_events_and_members_of_later_dialects_are_left_out() {
        let secret = Secret::new(b"secret");
        let hear = |text: &str| {
            let text = format!("E{} {text}", secret.digest());
            event(&node("me"), &secret, text.as_bytes())
        };
        let one = node("one").to_string();
        let (room, uid) = (RoomId::new("r").unwrap(), |name| PeerId::new(name).unwrap());
        let known = Member { uid: uid("a"), node: node("one"), dialect: crate::dialect::Dialect::Text };
        let list = hear(&format!("entered r me 1 a {one} text b {one} morse"));
        assert_eq!(list, Heard::Event(Event::Entered(room, uid("me"), ConnId(1), Some(vec![known]))));
        assert_eq!(hear(&format!("joined r b {one} morse")), Heard::Unknown);
        assert_eq!(hear("renamed a b"), Heard::Unknown);
    }
}
