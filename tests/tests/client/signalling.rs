//! The client's connection to a signalling server: servers that are not up yet, proxies, prefixes, passwords, dead
//! addresses, refusals; and the call after the server is gone.

use std::{
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
};

use callbin_tests::{
    Client, DEADLINE, Front, Middlebox, Network, Route, Server, Socket, client::forget_proxies, hook::Hook,
    machine, process::free_port, program, wait_until,
};
use tempfile::TempDir;

/// A client with this server address.
fn at(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program("callbin"));
    command.args(args).args(["--server", url, "--events", "json", "--headless"]);
    command
}

#[track_caller]
fn expect_exit(client: &mut Client, code: i32, words: &str) {
    assert_eq!(client.exit_code(), code, "{}", client.errors());
    assert!(client.errors().contains(words), "{words} in {}", client.errors());
    assert!(client.errors().lines().count() <= 1, "said once: {}", client.errors());
}

fn tls_server() -> (Server, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().to_str().expect("text");
    (Server::start_on(0, &["--self-signed", "--cert-path", path]), folder)
}

#[test]
fn nohup_is_honoured() {
    let server = Server::start(&[]);
    let mut command = Command::new("nohup");
    command.arg(program("callbin")).args(["wait", "--id", "callee", "--server", &server.ws_url()]);
    let mut callee = Client::spawn(command.args(["--events", "json", "--headless"]));
    callee.wait_for("waiting");
    callee.process().signal("HUP");
    let mut caller = Client::start(&server, &["call", "callee", "--expect-video-frames", "5"]);
    assert_eq!(caller.exit_code(), 0, "{}", caller.errors());
    callee.wait_for("ended");
    callee.hang_up();
    // The test itself may run under nohup.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(program("callbin")).args(["wait", "--server", &server.ws_url()]);
    let mut other = Client::spawn(command.args(["--events", "json", "--headless"]));
    other.wait_for("waiting");
    other.process().signal("HUP");
    assert_eq!(other.exit_code(), 0, "without nohup it hangs up");
}

#[test]
fn who_waits_also_waits_for_the_server() {
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}");
    let mut callee = Client::spawn(&mut at(&url, &["wait", "--id", "callee"]));
    let mut member = Client::spawn(&mut at(&url, &["room", "lobby", "--wait-for-server"]));
    let mut caller = Client::spawn(&mut at(&url, &["call", "nobody", "--wait-for-server=60"]));
    for client in [&mut callee, &mut member, &mut caller] {
        assert!(client.wait_for("reconnecting").text("/reason").contains("refused"));
    }
    let server = Server::start_on(port, &["--disable-ssl"]);
    callee.wait_for("waiting");
    member.wait_for("joined");
    expect_exit(&mut caller, 6, "not found");
    let mut caller = Client::start(&server, &["call", "callee", "--expect-video-frames", "5"]);
    assert_eq!(caller.exit_code(), 0, "{}", caller.errors());
    callee.hang_up();
    member.hang_up();
}

#[test]
fn nobody_waits_longer_than_told_or_for_what_does_not_come() {
    let nowhere = format!("ws://127.0.0.1:{}", free_port());
    for args in [&["call", "x"][..], &["room", "x"], &["wait", "--wait-for-server=0"]] {
        let mut client = Client::spawn(&mut at(&nowhere, args));
        expect_exit(&mut client, 3, "cannot connect");
        assert!(client.rest().iter().all(|event| event.name() != "reconnecting"));
    }
    for args in
        [&["wait", "--wait-for-server=1"][..], &["wait", "--expect-video-frames", "1", "--timeout", "1"]]
    {
        let mut client = Client::spawn(&mut at(&nowhere, args));
        client.wait_for("reconnecting");
        expect_exit(&mut client, 3, "cannot connect");
    }
    let firewall = "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nno VPN\n";
    let firewall = Front::start(|_| Route::Answer(firewall.into()));
    let mut barred = Client::spawn(&mut at(&format!("ws://{}", firewall.address()), &["wait"]));
    expect_exit(&mut barred, 13, "refuses the connection (HTTP 403 Forbidden: no VPN)");
    let no_callbin = Front::start(|_| Route::status("404 Not Found"));
    let mut lost = Client::spawn(&mut at(&format!("ws://{}", no_callbin.address()), &["wait"]));
    expect_exit(&mut lost, 3, "HTTP 404");
    let (server, _folder) = tls_server();
    let mut wary = Client::start(&server, &["wait"]);
    expect_exit(&mut wary, 4, "certificate");
    // A proxy whose server is not running yet.
    let starting = Front::start(|_| Route::status("503 Service Unavailable"));
    let mut patient = Client::spawn(&mut at(&format!("ws://{}", starting.address()), &["wait"]));
    assert!(patient.wait_for("reconnecting").text("/reason").contains("503"));
    patient.hang_up();
}

