//! Access control over real sockets: tokens that were not made by the server.

use std::{
    fs,
    process::{Command, Output},
};

use callbin_tests::{
    Server, Socket,
    http::{self, Response},
    keys::{ALGORITHMS, Algorithm, Keys, now, token_signed_with},
    program,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server that requires tokens, and the keys to make them.
struct Guarded {
    server: Server,
    keys: Keys,
}

impl Guarded {
    fn start(flags: &[&str]) -> Self {
        Self::with(Keys::new(Algorithm::Hs256), flags)
    }

    fn with(keys: Keys, flags: &[&str]) -> Self {
        let file = keys.public();
        let server = Server::start(&[&["--token-key-file", &file], flags].concat());
        Self { server, keys }
    }

    /// Connects with a token with these claims.
    #[track_caller]
    fn connect(&self, claims: Value) -> Socket {
        self.connect_with_token(&self.keys.token(claims))
    }

    #[track_caller]
    fn connect_with_token(&self, token: &str) -> Socket {
        Socket::connect_to(&format!("{}?token={token}", self.server.ws_url()))
    }

    #[track_caller]
    fn register(&self, uid: &str, claims: Value) -> Socket {
        self.connect(claims).hello(uid)
    }

    fn upgrade(&self, token: &str) -> Response {
        http::upgrade(&self.server, &format!("/?token={token}"), &[])
    }

    #[track_caller]
    fn assert_refused(&self, token: &str, words: &str) {
        let response = self.upgrade(token);
        assert_eq!((response.status, response.body.as_str()), (401, words), "{token}: {response:?}");
        assert_eq!(response.header("www-authenticate"), Some("bearer"));
    }
}

const NOT_VALID: &str = "the token is not valid\n";

#[test]
fn tokens_of_each_algorithm_are_good_wherever_a_client_can_put_them() {
    for algorithm in ALGORITHMS {
        let guarded = Guarded::with(Keys::new(algorithm), &[]);
        let token = guarded.keys.token(json!({ "uid": "alice" }));
        let url = guarded.server.ws_url();
        guarded.connect_with_token(&token).hello("alice").close();
        let bearer = format!("Bearer {token}");
        Socket::connect_with(&url, &[("Authorization", &bearer)]).hello("alice").close();
        let protocols = format!("callbin, token.{token}");
        Socket::connect_with(&url, &[("Sec-WebSocket-Protocol", &protocols)]).hello("alice").close();

        let chosen = http::upgrade(&guarded.server, "/", &[("Sec-WebSocket-Protocol", &protocols)]);
        assert_eq!(chosen.header("sec-websocket-protocol"), Some("callbin"), "never the token");
        let other = Keys::new(algorithm);
        guarded.assert_refused(&other.token(json!({})), NOT_VALID);
    }
}

#[test]
fn a_key_set_holds_keys_of_each_kind() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("keys.json");
    let keys = ALGORITHMS.map(Keys::new);
    let jwks: Vec<Value> = keys.iter().zip(["h", "r", "e", "d"]).map(|(keys, id)| keys.jwk(id)).collect();
    fs::write(&file, json!({ "keys": jwks }).to_string()).expect("the folder is ours");
    let server = Server::start(&["--token-jwks-file", file.to_str().expect("text")]);
    let connect = |token: &str| http::upgrade(&server, &format!("/?token={token}"), &[]).status;
    for ((keys, algorithm), id) in keys.iter().zip(ALGORITHMS).zip(["h", "r", "e", "d"]) {
        let claims = json!({ "exp": now() + 60 });
        assert_eq!(connect(&keys.token(json!({}))), 101, "{algorithm:?} without a key id");
        let with_id = |id: &str| keys.sign(&json!({ "alg": algorithm.name(), "kid": id }), &claims);
        assert_eq!(connect(&with_id(id)), 101, "{algorithm:?}");
        assert_eq!(connect(&with_id("another")), 401, "{algorithm:?} with another key's id");
        assert_eq!(connect(&Keys::new(algorithm).token(json!({}))), 401, "{algorithm:?} of a stranger");
    }
}

