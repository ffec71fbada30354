// @ts-check
// The grid of tiles, which are as large as their number and the screen allow.

import { say } from "../language.js";
import { tileLayout } from "../layout.js";
import { Tile } from "./tile.js";

const GAP = 8;
/** Pixels of name and border below the picture, minus the height that the picture loses to the border's width. */
const STRIP = 30 + 4 - 4 / (16 / 9);

export class Grid {
  /** @type {Map<string, Tile>} */ tiles = new Map();

  /**
   * @param {HTMLElement} node
   * @param {{retry: (uid: string) => void, playBlocked: (video: HTMLVideoElement) => void}} events
   */
  constructor(node, events) {
    this.node = node;
    this.events = events;
    this.self = new Tile({ name: say("call.you"), self: true }, { retry: () => {}, playBlocked: () => {} });
    this.self.video.id = "self-view";
    node.append(this.self.node);
    new ResizeObserver(() => this.#arrange()).observe(node);
  }

  /** @param {string} uid @param {string} name */
  add(uid, name) {
    const tile = new Tile({ name, peer: uid }, { retry: () => this.events.retry(uid), playBlocked: this.events.playBlocked });
    this.tiles.set(uid, tile);
    this.node.insertBefore(tile.node, this.self.node);
    this.#arrange();
    return tile;
  }

  /** @param {string} uid */
  remove(uid) {
    this.tiles.get(uid)?.remove();
    this.tiles.delete(uid);
    this.#arrange();
  }

  #arrange() {
    const others = this.tiles.size;
    this.node.dataset.others = String(others);
    const { clientWidth: width, clientHeight: height } = this.node;
    if (others === 1) {
      this.#size(width, height); // the other participant fills the stage; our tile lies in a corner
      return;
    }
    const layout = tileLayout(others + 1, { width, height }, { gap: GAP, strip: STRIP });
    this.#size(layout.width, layout.height);
  }

  /** @param {number} width @param {number} height */
  #size(width, height) {
    this.node.style.setProperty("--tile-width", `${width}px`);
    this.node.style.setProperty("--tile-height", `${height}px`);
  }
}
