//! What the kernel does not let through to libnice's sockets (classic BPF, `SO_ATTACH_FILTER`).
//!
//! libnice reads its sockets itself, and version 0.1.21 does not survive each packet of a peer. The peer knows the ICE credentials,
//! so its packets are valid:
//!
//! - The reply to a Binding request repeats the USERNAME. If it has no room behind that for its own end (1,300 bytes in all),
//!   `stun_usage_ice_conncheck_create_reply` reaches `assert (0)`. So long requests are dropped; honest ones have some 100 bytes.
//! - A late response to a check of a nominated pair moves a component from FAILED to CONNECTED, which
//!   `agent_signal_component_state_change` asserts not to happen. So in the state FAILED responses are dropped. Requests of the
//!   peer can still bring the component back. A response may come before the filter; so libnice's own checks of a path that is
//!   there, the only way to FAILED with a nominated pair, stay off (see the client's `peer/ice.rs`).
//! - A response without a mapped address makes a pair valid, but leaves its next check in the queue. When that is sent, the pair is
//!   valid without being in the state SUCCEEDED, which `priv_conn_check_tick_stream_nominate` asserts not to happen. So responses
//!   without one are dropped; RFC 8489 requires it.
//! - An error response 403 (RFC 7675) is compared with the selected pair, also if there is none. webrtcbin asks for that since
//!   1.24. So these are dropped, and errors without a code, whose code libnice does not initialise.
//!
//! The same holds for packets that come through a TURN server: in ChannelData, and in Data indications. The kernel filters only
//! datagrams; [`passes`] is for those in a TCP stream.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The longest Binding request that passes.
pub const LONGEST_REQUEST: u32 = 1200;

/// The kernel's filters see the UDP header, too.
const PAYLOAD: u32 = 8;
const STUN_HEADER: u32 = 20;
const ATTRIBUTE_HEADER: u32 = 4;
const CHANNEL_HEADER: u32 = 4;

/// Types of STUN messages, and of attributes (RFC 8489, RFC 8656).
const BINDING_REQUEST: u32 = 0x0001;
const BINDING_RESPONSE: u32 = 0x0101;
const BINDING_ERROR: u32 = 0x0111;
const DATA_INDICATION: u32 = 0x0017;
const MAPPED_ADDRESS: u32 = 0x0001;
const MESSAGE_INTEGRITY: u32 = 0x0008;
const ERROR_CODE: u32 = 0x0009;
const XOR_PEER_ADDRESS: u32 = 0x0012;
const DATA: u32 = 0x0013;
const XOR_MAPPED_ADDRESS: u32 = 0x0020;
const FINGERPRINT: u32 = 0x8028;

/// How many attributes of a response are searched for the address, or of an error for its code. Both come first or second.
const SEARCHED: usize = 5;
/// Families of addresses, and the lengths of their attributes.
const ADDRESSES: [(u32, u32); 2] = [(1, 8), (2, 20)];
/// The bits of an error code: three of its class, eight of its number.
const CODE: u32 = 0x07ff;
const FORBIDDEN: u32 = 0x0403;

/// Operations of classic BPF.
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_LENGTH: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
/// Relative to X, which is where an attribute begins.
const LOAD_HALF_OF_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const LOAD_BYTE_OF_X: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const SET_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const MOVE_TO_X: u32 = libc::BPF_MISC | BPF_TAX;
const BPF_TAX: u32 = 0;
const LOAD_NOTE: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_MEM;
const NOTE: u32 = libc::BPF_ST;
const ADD: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K;
const ADD_X: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const IF_GREATER_THAN_X: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_X;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// A filter for a UDP socket with STUN.
#[derive(Debug, Clone)]
pub struct Filter(Vec<libc::sock_filter>);

/// Where a condition leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Accept,
    Drop,
    /// The block with this number.
    Block(usize),
}

/// An operation with its operand, and where it leads if its condition holds, and if not.
type Line = (u32, u32, To, To);

