// @ts-check
// The buttons under the call, and the two in the lobby's preview.

import { say } from "../language.js";
import { control, element, label, setIcon } from "./dom.js";

/** @typedef {"mic" | "camera" | "share" | "chat" | "stats" | "settings" | "invite" | "more" | "hang-up"} Control */

export class Controls {
  /** @param {HTMLElement} node @param {HTMLElement} preview @param {(what: Control) => void} pressed */
  constructor(node, preview, pressed) {
    this.pressed = pressed;
    const make = (/** @type {Control} */ what, /** @type {string} */ drawing, /** @type {string} */ text, prefix = "", className = "") =>
      control({ id: `${prefix}${what}`, icon: drawing, label: text, className }, () => pressed(what));
    this.mics = [make("mic", "mic", say("control.mute")), make("mic", "mic", say("control.mute"), "preview-")];
    this.cameras = [make("camera", "camera", say("control.camera-off")), make("camera", "camera", say("control.camera-off"), "preview-")];
    this.share = make("share", "share", say("control.share"));
    this.chat = make("chat", "chat", say("chat.name"), "show-");
    this.stats = make("stats", "stats", say("control.statistics"), "show-");
    this.invite = make("invite", "link", say("control.invite"));
    this.settings = make("settings", "settings", say("control.settings"), "show-");
    this.more = make("more", "more", say("control.more"));
    this.hangUp = make("hang-up", "hang-up", say("control.hang-up"), "", "danger");
    this.badge = element("span", { class: "badge", hidden: true });
    this.chat.append(this.badge);
    node.append(this.mics[0], this.cameras[0], this.share, this.chat, this.stats, this.settings, this.invite, this.more, this.hangUp);
    this.preview = preview;
    preview.append(this.mics[1], this.cameras[1], make("settings", "settings", say("control.settings"), "preview-"));
    this.setOpen("chat", false);
    this.setOpen("stats", false);
  }

  /** @param {import("../media.js").Media} media */
  update(media) {
    const { audio, video } = media.slots;
    for (const button of this.mics) toggle(button, audio.track !== null && audio.on, audio.track !== null, "mic", say("control.mute"), say("control.unmute"));
    const camera = video.track !== null || (!video.on && video.device !== "none");
    for (const button of this.cameras) toggle(button, video.track !== null, camera, "camera", say("control.camera-off"), say("control.camera-on"));
  }

  /** A page that only watches has no devices. */
  watch() {
    for (const button of [this.mics[0], this.cameras[0], this.share, this.settings, this.preview]) button.hidden = true;
  }

  /** What the menu has, because not all buttons fit a phone. @returns {import("./menu.js").Item[]} */
  get items() {
    /** @type {[HTMLButtonElement, "settings" | "invite", string, string][]} */
    const all = [[this.settings, "settings", say("control.settings"), "settings"], [this.invite, "invite", say("control.invite"), "link"]];
    return all.filter(([button]) => !button.hidden).map(([, what, label, icon]) => ({ label, icon, run: () => this.pressed(what) }));
  }

  /** @param {"chat" | "stats"} what @param {boolean} open */
  setOpen(what, open) {
    const button = what === "chat" ? this.chat : this.stats;
    button.classList.toggle("open", open);
    button.setAttribute("aria-pressed", String(open));
  }

  /** @param {boolean} shares whether we share a screen */
  setSharing(shares) {
    this.share.classList.toggle("open", shares);
    label(this.share, say(shares ? "control.share-off" : "control.share"));
  }

  /** @param {number} count of messages not seen */
  setUnread(count) {
    this.badge.hidden = count === 0;
    this.badge.textContent = count > 99 ? "99+" : String(count);
    this.chat.setAttribute("aria-label", count ? say("chat.unread", { count }) : say("chat.name"));
  }

  /** @param {boolean} room */
  setRoom(room) {
    this.invite.hidden = !room;
    label(this.hangUp, say(room ? "control.leave" : "control.hang-up"));
  }
}

/**
 * @param {HTMLButtonElement} button @param {boolean} on @param {boolean} possible @param {string} drawing
 * @param {string} offLabel the action while on @param {string} onLabel the action while off
 */
function toggle(button, on, possible, drawing, offLabel, onLabel) {
  button.disabled = !possible;
  button.classList.toggle("off", !on);
  label(button, on ? offLabel : onLabel);
  if (button.firstElementChild) setIcon(button.firstElementChild, on ? drawing : `${drawing}-off`);
}
