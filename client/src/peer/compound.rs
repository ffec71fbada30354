//! The packets of an RTCP compound (RFC 3550, section 6.1).

/// Types of RTCP packets.
pub(crate) const SR: u8 = 200;
pub(crate) const RR: u8 = 201;
pub(crate) const RTPFB: u8 = 205;
pub(crate) const PSFB: u8 = 206;
/// Formats of feedback: transport-wide reports (`RTPFB`), and application layer feedback such as REMB (`PSFB`).
pub(crate) const TWCC: u8 = 15;
pub(crate) const AFB: u8 = 15;

/// One RTCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// The count or feedback format.
    pub(crate) format: u8,
    /// The type.
    pub(crate) kind: u8,
    /// All of it; less than its length says if the compound is cut off.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The feedback after the two SSRCs.
    pub(crate) fn body(&self) -> &'a [u8] {
        self.bytes.get(12..).unwrap_or_default()
    }

    /// The first number of a transport-wide report, and how many it claims to be about.
    pub(crate) fn reported(&self) -> (u16, usize) {
        match *self.body() {
            [b0, b1, c0, c1, ..] => (u16::from_be_bytes([b0, b1]), usize::from(u16::from_be_bytes([c0, c1]))),
            _ => (0, 0),
        }
    }
}

/// Splits a compound. What is shorter than a header is left out.
pub(crate) fn packets(compound: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let [first, kind, high, low, ..] = *rest else { return None };
        // The length field counts 32-bit words, without the first.
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let bytes = rest.get(..length).unwrap_or(rest);
        rest = rest.get(length..).unwrap_or_default();
        Some(Packet { format: first & 0x1f, kind, bytes })
    })
}
