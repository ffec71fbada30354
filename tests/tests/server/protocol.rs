//! The protocol over real sockets: each row of docs/protocols/text.md's table, and faults of the reference server that
//! callbin's must not have.

use std::{io::Write, time::Duration};

use callbin_tests::{
    Server, Socket, program,
    socket::Received,
    wait::{DEADLINE, wait_until},
};

fn hello(server: &Server, text: &str) -> Socket {
    let mut socket = Socket::connect(server);
    socket.send(text);
    socket
}

/// A caller and a callee, connected.
fn session(server: &Server) -> (Socket, Socket) {
    let mut caller = Socket::register(server, "caller");
    let callee = Socket::register(server, "callee");
    caller.send("SESSION callee");
    caller.expect("SESSION_OK");
    (caller, callee)
}

fn join(server: &Server, uid: &str, room: &str) -> (Socket, String) {
    let mut socket = Socket::register(server, uid);
    socket.send(&format!("ROOM {room}"));
    let answer = socket.receive_text();
    (socket, answer)
}

#[test]
fn greeting() {
    let server = Server::start(&[]);
    let mut alice = hello(&server, "HELLO alice");
    alice.expect("HELLO");
    for text in ["HELLO", "HELLO ", "HELLO a b", "HELLO alice"] {
        hello(&server, text).expect_close(1002, "invalid peer uid");
    }
    for text in ["", "hi", "SESSION alice", "HELLOWORLD"] {
        hello(&server, text).expect_close(1002, "invalid protocol");
    }
    let mut socket = Socket::connect(&server);
    socket.send_binary(b"HELLO bob");
    socket.expect_close(1003, "binary frames are for sessions only");
}

/// For browsers, whose pages cannot see pings and do not know the caller.
#[test]
fn heartbeats_and_callers_are_told_to_those_who_ask() {
    let server = Server::start(&["--keepalive-timeout", "0.2", "--pong-timeout", "3"]);
    let mut asking = Socket::connect_to(&format!("{}?wants=caller,heartbeat,more", server.ws_url()));
    asking.send("HELLO asking");
    asking.expect("HEARTBEAT 3");
    asking.expect("HELLO");
    asking.expect("HEARTBEAT 3");
    let mut caller = Socket::register(&server, "caller");
    caller.send("SESSION asking");
    caller.expect("SESSION_OK");
    caller.send("HEARTBEAT 7");
    let next = |asking: &mut Socket| loop {
        let text = asking.receive_text();
        if text != "HEARTBEAT 3" {
            return text;
        }
    };
    assert_eq!(next(&mut asking), "CALLER caller");
    assert_eq!(next(&mut asking), "HEARTBEAT 7", "what a partner says is not the server's affair");
    asking.expect("HEARTBEAT 3");
    asking.send("hi");
    caller.expect("hi");
    // Other clients do not get it.
    let mut silent = Socket::register(&server, "silent");
    let mut second = Socket::register(&server, "second");
    second.send("SESSION silent");
    second.expect("SESSION_OK");
    second.send("first");
    silent.expect("first");
}

#[test]
fn any_path_is_a_websocket() {
    let server = Server::start(&[]);
    for path in ["", "ws", "a/b/c?token=x", "health", "index.html"] {
        let mut socket = Socket::connect_to(&format!("{}{path}", server.ws_url()));
        socket.send(&format!("HELLO me-{}", path.len()));
        socket.expect("HELLO");
    }
}

