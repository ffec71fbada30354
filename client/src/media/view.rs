//! Where decoded media goes: to a window and a sound card, or nowhere.

use gst::prelude::*;

use super::{make, receive};
use crate::{exit::Failure, sdp::Kind};

/// What to do with decoded media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Playback {
    /// There is a display.
    pub video: bool,
    /// There is a sound card.
    pub audio: bool,
}

impl Playback {
    /// Decode and count.
    pub const NONE: Self = Self { video: false, audio: false };

    /// Looks whether there is a display and a sound card: their sinks can fail, and even crash, without.
    pub fn detect() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let display = is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
        let card = std::path::Path::new("/dev/snd").exists() || is_set("PULSE_SERVER");
        Self { video: display && opens("autovideosink"), audio: card && opens("autoaudiosink") }
    }

    /// The sink for one medium of one peer. It never makes the decoder wait: what comes too fast is dropped.
    /// It plays what comes when it comes: the jitter buffer has set the pace already.
    pub fn sink(self, kind: Kind) -> Result<gst::Element, Failure> {
        let (plays, description) = match kind {
            Kind::Video => (self.video, "videoconvert ! autovideosink sync=false"),
            _ => (self.audio, "audioconvert ! audioresample ! autoaudiosink sync=false"),
        };
        if !plays {
            return receive::null_sink();
        }
        let queue = "queue leaky=downstream max-size-buffers=8 max-size-bytes=0 max-size-time=0";
        let bin = gst::parse::bin_from_description(&format!("{queue} ! {description}"), true);
        Ok(bin.map_err(Failure::internal)?.upcast())
    }
}

/// Whether the sink finds a device: it looks for one on its way to READY.
fn opens(factory: &str) -> bool {
    let Ok(sink) = make(factory) else { return false };
    let found = sink.set_state(gst::State::Ready).is_ok();
    let _ = sink.set_state(gst::State::Null);
    found
}