impl Filter {
    /// A filter that also drops Binding responses if the component `has_failed`.
    pub fn new(has_failed: bool) -> Self {
        let response = if has_failed { To::Drop } else { To::Block(7) };
        let nested = |at: u32| {
            vec![
                (LOAD_LENGTH, 0, To::Next, To::Next),
                (IF_AT_LEAST, at + STUN_HEADER, To::Next, To::Accept),
                // Where the message ends, and where its attributes begin.
                (LOAD_HALF, at + 2, To::Next, To::Next),
                (ADD, at + STUN_HEADER, To::Next, To::Next),
                (NOTE, 0, To::Next, To::Next),
                (SET_X, at + STUN_HEADER, To::Next, To::Next),
                (LOAD_HALF, at, To::Next, To::Next),
                (IF_EQUAL, BINDING_RESPONSE, response, To::Next),
                (IF_EQUAL, BINDING_ERROR, To::Block(10), To::Next),
                (IF_EQUAL, BINDING_REQUEST, To::Next, To::Accept),
                (LOAD_LENGTH, 0, To::Next, To::Next),
                (IF_GREATER, at + LONGEST_REQUEST, To::Drop, To::Accept),
            ]
        };
        let first = PAYLOAD + STUN_HEADER;
        let value = |attributes: u32| first + attributes + ATTRIBUTE_HEADER;
        let (v4, v6) = (ATTRIBUTE_HEADER + 8, ATTRIBUTE_HEADER + 20);
        let blocks = [
            vec![
                (LOAD_LENGTH, 0, To::Next, To::Next),
                (IF_AT_LEAST, first, To::Next, To::Accept),
                (LOAD_HALF, PAYLOAD, To::Next, To::Next),
                (IF_EQUAL, DATA_INDICATION, To::Block(3), To::Next),
                (IF_AT_LEAST, 0x4000, To::Next, To::Block(1)),
                (IF_AT_LEAST, 0x8000, To::Accept, To::Block(2)),
            ],
            nested(PAYLOAD),
            nested(PAYLOAD + CHANNEL_HEADER),
            // The attributes of an indication may come in either order. What else a server may write is not looked at.
            vec![
                (LOAD_LENGTH, 0, To::Next, To::Next),
                (IF_AT_LEAST, value(v6), To::Next, To::Accept),
                (LOAD_HALF, first, To::Next, To::Next),
                (IF_EQUAL, DATA, To::Block(4), To::Next),
                (IF_EQUAL, XOR_PEER_ADDRESS, To::Next, To::Accept),
                (LOAD_HALF, first + v4, To::Next, To::Next),
                (IF_EQUAL, DATA, To::Block(5), To::Next),
                (LOAD_HALF, first + v6, To::Next, To::Next),
                (IF_EQUAL, DATA, To::Block(6), To::Accept),
            ],
            nested(value(0)),
            nested(value(v4)),
            nested(value(v6)),
            search(&[XOR_MAPPED_ADDRESS, MAPPED_ADDRESS], To::Block(8)),
            // libnice looks at the first address only, so a wrong one is not followed by a search for another.
            address(ADDRESSES[0], To::Block(9)),
            address(ADDRESSES[1], To::Drop),
            search(&[ERROR_CODE], To::Block(11)),
            vec![
                (LOAD_HALF_OF_X, ATTRIBUTE_HEADER + 2, To::Next, To::Next),
                (AND, CODE, To::Next, To::Next),
                (IF_EQUAL, FORBIDDEN, To::Drop, To::Accept),
            ],
        ];
        Self(assemble(&blocks))
    }

    /// Has the kernel apply this filter to what arrives at the socket from now on. Sockets of another kind than UDP stay as
    /// they are.
    pub fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if kind(socket)? != libc::SOCK_DGRAM {
            return Ok(());
        }
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).map_err(io::Error::other)?,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the descriptor is open; the kernel copies `len` instructions, which are there, and changes none.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Whether the filter for a component that has not failed lets a peer's packet through. A packet that begins like a response, but is
/// too short to be one, does not pass here.
pub fn passes(packet: &[u8]) -> bool {
    match packet.get(..2).map(number) {
        Some(BINDING_REQUEST) => packet.len() <= LONGEST_REQUEST as usize,
        Some(BINDING_RESPONSE) => {
            attribute(packet, &[XOR_MAPPED_ADDRESS, MAPPED_ADDRESS]).is_some_and(|address| {
                let family = address.get(1).copied().map(u32::from);
                ADDRESSES
                    .iter()
                    .any(|(known, length)| family == Some(*known) && address.len() == *length as usize)
            })
        }
        Some(BINDING_ERROR) => attribute(packet, &[ERROR_CODE])
            .and_then(|error| error.get(2..4))
            .is_some_and(|code| number(code) & CODE != FORBIDDEN),
        _ => true,
    }
}

