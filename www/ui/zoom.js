// @ts-check
// Zoom and pan of a tile by wheel, drag and pinch.

/** How much one notch of a wheel (100 pixels) zooms. */
const PER_PIXEL = 0.002;

/** @typedef {{x: number, y: number}} Point in pixels of the window */

export class Zoom {
  /** @type {Map<number, Point>} The pointers that are down. */ #pointers = new Map();

  /** @param {import("./tile.js").Tile} tile @param {(tile: import("./tile.js").Tile) => boolean} fills whether nothing is there to scroll */
  constructor(tile, fills) {
    this.tile = tile;
    const { picture } = tile;
    picture.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !fills(tile)) return;
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY * PER_PIXEL * (event.ctrlKey ? 5 : 1)), { x: event.clientX, y: event.clientY });
    }, { passive: false });
    picture.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || /** @type {Element} */ (event.target).closest("button")) return;
      this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (tile.lens.zoom > 1 || this.#pointers.size > 1) picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture", "pointerleave"])) picture.addEventListener(type, ({ pointerId }) => this.#pointers.delete(pointerId));
  }

  /** @param {PointerEvent} event */
  #move({ pointerId, clientX, clientY }) {
    const before = [...this.#pointers.values()];
    const last = this.#pointers.get(pointerId);
    if (!last) return;
    const now = { x: clientX, y: clientY };
    this.#pointers.set(pointerId, now);
    const after = [...this.#pointers.values()];
    if (after.length === 2) {
      const [from, to] = [distance(before), distance(after)];
      if (from > 0 && to > 0) this.#zoom(to / from, { x: (after[0].x + after[1].x) / 2, y: (after[0].y + after[1].y) / 2 });
    } else if (this.tile.lens.zoom > 1) {
      const { width, height } = this.tile.picture.getBoundingClientRect();
      this.tile.lens.panBy((now.x - last.x) / width, (now.y - last.y) / height);
      this.tile.applyLens();
    }
  }

  /** @param {number} factor @param {Point} at */
  #zoom(factor, at) {
    const { left, top, width, height } = this.tile.picture.getBoundingClientRect();
    this.tile.lens.zoomBy(factor, { x: (at.x - left) / width - 0.5, y: (at.y - top) / height - 0.5 });
    this.tile.applyLens();
  }
}

/** @param {Point[]} points two */
function distance([a, b]) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
