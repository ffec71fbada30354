//! What holds for clients of every protocol: drain, reload, limits, webhook, metrics, log, admin API, paths, takeover.

use std::{fs, process::Command};

use callbin_tests::{
    DEADLINE, Server, Socket,
    hook::Hook,
    http,
    keys::{Algorithm, Keys, now},
    process::{program, signal},
    socket::Received,
    speaker::{Antmedia, Heard, Idle, Member, Rest, Speaker, Text, Tongue, Webrtcsink},
    wait_until,
};
use serde_json::json;

const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

fn peers(server: &Server, count: usize) {
    wait_until("the registrations", DEADLINE, || {
        (server.metric("callbin_peers ")? == count as f64).then_some(())
    });
}

/// Waits for the close frame, behind whatever was sent before.
#[track_caller]
fn closes(socket: &mut Socket) -> Option<(u16, String)> {
    loop {
        match socket.receive() {
            Received::Text(_) => {}
            Received::Closed(end) => return end,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reload_keeps_each_client_and_a_drain_closes_each() {
    let mut server = Server::start(&["--drain-timeout", "2", "--shutdown-timeout", "2"]);
    let mut idle: Vec<(Idle, Socket)> =
        (0..).zip(Idle::ALL).map(|(number, idle)| (idle, idle.start(&server, number, ""))).collect();
    peers(&server, Idle::ALL.len());
    server.process().signal("HUP");
    server.wait_for_log("new settings loaded");
    let again: Vec<Socket> =
        (10..).zip(Idle::ALL).map(|(number, idle)| idle.start(&server, number, "")).collect();
    peers(&server, 2 * Idle::ALL.len());
    server.process().signal("TERM");
    for (idle, socket) in &mut idle {
        assert_eq!(closes(socket), Some((1001, "server is shutting down".into())), "{}", idle.dialect);
    }
    drop(again);
    server.process().wait();
}

#[test]
fn a_client_of_each_protocol_is_refused_while_the_server_drains() {
    let mut server = Server::start(&["--drain-timeout", "60"]);
    let (mut caller, callee) = Socket::session(&server, "last");
    server.process().signal("TERM");
    server.wait_for_log("draining");
    for path in ["/", "/ws/rooms/r/", "/LiveApp/websocket", "/signals", "/webrtcsink"] {
        let refused = http::upgrade(&server, path, &[]);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{path}");
    }
    callee.close();
    caller.expect_close(1000, "");
    server.process().wait();
}

#[test]
fn too_many_registrations_close_a_client_of_each_protocol() {
    for idle in Idle::ALL {
        let server = Server::start(&["--max-registration-rate", "1"]);
        // The burst is five.
        let mut sockets: Vec<Socket> = (0..30).map(|number| idle.start(&server, number, "")).collect();
        let last = closes(sockets.last_mut().expect("thirty"));
        let expected = (1013, "too many registrations, try again later".to_owned());
        assert_eq!(last, Some(expected), "{}", idle.dialect);
    }
}

#[test]
fn a_subject_that_comes_again_takes_its_id_over() {
    let keys = Keys::new(Algorithm::Hs256);
    let server = Server::start(&["--token-key-file", &keys.public()]);
    let token = keys.token(json!({ "sub": "p1" }));
    let other = keys.token(json!({ "sub": "other" }));
    let start = |idle: Idle| idle.start(&server, 1, &format!("?token={token}"));
    let replaced = Some((1008, "replaced by a new connection".to_owned()));
    for idle in Idle::ALL {
        let mut first = start(idle);
        peers(&server, 1);
        let second = start(idle);
        assert_eq!(closes(&mut first), replaced, "{}", idle.dialect);
        peers(&server, 1);
        second.close();
        peers(&server, 0);
    }
    // By plain HTTP, and from HTTP.
    let mut socket = start(Idle::ALL[0]);
    peers(&server, 1);
    let get = |token: &str| {
        let bearer = format!("Bearer {token}");
        http::send(&server, "GET", "/offer/p1?wait=0", &[("Authorization", &bearer)], "").status
    };
    assert_eq!(get(&other), 409, "another subject");
    assert_eq!(get(&token), 204);
    assert_eq!(closes(&mut socket), replaced);
    let mut socket = start(Idle::ALL[0]);
    socket.expect("HELLO");
    assert_eq!(get(&other), 409, "the text peer has it");
}

#[test]
fn an_expired_token_and_an_operator_close_a_client_of_each_protocol() {
    let keys = Keys::new(Algorithm::Hs256);
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").expect("the folder is ours");
    let secret = secret.to_str().expect("text");
    let file = keys.public();
    let flags = ["--admin-addr", "127.0.0.1:0", "--admin-secret-file", secret, "--token-key-file", &file];
    let server = Server::start(&[&flags[..], &["--token-leeway", "0"]].concat());
    let start = |number: u64, idle: Idle, until: u64| {
        let token = keys.token(json!({ "sub": format!("p{number}"), "exp": now() + until }));
        (idle, idle.start(&server, number, &format!("?token={token}")))
    };
    let mut expire: Vec<(Idle, Socket)> =
        (0..).zip(Idle::ALL).map(|(number, idle)| start(number, idle, 4)).collect();
    let mut stay: Vec<(Idle, Socket)> =
        (10..).zip(Idle::ALL).map(|(number, idle)| start(number, idle, 600)).collect();
    for (idle, socket) in &mut expire {
        assert_eq!(closes(socket), Some((1008, "token expired".into())), "{}", idle.dialect);
    }
    for (number, (idle, socket)) in (10..).zip(&mut stay) {
        let path = format!("/admin/peers/p{number}");
        wait_until("the peer", DEADLINE, || {
            let bearer = ("Authorization", "Bearer secret");
            let answer = http::request(server.admin_address(), "DELETE", &path, &[bearer]);
            (answer.status == 200).then_some(())
        });
        assert_eq!(closes(socket), Some((1008, "closed by an operator".into())), "{}", idle.dialect);
    }
}

#[test]
fn the_environment_and_the_configuration_file_name_paths_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.toml");
    fs::write(&file, "dialect = [\"rooms=/rtc\", \"rest=off\"]\n").expect("the folder is ours");
    let start = || {
        let mut command = Command::new(program("callbin-server"));
        command.args(["--addr", "127.0.0.1", "--port", "0", "--disable-ssl"]);
        command
    };
    let by_file = Server::spawn(start().arg("--config").arg(&file));
    let by_environment = Server::spawn(start().env("CALLBIN_DIALECT", "rooms=/rtc,rest=off"));
    for server in [by_file, by_environment] {
        let mut room = Socket::connect_to(&format!("{}rtc/r?notices=1", server.ws_url()));
        assert_eq!(room.receive_json()["type"], "room");
        assert_eq!(http::get(&server, "/openapi.json", &[]).status, 404);
    }
}

#[test]
fn the_webhook_may_refuse_a_client_of_each_protocol() {
    let hook = Hook::start(|_, _| {
        ("200 OK".into(), json!({ "allow": false, "reason": "members only" }).to_string())
    });
    let server = Server::start(&["--webhook-url", &hook.url()]);
    for (number, idle) in (0..).zip(Idle::ALL) {
        let asked = hook.asked().len();
        let mut socket = idle.start(&server, number, &format!("?username=p{number}"));
        while !socket.receive_text().contains("members only") {}
        let questions = hook.asked().split_off(asked);
        let question = &questions.first().expect("a question").body;
        assert_eq!(
            (&question["event"], &question["uid"]),
            (&json!("register"), &json!(format!("p{number}")))
        );
    }
    let refused = http::get(&server, "/offer/p9?wait=0", &[]);
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("members only"), "{refused:?}");
    peers(&server, 0);
}

#[test]
fn who_floods_in_any_protocol_is_told_why() {
    for idle in Idle::ALL {
        let server = Server::start(&["--max-message-rate", "5"]);
        let mut socket = idle.start(&server, 1, "");
        let _sent = (0..10_000).take_while(|_| socket.try_send("{}")).count();
        let expected = Some((1008, "too many messages".to_owned()));
        assert_eq!(closes(&mut socket), expected, "{}", idle.dialect);
    }
}

#[test]
fn metrics_log_and_admin_api_know_each_protocol() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").expect("the folder is ours");
    let secret = secret.to_str().expect("text");
    let server = Server::start(&["--admin-addr", "127.0.0.1:0", "--admin-secret-file", secret]);
    let admin = |method: &str, path: &str| {
        let bearer = ("Authorization", "Bearer secret");
        http::request(server.admin_address(), method, path, &[bearer])
    };
    // With an address of its own, the admin API has the metrics.
    let metric = |line: &str| {
        let metrics = admin("GET", "/metrics").body;
        metrics.lines().find_map(|found| found.strip_prefix(line)?.trim().parse::<f64>().ok())
    };
    let mut sockets: Vec<Socket> = (0..)
        .zip(Idle::ALL)
        .map(|(number, idle)| idle.start(&server, number, &format!("?username=p{number}")))
        .collect();
    wait_until("the registrations", DEADLINE, || (metric("callbin_peers ")? == 5.0).then_some(()));
    for (number, idle) in (0..).zip(Idle::ALL) {
        let label = format!("callbin_dialect_connections{{dialect=\"{}\"}} ", idle.dialect);
        assert_eq!(metric(&label), Some(1.0), "{label}");
        let uid = format!("uid=p{number} ");
        let line = wait_until("its line in the log", DEADLINE, || {
            let log = server.log();
            let words = ["registered", &uid, " peers="];
            log.lines().find(|line| words.iter().all(|words| line.contains(words))).map(String::from)
        });
        let field = format!("dialect={} ", idle.dialect);
        assert_eq!(line.contains(&field), idle.dialect != "text", "{line}");
    }
    let all = admin("GET", "/admin/peers").json();
    let of = |number: usize| {
        let uid = format!("p{number}");
        let mut peers = all.as_array().expect("a list").iter();
        peers.find(|peer| peer["uid"] == uid).unwrap_or_else(|| panic!("{uid} in {all}"))
    };
    for (number, idle) in Idle::ALL.iter().enumerate() {
        let room = match idle.dialect {
            "rooms" | "action" => json!(format!("r{number}")),
            _ => json!(null),
        };
        assert_eq!(of(number)["room"], room, "{}", idle.dialect);
    }

    // Calls count for both protocols.
    let mut caller = Socket::connect_to(&server.ws_url()).hello("caller");
    caller.expect_nothing("SESSION p2", "SESSION_OK");
    assert_eq!(admin("GET", "/admin/sessions").json(), json!([{ "caller": "caller", "callee": "p2" }]));
    assert_eq!(metric("callbin_dialect_calls_total{caller=\"text\",callee=\"antmedia\"} "), Some(1.0));
    assert_eq!(admin("DELETE", "/admin/peers/p2").status, 200);
    caller.expect_close(1000, "");
    for (number, socket) in sockets.iter_mut().enumerate() {
        if of(number)["room"].is_string() {
            let closed = admin("DELETE", &format!("/admin/rooms/r{number}")).json();
            assert_eq!(closed, json!({ "closed": 1 }));
            assert_eq!(closes(socket), Some((1008, "closed by an operator".into())));
        }
    }
}

