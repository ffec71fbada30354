// @ts-check
// The controls of peers: a section for each peer that has declared some.

import { say } from "../language.js";
import { element, setText } from "./dom.js";
import { Joystick } from "./joystick.js";

/**
 * @typedef {import("../operator.js").Control} Control
 * @typedef {import("../operator.js").Value} Value
 * @typedef {(id: string, value: Value, held: boolean) => void} Input
 * @typedef {{node: HTMLElement, fields: HTMLFieldSetElement, hint: HTMLElement, controls: Map<string, Shown>, hold: string}} Section
 * @typedef {object} Shown
 * @property {HTMLElement} node
 * @property {(value: number) => void} set shows a value that the peer says
 * @property {() => void} release what is held is no longer
 */

export class Panel {
  /** @type {Map<string, Section>} */ #sections = new Map();

  /** @param {HTMLElement} node */
  constructor(node) {
    this.node = node;
  }

  /** The controls of a peer; none removes its section. @param {string} uid @param {string} name @param {Control[]} controls @param {Input} input */
  show(uid, name, controls, input) {
    this.remove(uid);
    if (controls.length > 0) {
      const hint = element("p", { class: "hint", role: "status" });
      const shown = new Map(controls.map((control) => /** @type {const} */ ([control.id, make(control, input)])));
      const fields = element("fieldset", {}, element("legend", {}, say("panel.of", { name })), ...[...shown.values()].map(({ node }) => node));
      const section = { node: element("section", { "data-operates": uid }, hint, fields), fields, hint, controls: shown, hold: "" };
      this.#sections.set(uid, section);
      this.node.append(section.node);
    }
    this.node.hidden = this.#sections.size === 0;
  }

  /** @param {string} uid */
  remove(uid) {
    this.#sections.get(uid)?.node.remove();
    this.#sections.delete(uid);
    this.node.hidden = this.#sections.size === 0;
  }

  /** @param {string} uid @param {string} why nothing is sent; empty if it is */
  setHold(uid, why) {
    const section = this.#sections.get(uid);
    if (!section || section.hold === why) return;
    section.hold = why;
    section.fields.disabled = why !== "";
    section.node.classList.toggle("held-back", why !== "");
    setText(section.hint, why);
    if (why) for (const { release } of section.controls.values()) release();
  }

  /** @param {string} uid @param {string} id @param {number} value */
  setValue(uid, id, value) {
    this.#sections.get(uid)?.controls.get(id)?.set(value);
  }
}

/** @param {Control} control @param {Input} input @returns {Shown} */
function make(control, input) {
  if (control.type === "joystick") return joystick(control, input);
  return control.type === "slider" ? slider(control, input) : button(control, input);
}

/** @param {Control} control @param {Input} input @returns {Shown} */
function joystick({ id, label }, input) {
  const stick = new Joystick(label, (value, held) => input(id, value, held));
  return { node: element("div", { class: "operate-joystick", "data-control": id }, stick.node, element("span", { "aria-hidden": "true" }, label)), set: () => {}, release: () => stick.release() };
}

/** @param {Control} control @param {Input} input @returns {Shown} */
function slider({ id, label, min, max, step, value }, input) {
  const range = element("input", { type: "range", min: String(min), max: String(max), step: String(step), value: String(value) });
  const output = element("output", {}, String(value));
  range.addEventListener("input", () => {
    setText(output, range.value);
    input(id, range.valueAsNumber, false);
  });
  const set = (/** @type {number} */ value) => {
    if (range.matches(":active")) return; // the user moves it
    range.value = String(value);
    setText(output, range.value);
  };
  return { node: element("label", { class: "operate-slider", "data-control": id }, element("span", {}, label), output, range), set, release: () => {} };
}

/** @param {Control} control @param {Input} input @returns {Shown} */
function button({ id, label, hold }, input) {
  const node = element("button", { type: "button", class: "operate-button secondary", "data-control": id }, label);
  let isDown = false;
  const turn = (/** @type {boolean} */ down) => {
    if (down === isDown) return;
    isDown = down;
    node.classList.toggle("down", down);
    input(id, down ? 1 : 0, down);
  };
  if (hold) {
    node.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      node.setPointerCapture(event.pointerId);
      turn(true);
    });
    for (const type of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) node.addEventListener(type, () => turn(false));
    node.addEventListener("keydown", ({ key, repeat }) => !repeat && (key === " " || key === "Enter") && turn(true));
    node.addEventListener("keyup", () => turn(false));
  } else node.addEventListener("click", () => input(id, 1, false));
  const release = () => {
    isDown = false;
    node.classList.remove("down");
  };
  return { node, set: () => {}, release };
}
