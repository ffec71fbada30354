//! The endpoints for operators and their tools: probes, metrics, and the admin API.

use hyper::{Method, Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::json;
use subtle::ConstantTimeEq;
use tracing::info;

use crate::{
    app::App,
    edge::http::{Answer, WithHeader, json as json_answer, text},
    operate::logging::short,
};

/// Probes and metrics, without authentication.
pub fn probe(app: &App, path: &str) -> Option<Answer> {
    match path {
        "/livez" => Some(text(StatusCode::OK, "OK\n")),
        "/readyz" => {
            let trouble = if app.is_ready() { app.cluster_trouble() } else { Some("draining") };
            let status = if trouble.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Some(text(status, &format!("{}\n", trouble.unwrap_or("OK"))))
        }
        "/metrics" => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Some(text(StatusCode::OK, &app.metrics_text()).with_header(header::CONTENT_TYPE, kind))
        }
        _ => None,
    }
}

/// Answers a request to the admin address.
pub async fn answer(app: &App, request: &Request<()>) -> Answer {
    let path = request.uri().path();
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    if read && path == app.health {
        return text(StatusCode::OK, "OK\n");
    }
    if read && let Some(answer) = probe(app, path) {
        return answer;
    }
    match path.strip_prefix("/admin/") {
        Some(rest) if is_admin(app, request) => {
            let is_everywhere = request.uri().query() == Some("all-nodes");
            api(app, request.method(), rest, is_everywhere).await
        }
        Some(_) => text(StatusCode::UNAUTHORIZED, "the admin secret is needed\n")
            .with_header(header::WWW_AUTHENTICATE, "Bearer"),
        None => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// Without a configured secret nothing is allowed.
fn is_admin<B>(app: &App, request: &Request<B>) -> bool {
    let settings = app.settings();
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match (&settings.admin_secret, given) {
        (Some(secret), Some(given)) => secret.as_bytes().ct_eq(given.trim_ascii()).into(),
        _ => false,
    }
}

async fn api(app: &App, method: &Method, path: &str, is_everywhere: bool) -> Answer {
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let Ok(name) = percent_decode_str(name).decode_utf8() else {
        return text(StatusCode::BAD_REQUEST, "the name is not UTF-8\n");
    };
    let switchboard = &app.switchboard;
    match (method, kind, &*name) {
        (&Method::GET, "peers", "") if is_everywhere => match &app.cluster {
            Some(cluster) => match cluster.peers().await {
                Ok(peers) => json_answer(StatusCode::OK, &json!(peers)),
                Err(error) => without_redis(&error),
            },
            None => text(StatusCode::BAD_REQUEST, "this server has no --redis\n"),
        },
        (&Method::GET, "peers", "") => json_answer(StatusCode::OK, &json!(switchboard.peers())),
        (&Method::GET, "sessions", "") => json_answer(StatusCode::OK, &json!(switchboard.sessions())),
        (&Method::GET, "rooms", "") => json_answer(StatusCode::OK, &json!(switchboard.rooms())),
        (&Method::GET, "streams", "") => json_answer(StatusCode::OK, &json!(switchboard.streams())),
        (&Method::GET, "nodes", "") => json_answer(StatusCode::OK, &json!(switchboard.nodes())),
        (&Method::DELETE, "streams", stream) => {
            let closed = switchboard.end_stream(stream);
            match &app.cluster {
                Some(cluster) if closed == 0 => finish("stream", stream, cluster.end_stream(stream).await),
                _ => done("stream", stream, closed),
            }
        }
        (&Method::DELETE, "peers", uid) => {
            let closed = switchboard.disconnect(uid);
            match &app.cluster {
                Some(cluster) if closed == 0 => finish("peer", uid, cluster.disconnect(uid).await),
                _ => done("peer", uid, closed),
            }
        }
        (&Method::DELETE, "rooms", room) => match &app.cluster {
            Some(cluster) => {
                let closed = cluster.close_room(room).await;
                // All nodes hear of it in the order of Redis: before the leaves that follow, and before later joins. Those
                // that Redis does not know go, too.
                if closed.is_err() || app.cluster_trouble().is_some() {
                    switchboard.close_room(room);
                }
                finish("room", room, closed)
            }
            None => done("room", room, switchboard.close_room(room)),
        },
        (_, "peers" | "sessions" | "rooms" | "streams" | "nodes", _) => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and DELETE\n")
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn finish(what: &str, name: &str, result: Result<usize, String>) -> Answer {
    match result {
        Ok(closed) => done(what, name, closed),
        Err(error) => without_redis(&error),
    }
}

fn without_redis(error: &str) -> Answer {
    text(StatusCode::BAD_GATEWAY, &format!("Redis: {error}\n"))
}

fn done(what: &str, name: &str, closed: usize) -> Answer {
    if closed == 0 {
        return text(StatusCode::NOT_FOUND, &format!("no such {what}\n"));
    }
    info!(name = %short(&name), closed, "{what} closed by an operator");
    json_answer(StatusCode::OK, &json!({ "closed": closed }))
}
