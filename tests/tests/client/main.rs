//! The GStreamer client: pictures, sound, data and traffic are measured at the far end.

mod access;
mod call;
mod codecs;
mod data;
mod flood;
mod foreign;
mod healing;
mod lines;
mod record;
mod room;
mod signalling;
mod sources;
mod strangers;
mod view;
mod whip;
