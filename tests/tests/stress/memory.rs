//! The memory that peers can make the server hold is bounded, per peer and in total.

use std::{io::Write, ops::Range};

use callbin_tests::{
    DEADLINE, Server, Socket, http, machine, process::Usage, socket::Received, speaker::Idle, wait_until,
};

#[test]
fn a_slow_reader_costs_no_more_than_its_queue() {
    let _machine = machine::shared();
    let mut server = Server::start(&["--max-queue", "1000000"]);
    let before = server.process().memory();
    let mut pairs: Vec<(Socket, Socket)> =
        (0..10).map(|i| Socket::session(&server, &i.to_string())).collect();
    let text = "x".repeat(100_000);
    for (caller, _) in &mut pairs {
        // The callee reads nothing.
        let _ = (0..300).take_while(|_| caller.try_send(&text)).count();
        assert_ne!(caller.receive(), Received::Text(String::new()), "an end, not a timeout");
    }
    let grown = server.process().memory().saturating_sub(before);
    assert!(grown < 40 << 20, "{} KiB for ten queues of 1 MB", grown >> 10);
    wait_until("all ten to be counted", DEADLINE, || {
        let closed = server.metric("callbin_closes_total{reason=\"reads too slowly\"}");
        (closed == Some(10.0)).then_some(())
    });
}

#[test]
fn many_slow_readers_share_one_budget_and_an_honest_pair_goes_on() {
    let _machine = machine::shared();
    const BUDGET: f64 = 4_000_000.0;
    let flags = ["--max-queued-bytes", "4000000", "--max-queue", "3000000", "--max-byte-rate", "0"];
    let mut server = Server::start(&flags);
    assert_eq!(server.metric("callbin_queue_budget_bytes "), Some(BUDGET));
    let (mut alice, mut bob) = Socket::session(&server, "honest");
    let mut pairs: Vec<(Socket, Socket)> =
        (0..12).map(|i| Socket::session(&server, &i.to_string())).collect();
    let before = server.process().memory();
    let (text, large) = ("x".repeat(50_000), "y".repeat(300_000));
    // No callee reads. All queues together would be nine times the budget.
    let mut most: f64 = 0.0;
    for _ in 0..240 {
        for (caller, _) in &mut pairs {
            caller.try_send(&text);
        }
        alice.send(&large);
        bob.expect(&large);
        most = most.max(server.metric("callbin_queue_budget_used_bytes ").expect("a metric"));
    }
    // Each server thread takes a message before it makes room for it.
    assert!(most <= BUDGET + 2.0 * 300_000.0, "{most}");
    assert!(most >= BUDGET / 2.0, "the budget was put to the test: {most}");
    let closed =
        server.metric("callbin_closes_total{reason=\"reads too slowly\"}").expect("somebody is closed");
    assert!(closed >= 8.0, "{closed}");
    let grown = server.process().memory().saturating_sub(before);
    assert!(grown < 30 << 20, "{} KiB for a budget of 4 MB", grown >> 10);
    bob.send("still here");
    alice.expect("still here");
    drop(pairs);
    wait_until("the budget to be free", DEADLINE, || {
        (server.metric("callbin_queue_budget_used_bytes ")? == 0.0).then_some(())
    });
}

#[test]
fn an_idle_peer_of_each_protocol_is_small() {
    let _machine = machine::shared();
    const PEERS: u64 = 800;
    for idle in Idle::ALL {
        let server = Server::start(&["--max-registration-rate", "0", "--max-request-rate", "0"]);
        let peers = |range: Range<u64>| -> Vec<Socket> {
            range.map(|number| idle.start(&server, number, "")).collect()
        };
        // The first ones make the server load what it needs.
        let some = peers(0..20);
        let all = |count: u64| {
            wait_until("all to be registered", DEADLINE, || {
                (server.metric("callbin_peers ")? == count as f64).then_some(())
            });
        };
        all(20);
        let before = Usage::of(server.pid()).memory;
        let many = peers(20..20 + PEERS);
        all(20 + PEERS);
        let each = Usage::of(server.pid()).memory.saturating_sub(before) / PEERS;
        println!("{}: {each} bytes", idle.dialect);
        assert!(each < 8 << 10, "{}: {each} bytes", idle.dialect);
        drop((some, many));
    }
}

