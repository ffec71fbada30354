//! Reports about sources, on their way to the app's loop.

use async_std::channel::{Receiver, Sender, bounded};

use crate::{events::Event, sdp::Kind};

/// Reports that may wait. Sources report rarely; see `healing`.
const WAITING: usize = 64;

/// A report about one part of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub(super) source: String,
    pub(super) kind: Kind,
    pub(super) change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It delivers nothing, for this reason.
    Lost(String),
    /// It delivers again.
    Back,
}

/// Takes the reports.
#[derive(Debug, Clone)]
pub struct News(Sender<Notice>);

impl News {
    /// The two ends of the reports.
    pub fn new() -> (Self, Receiver<Notice>) {
        let (sender, receiver) = bounded(WAITING);
        (Self(sender), receiver)
    }

    pub(super) fn tell(&self, notice: Notice) {
        if self.0.try_send(notice).is_err() {
            tracing::warn!("a report about a source is lost");
        }
    }
}

impl From<Notice> for Event {
    fn from(Notice { source, kind, change }: Notice) -> Self {
        let kind = kind.name().to_owned();
        match change {
            Change::Lost(reason) => Self::SourceLost { source, kind, reason },
            Change::Back => Self::SourceBack { source, kind },
        }
    }
}
