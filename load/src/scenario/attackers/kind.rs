//! The behaviour of an attacker on one connection, by kind.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::ValueEnum;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWriteExt, io::sink};

use super::wire::{self, CLOSE, FIRST_FRAGMENT, FRAGMENT, PING, TEXT};
use crate::{
    peer::{Stream, Target},
    runtime,
    scenario::uid,
};

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Endless small messages.
    Messages,
    /// Endless pings.
    Pings,
    /// Endless empty fragments of a message.
    Fragments,
    /// Frames with a declared length of a terabyte.
    HugeFrames,
    /// Frames of the largest size without their last byte.
    Unfinished,
    /// Messages to a partner that reads nothing.
    Unread,
    /// Messages to a partner that reads everything.
    Read,
    /// Requests with one more header every second that never end.
    SlowHttp,
    /// TLS handshakes that never end; without TLS, connections that send nothing.
    SlowTls,
    /// Registrations with an invalid uid, a taken uid or none, and other first messages.
    Registrations,
    /// Large rooms: of ten attackers nine stay, and one joins and leaves repeatedly.
    Joins,
    /// Members of one room that request its list 900 times a second each.
    Lists,
    /// Calls to an unknown peer by peers with the longest uid, 900 times a second each.
    Refusals,
}

impl Kind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What the attackers of one kind did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: AtomicU64,
    /// Connections that failed or could not register.
    pub(crate) turned_away: AtomicU64,
    /// Connections that the server served and then ended.
    pub(crate) ended: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// The uid that is registered while bad registrations ask for it.
pub(crate) fn taken_uid() -> String {
    uid("taken", 0)
}

/// The server's default limit for a message.
const LARGEST: usize = 1 << 20;

/// The longest `HELLO` that every server accepts.
const LONGEST_HELLO: usize = 6 + 128;

/// The interval of repeated messages, and their number each time.
const REPEAT: Duration = Duration::from_millis(20);
const REPEATED: usize = 18;

/// Opens a connection to the first server and attacks until the server ends it. Callees connect to the second one.
pub(crate) async fn attempt(kind: Kind, (target, callees): &(Target, Target), number: usize, tally: &Tally) {
    tally.connections.fetch_add(1, Ordering::Relaxed);
    let made = match kind {
        Kind::Messages => {
            flood(target, number, &[], &wire::frame(TEXT, b"SAY as much as you can"), tally).await
        }
        Kind::Pings => flood(target, number, &[], &wire::frame(PING, &[b'x'; 125]), tally).await,
        Kind::Fragments => {
            let first = wire::frame(FIRST_FRAGMENT, b"x");
            flood(target, number, &first, &wire::frame(FRAGMENT, b""), tally).await
        }
        Kind::HugeFrames => flood(target, number, &wire::head(TEXT, 1 << 40), &[b'x'; 1024], tally).await,
        Kind::Unfinished => {
            let mut bytes = wire::head(TEXT, LARGEST as u64);
            bytes.resize(bytes.len() + LARGEST - 1, b'x');
            hold(target, number, &bytes, tally).await
        }
        Kind::Unread => unread(target, callees, number, tally).await,
        Kind::Read => read(target, callees, number, tally).await,
        Kind::SlowHttp => drip(target, tally).await,
        Kind::SlowTls => half_hello(target, tally).await,
        Kind::Registrations => bad_registration(target, number, tally).await,
        Kind::Joins => join(target, number, tally).await,
        Kind::Lists => {
            let beginning = wire::frame(TEXT, format!("ROOM {}", uid("lists", 0)).as_bytes());
            repeat(target, &hello(number), &beginning, &wire::frame(TEXT, b"ROOM_PEER_LIST"), tally).await
        }
        Kind::Refusals => {
            let mut hello = hello(number);
            hello.resize(hello.len().max(LONGEST_HELLO), b'x');
            repeat(target, &hello, &[], &wire::frame(TEXT, b"SESSION x"), tally).await
        }
    };
    let tallied = if made.is_ok() { &tally.ended } else { &tally.turned_away };
    tallied.fetch_add(1, Ordering::Relaxed);
}

/// Opens a raw WebSocket and sends HELLO, without waiting for the answer.
async fn greet(target: &Target, hello: &[u8]) -> anyhow::Result<Stream> {
    let mut stream = target.open().await?;
    let mut bytes = target.handshake_request().into_bytes();
    bytes.extend(wire::frame(TEXT, hello));
    stream.write_all(&bytes).await?;
    Ok(stream)
}

fn hello(number: usize) -> Vec<u8> {
    format!("HELLO {}", uid("attacker", number)).into_bytes()
}

/// Sends `beginning` once and then `again` endlessly, and reads what comes back.
async fn flood(
    target: &Target,
    number: usize,
    beginning: &[u8],
    again: &[u8],
    tally: &Tally,
) -> anyhow::Result<()> {
    let mut stream = greet(target, &hello(number)).await?;
    stream.write_all(beginning).await?;
    pour(stream, &wire::block(again), tally).await;
    Ok(())
}

