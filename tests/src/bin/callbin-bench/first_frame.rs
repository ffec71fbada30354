//! How long it takes until the far end of a call has decoded the first frame.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Display, Page, Server, process::Process};

use crate::print_times;

/// Calls that are counted.
const ROUNDS: usize = 20;

/// GStreamer's examples know only numbers.
const PAGE: &str = "4711";

/// How long a waiting client has been there when the first call comes.
const WAITING: Duration = Duration::from_secs(1);

/// Notes when a peer's video has its first frame, on the clock of the system.
const WATCH: &str = "
    window.firstFrame = 0;
    (function look() {
        const video = document.querySelector('video[data-peer]');
        if (video && video.videoWidth > 0) window.firstFrame = performance.timeOrigin + performance.now();
        else setTimeout(look, 2);
    })();
    null";

/// A page in Chromium, at a server of its own.
struct Far {
    server: Server,
    _browser: Browser,
    page: Page,
}

impl Far {
    fn open() -> Self {
        let server = Server::start(&[]);
        let browser = Browser::start(BrowserOptions::whole());
        let page = browser.open(&format!("{}?id={PAGE}&auto-answer=1", server.url()));
        Self { server, _browser: browser, page }
    }

    /// When the first frame of the call is there, in milliseconds after `start`.
    fn first_frame_after(&self, start: f64) -> f64 {
        self.page.wait_for("the first frame", "window.firstFrame > 0", DEADLINE);
        self.page.eval("window.firstFrame").as_f64().unwrap_or_default() - start
    }
}

/// From the start of `callbin call` to the first frame that Chromium has decoded, step by step.
pub fn call() {
    let far = Far::open();
    let mut times = Vec::new();
    let mut phases: Vec<(&str, Vec<f64>)> =
        ["registered", "offer-sent", "answer-received", "ice-connected", "dtls-connected"]
            .map(|name| (name, Vec::new()))
            .into();
    for round in 0..=ROUNDS {
        far.page.wait_for_state("ready");
        far.page.eval(WATCH);
        let start = now();
        let mut client = Client::start(&far.server, &["call", PAGE]);
        let seen: Vec<f64> = phases.iter().map(|(name, _)| client.wait_for(name).ms() as f64).collect();
        let first = far.first_frame_after(start);
        client.hang_up();
        // The first call of a browser loads its codecs.
        if round > 0 {
            times.push(first);
            phases.iter_mut().zip(seen).for_each(|((_, all), ms)| all.push(ms));
        }
    }
    println!("start of callbin call to first frame decoded in Chromium, {} calls", times.len());
    for (name, times) in phases {
        print_times(name, times);
    }
    print_times("first frame in Chromium", times);
}

/// From the click on "Call" to the first frame that Chromium has decoded. It is the first call of each client.
pub fn wait() {
    let far = Far::open();
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let mut client = Client::start(&far.server, &["wait", "--id", "gst"]);
        client.wait_for("waiting");
        thread::sleep(WAITING);
        far.page.wait_for_state("ready");
        far.page.eval(WATCH);
        far.page.type_text("#peer", "gst");
        let start = "document.querySelector('#call').click(), performance.timeOrigin + performance.now()";
        let start = far.page.eval(start).as_f64().unwrap_or_default();
        let first = far.first_frame_after(start);
        client.hang_up();
        if round > 0 {
            times.push(first);
        }
    }
    println!("click on Call to the first frame of callbin wait decoded in Chromium, {} calls", times.len());
    print_times("first frame in Chromium", times);
}

/// The first frames of `callbin call` and of other clients, one after the other in each round. The others are given as
/// pairs of a name and a command for the shell, which finds the server's address in `SERVER` and whom to call in `PEER`.
pub fn compare(others: &[String]) {
    let far = Far::open();
    // The examples insist on showing what they get.
    let display = Display::start();
    let mut clients = vec![("callbin call", None, Vec::new())];
    let pairs = others.chunks_exact(2);
    clients.extend(pairs.map(|pair| (pair[0].as_str(), Some(pair[1].as_str()), Vec::new())));
    for round in 0..=ROUNDS {
        for (_, command, times) in &mut clients {
            far.page.wait_for_state("ready");
            far.page.eval(WATCH);
            let start = now();
            let process = start_client(&far.server, &display, *command);
            let first = far.first_frame_after(start);
            drop(process);
            if round > 0 {
                times.push(first);
            }
        }
    }
    println!("| start of the client to first frame decoded in Chromium, {ROUNDS} calls | median | 95 % |");
    println!("|---|---|---|");
    for (name, _, mut times) in clients {
        let [median, most] = crate::quantiles(&mut times, [0.5, 0.95]);
        println!("| {name} | {median:.0} ms | {most:.0} ms |");
    }
}

/// Killed with all its children when dropped.
fn start_client(server: &Server, display: &Display, command: Option<&str>) -> Process {
    let url = server.ws_url();
    let mut program = match command {
        Some(command) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec {command}")]);
            shell
        }
        None => {
            let mut callbin = Command::new(callbin_tests::program("callbin"));
            callbin.args(["call", PAGE, "--server", &url]);
            callbin
        }
    };
    program.env("SERVER", &url).env("PEER", PAGE).env("DISPLAY", display.name());
    Process::spawn(program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("the clock is after 1970").as_secs_f64() * 1000.0
}
