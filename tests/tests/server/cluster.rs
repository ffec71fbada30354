//! Several servers as one: what happens when one of them, Redis, or the network between them fails.
//! `CALLBIN_TEST_NODES=2 cargo test --workspace --test server protocol::` runs the tests of the protocol with a pair.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use callbin_tests::{
    Authority, DEADLINE, Middlebox, Redis, Sentinel, Server, Socket,
    hook::Hook,
    http,
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

#[test]
fn sessions_of_an_owner_count_for_all_nodes() {
    let redis = Redis::start(&[]);
    let flags = ["--max-sessions", "2"];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let first = session(&one, &two, "a");
    let _second = session(&one, &one, "b");
    let mut callee = Socket::register(&two, "callee");
    let mut tries = 0;
    let mut call = || {
        tries += 1;
        let mut caller = Socket::register(&two, &format!("caller-{tries}"));
        caller.send("SESSION callee");
        let answer = caller.receive_text();
        drop(caller);
        if answer == "SESSION_OK" {
            callee.expect_close(1000, "");
            callee = take(&two, "callee");
        }
        answer
    };
    wait_until("the other node to know", DEADLINE, || (call() == "ERROR too many sessions").then_some(()));
    drop(first);
    wait_until("one to be over", DEADLINE, || (call() == "SESSION_OK").then_some(()));
}

#[test]
fn rooms_of_an_owner_count_for_all_nodes_where_they_began() {
    let redis = Redis::start(&[]);
    let flags = ["--max-rooms", "2"];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let first: Vec<_> = ["r", "s"].map(|room| join(&one, room, room)).into();
    // One that exists already is not another one.
    let (_guest, answer) = join(&two, "guest", "r");
    assert_eq!(answer, "ROOM_OK r");
    let mut tries = 0;
    let mut begin = || {
        tries += 1;
        join(&two, &format!("new-{tries}"), &format!("room-{tries}")).1
    };
    wait_until("the other node to know", DEADLINE, || (begin() == "ERROR too many rooms").then_some(()));
    // The room of the guest goes on there, and the other one is over.
    drop(first);
    wait_until("one to be over", DEADLINE, || begin().starts_with("ROOM_OK").then_some(()));
}

#[test]
fn a_token_that_expires_ends_its_call_and_its_place_in_a_room_at_other_nodes() {
    let redis = Redis::start(&[]);
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let flags = ["--token-key-file", &file];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let brief = |uid: &str| {
        let token = keys.token(json!({ "exp": now() - 27 }));
        Socket::connect_to(&format!("{}?token={token}", one.ws_url())).hello(uid)
    };
    let mut callee = connect_as(&two, &keys, "callee").hello("callee");
    let mut witness = connect_as(&two, &keys, "witness").hello("witness");
    witness.send("ROOM r");
    witness.expect("ROOM_OK ");
    let (mut caller, mut member) = (brief("caller"), brief("member"));
    caller.send("SESSION callee");
    caller.expect("SESSION_OK");
    member.send("ROOM r");
    member.expect("ROOM_OK witness");
    witness.expect("ROOM_PEER_JOINED member");
    caller.expect_close(1008, "token expired");
    callee.expect_close(1000, "");
    witness.expect("ROOM_PEER_LEFT member");
}

#[test]
fn ice_servers_of_the_webhook_are_found_at_every_node() {
    let redis = Redis::start(&[]);
    let hook = Hook::start(|_, _| {
        let answer = json!({ "allow": true, "ice_servers": [{ "urls": ["turn:of.the.hook"] }] });
        ("200 OK".into(), answer.to_string())
    });
    let url = hook.url();
    let flags = ["--webhook-url", &url];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let _alice = Socket::register(&one, "alice");
    for node in [&one, &two] {
        let servers = http::get(node, "/ice-servers?uid=alice", &[]).json();
        assert_eq!(servers["iceServers"], json!([{ "urls": ["turn:of.the.hook"] }]));
    }
    assert_eq!(http::get(&two, "/ice-servers?uid=nobody", &[]).json()["iceServers"], json!([]));
}

