//! Messages between two peers: session descriptions and candidates as JSON, and the request for an offer.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message between two peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// `OFFER_REQUEST`: the caller asks the other side to offer.
    OfferRequest,
    /// `{"sdp":{"type":…,"sdp":…}}`, an `RTCSessionDescriptionInit`.
    Sdp {
        /// Offer or answer.
        kind: SdpType,
        /// The session description (RFC 8866), with CR LF line ends.
        sdp: String,
    },
    /// `{"ice":{…}}`, an `RTCIceCandidateInit`.
    Ice(Candidate),
}

/// The types of session description that this protocol exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdpType {
    /// The first description of an exchange.
    Offer,
    /// The reply to an offer.
    Answer,
}

/// An ICE candidate, like JavaScript's `RTCIceCandidateInit`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// `candidate:…` (RFC 8839, section 5.1). Empty: end of candidates.
    pub candidate: String,
    /// The m-line's `a=mid`. Browsers send it, GStreamer's examples do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// The index of the m-line. Existing clients need a number; browsers may send null.
    #[serde(rename = "sdpMLineIndex")]
    pub sdp_m_line_index: Option<u32>,
}

/// The text is not a [`Signal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignal {
    /// Neither `OFFER_REQUEST` nor a JSON object.
    #[error("not JSON: {0}")]
    Json(String),
    /// An object without a usable `sdp` or `ice`.
    #[error("JSON without a usable sdp or ice: {0}")]
    Shape(String),
}

impl Signal {
    /// Parses one message. `"ice": null` and an empty candidate mean end of candidates.
    pub fn parse(text: &str) -> Result<Self, InvalidSignal> {
        if text == "OFFER_REQUEST" {
            return Ok(Self::OfferRequest);
        }
        let mut object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| InvalidSignal::Json(error.to_string()))?;
        if let Some(sdp) = object.remove("sdp") {
            return read_description(sdp);
        }
        match object.remove("ice") {
            Some(ice) => Candidate::read(ice).map(Self::Ice),
            None => Err(shape("neither is there")),
        }
    }

    /// Whether it is an offer.
    pub fn is_offer(&self) -> bool {
        matches!(self, Self::Sdp { kind: SdpType::Offer, .. })
    }

    /// Whether it is an answer.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Sdp { kind: SdpType::Answer, .. })
    }
}

fn shape(what: &str) -> InvalidSignal {
    InvalidSignal::Shape(what.into())
}

pub(crate) fn read_description(value: Value) -> Result<Signal, InvalidSignal> {
    let Value::Object(mut object) = value else { return Err(shape("the description is no object")) };
    let kind = object.get("type").and_then(read_kind);
    let kind = kind.ok_or_else(|| shape("the description's type is neither offer nor answer"))?;
    match object.remove("sdp") {
        Some(Value::String(sdp)) => Ok(Signal::Sdp { kind, sdp }),
        _ => Err(shape("the description has no text")),
    }
}

/// Some peers write the type in upper case.
pub(crate) fn read_kind(value: &Value) -> Option<SdpType> {
    match value.as_str()?.to_ascii_lowercase().as_str() {
        "offer" => Some(SdpType::Offer),
        "answer" => Some(SdpType::Answer),
        _ => None,
    }
}

/// A name: a text, or a number as its digits.
pub(crate) fn read_name(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Accepts `1`, but also `1.0` and `"1"`.
pub(crate) fn read_index(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => {
            let whole =
                number.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=1e9).contains(number));
            number
                .as_u64()
                .or_else(|| format!("{}", whole?).parse().ok())
                .and_then(|it| u32::try_from(it).ok())
        }
        _ => None,
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = match self {
            Self::OfferRequest => return f.write_str("OFFER_REQUEST"),
            Self::Sdp { kind, sdp } => {
                serde_json::json!({ "sdp": SdpInit { kind: *kind, sdp: sdp.clone() } })
            }
            Self::Ice(candidate) => serde_json::json!({ "ice": candidate }),
        };
        json.fmt(f)
    }
}

impl Candidate {
    /// Reads an `RTCIceCandidateInit`. Null and an empty candidate mean end of candidates. Mid and index identify the same
    /// m-line, so one valid value is enough; an invalid other one is ignored.
    pub fn read(value: Value) -> Result<Self, InvalidSignal> {
        let mut object = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(object) => object,
            _ => return Err(shape("the candidate is no object")),
        };
        let candidate = match object.remove("candidate") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(_) => return Err(shape("the candidate is no text")),
        };
        let (mid, index) = (object.remove("sdpMid"), object.get("sdpMLineIndex"));
        let is_given = mid.iter().chain(index).any(|value| !value.is_null());
        let (sdp_mid, sdp_m_line_index) = (mid.and_then(read_name), index.and_then(read_index));
        if is_given && sdp_mid.is_none() && sdp_m_line_index.is_none() {
            return Err(shape("the candidate's m-line is neither a mid nor an index"));
        }
        Ok(Self { candidate, sdp_mid, sdp_m_line_index })
    }

    /// Whether this is the end of candidates (RFC 8838, section 8.2).
    pub fn is_end(&self) -> bool {
        self.candidate.trim().is_empty()
    }
}

