//! The control protocol of media nodes over real sockets, with scripted nodes; WHIP and WHEP clients of their streams; the
//! node that the server starts.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use callbin_tests::{
    DEADLINE, Server, Socket,
    http::{Response, read_answer, request, send, start, upgrade},
    keys::{Algorithm, Keys, now},
    process::{program, signal},
    wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SDP: (&str, &str) = ("Content-Type", "application/sdp");
const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");
const SECRET: &str = "a secret of the nodes";

fn sdp(ufrag: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
        a=ice-ufrag:{ufrag}\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n\
        a=end-of-candidates\r\n"
    )
}

/// A file with this text.
fn file(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("the folder is ours");
    path.to_str().expect("text").into()
}

fn hello() -> String {
    let limits = json!({ "streams": 9, "viewers": 99 });
    json!({ "type": "hello", "version": 1, "name": "scripted", "software": "script 1.0", "limits": limits })
        .to_string()
}

/// Attaches a node with this token.
#[track_caller]
fn attach(server: &Server, token: &str) -> Socket {
    let url = format!("{}node", server.ws_url());
    let mut node = Socket::connect_with(&url, &[("Authorization", &format!("Bearer {token}"))]);
    node.send(&hello());
    node.expect_json(&json!({ "type": "welcome", "version": 1, "statsInterval": 5 }));
    node
}

/// The next frame, of this type.
#[track_caller]
fn next(node: &mut Socket, kind: &str) -> Value {
    let frame = node.receive_json();
    assert_eq!(frame["type"], kind, "{frame}");
    frame
}

fn answer(node: &mut Socket, session: &Value, ufrag: &str) {
    let description = json!({ "type": "answer", "sdp": sdp(ufrag) });
    node.send(&json!({ "type": "signal", "session": session, "sdp": description }).to_string());
}

/// A session of a client that the node answers, and the client's response.
#[track_caller]
fn call(server: &Server, node: &mut Socket, path: &str, headers: &[(&str, &str)]) -> (Value, Response) {
    let mut client = start(server, "POST", path, &[&[SDP], headers].concat(), &sdp("mine"));
    let session = node.receive_json()["session"].clone();
    assert_eq!(next(node, "signal")["sdp"], json!({ "type": "offer", "sdp": sdp("mine") }));
    answer(node, &session, "node");
    (session, read_answer(&mut client))
}

/// A server that nodes attach to by a secret, with its admin API.
fn server_with_secret(dir: &TempDir, flags: &[&str]) -> Server {
    let (nodes, admin) = (file(dir, "nodes", SECRET), file(dir, "admin", "admin secret"));
    let own = ["--media-token-file", &nodes, "--admin-addr", "127.0.0.1:0", "--admin-secret-file", &admin];
    Server::start(&[&own, flags].concat())
}

#[track_caller]
fn admin(server: &Server, method: &str, path: &str) -> Value {
    let headers = [("Authorization", "Bearer admin secret")];
    request(server.admin_address(), method, &format!("/admin/{path}"), &headers).json()
}

