//! How old the received picture is. Pure: times come in, figures come out.
//!
//! The age of a frame is the time now minus the time at which it was captured, on one clock. The capture time comes with
//! the packets ([`capture`]), or from the sender reports where the peer does not send it. It is a time of the peer's
//! clock; how far that is ahead of ours is estimated from the reports ([`clock`]). [`ages`] joins both with the decoded
//! frames, and [`fresh`] says whether new frames come at all.

pub mod ages;
pub mod capture;
pub mod clock;
pub mod fresh;
pub mod ntp;