#[test]
fn idle() {
    let server = Server::start(&[]);
    let mut alice = Socket::register(&server, "alice");
    for text in ["", "HELLO again", "ROOMMATE x", "SESSIONS x", "ROOM_PEER_LIST", "what?"] {
        alice.send(text);
    }
    // There was no earlier answer.
    alice.send("SESSION nobody");
    alice.expect("ERROR peer 'nobody' not found");
    for (text, answer) in [
        ("SESSION o'brien", "ERROR peer \"o'brien\" not found"),
        ("SESSION", "ERROR peer '' not found"),
        ("SESSION alice", "ERROR peer 'alice' busy"),
        ("ROOM", "ERROR invalid room id ''"),
        ("ROOM a b", "ERROR invalid room id 'a b'"),
        ("ROOM session", "ERROR invalid room id 'session'"),
    ] {
        alice.send(text);
        alice.expect(answer);
    }
    alice.send_binary(b"x");
    alice.expect_close(1003, "binary frames are for sessions only");
}

#[test]
fn sessions() {
    let server = Server::start(&[]);
    let (mut caller, mut callee) = session(&server);
    // The callee got no notice: its first message is the caller's.
    for text in ["OFFER_REQUEST", "{\"sdp\": {}}", "", "SESSION x", "ROOM y", " verbatim \n"] {
        caller.send(text);
        callee.expect(text);
        callee.send(text);
        caller.expect(text);
    }
    caller.send_binary(&[0, 255, 7]);
    assert_eq!(callee.receive(), Received::Binary(vec![0, 255, 7]));

    let mut third = Socket::register(&server, "third");
    for uid in ["caller", "callee"] {
        third.send(&format!("SESSION {uid}"));
        third.expect(&format!("ERROR peer '{uid}' busy"));
    }
    caller.close();
    callee.expect_close(1000, "");
    // Both uids are free at once.
    session(&server);
}

#[test]
fn a_cut_connection_ends_the_session() {
    let server = Server::start(&[]);
    let (mut caller, callee) = session(&server);
    callee.cut();
    caller.expect_close(1000, "");
    Socket::register(&server, "callee");
}

#[test]
fn messages_arrive_in_order_whatever_their_size() {
    let server = Server::start(&[]);
    let (mut caller, mut callee) = session(&server);
    let texts: Vec<String> = (0..500).map(|i| format!("{i}:{}", "x".repeat(i * 37 % 20_000))).collect();
    let sent = texts.clone();
    let sender = std::thread::spawn(move || {
        sent.iter().for_each(|text| caller.send(text));
        caller
    });
    texts.iter().for_each(|text| callee.expect(text));
    drop(sender.join());
}

#[test]
fn rooms() {
    let server = Server::start(&[]);
    let (mut alice, answer) = join(&server, "alice", "r");
    assert_eq!(answer, "ROOM_OK ");
    let (mut bob, answer) = join(&server, "bob", "r");
    assert_eq!(answer, "ROOM_OK alice");
    alice.expect("ROOM_PEER_JOINED bob");
    let (mut carol, answer) = join(&server, "carol", "r");
    assert_eq!(answer, "ROOM_OK alice bob");
    alice.expect("ROOM_PEER_JOINED carol");
    bob.expect("ROOM_PEER_JOINED carol");

    carol.send("ROOM_PEER_MSG alice {\"sdp\": 1}  ");
    alice.expect("ROOM_PEER_MSG carol {\"sdp\": 1}  ");
    let _dave = Socket::register(&server, "dave");
    for (text, answer) in [
        ("ROOM_PEER_MSG nobody x", "ERROR peer 'nobody' not found"),
        ("ROOM_PEER_MSG dave x", "ERROR peer 'dave' is not in the room"),
        ("ROOM_PEER_MSG", "ERROR peer '' not found"),
        ("ROOM_PEER_LIST", "ROOM_PEER_LIST alice bob"),
        ("ROOM other", "ERROR invalid msg, already in room"),
        ("SESSION dave", "ERROR invalid msg, already in room"),
        ("", "ERROR invalid msg, already in room"),
    ] {
        carol.send(text);
        carol.expect(answer);
    }
    let mut erin = Socket::register(&server, "erin");
    erin.send("SESSION bob");
    erin.expect("ERROR peer 'bob' busy");

    bob.cut();
    alice.expect("ROOM_PEER_LEFT bob");
    carol.expect("ROOM_PEER_LEFT bob");
    alice.close();
    carol.expect("ROOM_PEER_LEFT alice");
    carol.send("ROOM_PEER_LIST");
    carol.expect("ROOM_PEER_LIST ");
    carol.close();
    let (_, answer) = join(&server, "frank", "r");
    assert_eq!(answer, "ROOM_OK ");
}

