//! WHIP (RFC 9725) and WHEP over real HTTP, towards a peer of the text protocol.

use std::{
    io::{Read, Write},
    net::Ipv4Addr,
};

use callbin_tests::{
    DEADLINE, Server, Socket,
    hook::Hook,
    http::{Response, connect_from, read_answer, send, start, write_head},
    keys::{Algorithm, Keys, now},
    wait_until,
};
use serde_json::{Value, json};

const SDP: (&str, &str) = ("Content-Type", "application/sdp");
const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

fn sdp(setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na={setup}\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
    )
}

fn description(kind: &str) -> String {
    json!({ "sdp": { "type": kind, "sdp": sdp(kind) } }).to_string()
}

fn candidate(number: u32, index: u32) -> String {
    let text = format!("candidate:{number} 1 UDP 1 192.0.2.1 {number} typ host");
    json!({ "ice": { "candidate": text, "sdpMLineIndex": index } }).to_string()
}

/// The next message of the other side.
#[track_caller]
fn signal(peer: &mut Socket) -> Value {
    serde_json::from_str(&peer.receive_text()).expect("JSON")
}

/// A call that the peer has answered, and its response.
#[track_caller]
fn call(server: &Server, path: &str, peer: &mut Socket) -> Response {
    let mut request = start(server, "POST", path, &[SDP], &sdp("offer"));
    assert_eq!(signal(peer), json!({ "sdp": { "type": "offer", "sdp": sdp("offer") } }));
    peer.send(&candidate(1, 0));
    peer.send(&description("answer"));
    peer.send(&candidate(2, 1));
    for index in [0, 1] {
        peer.send(&json!({ "ice": { "candidate": "", "sdpMLineIndex": index } }).to_string());
    }
    let response = read_answer(&mut request);
    assert_eq!(response.status, 201, "{response:?}");
    response
}

#[test]
fn a_call_from_its_offer_to_its_end() {
    let server = Server::start(&["--stun-url", "stun:stun.example.org"]);
    for path in ["/whip/cam", "/whep/cam"] {
        let mut peer = Socket::register(&server, "cam");
        let response = call(&server, path, &mut peer);
        assert_eq!(response.header("content-type"), Some("application/sdp"));
        let candidates = |number: u32| {
            format!("a=candidate:{number} 1 UDP 1 192.0.2.1 {number} typ host\r\na=end-of-candidates\r\n")
        };
        assert!(response.body.contains(&format!("{}m=video", candidates(1))), "{}", response.body);
        assert!(response.body.ends_with(&candidates(2)), "{}", response.body);
        assert_eq!(response.exact("link"), "<stun:stun.example.org>; rel=\"ice-server\"");
        let (call, tag) = (response.exact("location"), response.exact("etag"));
        let id = call.strip_prefix(&format!("{path}/call.")).expect("below the endpoint");
        assert_eq!(id.len(), 22, "128 bits: {id}");
        assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag}");

        let fragment = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:1\r\n\
            a=candidate:7 1 udp 1 192.0.2.9 7 typ host\r\na=end-of-candidates\r\n";
        for condition in [("If-Match", tag), ("If-Match", "*"), ("ETag", tag)] {
            let patched = send(&server, "PATCH", call, &[FRAGMENT, condition], fragment);
            assert_eq!((patched.status, patched.header("etag")), (204, None), "{condition:?}: {patched:?}");
            let ice = signal(&mut peer);
            assert_eq!(ice["ice"]["candidate"], "candidate:7 1 udp 1 192.0.2.9 7 typ host");
            assert_eq!((&ice["ice"]["sdpMid"], &ice["ice"]["sdpMLineIndex"]), (&json!("1"), &json!(1)));
            assert_eq!(signal(&mut peer)["ice"]["candidate"], "");
        }

        let deleted = send(&server, "DELETE", call, &[("If-Match", "\"ignored\"")], "");
        assert_eq!(deleted.status, 200, "{deleted:?}");
        peer.expect_close(1000, "");
        assert_eq!(send(&server, "DELETE", call, &[], "").status, 404, "once");
        assert_eq!(send(&server, "PATCH", call, &[FRAGMENT, ("If-Match", tag)], fragment).status, 404);
        // The id is free again.
        Socket::register(&server, "cam").close();
    }
    assert_eq!(server.metric("callbin_calls_total"), Some(2.0));
}

