// @ts-check
// What the elements for other pages have in common: attributes, events, and a stage like that of the page in the element's shadow.
// Nothing outside of it is touched.

import { Calls } from "../calls.js";
import { isUsable } from "../endpoint.js";
import { chooseLanguage, say, speak } from "../language.js";
import { readParameters } from "../parameters.js";
import { Stage } from "../stage.js";
import { noticeText, statusText } from "../texts.js";
import { element, setText } from "../ui/dom.js";
import { Floor, floorNodes } from "../ui/floor.js";

/** Where this module comes from: the server, unless an attribute names another. */
const HOME = new URL("..", import.meta.url.replace(/\/v\/[0-9a-f]+\//, "/"));
/** The page's own style sheets, and what is different in an element. */
const SHEETS = ["style.css", "stage.css", "view.css", "embed.css"];
/** The attributes, named as the parameters in the page's address, except for `uid`: `id` is the element's own. */
const ATTRIBUTES = ["server", "uid", "call", "watch", "room", "play", "publish", "token", "stun", "relay", "cameras", "camera", "microphone", "remote-offerer", "auto-answer", "hud", "saver", "lang"];
/** How long a text about something that failed stays. */
const TEXT_MS = 6000;

export class CallbinElement extends HTMLElement {
  static observedAttributes = ATTRIBUTES;

  /** @type {Stage | null} */ stage = null;
  /** @type {Map<string, string>} The states of the peers that the page knows. */ #told = new Map();
  #turn = 0;
  #state = "";
  #token = "";
  #text = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    this.status = element("p", { class: "status", part: "status", role: "status" });
    this.view = element("div", { class: "view" });
    root.append(...SHEETS.map((name) => element("link", { rel: "stylesheet", href: new URL(name, HOME).href })), this.view);
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
    return (this.stage?.others ?? []).filter(({ state }) => state === "connected").map(({ uid }) => this.#nameOf(uid));
  }

  get calls() {
    return this.stage?.calls ?? null;
  }

  get media() {
    return this.stage?.media ?? null;
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

  /** Overridden: the buttons below the pictures. @returns {HTMLElement[]} */
  makeControls() {
    return [];
  }

  /** Overridden: what else changes with the calls. */
  update() {}

  /** @param {string} type @param {Record<string, unknown>} detail */
  tell(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable: type === "incoming" }));
  }

  hangUp() {
    this.stage?.hangUp();
  }

  /** A button or a key. @param {"mic" | "camera" | "share" | "stats"} what */
  press(what) {
    this.stage?.press(what);
  }

  /** @param {number} turn */
  async #begin(turn) {
    this.#stop();
    const wanted = this.getAttribute("lang") ?? document.documentElement.lang;
    await speak(chooseLanguage(wanted, navigator.languages));
    if (turn !== this.#turn) return;
    const parameters = readParameters(this.#address(), { state: { token: this.#token }, replaceState: () => {} });
    // Few need it: it is not loaded with the calls.
    const type = parameters.stream ? (await import("../streams.js")).Streams : Calls;
    if (turn !== this.#turn) return;
    const devices = this.sends ? parameters.devices : { audio: "none", video: "none" };
    const stage = (this.stage = new Stage(parameters, type, this.#build(), { devices }, {
      changed: () => this.#changed(),
      mediaChanged: () => this.#mediaChanged(),
      registered: () => {},
      notice: (code, subject) => this.tell("notice", { code, text: noticeText(code, subject) }),
      failed: (text) => this.#say(text),
      peerAdded: (peer) => this.#tellPeer(peer),
      peerChanged: (peer) => this.#tellPeer(peer),
      peerRemoved: (peer) => this.#tellPeer(peer, "closed"),
      text: ({ uid }, text) => this.tell("message", { uid: this.#nameOf(uid), text }),
    }));
    this.#mediaChanged();
    const { room, peer, remoteOfferer } = parameters;
    if (!isUsable(parameters.server, location.protocol)) this.tell("notice", { code: "bad-address", text: noticeText("bad-address", "") });
    else if (room) stage.do({ type: "join", room });
    else if (peer) stage.callPeer(peer, remoteOfferer);
    else stage.do({ type: "register" });
  }

  /** The wall and the controls of peers, in the language that is spoken now. */
  #build() {
    const nodes = floorNodes(say("call.hear"));
    nodes.grid.setAttribute("aria-label", say("call.participants"));
    const panel = element("aside", { class: "panel", part: "panel", "aria-label": say("panel.name"), hidden: true });
    const view = element("div", { class: "view" }, element("div", { class: "stage" }, element("div", { class: "floor" }, ...Object.values(nodes)), panel), this.status);
    this.view.replaceWith(view);
    this.view = view;
    const floor = new Floor(nodes, view, {
      retry: (uid) => this.stage?.peers.get(uid)?.retry(),
      press: (what) => this.press(what),
      notice: (text) => this.#say(text),
      talk: () => false,
      useKeys: () => {},
      viewed: () => this.stage?.viewed(),
    });
    view.append(...this.makeControls());
    return { floor, panel };
  }

  /** The address that the page would have with the same parameters. */
  #address() {
    const url = new URL(HOME);
    for (const name of ATTRIBUTES) {
      const value = this.getAttribute(name);
      if (value !== null) url.searchParams.set(name === "uid" ? "id" : name, value);
    }
    // The page asks for more cameras if it only receives.
    if (!this.sends && this.hasAttribute("room")) url.searchParams.set("watch", "1");
    return url;
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#text = "";
    const { stage } = this;
    stage?.close();
    this.stage = null;
    this.#changed();
  }

  #mediaChanged() {
    const { stage } = this;
    if (!stage) return;
    const { grid } = stage.floor;
    const shows = this.sends && (stage.media.slots.video.track !== null || stage.outgoing.isInstead);
    if (grid.self.node.hidden === shows) {
      grid.self.node.hidden = !shows;
      grid.arrange();
    }
    this.update();
  }

  #changed() {
    const { state, stage } = this;
    setText(this.status, stage ? [statusText(stage.call, stage.calls.partner), this.#text].filter(Boolean).join(" · ") : "");
    this.update();
    if (state === this.#state) return;
    this.#state = state;
    this.dataset.state = state;
    this.tell("statechange", { state });
  }

  /** Says for a moment what has failed, or what was saved. @param {string} text */
  #say(text) {
    clearTimeout(this.#timer);
    this.#text = text;
    this.#changed();
    if (text) this.#timer = setTimeout(() => this.#say(""), TEXT_MS);
  }

  /** @param {import("../peer.js").Peer} peer @param {import("../peer.js").PeerState} state */
  #tellPeer(peer, state = peer.state) {
    const { uid, reason } = peer;
    if (this.#told.get(uid) === state || (this.calls?.isNode(peer) && state !== "closed")) return;
    const wasTold = this.#told.has(uid);
    if (state === "closed") this.#told.delete(uid);
    else this.#told.set(uid, state);
    if (wasTold || state !== "closed") this.tell("peerchange", { uid: this.#nameOf(uid), state, reason });
  }

  /** @param {string} uid */
  #nameOf(uid) {
    return this.stage?.nameOf(uid) ?? uid;
  }
}
