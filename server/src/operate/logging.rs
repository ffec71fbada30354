//! Ids in log lines.

use std::{borrow::Borrow, fmt};

/// The most characters of an id in a log line.
const SHORT: usize = 64;

/// An id shortened for a log line. The log format quotes and escapes it if necessary.
pub struct Short<'a>(&'a str);

/// Shortens an id for a log line.
pub fn short(id: &impl Borrow<str>) -> Short<'_> {
    Short(id.borrow())
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHORT) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}…", self.0.get(..end).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_cut_in_logs() {
        let printed = |id: &str| short(&id.to_owned()).to_string();
        assert_eq!(printed(&"ü".repeat(64)), "ü".repeat(64));
        assert_eq!(printed(&"ü".repeat(65)), format!("{}…", "ü".repeat(64)));
    }
}