#[test]
fn a_location_is_a_uri() {
    let server = Server::start(&[]);
    for path in ["/whip/tür|1", "/whip/t%C3%BCr|1"] {
        let mut peer = Socket::register(&server, "tür|1");
        let response = call(&server, path, &mut peer);
        let location = response.exact("location");
        assert!(location.starts_with("/whip/t%C3%BCr%7C1/call."), "{location}");
        assert_eq!(send(&server, "DELETE", location, &[], "").status, 200);
        peer.expect_close(1000, "");
    }
}

#[test]
fn a_peer_that_ends_the_call_ends_it_once() {
    let server = Server::start(&[]);
    let mut peer = Socket::register(&server, "cam");
    let response = call(&server, "/whip/cam", &mut peer);
    peer.close();
    let path = response.exact("location");
    wait_until("the end of the call", DEADLINE, || {
        let patched = send(&server, "PATCH", path, &[FRAGMENT, ("If-Match", "*")], "a=candidate:1\r\n");
        (patched.status == 404).then_some(())
    });
    assert_eq!(send(&server, "DELETE", path, &[], "").status, 404);
    wait_until("no sessions", DEADLINE, || (server.metric("callbin_sessions ")? == 0.0).then_some(()));
    assert_eq!(server.metric("callbin_connections "), Some(0.0));
}

#[test]
fn offers_that_cannot_be_answered_have_their_codes() {
    let server = Server::start(&[]);
    let post = |path: &str, headers: &[(&str, &str)], body: &str| send(&server, "POST", path, headers, body);
    assert_eq!(post("/whip/cam", &[SDP], &sdp("offer")).status, 404, "no such peer");
    let early = post("/whep/cam", &[SDP], &sdp("offer"));
    assert_eq!((early.status, early.header("retry-after")), (409, Some("5")), "a player may come first");
    assert_eq!(post("/whip/a%20b", &[SDP], &sdp("offer")).status, 404);
    assert_eq!(post("/whip/%ff", &[SDP], &sdp("offer")).status, 404);
    assert_eq!(post(&format!("/whip/{}", "x".repeat(300)), &[SDP], &sdp("offer")).status, 404);
    let unsupported = post("/whip/cam", &[("Content-Type", "application/json")], "{}");
    assert_eq!((unsupported.status, unsupported.header("accept-post")), (415, Some("application/sdp")));
    assert_eq!(post("/whip/cam", &[], &sdp("offer")).status, 415);
    for garbage in ["", "hello", "{}", "\u{0}", "v=0\r\n"] {
        assert_eq!(post("/whip/cam", &[SDP], garbage).status, 400, "{garbage:?}");
    }

    let (_caller, mut busy) = Socket::session(&server, "busy");
    let response = post("/whip/busy-callee", &[SDP], &sdp("offer"));
    assert_eq!((response.status, response.header("retry-after")), (409, Some("5")), "{response:?}");
    busy.send("still there");

    // The peer leaves instead of answering.
    let mut peer = Socket::register(&server, "shy");
    let mut request = start(&server, "POST", "/whip/shy", &[SDP], &sdp("offer"));
    signal(&mut peer);
    peer.close();
    assert_eq!(read_answer(&mut request).status, 409);

    // The client leaves before the answer.
    let mut peer = Socket::register(&server, "shy");
    let request = start(&server, "POST", "/whip/shy", &[SDP], &sdp("offer"));
    signal(&mut peer);
    drop(request);
    peer.expect_close(1000, "");
    wait_until("no connections", DEADLINE, || (server.metric("callbin_sessions ")? == 1.0).then_some(()));
}

