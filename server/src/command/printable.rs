//! Safe output on a terminal of text that contains names chosen by peers.

/// Escapes everything that could control the terminal or reorder the text. JSON keeps its meaning.
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
