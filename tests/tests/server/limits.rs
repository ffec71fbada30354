//! Each limit over real sockets: a request beyond it is refused with a reason, others still succeed.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use callbin_tests::{
    DEADLINE, Server, Socket,
    http::{self, Response, connect_from, upgrade_on},
    keys::{Algorithm, Keys},
    program,
    socket::Received,
    wait_until,
};
use serde_json::json;

/// A loopback address: a separate owner.
fn owner(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 7, last).into()
}

fn upgrade_from(server: &Server, source: IpAddr, headers: &[(&str, &str)]) -> Response {
    upgrade_on(connect_from(source, server.address()), "/", headers)
}

#[track_caller]
fn assert_busy(response: &Response, status: u16, words: &str) {
    assert_eq!((response.status, response.body.trim()), (status, words), "{response:?}");
    assert_eq!(response.header("retry-after"), Some("10"));
    assert_eq!(response.header("connection"), Some("close"));
}

const FROM_HERE: &str = "too many connections from here";

mod connections {
    use super::*;

    #[test]
    fn of_one_address() {
        let server = Server::start(&["--max-owner-connections", "2"]);
        let first = Socket::connect_from(&server, owner(1)).hello("a");
        let _second = Socket::connect_from(&server, owner(1)).hello("b");
        assert_busy(&upgrade_from(&server, owner(1), &[]), 429, FROM_HERE);
        let _other = Socket::connect_from(&server, owner(2)).hello("c");
        first.close();
        wait_until("the place", DEADLINE, || {
            (upgrade_from(&server, owner(1), &[]).status == 101).then_some(())
        });
        assert!(
            server.metric("callbin_refusals_total{reason=\"too many connections from here\"}") >= Some(1.0)
        );
    }

    #[test]
    fn of_one_identity_from_wherever() {
        let keys = Keys::new(Algorithm::Hs256);
        let server = Server::start(&["--token-key-file", &keys.public(), "--max-owner-connections", "2"]);
        let bearer = |sub: &str| format!("Bearer {}", keys.token(json!({ "sub": sub })));
        let connect = |last, sub: &str| {
            let stream = connect_from(owner(last), server.address());
            Socket::handshake(stream, &server.ws_url(), &[("Authorization", &bearer(sub))])
        };
        let _held = [connect(1, "alice"), connect(2, "alice")];
        let alice = bearer("alice");
        assert_busy(&upgrade_from(&server, owner(3), &[("Authorization", &alice)]), 429, FROM_HERE);
        connect(3, "bob").hello("bob");
    }

    #[test]
    fn of_everybody() {
        let server = Server::start(&["--max-connections", "3", "--max-owner-connections", "0"]);
        let mut held: Vec<Socket> =
            (1..=3).map(|i| Socket::connect_from(&server, owner(i)).hello(&format!("p{i}"))).collect();
        assert_busy(&upgrade_from(&server, owner(9), &[]), 503, "the server is full");
        // Existing connections are not affected.
        for socket in &mut held {
            socket.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        }
        drop(held);
        wait_until("a place", DEADLINE, || {
            (upgrade_from(&server, owner(9), &[]).status == 101).then_some(())
        });
    }

    #[test]
    fn that_never_become_a_websocket_count_too() {
        let server = Server::start(&["--max-owner-connections", "2", "--hello-timeout", "1"]);
        let silent = wait_until("both to be counted", DEADLINE, || {
            let silent = [connect_from(owner(1), server.address()), connect_from(owner(1), server.address())];
            (upgrade_from(&server, owner(1), &[]).status == 429).then_some(silent)
        });
        // Their timeout expires, and frees their places.
        wait_until("a place", DEADLINE, || {
            (upgrade_from(&server, owner(1), &[]).status == 101).then_some(())
        });
        drop(silent);
    }
}

mod rates {
    use super::*;

    #[test]
    fn of_registrations() {
        let server = Server::start(&["--max-registration-rate", "2"]);
        let register = |last, uid: &str| {
            let mut socket = Socket::connect_from(&server, owner(last));
            socket.send(&format!("HELLO {uid}"));
            socket.receive()
        };
        let hello = Received::Text("HELLO".into());
        let too_many = Received::Closed(Some((1013, "too many registrations, try again later".into())));
        let answers: Vec<Received> = (0..30).map(|i| register(1, &format!("a{i}"))).collect();
        let accepted = answers.iter().filter(|answer| **answer == hello).count();
        assert!((10..30).contains(&accepted), "a burst of ten, and two a second: {accepted}");
        assert!(answers.iter().all(|answer| *answer == hello || *answer == too_many), "{answers:?}");
        assert_eq!(register(2, "b"), hello, "others are not concerned");
        wait_until("the next second", DEADLINE, || (register(1, "later") == hello).then_some(()));
    }

    /// Sends messages until the server stops it, at most 10,000; returns how many.
    fn flood(socket: &mut Socket, text: &str) -> usize {
        (0..10_000).take_while(|_| socket.try_send(text)).count()
    }

    fn pair(server: &Server) -> (Socket, Socket) {
        let mut caller = Socket::connect_from(server, owner(1)).hello("caller");
        let callee = Socket::connect_from(server, owner(2)).hello("callee");
        caller.send("SESSION callee");
        caller.expect("SESSION_OK");
        (caller, callee)
    }

    /// Counts the texts until the connection ends; returns the count and how it ended.
    fn receive_all(socket: &mut Socket) -> (usize, Received) {
        let mut count = 0;
        loop {
            match socket.receive() {
                Received::Text(_) => count += 1,
                end => return (count, end),
            }
        }
    }

