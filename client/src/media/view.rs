//! Where decoded media goes: to a window and a sound card, or nowhere.

use std::{net::TcpStream, os::unix::net::UnixStream};

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
        let card = std::path::Path::new("/dev/snd").exists() || is_set("PULSE_SERVER");
        Self { video: has_display() && opens("autovideosink"), audio: card && opens("autoaudiosink") }
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

/// Whether somebody listens where the environment says a display is: autovideosink crashes if not.
pub fn has_display() -> bool {
    let wayland = std::env::var("WAYLAND_DISPLAY").ok().filter(|name| !name.is_empty()).is_some_and(|name| {
        let folder = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
        UnixStream::connect(std::path::Path::new(&folder).join(name)).is_ok()
    });
    wayland || std::env::var("DISPLAY").is_ok_and(|name| x_server_listens(&name))
}

/// `host:display.screen`, the host empty for this machine.
fn x_server_listens(name: &str) -> bool {
    let Some((host, rest)) = name.rsplit_once(':') else { return false };
    let number = rest.split('.').next().unwrap_or(rest);
    let Ok(number) = number.parse::<u16>() else { return false };
    if host.is_empty() || host == "unix" {
        return UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).is_ok();
    }
    TcpStream::connect((host, 6000u16.saturating_add(number))).is_ok()
}

/// Whether the sink finds a device: it looks for one on its way to READY.
fn opens(factory: &str) -> bool {
    let Ok(sink) = make(factory) else { return false };
    let found = sink.set_state(gst::State::Ready).is_ok();
    let _ = sink.set_state(gst::State::Null);
    found
}
