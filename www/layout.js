// @ts-check
// The layout of tiles: the number of columns that makes them largest.

/**
 * @param {number} count of tiles
 * @param {{width: number, height: number}} space
 * @param {{gap?: number, aspect?: number, strip?: number, minWidth?: number}} wishes in pixels; `aspect` is the
 *   picture's width divided by its height, `strip` the height of the name below it
 * @returns {{columns: number, rows: number, width: number, height: number}} the size of one tile; the page scrolls if
 *   not all rows fit
 */
export function tileLayout(count, space, { gap = 8, aspect = 16 / 9, strip = 0, minWidth = 150 } = {}) {
  let best = { columns: 1, rows: Math.max(1, count), width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(count / columns);
    const room = (space.width - gap * (columns - 1)) / columns;
    const width = Math.max(0, Math.min(room, ((space.height - gap * (rows - 1)) / rows - strip) * aspect));
    if (width > best.width) best = { columns, rows, width, height: width / aspect + strip };
  }
  return best.width >= minWidth || count <= 1 ? floor(best) : floor(scrolled(count, space, { gap, aspect, strip, minWidth }));
}

/** A layout with tiles no smaller than `minWidth`, which may need more rows than fit. */
function scrolled(/** @type {number} */ count, /** @type {{width: number}} */ space, { gap = 0, aspect = 1, strip = 0, minWidth = 0 }) {
  const columns = Math.max(1, Math.min(count, Math.floor((space.width + gap) / (minWidth + gap))));
  const width = Math.max(0, (space.width - gap * (columns - 1)) / columns);
  return { columns, rows: Math.ceil(count / columns), width, height: width / aspect + strip };
}

/** @param {{columns: number, rows: number, width: number, height: number}} layout */
function floor({ columns, rows, width, height }) {
  return { columns, rows, width: Math.floor(width), height: Math.floor(height) };
}

/** The film strip's height in pixels: a part of the space, within bounds. */
const STRIP_PART = 0.2;
const STRIP_BOUNDS = [84, 150];

/**
 * The layout of a film strip below a large tile.
 * @param {{width: number, height: number}} space
 * @param {{gap?: number, aspect?: number, strip?: number}} wishes as above
 * @returns {{width: number, height: number}} the size of one tile of the film strip
 */
export function filmStrip(space, { aspect = 16 / 9, strip = 0 } = {}) {
  const [least, most] = STRIP_BOUNDS;
  const height = Math.min(most, Math.max(least, space.height * STRIP_PART));
  return { width: Math.floor((height - strip) * aspect), height: Math.floor(height) };
}
