//! Joins with channels of a real webrtcbin, which are not connected to a peer.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
};

use async_std::channel::unbounded;
use gst::prelude::*;

use super::*;

pub(super) const LIMIT: Duration = Duration::from_secs(30);
const MS: Duration = Duration::from_millis(1);

/// A join without threads, and its channels.
pub(super) struct Scene {
    pub(super) join: Arc<Join>,
    webrtcbin: gst::Element,
    channels: Vec<WebRTCDataChannel>,
}

impl Scene {
    pub(super) fn new(spec: &str) -> Self {
        gst::init().unwrap();
        let webrtcbin = gst::ElementFactory::make("webrtcbin").build().unwrap();
        webrtcbin.set_state(gst::State::Ready).unwrap();
        let (to_events, _) = unbounded();
        let join = Arc::new(Join::new(spec.parse().unwrap(), None, None, to_events));
        Self { join, webrtcbin, channels: Vec::new() }
    }

    /// Another channel, not open yet.
    fn channel(&mut self, label: &str) -> WebRTCDataChannel {
        let args: [&dyn ToValue; 2] = [&label, &None::<gst::Structure>];
        let channel =
            self.webrtcbin.emit_by_name::<Option<WebRTCDataChannel>>("create-data-channel", &args[..]);
        let channel = channel.unwrap();
        self.channels.push(channel.clone());
        channel
    }

    /// Another channel of the join, not open yet.
    pub(super) fn line(&mut self) -> Arc<Line> {
        let key = u64::try_from(self.channels.len()).unwrap();
        let channel = self.channel("x");
        let queue = if self.join.spec.end.is_shared() { self.join.shared.clone() } else { Arc::default() };
        Arc::new(Line::new(key, None, &channel, Arc::default(), queue))
    }

    /// The joins of a program that has only this one.
    pub(super) fn joins(&self) -> Arc<Joins> {
        Arc::new(Joins { all: vec![self.join.clone()], next: AtomicU64::new(100) })
    }
}

/// Hands on what is written.
pub(super) struct Sink(pub(super) mpsc::Sender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.webrtcbin.set_state(gst::State::Null);
    }
}

pub(super) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(MS);
    }
}

/// Starts a thread, and waits until it is blocked.
pub(super) fn blocked(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let (to_here, path) = mpsc::channel();
    let thread = thread::spawn(move || {
        to_here.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
        work();
    });
    let stat: PathBuf = Path::new("/proc").join(path.recv_timeout(LIMIT).unwrap()).join("stat");
    wait_until("it is blocked", || fs::read_to_string(&stat).unwrap().contains(") S ").then_some(()));
    thread
}

/// Waits for the end of a thread.
pub(super) fn finish(thread: thread::JoinHandle<()>) {
    wait_until("its end", || thread.is_finished().then_some(()));
    thread.join().unwrap();
}

#[test]
fn a_message_that_comes_while_its_channel_is_closed_does_not_hold_the_channel() {
    let mut scene = Scene::new("x=udp:127.0.0.1:9?exclusive");
    let lines = [scene.line(), scene.line()];
    lines.iter().for_each(|line| scene.join.open(line, &|| true));
    let mut floor = scene.join.floor();
    let (join, line) = (scene.join.clone(), lines[0].clone());
    let hear = blocked(move || join.hear(&line, b"go"));
    assert!(lines[0].close());
    assert_eq!(floor.closed(0), []);
    drop(floor);
    finish(hear);
    assert!(scene.join.floor().message(MS, 1).0, "a closed channel holds it");
}

#[test]
fn a_channel_that_is_closed_while_it_opens_does_not_stay() {
    let mut scene = Scene::new("x=udp:127.0.0.1:9?exclusive");
    let line = scene.line();
    let floor = scene.join.floor();
    let (join, of) = (scene.join.clone(), line.clone());
    let open = blocked(move || join.open(&of, &|| true));
    // It is closed before it can be opened.
    assert!(line.close());
    drop(floor);
    finish(open);
    assert!(scene.join.lines().is_empty(), "a closed channel stays");
}

#[test]
fn a_channel_of_a_peer_that_is_gone_is_not_joined() {
    let mut scene = Scene::new("x=udp:127.0.0.1:9?exclusive");
    let desk = scene.joins().desk(None);
    let [early, late] = [scene.channel("x"), scene.channel("x")];
    assert!(desk.join(&early, || true));
    early.emit_by_name::<()>("on-open", &[]);
    assert_eq!(scene.join.lines().len(), 1);
    desk.close();
    assert!(desk.join(&late, || true));
    late.emit_by_name::<()>("on-open", &[]);
    assert!(scene.join.lines().is_empty(), "it stays for ever");
}
