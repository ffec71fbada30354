//! Calls over bad lines: what is decoded at each end, and what the line had to carry.

use std::{
    thread,
    time::{Duration, Instant},
};

use callbin_line::{Conditions, Outage};
use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Network, Page, Server, Wire,
    wire::{BACK, THERE},
};

use crate::viewers;

/// Time on a perfect line before the change.
pub(crate) const BEFORE: Duration = Duration::from_secs(5);
/// Time that a call has to adapt to the line.
pub(crate) const ADAPTS: Duration = Duration::from_secs(3);
/// Time for which a call is measured.
pub(crate) const MEASURED: Duration = Duration::from_secs(10);
/// Time that a call has to recover on a perfect line.
pub(crate) const RECOVERS: Duration = Duration::from_secs(10);
pub(crate) const SEED: u64 = 1;

/// The program at an end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Callbin,
    Chromium,
}

const PAIRS: [(Kind, Kind); 3] =
    [(Kind::Callbin, Kind::Callbin), (Kind::Callbin, Kind::Chromium), (Kind::Chromium, Kind::Chromium)];

/// Runs the lines whose names contain one of `wanted`, or all; `callbin`, `mixed` and `chromium` choose pairs.
pub fn network(wanted: &[String]) {
    let chosen = |name: &str| {
        let mut words =
            wanted.iter().filter(|word| !["callbin", "mixed", "chromium"].contains(&word.as_str()));
        words.clone().next().is_none() || words.any(|word| name.contains(word))
    };
    let pairs: Vec<_> = ["callbin", "mixed", "chromium"]
        .into_iter()
        .zip(PAIRS)
        .filter(|(name, _)| {
            let named = |word: &String| ["callbin", "mixed", "chromium"].contains(&word.as_str());
            !wanted.iter().any(named) || wanted.iter().any(|word| word == name)
        })
        .map(|(_, pair)| pair)
        .collect();
    println!(
        "callbin: VP8, 640x480, 30 frames/s, 1000 kbit/s. Both directions have the same line; seed {SEED}."
    );
    println!(
        "Each call: {BEFORE:?} on a perfect line, {ADAPTS:?} on the bad one, {MEASURED:?} measured, then {RECOVERS:?} on a perfect line."
    );
    println!(
        "fps: frames decoded per second. gap: the longest time between two frames. kbit/s: what the line let through."
    );
    println!("queue: the longest wait in the line. after: kbit/s at the end of the recovery.");
    println!(
        "{:<26} {:<22} {:>5} {:>7} {:>7} {:>7} {:>7}",
        "line", "from → to", "fps", "gap ms", "kbit/s", "queue", "after"
    );
    for (name, conditions) in lines() {
        for pair in &pairs {
            if chosen(name) {
                measure(name, conditions, *pair);
            }
        }
    }
    if chosen("shared 1500 kbit/s") {
        share();
    }
    for kbits in [800, 400, 200] {
        if chosen(&format!("two viewers {kbits}")) {
            viewers::two(kbits);
        }
    }
}

fn lines() -> Vec<(&'static str, Conditions)> {
    let ms = Duration::from_millis;
    let perfect = Conditions::default();
    let loss = |percent: f64| Conditions { loss: percent / 100.0, ..perfect };
    let far = |delay| Conditions { delay: ms(delay), ..loss(3.0) };
    let rate =
        |kbits: u64| Conditions { rate: Some(kbits * 1000), delay: ms(20), queue: ms(1000), ..perfect };
    let outage = Some(Outage { every: ms(5000), lasts: ms(200) });
    vec![
        ("perfect", perfect),
        ("loss 1 %", loss(1.0)),
        ("loss 3 %", loss(3.0)),
        ("loss 5 %", loss(5.0)),
        ("loss 10 %", loss(10.0)),
        ("loss 3 %, 50 ms", far(50)),
        ("loss 3 %, 150 ms", far(150)),
        ("50 ± 30 ms, reordering", Conditions { delay: ms(50), jitter: ms(30), reorders: true, ..perfect }),
        ("rate 800", rate(800)),
        ("rate 400", rate(400)),
        ("rate 200", rate(200)),
        ("holes of 200 ms", Conditions { delay: ms(20), outage, ..perfect }),
    ]
}

/// One end of a call.
pub(super) enum End {
    Client(Client),
    Page { page: Page, _browser: Box<Browser> },
}

/// A call over a line.
pub(super) struct Call {
    pub(super) ends: [End; 2],
    pub(super) wire: Wire,
    pub(super) networks: [Network; 2],
    _server: Server,
}

/// What an end has decoded.
struct Decoded {
    fps: f64,
    gap: f64,
}

