//! STUN messages of a peer that writes its own (RFC 8489).

use std::net::{Ipv4Addr, SocketAddrV4};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// A Binding request.
pub const REQUEST: u16 = 0x0001;
/// Its successful response.
pub const RESPONSE: u16 = 0x0101;
/// An attribute of a check: the priority of the address that it comes from.
pub const PRIORITY: u16 = 0x0024;
/// An attribute of a check that nominates.
pub const USE_CANDIDATE: u16 = 0x0025;
/// An attribute of a check: its sender is controlled.
pub const ICE_CONTROLLED: u16 = 0x8029;
/// An attribute of a check: its sender is controlling.
pub const ICE_CONTROLLING: u16 = 0x802a;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;

/// A message in the making.
#[derive(Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message without attributes.
    pub fn new(kind: u16, transaction: [u8; 12]) -> Self {
        Self([&kind.to_be_bytes()[..], &[0, 0], &COOKIE, &transaction].concat())
    }

    /// Adds an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        add(&mut self.0, kind, value);
        self
    }

    /// Adds the address that a check came from.
    pub fn with_address(self, address: SocketAddrV4) -> Self {
        let port = address.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let ip = u32::from(*address.ip()) ^ u32::from_be_bytes(COOKIE);
        let value = [&[0, 1][..], &port.to_be_bytes(), &Ipv4Addr::from(ip).octets()].concat();
        self.with(XOR_MAPPED_ADDRESS, &value)
    }

    /// The message for an agent that knows this password.
    pub fn finish(self, password: &str) -> Vec<u8> {
        let Self(mut message) = self;
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
}

/// A connectivity check with this user name, valid for an agent with this password.
pub fn check(transaction: u8, username: &str, password: &str) -> Vec<u8> {
    let message = Message::new(REQUEST, [transaction; 12]).with(USERNAME, username.as_bytes());
    message.with(PRIORITY, &[0x6e, 0, 0, 0xff]).with(ICE_CONTROLLING, &[7; 8]).finish(password)
}

/// A connectivity check with these attributes besides the user name.
pub fn check_with(username: &str, password: &str, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let message = Message::new(REQUEST, rand::random()).with(USERNAME, username.as_bytes());
    attributes.iter().fold(message, |message, (kind, value)| message.with(*kind, value)).finish(password)
}

/// Whether this is the response to a check.
pub fn is_response(message: &[u8], transaction: u8) -> bool {
    message.starts_with(&RESPONSE.to_be_bytes()) && message.get(8..20) == Some(&[transaction; 12])
}

/// The transaction of a check.
pub fn transaction(message: &[u8]) -> Option<[u8; 12]> {
    message.starts_with(&REQUEST.to_be_bytes()).then(|| message.get(8..20)?.try_into().ok()).flatten()
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
