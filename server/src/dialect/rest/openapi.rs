//! The operations, and the OpenAPI document made of them.

use serde_json::{Map, Value, json};

use super::Action;

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// The HTTP method.
    pub method: &'static str,
    /// The path below the dialect's own, with its parameter in braces.
    pub path: &'static str,
    /// What it does.
    pub action: Action,
    summary: &'static str,
    /// Query parameters.
    query: &'static [(&'static str, &'static str)],
    /// The schema of the body and its other content type.
    body: Option<(&'static str, &'static str)>,
    /// The answers: status code, what it means, the schema of its JSON.
    pub responses: &'static [(u16, &'static str, Option<&'static str>)],
}

impl Operation {
    /// The first segment of the path, and its parameter.
    pub fn place(&self) -> (&'static str, Option<&'static str>) {
        let path = self.path.trim_start_matches('/');
        path.split_once('/')
            .map_or((path, None), |(name, parameter)| (name, Some(parameter.trim_matches(['{', '}']))))
    }

    /// Whether it also answers with server-sent events.
    fn has_events(&self) -> bool {
        matches!(self.action, Action::Wait | Action::AwaitCandidates)
    }
}

const WAIT: (&str, &str) =
    ("wait", "The most seconds to wait, up to 30. GET waits 30 by default, POST does not wait.");
const AFTER: (&str, &str) = ("after", "The `next` of the last answer: only later candidates are given.");

const BAD_BODY: (u16, &str, Option<&str>) = (400, "The body or an id is malformed.", Some("Error"));
const NO_CALL: (u16, &str, Option<&str>) =
    (404, "There is no such call: it has ended, or never was.", Some("Error"));
const NO_TOKEN: (u16, &str, Option<&str>) = (401, "The token is missing, invalid or expired.", None);
const NOT_ALLOWED: (u16, &str, Option<&str>) =
    (403, "The token, the webhook or the page's origin does not allow it.", Some("Error"));
const SLOW_BODY: (u16, &str, Option<&str>) = (408, "The body did not come in time.", Some("Error"));
const BIG_BODY: (u16, &str, Option<&str>) = (413, "The body is too large: 64 KiB at most.", Some("Error"));
const TOO_MANY: (u16, &str, Option<&str>) =
    (429, "Too many requests, calls or registrations from here. Retry-After says when to come back.", None);
const STOPPING: (u16, &str, Option<&str>) =
    (503, "The server is shutting down or full. Retry-After says when to come back.", None);

/// All operations.
pub const OPERATIONS: [Operation; 9] = [
    Operation {
        method: "POST",
        path: "/offer",
        action: Action::Offer,
        summary: "Call the peer named by `to`, or offer within the call named by `call`",
        query: &[WAIT],
        body: Some(("Offer", "application/sdp")),
        responses: CALLING,
    },
    Operation {
        method: "POST",
        path: "/offer/{id}",
        action: Action::Offer,
        summary: "Call the peer with this id, or offer within the call of this id. Without an offer, the peer is asked for one",
        query: &[WAIT],
        body: Some(("Offer", "application/sdp")),
        responses: CALLING,
    },
    Operation {
        method: "GET",
        path: "/offer/{id}",
        action: Action::Wait,
        summary: "Register this id and wait for calls, or wait for another offer in the call of this id",
        query: &[WAIT],
        body: None,
        responses: &[
            (200, "An offer to answer, or a request to offer. It is given until it is done.", Some("Wanted")),
            (204, "None came in time. Ask again.", None),
            BAD_BODY,
            NO_TOKEN,
            NOT_ALLOWED,
            (
                404,
                "There is no such call, or it or the registration ended while the request waited.",
                Some("Error"),
            ),
            (409, "Another client has the id.", Some("Error")),
            TOO_MANY,
            STOPPING,
        ],
    },
    Operation {
        method: "DELETE",
        path: "/offer/{id}",
        action: Action::End,
        summary: "End the call, or the registration, of this id",
        query: &[],
        body: None,
        responses: &[
            (204, "It has ended.", None),
            NO_TOKEN,
            NOT_ALLOWED,
            (404, "There is no such call or registration of this client.", Some("Error")),
            TOO_MANY,
        ],
    },
    Operation {
        method: "POST",
        path: "/answer/{call}",
        action: Action::Answer,
        summary: "Answer the offer of the call",
        query: &[],
        body: Some(("Answer", "application/sdp")),
        responses: &[
            (204, "The answer is on its way.", None),
            BAD_BODY,
            NO_TOKEN,
            NOT_ALLOWED,
            NO_CALL,
            SLOW_BODY,
            (409, "There is no offer to answer.", Some("Error")),
            BIG_BODY,
            TOO_MANY,
        ],
    },
    Operation {
        method: "GET",
        path: "/answer/{call}",
        action: Action::AwaitAnswer,
        summary: "Wait for the answer to the latest offer of this side",
        query: &[WAIT],
        body: None,
        responses: &[
            (200, "The answer.", Some("Answer")),
            (204, "It did not come in time. Ask again.", None),
            NO_TOKEN,
            NOT_ALLOWED,
            NO_CALL,
            TOO_MANY,
        ],
    },
    Operation {
        method: "POST",
        path: "/ice/{call}",
        action: Action::Trickle,
        summary: "Send candidates to the other side",
        query: &[],
        body: Some(("Candidates", "application/trickle-ice-sdpfrag")),
        responses: &[
            (204, "They are on their way.", None),
            BAD_BODY,
            NO_TOKEN,
            NOT_ALLOWED,
            NO_CALL,
            SLOW_BODY,
            BIG_BODY,
            TOO_MANY,
        ],
    },
    Operation {
        method: "GET",
        path: "/ice/{call}",
        action: Action::AwaitCandidates,
        summary: "Wait for candidates of the other side",
        query: &[WAIT, AFTER],
        body: None,
        responses: &[
            (200, "Candidates, and the cursor for the next request.", Some("Candidates")),
            (204, "None came in time. Ask again.", None),
            NO_TOKEN,
            NOT_ALLOWED,
            NO_CALL,
            TOO_MANY,
        ],
    },
    Operation {
        method: "GET",
        path: "/openapi.json",
        action: Action::Document,
        summary: "This document",
        query: &[],
        body: None,
        responses: &[(200, "OpenAPI 3.1.", None), NOT_ALLOWED, TOO_MANY],
    },
];

