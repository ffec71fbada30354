//! Data channels joined to something else: stdio, sockets, serial ports, commands (`--data`).
//!
//! ```text
//! peer ─→ data channel ─→ floor: may it? ─→ intake: bounded ─→ end
//! peer ←─ data channel ←─ waits while the channel is full ←─── end
//! ```
//!
//! Pure: [`controls`] declares what pages can operate, `farewell` ends a channel without losses, [`spec`] reads the flag,
//! [`floor`] decides who may send and notices when messages stop, [`notice`] is the message to peers about that, `lines` cuts
//! the output of an end into messages, and `sack` makes a peer wait. The others move bytes on threads: ends block, and
//! GStreamer's callbacks must not.

mod command;
pub mod controls;
mod end;
mod farewell;
pub mod floor;
mod intake;
mod line;
mod lines;
pub mod notice;
mod own;
mod sack;
mod shared;
pub mod spec;
mod stale;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use async_std::channel::Sender;
use gst_webrtc::WebRTCDataChannel;

use self::{
    controls::Declaration,
    farewell::{Farewell, Step},
    floor::{Change, Effect, Floor, Who},
    intake::{Incoming, Intake, Queue},
    line::{Line, Outgoing},
    lines::{Lines, MAX_MESSAGE},
    notice::Notice,
    shared::Bound,
    spec::{Repeat, Spec},
    stale::Runner,
};
use crate::{events::Event, exit::Failure};

/// The protocol (RFC 8832, section 5.1) of channels that are for data, not for texts.
pub const PROTOCOL: &str = "callbin-data";
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// At the end of the process: time limit for writing what has come, and how often that is looked at.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
/// At the end of the process: time limit for the end of commands, which are killed shortly before.
const COMMANDS_LIMIT: Duration = command::LAST_WORDS.saturating_add(Duration::from_secs(1));

/// An event, and the peer that it is about.
pub type Told = (Who, Event);

/// All joins of this process.
#[derive(Debug, Default)]
pub struct Joins {
    all: Vec<Arc<Join>>,
    next: AtomicU64,
}

/// The joined channels of one label.
#[derive(Debug)]
struct Join {
    spec: Spec,
    born: Instant,
    floor: Mutex<Floor>,
    /// The floor has another deadline.
    changed: Condvar,
    lines: Mutex<BTreeMap<u64, Arc<Line>>>,
    has_lines: Condvar,
    /// For other ends: how many are still written to.
    writers: AtomicUsize,
    /// How many commands run.
    commands: AtomicUsize,
    /// For a shared end: the messages of all peers.
    shared: Arc<Queue>,
    /// For a shared end: whether its absence was reported.
    is_gone: AtomicBool,
    /// For a shared end that is gone for good: why.
    over: OnceLock<String>,
    told: Sender<Told>,
    on_stale: Option<Arc<Runner>>,
    /// Sent when a channel opens.
    declaration: Option<Declaration>,
}

/// The joined channels of one peer.
#[derive(Debug)]
pub struct Desk {
    joins: Arc<Joins>,
    who: Who,
    intake: Arc<Intake>,
    /// `None` when the peer is gone: webrtcbin may still announce channels then.
    lines: Mutex<Option<Joined>>,
}

/// Channels, each with its join.
type Joined = Vec<(Arc<Join>, Arc<Line>)>;

impl Joins {
    /// Prepares the joins, and binds the addresses of those that listen. `controls` are declared on the
    /// channel for them. `told` takes their events.
    pub fn new(
        specs: &[Spec],
        on_stale: Option<&str>,
        controls: Option<&Declaration>,
        told: &Sender<Told>,
    ) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for spec in specs {
            let bound = shared::bind(&spec.end)?;
            let runner = on_stale.filter(|_| spec.hold.is_some()).map(|it| Runner::new(it, &spec.label));
            let declaration = controls.filter(|_| spec.label == controls::LABEL).cloned();
            let join = Arc::new(Join::new(spec.clone(), runner.transpose()?, declaration, told.clone()));
            join.start(bound)?;
            all.push(join);
        }
        Ok(Self { all, next: AtomicU64::new(0) })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The place of a peer.
    pub fn desk(self: &Arc<Self>, who: Who) -> Arc<Desk> {
        let lines = Mutex::new(Some(Vec::new()));
        Arc::new(Desk { joins: self.clone(), who, intake: Arc::default(), lines })
    }

    /// The process ends: no messages come any more. Waits until what has come is written and all commands have ended,
    /// each within a limit.
    pub fn close(&self) {
        self.all.iter().for_each(|join| join.stop());
        let now = Instant::now();
        self.wait(now + GOODBYE_LIMIT, Join::has_written);
        self.wait(now + COMMANDS_LIMIT, |join| join.commands.load(Relaxed) == 0);
    }