/// The output of `--check-config` for a key set, and its exit code.
fn check_key_set(keys: &Value) -> (Option<i32>, String) {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("keys.json");
    fs::write(&file, json!({ "keys": keys }).to_string()).expect("the folder is ours");
    let mut command = Command::new(program("callbin-server"));
    let command = command.args(["--disable-ssl", "--check-config", "--token-jwks-file"]).arg(file);
    let Output { status, stderr, .. } = command.output().expect("it runs");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_key_set_may_hold_no_key_that_can_be_guessed_and_none_for_something_else() {
    let secret = |bytes: &[u8]| json!({ "kty": "oct", "k": BASE64URL_NOPAD.encode(bytes) });
    let good = secret(&[7; 32]);
    assert_eq!(check_key_set(&json!([good])), (Some(0), String::new()));
    for short in [b"".as_slice(), b"x", &[7; 31]] {
        let (code, words) = check_key_set(&json!([good, secret(short)]));
        assert!(code == Some(2) && words.contains("less than 32 bytes"), "{code:?} {words}");
    }
    for (name, value) in [("use", json!("enc")), ("key_ops", json!(["encrypt"])), ("alg", json!("A256KW"))] {
        let mut other = good.clone();
        other[name] = value;
        let (code, words) = check_key_set(&json!([other]));
        assert!(code == Some(2) && words.contains("no key to check signatures"), "{code:?} {words}");
    }
}

#[test]
fn a_key_for_encryption_signs_no_token() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("keys.json");
    let (signs, encrypts) = (Keys::new(Algorithm::Rs256), Keys::new(Algorithm::Rs256));
    let mut other = encrypts.jwk("e");
    other["use"] = json!("enc");
    fs::write(&file, json!({ "keys": [signs.jwk("s"), other] }).to_string()).expect("the folder is ours");
    let server = Server::start(&["--token-jwks-file", file.to_str().expect("text")]);
    let connect =
        |keys: &Keys| http::upgrade(&server, &format!("/?token={}", keys.token(json!({}))), &[]).status;
    assert_eq!((connect(&signs), connect(&encrypts)), (101, 401));
}

#[test]
fn times_may_have_fractions() {
    let guarded = Guarded::start(&[]);
    let now = now() as f64;
    guarded.register("a", json!({ "exp": now + 60.5, "nbf": now - 0.5, "iat": now - 0.25 }));
    guarded.assert_refused(&guarded.keys.token(json!({ "exp": now - 60.5 })), "the token has expired\n");
}

#[test]
fn what_is_no_good_token_is_refused_without_a_hint() {
    let guarded = Guarded::start(&["--token-leeway", "5"]);
    let Guarded { server, keys } = &guarded;
    let missing = http::upgrade(server, "/", &[]);
    assert_eq!((missing.status, missing.body.as_str()), (401, "a token is needed\n"));
    guarded.assert_refused(&keys.token(json!({ "exp": now() - 60 })), "the token has expired\n");
    guarded.assert_refused(&keys.token(json!({ "nbf": now() + 60 })), "the token is not valid yet\n");

    let header = json!({ "alg": "HS256" });
    let good = keys.token(json!({ "uid": "alice" }));
    let [head, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let claims = BASE64URL_NOPAD.encode(json!({ "uid": "*", "exp": now() + 60 }).to_string().as_bytes());
    for token in [
        String::new(),
        "x".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{head}.{claims}.{signature}"),
        format!("{head}.{claims}."),
        good.trim_end_matches(signature).to_owned(),
        keys.sign(&header, &json!({ "uid": "alice" })),
        keys.sign(&header, &json!({ "exp": "tomorrow" })),
        keys.sign(&header, &json!({ "exp": now() + 60, "rooms": "all" })),
        keys.sign(&header, &json!({ "exp": now() + 60, "allow": ["everything"] })),
        keys.sign(&json!({ "alg": "HS384" }), &json!({ "exp": now() + 60 })),
        keys.sign(&json!({ "alg": "HS256", "crit": ["x"], "x": 1 }), &json!({ "exp": now() + 60 })),
        keys.sign(&json!({ "alg": "HS256", "crit": [] }), &json!({ "exp": now() + 60 })),
        keys.token(json!({ "padding": "x".repeat(7000) })),
    ] {
        guarded.assert_refused(&token, NOT_VALID);
    }
    // Clocks differ slightly.
    guarded.register("late", json!({ "exp": now() - 1 }));
    guarded.register("early", json!({ "nbf": now() + 2 }));
}

#[test]
fn the_key_decides_the_algorithm_and_not_the_token() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let guarded = Guarded::with(Keys::new(algorithm), &[]);
        let claims = json!({ "exp": now() + 60 });
        let public = fs::read(guarded.keys.public()).expect("a key");
        for secret in [public.as_slice(), public.trim_ascii(), b"\0"] {
            let token = token_signed_with(secret, &json!({ "alg": "HS256" }), &claims);
            guarded.assert_refused(&token, NOT_VALID);
        }
        for none in ["none", "None", "NONE", ""] {
            let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
            let unsigned = format!("{}.{}.", part(json!({ "alg": none })), part(claims.clone()));
            guarded.assert_refused(&unsigned, NOT_VALID);
        }
        for other in ALGORITHMS.into_iter().filter(|other| *other != algorithm) {
            let token = guarded.keys.sign(&json!({ "alg": other.name() }), &claims);
            guarded.assert_refused(&token, NOT_VALID);
        }
    }
}