#[test]
fn sixty_members_cut_at_once_leave_nothing_behind() {
    let server = Server::start(&[]);
    let members: Vec<Socket> = (0..60).map(|i| join(&server, &format!("m{i}"), "r").0).collect();
    members.into_iter().for_each(Socket::cut);
    for i in 0..60 {
        let uid = format!("HELLO m{i}");
        wait_until("the uid to be free", DEADLINE, || {
            let mut socket = hello(&server, &uid);
            (socket.receive() == Received::Text("HELLO".into())).then_some(())
        });
    }
    let (_, answer) = join(&server, "last", "r");
    assert_eq!(answer, "ROOM_OK ");
}

#[test]
fn one_member_that_stops_reading_blocks_nobody() {
    let server = Server::start(&["--max-queue", "1000000"]);
    let (mut alice, _) = join(&server, "alice", "r");
    let (mut bob, _) = join(&server, "bob", "r");
    let (stalled, _) = join(&server, "stalled", "r");
    alice.expect("ROOM_PEER_JOINED bob");
    for socket in [&mut alice, &mut bob] {
        socket.expect("ROOM_PEER_JOINED stalled");
    }
    // More than the socket buffers and the queue can hold.
    let flood = format!("ROOM_PEER_MSG stalled {}", "x".repeat(100_000));
    for i in 0..200 {
        alice.send(&flood);
        alice.send(&format!("ROOM_PEER_MSG bob {i}"));
        wait_until("bob's message", DEADLINE, || match bob.receive_text() {
            text if text == format!("ROOM_PEER_MSG alice {i}") => Some(()),
            text => {
                assert_eq!(text, "ROOM_PEER_LEFT stalled");
                None
            }
        });
    }
    server.wait_for_log("reads too slowly");
    drop(stalled);
    Socket::register(&server, "stalled");
}

#[test]
fn hello_has_a_deadline() {
    let server = Server::start(&["--hello-timeout", "2"]);
    Socket::connect(&server).expect_close(1002, "no HELLO in time");
    // A connection that sent HELLO may stay.
    let mut alice = Socket::register(&server, "alice");
    Socket::connect(&server).expect_close(1002, "no HELLO in time");
    alice.expect_nothing("SESSION x", "ERROR peer 'x' not found");
}

#[test]
fn messages_have_a_limit() {
    let server = Server::start(&[]);
    let (mut caller, mut callee) = session(&server);
    let largest = "x".repeat(1 << 20);
    caller.send(&largest);
    callee.expect(&largest);
    // The server may close before the message is sent completely.
    let _ =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| caller.send(&"x".repeat((1 << 20) + 1))));
    caller.expect_close(1009, "message too big");
    callee.expect_close(1000, "");

    let small = Server::start(&["--max-message", "200"]);
    let mut socket = Socket::register(&small, "a");
    socket.send(&"x".repeat(201));
    socket.expect_close(1009, "message too big");
}

#[test]
fn a_peer_that_answers_no_ping_is_closed() {
    let server = Server::start(&["--keepalive-timeout", "0.3", "--pong-timeout", "6"]);
    let mut alive = Socket::register(&server, "alive");
    let dead = Socket::register(&server, "dead");
    // A socket that is not read sends no pongs.
    alive.set_deadline(Duration::from_millis(50));
    wait_until("the dead peer's end", DEADLINE, || {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| alive.receive()));
        server.log().contains("no pong in time").then_some(())
    });
    assert_eq!(server.log().matches("no pong in time").count(), 1);
    alive.set_deadline(DEADLINE);
    alive.expect_nothing("SESSION dead", "ERROR peer 'dead' not found");
    drop(dead);
}

