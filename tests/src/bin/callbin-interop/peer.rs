//! The other stack's end of a call, and what it has reported.

use std::{fs::File, io::Write, time::Instant};

use serde_json::Value;

use crate::{flow::Flow, link::Link};

/// A peer program and its reports.
pub struct Peer {
    link: Link,
    log: File,
    /// Whether it is registered.
    pub registered: bool,
    /// The number of its and our offers that were answered.
    pub negotiated: usize,
    /// Texts received on its data channel.
    pub texts: Vec<String>,
    /// The notices of the server that its program reported.
    pub notices: Vec<String>,
    /// Its error reports.
    pub troubles: Vec<String>,
    /// `callbin`'s latest description.
    pub ours: Option<String>,
    /// Its own latest description.
    pub theirs: Option<String>,
    /// The video that it receives.
    pub picture: Flow,
    /// The audio that it receives.
    pub sound: Flow,
}

impl Peer {
    /// Watches a peer and logs its reports.
    pub fn new(link: Link, log: File) -> Self {
        Self {
            link,
            log,
            registered: false,
            negotiated: 0,
            texts: Vec::new(),
            notices: Vec::new(),
            troubles: Vec::new(),
            ours: None,
            theirs: None,
            picture: Flow::default(),
            sound: Flow::default(),
        }
    }

    /// Sends it a command.
    pub fn tell(&mut self, command: &Value) {
        self.note("→", command);
        self.link.send(command);
    }

    /// Writes a line to the log; a description is written as text.
    pub fn note(&mut self, who: &str, line: &Value) {
        let _ = match line.pointer("/sdp").and_then(Value::as_str) {
            Some(sdp) => writeln!(self.log, "{who} {} {}\n{sdp}", line["whose"], line["type"]),
            None => writeln!(self.log, "{who} {line}"),
        };
    }

    /// Handles its reports until `until`.
    pub fn listen(&mut self, until: Instant) {
        while let Some(report) = self.link.next(until) {
            self.note("peer", &report);
            self.take(&report);
        }
    }

    fn take(&mut self, report: &Value) {
        let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
        match report["is"].as_str().unwrap_or_default() {
            "registered" => self.registered = true,
            "negotiated" => self.negotiated += 1,
            "text" => self.texts.push(text("text")),
            "notice" => self.notices.push(text("notice")),
            "error" => self.troubles.push(text("error")),
            "sdp" if report["whose"] == "ours" => self.theirs = Some(text("sdp")),
            "sdp" => self.ours = Some(text("sdp")),
            "stats" => self.measure(report),
            _ => {}
        }
    }

    fn measure(&mut self, stats: &Value) {
        let count = |kind: &str| stats[kind]["frames"].as_f64().unwrap_or_default();
        let color: Vec<f64> =
            stats["video"]["color"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let red = matches!(color[..], [r, g, b] if r > 150.0 && g < 80.0 && b < 80.0);
        self.picture.push(count("video"), red);
        self.sound.push(count("audio"), stats["audio"]["level"].as_f64().is_some_and(|level| level > 0.01));
    }
}

/// The ICE user fragment of a description, which changes with an ICE restart.
pub fn ufrag(description: Option<&String>) -> Option<&str> {
    description?.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"))
}
