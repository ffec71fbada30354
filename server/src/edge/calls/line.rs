//! The connection of a call or a registration: its outbox is emptied by a task; requests look at what came.

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tracing::debug;

use super::Visitor;
use crate::{
    access::{Grant, owner::network, webhook::Verdict},
    close::CloseReason,
    connection::{LOOKUP, Presence},
    delivery::{
        outbox::{Item, Next},
        payload::Kind,
    },
    dialect::{Dialect, http::Client},
    hub::{Event, Notice, Refusal, Request},
    runtime::{self, Alarm},
};

/// The longest time without any request in an answered call of two HTTP clients. Media go on without requests, and neither
/// has a connection whose end would show that it is gone.
const LONGEST_SILENCE: Duration = Duration::from_secs(12 * 3600);

/// The most requests that wait for news of one line.
const MAX_POLLS: usize = 16;

/// The most wakers kept. Beyond this, all waiting requests look again.
const MAX_WAKERS: usize = 4 * MAX_POLLS;

/// The place of a call or of a registration at the switchboard.
pub struct Line {
    /// Its connection.
    pub presence: Presence,
    inner: Mutex<Inner>,
}

/// What is known of a line.
pub struct Inner {
    /// The state.
    pub client: Client,
    /// The id of the call, while there is one.
    pub call: Option<String>,
    /// Why the line is closed.
    pub closed: Option<CloseReason>,
    /// The permissions of the latest token with the same permissions: the line ends when that expires.
    grant: Arc<Grant>,
    wakers: Vec<Waker>,
    /// Requests that wait.
    polls: usize,
    /// The time of the last request.
    touched: Instant,
}

impl Line {
    pub(super) fn new(presence: Presence, client: Client, call: Option<String>) -> Self {
        let grant = presence.grant.clone();
        Self { presence, inner: Mutex::new(Inner::new(client, call, grant)) }
    }

    /// The client's dialect.
    pub fn dialect(&self) -> Dialect {
        self.lock().client.dialect()
    }

    /// Whether it is not closed.
    pub(super) fn is_open(&self) -> bool {
        self.lock().closed.is_none()
    }

    /// Whether it belongs to this client: to the token's subject, or without one to the address.
    pub(super) fn is_of(&self, visitor: &Visitor) -> bool {
        let Presence { grant, address, .. } = &self.presence;
        grant.identity == visitor.grant.identity
            && (grant.identity.is_some() || network(address.ip()) == network(visitor.address.ip()))
    }

    /// Takes note of a request's token.
    pub(super) fn renew(&self, grant: &Arc<Grant>) {
        let mut inner = self.lock();
        if inner.grant.is_extended_by(grant) {
            inner.grant = grant.clone();
        }
    }

    /// Empties the outbox until the line ends.
    pub(super) async fn run(self: Arc<Self>) {
        let reason = self.serve().await;
        let Presence { app, conn, .. } = &self.presence;
        debug!(conn = conn.0, %reason, "ends");
        let (call, uid) = {
            let mut inner = self.lock();
            inner.closed = Some(reason);
            let uid = match inner.client.opening() {
                Request::Register { uid, .. } => Some(uid.clone()),
                _ => None,
            };
            (inner.call.take(), uid)
        };
        // The hub frees the id first: the table lets the next client register it.
        self.presence.leave();
        app.calls.close(&self, call, uid.as_ref());
        if reason != CloseReason::PartnerLeft {
            app.metrics.count_close(reason);
        }
        self.wake();
    }

    async fn serve(self: &Arc<Self>) -> CloseReason {
        let outbox = &self.presence.outbox;
        let mut alarm = Alarm::after(Duration::ZERO);
        loop {
            alarm.set_after(self.time_left());
            let next = poll_fn(|cx| match outbox.poll_next(cx) {
                Next::Pending => alarm.poll_unpin(cx).map(|()| None),
                next => Poll::Ready(Some(next)),
            });
            match next.await {
                Some(Next::Item(item)) => {
                    outbox.written(item.cost());
                    self.take(item);
                }
                Some(Next::Close(reason)) => return reason,
                // It has no socket that could be gone unnoticed.
                Some(Next::Pending | Next::Probe) => {}
                None if self.lock().grant.time_left().is_zero() => return CloseReason::TokenExpired,
                None if self.is_abandoned() => return CloseReason::Abandoned,
                None => {}
            }
            if self.lock().client.is_over() {
                return CloseReason::PartnerLeft;
            }
        }
    }

