//! Recordings and snapshots, decoded again: frames are counted, and their colour and sound measured.

use std::{
    fs,
    path::{Path, PathBuf},
};

use callbin_tests::{
    Client, DEADLINE, Server,
    client::Event,
    disk::Disk,
    recording::{decode, picture},
    wait_until,
};
use tempfile::TempDir;

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const SMALL: [&str; 3] = ["--no-ice-servers", "--size", "160x120"];

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A waiting client and one that calls it, with small pictures.
fn pair(server: &Server, callee: &[&str], caller: &[&str]) -> (Client, Client) {
    let mut waiting = Client::start(server, &[&["wait", "--id", "callee"], &SMALL[..], callee].concat());
    waiting.wait_for("waiting");
    let calling = Client::start(server, &[&["call", "callee", "--id", "me"], &SMALL[..], caller].concat());
    (waiting, calling)
}

/// The file of the next recording of this peer.
#[track_caller]
fn recording(client: &mut Client, uid: &str) -> PathBuf {
    let is_its = |event: &Event| {
        event.name() == "record-started"
            && event.text("/file").rsplit('/').next().is_some_and(|it| it.starts_with(uid))
    };
    client.wait_for_any(&format!("a recording of {uid}"), DEADLINE, is_its).text("/file").into()
}

/// Killed in the middle, a recorder leaves files that have everything it had decoded a moment before.
#[test]
fn a_recording_plays_to_its_end_after_kill_9() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let (_callee, mut caller) = pair(
        &server,
        &["--video-pattern", "blue"],
        &["--video-pattern", "red", "--record", text(folder.path()), "--record-own"],
    );
    let (theirs, ours) = (recording(&mut caller, "callee-"), recording(&mut caller, "me-"));
    let stats = caller.wait_for_stats("some seconds", |stats| stats.number("/video/frames") >= 90.0);
    caller.process().kill();
    let decoded = stats.number("/video/frames") as usize;
    let found = decode(&theirs);
    assert!(found.frames >= decoded && found.shows(BLUE), "of {decoded} frames: {found:?}");
    assert!(found.length.as_secs_f64() > 2.0, "{found:?}");
    assert!(found.sounds > 100 && (0.1..0.5).contains(&found.peak), "{found:?}");
    let sent = stats.number("/sent/video_frames") as usize;
    let found = decode(&ours);
    // Our recording begins a moment after the peer's first frame.
    assert!(
        found.frames + 15 >= sent && found.shows(RED) && found.sounds > 100,
        "of {sent} frames: {found:?}"
    );
}

#[test]
fn a_recorder_of_a_room_begins_new_files_and_removes_old_ones() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let mut recorder = Client::start(
        &server,
        &[
            &["record", "r", "--id", "recorder", "--record", text(folder.path())],
            &["--record-segment", "1s", "--record-max-disk", "1M"][..],
        ]
        .concat(),
    );
    recorder.wait_for("joined");
    let member = |id: &str, pattern: &str| {
        let args = ["room", "r", "--id", id, "--view", "none", "--video-pattern", pattern];
        // Each request of the recorder gets its key frame.
        let rates = ["--bitrate", "3000", "--keyframe-interval", "0"];
        Client::start(&server, &[&args[..], &rates, &SMALL].concat())
    };
    let (mut anna, _ben) = (member("anna", "snow"), member("ben", "blue"));
    let first = recording(&mut recorder, "anna-");
    let blue = recording(&mut recorder, "ben-");
    recorder.wait_for_any("the end of ben's file", DEADLINE, |event| {
        event.name() == "record-ended" && Path::new(event.text("/file")) == blue
    });
    if blue.exists() {
        let found = decode(&blue);
        assert!(found.frames > 10 && found.shows(BLUE), "{found:?}");
    }
    wait_until("the removal of the oldest file", DEADLINE, || (!first.exists()).then_some(()));
    let sizes =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.and_then(|it| it.metadata()));
    let total: u64 = sizes.filter_map(Result::ok).map(|data| data.len()).sum();
    assert!(total <= 3 << 19, "{total} bytes");
    let stats = anna.fresh_stats("recorder");
    assert_eq!(stats.number("/video/frames"), 0.0, "a recorder sends nothing");
    recorder.hang_up();
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_call() {
    let (server, disk) = (Server::start(&[]), Disk::of_size(400 << 10));
    let (_callee, mut caller) = pair(
        &server,
        &["--video-pattern", "snow", "--bitrate", "2000"],
        &["--record", text(disk.path()), "--receive-only"],
    );
    recording(&mut caller, "callee-");
    let ended = caller.wait_for("record-ended");
    assert!(ended.text("/reason").contains("No space left"), "{ended:?}");
    caller.forget();
    caller.wait_for_stats("pictures", |stats| stats.number("/video/fps") > 5.0);
    caller.hang_up();
}

#[test]
fn pictures_are_written_at_once_and_on_request() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let file = folder.path().join("now.jpg");
    let (mut callee, mut caller) = pair(
        &server,
        &["--video-pattern", "blue", "--snapshot", text(folder.path())],
        &["--video-pattern", "red", "--snapshot", text(&file)],
    );
    let taken: PathBuf = callee.wait_for("snapshot").text("/file").into();
    assert!(taken.file_name().expect("a name").to_string_lossy().starts_with("caller-"), "{taken:?}");
    let found = picture(&taken);
    assert!(found.frames == 1 && found.shows(RED), "{found:?}");
    assert_eq!(Path::new(caller.wait_for("snapshot").text("/file")), file);
    assert!(picture(&file).shows(BLUE));
    fs::remove_file(&file).expect("it is there");
    caller.process().signal("USR1");
    caller.wait_for("snapshot");
    assert!(picture(&file).shows(BLUE));
    caller.hang_up();
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_at_the_start() {
    let server = Server::start(&[]);
    let mut client = Client::start(&server, &["wait", "--record", "/dev/null/x"]);
    assert_eq!(client.exit_code(), 2);
    assert!(client.errors().contains("--record /dev/null/x"), "{}", client.errors());
}