#[test]
fn an_http_client_that_waits_is_small() {
    let _machine = machine::shared();
    const CLIENTS: usize = 400;
    let unlimited = ["--max-registration-rate", "0", "--max-request-rate", "0", "--keepalive-timeout", "600"];
    let server = Server::start(&unlimited);
    let register = |number: usize| {
        assert_eq!(http::send(&server, "GET", &format!("/offer/p{number}?wait=0"), &[], "").status, 204);
    };
    (0..20).for_each(register);
    let before = Usage::of(server.pid()).memory;
    (20..20 + CLIENTS).for_each(register);
    assert_eq!(server.metric("callbin_peers "), Some((20 + CLIENTS) as f64));
    let each = Usage::of(server.pid()).memory.saturating_sub(before) / CLIENTS as u64;
    println!("rest: {each} bytes");
    assert!(each < 8 << 10, "{each} bytes");
}

/// The header of a client's frame, with a zero mask.
fn head(last: bool, opcode: u8, length: u32) -> Vec<u8> {
    let mut bytes = vec![u8::from(last) << 7 | opcode, 0x80 | 127, 0, 0, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// A large message in one frame, without its last byte.
fn unfinished() -> Vec<u8> {
    const LENGTH: u32 = 250_000;
    [head(true, 1, LENGTH), vec![b'x'; LENGTH as usize - 1]].concat()
}

/// The same in endless fragments, with pings between them.
fn endless() -> Vec<u8> {
    let fragment = |opcode| [head(false, opcode, 4096), vec![b'x'; 4096], head(true, 9, 0)].concat();
    let more = (0..60).flat_map(|_| fragment(0));
    fragment(1).into_iter().chain(more).collect()
}

#[test]
fn messages_that_never_end_share_one_budget_and_an_honest_pair_goes_on() {
    let _machine = machine::shared();
    for begin in [unfinished(), endless()] {
        let mut server = Server::start(&["--max-queued-bytes", "1000000"]);
        let mut alice = Socket::register(&server, "alice");
        let mut bob = Socket::register(&server, "bob");
        alice.expect_nothing("SESSION bob", "SESSION_OK");
        let before = server.process().memory();
        // In total twenty-four times the budget.
        let mut attackers: Vec<Socket> = (0..96)
            .map(|i| {
                let attacker = Socket::register(&server, &format!("attacker{i}"));
                attacker.tcp().write_all(&begin).expect("the server reads");
                attacker
            })
            .collect();
        attackers[0].expect_close(1008, "message not complete in time");
        wait_until("most to be closed", DEADLINE, || {
            let closed = server.metric("callbin_closes_total{reason=\"message not complete in time\"}");
            (closed >= Some(92.0)).then_some(())
        });
        wait_until("the budget to be kept", DEADLINE, || {
            (server.metric("callbin_queue_budget_used_bytes ")? <= 1_000_000.0).then_some(())
        });
        let large = "y".repeat(900_000);
        alice.send(&large);
        bob.expect(&large);
        let grown = server.process().memory().saturating_sub(before);
        assert!(grown < 16 << 20, "{} KiB for a budget of 1 MB", grown >> 10);
        drop(attackers);
        wait_until("the budget to be free", DEADLINE, || {
            (server.metric("callbin_queue_budget_used_bytes ")? == 0.0).then_some(())
        });
    }
}

#[test]
fn large_messages_leave_nothing_behind() {
    let _machine = machine::shared();
    const PEERS: usize = 100;
    let large = "x".repeat(1 << 20);
    let mut server = Server::start(&["--max-byte-rate", "0", "--keepalive-timeout", "600"]);
    let mut idle: Vec<Socket> = (0..PEERS).map(|i| Socket::register(&server, &format!("idle{i}"))).collect();
    let mut pairs: Vec<(Socket, Socket)> =
        (0..PEERS).map(|i| Socket::session(&server, &i.to_string())).collect();
    let before = server.process().memory();
    for socket in &mut idle {
        socket.send(&large);
        socket.expect_nothing("SESSION nobody", "ERROR peer 'nobody' not found");
    }
    for (caller, callee) in &mut pairs {
        caller.send(&large);
        callee.expect(&large);
        callee.send("short");
        caller.expect("short");
    }
    wait_until("the memory to be free", DEADLINE, || {
        let grown = server.process().memory().saturating_sub(before);
        (grown < 30 << 20).then_some(())
    });
    assert_eq!(server.metric("callbin_queue_budget_used_bytes "), Some(0.0));
    // Connections with renewed buffers still work: small, large, fragmented, with pings in between.
    for (caller, callee) in &mut pairs {
        for text in ["small", &large, "small again"] {
            caller.send(text);
            callee.expect(text);
        }
        let pieces =
            [head(false, 1, 3), b"one".to_vec(), head(true, 9, 0), head(true, 0, 3), b"two".to_vec()];
        caller.tcp().write_all(&pieces.concat()).expect("the server reads");
        callee.expect("onetwo");
        callee.send(&large);
        caller.expect(&large);
    }
}
