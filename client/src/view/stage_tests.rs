//! Tests the thread with scenes that only record calls, and with faulty ones.

use std::sync::mpsc;

use async_std::channel::{Receiver, bounded};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A scene whose sink's name selects its behaviour and the channel that it sends notes to.
struct Scripted {
    notes: mpsc::Sender<String>,
    sink: String,
    inside: Vec<u64>,
}

static NOTES: Mutex<BTreeMap<String, mpsc::Sender<String>>> = Mutex::new(BTreeMap::new());

impl Scripted {
    fn note(&self, text: String) {
        let _ = self.notes.send(text);
    }
}

impl Scene for Scripted {
    const NAME: &'static str = "scripted";

    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure> {
        let sink = sink.unwrap_or_default().to_string();
        let notes = NOTES.lock().unwrap().get(&sink).unwrap().clone();
        notes.send("open".into()).unwrap();
        match sink.as_str() {
            "refuses" => return Err(Failure::internal("no window")),
            "alarms" => alarm.raise("it was closed".into()),
            _ => {}
        }
        Ok(Self { notes, sink, inside: Vec::new() })
    }

    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure> {
        assert_ne!(self.sink, "panics", "as it should");
        let caps = if guest.caps.is_some() { "shown" } else { "blank" };
        self.note(format!("enter {id} {caps}"));
        self.inside.retain(|it| *it != id);
        self.inside.push(id);
        Ok(())
    }

    fn leave(&mut self, id: u64) -> bool {
        self.note(format!("leave {id}"));
        if self.sink == "hangs" {
            thread::sleep(LIMIT);
        }
        self.inside.retain(|it| *it != id);
        !self.inside.is_empty()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.note("end".into());
    }
}

fn start(sink: &str) -> (Stage, mpsc::Receiver<String>, Receiver<Lost>) {
    gst::init().unwrap();
    let (notes, noted) = mpsc::channel();
    NOTES.lock().unwrap().insert(sink.into(), notes);
    let (news, losses) = bounded(4);
    (Stage::start::<Scripted>(Some(sink.into()), news).unwrap(), noted, losses)
}

fn guest(shown: bool) -> Guest {
    let caps = shown.then(|| gst::Caps::new_empty_simple("video/x-raw"));
    Guest { name: "guest".into(), feed: gst_app::AppSrc::builder().build(), caps }
}

fn next(noted: &mpsc::Receiver<String>) -> String {
    noted.recv_timeout(LIMIT).unwrap()
}

fn loss(losses: &Receiver<Lost>) -> String {
    let lost = async_std::task::block_on(async_std::future::timeout(LIMIT, losses.recv()));
    lost.unwrap().unwrap().reason
}

#[test]
fn the_scene_follows_the_board() {
    let (stage, noted, losses) = start("follows");
    stage.enter(1, guest(false));
    assert_eq!([next(&noted), next(&noted)], ["open", "enter 1 blank"]);
    stage.enter(1, guest(true));
    assert_eq!(next(&noted), "enter 1 shown");
    stage.enter(2, guest(true));
    assert_eq!(next(&noted), "enter 2 shown");
    stage.leave(1);
    assert_eq!(next(&noted), "leave 1");
    stage.leave(2);
    assert_eq!([next(&noted), next(&noted)], ["leave 2", "end"]);
    stage.enter(3, guest(true));
    assert_eq!([next(&noted), next(&noted)], ["open", "enter 3 shown"]);
    stage.close(LIMIT);
    assert_eq!(next(&noted), "end");
    stage.enter(4, guest(true));
    drop(stage);
    assert_eq!(noted.try_recv().ok(), None);
    assert!(losses.try_recv().is_err(), "an end that is wanted is no loss");
}

#[test]
fn the_thread_ends_with_the_last_who_can_speak_to_it() {
    let (stage, noted, _losses) = start("ends");
    let other = stage.clone();
    stage.enter(1, guest(true));
    drop(stage);
    assert_eq!([next(&noted), next(&noted)], ["open", "enter 1 shown"]);
    drop(other);
    assert_eq!(next(&noted), "end");
}

#[test]
fn however_often_a_guest_changes_there_is_one_place_for_it() {
    let (stage, _noted, _losses) = start("busy");
    for _ in 0..10_000 {
        stage.enter(1, guest(true));
        assert_eq!(stage.board().lock().guests.len(), 1);
    }
}

#[test]
fn a_loss_is_told_once_and_for_good() {
    for (sink, reason) in [("refuses", "no window"), ("alarms", "it was closed")] {
        let (stage, noted, losses) = start(sink);
        stage.enter(1, guest(true));
        assert_eq!(loss(&losses), reason);
        stage.enter(2, guest(true));
        stage.leave(1);
        stage.close(LIMIT);
        assert_eq!(noted.try_iter().filter(|note| note == "open").count(), 1);
        assert!(losses.try_recv().is_err());
    }
}

#[test]
fn a_fault_in_the_thread_is_told() {
    let (stage, _noted, losses) = start("panics");
    stage.enter(1, guest(true));
    assert!(loss(&losses).contains("a bug"));
    stage.close(LIMIT);
}

#[test]
fn a_guest_that_cannot_leave_costs_the_scene_and_nobody_waits() {
    let (stage, noted, losses) = start("hangs");
    stage.enter(1, guest(true));
    while next(&noted) != "enter 1 shown" {}
    stage.leave(1);
    assert_eq!(next(&noted), "leave 1");
    let until = Instant::now() + STEP_LIMIT;
    stage.check();
    assert!(losses.try_recv().is_err(), "too early");
    while losses.is_empty() && Instant::now() < until + Duration::from_secs(20) {
        stage.check();
        thread::sleep(Duration::from_millis(50));
    }
    assert!(loss(&losses).contains("respond"));
    stage.enter(2, guest(true));
    assert!(stage.board().lock().guests.is_empty());
}
