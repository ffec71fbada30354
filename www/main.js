// @ts-check
// Wires the parts of the page: calls, devices, and what is visible of them.

import { Again } from "./again.js";
import { Awake } from "./awake.js";
import { CALLER } from "./call.js";
import { isUsable } from "./endpoint.js";
import { hudRows } from "./hud.js";
import { say } from "./language.js";
import { Speakers } from "./levels.js";
import { Media } from "./media.js";
import { MicrophoneLevel } from "./microphone.js";
import { Operators } from "./operators.js";
import { Outgoing } from "./outgoing.js";
import { Peer, openConnections } from "./peer.js";
import { readQuality } from "./quality.js";
import { HIDDEN_MS, Saver } from "./saver.js";
import { Session } from "./session.js";
import { MutedTalk, PushToTalk } from "./talk.js";
import { deviceText, isGood, lamp, noticeText, shown, statusText, topicOf } from "./texts.js";
import { now, within } from "./time.js";
import { Ui } from "./ui.js";

/** How long an accepted call waits for the camera: the browser may ask the user first. */
const CAMERA_MS = 15_000;
/** Notices that a peer is not there. @type {import("./call.js").NoticeCode[]} */
const ABSENT = ["peer-not-found", "peer-busy", "peer-left", "not-taken", "no-answer"];
const STATS_MS = 1000;
const LEVELS_MS = 200;

/** @typedef {import("./parameters.js").Parameters} Parameters */

class App {
  speakers = new Speakers();
  awake = new Awake();
  session = new Session((action) => this.#press(action));
  /** @type {string | null} The peer that this page watches, or the stream of its address: it is called again when it is gone. */ watched = null;
  ownLevel = new MicrophoneLevel();
  mutedTalk = new MutedTalk();
  pushToTalk = new PushToTalk();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #againTimer;
  asking = true;
  /** @type {Record<import("./media.js").Kind, string>} The last notices about the devices. */ deviceNews = { audio: "", video: "" };

  /** @param {Parameters} parameters @param {typeof import("./calls.js").Calls | typeof import("./streams.js").Streams} Calls */
  constructor(parameters, Calls) {
    this.parameters = parameters;
    this.again = new Again(parameters.stream !== "");
    this.showsStats = parameters.figures;
    this.saver = new Saver(parameters.saves);
    this.calls = new Calls(parameters, {
      changed: () => this.#render(),
      addPeer: (uid, offers) => this.#addPeer(uid, offers),
      removePeer: (uid) => this.#removePeer(uid),
      registered: () => this.#registered(),
      notice: (code, subject) => this.#notice(code, subject),
    });
    this.call = this.calls.call;
    this.peers = this.calls.peers;
    const quality = readQuality(recall("quality"));
    this.media = new Media(deviceChoice(parameters), () => this.#mediaChanged(), quality);
    this.outgoing = new Outgoing(this.media, () => this.#mediaChanged(), parameters.stream !== "");
    void this.media.ready.then(() => {
      this.asking = false;
      this.#mediaChanged();
    });
    this.ui = new Ui(parameters, {
      renamed: (id) => this.#rename(id),
      join: (room) => this.#join(room),
      call: (peer, remoteOfferer) => this.#callPeer(peer, remoteOfferer),
      connect: () => this.#connect(),
      accept: (camera) => void this.#accept(camera),
      decline: () => this.do({ type: "decline" }),
      copyCallLink: () => void this.#copy({ call: this.call.id }, say("link.call-copied")),
      press: (what) => this.#press(what),
      choose: (kind, device) => this.#choose(kind, device),
      retry: (uid) => this.peers.get(uid)?.retry(),
      chat: (text) => this.#chat(text),
      viewed: () => this.#viewed(),
      improve: (quality) => void this.#improve(quality),
      talk: (on) => this.#talk(on),
      useKeys: (used) => remember("keys", used ? "on" : "off"),
    }, { quality, shares: Outgoing.isPossible && !parameters.watches });
    this.operators = new Operators(this.ui.panel, { nameOf: (uid) => this.#nameOf(uid), enlarged: () => uidOf(this.ui.grid.wall.pinned) });
    if (parameters.watches) this.ui.watch();
    if (parameters.stream) this.ui.stream();
    this.ui.viewing.usesKeys = recall("keys") !== "off";
    this.ui.controls.setOpen("stats", this.showsStats);
    this.ui.lobby.setNameError("");
    this.#mediaChanged();
    this.#render();
    setInterval(() => void this.#updateStats(), STATS_MS);
    setInterval(() => {
      this.#updateLevels();
      this.#updatePictures();
    }, LEVELS_MS);
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("online", () => this.calls.socket.hurry());
    addEventListener("pagehide", () => this.calls.leave());
    this.#start();
  }

  /** With a foreign server nothing starts by itself: else a link alone could send it a camera already allowed. */
  #start() {
    const { room, peer, join, stream, remoteOfferer, badRoom, foreignHost, server } = this.parameters;
    if (badRoom) this.#notice("invalid-room", badRoom);
    if (!isUsable(server, location.protocol)) return this.#notice("bad-address", "");
    if (foreignHost) return;
    if (room && join) this.#join(room);
    else if (stream === "publish" && !join) return; // a link alone shows nobody our camera
    else if (peer) this.#callPeer(peer, remoteOfferer);
    else if (!room) this.do({ type: "register" });
  }

  /** @param {string} id */
  #rename(id) {
    this.do({ type: "rename", id });
  }

  /** @param {string} room */
  #join(room) {
    this.ui.clearNotice();
    this.do({ type: "join", room });
  }

  #connect() {
    this.ui.clearNotice();
    this.do({ type: "register" });
  }

  /** @param {string} peer @param {boolean} remoteOfferer */
  #callPeer(peer, remoteOfferer) {
    this.ui.clearNotice();
    if (this.parameters.watches || this.parameters.stream) this.watched = peer;
    this.do({ type: "call", peer, remoteOfferer });
  }

  /**
   * Switches the camera before the answer, which depends on it. Meanwhile the caller may go and another one may call:
   * the answer is for the call that rang at the click.
   * @param {boolean | null} camera null: as it is
   */
  async #accept(camera) {
    const { ring } = this.call;
    this.ui.clearNotice();
    this.do({ type: "accepting", ring });
    if (camera !== null) await within(this.media.turnCamera(camera), CAMERA_MS);
    this.do({ type: "accept", ring });
  }

