//! The client as a service of systemd: it reports that it runs, what it does, and that its main loop is not stuck.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// What systemd is sent (`sd_notify`); nothing if systemd did not start this process.
#[derive(Debug)]
pub struct Service {
    beat: Option<Beat>,
}

/// When the watchdog is due. systemd kills a service that is silent for `WatchdogSec`.
#[derive(Debug)]
struct Beat {
    interval: Duration,
    next: Instant,
}

impl Service {
    /// Reports that the program runs. It does not wait for the signalling server: a service may start before it.
    pub fn start(now: Instant) -> Self {
        send(NotifyState::Ready);
        Self { beat: sd_notify::watchdog_enabled().map(|limit| Beat { interval: limit / 3, next: now }) }
    }

    /// When to call [`Service::alive`].
    pub fn due(&self) -> Option<Instant> {
        self.beat.as_ref().map(|beat| beat.next)
    }

    /// Reports that the main loop runs, if it is time.
    pub fn alive(&mut self, now: Instant) {
        if let Some(beat) = self.beat.as_mut().filter(|beat| beat.next <= now) {
            beat.next = now + beat.interval;
            send(NotifyState::Watchdog);
        }
    }

    /// Reports that the program ends.
    pub fn stopping(&self) {
        send(NotifyState::Stopping);
    }
}

/// Reports in one line what the program does, for `systemctl status`.
pub fn status(words: &str) {
    send(NotifyState::Status(words));
}

fn send(state: NotifyState<'_>) {
    // Without systemd there is no socket, and nothing is sent.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd is not notified: {error}");
    }
}
