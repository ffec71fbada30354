//! Text of several lines for a terminal, with names in it that strangers chose.

/// The text with everything escaped that could steer the terminal or show the text in another order; JSON remains what it
/// was.
pub(super) fn printable(text: &str) -> String {
    text.split('\n').map(callbin_protocol::printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_lines_stay() {
        assert_eq!(
            printable("[\n  {\"uid\":\"\u{202e}é\\r\"}\r\n]"),
            "[\n  {\"uid\":\"\\u202eé\\r\"}\\u000d\n]"
        );
    }
}