    #[test]
    fn of_messages() {
        let server = Server::start(&["--max-message-rate", "50"]);
        let mut bystander = Socket::connect_from(&server, owner(3)).hello("bystander");
        let (mut caller, mut callee) = pair(&server);
        flood(&mut caller, "x");
        let (relayed, end) = receive_all(&mut callee);
        // A burst of a hundred, minus HELLO and SESSION, then fifty a second.
        assert!((98..5000).contains(&relayed), "{relayed}");
        assert_eq!(end, Received::Closed(Some((1000, String::new()))));
        server.wait_for_log("too many messages");
        bystander.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        assert_eq!(server.metric("callbin_closes_total{reason=\"too many messages\"}"), Some(1.0));
    }

    #[test]
    fn of_bytes() {
        let flags = ["--max-byte-rate", "100000", "--max-message", "50000"];
        let server = Server::start(&flags);
        let (mut caller, mut callee) = pair(&server);
        // Within the burst.
        for _ in 0..3 {
            caller.send(&"x".repeat(50_000));
            assert_eq!(callee.receive_text().len(), 50_000);
        }
        flood(&mut caller, &"x".repeat(50_000));
        let (relayed, end) = receive_all(&mut callee);
        assert!(relayed < 20, "{relayed}");
        assert_eq!(end, Received::Closed(Some((1000, String::new()))));
        server.wait_for_log("too many messages");
    }

    #[test]
    fn who_floods_is_told_why() {
        let server = Server::start(&["--max-message-rate", "5"]);
        let mut socket = Socket::register(&server, "a");
        flood(&mut socket, "ignored");
        socket.expect_close(1008, "too many messages");
    }

    #[test]
    fn pings_count_as_messages() {
        let server = Server::start(&["--max-message-rate", "5"]);
        let mut socket = Socket::register(&server, "a");
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        for _ in 0..1000 {
            let _ = socket.tcp().write_all(&ping);
        }
        socket.expect_close(1008, "too many messages");
    }

    #[test]
    fn honest_use_is_far_below_the_defaults() {
        let server = Server::start(&[]);
        let (mut caller, mut callee) = pair(&server);
        for i in 0..500 {
            caller.send(&format!("{i}"));
            callee.expect(&format!("{i}"));
        }
        for i in 0..300 {
            Socket::register(&server, &format!("p{i}"));
        }
    }
}

mod bad_tokens {
    use super::*;

    const TOO_MANY: &str = "too many bad tokens from here";

    /// Requests a WebSocket with this token.
    fn upgrade_with(server: &Server, source: IpAddr, token: &str) -> Response {
        upgrade_from(server, source, &[("Authorization", &format!("Bearer {token}"))])
    }

    /// A token that was signed with another key.
    fn forged() -> String {
        Keys::new(Algorithm::Hs256).token(json!({}))
    }

    /// Sends forged tokens until the address is barred; returns how many got 401.
    fn guess(server: &Server, headers: &[(&str, &str)]) -> usize {
        let forged = format!("Bearer {}", forged());
        let headers = [&[("Authorization", &*forged)], headers].concat();
        let answers = (0..1000).map(|_| upgrade_from(server, owner(1), &headers));
        answers.take_while(|answer| answer.status == 401).count()
    }

    fn ask_for_ice_servers(server: &Server, headers: &[(&str, &str)]) -> Response {
        let mut stream = connect_from(owner(1), server.address());
        http::write_head(&mut stream, "GET", "/ice-servers?uid=a", headers);
        http::read_answer(&mut stream)
    }

    #[test]
    fn bar_their_address_for_a_while() {
        let keys = Keys::new(Algorithm::Hs256);
        let server = Server::start(&["--token-key-file", &keys.public(), "--max-bad-token-rate", "2"]);
        let good = keys.token(json!({}));
        let held = Socket::handshake(
            connect_from(owner(1), server.address()),
            &server.ws_url(),
            &[("Authorization", &format!("Bearer {good}"))],
        );
        let mut held = held.hello("held");
        let admitted = guess(&server, &[]);
        assert!((10..100).contains(&admitted), "ten at once, and two a second: {admitted}");

        assert_busy(&upgrade_with(&server, owner(1), &forged()), 429, TOO_MANY);
        assert_busy(&upgrade_with(&server, owner(1), &good), 429, TOO_MANY);
        assert_busy(&ask_for_ice_servers(&server, &[]), 429, TOO_MANY);
        // Requests without a token, other owners and existing connections still work.
        let mut stream = connect_from(owner(1), server.address());
        http::write_head(&mut stream, "GET", "/health", &[]);
        assert_eq!(http::read_answer(&mut stream).status, 200);
        assert_eq!(upgrade_with(&server, owner(2), &good).status, 101);
        held.expect_nothing("SESSION x", "ERROR peer 'x' not found");

        let counted = format!("callbin_refusals_total{{reason=\"{TOO_MANY}\"}}");
        assert_eq!(server.metric(&counted), Some(4.0));
        server.wait_for_log(TOO_MANY);
        assert_eq!(server.log().matches(TOO_MANY).count(), 1, "{}", server.log());
        wait_until("the end of the ban", DEADLINE, || {
            (upgrade_with(&server, owner(1), &good).status == 101).then_some(())
        });
    }

