//! STUN messages of a peer that writes its own (RFC 8489).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// A Binding request.
pub const REQUEST: u16 = 0x0001;
/// Its successful response.
pub const RESPONSE: u16 = 0x0101;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const ICE_CONTROLLING: u16 = 0x802a;
const FINGERPRINT: u16 = 0x8028;

/// A connectivity check with this user name, valid for an agent with this password.
pub fn check(transaction: u8, username: &str, password: &str) -> Vec<u8> {
    let mut message = [&REQUEST.to_be_bytes()[..], &[0, 0], &COOKIE, &[transaction; 12]].concat();
    add(&mut message, USERNAME, username.as_bytes());
    add(&mut message, PRIORITY, &[0x6e, 0, 0, 0xff]);
    add(&mut message, ICE_CONTROLLING, &[7; 8]);
    // The length in the header covers the attribute that is computed (section 14.5).
    set_length(&mut message, 24);
    let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("a key of any length");
    mac.update(&message);
    let hash = mac.finalize().into_bytes();
    add(&mut message, MESSAGE_INTEGRITY, &hash);
    set_length(&mut message, 8);
    let crc = crc32(&message) ^ 0x5354_554e;
    add(&mut message, FINGERPRINT, &crc.to_be_bytes());
    message
}

/// Whether this is the response to a check.
pub fn is_response(message: &[u8], transaction: u8) -> bool {
    message.starts_with(&RESPONSE.to_be_bytes()) && message.get(8..20) == Some(&[transaction; 12])
}

fn add(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_length(message, 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - 20 + more).expect("short");
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
