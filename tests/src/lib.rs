//! Building blocks of the tests: real programs, real sockets, a real browser, and deadlines for all of them.
//!
//! Everything here blocks, has a deadline, and ends what it started when it is dropped. A wait that times out panics
//! and names what it waited for.

pub mod browser;
pub mod client;
pub mod coturn;
pub mod disk;
pub mod display;
pub mod docs;
pub mod flow;
pub mod front;
pub mod hook;
pub mod host;
pub mod http;
pub mod keys;
pub mod leak;
pub mod machine;
pub mod middlebox;
pub mod mirror;
pub mod network;
pub mod process;
pub mod recording;
pub mod redis;
pub mod rtsp;
pub mod server;
pub mod site;
pub mod socket;
pub mod speaker;
pub mod strangers;
pub mod stun;
pub mod wait;
pub mod webrtc;
pub mod webrtcbin;
pub mod wire;
pub mod wired;

pub use browser::{Bare, Browser, BrowserOptions, Engine, Page, VideoProbe};
pub use client::Client;
pub use coturn::Coturn;
pub use display::{Display, Patch, Screenshot};
pub use front::{Front, Route};
pub use middlebox::Middlebox;
pub use network::Network;
pub use process::program;
pub use redis::{Authority, Redis, Sentinel};
pub use rtsp::Rtsp;
pub use server::Server;
pub use site::{CALLER, Site, WWW};
pub use socket::Socket;
pub use wait::{DEADLINE, wait_until};
pub use wire::Wire;
pub use wired::Wired;
