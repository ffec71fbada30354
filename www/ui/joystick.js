// @ts-check
// A joystick for pointer and arrow keys. It returns to the middle when it is released.

import { say } from "../language.js";
import { element } from "./dom.js";

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class Joystick {
  /** @type {Set<string>} The arrow keys that are down. */ #keys = new Set();
  #isHeld = false;

  /** @param {string} label @param {(value: [number, number], held: boolean) => void} moved right and up, -1 to 1 */
  constructor(label, moved) {
    this.moved = moved;
    this.knob = element("span", { class: "knob" });
    this.node = element("div", { class: "joystick", role: "application", tabindex: "0", "aria-label": label, "aria-roledescription": say("panel.joystick") }, this.knob);
    this.node.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.#isDisabled) return;
      this.node.setPointerCapture(event.pointerId);
      this.#isHeld = true;
      this.#point(event);
    });
    this.node.addEventListener("pointermove", (event) => this.#isHeld && this.#point(event));
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) this.node.addEventListener(type, () => this.#let());
    this.node.addEventListener("keydown", (event) => this.#key(event, true));
    this.node.addEventListener("keyup", (event) => this.#key(event, false));
    this.node.addEventListener("blur", () => this.#let());
  }

  /** The picture is no longer live, for example: the user has to take it again. */
  release() {
    this.#isHeld = false;
    this.#keys.clear();
    this.#show([0, 0]);
  }

  get #isDisabled() {
    return this.node.closest("fieldset")?.disabled ?? false;
  }

  #let() {
    if (!this.#isHeld) return;
    this.release();
    this.moved([0, 0], false);
  }

  /** @param {PointerEvent} event */
  #point({ clientX, clientY }) {
    const { left, top, width, height } = this.node.getBoundingClientRect();
    const [x, y] = [((clientX - left) / width) * 2 - 1, 1 - ((clientY - top) / height) * 2];
    const length = Math.max(1, Math.hypot(x, y));
    this.#move([x / length, y / length]);
  }

  /** @param {KeyboardEvent} event @param {boolean} down */
  #key(event, down) {
    if (!ARROWS[event.key]) return;
    event.preventDefault();
    if (event.repeat || this.#isDisabled) return;
    if (down) this.#keys.add(event.key);
    else if (!this.#keys.delete(event.key)) return;
    if (this.#keys.size === 0) return this.#let();
    this.#isHeld = true;
    const sum = [...this.#keys].map((key) => ARROWS[key]).reduce((a, b) => [a[0] + b[0], a[1] + b[1]], [0, 0]);
    this.#move(/** @type {[number, number]} */ (sum));
  }

  /** @param {[number, number]} value */
  #move([x, y]) {
    const value = /** @type {[number, number]} */ ([round(x), round(y)]);
    this.#show(value);
    this.moved(value, true);
  }

  /** @param {[number, number]} value */
  #show([x, y]) {
    this.knob.style.setProperty("translate", `${x * 50}% ${-y * 50}%`);
  }
}

/** @param {number} part */
function round(part) {
  return Math.round(part * 100) / 100;
}