    fn wait(&self, until: Instant, is_done: impl Fn(&Join) -> bool) {
        while Instant::now() < until && !self.all.iter().all(|join| is_done(join)) {
            thread::sleep(LOOK);
        }
    }
}

impl Desk {
    /// The labels of the channels to open, each with the options for webrtcbin's `create-data-channel`.
    pub fn offers(&self) -> Vec<(String, gst::Structure)> {
        let of = |join: &Arc<Join>| (join.spec.label.clone(), options(&join.spec));
        self.joins.all.iter().map(of).collect()
    }

    /// Joins a channel, which may be open already, if its label is that of a join. Returns whether it is. `may_open`
    /// is asked before anything is sent: the peer's certificate is verified.
    pub fn join(
        self: &Arc<Self>,
        channel: &WebRTCDataChannel,
        may_open: impl Fn() -> bool + Send + Sync + 'static,
    ) -> bool {
        let label = channel.label().unwrap_or_default();
        let Some(join) = self.joins.all.iter().find(|join| *join.spec.label == *label) else { return false };
        let mut lines = self.lines();
        let Some(lines) = &mut *lines else { return true };
        if lines.iter().any(|(other, line)| Arc::ptr_eq(other, join) && !line.is_closed()) {
            tracing::warn!("the peer opened a second channel {label:?}: it is not joined");
            return true;
        }
        let key = self.joins.next.fetch_add(1, Relaxed);
        let queue = if join.spec.end.is_shared() { join.shared.clone() } else { Arc::default() };
        let line = Arc::new(Line::new(key, self.who.clone(), channel, self.intake.clone(), queue));
        lines.push((join.clone(), line.clone()));
        connect(join, &line, channel, may_open);
        true
    }

    /// Makes the peer wait when its messages do.
    pub fn watch(&self, sctpenc: &gst::Element) {
        if !self.joins.is_empty() {
            self.intake.limit(sctpenc);
        }
    }

    /// Whether the channel has the label of a join: it is not for texts.
    pub fn has(&self, channel: &WebRTCDataChannel) -> bool {
        let label = channel.label().unwrap_or_default();
        self.joins.all.iter().any(|join| *join.spec.label == *label)
    }

    /// The peer is gone.
    pub fn close(&self) {
        let lines = self.lines().take();
        for (join, line) in lines.into_iter().flatten() {
            join.end(&line, "the connection to the peer is closed");
        }
    }

    fn lines(&self) -> MutexGuard<'_, Option<Joined>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a channel is for data that we do not join: it is not for texts.
pub fn is_data(channel: &WebRTCDataChannel) -> bool {
    channel.protocol().is_some_and(|protocol| protocol == PROTOCOL)
}

/// The uid of a peer, or what stands for it if it is not known.
pub fn name_of(who: &Who) -> &str {
    who.as_ref().map_or("caller", |uid| uid.as_str())
}

/// Connects the callbacks of a joined channel.
fn connect(
    join: &Arc<Join>,
    line: &Arc<Line>,
    channel: &WebRTCDataChannel,
    may_open: impl Fn() -> bool + Send + Sync + 'static,
) {
    use gst::prelude::*;
    let may_open = Arc::new(may_open);
    let (to, of, may) = (join.clone(), line.clone(), may_open.clone());
    channel.connect_on_message_data(move |_, bytes| {
        if may() {
            to.hear(&of, bytes.map(|bytes| &**bytes).unwrap_or_default());
        }
    });
    let (to, of, may) = (join.clone(), line.clone(), may_open.clone());
    // Not `connect_on_message_string`: it assumes that the peer's bytes are UTF-8, unchecked.
    channel.connect("on-message-string", false, move |args| {
        if may() {
            let text = args.get(1).and_then(callbin_foreign::text::lossy).unwrap_or_default();
            match Notice::parse(&text) {
                Some(notice) => to.noticed(&of, notice),
                None => to.hear(&of, text.as_bytes()),
            }
        }
        None
    });
    let of = line.clone();
    channel.connect_on_buffered_amount_low(move |_| of.wake());
    let (to, of) = (join.clone(), line.clone());
    channel.connect_on_close(move |_| to.end(&of, "the channel is closed"));
    let (to, of, may) = (join.clone(), line.clone(), may_open.clone());
    channel.connect_on_open(move |_| to.open(&of, &*may));
    if channel.ready_state() == gst_webrtc::WebRTCDataChannelState::Open {
        join.open(line, &*may_open);
    }
}

/// The options for webrtcbin's `create-data-channel`.
fn options(spec: &Spec) -> gst::Structure {
    let (times, time) = match spec.repeat {
        Repeat::Always => (-1, -1),
        Repeat::Times(times) => (i32::from(times), -1),
        Repeat::For(ms) => (-1, i32::from(ms)),
    };
    gst::Structure::builder("options")
        .field("ordered", spec.ordered)
        .field("max-retransmits", times)
        .field("max-packet-lifetime", time)
        .field("protocol", PROTOCOL)
        .build()
}

impl Join {
    fn new(
        spec: Spec,
        on_stale: Option<Arc<Runner>>,
        declaration: Option<Declaration>,
        told: Sender<Told>,
    ) -> Self {
        let floor = Mutex::new(Floor::new(spec.exclusive, spec.hold));
        let (changed, lines, has_lines, writers, commands, shared, is_gone, over) = Default::default();
        let born = Instant::now();
        Self {
            spec,
            born,
            floor,
            changed,
            lines,
            has_lines,
            writers,
            commands,
            shared,
            is_gone,
            over,
            told,
            on_stale,
            declaration,
        }
    }