  /** @param {import("./call.js").Event} event */
  do(event) {
    this.calls.do(event);
  }

  #registered() {
    this.ui.lobby.setNameError("");
    this.ui.clearNotice("server");
  }

  /** @param {import("./call.js").NoticeCode} code @param {string} subject */
  #notice(code, subject) {
    if (this.watched !== null && this.parameters.watches && ABSENT.includes(code)) return; // the stage says it as long as it is so
    const text = noticeText(code, subject);
    if (code === "uid-taken" || code === "uid-refused") this.ui.lobby.setNameError(text);
    this.ui.showNotice(text, isGood(code), topicOf(code));
  }

  /** @param {string} uid @param {boolean} offers */
  #addPeer(uid, offers) {
    const { cameras, watches, stream } = this.parameters;
    const name = this.#nameOf(uid);
    const peer = new Peer(uid, { offers, rings: this.calls.rings(uid), cameras, later: watches && !stream, media: this.outgoing, ice: this.calls.ice }, {
      signal: (signal) => this.do({ type: "send-signal", uid, signal }),
      changed: () => this.#peerChanged(peer),
      chat: (text) => this.ui.addChat({ from: name, text }),
      control: (text) => this.operators.hear(peer, text),
    });
    this.calls.add(peer);
    if (this.call.room) this.ui.announce(say("call.joined", { name }));
    this.#showTiles(peer);
    this.ui.grid.tiles.get(uid)?.setPicture("none", 0);
    peer.receiveVideo(this.saver.receives);
  }

  /** @param {Peer} peer */
  #peerChanged(peer) {
    if (this.peers.get(peer.uid) !== peer) return;
    this.#showTiles(peer);
    this.calls.peerChanged(peer);
    if (peer.state === "connected") this.ui.clearNotice("call");
    if (this.watched !== null) this.#watchedChanged(peer);
    this.#render();
  }

  /** Shows a tile for each video of a peer. @param {Peer} peer */
  #showTiles(peer) {
    const { uid, views } = peer;
    const { tiles } = this.ui.grid;
    if (this.parameters.stream === "publish") return; // nothing comes back
    views.list.forEach((view, i) => {
      const key = tileKey(uid, i);
      if (!views.shown.includes(view)) return tiles.has(key) && this.ui.removeTile(key);
      const camera = view.name || (i > 0 ? String(i + 1) : "");
      const name = views.shown.length > 1 && camera ? `${this.#nameOf(uid)} · ${camera}` : this.#nameOf(uid);
      const tile = tiles.get(key) ?? this.ui.addTile(key, { uid, name, track: i + 1 });
      tile.setName(name);
      tile.setState(peer, this.call.isAlone);
      if (tile.setStream(view.stream)) this.ui.viewing.changed(tile);
    });
    this.#removeTiles(uid, views.list.length);
  }

  /** Removes the tiles of a peer from this one on. @param {string} uid @param {number} from */
  #removeTiles(uid, from) {
    for (let i = from; this.ui.grid.tiles.has(tileKey(uid, i)); i += 1) this.ui.removeTile(tileKey(uid, i));
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
    this.operators.remove(uid);
    if (this.call.room) this.ui.announce(say("call.left", { name: this.#nameOf(uid) }));
    this.calls.remove(uid);
    this.speakers.remove(uid);
    this.#removeTiles(uid, 0);
  }

  /** @param {number} now */
  #updateOwnLevel(now) {
    const { track, on } = this.media.slots.audio;
    this.ownLevel.follow(track);
    const { level } = this.ownLevel;
    const isMuted = track !== null && !on;
    this.ui.setOwnLevel(level);
    this.ui.grid.self.setLevel(isMuted ? 0 : level, false);
    if (this.#stage() && this.mutedTalk.look(level, isMuted, now)) this.ui.showNotice(say("sound.talking-muted"), true);
  }

  #mediaChanged() {
    if (!this.ui) return; // still being made
    this.outgoing.mediaChanged();
    this.ui.updateMedia(this.outgoing, this.asking);
    this.#tellDevices();
    const { audio, video } = this.media.slots;
    this.session.update(audio.on && audio.track !== null, video.track !== null);
    for (const peer of this.peers.values()) void peer.updateTracks();
  }

  /** The lobby shows errors beside the device choice. In a call they are notices, shown as long as they hold. */
  #tellDevices() {
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      const text = deviceText(kind, this.media.slots[kind].error);
      if (text && text !== this.deviceNews[kind] && this.#stage()) this.ui.showNotice(text, false, kind);
      if (!text) this.ui.clearNotice(kind);
      this.deviceNews[kind] = text;
    }
  }

  /** @param {import("./quality.js").Quality} quality */
  async #improve(quality) {
    const { codec } = this.media.quality;
    remember("quality", JSON.stringify(quality));
    await this.media.setQuality(quality);
    this.#mediaChanged();
    if (codec !== quality.codec) for (const peer of this.peers.values()) peer.changeCodec();
  }

  async #share() {
    if (this.outgoing.screen) return this.outgoing.stop();
    if ((await this.outgoing.share()) === "failed") this.ui.showNotice(say("control.share-failed"), false);
    else if (!this.#stage()) this.outgoing.stop(); // the call has ended meanwhile
  }

  /** A key to talk is pressed, or released. @param {boolean} on */
  #talk(on) {
    const { audio } = this.media.slots;
    const changes = on ? this.pushToTalk.press(audio.track !== null && !audio.on && this.#stage() !== null) : this.pushToTalk.release();
    if (changes) void this.media.turn("audio", on);
    return this.pushToTalk.pushes;
  }

  /** @param {import("./media.js").Kind} kind @param {string} device */
  #choose(kind, device) {
    remember(kind, device);
    void this.media.choose(kind, device);
  }

  /** @param {import("./ui/controls.js").Control} what */
  #press(what) {
    const { audio, video } = this.media.slots;
    switch (what) {
      case "mic":
        if (this.parameters.watches) return;
        return void this.media.turn("audio", !audio.on);
      case "camera":
        if (this.parameters.watches) return;
        return void this.media.turn("video", !video.on || !video.track);
      case "share":
        return void this.#share();
      case "chat":
        return this.ui.showChat();
      case "stats":
        this.showsStats = !this.showsStats;
        this.ui.controls.setOpen("stats", this.showsStats);
        return this.#renderStats();
      case "settings":
        return this.ui.showSettings();
      case "invite":
        return void this.#copy({ room: this.call.room?.id ?? "" }, say("link.invite-copied"));
      case "more":
        return this.ui.showMore(this.showsStats);
      case "hang-up":
        this.watched = null;
        this.ui.clearNotice();
        return this.do({ type: "hang-up" });
    }
  }

  /** @param {string} text */
  #chat(text) {
    if (this.calls.sendChat(text) > 0) {
      this.ui.clearNotice("page");
      this.ui.addChat({ from: say("call.you"), text, own: true });
    } else this.ui.showNotice(say("chat.nobody"), false);
  }

  /** @param {Record<string, string>} query @param {string} done */
  async #copy(query, done) {
    const link = new URL(location.pathname, location.href);
    if (this.parameters.customServer) query.server = this.parameters.customServer;
    link.search = new URLSearchParams(query).toString();
    try {
      await navigator.clipboard.writeText(link.href);
      this.ui.showNotice(done, true);
    } catch {
      this.ui.showNotice(say("link.by-hand", { link: link.href }), false); // stays until the user dismisses it
    }
  }

  /** Updates the page from the present state. */
  #render() {
    if (!this.ui) return;
    const { call } = this;
    const partner = this.calls.partner;
    // Its session may come back in another state than that of the last change.
    if (partner) this.ui.grid.tiles.get(partner.uid)?.setState(partner, call.isAlone);
    this.ui.setStatus(statusText(call, partner), call.state, lamp(call, partner));
    this.ui.setRinging(call.state === "ringing", call.caller);
    this.ui.setOwnId(shown(call.id));
    this.ui.lobby.setConnected(call.state !== "offline");
    this.ui.showStage(this.#stage());
    this.ui.setAlone(this.#aloneText());
    this.awake.keep(this.#stage() !== null);
    this.session.show(this.#stage() !== null, !this.parameters.watches);
    if (!this.#stage()) this.outgoing.stop();
    this.#callAgain();
  }

  #aloneText() {
    const { call, peers, watched } = this;
    if (watched !== null && this.parameters.stream === "publish") return say(this.calls.partner?.state === "connected" ? "stream.on-air" : "stream.starting", { stream: shown(watched) });
    if (watched !== null) return peers.size === 0 && call.state === "ready" ? say("call.absent", { peer: shown(watched) }) : "";
    return call.state === "in-room" && peers.size === 0 ? say("call.alone") : "";
  }

  /** @param {string} uid */
  #nameOf(uid) {
    return shown(uid === CALLER ? (this.call.caller ?? say("call.caller")) : uid);
  }

  #stage() {
    const { call } = this;
    if (call.room) return { title: shown(call.room.id), room: true };
    if (this.watched !== null && call.peer === null) return { title: shown(this.watched), room: false };
    return call.peer === null ? null : { title: this.#nameOf(call.peer), room: false };
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

  /** @param {(tile: import("./ui/tile.js").Tile, peer: Peer, index: number) => void} act */
  #eachTile(act) {
    for (const [uid, peer] of this.peers) {
      peer.views.list.forEach((_, i) => {
        const tile = this.ui.grid.tiles.get(tileKey(uid, i));
        if (tile) act(tile, peer, i);
      });
    }
  }

  #visibility() {
    const time = this.saver.shown(document.hidden);
    if (time !== null) setTimeout(() => this.#save(() => this.saver.elapsed(time)), HIDDEN_MS);
    this.#save(() => {});
  }

  /** A picture is in a window of its own or recorded, or no longer. */
  #viewed() {
    this.#save(() => this.saver.need(this.ui.viewing.isNeeded));
  }

  /** @param {() => void} change */
  #save(change) {
    change();
    for (const peer of this.peers.values()) peer.receiveVideo(this.saver.receives);
  }

  #updateLevels() {
    const now = performance.now();
    const levels = [...this.peers].map(([uid, peer]) => /** @type {const} */ ([uid, this.speakers.feed(uid, peer.level, now)]));
    for (const [uid, level] of levels) {
      const speaking = this.peers.size > 1 && this.speakers.active === uid;
      this.ui.grid.tiles.get(uid)?.setLevel(level, speaking);
    }
    this.ui.grid.setSpeaker(this.speakers.active);
    this.#updateOwnLevel(now);
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

