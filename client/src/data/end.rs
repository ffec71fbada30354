//! Opens the ends that a channel has for itself, and those that all channels of a label share.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A write that takes longer looks whether its channel is closed.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Not to become the controlling terminal (`O_NOCTTY`).
const NO_TERMINAL: i32 = 0o400;

pub(super) type Reader = Box<dyn Read + Send>;
pub(super) type Writer = Box<dyn Write + Send>;

/// Connects to the first address that accepts.
pub(super) fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Both directions of a TCP connection.
pub(super) fn halves(stream: &TcpStream) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    Ok((Box::new(stream.try_clone()?), Box::new(stream.try_clone()?)))
}

/// Connects to a Unix socket.
pub(super) fn unix(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    Ok(stream)
}

/// Opens a serial port, 8N1, without any processing of its bytes. `stty` sets it up: that needs `ioctl`.
pub(super) fn serial(device: &Path, baud: u32) -> io::Result<(Reader, Writer)> {
    let baud = baud.to_string();
    let set = Command::new("stty")
        .arg("-F")
        .arg(device)
        .args([&*baud, "raw", "-echo", "clocal", "cs8", "-parenb", "-cstopb"])
        .stdin(Stdio::null())
        .output()?;
    if !set.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&set.stderr).trim().to_owned()));
    }
    let file: File = OpenOptions::new().read(true).write(true).custom_flags(NO_TERMINAL).open(device)?;
    Ok((Box::new(file.try_clone()?), Box::new(file)))
}

/// Datagrams as a reader and writer: each call is one.
#[derive(Debug, Clone)]
struct Datagrams {
    socket: Arc<UdpSocket>,
    /// Where to send to: the last sender.
    last: Arc<Mutex<Option<SocketAddr>>>,
}

/// Datagrams to and from one address.
pub(super) fn udp(address: &str) -> io::Result<(Reader, Writer)> {
    let to = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let (from, to) = (Connected(Arc::new(socket.try_clone()?)), Connected(Arc::new(socket)));
    Ok((Box::new(from), Box::new(to)))
}

/// Datagrams from anywhere, and to the last sender.
pub(super) fn udp_listen(socket: UdpSocket) -> (Reader, Writer) {
    let both = Datagrams { socket: Arc::new(socket), last: Arc::default() };
    (Box::new(both.clone()), Box::new(both))
}

#[derive(Debug)]
struct Connected(Arc<UdpSocket>);

impl Read for Connected {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        next_datagram(|| self.0.recv(buffer))
    }
}

impl Write for Connected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Datagrams may be lost: nobody may listen yet.
        let _ = self.0.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        next_datagram(|| {
            let (bytes, from) = self.socket.recv_from(buffer)?;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
            Ok(bytes)
        })
    }
}

impl Write for Datagrams {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last {
            let _ = self.socket.send_to(bytes, last);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Skips empty datagrams, which would look like the end, and the news that nobody listened to an earlier one.
fn next_datagram(mut receive: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match receive() {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            other => return other,
        }
    }
}
