// @ts-check
// The recordings that the user makes of tiles: of one, or of all, those included that come later.

import { Names, Recording, extension, recordingType } from "../recording.js";
import { say } from "../language.js";
import { chooseFile, chooseFolder } from "./files.js";

/** @typedef {import("./tile.js").Tile} Tile */

export class Recordings {
  /** @type {Map<string, Recording>} By the tiles' keys. */ #running = new Map();
  /** @type {import("./files.js").Folder | null} Where all tiles are recorded. */ #folder = null;
  #names = new Names();
  #type = typeof MediaRecorder === "undefined" ? "" : recordingType((type) => MediaRecorder.isTypeSupported(type));

  /**
   * @param {(end: import("../recording.js").End | "refused", file: string) => void} ended
   * @param {() => void} changed
   */
  constructor(ended, changed) {
    this.ended = ended;
    this.changed = changed;
  }

  static get isPossible() {
    return typeof MediaRecorder !== "undefined";
  }

  get isRunning() {
    return this.#running.size > 0;
  }

  get recordsAll() {
    return this.#folder !== null;
  }

  /** @param {string} key */
  records(key) {
    return this.#running.has(key);
  }

  /** Begins or ends a recording of one tile. @param {Tile} tile */
  async toggle(tile) {
    const running = this.#running.get(tile.key);
    if (running) return running.stop();
    await this.#begin(tile, chooseFile);
  }

  /** Begins or ends recordings of all tiles. @param {Iterable<Tile>} tiles */
  async toggleAll(tiles) {
    if (this.#folder) {
      this.#folder = null;
      for (const recording of this.#running.values()) recording.stop();
      return this.changed();
    }
    this.#folder = await chooseFolder().catch(() => this.#refused());
    for (const tile of tiles) void this.came(tile); // ends with its recording
    this.changed();
  }

  /**
   * The item of a menu that begins or ends them; false if the browser cannot record, or there is nothing to record.
   * @param {ReadonlyMap<string, Tile>} tiles @returns {import("./menu.js").Item | false}
   */
  allItem(tiles) {
    if (!Recordings.isPossible || (tiles.size === 0 && !this.recordsAll)) return false;
    return { label: say(this.recordsAll ? "view.record-all-off" : "view.record-all"), icon: "record", run: () => void this.toggleAll(tiles.values()) };
  }

  /** A tile has a stream. @param {Tile} tile */
  async came(tile) {
    if (this.#folder && !this.#running.has(tile.key)) await this.#begin(tile, this.#folder);
  }

  /** A tile is going, or gets another stream. @param {string} key */
  goes(key) {
    this.#running.get(key)?.stop();
    this.#running.delete(key);
  }

  #refused() {
    this.ended("refused", "");
    return null;
  }

  /** @param {Tile} tile @param {(name: string) => Promise<import("../recording.js").Target | null>} make */
  async #begin(tile, make) {
    const name = this.#names.next(tile.name, new Date(), extension(this.#type));
    const target = await make(name).catch(() => this.#refused());
    const { stream } = tile; // while the user chose, the tile may have got another stream, or gone
    if (!target) return;
    if (!stream || !tile.node.isConnected || this.#running.has(tile.key)) return void target.close().catch(() => {});
    const recording = new Recording(stream, target, this.#type);
    this.#running.set(tile.key, recording);
    this.#show(tile);
    const end = await recording.done;
    if (this.#running.get(tile.key) === recording) this.#running.delete(tile.key);
    this.#show(tile);
    this.ended(end, name);
  }

  /** @param {Tile} tile */
  #show(tile) {
    tile.recording.hidden = !this.#running.has(tile.key);
    (this.isRunning ? addEventListener : removeEventListener)("beforeunload", askFirst);
    this.changed();
  }
}

/** The browser asks the user before it leaves a page that records. @param {Event} event */
function askFirst(event) {
  event.preventDefault();
}
