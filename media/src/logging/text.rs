//! The fields of a log line in text form: `name=value`, quoted if the value could be misread.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// The formatter (see the module's description).
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.write_char(' ')?;
        }
        match field.name() {
            // The message is ours, but may contain a peer's name.
            "message" if value.chars().all(|c| !c.is_control()) => self.writer.write_str(value),
            "message" => write!(self.writer, "{value:?}"),
            name if self.writer.has_ansi_escapes() => {
                write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{}", Quoted(value))
            }
            name => write!(self.writer, "{name}={}", Quoted(value)),
        }
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = self.write(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// A value, quoted unless it is a single word of printable characters.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = format!("{:?}", self.0);
        let is_word = !self.0.is_empty() && !self.0.contains([' ', '=']);
        // Same length: nothing was escaped.
        if is_word && quoted.len() == self.0.len() + 2 { f.write_str(self.0) } else { f.write_str(&quoted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_word_is_quoted() {
        for (value, expected) in [
            ("studio", "studio"),
            ("é-日本", "é-日本"),
            ("127.0.0.1:4711", "127.0.0.1:4711"),
            ("invalid peer uid", "\"invalid peer uid\""),
            ("", "\"\""),
            ("a=b", "\"a=b\""),
            ("a\"b", r#""a\"b""#),
            ("a\\b", r#""a\\b""#),
            ("a\nconn=1", r#""a\nconn=1""#),
            ("\u{1b}[31m", r#""\u{1b}[31m""#),
            ("\u{202e}x", r#""\u{202e}x""#),
        ] {
            assert_eq!(Quoted(value).to_string(), expected);
        }
    }
}
