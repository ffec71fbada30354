//! Random sequences of events of members and of media nodes of a room; the tables are checked after each.

use std::sync::Arc;

use async_tungstenite::tungstenite::Message;
use callbin_protocol::{
    SdpType, Signal,
    node::{Limits, Reason},
};
use proptest::prelude::*;

use super::super::{ConnId, Counts, Event, Hub, Key, NodeRequest, NodeRooms, Payload, Request, Rules};
use crate::{access::Grant, dialect::Dialect, hub::invariants::said};

/// The connections of two nodes and of three members. After its end, each gets another number.
const PLACES: u64 = 5;

#[derive(Debug, Clone)]
enum Do {
    Open,
    Close,
    Node(Request),
    Say(String),
    PassOn(usize),
}

fn description(kind: SdpType, certificate: u8) -> Signal {
    Signal::Sdp { kind, sdp: format!("a=fingerprint:{certificate}\r\n") }
}

fn action() -> impl Strategy<Value = Do> {
    let call = (1..60_u32).prop_map(|number| Key::from(format!("call-{number}").as_str()));
    let kind = prop::sample::select(vec![SdpType::Offer, SdpType::Answer]);
    let uid = prop::sample::select(vec!["m2", "m3", "m4", "0"]);
    let limits = (0..4_u32, 0..6_u32).prop_map(|(streams, viewers)| Limits { streams, viewers });
    let reasons = vec![Reason::Failed, Reason::Left, Reason::Gone, Reason::Unacceptable, Reason::Limit];
    let reason = prop::sample::select(reasons);
    let of_node = prop_oneof![
        6 => limits.prop_map(|limits| NodeRequest::Attach { name: "n".into(), software: "".into(), limits }),
        8 => call.clone().prop_map(|key| NodeRequest::Live { key, tracks: [].into() }),
        1 => call.clone().prop_map(NodeRequest::Gone),
        1 => call.clone().prop_map(NodeRequest::Connected),
        2 => (call.clone(), reason).prop_map(|(key, reason)| NodeRequest::End { key, reason, detail: "".into() }),
        1 => Just(NodeRequest::Drain),
    ];
    let by_node = (call, kind.clone(), 0..3_u8).prop_map(|(key, kind, certificate)| Request::Signal {
        key,
        payload: Payload::new(Dialect::Node, "".into(), description(kind, certificate)),
    });
    let spoken = (uid, kind, 0..3_u8).prop_map(|(uid, kind, certificate)| {
        format!("ROOM_PEER_MSG {uid} {}", description(kind, certificate))
    });
    prop_oneof![
        8 => Just(Do::Open),
        2 => Just(Do::Close),
        20 => spoken.prop_map(Do::Say),
        1 => Just(Do::Say("ROOM_PEER_MSG m2 OFFER_REQUEST".into())),
        1 => Just(Do::Say("ROOM_PEER_MSG m3 ERROR no".into())),
        16 => of_node.prop_map(|request| Do::Node(Request::Node(request))),
        4 => by_node.prop_map(Do::Node),
        4 => (0..4_usize).prop_map(Do::PassOn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_events_keeps_rooms_and_streams_consistent(
        actions in prop::collection::vec((0..PLACES, action()), 0..160)
    ) {
        let mut hub = Hub::new(Rules { max_streams: 3, max_viewers: 5, ..Rules::default() });
        hub.set_node_rooms(NodeRooms::new(vec!["*".into()]));
        let mut current: Vec<u64> = (0..PLACES).collect();
        for (place, action) in actions {
            let mut effects = Vec::new();
            let now = &mut current[usize::try_from(place).unwrap()];
            let conn = ConnId(*now);
            let is_node = place < 2;
            match action {
                Do::Open if hub.dialect(conn).is_none() => {
                    let dialect = if is_node { Dialect::Node } else { Dialect::Text };
                    let grant = Arc::new(Grant { is_node, ..Grant::default() });
                    hub.handle(conn, Event::Opened { grant, address: [192, 0, 2, 1].into(), dialect }, &mut effects);
                    if !is_node {
                        hub.handle(conn, said(Message::text(format!("HELLO m{place}"))), &mut effects);
                        hub.handle(conn, said(Message::text("ROOM r")), &mut effects);
                    }
                }
                Do::Close => {
                    hub.handle(conn, Event::Closed, &mut effects);
                    *now += PLACES;
                }
                Do::Node(request) if is_node => hub.handle(conn, Event::Asked { request, frame: None }, &mut effects),
                Do::Say(text) if !is_node => hub.handle(conn, said(Message::text(text)), &mut effects),
                Do::PassOn(most) => drop(hub.pass_on(most, &mut effects)),
                _ => {}
            }
            hub.check();
        }
        for conn in current {
            hub.handle(ConnId(conn), Event::Closed, &mut Vec::new());
        }
        while hub.pass_on(3, &mut Vec::new()) {
            hub.check();
        }
        prop_assert_eq!(hub.counts(), Counts::default());
        prop_assert!(hub.usage.is_empty() && hub.streams.is_empty());
    }
}
