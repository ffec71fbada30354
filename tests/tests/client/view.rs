//! The view on a virtual display: every other member has a tile of its colour in one window and its tone in one
//! mix, and failures of either do not end the call.

use std::{
    collections::VecDeque,
    process::Command,
    time::{Duration, Instant},
};

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Display, Patch, Screenshot, Server,
    client::Event,
    leak::assert_nothing_left,
    machine,
    process::{Usage, process_children, signal},
    program, wait_until,
};

/// The patterns and colours of the members.
const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];
/// The background where there is no video.
const BLANK: [u8; 3] = [42, 42, 42];
/// The height below a tile that contains its name.
const STRIP: usize = 26;

/// Few frames: the tests are about the window, on a machine with two cores, and each member sends to up to five others.
const FPS: [&str; 2] = ["--fps", "15"];

/// A member without a view, named after its colour.
fn join(server: &Server, name: &str, size: &str, args: &[&str]) -> Client {
    let own = ["room", "lobby", "--id", name, "--video-pattern", name, "--size", size, FPS[0], FPS[1]];
    let mut client = Client::start(server, &[&own[..], args].concat());
    client.wait_for("joined");
    client
}

/// The member with the view, and these extra arguments.
fn watch(server: &Server, set: impl FnOnce(&mut Command)) -> Client {
    let mut command = Command::new(program("callbin"));
    command.args(["room", "lobby", "--id", "watcher", "--view", "grid", "--video-pattern", "ball"]);
    command.args(["--size", "320x240", "--events", "json", "--server", &server.ws_url()]).args(FPS);
    command.env_remove("WAYLAND_DISPLAY").env_remove("DISPLAY").env_remove("PULSE_SERVER");
    set(&mut command);
    let mut client = Client::spawn(&mut command);
    client.wait_for("joined");
    client
}

fn watch_on(display: &Display, server: &Server) -> Client {
    watch(server, |command| {
        command.env("DISPLAY", display.name());
    })
}