    #[test]
    fn are_those_that_somebody_made_up() {
        let keys = Keys::new(Algorithm::Hs256);
        let server = Server::start(&["--token-key-file", &keys.public(), "--max-bad-token-rate", "1"]);
        let bearer = |token: &str| format!("Bearer {token}");
        let (expired, good) = (bearer(&keys.token(json!({ "exp": 1 }))), bearer(&keys.token(json!({}))));
        let (early, garbage) = (bearer(&keys.token(json!({ "nbf": 9_999_999_999_u64 }))), bearer("a.b.c"));
        // A client without a token, with an expired one, with a wrong clock, and one with a
        // damaged token. Five would be too many.
        for headers in [vec![], vec![&expired], vec![&early], vec![&garbage]] {
            let headers: Vec<_> = headers.iter().map(|token| ("Authorization", token.as_str())).collect();
            for _ in 0..15 {
                assert_eq!(upgrade_from(&server, owner(1), &headers).status, 401, "{headers:?}");
                assert_eq!(ask_for_ice_servers(&server, &headers).status, 401, "{headers:?}");
            }
        }
        assert_eq!(upgrade_from(&server, owner(1), &[("Authorization", &good)]).status, 101);
        assert_eq!(ask_for_ice_servers(&server, &[("Authorization", &good)]).status, 200);
    }

    /// An Origin header is as easy to forge as a token.
    #[test]
    fn of_a_page_of_another_site_count_by_larger_networks_too() {
        let keys = Keys::new(Algorithm::Hs256);
        let flags =
            ["--token-key-file", &keys.public(), "--max-bad-token-rate", "1", "--trusted-proxy", "127.0.0.1"];
        let server = Server::start(&flags);
        let bearer = format!("Bearer {}", forged());
        let admitted = (0..250).filter(|i| {
            let address = format!("2001:db8:1:{i:x}::1");
            let headers = [
                ("Origin", "https://evil.example"),
                ("Authorization", &bearer),
                ("X-Forwarded-For", &address),
            ];
            http::upgrade(&server, "/", &headers).status == 401
        });
        let admitted = admitted.count();
        assert!((20..120).contains(&admitted), "twenty at once, and four a second of a /56: {admitted}");
    }

    #[test]
    fn of_a_page_of_another_site_bar_nobody_else() {
        let keys = Keys::new(Algorithm::Hs256);
        let (evil, own) = (("Origin", "https://evil.example"), ("Origin", "http://test"));
        let (good, forged) = (keys.token(json!({})), forged());
        let good = ("Authorization", format!("Bearer {good}"));
        let forged = ("Authorization", format!("Bearer {forged}"));
        let (good, forged) = ((good.0, good.1.as_str()), (forged.0, forged.1.as_str()));
        let flags = ["--token-key-file", &keys.public(), "--max-bad-token-rate", "1"];
        let assert_others_are_served = |server: &Server| {
            for headers in [&[good][..], &[good, own]] {
                assert_eq!(upgrade_from(server, owner(1), headers).status, 101, "{headers:?}");
                assert_eq!(ask_for_ice_servers(server, headers).status, 200, "{headers:?}");
            }
        };
        // No allowed origins: the page is barred by its origin.
        let server = Server::start(&flags);
        wait_until("the page to be barred", DEADLINE, || {
            (upgrade_from(&server, owner(1), &[forged, evil]).status == 429).then_some(())
        });
        assert_busy(&ask_for_ice_servers(&server, &[forged, evil]), 429, TOO_MANY);
        assert_others_are_served(&server);
        // Allowed origins set: a page with another origin, or requests without one, such as for images.
        let server = Server::start(&[&flags[..], &["--allowed-origin", "http://test"]].concat());
        for header in [evil, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")] {
            for _ in 0..10 {
                assert_eq!(ask_for_ice_servers(&server, &[forged, header]).status, 403, "{header:?}");
                assert_eq!(upgrade_from(&server, owner(1), &[forged, header]).status, 403, "{header:?}");
            }
        }
        assert_others_are_served(&server);
        for site in ["same-origin", "none"] {
            assert_eq!(ask_for_ice_servers(&server, &[good, ("Sec-Fetch-Site", site)]).status, 200);
        }
    }

    #[test]
    fn bar_the_client_and_not_its_proxy() {
        let keys = Keys::new(Algorithm::Hs256);
        let flags = ["--max-bad-token-rate", "2", "--trusted-proxy", "127.0.7.0/24"];
        let server = Server::start(&[&["--token-key-file", &keys.public()], &flags[..]].concat());
        let bearer = format!("Bearer {}", keys.token(json!({})));
        let from = |client: &str| {
            upgrade_from(&server, owner(1), &[("Authorization", &bearer), ("X-Forwarded-For", client)])
        };
        guess(&server, &[("X-Forwarded-For", "192.0.2.1")]);
        assert_busy(&from("192.0.2.1"), 429, TOO_MANY);
        assert_eq!(from("192.0.2.2").status, 101);
    }

    #[test]
    fn of_a_server_that_wants_none_bar_nobody() {
        let server = Server::start(&["--max-bad-token-rate", "1"]);
        assert!((0..20).all(|_| upgrade_with(&server, owner(1), "a.b.c").status == 101));
    }
}

mod requests {
    use super::*;

    fn get_from(server: &Server, source: IpAddr, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut stream = connect_from(source, server.address());
        http::write_head(&mut stream, "GET", path, headers);
        http::read_answer(&mut stream)
    }

    #[track_caller]
    fn assert_refused(response: &Response) {
        let words = "too many requests from here\n";
        assert_eq!((response.status, response.body.as_str()), (429, words), "{response:?}");
        assert_eq!(response.header("retry-after"), Some("1"));
        assert_eq!(response.header("connection"), Some("close"));
    }

    /// Requests until refused; returns how many were answered.
    #[track_caller]
    fn flood(server: &Server, source: IpAddr, headers: &[(&str, &str)]) -> usize {
        let paths = ["/", "/health", "/livez", "/metrics", "/nothing", "/ice-servers?uid=a"];
        let answers = paths.iter().cycle().map(|path| get_from(server, source, path, headers));
        let answers = answers.take(10_000).take_while(|response| response.status != 429).count();
        assert!((10..1000).contains(&answers), "ten at once, and two a second: {answers}");
        answers
    }

