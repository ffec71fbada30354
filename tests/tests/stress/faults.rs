//! Faults around a server: peers that stop, cut cables, full disks, jumping clocks. Each only affects the
//! connections concerned.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use callbin_tests::{
    DEADLINE, Network, Server, Socket,
    disk::Disk,
    hook::Hook,
    http,
    keys::{Algorithm, Keys, now},
    machine,
    process::Process,
    program,
    socket::Received,
    wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Detects dead peers within seconds, but tolerates peers that wait for a CPU.
const IMPATIENT: [&str; 4] = ["--keepalive-timeout", "0.3", "--pong-timeout", "3"];

/// A peer in its own process that echoes all messages.
struct Peer {
    process: Process,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn program() -> PathBuf {
        env!("CARGO_BIN_EXE_callbin-test-peer").into()
    }

    fn start(server: &Server, uid: &str) -> Self {
        Self::spawn(Command::new(Self::program()).args([&server.ws_url(), uid]))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = Process::spawn(command.stdout(Stdio::piped()));
        let stdout = process.child().stdout.take().expect("stdout is piped");
        let mut peer = Self { process, lines: BufReader::new(stdout) };
        assert_eq!(peer.next_line(), "registered");
        peer
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("stdout is text");
        line.trim_end().to_owned()
    }
}

#[track_caller]
fn still_talk((caller, callee): &mut (Socket, Socket)) {
    caller.send("still here?");
    callee.expect("still here?");
    callee.send("yes");
    caller.expect("yes");
}

mod readers {
    use super::*;

    #[test]
    fn that_are_stopped_are_closed_and_hold_up_nobody() {
        let _machine = machine::shared();
        let server = Server::start(&["--max-queue", "200000", "--max-byte-rate", "0"]);
        let mut honest = Socket::session(&server, "honest");
        let mut stopped = Peer::start(&server, "stopped");
        let mut caller = Socket::register(&server, "caller");
        caller.expect_nothing("SESSION stopped", "SESSION_OK");
        caller.expect_nothing("echo", "echo");
        stopped.process.signal("STOP");
        let text = "x".repeat(50_000);
        // The socket buffers take the first messages.
        wait_until("the stopped one's end", DEADLINE, || {
            still_talk(&mut honest);
            caller.try_send(&text);
            server.log().contains("reads too slowly").then_some(())
        });
        assert_eq!(caller.receive(), Received::Closed(Some((1000, String::new()))));
        stopped.process.signal("CONT");
        assert_eq!(stopped.next_line(), "closed 1008 reads too slowly");
        still_talk(&mut honest);
        Socket::register(&server, "stopped");
    }

    #[test]
    fn that_are_stopped_lose_their_uid_once_it_is_wanted() {
        let _machine = machine::shared();
        let server = Server::start(&["--keepalive-timeout", "600", "--pong-timeout", "1"]);
        let mut honest = Socket::session(&server, "honest");
        let stopped = Peer::start(&server, "wanted");
        stopped.process.signal("STOP");
        let mut other = Socket::connect(&server);
        other.send("HELLO wanted");
        assert_eq!(other.receive(), Received::Closed(Some((1002, "invalid peer uid".into()))));
        // The next regular ping is far away.
        wait_until("the missing pong", DEADLINE, || server.log().contains("no pong in time").then_some(()));
        Socket::register(&server, "wanted");
        still_talk(&mut honest);
    }

    #[test]
    fn that_are_stopped_while_nothing_is_said_are_missed() {
        let _machine = machine::shared();
        let server = Server::start(&IMPATIENT);
        let mut honest = Socket::session(&server, "honest");
        let stopped = Peer::start(&server, "stopped");
        stopped.process.signal("STOP");
        wait_until("the missing pong", DEADLINE, || {
            still_talk(&mut honest);
            server.log().contains("no pong in time").then_some(())
        });
        Socket::register(&server, "stopped");
        assert_eq!(server.log().matches("no pong in time").count(), 1, "{}", server.log());
    }

