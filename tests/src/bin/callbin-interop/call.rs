//! One call between `callbin` and a peer of another stack, observed at both ends.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use callbin_tests::{Client, Server, client::Event, process::workspace};
use serde_json::{Value, json};

use crate::{
    flow::Flow,
    peer::{Peer, ufrag},
    stack::{Role, Stack},
};

/// The peer's text on the data channel.
const HELLO: &str = "hello from the peer";
/// `callbin`'s text.
pub const OUR_HELLO: &str = "hello from callbin";
/// The limit for each step.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A medium and its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The peer's video, as `callbin` decodes it.
    PictureOut,
    /// `callbin`'s video, as the peer decodes it.
    PictureIn,
    /// The peer's audio.
    SoundOut,
    /// `callbin`'s audio.
    SoundIn,
    /// The peer's text.
    TextOut,
    /// `callbin`'s text.
    TextIn,
}

impl Way {
    /// The ways of media.
    pub const MEDIA: [Self; 4] = [Self::PictureOut, Self::PictureIn, Self::SoundOut, Self::SoundIn];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::PictureOut => "picture →",
            Self::PictureIn => "picture ←",
            Self::SoundOut => "sound →",
            Self::SoundIn => "sound ←",
            Self::TextOut => "text →",
            Self::TextIn => "text ←",
        }
    }
}

/// The directions of an offer of the peer, for the peer program.
pub fn media(audio: &str, video: &str) -> Value {
    json!({ "audio": audio, "video": video, "data": true })
}

/// A running call.
pub struct Call {
    client: Client,
    peer: Peer,
    picture: Flow,
    sound: Flow,
    texts: Vec<String>,
    ended: Option<String>,
}

impl Call {
    /// Starts both ends and the call; `media` is the peer's offer, if it offers.
    pub fn place(server: &Server, stack: &mut Stack, role: Role, media: Value) -> Result<Self, String> {
        let (theirs, link) = stack.start(server)?;
        let mut peer = Peer::new(link, log(&format!("{theirs}-{role:?}"))?);
        wait_for(&mut peer, "the peer to register", |peer| peer.registered)?;

        let ours = format!("{theirs}-gst");
        let mut args = match role.peer_calls() {
            true => vec!["wait", "--id", &ours],
            false => vec!["call", &theirs, "--id", &ours],
        };
        args.extend((!role.peer_calls() && role.peer_offers()).then_some("--remote-offerer"));
        args.extend(["--video-pattern", "red", "--size", "320x240", "--fps", "15", "--send-text", OUR_HELLO]);
        let mut client = Client::start(server, &args);
        if role.peer_calls() {
            let ready = client.find(Instant::now() + PATIENCE, |event| event.name() == "waiting");
            ready.ok_or("callbin does not wait for calls")?;
            let offer = role.peer_offers();
            peer.tell(&json!({ "do": "call", "peer": ours, "offer": offer, "media": media }));
        }
        Ok(Self::new(client, peer))
    }

    /// Watches a call; the peer says something as soon as it can.
    pub fn new(client: Client, mut peer: Peer) -> Self {
        peer.tell(&json!({ "do": "say", "text": HELLO }));
        let (picture, sound) = (Flow::default(), Flow::default());
        Self { client, peer, picture, sound, texts: Vec::new(), ended: None }
    }

