//! Ant Media's protocol over real sockets: every command, answer and error, and calls with peers of the text protocol.

use std::time::Duration;

use callbin_protocol::antmedia::{Command, Definition, Frame};
use callbin_tests::{
    Server, Socket,
    hook::Hook,
    http,
    keys::{Algorithm, Keys},
    process::workspace,
    socket::Received,
};
use serde_json::{Value, json};

const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\n";

/// A client of Ant Media's protocol.
struct Page(Socket);

impl Page {
    #[track_caller]
    fn open(server: &Server) -> Self {
        Self::open_at(server, "LiveApp/websocket?target=origin")
    }

    #[track_caller]
    fn open_at(server: &Server, path: &str) -> Self {
        Self(Socket::connect_to(&format!("{}{path}", server.ws_url())))
    }

    #[track_caller]
    fn send(&mut self, message: Value) {
        self.0.send(&message.to_string());
    }

    /// Sends a command for the stream `s`.
    #[track_caller]
    fn ask(&mut self, command: &str) {
        self.send(json!({ "command": command, "streamId": "s" }));
    }

    #[track_caller]
    fn expect(&mut self, message: Value) {
        let text = self.0.receive_text();
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), message);
    }

    #[track_caller]
    fn expect_command(&mut self, command: &str) {
        self.expect(json!({ "command": command, "streamId": "s" }));
    }

    #[track_caller]
    fn expect_notification(&mut self, definition: &str) {
        self.expect(json!({ "command": "notification", "definition": definition, "streamId": "s" }));
    }

    #[track_caller]
    fn expect_error(&mut self, definition: &str) {
        let mut error = json!({ "command": "error", "definition": definition, "streamId": "s" });
        if definition == "no_stream_exist" {
            error["error_code"] = "404".into();
        }
        self.expect(error);
    }

    /// Nothing else was sent before the answer to this.
    #[track_caller]
    fn expect_nothing(&mut self) {
        self.send(json!({ "command": "ping" }));
        self.expect(json!({ "command": "pong" }));
    }
}

fn description(kind: &str) -> Value {
    json!({ "command": "takeConfiguration", "streamId": "s", "type": kind, "sdp": SDP })
}

fn received(kind: &str) -> Value {
    json!({ "command": "takeConfiguration", "streamId": "s", "type": kind, "sdp": SDP, "idMapping": {} })
}

fn candidate() -> Value {
    json!({ "command": "takeCandidate", "streamId": "s", "label": 1, "id": "v", "candidate": "candidate:1" })
}

fn text_sdp(kind: &str) -> String {
    json!({ "sdp": { "type": kind, "sdp": SDP } }).to_string()
}

const TEXT_ICE: &str = r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#;

#[track_caller]
fn expect_sdp(text: &mut Socket, kind: &str) {
    let message: Value = serde_json::from_str(&text.receive_text()).expect("JSON");
    assert_eq!(message, json!({ "sdp": { "type": kind, "sdp": SDP } }));
}

#[track_caller]
fn expect_ice(text: &mut Socket) {
    let message: Value = serde_json::from_str(&text.receive_text()).expect("JSON");
    let ice = json!({ "candidate": "candidate:1", "sdpMid": "v", "sdpMLineIndex": 1 });
    assert_eq!(message, json!({ "ice": ice }));
}

#[test]
fn two_pages_join_and_a_third_has_no_place() {
    let server = Server::start(&[]);
    let (mut first, mut second, mut third) = (Page::open(&server), Page::open(&server), Page::open(&server));
    first.ask("join");
    first.expect_notification("joined");
    second.ask("join");
    second.expect_notification("joined");
    first.expect_command("start");
    third.ask("join");
    third.expect_error("NoSpaceForNewPeer");
    third.send(description("offer"));
    third.expect_error("no_peer_associated_before");
    first.send(description("offer"));
    second.expect(received("offer"));
    second.send(description("answer"));
    first.expect(received("answer"));
    second.send(candidate());
    first.expect(candidate());
    first.send(json!({ "command": "peerMessageCommand", "streamId": "s", "definition": "d", "data": 1 }));
    second.expect(json!({ "command": "peerMessageCommand", "streamId": "s", "definition": "d", "data": 1 }));
    first.ask("leave");
    first.expect_notification("leaved");
    second.expect_command("stop");
    third.ask("join");
    third.expect_notification("joined");
    second.expect_command("start");
    third.0.cut();
    second.expect_command("stop");
}

