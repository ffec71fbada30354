//! An end that all channels of a label share: its output goes to each peer, and it gets the messages of all peers.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};

use super::{
    Join,
    end::{self, Reader, Writer},
    line::{Line, Outgoing, Sent},
    spec::End,
};
use crate::exit::{ExitCode, Failure};

/// How long the others wait for one slow peer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses between attempts to open a device again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A client that is quiet for this time is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(30);

/// What a shared end is before it is opened: addresses are bound at the start, so that errors are seen then.
#[derive(Debug)]
pub(super) enum Bound {
    Nothing,
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Binds the address of an end that listens.
pub(super) fn bind(end: &End) -> Result<Bound, Failure> {
    let bound = match end {
        End::TcpListen(address) => TcpListener::bind(address).map(Bound::Tcp),
        End::UdpListen(address) => UdpSocket::bind(address).map(Bound::Udp),
        _ => Ok(Bound::Nothing),
    };
    bound.map_err(|error| Failure::new(ExitCode::Usage, format!("--data: cannot listen: {error}")))
}

/// The writing side; empty while the end is away.
#[derive(Debug, Default)]
struct Port {
    to: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
struct Slot(Option<Writer>);

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.0.is_some()).finish()
    }
}

impl Slot {
    /// What an end that goes away does not take is lost. Returns whether it took everything.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let written = self.0.as_mut().map(|to| to.write_all(bytes).and_then(|()| to.flush()));
        let has_taken = written.is_some_and(|result| result.is_ok());
        if !has_taken {
            self.0 = None;
        }
        has_taken
    }
}

impl Port {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, to: Option<Writer>) {
        self.slot().0 = to;
        self.changed.notify_all();
    }

    /// Waits until the end is there.
    fn wait(&self) -> MutexGuard<'_, Slot> {
        let slot = self.changed.wait_while(self.slot(), |slot| slot.0.is_none());
        slot.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the two threads of the end.
pub(super) fn start(join: &Arc<Join>, bound: Bound) {
    let port = Arc::new(Port::default());
    let (writer, out) = (join.clone(), port.clone());
    let write = move || write(&writer, &out);
    let reader = join.clone();
    let read = move || run(&reader, bound, &port);
    let spawn =
        |name: &str, work: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.into()).spawn(work);
    if spawn("data-out", Box::new(write)).and_then(|_| spawn("data-in", Box::new(read))).is_err() {
        tracing::error!("no thread for --data {}", join.spec.label);
    }
}

/// Writes what the peers send.
fn write(join: &Join, port: &Port) {
    let is_text = join.spec.text && !join.spec.end.has_messages();
    while let Some(mut message) = join.shared.pop() {
        if join.is_over() {
            continue;
        }
        let mut slot = port.wait();
        if join.is_late(&message) {
            continue;
        }
        if is_text && !message.bytes.ends_with(b"\n") {
            message.bytes.push(b'\n');
        }
        let has_taken = slot.write(&message.bytes);
        drop(slot);
        if !has_taken && join.spec.end == End::Stdio {
            join.end_is_over("nothing reads stdout any more");
        }
    }
}

fn run(join: &Arc<Join>, bound: Bound, port: &Port) {
    match (&join.spec.end, bound) {
        (End::Stdio, _) => {
            port.set(Some(Box::new(io::stdout())));
            read(join, Box::new(io::stdin()));
        }
        (_, Bound::Udp(socket)) => {
            let (from, to) = end::udp_listen(socket);
            port.set(Some(to));
            read(join, from);
        }
        (_, Bound::Tcp(listener)) => serve(join, &listener, port),
        (End::Udp(address), _) => keep_open(join, port, || end::udp(address)),
        (End::Serial { device, baud }, _) => keep_open(join, port, || end::serial(device, *baud)),
        _ => {}
    }
}

/// One connection after the other. A client that has sent everything still gets answers, until the next one comes.
fn serve(join: &Join, listener: &TcpListener, port: &Port) {
    let mut last: Option<TcpStream> = None;
    loop {
        match listener.accept().and_then(|(stream, _)| client(stream)) {
            Ok((stream, from, to)) => {
                // A client that does not read keeps the port until its connection ends.
                if let Some(last) = last.replace(stream) {
                    let _ = last.shutdown(Shutdown::Both);
                }
                port.set(Some(to));
                read(join, from);
            }
            Err(error) => {
                tracing::warn!("--data {}: {error}", join.spec.label);
                thread::sleep(FIRST_PAUSE);
            }
        }
    }
}

