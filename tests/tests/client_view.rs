//! Watching and listening, on a display of our own: every other member has a tile of its colour in one window
//! and its tone in one mix, and the call outlives both.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use callbin_tests::{Client, DEADLINE, Server, process::Process, program, wait_until};

const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// An X server without a screen to look at, but with a file that holds what it shows.
struct Display {
    server: Process,
    name: String,
    folder: tempfile::TempDir,
}

impl Display {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-fbdir"]);
        command.arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Process::spawn(&mut command);
        let mut number = String::new();
        let stdout = server.child().stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut number).expect("Xvfb tells its number");
        Self { server, name: format!(":{}", number.trim()), folder }
    }

    /// What it shows now.
    fn screenshot(&self) -> Picture {
        let file = std::fs::read(self.folder.path().join("Xvfb_screen0")).expect("Xvfb's picture");
        // X11/XWDFile.h: big-endian words; size of the header, width, height, bytes a row, colours.
        let word = |index: usize| {
            let bytes = file[index * 4..index * 4 + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes) as usize
        };
        let (width, height, stride) = (word(4), word(5), word(12));
        let start = word(0) + word(19) * 12;
        let row = |y: usize| file[start + y * stride..][..width * 4].to_vec();
        Picture { rows: (0..height).map(row).collect() }
    }
}

struct Picture {
    /// Blue, green, red, nothing.
    rows: Vec<Vec<u8>>,
}

impl Picture {
    /// Left, top, right and bottom of what has this colour, and how many pixels that is.
    fn find(&self, [r, g, b]: [u8; 3]) -> Option<([usize; 4], usize)> {
        let (mut bounds, mut count) = ([usize::MAX, usize::MAX, 0, 0], 0);
        for (y, row) in self.rows.iter().enumerate() {
            for (x, pixel) in row.chunks_exact(4).enumerate() {
                let near = |a: u8, b: u8| a.abs_diff(b) < 32;
                if near(pixel[2], r) && near(pixel[1], g) && near(pixel[0], b) {
                    let [left, top, right, bottom] = bounds;
                    bounds = [left.min(x), top.min(y), right.max(x), bottom.max(y)];
                    count += 1;
                }
            }
        }
        (count > 1000).then_some((bounds, count))
    }

    /// For people to look at, where `CALLBIN_SCREENSHOTS` says.
    fn save(&self, name: &str) {
        let Some(folder) = std::env::var_os("CALLBIN_SCREENSHOTS") else { return };
        let mut bytes = format!("P6 {} {} 255\n", self.rows[0].len() / 4, self.rows.len()).into_bytes();
        for pixel in self.rows.iter().flat_map(|row| row.chunks_exact(4)) {
            bytes.extend([pixel[2], pixel[1], pixel[0]]);
        }
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).expect("a screenshot is written");
    }
}

/// A member that looks at nothing.
fn join(server: &Server, name: &str, hz: &str) -> Client {
    let args = ["room", "lobby", "--id", name, "--video-pattern", name, "--audio-freq", hz];
    let mut client = Client::start(server, &[&args[..], &["--size", "320x240"]].concat());
    client.wait_for("joined");
    client
}

/// The member that looks, with this besides.
fn watch(server: &Server, set: impl FnOnce(&mut Command)) -> Client {
    let mut command = Command::new(program("callbin"));
    command.args(["room", "lobby", "--id", "watcher", "--view", "grid", "--video-pattern", "red"]);
    command.args(["--size", "320x240", "--events", "json", "--server", &server.ws_url()]);
    command.env_remove("WAYLAND_DISPLAY").env_remove("DISPLAY").env_remove("PULSE_SERVER");
    set(&mut command);
    let mut client = Client::spawn(&mut command);
    client.wait_for("joined");
    client
}

