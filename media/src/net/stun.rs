//! STUN requests (RFC 8489), as far as they name a connection.

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_SUCCESS: [u8; 2] = [1, 1];
const USERNAME: u16 = 6;

/// Whether a datagram is STUN and nothing else that shares the port (RFC 7983).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4) && datagram.get(4..8) == Some(&COOKIE)
}

/// Whether it is a successful answer to a request. The library sends one only after it has checked the password.
pub fn is_success(datagram: &[u8]) -> bool {
    is_stun(datagram) && datagram.starts_with(&BINDING_SUCCESS)
}

/// The receiver's user name fragment of a binding request: the part of USERNAME before the colon (RFC 8445, section 7.2.2).
pub fn ufrag(datagram: &[u8]) -> Option<&str> {
    if !is_stun(datagram) || !datagram.starts_with(&BINDING_REQUEST) {
        return None;
    }
    let mut rest = datagram.get(HEADER..)?;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let [k0, k1, l0, l1] = *head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = after.get(..length)?;
        if u16::from_be_bytes([k0, k1]) == USERNAME {
            return Some(std::str::from_utf8(value).ok()?.split_once(':')?.0);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = [&[0, 1, 0, 0][..], &COOKIE, &[7; 12]].concat();
        for (kind, value) in attributes {
            out.extend(kind.to_be_bytes());
            out.extend((value.len() as u16).to_be_bytes());
            out.extend(*value);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    #[test]
    fn a_request_names_the_receiver_before_the_colon() {
        let datagram = request(&[(0x24, &[1, 2, 3, 4]), (USERNAME, b"ours:theirs"), (8, &[0; 20])]);
        assert_eq!(ufrag(&datagram), Some("ours"));
        assert_eq!(ufrag(&request(&[(0x24, &[1]), (USERNAME, b"a:b")])), Some("a"));
    }

    #[test]
    fn other_datagrams_name_no_connection() {
        let no_colon = request(&[(USERNAME, b"ours")]);
        let not_text = request(&[(USERNAME, &[0xff, b':', 0xff])]);
        let mut answer = request(&[(USERNAME, b"ours:theirs")]);
        answer[..2].copy_from_slice(&BINDING_SUCCESS);
        let mut short = request(&[(USERNAME, b"ours:theirs")]);
        short.truncate(short.len() - 6);
        for datagram in [&no_colon[..], &not_text, &answer, &short, &[0x80, 96, 0, 0], &[]] {
            assert_eq!(ufrag(datagram), None, "{datagram:x?}");
        }
        assert!(is_success(&answer) && !is_success(&no_colon));
    }

    proptest! {
        #[test]
        fn no_datagram_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            ufrag(&bytes);
            ufrag(&[&request(&[])[..], &bytes].concat());
        }
    }
}
