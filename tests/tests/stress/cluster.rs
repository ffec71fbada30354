//! Many peers at once on nodes of one cluster: the scenarios of `scripts/bench.sh cluster`, smaller.

use callbin_tests::{Redis, Server, machine};

use crate::load::{figure, load};

/// All load comes from one address, more than the limits per owner allow.
const UNLIMITED: [&str; 16] = [
    "--max-owner-connections",
    "0",
    "--max-registration-rate",
    "0",
    "--max-request-rate",
    "0",
    "--max-message-rate",
    "0",
    "--max-byte-rate",
    "0",
    "--max-notice-rate",
    "0",
    "--max-sessions",
    "0",
    "--keepalive-timeout",
    "600",
];

fn nodes(redis: &Redis) -> [Server; 3] {
    ["one", "two", "three"].map(|name| redis.node(name, &UNLIMITED))
}

#[test]
fn members_on_three_nodes_that_disappear_at_once_leave_once_each() {
    let _machine = machine::shared();
    let redis = Redis::start(&[]);
    let [one, two, three] = nodes(&redis);
    let urls = [&one, &two, &three].map(Server::ws_url).join(",");
    // It waits for exactly one notice about each.
    let report = load(&one, &format!("abort --members 300 --others {urls}"));
    let last = figure(&report, "left_max_ms");
    assert!(last < 10_000.0, "the last one left after {last} ms");
}

#[test]
fn the_peers_of_a_killed_node_register_with_the_others() {
    let _machine = machine::shared();
    let redis = Redis::start(&[]);
    let [mut one, two, three] = nodes(&redis);
    let others = [&two, &three].map(Server::ws_url).join(",");
    let report = load(&one, &format!("comeback --peers 500 --kill {} --others {others}", one.pid()));
    assert_eq!(figure(&report, "registered_count"), 500.0);
    one.process().wait();
    let registered: f64 =
        [&two, &three].iter().filter_map(|node| node.metric("callbin_registrations_total ")).sum();
    assert_eq!(registered, 500.0, "once each");
}

#[test]
fn a_flood_from_one_node_to_another_delays_no_other_calls() {
    let _machine = machine::alone();
    let redis = Redis::start(&[]);
    let [one, two, three] = nodes(&redis);
    let (second, third) = (two.ws_url(), three.ws_url());
    let honest = format!("--honest-callers {second} --honest-callees {third} --pairs 10 --rate 100");
    for kind in ["read", "unread"] {
        let attack =
            format!("attack --kind {kind} --callees {second} --attackers 2 --seconds 4 --calm 2 {honest}");
        let report = load(&one, &attack);
        assert_eq!(figure(&report, "honest_dropped_count"), 0.0);
        // The machine is shared with the flood itself, so a median says what the queues do: the goal for the 99th percentile
        // is measured by scripts/bench.sh, with a core for the nodes.
        let [calm, flood] = ["calm_p50_ms", "honest_p50_ms"].map(|name| figure(&report, name));
        assert!(flood < calm + 100.0, "{kind}: {flood} ms instead of {calm} ms at the median");
    }
}