#[test]
fn audience_and_issuer_are_checked_when_asked_for() {
    let guarded = Guarded::start(&["--token-audience", "calls", "--token-issuer", "us"]);
    let Guarded { keys, .. } = &guarded;
    guarded.register("a", json!({ "aud": "calls", "iss": "us" }));
    guarded.register("b", json!({ "aud": ["mail", "calls"], "iss": "us" }));
    for claims in [
        json!({}),
        json!({ "aud": "calls" }),
        json!({ "iss": "us" }),
        json!({ "aud": "mail", "iss": "us" }),
        json!({ "aud": "calls", "iss": "them" }),
    ] {
        guarded.assert_refused(&keys.token(claims), NOT_VALID);
    }
}

#[test]
fn a_token_binds_the_uid() {
    let guarded = Guarded::start(&[]);
    guarded.register("alice", json!({ "uid": "alice" }));
    guarded.register("cam-7", json!({ "uid": "cam-*" }));
    guarded.register("whoever", json!({}));
    for (uid, claim) in [("bob", "alice"), ("alice2", "alice"), ("cam", "cam-*"), ("x", "")] {
        let mut socket = guarded.connect(json!({ "uid": claim }));
        socket.send(&format!("HELLO {uid}"));
        socket.expect_close(1008, "uid not allowed");
    }
}

#[test]
fn a_token_binds_the_rooms() {
    let guarded = Guarded::start(&[]);
    let mut member = guarded.register("member", json!({ "rooms": ["lobby", "team-*"] }));
    let mut hermit = guarded.register("hermit", json!({ "rooms": [] }));
    for room in ["lob", "lobby2"] {
        member.expect_nothing(&format!("ROOM {room}"), &format!("ERROR invalid room id '{room}'"));
    }
    hermit.expect_nothing("ROOM lobby", "ERROR invalid room id 'lobby'");
    member.send("ROOM team-a");
    member.expect("ROOM_OK ");
    let mut other = guarded.register("other", json!({}));
    other.send("ROOM lobby");
    other.expect("ROOM_OK ");
}

#[test]
fn a_token_may_allow_only_calling_or_only_being_called() {
    let guarded = Guarded::start(&[]);
    let mut caller = guarded.register("caller", json!({ "allow": ["call"] }));
    let mut camera = guarded.register("camera", json!({ "allow": ["answer"] }));
    let mut neither = guarded.register("neither", json!({ "allow": [] }));
    for callee in ["neither", "nobody"] {
        caller.expect_nothing(&format!("SESSION {callee}"), &format!("ERROR peer '{callee}' not found"));
    }
    for socket in [&mut camera, &mut neither] {
        socket.expect_nothing("SESSION caller", "ERROR peer 'caller' not found");
    }
    caller.send("SESSION camera");
    caller.expect("SESSION_OK");
    camera.send("hello");
    caller.expect("hello");
}