    /// Waits until the peer's program has reported this.
    pub fn await_notice(&mut self, notice: &str) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !self.peer.notices.iter().any(|it| it == notice) {
            if Instant::now() > until {
                return Err(format!("no {notice}{}", self.troubles()));
            }
            self.watch();
        }
        Ok(())
    }

    /// Waits until each way is open or closed as wanted; returns the result for each.
    pub fn expect(&mut self, wanted: &[(Way, bool)]) -> Vec<(Way, Result<(), String>)> {
        let until = Instant::now() + PATIENCE;
        while !wanted.iter().all(|(way, open)| self.is(*way, *open)) {
            if Instant::now() > until || (self.ended.is_some() && Instant::now() + PATIENCE / 2 > until) {
                break;
            }
            self.watch();
        }
        wanted.iter().map(|(way, open)| (*way, self.verdict(*way, *open))).collect()
    }

    /// Like `expect`, with one result: the error lists all failed ways.
    pub fn demand(&mut self, wanted: &[(Way, bool)]) -> Result<(), String> {
        let wrong = self.expect(wanted).into_iter().filter_map(|(way, it)| Some((way.name(), it.err()?)));
        let wrong: Vec<String> = wrong.map(|(way, error)| format!("{way} {error}")).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}{}", wrong.join(", "), self.troubles())) }
    }

    /// Lets the peer offer `media`, waits for the answer, and then for the wanted ways.
    pub fn renegotiate(&mut self, media: Value, wanted: &[(Way, bool)]) -> Result<(), String> {
        self.offer(media, false, wanted)
    }

    fn offer(&mut self, media: Value, restart: bool, wanted: &[(Way, bool)]) -> Result<(), String> {
        let before = self.peer.negotiated;
        self.peer.tell(&json!({ "do": "offer", "media": media, "restart": restart }));
        let until = Instant::now() + PATIENCE;
        while self.peer.negotiated == before {
            if Instant::now() > until || self.ended.is_some() {
                return Err(format!("the offer is not answered{}", self.troubles()));
            }
            self.watch();
        }
        for flow in [&mut self.picture, &mut self.sound, &mut self.peer.picture, &mut self.peer.sound] {
            flow.forget();
        }
        self.demand(wanted)
    }

    /// Lets the peer send a text, and waits for it.
    pub fn say(&mut self, text: &str) -> Result<(), String> {
        self.peer.tell(&json!({ "do": "say", "text": text }));
        let until = Instant::now() + PATIENCE;
        while !self.texts.iter().any(|heard| heard == text) {
            if Instant::now() > until || self.ended.is_some() {
                return Err(format!("text → does not come{}", self.troubles()));
            }
            self.watch();
        }
        Ok(())
    }

    /// Lets the peer restart ICE; fails unless both descriptions have new ICE credentials.
    pub fn restart_ice(&mut self, media: Value, wanted: &[(Way, bool)]) -> Result<(), String> {
        let fragments = |peer: &Peer| {
            [&peer.ours, &peer.theirs].map(|it| ufrag(it.as_ref()).unwrap_or_default().to_owned())
        };
        let before = fragments(&self.peer);
        self.offer(media, true, wanted)?;
        let after = fragments(&self.peer);
        if before[0] == after[0] || before[1] == after[1] {
            return Err("ICE was not restarted by both".into());
        }
        Ok(())
    }

    /// Handles the reports of both ends for a moment.
    fn watch(&mut self) {
        self.peer.listen(Instant::now() + Duration::from_millis(50));
        while let Some(event) = self.client.find(Instant::now() + Duration::from_millis(20), |_| true) {
            self.peer.note("callbin", event.json());
            self.take(&event);
        }
    }

    fn take(&mut self, event: &Event) {
        match event.name() {
            "stats" => measure(event, &mut self.picture, &mut self.sound),
            "data" => self.texts.push(event.text("/text").into()),
            "ended" => self.ended = Some(event.text("/reason").into()),
            "error" => self.ended = Some(event.text("/message").into()),
            _ => {}
        }
    }

    fn is(&self, way: Way, open: bool) -> bool {
        match (way, open) {
            (Way::TextOut, _) => self.texts.iter().any(|text| text == HELLO) == open,
            (Way::TextIn, _) => self.peer.texts.iter().any(|text| text == OUR_HELLO) == open,
            (_, true) => self.flow(way).is_some_and(Flow::flows),
            (_, false) => self.flow(way).is_some_and(Flow::is_still),
        }
    }

    fn flow(&self, way: Way) -> Option<&Flow> {
        match way {
            Way::PictureOut => Some(&self.picture),
            Way::PictureIn => Some(&self.peer.picture),
            Way::SoundOut => Some(&self.sound),
            Way::SoundIn => Some(&self.peer.sound),
            Way::TextOut | Way::TextIn => None,
        }
    }

    fn verdict(&self, way: Way, open: bool) -> Result<(), String> {
        if self.is(way, open) {
            return Ok(());
        }
        Err(self.flow(way).map_or("does not come", Flow::describe).into())
    }

    /// Further known errors, in parentheses.
    pub fn troubles(&self) -> String {
        let ended = self.ended.iter().map(|reason| format!("callbin ended: {reason}"));
        let troubles = self.peer.troubles.iter().take(2).map(|trouble| format!("the peer: {trouble}"));
        let all: Vec<String> = ended.chain(troubles).collect();
        if all.is_empty() { String::new() } else { format!(" ({})", all.join("; ")) }
    }
}

/// Takes what `callbin` receives: whether the picture is green, and the sound a tone of 1000 Hz.
pub fn measure(stats: &Event, picture: &mut Flow, sound: &mut Flow) {
    let green = stats.color().is_some_and(|[r, g, b]| g > 100 && g > 2 * r.max(b));
    picture.push(stats.number("/video/frames"), green);
    let (level, pitch) = (stats.number("/audio/level_db"), stats.number("/audio/pitch_hz"));
    let tone = level > -40.0 && level != 0.0 && (pitch - 1000.0).abs() < 50.0;
    sound.push(stats.number("/audio/buffers"), tone);
}

/// Waits for a report of the peer.
pub fn wait_for(peer: &mut Peer, what: &str, met: impl Fn(&Peer) -> bool) -> Result<(), String> {
    let until = Instant::now() + 2 * PATIENCE;
    while !met(peer) {
        if Instant::now() > until || !peer.troubles.is_empty() {
            return Err(format!("waited in vain for {what}: {:?}", peer.troubles));
        }
        peer.listen(Instant::now() + Duration::from_millis(50));
    }
    Ok(())
}

/// The log file of a call.
pub fn log(name: &str) -> Result<File, String> {
    let folder = workspace().join("target/interop");
    let path = folder.join(format!("{name}.log"));
    std::fs::create_dir_all(&folder)
        .and_then(|()| File::create(&path))
        .map_err(|error| format!("{}: {error}", path.display()))
}
