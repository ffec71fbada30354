//! Cuts what comes from an end into messages. Pure.

/// The longest message of a stream in bytes. Every WebRTC stack takes that (RFC 8841, section 6.1, has 64 KiB).
pub(super) const MAX_MESSAGE: usize = 16 * 1024;

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The start of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Lines {
    /// The lines that `bytes` completes, without their ends. Longer lines than `MAX_MESSAGE` are cut.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(MAX_MESSAGE) {
                if self.begun.len() + piece.len() > MAX_MESSAGE {
                    lines.extend(self.rest());
                }
                self.begun.extend_from_slice(piece);
            }
            if part.ends_with(b"\n") {
                lines.push(self.take());
            }
        }
        lines
    }

    /// The last line, if it has no end.
    pub(super) fn rest(&mut self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.begun);
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // webrtcbin takes texts that end at a NUL.
        String::from_utf8_lossy(line).replace('\0', "\u{fffd}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_in_whatever_pieces_they_were_read() {
        let text = b"one\r\ntwo\n\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut all: Vec<String> = text.chunks(size).flat_map(|piece| lines.push(piece)).collect();
            all.extend(lines.rest());
            assert_eq!(all, ["one", "two", "", "three"], "{size}");
        }
    }

    #[test]
    fn long_lines_are_cut_and_nothing_is_lost() {
        let mut lines = Lines::default();
        let mut all = lines.push(&vec![b'x'; 3 * MAX_MESSAGE]);
        all.extend(lines.push(b"y\n"));
        assert!(all.iter().all(|line| line.len() <= MAX_MESSAGE));
        assert_eq!(all.concat(), "x".repeat(3 * MAX_MESSAGE) + "y");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(Lines::default().push(b"a\xffb\0c\n"), ["a\u{fffd}b\u{fffd}c"]);
    }
}
