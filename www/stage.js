// @ts-check
// The calls, and what is seen of them: a tile for each video of each peer, and the controls that peers declare. The page (main.js) and
// the elements for other pages (embed/) are what is around it.

import { Again } from "./again.js";
import { CALLER } from "./call.js";
import { hudRows } from "./hud.js";
import { say } from "./language.js";
import { Speakers } from "./levels.js";
import { Media } from "./media.js";
import { Outgoing } from "./outgoing.js";
import { Peer } from "./peer.js";
import { HIDDEN_MS, Saver } from "./saver.js";
import { shown } from "./texts.js";
import { now } from "./time.js";

const STATS_MS = 1000;
const LEVELS_MS = 200;

/**
 * @typedef {import("./parameters.js").Parameters} Parameters
 * @typedef {import("./media.js").Kind} Kind
 * @typedef {typeof import("./calls.js").Calls | typeof import("./streams.js").Streams} CallsType
 *
 * @typedef {object} StageEvents
 * @property {() => void} changed after each change of the call or of a peer
 * @property {() => void} mediaChanged after each change of our own devices or screen
 * @property {() => void} registered
 * @property {(code: import("./call.js").NoticeCode, subject: string) => void} notice
 * @property {(text: string) => void} failed something that the user wanted; the text says so
 * @property {(peer: Peer) => void} peerAdded
 * @property {(peer: Peer) => void} peerChanged
 * @property {(peer: Peer) => void} peerRemoved
 * @property {(peer: Peer, text: string) => void} text that the peer has written
 */

export class Stage {
  speakers = new Speakers();
  /** @type {string | null} The peer that is watched, or the stream: it is called again when it is gone. */ watched = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #againTimer;
  #closed = new AbortController();
  /** @type {import("./operators.js").Operators | null} */ operators = null;
  /** @type {Promise<import("./operators.js").Operators> | null} */ #operators = null;

