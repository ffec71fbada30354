//! Identifiers, checked when they are built.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// White space as in Python's `str.split`, which defines the protocol's ids.
pub(crate) fn is_white_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The longest id, in bytes. The protocol sets no limit, but an id is sent to every member of a room and written to
/// logs.
pub const MAX_ID_LEN: usize = 1024;

/// Cuts an invalid id to the longest valid length before it is quoted: it may be as long as a message.
pub fn cut_id(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ID_LEN)).unwrap_or(text)
}

/// The text is empty, too long, contains white space, or is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is not empty, has no white space and at most {MAX_ID_LEN} bytes")]
pub struct InvalidId;

/// The longest list of ids that a server sends, in bytes: every client can read that much as one message.
pub const MAX_LIST_LEN: usize = 1 << 20;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $reserved:expr) => {
        $(#[$doc])*
        ///
        /// Cheap to clone. Not empty, without white space.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes an id of it.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let reserved: &[&str] = &$reserved;
                let sized = !text.is_empty() && text.len() <= MAX_ID_LEN;
                if !sized || text.contains(is_white_space) || reserved.contains(&text) {
                    return Err(InvalidId);
                }
                Ok(Self(text.into()))
            }

            /// The id as on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// The uid that a peer registered with.
    PeerId, []
}

impl PeerId {
    /// The id of a peer that has chosen none: `guest-<number>-<secret>`. The secret keeps others from having it first.
    pub fn guest(number: u64, secret: u64) -> Self {
        Self(format!("guest-{number}-{secret:012x}").into())
    }
}

id! {
    /// The name of a room. `session` is reserved: the reference server stores a peer's 1-1 call under it.
    RoomId, ["session"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_guests_have_one_length_of_secret() {
        assert_eq!(PeerId::guest(7, 1).as_str(), "guest-7-000000000001");
        assert_eq!(PeerId::guest(7, (1 << 48) - 1).as_str(), "guest-7-ffffffffffff");
    }

    #[test]
    fn ids_are_what_python_would_not_split() {
        for good in ["a", "1234", "gst-demo", "ünï", "o'brien", "{}", "\u{200b}"] {
            assert_eq!(PeerId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a ", " a", "a\n", "a\tb", "a\u{a0}b", "a\u{2003}b", "a\u{1c}b"] {
            assert_eq!(PeerId::new(bad), Err(InvalidId), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_bounded() {
        assert!(PeerId::new(&"x".repeat(MAX_ID_LEN)).is_ok());
        assert!(PeerId::new(&"x".repeat(MAX_ID_LEN + 1)).is_err());
    }

    #[test]
    fn session_is_a_peer_but_not_a_room() {
        assert!(PeerId::new("session").is_ok());
        assert!(RoomId::new("session").is_err());
        assert!(RoomId::new("sessions").is_ok());
    }
}