/// Calls of all protocols, and rooms, go on while the server drains; it ends with the last one.
#[test]
fn calls_of_each_protocol_outlast_a_drain() {
    const OFFER: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:0\r\n";
    const ANSWER: &str = "v=0\r\nm=audio 9 y 0\r\na=mid:0\r\n";
    const CANDIDATE: &str = "candidate:1 1 UDP 1 192.0.2.1 50000 typ host";
    let mut server = Server::start(&["--drain-timeout", "60"]);
    let by_rest: Box<dyn Speaker + '_> = Box::new(Text::wait(&server, "by-rest"));
    let callees: [(&str, Box<dyn Speaker + '_>); 5] = [
        ("text", Box::new(Text::wait(&server, "text"))),
        ("joins", Box::new(Antmedia::join(&server, "joins"))),
        ("publishes", Box::new(Antmedia::publish_first(&server, "publishes"))),
        ("produces", Box::new(Webrtcsink::produce(&server, "produces"))),
        ("rest", Box::new(Rest::wait(&server, "rest"))),
    ];
    type End<'a> = Box<dyn Speaker + 'a>;
    let mut calls: Vec<(&str, End<'_>, End<'_>)> = Vec::new();
    calls.push(("rest", Box::new(Rest::call(&server, "by-rest", OFFER)), by_rest));
    for (name, callee) in callees {
        let mut caller = Text::call(&server, &format!("calls-{name}"), name);
        caller.offer(OFFER);
        calls.push((name, Box::new(caller), callee));
    }
    for tongue in Tongue::ALL {
        let room = format!("{tongue:?}");
        let member = |name: &str| Box::new(Member::join(&server, tongue, &room, &format!("{room}-{name}")));
        let (first, mut second) = (member("first"), member("second"));
        second.offer(OFFER);
        calls.push(("room", second, first));
    }
    for (name, _, callee) in &mut calls {
        assert_eq!(callee.hear(), Heard::Offer(OFFER.into()), "{name}");
    }
    signal(server.pid(), "TERM");
    server.wait_for_log("draining");
    for (name, caller, callee) in &mut calls {
        println!("{name}");
        callee.answer(ANSWER);
        assert_eq!(caller.hear(), Heard::Answer(ANSWER.into()), "{name}");
        caller.candidate(CANDIDATE, 0, "0");
        assert_eq!(callee.hear(), Heard::Candidate(CANDIDATE.into(), 0), "{name}");
        caller.hang_up();
        assert_eq!(callee.hear(), Heard::End, "{name}");
    }
    drop(calls);
    server.process().wait_for(DEADLINE);
}

#[test]
fn each_protocol_can_be_moved_and_switched_off() {
    let [_, others @ ..] = Idle::ALL;
    let start = |place: fn(&str) -> String| {
        let names = others.map(|idle| idle.dialect).into_iter().chain(["rest", "whip", "whep"]);
        let settings: Vec<String> = names.map(|name| format!("{name}={}", place(name))).collect();
        Server::start(&["--dialect", &settings.join(",")])
    };
    let offer = [("Content-Type", "application/sdp")];
    let speak_text = |server: &Server| {
        for (number, idle) in (0..).zip(others) {
            let mut socket = Socket::connect_to(&format!("{}{}", server.ws_url(), idle.path(number)));
            socket.send(&format!("HELLO text{number}"));
            socket.expect("HELLO");
        }
        assert_eq!(http::get(server, "/offer/x?wait=0", &[]).status, 404);
        for path in ["/whip/x", "/whep/x"] {
            assert_eq!(http::send(server, "POST", path, &offer, SDP).status, 405, "{path}");
        }
    };
    let moved = start(|name| format!("/own/{name}"));
    for (number, idle) in (0..).zip(others) {
        let room = if idle.dialect == "rooms" { "/r" } else { "" };
        let socket = idle.start_at(&moved, &format!("own/{}{room}", idle.dialect), number, "");
        peers(&moved, 1);
        let label = format!("callbin_dialect_connections{{dialect=\"{}\"}} ", idle.dialect);
        assert_eq!(moved.metric(&label), Some(1.0), "{label}");
        socket.close();
        peers(&moved, 0);
    }
    assert_eq!(http::get(&moved, "/own/rest/offer/x?wait=0", &[]).status, 204);
    for (path, status) in [("/own/whip/nobody", 404), ("/own/whep/nobody", 409)] {
        assert_eq!(http::send(&moved, "POST", path, &offer, SDP).status, status, "{path}");
    }
    speak_text(&moved);
    speak_text(&start(|_| "off".into()));
}

/// A client with the wrong path. In a JSON room, connecting is joining: its path decides.
#[test]
fn a_plain_first_frame_selects_its_protocol_on_any_path() {
    let server = Server::start(&[]);
    let [_, _, antmedia, action, _] = Idle::ALL;
    for path in ["", "any/path", "WebRTCAppEE/websocket", "signals", "webrtcsink"] {
        for idle in [antmedia, action] {
            let socket = idle.start_at(&server, path, 1, "");
            peers(&server, 1);
            let label = format!("callbin_dialect_connections{{dialect=\"{}\"}} ", idle.dialect);
            assert_eq!(server.metric(&label), Some(1.0), "{label}{path}");
            socket.close();
            peers(&server, 0);
        }
    }
    let mut socket = antmedia.start_at(&server, "ws/rooms/r", 1, "");
    assert_eq!(socket.receive_json()["code"], "invalid_message");
}
