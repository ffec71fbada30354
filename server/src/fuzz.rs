//! The fuzz targets: each takes any bytes and panics if something is wrong. `fuzz/` calls them with new bytes, the
//! tests below with those of its corpus.

mod antmedia;
mod edge;
mod http;
mod hub;
#[cfg(test)]
mod mutate;
mod node;
mod rooms;
mod webrtcsink;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str,
};

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::{ClientMessage, PeerId, RoomId, ServerMessage, Signal};
use serde::de::IgnoredAny;

pub use self::{
    antmedia::antmedia,
    edge::{proxy, token, upgrade},
    http::http_dialects,
    hub::hub,
    node::node,
    rooms::{action, rooms},
    webrtcsink::webrtcsink,
};
use crate::{
    delivery::payload::Kind,
    dialect::{Dialect, Opening, Step, translator},
    hub::{Joined, Notice},
};

/// The address that requests come from: a trusted proxy.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);

/// Messages of peers, of servers, and of peers to each other. A parsed message must survive being written and parsed
/// again.
pub fn protocol(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(message) = ClientMessage::parse(text) {
        let written = message.to_string();
        assert_eq!(ClientMessage::parse(&written).as_ref(), Ok(&message), "{written:?}");
    }
    if let Ok(message) = ServerMessage::parse(text) {
        let written = message.to_string();
        assert_eq!(ServerMessage::parse(&written).as_ref(), Ok(&message), "{written:?}");
    }
    let _ = Signal::parse(text);
    let _ = Kind::of(text);
}

/// Reads the frames of a client, one a line, and accepts every join at once. Returns what the client gets, which must
/// be JSON.
fn translate(dialect: Dialect, opening: &Opening, text: &str) -> Vec<Utf8Bytes> {
    let mut translator = translator(dialect, opening);
    let (mut steps, mut frames) = (Vec::new(), Vec::new());
    translator.open(&mut steps);
    let room = RoomId::new("r").ok();
    for line in text.lines().take(256) {
        translator.read(Message::text(line), &mut steps);
        if let Some(room) = room.clone() {
            let members = vec![PeerId::guest(2, 1)];
            translator.write(Notice::Joined(Box::new(Joined { room, members })), &mut frames);
        }
    }
    let said = steps.into_iter().filter_map(|step| match step {
        Step::Say(text) | Step::Refuse(_, text) => Some(text),
        _ => None,
    });
    let texts: Vec<Utf8Bytes> =
        said.chain(frames.into_iter().filter_map(|frame| frame.into_text().ok())).collect();
    for text in &texts {
        assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        panic::catch_unwind,
        path::{Path, PathBuf},
        time::{Duration, Instant},
    };

    use super::{mutate::Random, *};

    type Target = fn(&[u8]);

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
    }

    /// Runs every file of a target's corpus.
    #[track_caller]
    fn replay(name: &str, target: Target) {
        let folder = folder(name);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            println!("{}", file.display());
            target(&fs::read(file).unwrap());
        }
    }

    /// For machines without libFuzzer: `FUZZ_SECONDS` for each target, `FUZZ_SEED` to repeat a run.
    #[test]
    #[ignore = "runs for as long as it is asked to"]
    fn mutations_of_the_corpus() {
        let number = |name, default| env::var(name).map_or(default, |text| text.parse().unwrap());
        let (time, seed) = (Duration::from_secs(number("FUZZ_SECONDS", 10)), number("FUZZ_SEED", 1));
        let targets: [(&str, Target); 11] = [
            ("protocol", protocol),
            ("antmedia", antmedia),
            ("http_dialects", http_dialects),
            ("upgrade", upgrade),
            ("token", token),
            ("proxy", proxy),
            ("rooms", rooms),
            ("action", action),
            ("webrtcsink", webrtcsink),
            ("node", node),
            ("hub", hub),
        ];
        for (name, target) in targets {
            let mut files: Vec<_> =
                fs::read_dir(folder(name)).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            let corpus: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
            let (mut random, start, mut runs) = (Random::new(seed), Instant::now(), 0);
            while start.elapsed() < time {
                let input = mutate::mutated(&corpus, &mut random);
                if catch_unwind(|| target(&input)).is_err() {
                    let found = folder(name).join(format!("found-{seed}-{runs}"));
                    fs::write(&found, &input).unwrap();
                    panic!("see {}", found.display());
                }
                runs += 1;
            }
            println!("{name}: {runs} runs");
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
    fn corpus_of_node() {
        replay("node", node);
    }

    #[test]
    fn corpus_of_hub() {
        replay("hub", hub);
    }
}
