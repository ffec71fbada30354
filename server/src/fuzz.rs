//! The fuzz targets: each takes any bytes and panics if something is wrong. `fuzz/` calls them with new bytes, the
//! tests below with those of its corpus.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    str,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use async_tungstenite::tungstenite::Message;
use callbin_protocol::{
    ClientMessage, PeerId, RoomId, ServerMessage as TextServerMessage, Signal, action, antmedia, rooms,
    webrtcsink::ServerMessage,
};
use clap::Parser;
use futures_util::{AsyncRead, AsyncWrite};
use hyper::{HeaderMap, header};
use serde::de::IgnoredAny;

use crate::{
    access::{Grant, account::Accounts},
    app::App,
    config::Config,
    delivery::payload::Kind,
    dialect::{Dialect, Opening, Step, Translator, http::Client, rest, translator, whip},
    edge::{
        assets::Assets,
        http::{self, KeepAlive},
        proxy::{self, Preface, TrustedProxies},
        site::Site,
    },
    hub::{
        About, Call, ConnId, Effect, Event, Hub, Incoming, Joined, Key, Notice, Payload, Refusal,
        invariants::{Model, SLOTS, said},
    },
    operate::{metrics::Metrics, settings::Settings},
    runtime,
    switchboard::Switchboard,
};

/// The address that requests come from: a trusted proxy.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);

/// Messages of peers, of servers, and of peers to each other. A parsed message must survive being written and parsed
/// again.
pub fn protocol(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(message) = ClientMessage::parse(text) {
        let written = message.to_string();
        assert_eq!(ClientMessage::parse(&written).as_ref(), Ok(&message), "{written:?}");
    }
    if let Ok(message) = TextServerMessage::parse(text) {
        let written = message.to_string();
        assert_eq!(TextServerMessage::parse(&written).as_ref(), Ok(&message), "{written:?}");
    }
    let _ = Signal::parse(text);
    let _ = Kind::of(text);
}

/// Frames of an Ant Media client, one a line. A relayed frame must be one that means the same, and each frame gets a
/// translation, whatever came before.
pub fn antmedia(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut translator = translator(Dialect::Antmedia, &Opening::default());
    for line in text.lines().take(64) {
        if let Ok(frame) = antmedia::Frame::parse(line) {
            let relayed = frame.relayed(line, "s");
            let named = antmedia::named(&relayed, "s");
            let again = antmedia::Frame::parse(&named).map(|it| it.command);
            let index = |command: &antmedia::Command| match command {
                antmedia::Command::Candidate(it) => it.sdp_m_line_index,
                _ => None,
            };
            // A candidate without an m-line gets the first one.
            let is_completed =
                index(&frame.command).is_none() && again.as_ref().is_ok_and(|it| index(it) == Some(0));
            assert!(is_completed || again.as_ref() == Ok(&frame.command), "{line:?} became {named:?}");
        }
        let mut steps = Vec::new();
        translator.read(Message::text(line), &mut steps);
        for step in steps {
            if let Step::Say(text) = step {
                assert!(text.starts_with("{\"command\":"), "only JSON frames: {text}");
            }
        }
    }
}

/// Paths and bodies of the dialects over HTTP, and what the other side of their call sends: the path is the first line.
pub fn http_dialects(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (path, body) = text.split_once('\n').unwrap_or((text, ""));
    for method in ["GET", "POST", "DELETE", "PUT"] {
        let _ = rest::route(method, path);
    }
    let _ = (rest::Description::parse("offer", body), rest::candidates(body));
    let kind = Some("application/trickle-ice-sdpfrag");
    let mut client = match whip::offer(Dialect::Whip, path, Some("application/sdp"), body) {
        Ok(client) => client,
        Err(_) => Client::caller(Dialect::Whip, PeerId::guest(1), None),
    };
    let (key, peer) = (Key::from("call"), PeerId::guest(2));
    let call = Call {
        key: key.clone(),
        uid: PeerId::guest(1),
        peer,
        dialect: Dialect::Text,
        is_caller: true,
        is_asked: false,
    };
    client.take(Notice::Called(Box::new(call)));
    for line in body.lines().chain([body]) {
        let payload = Payload::text_from(line.into(), 0);
        client.take(Notice::Signal(Box::new(Incoming { key: key.clone(), payload })));
    }
    let tag = client.etag();
    let _ = (whip::patch(&client, kind, Some(&tag), body), whip::patch(&client, kind, Some(path), body));
    let m_lines = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    if let (Some(reply), Some(leg)) = (whip::created(&client, path, &[]), client.leg()) {
        let answer = leg.answer().unwrap_or_default();
        assert_eq!(m_lines(&reply.body), m_lines(answer), "candidates add no m-lines");
    }
}

