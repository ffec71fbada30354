//! Watching and listening: one window with a tile per peer, and one mix of their sound.
//!
//! Picture and sound are a pipeline each, apart from each other's and from the peers', and each is run by a
//! thread of its own (`stage`). Decoded media reaches them by a leaky appsrc (`seat`), and the window is a
//! process of its own (`window`): whatever hangs or dies here, no peer's pipeline waits for it, and the call
//! goes on unwatched.

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

/// What to watch and listen with.
#[derive(Debug, Clone, Default)]
pub struct View {
    picture: Option<Stage>,
    sound: Option<Stage>,
    last_seat: Arc<AtomicU64>,
}

/// Which sinks to use.
#[derive(Debug, Clone, Default)]
pub struct Sinks {
    /// The window's, as gst-launch takes it, instead of the best of the display.
    pub video: Option<String>,
    /// The sound's, instead of the sound card.
    pub audio: Option<String>,
}

impl View {
    /// Whatever arrives is decoded and counted.
    pub fn none() -> Self {
        Self::default()
    }

    /// With what there is: a window if there is a display, sound if there is a sound card. What is lost later
    /// is told by `news`.
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

    /// Whether there is something to watch with.
    pub fn has_picture(&self) -> bool {
        self.picture.is_some()
    }

    /// A place for a peer, until the seat is dropped; in the window only if its picture is to be `watched`.
    pub fn seat(&self, name: &str, watched: bool) -> Seat {
        let id = self.last_seat.fetch_add(1, Relaxed);
        Seat::new(id, name, self.picture.as_ref().filter(|_| watched), self.sound.as_ref())
    }

    /// Looks whether window and sound still respond; to be called once a second.
    pub fn check(&self) {
        for stage in [&self.picture, &self.sound].into_iter().flatten() {
            stage.check();
        }
    }

    /// Ends window and sound; waits for each at most `limit`.
    pub fn close(&self, limit: Duration) {
        for stage in [&self.picture, &self.sound].into_iter().flatten() {
            stage.close(limit);
        }
    }
}
