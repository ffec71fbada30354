//! Many connections over real sockets: costs for others are charged to the peer that causes them, and peers that leave
//! together leave quickly.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use callbin_tests::{DEADLINE, Server, Socket, hook::Hook, http, machine, socket::Received, wait_until};

/// A loopback address: a separate owner.
fn owner(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 7, last).into()
}

/// Joins the room `r`.
fn join(server: &Server, address: IpAddr, uid: &str) -> Socket {
    let mut socket = Socket::connect_from(server, address).hello(uid);
    socket.send("ROOM r");
    let answer = socket.receive_text();
    assert!(answer.starts_with("ROOM_OK"), "{answer}");
    socket
}

fn crowd(server: &Server, count: usize) -> Vec<Socket> {
    (0..count).map(|i| join(server, owner(1), &format!("m{i}"))).collect()
}

/// All messages until the connection ends.
fn hear(mut socket: Socket) -> (Vec<String>, Received) {
    let mut texts = Vec::new();
    loop {
        match socket.receive() {
            Received::Text(text) => texts.push(text),
            end => return (texts, end),
        }
    }
}

#[test]
fn three_hundred_join_one_after_the_other_from_one_address() {
    let _machine = machine::shared();
    // Until all have joined, the sockets are not read and answer no pings.
    let server = Server::start(&["--keepalive-timeout", "600"]);
    let mut members = crowd(&server, 300);
    for (place, member) in members.iter_mut().enumerate() {
        for i in place + 1..300 {
            member.expect(&format!("ROOM_PEER_JOINED m{i}"));
        }
        let others: Vec<_> = (0..300).filter(|i| *i != place).map(|i| format!("m{i}")).collect();
        if place % 100 == 0 {
            member.expect_nothing("ROOM_PEER_LIST", &format!("ROOM_PEER_LIST {}", others.join(" ")));
        }
    }
}

mod notices {
    use super::*;

    #[test]
    fn lists_beyond_the_rate_wait_and_nobody_else_does() {
        let _machine = machine::shared();
        let server = Server::start(&["--max-notice-rate", "10"]);
        let _others: Vec<Socket> = (2..6).map(|i| join(&server, owner(i), &format!("m{i}"))).collect();
        let (mut greedy, mut other) = (join(&server, owner(1), "greedy"), join(&server, owner(9), "other"));
        greedy.expect("ROOM_PEER_JOINED other");
        let list = "ROOM_PEER_LIST m2 m3 m4 m5 other";
        let start = Instant::now();
        for _ in 0..8 {
            greedy.send("ROOM_PEER_LIST");
        }
        // Each list has six names, including its own; joining used eight of the burst of twenty.
        other.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST m2 m3 m4 m5 greedy");
        for _ in 0..8 {
            greedy.expect(list);
        }
        let took = start.elapsed();
        assert!(took > Duration::from_secs(2), "eight lists after {took:?}");
        other.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST m2 m3 m4 m5 greedy");
    }

    #[test]
    fn who_would_wait_for_too_long_is_to_come_back_later() {
        let _machine = machine::shared();
        let server = Server::start(&["--max-notice-rate", "1"]);
        let _others: Vec<Socket> = (2..18).map(|i| join(&server, owner(i), &format!("m{i}"))).collect();
        // A join costs 32; the burst is two, and one is regained per second.
        let mut member = join(&server, owner(1), "member");
        member.send("ROOM_PEER_LIST");
        member.expect_close(1013, "too many notices, try again later");
        let mut same = Socket::connect_from(&server, owner(1)).hello("same");
        // Requests that concern no other peer still cost nothing.
        same.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        same.send("ROOM r");
        same.expect_close(1013, "too many notices, try again later");
        let refused = "callbin_refusals_total{reason=\"too many notices, try again later\"}";
        assert_eq!(server.metric(refused), Some(2.0));
    }

    /// The room may fill while the webhook decides about a join.
    #[test]
    fn a_join_costs_what_it_causes_when_it_is_carried_out() {
        let _machine = machine::shared();
        let (end, until_the_end) = mpsc::channel::<()>();
        let until_the_end = Mutex::new(until_the_end);
        let hook = Hook::start(move |asked, _| {
            if asked.body["event"] == "join" && asked.body["uid"] == "late" {
                let _ = until_the_end.lock().expect("not poisoned").recv();
            }
            ("200 OK".into(), r#"{"allow":true}"#.into())
        });
        let flags = ["--max-notice-rate", "1", "--webhook-url", &hook.url(), "--webhook-timeout", "30"];
        let server = Server::start(&flags);
        let mut late = Socket::connect_from(&server, owner(1)).hello("late");
        late.send("ROOM r");
        wait_until("the question about its join", DEADLINE, || (hook.asked().len() == 2).then_some(()));
        let _others: Vec<Socket> = (2..14).map(|i| join(&server, owner(i), &format!("m{i}"))).collect();
        drop(end);
        assert!(late.receive_text().starts_with("ROOM_OK m2 m3"));
        let mut next = Socket::connect_from(&server, owner(1)).hello("next");
        next.send("ROOM r");
        next.expect_close(1013, "too many notices, try again later");
    }

    #[test]
    fn whoever_waits_is_served_in_the_end_and_answers_pings_meanwhile() {
        let _machine = machine::shared();
        let flags = ["--max-notice-rate", "2", "--keepalive-timeout", "1", "--pong-timeout", "1"];
        let server = Server::start(&flags);
        let others: Vec<Socket> = (2..7).map(|i| join(&server, owner(i), &format!("m{i}"))).collect();
        let mut member = join(&server, owner(1), "member");
        let start = Instant::now();
        member.send("ROOM_PEER_LIST");
        // The others are not read, and answer no pings.
        while !member.receive_text().starts_with("ROOM_PEER_LIST") {}
        let took = start.elapsed();
        assert!(took > Duration::from_millis(2500), "ten of them cost five seconds, less two: {took:?}");
        drop(others);
    }
}

mod leaving {
    use super::*;

