//! callbin's client: WebRTC calls with GStreamer's webrtcbin, one to one or in rooms.
//!
//! Pure modules make the decisions ([`negotiation`], [`sdp`], [`candidate`], [`backoff`]). Others connect to the server
//! ([`dial`], [`signalling`]) and run GStreamer ([`media`], [`peer`]), join data channels to something else ([`data`]),
//! or keep what arrives ([`record`]). [`engine`] combines them for any number of
//! peers, [`view`] shows and plays the peers. [`session`] and [`conference`] are the modes; [`app`] is what they share, and
//! [`program`] chooses between them.

pub mod address;
pub mod addresses;
pub mod age;
pub mod agreement;
pub mod app;
pub mod backoff;
pub mod candidate;
pub mod cli;
pub mod conference;
pub mod data;
pub mod dial;
pub mod ending;
pub mod engine;
pub mod events;
pub mod exit;
pub mod hangup;
pub mod healing;
pub mod http;
pub mod ice;
pub mod layout;
pub mod logging;
pub mod mdns;
pub mod media;
pub mod negotiation;
pub mod patience;
pub mod peer;
pub mod plugins;
pub mod program;
pub mod proxy;
pub mod record;
pub mod resume;
pub mod room;
pub mod rtp;
pub mod sdp;
pub mod service;
pub mod session;
pub mod signalling;
pub mod stats;
pub mod tls;
pub mod token;
pub mod view;
pub mod whip;