/// Waits for exactly these tiles: full, separate, in proportion, and named.
#[track_caller]
fn wait_for_tiles(display: &Display, tiles: &[([u8; 3], f64)], name: &str) -> Vec<Patch> {
    const ALL: [[u8; 3]; 5] = [RED, GREEN, BLUE, WHITE, BLANK];
    let mut last = String::new();
    let found = |last: &mut String| {
        let picture = display.screenshot();
        let other = ALL.iter().filter(|color| !tiles.iter().any(|(wanted, _)| wanted == *color));
        let others: Vec<_> = other.filter_map(|color| picture.find(*color)).collect();
        let patches: Vec<_> = tiles.iter().filter_map(|(color, _)| picture.find(*color)).collect();
        *last = format!("{patches:?}, and others: {others:?}");
        let good = patches.len() == tiles.len() && others.is_empty() && are_tiles(&picture, &patches, tiles);
        good.then_some(patches).inspect(|_| picture.save(name))
    };
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(patches) = found(&mut last) {
            return patches;
        }
        if Instant::now() > until {
            display.screenshot().save(name);
            panic!("no such tiles: {tiles:?} but {last}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn are_tiles(picture: &Screenshot, patches: &[Patch], tiles: &[([u8; 3], f64)]) -> bool {
    patches.iter().zip(tiles).enumerate().all(|(index, (patch, (_, aspect)))| {
        let apart = patches.iter().skip(index + 1).all(|other| patch.is_apart_from(other));
        let in_shape = (patch.aspect() / aspect - 1.0).abs() < 0.05;
        apart && in_shape && patch.is_full() && picture.letters_under(patch, STRIP) > 30
    })
}

/// Checks that the watcher decodes at least 90 % of the frames that `blue` sends it while `work` runs. The number of
/// frames depends on the load of this machine.
#[track_caller]
fn undisturbed(watcher: &mut Client, blue: &mut Client, work: impl FnOnce(&mut Client)) {
    let mut count = |watcher: &mut Client| {
        let (received, sent) = (watcher.fresh_stats("blue"), blue.fresh_stats("watcher"));
        let at = |stats: &Event, frames| (stats.ms() as f64 / 1000.0, stats.number(frames));
        (at(&received, "/video/frames"), at(&sent, "/sent/video_frames"))
    };
    let begin = count(watcher);
    work(watcher);
    loop {
        let end = count(watcher);
        let rate = |(from, to): ((f64, f64), (f64, f64))| (to.1 - from.1) / (to.0 - from.0);
        let (received, sent) = (rate((begin.0, end.0)), rate((begin.1, end.1)));
        let seconds = end.0.0 - begin.0.0;
        if seconds > 5.0 && sent > 5.0 && received >= 0.9 * sent {
            return;
        }
        assert!(seconds < 20.0, "{received:.1} of {sent:.1} frames a second for {seconds:.0} s");
    }
}

/// The window process.
#[track_caller]
fn window_process(client: &mut Client) -> u32 {
    let pid = client.process().pid();
    wait_until("the window's process", DEADLINE, || process_children(pid).first().copied())
}

/// Reported once on stderr, and by an event.
#[track_caller]
fn assert_lost(client: &mut Client, part: &str) {
    assert_eq!(client.wait_for("view-lost").text("/part"), part);
    let said = || client.errors().contains(&format!("{part}: ")).then_some(());
    wait_until("a word about it", DEADLINE, said);
    assert_eq!(client.errors().lines().count(), 1, "{}", client.errors());
}

#[test]
fn members_of_all_shapes_have_a_tile_with_their_name_and_the_layout_follows_them() {
    // Six members have thirty connections: too much beside another room, and sound would double the work.
    let _machine = machine::alone();
    let silent = ["--receive-only=audio"];
    let server = Server::start(&[]);
    let display = Display::start();
    let watcher = watch_on(&display, &server);
    let green = join(&server, "green", "320x240", &silent);
    wait_for_tiles(&display, &[(GREEN, 4.0 / 3.0)], "one.ppm");
    let blue = join(&server, "blue", "640x360", &silent);
    let two = wait_for_tiles(&display, &[(GREEN, 4.0 / 3.0), (BLUE, 16.0 / 9.0)], "two.ppm");
    let white = join(&server, "white", "240x320", &silent);
    let red = join(&server, "red", "240x240", &silent);
    let all = [(GREEN, 4.0 / 3.0), (BLUE, 16.0 / 9.0), (WHITE, 0.75), (RED, 1.0)];
    wait_for_tiles(&display, &all, "four.ppm");

    // A member without video has a name.
    let voice = join(&server, "black", "320x240", &["--no-video"]);
    let five = [&all[..], &[(BLANK, 16.0 / 9.0)]].concat();
    let before = wait_for_tiles(&display, &five, "five.ppm");

    // A member that leaves frees its place; it is shown again when it returns.
    blue.hang_up();
    red.hang_up();
    voice.hang_up();
    wait_until("larger tiles", DEADLINE, || {
        let two = wait_for_tiles(&display, &[all[0], all[2]], "less.ppm");
        (two[0].pixels > before[0].pixels * 3 / 2).then_some(())
    });
    white.hang_up();
    let blue = join(&server, "blue", "640x360", &silent);
    wait_until("tiles as large as before", DEADLINE, || {
        let again = wait_for_tiles(&display, &[(GREEN, 4.0 / 3.0), (BLUE, 16.0 / 9.0)], "again.ppm");
        let alike =
            |(again, before): (&Patch, &Patch)| again.pixels.abs_diff(before.pixels) < before.pixels / 10;
        again.iter().zip(&two).all(alike).then_some(())
    });
    for client in [watcher, green, blue] {
        client.hang_up();
    }
}

#[test]
fn a_browsers_tile_follows_its_camera() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let display = Display::start();
    let watcher = watch_on(&display, &server);
    let blue = join(&server, "blue", "320x240", &[]);
    let browser = Browser::start(BrowserOptions { window: (640, 480), ..BrowserOptions::default() });
    let page = browser.open(&format!("{}?room=lobby&id=page&join=1", server.url()));
    page.wait_for_peer("watcher", "connected");
    // Chromium's fake camera has a darker green.
    let is_camera = |[r, g, b]: [u8; 3]| g > 80 && g / 2 > r.max(b);
    let wait_for_camera = |aspect: f64, name: &str| {
        wait_until(&format!("a camera of {aspect:.2}"), DEADLINE, || {
            let picture = display.screenshot();
            let (camera, blue) = (picture.find_where(is_camera)?, picture.find(BLUE)?);
            let good = (camera.aspect() / aspect - 1.0).abs() < 0.06
                && camera.is_apart_from(&blue)
                && blue.is_full()
                && (blue.aspect() * 0.75 - 1.0).abs() < 0.05;
            good.then(|| picture.save(name))
        });
    };
    let set_camera = |width: u32, height: u32| {
        page.eval(&format!(
            "document.querySelector('#self-view').srcObject.getVideoTracks()[0].applyConstraints(\
             {{ width: {{ exact: {width} }}, height: {{ exact: {height} }} }})"
        ));
    };
    set_camera(640, 480);
    wait_for_camera(4.0 / 3.0, "camera-4-3.ppm");
    set_camera(640, 360);
    wait_for_camera(16.0 / 9.0, "camera-16-9.ppm");
    set_camera(320, 240);
    wait_for_camera(4.0 / 3.0, "camera-small.ppm");

    // Without a camera there is no frozen video; with the camera there is a live one again.
    page.click("#camera");
    wait_until("a blank tile", DEADLINE, || {
        let picture = display.screenshot();
        let blank = picture.find(BLANK).filter(|blank| picture.letters_under(blank, STRIP) > 30)?;
        picture.find_where(is_camera).is_none().then_some(blank)
    });
    page.click("#camera");
    wait_until("the camera again", DEADLINE, || display.screenshot().find_where(is_camera));
    watcher.hang_up();
    blue.hang_up();
}

#[test]
fn the_window_can_be_resized_and_closed_and_the_call_goes_on() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let display = Display::start();
    let mut watcher = watch_on(&display, &server);
    let green = join(&server, "green", "320x240", &[]);
    let mut blue = join(&server, "blue", "320x240", &[]);
    let tiles = [(GREEN, 4.0 / 3.0), (BLUE, 4.0 / 3.0)];
    let large = wait_for_tiles(&display, &tiles, "large.ppm");
    display.resize_window(640, 360);
    wait_until("smaller tiles", DEADLINE, || {
        let picture = display.screenshot();
        let patches = [picture.find(GREEN)?, picture.find(BLUE)?];
        let small = |patch: &Patch| patch.right < 640 && patch.bottom < 360 && patch.aspect() > 1.26;
        patches.iter().all(small).then(|| picture.save("small.ppm"))
    });
    display.resize_window(1, 1);
    display.resize_window(1280, 720);
    let again = wait_for_tiles(&display, &tiles, "large.ppm");
    assert!(again[0].pixels > large[0].pixels * 9 / 10, "{again:?}, not {large:?}");

    undisturbed(&mut watcher, &mut blue, |_| display.close_window());
    assert_lost(&mut watcher, "window");
    wait_until("the window to be gone", DEADLINE, || (!display.has_window()).then_some(()));
    watcher.hang_up();
    green.hang_up();
    blue.hang_up();
}

