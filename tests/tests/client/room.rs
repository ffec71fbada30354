//! Rooms of clients over a real server: each member receives each other member under the right uid, and a faulty
//! member only affects itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Network, Server, Socket,
    client::{Event, STATS_OFTEN},
    flow::assert_undisturbed,
    machine,
};
use serde_json::{Value, json};

/// Uids, colours and tones of the members.
const RED: (&str, [u8; 3], u32) = ("red", [255, 0, 0], 440);
const GREEN: (&str, [u8; 3], u32) = ("green", [0, 255, 0], 660);
const BLUE: (&str, [u8; 3], u32) = ("blue", [0, 0, 255], 880);

/// How long the good members are watched beside a faulty one.
const WATCHED: Duration = Duration::from_secs(9);

/// A member whose uid is its colour.
fn join(server: &Server, member: (&str, [u8; 3], u32)) -> Client {
    join_with(server, member, &[])
}

fn join_with(server: &Server, (name, _, hz): (&str, [u8; 3], u32), more: &[&str]) -> Client {
    let hz = hz.to_string();
    let args = ["room", "lobby", "--id", name, "--video-pattern", name, "--audio-freq", &hz];
    let args = [&args[..], &["--size", "320x240", "--timeout", "5"], more].concat();
    let mut client = Client::start(server, &args);
    client.wait_for("joined");
    client
}

/// Waits until `client` receives video and sound of `other`.
#[track_caller]
fn expect(client: &mut Client, other: (&str, [u8; 3], u32)) {
    let (name, color, hz) = other;
    client.wait_for_stats(&format!("{name}'s colour and tone"), |stats| {
        stats.peer() == Some(name) && shows(stats, color) && sounds(stats, hz)
    });
}

/// Two members that receive each other.
#[track_caller]
fn two(server: &Server) -> (Client, Client) {
    let (mut red, mut green) = (join(server, RED), join(server, GREEN));
    expect(&mut red, GREEN);
    expect(&mut green, RED);
    (red, green)
}

fn shows(stats: &Event, color: [u8; 3]) -> bool {
    let near = |seen: [u8; 3]| seen.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 24);
    stats.color().is_some_and(near) && stats.number("/video/fps") > 10.0
}

fn sounds(stats: &Event, hz: u32) -> bool {
    (stats.number("/audio/pitch_hz") - f64::from(hz)).abs() < 15.0
}

#[test]
fn three_see_and_hear_each_other_and_come_and_go() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut red = join(&server, RED);
    let mut green = join(&server, GREEN);
    let mut blue = join(&server, BLUE);
    expect(&mut red, GREEN);
    expect(&mut red, BLUE);
    expect(&mut green, RED);
    expect(&mut green, BLUE);
    expect(&mut blue, RED);
    expect(&mut blue, GREEN);

    // One member hangs up, and returns under its uid.
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, Duration::from_secs(6), || {
        blue.hang_up()
    });
    for client in [&mut red, &mut green] {
        client.forget();
    }
    let mut blue = join(&server, BLUE);
    red.wait_for_peer("blue", "peer-first-video");
    expect(&mut red, BLUE);
    expect(&mut blue, GREEN);

    // It is killed, and returns at once.
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, Duration::from_secs(6), || {
        blue.process().signal("KILL")
    });
    let mut blue = join(&server, BLUE);
    expect(&mut blue, RED);
    expect(&mut green, BLUE);
    for client in [red, green, blue] {
        client.hang_up();
    }
}

/// Two members that receive each other, and are not affected by a faulty third one while `misbehave` runs.
fn beside_two_good_ones(misbehave: impl FnOnce(&Server, &mut Socket)) {
    let server = Server::start(&[]);
    let (mut red, mut green) = two(&server);
    let mut bad = Socket::register(&server, "bad");
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, WATCHED, || {
        misbehave(&server, &mut bad)
    });
    for client in [red, green] {
        client.hang_up();
    }
}

fn enter(bad: &mut Socket) {
    bad.send("ROOM lobby");
    bad.expect("ROOM_OK red green");
}

fn say(bad: &mut Socket, to: &str, msg: &Value) {
    bad.send(&format!("ROOM_PEER_MSG {to} {msg}"));
}

fn offer(sdp: &str) -> Value {
    json!({"sdp": {"type": "offer", "sdp": sdp}})
}

