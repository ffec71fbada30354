//! A call that has lost its session at the server, and resumes it.

use std::time::{Duration, Instant};

use callbin_protocol::{ClientMessage, Signal};

use super::Call;
use crate::{
    app::App,
    ending::Ending,
    events::Event,
    resume::{Effect, Input},
    signalling::{Incoming, closing},
};

/// Signals that wait until the session is resumed.
const MAX_UNSENT: usize = 128;

impl Call {
    /// Whether the call goes on, and may be resumed, after the server has ended the session.
    pub(super) fn is_resumable(&self, app: &App) -> bool {
        self.resumption.is_agreed() && app.engine.connected(self.key).is_some()
    }

    /// Handles what comes while the call has no session at the server.
    pub(super) fn incoming_again(&mut self, app: &mut App, incoming: Incoming) -> Option<Ending> {
        let input = match incoming {
            Incoming::Text(text) => Input::Frame(text),
            Incoming::Closed { code: 1000, .. } => Input::Gone,
            Incoming::Closed { code, reason } => match app.sent_away(code, &reason) {
                Some(failure) => Input::Refused(failure),
                None => Input::Lost(closing(code, &reason)),
            },
            Incoming::Unreadable(failure) => Input::Lost(failure.message),
            Incoming::Lost(reason) => Input::Lost(reason),
        };
        self.resume(app, input)
    }

    /// Checks the deadline of the resumption.
    pub(super) fn look_at_resumption(&mut self, app: &mut App, now: Instant) -> Option<Ending> {
        self.resumption.set_path_lost(app.started.elapsed(), app.engine.is_lost(self.key));
        let is_due = self.resumption.deadline().is_some_and(|at| now >= app.started + at);
        // Checks of the path do not count as packets.
        let silence =
            app.engine.receives(self.key).then(|| app.engine.silence(self.key).unwrap_or(Duration::MAX));
        if is_due { self.resume(app, Input::Deadline(silence)) } else { None }
    }

    pub(super) fn resume(&mut self, app: &mut App, input: Input) -> Option<Ending> {
        let effects = self.resumption.handle(app.started.elapsed(), input);
        effects.into_iter().find_map(|effect| self.carry_out_again(app, effect))
    }

    fn carry_out_again(&mut self, app: &mut App, effect: Effect) -> Option<Ending> {
        let peer = self.peer.as_ref();
        match effect {
            Effect::Connect => self.connecting = Some(app.connect(&self.uid)),
            Effect::Disconnect => self.connection = None,
            Effect::Call => {
                let request = peer.map(|peer| ClientMessage::Session(peer.clone()).to_string());
                request.into_iter().for_each(|request| self.send(request));
            }
            Effect::Send(text) => self.send(text),
            Effect::ReportLost(reason) => {
                app.engine.set_cut_off(true);
                app.reporter.tell(peer, &Event::SignallingLost { reason });
            }
            Effect::ReportRetry(reason, pause) => {
                app.reporter.tell(peer, &Event::reconnecting(&reason, pause));
            }
            Effect::ReportNever(reason) => {
                tracing::warn!("the call goes on without a server, for good: {reason}");
            }
            Effect::Resumed => {
                app.engine.set_cut_off(false);
                app.reporter.tell(peer, &Event::SignallingBack);
                for signal in std::mem::take(&mut self.unsent) {
                    self.send_signal(signal);
                }
            }
            Effect::PeerLeft => return Some(Ending::PeerLeft),
        }
        None
    }

    fn send(&self, text: String) {
        if let Some(connection) = &self.connection {
            connection.send(text);
        }
    }

    /// Sends a signal to the peer, or keeps it until there is a session again.
    pub(super) fn send_signal(&mut self, signal: Signal) {
        if self.resumption.is_attached() {
            let signal = self.resumption.say(signal);
            self.send(signal.to_string());
        } else if self.resumption.is_hopeful() && self.unsent.len() < MAX_UNSENT {
            self.unsent.push(signal);
        }
    }
}