fn measure(name: &str, conditions: Conditions, pair: (Kind, Kind)) {
    let mut call = Call::start(pair);
    thread::sleep(BEFORE);
    call.wire.change_both(conditions);
    thread::sleep(ADAPTS);
    let carried = |wire: &Wire| [THERE, BACK].map(|way| wire.counts(way).bytes as f64 * 8.0 / 1000.0);
    let before = carried(&call.wire);
    call.wire.take_longest(THERE);
    call.wire.take_longest(BACK);
    let start = Instant::now();
    call.ends.iter_mut().for_each(End::begin);
    thread::sleep(MEASURED);
    let decoded = call.ends.each_mut().map(End::decoded);
    let took = start.elapsed().as_secs_f64();
    let after = carried(&call.wire);
    let queue = [THERE, BACK].map(|way| call.wire.take_longest(way));
    call.wire.change_both(Conditions::default());
    thread::sleep(RECOVERS);
    let last = carried(&call.wire);
    thread::sleep(Duration::from_secs(2));
    let recovered = carried(&call.wire);
    for (way, (from, to)) in [pair, (pair.1, pair.0)].into_iter().enumerate() {
        let Decoded { fps, gap } = decoded[1 - way];
        println!(
            "{name:<26} {:<22} {fps:>5.1} {gap:>7.0} {:>7.0} {:>7.0} {:>7.0}",
            format!("{from:?} → {to:?}"),
            (after[way] - before[way]) / took,
            queue[way].as_millis(),
            (recovered[way] - last[way]) / 2.0,
        );
    }
}

/// Two calls over the same line.
fn share() {
    let server = Server::spawn_reachable(&[]);
    let networks = [Network::start(), Network::start()];
    let conditions =
        Conditions { rate: Some(1_500_000), delay: Duration::from_millis(20), ..Conditions::default() };
    let _wire = Wire::between(&networks[0], &networks[1], conditions, SEED);
    let mut calls = ["one", "two"].map(|id| {
        let mut waiting = client(&networks[1], &server, &["wait", "--id", id]);
        waiting.wait_for("registered");
        let calling = client(&networks[0], &server, &["call", id]);
        (calling, waiting)
    });
    thread::sleep(Duration::from_secs(20));
    let rates = calls.each_mut().map(|(_, waiting)| {
        waiting.forget();
        let bytes = |event: &callbin_tests::client::Event| (event.ms() as f64, event.number("/video/bytes"));
        let first = bytes(&waiting.wait_for("stats"));
        thread::sleep(MEASURED);
        waiting.forget();
        let last = bytes(&waiting.wait_for("stats"));
        (last.1 - first.1) * 8.0 / (last.0 - first.0)
    });
    let sum = rates[0] + rates[1];
    println!(
        "two calls share 1500 kbit/s: {:.0} and {:.0} kbit/s of video, {:.0} % and {:.0} %",
        rates[0],
        rates[1],
        100.0 * rates[0] / sum,
        100.0 * rates[1] / sum
    );
}

pub(crate) fn client(network: &Network, server: &Server, args: &[&str]) -> Client {
    let picture = ["--bitrate", "1000", "--fps", "30", "--size", "640x480"];
    Client::start_in(network, server, &[args, &picture].concat())
}

impl Call {
    fn start(pair: (Kind, Kind)) -> Self {
        Self::start_with(pair, false, &[])
    }

    /// Starts a call, or two clients in a room, with more arguments of clients.
    pub(super) fn start_with(pair: (Kind, Kind), room: bool, more: &[&str]) -> Self {
        let server = Server::spawn_reachable(&[]);
        let networks = [Network::start(), Network::start()];
        let wire = Wire::between(&networks[0], &networks[1], Conditions::default(), SEED);
        let [first, second] =
            if room { [&["room", "lobby"][..]; 2] } else { [&["call", "callee"][..], &["wait"][..]] };
        let callee = match pair.1 {
            Kind::Callbin => {
                let args = [second, &["--id", "callee"], more].concat();
                let mut client = client(&networks[1], &server, &args);
                client.wait_for("registered");
                End::Client(client)
            }
            Kind::Chromium => {
                let end = End::open(&networks[1], &server, "id=callee&auto-answer=1");
                let End::Page { page, .. } = &end else { unreachable!() };
                page.wait_for_state("ready");
                end
            }
        };
        let caller = match pair.0 {
            Kind::Callbin => {
                let args = [first, &["--id", "caller"], more].concat();
                End::Client(client(&networks[0], &server, &args))
            }
            Kind::Chromium => End::open(&networks[0], &server, "id=caller&call=callee"),
        };
        let mut ends = [caller, callee];
        ends.iter_mut().for_each(|end| end.wait_for_picture(room));
        Self { ends, wire, networks, _server: server }
    }
}

/// Collects the page's connections.
const WATCH: &str = "(() => { const Real = window.RTCPeerConnection; window.all = []; \
    window.RTCPeerConnection = class extends Real { constructor(...args) { super(...args); window.all.push(this); } }; })()";