/// A valid offer.
fn good_offer() -> String {
    let common = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\n\
         a=fingerprint:sha-256 {}\r\na=rtcp-mux\r\na=sendrecv\r\n",
        ["AB"; 32].join(":")
    );
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{common}a=rtpmap:111 opus/48000/2\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n{common}a=rtpmap:96 VP8/90000\r\n"
    )
}

/// How a member answers an offer, if it does.
type Answering = fn(&str) -> Option<Value>;

/// Members that were there first, so that the good ones offer to them.
#[test]
fn those_that_never_answer_reject_the_picture_or_answer_garbage_cost_only_themselves() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let never: Answering = |_| None;
    let rejects: Answering = |offer| Some(answer_to(offer, |line| line.replace("m=video 9", "m=video 0")));
    let garbage: Answering = |_| Some(json!({"sdp": {"type": "answer", "sdp": "garbage"}}));
    let bad = [("never-answers", never), ("rejects-picture", rejects), ("answers-garbage", garbage)];
    let answering = bad.map(|(uid, answer)| {
        let mut bad = Socket::register(&server, uid);
        bad.send("ROOM lobby");
        assert!(bad.receive_text().starts_with("ROOM_OK"));
        thread::spawn(move || answer_offers(&mut bad, answer))
    });
    let (mut red, mut green) = two(&server);
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, WATCHED, || {});
    for (uid, _) in bad {
        red.wait_for_peer(uid, "peer-failed");
    }
    for client in [red, green] {
        client.hang_up();
    }
    drop(server);
    for answering in answering {
        answering.join().expect("the bad one only misbehaves");
    }
}

/// Answers every offer until the server ends.
fn answer_offers(bad: &mut Socket, answer: Answering) {
    while let Some(text) = bad.try_receive_text() {
        let mut words = text.splitn(3, ' ');
        let (verb, from, msg) = (words.next(), words.next(), words.next());
        let (Some("ROOM_PEER_MSG"), Some(from), Some(msg)) = (verb, from, msg) else { continue };
        let message: Value = serde_json::from_str(msg).unwrap_or_default();
        let offer = message.pointer("/sdp/sdp").and_then(Value::as_str);
        if let Some(answer) = offer.and_then(answer) {
            let _ = bad.try_send(&format!("ROOM_PEER_MSG {from} {answer}"));
        }
    }
}

/// A valid answer to an offer, except for its transport, which has no peer.
fn answer_to(offer: &str, change: impl Fn(&str) -> String) -> Value {
    let lines = offer.lines().filter(|line| !line.starts_with("a=candidate"));
    let sdp: String = lines
        .map(|line| line.replace("a=setup:actpass", "a=setup:active"))
        .map(|line| change(&line) + "\r\n")
        .collect();
    json!({"sdp": {"type": "answer", "sdp": sdp}})
}

#[test]
fn one_whose_network_is_cut_costs_only_itself() {
    let _machine = machine::apart();
    let server = Server::spawn_reachable(&["--keepalive-timeout", "2", "--pong-timeout", "6"]);
    let mut red = join(&server, RED);
    let mut green = join(&server, GREEN);
    let network = Network::start();
    let args = ["room", "lobby", "--id", "blue", "--video-pattern", "blue", "--audio-freq", "880"];
    let args = [&args[..], &["--size", "320x240"], &STATS_OFTEN].concat();
    let mut blue = Client::start_in(&network, &server, &args);
    expect(&mut red, BLUE);
    expect(&mut green, BLUE);
    expect(&mut blue, RED);
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, WATCHED, || network.cut());
    for client in [&mut red, &mut green] {
        client.wait_for_any("blue to be given up", DEADLINE, |event| {
            event.peer() == Some("blue") && ["peer-left", "peer-failed"].contains(&event.name())
        });
    }
}

