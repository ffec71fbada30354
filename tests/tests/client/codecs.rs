//! Every codec that this machine has, at the receiver: the colour of the picture and the pitch of the sound, between two
//! clients, and between a client and Chromium.

use std::process::Command;

use callbin_tests::{
    Bare, Browser, BrowserOptions, CALLER, Client, DEADLINE, Server, Site, client::Event, machine, program,
    wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// Whether this colour and pitch arrive.
fn gets(stats: &Event, color: [u8; 3], hz: f64) -> bool {
    let is_near = |seen: [u8; 3]| seen.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 40);
    stats.color().is_some_and(is_near)
        && stats.number("/video/fps") > 5.0
        && (stats.number("/audio/pitch_hz") - hz).abs() < 15.0
        && (stats.number("/audio/level_db") + 15.0).abs() < 4.0
}

/// The codecs that are sent.
fn sends(stats: &Event) -> [&str; 2] {
    [stats.text("/sent/video_codec"), stats.text("/sent/audio_codec")]
}

/// The caller offers these codecs, the callee has those of its own, and both use the chosen ones.
#[track_caller]
fn assert_call(callers: &str, callees: &[&str], chosen: [&str; 2]) {
    let server = Server::start(&[]);
    let small = ["--size", "160x120", "--fps", "15"];
    let callee =
        [&["wait", "--id", "callee", "--video-pattern", "blue", "--audio-freq", "880"], &small[..], callees];
    let mut callee = Client::start(&server, &callee.concat());
    callee.wait_for("waiting");
    let caller = [
        &["call", "callee", "--video-pattern", "red", "--audio-freq", "440", "--codecs", callers],
        &small[..],
    ];
    let mut caller = Client::start(&server, &caller.concat());
    callee.wait_for_stats("red and 440 Hz", |stats| gets(stats, RED, 440.0));
    let stats = caller.wait_for_stats("blue and 880 Hz", |stats| gets(stats, BLUE, 880.0));
    assert_eq!(sends(&stats), chosen);
    let stats = callee.wait_for_stats("what it sends", |stats| stats.number("/sent/video_frames") > 0.0);
    assert_eq!(sends(&stats), chosen);
    caller.hang_up();
}

#[test]
fn h264_and_pcmu() {
    let _machine = machine::busy();
    assert_call("h264,pcmu", &[], ["h264", "pcmu"]);
}

#[test]
fn h265_and_pcma() {
    let _machine = machine::busy();
    assert_call("h265,pcma", &[], ["h265", "pcma"]);
}

#[test]
fn the_callees_preference_decides_among_what_is_offered() {
    let _machine = machine::busy();
    assert_call("vp8,h264,vp9,opus,pcmu", &["--codecs", "vp9,pcmu,vp8"], ["vp9", "pcmu"]);
}

/// The client and the page exchange media in these codecs; `offers` says whether the client makes the offer.
#[track_caller]
fn assert_page(codecs: &str, video: &str, offers: bool) {
    let site = Site::up();
    let media = ["--id", "gst", "--video-pattern", "red", "--codecs", codecs];
    let (page, mut client, uid) = if offers {
        let page = site.waiting("web");
        (page, Client::start(&site.server, &[&["call", "web"], &media[..]].concat()), CALLER)
    } else {
        let mut client = Client::start(&site.server, &[&["wait"], &media[..]].concat());
        client.wait_for("waiting");
        (site.open("id=web&call=gst"), client, "gst")
    };
    page.wait_for_peer(uid, "connected");
    let probe = page.video_probe(uid);
    assert!(probe.r > 200.0 && probe.g < 50.0 && probe.b < 50.0, "not red: {probe:?}");
    let before = page.frames_decoded(uid);
    wait_until("more frames", DEADLINE, || (page.frames_decoded(uid) > before + 10).then_some(()));
    page.wait_for_sound(uid, 0.01);
    // Chromium's fake camera is green, with something that moves.
    let is_green = |stats: &Event| stats.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b));
    let stats = client.wait_for_stats("a green picture that moves", |stats| {
        is_green(stats) && stats.number("/video/motion") > 0.02
    });
    assert_eq!(sends(&stats)[0], video);
    client.wait_for_stats("a beep", |stats| stats.number("/audio/level_db") > -65.0);
    page.assert_no_console_errors();
}

