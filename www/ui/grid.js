// @ts-check
// The wall of tiles, which are as large as their number and the screen allow, or one large and the others in a film strip.

import { say } from "../language.js";
import { filmStrip, tileLayout } from "../layout.js";
import { Wall } from "../wall.js";
import { Tile } from "./tile.js";

const GAP = 8;
/** Pixels of name and border below the picture, minus the height that the picture loses to the border's width. */
const STRIP = 30 + 4 - 4 / (16 / 9);
/** A wall narrower than this is a phone's. */
const PHONE = 640;

/** @typedef {{retry: (uid: string) => void, playBlocked: (video: HTMLVideoElement) => void, menu: (tile: Tile, button: HTMLElement) => void}} GridEvents */

export class Grid {
  /** @type {Map<string, Tile>} The tiles of the others, by their keys. */ tiles = new Map();
  wall = new Wall();
  /** @type {string | null} The tile of the one that speaks. */ #speaker = null;
  #shape = "grid";

  /** @param {HTMLElement} node @param {GridEvents} events */
  constructor(node, events) {
    this.node = node;
    this.events = events;
    const nothing = () => {};
    this.self = new Tile({ key: "", name: say("call.you") }, { retry: nothing, playBlocked: nothing, pin: nothing, menu: nothing });
    this.self.video.id = "self-view";
    node.append(this.self.node);
    const observer = new ResizeObserver(() => this.arrange());
    observer.observe(node);
    if (node.parentElement) observer.observe(node.parentElement);
  }

  /** @param {string} key @param {{uid: string, name: string, track?: number}} of */
  add(key, { uid, name, track }) {
    const tile = new Tile({ key, name, peer: uid, track }, {
      retry: () => this.events.retry(uid),
      playBlocked: this.events.playBlocked,
      pin: () => this.change((wall) => wall.pin(key)),
      menu: (button) => this.events.menu(tile, button),
    });
    tile.picture.addEventListener("click", ({ detail }) => detail <= 1 && this.#clicked(tile));
    this.tiles.set(key, tile);
    this.wall.add(key);
    this.node.insertBefore(tile.node, this.self.node);
    this.arrange();
    return tile;
  }

  /** In a film strip a picture is too small for anything but to be enlarged. @param {Tile} tile */
  #clicked(tile) {
    tile.grew = this.#shape === "strip" && !tile.node.matches(".main");
    if (tile.grew) this.change((wall) => wall.pin(tile.key));
  }

  /** @param {string} key */
  remove(key) {
    this.tiles.get(key)?.remove();
    this.tiles.delete(key);
    this.wall.remove(key);
    this.arrange();
  }

  /** @param {string | null} key */
  setSpeaker(key) {
    if (key === null || key === this.#speaker) return;
    this.#speaker = key;
    this.arrange();
  }

  /** Changes which tile is large. @param {(wall: Wall) => void} how */
  change(how) {
    how(this.wall);
    this.arrange();
  }

  /** Whether a tile fills the wall, so that nothing is there to scroll. @param {Tile} tile */
  fills(tile) {
    return this.#shape === "grid" ? this.tiles.size === 1 : tile.node.matches(".main");
  }

  arrange() {
    const others = this.tiles.size;
    const { clientWidth: width = 0, clientHeight: height = 0 } = this.node.parentElement ?? {};
    const { shape, main } = this.wall.view({ isPhone: width <= PHONE, speaker: this.#speaker });
    this.#shape = shape;
    Object.assign(this.node.dataset, { others: String(others), shape });
    for (const [key, tile] of this.tiles) tile.setPinned(key === main);
    this.#size(shape === "strip" ? filmStrip({ width, height }, { strip: STRIP }) : this.#cell(others, { width, height }));
  }

  /** @param {number} others @param {{width: number, height: number}} space */
  #cell(others, space) {
    if (others === 1) return space; // the other participant fills the stage; our tile lies in a corner
    const count = others + (this.self.node.hidden ? 0 : 1);
    return tileLayout(count, { ...space, width: this.node.clientWidth || space.width }, { gap: GAP, strip: STRIP });
  }

  /** @param {{width: number, height: number}} tile */
  #size({ width, height }) {
    const { style } = this.node.parentElement ?? this.node;
    style.setProperty("--tile-width", `${width}px`);
    style.setProperty("--tile-height", `${height}px`);
  }
}
