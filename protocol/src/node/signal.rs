//! A signal of a session, in both directions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SessionId;
use crate::{
    Candidate, Signal,
    signal::{SdpInit, read_description},
};

/// A description or a candidate of a session: `{"type":"signal","session":…,"sdp":{…}}` or `…,"ice":{…}`. The members are
/// those of a [`Signal`] of the text protocol.
///
/// The first description of a session is an offer or its answer. A later offer with other ICE credentials restarts ICE
/// (RFC 8839, section 4.4.1.1.1); the answer has the node's new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct SessionSignal {
    /// The session.
    pub session: SessionId,
    /// Never [`Signal::OfferRequest`]: [`ToNode::Play`](super::ToNode::Play) asks for an offer.
    pub signal: Signal,
}

/// [`SessionSignal`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    session: SessionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sdp: Option<Value>,
    /// `null` is the end of candidates, so it is not the same as a missing member.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    ice: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<Wire> for SessionSignal {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let signal = match (wire.sdp, wire.ice) {
            (Some(sdp), None) => read_description(sdp),
            (None, Some(ice)) => Candidate::read(ice).map(Signal::Ice),
            (None, None) => return Err("neither sdp nor ice".into()),
            (Some(_), Some(_)) => return Err("both sdp and ice".into()),
        };
        Ok(Self { session: wire.session, signal: signal.map_err(|error| error.to_string())? })
    }
}

impl From<SessionSignal> for Wire {
    fn from(SessionSignal { session, signal }: SessionSignal) -> Self {
        let (sdp, ice) = match signal {
            Signal::Sdp { kind, sdp } => (serde_json::to_value(SdpInit { kind, sdp }).ok(), None),
            Signal::Ice(candidate) => (None, serde_json::to_value(candidate).ok()),
            Signal::OfferRequest => (None, None),
        };
        Self { session, sdp, ice }
    }
}