#[test]
fn chromium_answers_h264_and_pcmu() {
    let _machine = machine::busy();
    assert_page("h264,pcmu", "h264", true);
}

#[test]
fn chromium_offers_and_the_client_chooses_vp9() {
    let _machine = machine::busy();
    assert_page("vp9,vp8", "vp9", false);
}

/// A sender may change between the negotiated payload types at any time.
#[test]
fn a_peer_changes_its_codec_during_the_call() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let browser = Browser::start(BrowserOptions::default());
    let bare = Bare::open(&browser, &server, "web");
    bare.run("bare.prepareAnswer = bare.addMedia");
    let mut client = Client::start(&server, &["call", "web", "--codecs", "vp8,vp9,h264,opus"]);
    let is_green = |stats: &Event| stats.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b));
    client.wait_for_stats("a green picture", is_green);
    for codec in ["video/VP9", "video/H264", "video/VP8"] {
        let sends = format!("bare.sends({codec:?})");
        bare.run(&format!("await bare.change({codec:?})"));
        wait_until("the new codec", DEADLINE, || (bare.eval(&sends) == Value::Bool(true)).then_some(()));
        client.forget();
        // Frames of the codec before may still be on their way, but not for a second.
        let before = client.wait_for("stats").number("/video/frames");
        client.wait_for_stats("frames of the new codec", |stats| {
            is_green(stats) && stats.number("/video/frames") > before + 30.0
        });
    }
}

#[test]
fn the_codecs_of_this_machine_are_listed() {
    let _machine = machine::busy();
    let out = Command::new(program("callbin")).args(["codecs", "--json"]).output().expect("callbin runs");
    let list: Vec<Value> = serde_json::from_slice(&out.stdout).expect("JSON");
    let of = |name: &str| list.iter().find(|it| it["codec"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(of("vp8")["encode"]["element"], "vp8enc");
    assert_eq!(of("vp8")["encode"]["tried"], true);
    assert_eq!(of("opus")["decode"], "opusdec");
    assert!(of("h264")["encode"].is_object() && of("h264")["decode"].is_string());
    let table = Command::new(program("callbin")).arg("codecs").output().expect("callbin runs");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.lines().any(|line| line.starts_with("vp8 ") && line.contains("vp8enc (software)")),
        "{table}"
    );
}

/// GStreamer's plugins without one of them.
fn plugins_without(name: &str) -> TempDir {
    gst::init().unwrap();
    let plugin = gst::Registry::get().find_plugin(name).expect("a plugin");
    let gone = plugin.filename().expect("a file");
    let folder = TempDir::new().unwrap();
    for file in std::fs::read_dir(gone.parent().expect("a folder")).unwrap().flatten() {
        if file.path() != gone {
            std::os::unix::fs::symlink(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    folder
}

/// A codec that is asked for and not installed is an error with the package's name, before any peer can call.
#[test]
fn a_codec_that_is_not_here_is_an_error() {
    let _machine = machine::busy();
    let (server, plugins) = (Server::start(&[]), plugins_without("opus"));
    let mut command = Command::new(program("callbin"));
    command.args(["wait", "--codecs", "opus", "--headless", "--server", &server.ws_url()]);
    command.env("GST_PLUGIN_SYSTEM_PATH_1_0", plugins.path());
    command.env_remove("GST_PLUGIN_PATH").env_remove("GST_PLUGIN_PATH_1_0");
    let mut client = Client::spawn(command.env("GST_REGISTRY_1_0", plugins.path().join("registry")));
    assert_eq!(client.exit_code(), 11, "{}", client.errors());
    let words = client.errors();
    assert!(words.contains("opusenc (Debian: gstreamer1.0-plugins-base)"), "{words}");
}
