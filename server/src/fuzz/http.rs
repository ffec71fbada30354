//! The dialects over HTTP.

use std::str;

use callbin_protocol::PeerId;

use crate::{
    dialect::{Dialect, http::Client, rest, whip},
    hub::{Call, Incoming, Key, Notice, Payload},
};

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
        Err(_) => Client::caller(Dialect::Whip, PeerId::guest(1, 1), None),
    };
    let (key, peer) = (Key::from("call"), PeerId::guest(2, 1));
    let call = Call {
        key: key.clone(),
        uid: PeerId::guest(1, 1),
        peer,
        dialect: Dialect::Text,
        is_caller: true,
        is_asked: false,
        media: None,
        max_bitrate: None,
        like: None,
    };
    client.take(Notice::Called(Box::new(call)));
    for line in body.lines().chain([body]) {
        let payload = Payload::text_from(line.into(), 0);
        client.take(Notice::Signal(Box::new(Incoming { key: key.clone(), payload })));
    }
    let tag = client.etag();
    let _ =
        (whip::patch(&mut client, kind, Some(&tag), body), whip::patch(&mut client, kind, Some(path), body));
    let m_lines = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    if let (Some(reply), Some(leg)) = (whip::created(&client, path, &[]), client.leg()) {
        let answer = leg.answer().unwrap_or_default();
        assert_eq!(m_lines(&reply.body), m_lines(answer), "candidates add no m-lines");
    }
}
