//! callbin's signalling server: the text protocol of GStreamer's WebRTC examples, safe to expose.
//!
//! From the outside in: [`listener`] accepts, [`proxy`], [`tls`] and [`http`] do their handshakes, [`site`] answers
//! requests and decides with [`access`] and [`account`] who may open a WebSocket, [`connection`] runs it,
//! [`switchboard`] brings its events to the pure [`hub`] and the hub's effects to each [`outbox`]. `main.rs` only
//! parses options; [`run`] starts everything.

pub mod access;
pub mod account;
pub mod admin;
pub mod app;
pub mod assets;
pub mod budget;
pub mod close;
pub mod command;
pub mod config;
pub mod connection;
pub mod fair;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod http;
pub mod hub;
pub mod ice;
pub mod incoming;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod outbox;
pub mod owner;
pub mod payload;
pub mod policy;
pub mod proxy;
mod reload;
pub mod runtime;
pub mod scrape;
mod server;
pub mod settings;
pub mod site;
pub mod stream;
pub mod switchboard;
pub mod tls;
pub mod webhook;

pub use server::{StartError, check, run};
