//! The script in a real Redis does what its model does: the same random commands, the same answers and events.

use std::{
    net::TcpListener,
    process::{Child, Command as Process, Stdio},
    time::{Duration, Instant},
};

use callbin_protocol::{PeerId, RoomId};
use proptest::{prelude::*, test_runner::TestRunner};
use redis::{Client, Connection};

use super::{
    store::{Command, Event, NodeId, Own, Reply, model::Store},
    wire::{self, Heard, Secret},
};
use crate::{dialect::Dialect, hub::ConnId};

const LEASE: Duration = Duration::from_secs(600);

struct Redis {
    process: Child,
    client: Client,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Process::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
        let process = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let client = Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let start = Instant::now();
        while client.get_connection().is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "Redis does not listen");
        }
        Self { process, client }
    }
}

fn node(number: u8) -> NodeId {
    NodeId { name: format!("n{}", number % 3).into(), life: u64::from(number) }
}

fn peer(number: u8) -> PeerId {
    PeerId::new(&format!("p{}", number % 5)).unwrap()
}

fn own(number: u8) -> Own {
    Own { uid: peer(number), conn: ConnId(u64::from(number % 2)), dialect: Dialect::Text }
}

/// A node, the number of its connection, what it does, and whether Redis is full then.
fn commands() -> impl Strategy<Value = (u8, u64, Command, bool)> {
    let room = |number: u8| RoomId::new(&format!("r{}", number % 2)).unwrap();
    let identity = |number: u8| (!number.is_multiple_of(3)).then(|| format!("i{}", number % 3).into());
    let number = prop::sample::select(vec![1, 1, 1, 2, 2, 3]);
    let any = (0..6u8, number, any::<u8>(), any::<u8>(), any::<bool>(), prop::bool::weighted(0.2));
    any.prop_flat_map(move |(by, number, one, two, flag, is_full)| {
        let (own, conn) = (own(one), ConnId(u64::from(two % 2)));
        let all = [
            Command::Enter { before: flag.then(|| node(by ^ 3)) },
            Command::Renew { has_media: flag },
            Command::Bury(node(one % 6)),
            Command::Claim { uid: peer(one), conn, identity: identity(two), again: flag },
            Command::Claim { uid: peer(two), conn, identity: identity(one), again: false },
            Command::Release { uid: peer(one), conn },
            Command::Find(peer(one)),
            Command::Join { room: room(two), own: own.clone(), most: 3, bytes: 8, lists: flag },
            Command::Leave { room: room(two), uid: peer(one), conn },
            Command::Sync { room: room(two), own: vec![own], whole: flag },
            Command::Quit,
        ];
        prop::sample::select(all.to_vec()).prop_map(move |command| (by, number, command, is_full))
    })
}

/// The answer of Redis, and the events in the inboxes.
fn run(
    connection: &mut Connection,
    inboxes: &mut redis::PubSub<'_>,
    secret: &Secret,
    by: &NodeId,
    number: u64,
    command: &Command,
) -> (Reply, Vec<(NodeId, Event)>) {
    let (name, words) = wire::arguments(command).unwrap();
    let mut call = redis::cmd("EVAL");
    call.arg(include_str!("script.lua")).arg(0).arg(name).arg(by.to_string());
    call.arg(LEASE.as_millis() as u64).arg(secret.digest()).arg(number).arg(words);
    let reply = match call.query::<Vec<String>>(connection) {
        Ok(words) => wire::reply(&words).unwrap(),
        Err(error) if error.code() == Some("OOM") => Reply::NoMemory,
        Err(error) => panic!("{error}"),
    };
    let mut events = Vec::new();
    // One that must not come would come before the answer to this.
    let _: () = redis::cmd("PUBLISH").arg("callbin:in:end").arg("").query(connection).unwrap();
    loop {
        let message = inboxes.get_message().unwrap();
        let channel = message.get_channel_name().strip_prefix("callbin:in:").unwrap();
        if channel == "end" {
            break;
        }
        let to = NodeId::parse(channel).unwrap();
        let heard = wire::event(&to, secret, message.get_payload_bytes());
        let Heard::Event(event) = heard else { panic!("{heard:?}") };
        events.push((to, event));
    }
    (reply, events)
}

fn set_full(connection: &mut Connection, is_full: bool) {
    let most = u8::from(is_full).to_string();
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", &most]).exec(connection).unwrap();
}

#[test]
fn the_script_does_what_its_model_does() {
    let redis = Redis::start();
    let secret = Secret::new(b"secret");
    let mut connection = redis.client.get_connection().unwrap();
    let mut listener = redis.client.get_connection().unwrap();
    let mut inboxes = listener.as_pubsub();
    inboxes.psubscribe("callbin:in:*").unwrap();
    inboxes.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
    let connection = std::cell::RefCell::new((&mut connection, &mut inboxes));
    let result = runner.run(&prop::collection::vec(commands(), 1..150), |commands| {
        let mut guard = connection.borrow_mut();
        let (connection, inboxes) = &mut *guard;
        let _: () = redis::cmd("FLUSHALL").query(*connection).unwrap();
        let mut model = Store::default();
        let start = [0, 1].map(|by| (by, 1, Command::Enter { before: None }, false));
        for (by, number, command, is_full) in start.into_iter().chain(commands) {
            let by = node(by);
            model.is_full = is_full;
            set_full(connection, is_full);
            let (expected, mut events) = model.run(&by, number, command.clone(), LEASE, Duration::ZERO);
            let (reply, mut found) = run(connection, inboxes, &secret, &by, number, &command);
            prop_assert_eq!(&sorted(reply), &sorted(expected), "{:?} by {}", &command, &by);
            // Each inbox has its order; a burial has none.
            let key = |event: &(NodeId, Event)| match command {
                Command::Bury(_) => format!("{event:?}"),
                _ => event.0.to_string(),
            };
            events.sort_by_key(key);
            found.sort_by_key(key);
            prop_assert_eq!(found, events, "{:?} by {}", &command, &by);
        }
        Ok(())
    });
    result.unwrap();
}

/// Nodes have no order.
fn sorted(reply: Reply) -> Reply {
    match reply {
        Reply::Nodes { mut alive, mut dead, mut media, is_full } => {
            [&mut alive, &mut dead, &mut media].into_iter().for_each(|nodes| nodes.sort());
            Reply::Nodes { alive, dead, media, is_full }
        }
        reply => reply,
    }
}
