//! Calls between two clients over a real server: video, sound and texts at the receiver, every way a call can
//! begin and end, and faulty peers.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use callbin_tests::{
    Client, DEADLINE, Server, Socket,
    client::{Event, forget_proxies},
    program,
};
use serde_json::{Value, json};

/// Whether the receiver sees this colour, with new frames.
fn shows(stats: &Event, color: [u8; 3]) -> bool {
    is_of(stats, color) && stats.number("/video/fps") > 10.0
}

/// Whether the receiver has seen this colour, at any frame rate.
fn is_of(stats: &Event, [r, g, b]: [u8; 3]) -> bool {
    let near = |a: u8, b: u8| a.abs_diff(b) < 24;
    stats.color().is_some_and(|[x, y, z]| near(x, r) && near(y, g) && near(z, b))
}

/// Whether the receiver hears this pitch, at the level it is sent with.
fn sounds(stats: &Event, hz: f64) -> bool {
    (stats.number("/audio/pitch_hz") - hz).abs() < 15.0
        && (stats.number("/audio/level_db") + 15.0).abs() < 3.0
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

fn waiting(server: &Server, args: &[&str]) -> Client {
    let mut client = Client::start(server, &[&["wait", "--id", "callee"], args].concat());
    client.wait_for("waiting");
    client
}

fn call(server: &Server, args: &[&str]) -> Client {
    Client::start(server, &[&["call", "callee"], args].concat())
}

#[track_caller]
fn expect_exit(client: &mut Client, code: i32) {
    assert_eq!(client.exit_code(), code, "{}", client.errors());
}

#[test]
fn each_sees_and_hears_the_other() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &["--video-pattern", "blue", "--audio-freq", "880"]);
    let sends = ["--video-pattern", "red", "--audio-freq", "440", "--send-text", "hello there"];
    let mut caller = call(&server, &[&sends[..], &["--size", "640x480", "--fps", "30"]].concat());
    for event in ["registered", "calling", "offer-sent", "answer-received", "ice-connected", "dtls-connected"]
    {
        caller.wait_for(event);
    }
    for event in ["offer-received", "answer-sent", "ice-connected", "dtls-connected"] {
        callee.wait_for(event);
    }
    let video = callee.wait_for("first-video");
    assert_eq!((video.number("/width"), video.number("/height")), (640.0, 480.0));
    callee.wait_for("first-audio");
    assert_eq!(callee.wait_for("data").text("/text"), "hello there");
    callee.wait_for_stats("red and 440 Hz", |stats| shows(stats, RED) && sounds(stats, 440.0));
    caller.wait_for_stats("blue and 880 Hz", |stats| shows(stats, BLUE) && sounds(stats, 880.0));
    caller.hang_up();
    assert_eq!(callee.wait_for("ended").text("/reason"), "peer-left");
}

#[test]
fn the_callee_offers_if_asked() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &["--video-pattern", "blue", "--send-text", "from the callee"]);
    let mut caller = call(&server, &["--remote-offerer", "--video-pattern", "red"]);
    callee.wait_for("offer-sent");
    caller.wait_for("offer-received");
    assert_eq!(caller.wait_for("data").text("/text"), "from the callee");
    caller.wait_for_stats("blue", |stats| shows(stats, BLUE));
    callee.wait_for_stats("red", |stats| shows(stats, RED));
    caller.hang_up();
}

#[test]
fn motion_is_seen() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &["--video-pattern", "ball"]);
    let mut caller = call(&server, &["--size", "320x240", "--fps", "15"]);
    caller.wait_for_stats("motion", |stats| stats.number("/video/motion") > 0.3);
    let size = callee.wait_for("first-video");
    assert_eq!((size.number("/width"), size.number("/height")), (320.0, 240.0));
    callee.wait_for_stats("15 frames a second", |s| (13.0..17.0).contains(&s.number("/video/fps")));
}

