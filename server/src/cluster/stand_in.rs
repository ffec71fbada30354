//! Stand-ins: connections of the switchboard without a socket, which represent peers of other nodes in their calls. What is
//! sent to such a peer waits in its outbox like for any other connection, and a task passes it on to the other node.

use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_tungstenite::tungstenite::Message;
use callbin_protocol::PeerId;
use futures_util::task::AtomicWaker;

use super::{Cluster, Input, node::Shared, talk::Part};
use crate::{
    access::Grant,
    app::App,
    close::CloseReason,
    delivery::{
        outbox::{Item, Next, Outbox},
        payload::Kind,
    },
    dialect::{Dialect, text},
    hub::{Call, ConnId, Event, Key, Notice, Request},
    runtime,
};

/// The bytes of one call that may be under way to another node, before the next message waits: a flood in one call must not
/// delay the others.
const WINDOW: usize = 64 << 10;

/// The bytes of a call that are under way.
#[derive(Default)]
struct Window {
    bytes: AtomicUsize,
    /// The call is over: what was under way is never answered.
    is_over: AtomicBool,
    waker: AtomicWaker,
}

impl Window {
    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        match self.bytes.load(Ordering::Acquire) < WINDOW || self.is_over.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.waker.wake();
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// A peer of another node.
pub(super) struct StandIn {
    conn: ConnId,
    outbox: Arc<Outbox>,
    dialect: Dialect,
    /// Its name for the call.
    key: Key,
    window: Arc<Window>,
}

/// What the hub says first.
pub(super) enum First {
    Called(Box<Call>),
    Notice(Notice),
    Closed,
}

impl StandIn {
    /// Opens a connection for a peer of another node.
    pub(super) fn open(
        app: &App,
        peer: PeerId,
        grant: Grant,
        address: Option<IpAddr>,
        dialect: Dialect,
    ) -> Self {
        let conn = app.next_conn();
        let address = SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 0);
        let lines = app.accounts.lines(address.ip());
        let outbox = app.switchboard.open(conn, address, Arc::new(grant), dialect, lines);
        app.switchboard.handle(conn, Event::StandsIn(peer));
        Self { conn, outbox, dialect, key: Key::default(), window: Arc::default() }
    }

    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }

    /// What the hub has said about the request that was just carried out.
    pub(super) fn first(&mut self) -> First {
        while let Some(item) = self.outbox.pop() {
            self.outbox.written(item.cost());
            match item {
                Item::Notice(Notice::Called(call)) => {
                    self.key = call.key.clone();
                    return First::Called(call);
                }
                Item::Notice(notice @ (Notice::Refused(_) | Notice::Found(_))) => {
                    return First::Notice(notice);
                }
                Item::Notice(_) | Item::Frame(_) => {}
            }
        }
        First::Closed
    }

    /// The call has started: passes on what is sent to the peer.
    pub(super) fn serve(&self, shared: Shared, cluster: &Arc<Cluster>, app: &Arc<App>) {
        let (conn, outbox, window) = (self.conn, self.outbox.clone(), self.window.clone());
        let (cluster, app) = (cluster.clone(), app.clone());
        runtime::spawn(async move {
            pass_on(&shared, &outbox, &window, &cluster).await;
            cluster.push(Input::End(shared));
            close(conn, &outbox, &app);
        });
    }

    /// Redis has a message of this size.
    pub(super) fn sent(&self, bytes: usize) {
        self.window.give_back(bytes);
    }

    /// Ends the connection, and with it the call.
    pub(super) fn close(&self, app: &App) {
        close(self.conn, &self.outbox, app);
    }

    /// Something came from the peer.
    pub(super) fn hear(&self, part: Part, app: &App) {
        match part {
            Part::Probe => app.switchboard.far(|hub, effects| hub.probe_partners(self.conn, effects)),
            Part::Ended(reason) => {
                app.switchboard.far(|hub, effects| hub.end_far(self.conn, &self.key, reason, effects));
            }
            Part::Frame(frame) => self.hear_frame(frame, app),
            Part::Signal(payload) if self.dialect.is_single() => {
                self.hear_frame(Message::text(payload.text()), app);
            }
            Part::Signal(payload) => {
                let request = Request::Signal { key: self.key.clone(), payload };
                app.switchboard.handle(self.conn, Event::Asked { request, frame: None });
            }
        }
    }

    /// A frame of a single connection: to its partner's queue if that speaks the same, like those of a socket.
    fn hear_frame(&self, frame: Message, app: &App) {
        let Some(link) = self.outbox.link() else {
            let request = text::request(&frame);
            return app.switchboard.handle(self.conn, Event::Asked { request, frame: Some(frame) });
        };
        if let Message::Text(text) = &frame
            && Kind::of(text) == Kind::Sdp
            && let Some(waited) = link.negotiation.on_sdp(link.side)
        {
            app.metrics.offer_to_answer.observe(waited.as_secs_f64());
        }
        if let Some(partner) = link.partner.upgrade() {
            partner.push(frame);
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.window.end();
    }
}

fn close(conn: ConnId, outbox: &Outbox, app: &App) {
    app.switchboard.forget(conn);
    outbox.close(CloseReason::PartnerLeft);
}

/// Passes items on until the connection is closed.
async fn pass_on(shared: &Shared, outbox: &Outbox, window: &Window, cluster: &Cluster) {
    loop {
        let next = poll_fn(|cx| {
            // If other nodes are slow, the outbox fills and closes the call in the end, as that of a slow reader does.
            ready!(window.poll_open(cx));
            ready!(cluster.poll_room(cx));
            match outbox.poll_next(cx) {
                Next::Pending => Poll::Pending,
                next => Poll::Ready(next),
            }
        });
        let part = match next.await {
            Next::Item(item) => {
                outbox.written(item.cost());
                match item {
                    Item::Frame(frame) => Part::Frame(frame),
                    Item::Notice(Notice::Signal(signal)) => Part::Signal(signal.payload),
                    Item::Notice(Notice::Ended(ended)) => {
                        if let Some(body) = ended.reason.and_then(|reason| Part::Ended(reason).encode()) {
                            cluster.push(Input::Say(shared.clone(), body));
                        }
                        return;
                    }
                    Item::Notice(_) => continue,
                }
            }
            Next::Probe => Part::Probe,
            Next::Close(_) => return,
            Next::Pending => continue,
        };
        if let Some(body) = part.encode() {
            window.bytes.fetch_add(body.len(), Ordering::AcqRel);
            cluster.push(Input::Say(shared.clone(), body));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_call_waits_for_what_is_under_way_until_it_is_over() {
        let window = Window::default();
        let cx = Context::from_waker(Waker::noop());
        let is_open = |window: &Window| window.poll_open(&cx).is_ready();
        assert!(is_open(&window));
        window.bytes.fetch_add(WINDOW + 10, Ordering::AcqRel);
        assert!(!is_open(&window));
        window.give_back(20);
        assert!(is_open(&window));
        window.bytes.fetch_add(WINDOW, Ordering::AcqRel);
        assert!(!is_open(&window));
        window.end();
        assert!(is_open(&window), "nothing is answered any more");
    }
}
