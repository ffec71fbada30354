// @ts-check
// Files that the user gets: written to the disk as they grow where the browser can do that, else kept and then downloaded.

import { element } from "./dom.js";

/** Most bytes of all recordings together that are kept until they are downloaded. */
const MAX_KEPT = 2 ** 30;
/** How long the browser may take to begin a download. */
const DOWNLOAD_MS = 60_000;

/** Bytes that are kept now. */
let kept = 0;

/** @typedef {import("../recording.js").Target} Target */

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD_MS);
}

/**
 * A file for a recording: the user chooses its place if the browser can write to it. Null: the user chose none.
 * @param {string} name @returns {Promise<Target | null>}
 */
export async function chooseFile(name) {
  const choose = /** @type {any} */ (window).showSaveFilePicker;
  if (!choose) return new Kept(name);
  const handle = await orNull(choose.call(window, { suggestedName: name }));
  return handle && writable(handle);
}

/** @typedef {(name: string) => Promise<Target>} Folder makes a file in it */

/** A folder for several recordings, as above. @returns {Promise<Folder | null>} */
export async function chooseFolder() {
  const choose = /** @type {any} */ (window).showDirectoryPicker;
  if (!choose) return async (name) => new Kept(name);
  const folder = await orNull(choose.call(window, { mode: "readwrite" }));
  return folder && (async (name) => writable(await folder.getFileHandle(name, { create: true })));
}

/** The user has closed the dialog: that is no error. @template T @param {Promise<T>} chosen */
async function orNull(chosen) {
  try {
    return await chosen;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return null;
    throw error;
  }
}

/** @param {any} handle a FileSystemFileHandle @returns {Promise<Target>} */
async function writable(handle) {
  const stream = await handle.createWritable();
  return { write: (piece) => stream.write(piece), close: () => stream.close() };
}

/** A recording that is kept until it ends. */
class Kept {
  /** @type {Blob[]} */ #pieces = [];
  #size = 0;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  /** @param {Blob} piece */
  async write(piece) {
    if (kept + piece.size > MAX_KEPT) throw new Error("no more room");
    kept += piece.size;
    this.#size += piece.size;
    this.#pieces.push(piece);
  }

  async close() {
    download(new Blob(this.#pieces, { type: this.#pieces[0]?.type ?? "" }), this.name);
    this.#pieces = [];
    kept -= this.#size;
    this.#size = 0;
  }
}
