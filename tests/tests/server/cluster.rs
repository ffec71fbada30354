//! Several servers as one: what happens when one of them, Redis, or the network between them fails.
//! `CALLBIN_TEST_NODES=2 cargo test -p callbin-tests --test server protocol::` runs the tests of the protocol with a pair.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use callbin_tests::{
    Authority, DEADLINE, Middlebox, Redis, Sentinel, Server, Socket, http,
    keys::{Algorithm, Keys, now},
    program,
    socket::Received,
    wait_until,
};
use serde_json::json;

fn join(server: &Server, uid: &str, room: &str) -> (Socket, String) {
    let mut socket = Socket::register(server, uid);
    socket.send(&format!("ROOM {room}"));
    let answer = socket.receive_text();
    (socket, answer)
}

/// A caller at one node and a callee at the other.
fn session(one: &Server, other: &Server, name: &str) -> (Socket, Socket) {
    let callee = Socket::register(other, &format!("{name}-callee"));
    let mut caller = Socket::register(one, &format!("{name}-caller"));
    caller.send(&format!("SESSION {name}-callee"));
    caller.expect("SESSION_OK");
    (caller, callee)
}

fn readiness(server: &Server) -> u16 {
    http::get(server, "/readyz", &[]).status
}

fn wait_for_readiness(server: &Server, text: &str) {
    wait_until(&format!("the node to say: {text}"), DEADLINE, || {
        (http::get(server, "/readyz", &[]).body.trim() == text).then_some(())
    });
}

/// Nobody else can register these.
fn expect_taken(server: &Server, uids: &[&str]) {
    for uid in uids {
        let mut socket = Socket::connect(server);
        socket.send(&format!("HELLO {uid}"));
        let closed = Received::Closed(Some((1002, "invalid peer uid".into())));
        assert_eq!(socket.receive(), closed, "{uid} is registered");
    }
}

fn refuses_registrations(server: &Server) {
    Socket::connect(server)
        .tap(|it| it.send("HELLO new"))
        .expect_close(1013, "not available, try again later");
}

/// Calls a peer as soon as it is found.
#[must_use]
fn wait_for_peer(server: &Server, caller: &str, uid: &str) -> Socket {
    let mut caller = Socket::register(server, caller);
    wait_until("the peer to be found", DEADLINE, || {
        caller.send(&format!("SESSION {uid}"));
        (caller.receive_text() == "SESSION_OK").then_some(())
    });
    caller
}

/// Connects with a token of this subject.
fn connect_as(server: &Server, keys: &Keys, subject: &str) -> Socket {
    let token = keys.token(json!({ "sub": subject, "exp": now() + 600 }));
    Socket::connect_to(&format!("{}?token={token}", server.ws_url()))
}

/// Registers as soon as the uid is free.
fn take(server: &Server, uid: &str) -> Socket {
    wait_until("the uid to be free", DEADLINE, || {
        let mut socket = Socket::connect(server);
        socket.send(&format!("HELLO {uid}"));
        (socket.receive() == Received::Text("HELLO".into())).then_some(socket)
    })
}

#[test]
fn what_a_killed_node_had_is_free_and_its_partners_know() {
    let redis = Redis::start(&[]);
    let (one, mut two) = (redis.node("one", &[]), redis.node("two", &[]));
    let three = redis.node("three", &[]);
    let (mut caller, _callee) = session(&one, &two, "a");
    let (mut alice, _) = join(&one, "alice", "r");
    let (mut bob, _) = join(&two, "bob", "r");
    let (_dave, answer) = join(&two, "dave", "r");
    assert_eq!(answer, "ROOM_OK alice bob");
    let (mut carol, _) = join(&three, "carol", "r");
    bob.expect("ROOM_PEER_JOINED dave");
    for uid in ["bob", "dave", "carol"] {
        alice.expect(&format!("ROOM_PEER_JOINED {uid}"));
    }
    let start = Instant::now();
    two.process().signal("KILL");
    caller.expect_close(1000, "");
    let mut left: Vec<String> = (0..2).map(|_| alice.receive_text()).collect();
    left.sort();
    assert_eq!(left, ["ROOM_PEER_LEFT bob", "ROOM_PEER_LEFT dave"]);
    take(&one, "bob");
    // The lease is two seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let mut left: Vec<String> = (0..2).map(|_| carol.receive_text()).collect();
    left.sort();
    assert_eq!(left, ["ROOM_PEER_LEFT bob", "ROOM_PEER_LEFT dave"], "once");
    carol.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST alice");
    take(&three, "a-callee");
}

