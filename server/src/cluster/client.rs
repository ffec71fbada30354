//! The connections to Redis: one for commands, one for the inbox.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::select, pin_mut, task::AtomicWaker};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, TlsCertificates,
    Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSubSink, PubSubStream},
};

use super::{
    lock,
    store::{Command, Event, NodeId, Reply},
    wire::{self, Heard, Secret},
};
use crate::runtime;

/// What a node does in Redis.
pub(super) const SCRIPT: &str = include_str!("script.lua");

/// The oldest Redis that has what the script needs: ACL users came with it.
const OLDEST: u32 = 6;

/// The bytes of events that may wait for the driver. Beyond this the connection is given up, and what it missed is
/// compared later.
const MOST_INBOX: usize = 64 << 20;

/// How this node takes part.
#[derive(Clone)]
pub struct Settings {
    /// `--redis`: tried in turn.
    pub urls: Vec<String>,
    /// From `--redis-password-file`.
    pub password: Option<String>,
    /// From `--redis-ca-file`: the only certificate authorities for `rediss://`, in PEM format.
    pub authorities: Option<String>,
    /// `--node-name`.
    pub name: Arc<str>,
    /// From `--cluster-secret-file`.
    pub secret: Secret,
    /// `--node-lease`.
    pub lease: Duration,
    /// `--without-redis local`.
    pub is_local_without: bool,
}

impl fmt::Debug for Settings {
    /// Without passwords and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Checks a `--redis` URL.
pub fn check_url(url: &str) -> Result<(), String> {
    if let Some((scheme, rest)) = sentinel(url) {
        return match rest.split_once('/') {
            Some((host, name)) if !host.is_empty() && !name.is_empty() => Ok(()),
            _ => Err(format!("not of the form {scheme}+sentinel://host:port/master-name")),
        };
    }
    let info = url.into_connection_info().map_err(|error| error.to_string())?;
    if matches!(info.addr(), redis::ConnectionAddr::Tcp(..) | redis::ConnectionAddr::TcpTls { .. }) {
        return Ok(());
    }
    Err("neither redis:// nor rediss://".into())
}

/// The scheme of a Sentinel and its servers, and the rest of its URL.
fn sentinel(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("+sentinel://")?;
    ["redis", "rediss"].contains(&scheme).then_some((scheme, rest))
}

/// The events that arrived, until the driver takes them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<Arrived>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Arrived {
    events: VecDeque<Event>,
    bytes: usize,
    foreign: Foreign,
    is_closed: bool,
}

/// How many messages the node cannot read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Not from a node of this cluster.
    pub(super) garbage: u64,
    /// From a node with another version of the link protocol.
    pub(super) other_version: u64,
}

/// What the driver takes from the inbox.
pub(super) enum Next {
    Events(VecDeque<Event>, Foreign),
    Nothing,
    Closed,
}

impl Inbox {
    /// Takes what has arrived.
    pub(super) fn take(&self, waker: &std::task::Waker) -> Next {
        self.waker.register(waker);
        let mut state = lock(&self.state);
        // Also those of messages that this version does not know.
        state.bytes = 0;
        if state.events.is_empty() && state.foreign == Foreign::default() {
            return if state.is_closed { Next::Closed } else { Next::Nothing };
        }
        Next::Events(std::mem::take(&mut state.events), std::mem::take(&mut state.foreign))
    }

    /// False: the inbox is full.
    fn push(&self, heard: Heard, bytes: usize) -> bool {
        let mut state = lock(&self.state);
        state.bytes += bytes;
        let fits = state.bytes <= MOST_INBOX;
        match heard {
            Heard::Event(event) if fits => state.events.push_back(event),
            Heard::Event(_) | Heard::Unknown => {}
            Heard::OtherVersion => state.foreign.other_version += 1,
            Heard::Garbage => state.foreign.garbage += 1,
        }
        drop(state);
        self.waker.wake();
        fits
    }

    fn close(&self) {
        lock(&self.state).is_closed = true;
        self.waker.wake();
    }
}

/// Closes the inbox when the driver does not want it any more.
pub(super) struct Subscription {
    pub(super) inbox: Arc<Inbox>,
    stop: Arc<AtomicWaker>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inbox.close();
        self.stop.wake();
    }
}

/// Both connections of a node's life.
pub(super) struct Session {
    commands: MultiplexedConnection,
    pub(super) subscription: Subscription,
    digest: Arc<str>,
    /// Its number, among those of this process.
    number: u64,
}

/// A failure, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure(pub(super) String);