#[test]
fn each_path_and_a_first_frame_choose_the_protocol() {
    let server = Server::start(&["--dialect", "antmedia=/own", "--dialect", "antmedia=/live/websocket"]);
    for path in ["own", "own/?target=edge", "live/websocket", "anywhere/else", ""] {
        let mut page = Page::open_at(&server, path);
        page.ask("join");
        page.expect_notification("joined");
        page.ask("leave");
        page.expect_notification("leaved");
        page.0.close();
    }
    let off = Server::start(&["--dialect", "antmedia=off"]);
    let mut page = Page::open(&off);
    page.ask("join");
    page.0.expect_close(1002, "invalid protocol");
}

#[test]
fn only_json_is_sent_whatever_a_client_wants() {
    let server = Server::start(&["--keepalive-timeout", "0.2", "--pong-timeout", "3"]);
    for path in ["LiveApp/websocket?wants=heartbeat,caller", "?wants=heartbeat,caller"] {
        let mut page = Page::open_at(&server, path);
        page.ask("publish");
        page.expect_nothing();
        let mut text = Socket::connect_to(&format!("{}?wants=heartbeat", server.ws_url()));
        text.send("HELLO caller");
        // Its second heartbeat: the page's would have come as well.
        for expected in ["HEARTBEAT 3", "HELLO", "HEARTBEAT 3"] {
            text.expect(expected);
        }
        page.expect_nothing();
        page.ask("stop");
        page.expect_notification("publish_finished");
    }
}

/// The first clients: only `streamName`, and `stop` and `leave` without any.
#[test]
fn seed_era_clients_publish_and_play() {
    let server = Server::start(&[]);
    let open = || Page::open_at(&server, "WebRTCApp4");
    let (mut publisher, mut player) = (open(), open());
    let both = |mut message: Value| {
        message["streamId"] = "s".into();
        message["streamName"] = "s".into();
        message
    };
    let by_name = |mut message: Value| {
        message.as_object_mut().expect("an object").remove("streamId");
        message["streamName"] = "s".into();
        message
    };
    publisher.send(json!({ "command": "publish", "streamName": "s" }));
    publisher.expect_nothing();
    player.send(json!({ "command": "play", "streamName": "s" }));
    publisher.expect(both(json!({ "command": "start" })));
    publisher.send(by_name(description("offer")));
    player.expect(both(received("offer")));
    player.send(by_name(description("answer")));
    player.expect(both(json!({ "command": "notification", "definition": "play_started" })));
    publisher.expect(both(received("answer")));
    publisher.expect(both(json!({ "command": "notification", "definition": "publish_started" })));
    player.send(by_name(candidate()));
    publisher.expect(both(candidate()));
    player.send(json!({ "command": "stop" }));
    player.expect(both(json!({ "command": "notification", "definition": "play_finished" })));
    publisher.expect(both(json!({ "command": "notification", "definition": "publish_finished" })));
    publisher.expect(both(json!({ "command": "stop" })));
    publisher.send(json!({ "command": "stop" }));
    publisher.expect(both(json!({ "command": "notification", "definition": "publish_finished" })));
    player.send(json!({ "command": "play", "streamName": "s" }));
    player.expect(both(json!({ "command": "error", "error_code": "404", "definition": "no_stream_exist" })));
}

