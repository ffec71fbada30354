//! A hub and its clients without sockets, for the tests of all dialects.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use async_tungstenite::tungstenite::Message;
use serde_json::{Value, json};

use super::{Dialect, Opening, Step, Translator, http, translator};
use crate::{
    access::{Ability, Grant},
    close::CloseReason,
    delivery::outbox::Item,
    hub::{ConnId, Effect, Event, Hub, Request, Rules},
};

/// A description with two m-lines, whose mids are `a` and `v`.
pub(super) const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\n";

/// A hub and its clients.
#[derive(Default)]
pub(super) struct Net {
    pub(super) hub: Hub,
    clients: HashMap<ConnId, Client>,
    /// What is not written yet.
    queue: VecDeque<(ConnId, Item)>,
    /// The hub keeps its news until [`Net::pass_on`].
    pub(super) holds_news: bool,
    /// The last byte of the address of new clients.
    pub(super) host: u8,
}

/// A client and what it received.
struct Client {
    side: Side,
    heard: Vec<String>,
    refusals: Vec<&'static str>,
    closed: Option<CloseReason>,
    /// What waits while the client does not read.
    held: Option<Vec<Item>>,
}

/// The server's side of a client's connection.
enum Side {
    Socket(Box<dyn Translator>),
    Http(Box<http::Client>),
}

impl Net {
    /// A hub with limits.
    pub(super) fn new(rules: Rules) -> Self {
        Self { hub: Hub::new(rules), ..Self::default() }
    }

    /// Opens a connection without a token. The target is what follows the dialect's own path, with a query.
    pub(super) fn open(&mut self, dialect: Dialect, target: &str) -> ConnId {
        self.open_with(dialect, target, Grant::default())
    }

    /// Opens a connection with a token.
    pub(super) fn open_with(&mut self, dialect: Dialect, target: &str, grant: Grant) -> ConnId {
        let (rest, query) = target.split_once('?').unwrap_or((target, ""));
        let opening = Opening {
            rest: rest.into(),
            query: query.into(),
            identity: grant.identity.clone(),
            can_call: grant.allows(Ability::Call),
            number: self.next().0,
            ..Opening::default()
        };
        let mut translator = translator(dialect, &opening);
        let mut steps = Vec::new();
        translator.open(&mut steps);
        let conn = self.add(dialect, Side::Socket(translator), grant);
        self.run(conn, steps, None);
        self.write();
        conn
    }

    /// An HTTP client, which calls or registers at once.
    pub(super) fn open_http(&mut self, client: http::Client) -> ConnId {
        let (dialect, opening) = (client.dialect(), client.opening().clone());
        let conn = self.add(dialect, Side::Http(Box::new(client)), Grant::default());
        self.ask(conn, opening);
        conn
    }

    /// A registered peer of the text protocol.
    #[track_caller]
    pub(super) fn text(&mut self, uid: &str) -> ConnId {
        let conn = self.open(Dialect::Text, "");
        self.say(conn, format!("HELLO {uid}"));
        assert_eq!(self.heard(conn), ["HELLO"]);
        conn
    }

    fn next(&self) -> ConnId {
        ConnId(self.clients.len() as u64 + 1)
    }

    fn add(&mut self, dialect: Dialect, side: Side, grant: Grant) -> ConnId {
        let conn = self.next();
        let (heard, refusals) = (Vec::new(), Vec::new());
        self.clients.insert(conn, Client { side, heard, refusals, closed: None, held: None });
        let address = [192, 0, 2, self.host].into();
        self.handle(conn, Event::Opened { grant: Arc::new(grant), address, dialect });
        conn
    }

    /// The client sends a text.
    pub(super) fn say(&mut self, conn: ConnId, text: impl ToString) {
        self.send(conn, Message::text(text.to_string()));
    }

    /// The client sends a frame.
    pub(super) fn send(&mut self, conn: ConnId, frame: Message) {
        let mut steps = Vec::new();
        let translator = self.translator(conn);
        let kept = translator.dialect().is_single().then(|| frame.clone());
        translator.read(frame, &mut steps);
        self.run(conn, steps, kept);
        self.write();
    }

    /// The client was silent for too long.
    pub(super) fn lapse(&mut self, conn: ConnId) {
        let mut steps = Vec::new();
        self.translator(conn).lapse(&mut steps);
        self.run(conn, steps, None);
        self.write();
    }

    /// The client's socket closes.
    pub(super) fn leave(&mut self, conn: ConnId) {
        self.handle(conn, Event::Closed);
    }

    /// A request of the client.
    pub(super) fn ask(&mut self, conn: ConnId, request: Request) {
        self.handle(conn, Event::Asked { request, frame: None });
    }

    /// Any event of the client.
    pub(super) fn handle(&mut self, conn: ConnId, event: Event) {
        self.enter(conn, event);
        self.write();
    }

