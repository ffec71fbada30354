//! The hub and translators without sockets, for tests.

use std::{collections::HashMap, mem, sync::Arc};

use async_tungstenite::tungstenite::Message;
use serde_json::Value;

use crate::{
    access::Grant,
    close::CloseReason,
    dialect::{Dialect, Opening, Step, Translator, translator},
    hub::{About, ConnId, Effect, Event, Hub, Key, Notice, Refusal, Rules},
};

/// A client.
struct Client {
    translator: Box<dyn Translator>,
    received: Vec<String>,
    closed: Option<CloseReason>,
    /// Notices that wait while the client does not read.
    held: Option<Vec<Notice>>,
}

/// A hub and its clients.
#[derive(Default)]
pub(super) struct Net {
    hub: Hub,
    clients: HashMap<ConnId, Client>,
}

impl Net {
    /// A hub with limits.
    pub(super) fn with_rules(rules: Rules) -> Self {
        Self { hub: Hub::new(rules), clients: HashMap::new() }
    }

    /// A new client without restrictions.
    pub(super) fn open(&mut self, dialect: Dialect) -> ConnId {
        self.open_with(dialect, Grant::default())
    }

    /// A new client with a token.
    pub(super) fn open_with(&mut self, dialect: Dialect, grant: Grant) -> ConnId {
        let conn = ConnId(self.clients.len() as u64 + 1);
        let opening = Opening { identity: grant.identity.clone(), number: conn.0, ..Opening::default() };
        let mut translator = translator(dialect, &opening);
        let mut steps = Vec::new();
        translator.open(&mut steps);
        self.clients.insert(conn, Client { translator, received: Vec::new(), closed: None, held: None });
        let address = [192, 0, 2, 1].into();
        self.handle(conn, Event::Opened { grant: Arc::new(grant), address, dialect });
        self.take_steps(conn, steps, None);
        conn
    }

    /// A text client with this id.
    pub(super) fn text(&mut self, uid: &str) -> ConnId {
        let conn = self.open(Dialect::Text);
        self.say(conn, &format!("HELLO {uid}"));
        assert_eq!(self.heard(conn), ["HELLO"]);
        conn
    }

    /// A client sends a text.
    pub(super) fn say(&mut self, conn: ConnId, text: &str) {
        self.send(conn, Message::text(text));
    }

    /// A client sends a frame.
    pub(super) fn send(&mut self, conn: ConnId, frame: Message) {
        let mut steps = Vec::new();
        let translator = &mut self.clients.get_mut(&conn).unwrap().translator;
        translator.read(frame.clone(), &mut steps);
        let frame = translator.dialect().is_single().then_some(frame);
        self.take_steps(conn, steps, frame);
    }

    /// A client is gone.
    pub(super) fn leave(&mut self, conn: ConnId) {
        self.handle(conn, Event::Closed);
    }

    /// The webhook refuses a call.
    pub(super) fn deny(&mut self, conn: ConnId, key: &str, refusal: Refusal) {
        self.handle(conn, Event::Denied { about: About::Call, key: Key::from(key), refusal });
    }

    /// Keeps the client's notices back until it reads.
    pub(super) fn hold(&mut self, conn: ConnId) {
        self.clients.get_mut(&conn).unwrap().held = Some(Vec::new());
    }

    /// Delivers them.
    pub(super) fn release(&mut self, conn: ConnId) {
        for notice in self.clients.get_mut(&conn).unwrap().held.take().unwrap() {
            self.deliver(conn, notice);
        }
    }

    /// What the client has received since the last look.
    #[track_caller]
    pub(super) fn heard(&mut self, conn: ConnId) -> Vec<String> {
        mem::take(&mut self.clients.get_mut(&conn).unwrap().received)
    }

    /// The same, as JSON.
    #[track_caller]
    pub(super) fn heard_json(&mut self, conn: ConnId) -> Vec<Value> {
        self.heard(conn).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// Why the server closed the client.
    pub(super) fn closed(&self, conn: ConnId) -> Option<CloseReason> {
        self.clients[&conn].closed
    }

    /// The hub.
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    fn take_steps(&mut self, conn: ConnId, steps: Vec<Step>, frame: Option<Message>) {
        for step in steps {
            match step {
                Step::Ask(request) => {
                    self.handle(conn, Event::Asked { request, frame: frame.clone() });
                }
                Step::Say(text) | Step::Refuse(_, text) => {
                    self.clients.get_mut(&conn).unwrap().received.push(text.to_string())
                }
                Step::IceServers => {}
            }
        }
    }

    fn handle(&mut self, conn: ConnId, event: Event) {
        let mut effects = Vec::new();
        self.hub.handle(conn, event, &mut effects);
        while self.hub.pass_on(usize::MAX, &mut effects) {}
        for effect in effects {
            match effect {
                Effect::Tell(conn, notice) => self.deliver(conn, notice),
                Effect::Forward(conn, Message::Text(text)) => {
                    self.clients.get_mut(&conn).unwrap().received.push(text.to_string());
                }
                Effect::Close(conn, reason) => self.clients.get_mut(&conn).unwrap().closed = Some(reason),
                Effect::Forward(..) | Effect::Pair(..) | Effect::Note(..) => {}
            }
        }
    }

    fn deliver(&mut self, conn: ConnId, notice: Notice) {
        let client = self.clients.get_mut(&conn).unwrap();
        if let Some(held) = &mut client.held {
            return held.push(notice);
        }
        let mut frames = Vec::new();
        client.translator.write(notice, &mut frames);
        for frame in frames {
            let Message::Text(text) = frame else { panic!("{frame:?}") };
            client.received.push(text.to_string());
        }
    }
}