#[test]
fn a_page_calls_a_text_peer_to_join_publish_and_play() {
    let server = Server::start(&[]);
    for begin in ["join", "publish", "play"] {
        let mut text = Socket::register(&server, "s");
        let mut page = Page::open(&server);
        page.ask(begin);
        let (offers, mut answers) = match begin {
            "play" => {
                text.expect("OFFER_REQUEST");
                text.send(TEXT_ICE);
                text.send(&text_sdp("offer"));
                page.expect(received("offer"));
                page.expect(candidate());
                ("play", "answer")
            }
            _ => {
                if begin == "join" {
                    page.expect_notification("joined");
                }
                page.expect_command("start");
                (begin, "offer")
            }
        };
        page.send(candidate());
        page.send(description(answers));
        expect_sdp(&mut text, answers);
        expect_ice(&mut text);
        if answers == "offer" {
            text.send(&text_sdp("answer"));
            page.expect(received("answer"));
            answers = "answer";
        }
        assert_eq!(answers, "answer");
        match offers {
            "publish" => page.expect_notification("publish_started"),
            "play" => page.expect_notification("play_started"),
            _ => {}
        }
        let mut other = Page::open(&server);
        other.ask(begin);
        other.expect_error(match begin {
            "join" => "NoSpaceForNewPeer",
            "publish" => "streamIdInUse",
            _ => "viewerLimitReached",
        });
        page.ask(if begin == "join" { "leave" } else { "stop" });
        page.expect_notification(match begin {
            "join" => "leaved",
            "publish" => "publish_finished",
            _ => "play_finished",
        });
        text.expect_close(1000, "");
        page.expect_nothing();
    }
}

#[test]
fn a_text_peer_calls_a_page_that_has_joined_or_publishes() {
    let server = Server::start(&[]);
    for begin in ["join", "publish"] {
        let mut page = Page::open(&server);
        page.ask(begin);
        if begin == "join" {
            page.expect_notification("joined");
        }
        page.expect_nothing();
        for _ in 0..2 {
            let mut text = Socket::register(&server, "caller");
            text.send("SESSION s");
            text.expect("SESSION_OK");
            text.send(TEXT_ICE);
            text.send(&text_sdp("offer"));
            page.expect(received("offer"));
            page.expect(candidate());
            page.send(description("answer"));
            page.send(candidate());
            expect_sdp(&mut text, "answer");
            expect_ice(&mut text);
            if begin == "publish" {
                page.expect_notification("publish_started");
            }
            let mut other = Socket::register(&server, "other");
            other.send("SESSION s");
            other.expect("ERROR peer 's' busy");
            other.close();
            text.close();
            if begin == "publish" {
                page.expect_notification("publish_finished");
            }
            page.expect_command("stop");
        }
        let mut text = Socket::register(&server, "caller");
        text.send("SESSION s");
        text.expect("SESSION_OK");
        text.send("OFFER_REQUEST");
        page.expect_command("start");
        page.0.cut();
        text.expect_close(1000, "");
    }
}

#[test]
fn a_player_may_come_before_its_stream() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server);
    page.ask("play");
    page.expect_error("no_stream_exist");
    // It keeps no peer from the id.
    let mut text = Socket::register(&server, "s");
    text.send("SESSION nobody");
    text.expect("ERROR peer 'nobody' not found");
    text.close();
    page.ask("play");
    page.expect_error("no_stream_exist");
    let mut text = Socket::register(&server, "caller");
    text.send("SESSION s");
    text.expect("SESSION_OK");
    text.send(&text_sdp("offer"));
    text.send(TEXT_ICE);
    page.expect(received("offer"));
    page.expect(candidate());
    page.send(description("answer"));
    page.expect_notification("play_started");
    expect_sdp(&mut text, "answer");
    text.close();
    page.expect_notification("play_finished");
    page.ask("play");
    page.expect_error("no_stream_exist");
    let mut publisher = Page::open(&server);
    publisher.ask("publish");
    publisher.expect_command("start");
    publisher.send(description("offer"));
    page.expect(received("offer"));
}

