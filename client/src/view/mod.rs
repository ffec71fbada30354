//! Displays and plays the call: one window with a tile per peer, and one mix of their audio.
//!
//! Video and audio have a pipeline each, separate from the peers' pipelines and run by a thread of its own (`stage`).
//! Decoded media reach them through a leaky appsrc (`seat`), and the window is a separate process (`window`). Whatever
//! hangs or fails here, no peer's pipeline waits for it, and the call goes on.

mod check;
pub mod detect;
mod mix;
mod picture;
mod seat;
mod sound;
mod stage;
pub mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use self::{
    check::check_sinks,
    seat::Seat,
    stage::{Lost, News},
    window::Window,
};
use self::{picture::Picture, sound::Sound, stage::Stage};

/// The window and the audio output, as far as they exist.
#[derive(Debug, Clone, Default)]
pub struct View {
    picture: Option<Stage>,
    sound: Option<Stage>,
    last_seat: Arc<AtomicU64>,
}

/// Which sinks to use.
#[derive(Debug, Clone, Default)]
pub struct Sinks {
    /// The video sink, in gst-launch syntax; by default `autovideosink`.
    pub video: Option<String>,
    /// The audio sink, in gst-launch syntax; by default `autoaudiosink`.
    pub audio: Option<String>,
}

impl View {
    /// No outputs: received media are only decoded and measured.
    pub fn none() -> Self {
        Self::default()
    }

    /// Uses what exists: a window if there is a display, audio if there is a sound card. `news` receives later losses.
    pub fn detect(sinks: &Sinks, news: &News) -> Self {
        let has_picture = sinks.video.is_some() || detect::has_display();
        let has_sound = sinks.audio.is_some() || detect::has_sound_card();
        Self {
            picture: has_picture
                .then(|| Stage::start::<Picture>(sinks.video.clone(), news.clone()))
                .flatten(),
            sound: has_sound.then(|| Stage::start::<Sound>(sinks.audio.clone(), news.clone())).flatten(),
            last_seat: Arc::default(),
        }
    }

    /// Whether there is a window.
    pub fn has_picture(&self) -> bool {
        self.picture.is_some()
    }

    /// A place for a peer until the seat is dropped; in the window only if `watched`.
    pub fn seat(&self, name: &str, watched: bool) -> Seat {
        let id = self.last_seat.fetch_add(1, Relaxed);
        Seat::new(id, name, self.picture.as_ref().filter(|_| watched), self.sound.as_ref())
    }

    /// Checks whether window and audio still respond; called once per second.
    pub fn check(&self) {
        for stage in [&self.picture, &self.sound].into_iter().flatten() {
            stage.check();
        }
    }

    /// Ends window and audio; waits for each at most `limit`.
    pub fn close(&self, limit: Duration) {
        for stage in [&self.picture, &self.sound].into_iter().flatten() {
            stage.close(limit);
        }
    }
}
