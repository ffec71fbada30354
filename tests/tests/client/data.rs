//! Data channels joined to commands, sockets, stdio and serial ports, over real calls.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{
    Bare, BrowserOptions, Client, DEADLINE, Server, Site, client::forget_proxies, process::Process, program,
    wait_until,
};
use tempfile::TempDir;

/// Bytes without a pattern that a lost or repeated part would keep.
fn noise(bytes: usize) -> Vec<u8> {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A waiting client without pictures, and one that calls it.
fn pair(server: &Server, callee: &[&str], caller: &[&str]) -> (Client, Client) {
    let quiet = ["--no-video", "--no-ice-servers"];
    let mut waiting = Client::start(server, &[&["wait", "--id", "callee"], &quiet[..], callee].concat());
    waiting.wait_for("waiting");
    let calling = Client::start(server, &[&["call", "callee"], &quiet[..], caller].concat());
    (waiting, calling)
}

#[track_caller]
fn joined(client: &mut Client, label: &str) {
    client.wait_for_any(&format!("{label} to be joined"), DEADLINE, |event| {
        event.name() == "data-joined" && event.text("/label") == label
    });
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("text").to_owned()
}

/// An address of this machine that nobody uses.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

/// Connects to a client's `tcp-listen`.
fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the client listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

#[test]
fn a_command_sends_a_file_to_a_command() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let sent = noise(4 << 20);
    fs::write(folder.path().join("sent"), &sent).expect("there is room");
    let (from, to) = (path(&folder, "sent"), path(&folder, "came"));
    let (mut callee, mut caller) = pair(
        &server,
        &["--data", &format!("file=exec:cat > {to}; echo $CALLBIN_LABEL >> {to}.done")],
        &["--data", &format!("file=exec:cat {from}")],
    );
    for client in [&mut caller, &mut callee] {
        assert_eq!(client.wait_for("data-ended").text("/label"), "file");
    }
    let done = format!("{to}.done");
    wait_until("the command's end", DEADLINE, || fs::read(&done).ok().filter(|text| text == b"file\n"));
    assert!(fs::read(&to).expect("a file") == sent, "other bytes came");
    caller.hang_up();
}

/// Two channels at once, in both directions, with ends of three kinds.
#[test]
fn tcp_and_unix_connections_go_through_at_once() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let socket = path(&folder, "socket");
    let unix = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = tcp.local_addr().expect("it is bound").to_string();
    thread::spawn(move || tcp.accept().map(|(stream, _)| std::io::copy(&mut &stream, &mut &stream)));
    thread::spawn(move || unix.accept().map(|(stream, _)| std::io::copy(&mut &stream, &mut &stream)));
    let addresses = [free_address(), free_address()];
    let (_callee, mut caller) = pair(
        &server,
        &["--data", &format!("a=tcp:{target}"), "--data", &format!("b=unix:{socket}")],
        &[
            "--data",
            &format!("a=tcp-listen:{}", addresses[0]),
            "--data",
            &format!("b=tcp-listen:{}", addresses[1]),
        ],
    );
    joined(&mut caller, "a");
    joined(&mut caller, "b");
    let echoes = addresses.map(|address| {
        thread::spawn(move || {
            let (mut stream, sent) = (connect(&address), noise(3 << 20));
            let (mut writer, bytes) = (stream.try_clone().expect("a clone"), sent.clone());
            thread::spawn(move || writer.write_all(&bytes));
            let mut came = vec![0; sent.len()];
            stream.read_exact(&mut came).expect("an echo");
            assert!(came == sent, "other bytes came");
        })
    });
    echoes.into_iter().for_each(|echo| echo.join().expect("an echo of the same bytes"));
    caller.hang_up();
}

