//! Commands, answers and inbox messages as Redis has them. Pure.
//!
//! A batch between nodes is authenticated by an HMAC over the receiver and the bytes, with the key of
//! `--cluster-secret-file`. Events come from the script; they carry a digest of the secret instead.

use callbin_protocol::{PeerId, RoomId};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::{
    bytes::{Reader, Writer},
    link::{Batch, Call, Message},
    store::{Command, Event, Member, NodeId, Reply},
    talk,
};
use crate::hub::ConnId;

/// The prefix of all keys and channels.
pub const PREFIX: &str = "callbin:";

/// The version of batches. Nodes ignore those of another one.
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
    /// What all nodes have in common: stored in Redis, and in each event.
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
        Command::Renew => ("renew", Vec::new()),
        Command::Bury(node) => ("bury", vec![node.to_string()]),
        Command::Claim { uid, conn, identity, again } => {
            let identity = identity.as_deref().map(|identity| format!("={identity}")).unwrap_or_default();
            ("claim", vec![uid.to_string(), conn.0.to_string(), identity, number((*again).into())])
        }
        Command::Release { uid, conn } => ("release", vec![uid.to_string(), conn.0.to_string()]),
        Command::Find(uid) => ("find", vec![uid.to_string()]),
        Command::Join { room, own, most, bytes } => (
            "join",
            vec![
                room.to_string(),
                own.uid.to_string(),
                own.conn.0.to_string(),
                own.dialect.name().into(),
                number(*most),
                number(*bytes),
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
        "fresh" => Reply::Fresh,
        "fenced" => Reply::Fenced,
        "name" => Reply::NameTaken,
        "secret" => Reply::WrongSecret,
        "taken" => Reply::Taken(NodeId::parse(rest.first()?)?),
        "at" => Reply::At(NodeId::parse(rest.first()?)?),
        "nowhere" => Reply::Nowhere,
        "full" => Reply::Full,
        "more" => Reply::More,
        "nodes" | "nodes-full" => {
            let (mut alive, mut dead) = (Vec::new(), Vec::new());
            for word in rest {
                let (list, node) = match word.split_at_checked(1)? {
                    ("+", node) => (&mut alive, node),
                    (_, node) => (&mut dead, node),
                };
                list.push(NodeId::parse(node)?);
            }
            Reply::Nodes { alive, dead, is_full: first == "nodes-full" }
        }
        _ => return None,
    })
}

/// What arrived in the inbox of `me`. `None`: garbage, or from a node with another secret or version.
pub fn event(me: &NodeId, secret: &Secret, bytes: &[u8]) -> Option<Event> {
    match bytes.split_first()? {
        (b'B', rest) => batch(me, secret, rest).map(Event::Batch),
        (b'E', rest) => script_event(secret, str::from_utf8(rest).ok()?),
        _ => None,
    }
}

fn script_event(secret: &Secret, text: &str) -> Option<Event> {
    use subtle::ConstantTimeEq;
    // A list without members leaves a space at the end.
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let is_ours: bool = words.next()?.as_bytes().ct_eq(secret.digest.as_bytes()).into();
    if !is_ours {
        return None;
    }
    let kind = words.next()?;
    let mut next = || words.next();
    let room = |word: &str| RoomId::new(word).ok();
    let peer = |word: &str| PeerId::new(word).ok();
    let conn = |word: &str| word.parse().ok().map(ConnId);
    Some(match kind {
        "joined" => {
            let room = room(next()?)?;
            Event::Joined(room, member(&mut words)?)
        }
        "entered" => {
            let (room, uid, conn) = (room(next()?)?, peer(next()?)?, conn(next()?)?);
            Event::Entered(room, uid, conn, members(&mut words)?)
        }
        "left" => Event::Left(room(next()?)?, peer(next()?)?),
        "members" => {
            let (room, whole) = (room(next()?)?, next()? == "1");
            Event::Members(room, members(&mut words)?, whole)
        }
        "taken" => Event::TakenOver(peer(next()?)?, conn(next()?)?),
        "probe" => Event::Probe(peer(next()?)?, conn(next()?)?),
        "died" => Event::Died(NodeId::parse(next()?)?),
        "kick" => Event::Kick(peer(next()?)?, conn(next()?)?),
        "close" => Event::Close(room(next()?)?),
        _ => return None,
    })
}

fn member<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Member> {
    let uid = PeerId::new(words.next()?).ok()?;
    let node = NodeId::parse(words.next()?)?;
    Some(Member { uid, node, dialect: talk::dialect(words.next()?)? })
}

fn members<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Vec<Member>> {
    let mut words = words.peekable();
    let mut members = Vec::new();
    while words.peek().is_some() {
        members.push(member(&mut words)?);
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
    bytes.extend(secret.mac(&[to.to_string().as_bytes(), &body]));
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
    }
    to.done()
}

fn write_call(call: Call, to: &mut Writer) {
    to.number(call.no);
    to.number(call.to_callee.into());
}

fn batch(me: &NodeId, secret: &Secret, bytes: &[u8]) -> Option<Batch> {
    let (version, rest) = bytes.split_first()?;
    let (mac, body) = rest.split_at_checked(MAC)?;
    if *version != VERSION || !secret.is_right(&[me.to_string().as_bytes(), body], mac) {
        return None;
    }
    let mut reader = Reader::new(body);
    let from = NodeId::parse(reader.text()?)?;
    let number = reader.number()?;
    let mut messages = Vec::new();
    while !reader.is_empty() {
        // A later version may have messages that this one does not know.
        messages.extend(decode_message(reader.bytes()?));
    }
    Some(Batch { from, number, messages })
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
        ];
        Batch { from: node("one"), number: 5, messages }
    }

    #[test]
    fn a_batch_arrives_where_it_is_meant_to_and_unchanged() {
        let secret = Secret::new(b"secret");
        let batch = some_batch();
        let bytes = encode(&node("two"), &secret, &batch);
        assert_eq!(event(&node("two"), &secret, &bytes), Some(Event::Batch(batch)));
        assert_eq!(event(&node("three"), &secret, &bytes), None, "for another node");
        assert_eq!(event(&node("two"), &Secret::new(b"other"), &bytes), None, "another secret");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(event(&node("two"), &secret, &changed), None, "byte {at}");
        }
    }

    #[test]
    fn events_need_the_digest() {
        let secret = Secret::new(b"secret");
        let text = |digest: &str| format!("E{digest} left lobby alice").into_bytes();
        let (room, uid) = (RoomId::new("lobby").unwrap(), PeerId::new("alice").unwrap());
        assert_eq!(event(&node("x"), &secret, &text(secret.digest())), Some(Event::Left(room, uid)));
        assert_eq!(event(&node("x"), &secret, &text("")), None);
        for garbage in ["", "E", "B", "hello", "E joined", "B\u{1}"] {
            assert_eq!(event(&node("x"), &secret, garbage.as_bytes()), None, "{garbage}");
        }
    }
}