    #[test]
    fn whose_cable_is_cut_are_missed_and_their_uids_free() {
        let _machine = machine::apart();
        let server = Server::spawn_reachable(&IMPATIENT);
        let network = Network::start();
        let url = format!("ws://{}:{}/", network.host(), server.port());
        let _far = Peer::spawn(network.command(Peer::program()).args([&url, "far"]));
        let mut honest = Socket::session(&server, "honest");
        let mut caller = Socket::register(&server, "caller");
        caller.expect_nothing("SESSION far", "SESSION_OK");
        caller.expect_nothing("echo", "echo");
        let found = AtomicBool::new(false);
        thread::scope(|scope| {
            // The other peers answer pings by reading.
            scope.spawn(|| {
                wait_until("the far one's end", DEADLINE, || {
                    still_talk(&mut honest);
                    found.load(Ordering::Relaxed).then_some(())
                });
            });
            network.cut();
            caller.expect_close(1000, "");
            found.store(true, Ordering::Relaxed);
        });
        server.wait_for_log("no pong in time");
        assert_eq!(server.log().matches("no pong in time").count(), 1, "{}", server.log());
        let mut again = Socket::register(&server, "far");
        again.expect_nothing("SESSION x", "ERROR peer 'x' not found");
    }
}

mod certificates {
    use super::*;

    fn write_certificate(folder: &TempDir) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("rcgen works");
        // The key first: until both are written they do not match, and the server may read them.
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("ours");
        fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("ours");
        made.cert.der().to_vec()
    }

    /// Load that fails if a peer is refused or disconnected.
    fn load(server: &Server, args: &[&str]) -> Process {
        let mut command = Command::new(program("callbin-load"));
        command.args(["--server", server.ws_url().trim_end_matches('/')]).args(args);
        Process::spawn(command.stdout(Stdio::null()))
    }

    #[test]
    fn that_break_under_load_are_not_used_and_told_of_once() {
        let _machine = machine::shared();
        const COMPLAINT: &str = "not usable: keeping the old one";
        let folder = TempDir::new().expect("a folder");
        let old = write_certificate(&folder);
        let dir = folder.path().to_str().expect("text");
        let flags = ["--cert-path", dir, "--restart-on-cert-change", "--watch-interval", "0.1"];
        let free =
            ["--max-registration-rate", "0", "--max-owner-connections", "0", "--max-request-rate", "0"];
        let server = Server::start_on(0, &[&flags[..], &free].concat());
        let mut loads = [
            load(&server, &["pairs", "--pairs", "5", "--seconds", "8", "--rate", "300"]),
            load(&server, &["churn", "--seconds", "8"]),
        ];
        wait_until("the load", DEADLINE, || (server.log().matches("registered").count() > 30).then_some(()));
        fs::write(folder.path().join("key.pem"), "broken").expect("ours");
        server.wait_for_log(COMPLAINT);
        assert!(loads.iter_mut().all(Process::is_running), "it broke under load");
        assert!(loads.iter_mut().all(|load| load.wait().success()), "nobody is refused or cut");
        assert_eq!(Socket::connect(&server).server_certificate(), old);
        assert_eq!(server.log().matches(COMPLAINT).count(), 1, "after some eighty looks");

        let new = write_certificate(&folder);
        server.wait_for_log("new certificate loaded");
        wait_until("the new one", DEADLINE, || {
            (Socket::connect(&server).server_certificate() == new).then_some(())
        });
        let before = server.log().matches(COMPLAINT).count();
        fs::write(folder.path().join("cert.pem"), "broken").expect("ours");
        wait_until("another complaint", DEADLINE, || {
            (server.log().matches(COMPLAINT).count() == before + 1).then_some(())
        });
    }
}

mod webhooks {
    use super::*;

    #[test]
    fn that_hang_cost_new_peers_only_and_are_asked_again_when_they_are_back() {
        let _machine = machine::shared();
        let hangs = Arc::new(AtomicBool::new(false));
        let state = hangs.clone();
        let hook = Hook::start(move |_, _| {
            while state.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            ("200 OK".into(), r#"{"allow":true}"#.into())
        });
        let server = Server::start(&["--webhook-url", &hook.url(), "--webhook-timeout", "3"]);
        let mut honest = Socket::session(&server, "honest");
        hangs.store(true, Ordering::Relaxed);
        // More than the concurrent questions.
        let mut waiting: Vec<Socket> = (0..100).map(|_| Socket::connect(&server)).collect();
        for (i, socket) in waiting.iter_mut().enumerate() {
            socket.send(&format!("HELLO p{i}"));
        }
        still_talk(&mut honest);
        for socket in &mut waiting {
            socket.expect_close(1013, "not available, try again later");
        }
        still_talk(&mut honest);
        hangs.store(false, Ordering::Relaxed);
        wait_until("the webhook", DEADLINE, || {
            let mut socket = Socket::connect(&server);
            socket.send("HELLO p0");
            (socket.receive() == Received::Text("HELLO".into())).then_some(())
        });
    }
}

mod disks {
    use super::*;

