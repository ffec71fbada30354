//! The parameters of H.264 (RFC 6184, section 8.1): which streams a payload type stands for.

/// The level of our own descriptions, 3.1, as in browsers.
const LEVEL: u8 = 0x1f;

/// `profile-level-id` and `level-asymmetry-allowed` of a payload type with `packetization-mode=1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H264 {
    /// `profile_idc`, `profile-iop` and `level_idc`.
    id: [u8; 3],
    /// Whether each side may send with the other's level.
    asymmetric: bool,
}

/// A profile that WebRTC peers use, the one that callbin encodes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// What all peers decode, and what callbin encodes.
    ConstrainedBaseline,
    /// With tools that no encoder for WebRTC uses.
    Baseline,
    /// Main.
    Main,
    /// High, without interlacing and B frames.
    ConstrainedHigh,
    /// High.
    High,
}

impl H264 {
    /// Constrained baseline, in our own descriptions.
    pub fn ours() -> Self {
        Self { id: [0x42, 0xe0, LEVEL], asymmetric: true }
    }

    /// Reads `a=fmtp`. `None` if callbin cannot send such a stream: another profile, or a packetization mode other than 1.
    pub fn parse(fmtp: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut all = fmtp.split(';').filter_map(|it| it.trim().split_once('='));
            all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        // The default is 0: no unit larger than a packet.
        if value("packetization-mode") != Some("1") {
            return None;
        }
        // Without it, baseline at level 1 is meant.
        let id = value("profile-level-id").map_or(Some([0x42, 0, 10]), hex)?;
        let it = Self { id, asymmetric: value("level-asymmetry-allowed") == Some("1") };
        it.profile().map(|_| it)
    }

    /// The profile: different bytes may mean the same (RFC 6184, table 5).
    pub fn profile(self) -> Option<Profile> {
        let [idc, iop, _] = self.id;
        let has = |set: u8| iop & (0x80 >> set) != 0;
        // The last four bits are reserved, except set 4 and 5 of the high profile.
        let is_plain = iop & 0x0f == 0;
        match idc {
            0x42 if is_plain && has(1) => Some(Profile::ConstrainedBaseline),
            0x42 if is_plain => Some(Profile::Baseline),
            0x4d if is_plain && has(0) => Some(Profile::ConstrainedBaseline),
            0x4d if is_plain && !has(2) => Some(Profile::Main),
            0x58 if is_plain && has(0) && has(1) => Some(Profile::ConstrainedBaseline),
            0x58 if is_plain && has(0) => Some(Profile::Baseline),
            0x64 if iop == 0x0c => Some(Profile::ConstrainedHigh),
            0x64 if iop == 0 => Some(Profile::High),
            _ => None,
        }
    }

    /// Whether both mean the same profile. The levels may differ.
    pub fn matches(self, other: Self) -> bool {
        self.profile() == other.profile()
    }

    /// What our answer says to this offer: its profile, and a level that both allow.
    #[must_use]
    pub fn answered(self) -> Self {
        let [idc, iop, level] = self.id;
        let level = if self.asymmetric { LEVEL } else { level.min(LEVEL) };
        Self { id: [idc, iop, level], ..self }
    }

    /// The value of `a=fmtp`.
    pub fn text(self) -> String {
        let [idc, iop, level] = self.id;
        let asymmetric = u8::from(self.asymmetric);
        format!(
            "level-asymmetry-allowed={asymmetric};packetization-mode=1;profile-level-id={idc:02x}{iop:02x}{level:02x}"
        )
    }
}

fn hex(text: &str) -> Option<[u8; 3]> {
    let is_hex = text.len() == 6 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u32::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    let [_, idc, iop, level] = number.to_be_bytes();
    Some([idc, iop, level])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Option<H264> {
        H264::parse(&format!("packetization-mode=1;profile-level-id={id}"))
    }

    #[test]
    fn different_bytes_mean_the_same_profile() {
        use Profile::*;
        for (ids, profile) in [
            (
                &["42e01f", "42c00a", "42401f", "42f034", "4d801f", "4de01f", "58c01f", "58f01f"][..],
                Some(ConstrainedBaseline),
            ),
            (&["42001f", "420034", "42801f", "42a01f", "58801f", "58a01f"], Some(Baseline)),
            (&["4d001f", "4d401f"], Some(Main)),
            (&["640c1f", "640c34"], Some(ConstrainedHigh)),
            (&["64001f"], Some(High)),
            (
                &["58401f", "58001f", "4d201f", "64081f", "f4001f", "6e001f", "7a001f", "42e11f", "000000"],
                None,
            ),
        ] {
            for id in ids {
                assert_eq!(of(id).and_then(H264::profile), profile, "{id}");
            }
        }
        assert!(of("42e01f").unwrap().matches(of("4d800a").unwrap()));
        assert!(!of("42e01f").unwrap().matches(of("42001f").unwrap()));
    }

    #[test]
    fn only_packetization_mode_1_is_taken() {
        for other in [
            "",
            "packetization-mode=0",
            "packetization-mode=2;profile-level-id=42e01f",
            "profile-level-id=42e01f",
        ] {
            assert_eq!(H264::parse(other), None, "{other}");
        }
        let plain = H264::parse("packetization-mode=1").unwrap();
        assert_eq!(plain.profile(), Some(Profile::Baseline));
        assert!(H264::parse(" Packetization-Mode = 1").is_none(), "no space belongs there");
        assert!(H264::parse(" PACKETIZATION-MODE=1; profile-level-id=42E01F").unwrap().matches(H264::ours()));
        for bad in ["42e0", "42e01f00", "+2e01f", "zzzzzz"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_answers_level_is_one_that_both_allow() {
        let answer = |fmtp: &str| H264::parse(fmtp).unwrap().answered().text();
        let say = |asymmetric, id| {
            format!("level-asymmetry-allowed={asymmetric};packetization-mode=1;profile-level-id={id}")
        };
        assert_eq!(answer(&say(1, "42e00a")), say(1, "42e01f"));
        assert_eq!(answer(&say(1, "42e034")), say(1, "42e01f"));
        assert_eq!(answer(&say(0, "42e00a")), say(0, "42e00a"));
        assert_eq!(answer(&say(0, "42e034")), say(0, "42e01f"));
        assert_eq!(answer("packetization-mode=1;profile-level-id=4d001e"), say(0, "4d001e"));
        assert_eq!(H264::ours().text(), say(1, "42e01f"));
    }
}
