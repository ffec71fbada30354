//! A front of a server: a proxy that wants CONNECT, a reverse proxy, or another front that a test defines.

use std::{
    io::{Read, Write, copy},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::wait::DEADLINE;

/// How a request is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It gets this answer, and the connection ends.
    Answer(String),
    /// The connection goes on to `to`.
    Through {
        /// The server behind.
        to: SocketAddr,
        /// What the client gets first.
        answer: String,
        /// What the server gets first.
        head: String,
    },
}

impl Route {
    /// Opens a tunnel for a CONNECT request.
    pub fn tunnel(to: SocketAddr) -> Self {
        Self::Through { to, answer: "HTTP/1.1 200 OK\r\n\r\n".into(), head: String::new() }
    }

    /// Forwards the request to `to`.
    pub fn forward(to: SocketAddr, head: impl Into<String>) -> Self {
        Self::Through { to, answer: String::new(), head: head.into() }
    }

    /// An answer without a body.
    pub fn status(status: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    }
}

/// A running front. It accepts no more connections when dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Front {
    /// Starts one on a free port of the loopback. `route` sees the head of each connection's first request.
    pub fn start(route: impl Fn(&str) -> Route + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let (heads, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, end, route) = (heads.clone(), ended.clone(), Arc::new(route));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (log, route) = (log.clone(), route.clone());
                // Either side may end at any time.
                thread::spawn(move || serve(stream, &log, &*route));
            }
        });
        Self { address, heads, ended }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut client: TcpStream,
    log: &Mutex<Vec<String>>,
    route: &(dyn Fn(&str) -> Route + Send + Sync),
) -> Option<()> {
    client.set_read_timeout(Some(DEADLINE)).ok()?;
    let head = read_head(&mut client)?;
    log.lock().expect("not poisoned").push(head.clone());
    match route(&head) {
        Route::Answer(answer) => client.write_all(answer.as_bytes()).ok(),
        Route::Through { to, answer, head } => {
            let mut server = TcpStream::connect(to).ok()?;
            client.write_all(answer.as_bytes()).ok()?;
            server.write_all(head.as_bytes()).ok()?;
            client.set_read_timeout(None).ok()?;
            let (back, there) = (server.try_clone().ok()?, client.try_clone().ok()?);
            thread::spawn(move || pipe(back, there));
            pipe(client, server);
            Some(())
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    String::from_utf8(head).ok()
}

fn pipe(mut from: TcpStream, mut to: TcpStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
