//! The thread that carries the media: waits for datagrams, messages and deadlines, and lets the engine handle them.

use std::{
    io,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use callbin_protocol::node::FromNode;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::{
    control::link::{Inbound, Mailbox, Outbox},
    engine::Engine,
    net::{
        local::Local,
        socket::{self, Receiver, Sender},
    },
};

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
/// The batches that are read before deadlines and messages get their turn.
const BATCHES: usize = 8;
/// The messages that are handled before datagrams and deadlines get their turn.
const MESSAGES: usize = 64;

/// The worker, before it runs.
#[derive(Debug)]
pub struct Worker {
    poll: Poll,
    receiver: Receiver,
    sender: Sender,
    inbox: mpsc::Receiver<Inbound>,
    outbox: Option<Outbox>,
    engine: Engine,
}

impl Worker {
    /// A worker of this socket, and its mailbox.
    pub fn new(socket: std::net::UdpSocket, local: Local, engine: Engine) -> io::Result<(Self, Mailbox)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut socket = mio::net::UdpSocket::from_std(socket);
        poll.registry().register(&mut socket, SOCKET, Interest::READABLE)?;
        let (receiver, sender) = socket::split(socket, local)?;
        let (mailbox, inbox) = Mailbox::new(waker);
        Ok((Self { poll, receiver, sender, inbox, outbox: None, engine }, mailbox))
    }

    /// Works until [`Inbound::Stop`].
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        let (mut is_readable, mut has_messages) = (true, false);
        loop {
            let timeout = if is_readable || has_messages { Some(Duration::ZERO) } else { self.timeout() };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => is_readable |= events.iter().any(|event| event.token() == SOCKET),
            }
            if is_readable {
                is_readable = self.read();
            }
            match self.take_messages() {
                Some(are_left) => has_messages = are_left,
                None => return Ok(()),
            }
            let now = Instant::now();
            if self.engine.deadline().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now, &mut self.sender);
            }
            self.sender.flush();
            self.send_messages();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        self.engine.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Reads some batches. True: more may be there.
    fn read(&mut self) -> bool {
        for _ in 0..BATCHES {
            if !self.receiver.read() {
                return false;
            }
            let now = Instant::now();
            for (source, destination, datagram) in self.receiver.datagrams() {
                self.engine.handle_datagram(source, destination, datagram, now, &mut self.sender);
            }
            self.engine.flush(now, &mut self.sender);
            self.sender.flush();
        }
        true
    }

    /// Handles some of the messages that are there. Returns whether more may be there. None: the process is to end.
    fn take_messages(&mut self) -> Option<bool> {
        for _ in 0..MESSAGES {
            let Ok(inbound) = self.inbox.try_recv() else { return Some(false) };
            let now = Instant::now();
            match inbound {
                Inbound::Attached(outbox) => self.outbox = Some(outbox),
                Inbound::Message(message) => self.engine.handle_message(message, now, &mut self.sender),
                Inbound::Detached => {
                    self.outbox = None;
                    self.engine.reset(now, &mut self.sender);
                }
                Inbound::Stop => {
                    self.engine.reset(now, &mut self.sender);
                    self.sender.flush();
                    return None;
                }
            }
        }
        Some(true)
    }

    fn send_messages(&mut self) {
        for mut message in self.engine.messages() {
            if let FromNode::Stats(stats) = &mut message {
                stats.dropped = self.sender.dropped();
            }
            // Without a connection there are no sessions, or they are over soon.
            let is_sent = self.outbox.as_ref().is_some_and(|outbox| outbox.send(message));
            if !is_sent && self.outbox.take().is_some() {
                tracing::warn!("the server does not read: its sessions end");
                self.engine.reset(Instant::now(), &mut self.sender);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use callbin_protocol::node::ToNode;

    use super::*;
    use crate::{core::node::Limits, rtc::Stack};

    #[test]
    fn messages_leave_turns_to_the_media() {
        let socket = socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let local = Local::new(socket.local_addr().unwrap(), &[], Vec::new());
        let stack = Stack::new(local.candidates().to_vec()).unwrap();
        let engine = Engine::new(stack, Limits { streams: 1, viewers: 1, bits: None });
        let (mut worker, mailbox) = Worker::new(socket, local, engine).unwrap();
        for _ in 0..100 {
            mailbox.send(Inbound::Message(ToNode::welcome(5)));
        }
        assert_eq!(worker.take_messages(), Some(true));
        assert_eq!(worker.inbox.try_iter().count(), 36, "it handles 64 at once");
        assert_eq!(worker.take_messages(), Some(false));
        mailbox.send(Inbound::Stop);
        assert_eq!(worker.take_messages(), None);
    }
}
