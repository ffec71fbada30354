//! Which dialect is spoken at which path, and at which address.

use std::{net::SocketAddr, str::FromStr};

use async_tungstenite::tungstenite::Message;

use super::Dialect;

/// The dialects with paths of their own. The text protocol has all other paths.
const DEFAULTS: [(Dialect, &[&str]); 8] = [
    (Dialect::Rooms, &["/ws/rooms"]),
    (
        Dialect::Antmedia,
        &[
            "/WebRTCApp4",
            "/WebRTCApp/websocket",
            "/WebRTCAppEE/websocket",
            "/LiveApp/websocket",
            "/live/websocket",
        ],
    ),
    (Dialect::Action, &["/signals"]),
    (Dialect::Webrtcsink, &["/webrtcsink"]),
    (Dialect::Rest, &["/"]),
    (Dialect::Whip, &["/whip"]),
    (Dialect::Whep, &["/whep"]),
    (Dialect::Node, &["/node"]),
];

/// One value of `--dialect`: `NAME=off` or `NAME=/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    dialect: Dialect,
    /// `None`: off.
    path: Option<String>,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = text.split_once('=').ok_or("neither NAME=off nor NAME=/path")?;
        let known = || Dialect::ALL.map(Dialect::name).join(", ");
        let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
        let dialect = dialect.ok_or_else(|| format!("no dialect {name:?}; there are {}", known()))?;
        match place {
            "off" => Ok(Self { dialect, path: None }),
            _ if dialect == Dialect::Text => {
                Err("text has all paths that no other dialect has, or is off".into())
            }
            path if path.starts_with('/') => {
                Ok(Self { dialect, path: Some(path.trim_end_matches('/').into()) })
            }
            _ => Err(format!("{place:?} is neither off nor a path, which begins with /")),
        }
    }
}

/// One value of `--listen`: `NAME=ADDRESS:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// What WebSockets on any path speak.
    pub dialect: Dialect,
    /// Where the server listens.
    pub address: SocketAddr,
}

impl FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("not NAME=ADDRESS:PORT")?;
        let address = address.parse().map_err(|_| format!("{address:?} is no ADDRESS:PORT"))?;
        // The others need a path, or HTTP.
        let names = [Dialect::Text, Dialect::Antmedia, Dialect::Action, Dialect::Webrtcsink];
        match names.into_iter().find(|dialect| dialect.name() == name) {
            Some(dialect) => Ok(Self { dialect, address }),
            None => Err(format!("{name:?} is none of {}", names.map(Dialect::name).join(", "))),
        }
    }
}

/// The paths of all dialects that are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    has_text: bool,
    paths: Vec<(Dialect, String)>,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Routes {
    /// The default paths, changed by these settings. Several paths of one dialect add up.
    pub fn new(settings: &[Setting]) -> Self {
        let of = |dialect| settings.iter().filter(move |setting| setting.dialect == dialect);
        let mut paths = Vec::new();
        for (dialect, defaults) in DEFAULTS {
            if of(dialect).count() == 0 {
                paths.extend(defaults.iter().map(|path| (dialect, path.trim_end_matches('/').to_owned())));
            } else if of(dialect).all(|setting| setting.path.is_some()) {
                paths.extend(of(dialect).filter_map(|setting| Some((dialect, setting.path.clone()?))));
            }
        }
        Self { has_text: of(Dialect::Text).count() == 0, paths }
    }

    /// Whether the dialect is on.
    pub fn has(&self, dialect: Dialect) -> bool {
        if dialect == Dialect::Text {
            self.has_text
        } else {
            self.paths.iter().any(|(known, _)| *known == dialect)
        }
    }

    /// The dialect of a WebSocket at this path, and what follows its own path. `None`: none is spoken there.
    pub fn websocket<'a>(&self, path: &'a str) -> Option<(Dialect, &'a str)> {
        let of_path = self.paths.iter().find_map(|(dialect, own)| {
            let rest = below(path, own)?;
            let fits = match dialect {
                Dialect::Rooms => !rest.is_empty() && !rest.contains('/'),
                Dialect::Antmedia | Dialect::Action | Dialect::Webrtcsink | Dialect::Node => rest.is_empty(),
                _ => false,
            };
            fits.then_some((*dialect, rest))
        });
        of_path.or_else(|| self.has_text.then_some((Dialect::Text, "")))
    }

    /// The HTTP dialect of a request at this path, and what follows its own path.
    pub fn http<'a>(&self, path: &'a str) -> Option<(Dialect, &'a str)> {
        self.paths.iter().find_map(|(dialect, own)| {
            let rest = below(path, own)?;
            let first = rest.split('/').next();
            let fits = match dialect {
                Dialect::Whip | Dialect::Whep => !rest.is_empty(),
                Dialect::Rest => matches!(first, Some("offer" | "answer" | "ice" | "openapi.json")),
                _ => false,
            };
            fits.then_some((*dialect, rest))
        })
    }

    /// The dialect that a first frame plainly belongs to, on any path.
    pub fn recognize(&self, frame: &Message) -> Option<Dialect> {
        let Message::Text(text) = frame else { return None };
        let name = text.trim_start().strip_prefix('{')?.trim_start();
        let dialect = if name.starts_with("\"command\"") {
            Dialect::Antmedia
        } else if name.starts_with("\"action\"") {
            Dialect::Action
        } else {
            return None;
        };
        self.has(dialect).then_some(dialect)
    }
}

