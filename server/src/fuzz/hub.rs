//! The hub.

use std::sync::Arc;

use async_tungstenite::tungstenite::Message;

use super::PEER;
use crate::{
    access::Grant,
    dialect::Dialect,
    hub::{
        About, Event, Key, Refusal,
        invariants::{Model, SLOTS, said},
    },
};

/// Any events on a few connections in any order, two bytes per event.
pub fn hub(bytes: &[u8]) {
    let mut model = Model::default();
    // Enough to reach every state; longer runs only take longer.
    for pair in bytes.chunks_exact(2).take(256) {
        let &[who, what] = pair else { continue };
        model.step(usize::from(who) % SLOTS, event(what, who / 16));
        // Deliver notices only sometimes, and in parts.
        model.pass_on(usize::from(who / 8 % 4));
    }
    model.finish();
}

fn event(what: u8, whom: u8) -> Event {
    let uids = ["a", "b", "c", "d", "", "x y"];
    let uid = uids.get(usize::from(whom) % uids.len()).copied().unwrap_or_default();
    let room = if whom.is_multiple_of(2) { "r" } else { "s" };
    match what % 12 {
        0 | 1 => Event::Opened {
            grant: Arc::new(Grant {
                identity: (what / 12 % 3 == 1).then(|| "somebody".into()),
                ..Grant::default()
            }),
            address: PEER.ip(),
            dialect: Dialect::Text,
        },
        2 | 3 => said(Message::text(format!("HELLO {uid}"))),
        4 => said(Message::text(format!("SESSION {uid}"))),
        5 => said(Message::text(format!("ROOM {room}"))),
        6 => said(Message::text(format!("ROOM_PEER_MSG {uid} hi"))),
        7 => said(Message::text("ROOM_PEER_LIST")),
        8 => said(Message::text("{}")),
        9 => said(Message::binary(vec![what])),
        10 if whom.is_multiple_of(2) => denied(Refusal::Other("no".into())),
        10 => denied(Refusal::Unavailable),
        _ => Event::Closed,
    }
}

fn denied(refusal: Refusal) -> Event {
    Event::Denied { about: About::Call, key: Key::default(), refusal }
}
