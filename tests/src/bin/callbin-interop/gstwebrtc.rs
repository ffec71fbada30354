//! The JavaScript library `gstwebrtc-api`, unmodified, in Chromium. It speaks webrtcsink's protocol.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{Browser, BrowserOptions, Client, Server, process::workspace};
use tempfile::TempDir;

use crate::{
    call::{PATIENCE, Way, measure},
    flow::Flow,
    stack::Role,
    table::{Column, KNOWN, Row},
    webrtcsink::verdict,
};

/// The name in the table.
pub const NAME: &str = "gstwebrtc-api";

/// Runs the library as a producer and as a consumer.
pub fn run(packages: &Path) -> Vec<Row> {
    let library = packages.join("node_modules/gstwebrtc-api/dist");
    if !library.exists() {
        return vec![Row::not_run(NAME, "it is not installed")];
    }
    let www = TempDir::new().expect("there is room");
    copy(&workspace().join("tests/interop/page"), www.path());
    copy(&library, &www.path().join("gstwebrtc-api"));
    let server = Server::start(&["--www", www.path().to_str().expect("the path is text")]);
    let browser = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::whole() });
    let row = |role, ways: [Way; 2], looks: Result<[Flow; 2], String>| {
        let mut row = Row::new(NAME, role);
        for (index, way) in ways.into_iter().enumerate() {
            let result = looks.as_ref().map_err(Clone::clone).and_then(|looks| verdict(&looks[index]));
            row.set(Column::Way(way), result);
        }
        row
    };
    let rows = || {
        // It ignores the offer of a caller.
        let produces = crate::guarded(|| produces(&server, &browser));
        let consumes = crate::guarded(|| consumes(&server, &browser));
        vec![
            row(Role::CalledOffers, [Way::PictureOut, Way::SoundOut], produces),
            row(Role::CallsAnswers, [Way::PictureIn, Way::SoundIn], consumes),
        ]
    };
    let first = rows();
    if !first.iter().any(|row| row.has_failed(KNOWN)) {
        return first;
    }
    eprintln!("{NAME}: a second try");
    rows().into_iter().map(Row::on_second_try).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    let entries = fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    for file in entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file()) {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("there is room");
    }
}

fn produces(server: &Server, browser: &Browser) -> Result<[Flow; 2], String> {
    let page = browser.open(&format!("{}gstwebrtc.html?produce=page", server.url()));
    page.wait_for("the producer", "window.seen?.state === 'streaming'", PATIENCE);
    let mut client = Client::start(server, &["call", "page", "--remote-offerer"]);
    let [mut picture, mut sound] = [Flow::default(), Flow::default()];
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !(picture.flows() && sound.flows()) {
        if let Some(event) = client.find(until, |event| event.name() == "stats") {
            measure(&event, &mut picture, &mut sound);
        }
    }
    Ok([picture, sound])
}

fn consumes(server: &Server, browser: &Browser) -> Result<[Flow; 2], String> {
    let media = ["--video-pattern", "red", "--size", "320x240", "--fps", "15"];
    let mut client = Client::start(server, &[&["wait", "--id", "for-the-page"], &media[..]].concat());
    let ready = client.find(Instant::now() + PATIENCE, |event| event.name() == "waiting");
    ready.ok_or("callbin does not wait for calls")?;
    let page = browser.open(&format!("{}gstwebrtc.html?consume=for-the-page", server.url()));
    let [mut picture, mut sound] = [Flow::default(), Flow::default()];
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !(picture.flows() && sound.flows()) {
        let seen = page.try_eval("window.look ? window.look() : {}").unwrap_or_default();
        let number = |name: &str| seen[name].as_f64().unwrap_or_default();
        let color: Vec<u64> =
            seen["color"].as_array().into_iter().flatten().filter_map(|it| it.as_u64()).collect();
        let red = matches!(color[..], [r, g, b] if r > 100 && r > 2 * g.max(b));
        picture.push(number("frames"), red);
        sound.push(number("packets"), number("level") > 0.01);
        thread::sleep(Duration::from_millis(100));
    }
    Ok([picture, sound])
}
