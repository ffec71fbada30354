//! GStreamer's own example clients, from a checkout that `EXAMPLES` names.
//!
//! They accept no commands and report nothing, so their picture is checked where they show it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use callbin_tests::{Browser, BrowserOptions, Client, Display, Page, Server, process::workspace};
use tempfile::TempDir;

use crate::{
    call::{OUR_HELLO, PATIENCE, Way},
    flow::Flow,
    link::Link,
    stack::Role,
    table::{Column, Row},
};

/// An example client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Example {
    /// `webrtc/sendrecv/js`, in Chromium.
    Js,
    /// `webrtc/sendrecv/gst/webrtc_sendrecv.py`.
    Python,
    /// `webrtc/sendrecv/gst/webrtc-sendrecv.c`.
    C,
    /// `webrtc/sendrecv/gst-rust`.
    Rust,
}

/// Our uid, and the one of the example. The one in Rust knows only numbers.
const OURS: &str = "1000";
const THEIRS: &str = "2000";

impl Example {
    /// All clients.
    pub const ALL: [Self; 4] = [Self::Js, Self::Python, Self::C, Self::Rust];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Js => "example.js",
            Self::Python => "example.py",
            Self::C => "example.c",
            Self::Rust => "example.rs",
        }
    }

    /// The ways that can be checked. Nothing shows the audio that a program plays, and those in Python and Rust have no
    /// data channel.
    fn ways(self) -> &'static [Way] {
        match self {
            Self::Js => {
                &[Way::PictureOut, Way::PictureIn, Way::SoundOut, Way::SoundIn, Way::TextOut, Way::TextIn]
            }
            Self::Python | Self::Rust => &[Way::PictureOut, Way::PictureIn, Way::SoundOut],
            Self::C => &[Way::PictureOut, Way::PictureIn, Way::SoundOut, Way::TextOut, Way::TextIn],
        }
    }

    /// Whether it is started with `--remote-offerer`: if it asks for our offer. To the one in Rust the flag means on both
    /// sides that the callee offers.
    fn wants_flag(self, role: Role) -> bool {
        match role {
            Role::CallsAnswers => true,
            Role::CalledOffers => self == Self::Rust,
            Role::CallsOffers | Role::CalledAnswers => false,
        }
    }
}

/// Runs one client in all roles.
pub fn run(example: Example) -> Vec<Row> {
    let examples = std::env::var_os("EXAMPLES").filter(|it| !it.is_empty()).map(PathBuf::from);
    let folder = examples.ok_or_else(|| "EXAMPLES not set".into()).and_then(|examples| find(&examples));
    let program = match folder.and_then(|folder| prepare(example, &folder)) {
        Ok(program) => program,
        Err(reason) => return vec![Row::not_run(example.name(), &reason)],
    };
    // The examples require TLS.
    let certificates = tempfile::tempdir().expect("a folder");
    let path = certificates.path().to_str().expect("the path is text");
    let server = Server::start_on(0, &["--self-signed", "--cert-path", path]);
    let row = |role| {
        let mut row = Row::new(example.name(), role);
        let looks = crate::guarded(|| call(&server, &certificates, example, &program, role));
        for way in example.ways() {
            let result = looks.as_ref().map_err(Clone::clone).and_then(|looks| verdict(looks, *way));
            row.set(Column::Way(*way), result);
        }
        row
    };
    Role::ALL.map(row).into()
}

/// The folder `sendrecv` of GStreamer's WebRTC examples, at any of its places in a checkout.
fn find(examples: &Path) -> Result<PathBuf, String> {
    let places = ["webrtc/sendrecv", "subprojects/gst-examples/webrtc/sendrecv", "sendrecv"];
    let found = places.iter().map(|place| examples.join(place)).find(|folder| folder.is_dir());
    found.ok_or_else(|| format!("no webrtc/sendrecv in {}", examples.display()))
}

/// What to start.
enum Program {
    /// A page.
    Page(String),
    /// A program, with its arguments.
    Command { program: PathBuf, args: Vec<String> },
}

fn prepare(example: Example, folder: &Path) -> Result<Program, String> {
    let program = match example {
        Example::Js => Program::Page(format!("file://{}", real(&folder.join("js/index.html"))?.display())),
        Example::Python => {
            let script = real(&folder.join("gst/webrtc_sendrecv.py"))?;
            let text = std::fs::read_to_string(&script).map_err(|error| error.to_string())?;
            if text.contains("ssl.Purpose.CLIENT_AUTH") {
                return Err(
                    "it connects with a TLS context for servers, which Python refuses since 3.10".into()
                );
            }
            Program::Command { program: "/usr/bin/python3".into(), args: vec![text_of(&script)] }
        }
        Example::C => Program::Command { program: compile(folder)?, args: Vec::new() },
        Example::Rust => Program::Command { program: cargo(folder)?, args: Vec::new() },
    };
    Ok(program)
}

