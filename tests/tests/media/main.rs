//! Streams and rooms through a real media node.

mod cluster;
mod node;
mod rooms;
mod server;