    fn start(self: &Arc<Self>, bound: Bound) -> Result<(), Failure> {
        if self.spec.end.is_shared() {
            shared::start(self, bound);
        }
        if self.spec.hold.is_some() {
            let this = self.clone();
            let watch = thread::Builder::new().name("data-hold".into()).spawn(move || this.watch_time());
            watch.map_err(Failure::internal)?;
        }
        Ok(())
    }

    /// A channel is open.
    fn open(self: &Arc<Self>, line: &Arc<Line>, may_open: &dyn Fn() -> bool) {
        if !may_open() {
            return;
        }
        let effects = {
            // Under this lock no channel is closed in between: it would stay for ever.
            let mut floor = self.floor();
            if !line.open() {
                return;
            }
            self.all_lines().insert(line.key, line.clone());
            floor.opened(line.key, line.who.clone())
        };
        self.has_lines.notify_all();
        self.declaration.iter().for_each(|it| line.tell(it.message()));
        self.carry_out(effects);
        if let Some(why) = self.over.get() {
            return self.end(line, why);
        }
        if self.spec.end.is_shared() {
            return self.joined(line);
        }
        let (join, of) = (self.clone(), line.clone());
        let spawned = thread::Builder::new().name("data-in".into()).spawn(move || own::run(&join, &of));
        if let Err(error) = spawned {
            self.end(line, &error.to_string());
        }
    }

    /// Messages have stopped.
    fn stop(&self) {
        let effects = self.floor().stop(self.born.elapsed());
        self.carry_out(effects);
    }

    /// A message came from the peer.
    fn hear(&self, line: &Arc<Line>, bytes: &[u8]) {
        let (came, passes, effects) = {
            // Under this lock, as in `open`: a channel that is closed must not become the holder.
            let mut floor = self.floor();
            if line.is_closed() {
                return;
            }
            let came = self.born.elapsed();
            let (passes, effects) = floor.message(came, line.key);
            (came, passes, effects)
        };
        // Only the first message after a pause sets an earlier deadline.
        if !effects.is_empty() {
            self.changed.notify_all();
        }
        self.carry_out(effects);
        if !passes || (bytes.is_empty() && !self.spec.text) {
            return;
        }
        match line.intake.take(bytes.len()) {
            Some(share) => line.queue.push(Incoming { bytes: bytes.to_vec(), came, _share: share }),
            None => self.end(line, "its end does not keep up, and the peer does not wait"),
        }
    }

    /// The peer says who holds the channel at its side, or that its messages end.
    fn noticed(&self, line: &Arc<Line>, notice: Notice) {
        let label = self.spec.label.clone();
        let event = match notice {
            Notice::End => return self.part(line, Farewell::peer_ends),
            Notice::Got => return self.part(line, Farewell::peer_got),
            Notice::Held { by, you } => Event::DataHeld { label, by, you },
            Notice::Free => Event::DataFree { label },
        };
        self.tell(line.who.clone(), event);
    }

    /// Takes a step towards the end of a channel.
    fn part(&self, line: &Arc<Line>, step: impl FnOnce(&mut Farewell) -> Vec<Step>) {
        for step in line.part(step) {
            match step {
                Step::Say(notice) => line.tell(&notice.text()),
                Step::PeerIsDone if self.spec.end.is_shared() => self.part(line, Farewell::we_end),
                Step::PeerIsDone => line.queue.close(),
                Step::Close => self.end(line, "both ends are closed"),
            }
        }
    }

    /// A channel and its end are joined.
    fn joined(&self, line: &Line) {
        self.tell(line.who.clone(), Event::DataJoined { label: self.spec.label.clone() });
    }

