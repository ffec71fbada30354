//! The thread that speaks with the server.

use std::{
    convert::Infallible,
    io,
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    time::{Duration, Instant},
};

use callbin_protocol::node::{FromNode, Hello, Limits, ToNode};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    backoff::Backoff,
    dial::{self, Stream, Target},
};

/// The most messages that may wait for the worker, and the least limit of those that wait for the server.
const QUEUE: usize = 4096;
/// The most messages that may wait to be sent to the server, however many clients the node takes: their memory is reserved.
const LONGEST_QUEUE: usize = 1 << 18;
/// The time between two pings, and until an answer is there.
const PING: Duration = Duration::from_secs(15);

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// What the worker gets from this thread.
#[derive(Debug)]
pub enum Inbound {
    /// The server is connected. Messages for it go to this outbox.
    Attached(Outbox),
    /// A message of the server.
    Message(ToNode),
    /// The server is lost, with all sessions.
    Detached,
    /// The process is to end.
    Stop,
}

/// The way of messages to the server, as long as this connection to it lasts. Dropping it ends the connection.
#[derive(Debug)]
pub struct Outbox {
    messages: Option<SyncSender<FromNode>>,
    waker: Waker,
}

impl Outbox {
    /// An outbox that wakes its reader, and its other end. It takes two messages at once about each session of the limits: all
    /// sessions may end at once.
    pub fn new(waker: Waker, limits: Limits) -> (Self, Receiver<FromNode>) {
        let sessions = limits.streams.saturating_add(limits.viewers);
        let all = usize::try_from(sessions).unwrap_or(usize::MAX).saturating_mul(2);
        let (messages, receiver) = sync_channel(all.clamp(QUEUE, LONGEST_QUEUE));
        (Self { messages: Some(messages), waker }, receiver)
    }

    /// Queues a message. False: the connection is over, or the server does not read.
    pub fn send(&self, message: FromNode) -> bool {
        self.messages.as_ref().is_some_and(|messages| messages.try_send(message).is_ok())
            && self.waker.wake().is_ok()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.messages = None;
        let _ = self.waker.wake();
    }
}

/// The worker's mailbox: a bounded queue, and what wakes the worker.
#[derive(Debug, Clone)]
pub struct Mailbox {
    messages: SyncSender<Inbound>,
    waker: Arc<Waker>,
}

impl Mailbox {
    /// A mailbox and its other end.
    pub fn new(waker: Arc<Waker>) -> (Self, Receiver<Inbound>) {
        let (messages, receiver) = sync_channel(QUEUE);
        (Self { messages, waker }, receiver)
    }

