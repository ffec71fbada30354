//! What `--video` and `--audio` send, seen and heard at the far end: every kind of source, and sources that fail and come
//! back.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{
    CALLER, Client, DEADLINE, Display, Rtsp, Server, Site, Socket,
    client::{Event, STATS_OFTEN},
    machine,
    process::free_port,
    program, wait_until,
};
use gst::prelude::*;
use tempfile::TempDir;

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
/// The mean of snow.
const GREY: [u8; 3] = [126; 3];
/// The mean of a card with its letters.
const CARD: [u8; 3] = [26, 42, 82];

/// Whether the latest frame has this mean colour.
fn is_of(stats: &Event, color: [u8; 3]) -> bool {
    let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) < 24;
    stats.color().is_some_and(|seen| seen.iter().zip(&color).all(near))
}

fn hears_tone(stats: &Event) -> bool {
    (stats.number("/audio/pitch_hz") - 880.0).abs() < 15.0
}

fn is_silent(stats: &Event) -> bool {
    stats.number("/audio/level_db") < -90.0
}

/// A callee that sends these sources, and a caller that only watches.
struct Call {
    sender: Client,
    watcher: Client,
    /// The time of the watcher's event that was awaited last.
    last: u64,
    _server: Server,
}

impl Call {
    fn start(args: &[&str]) -> Self {
        let server = Server::start(&[]);
        let mut command = Command::new(program("callbin"));
        command.args(["wait", "--id", "camera"]).args(args);
        Self::of(server, command)
    }

    fn of(server: Server, mut command: Command) -> Self {
        command.env("CALLBIN_SERVER", server.ws_url());
        if command.get_args().all(|arg| arg != "--size") {
            command.args(["--size", "320x240"]);
        }
        let mut sender = Client::spawn(command.args(["--headless", "--events", "json"]).args(STATS_OFTEN));
        sender.wait_for("waiting");
        let watcher = Client::start(&server, &["call", "camera", "--receive-only"]);
        Self { sender, watcher, last: 0, _server: server }
    }

    /// Waits until the watcher gets what is wanted, later than what it was awaited to get before.
    #[track_caller]
    fn shows(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let since = self.last;
        let wanted = |event: &Event| event.name() == "stats" && event.ms() > since && wanted(event);
        let Some(stats) = self.watcher.find(Instant::now() + DEADLINE, wanted) else {
            let told = self.sender.find(Instant::now(), |event| event.name() == "error");
            panic!("waited for {what}; the sender says {told:?}, {}", self.sender.errors());
        };
        self.last = stats.ms();
        stats
    }

    /// Waits for the next event of the sender about one medium.
    #[track_caller]
    fn tells(&mut self, name: &str, kind: &str) -> Event {
        self.sender.wait_for_any(&format!("{name} of {kind}"), DEADLINE, |event| {
            event.name() == name && event.text("/kind") == kind
        })
    }
}

/// Runs a pipeline of GStreamer until it ends.
fn run(elements: &str) {
    let pipeline = start(elements);
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.expect("it ends").type_(), gst::MessageType::Eos, "{elements}");
}

fn start(elements: &str) -> gst::Pipeline {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(elements).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline
}

/// A file of two seconds with a blue picture of another shape and a tone.
fn film(file: &Path) {
    run(&format!(
        "videotestsrc num-buffers=60 pattern=blue ! video/x-raw,width=320,height=240,framerate=30/1 ! openh264enc ! \
         h264parse ! matroskamux name=mux ! filesink location={} \
         audiotestsrc num-buffers=100 samplesperbuffer=960 freq=880 volume=0.25 ! \
         audio/x-raw,rate=48000,channels=1 ! opusenc ! mux.",
        file.display()
    ));
}

#[test]
fn a_source_that_ends_is_replaced_by_a_card_until_it_is_back() {
    let _machine = machine::busy();
    let source =
        "front=pipeline:videotestsrc is-live=true pattern=blue num-buffers=75 ! video/x-raw,framerate=25/1";
    let mut call = Call::start(&["--video", source, "--audio", "test"]);
    call.shows("blue", |stats| is_of(stats, BLUE));
    let lost = call.tells("source-lost", "video");
    assert_eq!((lost.text("/source"), lost.text("/reason")), ("front", "it has ended"));
    let back = call.tells("source-back", "video");
    assert_eq!(back.text("/source"), "front");
    // What the watcher got before is that of the first time.
    call.watcher.forget();
    for time in ["blue again", "blue in later frames"] {
        call.shows(time, |stats| is_of(stats, BLUE) && !is_silent(stats));
    }
}

