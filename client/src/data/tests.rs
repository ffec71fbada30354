//! Joins with channels of a real webrtcbin, which are not connected to a peer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
};

use async_std::channel::unbounded;
use gst::prelude::*;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
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
        let join = Arc::new(Join::new(spec.parse().unwrap(), None, to_events));
        Self { join, webrtcbin, channels: Vec::new() }
    }

    /// Another channel, not open yet.
    pub(super) fn line(&mut self) -> Arc<Line> {
        let key = u64::try_from(self.channels.len()).unwrap();
        let args: [&dyn ToValue; 2] = [&format!("x{key}"), &None::<gst::Structure>];
        let channel =
            self.webrtcbin.emit_by_name::<Option<WebRTCDataChannel>>("create-data-channel", &args[..]);
        let channel = channel.unwrap();
        let queue = if self.join.spec.end.is_shared() { self.join.shared.clone() } else { Arc::default() };
        let line = Arc::new(Line::new(key, None, &channel, Arc::default(), queue));
        self.channels.push(channel);
        line
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.webrtcbin.set_state(gst::State::Null);
    }
}

/// Starts a thread, and waits until it is blocked.
fn blocked(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let (to_here, path) = mpsc::channel();
    let thread = thread::spawn(move || {
        to_here.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
        work();
    });
    let stat: PathBuf = Path::new("/proc").join(path.recv_timeout(LIMIT).unwrap()).join("stat");
    let until = Instant::now() + LIMIT;
    while !fs::read_to_string(&stat).unwrap().contains(") S ") {
        assert!(Instant::now() < until, "the thread goes on");
        thread::sleep(MS);
    }
    thread
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
    hear.join().unwrap();
    assert!(scene.join.floor().message(MS, 1).0, "a closed channel holds it");
}

#[test]
fn a_channel_that_is_closed_while_it_opens_does_not_stay() {
    let mut scene = Scene::new("x=udp:127.0.0.1:9?exclusive");
    let line = scene.line();
    let floor = scene.join.floor();
    let (join, of) = (scene.join.clone(), line.clone());
    let open = blocked(move || join.open(&of, &|| true));
    let (join, of) = (scene.join.clone(), line.clone());
    let end = blocked(move || join.end(&of, "the test closes it"));
    drop(floor);
    open.join().unwrap();
    end.join().unwrap();
    assert!(scene.join.lines().is_empty(), "a closed channel stays");
}
