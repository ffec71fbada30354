//! The picture that replaces a lost source: its name, and "NO SIGNAL". Pure; drawn here, because a machine without a
//! screen may have no fonts.

use gst_video::VideoInfo;

use super::font::{self, HEIGHT, WIDTH};

/// Luma of background and letters.
const DARK: u8 = 40;
const LIGHT: u8 = 220;
/// Chroma of the whole card: a grey blue that no source has by itself.
const BLUE: u8 = 148;
const RED: u8 = 118;
/// Most letters of a line; a longer name is cut.
const MAX_LETTERS: usize = 24;

/// Draws the card as an I420 picture of this layout.
pub(super) fn draw(layout: &VideoInfo, name: &str) -> Vec<u8> {
    let [_, blue, red, ..] = *layout.offset() else { return Vec::new() };
    let mut card = vec![DARK; blue];
    for (row, text) in [(0, name), (1, "NO SIGNAL")] {
        write(&mut card, layout, row, text);
    }
    card.resize(red, BLUE);
    card.resize(layout.size(), RED);
    card
}

/// Writes one of two lines into the middle, as large as it fits.
fn write(luma: &mut [u8], layout: &VideoInfo, row: usize, text: &str) {
    let (width, height) = (layout.width() as usize, layout.height() as usize);
    let stride = layout.stride().first().and_then(|it| usize::try_from(*it).ok()).unwrap_or(width);
    let letters: Vec<char> = text.chars().take(MAX_LETTERS).collect();
    let cells = letters.len() * (WIDTH + 1);
    let scale = (width * 8 / 10 / cells.max(1)).min(height / 4 / HEIGHT);
    let left = width.saturating_sub(cells * scale) / 2;
    let middle = height / 2;
    let top = if row == 0 { middle.saturating_sub((HEIGHT + 2) * scale) } else { middle + 2 * scale };
    for (number, letter) in letters.into_iter().enumerate() {
        let at = left + number * (WIDTH + 1) * scale;
        for (x, y) in font::dots(letter) {
            for line in 0..scale {
                let start = (top + y * scale + line) * stride + at + x * scale;
                if let Some(dots) = luma.get_mut(start..start + scale) {
                    dots.fill(LIGHT);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gst_video::{VideoFrameExt, VideoFrameRef};
    use proptest::prelude::*;

    use super::*;
    use crate::{cli::Size, media::input::layout};

    fn card(width: u16, height: u16, name: &str) -> (VideoInfo, gst::Buffer) {
        gst::init().unwrap();
        let layout = layout(Size { width, height }).unwrap();
        let card = gst::Buffer::from_slice(draw(&layout, name));
        (layout, card)
    }

    /// What GStreamer reads as the lines of a plane, without padding.
    fn lines((layout, card): &(VideoInfo, gst::Buffer), plane: u32) -> Vec<Vec<u8>> {
        let frame = VideoFrameRef::from_buffer_ref_readable(card, layout).expect("a whole picture");
        let stride = usize::try_from(frame.plane_stride()[plane as usize]).unwrap();
        let shift = usize::from(plane > 0);
        let (width, height) = (layout.width() as usize >> shift, layout.height() as usize >> shift);
        frame
            .plane_data(plane)
            .unwrap()
            .chunks(stride)
            .take(height)
            .map(|line| line[..width].to_vec())
            .collect()
    }

    /// The lines that have a letter's dots in them.
    fn written(card: &(VideoInfo, gst::Buffer)) -> Vec<usize> {
        let lines = lines(card, 0).into_iter().enumerate();
        lines.filter(|(_, line)| line.contains(&LIGHT)).map(|(at, _)| at).collect()
    }

    #[test]
    fn the_card_has_two_lines_of_letters_on_a_dark_ground() {
        // Widths of which GStreamer pads no plane, those of the chroma, and all of them.
        for (width, height) in [(320, 240), (852, 480), (426, 240), (854, 480)] {
            let front = card(width, height, "Front");
            let rows = written(&front);
            let gaps = rows.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
            assert_eq!(gaps, 1, "two lines: {rows:?}");
            let luma = lines(&front, 0).concat();
            let light = luma.iter().filter(|value| **value == LIGHT).count();
            let part = luma.len() / light;
            assert!((4..77).contains(&part), "{width}x{height}: one pixel in {part}");
            // Each letter's dots begin in the same column, on all of its lines.
            let left =
                |line: &usize| lines(&front, 0)[*line].iter().position(|value| *value == LIGHT).unwrap();
            let first = rows.iter().take_while(|row| **row < usize::from(height) / 2);
            let lefts: std::collections::BTreeSet<usize> = first.map(left).collect();
            assert_eq!(lefts.len(), 1, "the stem of the F: {lefts:?}");
            assert_ne!(lines(&card(width, height, "rear"), 0).concat(), luma, "the name is in it");
            assert!(written(&card(width, height, "")).len() < rows.len());
        }
    }

    proptest! {
        #[test]
        fn any_name_fits_into_any_size(name in ".*", width in 8u16..400, height in 8u16..400) {
            let card = card(width * 2, height * 2, &name);
            prop_assert_eq!(card.1.size(), card.0.size());
            prop_assert!(lines(&card, 0).concat().iter().all(|value| [DARK, LIGHT].contains(value)));
            prop_assert!(lines(&card, 1).concat().iter().all(|value| *value == BLUE));
            prop_assert!(lines(&card, 2).concat().iter().all(|value| *value == RED));
        }
    }
}
