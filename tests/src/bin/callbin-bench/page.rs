//! What the page costs a browser: the time until its lobby can be used, and the CPU of a wall of pictures.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Engine, Page, Server, WWW};

use crate::{print_times, quantiles};

/// Loads that are counted, each in a browser that has never seen the page.
const LOADS: usize = 7;
/// Notes when the page can be used: its scripts have run, and its first picture is there.
const WATCH: &str = "{ const look = () => { \
      const painted = performance.getEntriesByName('first-contentful-paint')[0]; \
      if (window.callbin && painted) window.usable = Math.max(performance.now(), painted.startTime); \
      else setTimeout(look, 2); }; look(); }";

/// From the request to a lobby that can be used.
pub fn lobby() {
    for engine in [Engine::Chromium, Engine::Firefox] {
        let server = Server::start(&[]);
        let times = (0..LOADS).map(|_| {
            let browser = Browser::start(BrowserOptions { engine, ..BrowserOptions::whole() });
            let page = browser.open("about:blank");
            page.before_load(WATCH);
            page.go(server.url());
            page.wait_for("the lobby", "window.usable", DEADLINE);
            page.eval("usable").as_f64().unwrap_or_default()
        });
        print_times(&format!("lobby in {engine:?}"), times.collect());
    }
}

/// Clients of the wall, each with as many cameras as one can have.
const CLIENTS: usize = 4;
const CAMERAS: usize = 4;
const TILES: usize = CLIENTS * CAMERAS;
/// Measurements of each kind, by turns.
const ROUNDS: usize = 5;
const BEFORE: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(20);

/// The CPU of a browser with a wall of pictures, and with the same pictures in bare video elements.
pub fn wall() {
    let server = Server::start(&["--www", WWW]);
    let _clients: Vec<Client> = (0..CLIENTS).map(|number| cameras(&server, number)).collect();
    let options = BrowserOptions { window: (1320, 960), fake_devices: false, ..BrowserOptions::whole() };
    let browser = Browser::start(options);
    println!("{TILES} pictures of 320x240 at 15 frames a second in Chromium, cores in {MEASURED:?}");
    let (mut page, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (cores, size) = with_page(&server, &browser);
        page.push(cores);
        bare.push(without(&server, &browser, &size));
        println!("  {round}: page {cores:.3}, bare {:.3}", bare.last().copied().unwrap_or_default());
    }
    let [page, bare] = [&mut page, &mut bare].map(|cores| quantiles(cores, [0.5])[0]);
    println!("  median: page {page:.3}, bare {bare:.3}: {:+.1} %", (page / bare - 1.0) * 100.0);
}

/// A client with cameras that nobody needs to look at.
fn cameras(server: &Server, number: usize) -> Client {
    let id = format!("cameras-{number}");
    let names: Vec<String> = (0..CAMERAS).map(|camera| format!("c{camera}=test:ball")).collect();
    let mut args =
        vec!["room", "r", "--id", &id, "--send-only", "--no-audio", "--size", "320x240", "--fps", "15"];
    names.iter().for_each(|name| args.extend(["--video", name]));
    let mut client = Client::start(server, &args);
    client.wait_for("joined");
    client
}

/// The cores that the page takes, and the size of its pictures.
fn with_page(server: &Server, browser: &Browser) -> (f64, String) {
    let page = browser.open(&format!("{}?room=r&watch=1", server.url()));
    let live = format!(
        "callbin.peers().flatMap(({{ videos }}) => videos).filter(({{ picture }}) => picture === 'live').length === {TILES}"
    );
    page.wait_for("all pictures", &live, DEADLINE);
    let size = page.eval(
        "(() => { const { width, height } = document.querySelector('.tile:not(.self) .picture').getBoundingClientRect(); \
         const tops = [...document.querySelectorAll('.tile:not(.self)')].map((tile) => tile.offsetTop); \
         return JSON.stringify({ width: Math.round(width), height: Math.round(height), columns: tops.filter((top) => top === tops[0]).length }); })()",
    );
    (measure(browser, &page), size.as_str().unwrap_or_default().to_owned())
}

fn without(server: &Server, browser: &Browser, size: &str) -> f64 {
    let page = browser.open(&format!("{}livez", server.url()));
    page.eval(&format!("({})({size})", include_str!("wall.js")));
    let all =
        format!("[...shown.values()].filter(({{ currentTime }}) => currentTime > 0).length === {TILES}");
    page.wait_for("all pictures", &all, DEADLINE);
    measure(browser, &page)
}

/// The page is measured while nothing begins.
fn measure(browser: &Browser, _page: &Page) -> f64 {
    thread::sleep(BEFORE);
    let (start, before) = (Instant::now(), cpu_time(browser.pid()));
    thread::sleep(MEASURED);
    (cpu_time(browser.pid()) - before) / start.elapsed().as_secs_f64()
}

/// Seconds of CPU of all processes of a group.
fn cpu_time(group: u32) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let ticks = stats.filter_map(|stat| {
        // The name in brackets may have spaces. After it: state, parent, group, and from the twelfth on user and system time.
        let fields: Vec<u64> =
            stat.rsplit_once(')')?.1.split_whitespace().skip(1).map(|it| it.parse().unwrap_or(0)).collect();
        (fields.get(1) == Some(&u64::from(group)))
            .then(|| fields.get(10..12).map_or(0, |times| times.iter().sum()))
    });
    ticks.sum::<u64>() as f64 / 100.0
}