  /**
   * @param {Parameters} parameters
   * @param {CallsType} Calls what carries out the calls
   * @param {{floor: import("./ui/floor.js").Floor, panel: HTMLElement}} ui `panel`: for the controls of peers
   * @param {{devices: Record<Kind, string>, quality?: import("./quality.js").Quality}} sending
   * @param {StageEvents} events
   */
  constructor(parameters, Calls, { floor, panel }, { devices, quality }, events) {
    this.parameters = parameters;
    this.floor = floor;
    this.panel = panel;
    this.events = events;
    this.again = new Again(parameters.stream !== "");
    this.saver = new Saver(parameters.saves);
    this.showsStats = parameters.figures;
    this.calls = new Calls(parameters, {
      changed: () => this.#changed(),
      addPeer: (uid, offers) => this.#addPeer(uid, offers),
      removePeer: (uid) => this.#removePeer(uid),
      registered: events.registered,
      notice: events.notice,
    });
    this.call = this.calls.call;
    this.peers = this.calls.peers;
    this.media = new Media(devices, () => this.#mediaChanged(), quality);
    this.outgoing = new Outgoing(this.media, () => this.#mediaChanged(), parameters.stream !== "");
    const timers = [
      setInterval(() => void this.#updateStats(), STATS_MS),
      setInterval(() => {
        this.#updateLevels();
        this.#updatePictures();
      }, LEVELS_MS),
    ];
    const { signal } = this.#closed;
    signal.addEventListener("abort", () => timers.forEach(clearInterval));
    document.addEventListener("visibilitychange", () => this.#visibility(), { signal });
    addEventListener("online", () => this.calls.socket.hurry(), { signal });
    addEventListener("pagehide", () => this.calls.leave(), { signal });
  }

  /** @param {import("./call.js").Event} event */
  do(event) {
    this.calls.do(event);
  }

  /** Calls a peer, or begins with a stream. @param {string} peer @param {boolean} remoteOfferer */
  callPeer(peer, remoteOfferer) {
    if (this.parameters.watches || this.parameters.stream) this.watched = peer;
    this.do({ type: "call", peer, remoteOfferer });
  }

  hangUp() {
    this.watched = null;
    this.do({ type: "hang-up" });
  }

  /** Ends everything for good. */
  close() {
    clearTimeout(this.#againTimer);
    this.#closed.abort();
    this.watched = null;
    this.outgoing.stop();
    this.calls.close();
    this.media.close();
  }

  /** The user wants another quality. @param {import("./quality.js").Quality} quality */
  async improve(quality) {
    const { codec } = this.media.quality;
    await this.media.setQuality(quality);
    this.#mediaChanged();
    if (codec !== quality.codec) for (const peer of this.peers.values()) peer.changeCodec();
  }

  /** A button or a key. @param {"mic" | "camera" | "share" | "stats"} what */
  press(what) {
    const { audio, video } = this.media.slots;
    if (what === "stats") this.#toggleStats();
    else if (this.parameters.watches) return;
    else if (what === "mic") void this.media.turn("audio", !audio.on);
    else if (what === "camera") void this.media.turn("video", !video.on || !video.track);
    else void this.#share();
  }

  /** Whether there is a call, a room or a stream, or a peer is waited for. */
  get isOn() {
    return this.call.room !== null || this.call.peer !== null || this.watched !== null;
  }

  /** The others: the media node of a room is none. */
  get others() {
    return [...this.peers.values()].filter((peer) => !this.calls.isNode(peer));
  }

  /** The text while nobody is there. */
  get aloneText() {
    const { call, watched, parameters } = this;
    if (watched !== null && parameters.stream === "publish") return say(this.calls.partner?.state === "connected" ? "stream.on-air" : "stream.starting", { stream: shown(watched) });
    if (watched !== null) return this.peers.size === 0 && call.state === "ready" ? say("call.absent", { peer: shown(watched) }) : "";
    return call.state === "in-room" && this.others.length === 0 ? say("call.alone") : "";
  }

  /** @param {string} uid */
  nameOf(uid) {
    const peer = this.peers.get(uid);
    if (peer && this.calls.isNode(peer)) return say("call.node");
    return shown(uid === CALLER ? (this.call.caller ?? say("call.caller")) : uid);
  }

  /** A picture is in a window of its own or recorded, or no longer. */
  viewed() {
    this.#save(() => this.saver.need(this.floor.viewing.isNeeded));
  }

  #toggleStats() {
    this.showsStats = !this.showsStats;
    this.#renderStats();
    this.events.changed();
  }

  async #share() {
    if (this.outgoing.screen) return this.outgoing.stop();
    if ((await this.outgoing.share()) === "failed") this.events.failed(say("control.share-failed"));
    else if (!this.isOn) this.outgoing.stop(); // the call has ended meanwhile
  }

  #mediaChanged() {
    this.outgoing.mediaChanged();
    this.floor.showOwn(this.outgoing);
    this.events.mediaChanged();
    for (const peer of this.peers.values()) void peer.updateTracks();
  }

  #changed() {
    const { partner } = this.calls;
    // Its session may come back in another state than that of the last change.
    if (partner) this.floor.grid.tiles.get(partner.uid)?.setState(partner, this.call.isAlone);
    this.floor.setAlone(this.aloneText);
    if (!this.isOn) this.outgoing.stop();
    this.events.changed();
    this.#callAgain();
  }

  /** @param {string} uid @param {boolean} offers */
  #addPeer(uid, offers) {
    const { cameras, watches, stream } = this.parameters;
    const peer = new Peer(uid, { offers, rings: this.calls.rings(uid), cameras, later: watches && !stream, media: this.outgoing, ice: this.calls.ice }, {
      signal: (signal) => this.do({ type: "send-signal", uid, signal }),
      changed: () => this.#peerChanged(peer),
      chat: (text) => this.events.text(peer, text),
      control: (text) => void this.#operate(peer, text),
    });
    this.calls.add(peer);
    this.events.peerAdded(peer);
    this.#showTiles(peer);
    this.floor.grid.tiles.get(uid)?.setPicture("none", 0);
    peer.receiveVideo(this.saver.receives);
  }