#[test]
fn those_that_never_offer_never_connect_or_send_garbage_cost_only_themselves() {
    let _machine = machine::busy();
    beside_two_good_ones(|server, silent| {
        enter(silent);
        let mut unreachable = Socket::register(server, "unreachable");
        let mut babbler = Socket::register(server, "babbler");
        for bad in [&mut unreachable, &mut babbler] {
            bad.send("ROOM lobby");
            assert!(bad.receive_text().starts_with("ROOM_OK"));
        }
        for to in ["red", "green"] {
            say(&mut unreachable, to, &offer(&good_offer()));
            babbler.send(&format!("ROOM_PEER_MSG {to} no json"));
            say(&mut babbler, to, &json!({"ice": {"candidate": "garbage", "sdpMLineIndex": 7}}));
            say(&mut babbler, to, &offer("garbage"));
            say(&mut babbler, to, &offer(&good_offer().replace("BUNDLE 0 1", "BUNDLE 7")));
            say(&mut babbler, to, &json!({"sdp": {"type": "answer", "sdp": good_offer()}}));
        }
        // They stay for as long as the good ones are watched.
        thread::sleep(WATCHED);
    });
}

#[test]
fn one_that_floods_costs_only_itself() {
    let _machine = machine::busy();
    beside_two_good_ones(|_, bad| {
        enter(bad);
        for to in ["red", "green"] {
            say(bad, to, &offer(&good_offer()));
            for port in 1..=10_000 {
                let line = format!("candidate:1 1 UDP 100 127.0.0.1 {port} typ host");
                say(bad, to, &json!({"ice": {"candidate": line, "sdpMLineIndex": 0}}));
            }
        }
    });
}

#[test]
fn one_that_starts_over_without_end_is_shunned() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut red = join(&server, RED);
    let mut bad = Socket::register(&server, "bad");
    bad.send("ROOM lobby");
    bad.expect("ROOM_OK red");
    for number in 0..50 {
        if number % 3 == 2 {
            bad.send("ROOM_PEER_MSG red ERROR enough for now");
        }
        say(&mut bad, "red", &offer(&good_offer().replace("abcd", &format!("abcd{number}"))));
    }
    red.wait_for_any("the end of red's patience", DEADLINE, |event| {
        event.peer() == Some("bad") && event.text("/reason").contains("again and again")
    });
    red.forget();
    say(&mut bad, "red", &offer(&good_offer()));
    let mut green = join(&server, GREEN);
    expect(&mut red, GREEN);
    expect(&mut green, RED);
    let heard = red.find(Instant::now(), |event| event.peer() == Some("bad"));
    assert!(heard.is_none(), "shunned, but {heard:?}");
    for client in [red, green] {
        client.hang_up();
    }
}

#[test]
fn one_that_stops_reading_costs_only_itself() {
    let _machine = machine::busy();
    // The socket is read only up to ROOM_OK: later offers and candidates pile up.
    beside_two_good_ones(|server, bad| {
        enter(bad);
        for _ in 0..3 {
            let mut blue = join(server, BLUE);
            blue.wait_for_peer("red", "peer-connected");
            blue.hang_up();
        }
    });
}

#[test]
fn one_that_is_suspended_costs_only_itself_and_is_back_when_resumed() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut red = join(&server, RED);
    let mut green = join(&server, GREEN);
    let mut blue = join(&server, BLUE);
    expect(&mut red, BLUE);
    expect(&mut green, BLUE);
    // Longer than the timeout for a silent member.
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, Duration::from_secs(16), || {
        blue.process().signal("STOP")
    });
    blue.process().signal("CONT");
    red.forget();
    expect(&mut red, BLUE);
    expect(&mut blue, RED);
}

#[test]
fn a_member_that_wants_no_picture_gets_the_sound() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut red = join(&server, RED);
    let mut deaf = Client::start(&server, &["room", "lobby", "--id", "listener", "--no-video"]);
    deaf.wait_for_stats("red's tone without a picture", |stats| {
        sounds(stats, 440) && stats.number("/video/frames") == 0.0
    });
    red.wait_for_stats("the listener's tone", |stats| sounds(stats, 440));
}

/// Two members that only receive send each other no media whose absence could be noticed.
#[test]
fn two_members_that_only_receive_do_not_give_each_other_up() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let _red = join(&server, RED);
    let mut watchers = ["one", "two"].map(|id| {
        let mut watcher = Client::start(&server, &["room", "lobby", "--id", id, "--receive-only"]);
        watcher.wait_for("joined");
        watcher
    });
    let [one, two] = &mut watchers;
    for (watcher, other) in [(one, "two"), (two, "one")] {
        watcher.wait_for_stats("16 s of silence, borne", |stats| {
            stats.peer() == Some(other) && stats.number("/silence_ms") > 16_000.0
        });
        watcher.forget();
        expect(watcher, RED);
    }
}

