use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Candidate, SdpType};

fn parse(value: &Value) -> Frame {
    Frame::parse(&value.to_string()).unwrap()
}

fn written(reply: Reply) -> Value {
    let text = Written { reply: &reply, stream: Some("stream1"), by_name: true }.to_string();
    serde_json::from_str(&text).unwrap()
}

fn offer() -> Command {
    Command::Description { kind: SdpType::Offer, sdp: "v=0\r\n".into() }
}

/// The messages of Ant Media's first description, with quotes around the names: its examples are not JSON.
#[test]
fn every_client_message_of_the_document_is_read() {
    let description = |kind| json!({ "command": "takeConfiguration", "streamName": "stream1", "type": kind, "sdp": "v=0\r\n" });
    let candidate = Candidate {
        candidate: "candidate:1".into(),
        sdp_mid: Some("video".into()),
        sdp_m_line_index: Some(1),
    };
    let answer = Command::Description { kind: SdpType::Answer, sdp: "v=0\r\n".into() };
    for (message, command) in [
        (json!({ "command": "publish", "streamName": "stream1" }), Command::Publish),
        (json!({ "command": "play", "streamName": "stream1" }), Command::Play),
        (json!({ "command": "join", "streamName": "stream1" }), Command::Join),
        (description("offer"), offer()),
        (description("answer"), answer),
        (
            json!({ "command": "takeCandidate", "streamName": "stream1", "label": "1", "id": "video",
                "candidate": "candidate:1" }),
            Command::Candidate(candidate),
        ),
    ] {
        let frame = parse(&message);
        assert_eq!((frame.command, frame.stream.as_deref(), frame.by_name), (command, Some("stream1"), true));
    }
    for (message, command) in
        [(json!({ "command": "stop" }), Command::Stop), (json!({ "command": "leave" }), Command::Leave)]
    {
        let frame = parse(&message);
        assert_eq!((frame.command, frame.stream, frame.by_name), (command, None, false));
    }
}

#[test]
fn every_server_message_of_the_document_is_written() {
    let (id, name) = ("stream1", "stream1");
    assert_eq!(written(Reply::Start), json!({ "command": "start", "streamId": id, "streamName": name }));
    for (kind, word) in [(SdpType::Offer, "offer"), (SdpType::Answer, "answer")] {
        assert_eq!(
            written(Reply::Description { kind, sdp: "v=0".into() }),
            json!({ "command": "takeConfiguration", "streamId": id, "streamName": name, "type": word, "sdp": "v=0",
                "idMapping": {} })
        );
    }
    let candidate = Candidate { candidate: "c".into(), sdp_mid: Some("v".into()), sdp_m_line_index: Some(1) };
    assert_eq!(
        written(Reply::Candidate(candidate)),
        json!({ "command": "takeCandidate", "streamId": id, "streamName": name, "label": 1, "id": "v",
            "candidate": "c" })
    );
}

/// What `@antmedia/webrtc_adaptor` 2.16.2 sends.
#[test]
fn every_command_of_the_stock_client_is_read() {
    let publish = json!({ "command": "publish", "streamId": "s", "subscriberId": "", "subscriberCode": "",
        "streamName": "A title", "mainTrack": "", "video": true, "audio": true, "metaData": "", "role": "" });
    let play = json!({ "command": "play", "streamId": "s", "token": "", "room": "", "trackList": [],
        "subscriberId": "", "subscriberCode": "", "viewerInfo": "", "role": "", "userPublishId": "",
        "disableTracksByDefault": false });
    for (message, command) in [
        (publish, Command::Publish),
        (play, Command::Play),
        (json!({ "command": "join", "streamId": "s", "multiPeer": false, "mode": "both" }), Command::Join),
        (json!({ "command": "leave", "streamId": "s" }), Command::Leave),
        (json!({ "command": "stop", "streamId": "s" }), Command::Stop),
        (json!({ "command": "getStreamInfo", "streamId": "s" }), Command::StreamInfo),
        (json!({ "command": "getTrackList", "streamId": "s", "token": "" }), Command::TrackList),
        (json!({ "command": "getRoomInfo", "streamId": "s", "room": "r" }), Command::RoomInfo("r".into())),
        (
            json!({ "command": "peerMessageCommand", "streamId": "s", "definition": "d", "data": {} }),
            Command::PeerMessage,
        ),
    ] {
        let frame = parse(&message);
        assert_eq!((frame.command, frame.stream.as_deref(), frame.by_name), (command, Some("s"), false));
    }
    for (name, command) in [("ping", Command::Ping), ("getIceServerConfig", Command::IceServers)] {
        assert_eq!(parse(&json!({ "command": name })).command, command);
    }
    for name in [
        "joinRoom",
        "leaveFromRoom",
        "getVideoTrackAssignmentsCommand",
        "getBroadcastObject",
        "updateStreamMetaData",
        "getSubtracks",
        "getSubtracksCount",
        "enableTrack",
        "toggleVideo",
        "toggleAudio",
        "forceStreamQuality",
        "assignVideoTrackCommand",
        "updateVideoTrackAssignmentsCommand",
        "setMaxVideoTrackCountCommand",
        "getDebugInfo",
        "registerPushNotificationToken",
        "sendPushNotification",
        "getSubscriberCount",
        "getSubscribers",
    ] {
        assert_eq!(parse(&json!({ "command": name, "streamId": "s" })).command, Command::Other(name.into()));
    }
}

