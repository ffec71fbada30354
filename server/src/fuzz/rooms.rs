//! The dialects with rooms.

use std::str;

use callbin_protocol::{PeerId, action, rooms};

use super::translate;
use crate::dialect::{Dialect, Opening};

/// What a member of a JSON room gets, as far as the server answers for it.
#[derive(serde::Deserialize)]
struct Sent {
    sender: String,
}

/// Frames of a member of a JSON room, one per line. What is forwarded and what is written must be read as the same.
pub fn rooms(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let sender = PeerId::guest(1, 1);
    for line in text.lines() {
        let Ok(frame) = rooms::ClientFrame::parse(line) else { continue };
        let forwarded = rooms::with_sender(frame.cleaned.as_deref().unwrap_or(line), &sender);
        let written = rooms::ServerFrame::Signal { signal: &frame.signal, sender: &sender }.to_string();
        for text in [forwarded, written] {
            let read = rooms::ClientFrame::parse(&text).map(|frame| frame.signal);
            assert_eq!(read.as_ref(), Ok(&frame.signal), "{text:?}");
            let sent: Result<Sent, _> = serde_json::from_str(&text);
            assert!(sent.is_ok_and(|sent| sent.sender == sender.as_str()), "{text:?}");
        }
    }
    let opening = Opening { rest: "r".into(), query: format!("username={text}"), ..Opening::default() };
    translate(Dialect::Rooms, &opening, text);
}

/// Frames of a client with `action`/`data` envelopes, one per line.
pub fn action(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for line in text.lines() {
        let data = match action::ClientFrame::parse(line) {
            Ok(frame) => Some(frame.data),
            Err(fault) => fault.data,
        };
        assert!(data.is_none_or(|data| line.contains(data)), "a signal is a part of its frame: {line:?}");
    }
    translate(Dialect::Action, &Opening::default(), text);
}