    #[test]
    fn of_one_owner() {
        let server = Server::start(&["--max-request-rate", "2"]);
        flood(&server, owner(1), &[]);
        // Every request counts: the cheapest, and those for a WebSocket.
        for path in ["/", "/health", "/metrics"] {
            assert_refused(&get_from(&server, owner(1), path, &[]));
        }
        assert_refused(&upgrade_from(&server, owner(1), &[]));
        // A page of another site may read the reason.
        let refusal = get_from(&server, owner(1), "/ice-servers?uid=a", &[("Origin", "https://a.example")]);
        assert_refused(&refusal);
        assert_eq!(refusal.header("access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(get_from(&server, owner(2), "/health", &[]).status, 200, "others are not concerned");
        assert!(server.metric("callbin_refusals_total{reason=\"too many requests from here\"}") >= Some(5.0));
        wait_until("the next second", DEADLINE, || {
            (get_from(&server, owner(1), "/health", &[]).status == 200).then_some(())
        });
    }

    #[test]
    fn on_one_connection_too() {
        let server = Server::start(&["--max-request-rate", "2"]);
        let mut stream = connect_from(owner(1), server.address());
        let mut answers = (0..1000).map(|_| {
            http::write_head(&mut stream, "GET", "/health", &[]);
            http::read_answer(&mut stream)
        });
        let last = answers.find(|response| response.status != 200).expect("an end");
        assert_refused(&last);
    }

    #[test]
    fn of_each_client_behind_a_proxy() {
        let server = Server::start(&["--max-request-rate", "2", "--trusted-proxy", "127.0.7.0/24"]);
        let (one, two) = (("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2"));
        flood(&server, owner(1), &[one]);
        // One or two may be regained in between on a busy machine; another account would have ten.
        let again = (0..5).map(|_| get_from(&server, owner(9), "/health", &[one]));
        assert_refused(&again.into_iter().find(|answer| answer.status != 200).expect("the same account"));
        assert_eq!(get_from(&server, owner(1), "/health", &[two]).status, 200);
        // A request that names two clients counts for the proxy.
        flood(&server, owner(1), &[one, ("Forwarded", "for=192.0.2.2")]);
        assert_eq!(get_from(&server, owner(1), "/health", &[two]).status, 200);
    }

    #[test]
    fn of_one_identity_from_wherever() {
        let keys = Keys::new(Algorithm::Hs256);
        let server = Server::start(&["--token-key-file", &keys.public(), "--max-request-rate", "2"]);
        let bearer = |sub: &str| format!("Bearer {}", keys.token(json!({ "sub": sub })));
        let ask = |last, bearer: &str| {
            get_from(&server, owner(last), "/ice-servers?uid=a", &[("Authorization", bearer)])
        };
        let (alice, bob) = (bearer("alice"), bearer("bob"));
        let refused = (1..200).map(|last| ask(last, &alice)).find(|response| response.status == 429);
        assert_refused(&refused.expect("an end"));
        assert_eq!(ask(200, &bob).status, 200);
    }
}

mod rooms_and_sessions {
    use super::*;

    #[test]
    fn sessions_of_one_owner() {
        let server = Server::start(&["--max-sessions", "1"]);
        let connect = |last, uid: &str| Socket::connect_from(&server, owner(last)).hello(uid);
        let (mut a, mut b) = (connect(1, "a"), connect(1, "b"));
        let (mut x, _y, mut z) = (connect(2, "x"), connect(2, "y"), connect(3, "z"));
        a.send("SESSION x");
        a.expect("SESSION_OK");
        b.expect_nothing("SESSION y", "ERROR too many sessions");
        // Sessions as callee do not count.
        z.send("SESSION b");
        z.expect("SESSION_OK");
        a.close();
        x.expect_close(1000, "");
        let mut again = connect(1, "again");
        again.send("SESSION y");
        again.expect("SESSION_OK");
    }

    #[test]
    fn rooms_of_one_owner() {
        let server = Server::start(&["--max-rooms", "1"]);
        let connect = |last, uid: &str| Socket::connect_from(&server, owner(last)).hello(uid);
        let (mut a, mut b, mut c) = (connect(1, "a"), connect(1, "b"), connect(2, "c"));
        a.expect_nothing("ROOM first", "ROOM_OK ");
        b.expect_nothing("ROOM second", "ERROR too many rooms");
        b.expect_nothing("ROOM first", "ROOM_OK a");
        c.expect_nothing("ROOM third", "ROOM_OK ");
        // The room counts for its creator until it is empty.
        a.close();
        b.expect("ROOM_PEER_LEFT a");
        connect(1, "d").expect_nothing("ROOM second", "ERROR too many rooms");
        b.close();
        let mut e = connect(1, "e");
        wait_until("the room's end", DEADLINE, || {
            e.send("ROOM second");
            (e.receive_text() == "ROOM_OK ").then_some(())
        });
    }

    #[test]
    fn members_of_a_room() {
        let server = Server::start(&["--max-room-members", "2"]);
        let (mut a, mut b) = (Socket::register(&server, "a"), Socket::register(&server, "b"));
        let mut c = Socket::register(&server, "c");
        a.expect_nothing("ROOM r", "ROOM_OK ");
        b.expect_nothing("ROOM r", "ROOM_OK a");
        a.expect("ROOM_PEER_JOINED b");
        c.expect_nothing("ROOM r", "ERROR room 'r' is full");
        // The peer can still do other things.
        c.expect_nothing("ROOM other", "ROOM_OK ");
    }
}

mod proxies {
    use super::*;

    const TRUST: [&str; 4] = ["--trusted-proxy", "127.0.7.0/24", "--max-owner-connections", "1"];

    #[test]
    fn an_address_is_trusted_for_itself() {
        let flags = ["--trusted-proxy", "127.0.7.1", "--max-owner-connections", "1"];
        let server = Server::start(&flags);
        let headers = [("X-Forwarded-For", "192.0.2.1")];
        let behind = |last| upgrade_from(&server, owner(last), &headers);
        let _held = Socket::handshake(connect_from(owner(1), server.address()), &server.ws_url(), &headers);
        assert_busy(&behind(1), 429, FROM_HERE);
        assert_eq!(behind(2).status, 101, "nobody believes this one");
    }

    #[test]
    fn each_client_behind_a_trusted_one_is_its_own_owner() {
        let server = Server::start(&TRUST);
        let behind = |client: &str| {
            let stream = connect_from(owner(1), server.address());
            Socket::handshake(stream, &server.ws_url(), &[("X-Forwarded-For", client)])
        };
        let _held = [behind("192.0.2.1").hello("a"), behind("192.0.2.2").hello("b")];
        let again = |name: &str, value: &str| upgrade_from(&server, owner(2), &[(name, value)]);
        assert_busy(&again("X-Forwarded-For", "192.0.2.1"), 429, FROM_HERE);
        assert_busy(&again("X-Forwarded-For", "8.8.8.8, 192.0.2.1"), 429, FROM_HERE);
        assert_busy(&again("X-Forwarded-For", "192.0.2.1, 127.0.7.9"), 429, FROM_HERE);
        assert_busy(&again("Forwarded", "for=192.0.2.2:4711;proto=https"), 429, FROM_HERE);
        assert_eq!(again("X-Forwarded-For", "192.0.2.3").status, 101);
        server.wait_for_log("192.0.2.1");
    }

    #[test]
    fn who_adds_a_header_of_its_own_is_refused() {
        let server = Server::start(&TRUST);
        let both = |forwarded: &str| {
            let headers = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", forwarded)];
            upgrade_from(&server, owner(1), &headers).status
        };
        assert_eq!(both("for=203.0.113.9"), 400);
        assert_eq!(both("for=192.0.2.1"), 101);
        server.wait_for_log("forged address");
    }

    #[test]
    fn a_client_cannot_write_itself_an_address_into_a_quoted_string() {
        let server = Server::start(&TRUST);
        let stream = connect_from(owner(1), server.address());
        let headers = [("Forwarded", "for=192.0.2.1;host=\"test\"")];
        let _held = Socket::handshake(stream, &server.ws_url(), &headers);
        let from = |forwarded: &str| upgrade_from(&server, owner(1), &[("Forwarded", forwarded)]);
        // A proxy writes this if it copies the Host header.
        assert_busy(&from("for=192.0.2.1;host=\"a, for=203.0.113.9\""), 429, FROM_HERE);
        assert_busy(&from("for=192.0.2.1;host=\"a;for=203.0.113.9\""), 429, FROM_HERE);
        assert_busy(&from("for=192.0.2.1;host=\"a\\\", for=203.0.113.9\""), 429, FROM_HERE);
        // A client writes the start, and a proxy appends to it.
        for forged in ["for=\", for=192.0.2.1", "for=203.0.113.9\", for=192.0.2.1;host=\"test\""] {
            let refused = from(forged);
            let words = "malformed Forwarded header (RFC 7239)\n";
            assert_eq!((refused.status, refused.body.as_str()), (400, words), "{forged}");
        }
        assert_eq!(from("for=192.0.2.2;host=\"a, for=192.0.2.1\"").status, 101);
    }

    #[test]
    fn a_network_of_ipv6_is_one_owner() {
        let server = Server::start(&TRUST);
        let stream = connect_from(owner(1), server.address());
        let headers = [("X-Forwarded-For", "2001:db8:1:2::1")];
        let _held = Socket::handshake(stream, &server.ws_url(), &headers);
        let from = |client: &str| upgrade_from(&server, owner(1), &[("X-Forwarded-For", client)]);
        assert_busy(&from("2001:db8:1:2:ffff::9"), 429, FROM_HERE);
        assert_busy(&from("[2001:db8:1:2::7]:4711"), 429, FROM_HERE);
        assert_eq!(from("2001:db8:1:3::1").status, 101);
    }

    #[test]
    fn larger_networks_of_ipv6_are_owners_too() {
        let server = Server::start(&TRUST);
        let connect = |client: String| {
            let stream = connect_from(owner(1), server.address());
            Socket::handshake(stream, &server.ws_url(), &[("X-Forwarded-For", &client)])
        };
        let from = |client: &str| upgrade_from(&server, owner(1), &[("X-Forwarded-For", client)]);
        // Four networks of a /56.
        let _four: Vec<Socket> = (0..4).map(|i| connect(format!("2001:db8:1:{i}::1"))).collect();
        assert_busy(&from("2001:db8:1:4::1"), 429, FROM_HERE);
        assert_eq!(from("2001:db8:1:104::1").status, 101, "another /56");
        // And sixteen of a /48.
        let _twelve: Vec<Socket> = (1..=12).map(|i| connect(format!("2001:db8:1:{i:x}00::1"))).collect();
        assert_busy(&from("2001:db8:1:ff00::1"), 429, FROM_HERE);
        assert_eq!(from("2001:db8:2::1").status, 101, "another /48");
    }

    #[test]
    fn rooms_and_sessions_of_larger_networks_are_counted_too() {
        let flags = ["--trusted-proxy", "127.0.7.0/24", "--max-rooms", "1", "--max-sessions", "1"];
        let server = Server::start(&flags);
        let connect = |client: String, uid: &str| {
            let stream = connect_from(owner(1), server.address());
            Socket::handshake(stream, &server.ws_url(), &[("X-Forwarded-For", &client)]).hello(uid)
        };
        let _rooms: Vec<Socket> = (0..4)
            .map(|i| {
                let mut socket = connect(format!("2001:db8:1:{i}::1"), &format!("room{i}"));
                socket.expect_nothing(&format!("ROOM r{i}"), "ROOM_OK ");
                socket
            })
            .collect();
        let mut fifth = connect("2001:db8:1:4::1".into(), "fifth");
        fifth.expect_nothing("ROOM r4", "ERROR too many rooms");
        let _callees: Vec<Socket> =
            (0..6).map(|i| connect(format!("192.0.2.{i}"), &format!("c{i}"))).collect();
        let _callers: Vec<Socket> = (0..4)
            .map(|i| {
                let mut socket = connect(format!("2001:db8:1:1{i}::1"), &format!("caller{i}"));
                socket.expect_nothing(&format!("SESSION c{i}"), "SESSION_OK");
                socket
            })
            .collect();
        fifth.expect_nothing("SESSION c4", "ERROR too many sessions");
        let mut other = connect("2001:db8:1:100::1".into(), "other");
        other.expect_nothing("ROOM r4", "ROOM_OK ");
        let mut another = connect("2001:db8:1:101::1".into(), "another");
        another.expect_nothing("SESSION c4", "SESSION_OK");
    }

    #[test]
    fn nobody_else_is_believed() {
        let server = Server::start(&TRUST);
        let stranger: IpAddr = Ipv4Addr::new(127, 0, 9, 1).into();
        let _held = Socket::connect_from(&server, stranger).hello("a");
        for header in ["X-Forwarded-For", "Forwarded"] {
            let value = if header == "Forwarded" { "for=192.0.2.1" } else { "192.0.2.1" };
            assert_busy(&upgrade_from(&server, stranger, &[(header, value)]), 429, FROM_HERE);
        }
        // A PROXY header from an untrusted address is no HTTP.
        let stranger: IpAddr = Ipv4Addr::new(127, 0, 9, 2).into();
        let mut stream = connect_from(stranger, server.address());
        stream.write_all(&proxy_header(client(1), &[])).expect("the socket is open");
        assert_eq!(upgrade_on(stream, "/", &[]).status, 400);
        assert!(!server.log().contains("192.0.2.1"), "{}", server.log());
    }

    fn client(last: u8) -> SocketAddr {
        (Ipv4Addr::new(192, 0, 2, last), 4711).into()
    }

    /// A PROXY protocol version 2 header, hand-written.
    fn proxy_header(client: SocketAddr, extra: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
        let IpAddr::V4(ip) = client.ip() else { panic!("IPv4 only") };
        let length = u16::try_from(12 + extra.len()).expect("short");
        header.extend(length.to_be_bytes());
        header.extend(ip.octets());
        header.extend([127, 0, 0, 1]);
        header.extend(client.port().to_be_bytes());
        header.extend([0x20, 0xfb]);
        header.extend(extra);
        header
    }

    fn behind(server: &Server, header: &[u8]) -> TcpStream {
        let mut stream = connect_from(owner(1), server.address());
        // Split into two parts.
        let (first, rest) = header.split_at(header.len() / 2);
        stream.write_all(first).expect("the socket is open");
        stream.write_all(rest).expect("the socket is open");
        stream
    }

    #[test]
    fn the_proxy_protocol_names_the_client() {
        let server = Server::start(&TRUST);
        let stream = behind(&server, &proxy_header(client(1), &[]));
        let mut held = Socket::handshake(stream, &server.ws_url(), &[]).hello("a");
        let again = upgrade_on(behind(&server, &proxy_header(client(1), &[])), "/", &[]);
        assert_busy(&again, 429, FROM_HERE);
        // The client cannot name another address in its request.
        let stream = behind(&server, &proxy_header(client(1), &[]));
        assert_busy(&upgrade_on(stream, "/", &[("X-Forwarded-For", "192.0.2.77")]), 429, FROM_HERE);
        assert_eq!(upgrade_on(behind(&server, &proxy_header(client(2), &[])), "/", &[]).status, 101);
        held.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        server.wait_for_log("192.0.2.1");
    }

    #[test]
    fn version_1_of_the_proxy_protocol_does_too() {
        let server = Server::start(&TRUST);
        let line = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 8443\r\n";
        let _held = Socket::handshake(behind(&server, line), &server.ws_url(), &[]).hello("a");
        assert_busy(&upgrade_on(behind(&server, line), "/", &[]), 429, FROM_HERE);
        server.wait_for_log("192.0.2.1");
        // A load balancer's own health check: header and request arrive in one piece.
        let mut stream = connect_from(owner(1), server.address());
        stream.write_all(b"PROXY UNKNOWN\r\nGET /health HTTP/1.0\r\n\r\n").expect("the socket is open");
        assert_eq!(http::read_answer(&mut stream).status, 200);
        let mut stream = connect_from(owner(1), server.address());
        stream.write_all(b"PROXY TCP4 nonsense\r\n").expect("the socket is open");
        assert_eq!(http::read_answer(&mut stream).status, 0, "closed");
        server.wait_for_log("a PROXY protocol header that is none");
    }

    #[test]
    fn one_header_may_be_named_where_there_are_two() {
        let both = [("Forwarded", "for=203.0.113.9;proto=https"), ("X-Forwarded-For", "192.0.2.1")];
        let server = Server::start(&TRUST);
        assert_eq!(upgrade_from(&server, owner(1), &both).status, 400);
        let named = [&TRUST[..], &["--proxy-header", "x-forwarded-for"]].concat();
        let server = Server::start(&named);
        let stream = connect_from(owner(1), server.address());
        let _held = Socket::handshake(stream, &server.ws_url(), &both).hello("a");
        server.wait_for_log("address=192.0.2.1:");
        assert_busy(&upgrade_from(&server, owner(1), &both[1..]), 429, FROM_HERE);
    }

    /// Makes a request on a connection that stays open.
    fn ask_on(stream: &mut TcpStream) -> Response {
        http::write_head(stream, "GET", "/health", &[]);
        http::read_answer(stream)
    }

    #[test]
    fn their_idle_connections_are_kept_longer_than_those_of_clients() {
        let flags = ["--trusted-proxy", "127.0.7.0/24", "--hello-timeout", "0.5"];
        let server = Server::start(&flags);
        let connect = |from: IpAddr| {
            let mut stream = connect_from(from, server.address());
            assert_eq!(ask_on(&mut stream).status, 200);
            stream
        };
        let (mut kept, mut direct) = (connect(owner(1)), connect(Ipv4Addr::new(127, 0, 9, 1).into()));
        // Wait until the server closes the connection that is not from a proxy.
        assert_eq!(direct.read(&mut [0; 1]).expect("an end, not a timeout"), 0);
        assert_eq!(ask_on(&mut kept).status, 200);
        // A connection without any request is not kept.
        let mut silent = connect_from(owner(1), server.address());
        assert_eq!(silent.read(&mut [0; 1]).expect("an end, not a timeout"), 0);
        assert_eq!(ask_on(&mut kept).status, 200);
    }

    #[test]
    fn the_last_answer_on_a_connection_says_so() {
        let server = Server::start(&["--trusted-proxy", "127.0.7.0/24"]);
        let mut stream = connect_from(owner(1), server.address());
        for number in 1..1000 {
            let answer = ask_on(&mut stream);
            assert_eq!((answer.status, answer.header("connection")), (200, None), "number {number}");
        }
        assert_eq!(ask_on(&mut stream).header("connection"), Some("close"));
        assert_eq!(stream.read(&mut [0; 1]).expect("an end, not a timeout"), 0);
    }

    #[test]
    fn an_unfinished_header_costs_nothing_until_more_comes() {
        let flags = ["--trusted-proxy", "127.0.7.0/24", "--hello-timeout", "60"];
        let mut server = Server::start(&flags);
        let header = proxy_header(client(1), &[]);
        let begin = |length: usize| {
            let mut stream = connect_from(owner(1), server.address());
            stream.write_all(&header[..length]).expect("the socket is open");
            stream
        };
        let mut unfinished: Vec<TcpStream> = (0..300).map(|i| begin(1 + i % (header.len() - 1))).collect();
        // A later connection is served: the server has handled all of these.
        Socket::register(&server, "alive").close();
        let before = server.process().cpu_time();
        std::thread::sleep(Duration::from_secs(2));
        let used = server.process().cpu_time() - before;
        assert!(used < Duration::from_millis(200), "{used:?} for nothing in two seconds");
        // Each can still be completed, byte by byte.
        for (i, mut stream) in unfinished.drain(..).enumerate().take(header.len() - 1) {
            for byte in &header[1 + i..] {
                stream.write_all(&[*byte]).expect("the socket is open");
            }
            Socket::handshake(stream, &server.ws_url(), &[]).hello(&format!("p{i}")).close();
        }
        server.wait_for_log("192.0.2.1");
    }

    /// Bytes received and not yet read at the other end of a local connection, from the kernel's table.
    fn unread(stream: &TcpStream) -> Option<u32> {
        let end = |address: SocketAddr| {
            let IpAddr::V4(ip) = address.ip() else { panic!("IPv4 only") };
            format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port())
        };
        let ours = end(stream.local_addr().expect("bound"));
        let theirs = end(stream.peer_addr().expect("connected"));
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        table.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, _, queues, ..] = fields[..] else { return None };
            let (_, unread) = queues.split_once(':').filter(|_| local == theirs && remote == ours)?;
            u32::from_str_radix(unread, 16).ok()
        })
    }

    #[test]
    fn empty_lines_before_a_request_are_no_header() {
        let server = Server::start(&["--trusted-proxy", "127.0.7.0/24"]);
        for start in ["\r\n", "\r\n\r\n"] {
            let mut stream = connect_from(owner(1), server.address());
            stream.write_all(start.as_bytes()).expect("the socket is open");
            // Wait until the server has read this before sending the rest.
            wait_until("the server to take it", DEADLINE, || (unread(&stream)? == 0).then_some(()));
            assert_eq!(upgrade_on(stream, "/", &[]).status, 101, "{start:?}");
        }
    }

    #[test]
    fn what_follows_the_addresses_is_skipped() {
        let server = Server::start(&TRUST);
        // A PP2_TYPE_NOOP as large as a certificate.
        for length in [10_u16, 400, 3000] {
            let extra = [&[4][..], &length.to_be_bytes(), &vec![0; length.into()]].concat();
            let stream = behind(&server, &proxy_header(client(1), &extra));
            assert_eq!(upgrade_on(stream, "/", &[]).status, 101, "{length}");
            wait_until("the place", DEADLINE, || {
                (server.metric("callbin_connections ")? == 0.0).then_some(())
            });
        }
    }

    #[test]
    fn a_health_check_of_the_proxy_itself_works() {
        let server = Server::start(&TRUST);
        let mut stream = behind(&server, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
        http::write_head(&mut stream, "GET", "/health", &[("Connection", "close")]);
        assert_eq!(http::read_answer(&mut stream).body, "OK\n");
        // And a connection without any header.
        let mut stream = connect_from(owner(1), server.address());
        http::write_head(&mut stream, "GET", "/health", &[("Connection", "close")]);
        assert_eq!(http::read_answer(&mut stream).body, "OK\n");
    }

    #[test]
    fn garbage_and_silence_end_the_connection() {
        let server = Server::start(&["--trusted-proxy", "127.0.7.0/24", "--hello-timeout", "2"]);
        let garbage = b"\r\n\r\n\0\r\nQUIT\n\x99\x99\0\0";
        for start in [garbage.as_slice(), &garbage[..5], b""] {
            let mut stream = connect_from(owner(1), server.address());
            stream.write_all(start).expect("the socket is open");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!answer.starts_with(b"HTTP/1.1 1"), "{start:?}");
        }
        Socket::register(&server, "alive");
    }

    #[test]
    fn it_comes_before_tls() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let flags = ["--self-signed", "--cert-path", dir.path().to_str().expect("text")];
        let server = Server::start_on(0, &[&flags[..], &TRUST].concat());
        let stream = behind(&server, &proxy_header(client(1), &[]));
        Socket::handshake(stream, &server.ws_url(), &[]).hello("a");
        server.wait_for_log("192.0.2.1");
    }
}