    fn take(self: &Arc<Self>, item: Item) {
        let Item::Notice(notice) = item else { return };
        let calls = &self.presence.app.calls;
        let is_new = matches!(notice, Notice::Called(_));
        let (request, is_new, gone) = {
            let mut inner = self.lock();
            let request = inner.client.take(notice);
            // A caller's call has had its id from the start.
            let is_callee = inner.client.is_callee();
            let is_over = is_new || inner.client.leg().is_none();
            (request, is_callee && is_new, if is_callee && is_over { inner.call.take() } else { None })
        };
        if let Some(gone) = gone {
            calls.remove(&gone);
        }
        if is_new {
            let id = calls.enter(self);
            self.lock().call = id;
        }
        if let Some(request) = request {
            self.handle(request);
        }
        self.wake();
    }

    /// The time until it may be over.
    fn time_left(&self) -> Duration {
        let inner = self.lock();
        let patience = inner.patience(self.presence.app.settings().limits.keepalive);
        let own = if inner.polls > 0 { patience } else { patience.saturating_sub(inner.touched.elapsed()) };
        own.max(Duration::from_millis(1)).min(inner.grant.time_left())
    }

    fn is_abandoned(&self) -> bool {
        let inner = self.lock();
        let patience = inner.patience(self.presence.app.settings().limits.keepalive);
        inner.polls == 0 && inner.touched.elapsed() >= patience
    }

    /// Carries out a request, after the webhook has allowed it.
    pub async fn ask(&self, mut request: Request) {
        let Some(asking) = self.presence.question(&mut request) else { return self.carry_out(request).await };
        let refusal = match asking.await {
            Verdict::Allowed(ice_servers) => {
                if !ice_servers.is_empty() {
                    self.presence.app.switchboard.add_ice_servers(self.presence.conn, ice_servers);
                }
                return self.carry_out(request).await;
            }
            Verdict::Done => return,
            Verdict::Refused(reason) => Refusal::Other(reason),
            Verdict::None => Refusal::Unavailable,
        };
        let (about, key) = request.about();
        self.presence.app.switchboard.handle(self.presence.conn, Event::Denied { about, key, refusal });
    }

    async fn carry_out(&self, request: Request) {
        match self.presence.share(&request, None) {
            Some(asking) => {
                if matches!(asking.await, Verdict::Allowed(_)) {
                    self.handle(request);
                }
            }
            None => self.handle(request),
        }
    }

    /// Carries out a request that the webhook need not allow.
    pub fn handle(&self, request: Request) {
        self.presence.app.switchboard.handle(self.presence.conn, Event::Asked { request, frame: None });
    }

    /// Counts a message of the client. False if it exceeds a limit.
    pub fn admit(&self, kind: Kind, bytes: usize) -> bool {
        self.presence.app.metrics.count_message(kind, bytes);
        self.presence.ticket.admit_message(bytes)
    }

    /// Charges the client for what a request causes, here and in Redis (`--max-notice-rate`), and waits until it may be
    /// carried out. False: that would take too long.
    pub async fn pay(&self, request: &Request) -> bool {
        let Presence { conn, ticket, app, .. } = &self.presence;
        // A registration has a limit of its own.
        let asks_others = app.cluster.is_some()
            && !matches!(request, Request::Register { .. })
            && app.switchboard.plan(*conn, request).is_some();
        let wait = match app.switchboard.fan_out(*conn, request) + if asks_others { LOOKUP } else { 0 } {
            0 => return true,
            price => ticket.wait_for_notices(price),
        };
        if let Some(wait) = wait {
            runtime::sleep(wait).await;
        }
        wait.is_some()
    }

    /// Ends the call of this id. A registration stays.
    pub fn hang_up(&self, call: &str) {
        let key = {
            let mut inner = self.lock();
            inner.touched = Instant::now();
            let Some(client) = inner.in_call(call) else { return };
            if !client.is_callee() {
                drop(inner);
                return self.close();
            }
            let key = client.leg().map(|leg| leg.key().clone());
            client.end();
            inner.call = None;
            key
        };
        if let Some(key) = key {
            self.handle(Request::End(key));
        }
        self.presence.app.calls.remove(call);
        self.wake();
    }