#[test]
fn a_peer_that_does_not_answer_is_not_awaited_for_ever() {
    let server = Server::start(&["--hello-timeout", "1"]);
    let mut peer = Socket::register(&server, "cam");
    let mut request = start(&server, "POST", "/whip/cam", &[SDP], &sdp("offer"));
    signal(&mut peer);
    let response = read_answer(&mut request);
    assert_eq!((response.status, response.header("retry-after")), (504, Some("5")), "{response:?}");
    peer.expect_close(1000, "");
}

#[test]
fn candidates_are_checked() {
    let server = Server::start(&[]);
    let mut peer = Socket::register(&server, "cam");
    let response = call(&server, "/whip/cam", &mut peer);
    let (path, tag) = (response.exact("location"), ("If-Match", response.exact("etag")));
    let fragment = "a=ice-ufrag:EsAw\r\na=candidate:7 1 udp 1 192.0.2.9 7 typ host\r\n";
    let restart = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
    let patch = |headers: &[(&str, &str)], body| send(&server, "PATCH", path, headers, body).status;
    assert_eq!(patch(&[SDP, tag], fragment), 415);
    assert_eq!(patch(&[tag], fragment), 415);
    assert_eq!(patch(&[FRAGMENT], fragment), 428);
    assert_eq!(patch(&[FRAGMENT, ("If-Match", "\"x\"")], fragment), 412);
    assert_eq!(patch(&[FRAGMENT, tag], "hello"), 400);
    assert_eq!(patch(&[FRAGMENT, tag], ""), 400);
    assert_eq!(patch(&[FRAGMENT, ("If-Match", "*")], restart), 422, "a restart");
    for method in ["GET", "HEAD", "PUT", "POST"] {
        let response = send(&server, method, path, &[], "");
        assert_eq!(
            (response.status, response.header("allow")),
            (405, Some("patch, delete, options")),
            "{method}"
        );
    }
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        let response = send(&server, method, "/whip/cam", &[], "");
        assert_eq!((response.status, response.header("allow")), (405, Some("post, options")), "{method}");
    }
    assert_eq!(send(&server, "DELETE", "/whip/cam/AAAAAAAAAAAAAAAAAAAAAA", &[], "").status, 404);
    assert_eq!(
        send(&server, "DELETE", &path.replace("whip", "whep"), &[], "").status,
        404,
        "another dialect"
    );
    // All that was refused did not end the call.
    assert_eq!(patch(&[FRAGMENT, tag], fragment), 204);
    assert_eq!(signal(&mut peer)["ice"]["candidate"], "candidate:7 1 udp 1 192.0.2.9 7 typ host");
}

#[test]
fn bodies_are_bounded_in_size_and_time() {
    let server = Server::start(&["--hello-timeout", "1"]);
    let long = format!("{}{}", sdp("offer"), "a=x\r\n".repeat(16_000));
    assert_eq!(send(&server, "POST", "/whip/cam", &[SDP], &long).status, 413);
    let mut chunked = connect_from(Ipv4Addr::LOCALHOST.into(), server.address());
    write_head(&mut chunked, "POST", "/whip/cam", &[SDP, ("Transfer-Encoding", "chunked")]);
    let chunk = format!("{:x}\r\n{}\r\n", 8000, "x".repeat(8000));
    while chunked.write_all(chunk.as_bytes()).is_ok() {}
    let mut slow = connect_from(Ipv4Addr::LOCALHOST.into(), server.address());
    write_head(&mut slow, "POST", "/whip/cam", &[SDP, ("Content-Length", "1000")]);
    slow.write_all(b"v=0\r\n").expect("it is open");
    assert_eq!(read_answer(&mut slow).status, 408);
    slow.read_to_end(&mut Vec::new()).expect("the server closes");
    // Elsewhere there are no bodies.
    assert_eq!(send(&server, "POST", "/", &[SDP], "x").status, 405);
    assert_eq!(send(&server, "POST", "/whip", &[SDP], "x").status, 405);
}

