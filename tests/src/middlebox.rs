//! A box between clients and a server. It can record what clients send, remove a path prefix, delay, silently stop
//! forwarding, and cut clients off without the server's notice.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// See the module's description. It lives as long as the test.
#[derive(Debug)]
pub struct Middlebox {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    /// The prefix of its paths, such as `/calls/`; the server gets `/` instead.
    prefix: String,
    /// What clients have sent, by connection.
    sent: Mutex<Vec<Vec<u8>>>,
    /// For each connection: set once it no longer forwards.
    frozen: Mutex<Arc<AtomicBool>>,
    /// The connections of clients.
    clients: Mutex<Vec<TcpStream>>,
    /// How long it keeps what clients send, in milliseconds.
    delay: AtomicU64,
}

impl Middlebox {
    /// Starts a box that forwards everything.
    pub fn start(server: SocketAddr) -> Self {
        Self::with_prefix(server, "/")
    }

    /// Starts a box that serves the server below a path prefix, and nothing else.
    pub fn with_prefix(server: SocketAddr, prefix: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            server,
            prefix: prefix.into(),
            sent: Mutex::default(),
            frozen: Mutex::default(),
            clients: Mutex::default(),
            delay: AtomicU64::new(0),
        });
        let acceptor = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                acceptor.forward(client);
            }
        });
        Self { address, shared }
    }

    /// The page's address there, with a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.shared.prefix)
    }

    /// All that clients have sent, as text.
    pub fn sent(&self) -> String {
        let sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&sent.join(&b'\n')).into_owned()
    }

    /// Stops forwarding on the existing connections without closing them. New ones work.
    pub fn freeze(&self) {
        let mut frozen = self.shared.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *frozen).store(true, Ordering::Relaxed);
    }

    /// From now on, what clients send takes this long to get through; what they send meanwhile takes as long again.
    pub fn delay(&self, delay: Duration) {
        let delay = delay.as_millis().try_into().expect("a short time");
        self.shared.delay.store(delay, Ordering::Relaxed);
    }

    /// Cuts all clients off. For the server their connections are still there.
    pub fn cut_off(&self) {
        self.freeze();
        let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.drain(..).for_each(|client| drop(client.shutdown(Shutdown::Both)));
    }

    /// The address of the WebSocket there.
    pub fn ws_url(&self) -> String {
        self.url().replacen("http", "ws", 1)
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, client: TcpStream) {
        let Ok(upstream) = TcpStream::connect(self.server) else { return };
        let number = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push(Vec::new());
            sent.len() - 1
        };
        let frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = client.try_clone().expect("ours");
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).push(known);
        let (from, to) = (upstream.try_clone().expect("ours"), client.try_clone().expect("ours"));
        let is_frozen = frozen.clone();
        thread::spawn(move || copy(from, to, &is_frozen, |chunk| chunk.to_vec()));
        let this = self.clone();
        thread::spawn(move || {
            copy(client, upstream, &frozen, |chunk| {
                thread::sleep(Duration::from_millis(this.delay.load(Ordering::Relaxed)));
                let mut sent = this.sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.get_mut(number).expect("its own").extend(chunk);
                this.rewrite(chunk)
            });
        });
    }

    /// Removes the prefix if a request begins here.
    fn rewrite(&self, chunk: &[u8]) -> Vec<u8> {
        let Some(target) = chunk.strip_prefix(b"GET /") else { return chunk.into() };
        match target.strip_prefix(self.prefix.trim_start_matches('/').as_bytes()) {
            Some(rest) => [b"GET /", rest].concat(),
            None => [b"GET /not-here/", target].concat(),
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool, change: impl Fn(&[u8]) -> Vec<u8>) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        if !frozen.load(Ordering::Relaxed) && to.write_all(&change(&chunk[..n])).is_err() {
            return;
        }
    }
    if !frozen.load(Ordering::Relaxed) {
        let _ = to.shutdown(Shutdown::Write);
    }
}
