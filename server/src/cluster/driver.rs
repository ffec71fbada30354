//! The task of a node: brings inputs to the [`Node`], its commands to Redis, and its outputs to the switchboard.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    hash::{BuildHasher, RandomState},
    mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use callbin_protocol::PeerId;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tracing::{info, warn};

use super::{
    Cluster, Input, Inquiry, Pending, Status,
    client::{self, Failure, Foreign, Next, Session},
    lock,
    node::{Ask, Denial, Node, Output, Shared, Ticket, Wish},
    stand_in::{First, StandIn},
    store::{Member, NodeId, Reply},
    talk::{self, Answer, Begun, Part, Question, What},
};
use crate::{
    access::Grant,
    app::App,
    hub::{Event, FarMember, Found, Key, Notice, Only, Reached, Refusal, Request},
    runtime::Alarm,
};

/// The most commands in one write, and about the most bytes: renewals must not wait behind many.
const FLIGHT: usize = 512;
const FLIGHT_BYTES: usize = 4 << 20;

/// The pauses between attempts to connect.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Rounds of work before other tasks get their turn.
const ROUNDS: usize = 16;

/// Runs a node. Never returns.
pub async fn run(cluster: Arc<Cluster>, app: Arc<App>) {
    let mut driver = Driver::new(cluster, app);
    poll_fn(|cx| driver.poll(cx)).await
}

