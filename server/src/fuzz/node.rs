//! The control protocol of media nodes, through the hub.

use std::{str, sync::Arc};

use async_tungstenite::tungstenite::Message;
use callbin_protocol::node::{FromNode, ToNode};

use super::PEER;
use crate::{
    access::Grant,
    dialect::{Dialect, Opening, Step, Translator, translator},
    hub::{ConnId, Effect, Event, Hub},
};

/// Frames of two nodes and of two Ant Media clients, one a line: the first byte says whose. `$` stands for the node's latest
/// session, and a client's line that is only `-` closes its connection.
pub fn node(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut hub = Hub::default();
    let mut peers: Vec<(Box<dyn Translator>, String)> = Vec::new();
    for (number, dialect) in (0..).zip([Dialect::Node, Dialect::Node, Dialect::Antmedia, Dialect::Antmedia]) {
        let opening = Opening { number, ..Opening::default() };
        peers.push((translator(dialect, &opening), String::new()));
        let grant = Arc::new(Grant { is_node: dialect == Dialect::Node, ..Grant::default() });
        let event = Event::Opened { grant, address: PEER.ip(), dialect };
        hub.handle(ConnId(number), event, &mut Vec::new());
    }
    for line in text.lines().take(256) {
        let Some((whose, frame)) = line.split_at_checked(1) else { continue };
        let number = u64::from(whose.as_bytes().first().copied().unwrap_or_default()) % 4;
        let Some((peer, session)) = usize::try_from(number).ok().and_then(|index| peers.get_mut(index))
        else {
            continue;
        };
        let frame = frame.replace('$', session);
        round_trip(&frame);
        let mut effects = Vec::new();
        if frame == "-" {
            hub.handle(ConnId(number), Event::Closed, &mut effects);
        } else {
            let mut steps = Vec::new();
            peer.read(Message::text(frame), &mut steps);
            for step in steps {
                if let Step::Ask(request) = step {
                    hub.handle(ConnId(number), Event::Asked { request, frame: None }, &mut effects);
                }
            }
        }
        hub.pass_on(3, &mut effects);
        hub.check();
        effects.into_iter().for_each(|effect| hear(&mut peers, effect));
    }
}

/// A parsed frame must survive being written and parsed again.
fn round_trip(frame: &str) {
    if let Ok(message) = FromNode::parse(frame) {
        assert_eq!(FromNode::parse(&message.to_string()).as_ref(), Ok(&message));
    }
    if let Ok(message) = ToNode::parse(frame) {
        assert_eq!(ToNode::parse(&message.to_string()).as_ref(), Ok(&message));
    }
}

/// Translates a notice. What a node gets must be a frame of its protocol.
#[allow(clippy::panic, reason = "a frame that no node reads is what this looks for")]
fn hear(peers: &mut [(Box<dyn Translator>, String)], effect: Effect) {
    let Effect::Tell(ConnId(number), notice) = effect else { return };
    let Some((peer, session)) = usize::try_from(number).ok().and_then(|index| peers.get_mut(index)) else {
        return;
    };
    let mut frames = Vec::new();
    peer.write(notice, &mut frames);
    if peer.dialect() != Dialect::Node {
        return;
    }
    for frame in frames {
        let text = frame.to_text().unwrap_or_default();
        match ToNode::parse(text) {
            Ok(ToNode::Publish { session: new, .. } | ToNode::Play { session: new, .. }) => {
                *session = new.to_string();
            }
            Ok(_) => {}
            Err(error) => panic!("{error}: {text}"),
        }
    }
}
