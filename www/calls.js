// @ts-check
// Carries out what the Call decides: its effects go to the socket, the peers, the ICE servers and timers. Used by the page and by
// the elements for other pages (embed/).

import { CALLER, Call } from "./call.js";
import { isUsable, socketUrl } from "./endpoint.js";
import { IceServers } from "./ice.js";
import { Peers } from "./peers.js";
import { Socket } from "./socket.js";
import { pause } from "./time.js";
import { subprotocols } from "./token.js";
import { askWhy } from "./why.js";

/**
 * @typedef {object} CallsEvents
 * @property {() => void} changed after each event
 * @property {(uid: string, offers: boolean) => void} addPeer makes a peer for `add`
 * @property {(uid: string) => void} removePeer for `remove`
 * @property {() => void} registered
 * @property {(code: import("./call.js").NoticeCode, subject: string) => void} notice
 */

/** The uid under which a media node takes part in a room (docs/media.md#rooms). */
const NODE = "0";
/** How long, after we rejoined, members that lost the server with us may take to come back. */
const SETTLE_MS = 15_000;
/** Deadline for the server's answer to a call or a join: it delays a request by 10 s at most, and a webhook has 5 s. */
const ANSWER_MS = 20_000;
/** How long a call rings before it is declined. A caller waits longer (peer.js, and `callbin call`). */
const RING_MS = 30_000;
/** How long after a loss our own old connection may still hold the uid: until the server has noticed its death. */
const UID_MS = 60_000;
/** How long the server and the peer may take for each step when a call is resumed. */
const RESUME_MS = 10_000;
/** When we look for packets of a peer whose session the server has ended: those under way have arrived. A peer without media
 * sends only checks of the path, every 4 to 6 s (RFC 7675, section 5.1). */
const LISTEN_FROM_MS = 500;
const LISTEN_MS = 2500;
const LISTEN_QUIET_MS = 6500;
const LISTEN_STEP_MS = 250;

export class Calls extends Peers {
  #isOver = false;

  /**
   * @param {{id: string, server: string, token: string, iceServers: RTCIceServer[], relay: boolean, autoAnswer: boolean}} parameters
   * @param {CallsEvents} events
   */
  constructor({ id, server, token, iceServers, relay, autoAnswer }, events) {
    super();
    this.server = server;
    this.token = token;
    this.events = events;
    this.call = new Call(id, { autoAnswer });
    this.ice = new IceServers({ url: server, token, extra: iceServers, relay });
    this.socket = new Socket(socketUrl(server), subprotocols(token), {
      opened: () => this.do({ type: "opened" }),
      text: (text) => this.do({ type: "text", text }),
      closed: (code, reason) => this.do({ type: "closed", code, reason, flows: this.partner?.flows, heals: this.partner?.heals }),
    });
  }

  /** The other side of a 1-1 call. */
  get partner() {
    const { peer } = this.call;
    return peer === null ? null : (this.peers.get(peer) ?? null);
  }

  /** @param {import("./call.js").Event} event */
  do(event) {
    if (this.#isOver) return;
    for (const effect of this.call.handle(event)) this.#run(effect);
    this.events.changed();
  }

  /** Whether a person may have to accept our call to this peer. @param {string} uid */
  rings(uid) {
    return uid === this.call.peer && uid !== CALLER;
  }

  /** Its description says that it is a server (ICE lite): before that, who has its uid is taken for it. @param {import("./peer.js").Peer} peer */
  isNode(peer) {
    return this.call.room !== null && peer.uid === NODE && (peer.isLite ?? true);
  }

  /** Reports a dead peer, and shares the camera anew if the number of peers that get it has changed. @param {import("./peer.js").Peer} peer */
  peerChanged({ uid, state, hungUp, heals }) {
    const failed = state === "failed";
    if (failed || hungUp) this.do({ type: "peer-dead", uid, failed, hungUp, heals });
    this.share();
  }

  /** The page goes. A partner that can resume the call takes only the end of DTLS for a hangup. */
  leave() {
    this.partner?.close();
    this.socket.close();
  }

  /** Ends everything for good. */
  close() {
    this.leave();
    this.#isOver = true;
    for (const uid of [...this.peers.keys()]) this.events.removePeer(uid);
    this.socket.stayAway();
    this.ice.stop();
  }

  /** @param {import("./call.js").Effect} effect */
  #run(effect) {
    switch (effect.do) {
      case "send":
        return this.socket.send(effect.text);
      case "connect":
        return this.socket.connect();
      case "connect-later":
        return this.socket.connectLater(effect.leastMs, effect.mostMs);
      case "stay-away":
        return this.socket.stayAway();
      case "ask-why":
        return void this.#askWhy();
      case "registered":
        this.events.registered();
        this.ice.follow(this.call.id); // after a sleep or an absence the credentials may have expired
        return this.socket.registered();
      case "succeeded":
        return this.socket.succeeded();
      case "close":
        return this.socket.close();
      case "add-peer":
        return this.events.addPeer(effect.uid, effect.offers);
      case "remove-peer":
        return this.events.removePeer(effect.uid);
      case "signal":
        return this.peers.get(effect.uid)?.receive(effect.signal);
      case "heal":
        return this.peers.get(effect.uid)?.heal();
      case "listen":
        return void this.#listen(effect.uid, effect.step);
      case "ring":
        return this.#later(RING_MS, { type: "ring-over", ring: effect.ring });
      case "settle-later":
        return this.#later(SETTLE_MS, { type: "settle" });
      case "expect-answer":
        return this.#later(ANSWER_MS, { type: "unanswered", attempt: effect.attempt });
      case "expect-peer":
        return this.#later(RESUME_MS, { type: "overdue", step: effect.step });
      case "expect-uid":
        return this.#later(UID_MS, { type: "uid-overdue", absence: effect.absence });
      case "notice":
        return this.events.notice(effect.code, ("subject" in effect && effect.subject) || "");
    }
  }

  /** @param {number} ms @param {import("./call.js").Event} event */
  #later(ms, event) {
    setTimeout(() => this.do(event), ms);
  }

  /** Finds out whether the partner still sends. @param {string} uid @param {number} step */
  async #listen(uid, step) {
    const received = async () => (await this.peers.get(uid)?.received()) ?? 0;
    const until = performance.now() + LISTEN_FROM_MS + (this.peers.get(uid)?.receivesMedia ? LISTEN_MS : LISTEN_QUIET_MS);
    await pause(LISTEN_FROM_MS);
    const before = await received();
    let lives = false;
    while (!lives && performance.now() < until) {
      await pause(LISTEN_STEP_MS);
      lives = (await received()) > before;
    }
    this.do({ type: "listened", step, lives });
  }

  async #askWhy() {
    const { server: url, token } = this;
    const { id } = this.call;
    const why = isUsable(url, location.protocol) ? await askWhy({ url, token, uid: id }) : "bad-address";
    this.do({ type: "explained", id, why });
  }
}
