//! Mixes the audio of all peers into one output.

use gst::prelude::*;

use super::{
    mix::Mix,
    stage::{Alarm, Guest, Scene},
};
use crate::exit::Failure;

/// How late a peer's audio may arrive and still be mixed in.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(60);
/// The format of the mix and of its inputs: a mixer does not resample.
const FORMAT: &str = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";

/// The mix of all peers.
#[derive(Debug)]
pub(super) struct Sound(Mix);

impl Scene for Sound {
    const NAME: &'static str = "sound";

    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure> {
        let sink = sink.unwrap_or("autoaudiosink");
        let queue = "queue leaky=downstream max-size-buffers=0 max-size-bytes=0 max-size-time=200000000";
        let output = format!("capsfilter caps={FORMAT} ! {queue} ! audioconvert ! audioresample ! {sink}");
        let output = gst::parse::bin_from_description(&output, true).map_err(Failure::internal)?;
        let mixer = Mix::mixer("audiomixer")?;
        mixer.set_property("latency", PATIENCE.nseconds());
        Ok(Self(Mix::new(mixer, output.upcast_ref(), &alarm)?))
    }

    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure> {
        if self.0.get(id).is_none() {
            self.0.add(
                id,
                &guest.feed,
                &format!("audioconvert name=first ! audioresample ! capsfilter caps={FORMAT}"),
            )?;
        }
        Ok(())
    }

    fn leave(&mut self, id: u64) -> bool {
        self.0.remove(id)
    }
}
