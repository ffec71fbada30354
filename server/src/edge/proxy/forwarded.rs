//! The `Forwarded` header (RFC 7239, section 4): elements, pairs, and quoted strings, whose commas do not separate
//! elements.

use std::net::SocketAddr;

use super::parse_node;

/// A quotation mark in the wrong place, or two clients in one element. The end of an element is ambiguous then, and the
/// client may control it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The clients in a header value, in order. `None` for a hidden or invalid address.
pub(super) fn parse(value: &[u8]) -> Result<Vec<Option<SocketAddr>>, Malformed> {
    let mut scanner = Scanner(value);
    let mut nodes = vec![element(&mut scanner)?];
    while scanner.take(b',') {
        nodes.push(element(&mut scanner)?);
    }
    if scanner.0.is_empty() { Ok(nodes) } else { Err(Malformed) }
}

/// Parses an element up to the comma or the end: `for="[2001:db8::1]:4711";proto=https`.
fn element(scanner: &mut Scanner<'_>) -> Result<Option<SocketAddr>, Malformed> {
    let mut node = None;
    loop {
        let name = scanner.take_until(b"=;,\"").trim_ascii();
        let value = if scanner.take(b'=') { scanner.value()? } else { Vec::new() };
        if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
            return Err(Malformed);
        }
        if !scanner.take(b';') {
            break;
        }
    }
    Ok(node.and_then(|node| parse_node(str::from_utf8(&node).ok()?)))
}

struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    /// Consumes this byte if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take_until(&mut self, ends: &[u8]) -> &'a [u8] {
        let length = self.0.iter().position(|byte| ends.contains(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    /// A token, or the contents of a quoted string. Tokens may have more characters than RFC 7239 allows: some proxies
    /// write `for=[2001:db8::1]:4711`.
    fn value(&mut self) -> Result<Vec<u8>, Malformed> {
        self.0 = self.0.trim_ascii_start();
        if !self.take(b'"') {
            return Ok(self.take_until(b";,\"").trim_ascii().to_vec());
        }
        let mut value = Vec::new();
        loop {
            value.extend(self.take_until(b"\"\\"));
            if self.take(b'"') {
                self.0 = self.0.trim_ascii_start();
                return Ok(value);
            }
            self.take(b'\\');
            let (escaped, rest) = self.0.split_first().ok_or(Malformed)?;
            value.push(*escaped);
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(value: &str) -> Result<Vec<String>, Malformed> {
        let name = |node: Option<SocketAddr>| node.map_or("-".into(), |node| node.ip().to_string());
        parse(value.as_bytes()).map(|nodes| nodes.into_iter().map(name).collect())
    }

    #[test]
    fn a_comma_or_semicolon_in_quotes_separates_nothing() {
        for (value, expected) in [
            ("for=198.51.100.1;host=\"a, for=203.0.113.9\"", &["198.51.100.1"][..]),
            ("for=198.51.100.1;host=\"a;for=203.0.113.9\"", &["198.51.100.1"]),
            ("host=\"x\\\", for=203.0.113.9, \";for=198.51.100.1", &["198.51.100.1"]),
            ("host=\"x\\\\\";for=198.51.100.1", &["198.51.100.1"]),
            ("for=\"1.2.3.4\" , for=198.51.100.1 ; proto=https", &["1.2.3.4", "198.51.100.1"]),
            ("for=\"198.51.100\\.1\"", &["198.51.100.1"]),
        ] {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(nodes(value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn nodes_are_addresses_or_hidden() {
        for (node, expected) in [
            ("198.51.100.1", "198.51.100.1"),
            ("198.51.100.1:4711", "198.51.100.1"),
            ("\"198.51.100.1:_port\"", "198.51.100.1"),
            ("\"[2001:db8::1]\"", "2001:db8::1"),
            ("\"[2001:db8::1]:_port\"", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("unknown", "-"),
            ("_hidden", "-"),
            ("\"\"", "-"),
            ("", "-"),
        ] {
            assert_eq!(nodes(&format!("for={node}")), Ok(vec![expected.into()]), "{node}");
        }
        assert_eq!(nodes(""), Ok(vec!["-".into()]));
        assert_eq!(nodes(",;,proto=http"), Ok(["-"; 3].map(String::from).to_vec()));
        assert_eq!(parse(b"\xff, for=198.51.100.1").map(|nodes| nodes.len()), Ok(2));
    }

    proptest! {
        /// A Host header that a proxy copies into a quoted string adds no client.
        #[test]
        fn what_is_quoted_names_no_client(host in "([a-z\"\\\\,;=\\[\\] ]|for=)*|.*") {
            let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("for=192.0.2.1;host=\"{quoted}\";proto=https");
            prop_assert_eq!(nodes(&value), Ok(vec!["192.0.2.1".to_owned()]));
        }

        /// The element that a proxy appends is found whatever the client wrote before it, or the header is malformed.
        #[test]
        fn what_is_appended_comes_last(start in "([a-z\"\\\\,;=\\[\\] ]|for=)*|.*") {
            let last = nodes(&format!("{start}, for=192.0.2.1")).map(|nodes| nodes.last().cloned());
            prop_assert!(matches!(last.as_ref().map(Option::as_deref), Err(Malformed) | Ok(Some("192.0.2.1"))));
        }
    }

    #[test]
    fn a_quote_that_swallows_what_follows_is_no_header() {
        for value in [
            // The client's text, to which a proxy appended an element.
            "for=\", for=198.51.100.1",
            "x\", for=198.51.100.1;host=\"y\"",
            "x=\", for=198.51.100.1;host=\"y\"\"",
            "for=1.2.3.4\"x, for=198.51.100.1",
            "for=\"1.2.3.4\"x",
            "for=\"1.2.3.4\\",
            "\"",
            "for=198.51.100.1;For=203.0.113.9",
            "for;for=203.0.113.9",
        ] {
            assert_eq!(nodes(value), Err(Malformed), "{value}");
        }
    }
}
