//! Operation: monitoring, reload, drain, close, webhook, and log.

use std::{
    fs::{self, File},
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use callbin_tests::{
    DEADLINE, Network, Server, Socket,
    hook::{Asked, Hook},
    http::{self, Response},
    keys::{Algorithm, Keys},
    machine,
    process::Process,
    program,
    socket::Received,
    wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The files of a test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        fs::write(&path, text).expect("the folder is ours");
        path.to_str().expect("the path is text").to_owned()
    }

    fn write_certificate(&self) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("rcgen works");
        self.write("cert.pem", &made.cert.pem());
        self.write("key.pem", &made.signing_key.serialize_pem());
        made.cert.der().to_vec()
    }
}

fn session(server: &Server) -> (Socket, Socket) {
    let mut caller = Socket::register(server, "caller");
    let callee = Socket::register(server, "callee");
    caller.expect_nothing("SESSION callee", "SESSION_OK");
    (caller, callee)
}

#[track_caller]
fn still_talk(caller: &mut Socket, callee: &mut Socket) {
    caller.send("still here?");
    callee.expect("still here?");
    callee.send("yes");
    caller.expect("yes");
}

/// The value of a metric with its labels, in a server's metrics.
fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[track_caller]
fn await_metric(server: &Server, name: &str, expected: f64) {
    wait_until(&format!("{name} to be {expected}"), DEADLINE, || {
        (value(&http::get(server, "/metrics", &[]).body, name) == Some(expected)).then_some(())
    });
}

/// A refusal by the webhook.
fn no(reason: &str) -> (String, String) {
    ("200 OK".into(), json!({ "allow": false, "reason": reason }).to_string())
}

mod metrics {
    use super::*;

