// @ts-check
// The page around its stage: lobby, incoming calls, chat, devices, notices, and window.callbin.

import { Awake } from "./awake.js";
import { isUsable } from "./endpoint.js";
import { say } from "./language.js";
import { MicrophoneLevel } from "./microphone.js";
import { Outgoing } from "./outgoing.js";
import { openConnections } from "./peer.js";
import { readQuality } from "./quality.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { MutedTalk, PushToTalk } from "./talk.js";
import { deviceText, isGood, lamp, noticeText, shown, statusText, topicOf } from "./texts.js";
import { within } from "./time.js";
import { Ui } from "./ui.js";

/** How long an accepted call waits for the camera: the browser may ask the user first. */
const CAMERA_MS = 15_000;
/** Notices that a peer is not there. @type {import("./call.js").NoticeCode[]} */
const ABSENT = ["peer-not-found", "peer-busy", "peer-left", "not-taken", "no-answer"];
const LEVELS_MS = 200;

/** @typedef {import("./parameters.js").Parameters} Parameters */

class App {
  awake = new Awake();
  session = new Session((action) => this.#press(action));
  ownLevel = new MicrophoneLevel();
  mutedTalk = new MutedTalk();
  pushToTalk = new PushToTalk();
  asking = true;
  /** @type {Record<import("./media.js").Kind, string>} The last notices about the devices. */ deviceNews = { audio: "", video: "" };

  /** @param {Parameters} parameters @param {import("./stage.js").CallsType} Calls */
  constructor(parameters, Calls) {
    this.parameters = parameters;
    const quality = readQuality(recall("quality"));
    this.ui = new Ui(parameters, {
      renamed: (id) => this.do({ type: "rename", id }),
      join: (room) => this.#join(room),
      call: (peer, remoteOfferer) => this.#callPeer(peer, remoteOfferer),
      connect: () => this.#connect(),
      accept: (camera) => void this.#accept(camera),
      decline: () => this.do({ type: "decline" }),
      copyCallLink: () => void this.#copy({ call: this.stage.call.id }, say("link.call-copied")),
      press: (what) => this.#press(what),
      choose: (kind, device) => this.#choose(kind, device),
      retry: (uid) => this.stage.peers.get(uid)?.retry(),
      chat: (text) => this.#chat(text),
      viewed: () => this.stage.viewed(),
      improve: (quality) => void this.#improve(quality),
      talk: (on) => this.#talk(on),
      useKeys: (used) => remember("keys", used ? "on" : "off"),
    }, { quality, shares: Outgoing.isPossible && !parameters.watches });
    this.stage = new Stage(parameters, Calls, this.ui, { devices: deviceChoice(parameters), quality }, {
      changed: () => this.#render(),
      mediaChanged: () => this.#mediaChanged(),
      registered: () => this.#registered(),
      notice: (code, subject) => this.#notice(code, subject),
      failed: (text) => this.ui.showNotice(text, false),
      peerAdded: ({ uid }) => this.#announce(uid, "call.joined"),
      peerChanged: ({ state }) => state === "connected" && this.ui.clearNotice("call"),
      peerRemoved: ({ uid }) => this.#announce(uid, "call.left"),
      text: ({ uid }, text) => this.ui.addChat({ from: this.stage.nameOf(uid), text }),
    });
    void this.stage.media.ready.then(() => {
      this.asking = false;
      this.#mediaChanged();
    });
    if (parameters.watches) this.ui.watch();
    if (parameters.stream) this.ui.stream();
    this.ui.floor.viewing.usesKeys = recall("keys") !== "off";
    this.ui.lobby.setNameError("");
    this.#mediaChanged();
    this.#render();
    setInterval(() => this.#updateOwnLevel(performance.now()), LEVELS_MS);
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
    this.stage.callPeer(peer, remoteOfferer);
  }

  /**
   * Switches the camera before the answer, which depends on it. Meanwhile the caller may go and another one may call:
   * the answer is for the call that rang at the click.
   * @param {boolean | null} camera null: as it is
   */
  async #accept(camera) {
    const { ring } = this.stage.call;
    this.ui.clearNotice();
    this.do({ type: "accepting", ring });
    if (camera !== null) await within(this.stage.media.turnCamera(camera), CAMERA_MS);
    this.do({ type: "accept", ring });
  }

  /** @param {import("./call.js").Event} event */
  do(event) {
    this.stage.do(event);
  }

  #registered() {
    this.ui.lobby.setNameError("");
    this.ui.clearNotice("server");
  }