/// The connection to Redis.
enum Store {
    /// The time of the next attempt.
    Pausing(Instant),
    Connecting(BoxFuture<'static, Result<Session, Failure>>),
    Connected(Box<Session>),
}

struct Driver {
    cluster: Arc<Cluster>,
    app: Arc<App>,
    node: Node,
    start: Instant,
    alarm: Alarm,
    store: Store,
    /// The commands under way.
    flight: Option<BoxFuture<'static, Result<Vec<Reply>, Failure>>>,
    sent_at: Instant,
    pause: Duration,
    /// The last failure that was logged.
    failure: Option<String>,
    attempts: usize,
    connects: u64,
    lag: Duration,
    /// Messages that nobody here can read, since the last warning.
    foreign: Foreign,
    warned_at: Option<Instant>,
    pending: HashMap<Ticket, Pending>,
    inquiries: HashMap<Ticket, Arc<Inquiry>>,
    stand_ins: HashMap<Shared, StandIn>,
    is_quitting: bool,
    was_inside: bool,
    /// Other nodes were told of owners here.
    has_heavy_owners: bool,
}

impl Driver {
    fn new(cluster: Arc<Cluster>, app: Arc<App>) -> Self {
        let settings = &cluster.settings;
        let me = NodeId { name: settings.name.clone(), life: RandomState::new().hash_one("life") };
        let node = Node::new(me, settings.lease, settings.is_local_without);
        let now = Instant::now();
        Self {
            alarm: Alarm::after(Duration::ZERO),
            node,
            // Time zero is before everything.
            start: now,
            store: Store::Pausing(now),
            flight: None,
            sent_at: now,
            pause: SHORTEST_PAUSE,
            failure: None,
            attempts: 0,
            connects: 0,
            lag: Duration::ZERO,
            foreign: Foreign::default(),
            warned_at: None,
            pending: HashMap::new(),
            inquiries: HashMap::new(),
            stand_ins: HashMap::new(),
            is_quitting: false,
            was_inside: false,
            has_heavy_owners: false,
            cluster,
            app,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.cluster.waker.register(cx.waker());
        for _ in 0..ROUNDS {
            self.with_node(Node::look);
            let mut is_busy = self.poll_alarm(cx);
            is_busy |= self.take_inputs();
            is_busy |= self.poll_inbox(cx);
            is_busy |= self.poll_store(cx);
            is_busy |= self.poll_flight(cx);
            self.report();
            if !is_busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        if Pin::new(&mut self.alarm).poll(cx).is_pending() {
            return false;
        }
        self.alarm.set_after(self.node.interval().min(SHORTEST_PAUSE));
        self.with_node(|node, now, out| node.tick(now, out));
        true
    }

    fn with_node(&mut self, change: impl FnOnce(&mut Node, Duration, &mut Vec<Output>)) {
        let (now, mut out) = (self.now(), Vec::new());
        change(&mut self.node, now, &mut out);
        // `/readyz` must not be older than the end of a call.
        let is_inside = self.node.is_inside(now);
        if self.was_inside != is_inside {
            self.was_inside = is_inside;
            self.report();
        }
        out.into_iter().for_each(|output| self.apply(output));
    }

    fn take_inputs(&mut self) -> bool {
        let inputs = mem::take(&mut *lock(&self.cluster.intake));
        let is_busy = !inputs.is_empty();
        inputs.into_iter().for_each(|input| self.take_input(input));
        is_busy
    }

    fn take_input(&mut self, input: Input) {
        match input {
            Input::Wish(ticket, wish, pending) => {
                self.pending.insert(ticket, *pending);
                self.with_node(|node, now, out| node.wish(now, ticket, *wish, out));
            }
            Input::Inquire(ticket, ask, inquiry) => {
                self.inquiries.insert(ticket, inquiry);
                self.with_node(|node, now, out| node.wish(now, ticket, Wish::Call(*ask), out));
            }
            Input::Withdraw(ticket) => {
                self.inquiries.remove(&ticket);
                self.pending.remove(&ticket);
                self.node.withdraw(ticket);
            }
            Input::Freed(uid, conn) => self.node.freed(uid, conn),
            Input::Took(uid, conn, identity) => self.node.took(uid, conn, identity),
            Input::Media(has_media) => self.node.set_media(has_media),
            Input::Watches(watches) => self.with_node(|node, _, out| node.set_watches(watches, out)),
            Input::Listed(uid, card, is_there) => {
                self.node.tell_watchers(&talk::encode_listed(&uid, &card, is_there));
            }
            Input::Lacks(room) => self.node.list_members(&room),
            Input::Left(room, uid, conn) => self.node.left(room, uid, conn),
            Input::Far(node, message) => {
                if let Some(node) = NodeId::parse(&node) {
                    let body = talk::encode_far(&message);
                    self.node.to_room(&node, message.room, body);
                }
            }
            Input::Say(shared, body) => drop(self.node.item(&shared, body)),
            Input::End(shared) => {
                self.stand_ins.remove(&shared);
                self.node.end(&shared);
            }
            Input::Quit => {
                self.is_quitting = true;
                self.node.quit();
            }
        }
    }

    fn poll_inbox(&mut self, cx: &mut Context<'_>) -> bool {
        let Store::Connected(session) = &self.store else { return false };
        match session.subscription.inbox.take(cx.waker()) {
            Next::Nothing => false,
            Next::Closed => {
                self.lose(Failure("the connection to Redis is lost".into()));
                true
            }
            Next::Events(events, foreign) => {
                self.foreign.garbage += foreign.garbage;
                self.foreign.other_version += foreign.other_version;
                self.warn_of_foreign();
                self.hear(events);
                true
            }
        }
    }

    /// Warns at most once per lease: any client of Redis that may publish could fill the log otherwise.
    fn warn_of_foreign(&mut self) {
        let is_due = self.warned_at.is_none_or(|at| at.elapsed() >= self.cluster.settings.lease);
        if !is_due || self.foreign == Foreign::default() {
            return;
        }
        self.warned_at = Some(Instant::now());
        let Foreign { garbage, other_version } = mem::take(&mut self.foreign);
        if garbage > 0 {
            warn!(garbage, "messages in this node's inbox that are not from a node of this cluster");
        }
        if other_version > 0 {
            warn!(
                other_version,
                "messages of a node with another version of the link protocol: no calls with it"
            );
        }
    }

    fn hear(&mut self, events: VecDeque<super::store::Event>) {
        for event in events {
            self.with_node(|node, now, out| node.heard(now, event, out));
        }
    }

    fn poll_store(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.store {
            Store::Pausing(at) if *at <= Instant::now() => {
                let settings = self.cluster.settings.clone();
                let urls = &settings.urls;
                let Some(url) = urls.get(self.attempts % urls.len().max(1)).cloned() else { return false };
                self.attempts += 1;
                let node = self.node.id().clone();
                let number = self.attempts as u64;
                let connecting = async move { client::connect(url, &settings, node, number).await };
                self.store = Store::Connecting(Box::pin(connecting));
                true
            }
            // The alarm wakes it.
            Store::Pausing(_) | Store::Connected(_) => false,
            Store::Connecting(connecting) => match connecting.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(session)) => {
                    self.store = Store::Connected(Box::new(session));
                    self.connects += 1;
                    self.with_node(|node, now, out| node.connected(now, out));
                    true
                }
                Poll::Ready(Err(failure)) => {
                    self.fail(&failure);
                    true
                }
            },
        }
    }

