// @ts-check
// The choices about quality, in the dialog of devices.

import { say } from "../language.js";
import { CHOICES } from "../quality.js";
import { element } from "./dom.js";

/** @typedef {import("../quality.js").Quality} Quality */

export class QualityChoice {
  /** @type {Map<keyof Quality, HTMLSelectElement | HTMLInputElement>} */ #inputs = new Map();

  /** @param {HTMLElement} host @param {Quality} quality @param {boolean} shares whether the browser can share a screen @param {(quality: Quality) => void} changed */
  constructor(host, quality, shares, changed) {
    this.changed = changed;
    host.append(
      group(say("quality.camera"), [
        this.#select("resolution", say("quality.resolution"), (value) => say("quality.resolution.value", { value })),
        this.#select("frames", say("quality.frames"), String),
        this.#select("hint", say("quality.hint"), (value) => hintText(value)),
        this.#select("codec", say("quality.codec"), (value) => value || say("quality.codec.auto")),
      ]),
      group(say("quality.sound"), [this.#check("echo", say("quality.echo")), this.#check("noise", say("quality.noise")), this.#check("gain", say("quality.gain"))]),
    );
    if (shares) {
      host.append(
        group(say("quality.screen"), [
          this.#select("screenPlace", say("quality.screen-place"), (value) => say(value === "beside" ? "quality.screen-place.beside" : "quality.screen-place.instead")),
          this.#select("screenFrames", say("quality.frames"), String),
          this.#select("screenHint", say("quality.hint"), (value) => hintText(value)),
          this.#check("screenSound", say("quality.screen-sound")),
        ]),
      );
    }
    this.quality = quality;
    for (const [name, input] of this.#inputs) {
      if (input instanceof HTMLInputElement) input.checked = Boolean(quality[name]);
      else input.value = String(quality[name]);
    }
  }

  /** @param {keyof Quality} name @param {string} label @param {(value: string) => string} text of a choice */
  #select(name, label, text) {
    const id = `quality-${name}`;
    // The smallest number is first.
    const values = /** @type {string[]} */ ([...CHOICES[name]]).sort((a, b) => Number(a) - Number(b));
    const select = element("select", { id }, ...values.map((value) => element("option", { value }, text(value))));
    this.#listen(name, select, () => select.value);
    return element("div", { class: "device" }, element("label", { for: id }, label), select);
  }

  /** @param {keyof Quality} name @param {string} label */
  #check(name, label) {
    const input = element("input", { type: "checkbox", id: `quality-${name}` });
    this.#listen(name, input, () => input.checked);
    return element("label", { class: "check" }, input, element("span", {}, label));
  }

  /** @param {keyof Quality} name @param {HTMLSelectElement | HTMLInputElement} input @param {() => string | boolean} value */
  #listen(name, input, value) {
    this.#inputs.set(name, input);
    input.addEventListener("change", () => {
      this.quality = { ...this.quality, [name]: value() };
      this.changed(this.quality);
    });
  }
}

/** @param {string} hint */
function hintText(hint) {
  const name = /** @type {"auto" | "motion" | "detail"} */ (hint || "auto");
  return say(`quality.hint.${name}`);
}

/** @param {string} name @param {HTMLElement[]} rows */
function group(name, rows) {
  return element("fieldset", { class: "quality" }, element("legend", {}, name), ...rows);
}