  /** @param {import("./call.js").NoticeCode} code @param {string} subject */
  #notice(code, subject) {
    if (this.stage.watched !== null && this.parameters.watches && ABSENT.includes(code)) return; // the stage says it as long as it is so
    const text = noticeText(code, subject);
    if (code === "uid-taken" || code === "uid-refused") this.ui.lobby.setNameError(text);
    this.ui.showNotice(text, isGood(code), topicOf(code));
  }

  /** Tells screen readers who comes and goes. The media node of a room does not. @param {string} uid @param {"call.joined" | "call.left"} text */
  #announce(uid, text) {
    const { call, others } = this.stage;
    if (call.room && others.some((peer) => peer.uid === uid)) this.ui.announce(say(text, { name: this.stage.nameOf(uid) }));
  }

  /** @param {number} now */
  #updateOwnLevel(now) {
    const { track, on } = this.stage.media.slots.audio;
    this.ownLevel.follow(track);
    const { level } = this.ownLevel;
    const isMuted = track !== null && !on;
    this.ui.setOwnLevel(level);
    this.ui.floor.grid.self.setLevel(isMuted ? 0 : level, false);
    if (this.stage.isOn && this.mutedTalk.look(level, isMuted, now)) this.ui.showNotice(say("sound.talking-muted"), true);
  }

  #mediaChanged() {
    const { outgoing, media } = this.stage;
    this.ui.updateMedia(outgoing, this.asking);
    this.#tellDevices();
    const { audio, video } = media.slots;
    this.session.update(audio.on && audio.track !== null, video.track !== null);
  }

  /** The lobby shows errors beside the device choice. In a call they are notices, shown as long as they hold. */
  #tellDevices() {
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      const text = deviceText(kind, this.stage.media.slots[kind].error);
      if (text && text !== this.deviceNews[kind] && this.stage.isOn) this.ui.showNotice(text, false, kind);
      if (!text) this.ui.clearNotice(kind);
      this.deviceNews[kind] = text;
    }
  }

  /** @param {import("./quality.js").Quality} quality */
  async #improve(quality) {
    remember("quality", JSON.stringify(quality));
    await this.stage.improve(quality);
  }

  /** A key to talk is pressed, or released. @param {boolean} on */
  #talk(on) {
    const { audio } = this.stage.media.slots;
    const changes = on ? this.pushToTalk.press(audio.track !== null && !audio.on && this.stage.isOn) : this.pushToTalk.release();
    if (changes) void this.stage.media.turn("audio", on);
    return this.pushToTalk.pushes;
  }

  /** @param {import("./media.js").Kind} kind @param {string} device */
  #choose(kind, device) {
    remember(kind, device);
    void this.stage.media.choose(kind, device);
  }

  /** @param {import("./ui/controls.js").Control} what */
  #press(what) {
    switch (what) {
      case "chat":
        return this.ui.showChat();
      case "settings":
        return this.ui.showSettings();
      case "invite":
        return void this.#copy({ room: this.stage.call.room?.id ?? "" }, say("link.invite-copied"));
      case "more":
        return this.ui.showMore(this.stage.showsStats);
      case "hang-up":
        this.ui.clearNotice();
        return this.stage.hangUp();
      default:
        return this.stage.press(what);
    }
  }

  /** @param {string} text */
  #chat(text) {
    const { calls } = this.stage;
    if (calls.sendChat(text) > 0) {
      this.ui.clearNotice("page");
      this.ui.addChat({ from: say("call.you"), text, own: true });
    } else this.ui.showNotice(say(calls.hasNode ? "chat.no-way" : "chat.nobody"), false);
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
    const { ui, stage } = this;
    const { call } = stage;
    const { partner } = stage.calls;
    const { isOn } = stage;
    ui.setStatus(statusText(call, partner), call.state, lamp(call, partner));
    ui.setRinging(call.state === "ringing", call.caller);
    ui.setOwnId(shown(call.id));
    ui.lobby.setConnected(call.state !== "offline");
    ui.showStage(this.#title());
    ui.controls.setOpen("stats", stage.showsStats);
    this.awake.keep(isOn);
    this.session.show(isOn, !this.parameters.watches);
  }

  /** The room or the other side; null in the lobby. */
  #title() {
    const { call, watched } = this.stage;
    if (call.room) return { title: shown(call.room.id), room: true };
    if (watched !== null && call.peer === null) return { title: shown(watched), room: false };
    return call.peer === null ? null : { title: this.stage.nameOf(call.peer), room: false };
  }
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

/** @type {Stage} */
let stage;

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
    id: stage.call.id,
    state: stage.call.state,
    room: stage.call.room?.id ?? null,
    peer: stage.call.peer,
    caller: stage.call.caller,
    enlarged: stage.floor.grid.wall.pinned,
    connections: openConnections(),
    screen: stage.outgoing.screen !== null,
    camera: stage.media.slots.video.track !== null,
    microphone: stage.media.slots.audio.track !== null && stage.media.slots.audio.on,
  }),
  peers: () =>
    [...stage.peers.values()].map((peer) => ({
      uid: peer.uid,
      state: peer.state,
      reason: peer.reason,
      chat: peer.hasChat,
      controls: stage.operators?.hold(peer.uid) ?? null,
      framesDecoded: peer.stats?.videoIn?.framesDecoded ?? 0,
      picture: peer.picture.state,
      videos: peer.views.shown.map(({ name, picture }) => ({ name, picture: picture.state })),
      audioLevel: peer.level,
    })),
  stats: () => Object.fromEntries([...stage.peers].map(([uid, peer]) => [uid, peer.stats])),
};

/**
 * Starts the page: the lobby, or the call of the address.
 * @param {Parameters} parameters @param {import("./stage.js").CallsType} Calls what carries out the calls
 */
export function start(parameters, Calls) {
  ({ stage } = new App(parameters, Calls));
  Object.defineProperty(window, "callbin", { value: Object.freeze(inspection) });
}