    /// A channel, or its end, is closed.
    fn end(&self, line: &Arc<Line>, reason: &str) {
        line.hang_up();
        if !line.close() {
            return;
        }
        if !self.spec.end.is_shared() {
            line.queue.close();
        }
        let (was_open, effects) = {
            let mut floor = self.floor();
            (self.all_lines().remove(&line.key).is_some(), floor.closed(line.key))
        };
        self.carry_out(effects);
        if was_open {
            self.ended(line.who.clone(), reason);
        }
    }

    fn ended(&self, who: Who, reason: &str) {
        self.tell(who, Event::DataEnded { label: self.spec.label.clone(), reason: reason.into() });
    }

    /// A device is away. Reported once.
    fn end_is_gone(&self, why: &str) {
        if !self.is_gone.swap(true, Relaxed) {
            self.ended(None, why);
        }
    }

    /// A device is there, or there again.
    fn end_is_back(&self) {
        if self.is_gone.swap(false, Relaxed) {
            self.tell(None, Event::DataJoined { label: self.spec.label.clone() });
        }
    }

    /// A shared end is gone for good: so are the channels, and those that open later.
    fn end_is_over(&self, why: &str) {
        let why = self.over.get_or_init(|| why.into());
        self.lines().iter().for_each(|line| self.end(line, why));
    }

    fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    fn carry_out(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell(key, notice) => {
                    let line = self.all_lines().get(&key).cloned();
                    line.iter().for_each(|line| line.tell(&notice.text()));
                }
                Effect::Report(who, change) => self.report(who, change),
            }
        }
    }

    fn report(&self, who: Who, change: Change) {
        if let (Change::Stale, Some(runner)) = (change, &self.on_stale) {
            runner.run(&who);
        }
        let label = self.spec.label.clone();
        let event = match change {
            Change::Held => Event::DataHeld { label, by: name_of(&who).into(), you: false },
            Change::Free => Event::DataFree { label },
            Change::Stale => Event::DataStale { label },
            Change::Live => Event::DataLive { label },
        };
        self.tell(who, event);
    }

    /// Events beyond what the program can write are dropped.
    fn tell(&self, who: Who, event: Event) {
        let _ = self.told.try_send((who, event));
    }

    /// Notices when messages stop.
    fn watch_time(&self) {
        let mut floor = self.floor();
        loop {
            let now = self.born.elapsed();
            let effects = floor.tick(now);
            if !effects.is_empty() {
                drop(floor);
                self.carry_out(effects);
                floor = self.floor();
            }
            let wait = floor.deadline().map(|deadline| deadline.saturating_sub(self.born.elapsed()));
            floor = match wait {
                Some(wait) => {
                    self.changed.wait_timeout(floor, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(floor).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Whether a message has waited for too long to be passed on.
    fn is_late(&self, message: &Incoming) -> bool {
        self.spec.hold.is_some() && self.floor().is_late(self.born.elapsed(), message.came)
    }

    fn has_written(&self) -> bool {
        self.writers.load(Relaxed) == 0 && self.shared.is_empty()
    }

    fn wait_for_lines(&self) {
        let lines = self.has_lines.wait_while(self.all_lines(), |lines| lines.is_empty());
        drop(lines);
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        self.all_lines().values().cloned().collect()
    }

    fn cutter(&self) -> Cutter {
        Cutter::new(self.spec.text, self.spec.end.has_messages())
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_lines(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an end, and cuts its output into messages.
struct Cutter {
    text: bool,
    has_messages: bool,
    lines: Lines,
    buffer: Vec<u8>,
}

impl Cutter {
    fn new(text: bool, has_messages: bool) -> Self {
        let buffer = vec![0; if has_messages { MAX_DATAGRAM } else { MAX_MESSAGE }];
        Self { text, has_messages, lines: Lines::default(), buffer }
    }

    /// Waits for the next messages. At the end of the stream, also why it ended.
    fn read(&mut self, from: &mut dyn Read) -> (Vec<Outgoing>, Option<String>) {
        let (bytes, why) = match from.read(&mut self.buffer) {
            Ok(0) => (&[][..], Some("its end is closed".into())),
            Ok(n) => (self.buffer.get(..n).unwrap_or_default(), None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (&[][..], None),
            Err(error) => (&[][..], Some(error.to_string())),
        };
        let messages = match (self.text, self.has_messages) {
            (false, _) if bytes.is_empty() => Vec::new(),
            (false, _) => vec![Outgoing::Bytes(gst::glib::Bytes::from(bytes))],
            (true, true) if bytes.is_empty() => Vec::new(),
            (true, true) => vec![Outgoing::Text(String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}"))],
            (true, false) => {
                let mut lines = self.lines.push(bytes);
                lines.extend(why.as_ref().and_then(|_| self.lines.rest()));
                lines.into_iter().map(Outgoing::Text).collect()
            }
        };
        (messages, why)
    }
}
