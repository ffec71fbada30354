//! GStreamer's elements `webrtcsink` and `webrtcsrc`, run by `gst-launch-1.0`. They speak their own signalling protocol with
//! the server, take no commands and report nothing: what `webrtcsrc` receives is written to files, and looked at there.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use callbin_tests::{
    Client, Server, Socket,
    process::{Process, workspace},
};
use tempfile::TempDir;

use crate::{
    call::{PATIENCE, Way, measure},
    flow::Flow,
    stack::Role,
    table::{Column, KNOWN, Row},
};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// `callbin` calls a `webrtcsink`.
    Sink,
    /// A `webrtcsrc` calls `callbin`, or is called.
    Src,
    /// A `webrtcsrc` calls a `webrtcsink`, through our server.
    Both,
}

/// The caps of a picture whose bytes are easy to count.
const TINY: &str = "video/x-raw,format=RGB,width=16,height=16";
const FRAME: usize = 16 * 16 * 3;

/// The sound in a file: 16 bits, mono.
const RATE: usize = 8000;

impl Element {
    /// All rows.
    pub const ALL: [Self; 3] = [Self::Sink, Self::Src, Self::Both];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sink => "webrtcsink",
            Self::Src => "webrtcsrc",
            Self::Both => "webrtcsink-webrtcsrc",
        }
    }
}

/// The version of the crate that has the elements.
pub fn version() -> String {
    let manifest = workspace().join("tests/interop/gst-plugins-rs/Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap_or_default();
    let version =
        text.split("gst-plugin-webrtc = { version = \"=").nth(1).and_then(|rest| rest.split('"').next());
    version.unwrap_or("?").into()
}

/// Runs one element in its roles.
pub fn run(server: &Server, packages: &Path, element: Element) -> Vec<Row> {
    let plugins = packages.join("gst-plugins-rs/debug");
    if !plugins.join("libgstrswebrtc.so").exists() {
        return vec![Row::not_run(element.name(), "gst-plugin-webrtc is not built")];
    }
    let gst = Gst { plugins, uri: format!("{}webrtcsink", server.ws_url()) };
    let rows = |fill: &dyn Fn(&mut [Row])| {
        let mut rows: Vec<Row> = roles(element).iter().map(|role| Row::new(element.name(), *role)).collect();
        fill(&mut rows);
        rows
    };
    let test = match element {
        Element::Sink => sink,
        Element::Src => src,
        Element::Both => both,
    };
    let first = rows(&|rows| test(server, &gst, rows));
    if !first.iter().any(|row| row.has_failed(KNOWN)) {
        return first;
    }
    eprintln!("{}: a second try", element.name());
    rows(&|rows| test(server, &gst, rows)).into_iter().map(Row::on_second_try).collect()
}

fn roles(element: Element) -> &'static [Role] {
    match element {
        Element::Sink => &[Role::CalledAnswers, Role::CalledOffers],
        Element::Src => &[Role::CallsAnswers, Role::CalledAnswers],
        Element::Both => &[Role::CalledOffers],
    }
}

/// Two callers of one producer at the same time: one offers, one asks for the offer.
fn sink(server: &Server, gst: &Gst, rows: &mut [Row]) {
    let looks = crate::guarded(|| {
        let _producer = gst.produce(server, "sink-1")?;
        let mut clients: Vec<(Client, Flow, Flow)> = [&[][..], &["--remote-offerer"]]
            .map(|more| Client::start(server, &[&["call", "sink-1"], more].concat()))
            .map(|client| (client, Flow::default(), Flow::default()))
            .into();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until
            && !clients.iter().all(|(_, picture, sound)| picture.flows() && sound.flows())
        {
            for (client, picture, sound) in &mut clients {
                while let Some(event) = client.find(Instant::now() + Duration::from_millis(50), |_| true) {
                    if event.name() == "stats" {
                        measure(&event, picture, sound);
                    }
                }
            }
        }
        Ok(clients.into_iter().map(|(_, picture, sound)| [picture, sound]).collect::<Vec<_>>())
    });
    for (index, row) in rows.iter_mut().enumerate() {
        for (way, which) in [(Way::PictureOut, 0), (Way::SoundOut, 1)] {
            row.set(Column::Way(way), looks.clone_error().and_then(|looks| verdict(&looks[index][which])));
        }
    }
}

