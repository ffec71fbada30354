//! The client's engine in this process, for what `callbin` does not do at a test's request.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use async_std::{channel, future::timeout, task};
use callbin::{
    cli::{Cli, Command},
    engine::{Engine, Lookup, Out},
    events::Event,
    media::{
        encode::codec::{Format, Formats},
        input::news::News,
        source::Source,
    },
    negotiation::Start,
    peer::{PeerConfig, Said},
    view::View,
};
use callbin_protocol::Signal;

use crate::{DEADLINE, Server, Socket};

/// How long the engine's thread sleeps if nothing happens.
const TURN: Duration = Duration::from_millis(5);

/// An engine, and the channels that its owner has to empty.
#[derive(Debug)]
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// Events of its pipelines.
    pub inbox: channel::Receiver<Said>,
    /// Results of its lookups.
    pub lookups: channel::Receiver<Lookup>,
}

/// A host that is called, on its own thread.
#[derive(Debug)]
pub struct Callee {
    to_say: Option<Sender<String>>,
    heard: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts an engine with small media; `media` says whether it sends and receives them.
    pub fn start(media: (bool, bool), setup_limit: Duration) -> Self {
        let cli =
            Cli::read(["callbin", "wait", "--size", "64x64", "--fps", "5"]).expect("the flags are right");
        let Command::Wait { options, .. } = cli.command else { unreachable!("wait was asked for") };
        let (to_inbox, inbox) = channel::unbounded();
        let (to_lookups, lookups) = channel::unbounded();
        let codecs: Formats = [Format::Vp8, Format::Vp9, Format::Opus, Format::Pcmu].into_iter().collect();
        let config = PeerConfig {
            latency: Some(100),
            audio: media,
            video: media,
            codecs: Arc::new(codecs.into()),
            ..PeerConfig::default()
        };
        let mut engine = Engine::new(config, setup_limit, true, to_inbox, to_lookups);
        let source = Source::start(&options.media, codecs, &News::new().0);
        engine.set_source(source.expect("the encoders start"), View::none());
        Self { engine, inbox, lookups }
    }

    /// Waits for an event of a pipeline, for `limit` at most, and handles all that the pipelines and lookups report.
    pub fn turn(&mut self, limit: Duration) {
        if let Ok(Ok(said)) = task::block_on(timeout(limit, self.inbox.recv())) {
            self.engine.peer_event(said.slot, said.generation, said.event);
        }
        while let Ok(Said { slot, generation, event, .. }) = self.inbox.try_recv() {
            self.engine.peer_event(slot, generation, event);
        }
        while let Ok(lookup) = self.lookups.try_recv() {
            self.engine.looked_up(lookup);
        }
        self.engine.tick();
    }
}

impl Callee {
    /// Registers as `uid` and answers one call.
    pub fn wait(server: &Server, uid: &str) -> Self {
        gst::init().expect("GStreamer starts");
        let mut socket = Socket::register(server, uid);
        socket.set_deadline(TURN);
        let (to_say, saying) = mpsc::channel();
        let (hears, heard) = mpsc::channel();
        let thread = thread::spawn(move || serve(&mut socket, &saying, &hears));
        Self { to_say: Some(to_say), heard, thread: Some(thread) }
    }

    /// Sends a text on the first open data channel, or on the next one.
    pub fn say(&self, text: &str) {
        self.to_say.iter().for_each(|to_say| to_say.send(text.into()).expect("the engine runs"));
    }

    /// Waits for a text of the peer.
    #[track_caller]
    pub fn hear(&self) -> String {
        self.heard.recv_timeout(DEADLINE).expect("a text arrives")
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.to_say = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Runs an engine until its owner is dropped.
fn serve(socket: &mut Socket, saying: &Receiver<String>, hears: &Sender<String>) {
    let mut host = Host::start((true, true), DEADLINE);
    let key = host.engine.open(None, Start::BeCalled, true, Duration::ZERO);
    loop {
        host.turn(Duration::ZERO);
        while let Some((_, out)) = host.engine.next_out() {
            match out {
                Out::Send(signal) => socket.send(&signal.to_string()),
                Out::Tell(Event::Data { text }) => drop(hears.send(text)),
                Out::Failed { failure, .. } => panic!("{failure}"),
                _ => {}
            }
        }
        if let Some(signal) = socket.try_receive_text().and_then(|text| Signal::parse(&text).ok()) {
            host.engine.signal(key, signal);
        }
        match saying.try_recv() {
            Ok(text) => host.engine.say(key, text),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
    }
    host.engine.close_all();
    host.engine.wait_for_teardown(DEADLINE);
}
