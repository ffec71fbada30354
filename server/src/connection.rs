//! One WebSocket, from its handshake to its last byte: frames in, frames out, pings, deadlines.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        error::{CapacityError, ProtocolError},
        protocol::{Role, WebSocketConfig},
    },
};
use futures_util::{AsyncReadExt, AsyncWriteExt, Sink, Stream, StreamExt};
use tracing::{debug, info};

use crate::{
    close::CloseReason,
    config::Limits,
    hub::{ConnId, Event},
    outbox::{Next, Outbox},
    runtime::{self, Alarm},
    stream::Connected,
    switchboard::Switchboard,
};

/// Room for a request line or a candidate. Larger frames make their own room; an idle peer keeps this much.
const READ_BUFFER: usize = 2048;

/// Frames are gathered up to this many bytes before they are written.
const WRITE_BATCH: usize = 16 * 1024;

/// Frames read at a stretch before other connections get their turn.
const READ_BURST: usize = 32;

/// How long a peer may take to answer our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a WebSocket whose HTTP handshake is done, and tells the switchboard all about it.
pub async fn run(
    stream: Connected,
    leftover: Vec<u8>,
    address: SocketAddr,
    switchboard: Arc<Switchboard>,
    limits: Limits,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BATCH)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message));
    let socket = WebSocketStream::from_partially_read(stream, leftover, Role::Server, Some(config)).await;
    let outbox = Arc::new(Outbox::new(limits.max_queue));
    let conn = switchboard.open(outbox.clone(), address);
    let mut pump = Pump {
        socket,
        partner: None,
        phase: Phase::Greeting,
        alarm: Alarm::after(limits.hello_timeout),
        unflushed: false,
        heard: false,
        presence: Presence { conn, outbox, switchboard },
        limits,
    };
    let end = (&mut pump).await;
    debug!(conn = conn.0, ?end, "ends");
    // Whoever watches this peer learns of its end now, however long the closing handshake takes.
    pump.presence.switchboard.handle(conn, Event::Closed);
    runtime::timeout(CLOSE_TIMEOUT, pump.finish(end)).await;
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
    /// We close it after something that is no WebSocket frame: nothing readable follows.
    Broken(CloseReason),
}

/// What the alarm is set for.
#[derive(Debug, PartialEq)]
enum Phase {
    /// The first frame is due.
    Greeting,
    /// The next ping is due.
    Quiet,
    /// Something must have been heard since the ping.
    Pinged,
}

/// The connection's place at the switchboard, given up when dropped.
struct Presence {
    conn: ConnId,
    outbox: Arc<Outbox>,
    switchboard: Arc<Switchboard>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.switchboard.forget(self.conn);
    }
}

/// The future that serves an open WebSocket.
struct Pump {
    socket: WebSocketStream<Connected>,
    /// In a session, where everything goes.
    partner: Option<Weak<Outbox>>,
    phase: Phase,
    alarm: Alarm,
    /// The socket was handed frames that it may not have written.
    unflushed: bool,
    /// A frame came since the alarm was last set.
    heard: bool,
    presence: Presence,
    limits: Limits,
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
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..READ_BURST {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(End::Gone),
                Some(Err(error)) => return Poll::Ready(end_of(&error)),
                Some(Ok(Message::Close(_))) => return Poll::Ready(End::PeerClosed),
                Some(Ok(frame)) => {
                    self.heard = true;
                    self.forward(frame);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn forward(&mut self, frame: Message) {
        let event = match frame {
            Message::Text(_) | Message::Binary(_) if self.partner.is_some() => {
                return self.relay(frame);
            }
            Message::Text(text) => Event::Text(text),
            Message::Binary(bytes) => Event::Binary(bytes),
            // tungstenite answers pings by itself.
            _ => return,
        };
        self.leave_greeting();
        let Presence { conn, outbox, switchboard } = &self.presence;
        switchboard.handle(*conn, event);
        self.partner = outbox.partner().cloned();
    }

    /// Straight to the partner's queue. If that is gone, so will this connection be in a moment.
    fn relay(&self, frame: Message) {
        if let Some(partner) = self.partner.as_ref().and_then(Weak::upgrade) {
            partner.push(frame);
        }
    }

    fn leave_greeting(&mut self) {
        if self.phase == Phase::Greeting {
            self.set_alarm(Phase::Quiet, self.limits.keepalive);
        }
    }

    fn set_alarm(&mut self, phase: Phase, after: Duration) {
        self.phase = phase;
        self.heard = false;
        self.alarm.set_after(after);
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.alarm.poll(cx).is_ready() {
            match self.phase {
                Phase::Greeting => return Poll::Ready(End::Closing(CloseReason::HelloTimeout)),
                Phase::Quiet => {
                    self.presence.outbox.push(Message::Ping(tungstenite::Bytes::new()));
                    self.set_alarm(Phase::Pinged, self.limits.pong_timeout);
                }
                Phase::Pinged if self.heard => {
                    let rest = self.limits.keepalive.saturating_sub(self.limits.pong_timeout);
                    self.set_alarm(Phase::Quiet, rest.max(Duration::from_millis(1)));
                }
                Phase::Pinged => return Poll::Ready(End::Closing(CloseReason::NoPong)),
            }
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.unflushed {
                match Pin::new(&mut self.socket).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(end_of(&error)),
                    Poll::Pending => return self.presence.outbox.poll_closing(cx).map(End::Closing),
                }
            }
            if let Err(end) = ready!(self.poll_fill(cx)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Hands the socket some of what waits. Pending: nothing waits, and the outbox will wake us.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut bytes = 0;
        while bytes < WRITE_BATCH {
            match self.presence.outbox.poll_next(cx) {
                Next::Frame(frame) => {
                    bytes += frame.len();
                    self.unflushed = true;
                    match Pin::new(&mut self.socket).start_send(frame) {
                        Ok(()) => {}
                        // Written as far as the socket takes it; the flush brings the rest.
                        Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(end_of(&error))),
                    }
                }
                Next::Close(reason) => return Poll::Ready(Err(End::Closing(reason))),
                Next::Pending if bytes == 0 && !self.unflushed => return Poll::Pending,
                Next::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye as far as the peer lets us.
    async fn finish(mut self, end: End) {
        match end {
            End::Gone => {}
            End::PeerClosed => {
                // tungstenite has queued the answer to the peer's close.
                let _ = self.socket.close(None).await;
            }
            End::Closing(reason) => {
                self.log_close(reason);
                while let Some(frame) = self.presence.outbox.pop() {
                    if self.socket.send(frame).await.is_err() {
                        return;
                    }
                }
                if self.socket.close(Some(reason.frame())).await.is_ok() {
                    while let Some(Ok(_)) = self.socket.next().await {}
                }
            }
            End::Broken(reason) => {
                self.log_close(reason);
                let _ = self.socket.close(Some(reason.frame())).await;
                drain(self.socket.get_mut()).await;
            }
        }
    }

    fn log_close(&self, reason: CloseReason) {
        if reason != CloseReason::PartnerLeft {
            info!(conn = self.presence.conn.0, code = u16::from(reason.code()), %reason, "closed");
        }
    }
}

/// Lets the peer read our close frame: a socket closed with unread data resets the connection, and the
/// close frame is lost with it.
async fn drain(stream: &mut Connected) {
    let _ = stream.close().await;
    let mut scratch = vec![0; 16 * 1024];
    while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
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
