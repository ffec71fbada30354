// @ts-check
// The tile of one participant: picture, name below it, audio level, connection state.

import { say } from "../language.js";
import { Lens } from "../lens.js";
import { meter } from "../levels.js";
import { peerText, shownState, staleText } from "../texts.js";
import { element, icon, label, playable, setText } from "./dom.js";

export class Tile {
  /** @type {MediaStream | null} */ #stream = null;
  /** Zoom and rotation. */
  lens = new Lens();
  /** Whether the last click has enlarged it: a second one does not make it smaller. */
  grew = false;

  /**
   * @param {{key: string, name: string, peer?: string, track?: number}} who `key` is the tile's own; `peer` is the uid of a remote
   *   participant, and `track` counts its videos from 1
   * @param {{retry: () => void, playBlocked: (video: HTMLVideoElement) => void, pin: () => void, menu: (button: HTMLElement) => void}} events
   */
  constructor({ key, name, peer, track = 1 }, events) {
    const self = peer === undefined;
    this.key = key;
    this.events = events;
    const described = self ? say("device.own-camera") : say("tile.video", { name });
    this.video = element("video", { part: self ? "video self" : "video", autoplay: true, playsinline: true, "aria-label": described, "data-peer": peer, "data-track": track > 1 ? String(track) : undefined });
    this.video.muted = self;
    this.avatar = element("div", { class: "avatar", "aria-hidden": "true" }, element("span", {}, initials(name)));
    this.stats = element("dl", { class: "tile-stats", part: "figures", hidden: true });
    this.reason = element("p");
    const retry = element("button", { type: "button", class: "retry" }, icon("retry"), say("tile.retry"));
    retry.addEventListener("click", events.retry);
    this.stale = element("p", { class: "stale", part: "stale", "aria-hidden": "true", hidden: true });
    // Screen readers hear of it once, not each second.
    this.news = element("span", { class: "visually-hidden", role: "status" });
    this.name = name;
    this.veil = element("div", { class: "veil", part: "failure", role: "alert", hidden: true }, this.reason, retry);
    this.state = element("span", { class: "peer-state", part: "state" });
    this.muted = element("span", { class: "muted", hidden: true, title: say("tile.muted") }, icon("mic-off"), element("span", { class: "visually-hidden" }, say("tile.muted")));
    this.bar = element("span");
    const level = element("span", { class: "meter", "aria-hidden": "true", hidden: track > 1 }, this.bar);
    this.recording = element("span", { class: "recording", role: "img", "aria-label": say("view.recording"), hidden: true });
    this.pin = small("pin", say("view.pin"), events.pin);
    this.menu = small("more", say("view.of", { name }), () => events.menu(this.menu));
    this.picture = element("div", { class: "picture" }, this.video, this.avatar, this.stale, this.stats, this.veil, this.news);
    this.title = element("span", { class: "name", part: "name" }, name);
    this.under = element("div", { class: "under", part: "under" }, this.title, this.state, this.recording, this.muted, level);
    if (!self) this.under.append(this.pin, this.menu);
    this.node = element("div", { class: self ? "tile self" : "tile", part: self ? "tile self" : "tile", role: "listitem", "aria-label": name, "data-key": key }, this.picture, this.under);
  }

  get stream() {
    return this.#stream;
  }

  /** @param {string} name */
  setName(name) {
    if (name === this.name) return;
    this.name = name;
    setText(this.title, name);
    this.node.setAttribute("aria-label", name);
    this.video.setAttribute("aria-label", say("tile.video", { name }));
    this.menu.setAttribute("aria-label", say("view.of", { name }));
  }

  /** @param {boolean} pinned */
  setPinned(pinned) {
    this.node.classList.toggle("main", pinned);
    this.pin.setAttribute("aria-pressed", String(pinned));
    label(this.pin, say(pinned ? "view.unpin" : "view.pin"));
  }

  /** Shows the picture as the lens says. */
  applyLens() {
    this.video.style.setProperty("transform", this.lens.transform);
    this.picture.classList.toggle("turned", this.lens.turns % 2 === 1);
    this.picture.classList.toggle("zoomed", this.lens.zoom > 1);
  }

  /**
   * @param {{state: import("../peer.js").PeerState, answered: boolean, reason: import("../peer.js").Failure | null, detail: import("../check/servers.js").Words | null}} connection
   * @param {boolean} waits whether a failed connection waits for the server, to be replaced
   */
  setState(connection, waits) {
    const state = shownState(connection.state, waits);
    const text = peerText(connection, waits);
    const failed = state === "failed";
    this.node.dataset.state = state;
    setText(this.state, failed ? "" : text);
    this.veil.hidden = !failed;
    setText(this.reason, failed ? text : "");
  }

  /**
   * Shows a stream, or nothing while it has no tracks. Returns whether that was a change.
   * @param {MediaStream} stream
   */
  setStream(stream) {
    const shown = playable(stream);
    const isNew = this.#stream !== shown;
    if (isNew) {
      this.#stream = shown;
      this.video.srcObject = shown;
    }
    if (shown) void this.play();
    return isNew;
  }

  /** Plays; browsers allow sound only after a user action on the page, or while the page uses a microphone. */
  async play() {
    try {
      await this.video.play();
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError") this.events.playBlocked(this.video);
    }
  }

  /** @param {import("../picture.js").PictureState} state @param {number} ms since the last frame */
  setPicture(state, ms) {
    const stale = state === "stale";
    const text = stale ? staleText(ms) : "";
    // Most looks find nothing new. Attributes that are set again have their styles computed again.
    if (this.node.dataset.picture === state && this.stale.textContent === text) return;
    this.avatar.hidden = stale || state === "live";
    this.stale.hidden = !stale;
    this.node.dataset.picture = state;
    for (const names of [this.node.classList, this.node.part]) names.toggle("is-stale", stale);
    setText(this.stale, text);
    setText(this.news, stale ? say("tile.stale-of", { name: this.name }) : "");
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted.hidden = !muted;
  }

  /** @param {number} level @param {boolean} speaking */
  setLevel(level, speaking) {
    this.bar.style.setProperty("--level", meter(level).toFixed(2));
    this.node.classList.toggle("speaking", speaking);
  }

  /** @param {[string, string][] | null} rows */
  setStats(rows) {
    if (rows === null && this.stats.hidden) return;
    this.stats.hidden = rows === null || rows.length === 0;
    if (rows === null) return;
    const cells = rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
    this.stats.replaceChildren(...cells);
  }

  remove() {
    this.video.srcObject = null;
    this.node.remove();
  }
}

/** A small button. @param {string} drawing @param {string} text @param {() => void} pressed */
function small(drawing, text, pressed) {
  const button = element("button", { type: "button", class: `small ${drawing}` }, icon(drawing));
  label(button, text);
  button.addEventListener("click", pressed);
  return button;
}

/** @param {string} name */
export function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("") || "?";
}
