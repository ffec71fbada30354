// @ts-check
// Zoom and rotation of one picture. Places are fractions of the box that shows it, from its middle: -0.5 to 0.5.

const MOST = 8;
/** One step of the keys and buttons. */
export const STEP = 1.25;

export class Lens {
  zoom = 1;
  x = 0;
  y = 0;
  /** Quarter turns clockwise, 0 to 3. */ turns = 0;

  /** Zooms around the place `at`. @param {number} factor @param {{x: number, y: number}} at */
  zoomBy(factor, at = { x: 0, y: 0 }) {
    if (!(factor > 0)) return;
    const zoom = Math.min(MOST, Math.max(1, this.zoom * factor));
    const ratio = zoom / this.zoom;
    this.zoom = zoom;
    this.x = at.x - (at.x - this.x) * ratio;
    this.y = at.y - (at.y - this.y) * ratio;
    this.#bound();
  }

  /** @param {number} x @param {number} y */
  panBy(x, y) {
    this.x += x;
    this.y += y;
    this.#bound();
  }

  turn() {
    this.turns = (this.turns + 1) % 4;
  }

  reset() {
    this.zoom = 1;
    this.x = this.y = 0;
    this.turns = 0;
  }

  /** Whether the picture is shown as it is. */
  get isPlain() {
    return this.zoom === 1 && this.turns === 0;
  }

  /** For the style of the video, in a box that is a size container. */
  get transform() {
    if (this.isPlain) return "";
    const percent = (/** @type {number} */ part) => (part * 100).toFixed(2);
    return `translate(${percent(this.x)}cqw, ${percent(this.y)}cqh) scale(${this.zoom.toFixed(3)}) rotate(${this.turns * 90}deg)`;
  }

  /** The picture covers the box. */
  #bound() {
    const most = (this.zoom - 1) / 2;
    this.x = Math.min(most, Math.max(-most, this.x));
    this.y = Math.min(most, Math.max(-most, this.y));
  }
}