#[test]
fn a_password_in_the_address_is_sent_and_never_shown() {
    let server = Server::start(&[]);
    let address = server.address();
    // user:p@ss
    let front = Front::start(move |head| {
        if head.to_lowercase().contains("authorization: basic dxnlcjpwqhnz\r\n") {
            Route::forward(address, head)
        } else {
            Route::Answer("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".into())
        }
    });
    let url = |login: &str| format!("ws://{login}{}", front.address());
    let mut command = at(&url("user:p%40ss@"), &["wait"]);
    let mut client = Client::spawn(command.env("CALLBIN_LOG", "debug"));
    client.wait_for("waiting");
    wait_until("a question for ICE servers, let through", DEADLINE, || {
        let asked = |head: &String| head.starts_with("GET /ice-servers?") && head.contains("dXNlcjpwQHNz");
        front.heads().iter().any(asked).then_some(())
    });
    client.process().signal("INT");
    assert_eq!(client.exit_code(), 0);
    let shown = format!("{}{:?}", client.errors(), client.rest());
    assert!(
        !shown.contains("p%40ss") && !shown.contains("p@ss") && !shown.contains("dXNlcjpwQHNz"),
        "{shown}"
    );
    for (login, words) in
        [("user:wrong@", "refuses the user and password"), ("", "wants a user and password")]
    {
        let mut client = Client::spawn(&mut at(&url(login), &["wait"]));
        expect_exit(&mut client, 13, words);
        assert!(!client.errors().contains("wrong"), "{}", client.errors());
    }
    let mut both = Client::spawn(at(&url("user:p%40ss@"), &["wait"]).env("CALLBIN_TOKEN", "t0ken"));
    assert_eq!(both.exit_code(), 2);
    assert!(
        both.errors().contains("only one of them") && !both.errors().contains("p%40ss"),
        "{}",
        both.errors()
    );
}

/// A proxy that resolves `signalling.test`, if the client sends this password.
fn proxy_to(server: &Server) -> Front {
    let address = server.address();
    Front::start(move |head| {
        let is_ours = head.starts_with("CONNECT signalling.test:");
        let is_known = head.contains("Proxy-Authorization: Basic bWU6aHVzaA==\r\n");
        match (is_ours, is_known) {
            (true, true) => Route::tunnel(address),
            (true, false) => Route::status("407 Proxy Authentication Required"),
            _ => Route::status("403 Forbidden"),
        }
    })
}

#[test]
fn a_call_through_proxies() {
    let _machine = machine::busy();
    let (plain, (secure, _folder)) = (Server::start(&[]), tls_server());
    let (front, tls_front) = (proxy_to(&plain), proxy_to(&secure));
    for (url, name, front) in
        [("ws://signalling.test", "http_proxy", &front), ("wss://signalling.test", "HTTPS_PROXY", &tls_front)]
    {
        let proxy = format!("http://me:hush@{}", front.address());
        let start = |args: &[&str]| {
            let mut command = at(url, &[args, &["--insecure"]].concat());
            Client::spawn(command.env(name, &proxy).env("CALLBIN_LOG", "debug"))
        };
        let mut callee = start(&["wait", "--id", "callee"]);
        callee.wait_for("waiting");
        let mut caller = start(&["call", "callee", "--expect-video-frames", "5"]);
        assert_eq!(caller.exit_code(), 0, "{}", caller.errors());
        // The WebSocket connection and the one for the ICE servers, for each client.
        wait_until("four ways through", DEADLINE, || (front.heads().len() >= 4).then_some(()));
        callee.wait_for("ended");
        callee.process().signal("INT");
        assert_eq!(callee.exit_code(), 0);
        assert!(!format!("{}{}", caller.errors(), callee.errors()).contains("hush"));
    }
}

