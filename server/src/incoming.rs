//! What a connection holds of a message that has not come to its end.
//!
//! The WebSocket keeps it and does not tell how much that is. It is what has been received, less what has become
//! frames.

use async_tungstenite::tungstenite::Message;

use crate::budget::SHARE;

/// A control frame's length and mask come before its payload (RFC 6455, section 5.2).
const CONTROL_HEAD: u64 = 6;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Incoming {
    used: u64,
    told: usize,
}

impl Incoming {
    /// A frame came out, with so many bytes received. A control frame may come in the midst of a message, and
    /// leaves what is held of that.
    pub fn complete(&mut self, frame: &Message, received: u64) {
        self.used = match frame {
            Message::Text(_) | Message::Binary(_) => received,
            control => received.min(self.used + CONTROL_HEAD + control.len() as u64),
        };
    }

    /// How much is held, if it is more than a share.
    pub fn held(&self, received: u64) -> usize {
        let held = usize::try_from(received - self.used).unwrap_or(usize::MAX);
        if held > SHARE { held } else { 0 }
    }

    /// The same, if it is not what it was when this was last asked.
    pub fn news(&mut self, received: u64) -> Option<usize> {
        let held = self.held(received);
        (held != std::mem::replace(&mut self.told, held)).then_some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: u64 = 10 * SHARE as u64;

    #[test]
    fn a_message_counts_until_it_is_complete() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.news(SHARE as u64), None, "no more than its share");
        assert_eq!(incoming.news(MUCH), Some(MUCH as usize));
        assert_eq!(incoming.news(MUCH), None);
        incoming.complete(&Message::text("whole"), MUCH + 1);
        assert_eq!(incoming.news(MUCH + 1), Some(0));
        assert_eq!(incoming.news(MUCH + 1), None);
    }

    #[test]
    fn pings_between_fragments_do_not_hide_them() {
        let (mut incoming, mut received) = (Incoming::default(), 0);
        for _ in 0..100 {
            received += 3000 + CONTROL_HEAD + 4;
            incoming.complete(&Message::Ping("ping".into()), received);
        }
        assert_eq!(incoming.held(received), 300_000);
    }

    #[test]
    fn an_idle_peer_holds_nothing_however_many_pongs_it_sends() {
        let (mut incoming, mut received) = (Incoming::default(), 0);
        for _ in 0..100_000 {
            received += CONTROL_HEAD;
            incoming.complete(&Message::Pong("".into()), received);
            assert_eq!(incoming.held(received), 0);
        }
    }
}
