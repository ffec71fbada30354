//! The data channels of a pipeline, and those that outlast it.
//!
//! A browser that replaces its transport (see [`Agreement`](crate::agreement)) starts new ICE, DTLS and SCTP, but its
//! channels stay open: it goes on to use their streams in the new association, and does not open them again with DCEP
//! (RFC 8832). So the new webrtcbin gets them as negotiated channels.

use std::sync::{Arc, Mutex, PoisonError};

use gst_webrtc::{WebRTCDataChannel, WebRTCDataChannelState as State};

/// All data channels that a pipeline ever had, closed ones too: their elements stay in webrtcbin and point to them
/// without a reference. webrtcbin's callbacks share the list, so the channels live as long as webrtcbin.
#[derive(Debug, Default, Clone)]
pub(super) struct Channels(Arc<Mutex<Vec<WebRTCDataChannel>>>);

impl Channels {
    /// Adds a channel.
    pub(super) fn keep(&self, channel: WebRTCDataChannel) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }

    /// The channels. No lock is held while they are used.
    pub(super) fn all(&self) -> Vec<WebRTCDataChannel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn is_open(channel: &WebRTCDataChannel) -> bool {
    channel.ready_state() == State::Open
}

/// A data channel that a new webrtcbin takes over. Its label decides what it is joined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    label: String,
    protocol: String,
    /// The SCTP stream; `None` if the peer does not know the channel yet, and it has to be opened.
    stream: Option<i32>,
    ordered: bool,
    /// Milliseconds, and transmissions; -1 without limit.
    max_lifetime: i32,
    max_retransmits: i32,
}

impl Lasting {
    /// The terms of a channel; `None` if it is closed.
    pub(super) fn of(channel: &WebRTCDataChannel) -> Option<Self> {
        let stream = match channel.ready_state() {
            State::Open => Some(channel.id()),
            State::Closing | State::Closed => return None,
            // It connects, or webrtcbin has no SCTP yet.
            _ => Some(channel.id()).filter(|_| channel.is_negotiated()),
        };
        Some(Self {
            label: channel.label().map(String::from).unwrap_or_default(),
            protocol: channel.protocol().map(String::from).unwrap_or_default(),
            stream,
            ordered: channel.is_ordered(),
            max_lifetime: channel.max_packet_lifetime(),
            max_retransmits: channel.max_retransmits(),
        })
    }

    /// Its label.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The options for webrtcbin's `create-data-channel`.
    pub(super) fn options(&self) -> gst::Structure {
        let options = gst::Structure::builder("options")
            .field("ordered", self.ordered)
            .field("protocol", &self.protocol)
            .field("max-packet-lifetime", self.max_lifetime)
            .field("max-retransmits", self.max_retransmits);
        match self.stream {
            Some(stream) => options.field("negotiated", true).field("id", stream).build(),
            None => options.build(),
        }
    }
}
