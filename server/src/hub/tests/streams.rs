//! Random sequences of events of media nodes and their clients; the tables are checked after each.

use std::sync::Arc;

use callbin_protocol::{
    SdpType, Signal,
    node::{Limits, Reason, Stats},
};
use proptest::prelude::*;

use super::super::{ConnId, Counts, Event, Hub, Key, NodeRequest, Only, Payload, Rules, Start, Use};
use crate::{
    access::Grant,
    dialect::Dialect,
    hub::{Card, Flow, PeerId, Request},
};

/// The connections of two nodes and of three clients. After its end, each gets another number.
const PLACES: u64 = 5;

#[derive(Debug, Clone)]
enum Do {
    Open,
    Close,
    Ask(Request),
    PassOn(usize),
}

fn id() -> impl Strategy<Value = PeerId> {
    prop::sample::select(vec!["s", "t"]).prop_map(|text| PeerId::new(text).unwrap())
}

fn action() -> impl Strategy<Value = Do> {
    let key = prop::sample::select(vec!["k", "l", "s", "t"]).prop_map(Key::from);
    let call = (1..40_u32).prop_map(|number| Key::from(format!("call-{number}").as_str()));
    let media = prop::sample::select(vec![Use::Publish, Use::Play]);
    let start = prop::sample::select(vec![Start::AtOnce, Start::WhenAsked, Start::Never]);
    let only = prop::sample::select(vec![None, Some(Only::Peer), Some(Only::Stream)]);
    let kind = prop::sample::select(vec![SdpType::Offer, SdpType::Answer]);
    let flow = prop::sample::select(vec![Flow::Sends, Flow::Awaits, Flow::Both]);
    let size = prop::sample::select(vec![10, 50_000, 120_000]);
    let payload = (kind, size).prop_map(|(kind, size)| {
        let signal = Signal::Sdp { kind, sdp: "x".repeat(size) };
        Payload::new(Dialect::Antmedia, "".into(), signal)
    });
    let limits = (0..3_u32, 0..3_u32).prop_map(|(streams, viewers)| Limits { streams, viewers });
    let of_client = prop_oneof![
        6 => (key.clone(), id(), start.clone(), media, only).prop_map(|(key, to, start, media, only)| {
            Request::Call { key, to, from: None, start, media: Some(media), only }
        }),
        3 => (key.clone(), id(), start, flow).prop_map(|(key, uid, start, flow)| {
            Request::Meet { key, uid, card: Card { flow, ..Card::default() }, start, only: None }
        }),
        3 => (key.clone(), payload.clone()).prop_map(|(key, payload)| Request::Signal { key, payload }),
        2 => key.clone().prop_map(Request::End),
        1 => id().prop_map(|uid| Request::Register { uid, card: Card::default() }),
        1 => (id(), key).prop_map(|(uid, key)| Request::Retire { uid, key }),
    ];
    let of_node = prop_oneof![
        4 => limits.prop_map(|limits| NodeRequest::Attach { name: "n".into(), software: "".into(), limits }),
        4 => call.clone().prop_map(|key| NodeRequest::Live { key, tracks: [].into() }),
        1 => call.clone().prop_map(NodeRequest::Gone),
        2 => call.clone().prop_map(|key| NodeRequest::End { key, reason: Reason::Failed, detail: "".into() }),
        1 => any::<u64>().prop_map(|packets_in| {
            NodeRequest::Stats(Box::new(Stats { packets_in, ..Stats::default() }))
        }),
        1 => Just(NodeRequest::Drain),
    ];
    let by_node = (call, payload).prop_map(|(key, payload)| Request::Signal { key, payload });
    prop_oneof![
        6 => Just(Do::Open),
        2 => Just(Do::Close),
        24 => of_client.prop_map(Do::Ask),
        16 => of_node.prop_map(Request::Node).prop_map(Do::Ask),
        4 => by_node.prop_map(Do::Ask),
        4 => (0..4_usize).prop_map(Do::PassOn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_events_keeps_streams_and_calls_consistent(
        actions in prop::collection::vec((0..PLACES, action()), 0..120)
    ) {
        let mut hub = Hub::new(Rules { max_streams: 2, max_viewers: 3, ..Rules::default() });
        let mut current: Vec<u64> = (0..PLACES).collect();
        for (place, action) in actions {
            let mut effects = Vec::new();
            let now = &mut current[usize::try_from(place).unwrap()];
            let conn = ConnId(*now);
            match action {
                Do::Open if hub.dialect(conn).is_none() => {
                    let is_node = place < 2;
                    let dialect = if is_node { Dialect::Node } else { Dialect::Antmedia };
                    let identity = (place == 2).then(|| "alice".into());
                    let grant = Grant { is_node, identity, ..Grant::default() };
                    let (grant, address) = (Arc::new(grant), [192, 0, 2, 1].into());
                    hub.handle(conn, Event::Opened { grant, address, dialect }, &mut effects);
                }
                Do::Open => {}
                Do::Close => {
                    hub.handle(conn, Event::Closed, &mut effects);
                    *now += PLACES;
                }
                // A node's translator has no other requests.
                Do::Ask(request) if place < 2 && !matches!(request, Request::Node(_) | Request::Signal { .. }) => {}
                Do::Ask(request) => hub.handle(conn, Event::Asked { request, frame: None }, &mut effects),
                Do::PassOn(most) => drop(hub.pass_on(most, &mut effects)),
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
