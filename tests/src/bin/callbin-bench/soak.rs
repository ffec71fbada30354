//! Hours of calls, rooms, outages and failing sources at random. Everything must work again after each action, and the long-lived
//! processes must not grow: otherwise the exit code is 1.

use std::{
    fmt,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use crate::quantiles;
use callbin_line::Conditions;
use callbin_tests::{
    Client, Network, Rtsp, Server, Wire,
    client::STATS_OFTEN,
    process::{Process, free_port},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How long everything may take to work again.
const LIMIT: Duration = Duration::from_secs(90);
/// The time before the first look: by then all that is created once exists.
const WARM_UP: Duration = Duration::from_secs(300);
/// A process has grown if the median of the last third exceeds that of the first by more than this share, and by more than this
/// number: MiB, threads, open files.
const GROWTH: f64 = 0.15;
const SLACK: [f64; 3] = [10.0, 4.0, 8.0];
/// The time between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Small and rare frames: leaks show in them as well.
const SMALL: [&str; 6] = ["--size", "320x240", "--fps", "15", STATS_OFTEN[0], "1"];
const NAMES: [&str; 4] = ["server", "camera", "left", "right"];

/// Runs for the given hours, with actions that follow from the seed.
pub fn soak(args: &[String]) -> ExitCode {
    let hours: f64 = args.first().and_then(|hours| hours.parse().ok()).unwrap_or(2.0);
    let seed = args.get(1).and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("soak for {hours} h, seed {seed}");
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(hours * 3600.0);
    let mut scene = Scene::start();
    let mut random = StdRng::seed_from_u64(seed);
    let (mut looks, mut next_look) = (Vec::new(), start + WARM_UP);
    while Instant::now() < end {
        let action = Action::any(&mut random);
        let failure = scene.perform(action).err().or_else(|| scene.settle().err());
        scene.actions += 1;
        if let Some(failure) = failure {
            scene.failures += 1;
            println!("{:>7.0} s  {action}: {failure}", start.elapsed().as_secs_f64());
        }
        if next_look <= Instant::now() {
            next_look = Instant::now() + LOOK_EVERY;
            let look = Look { at: start.elapsed(), processes: scene.processes() };
            println!("{look}  {} actions, {} failures", scene.actions, scene.failures);
            looks.push(look);
        }
    }
    let grown = summary(&looks);
    println!("{} actions, {} failures", scene.actions, scene.failures);
    if grown || scene.failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Action {
    Call { seconds: u64, kill: bool },
    Visit { seconds: u64, kill: bool },
    Outage { ms: u64 },
    BadLine { loss: f64, kbits: u64, seconds: u64 },
    NewAddress { end: usize },
    CutOff { end: usize, seconds: u64 },
    SourceFails { seconds: u64 },
    ServerDies { seconds: u64 },
}

impl Action {
    fn any(random: &mut StdRng) -> Self {
        let kill = random.random_bool(0.3);
        match random.random_range(0..20) {
            0..6 => Self::Call { seconds: random.random_range(1..15), kill },
            6..11 => Self::Visit { seconds: random.random_range(1..15), kill },
            11..13 => Self::Outage { ms: random.random_range(200..40_000) },
            13..15 => Self::BadLine {
                loss: random.random_range(0.0..0.15),
                kbits: random.random_range(200..2000),
                seconds: random.random_range(5..20),
            },
            15 => Self::NewAddress { end: random.random_range(0..2) },
            16 => Self::CutOff { end: random.random_range(0..2), seconds: random.random_range(1..60) },
            17 | 18 => Self::SourceFails { seconds: random.random_range(1..15) },
            _ => Self::ServerDies { seconds: random.random_range(0..15) },
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { seconds, kill: false } => write!(f, "a call of {seconds} s"),
            Self::Call { seconds, kill: true } => write!(f, "a caller that is killed after {seconds} s"),
            Self::Visit { seconds, kill: false } => write!(f, "a member for {seconds} s"),
            Self::Visit { seconds, kill: true } => write!(f, "a member that is killed after {seconds} s"),
            Self::Outage { ms } => write!(f, "an outage of {ms} ms"),
            Self::BadLine { loss, kbits, seconds } => {
                write!(f, "{seconds} s with {:.0} % loss and {kbits} kbit/s", loss * 100.0)
            }
            Self::NewAddress { end } => write!(f, "a new address of {}", NAMES[2 + end]),
            Self::CutOff { end, seconds } => {
                write!(f, "{} away from the server for {seconds} s", NAMES[2 + end])
            }
            Self::SourceFails { seconds } => write!(f, "a source that is away for {seconds} s"),
            Self::ServerDies { seconds } => write!(f, "a server that is away for {seconds} s"),
        }
    }
}

/// The long-lived processes: a server, a camera that takes calls, and two members of a room on both ends of a line.
struct Scene {
    server: Option<Server>,
    camera: Client,
    source: Option<Rtsp>,
    rtsp: u16,
    members: [Client; 2],
    networks: [Network; 2],
    wire: Wire,
    port: u16,
    camera_is_busy: bool,
    actions: u32,
    failures: u32,
}

impl Scene {
    fn start() -> Self {
        let server = Server::spawn_reachable(&[]);
        let port = server.port();
        let rtsp = free_port();
        let source = Rtsp::start(rtsp, "ball");
        let networks = [Network::start(), Network::start()];
        let wire = Wire::between(&networks[0], &networks[1], Conditions::default(), 1);
        let video = format!("yard={}", Rtsp::url(rtsp));
        let camera = ["wait", "--id", "camera", "--video", &video];
        let camera = Client::start(&server, &[&camera[..], &SMALL].concat());
        let member = |end: usize| {
            let args = ["room", "soak", "--id", NAMES[2 + end]];
            Client::start_in(&networks[end], &server, &[&args[..], &SMALL].concat())
        };
        let members = [member(0), member(1)];
        let mut scene = Self {
            server: Some(server),
            camera,
            source: Some(source),
            rtsp,
            members,
            networks,
            wire,
            port,
            camera_is_busy: true,
            actions: 0,
            failures: 0,
        };
        if let Err(failure) = scene.settle() {
            panic!("it does not begin: {failure}");
        }
        scene
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs between actions")
    }

    fn perform(&mut self, action: Action) -> Result<(), String> {
        let wait = |seconds| thread::sleep(Duration::from_secs(seconds));
        match action {
            Action::Call { seconds, kill } => {
                self.camera_is_busy = true;
                return self.come(&["call", "camera"], "first-video", seconds, kill);
            }
            Action::Visit { seconds, kill } => {
                let visitor = ["room", "soak", "--id", "visitor"];
                return self.come(&visitor, "peer-first-video", seconds, kill);
            }
            Action::Outage { ms } => {
                self.wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
                thread::sleep(Duration::from_millis(ms));
                self.wire.change_both(Conditions::default());
            }
            Action::BadLine { loss, kbits, seconds } => {
                let rate = Some(kbits * 1000);
                self.wire.change_both(Conditions { loss, rate, ..Conditions::default() });
                wait(seconds);
                self.wire.change_both(Conditions::default());
            }
            Action::NewAddress { end } => self.wire.renumber(&self.networks[end], end),
            Action::CutOff { end, seconds } => {
                self.networks[end].cut();
                wait(seconds);
                self.networks[end].restore();
            }
            Action::SourceFails { seconds } => {
                self.source = None;
                wait(seconds);
                self.source = Some(Rtsp::start(self.rtsp, "ball"));
            }
            Action::ServerDies { seconds } => {
                self.server = None;
                self.camera_is_busy = true;
                wait(seconds);
                self.server = Some(Server::spawn_reachable_on(self.port, &[]));
            }
        }
        Ok(())
    }

    /// A client that comes, sees a picture, and goes.
    fn come(&mut self, args: &[&str], picture: &str, seconds: u64, kill: bool) -> Result<(), String> {
        let mut guest = Client::start(self.server(), &[args, &SMALL[..]].concat());
        let found = guest.find(Instant::now() + LIMIT, |event| event.name() == picture);
        if found.is_none() {
            return Err(format!("no picture: {}", guest.errors().trim()));
        }
        thread::sleep(Duration::from_secs(seconds));
        guest.process().signal(if kill { "KILL" } else { "INT" });
        guest.process().wait();
        Ok(())
    }

    /// Waits until the members see each other, and the camera waits for a call.
    fn settle(&mut self) -> Result<(), String> {
        for (at, member) in self.members.iter_mut().enumerate() {
            member.forget();
            let until = Instant::now() + LIMIT;
            let plays = member.find(until, |event| {
                event.name() == "stats"
                    && event.peer() == Some(NAMES[3 - at])
                    && event.number("/video/fps") > 7.0
                    && event.number("/silence_ms") < 500.0
            });
            if plays.is_none() {
                return Err(format!("{} sees no picture: {}", NAMES[2 + at], tail(&member.errors())));
            }
        }
        // It waits again after each call, and after each loss of the server.
        if self.camera_is_busy {
            let news = self.camera.find(Instant::now() + LIMIT, |event| event.name() == "waiting");
            if news.is_none() {
                return Err(format!("the camera is not free: {}", tail(&self.camera.errors())));
            }
            self.camera_is_busy = false;
        }
        self.camera.forget();
        Ok(())
    }

    fn processes(&mut self) -> [Size; 4] {
        let [left, right] = &mut self.members;
        let server = self.server.as_mut().expect("the server runs between actions");
        [server.process(), self.camera.process(), left.process(), right.process()].map(Size::of)
    }
}

fn tail(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
struct Size {
    mib: f64,
    threads: u64,
    files: usize,
}

impl Size {
    fn of(process: &mut Process) -> Self {
        let mib = process.memory() as f64 / 1024.0 / 1024.0;
        Self { mib, threads: process.threads(), files: process.descriptors() }
    }
}

/// One look at all processes.
#[derive(Debug)]
struct Look {
    at: Duration,
    processes: [Size; 4],
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.0} s", self.at.as_secs_f64())?;
        NAMES.iter().zip(self.processes).try_for_each(|(name, Size { mib, threads, files })| {
            write!(f, "  {name} {mib:.0} MiB {threads} threads {files} files")
        })
    }
}

/// Compares the first third of the looks with the last one. Returns whether a process has grown.
fn summary(looks: &[Look]) -> bool {
    let third = looks.len() / 3;
    if third == 0 {
        println!("too short for a comparison");
        return false;
    }
    let parts = [&looks[..third], &looks[looks.len() - third..]];
    println!("\nmedians of the first and of the last third, without the first {} s", WARM_UP.as_secs());
    println!("| process | MiB | threads | open files |\n|---|---|---|---|");
    let mut grown = false;
    for (at, name) in NAMES.iter().enumerate() {
        let numbers: [fn(&Size) -> f64; 3] =
            [|size| size.mib, |size| size.threads as f64, |size| size.files as f64];
        let medians = numbers.map(|of| parts.map(|part| median(part, at, of)));
        println!(
            "| {name} | {} |",
            medians.map(|[first, last]| format!("{first:.0}, {last:.0}")).join(" | ")
        );
        grown |=
            medians.iter().zip(SLACK).any(|([first, last], slack)| last - first > slack.max(first * GROWTH));
    }
    grown
}

fn median(looks: &[Look], at: usize, of: fn(&Size) -> f64) -> f64 {
    let mut values: Vec<f64> = looks.iter().map(|look| of(&look.processes[at])).collect();
    let [median] = quantiles(&mut values, [0.5]);
    median
}