#[test]
fn a_proxy_that_does_not_help_is_named() {
    let server = Server::start(&[]);
    let front = proxy_to(&server);
    let here = front.address();
    let strange = Front::start(|_| Route::Answer("SSH-2.0-nothing\r\n\r\n".into()));
    let endless = Front::start(|_| Route::Answer(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20))));
    let broken = Front::start(|_| Route::status("502 Bad Gateway"));
    let signalling = "ws://signalling.test";
    for (url, proxy, code, words) in [
        (signalling, format!("http://{here}"), 13, "wants a user and password"),
        (signalling, format!("http://me:wrong@{here}"), 13, "refuses the user and password"),
        ("ws://elsewhere.test", format!("http://me:hush@{here}"), 13, "forbidden"),
        (signalling, format!("http://{}", strange.address()), 3, "does not speak HTTP"),
        (signalling, format!("http://{}", endless.address()), 3, "longer than"),
        (signalling, format!("http://{}", broken.address()), 3, "HTTP 502"),
        (signalling, format!("http://127.0.0.1:{}", free_port()), 3, "refused"),
        (signalling, "socks5://127.0.0.1".into(), 2, "all_proxy"),
    ] {
        let mut client = Client::spawn(at(url, &["call", "x"]).env("all_proxy", &proxy));
        expect_exit(&mut client, code, words);
        assert!(
            !client.errors().contains("hush") && !client.errors().contains("wrong@"),
            "{}",
            client.errors()
        );
    }
    // Hosts in `no_proxy` are connected directly.
    let before = front.heads().len();
    let mut command = at(&server.ws_url(), &["call", "nobody"]);
    command.env("ALL_PROXY", format!("http://{here}")).env("no_proxy", "localhost,127.0.0.0/8");
    expect_exit(&mut Client::spawn(&mut command), 6, "not found");
    assert_eq!(front.heads().len(), before);
}

#[test]
fn ice_servers_are_found_below_a_prefix() {
    let server = Server::start(&[]);
    let address = server.address();
    // A reverse proxy that maps a prefix to callbin, and the root to another program.
    let prefixed = Front::start(move |head| match head.split_once("/callbin/") {
        Some((verb, rest)) if verb.len() < 6 => Route::forward(address, format!("{verb}/{rest}")),
        _ => Route::status("404 Not Found"),
    });
    // A reverse proxy that maps only the WebSocket's path.
    let beside = Front::start(move |head| match head.strip_prefix("GET /callbin/ws/ice-servers") {
        Some(_) => Route::status("404 Not Found"),
        None if head.starts_with("GET /callbin/ice-servers") => Route::status("404 Not Found"),
        None => Route::forward(address, head),
    });
    for (front, path, asked) in [
        (&prefixed, "/callbin/", &["GET /callbin/ice-servers?uid=me"][..]),
        (&prefixed, "/callbin/ws", &["GET /callbin/ice-servers?uid=me"]),
        (
            &beside,
            "/callbin/ws",
            &["GET /callbin/ice-servers?", "GET /callbin/ws/ice-servers?", "GET /ice-servers?"],
        ),
    ] {
        let before = front.heads().len();
        let url = format!("ws://{}{path}", front.address());
        let mut client = Client::spawn(&mut at(&url, &["room", "lobby", "--id", "me"]));
        client.wait_for("joined");
        wait_until("questions for ICE servers", DEADLINE, || {
            let heads = front.heads();
            let found: Vec<_> =
                heads.iter().skip(before).filter(|head| head.contains("ice-servers")).collect();
            let matches = found.iter().zip(asked).all(|(head, asked)| head.starts_with(asked));
            (found.len() == asked.len() && matches).then_some(())
        });
        client.hang_up();
    }
    // Another program may answer at the root of the host: it does not get the token.
    let before = beside.heads().len();
    let url = format!("ws://{}/callbin/ws", beside.address());
    let mut command = at(&url, &["room", "lobby", "--ice-transport-policy", "relay"]);
    let mut client = Client::spawn(command.env("CALLBIN_TOKEN", "t0ken"));
    expect_exit(&mut client, 9, "no TURN server");
    let heads = beside.heads();
    let with_token: Vec<_> = heads
        .iter()
        .skip(before)
        .filter(|head| head.contains("t0ken"))
        .filter_map(|head| head.split(['?', ' ']).nth(1))
        .collect();
    assert_eq!(with_token, ["/callbin/ws", "/callbin/ice-servers", "/callbin/ws/ice-servers"]);
}

