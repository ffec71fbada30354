//! Mutations of a corpus, for machines without libFuzzer. They know nothing of the code that they reach.

/// A small generator of numbers (xorshift), so that a run can be repeated.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default().checked_rem(end).unwrap_or_default()
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }
}

/// One of the inputs, changed in a few places.
pub(super) fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const BYTES: &[u8] = b"\0\n\r \"',:;{}[]\\/*=%+-0123456789aeflnrstu\x7f\x80\xc3\xff";
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let other = &corpus[random.below(corpus.len())];
        let (ours, theirs) = (random.range(input.len()), random.range(other.len()));
        match random.below(6) {
            0 => drop(input.drain(ours)),
            1 => drop(input.splice(ours, other[theirs].to_vec())),
            2 => drop(input.splice(ours.start..ours.start, other[theirs].to_vec())),
            3 => input.extend_from_within(ours),
            4 => drop(input.splice(ours.start..ours.start, [BYTES[random.below(BYTES.len())]])),
            _ => {
                let place = ours.start.min(input.len().saturating_sub(1));
                if let Some(byte) = input.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    input.truncate(16 * 1024);
    input
}