#[test]
fn the_stream_id_goes_before_the_name() {
    for (members, stream, by_name) in [
        (json!({ "streamId": "a", "streamName": "b" }), Some("a"), false),
        (json!({ "streamId": null, "streamName": "b" }), Some("b"), true),
        (json!({ "streamId": "", "streamName": "b" }), None, false),
        (json!({ "streamId": 7 }), Some("7"), false),
        (json!({ "streamId": ["a"] }), None, false),
        (json!({ "streamName": "" }), None, true),
        (json!({}), None, false),
    ] {
        let mut message = members;
        message["command"] = "stop".into();
        let frame = parse(&message);
        assert_eq!((frame.stream.as_deref(), frame.by_name), (stream, by_name), "{message}");
    }
}

#[test]
fn what_has_no_command_is_no_frame() {
    for text in [
        "",
        "{",
        "[]",
        "[\"join\"]",
        "\"join\"",
        "{}",
        "{\"command\":1}",
        "{\"command\":null}",
        "{command:\"join\"}",
    ] {
        assert_eq!(Frame::parse(text), Err(InvalidFrame), "{text}");
    }
}

#[test]
fn signals_without_content_are_invalid() {
    for members in [
        json!({ "type": "offer" }),
        json!({ "type": "pranswer", "sdp": "" }),
        json!({ "sdp": "" }),
        json!({ "type": 1, "sdp": "" }),
        json!({ "type": "answer", "sdp": 1 }),
    ] {
        let mut message = members;
        message["command"] = "takeConfiguration".into();
        assert_eq!(parse(&message).command, Command::InvalidDescription, "{message}");
    }
    for members in [json!({}), json!({ "candidate": null }), json!({ "candidate": 1, "label": 0 })] {
        let mut message = members;
        message["command"] = "takeCandidate".into();
        assert_eq!(parse(&message).command, Command::InvalidCandidate, "{message}");
    }
}

#[test]
fn the_m_line_is_a_label_or_an_id() {
    for (members, mid, index) in [
        (json!({ "label": 1, "id": "v" }), Some("v"), Some(1)),
        (json!({ "label": "1" }), None, Some(1)),
        (json!({ "label": null, "id": 0 }), Some("0"), None),
        (json!({ "label": -1 }), None, None),
        (json!({}), None, None),
    ] {
        let mut message = members;
        message["command"] = "takeCandidate".into();
        message["candidate"] = "c".into();
        let Command::Candidate(candidate) = parse(&message).command else { panic!("{message}") };
        assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index), (mid, index), "{message}");
    }
}