/// The value of the first attribute of one of these types, as libnice and [`search`] look for it.
fn attribute<'a>(message: &'a [u8], types: &[u32]) -> Option<&'a [u8]> {
    let length = message.get(2..4).map(number)? as usize;
    let behind = message.get(STUN_HEADER as usize..)?;
    let mut rest = behind.get(..length).unwrap_or(behind);
    for _ in 0..SEARCHED {
        let [top, kind, high, low, value @ ..] = rest else { return None };
        let (kind, length) = (number(&[*top, *kind]), number(&[*high, *low]) as usize);
        if types.contains(&kind) {
            return value.get(..length);
        }
        // What comes behind these does not count.
        if [MESSAGE_INTEGRITY, FINGERPRINT].contains(&kind) {
            return None;
        }
        rest = value.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

/// Searches the attributes for one of these types, as libnice does: with X at the first one found, or drops the packet.
fn search(types: &[u32], found: To) -> Vec<Line> {
    let next = |operation, operand| (operation, operand, To::Next, To::Next);
    let mut lines = Vec::new();
    for _ in 0..SEARCHED {
        lines.extend([
            next(LOAD_NOTE, 0),
            (IF_GREATER_THAN_X, 0, To::Next, To::Drop),
            next(LOAD_HALF_OF_X, 0),
        ]);
        lines.extend(types.iter().map(|kind| (IF_EQUAL, *kind, found, To::Next)));
        // What comes behind these does not count.
        lines.extend([MESSAGE_INTEGRITY, FINGERPRINT].map(|kind| (IF_EQUAL, kind, To::Drop, To::Next)));
        // The next attribute begins at a multiple of four bytes.
        lines.extend([
            next(LOAD_HALF_OF_X, 2),
            next(ADD, ATTRIBUTE_HEADER + 3),
            next(AND, !3),
            next(ADD_X, 0),
            next(MOVE_TO_X, 0),
        ]);
    }
    lines.push((IF_AT_LEAST, 0, To::Drop, To::Drop));
    lines
}

/// Whether the attribute at X is an address of this family and length.
fn address((family, length): (u32, u32), otherwise: To) -> Vec<Line> {
    vec![
        (LOAD_HALF_OF_X, 2, To::Next, To::Next),
        (IF_EQUAL, length, To::Next, otherwise),
        (LOAD_BYTE_OF_X, ATTRIBUTE_HEADER + 1, To::Next, To::Next),
        (IF_EQUAL, family, To::Accept, To::Drop),
    ]
}

/// `SO_TYPE`.
fn kind(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let (mut kind, mut length) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `kind`.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(kind) } else { Err(io::Error::last_os_error()) }
}

/// Joins the blocks, and gives jumps their distances.
fn assemble(blocks: &[Vec<Line>]) -> Vec<libc::sock_filter> {
    let starts: Vec<usize> =
        blocks.iter().scan(0, |next, block| Some(std::mem::replace(next, *next + block.len()))).collect();
    let accept: usize = blocks.iter().map(Vec::len).sum();
    let lines = blocks.iter().flatten().enumerate().map(|(at, (operation, operand, if_so, if_not))| {
        let distance = |to: &To| {
            let target = match to {
                To::Next => at + 1,
                To::Accept => accept,
                To::Drop => accept + 1,
                To::Block(number) => starts.get(*number).copied().unwrap_or(accept),
            };
            // Blocks only lead to later ones, and all of them together are short.
            u8::try_from(target.saturating_sub(at + 1)).unwrap_or(u8::MAX)
        };
        instruction(*operation, *operand, distance(if_so), distance(if_not))
    });
    lines.chain([instruction(RETURN, u32::MAX, 0, 0), instruction(RETURN, 0, 0, 0)]).collect()
}

