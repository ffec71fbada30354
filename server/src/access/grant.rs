//! Permissions: what a token grants to its connection.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use callbin_protocol::{PeerId, RoomId};
use serde::{Deserialize, Serialize};

use crate::hub::Use;

/// The permissions of a connection. Without tokens everything is allowed, and there are no identities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// The token's subject, independent of the uid.
    pub identity: Option<Arc<str>>,
    /// Uids it may register. `None`: any.
    pub uid: Option<Pattern>,
    /// Rooms it may join. `None`: any.
    pub rooms: Option<Vec<Pattern>>,
    /// Streams it may publish and play. `None`: it may publish those whose names it may register, and play any.
    pub streams: Option<Vec<Pattern>>,
    /// Its abilities. `None`: all.
    pub allow: Option<Vec<Ability>>,
    /// Whether it may attach as a media node. Never without a token or the nodes' secret.
    pub is_node: bool,
    /// When the grant expires. An open connection is closed then.
    pub expires: Option<SystemTime>,
}

/// Something that a token can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ability {
    /// Start sessions.
    Call,
    /// Be the callee of sessions.
    Answer,
    /// Publish streams.
    Publish,
    /// Play streams.
    Play,
}

/// A name, or a prefix followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Whether it matches the name.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.0 == name,
        }
    }
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Grant {
    /// The time until it expires, by the system clock.
    pub fn time_left(&self) -> Duration {
        let left = |expires: SystemTime| expires.duration_since(SystemTime::now()).unwrap_or_default();
        self.expires.map_or(Duration::MAX, left)
    }

    /// Whether it may register this uid.
    pub fn allows_uid(&self, uid: &PeerId) -> bool {
        self.uid.as_ref().is_none_or(|pattern| pattern.matches(uid.as_str()))
    }

    /// Whether it may join this room.
    pub fn allows_room(&self, room: &RoomId) -> bool {
        self.rooms.as_ref().is_none_or(|patterns| any(patterns, room.as_str()))
    }

    /// Whether it may publish or play this stream.
    pub fn permits(&self, media: Use, stream: &PeerId) -> bool {
        let named = self.streams.as_ref().map(|patterns| any(patterns, stream.as_str()));
        match media {
            Use::Publish => self.allows(Ability::Publish) && named.unwrap_or_else(|| self.allows_uid(stream)),
            Use::Play => self.allows(Ability::Play) && named.unwrap_or(true),
        }
    }

    /// Whether it has this ability.
    pub fn allows(&self, ability: Ability) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.contains(&ability))
    }

    /// Whether another grant has the same permissions for longer.
    pub fn is_extended_by(&self, other: &Self) -> bool {
        let is_the_same = self.identity == other.identity
            && self.uid == other.uid
            && self.rooms == other.rooms
            && self.streams == other.streams
            && self.is_node == other.is_node
            && self.allow == other.allow;
        is_the_same && other.time_left() > self.time_left()
    }

    /// Whether both have the same identity. Grants without an identity never do.
    pub fn is_same_identity(&self, other: &Self) -> bool {
        self.identity.is_some() && self.identity == other.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_prefixes() {
        assert!(Pattern::from("cam").matches("cam"));
        assert!(!Pattern::from("cam").matches("camera"));
        assert!(Pattern::from("cam*").matches("cam"));
        assert!(Pattern::from("cam*").matches("camera"));
        assert!(!Pattern::from("cam*").matches("ca"));
        assert!(Pattern::from("*").matches("anything"));
    }

    #[test]
    fn what_a_token_does_not_mention_is_free() {
        let grant = Grant::default();
        assert!(grant.allows_uid(&PeerId::new("x").unwrap()));
        assert!(grant.allows_room(&RoomId::new("x").unwrap()));
        assert!(grant.allows(Ability::Call) && grant.allows(Ability::Answer));
        let none = Grant { rooms: Some(vec![]), allow: Some(vec![]), ..Grant::default() };
        assert!(!none.allows_room(&RoomId::new("x").unwrap()));
        assert!(!none.allows(Ability::Call));
    }

    #[test]
    fn only_a_later_token_with_the_same_permissions_extends_a_grant() {
        let until = |seconds| Some(SystemTime::now() + Duration::from_secs(seconds));
        let grant = Grant { identity: Some("alice".into()), expires: until(10), ..Grant::default() };
        assert!(grant.is_extended_by(&Grant { expires: until(20), ..grant.clone() }));
        assert!(grant.is_extended_by(&Grant { expires: None, ..grant.clone() }));
        assert!(!grant.is_extended_by(&Grant { expires: until(5), ..grant.clone() }));
        assert!(
            !Grant { expires: None, ..grant.clone() }
                .is_extended_by(&Grant { expires: None, ..grant.clone() })
        );
        for other in [
            Grant { identity: None, ..Grant::default() },
            Grant { uid: Some("a".into()), expires: None, ..grant.clone() },
            Grant { rooms: Some(vec![]), expires: None, ..grant.clone() },
            Grant { allow: Some(vec![Ability::Call]), expires: None, ..grant.clone() },
        ] {
            assert!(!grant.is_extended_by(&other), "{other:?}");
        }
    }

    #[test]
    fn nobody_is_not_the_same_as_nobody() {
        let grant = Grant::default();
        assert!(!grant.is_same_identity(&grant.clone()));
        let alice = Grant { identity: Some("alice".into()), ..Grant::default() };
        assert!(alice.is_same_identity(&alice.clone()));
        assert!(!alice.is_same_identity(&grant));
    }
}
