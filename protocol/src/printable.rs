//! Text for a terminal, with names in it that strangers chose.

use std::fmt::Write;

/// The text with everything escaped that could steer the terminal or show the text in another order, as JSON escapes:
/// a line of JSON remains what it was. It is one line afterwards.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) {
            printable.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _ = write!(printable, "\\u{unit:04x}");
        }
    }
    printable
}

/// Neither a control nor a format character, nor one that Unicode does not know. Rust's own tables decide outside
/// ASCII; a combining mark, which Rust escapes where it stands alone, is none of them.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_control();
    }
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_text_around_is_escaped() {
        for c in ('\0'..'\u{20}').chain('\u{7f}'..'\u{a0}').chain([
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fffb}',
            '\u{e0041}',
        ]) {
            let text = printable(&format!("a{c}b"));
            assert!(text.is_ascii() && !text.contains(char::is_control), "{text:?}");
            let json: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(json, format!("a{c}b"), "still the same to programs");
        }
    }

    #[test]
    fn everything_else_stays() {
        let text = "[{\"uid\":\"é-日本-שלום-e\u{301}-🎥\\\\\"}]";
        assert_eq!(printable(text), text);
    }
}