/// What follows `own` and a slash, without a slash at the end. Empty at `own` itself.
fn below<'a>(path: &'a str, own: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(own)?;
    if rest.is_empty() { Some(rest) } else { Some(rest.strip_prefix('/')?.trim_end_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(settings: &[&str]) -> Routes {
        let settings: Vec<Setting> = settings.iter().map(|text| text.parse().unwrap()).collect();
        Routes::new(&settings)
    }

    #[test]
    fn each_path_has_its_dialect() {
        let routes = routes(&[]);
        for (path, expected) in [
            ("/", (Dialect::Text, "")),
            ("/anything/else", (Dialect::Text, "")),
            ("/ws/rooms/r/", (Dialect::Rooms, "r")),
            ("/ws/rooms/r", (Dialect::Rooms, "r")),
            ("/ws/rooms/", (Dialect::Text, "")),
            ("/ws/roomsr", (Dialect::Text, "")),
            ("/WebRTCApp4", (Dialect::Antmedia, "")),
            ("/WebRTCAppEE/websocket", (Dialect::Antmedia, "")),
            ("/signals", (Dialect::Action, "")),
            ("/webrtcsink/", (Dialect::Webrtcsink, "")),
            ("/node", (Dialect::Node, "")),
            ("/whip/cam", (Dialect::Text, "")),
        ] {
            assert_eq!(routes.websocket(path), Some(expected), "{path}");
        }
        for (path, expected) in [
            ("/whip/cam", Some((Dialect::Whip, "cam"))),
            ("/whep/cam/id", Some((Dialect::Whep, "cam/id"))),
            ("/offer/cam", Some((Dialect::Rest, "offer/cam"))),
            ("/offers", None),
            ("/whip", None),
            ("/", None),
        ] {
            assert_eq!(routes.http(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_can_be_changed_and_switched_off() {
        let changed = routes(&["rooms=/rtc/", "antmedia=off", "action=/a", "action=/b", "rest=/api"]);
        assert_eq!(changed.websocket("/rtc/r"), Some((Dialect::Rooms, "r")));
        assert_eq!(changed.websocket("/ws/rooms/r"), Some((Dialect::Text, "")));
        assert_eq!(changed.websocket("/WebRTCApp4"), Some((Dialect::Text, "")));
        assert_eq!(changed.websocket("/a"), changed.websocket("/b"));
        assert_eq!(changed.http("/api/offer"), Some((Dialect::Rest, "offer")));
        assert_eq!(changed.http("/offer"), None);
        assert!(!changed.has(Dialect::Antmedia) && changed.has(Dialect::Action));
        let without_text = routes(&["text=off"]);
        assert_eq!(without_text.websocket("/"), None);
        assert_eq!(without_text.websocket("/signals"), Some((Dialect::Action, "")));
    }

    #[test]
    fn a_plain_first_frame_selects_its_dialect() {
        let frame = Message::text("{ \"command\" : \"publish\"}");
        assert_eq!(routes(&[]).recognize(&frame), Some(Dialect::Antmedia));
        assert_eq!(routes(&["antmedia=off"]).recognize(&frame), None);
        assert_eq!(routes(&[]).recognize(&Message::text("{\"action\":\"join\"}")), Some(Dialect::Action));
        for text in ["HELLO x", "{\"sdp\":{}}", "{}", "", "{\"commands\":1}"] {
            assert_eq!(routes(&[]).recognize(&Message::text(text)), None, "{text}");
        }
    }

    #[test]
    fn wrong_settings_are_explained() {
        for (text, why) in [
            ("rooms", "neither NAME=off nor NAME=/path"),
            ("morse=off", "no dialect \"morse\""),
            ("rooms=rtc", "begins with /"),
            ("text=/t", "all paths that no other dialect has"),
        ] {
            let error = text.parse::<Setting>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        for (text, why) in [
            ("webrtcsink", "not NAME=ADDRESS:PORT"),
            ("webrtcsink=8443", "no ADDRESS:PORT"),
            ("webrtcsink=localhost:8443", "no ADDRESS:PORT"),
            ("rooms=127.0.0.1:8443", "none of text, antmedia, action, webrtcsink"),
        ] {
            let error = text.parse::<Door>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let address = "[::1]:8443".parse().unwrap();
        assert_eq!("webrtcsink=[::1]:8443".parse(), Ok(Door { dialect: Dialect::Webrtcsink, address }));
    }
}
