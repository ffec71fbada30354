//! What a client sends.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Written, with_members};
use crate::{
    Candidate, SdpType,
    antmedia::Reply,
    signal::{read_index, read_kind, read_name},
};

/// A frame of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The command.
    pub command: Command,
    /// `streamId`, or `streamName` of a client that has no `streamId`. Not checked.
    pub stream: Option<String>,
    /// It names the stream only by `streamName`, as the first clients did.
    pub by_name: bool,
    members: Members,
}

/// Members that the receiver of a relayed frame may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Members {
    stream_id: bool,
    stream_name: bool,
    id_mapping: bool,
    /// `label` is a number.
    label: bool,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `join`: meet one other peer under this stream id.
    Join,
    /// `leave`: end that.
    Leave,
    /// `publish`: send media under this stream id.
    Publish,
    /// `play`: receive the stream with this id.
    Play,
    /// `stop`: end publishing or playing.
    Stop,
    /// `takeConfiguration`: an offer or answer.
    Description {
        /// `type`.
        kind: SdpType,
        /// `sdp`.
        sdp: String,
    },
    /// `takeCandidate`: `candidate`, with `label` as the m-line's index and `id` as its mid.
    Candidate(Candidate),
    /// `peerMessageCommand`: a message for the peer, of any content.
    PeerMessage,
    /// `ping`.
    Ping,
    /// `getIceServerConfig`.
    IceServers,
    /// `getStreamInfo`.
    StreamInfo,
    /// `getRoomInfo`, with `room`.
    RoomInfo(String),
    /// `getTrackList`.
    TrackList,
    /// `takeConfiguration` without an offer or answer.
    InvalidDescription,
    /// `takeCandidate` without a candidate.
    InvalidCandidate,
    /// Any other command, by its name.
    Other(String),
}

/// The frame is not a JSON object with a `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object with a command")]
pub struct InvalidFrame;

/// The members that matter, of any type. Others are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    #[serde(borrow)]
    command: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    stream_id: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    stream_name: Option<Value>,
    #[serde(default, rename = "type")]
    kind: Option<Value>,
    #[serde(default)]
    sdp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    id_mapping: Option<Value>,
    #[serde(default)]
    label: Option<Value>,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    candidate: Option<Value>,
    #[serde(default)]
    room: Option<Value>,
}

/// `None`: the member is missing. Null is a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Frame {
    /// Parses a text frame.
    pub fn parse(text: &str) -> Result<Self, InvalidFrame> {
        // serde would accept an array, too.
        let object = Some(text).filter(|text| text.trim_start().starts_with('{')).ok_or(InvalidFrame)?;
        let mut raw: Raw<'_> = serde_json::from_str(object).map_err(|_| InvalidFrame)?;
        let members = Members {
            stream_id: raw.stream_id.is_some(),
            stream_name: raw.stream_name.is_some(),
            id_mapping: raw.id_mapping.is_some(),
            label: raw.label.as_ref().is_some_and(Value::is_u64),
        };
        let command = match &*raw.command {
            "takeConfiguration" => description(&mut raw),
            "takeCandidate" => candidate(&mut raw),
            "getRoomInfo" => Command::RoomInfo(raw.room.take().and_then(read_name).unwrap_or_default()),
            other => command(other),
        };
        let id = raw.stream_id.filter(|id| !id.is_null());
        let by_name = id.is_none() && raw.stream_name.as_ref().is_some_and(|name| !name.is_null());
        let stream = id.or(raw.stream_name).and_then(read_name).filter(|name| !name.is_empty());
        Ok(Self { command, stream, by_name, members })
    }

    /// Whether it has neither `streamId` nor `streamName`.
    pub fn is_unnamed(&self) -> bool {
        !self.members.stream_id && !self.members.stream_name
    }

    /// The frame for the other side of a call, which speaks this protocol, too: `text`, from which this frame was
    /// parsed, with the members that clients demand and that it lacks.
    pub fn relayed<'a>(&self, text: &'a str, stream: &str) -> Cow<'a, str> {
        let Members { stream_id, id_mapping, label, .. } = self.members;
        let is_description = matches!(self.command, Command::Description { .. });
        if self.by_name && stream_id || matches!(self.command, Command::Candidate(_)) && !label {
            return self.rewritten(stream).map_or(Cow::Borrowed(text), Cow::Owned);
        }
        let mut missing = String::new();
        if !stream_id {
            missing.push_str(&format!("\"streamId\":{},", Value::from(stream)));
        }
        if is_description && !id_mapping {
            missing.push_str("\"idMapping\":{},");
        }
        add(text, &missing)
    }

    /// The frame in this crate's own words: a member that it has is not usable.
    fn rewritten(&self, stream: &str) -> Option<String> {
        let reply = match &self.command {
            Command::Description { kind, sdp } => Reply::Description { kind: *kind, sdp: sdp.clone() },
            Command::Candidate(candidate) => Reply::Candidate(candidate.clone()),
            _ => return None,
        };
        Some(Written { reply: &reply, stream: Some(stream), by_name: self.by_name }.to_string())
    }
}

/// A relayed frame for a client that knows a stream only by `streamName`.
pub fn named<'a>(text: &'a str, stream: &str) -> Cow<'a, str> {
    match Frame::parse(text) {
        Ok(Frame { members: Members { stream_name: false, .. }, .. }) => {
            add(text, &format!("\"streamName\":{},", Value::from(stream)))
        }
        _ => Cow::Borrowed(text),
    }
}

fn add<'a>(text: &'a str, members: &str) -> Cow<'a, str> {
    if members.is_empty() {
        return Cow::Borrowed(text);
    }
    with_members(text, members).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The commands without members of their own.
fn command(name: &str) -> Command {
    match name {
        "join" => Command::Join,
        "leave" => Command::Leave,
        "publish" => Command::Publish,
        "play" => Command::Play,
        "stop" => Command::Stop,
        "peerMessageCommand" => Command::PeerMessage,
        "ping" => Command::Ping,
        "getIceServerConfig" => Command::IceServers,
        "getStreamInfo" => Command::StreamInfo,
        "getTrackList" => Command::TrackList,
        other => Command::Other(other.into()),
    }
}

fn description(raw: &mut Raw<'_>) -> Command {
    match (raw.kind.as_ref().and_then(read_kind), raw.sdp.take()) {
        (Some(kind), Some(Value::String(sdp))) => Command::Description { kind, sdp },
        _ => Command::InvalidDescription,
    }
}

/// An empty candidate is the end of candidates.
fn candidate(raw: &mut Raw<'_>) -> Command {
    let Some(Value::String(candidate)) = raw.candidate.take() else { return Command::InvalidCandidate };
    let sdp_m_line_index = raw.label.as_ref().and_then(read_index);
    Command::Candidate(Candidate { candidate, sdp_mid: raw.id.take().and_then(read_name), sdp_m_line_index })
}