/** The devices chosen last time, unless the address says `none`. @param {Parameters} parameters @returns {Record<import("./media.js").Kind, string>} */
function deviceChoice({ devices }) {
  const choice = (/** @type {import("./media.js").Kind} */ kind) => (devices[kind] === "none" ? "none" : (recall(kind) ?? ""));
  return { audio: choice("audio"), video: choice("video") };
}

/** @param {string} kind @param {string} device */
function remember(kind, device) {
  try {
    localStorage.setItem(`callbin.${kind}`, device);
  } catch {
    // Without storage the choice is not remembered.
  }
}

/** @param {string} kind */
function recall(kind) {
  try {
    return localStorage.getItem(`callbin.${kind}`);
  } catch {
    return null;
  }
}

/** @type {App} */
let app;

/**
 * Read-only, for scripts and tests. All values are plain JSON.
 *
 * - `state()`: own id, key of the enlarged tile (null if none), `state` as in call.js, room and 1-1 partner (null if none), the caller (null if there is none,
 *   or if the server does not name it), the number of open RTCPeerConnections, whether screen, camera and microphone send.
 * - `peers()`: for each peer its uid, connection state, reason of a failure, whether the chat is open, whether its controls act (operator.js; null: it has none), frames
 *   decoded so far, state of the picture as in picture.js, those of all its videos that are shown, and audio level (0 to 1).
 * - `stats()`: for each uid the statistics of stats.js for the last second.
 */
