//! Server-sent events: what is new since the last look.

use serde_json::{Value, json};

use super::{Client, wanted};

/// The events of a stream: of the offers only, or of everything in a call.
#[derive(Debug)]
pub struct Watch {
    /// The call whose events these are. `None`: offers of any call.
    call: Option<String>,
    /// The last offer: its call and number.
    offer: Option<(String, u64)>,
    has_answer: bool,
    next: u64,
    is_over: bool,
}

impl Watch {
    /// Offers and requests for offers.
    pub fn offers() -> Self {
        Self { call: None, offer: None, has_answer: false, next: 0, is_over: false }
    }

    /// Everything in a call; candidates from this number on.
    pub fn call(call: &str, after: u64) -> Self {
        Self { call: Some(call.into()), next: after, ..Self::offers() }
    }

    /// The new events, as text. `None`: the call is over.
    pub fn news(&mut self, call: Option<&str>, client: &Client) -> Option<String> {
        if self.call.is_some() && self.call.as_deref() != call {
            return None;
        }
        let mut text = String::new();
        let (Some(call), Some(leg)) = (call, client.leg()) else { return Some(text) };
        if let Some((number, value)) = wanted(call, leg) {
            let place = Some((call.to_owned(), number));
            if self.offer != place {
                self.offer = place;
                let name = value.get("type").and_then(Value::as_str).unwrap_or("offer").to_owned();
                text += &event(&name, None, &value);
            }
        }
        if self.call.is_none() {
            return Some(text);
        }
        match leg.answer() {
            Some(sdp) if !self.has_answer => {
                text += &event("answer", None, &json!({ "call": call, "type": "answer", "sdp": sdp }));
                self.has_answer = true;
            }
            Some(_) => {}
            None => self.has_answer = false,
        }
        let (candidates, next) = leg.candidates(self.next);
        let first = next - candidates.len() as u64;
        for (number, candidate) in (first + 1..).zip(candidates) {
            text += &event("candidate", Some(number), &json!(candidate));
        }
        self.next = next;
        Some(text)
    }

    /// The last event. `None`: it was given already.
    pub fn end(&mut self) -> Option<String> {
        let is_first = !std::mem::replace(&mut self.is_over, true);
        is_first.then(|| event("end", None, &json!({})))
    }
}

/// JSON has no line ends, so the data is one line.
fn event(name: &str, id: Option<u64>, data: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::http::tests::{OFFER, called, from_text, sdp},
            callee, caller,
        },
        *,
    };

    #[test]
    fn each_offer_is_one_event() {
        let (mut client, mut watch) = (callee("me").unwrap(), Watch::offers());
        assert_eq!(watch.news(None, &client).as_deref(), Some(""));
        client.take(called("me", false, true));
        let asked =
            "event: offer-request\ndata: {\"call\":\"x\",\"from\":\"other\",\"type\":\"offer-request\"}\n\n";
        assert_eq!(watch.news(Some("x"), &client).as_deref(), Some(asked));
        assert_eq!(watch.news(Some("x"), &client).as_deref(), Some(""), "once");
        client.take(from_text("me", &sdp("offer")));
        assert!(watch.news(Some("x"), &client).unwrap().starts_with("event: offer\n"));
        assert!(watch.news(Some("another call"), &client).unwrap().starts_with("event: offer\n"));
    }

    #[test]
    fn a_call_has_events_for_everything() {
        let mut client = caller(Some("other"), Some(OFFER.into())).unwrap();
        client.take(called("call", true, false));
        let mut watch = Watch::call("x", 0);
        assert_eq!(watch.news(Some("x"), &client).as_deref(), Some(""));
        client.take(from_text("call", &sdp("answer")));
        client.take(from_text("call", r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":0}}"#));
        let news = watch.news(Some("x"), &client).unwrap();
        assert!(news.starts_with("event: answer\n") && news.contains("event: candidate\nid: 1\n"), "{news}");
        assert_eq!(watch.news(Some("x"), &client).as_deref(), Some(""), "once");
        let mut later = Watch::call("x", 1);
        assert!(!later.news(Some("x"), &client).unwrap().contains("candidate:1"), "after the cursor");
        assert_eq!(watch.news(Some("another call"), &client), None);
        assert_eq!(watch.news(None, &client), None);
    }
}