    fn poll_flight(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(flight) = &mut self.flight {
            let Poll::Ready(replies) = flight.as_mut().poll(cx) else { return false };
            self.flight = None;
            self.lag = self.sent_at.elapsed();
            match replies {
                Err(failure) => self.lose(failure),
                Ok(replies) => {
                    let life = self.node.id().clone();
                    for reply in replies {
                        // The rest is about the old life.
                        if *self.node.id() != life {
                            break;
                        }
                        self.with_node(|node, now, out| node.replied(now, reply, out));
                    }
                }
            }
            return true;
        }
        let Store::Connected(session) = &self.store else { return false };
        let commands = self.node.take(self.start.elapsed(), FLIGHT, FLIGHT_BYTES);
        if commands.is_empty() {
            if self.is_quitting && self.node.is_done() {
                self.cluster.has_quit.store(true, Ordering::Relaxed);
            }
            return false;
        }
        self.sent_at = Instant::now();
        self.flight = Some(session.send(&self.cluster.settings, self.node.id(), commands));
        true
    }

    /// The connection is of no use any more.
    fn lose(&mut self, failure: Failure) {
        self.flight = None;
        self.fail(&failure);
        self.with_node(|node, now, out| node.disconnected(now, out));
    }

    fn fail(&mut self, failure: &Failure) {
        if self.failure.as_ref() != Some(&failure.0) {
            warn!(reason = %failure.0, "no connection to Redis");
            self.failure = Some(failure.0.clone());
        }
        self.store = Store::Pausing(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE).min(self.cluster.settings.lease);
    }

    fn report(&self) {
        let (nodes, links, lost_links) = self.node.counts();
        self.cluster.set_status(Status {
            is_inside: self.node.is_inside(self.now()),
            is_full: self.node.is_full(),
            nodes,
            links,
            queued: self.node.queued(),
            lost_links,
            connects: self.connects,
            lag: self.lag.as_micros().try_into().unwrap_or(u64::MAX),
        });
    }

    /// False: it is the answer to an inquiry.
    fn is_for_hub(&mut self, output: &Output) -> bool {
        let (ticket, answer) = match output {
            Output::Answer(ticket, body) => (ticket, Some(body.clone())),
            // The peer is here now, or nowhere.
            Output::CarryOut(ticket) | Output::Deny(ticket, _) | Output::Dismiss(ticket) => (ticket, None),
            _ => return true,
        };
        let inquiry = self.inquiries.remove(ticket);
        if let Some(inquiry) = &inquiry {
            inquiry.settle(answer);
        }
        inquiry.is_none()
    }