/// Sends the bytes endlessly and reads what comes back, until the server ends the connection.
async fn pour(stream: Stream, bytes: &[u8], tally: &Tally) {
    let (reader, mut writer) = stream.split();
    let writing = async {
        while writer.write_all(bytes).await.is_ok() {
            tally.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            runtime::yield_now().await;
        }
    };
    runtime::unless(writing, read_to_end(reader)).await;
}

/// Sends incomplete data and waits until the server ends the connection.
async fn hold(target: &Target, number: usize, bytes: &[u8], tally: &Tally) -> anyhow::Result<()> {
    let mut stream = greet(target, &hello(number)).await?;
    stream.write_all(bytes).await?;
    tally.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    read_to_end(stream).await;
    Ok(())
}

/// A session whose callee reads nothing.
async fn unread(target: &Target, callees: &Target, number: usize, tally: &Tally) -> anyhow::Result<()> {
    let callee_uid = uid("unread", number);
    let _callee = callees.register(&callee_uid).await?;
    flood_call(target, number, &callee_uid, tally).await
}

/// A session whose callee reads everything.
async fn read(target: &Target, callees: &Target, number: usize, tally: &Tally) -> anyhow::Result<()> {
    let callee_uid = uid("read", number);
    let mut callee = callees.register(&callee_uid).await?;
    let reading = async move { drop(callee.end().await) };
    match runtime::unless(flood_call(target, number, &callee_uid, tally), reading).await {
        Some(result) => result,
        None => Ok(()),
    }
}

async fn flood_call(target: &Target, number: usize, callee_uid: &str, tally: &Tally) -> anyhow::Result<()> {
    let mut stream = greet(target, &hello(number)).await?;
    stream.write_all(&wire::frame(TEXT, format!("SESSION {callee_uid}").as_bytes())).await?;
    pour(stream, &wire::frame(TEXT, &[b'x'; 32 * 1024]), tally).await;
    Ok(())
}

/// Joins the first large room that is not full. One attacker in ten leaves it at once.
async fn join(target: &Target, number: usize, tally: &Tally) -> anyhow::Result<()> {
    let mut peer = target.register(&uid("attacker", number)).await?;
    for room in 0.. {
        let text = format!("ROOM {}", uid("joins", room));
        peer.send(&text).await?;
        tally.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        if peer.receive().await?.starts_with("ROOM_OK") {
            break;
        }
    }
    if !number.is_multiple_of(10) {
        peer.end().await;
    }
    Ok(())
}

/// Sends `beginning` once and then `again` several times per interval, and reads what comes back.
async fn repeat(
    target: &Target,
    hello: &[u8],
    beginning: &[u8],
    again: &[u8],
    tally: &Tally,
) -> anyhow::Result<()> {
    let mut stream = greet(target, hello).await?;
    stream.write_all(beginning).await?;
    let (reader, mut writer) = stream.split();
    let bytes = again.repeat(REPEATED);
    let writing = async {
        while writer.write_all(&bytes).await.is_ok() {
            tally.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            runtime::sleep(REPEAT).await;
        }
    };
    runtime::unless(writing, read_to_end(reader)).await;
    Ok(())
}

async fn drip(target: &Target, tally: &Tally) -> anyhow::Result<()> {
    let (reader, mut writer) = target.open().await?.split();
    writer.write_all(b"GET / HTTP/1.1\r\n").await?;
    let writing = async {
        while writer.write_all(b"x: y\r\n").await.is_ok() {
            tally.bytes.fetch_add(6, Ordering::Relaxed);
            runtime::sleep(Duration::from_secs(1)).await;
        }
    };
    runtime::unless(writing, read_to_end(reader)).await;
    Ok(())
}

async fn half_hello(target: &Target, tally: &Tally) -> anyhow::Result<()> {
    let mut stream = target.open_tcp().await?;
    if target.has_tls() {
        stream.write_all(wire::HALF_CLIENT_HELLO).await?;
        tally.bytes.fetch_add(wire::HALF_CLIENT_HELLO.len() as u64, Ordering::Relaxed);
    }
    read_to_end(stream).await;
    Ok(())
}

async fn bad_registration(target: &Target, number: usize, tally: &Tally) -> anyhow::Result<()> {
    let taken = format!("HELLO {}", taken_uid());
    let hellos: [&[u8]; 4] = [b"HELLO", b"HELLO a b", b"REGISTER me", taken.as_bytes()];
    let hello = hellos.get(number % hellos.len()).copied().unwrap_or_default();
    let mut stream = greet(target, hello).await?;
    // Answer the server's close in advance: otherwise it waits two seconds for the answer, and so do we.
    stream.write_all(&wire::frame(CLOSE, b"")).await?;
    tally.bytes.fetch_add(hello.len() as u64, Ordering::Relaxed);
    read_to_end(stream).await;
    Ok(())
}

async fn read_to_end(stream: impl AsyncRead + Unpin) {
    // Both the end and an error are fine.
    let _ = futures_util::io::copy(stream, &mut sink()).await;
}
