//! One WebSocket, from its handshake to its last byte: frames in, frames out, pings, deadlines.

mod farewell;
mod lapse;
mod presence;

use std::{
    collections::VecDeque,
    future::Future,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        error::{CapacityError, ProtocolError},
        protocol::{Role, WebSocketConfig},
    },
};
use callbin_protocol::ServerMessage;
use futures_util::{FutureExt, Sink, Stream};
use tracing::debug;

use self::lapse::Lapse;
pub use self::presence::{Asking, Presence};
use crate::{
    access::{Ability, webhook::Verdict},
    app::{Admission, App},
    close::CloseReason,
    config::Limits,
    delivery::{
        incoming::Incoming,
        outbox::{Item, Link, Next},
        payload::Kind,
    },
    dialect::{Dialect, Opening, Step, Translator, translator},
    edge::stream::Connected,
    hub::{Event, Refusal, Request},
    runtime::{self, Alarm},
};

/// What it costs to ask all nodes' Redis for a peer, in notices: about ten times the time of one notice, and of a core that
/// all nodes share.
pub const LOOKUP: usize = 20;

/// Enough for a request line or a candidate. Larger frames grow the buffer until there is nothing more to read; an idle
/// peer keeps this size.
const READ_BUFFER: usize = 2048;

/// Frames are gathered up to this many bytes before they are written.
const WRITE_BATCH: usize = 16 * 1024;

/// Frames read before other connections get their turn.
const READ_BURST: usize = 32;

/// How long a pong may take if the peer is in the way of another one: by then, it is gone, or cannot be used.
const PROBE: Duration = Duration::from_secs(5);

/// The longest interval between pings and heartbeats for a client that asked for heartbeats. It could otherwise notice
/// a dead connection only when it sends something.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The deadline for the peer's answer to our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a WebSocket whose HTTP handshake is complete, and reports its events to the switchboard.
///
/// Parts that are needed only at the beginning or the end are boxed: this future is most of an idle peer's memory.
pub async fn run(stream: Connected, leftover: Vec<u8>, admission: Admission, app: Arc<App>) {
    let lanes = app.lanes.clone();
    let mut pump = Box::pin(Pump::open(stream, leftover, admission, app)).await;
    let end = (&mut *pump).await;
    debug!(conn = pump.presence.conn.0, ?end, "ends");
    // Notify partner and room now, however long the closing handshake takes.
    pump.presence.leave();
    // If many connections end at once, a few do so per round, so that those that stay are not delayed.
    lanes.leave().await;
    Box::pin(runtime::timeout(CLOSE_TIMEOUT, farewell::say(&mut pump, end))).await;
    lanes.leave().await;
}

/// Why a connection stops being served.
#[derive(Debug)]
enum End {
    /// The socket is closed or broken.
    Gone,
    /// The peer sent a close frame.
    PeerClosed,
    /// We close it, in order.
    Closing(CloseReason),
    /// We close it after invalid WebSocket data: nothing readable follows.
    Broken(CloseReason),
}

/// The purpose of the alarm.
#[derive(Debug, PartialEq)]
enum Phase {
    /// The first frame is due.
    Greeting,
    /// The next ping is due.
    Quiet,
    /// Data or a pong is due after a ping.
    Pinged,
}

/// What is left to do of a frame.
struct Todo {
    steps: VecDeque<Step>,
    /// The frame, if the dialect is single: in a call, it is payload.
    frame: Option<Message>,
}

/// A request that is not carried out yet.
struct Waiting {
    request: Request,
    asking: Asking,
    /// The notices already charged.
    paid: usize,
}

/// The future that serves an open WebSocket.
struct Pump {
    socket: WebSocketStream<Connected>,
    incoming: Incoming,
    /// The session's link to the partner's queue.
    link: Option<Link>,
    phase: Phase,
    /// The end of the phase. The alarm may be set for the token's expiry before that.
    due: Instant,
    alarm: Alarm,
    /// The cost of the frames handed to the socket and perhaps not written yet.
    unwritten: usize,
    /// A frame came since the alarm was last set.
    heard: bool,
    /// Whether the peer asked for heartbeats. Other dialects have no such message.
    heartbeat: bool,
    /// When a client that sends heartbeats counts as gone.
    lapse: Lapse,
    translator: Box<dyn Translator>,
    /// The rest of a frame. Nothing is read until it is done.
    todo: Option<Box<Todo>>,
    /// The request that waits for the rate limit or for the webhook.
    waiting: Option<Box<Waiting>>,
    presence: Presence,
}