#[test]
fn a_node_that_stood_still_gives_up_what_others_have_now() {
    let redis = Redis::start(&[]);
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let flags = ["--token-key-file", &file];
    let (mut one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let mut old = connect_as(&one, &keys, "alice").hello("alice");
    let mut stays = connect_as(&one, &keys, "bob").hello("bob");
    one.process().signal("STOP");
    // It has the same subject: it need not wait for the lease.
    let new = connect_as(&two, &keys, "alice").hello("alice");
    wait_until("the node to be buried", DEADLINE, || {
        (redis.run(&["EXISTS", "callbin:peer:bob"]) == "0").then_some(())
    });
    one.process().signal("CONT");
    old.expect_close(1008, "replaced by a new connection");
    // The other one is registered again, at the same node.
    let mut caller = connect_as(&two, &keys, "carol").hello("carol");
    wait_until("bob to be found", DEADLINE, || {
        caller.send("SESSION bob");
        (caller.receive_text() == "SESSION_OK").then_some(())
    });
    caller.send("hello");
    stays.expect("hello");
    drop(new);
}

#[test]
fn a_token_takes_its_uid_over_from_another_node() {
    let redis = Redis::start(&[]);
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let flags = ["--token-key-file", &file];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let mut old = connect_as(&one, &keys, "alice").hello("desk");
    let mut stranger = connect_as(&two, &keys, "mallory");
    stranger.send("HELLO desk");
    stranger.expect_close(1002, "invalid peer uid");
    let _new = connect_as(&two, &keys, "alice").hello("desk");
    old.expect_close(1008, "replaced by a new connection");
}

#[test]
fn joins_are_paid_for_by_the_members_on_all_nodes() {
    let redis = Redis::start(&[]);
    let (one, two) = (redis.node("one", &[]), redis.node("two", &["--max-notice-rate", "1"]));
    let _members: Vec<_> = (0..8).map(|number| join(&one, &format!("m{number}"), "r")).collect();
    // The first one pays for the members elsewhere, which its node did not know before, so that the next one has to wait.
    let (_first, _) = join(&two, "first", "r");
    let mut next = Socket::register(&two, "next");
    next.send("ROOM r");
    next.expect_close(1013, "too many notices, try again later");
}

#[test]
fn operators_see_and_close_peers_from_any_node() {
    let redis = Redis::start(&[]);
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let flags = ["--admin-addr", "127.0.0.1:0", "--admin-secret-file", &file];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let secret = std::fs::read_to_string(&file).expect("text");
    let header = format!("Bearer {}", secret.trim());
    let ask = |method: &str, path: &str| {
        http::request(one.admin_address(), method, path, &[("Authorization", &header)])
    };
    let (mut alice, _) = join(&one, "alice", "r");
    let (mut bob, _) = join(&two, "bob", "r");
    let mut carol = Socket::register(&two, "carol");
    let peers = ask("GET", "/admin/peers?all-nodes").json();
    let find =
        |uid: &str| peers.as_array().and_then(|peers| peers.iter().find(|it| it["uid"] == uid)).cloned();
    let bob_there = find("bob").expect("bob is listed");
    assert_eq!((&bob_there["node"], &bob_there["room"]), (&json!("two"), &json!("r")), "{peers}");
    assert_eq!(peers.as_array().map(Vec::len), Some(3), "{peers}");
    assert_eq!(ask("DELETE", "/admin/peers/carol").json(), json!({ "closed": 1 }));
    carol.expect_close(1008, "closed by an operator");
    assert_eq!(ask("DELETE", "/admin/peers/nobody").status, 404);
    assert_eq!(ask("DELETE", "/admin/rooms/r").json(), json!({ "closed": 2 }));
    alice.expect("ROOM_PEER_JOINED bob");
    for socket in [&mut alice, &mut bob] {
        let is_closed = |it: &Received| matches!(it, Received::Closed(Some((1008, _))));
        wait_until("the room to be closed", DEADLINE, || is_closed(&socket.receive()).then_some(()));
    }
}

#[test]
fn without_redis_what_is_local_goes_on_and_then_all_is_as_before() {
    let mut redis = Redis::start(&[]);
    let (one, two) = (redis.node("one", &[]), redis.node("two", &["--without-redis", "local"]));
    let (mut caller, mut callee) = session(&one, &one, "local");
    let (mut far, _other) = session(&one, &two, "far");
    let (mut alice, _) = join(&one, "alice", "r");
    let (_bob, _) = join(&two, "bob", "r");
    alice.expect("ROOM_PEER_JOINED bob");
    redis.kill();
    // The lease runs out: what is shared ends, and what is local does not.
    far.expect_close(1000, "");
    alice.expect("ROOM_PEER_LEFT bob");
    caller.send("still here");
    callee.expect("still here");
    assert_eq!(readiness(&one), 503);
    assert_eq!(http::get(&one, "/livez", &[]).status, 200);
    refuses_registrations(&one);
    let _lonely = Socket::register(&two, "lonely");
    redis.restart();
    alice.expect("ROOM_PEER_JOINED bob");
    wait_until("both to be ready", DEADLINE, || {
        (readiness(&one) == 200 && readiness(&two) == 200).then_some(())
    });
    // What was registered meanwhile is known, and nothing is there twice.
    let _caller = wait_for_peer(&one, "new", "lonely");
    expect_taken(&one, &["lonely", "alice", "bob", "local-caller"]);
}

#[test]
fn a_full_redis_refuses_what_is_new_and_ends_nothing() {
    let redis = Redis::start(&[]);
    let (one, two) = (redis.node("one", &[]), redis.node("two", &["--without-redis", "local"]));
    let (mut caller, mut callee) = session(&one, &two, "a");
    let (mut alice, _) = join(&one, "alice", "r");
    let (bob, _) = join(&two, "bob", "r");
    alice.expect("ROOM_PEER_JOINED bob");
    let mut idle = Socket::register(&one, "idle");
    redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    wait_for_readiness(&one, "Redis has no memory left");
    refuses_registrations(&one);
    idle.send("ROOM r");
    idle.expect("ERROR not available");
    let (mut lonely, _) = join(&two, "lonely", "s");
    // For longer than a lease, which has 24 of these commands.
    let extended = || {
        let text = redis.run(&["INFO", "commandstats"]);
        let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_pexpire:calls="));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = extended();
    wait_until("a lease to pass", DEADLINE, || (extended() > before + 30).then_some(()));
    caller.send("hello");
    callee.expect("hello");
    bob.close();
    alice.expect("ROOM_PEER_LEFT bob");
    redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_for_readiness(&one, "OK");
    wait_for_readiness(&two, "OK");
    idle.send("ROOM r");
    idle.expect("ROOM_OK alice");
    alice.expect("ROOM_PEER_JOINED idle");
    let (_late, members) = join(&one, "late", "s");
    assert_eq!(members, "ROOM_OK lonely");
    lonely.expect("ROOM_PEER_JOINED late");
    expect_taken(&one, &["lonely", "alice", "idle", "a-caller", "a-callee"]);
}

#[test]
fn a_redis_with_tls_and_an_authority_of_its_own() {
    let authority = Authority::create();
    let (_redis, url) = authority.start_redis();
    let file = authority.file("ca.pem");
    let flags = ["--redis-ca-file", &file];
    let (one, two) = (Redis::node_at(&url, "one", &flags), Redis::node_at(&url, "two", &flags));
    session(&one, &two, "a");
    let mut check = Command::new(program("callbin-server"));
    check.args(["--disable-ssl", "--check-config", "--redis", &url, "--redis-ca-file"]);
    let output = check.arg(authority.file("key.pem")).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("has no certificate in PEM format"), "{error}");
    let other = Authority::create();
    let stranger = Redis::node_at(&url, "stranger", &["--redis-ca-file", &other.file("ca.pem")]);
    stranger.wait_for_log("invalid peer certificate");
    assert_eq!((readiness(&one), readiness(&stranger)), (200, 503));
}

#[test]
fn a_sentinel_names_another_primary_and_calls_go_on() {
    let mut primary = Redis::start(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.address().port().to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    let sentinel = Sentinel::start(&primary);
    let flags = ["--node-lease", "30"];
    let url = sentinel.url();
    let (one, two) = (Redis::node_at(&url, "one", &flags), Redis::node_at(&url, "two", &flags));
    let (mut caller, mut callee) = session(&one, &two, "a");
    caller.send("before");
    callee.expect("before");
    primary.kill();
    // A message that a node sends before the other one is back would end the call.
    wait_until("both nodes to be there", DEADLINE, || {
        (replica.run(&["PUBSUB", "CHANNELS", "callbin:in:*"]).lines().count() == 2).then_some(())
    });
    caller.send("after");
    callee.expect("after");
    callee.send("answer");
    caller.expect("answer");
    session(&two, &one, "b");
    expect_taken(&one, &["a-caller", "a-callee"]);
    assert_eq!((readiness(&one), readiness(&two)), (200, 200));
}

#[test]
fn a_redis_that_becomes_a_replica_is_none() {
    let (redis, primary) = (Redis::start(&[]), Redis::start(&[]));
    let (one, two) = (redis.node("one", &[]), redis.node("two", &[]));
    let (mut caller, mut callee) = session(&one, &one, "local");
    let (mut far, _other) = session(&one, &two, "far");
    let (mut alice, _) = join(&one, "alice", "r");
    let (_bob, _) = join(&two, "bob", "r");
    alice.expect("ROOM_PEER_JOINED bob");
    redis.run(&["REPLICAOF", "127.0.0.1", &primary.address().port().to_string()]);
    far.expect_close(1000, "");
    alice.expect("ROOM_PEER_LEFT bob");
    one.wait_for_log("this Redis is a read-only replica");
    wait_for_readiness(&one, "without Redis");
    refuses_registrations(&one);
    caller.send("still here");
    callee.expect("still here");
    redis.run(&["REPLICAOF", "NO", "ONE"]);
    alice.expect("ROOM_PEER_JOINED bob");
    wait_for_readiness(&one, "OK");
    wait_for_readiness(&two, "OK");
    expect_taken(&one, &["bob", "alice", "local-caller"]);
    session(&one, &two, "again");
}

#[test]
fn a_slow_redis_delays_and_ends_nothing() {
    let redis = Redis::start(&[]);
    let cable = Middlebox::start(redis.address());
    let lease = ["--node-lease", "8"];
    let one = redis.node("one", &lease);
    let two = Redis::node_at(&cable.url().replacen("http", "redis", 1), "two", &lease);
    let (mut caller, mut callee) = session(&two, &one, "a");
    let (mut alice, _) = join(&one, "alice", "r");
    cable.delay(Duration::from_secs(1));
    let start = Instant::now();
    (0..20).for_each(|number| caller.send(&number.to_string()));
    (0..20).for_each(|number| callee.expect(&number.to_string()));
    assert!(start.elapsed() >= Duration::from_secs(1), "it is slow");
    let (mut bob, members) = join(&two, "bob", "r");
    assert_eq!(members, "ROOM_OK alice");
    alice.expect("ROOM_PEER_JOINED bob");
    bob.send("ROOM_PEER_MSG alice hello");
    alice.expect("ROOM_PEER_MSG bob hello");
    assert_eq!((readiness(&one), readiness(&two)), (200, 200));
}

#[test]
fn a_redis_that_stands_still_is_none_until_it_goes_on() {
    let mut redis = Redis::start(&[]);
    let (one, two) = (redis.node("one", &[]), redis.node("two", &[]));
    let (mut caller, mut callee) = session(&one, &one, "local");
    let (mut far, _other) = session(&one, &two, "far");
    let (mut alice, _) = join(&one, "alice", "r");
    let (_bob, _) = join(&two, "bob", "r");
    alice.expect("ROOM_PEER_JOINED bob");
    redis.process().signal("STOP");
    far.expect_close(1000, "");
    alice.expect("ROOM_PEER_LEFT bob");
    refuses_registrations(&one);
    caller.send("still here");
    callee.expect("still here");
    redis.process().signal("CONT");
    alice.expect("ROOM_PEER_JOINED bob");
    wait_for_readiness(&one, "OK");
    wait_for_readiness(&two, "OK");
    // What it was sent before is carried out now, and changes nothing.
    expect_taken(&two, &["bob", "alice", "local-caller"]);
    session(&one, &two, "again");
}

#[test]
fn an_emptied_redis_is_filled_again() {
    let redis = Redis::start(&[]);
    let (one, two) = (redis.node("one", &[]), redis.node("two", &[]));
    let (mut alice, _) = join(&one, "alice", "r");
    let (_bob, _) = join(&two, "bob", "r");
    let _idle = Socket::register(&two, "idle");
    alice.expect("ROOM_PEER_JOINED bob");
    redis.run(&["FLUSHALL"]);
    alice.expect("ROOM_PEER_LEFT bob");
    alice.expect("ROOM_PEER_JOINED bob");
    wait_until("the others to be registered again", DEADLINE, || {
        (redis.run(&["HGET", "callbin:peer:idle", "n"]).starts_with("two/")).then_some(())
    });
    alice.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST bob");
}

#[test]
fn a_node_that_is_cut_off_ends_what_it_shared_and_comes_back() {
    let redis = Redis::start(&[]);
    let cable = Middlebox::start(redis.address());
    let one = redis.node("one", &[]);
    let url = cable.url().replacen("http", "redis", 1);
    let two = Redis::node_at(&url, "two", &[]);
    let (mut caller, mut callee) = session(&one, &two, "a");
    let (mut local, mut partner) = session(&two, &two, "b");
    cable.freeze();
    caller.expect_close(1000, "");
    callee.expect_close(1000, "");
    local.send("hello");
    partner.expect("hello");
    // New connections get through: the old ones stay silent.
    wait_until("the node to be back", DEADLINE, || (readiness(&two) == 200).then_some(()));
    session(&one, &two, "c");
    let mut third = Socket::register(&one, "third");
    third.send("SESSION b-caller");
    third.expect("ERROR peer 'b-caller' busy");
}

#[test]
fn what_does_not_belong_together_stays_apart_and_garbage_does_no_harm() {
    let redis = Redis::start(&[]);
    let keys = [Keys::new(Algorithm::Hs256), Keys::new(Algorithm::Hs256)];
    let [mine, other] = keys.each_ref().map(Keys::public);
    redis.run(&["FLUSHALL"]);
    let one = redis.node("one", &["--cluster-secret-file", &mine]);
    let two = redis.node("two", &["--cluster-secret-file", &other]);
    two.wait_for_log("the other nodes have another --cluster-secret-file");
    assert_eq!((readiness(&one), readiness(&two)), (200, 503));
    let twin = redis.node("one", &["--cluster-secret-file", &mine]);
    twin.wait_for_log("another node has this --node-name");
    assert_eq!((readiness(&one), readiness(&twin)), (200, 503));
    // A user that may do what docs/redis.md says, and nothing else.
    let page = include_str!("../../../docs/redis.md");
    let rule = page.lines().find_map(|line| line.strip_prefix("ACL SETUSER callbin ")).expect("the rule");
    let words: Vec<&str> = ["ACL", "SETUSER", "callbin"].into_iter().chain(rule.split(' ')).collect();
    assert_eq!(redis.run(&words), "OK");
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "password\n").expect("the folder is ours");
    let url = redis.url().replacen("redis://", "redis://callbin@", 1);
    let flags = ["--cluster-secret-file", &mine, "--redis-password-file", file.to_str().expect("text")];
    let limited = Redis::node_at(&url, "limited", &flags);
    assert_eq!(readiness(&limited), 200, "{}", limited.log());
    session(&one, &limited, "b");
    std::fs::write(&file, "wrong\n").expect("the folder is ours");
    let wrong = Redis::node_at(&url, "wrong", &flags);
    wrong.wait_for_log("Redis refuses the user or the password");
    // The other process of this name listens, too.
    let channels = redis.run(&["PUBSUB", "CHANNELS", "callbin:in:one/*"]);
    for channel in channels.lines() {
        for garbage in ["", "hello", "E left r x", "B\u{1}", &"x".repeat(100_000)] {
            redis.run(&["PUBLISH", channel, garbage]);
        }
    }
    one.wait_for_log("that are not from a node of this cluster");
    // A key of another program.
    redis.run(&["SET", "callbin:peer:new", "something else"]);
    refuses_registrations(&one);
    session(&limited, &one, "a");
}

trait Tap: Sized {
    fn tap(self, act: impl FnOnce(&mut Self)) -> Self;
}

impl Tap for Socket {
    fn tap(mut self, act: impl FnOnce(&mut Self)) -> Self {
        act(&mut self);
        self
    }
}
