//! Access control: tokens and their permissions, the limits of addresses and identities, the webhook, and the ICE servers of a
//! peer.

pub mod account;
mod grant;
pub mod ice;
mod keys;
pub mod owner;
pub mod token;
pub mod webhook;

pub use grant::{Ability, Grant, Pattern};
pub use keys::KeyError;