#[test]
fn the_call_outlives_the_display() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut display = Display::start();
    let mut watcher = watch_on(&display, &server);
    let mut blue = join(&server, "blue", "320x240", &[]);
    wait_for_tiles(&display, &[(BLUE, 4.0 / 3.0)], "one.ppm");
    undisturbed(&mut watcher, &mut blue, |_| {
        display.server().signal("KILL");
        display.server().wait();
    });
    assert_lost(&mut watcher, "window");
    watcher.hang_up();
    blue.hang_up();
}

#[test]
fn a_window_that_is_suspended_goes_on_when_resumed_and_one_that_is_killed_is_told() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let display = Display::start();
    let mut watcher = watch_on(&display, &server);
    let mut blue = join(&server, "blue", "320x240", &[]);
    wait_for_tiles(&display, &[(BLUE, 4.0 / 3.0)], "one.ppm");
    let window = window_process(&mut watcher);
    undisturbed(&mut watcher, &mut blue, |_| signal(window, "STOP"));
    let green = join(&server, "green", "320x240", &[]);
    watcher.wait_for_peer("green", "peer-first-video");
    signal(window, "CONT");
    wait_for_tiles(&display, &[(BLUE, 4.0 / 3.0), (GREEN, 4.0 / 3.0)], "two.ppm");
    assert_eq!(watcher.errors(), "");

    undisturbed(&mut watcher, &mut blue, |_| signal(window, "KILL"));
    assert_lost(&mut watcher, "window");
    watcher.hang_up();
    for client in [green, blue] {
        client.hang_up();
    }
}

#[test]
fn a_suspended_window_does_not_outlive_the_call() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut watcher = watch(&server, |command| {
        command.arg("--video-sink=fakesink");
    });
    let blue = join(&server, "blue", "320x240", &[]);
    watcher.wait_for_peer("blue", "peer-first-video");
    let window = window_process(&mut watcher);
    signal(window, "STOP");
    watcher.hang_up();
    wait_until("the window's end", DEADLINE, || {
        (!std::path::Path::new(&format!("/proc/{window}")).exists()).then_some(())
    });
    blue.hang_up();
}

#[test]
fn every_member_is_heard_in_the_mix() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mix.raw");
    let watcher = watch(&server, |command| {
        command.arg(format!("--audio-sink=filesink buffer-mode=unbuffered location={}", file.display()));
    });
    let green = join(&server, "green", "320x240", &["--audio-freq", "660"]);
    let blue = join(&server, "blue", "320x240", &["--audio-freq", "880"]);
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