#[test]
fn a_file_plays_at_its_pace_and_then_there_is_a_card_and_silence() {
    let _machine = machine::busy();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("film.mkv");
    film(&file);
    let source = format!("file:{}", file.display());
    let mut call = Call::start(&["--video", &source, "--audio", &source]);
    call.shows("picture and tone", |stats| is_of(stats, BLUE) && hears_tone(stats));
    for kind in ["video", "audio"] {
        assert_eq!(call.tells("source-lost", kind).text("/reason"), "it has ended");
    }
    let stats = call.shows("card and silence", |stats| is_of(stats, CARD) && is_silent(stats));
    // 60 frames of the film, and those of the card, of which there are 15 a second.
    let frames = stats.number("/video/frames");
    assert!((40.0..120.0).contains(&frames), "{frames}: it was played at its pace, once");
    call.watcher.hang_up();
}

#[test]
fn a_file_that_appears_later_is_played_again_and_again_and_opened_once() {
    let _machine = machine::busy();
    let folder = TempDir::new().unwrap();
    let (hidden, file) = (folder.path().join("hidden"), folder.path().join("film.mkv"));
    film(&hidden);
    let source = format!("file:{}?loop", file.display());
    let mut call = Call::start(&["--video", &source, "--audio", &source]);
    call.tells("source-lost", "video");
    call.tells("source-lost", "audio");
    call.shows("card and silence", |stats| is_of(stats, CARD) && is_silent(stats));
    std::fs::rename(&hidden, &file).unwrap();
    call.tells("source-back", "video");
    call.tells("source-back", "audio");
    let first = call.shows("picture and tone", |stats| is_of(stats, BLUE) && hears_tone(stats));
    let links = std::fs::read_dir(format!("/proc/{}/fd", call.sender.process().pid())).unwrap();
    let opened =
        links.flatten().filter_map(|link| std::fs::read_link(link.path()).ok()).filter(|it| *it == file);
    assert!(opened.count() <= 1, "it is opened once");
    let later = first.ms() + 3000;
    call.shows("a second time", |stats| stats.ms() > later && is_of(stats, BLUE) && hears_tone(stats));
}

#[test]
fn a_camera_behind_rtsp_may_be_restarted() {
    let _machine = machine::busy();
    let port = free_port();
    let camera = Rtsp::start(port, "red");
    let url = Rtsp::url(port);
    let mut call = Call::start(&["--video", &format!("yard={url}"), "--audio", &url]);
    call.shows("red and a tone", |stats| is_of(stats, RED) && hears_tone(stats));
    drop(camera);
    let lost = call.tells("source-lost", "video");
    assert_eq!(lost.text("/source"), "yard");
    assert!(!lost.json().to_string().contains("hush"), "{lost:?}");
    call.shows("card and silence", |stats| is_of(stats, CARD) && is_silent(stats));
    let _camera = Rtsp::start(port, "blue");
    call.tells("source-back", "video");
    call.tells("source-back", "audio");
    call.shows("blue and a tone", |stats| is_of(stats, BLUE) && hears_tone(stats));
}

#[test]
fn a_stream_on_stdin_is_read_once_the_call_begins() {
    let _machine = machine::busy();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("film.mkv");
    film(&file);
    let mut command = Command::new("sh");
    let script = format!("exec \"$0\" wait --id camera --video - --audio - \"$@\" < {}", file.display());
    command.args(["-c", &script]).arg(program("callbin"));
    let mut call = Call::of(Server::start(&[]), command);
    call.shows("picture and tone", |stats| is_of(stats, BLUE) && hears_tone(stats));
}

#[test]
fn a_screen_is_sent_and_its_end_does_not_end_the_call() {
    let _machine = machine::busy();
    let mut display = Display::start();
    let source = format!("screen:{}", display.name());
    // GStreamer pads the lines of a picture of this width.
    let mut call = Call::start(&["--video", &source, "--audio", "none", "--size", "426x240"]);
    call.shows("a black screen", |stats| is_of(stats, [0; 3]));
    call.shows("a black screen, later frames too", |stats| is_of(stats, [0; 3]));
    display.server().signal("KILL");
    call.tells("source-lost", "video");
    let stats = call.shows("card", |stats| is_of(stats, CARD));
    assert_eq!((stats.number("/video/width"), stats.number("/video/height")), (426.0, 240.0));
}

#[test]
fn streams_of_the_network_are_sent() {
    let _machine = machine::busy();
    let picture = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=240,framerate=30/1 ! \
                   openh264enc gop-size=15 bitrate=1000000 ! h264parse config-interval=-1 ! \
                   mpegtsmux alignment=7 ! ";
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let srt = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut senders = vec![start(&format!("{picture} udpsink host=127.0.0.1 port={udp}"))];
    senders.push(start(&format!(
        "{picture} srtsink uri=srt://127.0.0.1:{srt}?mode=listener wait-for-connection=false"
    )));
    let mjpeg = serve_mjpeg();
    for (source, color) in [
        (format!("udp://127.0.0.1:{udp}"), GREY),
        (format!("srt://127.0.0.1:{srt}"), GREY),
        (format!("http://127.0.0.1:{mjpeg}/"), BLUE),
    ] {
        let mut call = Call::start(&["--video", &source, "--audio", "none"]);
        call.shows(&format!("{color:?} from {source}"), |stats| is_of(stats, color));
    }
    for sender in senders {
        sender.set_state(gst::State::Null).unwrap();
    }
}

