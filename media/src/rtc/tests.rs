//! Descriptions of real peers, and descriptions that no peer should send.

use std::{sync::LazyLock, time::Instant};

use proptest::prelude::*;
use str0m::format::Codec;

use super::{
    Formats, PayloadTypes, Refused, Stack,
    testing::{Codecs, TestClient},
};
use crate::core::packet::Kind;

const CHROMIUM: &str = include_str!("../../../tests/descriptions/chromium-offer.sdp");

fn stack() -> &'static Stack {
    static STACK: LazyLock<Stack> =
        LazyLock::new(|| Stack::new(vec!["192.0.2.1:8443".parse().unwrap()]).unwrap());
    &STACK
}

fn named(formats: Formats) -> Vec<(Kind, String)> {
    formats.names().collect()
}

/// The offer with its video codecs in another order of preference.
fn preferring(number: &str) -> String {
    CHROMIUM.replace("SAVPF 96 97", &format!("SAVPF {number} 96 97"))
}

#[test]
fn chromium_publishes_its_first_codecs() {
    let (_, answer, formats) = stack().publisher(CHROMIUM, Instant::now()).unwrap();
    assert_eq!(named(formats), [(Kind::Audio, "opus".into()), (Kind::Video, "VP8".into())]);
    assert_eq!(answer.matches("a=recvonly").count(), 2, "{answer}");
    assert!(answer.contains("a=ice-lite") && answer.contains(" 192.0.2.1 8443 typ host"), "{answer}");
    let numbers = answer.lines().find(|line| line.starts_with("m=video")).unwrap();
    assert!(numbers.ends_with(" 96 97"), "one codec and its retransmissions: {numbers}");
}

#[test]
fn a_viewer_gets_the_publishers_codec_with_its_own_numbers() {
    for number in ["96", "98", "45", "103", "39"] {
        let (_, _, formats) = stack().publisher(&preferring(number), Instant::now()).unwrap();
        let (_, answer) = stack().viewer(CHROMIUM, formats, 0, Instant::now()).unwrap();
        let line = answer.lines().find(|line| line.starts_with("m=video")).unwrap();
        let first = line.split(' ').nth(3).unwrap();
        let name = &named(formats)[1].1;
        assert!(answer.contains(&format!("a=rtpmap:{first} {name}/90000")), "{number} {name}: {answer}");
        assert_eq!(answer.matches("a=sendonly").count(), 2, "{answer}");
    }
}

/// GStreamer's examples send and receive a codec with their own payload type only.
#[test]
fn an_offer_can_have_the_payload_types_of_its_client() {
    let plain = CHROMIUM
        .replace("SAVPF 111", "SAVPF 97 111")
        .replace("a=rtpmap:111 ", "a=rtpmap:97 opus/48000/2\r\na=rtpmap:111 ")
        .replace("SAVPF 96 97", "SAVPF 96");
    let (peer, _, formats) = stack().publisher(&plain, Instant::now()).unwrap();
    let offered = |numbers: &PayloadTypes| {
        let (_, offer) = stack().offer(formats, numbers, 0, Instant::now()).unwrap();
        let lines = offer.lines().filter(|line| line.starts_with("m="));
        lines.map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered(&peer.numbers()), ["97", "96 98"]);
    assert_eq!(offered(&PayloadTypes(vec![(Kind::Audio, Codec::Opus, 96)])), ["96", "97 98"]);
    assert_eq!(offered(&PayloadTypes(vec![(Kind::Video, Codec::Vp8, 111)])), ["112", "111 96"]);
    assert_eq!(
        offered(&PayloadTypes(vec![(Kind::Video, Codec::H264, 111)])),
        ["111", "96 97"],
        "another codec"
    );
}

#[test]
fn candidates_that_cannot_be_used_are_ignored() {
    let odd = "a=candidate:1 1 udp 2113937151 0b1ed5d3-7b1c-44c2-a5a8-1d9fe1b7f8ac.local 5000 typ host generation 0\r\n\
        a=candidate:2 1 tcp 1518280447 192.0.2.9 9 typ host tcptype active generation 0\r\na=end-of-candidates\r\n";
    let offer = CHROMIUM.replace("a=mid:0\r\n", &format!("a=mid:0\r\n{odd}"));
    assert_ne!(offer, CHROMIUM);
    assert!(stack().publisher(&offer, Instant::now()).is_ok());
}

