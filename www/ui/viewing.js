// @ts-check
// Actions on tiles: by key, by the menu of a tile, by a double click.

import { command } from "../keys.js";
import { say } from "../language.js";
import { STEP } from "../lens.js";
import { fileName } from "../recording.js";
import { download } from "./files.js";
import { Menu } from "./menu.js";
import { Recordings } from "./recordings.js";
import { Sheet } from "./sheet.js";
import { Zoom } from "./zoom.js";

/**
 * @typedef {import("./tile.js").Tile} Tile
 * @typedef {import("./menu.js").Item} Item
 * @typedef {"full-screen" | "picture-in-picture" | "zoom-in" | "zoom-out" | "rotate" | "snapshot" | "record"} Act
 * @typedef {object} ViewingEvents
 * @property {(what: "mic" | "camera" | "stats") => void} press
 * @property {(text: string, good: boolean) => void} notice
 * @property {(on: boolean) => boolean} talk the key to talk is pressed or released; returns whether it is in use
 * @property {(used: boolean) => void} useKeys
 * @property {() => void} viewed a picture is shown elsewhere or recorded, or no longer
 */

/** How far an arrow key moves a zoomed picture, as a part of the tile. */
const MOVE = 0.1;

export class Viewing {
  usesKeys = true;

  /** @param {import("./grid.js").Grid} grid @param {Document | HTMLElement} scope where keys are for the tiles @param {ViewingEvents} events */
  constructor(grid, scope, events) {
    this.grid = grid;
    this.events = events;
    const host = scope instanceof Document ? scope.body : scope;
    this.menu = new Menu(host);
    this.recordings = new Recordings((end, file) => events.notice(say(`recording.${end}`, { file }), end === "stopped"), events.viewed);
    this.sheet = new Sheet(host, (used) => {
      this.usesKeys = used;
      events.useKeys(used);
    });
    scope.addEventListener("keydown", (event) => this.#key(/** @type {KeyboardEvent} */ (event)));
    scope.addEventListener("keyup", (event) => /** @type {KeyboardEvent} */ (event).code === "Space" && events.talk(false));
    if (scope instanceof Document) addEventListener("blur", () => events.talk(false)); // its release is not seen then
    for (const type of ["enterpictureinpicture", "leavepictureinpicture"]) scope.addEventListener(type, events.viewed, true);
  }

  /** The document, or the shadow of an element: what has the focus, or fills the screen, is known there. */
  get #root() {
    return /** @type {Document | ShadowRoot} */ (this.grid.node.getRootNode());
  }

  /** Whether a picture is needed although the page may be hidden. */
  get isNeeded() {
    return this.recordings.isRunning || (this.#root.pictureInPictureElement ?? null) !== null;
  }

  /** A new tile. @param {Tile} tile */
  added(tile) {
    new Zoom(tile, () => this.#fills(tile));
    tile.picture.addEventListener("dblclick", (event) => {
      if (tile.grew || /** @type {Element} */ (event.target).closest("button")) return;
      if (this.grid.tiles.size > 1 && !this.#root.fullscreenElement) this.grid.change((wall) => wall.pin(tile.key));
      else void this.#fullScreen(tile);
    });
  }

  /** A tile has got another stream, or none. @param {Tile} tile */
  changed(tile) {
    this.recordings.goes(tile.key);
    if (tile.stream) void this.recordings.came(tile);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.usesKeys && isTalk(event) && this.events.talk(true)) return event.preventDefault(); // no scrolling
    const found = this.usesKeys || event.key === "?" ? command(event, placeOf(event.target)) : null;
    if (!found || event.defaultPrevented) return;
    // Else the arrows scroll.
    if (found.do === "move" && this.#current()?.lens.zoom === 1) return;
    event.preventDefault();
    this.#run(found);
  }

  /** @param {import("../keys.js").Command} found */
  #run(found) {
    switch (found.do) {
      case "pin":
      case "spotlight":
        return this.grid.change((wall) => wall[found.do](wall.nth(found.tile) ?? ""));
      case "back":
        return this.#back();
      case "help":
        return this.sheet.open(this.usesKeys);
      case "mic":
      case "camera":
        return this.events.press(found.do);
      case "figures":
        return this.events.press("stats");
      case "move":
        return this.#move(found);
      default: {
        const tile = this.#current();
        if (tile) void this.#act(found.do, tile);
      }
    }
  }

  /** @param {Act} what @param {Tile} tile */
  async #act(what, tile) {
    switch (what) {
      case "full-screen":
        return this.#fullScreen(tile);
      case "picture-in-picture":
        return this.#pictureInPicture(tile);
      case "zoom-in":
      case "zoom-out":
        return this.#look(tile, (lens) => lens.zoomBy(what === "zoom-in" ? STEP : 1 / STEP));
      case "rotate":
        return this.#look(tile, (lens) => lens.turn());
      case "snapshot":
        return this.#snapshot(tile);
      case "record":
        return this.recordings.toggle(tile);
    }
  }

  /** Moves the view of a zoomed picture. @param {{x: number, y: number}} to */
  #move({ x, y }) {
    const tile = this.#current();
    if (tile) this.#look(tile, (lens) => lens.panBy(-x * MOVE, -y * MOVE));
  }