#[test]
fn a_thousand_members_cut_at_once_leave_nothing() {
    // They are not read, and so answer no pings.
    let unlimited = ["--max-room-members", "1000", "--max-notice-rate", "0"];
    let mut server = Server::start(&[&unlimited[..], &["--keepalive-timeout", "600"]].concat());
    assert_eq!(server.metric("callbin_peers "), Some(0.0));
    let idle = server.process().descriptors();
    let members: Vec<Socket> = (0..1000)
        .map(|i| {
            let mut socket = Socket::register(&server, &format!("m{i}"));
            socket.send("ROOM r");
            assert!(socket.receive_text().starts_with("ROOM_OK"));
            socket
        })
        .collect();
    assert_eq!(server.metric("callbin_peers "), Some(1000.0));
    // A reset instead of an orderly close.
    for member in members {
        let socket = socket2::SockRef::from(member.tcp());
        socket.set_linger(Some(Duration::ZERO)).expect("a socket has options");
        member.cut();
    }
    wait_until("everything to be gone", DEADLINE, || {
        let names = ["callbin_connections ", "callbin_peers ", "callbin_rooms ", "callbin_queued_bytes "];
        names.iter().all(|name| server.metric(name) == Some(0.0)).then_some(())
    });
    wait_until("the descriptors", DEADLINE, || (server.process().descriptors() <= idle + 1).then_some(()));
    let mut again = Socket::register(&server, "m500");
    again.expect_nothing("ROOM r", "ROOM_OK ");
}

