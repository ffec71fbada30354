//! `callbin-load` against a real server: the effect of attackers and slow readers on honest peers.

use callbin_tests::{Server, machine};

use crate::load::{figure, load_and_usage};

#[test]
fn attacks_of_all_kinds_drop_nobody_honest_and_leave_memory_bounded() {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let attack = "--source-addresses 8 attack --seconds 10 --calm 1 --attackers 4 --pairs 20 --rate 400";
    let report = load_and_usage(&server, attack);
    assert_eq!(figure(&report, "honest_dropped_count"), 0.0);
    assert!(figure(&report, "honest_round_trips_count") > 0.0);
    for kind in ["messages", "pings", "fragments", "huge_frames", "registrations"] {
        assert!(figure(&report, &format!("{kind}_sent_MiB")) > 0.0, "no attack of {kind} was made");
    }
    // 4 unread queues of 4 MiB, 4 unfinished messages of 1 MiB, and the same again for other temporary memory.
    let growth = ["server_memory_peak_first_half_MiB", "server_memory_peak_second_half_MiB"]
        .map(|peak| figure(&report, peak) - figure(&report, "server_memory_before_MiB"));
    assert!(growth.iter().all(|growth| *growth < 64.0), "{growth:?} MiB more");
}

#[test]
fn of_bad_registrations_none_is_accepted() {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let attack = "attack --kind registrations --attackers 4 --registrations 50 --calm 0 --pairs 1 --rate 10";
    let report = load_and_usage(&server, attack);
    assert!(figure(&report, "registrations_ended_by_server_count") > 0.0, "none was made");
    // The honest pair, calm and under attack, and the owner of the taken uid.
    assert_eq!(server.metric("callbin_registrations_total "), Some(5.0));
}

#[test]
fn handshakes_without_end_drop_nobody_honest() {
    let _machine = machine::shared();
    let dir = tempfile::tempdir().expect("there is room");
    let path = dir.path().to_str().expect("the path is text");
    let server = Server::start_on(0, &["--self-signed", "--cert-path", path]);
    let attack =
        "--source-addresses 8 attack --kind registrations,slow-tls --attackers 20 --seconds 8 --calm 1";
    let report = load_and_usage(&server, &format!("{attack} --pairs 20 --rate 400"));
    assert_eq!(figure(&report, "honest_dropped_count"), 0.0);
    assert!(figure(&report, "honest_round_trips_count") > 0.0);
    assert!(figure(&report, "registrations_ended_by_server_count") > 0.0, "none was made");
}

#[test]
fn slow_readers_are_closed_and_disturb_nobody() {
    let _machine = machine::shared();
    let server = Server::start(&["--max-queue", "1000000"]);
    let slow = "slow --readers 8 --flood-rate 60 --seconds 30 --pairs 10 --rate 200";
    let report = load_and_usage(&server, slow);
    assert_eq!(figure(&report, "slow_readers_closed_count"), 8.0);
    assert_eq!(figure(&report, "honest_dropped_count"), 0.0);
    assert!(figure(&report, "server_memory_growth_MiB") < 64.0, "{report}");
}

#[test]
fn crowds_drop_nobody_honest_and_do_not_fill_the_log() {
    let _machine = machine::shared();
    let server = Server::start(&["--max-room-members", "100", "--max-notice-rate", "2000"]);
    let attack =
        "--source-addresses 2 attack --kind joins,lists,refusals --attackers 120 --seconds 8 --calm 1";
    let report = load_and_usage(&server, &format!("{attack} --pairs 20 --rate 400"));
    assert_eq!(figure(&report, "honest_dropped_count"), 0.0);
    assert!(figure(&report, "honest_round_trips_count") > 0.0);
    // How much they do depends on the machine: they have idle priority.
    for kind in ["joins", "lists", "refusals"] {
        assert!(figure(&report, &format!("{kind}_sent_MiB")) > 0.0, "no attack of {kind} was made");
    }
    // For each of three addresses a burst of a thousand lines, and a hundred per second.
    let lines = server.log().lines().count();
    assert!(lines < 3 * (1000 + 100 * 20), "{lines} lines");
    let growth =
        figure(&report, "server_memory_peak_second_half_MiB") - figure(&report, "server_memory_before_MiB");
    assert!(growth < 64.0, "{growth} MiB more");
}