  /** Few peers have controls: what they need is loaded with the first declaration. @param {Peer} peer @param {string | null} text */
  async #operate(peer, text) {
    const page = { nameOf: (/** @type {string} */ uid) => this.nameOf(uid), enlarged: () => uidOf(this.floor.grid.wall.pinned) };
    this.#operators ??= Promise.all([import("./operators.js"), import("./ui/panel.js")]).then(([{ Operators }, { Panel }]) => (this.operators = new Operators(new Panel(this.panel), page)));
    const operators = await this.#operators;
    if (this.peers.get(peer.uid) === peer) operators.hear(peer, text);
  }

  /** @param {Peer} peer */
  #peerChanged(peer) {
    if (this.peers.get(peer.uid) !== peer) return;
    this.#showTiles(peer);
    this.events.peerChanged(peer);
    this.calls.peerChanged(peer);
    if (this.watched !== null) this.#watchedChanged(peer);
    this.#changed();
  }

  /** Shows a tile for each video of a peer. @param {Peer} peer */
  #showTiles(peer) {
    const { uid, views } = peer;
    const { tiles } = this.floor.grid;
    if (this.parameters.stream === "publish") return; // nothing comes back
    const hides = this.calls.isNode(peer) && peer.state !== "failed";
    views.list.forEach((view, i) => {
      const key = tileKey(uid, i);
      if (hides || !views.shown.includes(view)) return tiles.has(key) && this.floor.remove(key);
      const camera = view.name || (i > 0 ? String(i + 1) : "");
      const name = views.shown.length > 1 && camera ? `${this.nameOf(uid)} · ${camera}` : this.nameOf(uid);
      const tile = tiles.get(key) ?? this.floor.add(key, { uid, name, track: i + 1 });
      tile.setName(name);
      tile.setState(peer, this.call.isAlone);
      if (tile.setStream(view.stream)) this.floor.viewing.changed(tile);
    });
    this.#removeTiles(uid, views.list.length);
  }

  /** Removes the tiles of a peer from this one on. @param {string} uid @param {number} from */
  #removeTiles(uid, from) {
    for (let i = from; this.floor.grid.tiles.has(tileKey(uid, i)); i += 1) this.floor.remove(tileKey(uid, i));
  }

  /** The watched peer is there, or the call with it has failed: then it is called again. @param {Peer} peer */
  #watchedChanged({ state, heals }) {
    if (state === "connected") this.again.succeeded();
    else if (state === "failed" && !(heals && this.call.isAlone)) this.do({ type: "hang-up" });
  }

  /** Calls the watched peer again, after a pause. */
  #callAgain() {
    const { watched } = this;
    if (watched === null || this.call.state !== "ready" || this.#againTimer) return;
    this.#againTimer = setTimeout(() => {
      this.#againTimer = undefined;
      if (this.watched === watched && this.call.state === "ready") this.do({ type: "call", peer: watched, remoteOfferer: this.parameters.remoteOfferer });
      else this.#callAgain();
    }, this.again.pause());
  }

  /** @param {string} uid */
  #removePeer(uid) {
    const peer = this.peers.get(uid);
    this.operators?.remove(uid);
    if (peer) this.events.peerRemoved(peer);
    this.calls.remove(uid);
    this.speakers.remove(uid);
    this.#removeTiles(uid, 0);
  }

  async #updateStats() {
    await Promise.all([...this.peers.values()].map((peer) => peer.updateStats()));
    this.#renderStats();
  }

  #renderStats() {
    this.#eachTile((tile, peer, i) => tile.setStats(this.showsStats ? hudRows(peer.stats, i) : null));
  }

  #updatePictures() {
    for (const peer of this.peers.values()) peer.lookAtPictures();
    const at = now();
    this.#eachTile((tile, peer, i) => {
      const { picture } = peer.views.list[i];
      tile.setPicture(picture.state, picture.staleFor(at));
    });
  }

  #updateLevels() {
    const now = performance.now();
    const levels = [...this.peers].map(([uid, peer]) => /** @type {const} */ ([uid, this.speakers.feed(uid, peer.level, now)]));
    for (const [uid, level] of levels) {
      const speaking = this.peers.size > 1 && this.speakers.active === uid;
      this.floor.grid.tiles.get(uid)?.setLevel(level, speaking);
    }
    this.floor.grid.setSpeaker(this.speakers.active);
  }

  /** @param {(tile: import("./ui/tile.js").Tile, peer: Peer, index: number) => void} act */
  #eachTile(act) {
    for (const [uid, peer] of this.peers) {
      peer.views.list.forEach((_, i) => {
        const tile = this.floor.grid.tiles.get(tileKey(uid, i));
        if (tile) act(tile, peer, i);
      });
    }
  }

  #visibility() {
    const time = this.saver.shown(document.hidden);
    if (time !== null) setTimeout(() => this.#save(() => this.saver.elapsed(time)), HIDDEN_MS);
    this.#save(() => {});
  }

  /** @param {() => void} change */
  #save(change) {
    change();
    for (const peer of this.peers.values()) peer.receiveVideo(this.saver.receives);
  }
}

/** The key of the tile of a peer's video: the first one's is the uid. No uid has a space. @param {string} uid @param {number} index */
function tileKey(uid, index) {
  return index === 0 ? uid : `${uid} ${index + 1}`;
}

/** The uid of the peer with this tile. @param {string | null} key */
function uidOf(key) {
  return key?.split(" ")[0] ?? null;
}
