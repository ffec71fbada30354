// @ts-check
// The tile of one participant: picture, name below it, audio level, connection state.

import { say } from "../language.js";
import { meter } from "../levels.js";
import { peerText, staleText } from "../texts.js";
import { element, icon, setText } from "./dom.js";

/** @typedef {import("../stats.js").Stats} Stats */

export class Tile {
  /** @type {MediaStream | null} */ #stream = null;

  /**
   * @param {{name: string, peer?: string, self?: boolean}} who `peer` is the uid of a remote participant
   * @param {{retry: () => void, playBlocked: (video: HTMLVideoElement) => void}} events
   */
  constructor({ name, peer, self = false }, events) {
    this.events = events;
    this.video = element("video", { autoplay: true, playsinline: true, "aria-label": self ? say("device.own-camera") : say("tile.video", { name }), "data-peer": peer });
    this.video.muted = self;
    this.avatar = element("div", { class: "avatar", "aria-hidden": "true" }, element("span", {}, initials(name)));
    this.stats = element("dl", { class: "tile-stats", hidden: true });
    this.reason = element("p");
    const retry = element("button", { type: "button", class: "retry" }, icon("retry"), say("tile.retry"));
    retry.addEventListener("click", events.retry);
    this.stale = element("p", { class: "stale", "aria-hidden": "true", hidden: true });
    // Screen readers hear of it once, not each second.
    this.news = element("span", { class: "visually-hidden", role: "status" });
    this.name = name;
    this.veil = element("div", { class: "veil", role: "alert", hidden: true }, this.reason, retry);
    this.state = element("span", { class: "peer-state" });
    this.muted = element("span", { class: "muted", hidden: true, title: say("tile.muted") }, icon("mic-off"), element("span", { class: "visually-hidden" }, say("tile.muted")));
    this.bar = element("span");
    const level = element("span", { class: "meter", "aria-hidden": "true" }, this.bar);
    this.node = element(
      "div",
      { class: self ? "tile self" : "tile", role: "listitem", "aria-label": name },
      element("div", { class: "picture" }, this.video, this.avatar, this.stale, this.stats, this.veil, this.news),
      element("div", { class: "under" }, element("span", { class: "name" }, name), this.state, this.muted, level),
    );
  }

  /**
   * @param {{state: import("../peer.js").PeerState, answered: boolean, reason: import("../peer.js").Failure | null}} connection
   * @param {boolean} waits whether a failed connection waits for the server, to be replaced
   */
  setState(connection, waits) {
    const failed = connection.state === "failed" && !waits;
    const { answered, reason } = connection;
    const peer = { state: connection.state === "failed" && waits ? /** @type {const} */ ("interrupted") : connection.state, answered, reason };
    this.node.dataset.state = peer.state;
    setText(this.state, failed ? "" : peerText(peer));
    this.veil.hidden = !failed;
    setText(this.reason, failed ? peerText(peer) : "");
  }

  /**
   * Shows a stream, or nothing while it has no tracks: a video element with an empty stream keeps the whole page
   * loading.
   * @param {MediaStream} stream
   */
  setStream(stream) {
    const shown = stream.getTracks().length > 0 ? stream : null;
    if (this.#stream !== shown) {
      this.#stream = shown;
      this.video.srcObject = shown;
    }
    if (shown) void this.play();
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
    this.avatar.hidden = stale || state === "live";
    this.stale.hidden = !stale;
    this.node.classList.toggle("is-stale", stale);
    setText(this.stale, stale ? staleText(ms) : "");
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

/** The rows of statistics in a tile. @param {Stats | null} stats @returns {[string, string][]} */
export function statsRows(stats) {
  if (!stats) return [];
  const { videoIn, videoOut, audioIn, rttMs, path } = stats;
  /** @type {[string, string][]} */
  const rows = [];
  if (videoIn?.width) rows.push([say("stats.in"), `${videoIn.width}×${videoIn.height} ${Math.round(videoIn.fps)} fps ${videoIn.kbps} kbit/s ${videoIn.codec}`]);
  if (videoIn && videoIn.ageMs !== null) rows.push([say("stats.age"), `${videoIn.ageMs} ms`]);
  if (audioIn) rows.push([say("stats.audio"), `${audioIn.kbps} kbit/s ${audioIn.codec}`]);
  if (videoOut?.width) rows.push([say("stats.out"), `${videoOut.width}×${videoOut.height} ${Math.round(videoOut.fps)} fps ${videoOut.kbps} kbit/s`]);
  const lost = (videoIn?.packetsLost ?? 0) + (audioIn?.packetsLost ?? 0);
  if (videoIn || audioIn) rows.push([say("stats.lost"), say("stats.losses", { packets: lost, jitter: videoIn?.jitterMs ?? audioIn?.jitterMs ?? 0 })]);
  if (rttMs !== null) rows.push([say("stats.rtt"), `${rttMs} ms${path ? ` ${path}` : ""}`]);
  return rows;
}

/** @param {string} name */
export function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("") || "?";
}
