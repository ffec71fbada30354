//! Calls over bad lines. `make bench-network` measures more of them, and for longer.

use std::time::Duration;

use callbin_line::Conditions;
use callbin_tests::{
    Client, Network, Server, Wire, Wired,
    client::{Event, STATS_OFTEN},
    flow::assert_flows,
    machine,
    wire::THERE,
};

/// The picture of all clients here.
const PICTURE: [&str; 6] = ["--bitrate", "1000", "--fps", "30", "--size", "640x480"];

fn call() -> Wired {
    Wired::call(Conditions::default(), &PICTURE)
}

fn estimate(stats: &Event) -> f64 {
    stats.number("/sent/estimate")
}

#[test]
fn a_line_thinner_than_the_bit_rate_shows_a_smaller_picture_and_recovers() {
    let _machine = machine::apart();
    let Wired { mut caller, mut waiting, wire, networks, server: _server } = call();
    caller.wait_for_stats("room for all", |stats| estimate(stats) > 1_000_000.0);
    let thin = Conditions {
        rate: Some(400_000),
        delay: Duration::from_millis(20),
        queue: Duration::from_millis(500),
        ..Conditions::default()
    };
    wire.change_both(thin);
    caller.forget();
    caller.wait_for_stats("the line's rate", |stats| (80_000.0..500_000.0).contains(&estimate(stats)));
    waiting.forget();
    waiting.wait_for_stats("a smaller picture", |stats| {
        stats.number("/video/fps") >= 15.0 && stats.number("/video/width") < 640.0
    });
    let rates = networks[0].meter().rates(Duration::from_secs(1), 3);
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    assert!(mean < 1.3 * 400.0, "{rates:.0?} kbit/s");
    wire.change_both(Conditions::default());
    waiting.wait_for_stats("the whole picture", |stats| stats.number("/video/width") == 640.0);
    caller.hang_up();
}

#[test]
fn lost_packets_are_sent_again_and_the_picture_goes_on() {
    let _machine = machine::apart();
    let Wired { mut caller, mut waiting, wire, networks: _networks, server: _server } = call();
    wire.change_both(Conditions { loss: 0.05, ..Conditions::default() });
    let before = caller.wait_for("stats").number("/sent/retransmitted");
    caller.wait_for_stats("retransmissions", |stats| stats.number("/sent/retransmitted") > before + 20.0);
    waiting.forget();
    waiting.wait_for_stats("a picture without gaps", |stats| {
        stats.number("/video/lost") > 0.0 && stats.number("/video/fps") > 28.0
    });
    caller.hang_up();
}

#[track_caller]
fn latest(client: &mut Client) -> Event {
    client.forget();
    client.wait_for("stats")
}

/// Packets that do not come because they were not sent are neither requested nor taken for lost.
#[test]
fn after_a_pause_of_the_sender_its_first_packets_are_not_too_late() {
    let _machine = machine::alone();
    let server = Server::start(&[]);
    let picture = ["--size", "320x240", "--fps", "20"];
    let mut sender = Client::start(&server, &[&["wait", "--id", "sender"], &picture[..]].concat());
    sender.wait_for("waiting");
    let mut receiver = Client::start(&server, &[&["call", "sender"], &picture[..]].concat());
    receiver.wait_for_stats("a picture", |stats| stats.number("/video/fps") > 10.0);
    for _pause in 0..3 {
        sender.process().signal("STOP");
        // Longer than a jitter buffer waits for a packet.
        receiver.wait_for("picture-stale");
        sender.process().signal("CONT");
        receiver.wait_for("picture-live");
    }
    let requests =
        |stats: &Event| stats.number("/sent/retransmitted") + stats.number("/sent/retransmissions_refused");
    let (sent, received) = (latest(&mut sender), latest(&mut receiver));
    assert_eq!(requests(&sent), 0.0, "{}", sent.json());
    let handed_on = sent.number("/sent/video_frames") - sent.number("/sent/video_dropped");
    let missing = handed_on - received.number("/video/frames");
    assert!(missing < 10.0, "{missing} frames of {}", sent.json());
}