#[test]
fn a_publisher_has_one_player_at_a_time() {
    let server = Server::start(&[]);
    let (mut publisher, mut player, mut second) =
        (Page::open(&server), Page::open(&server), Page::open(&server));
    player.ask("play");
    player.expect_error("no_stream_exist");
    player.ask("stop");
    player.expect_nothing();
    publisher.ask("publish");
    publisher.expect_nothing();
    second.ask("publish");
    second.expect_error("streamIdInUse");
    // As the stock client does until it is connected.
    for _ in 0..20 {
        publisher.ask("stop");
        publisher.expect_notification("publish_finished");
        publisher.ask("stop");
        publisher.ask("publish");
        publisher.expect_nothing();
        player.ask("play");
        publisher.expect_command("start");
        player.ask("stop");
        player.expect_notification("play_finished");
        publisher.expect_notification("publish_finished");
        publisher.expect_command("stop");
    }
    player.ask("play");
    publisher.expect_command("start");
    player.ask("play");
    player.expect_error("already_playing");
    publisher.ask("publish");
    publisher.expect_error("already_publishing");
    second.ask("play");
    second.expect_error("viewerLimitReached");
    publisher.0.close();
    player.expect_notification("play_finished");
}

#[test]
fn questions_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").expect("the folder is ours");
    let secret = secret.to_str().expect("text");
    let server = Server::start(&["--turn-url", "turn:h:3478", "--turn-secret-file", secret]);
    let (mut page, mut publisher) = (Page::open(&server), Page::open(&server));
    for question in ["getStreamInfo", "getTrackList"] {
        page.ask(question);
        page.expect_error("no_stream_exist");
    }
    publisher.ask("publish");
    publisher.expect_nothing();
    page.ask("getStreamInfo");
    page.expect(json!({ "command": "streamInformation", "streamId": "s", "streamInfo": [] }));
    page.ask("getTrackList");
    page.expect(json!({ "command": "trackList", "streamId": "s", "trackList": ["s"] }));
    page.send(json!({ "command": "getRoomInfo", "streamId": "s", "room": "r" }));
    page.expect(
        json!({ "command": "roomInformation", "streamId": "s", "room": "r", "streams": [], "streamList": [] }),
    );
    page.send(json!({ "command": "getIceServerConfig" }));
    let config: Value = serde_json::from_str(&page.0.receive_text()).expect("JSON");
    assert_eq!(
        (&config["command"], &config["stunServerUri"]),
        (&json!("iceServerConfig"), &json!("turn:h:3478"))
    );
    assert!(
        config["turnServerUsername"].is_string() && config["turnServerCredential"].is_string(),
        "{config}"
    );
    let without = Server::start(&[]);
    let mut page = Page::open(&without);
    page.send(json!({ "command": "getIceServerConfig" }));
    page.expect(json!({ "command": "iceServerConfig" }));
}

#[test]
fn what_is_wrong_gets_an_error_and_the_connection_stays() {
    let server = Server::start(&[]);
    let mut page = Page::open(&server);
    let error = |definition: &str| json!({ "command": "error", "definition": definition });
    for text in ["", "HELLO s", "{", "[]", "{command:\"join\"}", "{\"command\":7}"] {
        page.0.send(text);
        page.expect(error("invalid_message"));
    }
    page.0.send_binary(b"{}");
    page.expect(error("invalid_message"));
    for command in ["join", "publish", "play", "takeConfiguration", "takeCandidate", "getStreamInfo"] {
        page.send(json!({ "command": command, "type": "offer", "sdp": "", "candidate": "" }));
        page.expect(error("noStreamNameSpecified"));
    }
    page.send(json!({ "command": "joinRoom", "streamId": "s", "room": "r" }));
    page.expect(json!({ "command": "error", "definition": "unsupported_command", "information": "joinRoom",
        "streamId": "s" }));
    page.ask("takeConfiguration");
    page.expect_error("notSetRemoteDescription");
    page.ask("takeCandidate");
    page.expect(json!({ "command": "error", "definition": "missingParameter", "information": "candidate",
        "streamId": "s" }));
    page.send(candidate());
    page.expect_error("no_peer_associated_before");
    page.send(json!({ "command": "join", "streamId": "a b" }));
    page.expect(json!({ "command": "error", "definition": "invalidStreamName", "streamId": "a b" }));
    let long = "x".repeat(5000);
    page.send(json!({ "command": "join", "streamId": long }));
    let refused: Value = serde_json::from_str(&page.0.receive_text()).expect("JSON");
    assert_eq!(refused["definition"], "invalidStreamName");
    assert_eq!(refused["streamId"].as_str().map(str::len), Some(1024));
    page.send(json!({ "command": "publish", "streamId": "x".repeat(300) }));
    let refused: Value = serde_json::from_str(&page.0.receive_text()).expect("JSON");
    assert_eq!(refused["definition"], "invalidStreamName", "longer than the server's limit");
    page.expect_nothing();
    assert!(server.metric("callbin_refusals_total{reason=\"other\"}").is_some_and(|count| count > 10.0));
}

