//! Which of a camera's formats to take. Pure.

use crate::cli::Size;

/// One fixed format of a camera.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// The caps' name, as in `image/jpeg`.
    pub(super) form: String,
    pub(super) width: i32,
    pub(super) height: i32,
    /// Frames per second.
    pub(super) fps: f64,
    /// The caps with exactly this format.
    pub(super) caps: gst::Caps,
}

/// The format that serves a picture of this size and rate with the least work: fast enough, then large enough, then
/// small, then raw before JPEG before others.
pub(super) fn best(shapes: Vec<Shape>, size: Size, fps: u16) -> Option<gst::Caps> {
    let cost = |shape: &Shape| {
        let lack = |wanted: i32, there: i32| i64::from(wanted.saturating_sub(there).max(0));
        // A tenth less is the same: cameras say 29.97.
        let slow = (f64::from(fps) * 0.9 - shape.fps).max(0.0).ceil() as i64;
        let small = lack(size.width.into(), shape.width) + lack(size.height.into(), shape.height);
        let pixels = i64::from(shape.width) * i64::from(shape.height);
        let surplus = (shape.fps - f64::from(fps) * 1.1).max(0.0).ceil() as i64;
        (slow, small, pixels, rank(&shape.form), surplus)
    };
    shapes.into_iter().min_by_key(cost).map(|shape| shape.caps)
}

fn rank(form: &str) -> u8 {
    match form {
        "video/x-raw" => 0,
        "image/jpeg" => 1,
        _ => 2,
    }
}

/// The fixed formats within the caps of a camera, at most 1000.
pub(super) fn shapes(caps: &gst::Caps, size: Size, fps: u16) -> Vec<Shape> {
    let each =
        caps.iter().flat_map(|structure| rates(structure, fps).into_iter().map(move |it| (structure, it)));
    each.filter_map(|(structure, rate)| shape(structure, size, rate)).take(1000).collect()
}

/// The rates that a structure offers; of a range, the one nearest to `fps`.
fn rates(structure: &gst::StructureRef, fps: u16) -> Vec<gst::Fraction> {
    let wanted = gst::Fraction::new(i32::from(fps), 1);
    if let Ok(list) = structure.get::<gst::List>("framerate") {
        return list.iter().filter_map(|value| value.get().ok()).collect();
    }
    let mut copy = structure.to_owned();
    copy.fixate_field_nearest_fraction("framerate", wanted);
    copy.get("framerate").into_iter().collect()
}

fn shape(structure: &gst::StructureRef, size: Size, rate: gst::Fraction) -> Option<Shape> {
    let mut fixed = structure.to_owned();
    fixed.fixate_field_nearest_int("width", i32::from(size.width));
    fixed.fixate_field_nearest_int("height", i32::from(size.height));
    fixed.set("framerate", rate);
    let (width, height) = (fixed.get("width").ok()?, fixed.get("height").ok()?);
    let fps = f64::from(rate.numer()) / f64::from(rate.denom().max(1));
    let form = fixed.name().to_string();
    let mut caps = gst::Caps::new_empty();
    caps.make_mut().append_structure(fixed);
    Some(Shape { form, width, height, fps, caps })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(caps: &str, width: u16, height: u16, fps: u16) -> String {
        gst::init().unwrap();
        let (caps, size) = (caps.parse().unwrap(), Size { width, height });
        let best = best(shapes(&caps, size, fps), size, fps).unwrap();
        let it = best.structure(0).unwrap();
        let rate = it.get::<gst::Fraction>("framerate").unwrap();
        let (width, height): (i32, i32) = (it.get("width").unwrap(), it.get("height").unwrap());
        format!("{} {width}x{height} {}", it.name(), f64::from(rate.numer()) / f64::from(rate.denom()))
    }

    /// A usual USB camera: raw pictures are slow when they are large.
    const USB: &str = "video/x-raw,format=YUY2,width=640,height=480,framerate={30/1,15/1};\
         video/x-raw,format=YUY2,width=1280,height=720,framerate={10/1,5/1};\
         video/x-raw,format=YUY2,width=1920,height=1080,framerate=5/1;\
         image/jpeg,width=640,height=480,framerate=30/1;\
         image/jpeg,width=1280,height=720,framerate={60/1,30/1};\
         image/jpeg,width=1920,height=1080,framerate=30000/1001;\
         video/x-h264,width=1280,height=720,framerate=30/1";

    #[test]
    fn a_camera_gives_the_smallest_picture_that_is_large_and_fast_enough() {
        assert_eq!(chosen(USB, 640, 480, 30), "video/x-raw 640x480 30");
        assert_eq!(chosen(USB, 320, 240, 30), "video/x-raw 640x480 30");
        assert_eq!(chosen(USB, 1280, 720, 30), "image/jpeg 1280x720 30");
        assert_eq!(chosen(USB, 1280, 720, 10), "video/x-raw 1280x720 10");
        assert_eq!(chosen(USB, 1280, 720, 60), "image/jpeg 1280x720 60");
        assert_eq!(chosen(USB, 1920, 1080, 30), "image/jpeg 1920x1080 29.97002997002997");
        assert_eq!(chosen(USB, 4096, 2160, 30), "image/jpeg 1920x1080 29.97002997002997");
    }

    #[test]
    fn ranges_are_fixed_to_what_is_wanted() {
        let range = "video/x-raw,width=[16,1920],height=[16,1080],framerate=[0/1,60/1]";
        assert_eq!(chosen(range, 640, 360, 25), "video/x-raw 640x360 25");
    }
}
