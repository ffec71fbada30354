//! What operators see and do on all nodes at once. It is rare, and has a connection to Redis of its own.

use std::collections::HashMap;

use futures_util::StreamExt;
use redis::{AsyncCommands, ScanOptions, aio::MultiplexedConnection};
use serde_json::{Value, json};

use super::{
    Cluster,
    client::{self, Failure, SCRIPT},
    store::NodeId,
    wire::PREFIX,
};

/// The most peers in a list.
const MOST: usize = 1_000_000;

/// Keys looked up in one step.
const STEP: usize = 1000;

impl Cluster {
    /// The peers of all nodes. The error is for the operator.
    pub async fn peers(&self) -> Result<Vec<Value>, String> {
        self.list().await.map_err(|failure| failure.0)
    }

    /// Closes a peer, wherever it is. Returns how many there are: one or none.
    pub async fn disconnect(&self, uid: &str) -> Result<usize, String> {
        self.kick(uid, "peer").await
    }

    /// Ends the calls of a stream, wherever it is. Returns how many streams there are: one or none.
    pub async fn end_stream(&self, stream: &str) -> Result<usize, String> {
        self.kick(stream, "stream").await
    }

    async fn kick(&self, uid: &str, what: &str) -> Result<usize, String> {
        let words = self.run("kick", &[uid, what]).await.map_err(|failure| failure.0)?;
        Ok(usize::from(words.first().is_some_and(|word| word == "done")))
    }

    /// Closes the members of a room on all nodes. Returns how many there are.
    pub async fn close_room(&self, room: &str) -> Result<usize, String> {
        let words = self.run("close", &[room]).await.map_err(|failure| failure.0)?;
        Ok(words.get(1).and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let mut last = Failure("no --redis".into());
        for url in &self.settings.urls {
            match client::commands(url, &self.settings).await {
                Ok((connection, _)) => return Ok(connection),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn run(&self, command: &str, words: &[&str]) -> Result<Vec<String>, Failure> {
        let mut connection = self.connect().await?;
        // Any name: it changes nothing of this node.
        let me = NodeId { name: self.settings.name.clone(), life: 0 };
        let mut call = redis::cmd("EVAL");
        call.arg(SCRIPT)
            .arg(0)
            .arg(command)
            .arg(me.to_string())
            .arg(0)
            .arg(self.settings.secret.digest())
            .arg(0)
            .arg(words);
        Ok(call.query_async(&mut connection).await?)
    }

    async fn list(&self) -> Result<Vec<Value>, Failure> {
        let mut connection = self.connect().await?;
        let prefix = format!("{PREFIX}peer:");
        let options = ScanOptions::default().with_pattern(format!("{prefix}*")).with_count(STEP);
        let mut keys: Vec<String> = Vec::new();
        let mut scan = connection.scan_options::<String>(options).await?;
        while let Some(key) = scan.next().await {
            keys.push(key?);
            if keys.len() >= MOST {
                break;
            }
        }
        drop(scan);
        // A scan may name a key twice.
        keys.sort();
        keys.dedup();
        let mut peers = Vec::with_capacity(keys.len());
        let mut leases = HashMap::new();
        for some in keys.chunks(STEP) {
            let mut pipeline = redis::pipe();
            for key in some {
                pipeline.cmd("HMGET").arg(key).arg(&["n", "c", "r", "s"]);
            }
            let found: Vec<[Option<String>; 4]> = pipeline.query_async(&mut connection).await?;
            for node in found.iter().filter_map(|[node, ..]| NodeId::parse(node.as_deref()?)) {
                if !leases.contains_key(&node) {
                    let lease: Option<String> =
                        connection.get(format!("{PREFIX}lease:{}", node.name)).await?;
                    let holder = lease.as_deref().and_then(|lease| lease.split(' ').next());
                    leases.insert(node.clone(), holder == Some(&*format!("{:016x}", node.life)));
                }
            }
            peers.extend(some.iter().zip(found).filter_map(|(key, [node, conn, room, identity])| {
                // What a dead node had is not buried yet.
                let node = NodeId::parse(&node?).filter(|node| leases.get(node) == Some(&true))?;
                let uid = key.strip_prefix(&prefix).filter(|_| identity.as_deref() != Some("stream"))?;
                let conn: u64 = conn?.parse().ok()?;
                Some(json!({ "uid": uid, "node": &*node.name, "connection": conn, "room": room }))
            }));
        }
        Ok(peers)
    }
}
