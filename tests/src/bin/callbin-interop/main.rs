//! `callbin-interop`: runs calls between `callbin` and other WebRTC stacks, in both directions, and prints a table of
//! what works in Markdown.
//!
//! ```text
//! callbin-interop [STACK…]
//! ```
//!
//! `scripts/interop.sh` installs the stacks first. Logs of all calls are in `target/interop/`.

mod antmedia;
mod call;
mod examples;
mod flow;
mod gstwebrtc;
mod http;
mod link;
mod machine;
mod peer;
mod rooms;
mod stack;
mod table;
mod webrtcsink;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::exit,
    thread,
};

use callbin_tests::{Server, process::workspace};
use serde_json::{Value, json};

use crate::{
    call::{Call, Way, media},
    examples::Example,
    http::HttpClient,
    stack::{Kind, Role, Stack},
    table::{Column, KNOWN, Row, Table},
    webrtcsink::Element,
};

const BOTH: &str = "sendrecv";

/// A renegotiation with its checks.
type Step = fn(&mut Call) -> Result<(), String>;

fn main() {
    let packages = std::env::var_os("CALLBIN_INTEROP").map(PathBuf::from);
    let packages = packages.expect("scripts/interop.sh says in CALLBIN_INTEROP where the packages are");
    let page = workspace().join("tests/interop/page");
    let server = Server::start(&["--www", page.to_str().expect("the path is text")]);
    let wanted: Vec<String> = std::env::args().skip(1).map(|name| name.to_lowercase()).collect();
    let known: Vec<String> = Kind::ALL
        .map(Kind::name)
        .into_iter()
        .chain(HttpClient::ALL.map(HttpClient::name))
        .chain([rooms::NAME, antmedia::NAME])
        .chain(Example::ALL.map(Example::name))
        .chain(Element::ALL.map(Element::name))
        .chain([gstwebrtc::NAME])
        .map(str::to_lowercase)
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        eprintln!("there is no {unknown}, but {}", known.join(", "));
        exit(2);
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name.to_lowercase());

    // A call mostly waits for the next second's statistics, so two at a time are no slower.
    let stacks = |kinds: &[Kind]| -> Vec<Row> {
        let stacks = kinds.iter().filter(|kind| is_wanted(kind.name()));
        stacks.flat_map(|kind| rows(&server, &mut Stack::new(*kind, &packages))).collect()
    };
    let mut table = Table::new(KNOWN);
    thread::scope(|scope| {
        let browsers = scope.spawn(|| stacks(&[Kind::Firefox, Kind::Chromium]));
        table.extend(stacks(&[Kind::Aiortc, Kind::Libdatachannel, Kind::Werift]));
        table.extend(browsers.join().expect("no panic gets this far"));
        if is_wanted(antmedia::NAME) {
            table.extend(antmedia::rows(&packages));
        }
    });
    let over_http = HttpClient::ALL.into_iter().filter(|it| is_wanted(it.name()));
    table.extend(over_http.flat_map(|client| http::run(client, &packages)));
    if is_wanted(rooms::NAME) {
        table.extend(rooms::rows(&server, &packages));
    }
    table.extend(Example::ALL.into_iter().filter(|it| is_wanted(it.name())).flat_map(examples::run));
    let elements = Element::ALL.into_iter().filter(|it| is_wanted(it.name()));
    table.extend(elements.flat_map(|element| webrtcsink::run(&server, &packages, element)));
    if is_wanted(gstwebrtc::NAME) {
        table.extend(gstwebrtc::run(&packages));
    }
    println!("{}\n\n{table}", machine::describe(&packages));
    // `exit` drops nothing: the server would go on.
    drop(server);
    exit(i32::from(table.has_failed()));
}

fn rows(server: &Server, stack: &mut Stack) -> Vec<Row> {
    let run = |role| {
        let first = row(server, stack, role);
        if !first.has_failed(KNOWN) {
            return first;
        }
        // Other stacks sometimes fail, too. A row fails only if it fails twice.
        eprintln!("{}: a second try", stack.name());
        row(server, stack, role).on_second_try()
    };
    Role::ALL.map(run).into()
}