    /// Waits until there is space. False: the worker is gone.
    pub fn send(&self, inbound: Inbound) -> bool {
        self.messages.send(inbound).is_ok() && self.waker.wake().is_ok()
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Dial(#[from] dial::DialError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    WebSocket(Box<Error>),
    #[error("the server closed the connection: {0}")]
    Closed(String),
    #[error("the server sent a frame that is no message: {0}")]
    Malformed(String),
    #[error("the server does not answer")]
    Silent,
    #[error("the server does not read")]
    Full,
    #[error("the node ends")]
    Worker,
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// Connects again and again, until the worker is gone.
pub fn run(target: &Target, token: Option<&str>, hello: &Hello, mailbox: &Mailbox) {
    let mut backoff = Backoff::default();
    loop {
        let Err(lost) = connection(target, token, hello, mailbox, &mut backoff);
        if matches!(lost, Lost::Worker) {
            return;
        }
        let pause = backoff.next(rand::random());
        tracing::warn!(error = %lost, pause_ms = pause.as_millis() as u64, "no connection to the server");
        std::thread::sleep(pause);
    }
}

fn connection(
    target: &Target,
    token: Option<&str>,
    hello: &Hello,
    mailbox: &Mailbox,
    backoff: &mut Backoff,
) -> Result<Infallible, Lost> {
    let (socket, below) = dial::connect(target, token)?;
    let (mut connection, outbox) = Connection::new(socket, &below, hello.limits)?;
    connection.write(Message::text(FromNode::Hello(hello.clone()).to_string()))?;
    if !mailbox.send(Inbound::Attached(outbox)) {
        return Err(Lost::Worker);
    }
    let Err(lost) = connection.serve(mailbox, backoff);
    let _ = connection.socket.flush();
    if !mailbox.send(Inbound::Detached) {
        return Err(Lost::Worker);
    }
    Err(lost)
}

struct Connection {
    socket: WebSocket<Stream>,
    poll: Poll,
    messages: Receiver<FromNode>,
    heard: Instant,
    pinged: Option<Instant>,
}

impl Connection {
    fn new(socket: WebSocket<Stream>, below: &TcpStream, limits: Limits) -> io::Result<(Self, Outbox)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        poll.registry().register(
            &mut SourceFd(&below.as_raw_fd()),
            SOCKET,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let (outbox, messages) = Outbox::new(waker, limits);
        Ok((Self { socket, poll, messages, heard: Instant::now(), pinged: None }, outbox))
    }

    fn serve(&mut self, mailbox: &Mailbox, backoff: &mut Backoff) -> Result<Infallible, Lost> {
        let mut events = Events::with_capacity(8);
        loop {
            self.read(mailbox, backoff)?;
            self.write_queued()?;
            self.check_silence()?;
            match self.poll.poll(&mut events, Some(PING / 2)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
    }

    fn read(&mut self, mailbox: &Mailbox, backoff: &mut Backoff) -> Result<(), Lost> {
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Err(Lost::Closed(String::new()));
                }
                Err(error) => return Err(error.into()),
            };
            self.heard = Instant::now();
            match message {
                Message::Text(text) => {
                    let message = ToNode::parse(&text).map_err(|error| self.protest(&error.to_string()))?;
                    if let ToNode::Welcome { .. } = &message {
                        backoff.reset();
                        tracing::info!("attached to the server");
                    }
                    if !mailbox.send(Inbound::Message(message)) {
                        return Err(Lost::Worker);
                    }
                }
                Message::Close(frame) => {
                    let why = frame.map_or_else(String::new, |it| format!("{} {}", it.code, it.reason));
                    return Err(Lost::Closed(why));
                }
                _ => {}
            }
        }
    }

    fn protest(&mut self, why: &str) -> Lost {
        let frame = CloseFrame { code: CloseCode::Protocol, reason: "malformed".into() };
        let _ = self.socket.close(Some(frame));
        Lost::Malformed(why.into())
    }

    fn write_queued(&mut self) -> Result<(), Lost> {
        loop {
            match self.messages.try_recv() {
                Ok(message) => self.write(Message::text(message.to_string()))?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(Lost::Full),
            }
        }
        match self.socket.flush() {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => Ok(result?),
        }
    }

    fn write(&mut self, message: Message) -> Result<(), Lost> {
        match self.socket.write(message) {
            // It is queued.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => Ok(result?),
        }
    }

    /// Pings a server that is silent, and gives up one that stays silent.
    fn check_silence(&mut self) -> Result<(), Lost> {
        let silent = self.heard.elapsed();
        match self.pinged {
            _ if silent < PING => self.pinged = None,
            None => {
                self.pinged = Some(Instant::now());
                self.write(Message::Ping(Vec::new().into()))?;
                self.write_queued()?;
            }
            Some(at) if at.elapsed() >= PING => return Err(Lost::Silent),
            Some(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use callbin_protocol::node::{Reason, SessionId};

    use super::*;

    #[test]
    fn all_sessions_may_end_at_once() {
        let outbox = |limits| {
            let poll = Poll::new().unwrap();
            let (outbox, receiver) = Outbox::new(Waker::new(poll.registry(), WAKE).unwrap(), limits);
            (outbox, receiver, poll)
        };
        let session = SessionId::new("a").unwrap();
        let end = FromNode::End { session, reason: Reason::Gone, detail: String::new() };
        let (many, _receiver, _poll) = outbox(Limits { streams: 1, viewers: 10_000 });
        assert!((0..10_001).all(|_| many.send(end.clone())));
        let (most, _receiver, _poll) = outbox(Limits { streams: u32::MAX, viewers: u32::MAX });
        assert_eq!((0..).take_while(|_| most.send(end.clone())).count(), LONGEST_QUEUE, "it is bounded");
    }
}
