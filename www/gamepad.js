// @ts-check
// A gamepad as the controls of a peer: its axes and buttons as the declaration names them. Pure but for `connected`.

/**
 * @typedef {import("./operator.js").Control} Control
 * @typedef {import("./operator.js").Value} Value
 * @typedef {{axes: readonly number[], buttons: readonly {value: number, pressed: boolean}[]}} Pad
 */

/** An axis at rest is rarely exactly in its middle. */
const DEAD = 0.12;

/** The gamepad in use: the first one. @returns {Pad | null} */
export function connected() {
  return navigator.getGamepads?.().find((pad) => pad?.connected) ?? null;
}

/** Whether these controls rest. @param {Pad} pad @param {Control[]} controls */
export function rests(pad, controls) {
  return controls.every((control) => control.gamepad.length === 0 || !isMoved(valueOf(pad, control)));
}

/** What has changed since the last look. */
export class PadReader {
  /** @type {Map<string, string>} The last values, as JSON. */ #last = new Map();

  /**
   * The inputs for these controls. A control that rests gives none until it is moved.
   * @param {Pad} pad @param {Control[]} controls @returns {{id: string, value: Value, held: boolean}[]}
   */
  read(pad, controls) {
    return controls.filter(({ gamepad }) => gamepad.length > 0).flatMap((control) => {
      const value = valueOf(pad, control);
      const text = JSON.stringify(value);
      const held = isMoved(value);
      const changed = text !== (this.#last.get(control.id) ?? (held ? "" : text));
      this.#last.set(control.id, text);
      // A button acts once, unless it is one to hold.
      const acts = control.type === "joystick" || control.hold || held;
      return changed && acts ? [{ id: control.id, value, held: held && (control.type === "joystick" || control.hold) }] : [];
    });
  }
}

/** @param {Pad} pad @param {Control} control @returns {Value} */
function valueOf({ axes, buttons }, { type, gamepad: [first, second] }) {
  if (type === "button") return buttons[first]?.pressed ? 1 : 0;
  // Gamepads count down, joysticks up.
  return [axis(axes[first]), axis(-(axes[second] ?? 0))];
}

/** @param {Value} value */
function isMoved(value) {
  return value !== 0 && String(value) !== "0,0";
}

/** @param {number} [raw] */
function axis(raw = 0) {
  const size = Math.min(1, Math.abs(raw));
  if (!(size > DEAD)) return 0;
  return Math.round((Math.sign(raw) * (size - DEAD) * 100) / (1 - DEAD)) / 100;
}
