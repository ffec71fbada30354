//! A hub with the translators of its connections: calls between dialects without sockets.

use std::{collections::HashMap, sync::Arc};

use async_tungstenite::tungstenite::Message;
use serde_json::Value;

use crate::{
    access::Grant,
    dialect::{Dialect, Opening, Step, Translator, translator},
    hub::{ConnId, Effect, Event, Hub, Request},
};

/// Who is there, and what they have received.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) hub: Hub,
    translators: HashMap<ConnId, Box<dyn Translator>>,
    heard: HashMap<ConnId, Vec<String>>,
    last: u64,
    /// News and notices of rooms are not delivered.
    pub(super) holds: bool,
}

impl Stage {
    /// A new connection without restrictions.
    pub(super) fn open(&mut self, dialect: Dialect) -> ConnId {
        self.open_with(dialect, "", Grant::default())
    }

    /// A new connection with this query and this grant.
    pub(super) fn open_with(&mut self, dialect: Dialect, query: &str, grant: Grant) -> ConnId {
        self.last += 1;
        let conn = ConnId(self.last);
        let identity = grant.identity.clone();
        let opening = Opening { query: query.into(), identity, number: conn.0, ..Opening::default() };
        let mut translator = translator(dialect, &opening);
        let mut steps = Vec::new();
        translator.open(&mut steps);
        self.translators.insert(conn, translator);
        let address = [192, 0, 2, 1].into();
        self.handle(conn, Event::Opened { grant: Arc::new(grant), address, dialect });
        self.run(conn, None, steps);
        conn
    }

    /// A text peer with this uid.
    pub(super) fn text(&mut self, uid: &str) -> ConnId {
        let conn = self.open(Dialect::Text);
        self.say(conn, format!("HELLO {uid}"));
        assert_eq!(self.heard(conn), ["HELLO"]);
        conn
    }

    /// The client sends a text.
    pub(super) fn say(&mut self, conn: ConnId, text: impl ToString) {
        self.send(conn, Message::text(text.to_string()));
    }

    /// The client sends a frame.
    pub(super) fn send(&mut self, conn: ConnId, frame: Message) {
        let translator = self.translators.get_mut(&conn).expect("it is open");
        let kept = translator.dialect().is_single().then(|| frame.clone());
        let mut steps = Vec::new();
        translator.read(frame, &mut steps);
        self.run(conn, kept, steps);
    }

    /// The client's socket closes.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.handle(conn, Event::Closed);
    }

    /// The frames that the client has received since the last call; `closed: …` after a close.
    pub(super) fn heard(&mut self, conn: ConnId) -> Vec<String> {
        self.heard.remove(&conn).unwrap_or_default()
    }

    /// The same as JSON.
    pub(super) fn json(&mut self, conn: ConnId) -> Vec<Value> {
        self.heard(conn).iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    /// Handles an event and delivers what follows.
    pub(super) fn handle(&mut self, conn: ConnId, event: Event) {
        let mut effects = Vec::new();
        self.hub.handle(conn, event, &mut effects);
        self.apply(effects);
        if !self.holds {
            self.pass_on(usize::MAX);
        }
    }

    /// Delivers news and notices of rooms.
    pub(super) fn pass_on(&mut self, most: usize) {
        let mut effects = Vec::new();
        self.hub.pass_on(most, &mut effects);
        self.apply(effects);
    }

    fn run(&mut self, conn: ConnId, frame: Option<Message>, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Say(text) | Step::Refuse(_, text) => {
                    self.heard.entry(conn).or_default().push(text.to_string())
                }
                Step::Ask(request) => self.ask(conn, request, frame.clone()),
                Step::IceServers => {
                    let mut frames = Vec::new();
                    self.translators.get_mut(&conn).expect("open").write_ice_servers(&[], &mut frames);
                    self.hear(conn, frames);
                }
            }
        }
    }

    fn ask(&mut self, conn: ConnId, request: Request, frame: Option<Message>) {
        self.handle(conn, Event::Asked { request, frame });
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell(conn, notice) => {
                    let mut frames = Vec::new();
                    self.translators.get_mut(&conn).expect("open").write(notice, &mut frames);
                    self.hear(conn, frames);
                }
                Effect::Forward(conn, frame) => self.hear(conn, vec![frame]),
                Effect::Close(conn, reason) => {
                    self.heard.entry(conn).or_default().push(format!("closed: {reason:?}"));
                }
                Effect::Pair(..) | Effect::Note(..) => {}
            }
        }
    }

    fn hear(&mut self, conn: ConnId, frames: Vec<Message>) {
        let texts = frames.iter().map(|frame| frame.to_text().expect("text").to_owned());
        self.heard.entry(conn).or_default().extend(texts);
    }
}