fn instruction(operation: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: operation as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, UdpSocket},
        os::fd::AsFd,
        time::Duration,
    };

    use super::*;

    /// A STUN message of this type and length.
    fn stun(kind: u32, length: u32) -> Vec<u8> {
        let mut message = vec![0; length as usize];
        message[..2].copy_from_slice(&(kind as u16).to_be_bytes());
        message[2..4].copy_from_slice(&((length - STUN_HEADER) as u16).to_be_bytes());
        message
    }

    fn attribute(kind: u32, value: &[u8]) -> Vec<u8> {
        [&(kind as u16).to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    /// A STUN message with these attributes.
    fn with(kind: u32, attributes: &[(u32, &[u8])]) -> Vec<u8> {
        let mut all = Vec::new();
        for (kind, value) in attributes {
            all.extend(attribute(*kind, value));
            all.resize(all.len().next_multiple_of(4), 0);
        }
        [stun(kind, STUN_HEADER + all.len() as u32)[..STUN_HEADER as usize].to_vec(), all].concat()
    }

    /// All ways in which a datagram can reach libnice.
    fn wrapped(payload: &[u8]) -> [Vec<u8>; 6] {
        let data = attribute(DATA, payload);
        let indication =
            |attributes: &[&[u8]]| [&stun(DATA_INDICATION, STUN_HEADER)[..], &attributes.concat()].concat();
        let peer = |length: usize| attribute(XOR_PEER_ADDRESS, &vec![1; length]);
        [
            payload.to_vec(),
            attribute(0x4000, payload),
            attribute(0x7fff, payload),
            indication(&[&data, &peer(8)]),
            indication(&[&peer(8), &data]),
            indication(&[&peer(20), &data]),
        ]
    }

    /// Which of these datagrams arrive at a socket with this filter.
    fn arriving(filter: &Filter, datagrams: &[Vec<u8>]) -> Vec<bool> {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (from, to) = (UdpSocket::bind(local).unwrap(), UdpSocket::bind(local).unwrap());
        filter.attach(to.as_fd()).unwrap();
        to.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut arrives = vec![false; datagrams.len()];
        for (datagram, arrives) in datagrams.iter().zip(&mut arrives) {
            from.send_to(datagram, to.local_addr().unwrap()).unwrap();
            // Datagrams on the loopback interface keep their order.
            from.send_to(b"end", to.local_addr().unwrap()).unwrap();
            let mut buffer = [0; 4096];
            loop {
                let length = to.recv(&mut buffer).unwrap();
                match &buffer[..length] {
                    b"end" => break,
                    it => *arrives = it == datagram,
                }
            }
        }
        arrives
    }

    #[test]
    fn long_requests_do_not_arrive_whatever_they_are_wrapped_in() {
        for has_failed in [false, true] {
            let filter = Filter::new(has_failed);
            let long = wrapped(&stun(BINDING_REQUEST, LONGEST_REQUEST + 1));
            assert_eq!(arriving(&filter, &long), [false; 6]);
            // Attributes behind the data count, too.
            for length in [STUN_HEADER, 100, LONGEST_REQUEST - 40] {
                assert_eq!(
                    arriving(&filter, &wrapped(&stun(BINDING_REQUEST, length))),
                    [true; 6],
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn responses_arrive_until_the_component_has_failed() {
        for address in [V4, V6] {
            let responses =
                wrapped(&with(BINDING_RESPONSE, &[(XOR_MAPPED_ADDRESS, address), (0x8022, &[1; 700])]));
            assert_eq!(arriving(&Filter::new(false), &responses), [true; 6]);
            assert_eq!(arriving(&Filter::new(true), &responses), [false; 6]);
        }
    }

    const V4: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7];
    const V6: &[u8] = &[0, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

    #[test]
    fn responses_have_an_address_that_libnice_finds() {
        let software: (u32, &[u8]) = (0x8022, b"a name");
        let integrity: (u32, &[u8]) = (MESSAGE_INTEGRITY, &[1; 20]);
        let (xor, old) = ((XOR_MAPPED_ADDRESS, V4), (MAPPED_ADDRESS, V6));
        for good in [&[xor][..], &[old], &[software, xor, integrity], &[software, software, old, xor]] {
            let packets = wrapped(&with(BINDING_RESPONSE, good));
            assert_eq!(arriving(&Filter::new(false), &packets), [true; 6], "{good:?}");
        }
        let (short, odd) = (&V4[..4], &[0, 3, 2, 3, 4, 5, 6, 7][..]);
        let (long, mixed) = (&V6[..8], &[&[0, 1], &V6[2..]].concat()[..]);
        let nothing: &[(u32, &[u8])] = &[];
        let bad = [nothing, &[software], &[integrity, xor], &[software, (FINGERPRINT, &[1; 4]), old]];
        let wrong = [short, odd, long, mixed, &[]].map(|value| [(XOR_MAPPED_ADDRESS, value), xor]);
        for bad in bad.into_iter().chain(wrong.iter().map(|it| &it[..])) {
            let packets = wrapped(&with(BINDING_RESPONSE, bad));
            assert_eq!(arriving(&Filter::new(false), &packets), [false; 6], "{bad:?}");
        }
        let many = [&[software; 200][..], &[xor]].concat();
        assert_eq!(arriving(&Filter::new(false), &[with(BINDING_RESPONSE, &many)]), [false]);
    }

    #[test]
    fn packets_in_a_stream_pass_as_datagrams_do() {
        let error = |code: &[u8]| with(BINDING_ERROR, &[(ERROR_CODE, code)]);
        let software: (u32, &[u8]) = (0x8022, b"a name");
        let response = |attributes: &[(u32, &[u8])]| with(BINDING_RESPONSE, attributes);
        let packets = [
            vec![],
            vec![1],
            vec![0x80; 1400],
            vec![22; 100],
            stun(BINDING_REQUEST, LONGEST_REQUEST),
            stun(BINDING_REQUEST, LONGEST_REQUEST + 1),
            response(&[]),
            response(&[software]),
            response(&[software, (XOR_MAPPED_ADDRESS, V4)]),
            response(&[(MAPPED_ADDRESS, V6)]),
            response(&[(XOR_MAPPED_ADDRESS, &V4[..4])]),
            response(&[(XOR_MAPPED_ADDRESS, &V6[..8]), (MAPPED_ADDRESS, V4)]),
            response(&[(MESSAGE_INTEGRITY, &[1; 20]), (XOR_MAPPED_ADDRESS, V4)]),
            response(&[&[software; 5][..], &[(XOR_MAPPED_ADDRESS, V4)]].concat()),
            error(&[0, 0, 4, 87]),
            error(&[0, 0, 4, 3]),
            error(&[0, 0, 0xfc, 3]),
            with(BINDING_ERROR, &[software]),
        ];
        let passing: Vec<bool> = packets.iter().map(|packet| passes(packet)).collect();
        assert_eq!(passing, arriving(&Filter::new(false), &packets));
        assert!(passing.contains(&true) && passing.contains(&false));
    }

    #[test]
    fn errors_arrive_unless_they_forbid() {
        let error =
            |class: u8, number: u8| with(BINDING_ERROR, &[(ERROR_CODE, &[0, 0, class, number, b'n', b'o'])]);
        for has_failed in [false, true] {
            let filter = Filter::new(has_failed);
            for (class, number) in [(4, 87), (4, 0), (4, 1), (5, 0), (3, 0)] {
                assert_eq!(arriving(&filter, &wrapped(&error(class, number))), [true; 6], "{class} {number}");
            }
            // The bits above the class are reserved.
            for packet in [error(4, 3), error(0xfc, 3), with(BINDING_ERROR, &[(0x8022, b"a name")])] {
                assert_eq!(arriving(&filter, &wrapped(&packet)), [false; 6]);
            }
        }
    }

    #[test]
    fn everything_else_arrives() {
        let (error, allocated) = (0x0113, 0x0103);
        let mut others = vec![
            vec![1],
            vec![22; 1400],
            vec![0x80; 1400],
            vec![0; 2],
            stun(error, 60),
            stun(allocated, 1300),
        ];
        others.extend(wrapped(&[0x80; 1200]));
        others.extend(wrapped(&[22; 10]));
        for has_failed in [false, true] {
            assert!(arriving(&Filter::new(has_failed), &others).into_iter().all(|it| it), "{has_failed}");
        }
    }

    #[test]
    fn a_stream_stays_as_it_is() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Filter::new(true).attach(listener.as_fd()).unwrap();
        assert!(std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok());
    }
}
