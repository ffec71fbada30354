//! Resumes a connected call at the signalling server after the connection to it is lost. Pure: inputs in, effects out; each
//! input comes with its time.
//!
//! This needs a peer that can do the same: the offer has a random key, and the answer repeats it. Both sides register again
//! under their uids. The caller calls again, and each side proves to the other that it knows the key. Media are not touched.
//! Sessions with other clients are closed. Until the call is resumed, it goes on without a server. docs/protocols/text.md has the
//! messages.

mod message;

use std::time::Duration;

use callbin_protocol::{SdpType, ServerMessage, Signal};

use self::message::{Message, key_of, proof, with_key};
pub use self::message::{Random, Role};
use crate::{
    backoff::{Backoff, WaitForServer},
    exit::Failure,
};

/// How long the server and the peer may take for each answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long we look for packets of the peer after the server has ended the session: the peer may have hung up, or only lost
/// its connection to the server.
const DOUBT: Duration = Duration::from_secs(2);
/// A peer that has sent nothing for this long after that has hung up.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const PEER_CUT_OFF: &str = "the peer has lost the connection to the server";

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The connection to the server is lost, for this reason.
    Lost(String),
    /// The server has ended the session: the peer's connection to it is gone.
    Gone,
    /// We are registered again; a fresh nonce.
    Registered(Random),
    /// An attempt to connect failed, or the server refuses us.
    Refused(Failure),
    /// A text frame came during an attempt.
    Frame(String),
    /// [`Resumption::deadline`] has passed; how long the peer has been silent. `None`: it sends no media, so its silence
    /// means nothing. DTLS reports that it has hung up, ICE that its path is lost.
    Deadline(Option<Duration>),
}

/// An effect, to be carried out by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Connect to the server, and register as before.
    Connect,
    /// Ask the server for a session with the peer.
    Call,
    /// Send this frame.
    Send(String),
    /// Close the connection to the server.
    Disconnect,
    /// Report that the server is lost and the call goes on without it.
    ReportLost(String),
    /// Report why an attempt failed, and the pause before the next one.
    ReportRetry(String, Duration),
    /// Report that no attempt follows, and why.
    ReportNever(String),
    /// The session is there again.
    Resumed,
    /// The peer has hung up.
    PeerLeft,
}

/// Where a call is on its way back to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It has its session.
    Attached,
    /// The server has ended the session. Until this time the peer may show that it still lives.
    Doubt(Duration),
    /// There is no connection. The next attempt is at this time.
    Pause(Duration),
    /// We connect and register.
    Connecting,
    /// The caller has requested the session.
    Calling(Random, Duration),
    /// The caller has sent its nonce.
    Asking(Random, Duration),
    /// The callee is registered.
    Waiting(Random),
    /// The callee waits for this proof.
    Checking(String, Duration),
    /// It goes on without a server.
    Alone,
}

/// The resumption of one call.
#[derive(Debug)]
pub struct Resumption {
    role: Role,
    /// The key that our offer has.
    own: Random,
    /// The key of the peer's last offer.
    theirs: Option<Random>,
    /// The key that both descriptions had.
    key: Option<Random>,
    state: State,
    backoff: Backoff,
    /// The path to the peer is lost, too.
    path_is_lost: bool,
}

impl Resumption {
    /// For a call that begins. `own` is a fresh key.
    pub fn new(role: Role, own: Random) -> Self {
        Self {
            role,
            own,
            theirs: None,
            key: None,
            state: State::Attached,
            backoff: fresh(),
            path_is_lost: false,
        }
    }

    /// The form in which a signal goes to the peer: a description has the key, as long as none is agreed on.
    pub fn say(&mut self, signal: Signal) -> Signal {
        match &signal {
            Signal::Sdp { kind: SdpType::Offer, .. } if self.key.is_none() => with_key(&signal, &self.own),
            Signal::Sdp { kind: SdpType::Answer, .. } => match self.theirs.take() {
                Some(key) => with_key(&signal, self.key.insert(key)),
                None => signal,
            },
            _ => signal,
        }
    }

    /// Takes the key from a description of the peer.
    pub fn hear(&mut self, signal: &Signal) {
        match signal {
            Signal::Sdp { kind: SdpType::Offer, sdp } => self.theirs = key_of(sdp),
            Signal::Sdp { kind: SdpType::Answer, sdp } if key_of(sdp).as_ref() == Some(&self.own) => {
                self.key = Some(self.own.clone());
            }
            _ => {}
        }
    }

    /// Whether a frame asks to resume a call.
    pub fn is_request(text: &str) -> bool {
        Message::parse(text).is_some()
    }

