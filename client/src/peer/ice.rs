//! The ICE agent inside webrtcbin: how it is set up, and which packets reach it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use callbin_foreign::{filter::Filter, ice};
use gst::{
    glib::{self, subclass::SignalId},
    prelude::*,
};

/// Streams of an agent: one for each transport of webrtcbin, counted from 1.
const MAX_STREAMS: u32 = 16;
/// The signal of a `NiceAgent` about a component's state, and the state in which it has failed.
const STATE_CHANGED: &str = "component-state-changed";
const FAILED: u32 = 5;

/// Keeps packets from an agent that it does not survive.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    webrtcbin: glib::WeakRef<gst::Element>,
    has_failed: Arc<AtomicBool>,
}

/// The `NiceAgent` of a webrtcbin.
pub(super) fn agent(webrtcbin: &gst::Element) -> Option<glib::Object> {
    let ice = webrtcbin.property::<Option<glib::Object>>("ice-agent");
    ice.filter(|ice| ice.has_property("agent"))?.property("agent")
}

/// Uses connectivity checks as keepalives, so that a vanished peer does not stay "connected" forever. Disables UPnP,
/// which is not wanted, and ICE-TCP, whose candidates are not used.
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
    for (name, value) in [("keepalive-conncheck", true), ("upnp", false)] {
        if agent.has_property(name) {
            agent.set_property(name, value);
        }
    }
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
        let it = Self { webrtcbin: webrtcbin.downgrade(), has_failed: Arc::default() };
        if let Some(agent) =
            agent(webrtcbin).filter(|agent| SignalId::lookup(STATE_CHANGED, agent.type_()).is_some())
        {
            let guard = it.clone();
            agent.connect(STATE_CHANGED, false, move |args| {
                let state = args.get(3).and_then(|state| state.get::<u32>().ok());
                guard.follow(state == Some(FAILED));
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
