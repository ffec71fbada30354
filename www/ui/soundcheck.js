// @ts-check
// The level of the microphone, and a test of the speaker.

import { say } from "../language.js";
import { meter } from "../levels.js";
import { element, icon } from "./dom.js";
import { playTest } from "./tone.js";

export class SoundCheck {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.bar = element("span");
    this.meter = element("div", { class: "meter", role: "meter", "aria-label": say("sound.level"), "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" }, this.bar);
    const test = element("button", { type: "button", class: "test" }, icon("sound"), say("sound.test"));
    test.addEventListener("click", () => void playTest());
    host.append(element("div", { class: "sound-check" }, this.meter, test));
  }

  /** @param {number} level */
  setLevel(level) {
    const part = meter(level);
    this.bar.style.setProperty("--level", part.toFixed(2));
    this.meter.setAttribute("aria-valuenow", String(Math.round(part * 100)));
  }
}
