//! What waits to be sent or to be complete, within bounds.

pub mod budget;
pub mod incoming;
pub mod outbox;
pub mod payload;

#[cfg(test)]
mod tests;
