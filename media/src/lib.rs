//! The media node of callbin: it takes each publisher's media once and forwards them to all viewers.
//!
//! `core` (pure) decides what goes to whom. `rtc` is the only place that knows the WebRTC library. `engine` joins both and
//! has no socket. `net` has the socket, `control` speaks with the server, `worker` waits for everything.

pub mod command;
pub mod config;
pub mod control;
pub mod core;
pub mod engine;
pub mod logging;
pub mod net;
pub mod node;
pub mod rtc;
pub mod worker;