/// Resolves to the frames decoded so far.
const FRAMES: &str = "(async () => { let frames = 0; for (const pc of window.all) for (const it of (await pc.getStats()).values()) \
    if (it.type === 'inbound-rtp' && it.kind === 'video') frames += it.framesDecoded ?? 0; return frames; })()";
/// Resolves to the frames that each connection has decoded so far.
const EACH: &str = "Promise.all(window.all.map(async (pc) => { let frames = 0; for (const it of (await pc.getStats()).values()) \
    if (it.type === 'inbound-rtp' && it.kind === 'video') frames += it.framesDecoded ?? 0; return frames; }))";
/// Measures the longest time between two frames shown.
const GAP: &str = "(() => { const video = document.querySelector('video[data-peer]'); window.gap = 0; let last = performance.now(); \
    const next = () => { const now = performance.now(); window.gap = Math.max(window.gap, now - last); last = now; \
    video.requestVideoFrameCallback(next); }; video.requestVideoFrameCallback(next); \
    window.start = [performance.now(), 0]; })()";

impl End {
    fn open(network: &Network, server: &Server, query: &str) -> Self {
        let origin = format!("http://{}:{}", network.host(), server.port());
        let options = BrowserOptions { fps: 30, ..BrowserOptions::whole() };
        let browser = Browser::start_in(network, &origin, options);
        let page = browser.open("about:blank");
        page.before_load(WATCH);
        page.go(&format!("{origin}/?{query}"));
        Self::Page { page, _browser: Box::new(browser) }
    }

    fn wait_for_picture(&mut self, room: bool) {
        match self {
            Self::Client(client) => {
                drop(client.wait_for(if room { "peer-first-video" } else { "first-video" }));
            }
            Self::Page { page, .. } => {
                page.wait_for("a picture", &format!("{FRAMES}.then((frames) => frames > 0)"), DEADLINE)
            }
        }
    }

    /// Waits for a picture that comes from now on; returns whether one does.
    pub(super) fn next_picture(&mut self, until: Instant) -> bool {
        match self {
            Self::Client(client) => {
                client.forget();
                let found = client.find(until, |event| event.number("/video/fps") > 5.0).is_some();
                if std::env::var_os("CALLBIN_BENCH_TRACE").is_some() {
                    let others = || client.find(Instant::now(), |event| event.name() != "stats");
                    std::iter::from_fn(others).for_each(|event| eprintln!("{}", event.json()));
                    eprintln!("{}", client.errors());
                }
                found
            }
            Self::Page { page, .. } => {
                let mut before = page.eval(EACH);
                loop {
                    thread::sleep(Duration::from_millis(50));
                    let now = page.eval(EACH);
                    let frames = |all: &serde_json::Value, at: usize| all[at].as_u64().unwrap_or_default();
                    let count = now.as_array().map_or(0, Vec::len);
                    if (0..count).any(|at| frames(&now, at) > frames(&before, at)) {
                        return true;
                    }
                    if Instant::now() > until {
                        if std::env::var_os("CALLBIN_BENCH_TRACE").is_some() {
                            eprintln!("{}", page.describe());
                        }
                        return false;
                    }
                    before = now;
                }
            }
        }
    }

    fn begin(&mut self) {
        match self {
            Self::Client(client) => client.forget(),
            Self::Page { page, .. } => {
                page.eval(GAP);
                page.eval(&format!(
                    "{FRAMES}.then((frames) => {{ window.start = [performance.now(), frames]; }})"
                ));
            }
        }
    }

    /// What was decoded since the call of `begin`.
    fn decoded(&mut self) -> Decoded {
        match self {
            Self::Client(client) => {
                let stats: Vec<_> =
                    std::iter::from_fn(|| client.find(Instant::now(), |event| event.name() == "stats"))
                        .collect();
                if std::env::var_os("CALLBIN_BENCH_TRACE").is_some() {
                    stats.iter().for_each(|stats| eprintln!("{}", stats.json()));
                }
                let (first, last) =
                    (stats.first().expect("a second has passed"), stats.last().expect("see above"));
                let frames = last.number("/video/frames") - first.number("/video/frames");
                let gap = stats.iter().skip(1).map(|stats| stats.number("/video/gap_ms")).fold(0.0, f64::max);
                Decoded { fps: frames * 1000.0 / (last.ms() - first.ms()).max(1) as f64, gap }
            }
            Self::Page { page, .. } => {
                let js = format!(
                    "{FRAMES}.then((frames) => [(frames - window.start[1]) * 1000 / (performance.now() - window.start[0]), window.gap])"
                );
                let found = page.eval(&js);
                Decoded {
                    fps: found[0].as_f64().unwrap_or_default(),
                    gap: found[1].as_f64().unwrap_or_default(),
                }
            }
        }
    }
}
