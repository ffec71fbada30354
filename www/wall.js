// @ts-check
// Which tile of the wall is large. No document.

/**
 * @typedef {"grid" | "strip" | "solo"} Shape `grid`: all tiles have the same size; `strip`: one is large, the others are
 *   in a film strip below it; `solo`: one alone is shown
 */

/** A phone shows more tiles than this as a film strip: in a grid they would be too small. */
const MOST_ON_PHONE = 3;

export class Wall {
  /** @type {string[]} The keys of the tiles, in their order. */ keys = [];
  /** @type {string | null} The tile that the user made large. */ #pinned = null;
  #solo = false;

  /** @param {string} key */
  add(key) {
    if (!this.keys.includes(key)) this.keys.push(key);
  }

  /** @param {string} key */
  remove(key) {
    this.keys = this.keys.filter((other) => other !== key);
    if (key === this.#pinned) this.back();
  }

  get pinned() {
    return this.#pinned;
  }

  /** Makes a tile large, or no longer. @param {string} key */
  pin(key) {
    this.#enlarge(key, false);
  }

  /** Shows a tile alone, or no longer. @param {string} key */
  spotlight(key) {
    this.#enlarge(key, true);
  }

  /** Back to all tiles. Returns whether that was a change. */
  back() {
    const was = this.#pinned !== null;
    this.#pinned = null;
    this.#solo = false;
    return was;
  }

  /** The key of tile number `n`, counted from 1. @param {number} n */
  nth(n) {
    return this.keys[n - 1] ?? null;
  }

  /** The tile for a key without a number. @param {string | null} focused the tile with the focus */
  current(focused) {
    return (focused !== null && this.keys.includes(focused) ? focused : null) ?? this.#pinned ?? this.keys[0] ?? null;
  }

  /**
   * What to show. On a phone with many tiles, the one that speaks is large.
   * @param {{isPhone: boolean, speaker: string | null}} at
   * @returns {{shape: Shape, main: string | null}}
   */
  view({ isPhone, speaker }) {
    if (this.#solo) return { shape: "solo", main: this.#pinned };
    // A single tile is large without a film strip.
    if (this.keys.length > 1 && this.#pinned !== null) return { shape: "strip", main: this.#pinned };
    if (!isPhone || this.keys.length <= MOST_ON_PHONE) return { shape: "grid", main: null };
    const main = speaker !== null && this.keys.includes(speaker) ? speaker : this.keys[0];
    return { shape: "strip", main };
  }

  /** @param {string} key @param {boolean} alone */
  #enlarge(key, alone) {
    if (!this.keys.includes(key)) return;
    if (key === this.#pinned && alone === this.#solo) return void this.back();
    this.#pinned = key;
    this.#solo = alone;
  }
}