#[test]
fn tokens_limits_and_the_webhook_hold() {
    let keys = Keys::new(Algorithm::Hs256);
    let hook = Hook::start(|asked, _| {
        let is_call = asked.body["event"] == "call";
        ("200 OK".into(), json!({ "allow": !is_call, "reason": "not before noon" }).to_string())
    });
    let (file, url) = (keys.public(), hook.url());
    let server = Server::start(&["--token-key-file", &file, "--webhook-url", &url]);
    let response = http::upgrade(&server, "/LiveApp/websocket?target=origin", &[]);
    assert_eq!(response.status, 401);
    let open = |claims: Value| {
        Page::open_at(&server, &format!("LiveApp/websocket?target=edge&token={}", keys.token(claims)))
    };
    let mut page = open(json!({ "uid": "other" }));
    page.ask("publish");
    page.expect_error("unauthorized_access");
    let mut publisher = open(json!({ "uid": "s" }));
    publisher.ask("publish");
    publisher.expect_nothing();
    let mut player = open(json!({ "allow": ["answer"] }));
    player.ask("play");
    player.expect_error("no_stream_exist");
    page.ask("play");
    page.expect(
        json!({ "command": "error", "definition": "unauthorized_access", "information": "not before noon",
        "streamId": "s" }),
    );
    publisher.expect_nothing();

    let limited = Server::start(&["--max-registration-rate", "1"]);
    let mut page = Page::open(&limited);
    for _ in 0..20 {
        page.ask("publish");
        page.ask("stop");
    }
    page.0.set_deadline(Duration::from_secs(10));
    let end = loop {
        match page.0.receive() {
            Received::Text(_) => {}
            end => break end,
        }
    };
    assert!(
        matches!(&end, Received::Closed(Some((_, reason))) if reason.contains("registration")),
        "{end:?}"
    );
}

#[test]
fn garbage_disturbs_nobody() {
    let server = Server::start(&[]);
    let (mut page, mut publisher) = (Page::open(&server), Page::open(&server));
    publisher.ask("publish");
    publisher.expect_nothing();
    let mut state = 7_u32;
    for _ in 0..500 {
        let noise: String = (0..40)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b"{}[]\":,\\ streamIdcommandjoplay01"[(state >> 16) as usize % 32])
            })
            .collect();
        page.0.send(&noise);
        let answer: Value = serde_json::from_str(&page.0.receive_text()).expect("JSON");
        assert_eq!(answer["command"], "error", "{noise}");
    }
    page.ask("play");
    publisher.expect_command("start");
}

/// The page about the protocol names all that the server sends, and its examples are what clients send.
#[test]
fn the_page_about_it_is_right() {
    let page = std::fs::read_to_string(workspace().join("docs/protocols/antmedia.md")).expect("text");
    for definition in Definition::ALL {
        assert!(page.contains(&format!("`{}`", definition.as_str())), "{definition:?} is missing");
    }
    let code =
        page.split('`').filter(|text| text.starts_with("{\"command\":")).map(|text| text.replace('…', "0"));
    let frames: Vec<_> = code.map(|text| (Frame::parse(&text), text)).collect();
    assert!(frames.len() > 20);
    for (frame, text) in frames {
        let is_valid = !matches!(
            frame.as_ref().map(|frame| &frame.command),
            Err(_) | Ok(Command::InvalidDescription | Command::InvalidCandidate)
        );
        assert!(is_valid || text.starts_with("{\"command\":\"peerMessageCommand\""), "{text}");
    }
}
