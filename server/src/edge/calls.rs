//! Calls of HTTP clients: WHIP, WHEP and `/offer`, `/answer`, `/ice`.
//!
//! An HTTP client has no connection that lasts as long as its call, so each call and each registration is a connection of
//! its own at the switchboard: a [`Line`], with an outbox, a task that empties it, and deadlines. Requests of the client
//! find their line in [`Calls`], by an id that cannot be guessed. What they mean is decided by the pure parts in
//! [`dialect`](crate::dialect).

mod line;
mod rest;
mod whip;

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use callbin_protocol::PeerId;
use futures_rustls::rustls::crypto::ring;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use self::line::Line;
use crate::{
    access::{
        Grant,
        account::Full,
        owner::{Owner, owners},
    },
    app::App,
    close::CloseReason,
    connection::Presence,
    dialect::{
        Dialect,
        http::{CALL, Client, Reply},
    },
    edge::http::{Answer, BadBody, WithHeader, read_text, try_again, whole},
    runtime,
};

/// The most calls and registrations of all clients together.
const MAX_LINES: usize = 10_000;

/// An identified client.
pub struct Visitor {
    /// The server.
    pub app: Arc<App>,
    /// Its address.
    pub address: SocketAddr,
    /// The permissions of its token.
    pub grant: Arc<Grant>,
}

/// Bytes that hyper accepts in a path, but that a URI has percent-encoded (RFC 3986, section 3.3).
const NOT_IN_URIS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The resource of a request: a path as a URI has it, so that it can be sent back as a location.
pub struct Place {
    dialect: Dialect,
    /// The dialect's own path.
    base: String,
    /// What follows it.
    rest: String,
}

impl Place {
    /// For a request at `path`, of which `rest` follows the dialect's own path.
    pub fn new(dialect: Dialect, path: &str, rest: &str) -> Self {
        let base = path.trim_end_matches('/').strip_suffix(rest).unwrap_or_default();
        let encode = |path| utf8_percent_encode(path, NOT_IN_URIS).to_string();
        Self { dialect, base: encode(base.trim_end_matches('/')), rest: encode(rest) }
    }
}

/// All calls and registrations of HTTP clients.
#[derive(Default)]
pub struct Calls(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By the ids of their calls.
    calls: HashMap<String, Arc<Line>>,
    /// By the ids that they register.
    registered: HashMap<PeerId, Arc<Line>>,
    open: usize,
}

/// Why a line is not opened.
enum NotOpened {
    Full(Full),
    Draining,
    TooManyRegistrations,
    /// Another client has the id.
    Taken,
}

impl Calls {
    /// The line of a call, if the call is this client's.
    fn find(&self, visitor: &Visitor, dialect: Dialect, id: &str) -> Option<Arc<Line>> {
        let line = self.lock().calls.get(id).cloned()?;
        let is_theirs = line.dialect() == dialect && line.presence.grant.identity == visitor.grant.identity;
        let line = (is_theirs && line.is_open()).then_some(line)?;
        line.renew(&visitor.grant);
        Some(line)
    }

    /// The line that has registered an id, if it is this client's.
    fn registered(&self, visitor: &Visitor, uid: &PeerId) -> Option<Arc<Line>> {
        self.lock().registered.get(uid).filter(|line| line.is_open() && line.is_of(visitor)).cloned()
    }

    /// Opens a line for a new caller, with the id of its call.
    fn open_caller(&self, visitor: &Visitor, client: Client) -> Result<(Arc<Line>, String), NotOpened> {
        let id = random_id().ok_or(NotOpened::Full(Full::Server))?;
        let mut table = self.lock();
        let line = table.open(visitor, client, Some(id.clone()))?;
        table.calls.insert(id.clone(), line.clone());
        Ok((line, id))
    }

    /// The line of a registration, and whether it is new.
    fn open_callee(
        &self,
        visitor: &Visitor,
        uid: &PeerId,
        client: Client,
    ) -> Result<(Arc<Line>, bool), NotOpened> {
        let mut table = self.lock();
        match table.registered.get(uid) {
            Some(line) if !line.is_open() => {}
            Some(line) if line.is_of(visitor) => {
                line.renew(&visitor.grant);
                return Ok((line.clone(), false));
            }
            Some(_) => return Err(NotOpened::Taken),
            None => {}
        }
        let line = table.open(visitor, client, None)?;
        table.registered.insert(uid.clone(), line.clone());
        Ok((line, true))
    }

    /// Gives a call that a registration has received an id.
    fn enter(&self, line: &Arc<Line>) -> Option<String> {
        let id = random_id()?;
        self.lock().calls.insert(id.clone(), line.clone());
        Some(id)
    }

    /// Removes the id of a call that has ended.
    fn remove(&self, id: &str) {
        self.lock().calls.remove(id);
    }

