//! Session pairs that relay messages in both directions and measure the round trips.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::{
    peer::{Peer, Target},
    report::{histogram, record},
    runtime,
    scenario::uid,
};

/// Two peers in a session.
pub(crate) struct Pair {
    caller: Peer,
    callee: Peer,
    /// What the callee sends, if it does not return the caller's text.
    back: Option<String>,
}

/// The times at which messages are due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// The next one as soon as the previous one is back.
    PingPong,
    /// At a fixed rate, whether the previous one is back or not. Latency counts from the due time, not from the time of
    /// sending: a server that stalls is charged for everything it delayed.
    Fixed { first: Instant, interval: Duration },
}

impl Pace {
    /// The pace of pair `number` of `count`. All pairs together send `rate` messages per second, counted in both
    /// directions.
    pub(crate) fn of(rate: Option<f64>, start: Instant, number: usize, count: usize) -> Self {
        let Some(rate) = rate else { return Self::PingPong };
        let interval = Duration::from_secs_f64(2.0 * count as f64 / rate);
        Self::Fixed { first: start + interval.mul_f64(number as f64 / count as f64), interval }
    }
}

/// The results of a pair, also if it failed.
pub(crate) struct Played {
    pub(crate) latencies: Histogram<u64>,
    pub(crate) round_trips: u64,
}

impl Played {
    pub(crate) fn nothing() -> Self {
        Self { latencies: histogram(), round_trips: 0 }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // This cannot fail: all histograms have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.round_trips += other.round_trips;
    }
}

impl Pair {
    pub(crate) async fn connect(target: &Target, kind: &str, number: usize) -> anyhow::Result<Self> {
        Self::connect_across((target, target), kind, number).await
    }

    /// A caller at the first server and a callee at the second one.
    pub(crate) async fn connect_across(
        (target, other): (&Target, &Target),
        kind: &str,
        number: usize,
    ) -> anyhow::Result<Self> {
        let callee_uid = uid(&format!("{kind}-callee"), number);
        let callee = other.register(&callee_uid).await?;
        let mut caller = target.register(&uid(&format!("{kind}-caller"), number)).await?;
        caller.send(&format!("SESSION {callee_uid}")).await?;
        let answer = caller.receive().await?;
        anyhow::ensure!(answer == "SESSION_OK", "{answer}");
        Ok(Self { caller, callee, back: None })
    }

    /// Connects two ends through a relay without a protocol, which pairs successive connections.
    pub(crate) async fn connect_bare(target: &Target, size: usize) -> anyhow::Result<Self> {
        let callee = target.connect_bare(size).await?;
        Ok(Self { caller: target.connect_bare(size).await?, callee, back: None })
    }

    /// A caller of the text protocol and a callee that speaks Ant Media's. Both have described their media, so that
    /// candidates pass at once.
    pub(crate) async fn connect_bridged(target: &Target, number: usize, size: usize) -> anyhow::Result<Self> {
        let stream = uid("bridged-callee", number);
        let mut callee = target.connect_at("/WebRTCAppEE/websocket").await?;
        callee.send(&json!({ "command": "join", "streamId": stream }).to_string()).await?;
        let joined = callee.receive().await?;
        anyhow::ensure!(joined.contains("joined"), "{joined}");
        let mut caller = target.register(&uid("bridged-caller", number)).await?;
        caller.send(&format!("SESSION {stream}")).await?;
        let answer = caller.receive().await?;
        anyhow::ensure!(answer == "SESSION_OK", "{answer}");
        let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
        caller.send(&json!({ "sdp": { "type": "offer", "sdp": sdp } }).to_string()).await?;
        callee.receive().await?;
        let answer =
            json!({ "command": "takeConfiguration", "streamId": stream, "type": "answer", "sdp": sdp });
        callee.send(&answer.to_string()).await?;
        caller.receive().await?;
        let candidate = "x".repeat(size);
        let command = json!({
            "command": "takeCandidate", "streamId": stream, "label": 0, "id": "0", "candidate": candidate,
        });
        Ok(Self { caller, callee, back: Some(command.to_string()) })
    }

    /// A text peer's candidate of this size, for a bridged pair.
    pub(crate) fn candidate(size: usize) -> String {
        json!({ "ice": { "candidate": "x".repeat(size), "sdpMLineIndex": 0 } }).to_string()
    }

    /// The caller and the callee.
    pub(crate) fn split(self) -> (Peer, Peer) {
        (self.caller, self.callee)
    }

    /// Relays `text` in both directions until `over` is true. Messages that are overdue then count with their waiting
    /// time so far: otherwise the slowest ones would be missing.
    pub(crate) async fn play(
        mut self,
        text: &str,
        pace: Pace,
        over: impl Fn() -> bool,
        played: &mut Played,
    ) -> anyhow::Result<()> {
        let mut next = match pace {
            Pace::Fixed { first, .. } => first,
            Pace::PingPong => Instant::now(),
        };
        loop {
            let due = match pace {
                Pace::PingPong => Instant::now(),
                Pace::Fixed { interval, .. } => {
                    let due = next;
                    runtime::sleep_until(due).await;
                    next += interval;
                    due
                }
            };
            if over() {
                if let Pace::Fixed { interval, .. } = pace {
                    let late = |unsent: &Instant| *unsent + interval < Instant::now();
                    let unsent = std::iter::successors(Some(due), |last| Some(*last + interval));
                    unsent.take_while(late).for_each(|due| record(&mut played.latencies, due.elapsed()));
                }
                return Ok(());
            }
            self.caller.send(text).await?;
            self.callee.receive().await?;
            self.callee.send(self.back.as_deref().unwrap_or(text)).await?;
            self.caller.receive().await?;
            record(&mut played.latencies, due.elapsed());
            played.round_trips += 1;
        }
    }
}