    /// Delivers the hub's news, at most this many.
    pub(super) fn pass_on(&mut self, most: usize) {
        let mut effects = Vec::new();
        self.hub.pass_on(most, &mut effects);
        self.apply(effects);
        self.write();
    }

    /// What the hub does for an operator.
    pub(super) fn apply_all(&mut self, effects: Vec<Effect>) {
        self.apply(effects);
        self.write();
    }

    /// The client stops reading.
    pub(super) fn hold(&mut self, conn: ConnId) {
        self.client(conn).held = Some(Vec::new());
    }

    /// The client reads again.
    pub(super) fn release(&mut self, conn: ConnId) {
        let held = self.client(conn).held.take().expect("it is held");
        self.queue.extend(held.into_iter().map(|item| (conn, item)));
        self.write();
    }

    /// What the client received since the last call.
    #[track_caller]
    pub(super) fn heard(&mut self, conn: ConnId) -> Vec<String> {
        std::mem::take(&mut self.client(conn).heard)
    }

    /// The same as JSON.
    #[track_caller]
    pub(super) fn json(&mut self, conn: ConnId) -> Vec<Value> {
        self.heard(conn).iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    /// The only frame that the client received since the last call, as JSON.
    #[track_caller]
    pub(super) fn only(&mut self, conn: ConnId) -> Value {
        let [frame] = <[Value; 1]>::try_from(self.json(conn)).expect("one frame");
        frame
    }

    /// The reasons of the dialect's own refusals since the last call.
    pub(super) fn refusals(&mut self, conn: ConnId) -> Vec<&'static str> {
        std::mem::take(&mut self.client(conn).refusals)
    }

    /// Why the server closed the connection.
    pub(super) fn closed(&mut self, conn: ConnId) -> Option<CloseReason> {
        self.client(conn).closed
    }

    /// The translator of a WebSocket.
    #[track_caller]
    pub(super) fn translator(&mut self, conn: ConnId) -> &mut dyn Translator {
        match &mut self.client(conn).side {
            Side::Socket(translator) => &mut **translator,
            Side::Http(_) => panic!("an HTTP client"),
        }
    }

    /// The state of an HTTP client.
    #[track_caller]
    pub(super) fn http(&mut self, conn: ConnId) -> &mut http::Client {
        match &mut self.client(conn).side {
            Side::Http(client) => client,
            Side::Socket(_) => panic!("a WebSocket"),
        }
    }

    #[track_caller]
    fn client(&mut self, conn: ConnId) -> &mut Client {
        self.clients.get_mut(&conn).expect("a connection")
    }

    /// Carries out the steps of a frame. As at a real connection, what they queue is written afterwards.
    fn run(&mut self, conn: ConnId, steps: Vec<Step>, frame: Option<Message>) {
        for step in steps {
            let text = match step {
                Step::Ask(request) => {
                    self.enter(conn, Event::Asked { request, frame: frame.clone() });
                    continue;
                }
                Step::IceServers => {
                    let mut frames = Vec::new();
                    let servers = [json!({ "urls": "stun:192.0.2.1:3478" })];
                    self.translator(conn).write_ice_servers(&servers, &mut frames);
                    self.queue.extend(frames.into_iter().map(|frame| (conn, frame.into())));
                    continue;
                }
                Step::Say(text) => text,
                Step::Refuse(reason, text) => {
                    self.client(conn).refusals.push(reason);
                    text
                }
            };
            self.queue.push_back((conn, Message::Text(text).into()));
        }
    }

    fn enter(&mut self, conn: ConnId, event: Event) {
        let mut effects = Vec::new();
        self.hub.handle(conn, event, &mut effects);
        while !self.holds_news && self.hub.pass_on(usize::MAX, &mut effects) {}
        self.apply(effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell(conn, notice) => self.queue.push_back((conn, notice.into())),
                Effect::Forward(conn, frame) => self.queue.push_back((conn, frame.into())),
                Effect::Close(conn, reason) => self.client(conn).closed = Some(reason),
                _ => {}
            }
        }
    }

    /// Writes what is queued, and carries out what follows.
    fn write(&mut self) {
        while let Some((conn, item)) = self.queue.pop_front() {
            let client = self.client(conn);
            if let Some(held) = &mut client.held {
                held.push(item);
                continue;
            }
            let (mut frames, mut steps) = (Vec::new(), Vec::new());
            match (item, &mut client.side) {
                (Item::Frame(frame), _) => frames.push(frame),
                (Item::Notice(notice), Side::Socket(translator)) => {
                    translator.write(notice, &mut frames);
                    translator.follow(&mut steps);
                }
                (Item::Notice(notice), Side::Http(client)) => {
                    steps.extend(client.take(notice).map(Step::Ask))
                }
            }
            for frame in frames {
                let Message::Text(text) = frame else { panic!("{frame:?}") };
                client.heard.push(text.to_string());
            }
            self.run(conn, steps, None);
        }
    }
}