const WANTS_PASSWORD: &str = "Redis wants a password: --redis-password-file";

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self(match error.kind() {
            ErrorKind::AuthenticationFailed => "Redis refuses the user or the password".into(),
            _ if error.code() == Some("NOPERM") => {
                "Redis's ACL does not allow what callbin needs (docs/redis.md)".into()
            }
            _ if error.code() == Some("NOAUTH") => WANTS_PASSWORD.into(),
            _ if error.code() == Some("READONLY") => "this Redis is a read-only replica".into(),
            _ if error.code() == Some("OOM") => "Redis has no memory left".into(),
            _ => error.to_string(),
        })
    }
}

/// Connects to the server of this URL, and subscribes the inbox of a node's life.
pub(super) async fn connect(
    url: String,
    settings: &Settings,
    node: NodeId,
    number: u64,
) -> Result<Session, Failure> {
    let (mut commands, client) = commands(&url, settings).await?;
    let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut commands).await?;
    let subscribing = subscribe(&client, settings, node);
    let late = || Failure("Redis does not answer the subscription in time".into());
    let subscription = runtime::timeout(settings.lease, subscribing).await.ok_or_else(late)??;
    Ok(Session { commands, subscription, digest: digest.into(), number })
}

/// Connects for commands to the server of this URL.
pub(super) async fn commands(
    url: &str,
    settings: &Settings,
) -> Result<(MultiplexedConnection, Client), Failure> {
    let password = settings.password.as_deref();
    let client = match sentinel(url) {
        Some((scheme, rest)) => client(&master(scheme, rest, settings).await?, password, settings)?,
        None => client(url, password, settings)?,
    };
    // A slow Redis is better than none. The lease decides.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.lease))
        .set_response_timeout(Some(settings.lease.saturating_mul(2)));
    let mut commands = client.get_multiplexed_async_connection_with_config(&config).await?;
    check_server(&mut commands).await?;
    Ok((commands, client))
}

fn client(url: &str, password: Option<&str>, settings: &Settings) -> Result<Client, Failure> {
    let info = url.into_connection_info()?;
    let mut redis = info.redis_settings().clone().set_skip_set_lib_name();
    if let Some(password) = password {
        redis = redis.set_password(password);
    }
    let info = info.set_redis_settings(redis);
    let root_cert = settings.authorities.as_ref().map(|text| text.clone().into_bytes());
    if root_cert.is_some() && url.starts_with("rediss://") {
        return Ok(Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })?);
    }
    Ok(Client::open(info)?)
}

/// The URL of the master that a Sentinel names: `[user@]host:port/master-name`.
async fn master(scheme: &str, sentinel: &str, settings: &Settings) -> Result<String, Failure> {
    let (host, name) = sentinel.split_once('/').unwrap_or((sentinel, ""));
    let (user, host) = host.rsplit_once('@').map_or((None, host), |(user, host)| (Some(user), host));
    let url = format!("{scheme}://{host}");
    // Many Sentinels have no password, and refuse one.
    let mut answer = ask_sentinel(&url, name, None, settings).await;
    if settings.password.is_some() && answer.as_ref().is_err_and(wants_password) {
        answer = ask_sentinel(&url, name, settings.password.as_deref(), settings).await;
    }
    let (host, port) = answer?.ok_or_else(|| Failure(format!("the Sentinel knows no master \"{name}\"")))?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    Ok(format!("{scheme}://{user}{host}:{port}"))
}

async fn ask_sentinel(
    url: &str,
    name: &str,
    password: Option<&str>,
    settings: &Settings,
) -> Result<Option<(String, u16)>, Failure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.lease))
        .set_response_timeout(Some(settings.lease));
    let client = client(url, password, settings)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(name);
    Ok(question.query_async(&mut connection).await?)
}

fn wants_password(failure: &Failure) -> bool {
    failure.0 == WANTS_PASSWORD
}

async fn check_server(commands: &mut MultiplexedConnection) -> Result<(), Failure> {
    let info: String = redis::cmd("INFO").query_async(commands).await?;
    check_info(&info).map_err(Failure)
}

/// Whether this is a Redis that can have a cluster of nodes.
fn check_info(info: &str) -> Result<(), String> {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let version = value("redis_version").unwrap_or_default();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < OLDEST {
        return Err(format!("Redis {version} is too old: {OLDEST} or later is needed"));
    }
    if value("cluster_enabled") == Some("1") {
        return Err("this is a Redis Cluster: one Redis has to have all keys (docs/redis.md)".into());
    }
    if value("role") == Some("slave") {
        return Err("this Redis is a read-only replica".into());
    }
    Ok(())
}

