//! Ant Media's dialect.

use std::str;

use callbin_protocol::antmedia::{Command, Frame, named};

use super::translate;
use crate::dialect::{Dialect, Opening};

/// Frames of an Ant Media client, one a line. A relayed frame must be one that means the same, and each frame gets a
/// translation, whatever came before.
pub fn antmedia(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for line in text.lines() {
        let Ok(frame) = Frame::parse(line) else { continue };
        let relayed = frame.relayed(line, "s");
        let named = named(&relayed, "s");
        let again = Frame::parse(&named).map(|it| it.command);
        let index = |command: &Command| match command {
            Command::Candidate(it) => it.sdp_m_line_index,
            _ => None,
        };
        // A candidate without an m-line gets the first one.
        let is_completed =
            index(&frame.command).is_none() && again.as_ref().is_ok_and(|it| index(it) == Some(0));
        assert!(is_completed || again.as_ref() == Ok(&frame.command), "{line:?} became {named:?}");
    }
    for text in translate(Dialect::Antmedia, &Opening::default(), text) {
        assert!(text.starts_with("{\"command\":"), "a frame of this protocol: {text}");
    }
}
