//! Accounting of a connection's incomplete incoming message and of the WebSocket's enlarged buffers.
//!
//! The WebSocket holds both but does not report their size. The incomplete message is computed as bytes received minus
//! bytes of complete frames. The buffers grow with the largest message and never shrink.

use async_tungstenite::tungstenite::Message;

use crate::delivery::budget::SHARE;

/// The size of buffers that a connection may keep while nothing happens on it.
const KEPT: usize = 4 * 1024;

/// Bytes of a control frame before its payload: header and mask (RFC 6455, section 5.2).
const CONTROL_HEAD: u64 = 6;

/// The sizes (see the module's description).
#[derive(Debug, Default)]
pub struct Incoming {
    used: u64,
    told: usize,
    /// Bytes of the frames so far, if none was fragmented or encoded its length in more bytes than needed. Otherwise
    /// this is less than the real number, never more.
    consumed: u64,
    /// The largest message that has passed through the WebSocket's buffers.
    largest: usize,
    /// The same, if the buffers could not be replaced after it.
    kept: usize,
    /// The most bytes that were in the write buffer at once.
    batch: usize,
    /// The peer has sent nothing for a while.
    rests: bool,
}

impl Incoming {
    /// For a connection on which `bytes` bytes came before the first frame.
    pub fn after(bytes: u64) -> Self {
        Self { consumed: bytes, ..Self::default() }
    }

    /// A message of this size passes through the write buffer.
    pub fn send(&mut self, length: usize) {
        self.largest = self.largest.max(length);
    }

    /// The `bytes` bytes of frames in the write buffer are written now.
    pub fn wrote(&mut self, bytes: usize) {
        self.batch = self.batch.max(bytes);
    }

    /// Called now and then. If the peer has sent nothing meanwhile (`heard`), smaller buffers will do.
    pub fn rest(&mut self, heard: bool) {
        self.rests |= !heard;
    }

    /// Whether the buffers have grown.
    pub fn is_swollen(&self) -> bool {
        self.largest > SHARE || (self.rests && self.largest.max(self.batch) > KEPT)
    }

    /// Whether all bytes received certainly belong to complete frames: the read buffer is empty.
    pub fn is_between_frames(&self, received: u64) -> bool {
        self.consumed == received
    }

    /// The WebSocket has new buffers.
    pub fn renewed(&mut self) {
        (self.largest, self.kept, self.batch, self.rests) = (0, 0, 0, false);
    }

    /// The WebSocket has to keep its buffers, so they count from now on. Until now their contents counted in the queue.
    pub fn not_renewed(&mut self) {
        self.kept = self.largest;
    }

    /// A frame is complete, after `received` bytes in total. A control frame may come between the fragments of a
    /// message, which still count as held.
    pub fn complete(&mut self, frame: &Message, received: u64) {
        self.consumed += size_on_the_wire(frame.len());
        self.used = match frame {
            Message::Text(_) | Message::Binary(_) => {
                self.largest = self.largest.max(frame.len());
                received
            }
            control => received.min(self.used + CONTROL_HEAD + control.len() as u64),
        };
    }

    /// Bytes held; 0 if they are within the share.
    pub fn held(&self, received: u64) -> usize {
        let held = usize::try_from(received - self.used).unwrap_or(usize::MAX).max(self.kept);
        if held > SHARE { held } else { 0 }
    }

    /// The same, if it has changed since the last call.
    pub fn news(&mut self, received: u64) -> Option<usize> {
        let held = self.held(received);
        (held != std::mem::replace(&mut self.told, held)).then_some(held)
    }
}

/// The size of a client's frame with this payload (RFC 6455, section 5.2): flags and length, mask, payload.
fn size_on_the_wire(payload: usize) -> u64 {
    let head = match payload {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    };
    head + 4 + payload as u64
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
    fn it_is_known_when_the_buffer_is_empty() {
        let mut incoming = Incoming::after(300);
        assert!(incoming.is_between_frames(300));
        let mut received = 300;
        for (payload, head) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            received += payload as u64 + head;
            incoming.complete(&Message::binary(vec![0; payload]), received + 1);
            assert!(!incoming.is_between_frames(received + 1), "{payload} and a byte more");
            assert!(incoming.is_between_frames(received), "{payload}");
        }
        // The same message in two fragments: the second header cannot be seen in the result.
        incoming.complete(&Message::text("fragments"), received + 9 + 6 + 6);
        assert!(!incoming.is_between_frames(received + 9 + 6 + 6));
    }

    #[test]
    fn what_a_large_message_leaves_behind_counts_until_the_buffers_are_new() {
        let mut incoming = Incoming::default();
        incoming.complete(&Message::binary(vec![0; 100_000]), 100_014);
        assert!(incoming.is_swollen());
        assert_eq!(incoming.held(100_014), 0, "it is handed on");
        incoming.not_renewed();
        assert_eq!(incoming.held(100_014), 100_000);
        incoming.renewed();
        assert!(!incoming.is_swollen());
        assert_eq!(incoming.held(100_014), 0);
        incoming.send(SHARE + 1);
        assert!(incoming.is_swollen());
    }

    #[test]
    fn many_small_messages_leave_a_buffer_that_is_given_up_at_rest() {
        let mut incoming = Incoming::default();
        incoming.wrote(KEPT + 1);
        incoming.wrote(10);
        incoming.rest(true);
        assert!(!incoming.is_swollen(), "the next ones may follow soon");
        incoming.rest(false);
        assert!(incoming.is_swollen());
        incoming.renewed();
        incoming.wrote(KEPT);
        incoming.rest(false);
        assert!(!incoming.is_swollen());
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
