//! Several servers as one, on Redis (`--redis`).
//!
//! [`node`] decides, and is pure, like [`link`] (numbered messages between nodes) and the model of the script in
//! [`store`]. `driver` is the task around it: it brings the events of connections, of the inbox and of Redis to the node,
//! and the node's outputs to the switchboard. [`client`] has the connections to Redis, `stand_in` the peers of other nodes
//! that talk with ours. ARCHITECTURE.md has the protocol.

pub mod bytes;
pub mod client;
mod driver;
mod everywhere;
mod held;
pub mod link;
pub mod node;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod sim;
mod stand_in;
pub mod store;
pub mod talk;
pub mod wire;

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    mem,
    net::Ipv4Addr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_tungstenite::tungstenite;
use callbin_protocol::{MAX_LIST_LEN, PeerId, RoomId};
use futures_util::task::AtomicWaker;
use serde_json::Value;

pub use self::driver::run;
use self::{
    client::Settings,
    link::Body,
    node::{Ask, Shared, Ticket, Wish},
    store::Own,
    talk::{Answer, Question, What},
};
use crate::{
    access::{Ability, Grant, webhook::Verdict},
    connection::{Asking, Presence},
    dialect::{Dialect, text},
    hub::{Card, ConnId, Event, FarMessage, NodeName, Only, Plan, Request, Use},
};

/// The bytes that may wait for other nodes before calls with them are read more slowly.
const CONGESTED: usize = 1 << 20;

/// What the driver gets from the rest of the server, in order.
#[derive(Debug)]
pub enum Input {
    /// A connection wants something.
    Wish(Ticket, Box<Wish>, Box<Pending>),
    /// A question to the node that has a peer.
    Inquire(Ticket, Box<Ask>, Arc<Inquiry>),
    /// It does not wait any more.
    Withdraw(Ticket),
    /// A connection has given up a uid.
    Freed(PeerId, ConnId),
    /// The hub has registered a uid by itself.
    Took(PeerId, ConnId, Option<Arc<str>>),
    /// Whether media nodes are attached.
    Media(bool),
    /// Whether a connection watches who comes and goes.
    Watches(bool),
    /// A uid can be called from now on, or no longer: other nodes watch.
    Listed(PeerId, Box<Card>, bool),
    /// The hub does not know the members of this room elsewhere.
    Lacks(RoomId),
    /// A connection has left its room.
    Left(RoomId, PeerId, ConnId),
    /// A message for members of a room on another node.
    Far(NodeName, Box<FarMessage>),
    /// Something for the other node in a call.
    Say(Shared, Body),
    /// A call is over.
    End(Shared),
    /// The node leaves the cluster.
    Quit,
}

/// A request that waits for other nodes.
#[derive(Debug)]
pub struct Pending {
    conn: ConnId,
    request: Request,
    frame: Option<tungstenite::Message>,
    /// The uid that is registered, and the identity of the connection.
    claims: Option<(PeerId, Option<Arc<str>>)>,
    settled: Arc<Settled>,
}

/// A question that no connection of the hub asks.
#[derive(Debug, Default)]
pub struct Inquiry {
    answer: Mutex<Option<Body>>,
    settled: Arc<Settled>,
}

impl Inquiry {
    fn settle(&self, answer: Option<Body>) {
        *lock(&self.answer) = answer;
        self.settled.set();
    }
}

/// Whether a request is carried out.
#[derive(Debug, Default)]
struct Settled {
    is_done: AtomicBool,
    waker: AtomicWaker,
}

impl Settled {
    fn set(&self) {
        self.is_done.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// What operators see of the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether this node takes part.
    pub is_inside: bool,
    /// Whether Redis has no memory for anything new.
    pub is_full: bool,
    /// Nodes that take part.
    pub nodes: usize,
    /// Links to other nodes.
    pub links: usize,
    /// Bytes that wait for other nodes.
    pub queued: usize,
    /// Links that lost messages, so far.
    pub lost_links: u64,
    /// Connections to Redis that were made, so far.
    pub connects: u64,
    /// The time that Redis took for the last commands, in microseconds.
    pub lag: u64,
}

/// The rest of the server's side of the cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    intake: Mutex<VecDeque<Input>>,
    /// The driver.
    waker: AtomicWaker,
    last_ticket: AtomicU64,
    /// Bytes that wait for other nodes.
    queued: AtomicUsize,
    /// Tasks of stand-ins that wait for this to shrink.
    waiting: Mutex<Vec<Waker>>,
    status: Mutex<Status>,
    has_quit: AtomicBool,
}