#[test]
fn slow_requests_hold_nobody_up() {
    let server = Server::start(&["--hello-timeout", "4"]);
    let start = Instant::now();
    let mut slow: Vec<TcpStream> = (0..300).map(|_| connect_from(owner(1), server.address())).collect();
    for stream in &mut slow {
        http::write_head(stream, "GET", "/", &[]);
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("the socket is open");
    }
    let mut alice = Socket::register(&server, "alice");
    // A few bytes now and then do not extend the deadline.
    wait_until("the slow ones' end", DEADLINE, || {
        slow.retain_mut(|stream| stream.write_all(b"x").is_ok());
        alice.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        slow.is_empty().then_some(())
    });
    assert!(start.elapsed() >= Duration::from_secs(4), "they had their time");
}

#[test]
fn slow_tls_handshakes_hold_nobody_up() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let flags = ["--self-signed", "--hello-timeout", "4", "--cert-path"];
    let server = Server::start_on(0, &[&flags[..], &[dir.path().to_str().expect("text")]].concat());
    let mut slow: Vec<TcpStream> = (0..100).map(|_| connect_from(owner(1), server.address())).collect();
    for stream in &mut slow {
        // The start of a ClientHello with a length of 512 bytes.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("the socket is open");
    }
    Socket::register(&server, "alice");
    for mut stream in slow {
        let _ = stream.read_to_end(&mut Vec::new()).expect("an end, not a timeout");
    }
}