async fn subscribe(client: &Client, settings: &Settings, node: NodeId) -> Result<Subscription, Failure> {
    let (mut sink, stream) = client.get_async_pubsub().await?.split();
    sink.subscribe(wire::channel(&node)).await?;
    let (inbox, stop) = (Arc::new(Inbox::default()), Arc::new(AtomicWaker::new()));
    let reader = Reader {
        inbox: inbox.clone(),
        stop: stop.clone(),
        node,
        secret: settings.secret.clone(),
        lease: settings.lease,
    };
    runtime::spawn(async move {
        reader.run(sink, stream).await;
        reader.inbox.close();
    });
    Ok(Subscription { inbox, stop })
}

/// Moves events from the crate's queue, which has no bound, into the inbox.
struct Reader {
    inbox: Arc<Inbox>,
    stop: Arc<AtomicWaker>,
    node: NodeId,
    secret: Secret,
    lease: Duration,
}

impl Reader {
    async fn run(&self, mut sink: PubSubSink, mut stream: PubSubStream) {
        loop {
            let pause = runtime::sleep(self.lease / 3);
            let stopped = std::future::poll_fn(|cx| {
                self.stop.register(cx.waker());
                match lock(&self.inbox.state).is_closed {
                    true => std::task::Poll::Ready(None),
                    false => stream.poll_next_unpin(cx),
                }
            });
            pin_mut!(pause);
            match select(stopped, pause).await {
                futures_util::future::Either::Left((Some(message), _)) => {
                    let bytes = message.get_payload_bytes();
                    let event = wire::event(&self.node, &self.secret, bytes);
                    if !self.inbox.push(event, bytes.len() + 128) {
                        return;
                    }
                }
                futures_util::future::Either::Left((None, _)) => return,
                // Nothing came for a while: is the connection still there?
                futures_util::future::Either::Right(_) => {
                    if !matches!(runtime::timeout(self.lease, sink.ping::<Value>()).await, Some(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }
}

impl Session {
    /// Sends commands in one write. The answers come in the same order.
    pub(super) fn send(
        &self,
        settings: &Settings,
        me: &NodeId,
        commands: Vec<Command>,
    ) -> futures_util::future::BoxFuture<'static, Result<Vec<Reply>, Failure>> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        let (me, lease) = (me.to_string(), settings.lease.as_millis().to_string());
        for command in &commands {
            match command {
                Command::Publish { to, batch } => {
                    let bytes = wire::encode(to, &settings.secret, batch);
                    pipeline.cmd("PUBLISH").arg(wire::channel(to)).arg(bytes);
                }
                command => {
                    let Some((name, words)) = wire::arguments(command) else { continue };
                    let cmd = pipeline.cmd("EVALSHA").arg(&*self.digest).arg(0);
                    cmd.arg(name)
                        .arg(&me)
                        .arg(&lease)
                        .arg(settings.secret.digest())
                        .arg(self.number)
                        .arg(words);
                }
            }
        }
        let (mut connection, count) = (self.commands.clone(), commands.len());
        async move {
            let values = connection.req_packed_commands(&pipeline, 0, count).await?;
            values.into_iter().map(reply).collect()
        }
        .boxed()
    }
}

fn reply(value: Value) -> Result<Reply, Failure> {
    let value = match value.extract_error() {
        Ok(value) => value,
        Err(error) => return refused(error),
    };
    if let Value::Int(receivers) = value {
        return Ok(Reply::Receivers(receivers.unsigned_abs()));
    }
    let words: Vec<String> = redis::from_redis_value(value).map_err(|error| Failure(error.to_string()))?;
    wire::reply(&words).ok_or_else(|| Failure("Redis has another version of callbin's script".into()))
}

/// An error that concerns one command is an answer. All others are the end of the connection.
fn refused(error: RedisError) -> Result<Reply, Failure> {
    let text = error.to_string();
    // Redis 6 has the script's error in one of its own.
    let is = |code: &str| error.code() == Some(code) || text.contains(&format!("-{code} "));
    if is("OOM") {
        return Ok(Reply::NoMemory);
    }
    let is_of_command = matches!(error.code(), Some("ERR" | "WRONGTYPE"));
    if is_of_command && !is("READONLY") { Ok(Reply::Failed(text.into())) } else { Err(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_the_nodes_is_named() {
        let info = |version: &str, role: &str, cluster: &str| {
            format!("# Server\r\nredis_version:{version}\r\nrole:{role}\r\ncluster_enabled:{cluster}\r\n")
        };
        for version in ["6.0.16", "7.0.15", "10.1.0"] {
            assert_eq!(check_info(&info(version, "master", "0")), Ok(()));
        }
        for (info, reason) in [
            (info("5.0.14", "master", "0"), "Redis 5.0.14 is too old"),
            (String::new(), "Redis  is too old"),
            (info("7.0.15", "master", "1"), "this is a Redis Cluster"),
            (info("7.0.15", "slave", "0"), "this Redis is a read-only replica"),
        ] {
            let error = check_info(&info).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
