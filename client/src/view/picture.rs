//! The tiles: every peer's picture scaled and named, all of them in one.

use std::collections::BTreeMap;

use gst::{glib, prelude::*};

use super::{
    mix::Mix,
    stage::{Alarm, Guest, Scene},
    window::{Window, caps},
};
use crate::{
    exit::Failure,
    layout::{Area, Tile, arrange, caption},
    media::make,
};

/// What is composed. The window may have another size; it scales.
const SIZE: Area = Area { width: 1280, height: 720 };
const FRAMES_PER_SECOND: i32 = 30;
/// Height of the names' letters, and their width on average.
const LETTER: (u32, u32) = (16, 10);
/// In a smaller tile a name would hide the picture.
const MIN_NAMED: u32 = 5 * LETTER.0;

/// One window for all.
#[derive(Debug)]
pub(super) struct Picture {
    /// Before `mix`, which could otherwise wait in its teardown for a window that does not take frames.
    _window: Window,
    mix: Mix,
    shapes: BTreeMap<u64, (String, Area)>,
}

impl Scene for Picture {
    const NAME: &'static str = "window";
    const WITHOUT: &'static str = "unseen";

    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure> {
        let (window, taker) = Window::open(SIZE, FRAMES_PER_SECOND, sink, alarm.clone())?;
        let mixer = Mix::mixer("compositor")?;
        mixer.set_property_from_str("background", "black");
        let mix = Mix::new(mixer, &output(taker)?, &alarm)?;
        Ok(Self { _window: window, mix, shapes: BTreeMap::new() })
    }

    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure> {
        let Some(shape) = shape(&guest.caps) else { return Ok(()) };
        if self.mix.get(id).is_none() {
            self.mix.add(id, &guest.feed, &conversion())?;
        }
        if self.shapes.insert(id, (guest.name.to_string(), shape)).is_none_or(|(_, old)| old != shape) {
            self.arrange();
        }
        Ok(())
    }

    fn leave(&mut self, id: u64) -> bool {
        let others = self.mix.remove(id);
        if self.shapes.remove(&id).is_some() {
            self.arrange();
        }
        others
    }
}

impl Picture {
    fn arrange(&self) {
        let shapes: Vec<Area> = self.shapes.values().map(|(_, shape)| *shape).collect();
        for ((id, (name, _)), tile) in self.shapes.iter().zip(arrange(SIZE, &shapes)) {
            self.place(*id, name, tile);
        }
    }

    fn place(&self, id: u64, name: &str, Tile { x, y, area }: Tile) {
        let Some(input) = self.mix.get(id) else { return };
        let pixels = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let (width, height) = (pixels(area.width), pixels(area.height));
        for (property, value) in [("xpos", pixels(x)), ("ypos", pixels(y))] {
            input.pad.set_property(property, value);
        }
        // Frames on their way still have the old size.
        input.pad.set_property("width", width);
        input.pad.set_property("height", height);
        if let Some(filter) = input.bin.by_name("size") {
            filter.set_property("caps", caps(width, height));
        }
        if let Some(overlay) = input.bin.by_name("name") {
            let shown = if area.height < MIN_NAMED { "".into() } else { caption(name, area.width, LETTER.1) };
            // textoverlay reads markup.
            overlay.set_property("text", glib::markup_escape_text(&shown).as_str());
            overlay.set_property("silent", shown.is_empty());
        }
    }
}

/// Scaled before it is named, so that names are sharp and of one size.
fn conversion() -> String {
    let scale = "videoconvertscale name=first n-threads=1 ! capsfilter name=size";
    if gst::ElementFactory::find("textoverlay").is_none() {
        return scale.into();
    }
    let (height, _) = LETTER;
    format!(
        "{scale} ! textoverlay name=name auto-resize=false font-desc=\"Sans {height}px\" \
         shaded-background=true valignment=bottom halignment=left xpad=6 ypad=4 wrap-mode=none"
    )
}

/// The picture's size as it is to be seen.
fn shape(caps: &gst::Caps) -> Option<Area> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let par = info.par();
    let (numer, denom) = (u32::try_from(par.numer()).ok()?.max(1), u32::try_from(par.denom()).ok()?.max(1));
    Some(Area { width: info.width().checked_mul(numer)?.div_ceil(denom), height: info.height() })
}

/// Frames of one size and rate into the window; those it does not take are dropped.
fn output(taker: gst::Element) -> Result<gst::Element, Failure> {
    let filter = make("capsfilter")?;
    let (Ok(width), Ok(height)) = (i32::try_from(SIZE.width), i32::try_from(SIZE.height)) else {
        return Err(Failure::internal("no such size"));
    };
    let mut frames = caps(width, height);
    frames.make_mut().set("framerate", gst::Fraction::new(FRAMES_PER_SECOND, 1));
    filter.set_property("caps", frames);
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", 2u32);
    queue.set_property_from_str("leaky", "downstream");
    let bin = gst::Bin::new();
    let chain = [&filter, &queue, &taker];
    bin.add_many(chain).map_err(Failure::internal)?;
    gst::Element::link_many(chain).map_err(Failure::internal)?;
    let sink = filter.static_pad("sink").ok_or_else(|| Failure::internal("a filter without a pad"))?;
    let ghost = gst::GhostPad::with_target(&sink).map_err(Failure::internal)?;
    bin.add_pad(&ghost).map_err(Failure::internal)?;
    Ok(bin.upcast())
}
