//! The ICE agent inside webrtcbin: how it is set up, and which packets reach it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use callbin_foreign::{filter::Filter, ice};
use gst::{
    glib::{self, subclass::SignalId},
    prelude::*,
};

/// Streams of an agent: one for each transport of webrtcbin, counted from 1.
const MAX_STREAMS: u32 = 16;
/// The signal of a `NiceAgent` about a component's state, and those states.
const STATE_CHANGED: &str = "component-state-changed";
const GATHERING: u32 = 1;
const CONNECTING: u32 = 2;
const CONNECTED: u32 = 3;
const READY: u32 = 4;
const FAILED: u32 = 5;
/// How long an agent waits after a restart, in ms, until a pair is nominated. Then it fails. A browser may have checked a pair before
/// its restart was known here, with credentials that are no longer valid. Chromium needs more than 5 s until it nominates another
/// pair, and 5 s is libnice's default.
const NOMINATION_TIMEOUT: u32 = 15_000;

/// Keeps packets from an agent that it does not survive, and from webrtcbin the states in which it would stop receiving.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    webrtcbin: glib::WeakRef<gst::Element>,
    has_failed: Arc<AtomicBool>,
    paths: Paths,
}

/// Which streams of an agent have a path, one bit for each.
#[derive(Debug, Clone, Default)]
struct Paths(Arc<AtomicU32>);

/// The `NiceAgent` of a webrtcbin.
pub(super) fn agent(webrtcbin: &gst::Element) -> Option<glib::Object> {
    let ice = webrtcbin.property::<Option<glib::Object>>("ice-agent");
    ice.filter(|ice| ice.has_property("agent"))?.property("agent")
}

/// Disables UPnP, which is not wanted, and ICE-TCP, whose candidates are not used.
///
/// libnice's checks of a path that is there (`keepalive-conncheck`) stay off: 50 s after the last answer they move a component to
/// FAILED, and a peer could send a response that it has kept back in the microseconds until [`Guard`] knows. libnice does not survive
/// that. The engine watches the path instead, by the packets that come from it.
pub(super) fn configure(webrtcbin: &gst::Element) {
    let Some(ice) = webrtcbin.property::<Option<glib::Object>>("ice-agent") else { return };
    if ice.has_property("ice-tcp") {
        ice.set_property("ice-tcp", false);
    }
    let Some(agent) = agent(webrtcbin) else { return };
    // A pair that is checked a second time to nominate it may fail then, which libnice 0.1.21 does not survive.
    ice::nominate_with_first_check(&agent);
    // RFC 8445 allows 5 ms between checks; with libnice's default of 20 ms, pacing is most of the connection time.
    if agent.has_property("stun-pacing-timer") {
        agent.set_property("stun-pacing-timer", 5u32);
    }
    if agent.has_property("upnp") {
        agent.set_property("upnp", false);
    }
}

/// Restarts ICE with the peer's new credentials. Returns ours.
pub(super) fn restart(webrtcbin: &gst::Element, remote: &ice::Credentials) -> Option<ice::Credentials> {
    let agent = agent(webrtcbin)?;
    if agent.has_property("idle-timeout") {
        agent.set_property("idle-timeout", NOMINATION_TIMEOUT);
    }
    ice::restart(&agent, remote)
}

/// Makes our agent the controlling one.
pub(super) fn control(webrtcbin: &gst::Element) {
    if let Some(agent) = agent(webrtcbin).filter(|agent| agent.has_property("controlling-mode")) {
        agent.set_property("controlling-mode", true);
    }
}

impl Guard {
    /// Watches the states of a webrtcbin's agent.
    pub(super) fn new(webrtcbin: &gst::Element) -> Self {
        let it =
            Self { webrtcbin: webrtcbin.downgrade(), has_failed: Arc::default(), paths: Paths::default() };
        if let Some(agent) =
            agent(webrtcbin).filter(|agent| SignalId::lookup(STATE_CHANGED, agent.type_()).is_some())
        {
            let guard = it.clone();
            // webrtcbin connects its handlers later, so this one is called first.
            agent.connect(STATE_CHANGED, false, move |args| {
                let number = |at: usize| args.get(at).and_then(|arg| arg.get::<u32>().ok());
                if let (Some(stream), Some(state)) = (number(1), number(3)) {
                    guard.follow(state == FAILED);
                    if !guard.paths.may_pass(stream, state)
                        && let Some(agent) = args.first().and_then(|agent| agent.get::<glib::Object>().ok())
                    {
                        agent.stop_signal_emission_by_name(STATE_CHANGED);
                    }
                }
                None
            });
        }
        it
    }

    fn follow(&self, has_failed: bool) {
        // Any stream: a bundle has one, and without a bundle one that has failed ends the call, too.
        if self.has_failed.swap(has_failed, Relaxed) != has_failed {
            self.apply();
        }
    }

    /// Attaches the filter to all sockets. Call it before a peer learns their addresses.
    pub(super) fn apply(&self) {
        let Some(agent) = self.webrtcbin.upgrade().as_ref().and_then(agent) else { return };
        let filter = Filter::new(self.has_failed.load(Relaxed));
        for stream in 1..=MAX_STREAMS {
            if let Err(error) = ice::filter(&agent, stream, &filter) {
                tracing::warn!("the kernel takes no filter for a UDP socket: {error}");
                return;
            }
        }
    }
}

impl Paths {
    /// Follows a stream's state, and returns whether the signal of it may pass to webrtcbin. When ICE restarts, an agent gathers and
    /// connects again, and media use the old path until there is a new one (RFC 8445, section 9). webrtcbin 1.22 would block received
    /// packets meanwhile.
    fn may_pass(&self, stream: u32, state: u32) -> bool {
        let bit = 1u32.checked_shl(stream).unwrap_or_default();
        match state {
            CONNECTED | READY => self.0.fetch_or(bit, Relaxed),
            FAILED => self.0.fetch_and(!bit, Relaxed),
            GATHERING | CONNECTING => return self.0.load(Relaxed) & bit == 0,
            _ => 0,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_of_a_restart_do_not_pass_until_it_ends() {
        let paths = Paths::default();
        let pass = |states: &[u32]| states.iter().map(|state| paths.may_pass(1, *state)).collect::<Vec<_>>();
        assert_eq!(pass(&[GATHERING, CONNECTING, CONNECTED, READY]), [true; 4]);
        assert_eq!(pass(&[GATHERING, CONNECTING, CONNECTED, READY]), [false, false, true, true]);
        assert_eq!(pass(&[GATHERING, CONNECTING, FAILED, CONNECTING]), [false, false, true, true]);
        // Another stream has no path yet.
        assert_eq!(pass(&[CONNECTED]), [true]);
        assert!(paths.may_pass(2, GATHERING) && paths.may_pass(40, GATHERING));
    }
}