/// A connection, and both directions of it. One whose client is gone without a word ends at last.
fn client(stream: TcpStream) -> io::Result<(TcpStream, Reader, Writer)> {
    stream.set_nodelay(true)?;
    let alive = TcpKeepalive::new().with_time(QUIET).with_interval(QUIET / 3).with_retries(3);
    SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    Ok((stream.try_clone()?, Box::new(stream.try_clone()?), Box::new(stream)))
}

/// Opens a device again and again, while there are peers for it.
fn keep_open(join: &Join, port: &Port, open: impl Fn() -> io::Result<(Reader, Writer)>) {
    let mut pause = FIRST_PAUSE;
    loop {
        join.wait_for_lines();
        match open() {
            Ok((from, to)) => {
                port.set(Some(to));
                join.end_is_back();
                pause = FIRST_PAUSE;
                let why = read(join, from);
                port.set(None);
                join.end_is_gone(&why);
            }
            Err(error) => {
                join.end_is_gone(&error.to_string());
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        thread::sleep(pause);
    }
}

/// Sends the output of the end to all peers. While there are none, nothing is read.
fn read(join: &Join, mut from: Reader) -> String {
    let mut cutter = join.cutter();
    loop {
        join.wait_for_lines();
        let (messages, why) = cutter.read(&mut from);
        messages.iter().for_each(|message| broadcast(join, message));
        if let Some(why) = why {
            return why;
        }
    }
}

/// A single peer may be as slow as it wants. Of several, one that is too slow loses its channel.
fn broadcast(join: &Join, message: &Outgoing) {
    let lines = join.lines();
    let limit = (lines.len() > 1).then_some(PATIENCE);
    for line in &lines {
        if line.send(message, limit) == Sent::Full {
            too_slow(join, line);
        }
    }
}

fn too_slow(join: &Join, line: &Arc<Line>) {
    join.end(line, "the peer reads too slowly, and others wait");
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::SocketAddr, sync::mpsc};

    use super::{
        super::tests::{LIMIT, Scene, Sink, blocked, finish, wait_until},
        *,
    };

    /// A pipe whose reader is gone.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A client of `tcp-listen`.
    fn client_of(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    #[test]
    fn the_next_client_comes_after_one_that_does_not_read() {
        let mut scene = Scene::new("x=tcp-listen:127.0.0.1:0");
        let (line, join, port) = (scene.line(), scene.join.clone(), Arc::new(Port::default()));
        join.open(&line, &|| true);
        let Bound::Tcp(listener) = bind(&join.spec.end).unwrap() else { panic!("it does not listen") };
        let address = listener.local_addr().unwrap();
        let slot = port.clone();
        thread::spawn(move || serve(&join, &listener, &slot));
        let mut first = client_of(address);
        let slot = port.clone();
        let much = blocked(move || {
            slot.wait().write(&vec![0; 64 << 20]);
        });
        first.read_exact(&mut [0]).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut second = client_of(address);
        finish(much);
        assert!(port.wait().write(b"hello"));
        let mut came = [0; 5];
        second.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"hello");
    }

    #[test]
    fn a_client_that_is_gone_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = client_of(listener.local_addr().unwrap());
        let (stream, _, _) = client(listener.accept().unwrap().0).unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), QUIET);
    }

    #[test]
    fn messages_from_before_the_stop_are_not_written_after_it() {
        let mut scene = Scene::new("x=stdio?hold=3600s");
        let (line, join, port) = (scene.line(), scene.join.clone(), Port::default());
        join.open(&line, &|| true);
        join.hear(&line, b"old");
        join.stop();
        join.hear(&line, b"new");
        let (to, written) = mpsc::channel();
        port.set(Some(Box::new(Sink(to))));
        thread::spawn(move || write(&join, &port));
        assert_eq!(written.recv_timeout(LIMIT).unwrap(), b"new");
    }

    #[test]
    fn the_loss_of_stdout_closes_the_channels_of_all_peers() {
        let mut scene = Scene::new("x=stdio");
        let [first, second, late] = [scene.line(), scene.line(), scene.line()];
        let (join, port) = (scene.join.clone(), Port::default());
        port.set(Some(Box::new(Broken)));
        thread::spawn(move || write(&join, &port));
        scene.join.open(&first, &|| true);
        scene.join.open(&second, &|| true);
        (0..3).for_each(|_| scene.join.hear(&first, b"hello"));
        assert!(first.wait_closed(LIMIT) && second.wait_closed(LIMIT));
        scene.join.open(&late, &|| true);
        assert!(late.is_closed());
        wait_until("none of them stays", || scene.join.lines().is_empty().then_some(()));
    }
}
