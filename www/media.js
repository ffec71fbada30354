// @ts-check
// Our camera and microphone: which device, whether it is on, and errors (missing, blocked, in use, unplugged). A call
// works without them.

import { deviceConstraints, readQuality, reopened } from "./quality.js";

/**
 * @typedef {"audio" | "video"} Kind
 * @typedef {"not-found" | "blocked" | "in-use" | "insecure" | "failed" | "unplugged"} DeviceError
 * @typedef {object} Slot
 * @property {string} device `none` for no device, empty for the browser's choice, else a device id
 * @property {boolean} on
 * @property {MediaStreamTrack | null} track
 * @property {DeviceError | null} error why there is no track although there should be
 * @property {number} turn counts the user's changes: a device that opens too late is closed again
 */

/** @type {Kind[]} */
const KINDS = ["audio", "video"];

export class Media {
  /** One stream for preview and peers: the tracks of one stream are played in sync. */
  stream = new MediaStream();
  /** @type {MediaDeviceInfo[]} */ devices = [];
  /** @type {Record<Kind, Slot>} */ slots;
  #closed = new AbortController();

  /**
   * @param {Record<Kind, string>} choice devices as in `Slot.device`
   * @param {() => void} changed after a change of tracks, devices or errors
   * @param {import("./quality.js").Quality} quality
   */
  constructor(choice, changed, quality = readQuality(null)) {
    this.changed = changed;
    this.quality = quality;
    const slot = (/** @type {string} */ device) => ({ device, on: true, track: null, error: null, turn: 0 });
    this.slots = { audio: slot(choice.audio), video: slot(choice.video) };
    /** Resolves (never rejects) once the first attempt to open the devices is over. @type {Promise<void>} */
    this.ready = this.#open();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#devicesChanged(), { signal: this.#closed.signal });
  }

  /** @param {Kind} kind */
  track(kind) {
    return this.slots[kind].track;
  }

  /**
   * Selects another device, or no device with `none`. A muted or switched-off device stays so, but choosing a device
   * after `none` also switches it on.
   * @param {Kind} kind @param {string} device
   */
  async choose(kind, device) {
    const slot = this.slots[kind];
    if (slot.device === "none") slot.on = true;
    slot.device = device;
    const staysOff = kind === "video" && !slot.on && device !== "none";
    if (staysOff) this.changed();
    else await this.#acquire(kind);
  }

  /** Opens the devices again that are to work otherwise. @param {import("./quality.js").Quality} quality */
  async setQuality(quality) {
    const kinds = reopened(this.quality, quality);
    this.quality = quality;
    if (this.slots.video.track) this.slots.video.track.contentHint = quality.hint;
    for (const kind of kinds) if (this.slots[kind].track) await this.#acquire(kind);
  }

  /**
   * Mutes or unmutes. A muted microphone stays open and sends silence, so that unmuting works at once; a camera is
   * closed, so that its light goes out.
   * @param {Kind} kind @param {boolean} on
   */
  async turn(kind, on) {
    const slot = this.slots[kind];
    slot.on = on;
    if (kind === "audio" && slot.track) {
      slot.track.enabled = on;
      this.changed();
    } else if (on) {
      await this.#acquire(kind);
    } else {
      slot.turn += 1;
      this.#put(kind, null);
      this.changed();
    }
  }

  /**
   * Turns the camera on or off unless it is so already. Off also closes a camera that is still opening.
   * @param {boolean} on
   */
  async turnCamera(on) {
    const { video } = this.slots;
    const isSo = on ? video.on && video.track !== null : !video.on;
    if (!isSo) await this.turn("video", on);
  }

  /** Closes the devices for good. */
  close() {
    this.#closed.abort();
    for (const kind of KINDS) {
      this.slots[kind].turn += 1;
      this.#put(kind, null);
    }
    this.changed = () => {};
  }

  async #open() {
    const wanted = KINDS.filter((kind) => this.slots[kind].device !== "none");
    const together = wanted.length > 1 && (await this.#both());
    if (!together) for (const kind of wanted) if (kind === "audio" || this.slots.video.on) await this.#acquire(kind);
    await this.#list();
    this.changed();
  }

