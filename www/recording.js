// @ts-check
// Records the media of one peer into one file: the browser's pieces are written one after the other.

/**
 * @typedef {object} Target a file that is written
 * @property {(piece: Blob) => Promise<void>} write
 * @property {() => Promise<void>} close keeps what was written
 * @typedef {"stopped" | "file" | "slow" | "browser"} End `file`: it cannot be written, or has no more room; `slow`: the disk
 *   does not keep up; `browser`: the browser cannot record this
 */

const PIECE_MS = 1000;
/** Most bytes that wait for the disk. */
const MAX_WAITING = 64 << 20;

/** VP8 first: it costs the least to encode. */
const TYPES = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];

/** The first type that the browser can record. @param {(type: string) => boolean} isSupported */
export function recordingType(isSupported) {
  return TYPES.find(isSupported) ?? "";
}

/** @param {string} type */
export function extension(type) {
  return type.startsWith("video/mp4") ? "mp4" : "webm";
}

/** The name of a file: what it is of, and when it begins, in UTC. @param {string} of @param {Date} at @param {string} ending */
export function fileName(of, at, ending) {
  const safe = of.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+|[.-]+$/g, "").slice(0, 64) || "call";
  const time = at.toISOString().slice(0, 19).replace("T", "_").replace(/:/g, "-");
  return `${safe}_${time}.${ending}`;
}

/** Gives names that differ even if they are of one second, also on disks that take upper and lower case for the same. */
export class Names {
  /** @type {Set<string>} Those of the last second. */ #taken = new Set();
  #second = "";

  /** As `fileName`. @param {string} of @param {Date} at @param {string} ending */
  next(of, at, ending) {
    const second = at.toISOString().slice(0, 19);
    if (second !== this.#second) this.#taken.clear();
    this.#second = second;
    const first = fileName(of, at, ending);
    let name = first;
    for (let n = 2; this.#taken.has(folded(name)); n += 1) name = first.replace(/(?=\.\w+$)/, `-${n}`);
    this.#taken.add(folded(name));
    return name;
  }
}

/** @param {string} name */
function folded(name) {
  return name.normalize().toLowerCase();
}

export class Recording {
  /** @type {MediaRecorder | null} */ #recorder = null;
  #waiting = 0;
  #writing = Promise.resolve();
  /** @type {End} */ #end = "stopped";
  /** @type {(end: End) => void} */ #resolve = () => {};
  /** Resolves (never rejects) when the file is complete. @type {Promise<End>} */
  done = new Promise((resolve) => (this.#resolve = resolve));

  /** @param {MediaStream} stream @param {Target} target @param {string} type */
  constructor(stream, target, type) {
    this.target = target;
    try {
      // Firefox waits for ever for the sound that the type has and the stream has not.
      const mimeType = stream.getAudioTracks().length > 0 ? type : type.replace(",opus", "");
      const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
      recorder.ondataavailable = ({ data }) => this.#take(data);
      recorder.onerror = () => this.#finish("browser");
      recorder.onstop = () => void this.#close();
      recorder.start(PIECE_MS);
      this.#recorder = recorder;
    } catch {
      this.#end = "browser";
      void this.#close();
    }
  }

  stop() {
    this.#finish("stopped");
  }

  /** @param {Blob} piece */
  #take(piece) {
    if (piece.size === 0 || this.#end === "file") return;
    this.#waiting += piece.size;
    this.#writing = this.#writing.then(() => this.#write(piece));
    if (this.#waiting > MAX_WAITING) this.#finish("slow");
  }

  /** @param {Blob} piece */
  async #write(piece) {
    if (this.#end !== "file") await this.target.write(piece).catch(() => this.#finish("file"));
    this.#waiting -= piece.size;
  }

  /** @param {End} end */
  #finish(end) {
    if (this.#end === "stopped") this.#end = end;
    if (this.#recorder?.state !== "inactive") this.#recorder?.stop();
  }

  async #close() {
    await this.#writing;
    await this.target.close().catch(() => this.#finish("file"));
    this.#resolve(this.#end);
  }
}