/// Serves a camera of JPEG pictures over HTTP, as many of them do.
fn serve_mjpeg() -> u16 {
    gst::init().unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("picture.jpg");
    run(&format!("videotestsrc num-buffers=1 pattern=blue ! jpegenc ! filesink location={}", file.display()));
    let picture = std::fs::read(&file).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let picture = picture.clone();
            thread::spawn(move || {
                let _ = socket.read(&mut [0; 4096]);
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n";
                let _ = socket.write_all(head.as_bytes());
                let part = format!(
                    "--next\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
                    picture.len()
                );
                // A camera's own pace.
                while socket.write_all(&[part.as_bytes(), &picture, b"\r\n"].concat()).is_ok() {
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    port
}

#[test]
fn two_cameras_are_two_tracks_in_a_browser() {
    let _machine = machine::busy();
    let site = Site::up();
    let page = site.waiting("web");
    let args = ["call", "web", "--id", "gst", "--video", "front=test:red", "--video", "rear=test:blue"];
    let client = Client::start(&site.server, &args);
    page.wait_for_peer(CALLER, "connected");
    // The second one has a tile of its own.
    let tile = "document.querySelector('video[data-peer=caller][data-track=\"2\"]')";
    wait_until("a tile for the second camera", DEADLINE, || {
        (page.eval(&format!("{tile} !== null")) == true).then_some(())
    });
    page.eval(&format!("{tile}.dataset.peer = 'rear'"));
    let (front, rear) = (page.video_probe(CALLER), page.video_probe("rear"));
    assert!(front.r > 200.0 && front.b < 60.0, "{front:?}");
    assert!(rear.b > 200.0 && rear.r < 60.0, "{rear:?}");
    page.assert_no_console_errors();
    client.hang_up();
}

#[test]
fn cameras_are_placed_on_the_m_lines_of_a_peer_that_offers() {
    let _machine = machine::busy();
    let cameras = ["--video", "front=test:red", "--video", "rear=test:blue", "--fps", "10"];
    let server = Server::start(&[]);
    let mut asked = Client::start(&server, &[&["wait", "--id", "asked"], &cameras[..]].concat());
    asked.wait_for("waiting");
    // Both have two cameras: each m-line carries one of each side.
    let mut caller = Client::start(&server, &[&["call", "asked"], &cameras[..]].concat());
    for client in [&mut asked, &mut caller] {
        client.wait_for_stats("red", |stats| is_of(stats, RED));
        // The frames of all cameras together, of which each has ten a second.
        let mut first = None;
        client.wait_for_stats("two cameras", |stats| {
            let now = (stats.ms() as f64 / 1000.0, stats.number("/sent/video_frames"));
            let (seconds, frames) = *first.get_or_insert(now);
            now.1 - frames > 10.0 * (now.0 - seconds) + 5.0
        });
    }
    caller.hang_up();
    asked.wait_for("ended");
    asked.wait_for("waiting");
    let mut socket = Socket::register(&server, "reader");
    socket.send("SESSION asked");
    socket.expect("SESSION_OK");
    socket.send("OFFER_REQUEST");
    let offer = socket.receive_json()["sdp"]["sdp"].as_str().unwrap().to_owned();
    assert_eq!(offer.matches("m=video").count(), 2, "{offer}");
    for name in ["front", "rear"] {
        assert!(offer.contains(&format!(" msid:{name} ")), "{offer}");
    }
}

#[test]
fn devices_are_listed_even_if_there_are_none() {
    let run = |args: &[&str]| {
        let output =
            Command::new(program("callbin")).arg("devices").args(args).env_remove("DISPLAY").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let list: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let lines = run(&[]);
    match list.as_array().unwrap().len() {
        0 => assert_eq!(lines.trim(), "no cameras, microphones or screens found"),
        some => assert_eq!(lines.lines().count(), some, "{lines}"),
    }
    let display = Command::new(program("callbin")).args(["devices", "--json"]).env("DISPLAY", ":9").output();
    assert!(String::from_utf8_lossy(&display.unwrap().stdout).contains(r#""source":"screen::9""#));
}

#[test]
fn sources_that_can_never_be_are_refused_at_the_start() {
    let server = Server::start(&[]);
    for (args, code, words) in [
        (["--video", "nonsense"], 2, "camera[:DEVICE]"),
        (["--video", "pipeline:videotestsrc ! fakesink"], 2, "--video pipeline"),
        (["--audio", "pipeline:nosuch ! queue"], 11, "nosuch"),
        (["--audio", "camera"], 2, "microphone"),
    ] {
        let mut client = Client::start(&server, &[&["wait"], &args[..]].concat());
        assert_eq!(client.exit_code(), code, "{args:?}: {}", client.errors());
        assert!(client.errors().contains(words), "{args:?}: {}", client.errors());
    }
}
