//! What the dialects over HTTP have in common: a client's place at the hub, with one registration or one call, and the
//! answers to its requests. Pure: the sockets, the deadlines and the ids of calls are in [`edge::calls`](crate::edge).

use std::collections::VecDeque;

use async_tungstenite::tungstenite::Utf8Bytes;
use callbin_protocol::{
    Candidate, PeerId, SdpType, Signal, fold_candidates, node::Reason, ufrags, with_credentials,
};
use serde_json::{Value, json};

use super::Dialect;
use crate::{
    bridge::Inbound,
    hub::{About, Call, Card, Key, Notice, Payload, Refusal, Request, Start, Use},
};

/// How the ids of calls begin, so that they are never taken for those of peers.
pub const CALL: &str = "call.";

/// The candidates of the other side that are kept for the client. Beyond this, the oldest are dropped.
const MAX_CANDIDATES: usize = 256;

/// The most bytes of candidates that are kept for a client.
const MAX_KEPT: usize = 64 * 1024;

/// The ICE user name fragments that are remembered of an offer.
const MAX_UFRAGS: usize = 16;

/// An HTTP client's place at the hub: a caller with one call, or a registration that can be called.
#[derive(Debug)]
pub struct Client {
    dialect: Dialect,
    /// What the client does first.
    opening: Request,
    /// The caller's offer, until the call has started.
    first: Option<String>,
    ufrags: Vec<Box<str>>,
    refusal: Option<Refusal>,
    is_registered: bool,
    leg: Option<Leg>,
    is_over: bool,
}

/// One side of a call.
#[derive(Debug)]
pub struct Leg {
    key: Key,
    uid: PeerId,
    peer: PeerId,
    /// The other side is an HTTP client, too.
    is_peer_http: bool,
    /// The other side is a media node.
    is_at_node: bool,
    /// This side's offer, if the other side is a media node: ICE restarts with it.
    offer: Option<String>,
    inbound: Inbound,
    wanted: Option<Wanted>,
    /// The number of offers and requests for one.
    wants: u64,
    answer: Option<String>,
    /// This side has offered, and has no answer yet.
    is_offering: bool,
    /// An offer of either side was answered.
    was_answered: bool,
    candidates: VecDeque<Candidate>,
    /// The bytes of the candidates.
    kept: usize,
    /// The number of the first of them.
    first: u64,
    /// The m-lines whose candidates have ended.
    ended: Vec<Option<u32>>,
}

/// What the other side waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// An answer to this offer.
    Answer(String),
    /// An offer.
    Offer,
}

impl Client {
    /// A client that calls a peer. Without an offer, the peer is asked for one.
    pub fn caller(dialect: Dialect, to: PeerId, offer: Option<String>) -> Self {
        let start = if offer.is_some() { Start::AtOnce } else { Start::Never };
        let ufrags = offer.iter().flat_map(|sdp| ufrags(sdp)).take(MAX_UFRAGS).map(Box::from).collect();
        let media = match dialect {
            Dialect::Whip => Some(Use::Publish),
            Dialect::Whep => Some(Use::Play),
            _ => None,
        };
        let opening = Request::Call { key: "call".into(), to, from: None, start, media, only: None };
        Self::new(dialect, opening, offer, ufrags)
    }

    /// A client that registers an id and takes one call at a time.
    pub fn callee(uid: PeerId) -> Self {
        let opening = Request::Register { uid, card: Card::default() };
        Self::new(Dialect::Rest, opening, None, Vec::new())
    }