impl Future for &mut Pump {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let pump = &mut **self;
        if let Poll::Ready(end) = pump.poll_read(cx) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = pump.poll_alarm(cx) {
            return Poll::Ready(end);
        }
        pump.poll_write(cx)
    }
}

impl Pump {
    async fn open(stream: Connected, leftover: Vec<u8>, admission: Admission, app: Arc<App>) -> Box<Self> {
        let settings = app.settings();
        let limits = settings.limits;
        let dialect = admission.translator.dialect();
        let (frame, message) = dialect.max_sizes().unwrap_or((usize::MAX, usize::MAX));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BATCH)
            .max_message_size(Some(limits.max_message.min(message)))
            .max_frame_size(Some(limits.max_message.min(frame)));
        let incoming = Incoming::after(stream.received().saturating_sub(leftover.len() as u64));
        let socket = WebSocketStream::from_partially_read(stream, leftover, Role::Server, Some(config)).await;
        let Admission { conn, address, grant, wants, mut translator, ticket } = admission;
        let outbox = app.switchboard.open(conn, address, grant.clone(), dialect, ticket.lines());
        let mut steps = Vec::new();
        translator.open(&mut steps);
        let mut pump = Box::new(Self {
            socket,
            incoming,
            link: None,
            phase: Phase::Greeting,
            due: Instant::now() + limits.hello_timeout,
            alarm: Alarm::after(grant.time_left().min(limits.hello_timeout)),
            unwritten: 0,
            heard: false,
            heartbeat: wants.heartbeat && dialect == Dialect::Text,
            lapse: Lapse::default(),
            translator,
            todo: None,
            waiting: None,
            presence: Presence { conn, address, outbox, ticket, grant, app },
        });
        // A client that is registered by its handshake may wait for the others.
        if steps.iter().any(|step| matches!(step, Step::Ask(_))) {
            pump.leave_greeting();
        }
        pump.add(steps);
        pump
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..READ_BURST {
            if let Err(reason) = ready!(self.poll_verdict(cx)) {
                return Poll::Ready(self.refuse(reason));
            }
            let mut next = Pin::new(&mut self.socket).poll_next(cx);
            if next.is_pending() && self.renew_buffers(cx) {
                next = Pin::new(&mut self.socket).poll_next(cx);
            }
            let received = self.socket.get_ref().received();
            if let Poll::Ready(Some(Ok(frame))) = &next {
                self.incoming.complete(frame, received);
            }
            if let Some(held) = self.incoming.news(received) {
                self.presence.outbox.receiving(held);
            }
            match ready!(next) {
                None => return Poll::Ready(End::Gone),
                Some(Err(error)) => return Poll::Ready(end_of(&error)),
                Some(Ok(Message::Close(_))) => return Poll::Ready(End::PeerClosed),
                Some(Ok(frame)) => {
                    self.heard = true;
                    if let Err(reason) = self.admit(&frame).and_then(|()| self.forward(frame)) {
                        return Poll::Ready(self.refuse(reason));
                    }
                }
            }
            // Stop producing answers for a peer that does not read them.
            if self.link.is_none() && self.presence.outbox.is_closing() {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Replaces the WebSocket's buffers after large messages, if they are empty: tungstenite never shrinks them. True
    /// if it did; the new WebSocket is to be polled.
    fn renew_buffers(&mut self, cx: &mut Context<'_>) -> bool {
        let received = self.socket.get_ref().received();
        if !self.incoming.is_swollen() || self.unwritten > 0 {
            return false;
        }
        if !self.incoming.is_between_frames(received) {
            self.incoming.not_renewed();
            return false;
        }
        // Flush first: a queued pong exists only inside the WebSocket.
        if !matches!(Pin::new(&mut self.socket).poll_flush(cx), Poll::Ready(Ok(()))) {
            return false;
        }
        let config = *self.socket.get_config();
        let stream = self.socket.get_mut().take();
        // This is ready at once. If it were not, the connection would end.
        if let Some(new) = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).now_or_never()
        {
            self.socket = new;
        }
        self.incoming.renewed();
        true
    }

    fn refuse(&self, reason: CloseReason) -> End {
        self.presence.app.metrics.count_refusal(reason);
        End::Closing(reason)
    }

    /// Whether the frame is within the sender's limits.
    fn admit(&self, frame: &Message) -> Result<(), CloseReason> {
        if !self.presence.ticket.admit_message(frame.len()) {
            return Err(CloseReason::TooFast);
        }
        if self.phase == Phase::Greeting && frame.is_text() {
            if !self.presence.app.is_ready() {
                return Err(CloseReason::GoingAway);
            }
            if self.translator.dialect().is_single() && !self.presence.ticket.admit_registration() {
                return Err(CloseReason::TooManyRegistrations);
            }
        }
        Ok(())
    }

    fn forward(&mut self, frame: Message) -> Result<(), CloseReason> {
        if self.link.is_none() {
            // The peer may have been called since the last frame.
            self.link = self.presence.outbox.link().cloned();
        }
        match &frame {
            Message::Text(_) | Message::Binary(_) if self.link.is_some() => {
                self.relay(frame);
                return Ok(());
            }
            Message::Text(text) => {
                let kind = match Kind::of(text) {
                    Kind::Text => Kind::Control,
                    kind => kind,
                };
                self.presence.app.metrics.count_message(kind, text.len());
            }
            Message::Binary(_) => {}
            // tungstenite answers pings itself.
            _ => return Ok(()),
        }
        if self.phase == Phase::Greeting {
            self.recognize(&frame);
        }
        self.leave_greeting();
        let is_single = self.translator.dialect().is_single();
        let mut steps = Vec::new();
        let kept = is_single.then(|| frame.clone());
        self.translator.read(frame, &mut steps);
        if self.lapse.heard(Instant::now(), self.translator.silence()) {
            self.arm();
        }
        self.todo = Some(Box::new(Todo { steps: steps.into(), frame: kept }));
        self.proceed()
    }

    /// Adds steps that no frame of the client has caused.
    fn add(&mut self, steps: Vec<Step>) {
        if !steps.is_empty() {
            let todo = || Box::new(Todo { steps: VecDeque::new(), frame: None });
            self.todo.get_or_insert_with(todo).steps.extend(steps);
        }
    }

    /// The first frame of a client may be plainly of another dialect than that of its path. A media node was let in as
    /// one.
    fn recognize(&mut self, frame: &Message) {
        let Presence { conn, app, grant, .. } = &self.presence;
        let of_path = self.translator.dialect();
        if of_path == Dialect::Node {
            return;
        }
        let plain = app.settings().routes.recognize(frame);
        let Some(dialect) = plain.filter(|dialect| *dialect != of_path) else { return };
        let opening = Opening {
            identity: grant.identity.clone(),
            can_call: grant.allows(Ability::Call),
            number: conn.0,
            ..Opening::default()
        };
        self.translator = translator(dialect, &opening);
        self.heartbeat = false;
        app.switchboard.handle(*conn, Event::Speaks(dialect));
    }

    /// Does the steps of a frame, up to one that has to wait.
    fn proceed(&mut self) -> Result<(), CloseReason> {
        while self.waiting.is_none()
            && let Some(todo) = &mut self.todo
        {
            match todo.steps.pop_front() {
                None => self.todo = None,
                Some(Step::Say(text)) => self.presence.outbox.push(Message::Text(text)),
                Some(Step::Refuse(reason, text)) => {
                    self.presence.app.metrics.count_refusal(reason);
                    self.presence.outbox.push(Message::Text(text));
                }
                Some(Step::IceServers) => self.write_ice_servers(),
                Some(Step::Ask(mut request)) => {
                    self.admit_request(&request)?;
                    match self.presence.question(&mut request) {
                        Some(asking) => self.waiting = Some(Box::new(Waiting { request, asking, paid: 0 })),
                        None => self.carry_out(request, 0)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn write_ice_servers(&mut self) {
        let servers = self.presence.ice_servers();
        let mut frames = Vec::new();
        self.translator.write_ice_servers(&servers, &mut frames);
        frames.into_iter().for_each(|frame| self.presence.outbox.push(frame));
    }

    /// A connection that can have several ids and calls pays for each like for a registration. A single one has paid with
    /// its first frame.
    fn admit_request(&self, request: &Request) -> Result<(), CloseReason> {
        let starts =
            matches!(request, Request::Register { .. } | Request::Meet { .. } | Request::Call { .. });
        if starts && !self.translator.dialect().is_single() && !self.presence.ticket.admit_registration() {
            return Err(CloseReason::TooManyRegistrations);
        }
        Ok(())
    }

    /// Handles a request, or delays it for the rate limit. Its cost may have changed since it came, so it is computed
    /// now and again after each wait.
    fn carry_out(&mut self, request: Request, paid: usize) -> Result<(), CloseReason> {
        let Presence { conn, ticket, app, .. } = &self.presence;
        let price = app.switchboard.fan_out(*conn, &request);
        let wait = match price.saturating_sub(paid) {
            0 => Duration::ZERO,
            owed => ticket.wait_for_notices(owed).ok_or(CloseReason::TooManyNotices)?,
        };
        if wait.is_zero() {
            let frame = self.todo.as_ref().and_then(|todo| todo.frame.clone());
            match self.presence.share(&request, frame.as_ref()) {
                Some(asking) => {
                    let paid = paid.max(price);
                    self.waiting = Some(Box::new(Waiting { request, asking, paid }));
                }
                None => self.handle(Event::Asked { request, frame }),
            }
        } else {
            let asking = runtime::sleep(wait).map(|()| Verdict::Allowed(Vec::new()));
            let (asking, paid): (Asking, _) = (Box::pin(asking), paid.max(price));
            self.waiting = Some(Box::new(Waiting { request, asking, paid }));
        }
        Ok(())
    }

    /// Pays for a request that other nodes had a part in: only after a join are the members there known. The next request
    /// waits until the owner's rate allows it.
    fn pay(&mut self, request: Request, paid: usize) -> Result<(), CloseReason> {
        let Presence { conn, ticket, app, .. } = &self.presence;
        let price = match &request {
            Request::Join(_) => app.switchboard.join_price(*conn),
            // A registration has a limit of its own.
            Request::Register { .. } => 0,
            _ => LOOKUP,
        };
        let owed = price.saturating_sub(paid);
        let wait = match owed {
            0 => Duration::ZERO,
            owed => ticket.wait_for_notices(owed).ok_or(CloseReason::TooManyNotices)?,
        };
        if !wait.is_zero() {
            let asking = runtime::sleep(wait).map(|()| Verdict::Done);
            self.waiting = Some(Box::new(Waiting { request, asking: Box::pin(asking), paid: usize::MAX }));
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        let Presence { conn, outbox, app, .. } = &self.presence;
        app.switchboard.handle(*conn, event);
        self.link = outbox.link().cloned();
    }

    /// Forwards a frame to the partner's queue. If the partner is gone, this connection is about to close, too.
    fn relay(&self, frame: Message) {
        let Some(link) = &self.link else { return };
        let kind = match &frame {
            Message::Text(text) => Kind::of(text),
            _ => Kind::Binary,
        };
        let metrics = &self.presence.app.metrics;
        metrics.count_message(kind, frame.len());
        if kind == Kind::Sdp
            && let Some(waited) = link.negotiation.on_sdp(link.side)
        {
            metrics.offer_to_answer.observe(waited.as_secs_f64());
        }
        if let Some(partner) = link.partner.upgrade() {
            partner.push(frame);
        }
    }

    /// Ready when all steps of the last frame are done.
    fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        loop {
            self.proceed()?;
            let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
            let verdict = ready!(waiting.asking.as_mut().poll(cx));
            let Some(waiting) = self.waiting.take() else { continue };
            let Waiting { request, paid, .. } = *waiting;
            let refusal = match verdict {
                Verdict::Allowed(ice_servers) => {
                    if !ice_servers.is_empty() {
                        self.presence.app.switchboard.add_ice_servers(self.presence.conn, ice_servers);
                    }
                    self.carry_out(request, paid)?;
                    continue;
                }
                Verdict::Done => {
                    self.link = self.presence.outbox.link().cloned();
                    self.pay(request, paid)?;
                    continue;
                }
                Verdict::Refused(reason) => Refusal::Other(reason),
                Verdict::None => Refusal::Unavailable,
            };
            let (about, key) = request.about();
            self.handle(Event::Denied { about, key, refusal });
        }
    }

    /// The current limits: they may have been reloaded.
    fn limits(&self) -> Limits {
        self.presence.app.settings().limits
    }

    fn leave_greeting(&mut self) {
        if self.phase == Phase::Greeting {
            self.socket.get_mut().settle();
            self.beat();
            self.set_alarm(Phase::Quiet, self.keepalive());
        }
    }

    /// The interval between pings.
    fn keepalive(&self) -> Duration {
        let keepalive = self.limits().keepalive;
        if self.heartbeat { keepalive.min(HEARTBEAT) } else { keepalive }
    }

    /// Sends a ping. A pong or data are due within `limit`.
    fn ping(&mut self, limit: Duration) {
        self.presence.outbox.push(Message::Ping(tungstenite::Bytes::new()));
        self.beat();
        self.set_alarm(Phase::Pinged, limit);
    }

    /// The peer is in the way of another one, and may be gone.
    fn probe(&mut self, cx: &Context<'_>) {
        // Strangers cause probes: one is under way already, or the last one is not long ago.
        if self.phase == Phase::Quiet {
            self.ping(self.limits().pong_timeout.min(PROBE));
            // The alarm is polled before the queue.
            cx.waker().wake_by_ref();
        }
    }

    /// Sends a heartbeat, if the peer asked for them, with the seconds until the next one. Only the text protocol has them.
    fn beat(&self) {
        if self.heartbeat && self.translator.dialect() == Dialect::Text {
            let next = self.keepalive().max(self.limits().pong_timeout);
            let beat = ServerMessage::Heartbeat(next.as_secs_f64().ceil() as u64);
            self.presence.outbox.push(Message::text(beat.to_string()));
        }
    }

    /// Starts the next phase.
    fn set_alarm(&mut self, phase: Phase, after: Duration) {
        self.phase = phase;
        self.heard = false;
        self.due = Instant::now() + after;
        self.arm();
    }

    /// Sets the alarm for the end of the phase, the token's expiry or the client's silence, whichever comes first.
    fn arm(&mut self) {
        let now = Instant::now();
        let phase = self.due.saturating_duration_since(now);
        self.alarm.set_after(phase.min(self.presence.grant.time_left()).min(self.lapse.left(now)));
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.alarm.poll_unpin(cx).is_ready() {
            let token = self.presence.grant.time_left();
            if token.is_zero() {
                return Poll::Ready(End::Closing(CloseReason::TokenExpired));
            }
            // While a request waits nothing is read, so heartbeats may be unread.
            if self.lapse.is_due(Instant::now()) && self.waiting.is_none() {
                let mut steps = Vec::new();
                self.translator.lapse(&mut steps);
                self.add(steps);
                self.lapse = Lapse::default();
                cx.waker().wake_by_ref();
            }
            // It was set for something else, or for the token's expiry, and then the system clock was set back.
            if self.due > Instant::now() {
                self.arm();
                continue;
            }
            match self.phase {
                Phase::Greeting => return Poll::Ready(End::Closing(CloseReason::HelloTimeout)),
                Phase::Quiet => {
                    self.incoming.rest(self.heard);
                    self.ping(self.limits().pong_timeout);
                }
                // While a request waits nothing is read, so the pong may be unread.
                Phase::Pinged if self.heard || self.waiting.is_some() => {
                    let rest = self.keepalive().saturating_sub(self.limits().pong_timeout);
                    self.set_alarm(Phase::Quiet, rest.max(Duration::from_millis(1)));
                }
                Phase::Pinged => return Poll::Ready(End::Closing(CloseReason::NoPong)),
            }
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.unwritten > 0 {
                match Pin::new(&mut self.socket).poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        let written = mem::take(&mut self.unwritten);
                        self.presence.outbox.written(written);
                        self.incoming.wrote(written);
                        if self.incoming.is_swollen() {
                            // The buffers are replaced when reading.
                            cx.waker().wake_by_ref();
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(end_of(&error)),
                    Poll::Pending => return self.presence.outbox.poll_closing(cx).map(End::Closing),
                }
            }
            if let Err(end) = ready!(self.poll_fill(cx)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Hands queued items to the socket. Pending: the queue is empty, and the outbox will wake us.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        while self.unwritten < WRITE_BATCH {
            match self.presence.outbox.poll_next(cx) {
                Next::Item(item) => {
                    self.unwritten += item.cost();
                    self.start_send(item)?;
                    // Steps may follow from a notice. Steps are done when reading.
                    if self.todo.is_some() && self.waiting.is_none() {
                        cx.waker().wake_by_ref();
                    }
                }
                Next::Probe => self.probe(cx),
                Next::Close(reason) => return Poll::Ready(Err(End::Closing(reason))),
                Next::Pending if self.unwritten == 0 => return Poll::Pending,
                Next::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(&mut self, item: Item) -> Result<(), End> {
        match item {
            Item::Frame(frame) => self.start_send_frame(frame),
            Item::Notice(notice) => {
                let mut frames = Vec::new();
                self.translator.write(notice, &mut frames);
                let mut steps = Vec::new();
                self.translator.follow(&mut steps);
                self.add(steps);
                frames.into_iter().try_for_each(|frame| self.start_send_frame(frame))
            }
        }
    }

    fn start_send_frame(&mut self, frame: Message) -> Result<(), End> {
        self.incoming.send(frame.len());
        match Pin::new(&mut self.socket).start_send(frame) {
            Ok(()) => Ok(()),
            // The socket is full; the flush writes the rest.
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(end_of(&error)),
        }
    }
}

fn end_of(error: &tungstenite::Error) -> End {
    use tungstenite::Error;
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => End::Broken(CloseReason::TooBig),
        Error::Utf8(_) => End::Broken(CloseReason::NotUtf8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Broken(CloseReason::Malformed),
        _ => End::Gone,
    }
}

#[cfg(test)]
mod tests;
