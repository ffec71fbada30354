//! What peers can make the server keep for them is bounded, for each and for all of them.

use callbin_tests::{DEADLINE, Server, Socket, socket::Received, wait_until};

#[test]
fn a_slow_reader_costs_no_more_than_its_queue() {
    let mut server = Server::start(&["--max-queue", "1000000"]);
    let before = server.process().memory();
    let mut pairs: Vec<(Socket, Socket)> = (0..10)
        .map(|i| {
            let callee = Socket::register(&server, &format!("callee{i}"));
            let mut caller = Socket::register(&server, &format!("caller{i}"));
            caller.expect_nothing(&format!("SESSION callee{i}"), "SESSION_OK");
            (caller, callee)
        })
        .collect();
    let text = "x".repeat(100_000);
    for (caller, _) in &mut pairs {
        // The callee reads nothing.
        let _ = (0..300).take_while(|_| caller.try_send(&text)).count();
        assert_ne!(caller.receive(), Received::Text(String::new()), "an end, not a timeout");
    }
    let grown = server.process().memory().saturating_sub(before);
    assert!(grown < 40 << 20, "{} KiB for ten queues of 1 MB", grown >> 10);
    assert_eq!(server.metric("callbin_closes_total{reason=\"reads too slowly\"}"), Some(10.0));
}

#[test]
fn many_slow_readers_share_one_budget_and_an_honest_pair_goes_on() {
    const BUDGET: f64 = 4_000_000.0;
    let flags = ["--max-queued-bytes", "4000000", "--max-queue", "3000000", "--max-byte-rate", "0"];
    let mut server = Server::start(&flags);
    assert_eq!(server.metric("callbin_queue_budget_bytes "), Some(BUDGET));
    let pair = |name: &str| {
        let callee = Socket::register(&server, &format!("{name}-callee"));
        let mut caller = Socket::register(&server, &format!("{name}-caller"));
        caller.expect_nothing(&format!("SESSION {name}-callee"), "SESSION_OK");
        (caller, callee)
    };
    let (mut alice, mut bob) = pair("honest");
    let mut pairs: Vec<(Socket, Socket)> = (0..12).map(|i| pair(&format!("slow{i}"))).collect();
    let before = server.process().memory();
    let (text, large) = ("x".repeat(50_000), "y".repeat(300_000));
    // Every callee reads nothing. All queues together would be nine times the budget.
    let mut most: f64 = 0.0;
    for _ in 0..240 {
        for (caller, _) in &mut pairs {
            caller.try_send(&text);
        }
        alice.send(&large);
        bob.expect(&large);
        most = most.max(server.metric("callbin_queue_budget_used_bytes ").expect("a metric"));
    }
    assert!(most <= BUDGET, "{most}");
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