/// Requests on a connection until one upgrades it to a WebSocket. Without a valid token none may.
pub fn upgrade(bytes: &[u8]) {
    let app = app();
    let Some((visit, _slot)) = app.visit(PEER) else { return };
    let conn = visit.conn;
    let site = Site::new(app.clone(), visit);
    let stream = Once { unread: bytes, written: Vec::new() };
    let served =
        http::serve(stream, conn, KeepAlive::client(Duration::from_secs(5)), |request| site.answer(request));
    if let Some((stream, _)) = runtime::block_on(served) {
        assert!(
            stream.written.is_empty() || stream.written.starts_with(b"HTTP/1."),
            "an answer is HTTP: {:?}",
            String::from_utf8_lossy(&stream.written)
        );
    }
    assert!(site.into_admission().is_none(), "a WebSocket without a token");
}

/// Tokens. Without a valid signature none may be accepted.
pub fn token(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let settings = app().settings();
    let verified = settings.verifier.as_ref().map(|verifier| verifier.verify(text));
    assert!(!matches!(verified, Some(Ok(_))), "a token that nobody signed");
    let request = hyper::Request::builder().uri(format!("/?token={text}"));
    if let Ok(request) = request.body(()) {
        assert!(crate::edge::site::authenticate(&settings, &request).is_err(), "a token that nobody signed");
    }
}

/// PROXY protocol headers, `Forwarded` and `X-Forwarded-For`.
pub fn proxy(bytes: &[u8]) {
    if let Preface::Present(length, _) = proxy::preface(bytes) {
        assert!(length <= bytes.len(), "a header is no longer than what came");
    }
    let settings = app().settings();
    for name in [header::FORWARDED, header::HeaderName::from_static("x-forwarded-for")] {
        let mut headers = HeaderMap::new();
        let named = TrustedProxies::new(vec![PEER.ip().into()], Some(name.clone()));
        if let Ok(value) = header::HeaderValue::from_bytes(bytes) {
            headers.insert(name, value);
            for proxies in [&settings.proxies, &named] {
                let _ = (proxies.client(PEER, &headers), proxies.is_local(PEER, &headers));
            }
        }
    }
}

/// What a member of a JSON room gets, as far as the server answers for it.
#[derive(serde::Deserialize)]
struct Sent {
    sender: String,
}

/// Frames of a member of a JSON room, one per line. What is forwarded and what is written must be read as the same.
pub fn rooms(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let sender = PeerId::guest(1);
    for line in text.lines() {
        let Ok(frame) = rooms::ClientFrame::parse(line) else { continue };
        let forwarded = rooms::with_sender(frame.cleaned.as_deref().unwrap_or(line), &sender);
        let written = rooms::ServerFrame::Signal { signal: &frame.signal, sender: &sender }.to_string();
        for text in [forwarded, written] {
            let read = rooms::ClientFrame::parse(&text).map(|frame| frame.signal);
            assert_eq!(read.as_ref(), Ok(&frame.signal), "{text:?}");
            let sent: Result<Sent, _> = serde_json::from_str(&text);
            assert!(sent.is_ok_and(|sent| sent.sender == sender.as_str()), "{text:?}");
        }
    }
    let opening = Opening { rest: "r".into(), query: format!("username={text}"), ..Opening::default() };
    translate(Dialect::Rooms, &opening, text);
}

