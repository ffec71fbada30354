// @ts-check
// The wall of tiles, and what lies on it: what a user does with tiles, a text while nobody is there, and a button to hear. The page
// and the elements for other pages (embed/) have one each.

import { element, icon, setText } from "./dom.js";
import { Grid } from "./grid.js";
import { Viewing } from "./viewing.js";

/**
 * @typedef {import("./viewing.js").ViewingEvents & {retry: (uid: string) => void}} FloorEvents
 * @typedef {{grid: HTMLElement, alone: HTMLElement, hear: HTMLButtonElement}} FloorNodes
 */

export class Floor {
  /** @type {Set<HTMLVideoElement>} Those that the browser lets play only muted. */ #silent = new Set();

  /** @param {FloorNodes} nodes @param {Document | HTMLElement} scope where keys are for the tiles @param {FloorEvents} events */
  constructor({ grid, alone, hear }, scope, events) {
    this.alone = alone;
    this.hear = hear;
    this.grid = new Grid(grid, {
      retry: events.retry,
      playBlocked: (video) => this.#playBlocked(video),
      menu: (tile, button) => this.viewing.open(tile, button),
    });
    this.viewing = new Viewing(this.grid, scope, events);
    hear.prepend(icon("sound"));
    hear.addEventListener("click", () => this.#unblock());
  }

  /** A tile for one video of a peer. @param {string} key @param {{uid: string, name: string, track: number}} of */
  add(key, of) {
    const tile = this.grid.add(key, of);
    this.viewing.added(tile);
    return tile;
  }

  /** @param {string} key */
  remove(key) {
    const video = this.grid.tiles.get(key)?.video;
    if (video) this.#silent.delete(video);
    this.hear.hidden = this.#silent.size === 0;
    this.viewing.recordings.goes(key);
    this.grid.remove(key);
  }

  /** Our own tile. @param {import("../outgoing.js").Outgoing} outgoing */
  showOwn({ media, screenStream, isInstead }) {
    const { self } = this.grid;
    const { audio, video } = media.slots;
    self.setStream(isInstead ? screenStream : media.stream);
    self.setPicture(isInstead || video.track ? "live" : "none", 0);
    self.node.classList.toggle("screen", isInstead);
    self.setMuted(!audio.on || !audio.track);
  }

  /** @param {string} text empty if somebody is there */
  setAlone(text) {
    setText(this.alone, text);
    this.alone.hidden = text === "";
  }

  /** Plays the video muted, which browsers allow, and asks for the click that allows sound. @param {HTMLVideoElement} video */
  #playBlocked(video) {
    if (!video.isConnected) return; // its peer has left meanwhile
    this.#silent.add(video);
    this.hear.hidden = false;
    video.muted = true;
    void video.play().catch(() => {});
  }

  #unblock() {
    this.hear.hidden = true;
    for (const video of this.#silent) {
      video.muted = false;
      void video.play().catch(() => {});
    }
    this.#silent.clear();
  }
}

/** The nodes, where no document has them. @param {string} text of the button to hear */
export function floorNodes(text) {
  const grid = element("div", { class: "grid", part: "grid", role: "list" });
  const alone = element("p", { class: "alone", part: "alone", hidden: true });
  const hear = element("button", { class: "hear primary", part: "button hear", type: "button", hidden: true }, element("span", {}, text));
  return { grid, alone, hear };
}