fn real(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
}

fn text_of(path: &Path) -> String {
    path.to_str().expect("the path is text").into()
}

/// Compiles the client in C. Only newer versions, which come with an ICE agent of their own, work; a header has what they need and
/// an older GStreamer lacks.
fn compile(folder: &Path) -> Result<PathBuf, String> {
    if !folder.join("gst/custom_agent.c").exists() {
        return Err("it is for libsoup 2, which aborts beside the libsoup 3 of libnice".into());
    }
    let output = workspace().join("target/interop/webrtc-sendrecv");
    std::fs::create_dir_all(workspace().join("target/interop")).map_err(|error| error.to_string())?;
    let script = format!(
        "cc -w -include '{}' -o '{}' webrtc-sendrecv.c custom_agent.c $(pkg-config --cflags --libs gstreamer-webrtc-1.0 \
         gstreamer-webrtc-nice-1.0 gstreamer-sdp-1.0 gstreamer-rtp-1.0 nice json-glib-1.0 libsoup-3.0)",
        workspace().join("tests/interop/newer-gstreamer.h").display(),
        output.display()
    );
    let done = Command::new("sh").args(["-c", &script]).current_dir(folder.join("gst")).output();
    compiled(done, output)
}

/// Builds the client in Rust, once, outside the repository.
fn cargo(folder: &Path) -> Result<PathBuf, String> {
    let cache = std::env::var_os("CALLBIN_INTEROP").map(PathBuf::from).ok_or("CALLBIN_INTEROP not set")?;
    let target = cache.join("example-rust");
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
    let done = command.current_dir(real(&folder.join("gst-rust"))?).output();
    compiled(done, target.join("debug/webrtc-app"))
}

/// The program, or the first error of its compiler.
fn compiled(done: std::io::Result<std::process::Output>, program: PathBuf) -> Result<PathBuf, String> {
    let done = done.map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(program);
    }
    let errors = String::from_utf8_lossy(&done.stderr);
    let error = errors.lines().find(|line| line.contains("error") || line.contains("No package"));
    Err(format!("does not compile: {}", error.unwrap_or(&errors)))
}

/// What was observed at both ends.
struct Looks {
    picture: Flow,
    sound: Flow,
    texts: Vec<String>,
    far: [bool; 3],
    /// The last line of the example's output that is not part of a description.
    words: String,
    ended: Option<String>,
}

fn verdict(looks: &Looks, way: Way) -> Result<(), String> {
    let far = |index: usize| if looks.far[index] { "comes" } else { "does not come" };
    let seen = match way {
        Way::PictureOut => looks.picture.describe(),
        Way::SoundOut => looks.sound.describe(),
        Way::PictureIn => far(0),
        Way::SoundIn => far(1),
        Way::TextIn => far(2),
        Way::TextOut if looks.texts.is_empty() => "does not come",
        Way::TextOut => "comes",
    };
    if seen == "comes" {
        return Ok(());
    }
    let ended = looks.ended.iter().map(|reason| format!("callbin ended: {reason}"));
    let words =
        Some(&looks.words).filter(|words| !words.is_empty()).map(|words| format!("the example: {words}"));
    let remarks: Vec<String> = ended.chain(words).collect();
    Err(if remarks.is_empty() { seen.into() } else { format!("{seen} ({})", remarks.join("; ")) })
}

fn call(
    server: &Server,
    certificates: &TempDir,
    example: Example,
    program: &Program,
    role: Role,
) -> Result<Looks, String> {
    let fixed =
        ["--id", OURS, "--insecure", "--video-pattern", "red", "--size", "320x240", "--send-text", OUR_HELLO];
    let wait = || {
        let mut client = Client::start(server, &[&["wait"], &fixed[..]].concat());
        let ready = client.find(Instant::now() + PATIENCE, |event| event.name() == "waiting");
        ready.map(|_| client).ok_or("callbin does not wait for calls")
    };
    let called = || {
        let asks = role.peer_offers().then_some("--remote-offerer");
        Client::start(server, &[&["call", THEIRS], &fixed[..], asks.as_slice()].concat())
    };
    let waiting = role.peer_calls().then(wait).transpose()?;
    let mut far = Far::start(server, certificates, (example, program), role)?;
    let mut client = waiting.unwrap_or_else(called);
    let mut looks = Looks {
        picture: Flow::default(),
        sound: Flow::default(),
        texts: Vec::new(),
        far: [false; 3],
        words: String::new(),
        ended: None,
    };
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !example.ways().iter().all(|way| verdict(&looks, *way).is_ok()) {
        looks.watch(&mut client);
        far.look(&mut looks);
    }
    Ok(looks)
}

