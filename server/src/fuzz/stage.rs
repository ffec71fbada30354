//! Peers of several dialects around one hub, which play what the fuzzer wrote.

use std::sync::Arc;

use async_tungstenite::tungstenite::Message;

use super::PEER;
use crate::{
    access::Grant,
    dialect::{Dialect, Opening, Step, Translator, translator},
    hub::{ConnId, Effect, Event, Hub},
};

/// The most lines that are played.
const LINES: usize = 256;

/// Reads a frame that a peer gets. Returns the id of the session that begins, if one does. Panics if no peer of that dialect
/// could read it.
pub(super) type Hear = fn(&str) -> Option<String>;

/// The hub and its peers.
pub(super) struct Stage {
    hub: Hub,
    peers: Vec<Peer>,
    /// Whose frames are read, and how.
    hears: (Dialect, Hear),
    /// Notices delivered after each line.
    deliveries: usize,
}

struct Peer {
    translator: Box<dyn Translator>,
    /// Its latest session.
    session: String,
}

impl Stage {
    /// Peers of these dialects.
    pub(super) fn new(dialects: &[Dialect], hears: (Dialect, Hear), deliveries: usize) -> Self {
        let mut hub = Hub::default();
        let mut peers = Vec::new();
        for (number, dialect) in (0..).zip(dialects.iter().copied()) {
            let opening = Opening { number, ..Opening::default() };
            peers.push(Peer { translator: translator(dialect, &opening), session: String::new() });
            let grant = Arc::new(Grant { is_node: dialect == Dialect::Node, ..Grant::default() });
            let event = Event::Opened { grant, address: PEER.ip(), dialect };
            hub.handle(ConnId(number), event, &mut Vec::new());
        }
        Self { hub, peers, hears, deliveries }
    }

    /// Plays frames, one a line: the first byte says whose. `$` stands for the peer's latest session, and a line that is only `-`
    /// closes its connection. `look` sees each frame.
    pub(super) fn play(&mut self, text: &str, look: fn(&str)) {
        for line in text.lines().take(LINES) {
            let Some((whose, frame)) = line.split_at_checked(1) else { continue };
            let whose =
                usize::from(whose.as_bytes().first().copied().unwrap_or_default()) % self.peers.len().max(1);
            let Some(peer) = self.peers.get_mut(whose) else { continue };
            let conn = ConnId(u64::try_from(whose).unwrap_or_default());
            let frame = frame.replace('$', &peer.session);
            look(&frame);
            let mut effects = Vec::new();
            if frame == "-" {
                self.hub.handle(conn, Event::Closed, &mut effects);
            } else {
                let frame = Message::text(frame);
                let kept = peer.translator.dialect().is_single().then(|| frame.clone());
                let mut steps = Vec::new();
                peer.translator.read(frame, &mut steps);
                for step in steps {
                    if let Step::Ask(request) = step {
                        self.hub.handle(conn, Event::Asked { request, frame: kept.clone() }, &mut effects);
                    }
                }
            }
            self.hub.pass_on(self.deliveries, &mut effects);
            self.hub.check();
            effects.into_iter().for_each(|effect| self.hear(effect));
        }
    }

    /// Translates a notice, and reads the frames.
    fn hear(&mut self, effect: Effect) {
        let Effect::Tell(ConnId(number), notice) = effect else { return };
        let Some(peer) = usize::try_from(number).ok().and_then(|at| self.peers.get_mut(at)) else { return };
        let mut frames = Vec::new();
        peer.translator.write(notice, &mut frames);
        let (dialect, hear) = self.hears;
        if peer.translator.dialect() == dialect {
            let begun = frames.iter().filter_map(|frame| hear(frame.to_text().unwrap_or_default()));
            peer.session = begun.last().unwrap_or_else(|| std::mem::take(&mut peer.session));
        }
    }
}