    fn new(dialect: Dialect, opening: Request, first: Option<String>, ufrags: Vec<Box<str>>) -> Self {
        let (refusal, is_registered, leg, is_over) = (None, false, None, false);
        Self { dialect, opening, first, ufrags, refusal, is_registered, leg, is_over }
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The first request: a call or a registration.
    pub fn opening(&self) -> &Request {
        &self.opening
    }

    /// Whether it is here to be called.
    pub fn is_callee(&self) -> bool {
        matches!(self.opening, Request::Register { .. })
    }

    /// Takes a notice. Returns the request that follows from it: the caller's offer.
    pub fn take(&mut self, notice: Notice) -> Option<Request> {
        match notice {
            Notice::Registered(_) => self.is_registered = true,
            Notice::Called(call) => return self.start(*call),
            Notice::Refused(refused) => {
                if matches!(refused.about, About::Register | About::Call) {
                    self.refusal = Some(refused.refusal);
                }
            }
            Notice::Signal(signal) => {
                if let Some(leg) = self.leg.as_mut().filter(|leg| leg.key == signal.key) {
                    leg.take(signal.payload);
                }
            }
            Notice::Ended(ended) => {
                if self.leg.as_ref().is_some_and(|leg| leg.key == ended.key) {
                    self.refusal = ended.reason;
                    self.end();
                }
            }
            // It is in no room, and asks no questions.
            Notice::Joined(_)
            | Notice::Change(_)
            | Notice::Message(_)
            | Notice::Members(_)
            | Notice::Found(_)
            | Notice::Peers(_)
            | Notice::Presence(_)
            | Notice::Attached => {}
        }
        None
    }

    fn start(&mut self, call: Call) -> Option<Request> {
        let leg = self.leg.insert(Leg::new(call));
        let offer = self.first.take()?;
        leg.is_offering = true;
        leg.offer = leg.is_at_node.then(|| offer.clone());
        Some(signal(self.dialect, leg.key.clone(), Signal::Sdp { kind: SdpType::Offer, sdp: offer }))
    }

    /// The call has ended. A registration stays.
    pub fn end(&mut self) {
        self.leg = None;
        self.is_over = !self.is_callee();
    }

    /// Why the call or the registration was refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether the id can be called.
    pub fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Whether nothing can follow: the caller's call was refused or has ended, or the registration was refused.
    pub fn is_over(&self) -> bool {
        self.is_over || self.refusal.is_some()
    }

    /// The call, while there is one.
    pub fn leg(&self) -> Option<&Leg> {
        self.leg.as_ref()
    }

    /// The entity-tag of the ICE session: the offer's user name fragment, which consists of characters for tags.
    pub fn etag(&self) -> String {
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let ufrag: String =
            self.ufrags.first().map(|ufrag| ufrag.chars().filter(fits).collect()).unwrap_or_default();
        format!("\"ice-{ufrag}\"")
    }

    /// Whether these credentials belong to the ICE session of the offer. Without any in the offer, all do.
    pub fn knows_ufrag(&self, ufrag: &str) -> bool {
        self.ufrags.is_empty() || self.ufrags.iter().any(|known| **known == *ufrag)
    }

    /// The client offers within the call.
    pub fn offer(&mut self, sdp: String) -> Option<Request> {
        let leg = self.leg.as_mut()?;
        (leg.is_offering, leg.answer) = (true, None);
        if leg.wanted == Some(Wanted::Offer) {
            leg.wanted = None;
        }
        Some(signal(self.dialect, leg.key.clone(), Signal::Sdp { kind: SdpType::Offer, sdp }))
    }

    /// The client answers the other side's offer. `None`: there is none.
    pub fn answer(&mut self, sdp: String) -> Option<Request> {
        let leg = self.leg.as_mut().filter(|leg| matches!(leg.wanted, Some(Wanted::Answer(_))))?;
        (leg.wanted, leg.was_answered) = (None, true);
        Some(signal(self.dialect, leg.key.clone(), Signal::Sdp { kind: SdpType::Answer, sdp }))
    }

    /// Offers again with these ICE credentials and candidates. The credentials become those of the session. `None`: the other
    /// side cannot restart ICE.
    pub fn restart(&mut self, ufrag: &str, pwd: &str, candidates: &[Candidate]) -> Option<Request> {
        let leg = self.leg.as_ref()?;
        let offer = fold_candidates(&with_credentials(leg.offer.as_deref()?, ufrag, pwd), candidates, false);
        let request = self.offer(offer)?;
        self.ufrags = vec![ufrag.into()];
        Some(request)
    }

    /// The requests that bring the client's candidates to the other side.
    pub fn trickle(&self, candidates: Vec<Candidate>) -> Vec<Request> {
        let Some(leg) = &self.leg else { return Vec::new() };
        let requests = candidates
            .into_iter()
            .map(|candidate| signal(self.dialect, leg.key.clone(), Signal::Ice(candidate)));
        requests.collect()
    }
}

fn signal(dialect: Dialect, key: Key, signal: Signal) -> Request {
    Request::Signal { key, payload: Payload::new(dialect, Utf8Bytes::default(), signal) }
}

impl Leg {
    fn new(call: Call) -> Self {
        let wanted = call.is_asked.then_some(Wanted::Offer);
        Self {
            key: call.key,
            uid: call.uid,
            peer: call.peer,
            is_peer_http: call.dialect.is_http(),
            is_at_node: call.dialect == Dialect::Node,
            offer: None,
            inbound: Inbound::default(),
            wants: u64::from(wanted.is_some()),
            wanted,
            answer: None,
            is_offering: false,
            was_answered: false,
            candidates: VecDeque::new(),
            kept: 0,
            first: 0,
            ended: Vec::new(),
        }
    }