const CALLING: &[(u16, &str, Option<&str>)] = &[
    (201, "The call has started. The answer is there, if it came within `wait`.", Some("Call")),
    BAD_BODY,
    NO_TOKEN,
    NOT_ALLOWED,
    (
        404,
        "There is no such peer, or it may not be called, or the call ended while the request waited.",
        Some("Error"),
    ),
    SLOW_BODY,
    (409, "The peer is busy.", Some("Error")),
    BIG_BODY,
    TOO_MANY,
    STOPPING,
];

/// The OpenAPI document for the dialect at this base path.
pub fn document(base: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in &OPERATIONS {
        let at_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = at_path.as_object_mut() {
            methods.insert(operation.method.to_ascii_lowercase(), describe(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "callbin: WebRTC calls by plain HTTP",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A caller posts an offer and gets the answer; a callee waits for offers and posts answers; both exchange candidates. The other side can speak any protocol of the server.",
        },
        "servers": [{ "url": if base.is_empty() { "/" } else { base } }],
        "security": [{}, { "bearer": [] }, { "query": [] }],
        "paths": paths,
        "components": { "securitySchemes": schemes(), "schemas": schemas() },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = operation.query.iter().map(|(name, text)| {
        json!({ "name": name, "in": "query", "description": text, "schema": { "type": "integer", "minimum": 0 } })
    }).collect();
    if let Some(name) = operation.place().1 {
        parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    let mut responses = Map::new();
    for (status, text, schema) in operation.responses {
        let mut response = json!({ "description": text });
        if let (Some(schema), Some(object)) = (schema, response.as_object_mut()) {
            let mut content = json!({ "application/json": { "schema": reference(schema) } });
            if let (200, true, Some(kinds)) = (*status, operation.has_events(), content.as_object_mut()) {
                kinds.insert("text/event-stream".into(), json!({ "schema": { "type": "string" } }));
            }
            object.insert("content".into(), content);
        }
        responses.insert(status.to_string(), response);
    }
    let mut value = json!({ "summary": operation.summary, "parameters": parameters, "responses": responses });
    if let (Some((schema, other)), Some(object)) = (operation.body, value.as_object_mut()) {
        let content = json!({
            "application/json": { "schema": reference(schema) },
            other: { "schema": { "type": "string" } },
        });
        object.insert("requestBody".into(), json!({ "content": content }));
    }
    value
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        "query": { "type": "apiKey", "in": "query", "name": "token" },
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let candidate = object(
        &["candidate"],
        json!({
            "candidate": { "type": "string", "description": "`candidate:…` (RFC 8839). Empty: end of candidates." },
            "sdpMid": { "type": ["string", "null"] },
            "sdpMLineIndex": { "type": ["integer", "null"] },
        }),
    );
    json!({
        "Offer": object(&[], json!({ "to": text, "call": text, "type": { "const": "offer" }, "sdp": text })),
        "Answer": object(&["sdp"], json!({ "call": text, "type": { "const": "answer" }, "sdp": text })),
        "Call": object(
            &["call", "uid", "peer"],
            json!({ "call": text, "uid": text, "peer": text, "type": { "const": "answer" }, "sdp": text }),
        ),
        "Wanted": object(
            &["call", "from", "type"],
            json!({ "call": text, "from": text, "type": { "enum": ["offer", "offer-request"] }, "sdp": text }),
        ),
        "Candidate": candidate,
        "Candidates": object(
            &["candidates"],
            json!({ "call": text, "candidates": { "type": "array", "items": reference("Candidate") }, "next": { "type": "integer" } }),
        ),
        "Error": object(&["error"], json!({ "error": text })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that a document refers to.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(String::from));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_whole() {
        let document = document("/api");
        assert_eq!(document["servers"][0]["url"], "/api");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for name in found {
            assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
        }
        for operation in &OPERATIONS {
            let pointer = operation.path.replace('/', "~1");
            let at = format!("/paths/{pointer}/{}", operation.method.to_ascii_lowercase());
            let described = document.pointer(&at).unwrap_or_else(|| panic!("{at}"));
            assert!(operation.responses.is_sorted_by_key(|response| response.0), "{at}");
            assert_eq!(described["responses"].as_object().unwrap().len(), operation.responses.len(), "{at}");
        }
    }
}
