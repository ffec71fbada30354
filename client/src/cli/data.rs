//! The flags for data channels.

use clap::Args;

use crate::data::{
    controls::{self, Declaration},
    spec::{self, End, Spec},
};

/// Data channels joined to something else.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub struct Data {
    /// Join the data channel LABEL to END: stdio, tcp:HOST:PORT, tcp-listen:ADDRESS:PORT, udp:HOST:PORT,
    /// udp-listen:ADDRESS:PORT, unix:PATH, serial:DEVICE@BAUD or exec:COMMAND. Options follow a question mark, joined
    /// by &: text, unordered, maxRetransmits=N, maxPacketLifeTime=MS, exclusive, hold=TIME (500ms, 2s). The peer that
    /// offers creates the channels. May be repeated. With stdio, events go to stderr.
    #[arg(long = "data", value_name = "LABEL=END[?OPTIONS]")]
    pub joins: Vec<Spec>,
    /// Run this command with sh when the messages of a channel with hold=TIME stop. CALLBIN_LABEL and CALLBIN_PEER
    /// name the channel and the peer.
    #[arg(long, value_name = "COMMAND")]
    pub on_stale: Option<String>,
    /// Declare the controls in FILE (JSON) to each peer on the channel `controls`: a page shows them as buttons, sliders and
    /// joysticks, and sends what its user does as lines of JSON. Needs --data controls=END?text.
    #[arg(long, value_name = "FILE", value_parser = Declaration::read)]
    pub controls: Option<Declaration>,
}

impl Data {
    /// The error message for flags that contradict each other.
    pub(super) fn conflict(&self) -> Option<String> {
        let has_hold = self.joins.iter().any(|spec| spec.hold.is_some());
        if self.on_stale.is_some() && !has_hold {
            return Some("--on-stale needs a --data channel with hold=TIME".into());
        }
        let is_for_controls = |spec: &Spec| spec.label == controls::LABEL && spec.text;
        if self.controls.is_some() && !self.joins.iter().any(is_for_controls) {
            return Some("--controls needs --data controls=END?text".into());
        }
        spec::conflict(&self.joins)
    }

    /// Whether stdout is for data, so that events go to stderr.
    pub fn uses_stdout(&self) -> bool {
        self.joins.iter().any(|spec| spec.end == End::Stdio)
    }
}
