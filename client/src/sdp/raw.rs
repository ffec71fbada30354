//! Splits a session description into lines (RFC 8866), with bounds but without interpretation.

use super::Refused;

/// Bounds that no honest description comes near.
const MAX_BYTES: usize = 256 * 1024;
const MAX_LINE: usize = 8 * 1024;
const MAX_SECTIONS: usize = 64;

/// A description: the session part and the media parts.
pub(super) struct Raw<'a> {
    /// The line `o=`: user name, session ID and more.
    pub(super) origin: &'a str,
    pub(super) session: Part<'a>,
    pub(super) media: Vec<Part<'a>>,
}

/// One part: its `m=` line, if it is a media part, and its attributes.
#[derive(Default)]
pub(super) struct Part<'a> {
    media: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Raw<'a> {
    /// Splits `text` into lines. Accepts line ends of any kind, and blank lines.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refused> {
        if text.len() > MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        let mut lines = text.split(['\r', '\n']).filter(|line| !line.trim().is_empty());
        if lines.next().map(str::trim) != Some("v=0") {
            return Err(Refused::Syntax("it does not begin with v=0"));
        }
        let mut raw = Self { origin: "", session: Part::default(), media: Vec::new() };
        for line in lines {
            raw.read_line(line)?;
        }
        if raw.media.is_empty() {
            return Err(Refused::Unusable("it has no m-line"));
        }
        Ok(raw)
    }

    fn read_line(&mut self, line: &'a str) -> Result<(), Refused> {
        if line.len() > MAX_LINE || line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(Refused::Syntax("a line is too long or holds control characters"));
        }
        let (kind, value) = line.split_once('=').ok_or(Refused::Syntax("a line without ="))?;
        if kind.len() != 1 || !kind.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(Refused::Syntax("a line without a type"));
        }
        let value = value.trim_end();
        match kind {
            "m" if self.media.len() == MAX_SECTIONS => return Err(Refused::TooLarge),
            "m" => self.media.push(Part { media: value, attributes: Vec::new() }),
            "a" => {
                let part = self.media.last_mut().unwrap_or(&mut self.session);
                part.attributes.push(value.split_once(':').unwrap_or((value, "")));
            }
            "o" => self.origin = value,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Part<'a> {
    /// The values of all attributes of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value)
    }

    pub(super) fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The names of all attributes, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().map(|(name, _)| *name)
    }

    /// The words of the m-line: media, port, protocol, formats.
    pub(super) fn words(&self) -> impl Iterator<Item = &'a str> {
        self.media.split_ascii_whitespace()
    }

    pub(super) fn formats(&self) -> impl Iterator<Item = &'a str> {
        self.words().skip(3)
    }

    /// The payload types (RFC 3550, section 5.1), each once.
    pub(super) fn payload_types(&self) -> impl Iterator<Item = u8> {
        let mut seen = 0u128;
        let is_new = move |number: &u8| {
            let before = seen;
            seen |= 1 << number;
            seen != before
        };
        let numbers = self.formats().filter_map(|format| format.parse().ok());
        numbers.filter(|number| *number < 128).filter(is_new)
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.words().nth(1)?.split('/').next()?.parse().ok()
    }

    /// Payload type and `<rest>` of each `a=NAME:<payload type> <rest>`.
    pub(super) fn by_payload(&self, name: &str) -> impl Iterator<Item = (u8, &'a str)> {
        self.all(name).filter_map(|value| {
            let (number, rest) = value.split_once(' ')?;
            Some((number.parse().ok()?, rest.trim()))
        })
    }
}
