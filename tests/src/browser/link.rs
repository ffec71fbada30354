//! A connection to a browser: commands with their answers, and the errors that its events report.
//!
//! DevTools and WebDriver BiDi have the same form: `{"id", "method", "params"}` and an answer with the same id.

use std::{
    collections::HashMap,
    net::TcpStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, protocol::Role};

use crate::wait::DEADLINE;

/// An error that a page reports.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The page: a session of DevTools, or a browsing context.
    pub(super) page: String,
    pub(super) text: String,
}

/// A connection to a browser.
#[derive(Debug)]
pub(super) struct Link {
    /// A second WebSocket over the same connection, used only for writing: a thread reads from the first one.
    writer: Mutex<WebSocket<TcpStream>>,
    next: AtomicU64,
    inbox: Arc<Mutex<Inbox>>,
}

#[derive(Debug, Default)]
struct Inbox {
    /// The commands that wait for an answer.
    waiting: HashMap<u64, mpsc::Sender<Value>>,
    /// Errors by page, as text.
    troubles: HashMap<String, Vec<String>>,
    closed: bool,
}

impl Link {
    /// Uses a connection to the browser, and reads until the browser ends. `trouble` is the error that an event reports.
    pub(super) fn over(stream: TcpStream, url: &str, trouble: fn(&Value) -> Option<Trouble>) -> Self {
        stream.set_nodelay(true).expect("a socket has options");
        let second = stream.try_clone().expect("a socket can be shared");
        let (reader, _) = tungstenite::client(url, stream).expect("the browser speaks WebSocket");
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let sink = inbox.clone();
        thread::spawn(move || listen(reader, &sink, trouble));
        let writer = WebSocket::from_raw_socket(second, Role::Client, None);
        Self { writer: Mutex::new(writer), next: AtomicU64::new(1), inbox }
    }

    /// Sends a command to the browser, or to a session of DevTools, and waits for the answer.
    pub(super) fn call(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = mpsc::channel();
        {
            let mut inbox = lock(&self.inbox);
            if inbox.closed {
                return Err(format!("{method}: the browser is gone"));
            }
            inbox.waiting.insert(id, answer);
        }
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let (Some(session), Some(command)) = (session, command.as_object_mut()) {
            command.insert("sessionId".into(), session.into());
        }
        lock(&self.writer)
            .send(Message::text(command.to_string()))
            .map_err(|error| format!("{method}: {error}"))?;
        let answer = answered.recv_timeout(DEADLINE).map_err(|_| format!("{method}: no answer"))?;
        match answer.get("error") {
            Some(error) => Err(format!("{method}: {error}")),
            None => Ok(answer.get("result").cloned().unwrap_or_default()),
        }
    }

    /// Errors in this page so far: errors on the console, exceptions, violations of the content security policy,
    /// crashes.
    pub(super) fn troubles(&self, page: &str) -> Vec<String> {
        lock(&self.inbox).troubles.get(page).cloned().unwrap_or_default()
    }
}

fn listen(mut reader: WebSocket<TcpStream>, inbox: &Mutex<Inbox>, trouble: fn(&Value) -> Option<Trouble>) {
    while let Ok(message) = reader.read() {
        let Message::Text(text) = message else { continue };
        let Ok(message) = serde_json::from_str::<Value>(&text) else { continue };
        let mut inbox = lock(inbox);
        if let Some(waiting) = message["id"].as_u64().and_then(|id| inbox.waiting.remove(&id)) {
            let _ = waiting.send(message);
        } else if let Some(Trouble { page, text }) = trouble(&message) {
            inbox.troubles.entry(page).or_default().push(text);
        }
    }
    let mut inbox = lock(inbox);
    inbox.closed = true;
    inbox.waiting.clear(); // closes the channels of waiting callers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