#[test]
fn out_of_descriptors_it_says_so_and_recovers() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(program("callbin-server"));
    // The connection limit is above the number of descriptors: the accept fails, not the limit.
    let flags = ["--disable-ssl", "--addr", "127.0.0.1", "--port", "0", "--max-connections", "1000"];
    let mut server = Server::spawn(command.args(flags));
    let mut alice = Socket::register(&server, "alice");
    let held: Vec<TcpStream> = (0..60).map(|_| connect_from(owner(1), server.address())).collect();
    server.wait_for_log("cannot accept");
    let told = wait_until("a 503", DEADLINE, || {
        let mut stream = connect_from(owner(2), server.address());
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket has options");
        http::write_head(&mut stream, "GET", "/health", &[]);
        Some(http::read_answer(&mut stream)).filter(|response| response.status == 503)
    });
    assert_busy(&told, 503, "the server is full");
    alice.expect_nothing("SESSION x", "ERROR peer 'x' not found");
    // A busy loop would prevent it from becoming idle.
    let mut used = server.process().cpu_time();
    wait_until("the server to rest", DEADLINE, || {
        std::thread::sleep(Duration::from_millis(200));
        let before = std::mem::replace(&mut used, server.process().cpu_time());
        (used - before <= Duration::from_millis(20)).then_some(())
    });
    drop(held);
    wait_until("the server to close them", DEADLINE, || (server.process().descriptors() < 40).then_some(()));
    wait_until("a place", DEADLINE, || {
        let stream = connect_from(owner(3), server.address());
        (upgrade_on(stream, "/", &[]).status == 101).then_some(())
    });
    alice.expect_nothing("SESSION x", "ERROR peer 'x' not found");
    assert!(server.metric("callbin_accept_errors_total") >= Some(1.0));
}