#[test]
fn offers_of_other_peers_are_answered() {
    for offer in [
        include_str!("../../../client/descriptions/offer-bundle-only-no-transport.sdp"),
        include_str!("../../../client/descriptions/offer-bundle-order.sdp"),
        include_str!("../../../client/descriptions/offer-data-first.sdp"),
        include_str!("../../../client/descriptions/offer-first-mline-rejected.sdp"),
        include_str!("../../../client/descriptions/offer-old-sctp.sdp"),
        include_str!("../../../client/descriptions/offer-rejected-mline.sdp"),
        include_str!("../../../client/descriptions/offer-sprop-stereo.sdp"),
    ] {
        let result = stack().publisher(offer, Instant::now());
        assert!(result.is_ok(), "{:?}\n{offer}", result.map(|_| ()));
    }
}

#[test]
fn an_offer_without_media_is_refused() {
    let without = CHROMIUM.split("m=audio").next().unwrap();
    let receiving = CHROMIUM.replace("a=sendrecv", "a=recvonly");
    for offer in [without, &receiving, ""] {
        assert_eq!(stack().publisher(offer, Instant::now()).map(|_| ()), Err(Refused::NoCodec));
    }
}

#[test]
fn a_codec_of_another_kind_is_no_codec_of_an_m_line() {
    let pcmu = CHROMIUM.replace("UDP/TLS/RTP/SAVPF 96 97", "UDP/TLS/RTP/SAVPF 0 96 97");
    assert_ne!(pcmu, CHROMIUM);
    let (_, _, formats) = stack().publisher(&pcmu, Instant::now()).unwrap();
    assert_eq!(named(formats), [(Kind::Audio, "opus".into()), (Kind::Video, "VP8".into())]);
}

/// The answer to an offer repeats each m-line: an offer of many would have one that is longer than a message may be.
#[test]
fn the_m_lines_of_an_offer_are_bounded() {
    let offer = |count: usize| {
        let (head, _) = CHROMIUM.split_once("m=video").unwrap();
        let mids: Vec<String> = (0..count).map(|mid| mid.to_string()).collect();
        let more = mids[1..].iter().map(|mid| format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"));
        head.replace("BUNDLE 0 1 2", &format!("BUNDLE {}", mids.join(" "))) + &more.collect::<String>()
    };
    assert!(stack().publisher(&offer(256), Instant::now()).is_ok());
    let invalid = Err(Refused::Invalid);
    assert_eq!(stack().publisher(&offer(257), Instant::now()).map(|_| ()), invalid);
    assert_eq!(stack().viewer(&offer(257), Formats::default(), 0, Instant::now()).map(|_| ()), invalid);
}

#[test]
fn later_descriptions_are_bounded_as_the_first_one() {
    let now = Instant::now();
    let long = |sdp: &str| format!("{sdp}{}", "a=x\r\n".repeat(256 * 1024 / 5));
    let (mut publisher, _, formats) = stack().publisher(CHROMIUM, now).unwrap();
    assert_eq!(publisher.renegotiate(&long(CHROMIUM)), Err(Refused::Invalid));
    let (mut viewer, offer) = stack().offer(formats, &PayloadTypes::default(), 0, now).unwrap();
    let node = "192.0.2.1:8443".parse().unwrap();
    let answer = TestClient::new(1, node, Codecs::default(), now).answer(&offer);
    assert_eq!(viewer.answered(&long(&answer)), Err(Refused::Invalid));
}

#[test]
fn another_codec_needs_another_session() {
    let (mut peer, _, _) = stack().publisher(CHROMIUM, Instant::now()).unwrap();
    assert!(peer.renegotiate(CHROMIUM).is_ok());
    let other = CHROMIUM.replace("VP8/90000", "VP7/90000");
    assert_eq!(peer.renegotiate(&other), Err(Refused::NoCodec));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// An offer that was damaged on the way costs its session at most.
    #[test]
    fn damaged_offers_cause_no_panic(cuts in proptest::collection::vec((0..CHROMIUM.len(), 0..40_usize), 1..6)) {
        let mut bytes = CHROMIUM.as_bytes().to_vec();
        for (at, count) in cuts {
            let end = (at + count).min(bytes.len());
            if at < end {
                bytes.drain(at..end);
            }
        }
        let offer = String::from_utf8_lossy(&bytes).into_owned();
        let now = Instant::now();
        prop_assert!(!matches!(stack().publisher(&offer, now), Err(Refused::Panicked)));
        let formats = stack().publisher(CHROMIUM, now).unwrap().2;
        prop_assert!(!matches!(stack().viewer(&offer, formats, 0, now), Err(Refused::Panicked)));
    }
}