/// Runs all calls of one row.
fn row(server: &Server, stack: &mut Stack, role: Role) -> Row {
    let mut row = Row::new(stack.name(), role);
    let mut call = place(server, stack, role, media(BOTH, BOTH));
    for (way, result) in first_looks(&mut call) {
        row.set(Column::Way(way), result);
    }
    // The side that offers first determines the m-lines; which side calls makes no difference from here on.
    if !matches!(role, Role::CallsOffers | Role::CalledAnswers) {
        return row;
    }
    let mut steps: Vec<(Column, Step)> =
        vec![(Column::Hold, hold), (Column::Removed, removed), (Column::Direction, direction)];
    steps.extend(stack.restarts_ice().then_some((Column::Restart, restart as Step)));
    for (column, step) in steps {
        // A call that failed is not used for another test.
        if call.is_err() || row.failed_last() {
            call = place(server, stack, role, media(BOTH, BOTH)).and_then(connected);
        }
        row.set(column, guarded(|| call.as_mut().map_err(|error| error.clone()).and_then(step)));
    }
    drop(call);
    if role == Role::CallsOffers {
        row.set(Column::MediaLater, guarded(|| media_later(server, stack)));
        row.set(Column::CameraLater, guarded(|| camera_later(server, stack)));
    }
    row
}

/// Turns a panic of a helper into an error.
fn guarded<T>(test: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|_| Err("see above".into()))
}

fn place(server: &Server, stack: &mut Stack, role: Role, media: Value) -> Result<Call, String> {
    guarded(|| Call::place(server, stack, role, media))
}

/// Checks all ways in a new call.
fn first_looks(call: &mut Result<Call, String>) -> Vec<(Way, Result<(), String>)> {
    let all = everything();
    match call {
        Ok(call) => {
            let looks = guarded(|| Ok(call.expect(&all))).unwrap_or_default();
            looks.into_iter().map(|(way, it)| (way, it.map_err(|error| error + &call.troubles()))).collect()
        }
        Err(error) => all.iter().map(|(way, _)| (*way, Err(error.clone()))).collect(),
    }
}

fn connected(mut call: Call) -> Result<Call, String> {
    call.demand(&everything()).map(|()| call)
}

fn everything() -> Vec<(Way, bool)> {
    [&Way::MEDIA[..], &[Way::TextOut, Way::TextIn]].concat().into_iter().map(|way| (way, true)).collect()
}

/// All media, each as given.
fn ways(picture_out: bool, picture_in: bool, sound: bool) -> [(Way, bool); 4] {
    [
        (Way::PictureOut, picture_out),
        (Way::PictureIn, picture_in),
        (Way::SoundOut, sound),
        (Way::SoundIn, sound),
    ]
}

/// All media inactive, then active again.
fn hold(call: &mut Call) -> Result<(), String> {
    call.renegotiate(media("inactive", "inactive"), &ways(false, false, false))?;
    call.renegotiate(media(BOTH, BOTH), &ways(true, true, true))
}

/// The video m-line rejected, then a new one. The same for audio, whose m-line names the transport of all; the data channel
/// remains.
fn removed(call: &mut Call) -> Result<(), String> {
    call.renegotiate(media(BOTH, "stopped"), &ways(false, false, true))?;
    call.renegotiate(media(BOTH, BOTH), &ways(true, true, true))?;
    call.renegotiate(media("stopped", BOTH), &ways(true, true, false))?;
    call.say("still here")?;
    call.renegotiate(media(BOTH, BOTH), &ways(true, true, true))
}

/// Video in one direction, then the other, then both.
fn direction(call: &mut Call) -> Result<(), String> {
    call.renegotiate(media(BOTH, "sendonly"), &ways(true, false, true))?;
    call.renegotiate(media(BOTH, "recvonly"), &ways(false, true, true))?;
    call.renegotiate(media(BOTH, BOTH), &ways(true, true, true))
}

/// An ICE restart.
fn restart(call: &mut Call) -> Result<(), String> {
    call.restart_ice(media(BOTH, BOTH), &ways(true, true, true))
}

/// Only data at first, so that its m-line is the first; then all media.
fn media_later(server: &Server, stack: &mut Stack) -> Result<(), String> {
    let mut call = Call::place(server, stack, Role::CallsOffers, json!({ "data": true }))?;
    call.demand(&[(Way::TextOut, true), (Way::TextIn, true)])?;
    call.renegotiate(media(BOTH, BOTH), &ways(true, true, true))
}

/// A camera that is turned on during the call.
fn camera_later(server: &Server, stack: &mut Stack) -> Result<(), String> {
    let mut call = Call::place(server, stack, Role::CallsOffers, media(BOTH, "recvonly"))?;
    call.demand(&[(Way::PictureIn, true), (Way::SoundOut, true), (Way::SoundIn, true)])?;
    call.renegotiate(media(BOTH, BOTH), &ways(true, true, true))
}