    /// Ends the line, and with it its call.
    pub fn close(&self) {
        // Notify the other side now, not when the task gets its turn.
        self.presence.leave();
        self.lock().closed.get_or_insert(CloseReason::PartnerLeft);
        self.presence.outbox.close(CloseReason::PartnerLeft);
        self.wake();
    }

    /// Waits until `look` finds something. `None`: not in this time, or too many requests wait already.
    pub async fn until<T>(&self, time: Duration, mut look: impl FnMut(&mut Inner) -> Option<T>) -> Option<T> {
        let _poll = Waiting::begin(self)?;
        let found = poll_fn(|cx| {
            let mut inner = self.lock();
            if let Some(found) = look(&mut inner) {
                return Poll::Ready(found);
            }
            if inner.wakers.len() >= MAX_WAKERS {
                mem::take(&mut inner.wakers).into_iter().for_each(Waker::wake);
            }
            if !inner.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        });
        runtime::timeout(time, found).await
    }

    /// Looks at the state, or changes it.
    pub fn look<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        inner.touched = Instant::now();
        look(&mut inner)
    }

    fn wake(&self) {
        let wakers = mem::take(&mut self.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if something did, the state would still be consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new(client: Client, call: Option<String>, grant: Arc<Grant>) -> Self {
        let (closed, wakers, polls, touched) = (None, Vec::new(), 0, Instant::now());
        Self { client, call, closed, grant, wakers, polls, touched }
    }

    /// The state, if this is still its call: a registration may have another one meanwhile.
    pub fn in_call(&mut self, call: &str) -> Option<&mut Client> {
        let is_there = self.client.leg().is_some() && self.call.as_deref() == Some(call);
        is_there.then_some(&mut self.client)
    }

    /// How long it may go without a request. `keepalive` is the time between polls of a client that is there.
    fn patience(&self, keepalive: Duration) -> Duration {
        match self.client.leg() {
            Some(leg) if leg.was_answered() && leg.is_bound_to_peer() => Duration::MAX,
            Some(leg) if leg.was_answered() => LONGEST_SILENCE,
            // A person may have to accept the call.
            Some(_) => 2 * keepalive,
            None => keepalive,
        }
    }
}

/// A request that waits. Meanwhile the line is not abandoned.
struct Waiting<'a>(&'a Line);

impl<'a> Waiting<'a> {
    fn begin(line: &'a Line) -> Option<Self> {
        let mut inner = line.lock();
        if inner.polls >= MAX_POLLS {
            return None;
        }
        inner.polls += 1;
        drop(inner);
        Some(Self(line))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.polls -= 1;
        inner.touched = Instant::now();
    }
}

/// Ends a call whose request is dropped before its answer, because the client is gone.
pub(super) struct Hold(Option<Arc<Line>>);

impl Hold {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        Self(Some(line.clone()))
    }

    /// The client has its answer: the call goes on.
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use callbin_protocol::PeerId;

    use super::*;
    use crate::{
        dialect::http::tests::{OFFER, from_text, sdp},
        hub::Call,
    };

    #[test]
    fn patience_depends_on_who_else_shows_that_the_call_goes_on() {
        let keepalive = Duration::from_secs(30);
        for (dialect, patience) in [(Dialect::Text, Duration::MAX), (Dialect::Rest, LONGEST_SILENCE)] {
            let peer = PeerId::new("cam").unwrap();
            let client = Client::caller(Dialect::Whip, peer.clone(), Some(OFFER.into()));
            let mut inner = Inner::new(client, None, Arc::default());
            assert_eq!(inner.patience(keepalive), keepalive);
            let (key, uid) = ("call".into(), PeerId::new("me").unwrap());
            let call = Call {
                key,
                uid,
                peer,
                dialect,
                is_caller: true,
                is_asked: false,
                media: None,
                max_bitrate: None,
                like: None,
            };
            inner.client.take(Notice::Called(Box::new(call)));
            assert_eq!(inner.patience(keepalive), 2 * keepalive);
            inner.client.take(from_text("call", &sdp("answer")));
            assert_eq!(inner.patience(keepalive), patience);
        }
    }
}