#[test]
fn the_webhook_decides_about_calls_and_joins_that_reach_other_nodes() {
    let redis = Redis::start(&[]);
    let hook = Hook::start(|asked, _| {
        let allow = asked.body["event"] == "register" || asked.body["uid"] != "mallory";
        ("200 OK".into(), json!({ "allow": allow, "reason": "no" }).to_string())
    });
    let url = hook.url();
    let flags = ["--webhook-url", &url];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    let mut callee = Socket::register(&two, "callee");
    let (mut witness, _) = join(&two, "witness", "r");
    let mut mallory = Socket::register(&one, "mallory");
    for request in ["SESSION callee", "ROOM r"] {
        mallory.send(request);
        mallory.expect("ERROR no");
    }
    let mut alice = Socket::register(&one, "alice");
    alice.send("SESSION callee");
    alice.expect("SESSION_OK");
    alice.send("hello");
    callee.expect("hello");
    witness.expect_nothing("ROOM_PEER_LIST", "ROOM_PEER_LIST ");
    let calls = |uid: &str| {
        hook.asked().iter().filter(|it| it.body["event"] == "call" && it.body["uid"] == uid).count()
    };
    assert_eq!((calls("alice"), calls("mallory")), (1, 1), "once for all nodes");
}

#[test]
fn a_join_and_a_leave_are_one_message_for_each_node() {
    let redis = Redis::start(&[]);
    let nodes = ["one", "two", "three"].map(|name| redis.node(name, &["--node-lease", "60"]));
    let count = || {
        let text = redis.run(&["INFO", "commandstats"]);
        let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // The second node greets the first one, and the third both others.
    wait_until("the greetings", DEADLINE, || (count() == 3).then_some(()));
    let mut members: Vec<Socket> = Vec::new();
    for number in 0..12 {
        let (member, answer) = join(&nodes[number % 3], &format!("m{number}"), "r");
        assert_eq!(answer.split(' ').count(), number + 1 + usize::from(number == 0), "{answer}");
        members.push(member);
    }
    let before = count();
    let (late, _) = join(&nodes[0], "late", "r");
    members.iter_mut().skip(1).for_each(|member| while member.receive_text() != "ROOM_PEER_JOINED late" {});
    // To the two others, and in their order to the node itself.
    assert_eq!(count() - before, 3);
    late.close();
    members.iter_mut().skip(1).for_each(|member| member.expect("ROOM_PEER_LEFT late"));
    assert_eq!(count() - before, 5);
}

#[test]
fn what_a_dead_node_had_is_in_no_list_of_an_operator() {
    let redis = Redis::start(&[]);
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let flags = ["--admin-addr", "127.0.0.1:0", "--admin-secret-file", &file];
    let one = redis.node("one", &flags);
    let _here = Socket::register(&one, "here");
    // As a node leaves them that nobody has buried yet.
    redis.run(&["HSET", "callbin:peer:gone", "n", "dead/00000000000000ff", "c", "1"]);
    let secret = std::fs::read_to_string(&file).expect("text");
    let header = format!("Bearer {}", secret.trim());
    let peers =
        http::request(one.admin_address(), "GET", "/admin/peers?all-nodes", &[("Authorization", &header)]);
    let uids: Vec<_> = peers.json().as_array().expect("a list").iter().map(|it| it["uid"].clone()).collect();
    assert_eq!(uids, ["here"]);
}

#[test]
fn clocks_minutes_apart_do_not_matter() {
    let redis = Redis::start(&[]);
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let one = redis.node("one", &["--token-key-file", &file]);
    let mut command = Command::new(program("callbin-server"));
    command.args([
        "--addr",
        "127.0.0.1",
        "--port",
        "0",
        "--disable-ssl",
        "--node-name",
        "late",
        "--node-lease",
        "2",
    ]);
    command.args(["--redis", &redis.url(), "--token-key-file", &file]);
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1").env("FAKETIME", "-5m");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    let mut late = Server::spawn(&mut command);
    // A token that is not valid yet for the late clock.
    let token = keys.token(json!({ "sub": "a", "nbf": now() - 60, "exp": now() + 600 }));
    assert_eq!(http::upgrade(&late, &format!("/?token={token}"), &[]).status, 401, "its clock is late");
    let mut callee = connect_as(&late, &keys, "callee").hello("callee");
    let mut caller = connect_as(&one, &keys, "caller").hello("caller");
    caller.send("SESSION callee");
    caller.expect("SESSION_OK");
    // For longer than a lease.
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(5) {
        number += 1;
        caller.send(&number.to_string());
        callee.expect(&number.to_string());
    }
    late.process().signal("KILL");
    caller.expect_close(1000, "");
    wait_until("the uid to be free", DEADLINE, || {
        let mut socket = connect_as(&one, &keys, "other");
        socket.send("HELLO callee");
        (socket.receive() == Received::Text("HELLO".into())).then_some(())
    });
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