#[test]
fn a_connection_ends_with_its_token() {
    let guarded = Guarded::start(&["--token-leeway", "0"]);
    let soon = || json!({ "exp": now() + 5 });
    let mut silent = guarded.connect(soon());
    let mut idle = guarded.register("idle", soon());
    let mut caller = guarded.register("caller", soon());
    let mut callee = guarded.register("callee", json!({}));
    caller.send("SESSION callee");
    caller.expect("SESSION_OK");
    for socket in [&mut silent, &mut idle, &mut caller] {
        socket.expect_close(1008, "token expired");
    }
    callee.expect_close(1000, "");
    let metrics = http::get(&guarded.server, "/metrics", &[]).body;
    assert!(metrics.contains("callbin_closes_total{reason=\"token expired\"} 3"), "{metrics}");
}

#[test]
fn a_ghost_is_replaced_by_its_own_identity_only() {
    let guarded = Guarded::start(&[]);
    let mut ghost = guarded.register("phone", json!({ "sub": "alice" }));
    let mut friend = guarded.register("friend", json!({ "sub": "bob" }));
    ghost.send("SESSION friend");
    ghost.expect("SESSION_OK");
    // Neither another subject nor a token without one gets the uid, even if its `uid` allows it.
    for claims in [json!({ "sub": "mallory", "uid": "phone" }), json!({ "uid": "phone" })] {
        let mut stranger = guarded.connect(claims);
        stranger.send("HELLO phone");
        stranger.expect_close(1002, "invalid peer uid");
    }
    ghost.send("still here");
    friend.expect("still here");

    let mut phone = guarded.register("phone", json!({ "sub": "alice" }));
    ghost.expect_close(1008, "replaced by a new connection");
    friend.expect_close(1000, "");
    phone.expect_nothing("SESSION friend", "ERROR peer 'friend' not found");

    // A token without a subject, or with an empty one, has no identity.
    for claims in [json!({}), json!({ "sub": "" })] {
        let mut anonymous = guarded.register("anonymous", claims.clone());
        let mut second = guarded.connect(claims);
        second.send("HELLO anonymous");
        second.expect_close(1002, "invalid peer uid");
        anonymous.expect_nothing("SESSION x", "ERROR peer 'x' not found");
        anonymous.close();
    }
}

#[test]
fn a_member_that_comes_back_leaves_its_room_first() {
    let guarded = Guarded::start(&[]);
    let join = |uid: &str| {
        let mut socket = guarded.register(uid, json!({ "sub": uid }));
        socket.send("ROOM r");
        (socket.receive_text(), socket)
    };
    let (_, mut watcher) = join("watcher");
    let (_, mut ghost) = join("member");
    watcher.expect("ROOM_PEER_JOINED member");
    let (answer, _member) = join("member");
    assert_eq!(answer, "ROOM_OK watcher");
    ghost.expect_close(1008, "replaced by a new connection");
    watcher.expect("ROOM_PEER_LEFT member");
    watcher.expect("ROOM_PEER_JOINED member");
}

#[test]
fn browsers_are_taken_from_listed_origins_only() {
    let open = Server::start(&[]);
    assert_eq!(http::upgrade(&open, "/", &[("Origin", "https://anything.example")]).status, 101);
    let flags = ["--allowed-origin", "https://a.example,https://b.example:8443/"];
    let server = Server::start(&flags);
    for (origin, status) in [
        ("https://a.example", 101),
        ("https://A.example", 101),
        ("https://b.example:8443", 101),
        ("https://b.example", 403),
        ("http://a.example", 403),
        ("https://a.example.evil", 403),
        ("https://evil.example/https://a.example", 403),
        ("null", 403),
        ("", 403),
    ] {
        assert_eq!(http::upgrade(&server, "/", &[("Origin", origin)]).status, status, "{origin}");
    }
    assert_eq!(http::upgrade(&server, "/", &[]).status, 101, "programs send no origin");
    let cors = |origin: &str| {
        let response = http::get(&server, "/ice-servers?uid=a", &[("Origin", origin)]);
        response.header("access-control-allow-origin").map(String::from)
    };
    assert_eq!(cors("https://a.example").as_deref(), Some("https://a.example"));
    assert_eq!(cors("https://evil.example"), None);
    assert_eq!(http::get(&server, "/ice-servers?uid=a", &[("Origin", "https://evil.example")]).status, 403);
}