#[test]
fn pages_of_allowed_origins_may_use_it() {
    let server = Server::start(&["--allowed-origin", "https://example.org"]);
    let (ours, foreign) = (("Origin", "https://example.org"), ("Origin", "https://evil.example"));
    let preflight =
        send(&server, "OPTIONS", "/whip/cam", &[ours, ("Access-Control-Request-Method", "POST")], "");
    assert_eq!((preflight.status, preflight.header("accept-post")), (200, Some("application/sdp")));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("post, patch, delete, options"));
    let allowed = preflight.header("access-control-allow-headers").unwrap_or_default();
    for name in ["authorization", "content-type", "if-match"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://example.org"));
    let refused = send(&server, "POST", "/whip/cam", &[SDP, foreign], &sdp("offer"));
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    let answer = send(&server, "POST", "/whip/cam", &[SDP, ours], &sdp("offer"));
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (404, Some("https://example.org"))
    );
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    assert!(
        exposed.contains("location") && exposed.contains("etag") && exposed.contains("link"),
        "{exposed}"
    );
    let session = send(&server, "OPTIONS", "/whip/cam/x", &[ours], "");
    assert_eq!(session.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
}

#[test]
fn tokens_hold() {
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let server = Server::start(&["--token-key-file", &file]);
    let post = |headers: &[(&str, &str)]| {
        send(&server, "POST", "/whip/cam", &[&[SDP], headers].concat(), &sdp("offer"))
    };
    let refused = post(&[]);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("bearer")));
    assert_eq!(post(&[("Authorization", "Bearer x.y.z")]).status, 401);
    let token = |claims: Value| format!("Bearer {}", keys.token(claims));
    let may_not_call = token(json!({ "sub": "a", "allow": ["answer"] }));
    let may = token(json!({ "sub": "b" }));
    let other = token(json!({ "sub": "c" }));
    let url = format!("{}?token={}", server.ws_url(), keys.token(json!({ "sub": "p" })));
    let mut peer = Socket::connect_to(&url).hello("cam");
    assert_eq!(post(&[("Authorization", &may_not_call)]).status, 404, "it must not learn who is there");
    let mut request = start(&server, "POST", "/whip/cam", &[SDP, ("Authorization", &may)], &sdp("offer"));
    signal(&mut peer);
    peer.send(&description("answer"));
    let response = read_answer(&mut request);
    assert_eq!(response.status, 201, "{response:?}");
    let path = response.exact("location");
    assert_eq!(send(&server, "DELETE", path, &[], "").status, 401);
    assert_eq!(send(&server, "DELETE", path, &[("Authorization", &other)], "").status, 404, "not its call");
    assert_eq!(send(&server, "DELETE", path, &[("Authorization", &may)], "").status, 200);
    peer.expect_close(1000, "");
}

#[test]
fn a_call_ends_with_its_token() {
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let server = Server::start(&["--token-key-file", &file, "--token-leeway", "0"]);
    let url = format!("{}?token={}", server.ws_url(), keys.token(json!({ "sub": "p" })));
    let mut peer = Socket::connect_to(&url).hello("cam");
    let bearer = format!("Bearer {}", keys.token(json!({ "sub": "b", "exp": now() + 2 })));
    let mut request = start(&server, "POST", "/whip/cam", &[SDP, ("Authorization", &bearer)], &sdp("offer"));
    signal(&mut peer);
    peer.send(&description("answer"));
    assert_eq!(read_answer(&mut request).status, 201);
    peer.expect_close(1000, "");
}