impl Cluster {
    /// A node that does not take part yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            intake: Mutex::default(),
            waker: AtomicWaker::new(),
            last_ticket: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            waiting: Mutex::default(),
            status: Mutex::default(),
            has_quit: AtomicBool::new(false),
        }
    }

    /// What operators see.
    pub fn status(&self) -> Status {
        *lock(&self.status)
    }

    /// What keeps it from taking part, for `/readyz`.
    pub fn trouble(&self) -> Option<&'static str> {
        match self.status() {
            Status { is_inside: false, .. } => Some("without Redis"),
            Status { is_full: true, .. } => Some("Redis has no memory left"),
            _ => None,
        }
    }

    /// Hands the driver an input. The number of inputs is bounded by what connections can have: each one waits for one
    /// request. A stand-in is not read, and a message to members of a room elsewhere waits, while more than 1 MiB is queued
    /// for other nodes.
    pub fn push(&self, input: Input) {
        let bytes = match &input {
            Input::Say(_, body) => body.len(),
            Input::Far(_, message) => message.payload.len(),
            _ => 0,
        };
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.intake).push_back(input);
        self.waker.wake();
    }

    /// Asks the driver to leave the cluster; see [`Cluster::has_quit`].
    pub fn quit(&self) {
        self.push(Input::Quit);
    }

    /// Whether [`Cluster::quit`] is done.
    pub fn has_quit(&self) -> bool {
        self.has_quit.load(Ordering::Relaxed)
    }

    /// Ready when little waits for other nodes.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.queued.load(Ordering::Relaxed) < CONGESTED {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.waiting);
        // A connection is polled again for each notice that it writes.
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        drop(waiting);
        // It may have shrunk meanwhile.
        match self.queued.load(Ordering::Relaxed) < CONGESTED {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn set_status(&self, status: Status) {
        self.queued.store(status.queued, Ordering::Relaxed);
        *lock(&self.status) = status;
        if status.queued < CONGESTED / 2 {
            mem::take(&mut *lock(&self.waiting)).into_iter().for_each(Waker::wake);
        }
    }

    /// Lets other nodes take part in a request. `None`: they have nothing to do with it. Otherwise it is carried out or
    /// refused when the future is ready ([`Verdict::Done`]), or has to be carried out then ([`Verdict::Allowed`]).
    pub fn share(
        self: &Arc<Self>,
        presence: &Presence,
        request: &Request,
        frame: Option<&tungstenite::Message>,
    ) -> Option<Asking> {
        let Presence { conn, grant, app, .. } = presence;
        if self.queued.load(Ordering::Relaxed) >= CONGESTED && app.switchboard.reaches_far(*conn, request) {
            let cluster = self.clone();
            let waiting = poll_fn(move |cx| cluster.poll_room(cx).map(|()| Verdict::Allowed(Vec::new())));
            return Some(Box::pin(waiting));
        }
        let plan = app.switchboard.plan(*conn, request)?;
        let identity = grant.identity.clone();
        let mut claims = None;
        let wish = match plan {
            Plan::Refuse(refusal) => {
                let (about, key) = request.about();
                app.switchboard.handle(*conn, Event::Denied { about, key, refusal });
                return Some(Box::pin(async { Verdict::Done }));
            }
            Plan::Register(uid) => {
                claims = Some((uid.clone(), identity.clone()));
                Wish::Register { uid, conn: *conn, identity }
            }
            Plan::Meet { from, uid } => {
                let ask =
                    Ask { from, to: uid.clone(), is_exclusive: false, body: question(presence, request)? };
                let is_only_registered = matches!(request, Request::Meet { only: Some(Only::Register), .. });
                claims = Some((uid.clone(), identity.clone()));
                match is_only_registered {
                    true => Wish::Register { uid, conn: *conn, identity },
                    false => Wish::Meet { ask, conn: *conn, identity },
                }
            }
            Plan::Ask { from, to, is_exclusive } => {
                let body = question(presence, request)?;
                if is_exclusive {
                    app.switchboard.handle(*conn, Event::Asks);
                }
                Wish::Call(Ask { from, to, is_exclusive, body })
            }
            Plan::Publish { from, to } => {
                Wish::Publish(Ask { from, to, is_exclusive: false, body: question(presence, request)? })
            }
            Plan::Join(room, uid) => {
                let dialect = app.switchboard.dialect(*conn).unwrap_or(Dialect::Text);
                let own = Own { uid, conn: *conn, dialect };
                let (most, bytes) = (app.switchboard.max_members(), MAX_LIST_LEN - text::list_len(0));
                Wish::Join { room, own, most, bytes }
            }
            Plan::Find(uid) => Wish::Find(uid),
            Plan::List => Wish::List,
        };
        let ticket = self.next_ticket();
        let settled = Arc::new(Settled::default());
        let (request, frame) = (request.clone(), frame.cloned());
        let pending = Pending { conn: *conn, request, frame, claims, settled: settled.clone() };
        self.push(Input::Wish(ticket, Box::new(wish), Box::new(pending)));
        Some(Box::pin(Waiting { ticket, settled, cluster: self.clone() }))
    }

    fn next_ticket(&self) -> Ticket {
        Ticket(self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The ICE servers that the webhook has added for a peer of another node. None without an answer, or if the grant has
    /// another identity.
    pub async fn ice_servers(self: &Arc<Self>, uid: &PeerId, grant: &Grant) -> Vec<Value> {
        let question = Question {
            what: What::IceServers,
            dialect: Dialect::Text,
            grant: Grant { identity: grant.identity.clone(), allow: Some(Vec::new()), ..Grant::default() },
            address: Ipv4Addr::UNSPECIFIED.into(),
        };
        match self.inquire(uid, question.encode()).await.and_then(|body| Answer::decode(&body)) {
            Some(Answer::IceServers(text)) => serde_json::from_str(&text).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    async fn inquire(self: &Arc<Self>, uid: &PeerId, body: Body) -> Option<Body> {
        let (ticket, inquiry) = (self.next_ticket(), Arc::new(Inquiry::default()));
        let ask = Ask { from: uid.clone(), to: uid.clone(), is_exclusive: false, body };
        self.push(Input::Inquire(ticket, Box::new(ask), inquiry.clone()));
        Waiting { ticket, settled: inquiry.settled.clone(), cluster: self.clone() }.await;
        lock(&inquiry.answer).take()
    }
}

/// The request, as another node gets it.
fn question(presence: &Presence, request: &Request) -> Option<Body> {
    // The webhook may have allowed a stream or a peer only.
    let (what, name) = match request {
        Request::Call { start, media: Some(media), only: Some(Only::Stream), to, .. } => {
            (What::Stream(*start, *media), to)
        }
        Request::Call { start, media, only, to, .. } => {
            (What::Call(*start, media.filter(|_| only.is_none())), to)
        }
        Request::Meet { start, card, only: Some(Only::Stream), uid, .. } => {
            (What::Stream(*start, card.flow.media()?), uid)
        }
        Request::Meet { start, card, only, uid, .. } => {
            (What::Meet { start: *start, card: card.clone(), or_stream: only.is_none() }, uid)
        }
        Request::Find { uid, .. } => (What::Find, uid),
        _ => return None,
    };
    let Presence { conn, grant, app, address, .. } = presence;
    let dialect = app.switchboard.dialect(*conn)?;
    let may = |ability: &Ability| match ability {
        Ability::Call | Ability::Answer => grant.allows(*ability),
        Ability::Publish => grant.permits(Use::Publish, name),
        Ability::Play => grant.permits(Use::Play, name),
    };
    let allow = [Ability::Call, Ability::Answer, Ability::Publish, Ability::Play].into_iter().filter(may);
    let grant = Grant { identity: grant.identity.clone(), allow: Some(allow.collect()), ..Grant::default() };
    Some(Question { what, dialect, grant, address: address.ip() }.encode())
}

/// Waits for a request to be carried out. Dropping it withdraws the request.
struct Waiting {
    ticket: Ticket,
    settled: Arc<Settled>,
    cluster: Arc<Cluster>,
}

impl Future for Waiting {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        self.settled.waker.register(cx.waker());
        match self.settled.is_done.load(Ordering::Acquire) {
            true => Poll::Ready(Verdict::Done),
            false => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.settled.is_done.load(Ordering::Acquire) {
            self.cluster.push(Input::Withdraw(self.ticket));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; if something did, the state would still be consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