    fn apply(&mut self, output: Output) {
        if !self.is_for_hub(&output) {
            return;
        }
        let app = self.app.clone();
        let switchboard = &app.switchboard;
        match output {
            Output::CarryOut(ticket) => self.carry_out(ticket),
            Output::Deny(ticket, denial) => self.deny(ticket, denial),
            Output::Dismiss(ticket) => drop(self.settle(ticket)),
            Output::Answer(ticket, body) => self.answer(ticket, &body),
            Output::Reached(ticket, shared, body) => self.reached(ticket, shared, &body),
            Output::Enter(ticket, others) => self.enter(ticket, others),
            Output::Visit(shared, ask) => self.visit(shared, ask),
            Output::Item(shared, body) => {
                if let (Some(stand_in), Some(part)) = (self.stand_ins.get(&shared), Part::decode(&body)) {
                    stand_in.hear(part, &app);
                }
            }
            Output::Sent(shared, bytes) => {
                if let Some(stand_in) = self.stand_ins.get(&shared) {
                    stand_in.sent(bytes);
                }
            }
            Output::Ended(shared) => {
                if let Some(stand_in) = self.stand_ins.remove(&shared) {
                    stand_in.close(&app);
                }
            }
            Output::Replace(uid, conn) => switchboard.replace(&uid, conn),
            Output::Probe(conn) => switchboard.probe(conn),
            Output::Kick(uid, conn) => switchboard.disconnect_at(&uid, conn),
            Output::Close(room) => {
                switchboard.close_room(room.as_str());
            }
            Output::Joined(room, member) => {
                switchboard.far(|hub, effects| hub.join_far(&room, far(member), effects));
            }
            Output::Left(room, uid) => switchboard.far(|hub, effects| hub.leave_far(&room, &uid, effects)),
            Output::Members(room, members, whole) => {
                let members = members.into_iter().map(far).collect();
                switchboard.far(|hub, effects| hub.set_far_members(&room, members, whole, effects));
            }
            Output::Room(_, room, body) => {
                if let Some(message) = talk::decode_far(room, &body) {
                    switchboard.far(|hub, effects| hub.hear_far(message, effects));
                }
            }
            Output::Gone(node) => {
                info!(node = %node.name, "a node is gone");
                let node = node.to_string().into();
                switchboard.far(|hub, effects| hub.lose_far(Some(&node), effects));
            }
            Output::Alone => {
                warn!("the lease of this node is over: what it shared with other nodes has ended");
                switchboard.far(|hub, effects| hub.lose_far(None, effects));
            }
            Output::Again(node) => {
                warn!(node = %node.name, "messages between two nodes are lost: their calls are ended");
                let node = node.to_string().into();
                switchboard.far(|hub, effects| hub.renew_far(&node, effects));
            }
            Output::Reconnect => {
                self.flight = None;
                self.store = Store::Pausing(Instant::now());
            }
            Output::Entered => {
                info!(node = %self.node.id().name, "takes part in the cluster");
                (self.failure, self.pause) = (None, SHORTEST_PAUSE);
            }
            Output::FarMedia(has_media) => {
                switchboard.far(|hub, _| hub.set_far_media(has_media));
            }
            Output::Watched(is_watched) => switchboard.far(|hub, _| hub.set_watched(is_watched)),
            Output::WantsDirectory(node) => {
                let body = talk::encode_directory(&switchboard.directory());
                self.node.send_directory(&node, body);
            }
            Output::Directory(node, body) => {
                if let Some(peers) = talk::decode_directory(&body) {
                    switchboard.far(|hub, _| hub.set_far_directory(&node.to_string().into(), peers));
                }
            }
            Output::Listed(node, body) => {
                if let Some((uid, card, is_there)) = talk::decode_listed(&body) {
                    let node = node.to_string().into();
                    switchboard.far(|hub, _| hub.change_far_directory(&node, &uid, card, is_there));
                }
            }
            Output::Renewed => {
                let owners = switchboard.heavy_owners();
                let had_some = mem::replace(&mut self.has_heavy_owners, !owners.is_empty());
                if had_some || !owners.is_empty() {
                    self.node.tell_usage(&talk::encode_usage(&owners));
                }
            }
            Output::Usage(node, body) => {
                if let Some(owners) = talk::decode_usage(&body) {
                    switchboard.far(|hub, _| hub.set_far_usage(&node.to_string().into(), owners));
                }
            }
            Output::ForgetDirectories => switchboard.far(|hub, _| hub.forget_far_directories()),
            Output::Full(true) => {
                warn!("Redis has no memory left: what is new is refused, what is there goes on");
            }
            Output::Full(false) => info!("Redis has memory again"),
            Output::Trouble(reply) => self.trouble(&reply),
        }
    }

