//! What the server sends.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{Candidate, SdpType};

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `pong`.
    Pong,
    /// `start`: offer now.
    Start,
    /// `stop`: close the peer connection; another `start` may follow.
    Stop,
    /// `takeConfiguration`, with an empty `idMapping`: a page without a video element of its own demands it.
    Description {
        /// `type`.
        kind: SdpType,
        /// `sdp`.
        sdp: String,
    },
    /// `takeCandidate`. `label` is always a number.
    Candidate(Candidate),
    /// `notification`.
    Notification(Definition),
    /// `error`, with more information for people.
    Error(Definition, Option<String>),
    /// `streamInformation`. The server does not know what the media are.
    StreamInformation,
    /// `roomInformation` of this room, without streams: conference rooms need a media server.
    RoomInformation(String),
    /// `trackList`.
    TrackList(Vec<String>),
    /// `iceServerConfig`. Without a server, the client uses its own.
    IceServers(Option<IceServer>),
}

/// The one ICE server that the protocol can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stunServerUri`: `stun:…` or `turn:…`.
    pub uri: String,
    /// `turnServerUsername` and `turnServerCredential`.
    pub credentials: Option<(String, String)>,
}

/// A definition: the name of a notification or error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Definition {
    /// The answer to `join`.
    Joined,
    /// The answer to `leave`.
    Leaved,
    /// The media of a publisher are on their way: offer and answer were exchanged.
    PublishStarted,
    /// Publishing has ended.
    PublishFinished,
    /// Offer and answer were exchanged.
    PlayStarted,
    /// Playing has ended.
    PlayFinished,
    /// The frame is not a JSON object with a command.
    InvalidMessage,
    /// The server has no such command.
    UnsupportedCommand,
    /// A member is missing.
    MissingParameter,
    /// No stream id.
    NoStreamNameSpecified,
    /// The stream id is empty, too long or has white space.
    InvalidStreamName,
    /// No such stream.
    NoStreamExist,
    /// The stream has as many viewers as it can have.
    ViewerLimitReached,
    /// Another peer has this stream id.
    StreamIdInUse,
    /// This connection is publishing the stream.
    AlreadyPublishing,
    /// This connection is playing the stream.
    AlreadyPlaying,
    /// Two peers are there.
    NoSpaceForNewPeer,
    /// Signalling, but no peer is there.
    NoPeerAssociated,
    /// Not allowed.
    Unauthorized,
    /// A limit is reached.
    HighResourceUsage,
    /// The server can't decide now.
    NotInitializedYet,
    /// `takeConfiguration` without a usable description.
    NotSetRemoteDescription,
}

impl Definition {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Joined,
        Self::Leaved,
        Self::PublishStarted,
        Self::PublishFinished,
        Self::PlayStarted,
        Self::PlayFinished,
        Self::InvalidMessage,
        Self::UnsupportedCommand,
        Self::MissingParameter,
        Self::NoStreamNameSpecified,
        Self::InvalidStreamName,
        Self::NoStreamExist,
        Self::ViewerLimitReached,
        Self::StreamIdInUse,
        Self::AlreadyPublishing,
        Self::AlreadyPlaying,
        Self::NoSpaceForNewPeer,
        Self::NoPeerAssociated,
        Self::Unauthorized,
        Self::HighResourceUsage,
        Self::NotInitializedYet,
        Self::NotSetRemoteDescription,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Leaved => "leaved",
            Self::PublishStarted => "publish_started",
            Self::PublishFinished => "publish_finished",
            Self::PlayStarted => "play_started",
            Self::PlayFinished => "play_finished",
            Self::InvalidMessage => "invalid_message",
            Self::UnsupportedCommand => "unsupported_command",
            Self::MissingParameter => "missingParameter",
            Self::NoStreamNameSpecified => "noStreamNameSpecified",
            Self::InvalidStreamName => "invalidStreamName",
            Self::NoStreamExist => "no_stream_exist",
            Self::ViewerLimitReached => "viewerLimitReached",
            Self::StreamIdInUse => "streamIdInUse",
            Self::AlreadyPublishing => "already_publishing",
            Self::AlreadyPlaying => "already_playing",
            Self::NoSpaceForNewPeer => "NoSpaceForNewPeer",
            Self::NoPeerAssociated => "no_peer_associated_before",
            Self::Unauthorized => "unauthorized_access",
            Self::HighResourceUsage => "highResourceUsage",
            Self::NotInitializedYet => "not_initialized_yet",
            Self::NotSetRemoteDescription => "notSetRemoteDescription",
        }
    }

    /// `error_code`, where clients know one.
    fn code(self) -> Option<&'static str> {
        (self == Self::NoStreamExist).then_some("404")
    }
}

impl Reply {
    fn command(&self) -> &'static str {
        match self {
            Self::Pong => "pong",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Description { .. } => "takeConfiguration",
            Self::Candidate(_) => "takeCandidate",
            Self::Notification(_) => "notification",
            Self::Error(..) => "error",
            Self::StreamInformation => "streamInformation",
            Self::RoomInformation(_) => "roomInformation",
            Self::TrackList(_) => "trackList",
            Self::IceServers(_) => "iceServerConfig",
        }
    }

    fn write<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        match self {
            Self::Pong | Self::Start | Self::Stop => Ok(()),
            Self::Description { kind, sdp } => {
                map.serialize_entry("type", kind)?;
                map.serialize_entry("sdp", sdp)?;
                map.serialize_entry("idMapping", &serde_json::Map::new())
            }
            Self::Candidate(candidate) => {
                map.serialize_entry("label", &candidate.sdp_m_line_index.unwrap_or_default())?;
                if let Some(mid) = &candidate.sdp_mid {
                    map.serialize_entry("id", mid)?;
                }
                map.serialize_entry("candidate", &candidate.candidate)
            }
            Self::Notification(definition) => map.serialize_entry("definition", definition.as_str()),
            Self::Error(definition, information) => {
                if let Some(code) = definition.code() {
                    map.serialize_entry("error_code", code)?;
                }
                map.serialize_entry("definition", definition.as_str())?;
                information.iter().try_for_each(|text| map.serialize_entry("information", text))
            }
            Self::StreamInformation => map.serialize_entry("streamInfo", &[(); 0]),
            Self::RoomInformation(room) => {
                map.serialize_entry("room", room)?;
                map.serialize_entry("streams", &[(); 0])?;
                map.serialize_entry("streamList", &[(); 0])
            }
            Self::TrackList(tracks) => map.serialize_entry("trackList", tracks),
            Self::IceServers(server) => server.iter().try_for_each(|server| {
                map.serialize_entry("stunServerUri", &server.uri)?;
                let Some((username, credential)) = &server.credentials else { return Ok(()) };
                map.serialize_entry("turnServerUsername", username)?;
                map.serialize_entry("turnServerCredential", credential)
            }),
        }
    }
}

/// A message with its stream, for printing as a frame.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The message.
    pub reply: &'a Reply,
    /// `streamId`.
    pub stream: Option<&'a str>,
    /// Repeat the stream as `streamName`.
    pub by_name: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("command", self.reply.command())?;
        if let Some(stream) = self.stream {
            map.serialize_entry("streamId", stream)?;
            if self.by_name {
                map.serialize_entry("streamName", stream)?;
            }
        }
        self.reply.write(&mut map)?;
        map.end()
    }
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing in it can fail to become JSON.
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
