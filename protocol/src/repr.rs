//! Quotes strings like Python's `repr`, which the reference server uses in its error texts.

use std::fmt::{self, Write};

/// Prints a string like Python's `repr`: `'x'`, but `"o'brien"`.
pub(crate) struct PythonRepr<'a>(pub(crate) &'a str);

impl fmt::Display for PythonRepr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('\'') && !self.0.contains('"') { '"' } else { '\'' };
        f.write_char(quote)?;
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                c if c == quote => write!(f, "\\{c}")?,
                c if is_printable(c) => f.write_char(c)?,
                c if u32::from(c) <= 0xff => write!(f, "\\x{:02x}", u32::from(c))?,
                c if u32::from(c) <= 0xffff => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_char(quote)
    }
}

/// Whether Python prints the character unescaped. Outside ASCII, Rust's tables decide.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // `char::escape_debug` also escapes combining marks, which Python does not. After another character
    // `str::escape_debug` does not, either.
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

/// Reverses [`PythonRepr`] for strings that need no escapes; `None` for any other text.
pub(crate) fn unquote(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (PythonRepr(inner).to_string() == text).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_python_does() {
        // Left: the string; right: its repr() in CPython 3.11.
        for (text, repr) in [
            ("x", "'x'"),
            ("", "''"),
            ("o'brien", "\"o'brien\""),
            ("say \"hi\"", "'say \"hi\"'"),
            ("'\"", "'\\'\"'"),
            ("a\\b", "'a\\\\b'"),
            ("a\nb\tc\rd", "'a\\nb\\tc\\rd'"),
            ("\u{0}\u{7f}\u{85}", "'\\x00\\x7f\\x85'"),
            ("é日本", "'é日本'"),
            ("e\u{301}", "'e\u{301}'"),
            ("\u{200b}", "'\\u200b'"),
            ("\u{a0}", "'\\xa0'"),
            ("😀", "'😀'"),
            ("\u{e0001}", "'\\U000e0001'"),
        ] {
            assert_eq!(PythonRepr(text).to_string(), repr, "{text:?}");
        }
    }

    #[test]
    fn unquotes_what_needed_no_escapes() {
        assert_eq!(unquote("'x'"), Some("x"));
        assert_eq!(unquote("\"o'brien\""), Some("o'brien"));
        assert_eq!(unquote("x"), None);
        assert_eq!(unquote("'"), None);
        assert_eq!(unquote("'a\\nb'"), None);
    }
}
