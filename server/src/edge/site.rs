//! The port for clients: the page, the health check, ICE servers, and WebSocket handshakes.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_tungstenite::tungstenite::handshake::server::create_response;
use callbin_protocol::PeerId;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use subtle::ConstantTimeEq;
use tracing::info;

use crate::{
    access::{
        Ability, Grant,
        account::{BARRED, Full as NoRoom, Ticket},
        owner::{Owner, owners, pages},
        token::Refusal,
    },
    app::{Admission, App, Visit},
    dialect::{Dialect, Opening, Wants, http::media_type, query, translator},
    edge::{
        assets::Asset,
        calls::{self, Visitor},
        http::{Answer, WithHeader, text, try_again, whole},
    },
    hub::ConnId,
    operate::{admin, settings::Settings},
};

/// The subprotocol that a browser offers along with its token: a page cannot send the token in another header.
const SUBPROTOCOL: &str = "callbin";

/// The prefix of a subprotocol that contains a token.
const TOKEN_PREFIX: &str = "token.";

/// The path of the ICE servers.
const ICE_SERVERS: &str = "/ice-servers";

/// The reason of the 429 for too many requests.
const TOO_MANY_REQUESTS: &str = "too many requests from here";

/// The answer to requests for `/metrics` from other machines.
const METRICS_ELSEWHERE: &str =
    "/metrics answers over localhost only; --admin-addr serves it on another address\n";

/// The reason of the 429 for barred owners.
const TOO_MANY_BAD_TOKENS: &str = "too many bad tokens from here";

/// How the site that makes a browser's request relates to ours.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The requests of one connection, until one of them upgrades it to a WebSocket.
pub struct Site {
    app: Arc<App>,
    conn: ConnId,
    peer: SocketAddr,
    /// What WebSockets on any path speak, if the address has a dialect of its own.
    only: Option<Dialect>,
    entry: Mutex<Result<Ticket, NoRoom>>,
    admitted: Mutex<Option<Admission>>,
}

impl Site {
    /// For one connection.
    pub fn new(app: Arc<App>, visit: Visit) -> Self {
        let Visit { conn, peer, entry } = visit;
        Self { app, conn, peer, only: None, entry: Mutex::new(entry), admitted: Mutex::new(None) }
    }

    /// At an address with a dialect of its own.
    pub fn speaking(self, only: Option<Dialect>) -> Self {
        Self { only, ..self }
    }

    /// The admission, if the connection became a WebSocket.
    pub fn into_admission(self) -> Option<Admission> {
        self.admitted.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let settings = self.app.settings();
        let path = request.uri().path();
        let is_call = settings.routes.http(path).is_some() && !wants_websocket(request.headers());
        if path != ICE_SERVERS && !is_call {
            return self.respond(request).await;
        }
        // A page of another site may read this answer, even if it is a refusal.
        let origin = request.headers().get(header::ORIGIN).cloned();
        let answer = self.respond(request).await;
        let answer = if is_call { calls::with_headers_for_pages(answer) } else { answer };
        with_cors(answer, &settings, origin)
    }