    fn trouble(&mut self, reply: &Reply) {
        let reason = match reply {
            Reply::NameTaken => "another node has this --node-name",
            Reply::WrongSecret => "the other nodes have another --cluster-secret-file",
            Reply::Failed(text) => text,
            _ => "Redis has another version of callbin's script",
        };
        if self.failure.as_deref() != Some(reason) {
            match self.node.is_inside(self.now()) {
                true => warn!(reason, "Redis cannot carry out a command"),
                false => warn!(node = %self.node.id().name, reason, "cannot take part in the cluster"),
            }
            self.failure = Some(reason.into());
        }
    }

    /// Ends the waiting of a request.
    fn settle(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        self.app.switchboard.handle(pending.conn, Event::Settled);
        pending.settled.set();
        Some(pending)
    }

    fn carry_out(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let Pending { conn, request, frame, claims, settled } = pending;
        let switchboard = &self.app.switchboard;
        switchboard.handle(conn, Event::Settled);
        let room = match &request {
            Request::Join(room) => Some(room.clone()),
            _ => None,
        };
        switchboard.handle(conn, Event::Asked { request, frame });
        if let Some((uid, identity)) = claims {
            match switchboard.holder(&uid) == Some(conn) {
                true => self.node.registered(uid, conn, identity),
                false => self.node.freed(uid, conn),
            }
        }
        if let Some(room) = room {
            self.leave_if_out(&room, conn);
        }
        settled.set();
    }

    /// The hub may have refused the join.
    fn leave_if_out(&mut self, room: &callbin_protocol::RoomId, conn: crate::hub::ConnId) {
        let switchboard = &self.app.switchboard;
        if !switchboard.is_in(conn, room)
            && let Some(uid) = switchboard.uid(conn)
        {
            self.node.left(room.clone(), uid, conn);
        }
    }

    fn deny(&mut self, ticket: Ticket, denial: Denial) {
        let Some(Pending { conn, request, .. }) = self.settle(ticket) else { return };
        let refusal = match (denial, &request) {
            (Denial::Taken, _) => Refusal::UidTaken,
            (Denial::Full, Request::Join(room)) => Refusal::RoomFull(room.to_string()),
            (Denial::Elsewhere, Request::Send { to: Some(to), .. }) => Refusal::PeerNotInRoom(to.to_string()),
            _ => Refusal::Unavailable,
        };
        let (about, key) = request.about();
        self.app.switchboard.handle(conn, Event::Denied { about, key, refusal });
    }

    fn answer(&mut self, ticket: Ticket, body: &[u8]) {
        let Some(Pending { conn, request, .. }) = self.settle(ticket) else { return };
        let (about, key) = request.about();
        let event = match (Answer::decode(body), request) {
            (Some(Answer::Found), Request::Find { uid, .. }) => {
                Event::Hears(Notice::Found(Box::new(Found { key, uid })))
            }
            (Some(Answer::Refused(refusal)), _) => Event::Denied { about, key, refusal },
            _ => Event::Denied { about, key, refusal: Refusal::Unavailable },
        };
        self.app.switchboard.handle(conn, event);
    }

    /// The callee's node has started the call.
    fn reached(&mut self, ticket: Ticket, shared: Shared, body: &[u8]) {
        let request = self.pending.get(&ticket).map(|pending| &pending.request);
        let names = match (request, Begun::decode(body)) {
            (Some(Request::Call { to, from, .. }), Some(begun)) => {
                Some((to.clone(), from.clone(), None, begun))
            }
            (Some(Request::Meet { uid, card, .. }), Some(begun)) => {
                let returns_as = begun.returns.then(|| Box::new(card.clone()));
                Some((uid.clone(), None, returns_as, begun))
            }
            _ => None,
        };
        // It may speak a dialect of a later version.
        let (Some((to, from, returns_as, begun)), Some(pending)) = (names, self.pending.remove(&ticket))
        else {
            self.node.end(&shared);
            return self.deny(ticket, Denial::Unavailable);
        };
        let Pending { conn, request, settled, .. } = pending;
        let (_, key) = request.about();
        let app = self.app.clone();
        let mut stand_in = StandIn::open(&app, to.clone(), Grant::default(), None, begun.dialect);
        let Some(from) = from.or_else(|| app.switchboard.name(conn)) else {
            stand_in.close(&app);
            return self.node.end(&shared);
        };
        let reached =
            Reached { key, from, to, stand_in: stand_in.conn(), is_asked: begun.is_asked, returns_as };
        app.switchboard.handle(conn, Event::Reached(Box::new(reached)));
        match stand_in.first() {
            First::Called(_) => self.serve(shared, stand_in),
            First::Notice(_) | First::Closed => {
                stand_in.close(&app);
                self.node.end(&shared);
            }
        }
        settled.set();
    }

