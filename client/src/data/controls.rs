//! The controls that `--controls` declares to pages (docs/controls.md).

use std::{collections::BTreeSet, fs::File, io::Read, sync::Arc};

use serde_json::{Map, Value};

/// The label of the channel for controls.
pub const LABEL: &str = "controls";
/// The largest file in bytes, and the most controls and the longest id in characters: pages read no more.
const MAX_SIZE: u64 = 16_000;
const MAX_CONTROLS: usize = 32;
const MAX_ID: usize = 32;
const TYPES: [&str; 3] = ["button", "slider", "joystick"];

/// A declaration, as the message for each peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration(Arc<str>);

impl Declaration {
    /// Reads the file at this path. The error says what is wrong with it.
    pub fn read(path: &str) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(MAX_SIZE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > MAX_SIZE {
            return Err(format!("want at most {MAX_SIZE} bytes"));
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut declaration: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let controls =
            declaration.get("controls").and_then(Value::as_array).ok_or("want {\"controls\": [ … ]}")?;
        if !(1..=MAX_CONTROLS).contains(&controls.len()) {
            return Err(format!("want 1 to {MAX_CONTROLS} controls"));
        }
        let mut ids = BTreeSet::new();
        for control in controls {
            let id = check(control)?;
            if !ids.insert(id) {
                return Err(format!("the id {id} is used twice"));
            }
        }
        declaration.insert("callbin".into(), LABEL.into());
        Ok(Self(Value::Object(declaration).to_string().into()))
    }

    /// The message that declares them.
    pub fn message(&self) -> &str {
        &self.0
    }
}

/// Checks a control, and returns its id.
fn check(control: &Value) -> Result<&str, String> {
    let text = |name: &str| control.get(name).and_then(Value::as_str);
    let id = text("id").filter(|id| (1..=MAX_ID).contains(&id.encode_utf16().count()));
    let id = id.ok_or_else(|| format!("each control needs an \"id\" of 1 to {MAX_ID} characters"))?;
    match text("type") {
        Some(kind) if TYPES.contains(&kind) => Ok(id),
        _ => Err(format!("{id}: want \"type\": \"button\", \"slider\" or \"joystick\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Declaration::parse(text).unwrap_err()
    }

    #[test]
    fn a_declaration_is_the_file_as_a_message() {
        let text = r#"{"controls": [{"id": "light", "type": "button", "label": "Light"}], "blind": true}"#;
        let message: Value = serde_json::from_str(Declaration::parse(text).unwrap().message()).unwrap();
        let mut whole: Value = serde_json::from_str(text).unwrap();
        whole["callbin"] = "controls".into();
        assert_eq!(message, whole);
    }

    #[test]
    fn what_pages_would_leave_out_is_named() {
        assert!(error("{").contains("EOF"));
        for text in ["{}", "[]", r#"{"controls": 1}"#] {
            assert!(error(text).contains("controls") || error(text).contains("map"), "{text}");
        }
        assert_eq!(error(r#"{"controls": []}"#), "want 1 to 32 controls");
        let many = vec![r#"{"id": "x", "type": "button"}"#; 33].join(",");
        assert_eq!(error(&format!(r#"{{"controls": [{many}]}}"#)), "want 1 to 32 controls");
        let two = [r#"{"id": "x", "type": "button"}"#; 2].join(",");
        assert_eq!(error(&format!(r#"{{"controls": [{two}]}}"#)), "the id x is used twice");
        for control in ["1", "{}", r#"{"id": "", "type": "button"}"#] {
            assert!(error(&format!(r#"{{"controls": [{control}]}}"#)).contains("\"id\""), "{control}");
        }
        assert!(error(r#"{"controls": [{"id": "x", "type": "lever"}]}"#).starts_with("x: want \"type\""));
    }

    #[test]
    fn a_file_that_is_too_large_or_missing_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " ".repeat(20_000)).unwrap();
        assert_eq!(Declaration::read(file.path().to_str().unwrap()).unwrap_err(), "want at most 16000 bytes");
        assert!(Declaration::read("/nowhere/at/all").is_err());
    }
}
