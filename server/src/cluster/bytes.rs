//! Numbers and texts as bytes, for messages between nodes: lengths are numbers in LEB128.

/// Writes.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }

    /// Adds a number.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Adds bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Adds a text or nothing.
    pub fn option(&mut self, text: Option<&str>) {
        self.number(text.is_some().into());
        text.into_iter().for_each(|text| self.text(text));
    }
}

/// Reads what a [`Writer`] wrote. `None`: the bytes are something else.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The next bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next text.
    pub fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// The next text, or that there is none.
    pub fn option(&mut self) -> Option<Option<&'a str>> {
        match self.number()? {
            0 => Some(None),
            1 => Some(Some(self.text()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, text: String, other: Option<String>) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.text(&text);
            writer.option(other.as_deref());
            let bytes = writer.done();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.text(), Some(text.as_str()));
            prop_assert_eq!(reader.option(), Some(other.as_deref()));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn other_bytes_do_no_harm(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.option().is_some() || reader.number().is_some() {}
        }
    }
}
