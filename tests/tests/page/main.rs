//! The page in real browsers.

mod access;
mod call;
mod check;
mod client;
mod embed;
mod foreign;
mod mixed;
mod operate;
mod ring;
mod room;
mod server;
mod share;
mod stream;
mod watch;