#[test]
fn a_relayed_frame_lacks_nothing_and_is_otherwise_as_it_was() {
    let relayed = |text: &str| Frame::parse(text).unwrap().relayed(text, "s").into_owned();
    let whole = r#" {"command":"takeConfiguration", "streamId":"s","idMapping":{},"type":"offer","sdp":"x"}"#;
    assert_eq!(relayed(whole), whole);
    assert_eq!(
        relayed(r#"{"command":"takeConfiguration","streamId":"s","type":"offer","sdp":"x"}"#),
        r#"{"idMapping":{},"command":"takeConfiguration","streamId":"s","type":"offer","sdp":"x"}"#
    );
    assert_eq!(
        relayed(r#"{"command":"takeConfiguration","streamName":"s","type":"offer","sdp":"x"}"#),
        r#"{"streamId":"s","idMapping":{},"command":"takeConfiguration","streamName":"s","type":"offer","sdp":"x"}"#
    );
    let candidate =
        r#"{"command":"takeCandidate","streamId":"s","label":1,"id":"v","candidate":"c","more":1}"#;
    assert_eq!(relayed(candidate), candidate);
    assert_eq!(
        relayed(
            r#"{"command":"takeCandidate","streamId":null,"streamName":"s","label":"1","candidate":"c"}"#
        ),
        r#"{"command":"takeCandidate","streamId":"s","streamName":"s","label":1,"candidate":"c"}"#
    );
    assert_eq!(
        named(candidate, "s"),
        format!(r#"{{"streamName":"s",{}"#, candidate.strip_prefix('{').unwrap())
    );
    let by_name = r#"{"command":"start","streamName":"s"}"#;
    assert_eq!(named(by_name, "s"), by_name);
}

#[test]
fn errors_and_notifications_have_their_definition() {
    assert_eq!(
        written(Reply::Error(Definition::NoStreamExist, None)),
        json!({ "command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": "stream1",
            "streamName": "stream1" })
    );
    for definition in Definition::ALL {
        let error = written(Reply::Error(definition, Some("why".into())));
        assert_eq!(
            (&error["definition"], &error["information"]),
            (&definition.as_str().into(), &"why".into())
        );
        assert_eq!(written(Reply::Notification(definition))["definition"], definition.as_str());
    }
}

#[test]
fn what_is_asked_for_is_written() {
    let plain = |reply: Reply| Written { reply: &reply, stream: None, by_name: false }.to_string();
    assert_eq!(plain(Reply::Pong), r#"{"command":"pong"}"#);
    assert_eq!(plain(Reply::IceServers(None)), r#"{"command":"iceServerConfig"}"#);
    let credentials = Some(("u".into(), "c".into()));
    assert_eq!(
        plain(Reply::IceServers(Some(IceServer { uri: "turn:h:3478".into(), credentials }))),
        r#"{"command":"iceServerConfig","stunServerUri":"turn:h:3478","turnServerUsername":"u","turnServerCredential":"c"}"#
    );
    assert_eq!(
        plain(Reply::RoomInformation("r".into())),
        r#"{"command":"roomInformation","room":"r","streams":[],"streamList":[]}"#
    );
    assert_eq!(plain(Reply::TrackList(vec!["s".into()])), r#"{"command":"trackList","trackList":["s"]}"#);
    assert_eq!(plain(Reply::StreamInformation), r#"{"command":"streamInformation","streamInfo":[]}"#);
    assert_eq!(plain(Reply::Stop), r#"{"command":"stop"}"#);
}

proptest! {
    #[test]
    fn a_written_signal_is_read_back(
        sdp in "\\PC*", candidate in "\\PC*", mid in proptest::option::of("\\PC*"), index in 0u32..,
        stream in "\\PC+", by_name: bool,
    ) {
        let candidate = Candidate { candidate, sdp_mid: mid, sdp_m_line_index: Some(index) };
        for (reply, command) in [
            (
                Reply::Description { kind: SdpType::Answer, sdp: sdp.clone() },
                Command::Description { kind: SdpType::Answer, sdp },
            ),
            (Reply::Candidate(candidate.clone()), Command::Candidate(candidate)),
        ] {
            let text = Written { reply: &reply, stream: Some(&stream), by_name }.to_string();
            let frame = Frame::parse(&text).unwrap();
            prop_assert_eq!((&frame.command, frame.stream.as_deref()), (&command, Some(&*stream)));
            prop_assert_eq!(frame.relayed(&text, &stream), &*text, "a frame of ours lacks nothing");
        }
    }

    #[test]
    fn a_relayed_frame_has_one_of_each_member(id: bool, name: bool, mapping: bool, label: bool, by: bool) {
        let mut message = json!({ "command": if by { "takeConfiguration" } else { "takeCandidate" },
            "type": "offer", "sdp": "x", "candidate": "c" });
        for (present, member, value) in [
            (id, "streamId", json!("s")),
            (name, "streamName", json!("s")),
            (mapping, "idMapping", json!({ "0": "x" })),
            (label, "label", json!(1)),
        ] {
            if present {
                message[member] = value;
            }
        }
        let text = message.to_string();
        let relayed = Frame::parse(&text).unwrap().relayed(&text, "s").into_owned();
        // A member that comes twice is an error.
        let frame = Frame::parse(&named(&relayed, "s")).unwrap();
        prop_assert_eq!(frame.stream.as_deref(), Some("s"));
        let value: Value = serde_json::from_str(&relayed).unwrap();
        prop_assert!(!by || value["idMapping"].is_object());
        prop_assert!(by || value["label"].is_u64());
        prop_assert_eq!(&value["streamId"], "s");
    }

    #[test]
    fn parsing_never_panics(text in "\\PC*") {
        if let Ok(frame) = Frame::parse(&text) {
            let _ = (frame.relayed(&text, "s").len(), named(&text, "s").len());
        }
    }
}
