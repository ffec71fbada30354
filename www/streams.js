// @ts-check
// Carries out what the Stream decides: its effects go to the server over HTTP, and to the peer. It looks like calls.js to the page.

import { httpUrls } from "./endpoint.js";
import { IceServers } from "./ice.js";
import { Peers } from "./peers.js";
import { Stream } from "./stream.js";

/** The server waits for a peer's answer for up to 20 s. */
const ANSWER_MS = 30_000;
const REQUEST_MS = 10_000;
const MAX_TEXT = 1000;
const LOOK_EVERY_MS = 250;

export class Streams extends Peers {
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  /** `Calls` has a WebSocket here; a stream has none. */
  socket = { hurry: () => {} };

  /**
   * @param {{id: string, server: string, token: string, iceServers: RTCIceServer[], relay: boolean, stream: "play" | "publish" | ""}} parameters
   * @param {import("./calls.js").CallsEvents} events
   * @param {typeof fetch} request
   */
  constructor({ id, server, token, iceServers, relay, stream }, events, request = fetch.bind(globalThis)) {
    super();
    this.server = server;
    this.token = token;
    this.protocol = stream === "publish" ? "whip" : "whep";
    this.events = events;
    this.request = request;
    this.call = new Stream(id, stream || "play");
    this.ice = new IceServers({ url: server, token, extra: iceServers, relay }, request);
  }

  /** The other side. */
  get partner() {
    return this.call.peer === null ? null : (this.peers.get(this.call.peer) ?? null);
  }

  /** No person has to accept the call. */
  rings() {
    return false;
  }

  /** @param {any} event what only calls know has no effect */
  do(event) {
    if (event.type === "call") this.ice.follow(this.call.id);
    for (const effect of this.call.handle(event)) this.#run(effect);
    this.events.changed();
  }

  /** @param {import("./peer.js").Peer} peer */
  peerChanged({ uid, state, hungUp }) {
    if (state === "failed" || hungUp) this.do({ type: "peer-dead", uid });
    this.share();
  }

  /** The page goes. */
  leave() {
    this.do({ type: "hang-up" });
  }

  /** Ends everything for good. */
  close() {
    this.leave();
    this.ice.stop();
  }

  /** @param {import("./stream.js").Effect} effect */
  #run(effect) {
    switch (effect.do) {
      case "add-peer":
        this.#timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
        return this.events.addPeer(effect.uid, effect.offers);
      case "remove-peer":
        clearInterval(this.#timer);
        return this.events.removePeer(effect.uid);
      case "signal":
        return this.peers.get(effect.uid)?.receive(effect.signal);
      case "post":
        return void this.#post(effect.turn, effect.sdp);
      case "patch":
        return void this.#ask(effect.session, "PATCH", this.#trickling(effect.session), effect.fragment);
      case "ask":
        return void this.#askAbout(effect.session, effect.fragment);
      case "delete":
        return void this.#ask(effect.session, "DELETE", this.#headers()); // at once: a page that goes runs no further task
      case "notice":
        return this.events.notice(effect.code, effect.subject);
    }
  }

  /** @param {number} turn @param {string} sdp */
  async #post(turn, sdp) {
    const name = `${this.protocol}/${encodeURIComponent(this.call.peer ?? "")}`;
    let refusal = { status: 0, text: "" };
    for (const url of httpUrls(this.server, name, this.token !== "")) {
      try {
        const headers = { ...this.#headers(), "Content-Type": "application/sdp" };
        const answer = await this.request(url, { method: "POST", headers, body: sdp, signal: AbortSignal.timeout(ANSWER_MS) });
        const text = await answer.text();
        const location = answer.headers.get("location");
        if (answer.status === 201 && location) {
          const session = { url: new URL(location, url).href, etag: answer.headers.get("etag") ?? "*" };
          this.events.registered(); // what was wrong with the server is over
          return this.do({ type: "answered", turn, sdp: text, session });
        }
        refusal = { status: answer.status, text: text.trim().slice(0, MAX_TEXT) };
        if (answer.status !== 404) break;
      } catch {
        refusal = { status: 0, text: "" };
      }
    }
    this.do({ type: "not-answered", turn, ...refusal });
  }

  async #look() {
    const { partner } = this;
    if (!partner?.flows) return;
    const received = await partner.received();
    if (partner === this.partner) this.do({ type: "look", now: performance.now(), received });
  }

  /** A fragment without candidates changes nothing, but gets 404 if the session is over. @param {import("./stream.js").Session} session @param {string} body */
  async #askAbout(session, body) {
    const answer = await this.#ask(session, "PATCH", this.#trickling(session), body);
    if (answer?.status === 404) this.do({ type: "gone", session });
  }

  /** @param {import("./stream.js").Session} session */
  #trickling({ etag }) {
    return { ...this.#headers(), "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": etag };
  }

  /** @param {import("./stream.js").Session} session @param {string} method @param {Record<string, string>} headers @param {string} [body] */
  async #ask({ url }, method, headers, body) {
    return this.request(url, { method, headers, body, keepalive: method === "DELETE", signal: AbortSignal.timeout(REQUEST_MS) }).catch(() => null);
  }

  #headers() {
    return /** @type {Record<string, string>} */ (this.token ? { Authorization: `Bearer ${this.token}` } : {});
  }
}