/// An end that does not read stops the other one, and everything arrives when it reads again.
#[test]
fn a_slow_end_stops_the_source() {
    let server = Server::start(&[]);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = tcp.local_addr().expect("it is bound").to_string();
    let address = free_address();
    let (mut callee, mut caller) = pair(
        &server,
        &["--data", &format!("x=tcp:{target}")],
        &["--data", &format!("x=tcp-listen:{address}")],
    );
    joined(&mut caller, "x");
    tcp.set_nonblocking(true).expect("it can be");
    let (mut end, _) = wait_until("the callee's connection", DEADLINE, || tcp.accept().ok());
    end.set_nonblocking(false).expect("it can be");
    let (mut source, sent) = (connect(&address), noise(64 << 20));
    source.set_nonblocking(true).expect("it can be");
    // No byte for two seconds: the source has to wait.
    let (mut written, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_secs(2) {
        match source.write(&sent[written..]) {
            Ok(bytes) => (written, last) = (written + bytes, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("the source is cut off: {error}"),
        }
        assert!(written < sent.len(), "the source never waits");
    }
    drop(source);
    let mut came = vec![0; written];
    end.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    end.read_exact(&mut came).expect("everything comes");
    assert!(came == sent[..written], "other bytes came");
    for client in [&mut callee, &mut caller] {
        assert!(client.find(Instant::now(), |event| event.name() == "data-ended").is_none());
    }
    caller.hang_up();
}

#[test]
fn datagrams_stay_whole() {
    let server = Server::start(&[]);
    let (there, here) = (free_address(), UdpSocket::bind("127.0.0.1:0").expect("a port is free"));
    let target = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let (_callee, mut caller) = pair(
        &server,
        &["--data", &format!("d=udp:{}", target.local_addr().expect("it is bound"))],
        &["--data", &format!("d=udp-listen:{there}?unordered&maxRetransmits=0")],
    );
    joined(&mut caller, "d");
    let mut buffer = [0; 2048];
    target.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
    here.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    // The callee may not have joined yet, and lost datagrams are lost.
    let from = wait_until("a datagram", DEADLINE, || {
        here.send_to(&[7; 1234], &there).expect("it can be sent");
        target.recv_from(&mut buffer).ok()
    });
    assert_eq!((from.0, &buffer[..1234]), (1234, &[7; 1234][..]));
    target.send_to(b"back", from.1).expect("it can be sent");
    assert_eq!(here.recv(&mut buffer).expect("an answer"), 4);
    caller.hang_up();
}

/// The lines of a pipe, with their ends.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = mpsc::channel();
    thread::spawn(move || {
        let (mut pipe, mut line) = (BufReader::new(pipe), String::new());
        while pipe.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if to.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    lines
}

/// Waits for a line that is wanted. Others come meanwhile: the deadline is for all of them.
#[track_caller]
fn next(lines: &Receiver<String>, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + DEADLINE;
    loop {
        let line = lines.recv_timeout(until.saturating_duration_since(Instant::now()));
        let line = line.unwrap_or_else(|error| panic!("no {what}: {error}"));
        if is_wanted(&line) {
            return line;
        }
    }
}

/// A client whose stdin and stdout are those of a channel.
struct Piped {
    _process: Process,
    to: ChildStdin,
    from: Receiver<String>,
    events: Receiver<String>,
}

impl Piped {
    fn start(server: &Server, args: &[&str]) -> Self {
        let mut command = Command::new(program("callbin"));
        command.args(args).args(["--server", &server.ws_url(), "--events", "json", "--headless"]);
        forget_proxies(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let child = process.child();
        let to = child.stdin.take().expect("stdin is piped");
        let from = lines(child.stdout.take().expect("stdout is piped"));
        let events = lines(child.stderr.take().expect("stderr is piped"));
        Self { _process: process, to, from, events }
    }

    #[track_caller]
    fn wait_for(&self, name: &str) {
        let wanted = format!("{{\"event\":\"{name}\"");
        next(&self.events, name, |line| line.starts_with(&wanted));
    }

    #[track_caller]
    fn line(&self) -> String {
        next(&self.from, "line", |_| true)
    }
}

#[test]
fn a_page_talks_to_stdio() {
    let site = Site::with(BrowserOptions::default());
    let args = ["wait", "--id", "gst", "--no-video", "--data", "lines=stdio?text"];
    let mut client = Piped::start(&site.server, &args);
    client.wait_for("waiting");
    let bare = Bare::open(&site.browser, &site.server, "bare");
    bare.eval("bare.call('gst')");
    bare.run(
        "bare.connect(); const lines = bare.pc.createDataChannel('lines'); bare.heard = []; \
         lines.onmessage = ({ data }) => bare.heard.push(data); bare.lines = lines; await bare.negotiate()",
    );
    client.wait_for("data-joined");
    bare.eval("bare.until(() => bare.lines.readyState === 'open', 'an open channel')");
    bare.run("bare.lines.send('from the page'); bare.lines.send('gr\u{fc}n')");
    assert_eq!(client.line(), "from the page\n");
    assert_eq!(client.line(), "gr\u{fc}n\n");
    client.to.write_all(b"one\ntwo\r\n\nfour\n").expect("the client reads");
    bare.eval("bare.until(() => bare.heard.length === 4, 'four lines')");
    assert_eq!(bare.eval("bare.heard.join('|')"), "one|two|\n|four");
    bare.run("bare.lines.close()");
    client.wait_for("data-ended");
}

/// The other end of a pseudo terminal, which answers each line in capitals.
const SHOUTING_PORT: &str = "\
import os, pty, sys, tty
here, there = pty.openpty()
tty.setraw(here)
print(os.ttyname(there), flush=True)
while True:
    os.write(here, os.read(here, 1024).upper())
";

#[test]
fn a_serial_port_is_joined() {
    let server = Server::start(&[]);
    let mut python = Command::new("python3");
    let mut port = Process::spawn(python.args(["-c", SHOUTING_PORT]).stdout(Stdio::piped()));
    let device = next(&lines(port.child().stdout.take().expect("stdout is piped")), "device", |_| true);
    let address = free_address();
    let (mut callee, mut caller) = pair(
        &server,
        &["--data", &format!("port=serial:{}@115200", device.trim())],
        &["--data", &format!("port=tcp-listen:{address}")],
    );
    joined(&mut caller, "port");
    joined(&mut callee, "port");
    let mut stream = connect(&address);
    // Bytes that a terminal would change or act on.
    stream.write_all(b"a\r\n\x03\x04\x11\x13z").expect("the client reads");
    let mut came = [0; 8];
    stream.read_exact(&mut came).expect("an answer");
    assert_eq!(&came, b"A\r\n\x03\x04\x11\x13Z");
    caller.hang_up();
}

#[test]
fn a_command_runs_when_messages_stop() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let (heard, stopped) = (path(&folder, "heard"), path(&folder, "stopped"));
    let (mut callee, caller) = pair(
        &server,
        &[
            "--data",
            &format!("drive=exec:cat > {heard}?text&hold=3s"),
            "--on-stale",
            &format!("echo $CALLBIN_LABEL $CALLBIN_PEER $(cat {heard}) > {stopped}"),
        ],
        &["--data", "drive=exec:for i in 1 2 3 4; do echo go $i; sleep 0.05; done; cat?text"],
    );
    callee.wait_for("data-live");
    let live = callee.wait_for("data-stale");
    assert_eq!(live.text("/label"), "drive");
    let text =
        wait_until("the command", DEADLINE, || fs::read_to_string(&stopped).ok().filter(|it| !it.is_empty()));
    assert_eq!(text, "drive caller go 1 go 2 go 3 go 4\n");
    caller.hang_up();
}

/// A program that ends with its call does not wait for the messages to stop.
#[test]
fn a_command_runs_when_the_program_ends() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let stopped = path(&folder, "stopped");
    let (mut callee, caller) = pair(
        &server,
        &[
            "--once",
            "--data",
            "drive=exec:cat >&2?hold=3600s",
            "--on-stale",
            &format!("echo stop > {stopped}"),
        ],
        &["--data", "drive=exec:echo go; cat"],
    );
    callee.wait_for("data-live");
    caller.hang_up();
    assert_eq!(callee.exit_code(), 0, "{}", callee.errors());
    let text =
        wait_until("the command", DEADLINE, || fs::read_to_string(&stopped).ok().filter(|it| !it.is_empty()));
    assert_eq!(text, "stop\n");
}

/// Of two operators in a room, the first to send holds the channel until it leaves.
#[test]
fn one_operator_at_a_time_holds_an_exclusive_channel() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let start = |id: &str, data: &str| {
        let args = ["room", "r", "--id", id, "--view", "none", "--no-video", "--data", data];
        let mut client = Client::start(&server, &args);
        client.wait_for("joined");
        client
    };
    let target = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    target.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    let robot_end = target.local_addr().expect("it is bound");
    let mut robot = start("robot", &format!("arm=udp:{robot_end}?exclusive"));
    let says = |word: &str| {
        format!(
            "arm=exec:touch {0}; while sleep 0.05; do [ -e {0}.go ] && echo {word}; done?text",
            path(&folder, word)
        )
    };
    let (mut anna, mut ben) = (start("anna", &says("a")), start("ben", &says("b")));
    for peer in ["anna", "ben"] {
        robot.wait_for_peer(peer, "data-joined");
    }
    let go =
        |word: &str| fs::write(Path::new(&path(&folder, &format!("{word}.go"))), "").expect("there is room");
    go("a");
    assert_eq!(robot.wait_for("data-held").peer(), Some("anna"));
    let held = |client: &mut Client| {
        let event = client.wait_for_peer("robot", "data-held");
        (event.text("/by").to_owned(), event.json()["you"] == true)
    };
    assert_eq!(held(&mut anna), ("anna".into(), true));
    assert_eq!(held(&mut ben), ("anna".into(), false));
    go("b");
    let mut buffer = [0; 16];
    for _ in 0..20 {
        let bytes = target.recv(&mut buffer).expect("a command");
        assert_eq!(&buffer[..bytes], b"a");
    }
    anna.hang_up();
    assert_eq!(robot.wait_for_peer("anna", "data-free").text("/label"), "arm");
    assert_eq!(robot.wait_for_peer("ben", "data-held").text("/by"), "ben");
    wait_until("the other's command", DEADLINE, || {
        let bytes = target.recv(&mut buffer).expect("a command");
        (&buffer[..bytes] == b"b").then_some(())
    });
    ben.hang_up();
}

/// A half-closed client of `tcp-listen` still gets its answer.
#[test]
fn a_client_that_has_sent_everything_gets_its_answer() {
    let server = Server::start(&[]);
    let address = free_address();
    let (_callee, mut caller) = pair(
        &server,
        &["--data", "x=exec:read line; echo you said $line; cat"],
        &["--data", &format!("x=tcp-listen:{address}")],
    );
    joined(&mut caller, "x");
    let mut stream = connect(&address);
    stream.write_all(b"hello\n").expect("the client reads");
    stream.shutdown(Shutdown::Write).expect("it is connected");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    assert_eq!(line, "you said hello\n");
    caller.hang_up();
}

/// Both directions end one after the other, and nothing of the later one is lost.
#[test]
fn a_command_that_has_said_everything_gets_its_answer() {
    let (server, folder) = (Server::start(&[]), TempDir::new().expect("a folder"));
    let came = path(&folder, "came");
    let (mut callee, mut caller) = pair(
        &server,
        &["--data", "x=exec:wc -c; head -c 1000000 /dev/zero"],
        &["--data", &format!("x=exec:head -c 3000000 /dev/zero; exec >&-; cat > {came}; touch {came}.done")],
    );
    for client in [&mut callee, &mut caller] {
        assert_eq!(client.wait_for("data-ended").text("/label"), "x");
    }
    let done = format!("{came}.done");
    wait_until("the command's end", DEADLINE, || fs::exists(&done).unwrap_or_default().then_some(()));
    let answer = fs::read(&came).expect("a file");
    assert!(answer.starts_with(b"3000000\n") && answer.len() == 8 + 1_000_000, "{} bytes", answer.len());
    caller.hang_up();
}