#[test]
fn a_second_and_a_third_call_need_no_restart() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &[]);
    for _ in 0..3 {
        expect_exit(&mut call(&server, &["--expect-video-frames", "5"]), 0);
        callee.wait_for("ended");
        callee.wait_for("waiting");
    }
}

#[test]
fn wait_once_ends_with_its_call() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &["--once"]);
    expect_exit(&mut call(&server, &["--expect-video-frames", "5"]), 0);
    expect_exit(&mut callee, 0);
}

#[test]
fn the_callee_hangs_up() {
    let server = Server::start(&[]);
    let callee = waiting(&server, &["--once"]);
    let mut caller = call(&server, &[]);
    caller.wait_for("first-video");
    callee.hang_up();
    expect_exit(&mut caller, 12);
    assert_eq!(caller.wait_for("ended").text("/reason"), "peer-left");
}

#[test]
fn a_killed_peer_ends_the_call() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &[]);
    let mut caller = call(&server, &[]);
    caller.wait_for("first-video");
    callee.process().signal("KILL");
    expect_exit(&mut caller, 12);
}

#[test]
fn a_killed_caller_leaves_the_callee_waiting() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &[]);
    let mut caller = call(&server, &[]);
    callee.wait_for("first-video");
    caller.process().signal("KILL");
    callee.wait_for("ended");
    callee.wait_for("waiting");
    expect_exit(&mut call(&server, &["--expect-video-frames", "5"]), 0);
}

#[test]
fn the_duration_is_kept() {
    let server = Server::start(&[]);
    let _callee = waiting(&server, &[]);
    let mut caller = call(&server, &["--duration", "1"]);
    let connected = caller.wait_for("dtls-connected").ms();
    expect_exit(&mut caller, 0);
    let ended = caller.wait_for("ended");
    assert_eq!(ended.text("/reason"), "duration");
    let lasted = ended.ms() - connected;
    assert!((900..10_000).contains(&lasted), "{lasted} ms");
}

#[test]
fn media_are_left_out_as_told() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &["--no-audio", "--video-pattern", "blue"]);
    let mut caller = call(&server, &["--video-pattern", "red"]);
    caller.wait_for_stats("blue, silent", |s| shows(s, BLUE) && s.number("/audio/buffers") == 0.0);
    callee.wait_for_stats("red, silent", |s| shows(s, RED) && s.number("/audio/buffers") == 0.0);
    caller.hang_up();
    callee.wait_for("ended");
    callee.wait_for("waiting");

    let mut caller = call(&server, &["--no-video", "--no-audio", "--send-text", "only words"]);
    caller.wait_for("dtls-connected");
    assert_eq!(callee.wait_for("data").text("/text"), "only words");
    caller.hang_up();
    callee.wait_for("ended");
    callee.wait_for("waiting");

    let mut caller = call(&server, &["--receive-only"]);
    caller.wait_for_stats("blue", |s| shows(s, BLUE));
    caller.hang_up();
}

#[test]
fn a_probe_says_if_the_frames_do_not_come() {
    let server = Server::start(&[]);
    let _callee = waiting(&server, &["--no-video"]);
    let mut probe = call(&server, &["--expect-video-frames", "5", "--timeout", "8"]);
    expect_exit(&mut probe, 10);
}

#[test]
fn a_probe_whose_frames_have_not_come_when_its_time_is_over_has_failed() {
    let server = Server::start(&[]);
    let _callee = waiting(&server, &[]);
    let mut probe = call(&server, &["--expect-video-frames", "1000000", "--duration", "1"]);
    expect_exit(&mut probe, 10);
    let member = ["room", "lobby", "--expect-video-frames", "1", "--duration", "1"];
    expect_exit(&mut Client::start(&server, &member), 10);
    let nobody_calls = ["wait", "--expect-video-frames", "1", "--timeout", "1"];
    expect_exit(&mut Client::start(&server, &nobody_calls), 10);
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let mut server = Server::start(&[]);
    let port = server.port();
    let mut callee = waiting(&server, &[]);
    server.process().signal("KILL");
    callee.wait_for("reconnecting");
    server.process().wait();
    let server = Server::start_on(port, &["--disable-ssl"]);
    callee.wait_for("waiting");
    expect_exit(&mut call(&server, &["--expect-video-frames", "5"]), 0);
}