const inspection = {
  state: () => ({
    id: app.call.id,
    state: app.call.state,
    room: app.call.room?.id ?? null,
    peer: app.call.peer,
    caller: app.call.caller,
    enlarged: app.ui.grid.wall.pinned,
    connections: openConnections(),
    screen: app.outgoing.screen !== null,
    camera: app.media.slots.video.track !== null,
    microphone: app.media.slots.audio.track !== null && app.media.slots.audio.on,
  }),
  peers: () =>
    [...app.peers.values()].map((peer) => ({
      uid: peer.uid,
      state: peer.state,
      reason: peer.reason,
      chat: peer.hasChat,
      controls: app.operators.hold(peer.uid) ?? null,
      framesDecoded: peer.stats?.videoIn?.framesDecoded ?? 0,
      picture: peer.picture.state,
      videos: peer.views.shown.map(({ name, picture }) => ({ name, picture: picture.state })),
      audioLevel: peer.level,
    })),
  stats: () => Object.fromEntries([...app.peers].map(([uid, peer]) => [uid, peer.stats])),
};

/**
 * Starts the page: the lobby, or the call of the address.
 * @param {Parameters} parameters @param {typeof import("./calls.js").Calls | typeof import("./streams.js").Streams} Calls what carries out the calls
 */
export function start(parameters, Calls) {
  app = new App(parameters, Calls);
  Object.defineProperty(window, "callbin", { value: Object.freeze(inspection) });
}
