use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{Candidate, PeerId, SdpType, Signal};

/// The order of members does not matter.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn session(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

fn stream() -> PeerId {
    PeerId::new("studio").unwrap()
}

fn signal(signal: Signal) -> SessionSignal {
    SessionSignal { session: session("call-7"), signal }
}

fn ice(candidate: &str) -> Signal {
    Signal::Ice(Candidate {
        candidate: candidate.into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
    })
}

/// The frames of docs/media-protocol.md.
#[test]
fn frames_of_a_node_are_read_and_written_as_documented() {
    let hello = Hello {
        version: VERSION,
        name: "media-1".into(),
        software: "callbin-media 0.1.0".into(),
        limits: Limits { streams: 100, viewers: 1000 },
    };
    let tracks = vec![
        Track { kind: Kind::Audio, codec: "opus".into() },
        Track { kind: Kind::Video, codec: "VP8".into() },
    ];
    let stats = Stats { streams: 1, viewers: 2, packets_in: 214, ..Stats::default() };
    for (message, text) in [
        (
            FromNode::Hello(hello),
            r#"{"type":"hello","version":1,"name":"media-1","software":"callbin-media 0.1.0","limits":{"streams":100,"viewers":1000}}"#,
        ),
        (
            FromNode::Signal(signal(Signal::Sdp { kind: SdpType::Answer, sdp: "v=0\r\n".into() })),
            r#"{"type":"signal","session":"call-7","sdp":{"type":"answer","sdp":"v=0\r\n"}}"#,
        ),
        (
            FromNode::Signal(signal(ice("candidate:1"))),
            r#"{"type":"signal","session":"call-7","ice":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#,
        ),
        (FromNode::Connected { session: session("call-7") }, r#"{"type":"connected","session":"call-7"}"#),
        (
            FromNode::Live { session: session("call-7"), tracks },
            r#"{"type":"live","session":"call-7","tracks":[{"kind":"audio","codec":"opus"},{"kind":"video","codec":"VP8"}]}"#,
        ),
        (FromNode::Gone { session: session("call-7") }, r#"{"type":"gone","session":"call-7"}"#),
        (
            FromNode::End {
                session: session("call-7"),
                reason: Reason::Failed,
                detail: "no STUN for 10 s".into(),
            },
            r#"{"type":"end","session":"call-7","reason":"failed","detail":"no STUN for 10 s"}"#,
        ),
        (
            FromNode::Stats(stats),
            r#"{"type":"stats","streams":1,"viewers":2,"packetsIn":214,"bytesIn":0,"packetsOut":0,"bytesOut":0,"lostIn":0,"lostOut":0,"retransmitted":0,"dropped":0,"keyFrameRequests":0}"#,
        ),
        (FromNode::Drain, r#"{"type":"drain"}"#),
    ] {
        assert_eq!(json(&message.to_string()), json(text));
        assert_eq!(FromNode::parse(text), Ok(message));
    }
}

#[test]
fn frames_of_the_server_are_read_and_written_as_documented() {
    for (message, text) in [
        (ToNode::welcome(5), r#"{"type":"welcome","version":1,"statsInterval":5}"#),
        (
            ToNode::Publish {
                session: session("call-7"),
                stream: stream(),
                max_bitrate: Some(8_000_000),
                offers: true,
            },
            r#"{"type":"publish","session":"call-7","stream":"studio","maxBitrate":8000000,"offers":true}"#,
        ),
        (
            ToNode::Publish {
                session: session("call-7"),
                stream: stream(),
                max_bitrate: None,
                offers: false,
            },
            r#"{"type":"publish","session":"call-7","stream":"studio"}"#,
        ),
        (
            ToNode::Play { session: session("call-8"), stream: stream(), offers: false, like: None },
            r#"{"type":"play","session":"call-8","stream":"studio","offers":false}"#,
        ),
        (
            ToNode::Play {
                session: session("call-8"),
                stream: stream(),
                offers: true,
                like: Some(session("call-7")),
            },
            r#"{"type":"play","session":"call-8","stream":"studio","offers":true,"like":"call-7"}"#,
        ),
        (
            ToNode::Signal(signal(Signal::Sdp { kind: SdpType::Offer, sdp: "v=0\r\n".into() })),
            r#"{"type":"signal","session":"call-7","sdp":{"type":"offer","sdp":"v=0\r\n"}}"#,
        ),
        (
            ToNode::End { session: session("call-7"), reason: Reason::Left },
            r#"{"type":"end","session":"call-7","reason":"left"}"#,
        ),
    ] {
        assert_eq!(json(&message.to_string()), json(text));
        assert_eq!(ToNode::parse(text), Ok(message));
    }
}

#[test]
fn members_of_later_versions_are_ignored() {
    let text = r#"{"type":"connected","session":"s","more":1}"#;
    assert_eq!(FromNode::parse(text), Ok(FromNode::Connected { session: session("s") }));
    let text = r#"{"type":"stats","temperature":40}"#;
    assert_eq!(FromNode::parse(text), Ok(FromNode::Stats(Stats::default())));
    let text = r#"{"type":"end","session":"s","reason":"sunspots"}"#;
    let end = FromNode::End { session: session("s"), reason: Reason::Other, detail: String::new() };
    assert_eq!(FromNode::parse(text), Ok(end));
}

#[test]
fn every_end_of_candidates_is_read() {
    for ice in [r#""ice":null"#, r#""ice":{}"#, r#""ice":{"candidate":"","sdpMLineIndex":0}"#] {
        let text = format!(r#"{{"type":"signal","session":"s",{ice}}}"#);
        let Ok(FromNode::Signal(SessionSignal { signal: Signal::Ice(candidate), .. })) =
            FromNode::parse(&text)
        else {
            panic!("{text}")
        };
        assert!(candidate.is_end(), "{text}");
    }
}

#[test]
fn what_exceeds_a_bound_is_malformed() {
    let long = "x".repeat(MAX_TEXT_LEN + 1);
    let track = r#"{"kind":"audio","codec":"opus"}"#;
    let tracks = vec![track; MAX_TRACKS + 1].join(",");
    for text in [
        format!(r#"{{"type":"hello","version":1,"name":"{long}","limits":{{"streams":1,"viewers":1}}}}"#),
        r#"{"type":"hello","version":1,"name":"","limits":{"streams":1,"viewers":1}}"#.into(),
        format!(r#"{{"type":"connected","session":"{}"}}"#, "x".repeat(MAX_SESSION_LEN + 1)),
        r#"{"type":"connected","session":""}"#.into(),
        format!(r#"{{"type":"end","session":"s","reason":"failed","detail":"{long}"}}"#),
        format!(r#"{{"type":"live","session":"s","tracks":[{tracks}]}}"#),
        format!(r#"{{"type":"live","session":"s","tracks":[{{"kind":"audio","codec":"{long}"}}]}}"#),
    ] {
        assert!(FromNode::parse(&text).is_err(), "{text}");
    }
    let stream = "x".repeat(crate::MAX_ID_LEN + 1);
    for stream in ["a b", "", &stream] {
        let text = format!(r#"{{"type":"play","session":"s","stream":"{stream}"}}"#);
        assert!(ToNode::parse(&text).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_frame_is_malformed() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","version":-1,"name":"n","limits":{"streams":1,"viewers":1}}"#,
        r#"{"type":"signal","session":"s"}"#,
        r#"{"type":"signal","session":"s","sdp":{"type":"offer","sdp":"x"},"ice":{}}"#,
        r#"{"type":"signal","session":"s","sdp":{"type":"pranswer","sdp":"x"}}"#,
        r#"{"type":"signal","session":"s","ice":{"candidate":1}}"#,
        r#"{"type":"live","session":"s","tracks":[{"kind":"smell","codec":"x"}]}"#,
        r#"{"type":"stats","viewers":-1}"#,
        r#"{"type":"welcome"}"#,
    ] {
        assert!(FromNode::parse(text).is_err() && ToNode::parse(text).is_err(), "{text}");
    }
    let Err(error) = FromNode::parse(&format!(r#"{{"type":"{}"}}"#, "x".repeat(10_000))) else { panic!() };
    assert!(error.to_string().len() <= MAX_TEXT_LEN);
}

proptest! {
    #[test]
    fn a_printed_signal_is_read_back(candidate in "\\PC*", mid in proptest::option::of("\\PC*"), index in proptest::option::of(0u32..), sdp in "\\PC*") {
        let candidate = Candidate { candidate, sdp_mid: mid, sdp_m_line_index: index };
        for each in [Signal::Ice(candidate), Signal::Sdp { kind: SdpType::Offer, sdp }] {
            let message = FromNode::Signal(signal(each.clone()));
            prop_assert_eq!(FromNode::parse(&message.to_string()), Ok(message));
            let message = ToNode::Signal(signal(each));
            prop_assert_eq!(ToNode::parse(&message.to_string()), Ok(message));
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC*") {
        let _ = FromNode::parse(&text);
        let _ = ToNode::parse(&text);
    }
}