/// It calls a waiting `callbin`, and waits for a calling one.
fn src(server: &Server, gst: &Gst, rows: &mut [Row]) {
    let media = ["--video-pattern", "red", "--size", "320x240", "--fps", "15"];
    let red = |[r, g, b]: [u8; 3]| r > 100 && r > 2 * g.max(b);
    let calls = crate::guarded(|| {
        let mut client = Client::start(server, &[&["wait", "--id", "for-webrtcsrc"], &media[..]].concat());
        let ready = client.find(Instant::now() + PATIENCE, |event| event.name() == "waiting");
        ready.ok_or("callbin does not wait for calls")?;
        gst.calls("for-webrtcsrc")?.look(red, 440.0)
    });
    let called = crate::guarded(|| {
        let consumer = gst.waits(server, "webrtcsrc")?;
        let _client = Client::start(server, &[&["call", "webrtcsrc"], &media[..]].concat());
        consumer.look(red, 440.0)
    });
    for (row, looks) in rows.iter_mut().zip([calls, called]) {
        for (way, which) in [(Way::PictureIn, 0), (Way::SoundIn, 1)] {
            row.set(Column::Way(way), looks.clone_error().and_then(|looks| verdict(&looks[which])));
        }
    }
}

fn both(server: &Server, gst: &Gst, rows: &mut [Row]) {
    let looks = crate::guarded(|| {
        let _producer = gst.produce(server, "sink-2")?;
        gst.calls("sink-2")?.look(|[r, g, b]| g > 100 && g > 2 * r.max(b), 1000.0)
    });
    for (way, which) in [(Way::PictureOut, 0), (Way::SoundOut, 1)] {
        rows[0].set(Column::Way(way), looks.clone_error().and_then(|looks| verdict(&looks[which])));
    }
}

/// Whether media flow.
pub fn verdict(flow: &Flow) -> Result<(), String> {
    if flow.flows() { Ok(()) } else { Err(flow.describe().into()) }
}

/// A result to look at more than once.
trait CloneError<T> {
    fn clone_error(&self) -> Result<&T, String>;
}

impl<T> CloneError<T> for Result<T, String> {
    fn clone_error(&self) -> Result<&T, String> {
        self.as_ref().map_err(Clone::clone)
    }
}

/// `gst-launch-1.0` with the elements.
struct Gst {
    plugins: PathBuf,
    uri: String,
}

impl Gst {
    /// Starts a producer of a green picture and a tone, and waits until the server lists it under this id.
    fn produce(&self, server: &Server, id: &str) -> Result<Process, String> {
        let pipeline = format!(
            "webrtcsink name=sink stun-server=NULL signaller::uri={} meta=meta,uid={id} video-caps=video/x-vp8 \
             videotestsrc is-live=true pattern=green ! video/x-raw,width=320,height=240,framerate=15/1 ! sink. \
             audiotestsrc is-live=true freq=1000 ! sink.",
            self.uri
        );
        let process = self.launch(&pipeline, id)?;
        await_listed(server, "list", id)?;
        Ok(process)
    }

    /// Starts a consumer that calls this peer.
    fn calls(&self, peer: &str) -> Result<Consumer, String> {
        self.consume(&format!("webrtcsrc-of-{peer}"), &format!("signaller::producer-peer-id={peer}"))
    }

    /// Starts a consumer that waits for calls under this id.
    fn waits(&self, server: &Server, id: &str) -> Result<Consumer, String> {
        let consumer = self.consume(id, &format!("meta=meta,uid={id}"))?;
        await_listed(server, "listConsumers", id)?;
        Ok(consumer)
    }

