//! The pump around a translator whose times are short, over a real socket.

use std::{net::TcpListener, thread};

use async_tungstenite::tungstenite::{Utf8Bytes, WebSocket};
use callbin_protocol::PeerId;
use clap::Parser;

use super::*;
use crate::{
    access::account::Accounts,
    config::Config,
    dialect::Wants,
    edge::{assets::Assets, fair::Fair},
    hub::{Card, Notice},
    operate::{metrics::Metrics, settings::Settings},
    switchboard::Switchboard,
};

fn app() -> Arc<App> {
    let config = Config::parse_from(["callbin-server", "--disable-ssl"]);
    let metrics = Arc::new(Metrics::default());
    let switchboard = Switchboard::new(config.rules(), config.node_rooms(), config.bounds(), metrics.clone());
    let accounts = Arc::new(Accounts::new(config.quotas(1024)));
    let settings = Settings::load(&config).unwrap();
    Arc::new(App::new(switchboard, accounts, metrics, Assets::Embedded, settings))
}

/// Runs a connection with this translator until the client closes it.
fn serve(translator: impl Translator + 'static, client: fn(&mut WebSocket<std::net::TcpStream>)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let stream = std::net::TcpStream::connect(address).unwrap();
        let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        client(&mut socket);
        let _ = socket.close(None);
        while socket.read().is_ok() {}
    });
    runtime::block_on(async {
        let app = app();
        let lanes = app.lanes.clone();
        runtime::spawn(async move { lanes.run().await });
        let listener = runtime::TcpListener::new(listener).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let (visit, _) = app.visit(peer).unwrap();
        let admission = Admission {
            conn: visit.conn,
            address: peer,
            grant: Arc::default(),
            wants: Wants::default(),
            translator: Box::new(translator),
            ticket: visit.entry.unwrap(),
        };
        run(Connected::plain(Fair::new(stream, app.lanes.clone())), Vec::new(), admission, app).await;
    });
    client.join().unwrap();
}

/// A client may be silent for a moment after its first frame.
struct Brief {
    may_be_silent: Option<Duration>,
}

impl Translator for Brief {
    fn dialect(&self) -> Dialect {
        Dialect::Action
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        let text = frame.into_text().unwrap();
        self.may_be_silent = (text != "stay").then_some(Duration::from_millis(1));
        steps.push(Step::Say(text));
    }

    fn write(&mut self, _: Notice, _: &mut Vec<Message>) {}

    fn silence(&self) -> Option<Duration> {
        self.may_be_silent
    }

    fn lapse(&mut self, steps: &mut Vec<Step>) {
        steps.push(Step::Say(Utf8Bytes::from_static("gone")));
    }
}

#[test]
fn silence_leads_to_steps_once() {
    serve(Brief { may_be_silent: None }, |client| {
        for _ in 0..2 {
            client.send(Message::text("go")).unwrap();
            assert_eq!(client.read().unwrap(), Message::text("go"));
            assert_eq!(client.read().unwrap(), Message::text("gone"));
        }
        client.send(Message::text("stay")).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("stay"));
    });
}

/// It registers when it opens, and asks for more when it is registered.
#[derive(Default)]
struct Eager {
    next: Option<Request>,
}

impl Translator for Eager {
    fn dialect(&self) -> Dialect {
        Dialect::Rooms
    }

    fn open(&mut self, steps: &mut Vec<Step>) {
        let uid = PeerId::guest(1, 1);
        steps.push(Step::Ask(Request::Register { uid, card: Card::default() }));
    }

    fn read(&mut self, _: Message, _: &mut Vec<Step>) {}

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        match notice {
            Notice::Registered(uid) => self.next = Some(Request::Unregister(uid)),
            notice => frames.push(Message::text(format!("{notice:?}"))),
        }
        if self.next.is_none() {
            self.next = Some(Request::Close(CloseReason::NotJoined));
        }
    }

    fn follow(&mut self, steps: &mut Vec<Step>) {
        if let Some(next) = self.next.take() {
            // The second one is refused, and leads to the close.
            let again = matches!(next, Request::Unregister(_)).then(|| next.clone());
            steps.extend([Some(next), again].into_iter().flatten().map(Step::Ask));
        }
    }
}

#[test]
fn a_notice_leads_to_steps() {
    serve(Eager::default(), |client| {
        let refused = client.read().unwrap().into_text().unwrap();
        assert!(refused.contains("PeerNotFound"), "{refused}");
        let Message::Close(Some(frame)) = client.read().unwrap() else { panic!("not closed") };
        assert_eq!(frame, CloseReason::NotJoined.frame());
    });
}
