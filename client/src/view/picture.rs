//! The tiles: the pictures of all peers, scaled and labelled, in one picture.

use std::{collections::BTreeMap, sync::Arc};

use gst::{glib, prelude::*};

use super::{
    mix::{Input, Mix},
    seat::push,
    stage::{Alarm, Guest, Scene},
    window::{Pipe, Window, caps},
};
use crate::{
    exit::Failure,
    layout::{Area, Tile, arrange, caption},
    media::make,
};

/// Size of the composed picture. The window may have another size; it scales.
const SIZE: Area = Area { width: 1280, height: 720 };
const FRAMES_PER_SECOND: i32 = 30;
/// Height and average width of the letters of names, in pixels.
const LETTER: (u32, u32) = (16, 10);
/// Height of the strip under a picture for the name.
const STRIP: u32 = 26;
/// Brightness and shape of the tile of a peer without a picture.
const BLANK: u8 = 52;
const BLANK_SHAPE: Area = Area { width: 640, height: 360 };

/// One window for all peers.
#[derive(Debug)]
pub(super) struct Picture {
    /// Fields are dropped in order of declaration. This one precedes `mix`, which could otherwise wait in its teardown
    /// for a window that does not take frames.
    _window: Window,
    mix: Mix,
    /// After `mix`, which writes to it until its end.
    _pipe: Pipe,
    tiles: BTreeMap<u64, Placed>,
    /// 0 if names cannot be drawn.
    strip: u32,
}

/// A guest in the window.
#[derive(Debug)]
struct Placed {
    name: Arc<str>,
    shape: Area,
    tile: Option<Tile>,
}

impl Scene for Picture {
    const NAME: &'static str = "window";

    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure> {
        let (window, pipe, taker) = Window::open(SIZE, FRAMES_PER_SECOND, sink, alarm.clone())?;
        let mixer = Mix::mixer("compositor")?;
        mixer.set_property_from_str("background", "black");
        let mix = Mix::new(mixer, &output(taker)?, &alarm)?;
        let strip = if can_write() { STRIP } else { 0 };
        Ok(Self { _window: window, mix, _pipe: pipe, tiles: BTreeMap::new(), strip })
    }

    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure> {
        let before = self.tiles.get(&id).map(|placed| placed.shape);
        let shape = match &guest.caps {
            Some(caps) => shape(caps),
            None => before.or(Some(BLANK_SHAPE)),
        };
        let Some(shape) = shape else { return Ok(()) };
        if self.mix.get(id).is_none() {
            self.mix.add(id, &guest.feed, &conversion())?;
        }
        if before != Some(shape) {
            self.tiles.insert(id, Placed { name: guest.name.clone(), shape, tile: None });
            self.arrange();
        }
        if guest.caps.is_none() {
            push_blank(&guest.feed, shape)?;
        }
        Ok(())
    }

    fn leave(&mut self, id: u64) -> bool {
        let others = self.mix.remove(id);
        if self.tiles.remove(&id).is_some() {
            self.arrange();
        }
        others
    }
}

impl Picture {
    fn arrange(&mut self) {
        let shapes: Vec<Area> = self.tiles.values().map(|placed| placed.shape).collect();
        for ((id, placed), tile) in self.tiles.iter_mut().zip(arrange(SIZE, &shapes, self.strip)) {
            if placed.tile.replace(tile) != Some(tile)
                && let Some(input) = self.mix.get(*id)
            {
                place(input, &placed.name, tile);
            }
        }
    }
}

fn place(input: &Input, name: &str, Tile { x, y, area, strip }: Tile) {
    let pixels = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let (width, height) = (pixels(area.width), pixels(area.height));
    // Queued frames still have the old size: the mixer scales them.
    for (property, value) in
        [("xpos", pixels(x)), ("ypos", pixels(y)), ("width", width), ("height", pixels(area.height + strip))]
    {
        input.pad.set_property(property, value);
    }
    if let Some(border) = input.bin.by_name("strip") {
        border.set_property("bottom", -pixels(strip));
    }
    if let Some(filter) = input.bin.by_name("size") {
        filter.set_property("caps", caps(width, height));
    }
    if let Some(overlay) = input.bin.by_name("name") {
        let shown = if strip == 0 { String::new() } else { caption(name, area.width, LETTER.1) };
        // textoverlay parses markup.
        overlay.set_property("text", glib::markup_escape_text(&shown).as_str());
        overlay.set_property("silent", shown.is_empty());
    }
}

/// Pushes a grey frame.
fn push_blank(feed: &gst_app::AppSrc, shape: Area) -> Result<(), Failure> {
    let even = |n: u32| i32::try_from(n.next_multiple_of(2)).unwrap_or(2);
    let mut caps = caps(even(shape.width), even(shape.height));
    caps.make_mut().set("framerate", gst::Fraction::new(0, 1));
    let info = gst_video::VideoInfo::from_caps(&caps).map_err(Failure::internal)?;
    let mut frame = vec![128; info.size()];
    let brightness = info.offset().get(1).copied().unwrap_or_default();
    frame.iter_mut().take(brightness).for_each(|pixel| *pixel = BLANK);
    let buffer = gst::Buffer::from_mut_slice(frame);
    push(feed, &gst::Sample::builder().buffer(&buffer).caps(&caps).build());
    Ok(())
}

/// Whether the elements that draw names exist.
fn can_write() -> bool {
    ["textoverlay", "videobox"].iter().all(|name| gst::ElementFactory::find(name).is_some())
}

/// Scales before drawing the name, so that names are sharp and of one size.
fn conversion() -> String {
    let scale = "videoconvertscale name=first n-threads=1 ! capsfilter name=size";
    if !can_write() {
        return scale.into();
    }
    let (height, _) = LETTER;
    format!(
        "{scale} ! videobox name=strip fill=black ! video/x-raw,format=I420 ! \
         textoverlay name=name auto-resize=false font-desc=\"Sans {height}px\" draw-outline=false \
         draw-shadow=false valignment=bottom halignment=center ypad=4 wrap-mode=none"
    )
}

/// The picture's size in square pixels.
fn shape(caps: &gst::Caps) -> Option<Area> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let par = info.par();
    let (numer, denom) = (u32::try_from(par.numer()).ok()?.max(1), u32::try_from(par.denom()).ok()?.max(1));
    Some(Area { width: info.width().checked_mul(numer)?.div_ceil(denom), height: info.height() })
}

/// The output to the window: frames of one size and rate. Frames that the window does not take are dropped.
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
