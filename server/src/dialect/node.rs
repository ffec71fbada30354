//! The control protocol of media nodes (docs/media-protocol.md). A session is a call whose callee is the node; its name on
//! the wire is the hub's name for the call.

use std::{collections::HashMap, time::Duration};

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::node::{FromNode, Hello, Reason, SessionId, SessionSignal, ToNode, VERSION};

use super::{Dialect, Step, Translator, to_frame};
use crate::{
    bridge::Inbound,
    close::CloseReason,
    hub::{Call, Key, NodeRequest, Notice, Payload, Refusal, Request, Use},
};

/// The seconds between two reports of statistics.
const STATS_INTERVAL: u32 = 5;

/// A node that sends nothing for this long counts as lost: what moves its media may hang while its connection goes on.
const SILENCE: Duration = Duration::from_secs(20);

/// The state of a node's connection.
#[derive(Debug, Default)]
pub struct Node {
    has_introduced_itself: bool,
    /// What comes from the clients. The hub bounds the number of calls.
    sessions: HashMap<Key, Inbound>,
}

impl Node {
    /// The request of a frame. `None`: the frame is not possible now.
    fn request(&mut self, message: FromNode) -> Option<Request> {
        let is_hello = matches!(message, FromNode::Hello(_));
        if is_hello == self.has_introduced_itself {
            return None;
        }
        let request = match message {
            FromNode::Hello(Hello { version: VERSION, name, software, limits }) => {
                self.has_introduced_itself = true;
                NodeRequest::Attach { name: name.into(), software: software.into(), limits }
            }
            FromNode::Hello(_) => return None,
            FromNode::Signal(SessionSignal { session, signal }) => {
                let payload = Payload::new(Dialect::Node, Utf8Bytes::default(), signal);
                return Some(Request::Signal { key: key(&session), payload });
            }
            FromNode::Connected { session } => NodeRequest::Connected(key(&session)),
            FromNode::Live { session, tracks } => {
                NodeRequest::Live { key: key(&session), tracks: tracks.into() }
            }
            FromNode::Gone { session } => NodeRequest::Gone(key(&session)),
            FromNode::End { session, reason, detail } => {
                self.sessions.remove(&key(&session));
                NodeRequest::End { key: key(&session), reason, detail: detail.into() }
            }
            FromNode::Stats(stats) => NodeRequest::Stats(Box::new(stats)),
            FromNode::Drain => NodeRequest::Drain,
        };
        Some(Request::Node(request))
    }

    fn called(&mut self, call: Call, frames: &mut Vec<Message>) {
        let (Some(media), Some(session)) = (call.media, session(&call.key)) else { return };
        frames.push(to_frame(&match media {
            Use::Publish => ToNode::Publish {
                session,
                stream: call.uid,
                max_bitrate: call.max_bitrate,
                offers: call.is_asked,
            },
            Use::Play => {
                let like = call.like.filter(|_| call.is_asked).as_ref().and_then(self::session);
                ToNode::Play { session, stream: call.uid, offers: call.is_asked, like }
            }
        }));
        self.sessions.insert(call.key, Inbound::default());
    }

    fn signal(&mut self, key: &Key, payload: Payload, frames: &mut Vec<Message>) {
        let (Some(inbound), Some(session)) = (self.sessions.get_mut(key), session(key)) else { return };
        let Some(signal) = payload.into_signal() else { return };
        let signals = inbound.take(signal);
        frames.extend(
            signals
                .map(|signal| to_frame(&ToNode::Signal(SessionSignal { session: session.clone(), signal }))),
        );
    }
}

impl Translator for Node {
    fn dialect(&self) -> Dialect {
        Dialect::Node
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        let message = match &frame {
            Message::Text(text) => FromNode::parse(text).ok(),
            _ => None,
        };
        let request = message.and_then(|message| self.request(message));
        steps.push(Step::Ask(request.unwrap_or(Request::Close(CloseReason::InvalidProtocol))));
    }

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        match notice {
            Notice::Attached => frames.push(to_frame(&ToNode::welcome(STATS_INTERVAL))),
            Notice::Called(call) => self.called(*call, frames),
            Notice::Signal(signal) => self.signal(&signal.key, signal.payload, frames),
            Notice::Ended(ended) => {
                // The node has ended it itself otherwise, and the two ends crossed.
                if self.sessions.remove(&ended.key).is_some()
                    && let Some(session) = session(&ended.key)
                {
                    frames.push(to_frame(&ToNode::End { session, reason: reason(ended.reason.as_ref()) }));
                }
            }
            // It asks for nothing that could be refused, except in calls that are over.
            Notice::Refused(_)
            | Notice::Registered(_)
            | Notice::Found(_)
            | Notice::Joined(_)
            | Notice::Change(_)
            | Notice::Message(_)
            | Notice::Members(_)
            | Notice::Peers(_)
            | Notice::Presence(_) => {}
        }
    }

    fn silence(&self) -> Option<Duration> {
        self.has_introduced_itself.then_some(SILENCE)
    }

    fn lapse(&mut self, steps: &mut Vec<Step>) {
        steps.push(Step::Ask(Request::Close(CloseReason::NoStatistics)));
    }
}

fn key(session: &SessionId) -> Key {
    Key::from(session.as_str())
}

fn session(key: &Key) -> Option<SessionId> {
    SessionId::new(key.as_str())
}

/// Why a session ends, for the node.
fn reason(refusal: Option<&Refusal>) -> Reason {
    match refusal {
        None => Reason::Left,
        Some(Refusal::Node(reason)) => *reason,
        Some(Refusal::NoCapacity) => Reason::Full,
        Some(_) => Reason::Closed,
    }
}

#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;
