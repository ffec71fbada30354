//! The picture that replaces a lost source: its name, and "NO SIGNAL". Pure; drawn here, because a machine without a
//! screen may have no fonts.

use super::font::{self, HEIGHT, WIDTH};
use crate::cli::Size;

/// Luma of background and letters.
const DARK: u8 = 40;
const LIGHT: u8 = 220;
/// Chroma of the whole card: a grey blue that no source has by itself.
const BLUE: u8 = 148;
const RED: u8 = 118;
/// Most letters of a line; a longer name is cut.
const MAX_LETTERS: usize = 24;

/// Draws the card as an I420 picture of this size, without padding.
pub(super) fn draw(size: Size, name: &str) -> Vec<u8> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let mut luma = vec![DARK; width * height];
    for (row, text) in [(0, name), (1, "NO SIGNAL")] {
        write(&mut luma, (width, height), row, text);
    }
    let quarter = (width / 2) * (height / 2);
    luma.extend(std::iter::repeat_n(BLUE, quarter));
    luma.extend(std::iter::repeat_n(RED, quarter));
    luma
}

/// Writes one of two lines into the middle, as large as it fits.
fn write(luma: &mut [u8], (width, height): (usize, usize), row: usize, text: &str) {
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
                let start = (top + y * scale + line) * width + at + x * scale;
                if let Some(dots) = luma.get_mut(start..start + scale) {
                    dots.fill(LIGHT);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows that have a letter's dots in them.
    fn written(size: Size, card: &[u8]) -> Vec<usize> {
        let width = usize::from(size.width);
        let rows = card.chunks(width).take(usize::from(size.height)).enumerate();
        rows.filter(|(_, row)| row.contains(&LIGHT)).map(|(at, _)| at).collect()
    }

    #[test]
    fn the_card_has_two_lines_of_letters_on_a_dark_ground() {
        let size = Size { width: 320, height: 240 };
        let card = draw(size, "front");
        assert_eq!(card.len(), 320 * 240 * 3 / 2);
        let rows = written(size, &card);
        let gaps = rows.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
        assert_eq!(gaps, 1, "two lines: {rows:?}");
        let light = card.iter().filter(|value| **value == LIGHT).count();
        assert!((1000..20_000).contains(&light), "{light}");
        assert_ne!(draw(size, "rear"), card, "the name is in it");
        assert!(written(size, &draw(size, "")).len() < rows.len());
    }

    proptest! {
        #[test]
        fn any_name_fits_into_any_size(name in ".*", width in 8u16..400, height in 8u16..400) {
            let size = Size { width: width * 2, height: height * 2 };
            let card = draw(size, &name);
            let pixels = usize::from(size.width) * usize::from(size.height);
            prop_assert_eq!(card.len(), pixels * 3 / 2);
            prop_assert!(card[pixels..].iter().all(|value| [BLUE, RED].contains(value)));
        }
    }
}
