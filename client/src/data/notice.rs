//! The text messages by which peers learn who holds an exclusive channel, and that no more messages come. Pure.
//!
//! They are JSON, and the member `callbin` marks them: `{"callbin":"held","by":"anna","you":false}`,
//! `{"callbin":"free"}`, `{"callbin":"end"}` and `{"callbin":"got"}`.

use serde::{Deserialize, Serialize};

/// A longer message is data.
const MAX_LENGTH: usize = 1024;

/// What one side tells the other about a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "callbin", rename_all = "kebab-case")]
pub enum Notice {
    /// A peer holds it.
    Held {
        /// The peer's uid, or `caller` if it is not known.
        by: String,
        /// Whether the receiver of this message is that peer.
        you: bool,
    },
    /// No peer holds it: the next one to send a message does.
    Free,
    /// No more messages come from the sender of this one.
    End,
    /// The sender of this one has got everything up to the other's `end`.
    Got,
}

impl Notice {
    /// The message.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The notice in a text message; `None` if the message is data.
    pub fn parse(text: &str) -> Option<Self> {
        let may_be = text.len() <= MAX_LENGTH && text.starts_with("{\"callbin\":");
        may_be.then(|| serde_json::from_str(text).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_the_documented_texts() {
        let held = Notice::Held { by: "anna".into(), you: false };
        assert_eq!(held.text(), r#"{"callbin":"held","by":"anna","you":false}"#);
        assert_eq!(Notice::Free.text(), r#"{"callbin":"free"}"#);
        assert_eq!(Notice::End.text(), r#"{"callbin":"end"}"#);
        assert_eq!(Notice::Got.text(), r#"{"callbin":"got"}"#);
        for notice in [held, Notice::Free, Notice::End, Notice::Got] {
            assert_eq!(Notice::parse(&notice.text()), Some(notice));
        }
    }

    #[test]
    fn other_texts_are_data() {
        let long = format!(r#"{{"callbin":"held","by":"{}","you":true}}"#, "x".repeat(MAX_LENGTH));
        for text in ["", "{}", "free", r#"{"callbin":"taken"}"#, r#"{"by":"a","callbin":"free"}"#, &*long] {
            assert_eq!(Notice::parse(text), None, "{text}");
        }
    }
}