/// Frames of a client with `action`/`data` envelopes, one per line.
pub fn action(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for line in text.lines() {
        let data = match action::ClientFrame::parse(line) {
            Ok(frame) => Some(frame.data),
            Err(fault) => fault.data,
        };
        assert!(data.is_none_or(|data| line.contains(data)), "a signal is a part of its frame: {line:?}");
    }
    translate(Dialect::Action, &Opening::default(), text);
}

/// The frames of a client, one per line. All that it gets must be JSON.
fn translate(dialect: Dialect, opening: &Opening, text: &str) {
    let mut translator = translator(dialect, opening);
    let mut steps = Vec::new();
    translator.open(&mut steps);
    let room = RoomId::new("r").ok();
    for line in text.lines() {
        translator.read(Message::text(line), &mut steps);
        // Every join is accepted at once.
        if let Some(room) = room.clone() {
            let (room, members, mut frames) = (room, vec![PeerId::guest(2)], Vec::new());
            translator.write(Notice::Joined(Box::new(Joined { room, members })), &mut frames);
            steps.extend(frames.into_iter().filter_map(|frame| frame.into_text().ok()).map(Step::Say));
        }
    }
    for step in steps {
        if let Step::Say(text) | Step::Refuse(_, text) = step {
            assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{text:?}");
        }
    }
}

/// Frames of two webrtcsink clients and a text peer, one a line: the first byte says whose. `$` stands for the id of the
/// client's latest session.
pub fn webrtcsink(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut hub = Hub::default();
    let dialects = [Dialect::Webrtcsink, Dialect::Webrtcsink, Dialect::Text];
    let mut peers: Vec<(Box<dyn Translator>, String)> = Vec::new();
    for (number, dialect) in (0..).zip(dialects) {
        let opening = Opening { number, ..Opening::default() };
        peers.push((translator(dialect, &opening), String::new()));
        let event = Event::Opened { grant: Arc::default(), address: PEER.ip(), dialect };
        hub.handle(ConnId(number), event, &mut Vec::new());
    }
    for line in text.lines().take(256) {
        let Some((whose, frame)) = line.split_at_checked(1) else { continue };
        let number = u64::from(whose.as_bytes().first().copied().unwrap_or_default()) % 3;
        let Some((peer, session)) = usize::try_from(number).ok().and_then(|index| peers.get_mut(index))
        else {
            continue;
        };
        let frame = Message::text(frame.replace('$', session));
        let kept = peer.dialect().is_single().then(|| frame.clone());
        let mut steps = Vec::new();
        peer.read(frame, &mut steps);
        let mut effects = Vec::new();
        for step in steps {
            if let Step::Ask(request) = step {
                let event = Event::Asked { request, frame: kept.clone() };
                hub.handle(ConnId(number), event, &mut effects);
            }
        }
        hub.pass_on(64, &mut effects);
        hub.check();
        effects.into_iter().for_each(|effect| hear(&mut peers, effect));
    }
}

/// Translates a notice. What a webrtcsink client gets must be a frame of its protocol.
#[allow(clippy::panic, reason = "a frame that no client reads is what this looks for")]
fn hear(peers: &mut [(Box<dyn Translator>, String)], effect: Effect) {
    let Effect::Tell(ConnId(number), notice) = effect else { return };
    let Some((peer, session)) = usize::try_from(number).ok().and_then(|index| peers.get_mut(index)) else {
        return;
    };
    let mut frames = Vec::new();
    peer.write(notice, &mut frames);
    if peer.dialect() != Dialect::Webrtcsink {
        return;
    }
    for frame in frames {
        let text = frame.to_text().unwrap_or_default();
        match ServerMessage::parse(text) {
            Ok(
                ServerMessage::SessionStarted { session_id, .. }
                | ServerMessage::StartSession { session_id, .. },
            ) => {
                *session = session_id.into_owned();
            }
            Ok(_) => {}
            Err(error) => panic!("{error}: {text}"),
        }
    }
}