  /** Opens the menu of a tile. @param {Tile} tile @param {HTMLElement} button */
  open(tile, button) {
    this.menu.open(button, say("view.of", { name: tile.name }), this.#items(tile));
  }

  /** Opens the menu of all tiles. @param {HTMLElement} button @param {boolean} showsStats @param {Item[]} items that the owner adds */
  openMore(button, showsStats, items) {
    const { menu, recordings, sheet, grid } = this;
    const all = recordings.allItem(grid.tiles);
    menu.open(button, say("control.more"), [
      { label: say("control.statistics"), icon: "stats", key: "H", on: showsStats, run: () => this.events.press("stats") },
      ...items,
      ...(all ? [all] : []),
      { label: say("keys.heading"), icon: "keys", key: "?", run: () => sheet.open(this.usesKeys) },
    ]);
  }

  /** @param {Tile} tile @returns {Item[]} */
  #items(tile) {
    const { wall } = this.grid;
    const number = wall.keys.indexOf(tile.key) + 1;
    const key = (/** @type {string} */ prefix) => (number <= 9 ? `${prefix}${number}` : "");
    const act = (/** @type {Act} */ what) => () => void this.#act(what, tile);
    const isAlone = tile.node.matches('[data-shape="solo"] *');
    const isFull = this.#root.fullscreenElement === tile.node;
    /** @type {(Item | false)[]} */
    const items = [
      this.grid.tiles.size > 1 && { label: say(wall.pinned === tile.key ? "view.unpin" : "view.pin"), icon: "pin", key: key(""), run: () => this.grid.change((it) => it.pin(tile.key)) },
      { label: say(isAlone ? "view.all" : "view.spotlight"), icon: "alone", key: key("⇧ "), run: () => this.grid.change((it) => it.spotlight(tile.key)) },
      { label: say(isFull ? "view.full-screen-off" : "view.full-screen"), icon: "full-screen", key: "F", run: act("full-screen") },
      document.pictureInPictureEnabled && { label: say("view.picture-in-picture"), icon: "pip", key: "P", run: act("picture-in-picture") },
      { label: say("view.zoom-in"), icon: "zoom-in", key: "+", run: act("zoom-in") },
      { label: say("view.zoom-out"), icon: "zoom-out", key: "−", run: act("zoom-out") },
      { label: say("view.rotate"), icon: "rotate", key: "R", run: act("rotate") },
      !tile.lens.isPlain && { label: say("view.plain"), icon: "retry", run: () => this.#look(tile, (lens) => lens.reset()) },
      { label: say("view.snapshot"), icon: "snapshot", key: "S", run: act("snapshot") },
      ...this.#recordItems(tile),
    ];
    return items.filter((item) => item !== false);
  }

  /** @param {Tile} tile @returns {Item[]} */
  #recordItems(tile) {
    if (!Recordings.isPossible) return [];
    const { recordings, grid } = this;
    const one = { label: say(recordings.records(tile.key) ? "view.record-off" : "view.record"), icon: "record", key: "C", run: () => void recordings.toggle(tile) };
    const all = (grid.tiles.size > 1 || recordings.recordsAll) && recordings.allItem(grid.tiles);
    return all ? [one, all] : [one];
  }

  /** The tile that has the focus or fills the screen, else the large one, else the first. */
  #current() {
    const focused = (this.#root.fullscreenElement ?? this.#root.activeElement)?.closest(".tile");
    const key = this.grid.wall.current(focused instanceof HTMLElement ? (focused.dataset.key ?? null) : null);
    return key === null ? null : (this.grid.tiles.get(key) ?? null);
  }

  #back() {
    if (this.grid.wall.back()) return this.grid.arrange();
    const tile = this.#current();
    if (tile) this.#look(tile, (lens) => lens.reset());
  }

  /** @param {Tile} tile */
  #fills(tile) {
    return this.#root.fullscreenElement === tile.node || this.grid.fills(tile);
  }

  /** @param {Tile} tile @param {(lens: import("../lens.js").Lens) => void} how */
  #look(tile, how) {
    how(tile.lens);
    tile.applyLens();
  }

  /** @param {Tile} tile */
  async #fullScreen(tile) {
    const { video } = tile;
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (tile.node.requestFullscreen) await tile.node.requestFullscreen();
      // Safari on a phone has it for videos alone.
      else /** @type {any} */ (video).webkitEnterFullscreen();
    } catch {
      this.events.notice(say("view.full-screen-failed"), false);
    }
  }

  /** @param {Tile} tile */
  async #pictureInPicture({ video }) {
    try {
      if (this.#root.pictureInPictureElement === video) await document.exitPictureInPicture();
      else await video.requestPictureInPicture();
    } catch {
      this.events.notice(say("view.picture-in-picture-failed"), false);
    }
  }

  /** Saves the picture as the camera took it, but turned as shown. @param {Tile} tile */
  async #snapshot({ video, lens, name }) {
    const blob = await pictureOf(video, lens.turns);
    if (blob) download(blob, fileName(name, new Date(), "png"));
    else this.events.notice(say("view.no-picture"), false);
  }
}

/** Space, but not as the press of a button. @param {KeyboardEvent} event */
function isTalk({ code, target, ctrlKey, altKey, metaKey, shiftKey }) {
  return code === "Space" && !(ctrlKey || altKey || metaKey || shiftKey) && placeOf(target) === "page";
}

/** @param {EventTarget | null} target @returns {import("../keys.js").Place} */
function placeOf(target) {
  if (!(target instanceof Element)) return "page";
  if (target.closest("input:not([type=checkbox]), select, textarea, dialog, #chat, [popover]")) return "text";
  return target.closest("button, a") ? "control" : "page";
}

/** @param {HTMLVideoElement} video @param {number} turns @returns {Promise<Blob | null>} */
async function pictureOf(video, turns) {
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = document.createElement("canvas");
  const isUpright = turns % 2 === 0;
  Object.assign(canvas, isUpright ? { width, height } : { width: height, height: width });
  const context = canvas.getContext("2d");
  if (!context || width === 0) return null;
  context.translate(canvas.width / 2, canvas.height / 2);
  context.rotate((turns * Math.PI) / 2);
  context.drawImage(video, -width / 2, -height / 2);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