    fn take(&mut self, payload: Payload) {
        let Some(signal) = payload.into_signal() else { return };
        for signal in self.inbound.take(signal) {
            match signal {
                Signal::OfferRequest => self.want(Wanted::Offer),
                Signal::Sdp { kind: SdpType::Offer, sdp } => self.want(Wanted::Answer(sdp)),
                Signal::Sdp { kind: SdpType::Answer, sdp } => {
                    self.answer = Some(sdp);
                    (self.is_offering, self.was_answered) = (false, true);
                }
                Signal::Ice(candidate) => self.keep(candidate),
            }
        }
    }

    fn want(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
        self.wants += 1;
    }

    fn keep(&mut self, candidate: Candidate) {
        if candidate.is_end() && self.ended.len() < MAX_CANDIDATES {
            self.ended.push(candidate.sdp_m_line_index);
        }
        self.kept += candidate.candidate.len();
        self.candidates.push_back(candidate);
        while self.candidates.len() > MAX_CANDIDATES || self.kept > MAX_KEPT {
            let Some(oldest) = self.candidates.pop_front() else { break };
            self.kept -= oldest.candidate.len();
            self.first += 1;
        }
    }

    /// This side's name for the call.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The id of this side.
    pub fn uid(&self) -> &PeerId {
        &self.uid
    }

    /// The id of the other side.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// Whether the other side is a media node.
    pub fn is_at_node(&self) -> bool {
        self.is_at_node
    }

    /// Whether this side has offered, and has no answer yet.
    pub fn is_offering(&self) -> bool {
        self.is_offering
    }

    /// Whether the end of the other side's connection will end the call. No connection shows that an HTTP client is gone.
    pub fn is_bound_to_peer(&self) -> bool {
        !self.is_peer_http
    }

    /// What the other side waits for, and its number.
    pub fn wanted(&self) -> Option<(u64, &Wanted)> {
        self.wanted.as_ref().map(|wanted| (self.wants, wanted))
    }

    /// The other side's answer to the latest offer.
    pub fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// Whether an offer of either side was answered.
    pub fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// The other side's candidates from this number on, and the number of the next one.
    pub fn candidates(&self, from: u64) -> (Vec<&Candidate>, u64) {
        let next = self.first + self.candidates.len() as u64;
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.candidates.iter().skip(skip).collect(), next)
    }

    /// Whether the other side has ended the candidates of each m-line that has any. A media node's are in its answer.
    pub fn is_gathered(&self) -> bool {
        if self.is_at_node {
            return true;
        }
        let mut open =
            self.candidates.iter().filter(|candidate| !self.ended.contains(&candidate.sdp_m_line_index));
        !self.ended.is_empty() && open.next().is_none()
    }
}