#[test]
fn ice_servers_are_for_those_with_a_token() {
    let guarded = Guarded::start(&["--stun-url", "stun:stun.example"]);
    let ask = |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        http::get(&guarded.server, path, &[("Authorization", &bearer)])
    };
    let token = guarded.keys.token(json!({ "uid": "alice" }));
    let answer = ask("/ice-servers?uid=alice", &token);
    assert_eq!(answer.json()["iceServers"], json!([{ "urls": ["stun:stun.example"] }]));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(ask("/ice-servers?uid=bob", &token).status, 403);
    assert_eq!(ask("/ice-servers", &token).status, 400);
    assert_eq!(ask("/ice-servers?uid=alice", "x.y.z").status, 401);
    assert_eq!(http::get(&guarded.server, "/ice-servers?uid=alice", &[]).status, 401);
    let by_query = format!("/ice-servers?uid=alice&token={token}");
    assert_eq!(http::get(&guarded.server, &by_query, &[]).status, 200);
    // Credentials end with the token they were given for, including half a minute of leeway.
    assert_eq!(answer.json()["ttl"], 3600);
    let short = guarded.keys.token(json!({ "uid": "alice", "exp": now() + 100 }));
    let ttl = ask("/ice-servers?uid=alice", &short).json()["ttl"].as_u64().expect("a time");
    assert!((50..=130).contains(&ttl), "{ttl}");
}

#[test]
fn nobody_learns_by_trying_who_or_what_is_there() {
    let guarded = Guarded::start(&[]);
    let _there = guarded.register("there", json!({ "allow": ["call"] }));
    let mut host = guarded.register("host", json!({}));
    host.send("ROOM secret");
    host.expect("ROOM_OK ");
    let answer = |socket: &mut Socket, request: &str, name: &str| {
        socket.send(&format!("{request} {name}"));
        socket.receive_text().replace(name, "…")
    };
    let mut caller = guarded.register("caller", json!({ "rooms": ["mine"] }));
    assert_eq!(answer(&mut caller, "SESSION", "there"), answer(&mut caller, "SESSION", "nobody"));
    assert_eq!(answer(&mut caller, "ROOM", "secret"), answer(&mut caller, "ROOM", "nothing"));
    // In a room, too: a peer that may not call learns nothing about peers outside.
    let mut listener = guarded.register("listener", json!({ "allow": ["answer"], "rooms": ["mine"] }));
    assert_eq!(answer(&mut listener, "SESSION", "host"), answer(&mut listener, "SESSION", "nobody"));
    listener.send("ROOM mine");
    listener.expect("ROOM_OK ");
    let message = |socket: &mut Socket, name: &str| {
        socket.send(&format!("ROOM_PEER_MSG {name} x"));
        socket.receive_text().replace(name, "…")
    };
    assert_eq!(message(&mut listener, "host"), message(&mut listener, "nobody"));
    // A disallowed uid is answered in the same way whether it is registered or not.
    for uid in ["there", "nobody"] {
        let mut stranger = guarded.connect(json!({ "uid": "stranger" }));
        stranger.send(&format!("HELLO {uid}"));
        stranger.expect_close(1008, "uid not allowed");
    }
    // Without a token all paths get the same answer.
    let refusals =
        ["/", "/there", "/?room=secret"].map(|path| http::upgrade(&guarded.server, path, &[]).body);
    assert!(refusals.iter().all(|body| body == "a token is needed\n"), "{refusals:?}");
}

mod command {
    use super::*;

    fn token(args: &[&str]) -> Output {
        Command::new(program("callbin-server")).arg("token").args(args).output().expect("it runs")
    }

