//! Translators of several connections around a real hub, without sockets.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use async_tungstenite::tungstenite::Message;
use serde_json::{Value, json};

use super::{Dialect, Opening, Step, Translator, translator};
use crate::{
    access::{Ability, Grant},
    close::CloseReason,
    delivery::outbox::Item,
    hub::{ConnId, Effect, Event, Hub, Rules},
};

/// A hub and its connections.
#[derive(Default)]
pub(super) struct Table {
    hub: Hub,
    lines: BTreeMap<ConnId, Line>,
    last: u64,
}

/// One connection.
struct Line {
    translator: Box<dyn Translator>,
    queue: VecDeque<Item>,
    heard: Vec<String>,
    refusals: Vec<&'static str>,
    closed: Option<CloseReason>,
}

impl Table {
    pub(super) fn new(rules: Rules) -> Self {
        Self { hub: Hub::new(rules), ..Self::default() }
    }

    /// Opens a connection without a token. The target is what follows the dialect's own path, with a query.
    pub(super) fn open(&mut self, dialect: Dialect, target: &str) -> ConnId {
        self.open_with(dialect, target, Grant::default())
    }

    /// Opens a connection with a token.
    pub(super) fn open_with(&mut self, dialect: Dialect, target: &str, grant: Grant) -> ConnId {
        self.last += 1;
        let conn = ConnId(self.last);
        let (rest, query) = target.split_once('?').unwrap_or((target, ""));
        let opening = Opening {
            rest: rest.into(),
            query: query.into(),
            identity: grant.identity.clone(),
            can_call: grant.allows(Ability::Call),
            number: conn.0,
            ..Opening::default()
        };
        let mut translator = translator(dialect, &opening);
        let mut steps = Vec::new();
        translator.open(&mut steps);
        let (queue, heard, refusals) = (VecDeque::new(), Vec::new(), Vec::new());
        self.lines.insert(conn, Line { translator, queue, heard, refusals, closed: None });
        let address = [192, 0, 2, 1].into();
        self.handle(conn, Event::Opened { grant: Arc::new(grant), address, dialect });
        self.carry_out(conn, steps, None);
        conn
    }

    /// A registered peer of the text protocol.
    pub(super) fn text(&mut self, uid: &str) -> ConnId {
        let conn = self.open(Dialect::Text, "");
        self.say(conn, &format!("HELLO {uid}"));
        assert_eq!(self.heard(conn), ["HELLO"]);
        conn
    }

    /// A text frame of the client.
    pub(super) fn say(&mut self, conn: ConnId, text: &str) {
        self.send(conn, Message::text(text));
    }

    /// A frame of the client.
    pub(super) fn send(&mut self, conn: ConnId, frame: Message) {
        let mut steps = Vec::new();
        let translator = &mut self.line(conn).translator;
        let kept = translator.dialect().is_single().then(|| frame.clone());
        translator.read(frame, &mut steps);
        self.carry_out(conn, steps, kept);
    }

    /// The client was silent for too long.
    pub(super) fn lapse(&mut self, conn: ConnId) {
        let mut steps = Vec::new();
        self.line(conn).translator.lapse(&mut steps);
        self.carry_out(conn, steps, None);
    }

    /// The connection's translator.
    pub(super) fn translator(&mut self, conn: ConnId) -> &mut dyn Translator {
        &mut *self.line(conn).translator
    }

    /// The client's socket closes.
    pub(super) fn leave(&mut self, conn: ConnId) {
        self.handle(conn, Event::Closed);
    }

    /// Any event of a connection.
    pub(super) fn handle(&mut self, conn: ConnId, event: Event) {
        self.ask(conn, event);
        self.write();
    }

    /// What the client got since the last call.
    pub(super) fn heard(&mut self, conn: ConnId) -> Vec<String> {
        std::mem::take(&mut self.line(conn).heard)
    }

    /// The same as JSON.
    #[track_caller]
    pub(super) fn json(&mut self, conn: ConnId) -> Vec<Value> {
        let heard = self.heard(conn);
        heard.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    /// The only frame that the client got since the last call, as JSON.
    #[track_caller]
    pub(super) fn only(&mut self, conn: ConnId) -> Value {
        let [frame] = <[Value; 1]>::try_from(self.json(conn)).expect("one frame");
        frame
    }

    /// The reasons of the dialect's own refusals.
    pub(super) fn refusals(&mut self, conn: ConnId) -> Vec<&'static str> {
        std::mem::take(&mut self.line(conn).refusals)
    }

    /// Why the server closed the connection.
    pub(super) fn closed(&mut self, conn: ConnId) -> Option<CloseReason> {
        self.line(conn).closed
    }

    fn line(&mut self, conn: ConnId) -> &mut Line {
        self.lines.get_mut(&conn).expect("an open connection")
    }

    /// Carries out the steps of a frame. As at a real connection, what it queues is written afterwards.
    fn carry_out(&mut self, conn: ConnId, steps: Vec<Step>, frame: Option<Message>) {
        for step in steps {
            let text = match step {
                Step::Ask(request) => {
                    self.ask(conn, Event::Asked { request, frame: frame.clone() });
                    continue;
                }
                Step::IceServers => {
                    let mut frames = Vec::new();
                    let servers = [json!({ "urls": "stun:192.0.2.1:3478" })];
                    self.line(conn).translator.write_ice_servers(&servers, &mut frames);
                    self.line(conn).queue.extend(frames.into_iter().map(Item::from));
                    continue;
                }
                Step::Say(text) => text,
                Step::Refuse(reason, text) => {
                    self.line(conn).refusals.push(reason);
                    text
                }
            };
            self.line(conn).queue.push_back(Message::Text(text).into());
        }
        self.write();
    }

    fn ask(&mut self, conn: ConnId, event: Event) {
        let mut effects = Vec::new();
        self.hub.handle(conn, event, &mut effects);
        while self.hub.pass_on(100, &mut effects) {}
        for effect in effects {
            match effect {
                Effect::Tell(conn, notice) => self.line(conn).queue.push_back(notice.into()),
                Effect::Forward(conn, frame) => self.line(conn).queue.push_back(frame.into()),
                Effect::Close(conn, reason) => self.line(conn).closed = Some(reason),
                Effect::Pair(..) | Effect::Note(..) => {}
            }
        }
    }

    /// Writes what is queued, and carries out what follows.
    fn write(&mut self) {
        let mut next = Vec::new();
        for (conn, line) in &mut self.lines {
            for item in std::mem::take(&mut line.queue) {
                let (mut frames, mut steps) = (Vec::new(), Vec::new());
                match item {
                    Item::Frame(frame) => frames.push(frame),
                    Item::Notice(notice) => {
                        line.translator.write(notice, &mut frames);
                        line.translator.follow(&mut steps);
                    }
                }
                line.heard.extend(frames.iter().map(Message::to_string));
                next.push((*conn, steps));
            }
        }
        for (conn, steps) in next.into_iter().filter(|(_, steps)| !steps.is_empty()) {
            self.carry_out(conn, steps, None);
        }
    }
}