/// Any events on a few connections in any order, two bytes per event.
pub fn hub(bytes: &[u8]) {
    let mut model = Model::default();
    // Enough to reach every state; longer runs only take longer.
    for pair in bytes.chunks_exact(2).take(256) {
        let &[who, what] = pair else { continue };
        model.step(usize::from(who) % SLOTS, event(what, who / 16));
        // Deliver notices only sometimes, and in parts.
        model.pass_on(usize::from(who / 8 % 4));
    }
    model.finish();
}

fn event(what: u8, whom: u8) -> Event {
    let uids = ["a", "b", "c", "d", "", "x y"];
    let uid = uids.get(usize::from(whom) % uids.len()).copied().unwrap_or_default();
    let room = if whom.is_multiple_of(2) { "r" } else { "s" };
    match what % 12 {
        0 | 1 => Event::Opened {
            grant: Arc::new(Grant {
                identity: (what / 12 % 3 == 1).then(|| "somebody".into()),
                ..Grant::default()
            }),
            address: PEER.ip(),
            dialect: Dialect::Text,
        },
        2 | 3 => said(Message::text(format!("HELLO {uid}"))),
        4 => said(Message::text(format!("SESSION {uid}"))),
        5 => said(Message::text(format!("ROOM {room}"))),
        6 => said(Message::text(format!("ROOM_PEER_MSG {uid} hi"))),
        7 => said(Message::text("ROOM_PEER_LIST")),
        8 => said(Message::text("{}")),
        9 => said(Message::binary(vec![what])),
        10 if whom.is_multiple_of(2) => denied(Refusal::Other("no".into())),
        10 => denied(Refusal::Unavailable),
        _ => Event::Closed,
    }
}

fn denied(refusal: Refusal) -> Event {
    Event::Denied { about: About::Call, key: Key::default(), refusal }
}

/// A server that requires tokens and trusts proxies on local addresses.
#[allow(clippy::panic, reason = "without the secret there is nothing to fuzz")]
fn app() -> &'static Arc<App> {
    static APP: OnceLock<Arc<App>> = OnceLock::new();
    APP.get_or_init(|| {
        let secret = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/secret");
        let flags = ["callbin-server", "--disable-ssl", "--trusted-proxy", "127.0.0.0/8,10.0.0.0/8"];
        let config = Config::parse_from(flags.into_iter().chain(["--token-key-file", secret]));
        let settings = Settings::load(&config).unwrap_or_else(|error| panic!("{error}"));
        let metrics = Arc::new(Metrics::default());
        let switchboard = Switchboard::new(config.rules(), config.bounds(), metrics.clone());
        let accounts = Arc::new(Accounts::new(config.quotas(1024)));
        Arc::new(App::new(switchboard, accounts, metrics, Assets::Embedded, settings))
    })
}

/// A client that sends these bytes, reads the answer and closes.
struct Once<'a> {
    unread: &'a [u8],
    written: Vec<u8>,
}

impl AsyncRead for Once<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.unread).poll_read(cx, buf)
    }
}

impl AsyncWrite for Once<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Runs every file of a target's corpus.
    #[track_caller]
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }

    #[test]
    fn corpus_of_protocol() {
        replay("protocol", protocol);
    }

    #[test]
    fn corpus_of_antmedia() {
        replay("antmedia", antmedia);
    }

    #[test]
    fn corpus_of_http_dialects() {
        replay("http_dialects", http_dialects);
    }

    #[test]
    fn corpus_of_upgrade() {
        replay("upgrade", upgrade);
    }

    #[test]
    fn corpus_of_token() {
        replay("token", token);
    }

    #[test]
    fn corpus_of_proxy() {
        replay("proxy", proxy);
    }

    #[test]
    fn corpus_of_rooms() {
        replay("rooms", rooms);
    }

    #[test]
    fn corpus_of_action() {
        replay("action", action);
    }

    #[test]
    fn corpus_of_webrtcsink() {
        replay("webrtcsink", webrtcsink);
    }

    #[test]
    fn corpus_of_hub() {
        replay("hub", hub);
    }
}
