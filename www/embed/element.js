// @ts-check
// What the elements for other pages have in common: the attributes, the calls behind them, and a tile for each video of each peer.
// Nothing outside of the element's shadow is touched.

import { Calls } from "../calls.js";
import { CALLER } from "../call.js";
import { isUsable } from "../endpoint.js";
import { chooseLanguage, speak } from "../language.js";
import { Media } from "../media.js";
import { Outgoing } from "../outgoing.js";
import { readParameters } from "../parameters.js";
import { Peer } from "../peer.js";
import { noticeText, shown, statusText } from "../texts.js";
import { now } from "../time.js";
import { element, setText } from "../ui/dom.js";
import { EmbeddedTile } from "./tile.js";

/** Where this module comes from: the server, unless an attribute names another. */
const HOME = new URL("..", import.meta.url.replace(/\/v\/[0-9a-f]+\//, "/"));
const LOOK_MS = 200;
/** The attributes, named as the parameters in the page's address, except for `uid`: `id` is the element's own. */
const ATTRIBUTES = ["server", "uid", "call", "room", "token", "stun", "relay", "cameras", "camera", "microphone", "remote-offerer", "auto-answer", "lang"];

export class CallbinElement extends HTMLElement {
  static observedAttributes = ATTRIBUTES;

  /** @type {Calls | null} */ calls = null;
  /** @type {Media | null} */ media = null;
  /** @type {Map<string, EmbeddedTile[]>} */ tiles = new Map();
  /** @type {Map<string, string>} The states of the peers that the page knows. */ #told = new Map();
  #turn = 0;
  #state = "";
  #token = "";
  /** @type {ReturnType<typeof setInterval> | undefined} */ #looks;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    this.status = element("p", { part: "status", role: "status" });
    this.grid = element("div", { part: "grid", role: "list" });
    root.append(element("link", { rel: "stylesheet", href: new URL("embed.css", HOME).href }), this.grid, this.status);
  }

  /** The access token, if it is not to be in an attribute, where all of the page sees it. @param {string} token */
  set token(token) {
    if (token === this.#token) return;
    this.#token = token;
    this.#restart();
  }

  /** As `callbin.state().state` of the page: `ready`, `calling`, `in-call` and so on. */
  get state() {
    return this.calls?.call.state ?? "offline";
  }

  /** The uids of the peers that are connected. */
  get peers() {
    return [...(this.calls?.peers.values() ?? [])].filter(({ state }) => state === "connected").map(({ uid }) => this.#nameOf(uid));
  }

  connectedCallback() {
    // Set before this module was loaded, it hides the setter.
    if (Object.hasOwn(this, "token")) {
      const { token } = this;
      Reflect.deleteProperty(this, "token");
      this.token = token;
    }
    this.#restart();
  }

  disconnectedCallback() {
    this.#turn += 1;
    this.#stop();
  }

  /** @param {string} _name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(_name, before, after) {
    if (before !== after) this.#restart();
  }

  /** All attributes that change together begin one connection. */
  #restart() {
    if (!this.isConnected) return;
    this.#turn += 1;
    const turn = this.#turn;
    queueMicrotask(() => turn === this.#turn && void this.#begin(turn));
  }

  /** Overridden. Whether camera and microphone may be used. */
  get sends() {
    return false;
  }

  /** Overridden: what else changes with the calls. */
  update() {}

  /** @param {string} type @param {Record<string, unknown>} detail */
  tell(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable: type === "incoming" }));
  }

  hangUp() {
    this.calls?.do({ type: "hang-up" });
  }

  /** @param {number} turn */
  async #begin(turn) {
    this.#stop();
    const wanted = this.getAttribute("lang") ?? document.documentElement.lang;
    await speak(chooseLanguage(wanted, navigator.languages));
    if (turn !== this.#turn) return;
    const parameters = readParameters(this.#address(), { state: { token: this.#token }, replaceState: () => {} });
    const devices = this.sends ? parameters.devices : { audio: "none", video: "none" };
    this.media = new Media(devices, () => this.#mediaChanged());
    this.outgoing = new Outgoing(this.media, () => this.#mediaChanged());
    const calls = new Calls(parameters, {
      changed: () => this.#changed(),
      addPeer: (uid, offers) => this.#addPeer(uid, offers, parameters),
      removePeer: (uid) => this.#removePeer(uid),
      registered: () => {},
      notice: (code, subject) => this.#notice(code, subject),
    });
    this.calls = calls;
    this.#looks = setInterval(() => this.#look(), LOOK_MS);
    if (!isUsable(parameters.server, location.protocol)) this.#notice("bad-address", "");
    else if (parameters.room) calls.do({ type: "join", room: parameters.room });
    else if (parameters.peer) calls.do({ type: "call", peer: parameters.peer, remoteOfferer: parameters.remoteOfferer });
    else calls.do({ type: "register" });
  }

  /** The address that the page would have with the same parameters. */
  #address() {
    const url = new URL(HOME);
    for (const name of ATTRIBUTES) {
      const value = this.getAttribute(name);
      if (value !== null) url.searchParams.set(name === "uid" ? "id" : name, value);
    }
    return url;
  }

  #stop() {
    clearInterval(this.#looks);
    this.calls?.close();
    this.calls = null;
    this.media?.close();
    this.media = null;
    this.#changed();
  }

  #mediaChanged() {
    for (const peer of this.calls?.peers.values() ?? []) void peer.updateTracks();
    this.update();
  }

  #changed() {
    const { state } = this;
    // Its session may come back in another state than that of the last change.
    const partner = this.calls?.partner;
    if (partner) this.#showState(partner);
    setText(this.status, this.calls ? statusText(this.calls.call, this.calls.partner) : "");
    this.update();
    if (state === this.#state) return;
    this.#state = state;
    this.dataset.state = state;
    this.tell("statechange", { state });
  }

  /** @param {string} uid @param {boolean} offers @param {import("../parameters.js").Parameters} parameters */
  #addPeer(uid, offers, { cameras }) {
    const { calls, outgoing } = this;
    if (!calls || !outgoing) return;
    const peer = new Peer(uid, { offers, rings: calls.rings(uid), cameras, later: false, media: outgoing, ice: calls.ice }, {
      signal: (signal) => calls.do({ type: "send-signal", uid, signal }),
      changed: () => this.#peerChanged(peer),
      chat: (text) => this.tell("message", { uid: this.#nameOf(uid), text }),
      control: () => {},
    });
    calls.add(peer);
    this.#peerChanged(peer);
  }

  /** @param {Peer} peer */
  #peerChanged(peer) {
    const { calls } = this;
    if (!calls || calls.peers.get(peer.uid) !== peer) return;
    this.#showTiles(peer);
    this.#tellPeer(peer.uid, peer.state, peer.reason);
    calls.peerChanged(peer);
    this.#changed();
  }

  /** @param {Peer} peer */
  #showTiles(peer) {
    const { shown: views } = peer.views;
    const tiles = this.tiles.get(peer.uid) ?? [];
    this.tiles.set(peer.uid, tiles);
    for (const tile of tiles.splice(views.length)) tile.remove();
    views.forEach((view, i) => {
      const tile = (tiles[i] ??= new EmbeddedTile(view.name || this.#nameOf(peer.uid)));
      if (!tile.node.isConnected) this.grid.append(tile.node);
      tile.setStream(view.stream);
    });
    this.#showState(peer);
  }

  /** @param {Peer} peer */
  #showState(peer) {
    for (const tile of this.tiles.get(peer.uid) ?? []) tile.setState(peer, this.calls?.call.isAlone ?? false);
  }

  /** @param {string} uid */
  #removePeer(uid) {
    this.calls?.remove(uid);
    for (const tile of this.tiles.get(uid) ?? []) tile.remove();
    this.tiles.delete(uid);
    this.#tellPeer(uid, "closed", null);
    this.#told.delete(uid);
  }

  /** @param {string} uid @param {import("../peer.js").PeerState} state @param {import("../peer.js").Failure | null} reason */
  #tellPeer(uid, state, reason) {
    if (this.#told.get(uid) === state) return;
    this.#told.set(uid, state);
    this.tell("peerchange", { uid: this.#nameOf(uid), state, reason });
  }

  #look() {
    const at = now();
    for (const [uid, tiles] of this.tiles) {
      const peer = this.calls?.peers.get(uid);
      peer?.lookAtPictures();
      peer?.views.shown.forEach(({ picture }, i) => tiles[i]?.setPicture(picture.state, picture.staleFor(at)));
    }
  }

  /** @param {import("../call.js").NoticeCode} code @param {string} subject */
  #notice(code, subject) {
    this.tell("notice", { code, text: noticeText(code, subject) });
  }

  /** @param {string} uid */
  #nameOf(uid) {
    return shown(uid === CALLER ? (this.calls?.call.caller ?? "") : uid);
  }
}