    async fn respond(&self, request: Request<Incoming>) -> Answer {
        if let Err(full) = *self.entry.lock().unwrap_or_else(PoisonError::into_inner) {
            return no_room(full);
        }
        let settings = self.app.settings();
        if !self.admit_request(&settings, request.headers()) {
            return self.too_many_requests();
        }
        if wants_websocket(request.headers()) {
            return self.upgrade(request);
        }
        // The address for our own media node serves nothing else.
        if self.only == Some(Dialect::Node) {
            return text(StatusCode::NOT_FOUND, "not found\n");
        }
        let path = request.uri().path();
        if let Some((dialect, rest)) = settings.routes.http(path) {
            let place = calls::Place::new(dialect, path, rest);
            // Boxed, so that other requests do not carry the state of one that waits.
            return Box::pin(self.call(&settings, place, request)).await;
        }
        if path == ICE_SERVERS {
            return Box::pin(self.ice_servers(&request)).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
                .with_header(header::ALLOW, "GET, HEAD");
        }
        if path == self.app.health {
            return text(StatusCode::OK, "OK\n");
        }
        if !self.app.has_admin_address {
            // Metrics of all peers are for operators only.
            if path == "/metrics" && !settings.proxies.is_local(self.peer, request.headers()) {
                return text(StatusCode::FORBIDDEN, METRICS_ELSEWHERE);
            }
            if let Some(answer) = admin::probe(&self.app, path) {
                return answer;
            }
        }
        match self.app.assets.find(path, takes_brotli(request.headers())).await {
            Some(asset) => {
                let known = request.headers().get(header::IF_NONE_MATCH);
                let answer = page(asset, known, &settings.page_policy);
                // Other pages may load the modules of the elements for them, if they may connect.
                with_cors(answer, &settings, request.headers().get(header::ORIGIN).cloned())
            }
            None => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// Counts a request in the accounts of its client.
    fn admit_request(&self, settings: &Settings, headers: &HeaderMap) -> bool {
        if settings.proxies.trusts(self.peer.ip()) {
            // If the client cannot be determined, the request counts for the proxy.
            let client = settings.proxies.client(self.peer, headers).unwrap_or(self.peer);
            return self.app.accounts.admit_request(owners(client.ip()));
        }
        let entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        entry.as_ref().is_ok_and(Ticket::admit_request)
    }

    /// Answers a WebSocket handshake, on any path.
    fn upgrade(&self, request: Request<Incoming>) -> Answer {
        let request = request.map(|_| ());
        let mut response = match create_response(&request) {
            Ok(response) => response.map(|()| whole(Bytes::new())),
            // Tell clients of other versions which one we support (RFC 6455, section 4.4).
            Err(error) => {
                return text(StatusCode::BAD_REQUEST, &format!("not a WebSocket handshake: {error}\n"))
                    .with_header(header::SEC_WEBSOCKET_VERSION, "13");
            }
        };
        match self.admit(&request) {
            Ok(admission) => {
                *self.admitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(admission);
                if subprotocols(request.headers()).any(|name| name == SUBPROTOCOL) {
                    response = response.with_header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
                }
                response
            }
            Err(refusal) => refusal,
        }
    }

    /// Answers a request of a dialect over HTTP.
    async fn call(&self, settings: &Settings, place: calls::Place, request: Request<Incoming>) -> Answer {
        if request.method() == Method::OPTIONS {
            return calls::options(&place);
        }
        let visitor = self.client(settings, &request).and_then(|address| {
            check_origin(settings, request.headers())
                .map_err(|answer| self.refuse(address, "origin", answer))?;
            let grant = Arc::new(self.identify(settings, address, &request)?);
            Ok(Visitor { app: self.app.clone(), address, grant })
        });
        match visitor {
            Ok(visitor) => calls::answer(visitor, place, request).await,
            Err(refusal) => refusal,
        }
    }

    /// The client's address, as far as trusted proxies give it.
    fn client<B>(&self, settings: &Settings, request: &Request<B>) -> Result<SocketAddr, Answer> {
        settings.proxies.client(self.peer, request.headers()).map_err(|forged| {
            let answer = text(StatusCode::BAD_REQUEST, &format!("{forged}\n"));
            self.refuse(self.peer, "forged address", answer)
        })
    }

    fn admit(&self, request: &Request<()>) -> Result<Admission, Answer> {
        let settings = self.app.settings();
        let address = self.client(&settings, request)?;
        if !self.app.is_ready() {
            return Err(try_again(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n", 5));
        }
        check_origin(&settings, request.headers())
            .map_err(|answer| self.refuse(address, "origin", answer))?;
        let path = request.uri().path();
        let spoken = match self.only {
            Some(Dialect::Node) => Some((Dialect::Node, "")),
            Some(dialect) => settings.routes.has(dialect).then_some((dialect, "")),
            None => settings.routes.websocket(path),
        };
        let (dialect, rest) = spoken.ok_or_else(no_dialect)?;
        let grant = match dialect {
            Dialect::Node => self.identify_node(&settings, address, request)?,
            _ => self.identify(&settings, address, request)?,
        };
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ticket = std::mem::replace(&mut *entry, Err(NoRoom::Server)).map_err(no_room)?;
        let by_proxy = settings.proxies.trusts(self.peer.ip()).then(|| owners(address.ip()));
        let by_identity = grant.identity.clone().map(Owner::Identity);
        ticket
            .charge(by_proxy.into_iter().flatten().chain(by_identity))
            .map_err(|full| self.refuse(address, &full.to_string(), no_room(full)))?;
        let wants = query(request.uri().query(), "wants");
        let wants = wants.map_or_else(Wants::default, |words| Wants::parse(&words));
        let opening = Opening {
            rest: rest.into(),
            query: request.uri().query().unwrap_or_default().into(),
            identity: grant.identity.clone(),
            can_call: grant.allows(Ability::Call),
            number: self.conn.0,
            wants,
        };
        let translator = translator(dialect, &opening);
        Ok(Admission { conn: self.conn, address, grant: Arc::new(grant), wants, translator, ticket })
    }

    /// The grant of the request's token. An owner with too many forged tokens is barred for a while: checking a
    /// signature costs more than making one up. Missing and expired tokens do not count, because honest clients have
    /// them, too.
    fn identify<B>(
        &self,
        settings: &Settings,
        address: SocketAddr,
        request: &Request<B>,
    ) -> Result<Grant, Answer> {
        self.identify_unless(settings, address, request, |refusal| refusal == Refusal::Forged)
    }

    /// As [`Self::identify`], with another rule for tokens that count as forged.
    fn identify_unless<B>(
        &self,
        settings: &Settings,
        address: SocketAddr,
        request: &Request<B>,
        is_forged: impl Fn(Refusal) -> bool,
    ) -> Result<Grant, Answer> {
        let accounts = &self.app.accounts;
        let owners = || guessers(settings, address, request);
        if settings.verifier.is_some() {
            self.check_barred(owners())?;
        }
        let refusal = match authenticate(settings, request) {
            Ok(grant) if accounts.admit_request(grant.identity.clone().map(Owner::Identity)) => {
                return Ok(grant);
            }
            Ok(_) => return Err(self.too_many_requests()),
            Err(refusal) => refusal,
        };
        if is_forged(refusal) {
            self.count_bad_token(address, owners())?;
        }
        Err(self.refuse(address, &refusal.to_string(), unauthorized(refusal)))
    }

    fn check_barred(&self, owners: Vec<Owner>) -> Result<(), Answer> {
        if !self.app.accounts.is_barred(owners) {
            return Ok(());
        }
        // This was logged once, when the owner was barred.
        self.app.metrics.count_refusal(TOO_MANY_BAD_TOKENS);
        Err(barred())
    }

    fn count_bad_token(&self, address: SocketAddr, owners: Vec<Owner>) -> Result<(), Answer> {
        if !self.app.accounts.count_bad_token(owners) {
            return Ok(());
        }
        Err(self.refuse(address, TOO_MANY_BAD_TOKENS, barred()))
    }

    /// The grant of a media node: by the secret of our own node or of the other ones, or by a token that says so. Guesses of
    /// the secret count as forged tokens.
    fn identify_node(
        &self,
        settings: &Settings,
        address: SocketAddr,
        request: &Request<()>,
    ) -> Result<Grant, Answer> {
        let given = token_of(request);
        let is_given = |secret: Option<&str>| {
            let both = secret.zip(given.as_deref());
            both.is_some_and(|(secret, given)| bool::from(secret.as_bytes().ct_eq(given.as_bytes())))
        };
        let of_node = || Ok(Grant { is_node: true, ..Grant::default() });
        // It is random and too long to be guessed, so guesses are not counted.
        if is_given(self.app.media_secret.as_deref()) {
            return of_node();
        }
        let has_secret = settings.media_secret.is_some();
        if has_secret {
            self.check_barred(guessers(settings, address, request))?;
        }
        if is_given(settings.media_secret.as_deref()) {
            return of_node();
        }
        let is_guess = |refusal| refusal == Refusal::Forged || has_secret && refusal == Refusal::Invalid;
        let grant = self.identify_unless(settings, address, request, is_guess)?;
        // Without keys for tokens, it can only be a guess.
        if has_secret && given.is_some() && settings.verifier.is_none() {
            self.count_bad_token(address, guessers(settings, address, request))?;
        }
        match grant {
            // The end of its token must not end all streams.
            grant if grant.is_node => Ok(Grant { expires: None, ..grant }),
            _ if given.is_none() => {
                Err(self.refuse(address, "no media node", unauthorized(Refusal::Missing)))
            }
            _ => Err(self.refuse(
                address,
                "no media node",
                text(StatusCode::FORBIDDEN, "not for media nodes\n"),
            )),
        }
    }

    /// Does not log: refusing a cheap request must be cheap.
    fn too_many_requests(&self) -> Answer {
        self.app.metrics.count_refusal(TOO_MANY_REQUESTS);
        try_again(StatusCode::TOO_MANY_REQUESTS, &format!("{TOO_MANY_REQUESTS}\n"), 1)
    }

    fn refuse(&self, address: SocketAddr, reason: &str, answer: Answer) -> Answer {
        if self.app.accounts.lines(address.ip()).admit(address) {
            info!(conn = self.conn.0, %address, reason, "request refused");
        }
        self.app.metrics.count_refusal(reason);
        answer
    }

    /// `GET /ice-servers?uid=…`: the servers to use, with fresh credentials.
    async fn ice_servers(&self, request: &Request<Incoming>) -> Answer {
        if request.method() == Method::OPTIONS {
            text(StatusCode::NO_CONTENT, "")
                .with_header(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization")
                .with_header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET")
        } else if request.method() != Method::GET {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n").with_header(header::ALLOW, "GET")
        } else {
            self.ice_servers_for(&self.app.settings(), request).await
        }
    }

    async fn ice_servers_for(&self, settings: &Settings, request: &Request<Incoming>) -> Answer {
        let grant = self.client(settings, request).and_then(|address| {
            check_origin(settings, request.headers())
                .map_err(|answer| self.refuse(address, "origin", answer))?;
            self.identify(settings, address, request)
        });
        let grant = match grant {
            Ok(grant) => grant,
            Err(refusal) => return refusal,
        };
        let Some(uid) = query(request.uri().query(), "uid").and_then(|uid| PeerId::new(&uid).ok()) else {
            return text(StatusCode::BAD_REQUEST, "uid is missing: /ice-servers?uid=…\n");
        };
        if !grant.allows_uid(&uid) {
            return text(StatusCode::FORBIDDEN, "uid not allowed\n");
        }
        let switchboard = &self.app.switchboard;
        let added = match &self.app.cluster {
            // Behind a load balancer, the peer's WebSocket may be at another server.
            Some(cluster) if settings.webhook.is_some() && switchboard.holder(&uid).is_none() => {
                cluster.ice_servers(&uid, &grant).await
            }
            _ => switchboard.ice_servers_of(&uid, &grant),
        };
        // TURN credentials must not outlive the token.
        let ttl = grant.time_left().min(settings.ice.ttl);
        let body = settings.ice.for_peer(uid.as_str(), SystemTime::now(), ttl, &added);
        crate::edge::http::json(StatusCode::OK, &body)
    }
}

/// The owners that a request's forged token counts for.
fn guessers<B>(settings: &Settings, address: SocketAddr, request: &Request<B>) -> Vec<Owner> {
    match is_foreign_page(settings, request.headers()) {
        true => pages(address.ip()).collect(),
        false => owners(address.ip()).collect(),
    }
}

/// Other upgrades, such as `h2c`, may be ignored (RFC 9110, section 7.8).
fn wants_websocket(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::UPGRADE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("websocket"))
}

fn no_room(full: NoRoom) -> Answer {
    let status = match full {
        NoRoom::Server => StatusCode::SERVICE_UNAVAILABLE,
        NoRoom::Owner => StatusCode::TOO_MANY_REQUESTS,
    };
    try_again(status, &format!("{full}\n"), 10)
}

fn no_dialect() -> Answer {
    text(
        StatusCode::NOT_FOUND,
        "no WebSocket here: the text protocol is switched off, and this is no path of another one\n",
    )
}

fn barred() -> Answer {
    let seconds = BARRED.as_secs().try_into().unwrap_or(u32::MAX);
    try_again(StatusCode::TOO_MANY_REQUESTS, &format!("{TOO_MANY_BAD_TOKENS}\n"), seconds)
}

fn unauthorized(refusal: Refusal) -> Answer {
    text(StatusCode::UNAUTHORIZED, &format!("{refusal}\n")).with_header(header::WWW_AUTHENTICATE, "Bearer")
}

/// Programs send no origin. Browsers do, and a page of another site must not use our users' access. Requests whose
/// answer the page cannot read, such as images, have no origin, but browsers send Sec-Fetch-Site with them.
fn check_origin(settings: &Settings, headers: &HeaderMap) -> Result<(), Answer> {
    let allowed = match (headers.get(header::ORIGIN), headers.get(SEC_FETCH_SITE)) {
        (Some(origin), _) => origin.to_str().is_ok_and(|origin| settings.allows_origin(origin)),
        (None, Some(site)) => matches!(site.as_bytes(), b"same-origin" | b"none"),
        (None, None) => true,
    };
    if allowed { Ok(()) } else { Err(text(StatusCode::FORBIDDEN, "origin not allowed\n")) }
}

/// Whether a browser sends this for a page that is neither ours nor of an allowed origin.
fn is_foreign_page(settings: &Settings, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return false };
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    settings.origins.is_empty() && !text(header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(host))
}

/// Checks the token, which may be in the Authorization header, a subprotocol or the query.
pub(crate) fn authenticate<B>(settings: &Settings, request: &Request<B>) -> Result<Grant, Refusal> {
    let Some(verifier) = &settings.verifier else { return Ok(Grant::default()) };
    verifier.verify(&token_of(request).ok_or(Refusal::Missing)?)
}

fn token_of<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let headers = request.headers();
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| Cow::from(token.trim()));
    let by_protocol =
        || subprotocols(headers).find_map(|name| name.strip_prefix(TOKEN_PREFIX)).map(Cow::from);
    let by_query = || query(request.uri().query(), "token");
    bearer.or_else(by_protocol).or_else(by_query)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn with_cors(mut answer: Answer, settings: &Settings, origin: Option<HeaderValue>) -> Answer {
    let allowed = origin.filter(|origin| origin.to_str().is_ok_and(|origin| settings.allows_origin(origin)));
    if let Some(origin) = allowed {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    answer
}

/// Whether the client accepts brotli (RFC 9110, section 12.5.3). A wildcard does not count.
fn takes_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("br") && !is_refused
    })
}

