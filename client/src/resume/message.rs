//! The messages by which two peers resume their call: keys in descriptions, and a challenge in both directions.
//!
//! The key is a session attribute, which stacks ignore if they do not know it (RFC 8866, section 5.13). They do not all
//! ignore a further member in the JSON around it: GStreamer's examples in Rust read no message with a second member, and
//! Python programs pass the members of `sdp` to a constructor.

use std::fmt;

use callbin_protocol::Signal;
use gst::glib::{Checksum, ChecksumType};
use serde_json::{Map, Value, json};

const RESUME: &str = "resume";
/// The attribute with the key.
const ATTRIBUTE: &str = "a=callbin-resume:";
/// Length of keys and nonces in characters. Ours have 32: 128 bits, in hexadecimal.
const LENGTHS: std::ops::RangeInclusive<usize> = 22..=128;

/// Random text without white space: the key of a call, or a nonce.
#[derive(Clone, PartialEq, Eq)]
pub struct Random(String);

/// A message that resumes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The caller asks for a proof.
    Ask {
        /// The caller's nonce.
        nonce: Random,
    },
    /// The callee proves that it knows the key, and asks for the same.
    Reply {
        /// The callee's nonce.
        nonce: Random,
        /// Its proof.
        proof: String,
    },
    /// The caller proves that it knows the key.
    Confirm {
        /// Its proof.
        proof: String,
    },
}

/// The two sides of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It called.
    Caller,
    /// It was called.
    Callee,
}

impl Random {
    /// A new one, of 128 random bits.
    pub fn fresh() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_token = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        (is_token && LENGTHS.contains(&text.len())).then(|| Self(text.into()))
    }
}

/// Shows nothing of a key.
impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// The proof of one side that it knows the call's key: a SHA-256 in hexadecimal, for the nonces of both sides.
pub(super) fn proof(role: Role, caller: &Random, callee: &Random, key: &Random) -> Option<String> {
    let role = match role {
        Role::Caller => "caller",
        Role::Callee => "callee",
    };
    let mut checksum = Checksum::new(ChecksumType::Sha256)?;
    checksum.update(format!("{role}:{}:{}:{}", caller.0, callee.0, key.0).as_bytes());
    checksum.string()
}

/// Adds the key of the call to a description.
pub(super) fn with_key(signal: &Signal, key: &Random) -> Signal {
    let Signal::Sdp { kind, sdp } = signal else { return signal.clone() };
    let (session, media) = sdp.split_at(sdp.find("m=").unwrap_or(sdp.len()));
    Signal::Sdp { kind: *kind, sdp: format!("{session}{ATTRIBUTE}{}\r\n{media}", key.0) }
}

/// The key in a description, if it has one.
pub(super) fn key_of(sdp: &str) -> Option<Random> {
    let mut session = sdp.lines().map(str::trim).take_while(|line| !line.starts_with("m="));
    session.find_map(|line| Random::parse(line.strip_prefix(ATTRIBUTE)?))
}

impl Message {
    /// Parses a message; `None` if it is another one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
        let Value::Object(members) = object.remove(RESUME)? else { return None };
        let nonce = members.get("nonce").and_then(Value::as_str).and_then(Random::parse);
        let proof = members.get("proof").and_then(Value::as_str).map(String::from);
        match (nonce, proof) {
            (Some(nonce), None) => Some(Self::Ask { nonce }),
            (Some(nonce), Some(proof)) => Some(Self::Reply { nonce, proof }),
            (None, Some(proof)) => Some(Self::Confirm { proof }),
            (None, None) => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = match self {
            Self::Ask { nonce } => json!({ "nonce": nonce.0 }),
            Self::Reply { nonce, proof } => json!({ "nonce": nonce.0, "proof": proof }),
            Self::Confirm { proof } => json!({ "proof": proof }),
        };
        json!({ RESUME: members }).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use callbin_protocol::SdpType;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_description_has_its_key_before_the_first_m_line() {
        let signal = |sdp: &str| Signal::Sdp { kind: SdpType::Offer, sdp: sdp.into() };
        let key = Random("k".repeat(32));
        let (session, media) = ("v=0\r\ns=-\r\n", "m=audio 9 x 0\r\na=mid:0\r\n");
        let attribute = format!("a=callbin-resume:{}\r\n", key.0);
        let with = format!("{session}{attribute}{media}");
        assert_eq!(with_key(&signal(&format!("{session}{media}")), &key), signal(&with));
        assert_eq!(key_of(&with), Some(key.clone()));
        for other in
            [format!("{session}{media}"), format!("{session}{media}{attribute}"), with.replace("kk", " ")]
        {
            assert_eq!(key_of(&other), None, "{other}");
        }
        assert_eq!(with_key(&Signal::OfferRequest, &key), Signal::OfferRequest);
    }

    #[test]
    fn messages_are_read_back() {
        let (nonce, proof) = (Random::fresh(), "abc".to_owned());
        for message in [
            Message::Ask { nonce: nonce.clone() },
            Message::Reply { nonce, proof: proof.clone() },
            Message::Confirm { proof },
        ] {
            assert_eq!(Message::parse(&message.to_string()), Some(message));
        }
        for text in [
            "",
            "7",
            "{}",
            r#"{"resume":{}}"#,
            r#"{"resume":7}"#,
            r#"{"resume":{"nonce":"short"}}"#,
            r#"{"resume":{"nonce":"0123456789 0123456789 0123456789"}}"#,
        ] {
            assert_eq!(Message::parse(text), None, "{text}");
        }
    }

    /// Computed with `printf caller:a…:b…:k… | sha256sum`.
    #[test]
    fn a_proof_is_what_the_protocol_says() {
        let text = |letter: &str| Random(letter.repeat(32));
        let (a, b, key) = (text("a"), text("b"), text("c"));
        let expected = "76015f9b2fda9652c097d39ed186fb2f1d93402b31fc9e499613daf6b60dc5ea";
        assert_eq!(proof(Role::Caller, &a, &b, &key).as_deref(), Some(expected));
        for other in [
            proof(Role::Callee, &a, &b, &key),
            proof(Role::Caller, &b, &a, &key),
            proof(Role::Caller, &a, &b, &a),
        ] {
            assert_ne!(other.as_deref(), Some(expected));
        }
    }

    #[test]
    fn keys_are_neither_guessed_nor_shown() {
        let (one, two) = (Random::fresh(), Random::fresh());
        assert_ne!(one, two);
        assert!(one.0.len() == 32 && !format!("{one:?}").contains(&one.0));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*", inner in "\\PC*") {
            let _ = (Message::parse(&text), key_of(&text));
            let _ = Message::parse(&format!("{{\"resume\":{{\"nonce\":{inner}}}}}"));
        }
    }
}