/// A description as it is written.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SdpInit {
    #[serde(rename = "type")]
    pub(crate) kind: SdpType,
    pub(crate) sdp: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As they are printed there, indented; the document leaves out parts of them.
    #[test]
    fn the_examples_of_the_document_are_read() {
        for (kind, name) in [(SdpType::Offer, "offer"), (SdpType::Answer, "answer")] {
            let text = format!(
                "{{\n    \"sdp\": {{\n                \"sdp\": \"o=- [....]\",\n                \"type\": \"{name}\"\n    }}\n}}"
            );
            assert_eq!(Signal::parse(&text), Ok(Signal::Sdp { kind, sdp: "o=- [....]".into() }));
        }
        let text = "{\n    \"ice\": {\n                \"candidate\": \"...\",\n                \"sdpMLineIndex\": 0,\n                \"more\": {}\n    }\n}";
        let candidate = Candidate { candidate: "...".into(), sdp_mid: None, sdp_m_line_index: Some(0) };
        assert_eq!(Signal::parse(text), Ok(Signal::Ice(candidate)));
    }

    #[test]
    fn reads_what_browsers_and_gstreamer_send() {
        let chrome = r#"{"ice":{"candidate":"candidate:1 1 udp 1 x.local 9 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"ab"}}"#;
        let Ok(Signal::Ice(candidate)) = Signal::parse(chrome) else { panic!("not a candidate") };
        assert_eq!(candidate.sdp_mid.as_deref(), Some("0"));
        assert_eq!(candidate.sdp_m_line_index, Some(0));
        assert!(!candidate.is_end());

        let gstreamer =
            r#"{"ice":{"candidate":"candidate:1 1 UDP 1 10.0.0.1 9 typ host","sdpMLineIndex":1}}"#;
        let Ok(Signal::Ice(candidate)) = Signal::parse(gstreamer) else { panic!("not a candidate") };
        assert_eq!((candidate.sdp_mid, candidate.sdp_m_line_index), (None, Some(1)));

        let offer = r#"{"sdp": {"sdp": "v=0\r\n", "type": "offer"}}"#;
        assert_eq!(Signal::parse(offer), Ok(Signal::Sdp { kind: SdpType::Offer, sdp: "v=0\r\n".into() }));
    }

    #[test]
    fn reads_what_can_mean_one_thing_only() {
        for (fields, mid, index) in [
            (r#""sdpMLineIndex":"1""#, None, Some(1)),
            (r#""sdpMLineIndex":1.0"#, None, Some(1)),
            (r#""sdpMLineIndex":-1,"sdpMid":"a""#, Some("a"), None),
            (r#""sdpMLineIndex":"x","sdpMid":"a""#, Some("a"), None),
            (r#""sdpMLineIndex":0,"sdpMid":1"#, Some("1"), Some(0)),
            (r#""sdpMLineIndex":2,"sdpMid":false"#, None, Some(2)),
        ] {
            let text = format!(r#"{{"ice":{{"candidate":"x",{fields}}}}}"#);
            let Ok(Signal::Ice(candidate)) = Signal::parse(&text) else { panic!("{text}") };
            assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index), (mid, index), "{text}");
        }
        let offer = r#"{"sdp": {"sdp": "v=0\r\n", "type": "OFFER"}}"#;
        assert_eq!(Signal::parse(offer), Ok(Signal::Sdp { kind: SdpType::Offer, sdp: "v=0\r\n".into() }));
    }

    #[test]
    fn reads_every_end_of_candidates() {
        for text in [
            r#"{"ice":{"candidate":"","sdpMid":"0","sdpMLineIndex":0}}"#,
            r#"{"ice":{"candidate":"","sdpMid":null,"sdpMLineIndex":null}}"#,
            r#"{"ice":null}"#,
            r#"{"ice":{}}"#,
        ] {
            assert!(
                matches!(Signal::parse(text), Ok(Signal::Ice(candidate)) if candidate.is_end()),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in
            ["", "HELLO", "[]", "1", "{}", "{\"sdp\":1}", "{\"sdp\":{\"type\":\"pranswer\",\"sdp\":\"\"}}"]
        {
            assert!(Signal::parse(text).is_err(), "{text}");
        }
        assert!(Signal::parse(r#"{"ice":{"candidate":"x","sdpMLineIndex":-1}}"#).is_err());
        assert!(Signal::parse(r#"{"ice":{"candidate":"x","sdpMLineIndex":0.5}}"#).is_err());
        assert!(Signal::parse(r#"{"ice":{"candidate":"x","sdpMid":{}}}"#).is_err());
        assert!(Signal::parse(r#"{"ice":{"candidate":7}}"#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(candidate in "\\PC*", mid in proptest::option::of("\\PC*"), index in proptest::option::of(0u32..)) {
            let signal = Signal::Ice(Candidate { candidate, sdp_mid: mid, sdp_m_line_index: index });
            prop_assert_eq!(Signal::parse(&signal.to_string()), Ok(signal));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = Signal::parse(&text);
        }
    }
}