#[test]
fn every_member_has_a_tile_and_the_call_outlives_the_display() {
    let server = Server::start(&[]);
    let mut display = Display::start();
    let mut watcher = watch(&server, |command| {
        command.env("DISPLAY", &display.name);
    });
    let green = join(&server, "green", "660");
    let blue = join(&server, "blue", "880");
    let (first, second) = wait_until("a tile of each colour", DEADLINE, || {
        let picture = display.screenshot();
        let both = picture.find(GREEN).zip(picture.find(BLUE));
        let settled = both.filter(|(green, blue)| green.1.abs_diff(blue.1) < green.1 / 10);
        settled.inspect(|_| picture.save("two.ppm"))
    });
    let apart = first.0[2] < second.0[0] || second.0[2] < first.0[0];
    assert!(apart, "green in {:?}, blue in {:?}", first.0, second.0);

    green.hang_up();
    wait_until("a larger tile of the one who stays", DEADLINE, || {
        let picture = display.screenshot();
        let larger = picture.find(BLUE).filter(|it| it.1 > second.1 * 3 / 2 && picture.find(GREEN).is_none());
        larger.inspect(|_| picture.save("one.ppm"))
    });

    display.server.signal("KILL");
    display.server.wait();
    wait_until("a word about the window", DEADLINE, || watcher.errors().contains("window:").then_some(()));
    let before = watcher.fresh_stats("blue").number("/video/frames");
    for _ in 0..3 {
        watcher.fresh_stats("blue");
    }
    let after = watcher.fresh_stats("blue").number("/video/frames");
    assert!(after > before + 80.0, "{before} frames, then {after}");
    assert_eq!(watcher.errors().lines().count(), 1, "{}", watcher.errors());
    watcher.hang_up();
    blue.hang_up();
}

#[test]
fn every_member_is_heard_in_the_mix() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mix.raw");
    let watcher = watch(&server, |command| {
        command.arg(format!("--audio-sink=filesink buffer-mode=unbuffered location={}", file.display()));
    });
    let green = join(&server, "green", "660");
    let blue = join(&server, "blue", "880");
    wait_until("both tones in half a second of the mix", DEADLINE, || {
        let bytes = std::fs::read(&file).unwrap_or_default();
        // 16-bit stereo at 48 kHz: the left samples of the last half second.
        let tail = &bytes[..bytes.len() / 4 * 4];
        let tail = &tail[tail.len().checked_sub(96_000)?..];
        let left: Vec<f64> =
            tail.chunks_exact(4).map(|it| f64::from(i16::from_le_bytes([it[0], it[1]])) / 32768.0).collect();
        let [low, high, nothing] = [660.0, 880.0, 770.0].map(|hz| strength(&left, hz));
        (low > 0.1 && high > 0.1 && nothing < 0.03).then_some(())
    });
    for client in [watcher, green, blue] {
        client.hang_up();
    }
}

/// The amplitude of a tone in samples at 48 kHz.
fn strength(samples: &[f64], hz: f64) -> f64 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (s, c) = (n as f64 * hz * std::f64::consts::TAU / 48_000.0).sin_cos();
        (sine, cosine) = (sine + sample * s, cosine + sample * c);
    }
    2.0 * f64::hypot(sine, cosine) / samples.len() as f64
}

#[test]
fn a_window_that_hangs_disturbs_nobody() {
    let server = Server::start(&[]);
    let mut watcher = watch(&server, |command| {
        command.arg("--video-sink=fakesink sync=true ts-offset=3600000000000");
    });
    let blue = join(&server, "blue", "880");
    watcher.wait_for_peer("blue", "peer-first-video");
    watcher.wait_for_stats("frames at full rate", |stats| {
        stats.number("/video/frames") > 90.0 && stats.number("/video/fps") > 27.0
    });
    let windows = Command::new("pgrep").args(["-P", &watcher.process().pid().to_string()]).output();
    assert!(!windows.expect("pgrep runs").stdout.is_empty(), "no window: {}", watcher.errors());
    assert_eq!(watcher.errors(), "");
    watcher.hang_up();
    blue.hang_up();
}
