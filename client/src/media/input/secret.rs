//! Hides passwords in messages about sources. Pure.

/// The text with the user and password of each address in it replaced.
pub(super) fn hide(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        shown.push_str(before);
        shown.push_str("://");
        shown.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = tail;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("no rtsp://me:hush@cam/1 there", "no rtsp://cam/1 there"),
            ("rtsp://me:hu@sh@cam", "rtsp://cam"),
            ("'http://a:hush@x', \"srt://b:hush@y:1\"", "'http://x', \"srt://y:1\""),
            ("a@b://c", "a@b://c"),
            ("nothing", "nothing"),
            ("://", "://"),
        ] {
            assert_eq!(hide(text), shown);
        }
    }
}
