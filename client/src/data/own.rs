//! An end of a channel's own: opened with the channel, closed with it, and the other way round.

use std::{
    io::{self, ErrorKind, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{
    Join, command,
    end::{self, Reader, Writer},
    farewell::Farewell,
    line::{Line, Sent},
    spec::End,
};

/// How long a peer has to close a channel whose end is closed, if it does not know of ends.
const LINGER: Duration = Duration::from_secs(5);
/// A connection is left open for this time, so that the last bytes are taken.
const LOOK: Duration = Duration::from_millis(20);

/// What ends an end.
enum Cut {
    Tcp(TcpStream),
    Unix(UnixStream),
    Child,
}

impl Cut {
    /// Nothing more is written.
    fn finish(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
            // The end of its stdin.
            Self::Child => Ok(()),
        };
    }
}

/// Opens the end of an open channel, and moves messages until one of both is closed.
pub(super) fn run(join: &Arc<Join>, line: &Arc<Line>) {
    let (from, to, cut) = match open(join, line) {
        Ok(end) => end,
        Err(error) => return join.end(line, &format!("cannot open its end: {error}")),
    };
    join.joined(line);
    let (writer, of) = (line.clone(), join.clone());
    join.writers.fetch_add(1, Relaxed);
    let spawned = thread::Builder::new().name("data-out".into()).spawn(move || {
        write(&of, &writer, to);
        cut.finish(Shutdown::Write);
        of.writers.fetch_sub(1, Relaxed);
        if writer.wait_closed(Duration::MAX) {
            thread::sleep(LOOK);
            cut.finish(Shutdown::Both);
        }
    });
    match spawned {
        Ok(_) => {
            let why = read(join, line, from);
            join.part(line, Farewell::we_end);
            line.wait_for_peer(LINGER);
            join.end(line, &why);
        }
        Err(error) => join.end(line, &error.to_string()),
    }
}

fn open(join: &Arc<Join>, line: &Arc<Line>) -> io::Result<(Reader, Writer, Cut)> {
    match &join.spec.end {
        End::Tcp(address) => {
            let stream = end::connect(address)?;
            let (from, to) = end::halves(&stream)?;
            Ok((from, to, Cut::Tcp(stream)))
        }
        End::Unix(path) => {
            let stream = end::unix(path)?;
            Ok((Box::new(stream.try_clone()?), Box::new(stream.try_clone()?), Cut::Unix(stream)))
        }
        End::Exec(command) => {
            let (from, to) = command::start(join, line, command)?;
            Ok((from, to, Cut::Child))
        }
        _ => Err(io::Error::other("it is shared")),
    }
}

/// Writes messages to the end until the channel is closed and all are written.
fn write(join: &Join, line: &Line, mut to: Writer) {
    while let Some(message) = line.queue.pop() {
        if join.is_late(&message) {
            continue;
        }
        let mut bytes = &*message.bytes;
        let mut written = write_all(line, &mut to, &mut bytes);
        if join.spec.text && !message.bytes.ends_with(b"\n") {
            written = written.and_then(|()| write_all(line, &mut to, &mut &b"\n"[..]));
        }
        if written.and_then(|()| to.flush()).is_err() {
            // The reader notices the same, and says why.
            line.hang_up();
            return;
        }
    }
}

/// Waits for a slow end, but not after the channel is closed.
fn write_all(line: &Line, to: &mut Writer, bytes: &mut &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => *bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_slow(&error) && !line.is_closed() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_slow(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Sends the output of the end to the peer until it closes. Returns the reason.
fn read(join: &Join, line: &Line, mut from: Reader) -> String {
    let mut cutter = join.cutter();
    loop {
        let (messages, why) = cutter.read(&mut from);
        for message in messages {
            // A closed channel does not end the reading: unread bytes would reset the connection under what is
            // written.
            if line.send(&message, None) == Sent::Full {
                break;
            }
        }
        if let Some(why) = why {
            return why;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{
        super::tests::{Scene, Sink},
        *,
    };

    #[test]
    fn messages_from_before_the_stop_are_not_written_after_it() {
        let mut scene = Scene::new("x=exec:cat?text&hold=3600s");
        let line = scene.line();
        scene.join.hear(&line, b"old");
        scene.join.stop();
        scene.join.hear(&line, b"new");
        line.queue.close();
        let (to, written) = mpsc::channel();
        write(&scene.join, &line, Box::new(Sink(to)));
        assert_eq!(written.into_iter().collect::<Vec<_>>().concat(), b"new\n");
    }
}