    fn made(keys: &Keys, args: &[&str]) -> String {
        let output = token(&[&["--key-file", &keys.private()], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn claims(token: &str) -> Value {
        let part = token.split('.').nth(1).expect("three parts");
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
    }

    #[test]
    fn makes_tokens_with_each_kind_of_key() {
        for algorithm in ALGORITHMS {
            let guarded = Guarded::with(Keys::new(algorithm), &[]);
            let token = made(&guarded.keys, &["--uid", "alice"]);
            guarded.connect_with_token(&token).hello("alice");
        }
    }

    #[test]
    fn says_what_it_was_told_to_say() {
        let keys = Keys::new(Algorithm::Hs256);
        let args = ["--sub", "a", "--uid", "a-*", "--room", "r", "--room", "s-*", "--allow", "call"];
        let more = ["--ttl", "60", "--audience", "calls", "--issuer", "us"];
        let mut found = claims(&made(&keys, &[&args[..], &more].concat()));
        let expires = found.as_object_mut().expect("claims").remove("exp").expect("an end");
        assert!((now() + 50..=now() + 61).contains(&expires.as_u64().expect("a number")));
        let expected = json!({
            "sub": "a", "uid": "a-*", "rooms": ["r", "s-*"], "allow": ["call"], "aud": "calls", "iss": "us"
        });
        assert_eq!(found, expected);
        assert_eq!(claims(&made(&keys, &["--no-rooms"]))["rooms"], json!([]));
    }

    #[test]
    fn says_what_is_wrong() {
        let dir = TempDir::new().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("the folder is ours");
            path.to_str().expect("text").to_owned()
        };
        let short = file("short", "secret");
        let public = Keys::new(Algorithm::Rs256);
        for (args, words) in [
            (vec!["--key-file", &short], "32 bytes"),
            (vec!["--key-file", "/nonexistent"], "/nonexistent"),
            (vec!["--key-file", &public.public()], "private key"),
            (vec![], "--key-file"),
            (vec!["--key-file", &short, "--allow", "all"], "call"),
        ] {
            let output = token(&args);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && stderr.contains(words), "{args:?}: {stderr}");
            assert!(!stderr.contains("panicked") && output.stdout.is_empty(), "{stderr}");
        }
    }
}

#[test]
fn tokens_and_secrets_stay_out_of_the_log() {
    let dir = TempDir::new().expect("a folder");
    let secret = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("PLANTED-{name}-0123456789")).expect("the folder is ours");
        path.to_str().expect("text").to_owned()
    };
    let (turn, admin, webhook) = (secret("turn"), secret("admin"), secret("webhook"));
    let flags = ["--log", "trace", "--turn-url", "turn:turn.example", "--turn-secret-file", &turn];
    let operations = ["--admin-addr", "127.0.0.1:0", "--admin-secret-file", &admin];
    let hook = ["--webhook-url", "http://127.0.0.1:9/PLANTED-path", "--webhook-secret-file", &webhook];
    let guarded = Guarded::start(&[&flags[..], &operations, &hook, &["--webhook-retries", "0"]].concat());
    let Guarded { server, keys } = &guarded;

    let good = keys.token(json!({ "uid": "alice", "note": "PLANTED" }));
    let expired = keys.token(json!({ "exp": 1, "note": "PLANTED" }));
    for token in [&good, &expired, &format!("{good}x")] {
        let (bearer, protocols) = (format!("Bearer {token}"), format!("callbin, token.{token}"));
        http::upgrade(server, &format!("/?token={token}"), &[]);
        http::upgrade(server, "/", &[("Authorization", &bearer)]);
        http::upgrade(server, "/", &[("Sec-WebSocket-Protocol", &protocols)]);
        http::get(server, &format!("/ice-servers?uid=alice&token={token}"), &[]);
        http::get(server, &format!("/nowhere?token={token}"), &[]);
        http::get(server, &format!("/{token}"), &[("Cookie", "PLANTED-cookie")]);
    }
    let ice = http::get(server, &format!("/ice-servers?uid=alice&token={good}"), &[]).json();
    let credential = ice["iceServers"][0]["credential"].as_str().expect("a credential").to_owned();
    let mut refused = guarded.connect_with_token(&good);
    refused.send("HELLO alice");
    while !matches!(refused.receive(), callbin_tests::socket::Received::Closed(_)) {}
    http::request(
        server.admin_address(),
        "GET",
        "/admin/peers",
        &[("Authorization", "Bearer PLANTED-wrong")],
    );
    server.wait_for_log("the webhook fails");
    drop(guarded.connect_with_token(&good));

    let log = server.log();
    assert!(log.contains("request refused") && log.contains("127.0.0.1"), "{log}");
    let parts: Vec<&str> = good.split('.').chain(expired.split('.')).collect();
    let secret = fs::read_to_string(keys.private()).expect("a secret");
    for planted in ["PLANTED", &credential, secret.trim()].into_iter().chain(parts.into_iter().skip(1)) {
        assert!(!log.contains(planted) || planted.len() < 8, "{planted} in {log}");
    }
}