#[test]
fn the_webhook_is_asked() {
    let hook = Hook::start(|asked, _| match asked.body["peer"].as_str() {
        Some("secret") => ("200 OK".into(), r#"{"allow":false,"reason":"not for you"}"#.into()),
        Some("broken") => ("500 Internal Server Error".into(), String::new()),
        _ => {
            let servers = r#"{"allow":true,"ice_servers":[{"urls":"stun:hook.example.org"}]}"#;
            ("200 OK".into(), servers.into())
        }
    });
    let server = Server::start(&["--webhook-url", &hook.url(), "--webhook-timeout", "2"]);
    let post = |id: &str| send(&server, "POST", &format!("/whip/{id}"), &[SDP], &sdp("offer"));
    let refused = post("secret");
    assert_eq!((refused.status, &refused.body[..]), (403, "not for you\n"));
    let unavailable = post("broken");
    assert_eq!((unavailable.status, unavailable.header("retry-after")), (503, Some("5")));
    let mut peer = Socket::register(&server, "cam");
    let response = call(&server, "/whip/cam", &mut peer);
    assert!(response.exact("link").contains("stun:hook.example.org"), "{response:?}");
    let asked = hook.asked();
    let asked = asked.iter().find(|asked| asked.body["peer"] == "cam").expect("a question");
    assert_eq!(asked.body["event"], "call");
}

#[test]
fn the_calls_of_one_client_are_bounded() {
    let server = Server::start(&["--max-sessions", "3"]);
    let mut peers: Vec<Socket> =
        (0..5).map(|number| Socket::register(&server, &format!("cam{number}"))).collect();
    let mut calls = Vec::new();
    for (number, peer) in peers.iter_mut().enumerate() {
        let path = format!("/whip/cam{number}");
        if number < 3 {
            calls.push(call(&server, &path, peer).exact("location").to_owned());
        } else {
            let response = send(&server, "POST", &path, &[SDP], &sdp("offer"));
            assert_eq!((response.status, response.header("retry-after")), (429, Some("5")), "{response:?}");
        }
    }
    assert_eq!(send(&server, "DELETE", &calls[0], &[], "").status, 200);
    call(&server, "/whip/cam4", &mut peers[4]);
}

#[test]
fn hundreds_of_calls_are_bounded_and_leave_nothing() {
    // The peers read nothing for a while, and answer no pings.
    let limits = ["--max-owner-connections", "0", "--max-request-rate", "0", "--keepalive-timeout", "600"];
    let server = Server::start(&[&limits[..], &["--max-sessions", "20"]].concat());
    let mut peers: Vec<Socket> =
        (0..30).map(|number| Socket::register(&server, &format!("cam{number}"))).collect();
    let path = |number: usize| format!("/whip/cam{}", number % 30);
    let calls: Vec<String> = peers
        .iter_mut()
        .take(20)
        .enumerate()
        .map(|(number, peer)| call(&server, &path(number), peer).exact("location").to_owned())
        .collect();
    let numbers: Vec<usize> = (20..320).collect();
    for some in numbers.chunks(100) {
        let requests =
            some.iter().map(|number| start(&server, "POST", &path(*number), &[SDP], &sdp("offer")));
        let mut requests: Vec<_> = requests.collect();
        for (number, request) in some.iter().zip(&mut requests) {
            // The limit hides whether the peer is busy, or the other way round.
            let status = read_answer(request).status;
            assert!(status == 429 || (status == 409 && number % 30 < 20), "{number}: {status}");
        }
    }
    assert_eq!(server.metric("callbin_sessions "), Some(20.0));
    for (number, call) in calls.iter().enumerate().take(10) {
        assert_eq!(send(&server, "DELETE", call, &[], "").status, 200);
        peers[number].expect_close(1000, "");
    }
    peers.into_iter().for_each(Socket::cut);
    wait_until("nothing is left", DEADLINE, || (server.metric("callbin_connections ")? == 0.0).then_some(()));
}

#[test]
fn a_draining_server_takes_no_calls_and_lets_calls_end() {
    let mut server = Server::start(&["--drain-timeout", "30"]);
    let mut peer = Socket::register(&server, "cam");
    let response = call(&server, "/whip/cam", &mut peer);
    server.process().signal("TERM");
    server.wait_for_log("draining");
    let refused = send(&server, "POST", "/whip/cam", &[SDP], &sdp("offer"));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
    assert_eq!(send(&server, "DELETE", response.exact("location"), &[], "").status, 200);
    peer.expect_close(1000, "");
    server.process().wait();
}

#[test]
fn it_can_be_switched_off_and_moved() {
    let server = Server::start(&["--dialect", "whip=off", "--dialect", "whep=/watch"]);
    assert_eq!(send(&server, "POST", "/whip/cam", &[SDP], &sdp("offer")).status, 405, "a file of the page");
    let mut peer = Socket::register(&server, "cam");
    let response = call(&server, "/watch/cam", &mut peer);
    assert!(response.exact("location").starts_with("/watch/cam/"));
}