#[test]
fn the_age_of_the_picture_is_that_of_the_line() {
    let _machine = machine::apart();
    let line = |ms| Conditions { delay: Duration::from_millis(ms), ..Conditions::default() };
    let Wired { mut caller, mut waiting, wire, networks: _networks, server: _server } =
        Wired::call(line(150), &PICTURE);
    let age = |stats: &Event| stats.number("/video/glass_age_ms/p50");
    // Both have one clock, and both directions take equally long. The first packets wait for each other.
    let known = |stats: &Event| {
        let error = (140.0..160.0).contains(&stats.number("/video/clock/error_ms"));
        error && stats.number("/video/clock/ahead_ms").abs() < 10.0 && (140.0..400.0).contains(&age(stats))
    };
    for client in [&mut waiting, &mut caller] {
        let far = client.wait_for_stats("the age of a long line", known);
        assert_eq!(far.text("/video/capture_time"), "abs-capture-time");
    }
    wire.change_both(line(0));
    for client in [&mut waiting, &mut caller] {
        client.forget();
        client.wait_for_stats("a newer picture", |stats| {
            (0.1..100.0).contains(&age(stats)) && stats.number("/video/clock/ahead_ms").abs() < 10.0
        });
    }
    caller.hang_up();
}

#[test]
fn a_picture_that_stops_is_stale_until_the_line_is_back() {
    let _machine = machine::apart();
    let Wired { mut caller, mut waiting, wire, networks: _networks, server: _server } = call();
    for client in [&mut waiting, &mut caller] {
        client.wait_for_stats("a usual distance", |stats| stats.number("/video/fps") > 20.0);
    }
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    for client in [&mut waiting, &mut caller] {
        let stale = client.wait_for("picture-stale");
        assert!((500.0..1000.0).contains(&stale.number("/age_ms")), "{:?}", stale.json());
    }
    wire.change_both(Conditions::default());
    for client in [&mut waiting, &mut caller] {
        client.wait_for("picture-live");
    }
    caller.hang_up();
}

#[test]
fn one_thin_line_lowers_no_other_viewers_picture() {
    let _machine = machine::apart_and_alone();
    let server = Server::spawn_reachable(&[]);
    let networks = [Network::start(), Network::start(), Network::start()];
    let [here, near, far] = &networks;
    let lines = [near, far].map(|there| Wire::between(here, there, Conditions::default(), 1));
    let join = |network: &Network, id: &str, flag: &str| {
        let args = [&["room", "r", "--id", id, flag][..], &PICTURE, &STATS_OFTEN].concat();
        let mut client = Client::start_in(network, &server, &args);
        client.wait_for("joined");
        client
    };
    let mut sender = join(here, "sender", "--send-only");
    let mut viewers = [join(near, "near", "--receive-only"), join(far, "far", "--receive-only")];
    for viewer in &mut viewers {
        viewer.wait_for_stats("the whole picture", |stats| {
            stats.number("/video/width") == 640.0 && stats.number("/video/fps") > 25.0
        });
    }
    let [near, far] = &mut viewers;
    let (first, first_sent) = (near.fresh_stats("sender"), sender.fresh_stats("near"));
    lines[1].change(
        THERE,
        Conditions {
            rate: Some(300_000),
            delay: Duration::from_millis(20),
            queue: Duration::from_millis(500),
            ..Conditions::default()
        },
    );
    let smaller = far.wait_for_stats("a smaller picture without gaps", |stats| {
        stats.number("/video/width") < 640.0 && stats.number("/video/fps") > 20.0
    });
    sender.wait_for_stats("the tier", |stats| {
        stats.peer() == Some("far") && stats.text("/sent/video_tier") == "half"
    });
    assert!(smaller.number("/video/width") >= 160.0);
    // All that the other viewer saw meanwhile. Before the other line is known to be thin, it lowers the bit rate a little.
    let (seen, sent) = (near.stats_since(first), sender.stats_since(first_sent));
    assert_flows(&seen, &sent, 30.0, "to the viewer with the good line");
    let [first, .., last] = &seen[..] else { panic!("two statistics, not {seen:?}") };
    let kbits =
        (last.number("/video/bytes") - first.number("/video/bytes")) * 8.0 / (last.ms() - first.ms()) as f64;
    assert!(kbits > 560.0, "{kbits} kbit/s");
    let (near, sender) = (near.fresh_stats("sender"), sender.fresh_stats("near"));
    assert_eq!((near.number("/video/width"), sender.text("/sent/video_tier")), (640.0, "full"));
}