impl Looks {
    fn watch(&mut self, client: &mut Client) {
        while let Some(event) = client.find(Instant::now() + Duration::from_millis(100), |_| true) {
            match event.name() {
                "stats" => {
                    let loud = event.number("/audio/level_db");
                    self.picture.push(event.number("/video/frames"), event.number("/video/motion") > 0.0);
                    self.sound.push(event.number("/audio/buffers"), loud > -65.0 && loud != 0.0);
                }
                "data" => self.texts.push(event.text("/text").into()),
                "ended" => self.ended = Some(event.text("/reason").into()),
                "error" => self.ended = Some(event.text("/message").into()),
                _ => {}
            }
        }
    }
}

/// The end of the call at the example.
enum Far {
    Page { page: Page, _browser: Browser },
    Program { link: Link, display: Display },
}

impl Far {
    /// Starts it, and lets it call or waits until it can be called.
    fn start(
        server: &Server,
        certificates: &TempDir,
        (example, program): (Example, &Program),
        role: Role,
    ) -> Result<Self, String> {
        match program {
            Program::Page(url) => Ok(page(server, url, role)),
            Program::Command { program, args } => {
                let display = Display::start();
                let mut command = Command::new(program);
                command.args(args).env("DISPLAY", display.name()).env("PYTHONUNBUFFERED", "1");
                command.env("SSL_CERT_FILE", certificates.path().join("cert.pem"));
                let (flag, uid) = if role.peer_calls() { ("--peer-id", OURS) } else { ("--our-id", THEIRS) };
                command.args([flag, uid]).args(example.wants_flag(role).then_some("--remote-offerer"));
                let mut link = Link::program(command.args(["--server", &server.ws_url()]));
                if !role.peer_calls() {
                    await_registered(&mut link)?;
                }
                Ok(Self::Program { link, display })
            }
        }
    }

    /// Checks picture, sound and text there.
    fn look(&mut self, looks: &mut Looks) {
        let far = &mut looks.far;
        match self {
            Self::Page { page, .. } => {
                let seen = page.try_eval(LOOK).unwrap_or_default();
                far[0] |= seen["red"] == true;
                far[1] |= seen["loud"] == true;
                far[2] |= seen["text"].as_str().is_some_and(|text| text.contains(OUR_HELLO));
            }
            Self::Program { link, display } => {
                let red = |[r, g, b]: [u8; 3]| r > 180 && g < 60 && b < 60;
                far[0] |= display.screenshot().find_where(red).is_some();
                while let Some(line) = link.next(Instant::now()) {
                    let text = line["text"].as_str().unwrap_or_default();
                    far[2] |= text.contains(OUR_HELLO);
                    if text.contains(' ') && text.get(1..2) != Some("=") {
                        looks.words = text.into();
                    }
                }
            }
        }
    }
}

/// Opens the example's page, which gets the server's port before it starts.
fn page(server: &Server, url: &str, role: Role) -> Far {
    let browser = Browser::start(BrowserOptions { accept_insecure_certs: true, ..BrowserOptions::whole() });
    let page = browser.open("about:blank");
    page.before_load(&format!("var ws_port = '{}', default_peer_id = '{THEIRS}';", server.port()));
    page.go(url);
    let registered = "document.querySelector('#status').textContent.startsWith('Registered')";
    page.wait_for("the example to register", registered, PATIENCE);
    if role.peer_calls() {
        page.eval(&format!("document.querySelector('#peer-connect').value = '{OURS}'"));
        page.eval(&format!("document.querySelector('#remote-offerer').checked = {}", !role.peer_offers()));
        page.eval("onConnectClicked()");
    }
    Far::Page { page, _browser: browser }
}

fn await_registered(link: &mut Link) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let line = link.next(until).unwrap_or_default();
        let text = line["text"].as_str().unwrap_or_default();
        if ["Registered with server", "<<< HELLO", "Waiting for incoming call"]
            .iter()
            .any(|it| text.contains(it))
        {
            return Ok(());
        }
    }
    Err("it does not register".into())
}

/// Checks what the page shows and plays. The browser's own statistics give the audio level behind the decoder.
const LOOK: &str = "(async () => {
    const video = [...document.querySelectorAll('video')].find((it) => it.srcObject && it.videoWidth && !it.muted);
    let red = false;
    if (video) {
        const context = new OffscreenCanvas(8, 8).getContext('2d');
        context.drawImage(video, 0, 0, 8, 8);
        const [r, g, b] = context.getImageData(4, 4, 1, 1).data;
        red = r > 150 && g < 80 && b < 80;
    }
    const stats = [...(await peer_connection.getStats()).values()];
    const loud = stats.some((it) => it.type === 'inbound-rtp' && it.audioLevel > 0.01);
    return { red, loud, text: document.querySelector('#text').value };
})()";
