// @ts-check
// The controls that a peer declares, and the commands that the user's actions send (docs/controls.md). Pure.

import { shown } from "./texts.js";

/**
 * @typedef {"button" | "slider" | "joystick"} Type
 * @typedef {object} Control
 * @property {string} id
 * @property {Type} type
 * @property {string} label
 * @property {boolean} hold of a button: it acts as long as it is pressed
 * @property {number} min of a slider
 * @property {number} max
 * @property {number} step
 * @property {number} value at the start
 * @property {number[]} gamepad a button's index, or the indices of two axes; may be empty
 *
 * @typedef {number | [number, number]} Value of a joystick: right and up, -1 to 1
 * @typedef {{controls: Control[], blind: boolean}} Declaration `blind`: the peer has no camera that shows what it does
 * @typedef {"live" | "stale" | "held"} Hold why nothing is sent: `stale`: there is no live picture; `held`: another operator has the
 *   control; `live`: commands are sent
 */

const MAX_CONTROLS = 32;
const MAX_ID = 32;
const MAX_LABEL = 40;
/** Most characters of a message of the peer. */
const MAX_MESSAGE = 16_384;
/** Messages about one control are at least this far apart: the last value counts. */
export const STEP_MS = 50;
/** The value of a held control is repeated after this time, so that the peer notices a lost connection. */
const REPEAT_MS = 100;

/** A message of the peer. @typedef {{says: "controls", declaration: Declaration} | {says: "value", id: string, value: number} | {says: "held", by: string, you: boolean} | {says: "free"}} Said */

/** @param {string} text @returns {Said | null} null if it is none of these */
export function parseSaid(text) {
  const message = text.length <= MAX_MESSAGE ? parsed(text) : null;
  switch (message?.callbin) {
    case "controls":
      return { says: "controls", declaration: { controls: readControls(message.controls), blind: message.blind === true } };
    case "value":
      return typeof message.id === "string" && Number.isFinite(message.value) ? { says: "value", id: message.id, value: message.value } : null;
    case "held":
      return typeof message.by === "string" ? { says: "held", by: shown(message.by), you: message.you === true } : null;
    case "free":
      return { says: "free" };
    default:
      return null;
  }
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return null;
  }
}

/** @param {unknown} list @returns {Control[]} */
function readControls(list) {
  if (!Array.isArray(list)) return [];
  const known = new Set();
  const isNew = (/** @type {Control} */ { id }) => !known.has(id) && known.add(id);
  return list.slice(0, MAX_CONTROLS).flatMap(readControl).filter(isNew);
}

/** @param {any} it @returns {Control[]} one, or none if it cannot be used */
function readControl(it) {
  const { id, type, label } = Object(it);
  if (typeof id !== "string" || id === "" || id.length > MAX_ID || !["button", "slider", "joystick"].includes(type)) return [];
  const number = (/** @type {unknown} */ value, /** @type {number} */ other) => (typeof value === "number" && Number.isFinite(value) ? value : other);
  const min = number(it.min, 0);
  const max = Math.max(min, number(it.max, 1));
  const step = Math.abs(number(it.step, 0)) || (max - min) / 100 || 1;
  const value = Math.min(max, Math.max(min, number(it.value, min)));
  const indices = (Array.isArray(it.gamepad) ? it.gamepad : [it.gamepad]).filter((/** @type {unknown} */ index) => Number.isInteger(index) && Number(index) >= 0 && Number(index) < 32);
  const gamepad = indices.length === (type === "joystick" ? 2 : 1) && type !== "slider" ? indices : [];
  return [{ id, type, label: shown(typeof label === "string" && label ? label : id, MAX_LABEL), hold: it.hold === true, min, max, step, value, gamepad }];
}

export class Operator {
  /** @type {Declaration} */ declaration = { controls: [], blind: false };
  /** @type {string | null} The other operator that has the control. */ holder = null;
  #isLive = false;
  /** Whether the declaration is still to be shown. */ #isNew = false;
  /** @type {Map<string, number>} Values of the peer that are still to be shown. */ #news = new Map();
  /** @type {Map<string, Value>} Values that are still to be sent. */ #waiting = new Map();
  /** @type {Map<string, {value: Value, since: number}>} Held controls: value, and time of the last message. */ #held = new Map();
  /** @type {Map<string, number>} */ #sent = new Map();

  /** @returns {Hold} */
  get hold() {
    if (this.holder !== null) return "held";
    return this.#isLive || this.declaration.blind ? "live" : "stale";
  }

  /** The peer says something. @param {Said} said */
  hear(said) {
    if (said.says === "controls") {
      this.declaration = said.declaration;
      this.#isNew = true;
      this.#news.clear();
      this.#drop();
    } else if (said.says === "value" && this.#declares(said.id)) this.#news.set(said.id, said.value);
    else if (said.says === "held") this.holder = said.you ? null : said.by;
    else if (said.says === "free") this.holder = null;
    this.#look();
  }

  /** @param {boolean} isLive whether the peer's picture is */
  picture(isLive) {
    this.#isLive = isLive;
    this.#look();
  }

  /** What the peer has said since the last call: the declaration if it is another one, and the last value of each control. */
  takeNews() {
    const declaration = this.#isNew ? this.declaration : null;
    const values = new Map(this.#news);
    this.#isNew = false;
    this.#news.clear();
    return { declaration, values };
  }

  /**
   * The user moves a control.
   * @param {string} id @param {Value} value @param {boolean} held whether the user still holds it: a joystick, or a button with `hold`
   */
  input(id, value, held = false) {
    // Until the declaration is shown, the user still sees the one before.
    if (this.hold !== "live" || this.#isNew || !this.#declares(id)) return;
    this.#waiting.set(id, value);
    if (held) this.#held.set(id, { value, since: -Infinity });
    else this.#held.delete(id);
  }

  /** The messages to send now. @param {number} now in ms @returns {string[]} */
  due(now) {
    if (this.hold !== "live") return [];
    for (const [id, { value, since }] of this.#held) if (now - since >= REPEAT_MS && !this.#waiting.has(id)) this.#waiting.set(id, value);
    const ready = [...this.#waiting].filter(([id]) => now - (this.#sent.get(id) ?? -Infinity) >= STEP_MS);
    return ready.map(([id, value]) => {
      this.#waiting.delete(id);
      this.#sent.set(id, now);
      const held = this.#held.get(id);
      if (held) held.since = now;
      return JSON.stringify({ id, value });
    });
  }

  /** @param {string} id */
  #declares(id) {
    return this.declaration.controls.some((control) => control.id === id);
  }

  /** Values that cannot be sent now are dropped: a late command would surprise. */
  #look() {
    if (this.hold !== "live") this.#drop();
  }

  #drop() {
    this.#waiting.clear();
    this.#held.clear();
  }
}