    #[test]
    fn say_what_goes_on() {
        let server = Server::start(&[]);
        let (mut caller, mut callee) = session(&server);
        let mut member = Socket::register(&server, "member");
        member.expect_nothing("ROOM r", "ROOM_OK ");
        member.expect_nothing("ROOM_PEER_MSG nobody x", "ERROR peer 'nobody' not found");
        let mut taken = Socket::connect(&server);
        taken.send("HELLO member");
        taken.expect_close(1002, "invalid peer uid");
        for (text, from_caller) in
            [(r#"{"sdp":{}}"#, true), (r#"{"ice":{}}"#, true), (r#"{"ice": 1}"#, false), ("hi", true)]
        {
            let (from, to) =
                if from_caller { (&mut caller, &mut callee) } else { (&mut callee, &mut caller) };
            from.send(text);
            to.expect(text);
        }
        caller.send_binary(&[1, 2, 3]);
        assert_eq!(callee.receive(), Received::Binary(vec![1, 2, 3]));
        wait_until("all to be sent", DEADLINE, || {
            (server.metric("callbin_queued_bytes ")? == 0.0).then_some(())
        });
        let metrics = http::get(&server, "/metrics", &[]);
        assert!(metrics.header("content-type").is_some_and(|kind| kind.contains("openmetrics-text")));
        for (name, expected) in [
            ("callbin_connections", 3.0),
            ("callbin_peers", 3.0),
            ("callbin_sessions", 1.0),
            ("callbin_rooms", 1.0),
            ("callbin_ready", 1.0),
            ("callbin_queued_bytes", 0.0),
            ("callbin_registrations_total", 3.0),
            ("callbin_calls_total", 1.0),
            ("callbin_joins_total", 1.0),
            ("callbin_messages_total{kind=\"Sdp\"}", 1.0),
            ("callbin_messages_total{kind=\"Ice\"}", 2.0),
            ("callbin_messages_total{kind=\"Text\"}", 1.0),
            ("callbin_messages_total{kind=\"Binary\"}", 1.0),
            ("callbin_message_bytes_total{kind=\"Ice\"}", 20.0),
            ("callbin_refusals_total{reason=\"peer not found\"}", 1.0),
            ("callbin_refusals_total{reason=\"invalid peer uid\"}", 1.0),
            ("callbin_closes_total{reason=\"invalid peer uid\"}", 1.0),
            ("callbin_offer_to_answer_seconds_count", 0.0),
            ("callbin_unanswered_offers_total", 0.0),
        ] {
            assert_eq!(value(&metrics.body, name), Some(expected), "{name} in {}", metrics.body);
        }
        assert!(metrics.body.contains("callbin_build_info{version="), "{}", metrics.body);

        callee.send(r#"{"sdp":{}}"#);
        caller.expect(r#"{"sdp":{}}"#);
        await_metric(&server, "callbin_offer_to_answer_seconds_count", 1.0);
        callee.send(r#"{"sdp":{"type":"offer"}}"#);
        caller.receive_text();
        drop((caller, callee, member));
        for name in ["connections", "peers", "sessions", "rooms"] {
            await_metric(&server, &format!("callbin_{name}"), 0.0);
        }
        await_metric(&server, "callbin_unanswered_offers_total", 1.0);
    }

    #[test]
    fn show_what_waits_for_a_slow_reader() {
        let server = Server::start(&["--max-queue", "50000000"]);
        let (mut caller, callee) = session(&server);
        let text = "x".repeat(500_000);
        // The socket buffers take the first messages.
        (0..40).for_each(|_| caller.send(&text));
        wait_until("a queue", DEADLINE, || {
            let metrics = http::get(&server, "/metrics", &[]).body;
            let all = value(&metrics, "callbin_queued_bytes")?;
            (all > 500_000.0 && value(&metrics, "callbin_longest_queue_bytes") == Some(all)).then_some(())
        });
        drop(callee);
        await_metric(&server, "callbin_queued_bytes", 0.0);
    }
}

mod probes {
    use super::*;

    #[test]
    fn are_on_the_port_for_clients_unless_there_is_another_one() {
        let server = Server::start(&[]);
        for path in ["/livez", "/readyz", "/metrics", "/health"] {
            assert_eq!(http::get(&server, path, &[]).status, 200, "{path}");
        }
        assert_eq!(http::get(&server, "/admin/peers", &[]).status, 404);

        let server = Server::start(&["--admin-addr", "127.0.0.1:0"]);
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(http::get(&server, path, &[]).status, 404, "{path}");
            assert_eq!(http::request(server.admin_address(), "GET", path, &[]).status, 200, "{path}");
        }
        assert_eq!(http::request(server.admin_address(), "GET", "/nothing", &[]).status, 404);
        assert_eq!(
            http::request(server.admin_address(), "GET", "/", &[]).status,
            404,
            "the page is elsewhere"
        );
    }

    #[test]
    fn metrics_are_for_this_machine_only() {
        let _machine = machine::apart();
        let network = ["--addr", "0.0.0.0", "--port", "0", "--disable-ssl"];
        let cable = Network::start();
        let ours: IpAddr = cable.host().parse().expect("an address of this machine");
        let start =
            |flags: &[&str]| Server::spawn(Command::new(program("callbin-server")).args(network).args(flags));
        let ask = |server: &Server, from: IpAddr, headers: &[(&str, &str)]| {
            let mut stream = http::connect_from(from, (from, server.port()).into());
            http::write_head(&mut stream, "GET", "/metrics", headers);
            let answer = http::read_answer(&mut stream);
            assert_eq!(answer.status == 200, answer.body.contains("callbin_peers"), "{answer:?}");
            answer.status
        };
        let here = IpAddr::from([127, 0, 0, 1]);
        let (theirs, local) = (("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "127.0.0.1"));
        let server = start(&[]);
        assert_eq!(ask(&server, here, &[]), 200);
        assert_eq!(ask(&server, ours, &[]), 403);
        assert_eq!(ask(&server, ours, &[local]), 403, "nobody believes it");
        assert_eq!(ask(&server, here, &[theirs]), 403, "a proxy, if not one that is trusted");
        let server = start(&["--trusted-proxy", "127.0.0.0/8"]);
        assert_eq!(ask(&server, here, &[theirs]), 403);
        assert_eq!(ask(&server, here, &[("Forwarded", "for=192.0.2.1")]), 403);
        assert_eq!(ask(&server, here, &[("Forwarded", "for=unknown")]), 403);
        assert_eq!(ask(&server, here, &[("X-Real-IP", "192.0.2.1")]), 403);
        assert_eq!(ask(&server, here, &[("Via", "1.1 proxy")]), 403);
        assert_eq!(ask(&server, here, &[local]), 200);
        assert_eq!(ask(&server, here, &[]), 200);
        // These paths are open to all machines.
        for path in ["/livez", "/readyz", "/health"] {
            assert_eq!(http::request((ours, server.port()).into(), "GET", path, &[]).status, 200, "{path}");
        }
        let server = start(&["--admin-addr", "0.0.0.0:0"]);
        let admin = (ours, server.admin_address().port()).into();
        assert_eq!(http::request(admin, "GET", "/metrics", &[]).status, 200, "wherever that is");
        assert_eq!(ask(&server, here, &[]), 404);
    }

    #[test]
    fn health_is_on_both_addresses_and_outlives_readiness() {
        let flags = ["--admin-addr", "127.0.0.1:0", "--drain-timeout", "20", "--health", "/up"];
        let mut server = Server::start(&flags);
        let (caller, callee) = session(&server);
        let admin = |server: &Server, path: &str| http::request(server.admin_address(), "GET", path, &[]);
        for drains in [false, true] {
            if drains {
                server.process().signal("TERM");
                wait_until("not to be ready", DEADLINE, || {
                    (admin(&server, "/readyz").status == 503).then_some(())
                });
            }
            for health in [http::get(&server, "/up", &[]), admin(&server, "/up")] {
                assert_eq!((health.status, health.body.as_str()), (200, "OK\n"), "draining: {drains}");
            }
            assert_eq!(http::get(&server, "/health", &[]).status, 404, "it has another name");
        }
        drop((caller, callee));
        assert_eq!(server.process().wait().code(), Some(0));
    }

    #[test]
    fn readiness_ends_where_draining_begins() {
        let mut server = Server::start(&["--drain-timeout", "20"]);
        let (mut caller, mut callee) = session(&server);
        server.process().signal("TERM");
        wait_until("not to be ready", DEADLINE, || {
            (http::get(&server, "/readyz", &[]).status == 503).then_some(())
        });
        assert_eq!(http::get(&server, "/livez", &[]).status, 200);
        assert_eq!(value(&http::get(&server, "/metrics", &[]).body, "callbin_ready"), Some(0.0));
        let refused = http::upgrade(&server, "/", &[]);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
        still_talk(&mut caller, &mut callee);
        caller.close();
        callee.expect_close(1000, "");
        assert_eq!(server.process().wait().code(), Some(0), "it ends when the last session does");
    }
}

mod drain {
    use super::*;

    #[test]
    fn closes_those_who_talk_to_nobody_a_few_at_a_time() {
        let mut server = Server::start(&["--drain-timeout", "4"]);
        let mut idle: Vec<Socket> = (0..20).map(|i| Socket::register(&server, &format!("p{i}"))).collect();
        let mut member = Socket::register(&server, "member");
        member.expect_nothing("ROOM r", "ROOM_OK ");
        let start = Instant::now();
        server.process().signal("TERM");
        let mut ends: Vec<Duration> = std::thread::scope(|scope| {
            let ends: Vec<_> = idle
                .iter_mut()
                .map(|socket| {
                    scope.spawn(move || {
                        socket.expect_close(1001, "server is shutting down");
                        start.elapsed()
                    })
                })
                .collect();
            ends.into_iter().map(|end| end.join().expect("a close")).collect()
        });
        ends.sort();
        let (first, last) = (ends[0], ends[19]);
        assert!(last - first > Duration::from_millis(800), "spread, not at once: {first:?} to {last:?}");
        member.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST ");
        member.expect_close(1001, "server is shutting down");
        assert!(start.elapsed() >= Duration::from_secs(4), "the room had its time");
        drop(idle);
        assert_eq!(server.process().wait().code(), Some(0));
    }

    #[test]
    fn closes_those_who_are_left_a_few_at_a_time_too() {
        let mut server = Server::start(&["--drain-timeout", "0.5", "--shutdown-timeout", "5"]);
        let mut sessions: Vec<(Socket, Socket)> =
            (0..20).map(|i| Socket::session(&server, &i.to_string())).collect();
        let mut members = ["m1", "m2"].map(|uid| Socket::register(&server, uid));
        members[0].expect_nothing("ROOM r", "ROOM_OK ");
        members[1].expect_nothing("ROOM r", "ROOM_OK m1");
        members[0].expect("ROOM_PEER_JOINED m2");
        let start = Instant::now();
        server.process().signal("TERM");
        let ends = std::thread::scope(|scope| {
            let ends: Vec<_> = sessions
                .iter_mut()
                .map(|(caller, callee)| {
                    scope.spawn(move || {
                        // Both get the reason, so neither takes it for the other's hang-up.
                        caller.expect_close(1001, "server is shutting down");
                        callee.expect_close(1001, "server is shutting down");
                        start.elapsed()
                    })
                })
                .collect();
            members.iter_mut().for_each(|member| member.expect_close(1001, "server is shutting down"));
            ends.into_iter().map(|end| end.join().expect("a close")).collect::<Vec<_>>()
        });
        let (first, last) = (ends.iter().min().expect("twenty"), ends.iter().max().expect("twenty"));
        assert!(*first >= Duration::from_millis(500), "they had their time: {first:?}");
        assert!(*last - *first > Duration::from_millis(800), "spread, not at once: {first:?} to {last:?}");
        drop((sessions, members));
        assert_eq!(server.process().wait().code(), Some(0));
    }

    #[test]
    fn a_second_signal_ends_it() {
        let mut server = Server::start(&["--drain-timeout", "60", "--shutdown-timeout", "4"]);
        let (mut caller, mut callee) = session(&server);
        server.process().signal("TERM");
        server.wait_for_log("draining");
        still_talk(&mut caller, &mut callee);
        server.process().signal("INT");
        caller.expect_close(1001, "server is shutting down");
        callee.expect_close(1001, "server is shutting down");
        drop((caller, callee));
        assert_eq!(server.process().wait_for(Duration::from_secs(10)).code(), Some(0));
    }
}

mod reload {
    use super::*;

    fn reload(server: &mut Server) {
        let before = server.log().matches("new settings loaded").count();
        server.process().signal("HUP");
        wait_until("new settings", DEADLINE, || {
            (server.log().matches("new settings loaded").count() > before).then_some(())
        });
    }

    #[test]
    fn brings_another_token_key() {
        let folder = Folder::new();
        let (old, new) = (Keys::new(Algorithm::Hs256), Keys::new(Algorithm::Rs256));
        let file = folder.write("key", &fs::read_to_string(old.public()).expect("a key"));
        let mut server = Server::start(&["--token-key-file", &file]);
        let token = |keys: &Keys| format!("/?token={}", keys.token(json!({})));
        let connect = |path: &str| Socket::connect_to(&format!("{}{}", server.ws_url(), &path[1..]));
        let (mut a, mut b) = (connect(&token(&old)).hello("a"), connect(&token(&old)).hello("b"));
        a.expect_nothing("SESSION b", "SESSION_OK");
        assert_eq!(http::upgrade(&server, &token(&new), &[]).status, 401);
        folder.write("key", &fs::read_to_string(new.public()).expect("a key"));
        reload(&mut server);
        assert_eq!(http::upgrade(&server, &token(&new), &[]).status, 101);
        assert_eq!(http::upgrade(&server, &token(&old), &[]).status, 401);
        still_talk(&mut a, &mut b);

        // An invalid key keeps the last valid one.
        folder.write("key", "short");
        server.process().signal("HUP");
        server.wait_for_log("keeping the old ones");
        assert_eq!(http::upgrade(&server, &token(&new), &[]).status, 101);
        fs::remove_file(&file).expect("the folder is ours");
        server.process().signal("HUP");
        wait_until("the second complaint", DEADLINE, || {
            (server.log().matches("keeping the old ones").count() == 2).then_some(())
        });
        assert_eq!(http::upgrade(&server, &token(&new), &[]).status, 101);
        assert_eq!(http::upgrade(&server, "/", &[]).status, 401, "never open for everybody");
        still_talk(&mut a, &mut b);
    }

    #[test]
    fn of_changed_files_follows_those_that_the_new_configuration_names() {
        let folder = Folder::new();
        let keys = [(); 3].map(|()| Keys::new(Algorithm::Hs256));
        let names = |key: &str| format!("token-key-file = \"{key}\"");
        let file = folder.write("server.toml", &names(&keys[0].public()));
        let server = Server::start(&[
            "--config",
            &file,
            "--restart-on-cert-change",
            "--watch-interval",
            "0.1",
            "--max-bad-token-rate",
            "0",
        ]);
        let takes = |keys: &Keys| {
            let path = format!("/?token={}", keys.token(json!({})));
            wait_until("the new key", DEADLINE, || {
                (http::upgrade(&server, &path, &[]).status == 101).then_some(())
            });
        };
        takes(&keys[0]);
        let key = folder.write("other", &fs::read_to_string(keys[1].public()).expect("a key"));
        folder.write("server.toml", &names(&key));
        takes(&keys[1]);
        folder.write("other", &fs::read_to_string(keys[2].public()).expect("a key"));
        takes(&keys[2]);
    }

    /// An editor or a full disk may leave the file like this.
    #[test]
    fn of_an_empty_file_opens_the_server_to_nobody() {
        let folder = Folder::new();
        let keys = Keys::new(Algorithm::Hs256);
        let guarded = format!("token-key-file = \"{}\"\nmax-rooms = 7", keys.public());
        let file = folder.write("server.toml", &guarded);
        let mut server = Server::start(&["--config", &file]);
        assert_eq!(http::upgrade(&server, "/", &[]).status, 401);
        folder.write("server.toml", "");
        server.process().signal("HUP");
        server.wait_for_log(
            "gives up no guard, restart the server for that: token-key-file or token-jwks-file",
        );
        assert_eq!(http::upgrade(&server, "/", &[]).status, 401);
        // Changes that need a restart are only reported.
        folder.write("server.toml", &format!("{guarded}\nlog-format = \"json\"\nself-signed = false"));
        reload(&mut server);
        assert!(
            server.log().contains("log-format") && !server.log().contains("self-signed"),
            "{}",
            server.log()
        );
    }

    /// Replaces the configuration, reloads, and waits for the refusal that names the protection.
    #[track_caller]
    fn assert_keeps(before: &str, after: &str, guard: &str, still_guards: impl Fn(&Server)) {
        let folder = Folder::new();
        let file = folder.write("server.toml", before);
        let mut server = Server::start(&["--config", &file]);
        still_guards(&server);
        folder.write("server.toml", after);
        server.process().signal("HUP");
        server.wait_for_log("keeping the old ones");
        assert!(server.log().contains(guard), "{guard}: {}", server.log());
        still_guards(&server);
    }

    #[test]
    fn takes_away_no_other_guard_either() {
        let keys = Keys::new(Algorithm::Hs256);
        let key = format!("token-key-file = \"{}\"\n", keys.public());
        let token = |claims: Value| format!("/?token={}", keys.token(claims));
        for (claim, option) in [("aud", "token-audience"), ("iss", "token-issuer")] {
            assert_keeps(&format!("{key}{option} = \"us\""), &key, option, |server| {
                assert_eq!(http::upgrade(server, &token(json!({})), &[]).status, 401, "{option}");
                assert_eq!(
                    http::upgrade(server, &token(json!({ claim: "us" })), &[]).status,
                    101,
                    "{option}"
                );
            });
        }
        assert_keeps("allowed-origin = \"https://a.example\"", "", "allowed-origin", |server| {
            let evil = [("Origin", "https://evil.example")];
            assert_eq!(http::upgrade(server, "/", &evil).status, 403);
        });
        let hook = Hook::start(|_, _| no("not you"));
        let url = format!("webhook-url = \"{}\"", hook.url());
        assert_keeps(&url, "", "webhook-url", |server| {
            let mut socket = Socket::connect(server);
            socket.send("HELLO a");
            socket.expect("ERROR not you");
        });
        let folder = Folder::new();
        let secret = folder.write("secret", "correct horse");
        let admin = format!("admin-addr = \"127.0.0.1:0\"\nadmin-secret-file = \"{secret}\"");
        assert_keeps(&admin, "admin-addr = \"127.0.0.1:0\"", "admin-secret-file", |server| {
            let bearer = [("Authorization", "Bearer correct horse")];
            let status =
                |headers| http::request(server.admin_address(), "GET", "/admin/peers", headers).status;
            assert_eq!((status(&bearer), status(&[])), (200, 401));
        });
        // An unlimited limit, and proxies that trust any address.
        let refuses_one_more = |server: &Server| {
            let from = || http::connect_from([127, 0, 0, 9].into(), server.address());
            // A different client each time: a server that trusts the header never refuses one.
            let mut clients = (0..=u16::MAX).map(|i| Ipv4Addr::from_bits(0xc600_0000 + u32::from(i)));
            wait_until("a refusal", DEADLINE, || {
                // Connections may be served in any order.
                let _held = [from(), from()];
                let client = clients.next().expect("enough of them").to_string();
                let response = http::upgrade_on(from(), "/", &[("X-Forwarded-For", &client)]);
                (response.status == 429).then_some(())
            });
        };
        let limit = "max-owner-connections = 2";
        assert_keeps(limit, "max-owner-connections = 0", "max-owner-connections", refuses_one_more);
        let trust = |networks: &str| format!("trusted-proxy = \"{networks}\"\n{limit}");
        assert_keeps(&trust("127.0.7.0/24"), &trust("0.0.0.0/0"), "trusted-proxy", refuses_one_more);
    }

    #[test]
    fn brings_another_certificate_and_never_a_broken_one() {
        let folder = Folder::new();
        let old = folder.write_certificate();
        let mut server = Server::start_on(0, &["--cert-path", folder.path().to_str().expect("text")]);
        let (mut caller, mut callee) = session(&server);
        folder.write("key.pem", "broken");
        server.process().signal("HUP");
        server.wait_for_log("keeping the old one");
        assert_eq!(Socket::connect(&server).server_certificate(), old);
        let new = folder.write_certificate();
        reload(&mut server);
        assert_eq!(Socket::connect(&server).server_certificate(), new);
        still_talk(&mut caller, &mut callee);
    }

    #[test]
    fn shows_when_the_new_certificate_expires() {
        let folder = Folder::new();
        folder.write_certificate();
        let dir = folder.path().to_str().expect("text");
        let mut server = Server::start_on(0, &["--cert-path", dir, "--admin-addr", "127.0.0.1:0"]);
        let expiry = |server: &Server| {
            let metrics = http::request(server.admin_address(), "GET", "/metrics", &[]).body;
            value(&metrics, "callbin_certificate_expiry_timestamp_seconds{}").expect("a time")
        };
        // rcgen's default expiry is in the year 4096.
        assert_eq!(expiry(&server), 67_090_118_400.0);
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2030, 2, 28);
        let key = rcgen::KeyPair::generate().expect("rcgen works");
        folder.write("cert.pem", &params.self_signed(&key).expect("rcgen works").pem());
        folder.write("key.pem", &key.serialize_pem());
        reload(&mut server);
        wait_until("the new time", DEADLINE, || (expiry(&server) == 1_898_467_200.0).then_some(()));
    }

    /// Simulates a hanging file system: a reader waits until there is a writer.
    fn replace_by_fifo(path: &Path) {
        fs::remove_file(path).expect("the folder is ours");
        let status = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
        assert!(status.success());
    }

    /// Ends the wait of a FIFO's readers, with an empty file.
    fn release(path: &Path) {
        let writer = File::options().write(true).open(path).expect("somebody reads");
        // Before the end of the file: a later open would wait for ever.
        fs::remove_file(path).expect("the folder is ours");
        drop(writer);
    }

    #[test]
    fn that_waits_for_a_file_holds_up_nothing_else() {
        let folder = Folder::new();
        let keys = Keys::new(Algorithm::Hs256);
        let old = folder.write_certificate();
        let key = folder.write("key", &fs::read_to_string(keys.public()).expect("a key"));
        let dir = folder.path().to_str().expect("text");
        let watch = ["--restart-on-cert-change", "--watch-interval", "0.1"];
        let flags = [&["--cert-path", dir, "--token-key-file", &key], &watch[..]].concat();
        let mut server = Server::start_on(0, &flags);
        let url = format!("{}?token={}", server.ws_url(), keys.token(json!({})));
        assert_eq!(Socket::connect_to(&url).server_certificate(), old);
        for name in ["cert.pem", "key"] {
            replace_by_fifo(&folder.path().join(name));
        }
        let threads = server.process().threads();
        let logged = |server: &Server, text: &str| server.log().matches(text).count();
        server.process().signal("HUP");
        server.wait_for_log("reloading");
        // The server keeps working, with the old settings.
        for i in 0..5 {
            let mut socket = Socket::connect_to(&url);
            assert_eq!(socket.server_certificate(), old);
            socket.send(&format!("HELLO during{i}"));
            socket.expect("HELLO");
        }
        assert_eq!(logged(&server, "takes too long"), 0, "it still waits");
        (0..5).for_each(|_| server.process().signal("HUP"));
        wait_until("complaints about both", DEADLINE, || {
            let certificate = logged(&server, "the certificate changed and is not usable");
            (certificate > 0 && logged(&server, "the settings are not usable") > 0).then_some(())
        });
        assert!(server.log().contains("a file takes too long to read"), "{}", server.log());
        // For any number of attempts: one thread for the certificate, one for the rest, and those of the pool.
        assert!(server.process().threads() <= threads + 4, "{} threads", server.process().threads());

        // When the files are back, they are loaded.
        let new = Keys::new(Algorithm::Hs256);
        for name in ["cert.pem", "key"] {
            release(&folder.path().join(name));
        }
        let certificate = folder.write_certificate();
        folder.write("key", &fs::read_to_string(new.public()).expect("a key"));
        let url = format!("{}?token={}", server.ws_url(), new.token(json!({})));
        wait_until("the new settings", DEADLINE, || {
            (logged(&server, "new settings loaded") > 0).then_some(())
        });
        wait_until("the new certificate", DEADLINE, || {
            (Socket::connect_to(&url).server_certificate() == certificate).then_some(())
        });
    }

    #[test]
    fn that_waits_for_a_file_does_not_keep_the_server_from_ending() {
        let folder = Folder::new();
        folder.write_certificate();
        let mut server = Server::start_on(0, &["--cert-path", folder.path().to_str().expect("text")]);
        replace_by_fifo(&folder.path().join("key.pem"));
        server.process().signal("HUP");
        server.wait_for_log("reloading");
        let start = Instant::now();
        server.process().signal("TERM");
        assert_eq!(server.process().wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(4), "it did not wait for the file");
    }

    #[test]
    fn brings_other_limits_from_the_file() {
        let folder = Folder::new();
        let file = folder.write("server.toml", "max-rooms = 1\nmax-message-rate = 1000\nmax-message = 1000");
        let mut server = Server::start(&["--config", &file]);
        let (mut caller, mut callee) = session(&server);
        let mut a = Socket::register(&server, "a");
        a.expect_nothing("ROOM first", "ROOM_OK ");
        let mut b = Socket::register(&server, "b");
        b.expect_nothing("ROOM second", "ERROR too many rooms");
        folder.write("server.toml", "max-rooms = 2\nmax-message-rate = 1000\nmax-owner-connections = 5");
        reload(&mut server);
        b.expect_nothing("ROOM second", "ROOM_OK ");
        still_talk(&mut caller, &mut callee);
        let _fifth = Socket::register(&server, "fifth");
        assert_eq!(http::upgrade(&server, "/", &[]).status, 429, "fewer connections from here");
        // An invalid file changes nothing.
        folder.write("server.toml", "max-rooms = 2\nmax-owner-conections = 500");
        server.process().signal("HUP");
        server.wait_for_log("max-owner-conections");
        assert_eq!(http::upgrade(&server, "/", &[]).status, 429);
        still_talk(&mut caller, &mut callee);
    }

    #[test]
    fn brings_a_webhook_and_a_shorter_queue_to_those_who_are_there() {
        let folder = Folder::new();
        let file = folder.write("server.toml", "max-queue = 50000000");
        let mut server = Server::start(&["--config", &file]);
        let mut a = Socket::register(&server, "a");
        let (mut caller, _reads_nothing) = session(&server);
        let text = "x".repeat(500_000);
        // The socket buffers take the first messages.
        (0..40).for_each(|_| caller.send(&text));
        wait_until("a queue", DEADLINE, || {
            let metrics = http::get(&server, "/metrics", &[]).body;
            (value(&metrics, "callbin_longest_queue_bytes")? > 1_000_000.0).then_some(())
        });
        let hook = Hook::start(|_, _| no("not today"));
        let text = format!("max-queue = 1000000\nwebhook-url = \"{}\"", hook.url());
        folder.write("server.toml", &text);
        reload(&mut server);
        caller.send("one more");
        caller.expect_close(1000, "");
        await_metric(&server, "callbin_closes_total{reason=\"reads too slowly\"}", 1.0);
        a.expect_nothing("ROOM r", "ERROR not today");
    }

    #[test]
    fn brings_other_rates_to_those_who_are_there() {
        let folder = Folder::new();
        let file = folder.write("server.toml", "max-message-rate = 10000");
        let mut server = Server::start(&["--config", &file]);
        let mut socket = Socket::register(&server, "a");
        (0..200).for_each(|_| socket.send("ignored"));
        socket.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        folder.write("server.toml", "max-message-rate = 10");
        reload(&mut server);
        (0..1000).take_while(|_| socket.try_send("ignored")).for_each(drop);
        socket.expect_close(1008, "too many messages");
    }
}

mod configuration {
    use super::*;

    fn check(flags: &[&str]) -> (i32, String) {
        let mut command = Command::new(program("callbin-server"));
        let Output { status, stderr, .. } =
            command.args(["--check-config"]).args(flags).output().expect("it runs");
        (status.code().expect("an exit code"), String::from_utf8(stderr).expect("text"))
    }

    #[test]
    fn a_check_makes_nothing_and_half_a_certificate_is_not_replaced() {
        let folder = Folder::new();
        let path = folder.path().to_str().expect("text");
        assert_eq!(check(&["--self-signed", "--cert-path", path]), (0, String::new()));
        assert_eq!(fs::read_dir(path).expect("a folder").count(), 0);
        folder.write("key.pem", "waits for its certificate");
        let (code, words) = check(&["--self-signed", "--cert-path", path]);
        assert!(code == 1 && words.contains("cert.pem"), "{code} {words}");
        let mut start = Command::new(program("callbin-server"));
        let output =
            start.args(["--self-signed", "--port", "0", "--cert-path", path]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            fs::read_to_string(folder.path().join("key.pem")).expect("ours"),
            "waits for its certificate"
        );
    }

    #[test]
    fn is_checked_without_listening() {
        let folder = Folder::new();
        let good = folder.write("good.toml", "disable-ssl = true\nport = 1\nstun-url = [\"stun:a\"]");
        assert_eq!(check(&["--config", &good]), (0, String::new()));
        let short = folder.write("short", "secret");
        let empty = folder.write("empty", "\n");
        let wrong = folder.write("wrong.toml", "prot = 1");
        let value = folder.write("value.toml", "port = \"many\"");
        let ice = folder.write("ice.json", "[{\"url\": \"stun:a\"}]");
        let turn = folder.write("turn.json", r#"[{"urls": "stun:a"}, {"urls": ["turn:a"]}]"#);
        let lines = folder.write("lines.toml", "disable-ssl = true\n\nport = 70000");
        let garbage = folder.write("garbage.json", "{\"keys\": []}");
        let rsa = rcgen::KeyPair::generate().expect("rcgen works").serialize_pem();
        let private = folder.write("private.pem", &rsa);
        let missing = "/nonexistent/file";
        for (flags, code, words) in [
            (vec!["--config", &wrong], 2, "unknown option \"prot\""),
            (vec!["--config", &value], 2, "--port"),
            (vec!["--config", missing], 2, missing),
            (vec!["--disable-ssl", "--log", "=="], 2, "--log"),
            (vec!["--disable-ssl", "--token-key-file", &short], 2, "32 bytes"),
            (vec!["--disable-ssl", "--token-key-file", missing], 2, missing),
            (vec!["--disable-ssl", "--token-jwks-file", &garbage], 2, "garbage.json"),
            (vec!["--disable-ssl", "--turn-url", "turn:x"], 2, "turn-secret-file"),
            (vec!["--disable-ssl", "--turn-secret-file", &empty], 2, "empty"),
            (vec!["--config", &lines], 2, "lines.toml, line 3: invalid value '70000' for '--port <PORT>'"),
            (vec!["--disable-ssl", "--ice-servers-file", &ice], 2, "ice.json is not a JSON array"),
            (vec!["--disable-ssl", "--ice-servers-file", &turn], 2, "number 2: \"turn:a\" needs a username"),
            (vec!["--disable-ssl", "--stun-url", "stun:a,stun://b"], 2, "'stun://b' for '--stun-url <URL>'"),
            (vec!["--disable-ssl", "--turn-url", "turn:a:x"], 2, "--turn-url"),
            (vec!["--disable-ssl", "--proxy-header", "x-real-ip"], 2, "trusted-proxy"),
            (vec!["--disable-ssl", "--webhook-url", "ftp://x"], 2, "--webhook-url"),
            (vec!["--disable-ssl", "--admin-secret-file", &short], 2, "admin-addr"),
            (vec!["--disable-ssl", "--trusted-proxy", "everybody"], 2, "--trusted-proxy"),
            (vec!["--disable-ssl", "--token-key-file", &private], 2, "private key"),
            (vec!["--disable-ssl", "--allowed-origin", "https://a.example/app"], 2, "--allowed-origin"),
            (vec!["--disable-ssl", "--frame-ancestors", "example.org"], 2, "--frame-ancestors"),
            (vec!["--disable-ssl", "--health", "health"], 2, "--health"),
            (vec!["--cert-path", "/nonexistent"], 1, "cert.pem"),
        ] {
            let (found, stderr) = check(&flags);
            assert!(found == code && stderr.contains(words), "{flags:?}: {found} {stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }

    #[test]
    fn that_is_wrong_in_the_environment_is_reported_with_its_variable() {
        for (variable, value) in [
            ("CALLBIN_PORT", "many"),
            ("CALLBIN_DISABLE_SSL", "perhaps"),
            ("CALLBIN_TURN_URL", "stun:a"),
            ("CALLBIN_LOG_FORMAT", "xml"),
        ] {
            let mut command = Command::new(program("callbin-server"));
            let output = command.arg("--check-config").env(variable, value).output().expect("it runs");
            let stderr = String::from_utf8(output.stderr).expect("text");
            let words = format!("environment variable {variable}: invalid value '{value}'");
            assert!(output.status.code() == Some(2) && stderr.contains(&words), "{stderr}");
        }
    }

    #[test]
    fn comes_from_flags_then_the_environment_then_the_file() {
        let folder = Folder::new();
        let secret = folder.write("secret", "s3cret");
        let text = "admin-addr = \"127.0.0.1:0\"\nhealth = \"/file\"\nmax-rooms = 1\nmax-sessions = 0";
        let file = folder.write("server.toml", text);
        let mut command = Command::new(program("callbin-server"));
        command.env("CALLBIN_CONFIG", &file).env("CALLBIN_ADMIN_SECRET_FILE", &secret);
        command.env("CALLBIN_HEALTH", "/environment").env("CALLBIN_MAX_ROOMS", "0");
        let server = Server::spawn(command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0"]));
        assert_eq!(http::get(&server, "/environment", &[]).status, 200);
        assert_eq!(http::get(&server, "/file", &[]).status, 404);
        let bearer = [("Authorization", "Bearer s3cret")];
        assert_eq!(http::request(server.admin_address(), "GET", "/admin/rooms", &bearer).json(), json!([]));
    }
}

mod admin {
    use super::*;

    struct Admin {
        server: Server,
        folder: Folder,
    }

    impl Admin {
        fn start() -> Self {
            let folder = Folder::new();
            let secret = folder.write("secret", "correct horse\n");
            let server = Server::start(&["--admin-addr", "127.0.0.1:0", "--admin-secret-file", &secret]);
            Self { server, folder }
        }

        fn request(&self, method: &str, path: &str) -> Response {
            let secret = [("Authorization", "Bearer correct horse")];
            http::request(self.server.admin_address(), method, path, &secret)
        }

        fn command(&self, secret: &str, args: &[&str]) -> (bool, String) {
            let address = self.server.admin_address().to_string();
            let mut command = Command::new(program("callbin-server"));
            command.args(["admin", "--admin-addr", &address, "--admin-secret-file"]);
            let secret = self.folder.path().join(secret);
            let Output { status, stdout, stderr } = command.arg(secret).args(args).output().expect("it runs");
            let text = if status.success() { stdout } else { stderr };
            (status.success(), String::from_utf8(text).expect("text"))
        }
    }

    #[test]
    fn needs_its_secret() {
        let admin = Admin::start();
        let address = admin.server.admin_address();
        for header in [
            ("X-Nothing", "special"),
            ("Authorization", "Bearer wrong"),
            ("Authorization", "Bearer "),
            ("Authorization", "Bearer correct horses"),
            ("Authorization", "Basic correct horse"),
        ] {
            for (method, path) in [("GET", "/admin/peers"), ("DELETE", "/admin/peers/a"), ("GET", "/admin/x")]
            {
                let response = http::request(address, method, path, &[header]);
                assert_eq!(response.status, 401, "{header:?} {path}");
            }
        }
        let none = Server::start(&["--admin-addr", "127.0.0.1:0"]);
        let response =
            http::request(none.admin_address(), "GET", "/admin/peers", &[("Authorization", "Bearer ")]);
        assert_eq!(response.status, 401, "without a secret there are no admins");
    }

    #[test]
    fn lists_and_closes() {
        let admin = Admin::start();
        let (mut caller, mut callee) = session(&admin.server);
        let mut members = ["m/1", "é"].map(|uid| Socket::register(&admin.server, uid));
        members[0].expect_nothing("ROOM a/b", "ROOM_OK ");
        members[1].expect_nothing("ROOM a/b", "ROOM_OK m/1");
        members[0].expect("ROOM_PEER_JOINED é");
        let sessions = admin.request("GET", "/admin/sessions").json();
        assert_eq!(sessions, json!([{ "caller": "caller", "callee": "callee" }]));
        let rooms = admin.request("GET", "/admin/rooms").json();
        assert_eq!(rooms, json!([{ "room": "a/b", "members": ["m/1", "é"] }]));
        let peers = admin.request("GET", "/admin/peers").json();
        let peer = |uid: &str| -> Value {
            peers.as_array().expect("a list").iter().find(|peer| peer["uid"] == uid).expect("there").clone()
        };
        assert_eq!(peers.as_array().map(Vec::len), Some(4));
        assert_eq!(peer("caller")["session"], "callee");
        assert_eq!(peer("é")["room"], "a/b");
        assert!(peer("caller")["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")));

        assert_eq!(admin.request("DELETE", "/admin/peers/caller").json(), json!({ "closed": 2 }));
        caller.expect_close(1008, "closed by an operator");
        callee.expect_close(1000, "");
        assert_eq!(admin.request("DELETE", "/admin/peers/caller").status, 404);
        assert_eq!(admin.request("DELETE", "/admin/rooms/a%2Fb").json(), json!({ "closed": 2 }));
        members[0].expect_close(1008, "closed by an operator");
        assert_eq!(admin.request("DELETE", "/admin/rooms/a%2Fb").status, 404);
        assert_eq!(admin.request("POST", "/admin/peers").status, 405);
        assert_eq!(admin.request("GET", "/admin/nothing").status, 404);
        assert_eq!(admin.request("DELETE", "/admin/peers/%ff").status, 400);
    }

    #[test]
    fn names_steer_no_terminal() {
        let admin = Admin::start();
        let uid = "a\u{9b}31m\u{1b}[31m\u{202e}b\u{2066}c\u{200b}é";
        let mut peer = Socket::register(&admin.server, uid);
        peer.expect_nothing("ROOM r\u{202e}", "ROOM_OK ");
        for what in ["peers", "rooms"] {
            let (ok, text) = admin.command("secret", &[what]);
            assert!(ok && text.contains("\\u202e") && text.contains('é'), "{text:?}");
            let steers = |c: char| c.is_control() || "\u{202e}\u{2066}\u{200b}".contains(c);
            assert!(!text.trim_end().contains(steers), "{text:?}");
            let json: Value = serde_json::from_str(&text).expect("JSON");
            assert!(json.to_string().contains("\u{202e}b\u{2066}c\u{200b}é"), "{json}");
        }
    }

    #[test]
    fn health_is_a_command_without_a_secret() {
        let admin = Admin::start();
        let ask = |address: &str| {
            let mut command = Command::new(program("callbin-server"));
            command.args(["health", "--admin-addr", address]).output().expect("it runs")
        };
        let output = ask(&admin.server.admin_address().to_string());
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"OK\n".as_slice()));
        let output = ask("127.0.0.1:9");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("no answer from 127.0.0.1:9"), "{output:?}");
    }

    #[test]
    fn has_a_command() {
        let admin = Admin::start();
        let mut peer = Socket::register(&admin.server, "a-peer/é");
        let mut member = Socket::register(&admin.server, "member");
        member.expect_nothing("ROOM r", "ROOM_OK ");
        let (_, peers) = admin.command("secret", &["peers"]);
        assert!(peers.contains("\"a-peer/é\"") && peers.contains("\"member\""), "{peers}");
        assert_eq!(admin.command("secret", &["sessions"]), (true, "[]\n".into()));
        assert!(admin.command("secret", &["rooms"]).1.contains("\"members\":[\"member\"]"));
        assert!(admin.command("secret", &["disconnect", "a-peer/é"]).0);
        peer.expect_close(1008, "closed by an operator");
        assert!(admin.command("secret", &["close-room", "r"]).0);
        member.expect_close(1008, "closed by an operator");
        let (ok, error) = admin.command("secret", &["disconnect", "nobody"]);
        assert!(!ok && error.contains("no such peer"), "{error}");
        admin.folder.write("wrong", "wrong");
        let (ok, error) = admin.command("wrong", &["peers"]);
        assert!(!ok && error.contains("the admin secret is needed"), "{error}");
        let (ok, error) = admin.command("missing", &["peers"]);
        assert!(!ok && error.contains("missing"), "{error}");
    }
}

mod webhook {
    use super::*;

    /// The close reason when the webhook gave no answer.
    const LATER: &str = "not available, try again later";

    fn start(hook: &Hook, flags: &[&str]) -> Server {
        Server::start(&[&["--webhook-url", &hook.url()], flags].concat())
    }

    #[track_caller]
    fn assert_refused(server: &Server, uid: &str, reason: &str) {
        let mut socket = Socket::connect(server);
        socket.send(&format!("HELLO {uid}"));
        socket.expect(&format!("ERROR {reason}"));
        socket.expect_close(1008, "uid not allowed");
    }

    #[track_caller]
    fn assert_unavailable(server: &Server) {
        let mut socket = Socket::connect(server);
        socket.send("HELLO a");
        socket.expect_close(1013, LATER);
    }

    #[test]
    fn is_asked_who_wants_what_from_where() {
        let folder = Folder::new();
        let (secret, keys) = (folder.write("secret", "hook-secret"), Keys::new(Algorithm::Hs256));
        let hook = Hook::yes();
        let flags = ["--webhook-secret-file", &secret, "--token-key-file", &keys.public()];
        let server = start(&hook, &flags);
        let connect = |sub: &str| {
            let token = keys.token(json!({ "sub": sub }));
            Socket::connect_to(&format!("{}?token={token}", server.ws_url()))
        };
        let (mut a, _b) = (connect("alice").hello("a"), connect("bob").hello("b"));
        let mut c = connect("carol").hello("c");
        a.expect_nothing("SESSION b", "SESSION_OK");
        c.expect_nothing("ROOM r", "ROOM_OK ");
        let asked = hook.asked();
        let bodies: Vec<Value> = asked.iter().map(|asked| asked.body.clone()).collect();
        let expected = |connection: u64, identity: &str, uid: &str, event: &str| {
            json!({
                "event": event, "uid": uid, "identity": identity, "address": "127.0.0.1",
                "connection": connection
            })
        };
        let mut call = expected(1, "alice", "a", "call");
        call["peer"] = "b".into();
        let mut join = expected(3, "carol", "c", "join");
        join["room"] = "r".into();
        let registers = [(1, "alice", "a"), (2, "bob", "b"), (3, "carol", "c")];
        let mut all = registers.map(|(n, sub, uid)| expected(n, sub, uid, "register")).to_vec();
        all.extend([call, join]);
        assert_eq!(bodies, all);
        assert!(asked.iter().all(|asked| asked.head.contains("authorization: bearer hook-secret")));
        assert!(asked.iter().all(|asked| asked.head.starts_with("post /hook ")));
        // The webhook is not asked about messages within a session.
        a.send("payload");
        assert_eq!(hook.asked().len(), 5);
    }

    #[test]
    fn refuses_with_a_reason() {
        let hook = Hook::start(|asked, _| match asked.body["event"].as_str() {
            Some("register") if asked.body["uid"] != "banned" => {
                ("200 OK".into(), r#"{"allow":true}"#.into())
            }
            _ => no("pay first"),
        });
        let server = start(&hook, &[]);
        assert_refused(&server, "banned", "pay first");
        let (mut a, _b) = (Socket::register(&server, "a"), Socket::register(&server, "b"));
        a.expect_nothing("SESSION b", "ERROR pay first");
        a.expect_nothing("ROOM r", "ERROR pay first");
        Socket::register(&server, "other");
    }

    #[test]
    fn adds_ice_servers() {
        let hook = Hook::start(|asked, _| {
            let url = format!("turn:{}.example", asked.body["uid"].as_str().expect("a uid"));
            let answer = json!({ "allow": true, "ice_servers": [{ "urls": url, "username": "u" }] });
            ("200 OK".into(), answer.to_string())
        });
        let server = start(&hook, &["--stun-url", "stun:stun.example"]);
        let ask = |uid: &str| http::get(&server, &format!("/ice-servers?uid={uid}"), &[]).json();
        let _a = Socket::register(&server, "a");
        let stun = json!({ "urls": ["stun:stun.example"] });
        wait_until("a's servers", DEADLINE, || {
            let added = json!({ "urls": "turn:a.example", "username": "u" });
            (ask("a")["iceServers"] == json!([stun, added])).then_some(())
        });
        assert_eq!(ask("b")["iceServers"], json!([stun]));
    }

    #[test]
    fn slow_or_dead_is_a_no_and_holds_up_nobody_else() {
        // The webhook does not answer about "slow" until the test ends.
        let (end, until_the_end) = mpsc::channel::<()>();
        let until_the_end = Mutex::new(until_the_end);
        let hook = Hook::start(move |asked, _| {
            if asked.body["uid"] == "slow" {
                let _ = until_the_end.lock().expect("not poisoned").recv();
            }
            ("200 OK".into(), r#"{"allow":true}"#.into())
        });
        let server = start(&hook, &["--webhook-timeout", "6"]);
        let mut slow = Socket::connect(&server);
        slow.send("HELLO slow");
        wait_until("the question", DEADLINE, || (hook.asked().len() == 1).then_some(()));
        Socket::register(&server, "quick");
        assert!(!server.log().contains("no answer in time"), "quick did not wait for slow");
        // A temporary failure: the peer may retry.
        slow.expect_close(1013, LATER);
        drop(end);

        let dead = Server::start(&["--webhook-url", "http://127.0.0.1:9/", "--webhook-timeout", "1"]);
        assert_unavailable(&dead);
        dead.wait_for_log("the webhook fails");
        assert_eq!(http::get(&dead, "/health", &[]).status, 200);
    }

    #[test]
    fn its_failures_are_counted_and_fill_no_log() {
        let down = |_: &Asked, _| ("404 Not Found".into(), String::new());
        let hook = Hook::start(down);
        let server = start(&hook, &["--max-log-rate", "1"]);
        let mut peers: Vec<Socket> = (0..40).map(|_| Socket::connect(&server)).collect();
        for peer in &mut peers {
            peer.send("HELLO a");
            peer.expect_close(1013, LATER);
        }
        let metrics = http::get(&server, "/metrics", &[]).body;
        for (name, expected) in [
            ("questions_total{outcome=\"failed\"}", 40.0),
            ("questions_total{outcome=\"allowed\"}", 0.0),
            ("requests_total", 40.0),
            ("question_seconds_count", 40.0),
            ("places_used", 0.0),
            ("waiting", 0.0),
            ("places", 64.0),
        ] {
            assert_eq!(
                value(&metrics, &format!("callbin_webhook_{name}")),
                Some(expected),
                "{name}: {metrics}"
            );
        }
        let lines = server.log().matches("the webhook fails").count();
        assert!((1..20).contains(&lines), "{lines} lines: {}", server.log());
    }

    #[test]
    fn its_places_can_be_watched() {
        let (hook, end) = thinking_about("slow");
        let server = start(&hook, &["--webhook-timeout", "30"]);
        let _slow: Vec<Socket> = (0..20)
            .map(|i| {
                let mut socket = Socket::connect(&server);
                socket.send(&format!("HELLO slow{i}"));
                socket
            })
            .collect();
        await_metric(&server, "callbin_webhook_places_used", 16.0);
        await_metric(&server, "callbin_webhook_waiting", 4.0);
        drop(end);
        await_metric(&server, "callbin_webhook_questions_total{outcome=\"allowed\"}", 20.0);
        await_metric(&server, "callbin_webhook_places_used", 0.0);
    }

    /// A webhook that does not answer questions about uids with this prefix until the other end is dropped.
    fn thinking_about(prefix: &'static str) -> (Hook, mpsc::Sender<()>) {
        let (end, until_the_end) = mpsc::channel::<()>();
        let until_the_end = Mutex::new(until_the_end);
        let hook = Hook::start(move |asked, _| {
            if asked.body["uid"].as_str().is_some_and(|uid| uid.starts_with(prefix)) {
                let _ = until_the_end.lock().expect("not poisoned").recv();
            }
            ("200 OK".into(), r#"{"allow":true}"#.into())
        });
        (hook, end)
    }

    #[test]
    fn of_one_address_leaves_it_to_others() {
        let (hook, end) = thinking_about("slow");
        let server = start(&hook, &["--webhook-timeout", "8"]);
        let [crowded, other] = [[127, 0, 7, 1], [127, 0, 7, 2]].map(IpAddr::from);
        let slow: Vec<Socket> = (0..100)
            .map(|i| {
                let mut socket = Socket::connect_from(&server, crowded);
                socket.send(&format!("HELLO slow{i}"));
                socket
            })
            .collect();
        wait_until("its share of the questions", DEADLINE, || (hook.asked().len() == 16).then_some(()));
        let mut quick = Socket::connect_from(&server, other).hello("quick");
        quick.expect_nothing("ROOM r", "ROOM_OK ");
        assert_eq!(hook.asked().len(), 18, "no more of the others than before");
        // The others are answered in time; some get their turn when the first ones are done.
        drop(end);
        let answers: Vec<Received> = slow.into_iter().map(|mut socket| socket.receive()).collect();
        let hello = Received::Text("HELLO".into());
        assert!(answers.contains(&hello), "{answers:?}");
        let later = Received::Closed(Some((1013, LATER.into())));
        assert!(answers.iter().all(|answer| [&hello, &later].contains(&answer)), "{answers:?}");
    }

    #[test]
    fn of_one_identity_leaves_it_to_others_too() {
        let (hook, _end) = thinking_about("slow");
        let keys = Keys::new(Algorithm::Hs256);
        let server = start(&hook, &["--webhook-timeout", "8", "--token-key-file", &keys.public()]);
        let [alice, bob] =
            ["alice", "bob"].map(|sub| format!("Bearer {}", keys.token(json!({ "sub": sub }))));
        let connect = |from: u8, bearer: &str| {
            let stream = http::connect_from([127, 0, 7, from].into(), server.address());
            Socket::handshake(stream, &server.ws_url(), &[("Authorization", bearer)])
        };
        let _slow: Vec<Socket> = (0..100)
            .map(|i| {
                let mut socket = connect(i, &alice);
                socket.send(&format!("HELLO slow{i}"));
                socket
            })
            .collect();
        wait_until("her share of the questions", DEADLINE, || (hook.asked().len() == 16).then_some(()));
        connect(1, &bob).hello("quick");
        assert_eq!(hook.asked().len(), 17, "no more of hers than before");
    }

    #[test]
    fn who_waits_too_long_is_refused_in_time() {
        let (hook, _end) = thinking_about("slow");
        let server = start(&hook, &["--webhook-timeout", "8"]);
        let mut slow: Vec<Socket> = (0..17).map(|_| Socket::connect(&server)).collect();
        let last = slow.pop();
        for (i, socket) in slow.iter_mut().enumerate() {
            socket.send(&format!("HELLO slow{i}"));
        }
        wait_until("all places to be taken", DEADLINE, || (hook.asked().len() == 16).then_some(()));
        let (mut last, start_of_wait) = (last.expect("seventeen"), Instant::now());
        last.send("HELLO slow-too");
        last.expect_close(1013, LATER);
        let waited = start_of_wait.elapsed();
        assert!((Duration::from_millis(3900)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
        assert_eq!(hook.asked().len(), 16, "it was not asked");
    }

    #[test]
    fn is_not_asked_about_what_is_refused_whoever_is_there() {
        let keys = Keys::new(Algorithm::Hs256);
        let hook = Hook::yes();
        let server = start(&hook, &["--token-key-file", &keys.public()]);
        let claims = json!({ "uid": "a*", "rooms": ["mine"], "allow": ["answer"] });
        let connect = |claims: &Value| {
            let token = keys.token(claims.clone());
            Socket::connect_to(&format!("{}?token={token}", server.ws_url()))
        };
        let mut stranger = connect(&claims);
        stranger.send("HELLO b");
        stranger.expect_close(1008, "uid not allowed");
        assert!(hook.asked().is_empty());
        let mut a = connect(&claims).hello("a");
        a.expect_nothing("SESSION nobody", "ERROR peer 'nobody' not found");
        a.expect_nothing("ROOM other", "ERROR invalid room id 'other'");
        let mut b = connect(&json!({})).hello("b");
        b.expect_nothing("SESSION b", "ERROR peer 'b' busy");
        assert_eq!(hook.asked().len(), 2, "two registrations");
    }

    #[test]
    fn who_is_refused_learns_nothing_about_who_is_there() {
        let hook = Hook::start(|asked, _| match asked.body["uid"].as_str() {
            Some("stranger") if asked.body["event"] == "register" => {
                ("200 OK".into(), r#"{"allow":true}"#.into())
            }
            Some("there") if asked.body["address"] == "127.0.0.1" => {
                ("200 OK".into(), r#"{"allow":true}"#.into())
            }
            _ => no("not you"),
        });
        let server = start(&hook, &[]);
        let _there = Socket::register(&server, "there");
        let mut stranger = Socket::register(&server, "stranger");
        for uid in ["there", "nobody"] {
            stranger.expect_nothing(&format!("SESSION {uid}"), "ERROR not you");
            let mut another = Socket::connect_from(&server, [127, 0, 7, 1].into());
            another.send(&format!("HELLO {uid}"));
            another.expect("ERROR not you");
            another.expect_close(1008, "uid not allowed");
        }
        assert_eq!(hook.asked().len(), 6, "about both alike");
    }

    #[test]
    fn is_asked_again_after_a_passing_fault() {
        let hook = Hook::start(|_, number| match number {
            0 => ("503 Service Unavailable".into(), String::new()),
            1 => ("429 Too Many Requests".into(), String::new()),
            _ => ("200 OK".into(), r#"{"allow":true}"#.into()),
        });
        let server = start(&hook, &[]);
        let start_of_wait = Instant::now();
        Socket::register(&server, "a");
        assert!(start_of_wait.elapsed() >= Duration::from_millis(300), "100 ms, then 200");
        assert_eq!(hook.asked().len(), 3);

        let hook = Hook::start(|_, _| ("500 Oops".into(), String::new()));
        let server = start(&hook, &["--webhook-retries", "1"]);
        assert_unavailable(&server);
        assert_eq!(hook.asked().len(), 2, "once more, and no more");
    }

    #[test]
    fn an_answer_that_is_none_is_a_no() {
        let elsewhere = Hook::yes();
        let target = elsewhere.url();
        for (status, body) in [
            (format!("302 Found\r\nLocation: {target}"), String::new()),
            (format!("307 Temporary Redirect\r\nLocation: {target}"), r#"{"allow":true}"#.into()),
            ("404 Not Found".into(), r#"{"allow":true}"#.into()),
            ("200 OK".into(), "yes".into()),
            ("200 OK".into(), "{}".into()),
            ("200 OK".into(), r#"{"allow":"true"}"#.into()),
            ("200 OK".into(), format!(r#"{{"allow":true,"reason":"{}"}}"#, "x".repeat(100_000))),
        ] {
            let words = status.clone();
            let hook = Hook::start(move |_, _| (status.clone(), body.clone()));
            let server = start(&hook, &[]);
            assert_unavailable(&server);
            assert_eq!(hook.asked().len(), 1, "{words}: the same question gets the same answer");
        }
        assert!(elsewhere.asked().is_empty(), "redirects are not followed");
    }
}

mod systemd {
    use std::{
        net::{TcpListener, TcpStream},
        os::{fd::OwnedFd, unix::net::UnixDatagram},
    };

    use super::*;

    #[test]
    fn is_told_of_readiness_and_of_the_end() {
        let folder = Folder::new();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the folder is ours");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
        let told = || {
            let mut text = [0; 100];
            let n = socket.recv(&mut text).expect("a word");
            String::from_utf8_lossy(&text[..n]).trim().to_owned()
        };
        let mut command = Command::new(program("callbin-server"));
        command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0", "--drain-timeout", "20"]);
        let mut server = Server::spawn(command.env("NOTIFY_SOCKET", &path));
        assert_eq!(told(), "READY=1");
        let (caller, callee) = session(&server);
        server.process().signal("TERM");
        assert_eq!(told(), "STOPPING=1", "while the session still goes on");
        drop((caller, callee));
        assert_eq!(server.process().wait().code(), Some(0));
    }

    /// Starts a server with this listener as descriptor 3.
    fn start_with(passed: OwnedFd, count: u32) -> Command {
        let mut command = Command::new("sh");
        let script = format!("LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 4<&0");
        command.args(["-c", &script]).arg(program("callbin-server"));
        command.args(["--disable-ssl", "--port", "1"]).stdin(passed);
        command
    }

    #[test]
    fn may_listen_in_the_servers_place() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let ours = listener.try_clone().expect("descriptors are left");
        // Connected before the server starts.
        let early = TcpStream::connect(address).expect("somebody listens");
        let mut server = Server::spawn(&mut start_with(listener.into(), 1));
        assert_eq!(server.port(), address.port());
        Socket::handshake(early, &server.ws_url(), &[]).hello("early");
        // The next server continues on the same socket.
        server.process().signal("TERM");
        assert_eq!(server.process().wait().code(), Some(0));
        let waiting = TcpStream::connect(address).expect("somebody still listens");
        let server = Server::spawn(&mut start_with(ours.into(), 1));
        Socket::handshake(waiting, &server.ws_url(), &[]).hello("waiting");
    }

    #[test]
    fn may_not_pass_what_is_no_listening_socket() {
        for (count, file) in [(1, true), (2, false)] {
            let passed: OwnedFd = if file {
                File::open("/dev/null").expect("Linux").into()
            } else {
                TcpListener::bind("127.0.0.1:0").expect("loopback has ports").into()
            };
            let output = start_with(passed, count).output().expect("sh runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{stderr}");
            assert!(stderr.contains("the socket that systemd passes"), "{stderr}");
        }
    }
}

mod logs {
    use super::*;

    #[test]
    fn in_json_have_a_connection_on_each_line_about_one() {
        let server = Server::start(&["--log-format", "json", "--log", "debug"]);
        let (mut caller, mut callee) = session(&server);
        still_talk(&mut caller, &mut callee);
        let mut member = Socket::register(&server, "\"quoted\\\u{7}");
        member.expect_nothing("ROOM r", "ROOM_OK ");
        member.expect_nothing("SESSION x", "ERROR invalid msg, already in room");
        Socket::connect(&server).tcp().write_all(&[0xff; 8]).expect("the socket is open");
        caller.cut();
        callee.expect_close(1000, "");
        let mut stranger = Socket::connect(&server);
        stranger.send("nonsense");
        stranger.expect_close(1002, "invalid protocol");
        server.wait_for_log("invalid protocol");
        drop(member);
        wait_until("everybody's end", DEADLINE, || {
            (server.log().matches("\"left\"").count() == 3).then_some(())
        });

        let log = server.log();
        // The last line may be incomplete.
        let (log, _) = log.rsplit_once('\n').expect("a line");
        let about_the_server = ["listening", "reloading"];
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let message = line["message"].as_str().expect("a message");
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            let has_conn = line["conn"].as_u64().is_some_and(|conn| conn > 0);
            assert!(has_conn != about_the_server.contains(&message), "{line}");
            // Uids and rooms are plain text.
            let is_known = |uid: &str| ["caller", "callee", "\"quoted\\\u{7}"].contains(&uid);
            assert!(line["uid"].as_str().is_none_or(is_known), "{line}");
        }
        assert!(log.contains(r#""uid":"caller""#) && log.contains(r#""room":"r""#), "{log}");
        assert!(log.contains(r#""reason":"invalid protocol""#), "{log}");
        for message in ["registered", "called", "joined", "refused", "closed", "left"] {
            assert!(log.contains(&format!("\"message\":\"{message}\"")), "{message} in {log}");
        }
    }

    #[test]
    fn in_text_quote_what_is_more_than_a_word() {
        let server = Server::start(&[]);
        let mut stranger = Socket::register(&server, "st\"udio");
        let mut taken = Socket::connect(&server);
        taken.send("HELLO st\"udio");
        taken.expect_close(1002, "invalid peer uid");
        stranger.expect_nothing("ROOM r", "ROOM_OK ");
        server.wait_for_log("room=r ");
        for words in [r#" uid="st\"udio" "#, r#" reason="invalid peer uid""#] {
            assert!(server.log().contains(words), "{words} in {}", server.log());
        }
    }

    #[test]
    fn have_levels_per_module() {
        let server = Server::start(&["--log", "warn,callbin_server::switchboard=info"]);
        let (mut caller, mut callee) = session(&server);
        still_talk(&mut caller, &mut callee);
        server.wait_for_log("called");
        assert!(!server.log().contains("listening"), "{}", server.log());
    }

    #[test]
    fn a_full_disk_or_a_closed_pipe_stops_only_the_log() {
        for closed in [false, true] {
            let mut command = Command::new(program("callbin-server"));
            command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0", "--log", "debug"]);
            let (mut process, port) = start_with_bad_stderr(&mut command, closed);
            let url = format!("ws://127.0.0.1:{port}/");
            for i in 0..200 {
                Socket::connect_to(&url).hello(&format!("p{i}")).close();
            }
            let mut caller = Socket::connect_to(&url).hello("caller");
            let mut callee = Socket::connect_to(&url).hello("callee");
            caller.expect_nothing("SESSION callee", "SESSION_OK");
            still_talk(&mut caller, &mut callee);
            drop((caller, callee));
            process.signal("TERM");
            assert_eq!(process.wait().code(), Some(0));
        }
    }

    /// A server whose stderr is a full disk, or a pipe without a reader, and its port.
    fn start_with_bad_stderr(command: &mut Command, closed: bool) -> (Process, u16) {
        use std::io::{BufRead, BufReader};
        let stderr = if closed {
            Stdio::piped()
        } else {
            File::options().write(true).open("/dev/full").expect("Linux").into()
        };
        let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(stderr));
        let child: &mut Child = process.child();
        drop(child.stderr.take());
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("stdout is text");
        let port = line.trim().trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        (process, port.expect("the line has a port"))
    }
}

mod turn {
    use callbin_tests::Coturn;

    use super::*;

    #[test]
    fn credentials_are_good_for_a_real_coturn() {
        let coturn = Coturn::start();
        let (url, secret) = (coturn.url(), coturn.secret_file());
        let server = Server::start(&["--turn-url", &url, "--turn-secret-file", &secret, "--turn-ttl", "60"]);
        let ask = |server: &Server| {
            let answer = http::get(server, "/ice-servers?uid=alice", &[]).json();
            let turn = &answer["iceServers"][0];
            assert_eq!((&turn["urls"], &answer["ttl"]), (&json!([url]), &json!(60)));
            let text = |name: &str| turn[name].as_str().expect("text").to_owned();
            (text("username"), text("credential"))
        };
        let (username, credential) = ask(&server);
        assert!(username.ends_with(":alice"), "{username}");
        wait_until("coturn to relay", DEADLINE, || coturn.accepts(&username, &credential).then_some(()));
        assert!(!coturn.accepts(&username, "wrong"));
        let later = username.replacen('1', "2", 1);
        assert!(!coturn.accepts(&later, &credential), "a longer life is not to be had");

        let folder = Folder::new();
        let other = folder.write("other", "another-secret-0123456789");
        let flags = ["--turn-url", &url, "--turn-secret-file", &other, "--turn-ttl", "60"];
        let (username, credential) = ask(&Server::start(&flags));
        assert!(!coturn.accepts(&username, &credential), "made with another secret");
    }
}
