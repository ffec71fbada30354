// @ts-check
// The sheet of keys.

import { say } from "../language.js";
import { element } from "./dom.js";

/** @type {[string[], import("../language.js").Key][]} */
const KEYS = [
  [["1", "…", "9"], "keys.pin"],
  [["⇧ 1", "…", "⇧ 9"], "keys.spotlight"],
  [["Esc"], "keys.back"],
  [["F"], "view.full-screen"],
  [["P"], "view.picture-in-picture"],
  [["+", "−"], "keys.zoom"],
  [["←", "↑", "↓", "→"], "keys.move"],
  [["R"], "view.rotate"],
  [["S"], "view.snapshot"],
  [["C"], "view.record"],
  [["H"], "control.statistics"],
  [["M"], "keys.mic"],
  [["V"], "keys.camera"],
  [[" "], "keys.talk"],
  [["?"], "keys.help"],
];

export class Sheet {
  /** @param {HTMLElement} host @param {(on: boolean) => void} switched whether the keys are used */
  constructor(host, switched) {
    const rows = KEYS.map(([keys, text]) => element("div", {}, element("dt", {}, ...keys.map((key) => (key === "…" ? key : element("kbd", {}, key === " " ? say("keys.space") : key)))), element("dd", {}, say(text))));
    this.check = element("input", { type: "checkbox", id: "use-keys" });
    this.check.addEventListener("change", () => switched(this.check.checked));
    const label = element("label", { class: "check" }, this.check, element("span", {}, say("keys.use")));
    const form = element("form", { method: "dialog" }, element("button", { class: "primary", type: "submit" }, say("device.done")));
    this.dialog = element("dialog", { id: "sheet", class: "settings sheet", "aria-labelledby": "sheet-heading" }, element("h2", { id: "sheet-heading" }, say("keys.heading")), element("dl", {}, ...rows), label, form);
    host.append(this.dialog);
  }

  /** @param {boolean} used */
  open(used) {
    this.check.checked = used;
    if (!this.dialog.open) this.dialog.showModal();
  }
}