  /** Opens both devices with one permission prompt; returns whether that worked. */
  async #both() {
    try {
      const turns = KINDS.map((kind) => this.slots[kind].turn);
      const stream = await request({ audio: this.#constraints("audio"), video: this.#constraints("video") });
      KINDS.forEach((kind, i) => this.#arrived(kind, turns[i], tracksOf(stream, kind)));
      return true;
    } catch {
      return false; // the caller then opens one by one and sees which of the two failed
    }
  }

  /** @param {Kind} kind */
  async #acquire(kind) {
    if (this.#closed.signal.aborted) return;
    const slot = this.slots[kind];
    slot.turn += 1;
    const { turn, device } = slot;
    if (device === "none") {
      this.#arrived(kind, turn, null);
    } else {
      // Some cameras can be opened only once: close the old one first.
      if (kind === "video") this.#put(kind, null);
      try {
        this.#arrived(kind, turn, tracksOf(await this.#request(kind), kind));
      } catch (error) {
        if (turn === slot.turn) {
          this.#put(kind, null);
          slot.error = errorCode(error);
        }
      }
    }
    this.changed();
  }

  /** @param {Kind} kind @param {string} device @returns {MediaTrackConstraints} */
  #constraints(kind, device = this.slots[kind].device) {
    const wanted = deviceConstraints(this.quality)[kind];
    return device ? { ...wanted, deviceId: { exact: device } } : wanted;
  }

  /** @param {Kind} kind */
  async #request(kind) {
    const { device } = this.slots[kind];
    try {
      return await request({ [kind]: this.#constraints(kind, device) });
    } catch (error) {
      // The device chosen last time is missing: any other is better than none.
      if (this.#closed.signal.aborted || !device || errorCode(error) !== "not-found") throw error;
      return request({ [kind]: this.#constraints(kind, "") });
    }
  }

  /** @param {Kind} kind @param {number} turn @param {MediaStreamTrack | null} track */
  #arrived(kind, turn, track) {
    const slot = this.slots[kind];
    if (turn !== slot.turn) {
      track?.stop();
      return;
    }
    slot.error = null;
    this.#put(kind, track);
    if (!track) return;
    track.contentHint = kind === "audio" ? "speech" : this.quality.hint;
    track.enabled = slot.on;
    track.onended = () => this.#lost(kind, track);
    void this.#list();
  }

  /** The device was unplugged, or its permission withdrawn: another one may work. @param {Kind} kind @param {MediaStreamTrack} track */
  async #lost(kind, track) {
    const slot = this.slots[kind];
    if (slot.track !== track) return;
    slot.device = "";
    await this.#acquire(kind);
    if (!slot.track && slot.error === "not-found") slot.error = "unplugged";
    this.changed();
  }

  async #devicesChanged() {
    await this.#list();
    for (const kind of KINDS) {
      const slot = this.slots[kind];
      const missing = slot.error === "not-found" || slot.error === "unplugged";
      if (missing && slot.on && this.#has(kind)) await this.#acquire(kind);
    }
    this.changed();
  }

  /** @param {Kind} kind */
  #has(kind) {
    return this.devices.some((device) => device.kind === `${kind}input`);
  }

  async #list() {
    this.devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    this.changed();
  }

  /** @param {Kind} kind @param {MediaStreamTrack | null} track */
  #put(kind, track) {
    const slot = this.slots[kind];
    if (slot.track && slot.track !== track) {
      slot.track.onended = null;
      slot.track.stop();
      this.stream.removeTrack(slot.track);
    }
    slot.track = track;
    if (track) this.stream.addTrack(track);
  }
}

/** @param {MediaStream} stream @param {Kind} kind @returns {MediaStreamTrack | null} */
function tracksOf(stream, kind) {
  return stream.getTracks().find((track) => track.kind === kind) ?? null;
}

/** @param {MediaStreamConstraints} wish @returns {Promise<MediaStream>} */
async function request(wish) {
  if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("not a secure context", "SecurityError");
  return navigator.mediaDevices.getUserMedia(wish);
}

/** Goes by the error's name, not its class: an OverconstrainedError is not a DOMException everywhere. @param {any} error @returns {DeviceError} */
export function errorCode(error) {
  switch (error?.name) {
    case "NotFoundError":
    case "OverconstrainedError":
      return "not-found";
    case "NotAllowedError":
      return "blocked";
    case "NotReadableError":
    case "AbortError":
      return "in-use";
    case "SecurityError":
      return "insecure";
    default:
      return "failed";
  }
}
