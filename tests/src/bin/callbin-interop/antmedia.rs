//! Ant Media's own client, unmodified, in Chromium. It speaks its own protocol to the server, `callbin` the text protocol.

use std::{fs, path::Path, time::Instant};

use callbin_tests::{Browser, BrowserOptions, Client, Page, Server, Socket, process::workspace, wait_until};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    call::{Call, OUR_HELLO, PATIENCE, Way, log, wait_for},
    link::Link,
    peer::Peer,
    table::{Column, KNOWN, Row},
};

/// The name in the table.
pub const NAME: &str = "antmedia";

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `callbin` waits, and the page joins it.
    Joins,
    /// The page has joined, and `callbin` calls it.
    Joined,
    /// The page publishes to a waiting `callbin`.
    Publishes,
    /// The page publishes, and `callbin` calls it.
    Published,
    /// The page plays a waiting `callbin`.
    Plays,
    /// The page waits for what it plays, and `callbin` calls it.
    Played,
}

impl Role {
    const ALL: [Self; 6] =
        [Self::Joins, Self::Joined, Self::Publishes, Self::Published, Self::Plays, Self::Played];

    fn name(self) -> &'static str {
        match self {
            Self::Joins => "joins, offers",
            Self::Joined => "has joined, answers",
            Self::Publishes => "publishes, offers",
            Self::Published => "publishes, answers",
            Self::Plays => "plays, answers",
            Self::Played => "waits to play, answers",
        }
    }

    /// The client's method.
    fn method(self) -> &'static str {
        match self {
            Self::Joins | Self::Joined => "join",
            Self::Publishes | Self::Published => "publish",
            Self::Plays | Self::Played => "play",
        }
    }

    fn is_called(self) -> bool {
        matches!(self, Self::Joined | Self::Published | Self::Played)
    }

    /// The client's parameters.
    fn notice(self) -> &'static str {
        match self {
            Self::Joins | Self::Joined => "joined",
            Self::Publishes | Self::Published => "publish_started",
            Self::Plays | Self::Played => "play_started",
        }
    }

    fn ways(self) -> &'static [Way] {
        match self {
            Self::Joins | Self::Joined => {
                &[Way::PictureOut, Way::PictureIn, Way::SoundOut, Way::SoundIn, Way::TextOut, Way::TextIn]
            }
            Self::Publishes | Self::Published => &[Way::PictureOut, Way::SoundOut, Way::TextOut],
            Self::Plays | Self::Played => &[Way::PictureIn, Way::SoundIn, Way::TextIn],
        }
    }
}

/// Runs the client in all roles.
pub fn rows(packages: &Path) -> Vec<Row> {
    let www = TempDir::new().expect("there is room");
    copy(&workspace().join("tests/interop/page"), www.path());
    copy(&packages.join("node_modules/@antmedia/webrtc_adaptor/dist/es"), &www.path().join("antmedia"));
    let server = Server::start(&["--www", www.path().to_str().expect("the path is text")]);
    let browser = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::whole() });
    let run = |role: Role| {
        let first = row(&server, &browser, role, 1);
        if !first.has_failed(KNOWN) {
            return first;
        }
        eprintln!("{NAME}: a second try");
        row(&server, &browser, role, 2).on_second_try()
    };
    Role::ALL.map(run).into()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    let entries = fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    for file in entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file()) {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("there is room");
    }
}

fn row(server: &Server, browser: &Browser, role: Role, try_number: u8) -> Row {
    let mut row = Row::named(NAME, role.name());
    let stream = format!("antmedia-{role:?}-{try_number}");
    let call = crate::guarded(|| place(server, browser, role, &stream));
    let wanted: Vec<(Way, bool)> = role.ways().iter().map(|way| (*way, true)).collect();
    let results = call.and_then(|(mut call, _page)| {
        let results = call.expect(&wanted);
        call.await_notice(role.notice())?;
        Ok(results.into_iter().map(|(way, it)| (way, it.map_err(|error| error + &call.troubles()))).collect())
    });
    let all: Vec<(Way, Result<(), String>)> = results
        .unwrap_or_else(|error: String| wanted.iter().map(|(way, _)| (*way, Err(error.clone()))).collect());
    for (way, result) in all {
        row.set(Column::Way(way), result);
    }
    row
}

/// Waits until the stream can be called: a publisher gets no notice of that.
fn await_stream(server: &Server, peer: &mut Peer, role: Role, stream: &str) -> Result<(), String> {
    if role == Role::Played {
        return wait_for(peer, "no_stream_exist", |peer| {
            peer.notices.iter().any(|it| it == "no_stream_exist")
        });
    }
    let mut socket = Socket::connect_to(&format!("{}LiveApp/websocket", server.ws_url()));
    wait_until(&format!("the stream {stream}"), PATIENCE, || {
        socket.send(&json!({ "command": "getStreamInfo", "streamId": stream }).to_string());
        socket.receive_text().contains("streamInformation").then_some(())
    });
    Ok(())
}

/// Starts both ends and the call.
fn place(server: &Server, browser: &Browser, role: Role, stream: &str) -> Result<(Call, Page), String> {
    let mut socket = Socket::register(server, &format!("{stream}-runner"));
    let waits = if role.is_called() { "&waits" } else { "" };
    let query = format!("stream={stream}&do={}{waits}", role.method());
    let page = browser.open(&format!("{}antmedia.html?{query}", server.url()));
    socket.set_deadline(PATIENCE);
    socket.try_receive_text().ok_or("Chromium shows no page")?;
    let mut peer = Peer::new(Link::Page(Box::new(socket)), log(stream)?);
    wait_for(&mut peer, "the client to connect", |peer| peer.registered)?;
    let ours = ["--video-pattern", "red", "--size", "320x240", "--fps", "15", "--send-text", OUR_HELLO];
    let begin = json!({ "do": role.method() });
    let client = if role.is_called() {
        peer.tell(&begin);
        await_stream(server, &mut peer, role, stream)?;
        Client::start(server, &[&["call", stream, "--id", "callbin"], &ours[..]].concat())
    } else {
        let mut client = Client::start(server, &[&["wait", "--id", stream], &ours[..]].concat());
        let ready = client.find(Instant::now() + PATIENCE, |event| event.name() == "waiting");
        ready.ok_or("callbin does not wait for calls")?;
        peer.tell(&begin);
        client
    };
    Ok((Call::new(client, peer), page))
}