#[test]
fn a_stream_from_its_offer_to_the_nodes_end() {
    let dir = TempDir::new().expect("a folder");
    let server = server_with_secret(&dir, &["--stun-url", "stun:stun.example.org"]);
    let none = send(&server, "POST", "/whip/studio", &[SDP], &sdp("mine"));
    assert_eq!(none.status, 404, "there is no node yet");
    let mut node = attach(&server, SECRET);
    server.wait_for_log("script 1.0");
    let early = send(&server, "POST", "/whep/studio", &[SDP], &sdp("mine"));
    assert_eq!((early.status, early.header("retry-after")), (409, Some("5")));

    let (session, created) = call(&server, &mut node, "/whip/studio", &[]);
    assert_eq!((created.status, &created.body), (201, &sdp("node")), "{created:?}");
    assert_eq!(created.exact("link"), "<stun:stun.example.org>; rel=\"ice-server\"");
    let tracks = json!([{ "kind": "video", "codec": "VP8" }]);
    node.send(&json!({ "type": "live", "session": session, "tracks": tracks }).to_string());
    server.wait_for_log("stream is live");
    let taken = send(&server, "POST", "/whip/studio", &[SDP], &sdp("mine"));
    assert_eq!((taken.status, taken.header("retry-after")), (409, Some("5")), "it has a publisher");

    let (viewing, played) = call(&server, &mut node, "/whep/studio", &[]);
    assert_eq!(played.status, 201, "{played:?}");
    let stats = json!({ "type": "stats", "streams": 1, "viewers": 1, "packetsOut": 7 });
    node.send(&stats.to_string());
    let streams = admin(&server, "GET", "streams");
    assert_eq!((&streams[0]["stream"], &streams[0]["node"]), (&json!("studio"), &json!("scripted")));
    assert_eq!((&streams[0]["viewers"], &streams[0]["tracks"]), (&json!(1), &tracks));
    wait_until("the statistics", DEADLINE, || {
        (admin(&server, "GET", "nodes")[0]["stats"]["packetsOut"] == 7).then_some(())
    });

    let (location, tag) = (played.exact("location"), played.exact("etag"));
    let candidate = "a=ice-ufrag:mine\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=video 9 x 0\r\na=mid:0\r\n\
        a=candidate:2 1 udp 1 192.0.2.2 2 typ host\r\n";
    let trickled = send(&server, "PATCH", location, &[FRAGMENT, ("If-Match", tag)], candidate);
    assert_eq!(trickled.status, 204, "{trickled:?}");
    assert_eq!(next(&mut node, "signal")["ice"]["sdpMid"], "0");

    let fragment = "a=ice-ufrag:again\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
    let mut restart = start(&server, "PATCH", location, &[FRAGMENT, ("If-Match", "*")], fragment);
    let offer = next(&mut node, "signal");
    assert_eq!(offer["session"], viewing);
    let offered = offer["sdp"]["sdp"].as_str().expect("an offer");
    assert!(offered.contains("a=ice-ufrag:again\r\n") && !offered.contains("mine"), "{offered}");
    answer(&mut node, &viewing, "renewed");
    let restarted = read_answer(&mut restart);
    assert_eq!((restarted.status, restarted.exact("content-type")), (200, FRAGMENT.1), "{restarted:?}");
    assert!(restarted.body.contains("a=ice-ufrag:renewed\r\n") && restarted.body.contains("a=candidate:1"));
    assert!(!restarted.body.contains("v=0"), "{}", restarted.body);
    let new = restarted.exact("etag");
    assert_ne!(new, tag);
    let stale = send(&server, "PATCH", location, &[FRAGMENT, ("If-Match", tag)], candidate);
    assert_eq!(stale.status, 412);

    assert_eq!(send(&server, "DELETE", location, &[], "").status, 200);
    assert_eq!(next(&mut node, "end"), json!({ "type": "end", "session": viewing, "reason": "left" }));
    assert_eq!(server.metric("callbin_streams "), None, "they are on the admin address");
    let metrics = request(server.admin_address(), "GET", "/metrics", &[]).body;
    for line in ["callbin_streams 1", "callbin_viewers 0", "callbin_media_nodes 1"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    node.cut();
    server.wait_for_log("media node gone");
    let location = created.exact("location");
    wait_until("the end of the publisher's call", DEADLINE, || {
        (send(&server, "DELETE", location, &[], "").status == 404).then_some(())
    });
    let mut node = attach(&server, SECRET);
    let (_, again) = call(&server, &mut node, "/whip/studio", &[]);
    assert_eq!(again.status, 201, "the next node serves it: {again:?}");
    assert_eq!(admin(&server, "DELETE", "streams/studio"), json!({ "closed": 1 }));
    assert_eq!(next(&mut node, "end")["reason"], "closed");
}

#[test]
fn the_node_says_why_an_offer_is_refused() {
    let dir = TempDir::new().expect("a folder");
    let server = server_with_secret(&dir, &["--max-streams", "1"]);
    let mut node = attach(&server, SECRET);
    for (reason, status) in
        [("unacceptable", 422), ("full", 503), ("limit", 429), ("failed", 503), ("sunspots", 503)]
    {
        let mut client = start(&server, "POST", "/whip/studio", &[SDP], &sdp("mine"));
        let session = next(&mut node, "publish")["session"].clone();
        next(&mut node, "signal");
        let detail = format!("because of {reason}");
        let end = json!({ "type": "end", "session": session, "reason": reason, "detail": detail });
        node.send(&end.to_string());
        let refused = read_answer(&mut client);
        assert_eq!(refused.status, status, "{reason}: {refused:?}");
        assert_eq!(refused.header("retry-after").is_some(), status != 422, "{reason}");
        server.wait_for_log(&detail);
    }
    call(&server, &mut node, "/whip/studio", &[]);
    let second = send(&server, "POST", "/whip/other", &[SDP], &sdp("mine"));
    assert_eq!(second.status, 429, "{second:?}");
}

#[test]
fn only_nodes_attach() {
    let dir = TempDir::new().expect("a folder");
    let keys = Keys::new(Algorithm::Hs256);
    let (key, secret) = (keys.public(), file(&dir, "nodes", SECRET));
    let server = Server::start(&["--token-key-file", &key, "--media-token-file", &secret]);
    let token = |claims: Value| keys.token(claims);
    let soon = now() + 600;
    let (for_node, for_peer) = (token(json!({ "exp": soon, "node": true })), token(json!({ "exp": soon })));
    attach(&server, SECRET);
    attach(&server, &for_node);
    let status =
        |token: &str| upgrade(&server, "/node", &[("Authorization", &format!("Bearer {token}"))]).status;
    assert_eq!((status(&for_peer), status("a guess")), (403, 401));
    assert_eq!(upgrade(&server, "/node", &[]).status, 401);
    // The secret is for nothing else.
    assert_eq!(upgrade(&server, "/", &[("Authorization", &format!("Bearer {SECRET}"))]).status, 401);

    let open = Server::start(&[]);
    assert_eq!(upgrade(&open, "/node", &[("Authorization", "Bearer x")]).status, 403, "nobody may");
    assert_eq!(upgrade(&open, "/node", &[]).status, 401);

    let mut node = attach(&server, SECRET);
    let publish = |claims: Value| {
        let bearer = format!("Bearer {}", token(claims));
        send(&server, "POST", "/whip/studio", &[SDP, ("Authorization", &bearer)], &sdp("mine"))
    };
    assert_eq!(publish(json!({ "exp": soon, "streams": ["other*"] })).status, 403);
    assert_eq!(publish(json!({ "exp": soon, "allow": ["play"] })).status, 403);
    node.send(r#"{"type":"hello"}"#);
    node.expect_close(1002, "invalid protocol");
}

#[test]
fn guesses_of_the_nodes_secret_are_limited() {
    let dir = TempDir::new().expect("a folder");
    let keys = Keys::new(Algorithm::Hs256);
    let (key, secret) = (keys.public(), file(&dir, "nodes", SECRET));
    let limits = ["--media-token-file", &secret, "--max-bad-token-rate", "1"];
    for (token_keys, refusal) in [(&[][..], 403), (&["--token-key-file", &key], 401)] {
        let server = Server::start(&[&limits, token_keys].concat());
        let attaches =
            |token: &str| upgrade(&server, "/node", &[("Authorization", &format!("Bearer {token}"))]).status;
        for _ in 0..10 {
            assert_eq!(upgrade(&server, "/node", &[]).status, 401, "no guess");
        }
        let guesses: Vec<u16> = (0..10).map(|number| attaches(&format!("guess {number}"))).collect();
        assert_eq!((guesses[0], guesses[9]), (refusal, 429), "{guesses:?}");
        assert_eq!(attaches(SECRET), 429, "a guess that is right does not show it");
    }
}

#[test]
fn calls_to_streams_are_charged() {
    let dir = TempDir::new().expect("a folder");
    let server = server_with_secret(&dir, &["--max-notice-rate", "1"]);
    let mut node = attach(&server, SECRET);
    let (_, created) = call(&server, &mut node, "/whip/studio", &[]);
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(send(&server, "POST", "/whip/other", &[SDP], &sdp("mine")).status, 429);
    let restart = "a=ice-ufrag:again\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
    let patch =
        || send(&server, "PATCH", created.exact("location"), &[FRAGMENT, ("If-Match", "*")], restart).status;
    assert_eq!((patch(), patch()), (429, 404), "the call is over");
}

/// A program that stands for the node: it writes its process id and its arguments, then its token, and ends with its input.
fn stub(dir: &TempDir) -> (String, PathBuf) {
    let out = dir.path().join("started");
    let script = format!(
        "#!/bin/sh\nread token\necho \"$$ $token $CALLBIN_PORT/$CALLBIN_MEDIA_TEST/$CALLBIN_MEDIA_TOKEN_FILE $*\" >> {}\n\
        echo 'a line of the node' >&2\nread nothing\n",
        out.display()
    );
    let path = file(dir, "program", &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("the file is ours");
    (path, out)
}

/// The words of each start.
fn starts(out: &PathBuf) -> Vec<Vec<String>> {
    let text = fs::read_to_string(out).unwrap_or_default();
    text.lines().map(|line| line.split(' ').map(String::from).collect()).collect()
}

fn is_running(pid: &str) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn wait_for_end(pid: &str) {
    wait_until("the node's end", DEADLINE, || (!is_running(pid)).then_some(()));
}

#[test]
fn the_servers_own_node_is_restarted_and_ends_with_it() {
    let dir = TempDir::new().expect("a folder");
    let (program_path, out) = stub(&dir);
    let mut command = Command::new(program("callbin-server"));
    command.args(["--addr", "127.0.0.1", "--port", "0", "--disable-ssl", "--media"]);
    command.args(["--media-program", &program_path, "--media-arg=--public-address=192.0.2.1"]);
    command.env("CALLBIN_MEDIA_TEST", "passed").env("CALLBIN_MEDIA_TOKEN_FILE", &program_path);
    command.stdin(Stdio::null());
    let mut server = Server::spawn(&mut command);
    let started = |count: usize| wait_until("a start", DEADLINE, || starts(&out).get(count - 1).cloned());
    let first = started(1);
    let [pid, token, environment, rest @ ..] = &first[..] else { panic!("{first:?}") };
    assert_eq!(environment, "/passed/", "its own variables, and none of the server's");
    let rest = rest.join(" ");
    let url = rest.strip_prefix("--server ").and_then(|rest| rest.split(' ').next()).expect("a URL");
    assert!(rest.contains(" --supervised --log info --log-format text --public-address=192.0.2.1"), "{rest}");
    server.wait_for_log("a line of the node");
    assert!(!server.log().contains(&token[..]), "the token is private");
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(!arguments.contains(&token[..]));

    let mut node = Socket::connect_with(url, &[("Authorization", &format!("Bearer {token}"))]);
    node.send(&hello());
    next(&mut node, "welcome");
    let port =
        url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let page = request((std::net::Ipv4Addr::LOCALHOST, port).into(), "GET", "/", &[]);
    assert_eq!(page.status, 404, "the node's address serves nothing else");

    signal(pid.parse().expect("a pid"), "KILL");
    let second = started(2);
    assert_ne!(second[0], *pid);
    assert_eq!(second[1], *token, "one token for all starts");
    wait_for_end(pid);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "no zombie is left");
    server.wait_for_log("media node ended: starting it again");

    server.process().signal("TERM");
    assert!(server.process().wait().success());
    assert!(!is_running(&second[0]), "the server waits for its end");
    assert_eq!(starts(&out).len(), 2);
}

#[test]
fn the_node_of_a_killed_server_ends() {
    let dir = TempDir::new().expect("a folder");
    let (program_path, out) = stub(&dir);
    let mut server = Server::start(&["--media", "--media-program", &program_path]);
    let first = wait_until("a start", DEADLINE, || starts(&out).first().cloned());
    server.process().kill();
    wait_for_end(&first[0]);
}

#[test]
fn a_missing_program_is_an_error() {
    let mut command = Command::new(program("callbin-server"));
    let output =
        command.args(["--check-config", "--disable-ssl", "--media", "--media-program", "/nowhere"]).output();
    let output = output.expect("the server starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no program /nowhere"), "{output:?}");
}