#[test]
fn those_beyond_the_limit_are_declined() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut host = Client::start(&server, &["room", "lobby", "--id", "host", "--max-peers", "1"]);
    host.wait_for("joined");
    let mut red = join(&server, RED);
    host.wait_for_peer("red", "peer-first-video");
    let mut green = join(&server, GREEN);
    assert!(green.wait_for_peer("host", "peer-failed").text("/reason").contains("enough"));
    expect(&mut red, GREEN);
    expect(&mut green, RED);
}

#[test]
fn media_go_on_while_the_server_is_gone_and_until_there_are_new_connections() {
    let _machine = machine::alone();
    let mut server = Server::start(&[]);
    let port = server.port();
    // So often that there is a report during each negotiation.
    let often = [STATS_OFTEN[0], "0.1"];
    let mut red = join_with(&server, RED, &often);
    let mut green = join_with(&server, GREEN, &often);
    expect(&mut red, GREEN);
    expect(&mut green, RED);
    red.forget();
    green.forget();
    server.process().kill();
    let _server = Server::start_on(port, &["--disable-ssl"]);
    for (client, other) in [(&mut red, "green"), (&mut green, "red")] {
        let (mut is_back, mut live) = (false, 0);
        client.wait_for_any("a new connection", DEADLINE, |event| {
            let is_bad = ["peer-left", "peer-failed", "picture-stale", "path-lost"].contains(&event.name());
            assert!(!is_bad, "{event:?}");
            is_back |= event.name() == "joined";
            let shows =
                event.name() == "stats" && event.peer() == Some(other) && event.number("/video/fps") > 0.0;
            live += u32::from(is_back && shows);
            event.name() == "peer-connected"
        });
        assert!(live > 0, "no pictures came until there was a new connection");
        client.forget();
    }
    expect(&mut red, GREEN);
    expect(&mut green, RED);
}

#[test]
fn a_member_that_is_not_back_with_the_server_has_left() {
    let _machine = machine::busy();
    let mut server = Server::start(&[]);
    let port = server.port();
    let (mut red, mut green) = two(&server);
    server.process().kill();
    green.process().signal("KILL");
    let _server = Server::start_on(port, &["--disable-ssl"]);
    red.wait_for("joined");
    red.wait_for_peer("green", "peer-left");
}

#[test]
fn whoever_is_refused_on_the_way_back_tries_again() {
    let _machine = machine::busy();
    let mut server = Server::start(&[]);
    let port = server.port();
    let mut red = join(&server, RED);
    server.process().signal("KILL");
    red.wait_for("reconnecting");
    server.process().wait();
    // Another peer takes the place first.
    red.process().signal("STOP");
    let server = Server::start_on(port, &["--disable-ssl", "--max-room-members", "1"]);
    let mut other = Socket::register(&server, "other");
    other.send("ROOM lobby");
    other.expect("ROOM_OK ");
    red.process().signal("CONT");
    red.wait_for_any("the refusal", DEADLINE, |event| {
        event.name() == "reconnecting" && event.text("/reason").contains("full")
    });
    red.forget();
    other.close();
    red.wait_for("joined");
    red.hang_up();
}

#[test]
fn a_message_larger_than_anything_it_reads_ends_a_client() {
    let _machine = machine::busy();
    let server = Server::start(&["--max-message", "4000000"]);
    let mut red = join(&server, RED);
    let mut other = Socket::register(&server, "other");
    other.expect_nothing("ROOM lobby", "ROOM_OK red");
    // The largest message that is read, with a uid that is longer than ours.
    other.send(&format!("ROOM_PEER_MSG red {}", "x".repeat(1 << 20)));
    red.wait_for_peer("other", "peer-joined");
    other.send(&format!("ROOM_PEER_MSG red {}", "x".repeat(2 << 20)));
    assert_eq!(red.exit_code(), 14);
    let errors = red.errors();
    assert!(errors.contains("cannot read a message from the server: it has 20971"), "{errors}");
    assert!(!red.rest().iter().any(|event| event.name() == "reconnecting"), "it would come again");
}

