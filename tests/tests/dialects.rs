//! What holds for clients of every protocol: a server that drains or reloads, and a subject that comes again.

use std::{fs, process::Command};

use callbin_tests::{
    DEADLINE, Server, Socket, http,
    keys::{Algorithm, Keys, now},
    process::program,
    socket::Received,
    speaker::Idle,
    wait_until,
};
use serde_json::json;

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
