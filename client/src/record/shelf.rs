//! Names of recordings, and which of them make room for new ones. Pure.

/// The longest part of a name that a uid makes, in bytes.
const MAX_UID: usize = 64;
/// What recordings end with.
pub(super) const EXTENSION: &str = ".mkv";

/// A uid as part of a file's name: only letters, digits, `-` and `_` stay, so that no name has a path or is hidden.
pub(super) fn sanitised(uid: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = uid.chars().take(MAX_UID).map(safe).collect();
    if name.is_empty() { "_".into() } else { name }
}

/// A time (seconds since 1970, UTC) in a name, as in `20261126T122853Z`.
pub(super) fn time(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{:02}Z", second % 60)
}

/// The name of a recording. `again` counts those of the same peer and second.
pub(super) fn name(uid: &str, seconds: u64, again: u32, extension: &str) -> String {
    let again = if again == 0 { String::new() } else { format!("-{}", again + 1) };
    format!("{}-{}{again}{extension}", sanitised(uid), time(seconds))
}

/// Whether a file has a name of ours: only such files are ever removed.
pub(super) fn is_ours(name: &str) -> bool {
    let stem = name.strip_suffix(EXTENSION).unwrap_or_default();
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    let stem = match stem.rsplit_once('-') {
        Some((rest, again)) if is_number(again) => rest,
        _ => stem,
    };
    let time = stem.rsplit_once('-').map(|(_, time)| time).unwrap_or_default();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00000000T000000Z"
}

/// A recording on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// When it was last written to, in milliseconds.
    pub(super) changed: u64,
    /// Whether it is still written to.
    pub(super) is_open: bool,
}

/// The most bytes of a file, if this many recordings run: together they take half of `limit` at most, so that finished files
/// can make room.
pub(super) fn share(limit: u64, running: usize) -> u64 {
    limit / (2 * running as u64).max(8)
}

/// The names of the recordings to remove, so that all together stay below `limit`: the oldest finished ones.
pub(super) fn surplus(mut all: Vec<Recording>, limit: u64) -> Vec<String> {
    let mut total: u64 = all.iter().map(|it| it.bytes).sum();
    all.retain(|it| !it.is_open);
    all.sort_by(|a, b| (a.changed, &a.name).cmp(&(b.changed, &b.name)));
    let mut names = Vec::new();
    for recording in all {
        if total <= limit {
            break;
        }
        total -= recording.bytes;
        names.push(recording.name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "19700101T000000Z");
        assert_eq!(time(951_782_399), "20000228T235959Z");
        assert_eq!(time(951_782_400), "20000229T000000Z");
        assert_eq!(time(1_795_695_773), "20261126T122253Z");
        assert_eq!(time(4_107_542_399), "21000228T235959Z");
        assert_eq!(time(4_107_542_400), "21000301T000000Z");
    }

    #[test]
    fn no_uid_leaves_the_folder_or_hides_a_file() {
        assert_eq!(sanitised("studio-1_b"), "studio-1_b");
        assert_eq!(sanitised("../../etc/passwd"), "______etc_passwd");
        assert_eq!(sanitised(".hidden\n\u{fc}"), "_hidden__");
        assert_eq!(sanitised(""), "_");
        assert_eq!(sanitised(&"x".repeat(500)).len(), MAX_UID);
    }

    #[test]
    fn our_names_are_known_again_and_others_are_not() {
        for again in 0..3 {
            assert!(is_ours(&name("a-b", 1_795_695_773, again, EXTENSION)), "{again}");
        }
        for other in
            ["holiday.mkv", "a-20261126.mkv", "a-20261126T122253Z.mp4", "20261126T122253Z.mkv", ".mkv"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn all_files_that_are_written_to_have_room_together() {
        assert_eq!([0, 1, 4, 5, 100].map(|running| share(8000, running)), [1000, 1000, 1000, 800, 40]);
    }

    #[test]
    fn the_oldest_finished_recordings_make_room() {
        let make =
            |name: &str, changed, is_open| Recording { name: name.into(), bytes: 10, changed, is_open };
        let all = vec![make("c", 3, false), make("open", 0, true), make("a", 1, false), make("b", 2, false)];
        assert_eq!(surplus(all.clone(), 40), [""; 0]);
        assert_eq!(surplus(all.clone(), 39), ["a"]);
        assert_eq!(surplus(all.clone(), 20), ["a", "b"]);
        assert_eq!(surplus(all, 0), ["a", "b", "c"]);
    }
}