/// An answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers except the content type.
    pub headers: Vec<(&'static str, String)>,
    /// The content type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), content_type: "text/plain; charset=utf-8", body: String::new() }
    }

    /// A line of text.
    pub fn text(status: u16, text: &str) -> Self {
        Self { body: format!("{text}\n"), ..Self::empty(status) }
    }

    /// JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self { body: format!("{body}\n"), content_type: "application/json", ..Self::empty(status) }
    }

    /// `{"error": …}`.
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "error": text }))
    }

    /// A session description.
    pub fn sdp(status: u16, sdp: String) -> Self {
        Self { body: sdp, content_type: "application/sdp", ..Self::empty(status) }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// The status code for a refusal, its text, and the seconds after which another try makes sense.
pub fn refused(refusal: &Refusal) -> (u16, String, Option<u32>) {
    match refusal {
        Refusal::UidInvalid => (400, "the id is invalid".into(), None),
        Refusal::UidTaken => (409, "the id is taken".into(), None),
        Refusal::UidNotAllowed => (403, "the token does not allow the id".into(), None),
        Refusal::PeerNotFound(id) => (404, format!("there is no peer {id:?}"), None),
        Refusal::PeerBusy(id) => (409, format!("the peer {id:?} is busy"), Some(5)),
        Refusal::TooManySessions | Refusal::TooManyIds => (429, "too many calls from here".into(), Some(5)),
        Refusal::StreamNotAllowed => (403, "the token does not allow the stream".into(), None),
        Refusal::TooManyStreams => (429, "too many published streams from here".into(), Some(5)),
        Refusal::TooManyViewers => (429, "too many played streams from here".into(), Some(5)),
        Refusal::NoCapacity => (503, "no media node has capacity left".into(), Some(5)),
        Refusal::NodeLost => (503, "the media node is gone, try again".into(), Some(1)),
        Refusal::Replaced => (409, "a new publisher has taken over the stream".into(), None),
        Refusal::Node(reason) => ended_by_node(*reason),
        Refusal::Unavailable => (503, "not available, try again later".into(), Some(5)),
        Refusal::Other(text) => (403, text.clone(), None),
        Refusal::NobodyOffers => (409, "the peer only receives, and so does this one".into(), None),
        Refusal::NoSuchCall
        | Refusal::PeerNotInRoom(_)
        | Refusal::InvalidRoomId(_)
        | Refusal::AlreadyInRoom
        | Refusal::NotInRoom
        | Refusal::RoomFull(_)
        | Refusal::TooManyWatchers
        | Refusal::TooManyRooms => (404, "there is no such call".into(), None),
    }
}

/// The status code, the text and the pause for a call that a media node has ended before its answer.
fn ended_by_node(reason: Reason) -> (u16, String, Option<u32>) {
    let (status, text, retry) = match reason {
        Reason::Unacceptable => (422, "the media node cannot use the description", None),
        Reason::Full => (503, "the media node has no capacity left", Some(5)),
        Reason::Limit => (429, "the media node's limits are exceeded", Some(5)),
        Reason::Closed => (403, "an operator has ended the stream", None),
        Reason::Gone | Reason::Left => (409, "there is no such stream now", Some(5)),
        Reason::Failed | Reason::Internal | Reason::Other => (503, "the media node has failed", Some(5)),
    };
    (status, text.into(), retry)
}

/// Whether the text can be a session description. What it says is for the other side to judge.
pub fn is_sdp(text: &str) -> bool {
    text.starts_with("v=0") && text.lines().any(|line| line.starts_with("m="))
}

/// A content type without its parameters, in lower case.
pub fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{super::testing::Net, *};
    use crate::hub::{Ended, Incoming, Refused};

    pub(crate) const OFFER: &str =
        "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\na=ice-ufrag:EsAw\r\nm=video 9 x 0\r\na=mid:v\r\n";

    pub(crate) fn id(text: &str) -> PeerId {
        PeerId::new(text).unwrap()
    }

    pub(crate) fn called(key: &str, is_caller: bool, is_asked: bool) -> Notice {
        let (uid, peer) = (id("me"), id("other"));
        Notice::Called(Box::new(Call {
            key: key.into(),
            uid,
            peer,
            dialect: Dialect::Text,
            is_caller,
            is_asked,
            media: None,
            max_bitrate: None,
            like: None,
        }))
    }

    pub(crate) fn from_text(key: &str, text: &str) -> Notice {
        let payload = Payload::text_from(text.into(), 0);
        Notice::Signal(Box::new(Incoming { key: key.into(), payload }))
    }

    pub(crate) fn sdp(kind: &str) -> String {
        json!({ "sdp": { "type": kind, "sdp": OFFER } }).to_string()
    }

    pub(crate) fn ended(key: &str) -> Notice {
        Notice::Ended(Box::new(Ended { key: key.into(), peer: id("other"), stays: true, reason: None }))
    }

    fn what(request: Option<Request>) -> Option<Signal> {
        match request? {
            Request::Signal { payload, .. } => payload.into_signal(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_caller_offers_when_its_call_has_started() {
        let mut client = Client::caller(Dialect::Whip, id("cam"), Some(OFFER.into()));
        assert!(
            matches!(client.opening(), Request::Call { start: Start::AtOnce, .. }) && !client.is_callee()
        );
        let offer = what(client.take(called("call", true, false)));
        assert_eq!(offer, Some(Signal::Sdp { kind: SdpType::Offer, sdp: OFFER.into() }));
        assert_eq!(client.leg().and_then(Leg::answer), None);
        // The candidate came before the answer: it is held until then.
        client.take(from_text("call", r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#));
        assert_eq!(client.leg().unwrap().candidates(0).1, 0);
        client.take(from_text("call", &sdp("answer")));
        let leg = client.leg().unwrap();
        assert_eq!((leg.answer(), leg.was_answered()), (Some(OFFER), true));
        assert_eq!(leg.candidates(0).0[0].sdp_mid.as_deref(), Some("v"));
        client.take(from_text("other call", &sdp("answer")));
        client.take(ended("other call"));
        assert!(!client.is_over());
        client.take(ended("call"));
        assert!(client.is_over() && client.leg().is_none());
    }

    #[test]
    fn without_an_offer_the_other_side_is_asked_for_one() {
        let client = Client::caller(Dialect::Rest, id("cam"), None);
        assert!(matches!(client.opening(), Request::Call { start: Start::Never, .. }));
        assert_eq!(client.etag(), "\"ice-\"");
        assert!(client.knows_ufrag("any"));
    }

    #[test]
    fn a_callee_answers_once_per_offer_and_stays() {
        let mut client = Client::callee(id("cam"));
        client.take(Notice::Registered(id("cam")));
        assert!(client.is_registered() && client.answer(OFFER.into()).is_none(), "no call");
        client.take(called("cam", false, true));
        assert_eq!(client.leg().unwrap().wanted(), Some((1, &Wanted::Offer)));
        assert!(client.answer(OFFER.into()).is_none(), "no offer");
        assert!(client.offer(OFFER.into()).is_some());
        assert_eq!(client.leg().unwrap().wanted(), None);
        client.take(from_text("cam", &sdp("answer")));
        client.take(from_text("cam", &sdp("offer")));
        assert_eq!(client.leg().unwrap().wanted(), Some((2, &Wanted::Answer(OFFER.into()))));
        assert!(client.answer(OFFER.into()).is_some() && client.answer(OFFER.into()).is_none(), "once");
        client.take(from_text("cam", "OFFER_REQUEST"));
        assert_eq!(client.leg().unwrap().wanted(), Some((3, &Wanted::Offer)));
        client.take(ended("cam"));
        assert!(!client.is_over() && client.leg().is_none(), "it can be called again");
    }

    #[test]
    fn candidates_are_numbered_and_bounded() {
        let mut client = Client::caller(Dialect::Rest, id("cam"), Some(OFFER.into()));
        assert!(client.trickle(vec![Candidate::default()]).is_empty(), "no call yet");
        client.take(called("call", true, false));
        assert_eq!(client.trickle(vec![Candidate::default(); 2]).len(), 2);
        client.take(from_text("call", &sdp("answer")));
        for number in 0..300 {
            let text = format!("{{\"ice\":{{\"candidate\":\"candidate:{number}\",\"sdpMLineIndex\":0}}}}");
            client.take(from_text("call", &text));
        }
        let leg = client.leg().unwrap();
        let (kept, next) = leg.candidates(0);
        assert_eq!((kept.len(), next, &kept[0].candidate[..]), (MAX_CANDIDATES, 300, "candidate:44"));
        assert_eq!(leg.candidates(299).0.len(), 1);
        assert_eq!(leg.candidates(u64::MAX), (vec![], 300));
        assert!(!leg.is_gathered());
        client.take(from_text("call", r#"{"ice":{"candidate":"","sdpMLineIndex":0}}"#));
        assert!(client.leg().unwrap().is_gathered());
        client.take(from_text("call", r#"{"ice":{"candidate":"candidate:x","sdpMLineIndex":1}}"#));
        assert!(!client.leg().unwrap().is_gathered(), "another m-line");
    }

    #[test]
    fn garbage_changes_nothing() {
        let mut client = Client::caller(Dialect::Rest, id("cam"), Some(OFFER.into()));
        client.take(called("call", true, false));
        for text in ["", "{}", "hello", r#"{"sdp":1}"#] {
            client.take(from_text("call", text));
        }
        let leg = client.leg().unwrap();
        assert_eq!((leg.answer(), leg.wanted(), leg.candidates(0).1), (None, None, 0));
    }

    #[test]
    fn a_refusal_ends_it() {
        let mut client = Client::caller(Dialect::Whip, id("cam"), Some(OFFER.into()));
        let refused = |about| {
            Notice::Refused(Box::new(Refused {
                about,
                key: "call".into(),
                refusal: Refusal::PeerBusy("cam".into()),
                payload: None,
            }))
        };
        client.take(refused(About::Signal));
        assert!(!client.is_over(), "a signal that came too late");
        client.take(refused(About::Call));
        assert!(client.is_over() && client.refusal() == Some(&Refusal::PeerBusy("cam".into())));
    }

    #[test]
    fn an_http_client_calls_a_text_peer() {
        let mut net = Net::default();
        let text = net.text("cam");
        let http = net.open_http(Client::caller(Dialect::Whip, id("cam"), Some(OFFER.into())));
        assert_eq!(net.heard(text), [sdp("offer")]);
        net.say(text, r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#);
        net.say(text, sdp("answer"));
        let leg = net.http(http).leg().unwrap();
        assert_eq!((leg.answer(), leg.candidates(0).1, leg.peer().as_str()), (Some(OFFER), 1, "cam"));
        let mine =
            Candidate { candidate: "candidate:2".into(), sdp_mid: Some("v".into()), sdp_m_line_index: None };
        net.http(http).trickle(vec![mine]).into_iter().for_each(|request| net.ask(http, request));
        let ice = json!({ "candidate": "candidate:2", "sdpMid": "v", "sdpMLineIndex": 1 });
        assert_eq!(net.only(text)["ice"], ice);
        net.leave(http);
        assert!(net.closed(text).is_some() && net.hub.counts().sessions == 0);
    }

    #[test]
    fn a_text_peer_calls_an_http_client_that_offers() {
        let mut net = Net::default();
        let http = net.open_http(Client::callee(id("door")));
        let text = net.text("alice");
        net.say(text, "SESSION door");
        net.say(text, "OFFER_REQUEST");
        assert_eq!(net.http(http).leg().unwrap().wanted(), Some((1, &Wanted::Offer)));
        let offer = net.http(http).offer(OFFER.into()).unwrap();
        net.ask(http, offer);
        assert_eq!(net.heard(text), ["SESSION_OK", &sdp("offer")]);
        net.say(text, sdp("answer"));
        assert!(net.http(http).leg().unwrap().was_answered());
        net.leave(text);
        assert!(net.http(http).leg().is_none() && net.http(http).is_registered());
        assert_eq!((net.hub.counts().sessions, net.hub.counts().peers), (0, 1));
    }

    #[test]
    fn one_without_a_peer_is_refused() {
        let mut net = Net::default();
        let http = net.open_http(Client::caller(Dialect::Rest, id("nobody"), None));
        assert_eq!(net.http(http).refusal(), Some(&Refusal::PeerNotFound("nobody".into())));
    }

    #[test]
    fn only_descriptions_are_descriptions() {
        assert!(is_sdp(OFFER));
        for text in ["", "v=0", "m=audio", "{\"sdp\":\"v=0 m=\"}", "v=1\r\nm=x"] {
            assert!(!is_sdp(text), "{text}");
        }
        assert_eq!(media_type("Application/SDP; charset=utf-8"), "application/sdp");
    }
}
