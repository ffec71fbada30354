//! ICE servers as the members of an `RTCConfiguration`.

use serde_json::Value;

/// The URLs of `RTCIceServer` objects, each with its object. `urls` is a text or an array of texts.
pub fn ice_urls(servers: &[Value]) -> impl Iterator<Item = (&str, &Value)> {
    servers.iter().flat_map(|server| {
        let urls = server.get("urls").map_or(&[][..], |urls| match urls {
            Value::Array(urls) => urls,
            url => std::slice::from_ref(url),
        });
        urls.iter().filter_map(Value::as_str).map(move |url| (url, server))
    })
}
