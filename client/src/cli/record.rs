//! The flags for recordings and snapshots.

use std::{path::PathBuf, time::Duration};

use clap::Args;

/// Recordings and snapshots.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recording")]
pub struct Recording {
    /// Record each peer's media into Matroska files in this folder, without transcoding. A file can be played up to
    /// its end at any time, also after a crash.
    #[arg(long = "record", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Record the media that we send, too.
    #[arg(long, requires = "folder")]
    pub record_own: bool,
    /// Begin new files after this time: 90s, 10m, 1h.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "folder")]
    pub record_segment: Option<Duration>,
    /// Keep the recordings in the folder below this size in all (500M, 20G): the oldest finished ones are removed.
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "folder")]
    pub record_max_disk: Option<u64>,
    /// Write a JPEG of each peer's picture: its first one, and another at each SIGUSR1. In a folder, the names have uid
    /// and time; a file is replaced.
    #[arg(long, value_name = "FILE|DIR")]
    pub snapshot: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let unit = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let fits = seconds.filter(|seconds| (1..=86_400 * 30).contains(seconds));
    fits.map(Duration::from_secs).ok_or_else(|| "want a time from 1s to 720h".into())
}

fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let unit: u64 = match unit.to_ascii_uppercase().as_str() {
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "want a size, as in 500M or 20G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(size("500M"), Ok(500 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        for bad in ["", "0", "1x", "m", "-1s", "99999h", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "0G", "12", "1K", "G", "99999999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
