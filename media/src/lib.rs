//! The media node of callbin: it takes each publisher's media once and forwards them to all viewers.
//!
//! `core` (pure) decides what goes to whom. `rtc` is the only place that knows the WebRTC library. `net` has the socket.
//! `control` speaks with the server.

pub mod core;
pub mod engine;
pub mod net;
pub mod rtc;
