//! Places pictures in a window: a pure function of the window's size and the pictures' shapes.

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

/// A picture's place in the window. All numbers are even, as the chroma planes of I420 need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Pixels from the left edge.
    pub x: u32,
    /// Pixels from the top edge.
    pub y: u32,
    /// The size of the scaled picture.
    pub area: Area,
    /// Height of the strip with the name under the picture; 0 if there is no room for one.
    pub strip: u32,
}

/// Space between and around tiles, in pixels.
const GAP: u32 = 4;
/// The smallest width and height of a tile.
const SMALLEST: u32 = 2;

/// The strip gets at most one part in `NAMED` of a tile's height.
const NAMED: u32 = 4;

/// A tile for each picture, in order: rows from top to bottom, the last one centred, with the number of columns that
/// makes the pictures largest, and a strip of height `strip` for the name under each. Aspect ratios are kept; nothing
/// overlaps. Empty if the window is too small.
pub fn arrange(window: Area, pictures: &[Area], strip: u32) -> Vec<Tile> {
    let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
    (1..=count)
        .map(|columns| grid(window, pictures, strip, columns))
        // Among equals the first, with the fewest columns and no holes.
        .fold((0, Vec::new()), |best, tiles| {
            let covered = tiles.iter().map(|tile| tile.area.pixels()).sum();
            if covered > best.0 { (covered, tiles) } else { best }
        })
        .1
}

fn grid(window: Area, pictures: &[Area], strip: u32, columns: u32) -> Vec<Tile> {
    let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
    let rows = count.div_ceil(columns);
    let cell = Area { width: window.width / columns, height: window.height / rows };
    if cell.width < GAP + SMALLEST || cell.height < GAP + SMALLEST {
        return Vec::new();
    }
    let strip = if cell.height < NAMED * strip { 0 } else { strip & !1 };
    (0..count)
        .zip(pictures)
        .map(|(index, picture)| {
            let (row, column) = (index / columns, index % columns);
            let in_row = (count - row * columns).min(columns);
            let indent = (window.width - in_row * cell.width) / 2;
            let area = fit(Area { width: cell.width - GAP, height: cell.height - GAP - strip }, *picture);
            let x = indent + column * cell.width + (cell.width - area.width) / 2;
            let y = row * cell.height + (cell.height - area.height - strip) / 2;
            Tile { x: x & !1, y: y & !1, area, strip }
        })
        .collect()
}

/// The largest area within `room` that has the picture's aspect ratio.
fn fit(room: Area, picture: Area) -> Area {
    let even = |n: u64| (u32::try_from(n).unwrap_or(u32::MAX) & !1).max(SMALLEST);
    let (width, height) = (u64::from(picture.width.max(1)), u64::from(picture.height.max(1)));
    let (most_wide, most_high) = (u64::from(room.width), u64::from(room.height));
    if width * most_high >= height * most_wide {
        Area { width: even(most_wide), height: even(most_wide * height / width) }
    } else {
        Area { width: even(most_high * width / height), height: even(most_high) }
    }
}

impl Area {
    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// The name, shortened to one line of `width` pixels, with letters `letter` pixels wide.
pub fn caption(name: &str, width: u32, letter: u32) -> String {
    let room = usize::try_from(width / letter.max(1)).unwrap_or(usize::MAX);
    if name.chars().count() <= room {
        return name.into();
    }
    let kept: String = name.chars().take(room.saturating_sub(1)).collect();
    if kept.is_empty() { kept } else { kept + "…" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HD: Area = Area { width: 1280, height: 720 };
    const VGA: Area = Area { width: 640, height: 480 };
    const STRIP: u32 = 24;

    fn columns(window: Area, picture: Area, count: usize) -> usize {
        let tiles = arrange(window, &vec![picture; count], STRIP);
        tiles.iter().filter(|tile| tile.y == tiles[0].y).count()
    }

    #[test]
    fn one_fills_the_window() {
        let picture = Area { width: 320, height: 180 };
        let tile = Tile { x: 4, y: 2, area: Area { width: 1272, height: 716 }, strip: 0 };
        assert_eq!(arrange(HD, &[picture], 0), [tile]);
        let named = Tile { x: 24, y: 2, area: Area { width: 1230, height: 692 }, strip: STRIP };
        assert_eq!(arrange(HD, &[picture], STRIP), [named]);
    }

    #[test]
    fn rows_and_columns_follow_numbers_and_shapes() {
        let grids: Vec<_> = [1, 2, 3, 4, 5, 6, 9, 12, 16].map(|count| columns(HD, VGA, count)).into();
        assert_eq!(grids, [1, 2, 2, 2, 3, 3, 3, 4, 6]);
        let upright = Area { width: 720, height: 1280 };
        assert_eq!(columns(upright, VGA, 2), 1);
        assert_eq!(columns(HD, upright, 4), 4);
    }

    #[test]
    fn the_last_row_is_centred() {
        let tiles = arrange(HD, &[VGA; 3], STRIP);
        let middle = tiles[2].x + tiles[2].area.width / 2;
        assert!(middle.abs_diff(HD.width / 2) <= 2, "{tiles:?}");
    }

    #[test]
    fn a_name_has_room_only_under_a_picture_that_is_much_larger() {
        let strips = |count| arrange(HD, &vec![VGA; count], STRIP).iter().map(|tile| tile.strip).min();
        assert_eq!((strips(1), strips(16), strips(150)), (Some(STRIP), Some(STRIP), Some(0)));
    }

    #[test]
    fn no_pictures_no_tiles() {
        assert_eq!(arrange(HD, &[], STRIP), []);
        assert_eq!(arrange(Area { width: 0, height: 0 }, &[VGA], STRIP), []);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(caption("alice", 100, 10), "alice");
        assert_eq!(caption("alexandria", 60, 10), "alexa…");
        assert_eq!(caption("ålexandria", 20, 10), "å…");
        assert_eq!(caption("alice", 5, 10), "");
    }

    proptest! {
        #[test]
        fn tiles_keep_apart_inside_and_in_shape(
            window in (320u32..4000, 240u32..3000),
            pictures in proptest::collection::vec((16u32..2000, 16u32..2000), 1..40),
            strip in 0u32..40,
        ) {
            let window = Area { width: window.0, height: window.1 };
            let pictures: Vec<_> =
                pictures.into_iter().map(|(width, height)| Area { width, height }).collect();
            let tiles = arrange(window, &pictures, strip);
            prop_assert_eq!(tiles.len(), pictures.len());
            for (index, tile) in tiles.iter().enumerate() {
                prop_assert!(tile.right() <= window.width && tile.bottom() <= window.height);
                prop_assert!([tile.x, tile.y, tile.area.width, tile.area.height].iter().all(|n| n % 2 == 0));
                for other in &tiles[index + 1..] {
                    let apart = tile.right() <= other.x || other.right() <= tile.x
                        || tile.bottom() <= other.y || other.bottom() <= tile.y;
                    prop_assert!(apart, "{:?} {:?}", tile, other);
                }
            }
            for (tile, picture) in tiles.iter().zip(&pictures) {
                let (w, h) = (f64::from(tile.area.width), f64::from(tile.area.height));
                let ratio = f64::from(picture.width) / f64::from(picture.height);
                // Within the rounding to even pixels.
                prop_assert!((w - h * ratio).abs() <= 2.0 + 2.0 * ratio + 0.01, "{:?} {:?}", tile, picture);
            }
        }
    }

    impl Tile {
        fn right(self) -> u32 {
            self.x + self.area.width
        }

        fn bottom(self) -> u32 {
            self.y + self.area.height + self.strip
        }
    }
}