#[test]
fn the_duration_is_over_when_it_is_also_before_the_server_lets_us_in() {
    let _machine = machine::busy();
    let server = Server::start(&["--max-notice-rate", "1"]);
    // This address has used so much of its limit that it has to wait for half a minute.
    let mut other = Socket::register(&server, "other");
    let _members: Vec<Socket> = (1..17)
        .map(|i| {
            let address = std::net::Ipv4Addr::new(127, 0, 7, i).into();
            let mut socket = Socket::connect_from(&server, address).hello(&format!("m{i}"));
            socket.send("ROOM lobby");
            socket.receive_text();
            socket
        })
        .collect();
    other.send("ROOM lobby");
    other.receive_text();
    let args = ["room", "lobby", "--id", "red", "--view", "none", "--duration", "3"];
    let mut red = Client::start(&server, &args);
    red.wait_for_any("the refusal", DEADLINE, |event| {
        event.name() == "reconnecting" && event.text("/reason").contains("too many notices")
    });
    assert_eq!(red.exit_code(), 3);
    assert!(red.errors().contains("has not let us into the room"), "{}", red.errors());
    assert!(!red.rest().iter().any(|event| event.name() == "joined"));
}

#[test]
fn texts_reach_every_member() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut red = join(&server, RED);
    let mut green = join(&server, GREEN);
    let mut other =
        Client::start(&server, &["room", "lobby", "--id", "other", "--send-text", "good evening"]);
    for client in [&mut red, &mut green] {
        assert_eq!(client.wait_for_peer("other", "data").text("/text"), "good evening");
    }
    other.process().signal("INT");
    assert_eq!(other.exit_code(), 0);
}

/// Makes a page send texts on its data channels as fast as possible, or open channels without end.
const FLOOD: &str = r"
    const flood = (connection, channel) => {
        const text = 'x'.repeat(100);
        const pour = () => {
            if (channel.readyState !== 'open') return;
            while (channel.bufferedAmount < 1 << 20) channel.send(text);
            setTimeout(pour, 0);
        };
        if (window.floodWith === 'texts') return pour();
        for (let number = 0; number < 500; number++) connection.createDataChannel('more');
    };
    const watch = (connection, channel) => {
        const wait = setInterval(() => {
            if (!window.floodWith || channel.readyState !== 'open') return;
            clearInterval(wait);
            flood(connection, channel);
        }, 10);
        return channel;
    };
    const create = RTCPeerConnection.prototype.createDataChannel;
    window.RTCPeerConnection = class extends RTCPeerConnection {
        createDataChannel(...args) {
            const channel = create.apply(this, args);
            return args[0] === 'more' ? channel : watch(this, channel);
        }
    };
    null";

/// A page that floods is ended by the members, and they go on.
fn flood(with: &str, words: &str) {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let browser = Browser::start(BrowserOptions::default());
    let (mut red, mut green) = two(&server);
    let page = browser.open(&format!("{}?room=lobby&id=bad", server.url()));
    page.eval(FLOOD);
    page.wait_for("the lobby", "document.querySelector('#join:not([disabled])')", DEADLINE);
    page.click("#join");
    red.wait_for_peer("bad", "data-open");
    green.wait_for_peer("bad", "data-open");
    let before = [red.process().memory(), green.process().memory()];
    assert_undisturbed([(&mut red, "red"), (&mut green, "green")], 30.0, Duration::from_secs(7), || {
        page.eval(&format!("window.floodWith = '{with}'"));
    });
    for (client, before) in [&mut red, &mut green].into_iter().zip(before) {
        let failed = client.wait_for_peer("bad", "peer-failed");
        assert!(failed.text("/reason").contains(words), "{failed:?}");
        let grown = client.process().memory().saturating_sub(before);
        assert!(grown < 20 << 20, "{grown} bytes more");
    }
    red.forget();
    red.fresh_stats("green");
    let rest = red.wait_for_any("a second", DEADLINE, |event| event.name() == "stats");
    assert_eq!(rest.peer(), Some("green"), "the flooder is shunned");
    for client in [red, green] {
        client.hang_up();
    }
}

#[test]
fn whoever_floods_with_texts_is_ended() {
    flood("texts", "too many texts");
}

#[test]
fn whoever_opens_data_channels_without_end_is_ended() {
    flood("channels", "data channels");
}
