//! Times of an NTP clock (RFC 5905, section 6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900 to 1970.
const TO_UNIX: u64 = 2_208_988_800;
const SECOND: i128 = 1_000_000_000;

/// Seconds since 1900, in units of 2⁻³² s. It wraps in 2036.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ntp(pub u64);

impl Ntp {
    /// The time of the system's clock.
    pub fn now() -> Self {
        Self::of(SystemTime::now())
    }

    /// A time of the system's clock; times before 1970 count as 1970.
    pub fn of(time: SystemTime) -> Self {
        let unix = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        Self(unix.as_secs().wrapping_add(TO_UNIX) << 32 | fraction)
    }

    /// A time in nanoseconds since 1900.
    pub fn of_nanoseconds(nanoseconds: u64) -> Self {
        let units = (u128::from(nanoseconds) << 32) / 1_000_000_000;
        Self(u64::try_from(units).unwrap_or(u64::MAX))
    }

    /// The nanoseconds from `earlier` to this time; negative if it is later.
    pub fn since(self, earlier: Self) -> i64 {
        nanoseconds(self.0.wrapping_sub(earlier.0).cast_signed())
    }

    /// This time, some nanoseconds later or earlier.
    #[must_use]
    pub fn plus(self, nanoseconds: i64) -> Self {
        Self(self.0.wrapping_add(units(nanoseconds).cast_unsigned()))
    }

    /// The middle 32 bits, as in report blocks: units of 2⁻¹⁶ s (RFC 3550, section 4).
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A difference in units of 2⁻³² s as nanoseconds. Any difference of that size fits.
pub fn nanoseconds(units: i64) -> i64 {
    i64::try_from((i128::from(units) * SECOND) >> 32).unwrap_or_default()
}

/// Nanoseconds in units of 2⁻³² s, within the 68 years that fit.
pub fn units(nanoseconds: i64) -> i64 {
    let units = (i128::from(nanoseconds) << 32) / SECOND;
    i64::try_from(units).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_from_1900() {
        let time = UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(Ntp::of(time), Ntp((2_208_988_801 << 32) | 0x8000_0000));
        assert_eq!(Ntp::of(time).middle(), 0x7e81_8000);
        assert_eq!(Ntp::of_nanoseconds(2_208_988_801_500_000_000), Ntp::of(time));
        assert_eq!(Ntp::of(UNIX_EPOCH - Duration::from_secs(1)), Ntp(2_208_988_800 << 32));
    }

    #[test]
    fn differences_have_a_sign_and_survive_2036() {
        let late = Ntp(u64::MAX).plus(2_000_000_000);
        assert!(late.0 < 2 << 32);
        assert_eq!((late.since(Ntp(u64::MAX)), Ntp(u64::MAX).since(late)), (2_000_000_000, -2_000_000_000));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_small_steps_are_exact(time: u64, other: u64, step: i64) {
            Ntp(time).since(Ntp(other));
            let _ = Ntp(time).plus(step);
            let step = step % 1_000_000_000_000;
            let found = Ntp(time).plus(step).since(Ntp(time));
            prop_assert!((found - step).abs() <= 1, "{found} {step}");
        }
    }
}
