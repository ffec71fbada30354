//! Names for peers that have chosen none.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use callbin_protocol::PeerId;

/// The same for the whole process, so that a connection keeps its name.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The name of a connection without an id. Nobody can guess it, and register it first.
pub fn guest(number: u64) -> PeerId {
    PeerId::guest(number, SECRET.hash_one(number) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_and_is_hard_to_guess() {
        assert_eq!(guest(7), guest(7));
        let (seven, eight) = (guest(7).to_string(), guest(8).to_string());
        let (seven, eight) =
            (seven.strip_prefix("guest-7-").unwrap(), eight.strip_prefix("guest-8-").unwrap());
        assert!(seven != eight && seven.len() > 8, "{seven} {eight}");
    }
}
