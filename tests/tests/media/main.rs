//! Streams and rooms through a real media node.

mod node;
mod rooms;
mod server;