/// Sinks that take nothing, take it slowly, or hours late: the call goes on, members join and leave, and
/// it ends at once.
#[test]
fn sinks_that_block_disturb_nobody() {
    // A window that gets no time to run counts as one that does not respond.
    let _machine = machine::shared();
    const SLOW: &str = "identity sleep-time=3000000 ! fakesink";
    const STUCK: &str = "identity sleep-time=3600000000 ! fakesink";
    const LATE: &str = "fakesink sync=true ts-offset=3600000000000";
    for (video, audio) in [(STUCK, STUCK), (SLOW, SLOW), (LATE, LATE)] {
        let server = Server::start(&[]);
        let mut watcher = watch(&server, |command| {
            command.arg(format!("--video-sink={video}")).arg(format!("--audio-sink={audio}"));
        });
        let mut blue = join(&server, "blue", "320x240", &[]);
        watcher.wait_for_peer("blue", "peer-first-video");
        window_process(&mut watcher);
        undisturbed(&mut watcher, &mut blue, |watcher| {
            for _ in 0..2 {
                let green = join(&server, "green", "320x240", &[]);
                watcher.wait_for_peer("green", "peer-first-video");
                green.hang_up();
                watcher.wait_for_peer("green", "peer-left");
            }
        });
        assert_eq!(watcher.errors(), "");
        let hanging_up = Instant::now();
        watcher.hang_up();
        assert!(hanging_up.elapsed() < Duration::from_secs(20), "{:?}", hanging_up.elapsed());
        blue.hang_up();
    }
}

#[test]
fn sinks_that_fail_are_told_and_disturb_nobody() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut watcher = watch(&server, |command| {
        command.args(["--video-sink=fakesink", "--audio-sink=identity error-after=50 ! fakesink"]);
    });
    let mut blue = join(&server, "blue", "320x240", &[]);
    watcher.wait_for_peer("blue", "peer-first-video");
    undisturbed(&mut watcher, &mut blue, |_| {});
    assert_lost(&mut watcher, "sound");
    watcher.hang_up();

    let mut watcher = watch(&server, |command| {
        command.args(["--video-sink=identity error-after=50 ! fakesink", "--audio-sink=fakesink"]);
    });
    assert_lost(&mut watcher, "window");
    watcher.wait_for_peer("blue", "peer-first-video");
    undisturbed(&mut watcher, &mut blue, |_| {});
    watcher.hang_up();
    blue.hang_up();
}

/// Joins and leaves with the grid; at the end client and window have the same resources as before.
#[test]
fn comings_and_goings_leave_nothing_behind_in_client_and_window() {
    let _machine = machine::alone();
    const ROUNDS: usize = 15;
    const WARM_UP: usize = 12;
    let server = Server::start(&[]);
    let mut watcher = watch(&server, |command| {
        command.args(["--video-sink=fakesink", "--audio-sink=fakesink sync=true", "--max-peers", "4"]);
    });
    // A member stays, or the window would be recreated each time.
    let blue = join(&server, "blue", "320x240", &[]);
    watcher.wait_for_peer("blue", "peer-first-video");
    let window = window_process(&mut watcher);
    let mut round = 0;
    let mut come_and_go = |rounds: usize| {
        let mut visitors: VecDeque<Client> = VecDeque::new();
        for _ in 0..rounds {
            round += 1;
            let uid = format!("visitor-{round}");
            let sizes = ["320x240", "240x320", "320x180"];
            let args = ["room", "lobby", "--id", &uid, "--size", sizes[round % sizes.len()], "--fps", "10"];
            visitors.push_back(Client::start(&server, &args));
            // Some are shown, some leave before that; two at a time.
            watcher.wait_for_peer(&uid, ["peer-joined", "peer-first-video", "peer-first-video"][round % 3]);
            if visitors.len() > 2 {
                drop(visitors.pop_front());
            }
            watcher.forget();
        }
        drop(visitors);
        assert_eq!(window_process(&mut watcher), window, "the window is another one");
        usage(&mut watcher, window)
    };
    // The first rounds load plugins, fill pools, and fragment memory.
    let before = come_and_go(WARM_UP);
    assert_nothing_left(before, || come_and_go(ROUNDS));
    watcher.hang_up();
    blue.hang_up();
}

/// Threads, descriptors and memory of client and window, when only one member is left and everything is idle.
fn usage(watcher: &mut Client, window: u32) -> Vec<(&'static str, f64)> {
    let process = watcher.process();
    let (mut steady, mut last) = (0, 0);
    wait_until("steady threads of the client", DEADLINE, || {
        let threads = process.threads();
        steady = if threads == last { steady + 1 } else { 0 };
        last = threads;
        (steady > 300).then_some(())
    });
    let mut figures = Vec::new();
    for (names, pid) in [(CLIENT_USES, process.pid()), (WINDOW_USES, window)] {
        let usage = Usage::of(pid);
        let values = [usage.threads as f64, usage.descriptors as f64, usage.memory as f64];
        figures.extend(names.into_iter().zip(values));
    }
    figures
}

const CLIENT_USES: [&str; 3] = ["threads of the client", "descriptors of the client", "memory of the client"];
const WINDOW_USES: [&str; 3] = ["threads of the window", "descriptors of the window", "memory of the window"];