fn page(asset: Asset, known: Option<&HeaderValue>, policy: &HeaderValue) -> Answer {
    let etag = asset.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok());
    // A proxy that changes the encoding makes the tag a weak one.
    let known = known.map(HeaderValue::as_bytes).map(|known| known.strip_prefix(b"W/").unwrap_or(known));
    let fresh = etag.as_ref().is_some_and(|etag| Some(etag.as_bytes()) == known);
    let mut response = Response::new(whole(if fresh { Bytes::new() } else { asset.body }));
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&asset.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    if let Some(is_packed) = asset.packed {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if is_packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        }
    }
    // Of modules and style sheets the browser reads no policy.
    if !matches!(&media_type(&asset.content_type)[..], "text/javascript" | "text/css") {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    }
    // Browsers revalidate what has one address in all versions, so the page is never stale after an upgrade.
    let cached = if asset.is_final { "public, max-age=31536000, immutable" } else { "no-cache" };
    response
        .with_header(header::CACHE_CONTROL, cached)
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with_header(header::REFERRER_POLICY, "no-referrer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        assert_eq!(query(Some("a=1&token=x.y%2Bz&b"), "token").as_deref(), Some("x.y+z"));
        assert_eq!(query(Some("mytoken=1"), "token"), None);
        assert_eq!(query(Some("token=%ff"), "token"), None);
        assert_eq!(query(None, "token"), None);
    }

    #[test]
    fn brotli_is_for_clients_that_take_it() {
        for (value, takes) in [
            ("gzip, deflate, br", true),
            ("BR;q=0.5", true),
            ("br;q=0", false),
            ("br; q=0.000", false),
            ("gzip, *", false),
            ("brotli", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(takes_brotli(&headers), takes, "{value}");
        }
        assert!(!takes_brotli(&HeaderMap::new()));
    }

    #[test]
    fn subprotocols_are_listed() {
        let mut headers = HeaderMap::new();
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("callbin, token.a.b.c"));
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("x"));
        assert_eq!(subprotocols(&headers).collect::<Vec<_>>(), ["callbin", "token.a.b.c", "x"]);
    }
}
