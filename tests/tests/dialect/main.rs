//! The protocols over real sockets, and calls between peers of different ones.

mod action;
mod antmedia;
mod bridge;
mod every;
mod node;
mod rest;
mod rooms;
mod webrtcsink;
mod whip;