#[test]
fn malformed_frames_end_only_their_sender() {
    let server = Server::start(&[]);
    let mut bystander = Socket::register(&server, "bystander");
    let frames: [(&[u8], u16); 5] = [
        (&[0x81, 0x01, b'x'], 1002),                   // not masked
        (&[0xf1, 0x80, 0, 0, 0, 0], 1002),             // reserved bits
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),             // reserved opcode
        (&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe], 1007), // not UTF-8
        (&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009),
    ];
    for (i, (bytes, code)) in frames.into_iter().enumerate() {
        let mut socket = Socket::register(&server, &format!("bad{i}"));
        socket.tcp().write_all(bytes).expect("the socket is open");
        match socket.receive() {
            Received::Closed(Some((found, _))) => assert_eq!(found, code, "frame {i}"),
            other => panic!("frame {i}: {other:?}"),
        }
    }
    bystander.expect_nothing("SESSION x", "ERROR peer 'x' not found");
}

#[test]
fn payloads_are_not_logged() {
    let server = Server::start(&["--log", "debug"]);
    let (mut caller, mut callee) = session(&server);
    caller.send("{\"ice\":{\"candidate\":\"PLANTED 10.1.2.3\"}}");
    callee.receive_text();
    let (mut alice, _) = join(&server, "alice", "r");
    let (_bob, _) = join(&server, "bob", "r");
    alice.receive_text();
    alice.send("ROOM_PEER_MSG bob PLANTED");
    alice.send("ROOM_PEER_MSG nobody PLANTED");
    alice.receive_text();
    drop((caller, alice));
    server.wait_for_log("left");
    let log = server.log();
    for expected in ["registered", "caller", "callee", "joined", "127.0.0.1", "peers=2"] {
        assert!(log.contains(expected), "{expected} in {log}");
    }
    assert!(!log.contains("PLANTED"), "{log}");
}

#[test]
fn a_name_cannot_forge_a_line_of_the_log() {
    let server = Server::start(&[]);
    Socket::register(&server, "\u{1b}[31mred\u{7}");
    server.wait_for_log("registered");
    assert!(!server.log().contains('\u{1b}'), "{}", server.log());
}

#[test]
fn sigterm_says_goodbye_and_ends() {
    for signal in ["TERM", "INT"] {
        // One alone: peers of another node would only know that their partners have left.
        let mut server = Server::start_on(0, &["--disable-ssl"]);
        let (mut caller, mut callee) = session(&server);
        let (mut alice, _) = join(&server, "alice", "r");
        let mut silent = Socket::connect(&server);
        server.process().signal(signal);
        for socket in [&mut caller, &mut callee, &mut alice, &mut silent] {
            socket.expect_close(1001, "server is shutting down");
        }
        drop((caller, callee, alice, silent));
        assert_eq!(server.process().wait().code(), Some(0));
    }
}

#[test]
fn sigterm_does_not_wait_for_the_stuck() {
    let mut server = Server::start(&["--shutdown-timeout", "0.3"]);
    // Never reads, so it never answers the close.
    let _stuck = Socket::register(&server, "stuck");
    server.process().signal("TERM");
    assert_eq!(server.process().wait_for(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_killed_server_cuts_everybody_and_its_successor_gets_the_port() {
    let mut server = Server::start(&[]);
    let mut alice = Socket::register(&server, "alice");
    let port = server.port();
    server.process().kill();
    assert_eq!(alice.receive(), Received::Cut);
    let server = Server::start_on(port, &["--disable-ssl"]);
    Socket::register(&server, "alice");
}

#[test]
fn one_thread_is_enough() {
    let mut command = std::process::Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program("callbin-server"));
    command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0"]);
    let server = Server::spawn(&mut command);
    let (mut caller, mut callee) = session(&server);
    caller.send("hi");
    callee.expect("hi");
}