    fn serve(&mut self, shared: Shared, stand_in: StandIn) {
        stand_in.serve(shared.clone(), &self.cluster, &self.app);
        self.stand_ins.insert(shared, stand_in);
    }

    fn enter(&mut self, ticket: Ticket, others: Option<Vec<Member>>) {
        let Some(Pending { conn, request, frame, settled, .. }) = self.pending.remove(&ticket) else {
            return;
        };
        let Request::Join(room) = request else { return };
        let others = others.map(|others| others.into_iter().map(far).collect());
        self.app.switchboard.handle(conn, Event::Enters { room: room.clone(), others, frame });
        self.leave_if_out(&room, conn);
        settled.set();
    }

    /// A peer of another node asks one of ours.
    fn visit(&mut self, shared: Shared, Ask { from, to, body, .. }: Ask) {
        let refuse =
            |node: &mut Node, refusal| node.answer(&shared, false, Answer::Refused(refusal).encode());
        let Some(question) = Question::decode(&body) else {
            return refuse(&mut self.node, Refusal::Unavailable);
        };
        let app = self.app.clone();
        let Question { what, dialect, grant, address } = question;
        if what == What::IceServers {
            let servers = Value::from(app.switchboard.ice_servers_of(&to, &grant));
            return self.node.answer(&shared, false, Answer::IceServers(servers.to_string()).encode());
        }
        let mut stand_in = StandIn::open(&app, from, grant, Some(address), dialect);
        let request = request(what, to.clone(), app.switchboard.has_stream(&to));
        app.switchboard.handle(stand_in.conn(), Event::Asked { request, frame: None });
        let answer = match stand_in.first() {
            First::Called(call) => {
                let returns = app.switchboard.take_return(stand_in.conn());
                let begun = Begun { dialect: call.dialect, is_asked: call.is_asked, returns };
                self.node.answer(&shared, true, begun.encode());
                return self.serve(shared, stand_in);
            }
            First::Notice(Notice::Refused(refused)) => Answer::Refused(refused.refusal),
            First::Notice(_) => Answer::Found,
            First::Closed => Answer::Refused(Refusal::Unavailable),
        };
        stand_in.close(&app);
        self.node.answer(&shared, false, answer.encode());
    }
}

/// The request of a stand-in.
fn request(what: What, to: PeerId, is_stream: bool) -> Request {
    let key = Key::default();
    let call =
        |to, start, media, only| Request::Call { key: Key::default(), to, from: None, start, media, only };
    match what {
        What::Call(start, media) => call(to, start, media, None),
        What::Stream(start, media) => call(to, start, Some(media), Some(Only::Stream)),
        What::Meet { start, card, or_stream: true } if is_stream && card.flow.media().is_some() => {
            call(to, start, card.flow.media(), Some(Only::Stream))
        }
        What::Meet { start, card, .. } => Request::Meet { key, uid: to, card, start, only: Some(Only::Peer) },
        What::Find => Request::Find { key, uid: to },
        // Answered without the hub.
        What::IceServers => Request::Unknown,
    }
}

fn far(member: Member) -> FarMember {
    let Member { uid, node, dialect } = member;
    FarMember { uid, node: node.to_string().into(), dialect }
}
