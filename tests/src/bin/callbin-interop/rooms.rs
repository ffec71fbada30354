//! aiortc in a JSON room, with `callbin` in the same room by the text protocol. The one that joins offers.

use std::{path::Path, process::Command, time::Instant};

use callbin_tests::{Client, Server, process::workspace};

use crate::{
    call::{Call, OUR_HELLO, PATIENCE, log, wait_for},
    link::Link,
    peer::Peer,
    table::{Column, KNOWN, Row},
};

/// The name in the table.
pub const NAME: &str = "aiortc-rooms";

/// Who joins last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `callbin` is in the room, and aiortc joins.
    Joins,
    /// aiortc is in the room, and `callbin` joins.
    Joined,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Joins => "joins, offers",
            Self::Joined => "has joined, answers",
        }
    }
}

/// Runs both orders of joining.
pub fn rows(server: &Server, packages: &Path) -> Vec<Row> {
    let run = |role| {
        let first = row(server, packages, role, 1);
        if !first.has_failed(KNOWN) {
            return first;
        }
        eprintln!("{NAME}: a second try");
        row(server, packages, role, 2).on_second_try()
    };
    [Role::Joins, Role::Joined].map(run).into()
}

fn row(server: &Server, packages: &Path, role: Role, try_number: u8) -> Row {
    let mut row = Row::named(NAME, role.name());
    let room = format!("{NAME}-{role:?}-{try_number}");
    let mut call = crate::guarded(|| join(server, packages, role, &room));
    for (way, result) in crate::first_looks(&mut call) {
        row.set(Column::Way(way), result);
    }
    row
}

/// Starts both members, the second when the first is in the room.
fn join(server: &Server, packages: &Path, role: Role, room: &str) -> Result<Call, String> {
    let media = ["--video-pattern", "red", "--size", "320x240", "--fps", "15", "--send-text", OUR_HELLO];
    let ours = || Client::start(server, &[&["room", room, "--id", "callbin"], &media[..]].concat());
    let theirs = || -> Result<Peer, String> {
        let mut command = Command::new(packages.join("python/bin/python"));
        command.arg(workspace().join("tests/interop/aiortc_rooms.py"));
        command.args([&server.ws_url(), room, NAME]);
        let mut peer = Peer::new(Link::program(&mut command), log(room)?);
        wait_for(&mut peer, "the peer to join", |peer| peer.registered)?;
        Ok(peer)
    };
    match role {
        Role::Joins => {
            let mut client = ours();
            let joined = client.find(Instant::now() + PATIENCE, |event| event.name() == "joined");
            joined.ok_or("callbin does not join the room")?;
            Ok(Call::new(client, theirs()?))
        }
        Role::Joined => {
            let peer = theirs()?;
            Ok(Call::new(ours(), peer))
        }
    }
}
