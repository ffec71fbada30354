//! The dialect of `webrtcsink`, through the hub.

use std::{str, sync::Arc};

use async_tungstenite::tungstenite::Message;
use callbin_protocol::webrtcsink::ServerMessage;

use super::PEER;
use crate::{
    dialect::{Dialect, Opening, Step, Translator, translator},
    hub::{ConnId, Effect, Event, Hub},
};

/// Frames of two webrtcsink clients and a text peer, one a line: the first byte says whose. `$` stands for the id of the
/// client's latest session.
pub fn webrtcsink(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut hub = Hub::default();
    let dialects = [Dialect::Webrtcsink, Dialect::Webrtcsink, Dialect::Text];
    let mut peers: Vec<(Box<dyn Translator>, String)> = Vec::new();
    for (number, dialect) in (0..).zip(dialects) {
        let opening = Opening { number, ..Opening::default() };
        peers.push((translator(dialect, &opening), String::new()));
        let event = Event::Opened { grant: Arc::default(), address: PEER.ip(), dialect };
        hub.handle(ConnId(number), event, &mut Vec::new());
    }
    for line in text.lines().take(256) {
        let Some((whose, frame)) = line.split_at_checked(1) else { continue };
        let number = u64::from(whose.as_bytes().first().copied().unwrap_or_default()) % 3;
        let Some((peer, session)) = usize::try_from(number).ok().and_then(|index| peers.get_mut(index))
        else {
            continue;
        };
        let frame = Message::text(frame.replace('$', session));
        let kept = peer.dialect().is_single().then(|| frame.clone());
        let mut steps = Vec::new();
        peer.read(frame, &mut steps);
        let mut effects = Vec::new();
        for step in steps {
            if let Step::Ask(request) = step {
                let event = Event::Asked { request, frame: kept.clone() };
                hub.handle(ConnId(number), event, &mut effects);
            }
        }
        hub.pass_on(64, &mut effects);
        hub.check();
        effects.into_iter().for_each(|effect| hear(&mut peers, effect));
    }
}

/// Translates a notice. What a webrtcsink client gets must be a frame of its protocol.
#[allow(clippy::panic, reason = "a frame that no client reads is what this looks for")]
fn hear(peers: &mut [(Box<dyn Translator>, String)], effect: Effect) {
    let Effect::Tell(ConnId(number), notice) = effect else { return };
    let Some((peer, session)) = usize::try_from(number).ok().and_then(|index| peers.get_mut(index)) else {
        return;
    };
    let mut frames = Vec::new();
    peer.write(notice, &mut frames);
    if peer.dialect() != Dialect::Webrtcsink {
        return;
    }
    for frame in frames {
        let text = frame.to_text().unwrap_or_default();
        match ServerMessage::parse(text) {
            Ok(
                ServerMessage::SessionStarted { session_id, .. }
                | ServerMessage::StartSession { session_id, .. },
            ) => {
                *session = session_id.into_owned();
            }
            Ok(_) => {}
            Err(error) => panic!("{error}: {text}"),
        }
    }
}
