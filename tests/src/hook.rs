//! A webhook: a small HTTP server whose answers the test decides.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::{http::Response, wait::DEADLINE};

/// A received request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request line and the headers, in lower case.
    pub head: String,
    /// The body.
    pub body: Value,
}

/// A running webhook. It ends when dropped.
#[derive(Debug)]
pub struct Hook {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl Hook {
    /// Starts a webhook. `answer` gets each request and its number, and returns the rest of the status line with
    /// headers, and the body, such as `("200 OK", "{}")`. It may take its time.
    pub fn start(answer: impl Fn(&Asked, usize) -> (String, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let (asked, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, end, answer) = (asked.clone(), ended.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { address, asked, ended }
    }

    /// Allows everything.
    pub fn yes() -> Self {
        Self::start(|_, _| ("200 OK".into(), r#"{"allow":true}"#.into()))
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked, usize) -> (String, String) + Send + Sync),
) {
    let _ = stream.set_read_timeout(Some(DEADLINE));
    let Some(asked) = read(&mut stream) else { return };
    let number = {
        let mut log = log.lock().expect("not poisoned");
        log.push(asked.clone());
        log.len() - 1
    };
    let (head, body) = answer(&asked, number);
    let length = body.len();
    // The client may be gone.
    let _ = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend(chunk.get(..n)?);
        let Response { head, body, .. } = Response::parse(&bytes);
        if let Ok(body) = serde_json::from_str(&body) {
            return Some(Asked { head, body });
        }
    }
}