    /// Removes a line.
    fn close(&self, line: &Arc<Line>, id: Option<String>, uid: Option<&PeerId>) {
        let mut table = self.lock();
        table.open -= 1;
        if let Some(id) = id {
            table.calls.remove(&id);
        }
        // Another line may have registered the id since.
        if let Some(Entry::Occupied(entry)) = uid.map(|uid| table.registered.entry(uid.clone()))
            && Arc::ptr_eq(entry.get(), line)
        {
            entry.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; if something did, the table would still be consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn open(
        &mut self,
        visitor: &Visitor,
        client: Client,
        id: Option<String>,
    ) -> Result<Arc<Line>, NotOpened> {
        let Visitor { app, address, grant } = visitor;
        if !app.is_ready() {
            return Err(NotOpened::Draining);
        }
        if self.open >= MAX_LINES {
            return Err(NotOpened::Full(Full::Server));
        }
        let mut ticket = app.accounts.enter().map_err(NotOpened::Full)?;
        let identity = grant.identity.clone().map(Owner::Identity);
        ticket.charge(owners(address.ip()).chain(identity)).map_err(NotOpened::Full)?;
        if client.is_callee() && !ticket.admit_registration() {
            return Err(NotOpened::TooManyRegistrations);
        }
        let conn = app.next_conn();
        let outbox = app.switchboard.open(conn, *address, grant.clone(), client.dialect(), ticket.lines());
        let presence =
            Presence { conn, address: *address, outbox, ticket, grant: grant.clone(), app: app.clone() };
        let line = Arc::new(Line::new(presence, client, id));
        self.open += 1;
        let running = line.clone();
        runtime::spawn(async move { running.run().await });
        Ok(line)
    }
}

/// The id of a call.
fn random_id() -> Option<String> {
    Some(format!("{CALL}{}", random_token()?))
}

/// 128 random bits in base64url.
pub(crate) fn random_token() -> Option<String> {
    let mut bytes = [0; 16];
    ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Answers a request other than `OPTIONS`.
pub async fn answer(visitor: Visitor, place: Place, request: Request<Incoming>) -> Answer {
    match place.dialect {
        Dialect::Whip | Dialect::Whep => whip::answer(visitor, place, request).await,
        _ => rest::answer(visitor, place, request).await,
    }
}

/// Answers `OPTIONS`: a preflight (Fetch, section 4.8), or a client that asks what the resource takes.
pub fn options(place: &Place) -> Answer {
    match place.dialect {
        Dialect::Whip | Dialect::Whep => {
            let answer = respond(crate::dialect::whip::options(place.rest.contains('/')));
            answer.with_header(header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS")
        }
        _ => respond(Reply::empty(204))
            .with_header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE, OPTIONS"),
    }
    .with_header(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, if-match, etag, last-event-id",
    )
    .with_header(header::ACCESS_CONTROL_MAX_AGE, "600")
}

/// Lets pages of other sites read the headers of an answer.
pub fn with_headers_for_pages(answer: Answer) -> Answer {
    answer.with_header(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Location, ETag, Link, Retry-After, Accept-Post, Accept-Patch",
    )
}

/// The reply as an HTTP answer. A header that HTTP does not allow is left out.
fn respond(reply: Reply) -> Answer {
    let mut answer = Response::new(whole(reply.body));
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if reply.status != 204 {
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    answer
        .with_header(header::CACHE_CONTROL, "no-store")
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// Counts a refusal, like those of handshakes.
fn refuse(visitor: &Visitor, not_opened: &NotOpened) -> Answer {
    let (status, text, seconds) = match not_opened {
        NotOpened::Full(full) => {
            visitor.app.metrics.count_refusal(full);
            let status = match full {
                Full::Server => StatusCode::SERVICE_UNAVAILABLE,
                Full::Owner => StatusCode::TOO_MANY_REQUESTS,
            };
            (status, full.to_string(), 10)
        }
        NotOpened::Draining => (StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down".into(), 5),
        NotOpened::TooManyRegistrations => {
            visitor.app.metrics.count_refusal(CloseReason::TooManyRegistrations);
            (StatusCode::TOO_MANY_REQUESTS, CloseReason::TooManyRegistrations.to_string(), 1)
        }
        NotOpened::Taken => return respond(Reply::error(409, "the id is taken")),
    };
    try_again(status, &format!("{text}\n"), seconds)
}

/// The answer for a line that was closed while a request waited, or before it.
fn closed(reason: CloseReason) -> Answer {
    match reason {
        CloseReason::GoingAway => {
            try_again(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n", 5)
        }
        CloseReason::TokenExpired => respond(Reply::error(401, "the token has expired"))
            .with_header(header::WWW_AUTHENTICATE, "Bearer"),
        CloseReason::PartnerLeft => respond(crate::dialect::rest::gone()),
        reason => respond(Reply::error(404, &reason.to_string())),
    }
}

/// Reads the body of a request within the limits of the server.
async fn read_body(visitor: &Visitor, body: Incoming) -> Result<String, Answer> {
    let limits = visitor.app.settings().limits;
    read_text(body, limits.max_message, limits.hello_timeout).await.map_err(|bad| {
        let (status, text) = match bad {
            BadBody::TooBig => (413, "the body is too large"),
            BadBody::TooSlow => (408, "the body did not come in time"),
            BadBody::Broken => (400, "the body is incomplete or not UTF-8"),
        };
        // The rest of the body is not read.
        respond(Reply::error(status, text)).with_header(header::CONNECTION, "close")
    })
}

/// The text of a header.
fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_encoded_as_in_a_uri() {
        for (path, rest, base, encoded) in [
            ("/whip/cam", "cam", "/whip", "cam"),
            ("/öffnung/tür|1/", "tür|1", "/%C3%B6ffnung", "t%C3%BCr%7C1"),
            ("/whip/t%C3%BCr", "t%C3%BCr", "/whip", "t%C3%BCr"),
        ] {
            let place = Place::new(Dialect::Whip, path, rest);
            assert_eq!((&place.base[..], &place.rest[..]), (base, encoded));
        }
    }
}