#[test]
fn every_failure_has_its_code_and_one_line() {
    let server = Server::start(&[]);
    let mut busy = Socket::register(&server, "busy");
    let mut other = Socket::register(&server, "other");
    busy.send("SESSION other");
    busy.expect("SESSION_OK");
    other.send("{}");
    for (args, code) in [
        (&["call", "nobody"][..], 6),
        (&["call", "busy"], 7),
        (&["wait", "--id", "busy"], 5),
        (&["call", "other", "--id", "busy"], 5),
    ] {
        let mut client = Client::start(&server, args);
        expect_exit(&mut client, code);
        assert_eq!(client.wait_for("error").number("/code"), f64::from(code));
        assert_eq!(client.errors().lines().count(), 1, "{}", client.errors());
    }
    for args in [
        &["call", "x", "--size", "1x1"][..],
        &["call", "x", "--video-pattern", "nonsense"],
        &["call", "x", "--audio-wave", "nonsense"],
        &["wait", "--nonsense"],
        &["call"],
    ] {
        expect_exit(&mut Client::start(&server, args), 2);
    }
    let mut nowhere = Command::new(program("callbin"));
    forget_proxies(&mut nowhere);
    let output = nowhere.args(["call", "x", "--server", "ws://127.0.0.1:1"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn tls_is_trusted_only_as_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let server = Server::start_on(0, &["--self-signed", "--cert-path", path]);
    let certificate = folder.path().join("cert.pem");
    let certificate = certificate.to_str().expect("text");
    for (args, code) in [
        (&["call", "nobody"][..], 4),
        (&["call", "nobody", "--ca-file", "/nonexistent"], 4),
        (&["call", "nobody", "--insecure"], 6),
        (&["call", "nobody", "--ca-file", certificate], 6),
    ] {
        expect_exit(&mut Client::start(&server, args), code);
    }
}

#[test]
fn a_missing_plugin_is_named_with_its_package() {
    let server = Server::start(&[]);
    let empty = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program("callbin"));
    command.args(["call", "x", "--events", "json", "--headless", "--server", &server.ws_url()]);
    command
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", empty.path())
        .env("GST_REGISTRY", empty.path().join("registry"));
    let mut client = Client::spawn(&mut command);
    expect_exit(&mut client, 11);
    for word in [
        "webrtcbin",
        "gstreamer1.0-plugins-good",
        "rtpbin",
        "gstreamer1.0-plugins-bad",
        "nicesrc",
        "gstreamer1.0-nice",
    ] {
        assert!(client.errors().contains(word), "{word} in {}", client.errors());
    }
}

/// A call to a bare socket that received the client's offer.
fn called_socket(server: &Server, args: &[&str]) -> (Client, Socket, String) {
    let mut socket = Socket::register(server, "callee");
    let client = call(server, args);
    let offer: Value = serde_json::from_str(&socket.receive_text()).expect("the offer is JSON");
    let sdp = offer.pointer("/sdp/sdp").and_then(Value::as_str).expect("an offer has an SDP");
    (client, socket, sdp.to_owned())
}

fn answer(sdp: &str) -> String {
    json!({"sdp": {"type": "answer", "sdp": sdp}}).to_string()
}

/// The answer of a peer with this certificate, or none, that accepts everything.
fn answer_to(offer: &str, fingerprint: Option<&str>) -> String {
    let mut sdp = String::new();
    for line in offer.lines() {
        if line.starts_with("a=fingerprint:") {
            fingerprint.into_iter().for_each(|it| sdp += &format!("a=fingerprint:sha-256 {it}\r\n"));
        } else if line == "a=setup:actpass" {
            sdp += "a=setup:active\r\n";
        } else if !line.starts_with("a=bundle-only") && !line.starts_with("a=ssrc") {
            sdp += &format!("{}\r\n", line.replace("m=video 0 ", "m=video 9 "));
        }
    }
    answer(&sdp)
}

#[test]
fn garbage_ends_only_its_call() {
    let server = Server::start(&[]);
    let mut callee = waiting(&server, &[]);
    for sdp in [
        "garbage",
        "v=0\r\n",
        "v=0\r\na=group:BUNDLE\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        &"x".repeat(500_000),
    ] {
        let mut socket = Socket::register(&server, "stranger");
        socket.send("SESSION callee");
        socket.expect("SESSION_OK");
        socket.send("no json at all");
        socket.send(r#"{"ice":{"candidate":"garbage","sdpMLineIndex":99}}"#);
        socket.send(&json!({"sdp": {"type": "offer", "sdp": sdp}}).to_string());
        callee.wait_for("ended");
        callee.wait_for("waiting");
    }
    expect_exit(&mut call(&server, &["--expect-video-frames", "5"]), 0);
}

#[test]
fn an_answer_that_never_comes_is_given_up() {
    let server = Server::start(&[]);
    let (mut client, _socket, _) = called_socket(&server, &["--timeout", "5"]);
    expect_exit(&mut client, 8);
}

#[test]
fn a_garbage_answer_is_refused() {
    let server = Server::start(&[]);
    let (mut client, mut socket, _) = called_socket(&server, &[]);
    socket.send(&answer("garbage"));
    expect_exit(&mut client, 8);
}

#[test]
fn words_of_a_stranger_do_not_reach_the_terminal_as_they_are() {
    let server = Server::start(&[]);
    let (mut client, mut socket, _) = called_socket(&server, &[]);
    socket.send("ERROR \x1b]0;owned\x07");
    expect_exit(&mut client, 8);
    let errors = client.errors();
    assert!(errors.contains("owned") && !errors.trim_end().contains(char::is_control), "{errors:?}");
}

#[test]
fn an_answer_without_fingerprint_is_refused() {
    let server = Server::start(&[]);
    let (mut client, mut socket, offer) = called_socket(&server, &[]);
    socket.send(&answer_to(&offer, None));
    expect_exit(&mut client, 8);
    assert!(client.errors().contains("fingerprint"), "{}", client.errors());
}

#[test]
fn an_answer_of_nobody_finds_no_path() {
    let server = Server::start(&[]);
    let (mut client, mut socket, offer) = called_socket(&server, &["--timeout", "8"]);
    socket.send(&answer_to(&offer, Some(&["AB"; 32].join(":"))));
    client.wait_for("answer-received");
    let nobody = "candidate:1 1 udp 2113937151 127.0.0.1 9 typ host";
    socket.send(&serde_json::json!({ "ice": { "candidate": nobody, "sdpMLineIndex": 0 } }).to_string());
    expect_exit(&mut client, 9);
}

/// A peer whose own side failed after its answer, or that died: the network is not the cause.
#[test]
fn a_peer_that_is_silent_after_its_answer_has_failed_to_negotiate() {
    let server = Server::start(&[]);
    let (mut client, mut socket, offer) = called_socket(&server, &["--timeout", "5"]);
    // Binary frames, as some peers send them.
    socket.send_binary(answer_to(&offer, Some(&["AB"; 32].join(":"))).as_bytes());
    client.wait_for("answer-received");
    expect_exit(&mut client, 8);
    assert!(client.errors().contains("no network address"), "{}", client.errors());
}

#[test]
fn a_peer_without_a_common_codec_is_told_so() {
    let server = Server::start(&[]);
    let mut client = Client::start(&server, &["wait", "--id", "gst", "--once"]);
    client.wait_for("waiting");
    let mut socket = Socket::register(&server, "other");
    socket.send("SESSION gst");
    socket.expect("SESSION_OK");
    let transport = format!(
        "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=fingerprint:sha-256 {}\r\n",
        ["AB"; 32].join(":")
    );
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n{transport}\
         m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:0\r\na=rtpmap:97 H264/90000\r\n"
    );
    socket.send(&serde_json::json!({ "sdp": { "type": "OFFER", "sdp": sdp } }).to_string());
    let answer = socket.receive_text();
    assert!(answer.contains("m=video 0 "), "{answer}");
    expect_exit(&mut client, 8);
    assert!(
        client.errors().contains("the peer has H264 with other parameters; we have VP8"),
        "{}",
        client.errors()
    );
}

/// Two clients connected by the test, like an attacker on the path to the server.
struct Between {
    caller: Client,
    callee: Client,
    to_caller: Socket,
    to_callee: Socket,
}

impl Between {
    fn start(server: &Server, caller: &[&str], callee: &[&str]) -> Self {
        let mut to_caller = Socket::register(server, "callee");
        let mut callee = Client::start(server, &[&["wait", "--id", "real-callee"], callee].concat());
        callee.wait_for("waiting");
        let mut to_callee = Socket::register(server, "relay");
        to_callee.send("SESSION real-callee");
        to_callee.expect("SESSION_OK");
        let caller = call(server, caller);
        to_caller.set_deadline(Duration::from_millis(20));
        to_callee.set_deadline(Duration::from_millis(20));
        Self { caller, callee, to_caller, to_callee }
    }

    /// Relays their messages, changed by these functions, while the caller runs.
    fn relay(&mut self, there: impl Fn(&str) -> String, back: impl Fn(&str) -> String) {
        let until = Instant::now() + DEADLINE;
        while self.caller.process().is_running() && Instant::now() < until {
            while let Some(text) = self.to_caller.try_receive_text() {
                let _ = self.to_callee.try_send(&there(&text));
            }
            while let Some(text) = self.to_callee.try_receive_text() {
                let _ = self.to_caller.try_send(&back(&text));
            }
        }
    }
}

/// An answer in which the video is rejected like Pion does: with a bare m-line.
fn with_bare_rejection(text: &str) -> String {
    let mut message: Value = serde_json::from_str(text).unwrap_or_default();
    let is_answer = message.pointer("/sdp/type").is_some_and(|kind| kind == "answer");
    let Some(sdp) = message.pointer("/sdp/sdp").and_then(Value::as_str).filter(|_| is_answer) else {
        return text.to_owned();
    };
    let (start, rest) = sdp.split_once("m=video").expect("the offer had a picture");
    let (video, end) = rest.split_once("m=application").expect("and data behind it");
    let mid = video.lines().find_map(|line| line.strip_prefix("a=mid:")).expect("each m-line has one");
    let start = start.replace(&format!(" {mid}"), "");
    let bare = "m=video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n";
    message["sdp"]["sdp"] = Value::from(format!("{start}{bare}m=application{end}"));
    message.to_string()
}

#[test]
fn who_rejects_the_picture_with_a_bare_line_is_heard() {
    let server = Server::start(&[]);
    let callee = ["--no-video", "--audio-freq", "880"];
    let mut between = Between::start(&server, &["--duration", "4"], &callee);
    between.relay(str::to_owned, with_bare_rejection);
    between.caller.wait_for("answer-received");
    between.caller.wait_for_stats("the callee's tone", |stats| sounds(stats, 880.0));
    between.callee.wait_for_stats("the caller's tone", |stats| sounds(stats, 440.0));
    expect_exit(&mut between.caller, 0);
}

/// An offer whose data channels have been rejected.
fn without_data(text: &str) -> String {
    let mut message: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(sdp) = message.pointer("/sdp/sdp").and_then(Value::as_str) else { return text.to_owned() };
    let (_, data) = sdp.split_once("m=application").expect("the offer has data channels");
    let mid = data.lines().find_map(|line| line.strip_prefix("a=mid:")).expect("each m-line has one");
    let rejected = sdp.replace("m=application 9", "m=application 0").replace(&format!(" {mid}\r\n"), "\r\n");
    message["sdp"]["sdp"] = Value::from(rejected);
    message.to_string()
}

#[test]
fn a_text_that_cannot_be_sent_is_missed() {
    let server = Server::start(&[]);
    let text = ["--send-text", "hello"];
    let caller = [&["--duration", "1"], &text[..]].concat();
    let mut between = Between::start(&server, &caller, &text);
    between.relay(without_data, str::to_owned);
    expect_exit(&mut between.caller, 15);
    assert!(between.caller.errors().contains("no data channels"), "{}", between.caller.errors());
    assert_eq!(between.caller.errors().lines().count(), 1, "{}", between.caller.errors());
    let Between { mut caller, mut callee, to_callee, .. } = between;
    drop(to_callee);
    for client in [&mut caller, &mut callee] {
        assert!(client.wait_for("text-unsent").text("/reason").contains("no data channels"));
    }
    // If there are data channels, a probe does not end before the text is sent.
    let mut callee = waiting(&server, &[]);
    let probe = ["--expect-video-frames", "1", "--send-text", "hello"];
    expect_exit(&mut call(&server, &probe), 0);
    assert_eq!(callee.wait_for("data").text("/text"), "hello");
}

/// The callee sees other payload types than the caller has offered, and answers with them. It can only play
/// media that are sent with its own payload types.
#[test]
fn an_answer_with_other_payload_types_is_honoured() {
    let server = Server::start(&[]);
    let caller =
        ["--video-pattern", "red", "--audio-freq", "440", "--duration", "10", "--codecs", "vp8,opus"];
    let mut between = Between::start(&server, &caller, &["--receive-only"]);
    let renumbered = |text: &str| {
        let mut out = text.to_owned();
        let offered = ["m=audio 9 UDP/TLS/RTP/SAVPF 111\\r", "a=rtpmap:96 VP8/90000"];
        if text.contains("\"offer\"") {
            assert!(offered.iter().all(|line| text.contains(line)), "{text}");
        }
        for (from, to) in
            [("SAVPF 111", "SAVPF 120"), ("SAVPF 96 97", "SAVPF 100 101"), ("apt=96", "apt=100")]
        {
            out = out.replace(from, to);
        }
        for name in ["rtpmap", "fmtp", "rtcp-fb"] {
            for (from, to) in [(111, 120), (96, 100), (97, 101)] {
                out = out.replace(&format!("a={name}:{from} "), &format!("a={name}:{to} "));
            }
        }
        out
    };
    between.relay(renumbered, |text| text.to_owned());
    let seen = |stats: &Event| is_of(stats, RED) && stats.number("/audio/packets") > 0.0;
    between.callee.wait_for_stats("red, and sound", seen);
}

/// An attacker that changes the fingerprint on the path does not have the matching certificate.
#[test]
fn another_certificate_than_announced_is_refused() {
    let server = Server::start(&[]);
    let mut between = Between::start(&server, &[], &[]);
    between.relay(|text| text.to_owned(), with_another_fingerprint);
    let mut caller = between.caller;
    expect_exit(&mut caller, 8);
    assert!(caller.errors().contains("certificate"), "{}", caller.errors());
    assert!(caller.rest().iter().all(|event| !event.name().starts_with("first-")));
}

fn with_another_fingerprint(text: &str) -> String {
    let forged = ["AB"; 32].join(":");
    let mut parts = text.split("sha-256 ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += &format!("sha-256 {forged}{}", part.get(forged.len()..).unwrap_or_default());
    }
    out
}
