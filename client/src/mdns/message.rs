//! Multicast DNS messages (RFC 6762, RFC 1035), as far as candidates need them: the addresses of one name. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// The class without the bit that means "flush the cache" or "answer to me alone".
const CLASS: u16 = 0x7fff;
/// Flags of an authoritative answer, and the bit that tells answers from questions.
const ANSWER: u16 = 0x8400;
const IS_ANSWER: u16 = 0x8000;
/// How long an address may be kept, in seconds (RFC 6762, section 10).
const TTL: u32 = 120;
/// Most records looked at, and most pointers followed in one name.
const MAX_RECORDS: u16 = 64;
const MAX_POINTERS: usize = 16;

/// A question for the IPv4 and IPv6 addresses of `name`; `None` if it is no name.
pub(super) fn question(name: &str) -> Option<Vec<u8>> {
    let name = encode(name)?;
    let mut out = header(0, 2, 0);
    for kind in [A, AAAA] {
        out.extend(&name);
        out.extend(kind.to_be_bytes());
        out.extend(INTERNET.to_be_bytes());
    }
    Some(out)
}

/// An answer that `name` has this address.
pub(super) fn answer(name: &str, address: IpAddr) -> Option<Vec<u8>> {
    let mut out = header(ANSWER, 0, 1);
    out.extend(encode(name)?);
    let (kind, data) = match address {
        IpAddr::V4(it) => (A, it.octets().to_vec()),
        IpAddr::V6(it) => (AAAA, it.octets().to_vec()),
    };
    out.extend(kind.to_be_bytes());
    // Ours alone: others' records of this name are wrong (RFC 6762, section 10.2).
    out.extend((INTERNET | 0x8000).to_be_bytes());
    out.extend(TTL.to_be_bytes());
    out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    out.extend(data);
    Some(out)
}

/// The address of `name` in an answer, if it is there.
pub(super) fn address_in(message: &[u8], name: &str) -> Option<IpAddr> {
    let mut reader = Reader { message, at: 0 };
    let [_, flags, questions, answers, _, additional] = reader.header()?;
    if flags & IS_ANSWER == 0 {
        return None;
    }
    for _ in 0..questions.min(MAX_RECORDS) {
        reader.question()?;
    }
    for _ in 0..answers.saturating_add(additional).min(MAX_RECORDS) {
        let (its, kind, class, data) = reader.record()?;
        if its.eq_ignore_ascii_case(name) && class & CLASS == INTERNET {
            match kind {
                A => return Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
                AAAA => return Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
                _ => {}
            }
        }
    }
    None
}

/// The names whose addresses a question asks for, each once: questions for IPv4 and IPv6 come together.
pub(super) fn asked(message: &[u8]) -> Vec<String> {
    let mut reader = Reader { message, at: 0 };
    let Some([_, flags, questions, ..]) = reader.header() else { return Vec::new() };
    if flags & IS_ANSWER != 0 {
        return Vec::new();
    }
    let next = |_| reader.question();
    let all = (0..questions.min(MAX_RECORDS)).map_while(next);
    let mut names: Vec<String> = Vec::new();
    for (name, _) in all.filter(|(_, kind)| matches!(*kind, A | AAAA | ANY)) {
        if !names.iter().any(|it| it.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }
    names
}

fn header(flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    [0, flags, questions, answers, 0, 0].iter().flat_map(|field: &u16| field.to_be_bytes()).collect()
}

fn encode(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn header(&mut self) -> Option<[u16; 6]> {
        let mut fields = [0; 6];
        for field in &mut fields {
            *field = self.number()?;
        }
        Some(fields)
    }

    fn question(&mut self) -> Option<(String, u16)> {
        let name = self.name()?;
        let kind = self.number()?;
        self.number()?;
        Some((name, kind))
    }

    fn record(&mut self) -> Option<(String, u16, u16, &'a [u8])> {
        let name = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        self.bytes(4)?;
        let length = self.number()?;
        Some((name, kind, class, self.bytes(usize::from(length))?))
    }

    /// A name, which may end elsewhere in the message (RFC 1035, section 4.1.4).
    fn name(&mut self) -> Option<String> {
        let mut labels: Vec<String> = Vec::new();
        let (mut back, mut pointers) = (None, 0);
        loop {
            let length = *self.bytes(1)?.first()?;
            match length {
                0 => break,
                1..64 => {
                    let label = self.bytes(usize::from(length))?;
                    labels.push(String::from_utf8_lossy(label).into_owned());
                }
                192.. => {
                    let low = *self.bytes(1)?.first()?;
                    back.get_or_insert(self.at);
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return None;
                    }
                    self.at = usize::from(u16::from_be_bytes([length & 63, low]));
                }
                _ => return None,
            }
            if labels.len() > 127 {
                return None;
            }
        }
        self.at = back.unwrap_or(self.at);
        Some(labels.join("."))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local";

    #[test]
    fn questions_and_answers_are_read_again() {
        assert_eq!(asked(&question(NAME).unwrap()), [NAME]);
        for address in ["10.0.0.7", "fe80::1"].map(|it| it.parse().unwrap()) {
            let message = answer(NAME, address).unwrap();
            assert_eq!(address_in(&message, &NAME.to_uppercase()), Some(address));
            assert_eq!(address_in(&message, "other.local"), None);
            assert!(asked(&message).is_empty());
        }
        assert_eq!(address_in(&question(NAME).unwrap(), NAME), None);
        for bad in ["", "a..local", &"x".repeat(64), &["abc"; 80].join(".")] {
            assert_eq!(question(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_may_point_to_an_earlier_one() {
        let mut message = header(ANSWER, 1, 2);
        message.extend(encode("a.local").unwrap());
        message.extend([0, 1, 0, 1]);
        // A record of another kind, then ours; both names are pointers.
        message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, 2, 1, b'x']);
        message.extend([0xc0, 12, 0, 1, 0x80, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]);
        assert_eq!(address_in(&message, "a.local"), Some("10.0.0.9".parse().unwrap()));
        // A pointer to itself.
        let mut endless = header(ANSWER, 0, 1);
        endless.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]);
        assert_eq!(address_in(&endless, "a.local"), None);
    }

    proptest! {
        #[test]
        fn no_message_ends_the_program(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (address_in(&bytes, NAME), asked(&bytes));
        }
    }
}