    #[test]
    fn that_are_full_stop_the_log_until_there_is_room() {
        let _machine = machine::shared();
        let disk = Disk::of_size(64 << 10);
        let log = disk.path().join("log");
        let mut command = Command::new(program("callbin-server"));
        command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0", "--log", "debug"]);
        let stderr = File::create(&log).expect("the disk has room");
        let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(stderr));
        let mut line = String::new();
        let stdout = process.child().stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("stdout is text");
        let url = line.trim().replace("listening on http", "ws");
        let written = || fs::read_to_string(&log).unwrap_or_default();
        let register = |uid: &str| Socket::connect_to(&url).hello(uid);

        let _first = register("first");
        wait_until("a log", DEADLINE, || written().contains("first").then_some(()));
        let filler = disk.fill();
        // Each one logs a few lines: more than the page at the end of the log file.
        (0..100).for_each(|i| register(&format!("unheard{i}")).close());
        let (mut caller, callee) = (register("caller"), register("callee"));
        caller.expect_nothing("SESSION callee", "SESSION_OK");
        let mut talking = (caller, callee);
        still_talk(&mut talking);
        assert!(!written().contains("unheard99"), "the disk was full");
        fs::remove_file(filler).expect("ours");
        wait_until("the log to go on", DEADLINE, || {
            register("heard").close();
            written().contains("uid=heard ").then_some(())
        });
        still_talk(&mut talking);
    }
}

mod clocks {
    use super::*;

    /// A server with a wrong clock, as the file says in libfaketime's format.
    fn start_with_clock(offset: &str, flags: &[&str]) -> Server {
        let mut command = Command::new(program("callbin-server"));
        // The dynamic loader replaces $LIB by the name of this system's library folder.
        command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1");
        command.env("FAKETIME_TIMESTAMP_FILE", offset).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0"]).args(flags);
        Server::spawn(&mut command)
    }

    /// The server's time, taken from its TURN credentials, in seconds since 1970.
    fn time_at(server: &Server, bearer: &str) -> u64 {
        let headers = [("Authorization", bearer)];
        let answer: Value = http::get(server, "/ice-servers?uid=a", &headers).json();
        let username = answer["iceServers"][0]["username"].as_str().expect("a username");
        let expires: u64 = username.split(':').next().and_then(|time| time.parse().ok()).expect("a time");
        expires - 60
    }

    #[test]
    fn that_jump_move_the_end_of_tokens_and_nothing_else() {
        let _machine = machine::shared();
        let folder = TempDir::new().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("ours");
            path.to_str().expect("text").to_owned()
        };
        let (offset, secret) = (file("offset", "+0"), file("secret", "a secret"));
        let keys = Keys::new(Algorithm::Hs256);
        let turn = ["--turn-url", "turn:x", "--turn-secret-file", &secret, "--turn-ttl", "60"];
        let flags = [&["--token-key-file", &keys.public(), "--token-leeway", "0"], &turn[..], &IMPATIENT];
        let server = start_with_clock(&offset, &flags.concat());
        let day = 24 * 3600;
        let token = |ends: u64| keys.token(json!({ "exp": now() + ends }));
        let connect = |uid: &str, ends: u64| {
            Socket::connect_to(&format!("{}?token={}", server.ws_url(), token(ends))).hello(uid)
        };
        let bearer = format!("Bearer {}", token(400 * day));
        let (mut short, long) = (connect("short", day), connect("long", 400 * day));
        let mut caller = connect("caller", 400 * day);
        caller.expect_nothing("SESSION long", "SESSION_OK");
        let mut talking = (caller, long);

        // Back by a year: pings, pongs and limits still work; tokens stay valid longer.
        let jump = |to: i64, text: &str| {
            file("offset", text);
            let expected = now().saturating_add_signed(to);
            wait_until("the jump", DEADLINE, || {
                (time_at(&server, &bearer).abs_diff(expected) < 3600).then_some(())
            });
        };
        jump(-365 * 24 * 3600, "-365d");
        let pinged = std::time::Instant::now();
        while pinged.elapsed() < Duration::from_secs(5) {
            still_talk(&mut talking);
            short.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        }
        // Forward by two days: only the short token has expired.
        jump(2 * 24 * 3600, "+2d");
        short.expect_close(1008, "token expired");
        still_talk(&mut talking);
        let metrics = http::get(&server, "/metrics", &[]).body;
        assert!(metrics.contains("callbin_closes_total{reason=\"token expired\"} 1"), "{metrics}");
        assert!(!metrics.contains("no pong in time") && !metrics.contains("too many"), "{metrics}");
    }
}
