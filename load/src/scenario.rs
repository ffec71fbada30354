//! What the load is made of.

pub(crate) mod churn;
pub(crate) mod idle;
pub(crate) mod pairs;
pub(crate) mod room;
pub(crate) mod storm;

/// Uids that no other run uses at the same time.
pub(crate) fn uid(kind: &str, number: usize) -> String {
    format!("load-{}-{kind}{number}", std::process::id())
}