#[test]
fn a_dead_address_family_does_not_hold_up_a_call() {
    // Calls of other tests could use the network's interface, which does not stay.
    let _machine = machine::apart();
    let server = Server::spawn_reachable(&[]);
    let network = Network::start();
    // An IPv6 address that does not answer, and one that works.
    let host = network.host();
    network.swallow("2001:db8::1");
    network.set_hosts(&format!("2001:db8::1 signalling.test\n{host} signalling.test\n"));
    let mut command = network.command(program("callbin"));
    let url = format!("ws://signalling.test:{}", server.port());
    command.args(["room", "lobby", "--server", &url, "--events", "json", "--headless"]);
    let mut client = Client::spawn(&mut command);
    let joined = client.wait_for("joined");
    assert!(joined.ms() < 10_000, "it waited until the dead address timed out: {joined:?}");
}

#[test]
fn a_refusal_of_the_operators_webhook_is_one() {
    let hook = Hook::start(|asked, _| {
        let allowed = asked.body["event"] == "register";
        ("200 OK".into(), format!(r#"{{"allow":{allowed},"reason":"after hours"}}"#))
    });
    let server = Server::start(&["--webhook-url", &hook.url()]);
    let _callee = Socket::register(&server, "callee");
    expect_exit(&mut Client::start(&server, &["call", "callee"]), 13, "does not allow the call: after hours");
    expect_exit(&mut Client::start(&server, &["room", "x"]), 13, "our entry into the room: after hours");
    let no = Hook::start(|_, _| ("200 OK".into(), r#"{"allow":false,"reason":"go away"}"#.into()));
    let server = Server::start(&["--webhook-url", &no.url()]);
    expect_exit(&mut Client::start(&server, &["wait", "--id", "me"]), 13, "registration as me: go away");
    let dead = format!("http://127.0.0.1:{}/", free_port());
    let server = Server::start(&["--webhook-url", &dead, "--webhook-timeout", "1"]);
    expect_exit(&mut Client::start(&server, &["call", "x"]), 13, "its webhook) does not answer");
}

#[test]
fn without_any_relay_there_is_nothing_to_wait_for() {
    let server = Server::start(&[]);
    let relay = ["--ice-transport-policy", "relay"];
    let _callee = Socket::register(&server, "callee");
    for mode in [&["call", "callee"][..], &["wait"], &["room", "x"]] {
        expect_exit(&mut Client::start(&server, &[mode, &relay].concat()), 9, "no TURN server");
    }
}

#[test]
fn a_sink_that_is_not_there_ends_the_start() {
    let server = Server::start(&[]);
    for (flag, code, words) in [
        (["--video-sink", "nosuch"], 11, "--video-sink nosuch: no element"),
        (["--audio-sink", "fakesink nosuch=1"], 2, "--audio-sink"),
    ] {
        let mut command = Command::new(program("callbin"));
        command.args(["wait", "--server", &server.ws_url(), "--events", "json"]).args(flag);
        expect_exit(&mut Client::spawn(&mut command), code, words);
    }
}

#[test]
fn people_read_once_why_a_call_failed() {
    let server = Server::start(&[]);
    let mut command = Command::new(program("callbin"));
    command.args(["call", "nobody", "--headless", "--server", &server.ws_url()]).stdin(Stdio::null());
    forget_proxies(&mut command);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(6));
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(all.matches("not found").count(), 1, "{all}");
}

#[test]
fn a_call_outlives_the_server() {
    let _machine = machine::busy();
    let mut server = Server::start(&[]);
    let port = server.port();
    let mut callee = Client::start(&server, &["wait", "--id", "callee"]);
    callee.wait_for("waiting");
    let mut caller = Client::start(&server, &["call", "callee"]);
    for client in [&mut caller, &mut callee] {
        client.wait_for("first-video");
    }
    server.process().kill();
    for client in [&mut caller, &mut callee] {
        client.wait_for("signalling-lost");
        client.forget();
        let frames = client.wait_for("stats").number("/video/frames");
        client.wait_for_stats("further frames", |stats| stats.number("/video/frames") > frames + 10.0);
    }
    // A hang-up arrives without a server, and the waiting client reconnects.
    caller.hang_up();
    assert_eq!(callee.wait_for("ended").text("/reason"), "peer-left");
    callee.wait_for("reconnecting");
    let server = Server::start_on(port, &["--disable-ssl"]);
    callee.wait_for("waiting");
    let mut caller = Client::start(&server, &["call", "callee", "--expect-video-frames", "5"]);
    assert_eq!(caller.exit_code(), 0, "{}", caller.errors());
}

/// A frame takes 33 ms; a longer gap looks like a stall.
const MAX_GAP_MS: f64 = 500.0;

/// A caller and a callee with video in both directions; `caller` and `callee` are their servers' addresses.
fn in_a_call(caller: &str, callee: &str, args: &[&str]) -> (Client, Client) {
    let small = ["--size", "320x240"];
    let mut callee = Client::spawn(&mut at(callee, &[&["wait", "--once"][..], &small].concat()));
    let uid = callee.wait_for("registered").text("/id").to_owned();
    callee.wait_for("waiting");
    let mut caller = Client::spawn(&mut at(caller, &[&["call", &uid][..], &small, args].concat()));
    for client in [&mut caller, &mut callee] {
        client.wait_for("first-video");
        client.forget();
    }
    (caller, callee)
}

/// Media go on after `signalling-lost`.
fn assert_goes_on(client: &mut Client) {
    let lost = client.wait_for("signalling-lost").ms();
    let stats = client.wait_for_stats("measurements", |stats| stats.ms() > lost);
    assert!(stats.number("/video/gap_ms") < MAX_GAP_MS, "{stats:?}");
}

/// Waits for `signalling-back`: media have gone on without a gap, and nothing was negotiated.
fn assert_resumes(client: &mut Client) {
    let wanted = ["stats", "signalling-back", "offer-sent", "offer-received", "dtls-connected", "ended"];
    loop {
        let event = client.wait_for_any("signalling-back", DEADLINE, |event| wanted.contains(&event.name()));
        match event.name() {
            "stats" => assert!(event.number("/video/gap_ms") < MAX_GAP_MS, "{event:?}"),
            "signalling-back" => return,
            other => panic!("{other}"),
        }
    }
}

/// The caller hangs up, and both ends end well.
fn hang_up(caller: Client, mut callee: Client) {
    caller.hang_up();
    assert_eq!(callee.exit_code(), 0, "{}", callee.errors());
    let events = callee.rest();
    assert!(events.iter().any(|event| event.text("/reason") == "peer-left"), "{events:?}");
    let again = ["signalling-lost", "offer-received", "dtls-connected"];
    assert!(events.iter().all(|event| !again.contains(&event.name())), "{events:?}");
}

#[test]
fn a_call_has_its_session_again_when_the_server_is_back() {
    let _machine = machine::shared();
    for args in [&[][..], &["--remote-offerer"]] {
        let mut server = Server::start(&[]);
        let (port, url) = (server.port(), server.ws_url());
        let (mut caller, mut callee) = in_a_call(&url, &url, args);
        server.process().kill();
        for client in [&mut caller, &mut callee] {
            assert_goes_on(client);
        }
        let _server = Server::start_on(port, &["--disable-ssl"]);
        for client in [&mut caller, &mut callee] {
            assert_resumes(client);
        }
        hang_up(caller, callee);
    }
}

/// The server takes a while to notice, and then ends the session for the other side.
#[test]
fn a_call_has_its_session_again_after_one_side_was_cut_off() {
    let _machine = machine::shared();
    let server = Server::start(&["--keepalive-timeout", "1", "--pong-timeout", "1"]);
    let (near, far) = (server.ws_url(), Middlebox::start(server.address()));
    let mut calls = [(&near, &far.ws_url()), (&far.ws_url(), &near)]
        .map(|(caller, callee)| in_a_call(caller, callee, &[]));
    far.cut_off();
    for (caller, callee) in &mut calls {
        for client in [caller, callee] {
            assert_goes_on(client);
            assert_resumes(client);
        }
    }
    calls.into_iter().for_each(|(caller, callee)| hang_up(caller, callee));
}

#[test]
fn a_call_that_waits_for_its_session_is_not_there_for_others() {
    let _machine = machine::busy();
    let mut server = Server::start(&[]);
    let (port, url) = (server.port(), server.ws_url());
    let (mut caller, mut callee) = in_a_call(&url, &url, &[]);
    caller.process().signal("STOP");
    server.process().kill();
    callee.wait_for("signalling-lost");
    let server = Server::start_on(port, &["--disable-ssl"]);
    for words in ["OFFER_REQUEST", "{\"resume\":{\"nonce\":\"0123456789012345678901\"}}"] {
        let uid = callee.wait_for("registered").text("/id").to_owned();
        let mut stranger = Socket::register(&server, "stranger");
        stranger.expect_nothing(&format!("SESSION {uid}"), "SESSION_OK");
        stranger.send(words);
        if words.starts_with('{') {
            assert!(stranger.receive_text().contains("proof"));
            stranger.send(words);
        }
        stranger.expect_close(1000, "");
        assert!(callee.wait_for("reconnecting").text("/reason").contains("not the peer"));
    }
    caller.process().signal("CONT");
    for client in [&mut caller, &mut callee] {
        client.wait_for("signalling-back");
    }
    hang_up(caller, callee);
}

/// Nobody else is asked for a proof, or can end a call by it.
#[test]
fn a_request_to_resume_an_unknown_call_is_declined() {
    let server = Server::start(&[]);
    let mut callee = Client::start(&server, &["wait", "--id", "callee"]);
    callee.wait_for("waiting");
    let mut stranger = Socket::register(&server, "stranger");
    stranger.expect_nothing("SESSION callee", "SESSION_OK");
    stranger.send("{\"resume\":{\"nonce\":\"0123456789012345678901\"}}");
    stranger.expect_close(1000, "");
    callee.wait_for("waiting");
    callee.hang_up();
}

/// The client starts without a server, so that systemd does not wait for one.
#[test]
fn systemd_hears_that_the_client_runs_what_it_does_and_that_it_is_not_stuck() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let hear = || {
        let mut text = [0; 1024];
        let length = systemd.recv(&mut text).expect("a notice");
        String::from_utf8_lossy(&text[..length]).trim_end().to_owned()
    };
    let port = free_port();
    let mut command = at(&format!("ws://127.0.0.1:{port}"), &["wait", "--id", "robot"]);
    let client = Client::spawn(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000"));
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "WATCHDOG=1");
    while !hear().starts_with("STATUS=") {}
    let _server = Server::start_on(port, &["--disable-ssl"]);
    while !hear().ends_with("registered as robot") {}
    while hear() != "WATCHDOG=1" {}
    client.hang_up();
    while hear() != "STOPPING=1" {}
}