    /// Whether both sides can resume the call.
    pub fn is_agreed(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the call has its session at the server.
    pub fn is_attached(&self) -> bool {
        self.state == State::Attached
    }

    /// Whether the session may come back.
    pub fn is_hopeful(&self) -> bool {
        !matches!(self.state, State::Attached | State::Alone)
    }

    /// Sets whether the path to the peer is lost, too. Then attempts follow each other soon, and the end of the session does not
    /// mean that the peer has hung up.
    pub fn set_path_lost(&mut self, now: Duration, is_lost: bool) {
        self.path_is_lost = is_lost;
        self.backoff.set_urgent(is_lost);
        if let State::Pause(at) = &mut self.state {
            *at = (*at).min(now + self.backoff.longest());
        }
    }

    /// When to call [`Resumption::handle`] with [`Input::Deadline`].
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Doubt(at)
            | State::Pause(at)
            | State::Calling(_, at)
            | State::Asking(_, at)
            | State::Checking(_, at) => Some(*at),
            State::Attached | State::Connecting | State::Waiting(_) | State::Alone => None,
        }
    }

    /// Handles one input of a connected call at the time `now`; returns the effects in their order.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match (&self.state, input) {
            (State::Alone, _) => Vec::new(),
            (State::Attached, Input::Lost(reason)) => self.lost(now, reason),
            (State::Attached, Input::Gone) if !self.is_agreed() => vec![Effect::PeerLeft],
            (State::Attached, Input::Gone) if self.path_is_lost => self.lost(now, PEER_CUT_OFF.into()),
            (State::Attached, Input::Gone) => {
                self.state = State::Doubt(now + DOUBT);
                vec![Effect::Disconnect]
            }
            (State::Attached, _) => Vec::new(),
            (_, Input::Deadline(silence)) => self.deadline_passed(now, silence),
            (State::Doubt(_) | State::Pause(_), _) => Vec::new(),
            (_, Input::Registered(nonce)) => self.registered(now, nonce),
            (_, Input::Refused(failure)) => self.refused(now, &failure),
            (_, Input::Lost(reason)) => self.retry(now, reason),
            (_, Input::Gone) => self.retry(now, "the other side has left".into()),
            (_, Input::Frame(text)) => self.frame(now, &text),
        }
    }

    fn lost(&mut self, now: Duration, reason: String) -> Vec<Effect> {
        self.backoff.let_in();
        self.state = match self.is_agreed() {
            true => State::Pause(now + self.backoff.after_loss()),
            false => State::Alone,
        };
        vec![Effect::Disconnect, Effect::ReportLost(reason)]
    }

    fn retry(&mut self, now: Duration, reason: String) -> Vec<Effect> {
        let pause = self.backoff.after_loss();
        self.state = State::Pause(now + pause);
        vec![Effect::Disconnect, Effect::ReportRetry(reason, pause)]
    }

    fn refused(&mut self, now: Duration, failure: &Failure) -> Vec<Effect> {
        let Some(pause) = self.backoff.after(failure, Duration::ZERO) else {
            self.state = State::Alone;
            return vec![Effect::Disconnect, Effect::ReportNever(failure.message.clone())];
        };
        self.state = State::Pause(now + pause);
        vec![Effect::Disconnect, Effect::ReportRetry(failure.message.clone(), pause)]
    }

    fn deadline_passed(&mut self, now: Duration, silence: Option<Duration>) -> Vec<Effect> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        match &self.state {
            State::Doubt(_) if silence.is_none_or(|silence| silence < SIGN_OF_LIFE) => {
                self.lost(now, PEER_CUT_OFF.into())
            }
            State::Doubt(_) => vec![Effect::PeerLeft],
            State::Pause(_) => {
                self.state = State::Connecting;
                vec![Effect::Connect]
            }
            _ => self.retry(now, "no answer in time".into()),
        }
    }

    fn registered(&mut self, now: Duration, nonce: Random) -> Vec<Effect> {
        match self.role {
            Role::Caller => {
                self.state = State::Calling(nonce, now + ANSWER_LIMIT);
                vec![Effect::Call]
            }
            Role::Callee => {
                self.state = State::Waiting(nonce);
                Vec::new()
            }
        }
    }

    fn frame(&mut self, now: Duration, text: &str) -> Vec<Effect> {
        if let Ok(ServerMessage::Error(error)) = ServerMessage::parse(text) {
            return self.retry(now, error.to_string());
        }
        if let State::Calling(nonce, _) = &self.state {
            if ServerMessage::parse(text) != Ok(ServerMessage::SessionOk) {
                return Vec::new();
            }
            let ask = Message::Ask { nonce: nonce.clone() };
            self.state = State::Asking(nonce.clone(), now + ANSWER_LIMIT);
            return vec![Effect::Send(ask.to_string())];
        }
        let answer = self.key.as_ref().and_then(|key| self.state.answer(&Message::parse(text)?, key));
        match answer {
            Some(Answer { send, checks: Some(proof) }) => {
                self.state = State::Checking(proof, now + ANSWER_LIMIT);
                send.map(|message| Effect::Send(message.to_string())).into_iter().collect()
            }
            Some(Answer { send, checks: None }) => {
                self.state = State::Attached;
                let send = send.map(|message| Effect::Send(message.to_string()));
                send.into_iter().chain([Effect::Resumed]).collect()
            }
            None => self.retry(now, "it was not the peer of this call".into()),
        }
    }
}

/// The reaction to a message of the peer.
struct Answer {
    send: Option<Message>,
    /// The proof that we expect next; `None` if the call is resumed.
    checks: Option<String>,
}

impl State {
    /// `None` if the message is not what the peer of this call would send.
    fn answer(&self, message: &Message, key: &Random) -> Option<Answer> {
        match (self, message) {
            (Self::Waiting(ours), Message::Ask { nonce }) => {
                let reply =
                    Message::Reply { nonce: ours.clone(), proof: proof(Role::Callee, nonce, ours, key)? };
                Some(Answer { send: Some(reply), checks: Some(proof(Role::Caller, nonce, ours, key)?) })
            }
            (Self::Asking(ours, _), Message::Reply { nonce, proof: theirs })
                if *theirs == proof(Role::Callee, ours, nonce, key)? =>
            {
                let confirm = Message::Confirm { proof: proof(Role::Caller, ours, nonce, key)? };
                Some(Answer { send: Some(confirm), checks: None })
            }
            (Self::Checking(expected, _), Message::Confirm { proof }) if proof == expected => {
                Some(Answer { send: None, checks: None })
            }
            _ => None,
        }
    }
}

/// The server has let us in before: only a refusal for good ends the attempts.
fn fresh() -> Backoff {
    let mut backoff = Backoff::new(WaitForServer::Forever);
    backoff.let_in();
    backoff
}

#[cfg(test)]
mod tests;