    fn consume(&self, name: &str, properties: &str) -> Result<Consumer, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let [video, audio] = ["video", "audio"].map(|name| folder.path().join(name));
        let pipeline = format!(
            "webrtcsrc name=src stun-server=NULL signaller::uri={} {properties} \
             src. ! video/x-raw ! queue ! videoconvert ! videoscale ! {TINY} ! {} \
             src. ! audio/x-raw ! queue ! audioconvert ! audioresample ! \
             audio/x-raw,format=S16LE,channels=1,rate={RATE} ! {}",
            self.uri,
            sink_to(&video),
            sink_to(&audio)
        );
        Ok(Consumer { _process: self.launch(&pipeline, name)?, video, audio, _folder: folder })
    }

    fn launch(&self, pipeline: &str, name: &str) -> Result<Process, String> {
        let folder = workspace().join("target/interop");
        let log = fs::create_dir_all(&folder).and_then(|()| File::create(folder.join(format!("{name}.log"))));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = Command::new("gst-launch-1.0");
        command.arg("-q").args(pipeline.split_whitespace()).env("GST_PLUGIN_PATH", &self.plugins);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Process::spawn(&mut command))
    }
}

/// A running `webrtcsrc`, and what it has written.
struct Consumer {
    _process: Process,
    video: PathBuf,
    audio: PathBuf,
    _folder: TempDir,
}

impl Consumer {
    /// Waits until picture and sound are right: picture first.
    fn look(&self, color: fn([u8; 3]) -> bool, pitch: f64) -> Result<[Flow; 2], String> {
        let [mut picture, mut sound] = [Flow::default(), Flow::default()];
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !(picture.flows() && sound.flows()) {
            let [frames, samples] = [&self.video, &self.audio].map(|path| fs::read(path).unwrap_or_default());
            picture.push((frames.len() / FRAME) as f64, last_color(&frames).is_some_and(color));
            let is_right = pitch_of(&samples).is_some_and(|hz| (hz - pitch).abs() < 50.0);
            sound.push((samples.len() / 2) as f64, is_right);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok([picture, sound])
    }
}

/// Waits until the server lists this id.
fn await_listed(server: &Server, list: &str, id: &str) -> Result<(), String> {
    let mut socket = Socket::connect_to(&format!("{}webrtcsink", server.ws_url()));
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        socket.send(&format!("{{\"type\":\"{list}\"}}"));
        if socket.receive_text().contains(&format!("\"{id}\"")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("{id} does not register"))
}

fn sink_to(path: &Path) -> String {
    format!("filesink buffer-mode=unbuffered sync=false location={}", path.display())
}

/// The middle of the last whole frame.
fn last_color(frames: &[u8]) -> Option<[u8; 3]> {
    let last = frames.chunks_exact(FRAME).next_back()?;
    last.get(FRAME / 2 + 24..)?.first_chunk().copied()
}

/// The pitch of the last half second in hertz, by its zero crossings. `None`: too quiet, or too short.
fn pitch_of(bytes: &[u8]) -> Option<f64> {
    let samples: Vec<i16> =
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let last = samples.get(samples.len().checked_sub(RATE / 2)?..)?;
    let is_loud = last.iter().any(|sample| sample.unsigned_abs() > 300);
    let crossings = last.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
    is_loud.then_some(crossings as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pitch_is_that_of_the_last_half_second() {
        let tone = |hz: f64, samples: usize| -> Vec<u8> {
            let at = |i: usize| (i as f64 / RATE as f64 * hz * std::f64::consts::TAU).sin() * 8000.0;
            (0..samples).flat_map(|i| (at(i) as i16).to_le_bytes()).collect()
        };
        assert!((pitch_of(&tone(440.0, RATE)).unwrap() - 440.0).abs() < 5.0);
        let both = [tone(440.0, RATE), tone(1000.0, RATE / 2)].concat();
        assert!((pitch_of(&both).unwrap() - 1000.0).abs() < 5.0);
        assert_eq!(pitch_of(&tone(1000.0, 100)), None);
        assert_eq!(pitch_of(&vec![0; RATE * 2]), None);
    }

    #[test]
    fn the_color_is_that_of_the_last_whole_frame() {
        let frames = [vec![1; FRAME], vec![2; FRAME], vec![3; 5]].concat();
        assert_eq!(last_color(&frames), Some([2, 2, 2]));
        assert_eq!(last_color(&[0; 5]), None);
    }
}