    const SECRET: &str = "of the operator";

    fn start() -> (Server, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("secret");
        fs::write(&path, SECRET).expect("there is room");
        let path = path.to_str().expect("the path is text");
        let admin = ["--admin-addr", "127.0.0.1:0", "--admin-secret-file", path];
        let many = ["--keepalive-timeout", "600", "--max-room-members", "0", "--max-notice-rate", "0"];
        (Server::start(&[&admin[..], &many[..]].concat()), folder)
    }

    #[test]
    fn the_members_of_a_room_that_is_closed_do_not_hear_of_each_other() {
        let _machine = machine::shared();
        let (server, _folder) = start();
        let members = crowd(&server, 300);
        let bearer = format!("Bearer {SECRET}");
        let headers = [("Authorization", bearer.as_str())];
        let answer = http::request(server.admin_address(), "DELETE", "/admin/rooms/r", &headers);
        assert_eq!((answer.status, answer.json()["closed"].as_u64()), (200, Some(300)), "{answer:?}");
        server.wait_for_log("lines about the same event left out");
        // All members are removed at once, though notifying them takes a while.
        join(&server, owner(1), "m7").expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST ");
        for (place, member) in members.into_iter().enumerate() {
            let (texts, end) = hear(member);
            assert!(texts.iter().all(|text| text.starts_with("ROOM_PEER_JOINED")), "{texts:?}");
            assert!(texts.len() <= 299 - place, "it hears of those who came after it, once");
            assert_eq!(end, Received::Closed(Some((1008, "closed by an operator".into()))));
        }
    }

    #[test]
    fn those_who_stay_hear_of_each_who_left() {
        let _machine = machine::shared();
        let (server, _folder) = start();
        let mut stays = join(&server, owner(1), "stays");
        let members = crowd(&server, 300);
        let mut left: Vec<String> = (0..300).map(|i| format!("ROOM_PEER_LEFT m{i}")).collect();
        for i in 0..300 {
            stays.expect(&format!("ROOM_PEER_JOINED m{i}"));
        }
        members.into_iter().for_each(Socket::cut);
        let mut heard: Vec<String> = (0..300).map(|_| stays.receive_text()).collect();
        heard.sort();
        left.sort();
        assert_eq!(heard, left);
        stays.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST ");
    }
}

mod uids {
    use super::*;

    #[test]
    fn have_128_bytes_at_most_unless_a_flag_allows_more() {
        let _machine = machine::shared();
        for (flags, longest) in [(&[][..], 128), (&["--max-uid-length", "1024"][..], 1024)] {
            let server = Server::start(flags);
            Socket::register(&server, &"x".repeat(longest));
            let mut socket = Socket::connect(&server);
            socket.send(&format!("HELLO {}", "x".repeat(longest + 1)));
            socket.expect_close(1002, "invalid peer uid");
        }
    }
}

mod log {
    use super::*;

    /// Causes this many refusals.
    fn refusals(server: &Server, count: usize) {
        let mut socket = Socket::connect_from(server, owner(1)).hello(&"x".repeat(128));
        for _ in 0..count / 100 {
            (0..100).for_each(|_| socket.send("SESSION nobody"));
            (0..100).for_each(|_| socket.expect("ERROR peer 'nobody' not found"));
        }
        socket.close();
        server.wait_for_log("left");
    }

    #[test]
    fn has_no_line_for_each_refusal() {
        let _machine = machine::shared();
        let server = Server::start(&[]);
        refusals(&server, 5000);
        let log = server.log();
        assert!(log.len() < 2000, "{} bytes", log.len());
        assert!(log.contains(&format!("{}…", "x".repeat(64))), "{log}");
        assert!(!log.contains(&"x".repeat(65)), "{log}");
    }

    #[test]
    fn has_so_many_lines_about_one_address_and_counts_the_rest() {
        let _machine = machine::shared();
        let server = Server::start(&["--log", "callbin_server=debug", "--max-log-rate", "20"]);
        let start = Instant::now();
        let mut socket = Socket::connect_from(&server, owner(1)).hello("greedy");
        for _ in 0..2000 {
            socket.expect_nothing("SESSION nobody", "ERROR peer 'nobody' not found");
        }
        let most = 200 + 20 * (start.elapsed().as_secs() as usize + 1);
        // Other addresses still have their own log lines.
        let _other = Socket::connect_from(&server, owner(2)).hello("other");
        server.wait_for_log("uid=other ");
        let lines = server.log().matches(" refused").count();
        assert!((100..=most).contains(&lines), "{lines} lines");
        wait_until("the next line", DEADLINE, || {
            socket.expect_nothing("SESSION nobody", "ERROR peer 'nobody' not found");
            server.log().contains("lines about one address left out").then_some(())
        });
    }
}
