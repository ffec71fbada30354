// @ts-check
// The dialog for an incoming call: the caller's name, and buttons to accept or decline. Before that, nothing is sent to
// the caller.

import { say } from "../language.js";
import { ringText } from "../texts.js";
import { find, setText } from "./dom.js";
import { initials } from "./tile.js";
import { Tone } from "./tone.js";

export class Ring {
  /** @type {Tone | null} */ #tone = null;

  /** @param {{accept: (camera: boolean | null) => void, decline: () => void}} events `camera`: null leaves it as it is */
  constructor(events) {
    this.dialog = find("ring", HTMLDialogElement);
    this.heading = find("ring-heading", HTMLElement);
    this.avatar = find("ring-avatar", HTMLElement);
    this.withCamera = find("accept", HTMLButtonElement);
    this.withoutCamera = find("accept-without-camera", HTMLButtonElement);
    this.decline = find("decline", HTMLButtonElement);
    this.hasCamera = false;
    this.withCamera.addEventListener("click", () => this.#accept(events, this.hasCamera ? true : null));
    this.withoutCamera.addEventListener("click", () => this.#accept(events, false));
    this.decline.addEventListener("click", events.decline);
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      events.decline();
    });
  }

  /** Accepts once: the camera may take a moment. @param {{accept: (camera: boolean | null) => void}} events @param {boolean | null} camera */
  #accept(events, camera) {
    this.withCamera.disabled = this.withoutCamera.disabled = true;
    this.#silence();
    events.accept(camera);
  }

  /** @param {boolean} rings @param {string | null} caller */
  show(rings, caller) {
    if (!rings) return this.#hide();
    setText(this.heading, ringText(caller));
    setText(this.avatar, caller === null ? "?" : initials(caller));
    if (this.dialog.open) return;
    this.withCamera.disabled = this.withoutCamera.disabled = false;
    // Focus the heading: a key press meant for something else must not accept.
    this.dialog.showModal();
    this.heading.focus();
    this.#tone = new Tone();
  }

  #hide() {
    this.#silence();
    if (this.dialog.open) this.dialog.close();
  }

  #silence() {
    this.#tone?.stop();
    this.#tone = null;
  }

  /** @param {import("../media.js").Media} media */
  update(media) {
    const { device, error } = media.slots.video;
    this.hasCamera = device !== "none" && error !== "not-found" && error !== "insecure";
    setText(this.withCamera, say(this.hasCamera ? "ring.accept-with-camera" : "ring.accept"));
    this.withoutCamera.hidden = !this.hasCamera;
  }
}
