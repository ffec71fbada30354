//! Frames that honest clients do not send.

use std::sync::Arc;

/// The first byte of a whole text frame, a first fragment, a middle fragment, a ping and a close.
pub(super) const TEXT: u8 = 0x81;
pub(super) const FIRST_FRAGMENT: u8 = 0x01;
pub(super) const FRAGMENT: u8 = 0x00;
pub(super) const PING: u8 = 0x89;
pub(super) const CLOSE: u8 = 0x88;

/// The size of one write.
const BLOCK: usize = 64 * 1024;

/// The header of a masked frame with a declared length, correct or not. The mask is zero, so the payload is sent
/// unchanged.
pub(super) fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => head.push(0x80 | short),
        (_, Ok(long)) => {
            head.push(0x80 | 126);
            head.extend(long.to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}

/// A masked frame.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [head(first, payload.len() as u64).as_slice(), payload].concat()
}

/// Repeats the bytes to fill one write.
pub(super) fn block(bytes: &[u8]) -> Arc<[u8]> {
    bytes.repeat(BLOCK / bytes.len().max(1)).into()
}

/// The beginning of a ClientHello that declares more bytes than follow.
pub(super) const HALF_CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_three_forms() {
        assert_eq!(frame(TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(head(PING, 126), [0x89, 0xfe, 0, 126, 0, 0, 0, 0]);
        assert_eq!(head(TEXT, 1 << 40), [0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
