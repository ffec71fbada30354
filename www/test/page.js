// A model of the whole page around Call and Negotiation, without a browser: what main.js and peer.js do.

import assert from "node:assert/strict";

import { Call } from "../call.js";
import { ModelPeer } from "./model.js";

export class ModelPage {
  /** @param {import("./server.js").ModelServer} server @param {string} id */
  constructor(server, id) {
    this.server = server;
    this.call = new Call(id);
    this.peers = new Map();
    this.connection = null;
    this.wantsConnection = false;
    this.closing = false;
    this.settle = false;
    this.attempt = 0;
    /** Whether media flow in a 1-1 call. */
    this.flows = false;
    /** Whether its path is lost, and may come back. */
    this.heals = false;
    /** @type {{step: number, expects: boolean}[]} The timers of a call that is resumed. */
    this.timers = [];
    /** Whether that time may pass at any moment; the partner still sends. */
    this.hasTime = false;
    this.notices = [];
    /** Whether the user accepts calls that ring. */
    this.accepts = true;
    this.do({ type: "register" });
  }

  do(event) {
    for (const effect of this.call.handle(event)) this.#run(effect);
  }

  /** All possible next steps. */
  moves() {
    const moves = [];
    const { connection } = this;
    if (!connection && this.wantsConnection) moves.push(() => this.#connect());
    if (connection?.to.length) moves.push(() => this.do({ type: "text", text: connection.to.shift() }));
    else if (connection?.closed) moves.push(() => this.#closed(connection.closed));
    if (connection && this.closing && !connection.closed) moves.push(() => this.#closeNow());
    if (this.call.state === "ringing") moves.push(() => this.do({ type: this.accepts ? "accept" : "decline", ring: this.call.ring }));
    if (this.hasTime && this.timers.length > 0) moves.push(() => this.letTimePass(true));
    for (const peer of this.peers.values()) if (!peer.settled) moves.push(() => peer.step());
    return moves;
  }

  #connect() {
    this.wantsConnection = false;
    this.closing = false;
    this.connection = this.server.connect();
    this.do({ type: "opened" });
  }

  #closeNow() {
    this.server.left(this.connection);
    this.#closed({ code: 1000, reason: "" });
  }

  #closed({ code, reason }) {
    this.connection = null;
    this.closing = false;
    this.do({ type: "closed", code, reason, flows: this.flows, heals: this.heals });
  }

  /** Lets the time for each step of a resumption pass. */
  letTimePass(lives) {
    for (const { step, expects } of this.timers.splice(0)) this.do(expects ? { type: "overdue", step } : { type: "listened", step, lives });
  }

  /** The path of the 1-1 call is lost: ICE gives up, or has not yet. */
  losePath(hasFailed) {
    Object.assign(this, { flows: !hasFailed, heals: true });
    if (!hasFailed) return;
    const [uid, peer] = [...this.peers][0];
    peer.isLost = true;
    peer.handle({ type: "give-up", reason: "lost" });
    this.do({ type: "peer-dead", uid, failed: true, hungUp: false, heals: true });
  }

  #heal(uid) {
    const peer = this.peers.get(uid);
    if (peer.isLost) peer.handle({ type: "retry" });
  }

  #run(effect) {
    switch (effect.do) {
      case "send":
        if (this.connection) this.server.text(this.connection, effect.text);
        break;
      case "connect":
      case "connect-later":
        if (this.connection) this.server.left(this.connection);
        this.connection = null;
        this.wantsConnection = true;
        break;
      case "close":
        this.closing = true;
        break;
      case "add-peer":
        assert.ok(!this.peers.has(effect.uid), `${effect.uid} is there already`);
        this.peers.set(effect.uid, new ModelPeer({ offers: effect.offers }, (signal) => this.do({ type: "send-signal", uid: effect.uid, signal })));
        this.peers.get(effect.uid).handle({ type: "start" });
        break;
      case "remove-peer":
        assert.ok(this.peers.delete(effect.uid), `${effect.uid} is not there`);
        break;
      case "signal":
        assert.ok(this.peers.has(effect.uid), `a signal of ${effect.uid}, who is not there`);
        this.peers.get(effect.uid).receive(effect.signal);
        break;
      case "heal":
        this.#heal(effect.uid);
        break;
      case "settle-later":
        this.settle = true;
        break;
      case "expect-answer":
        this.attempt = effect.attempt;
        break;
      case "notice":
        this.notices.push(effect.code);
        break;
      case "listen":
      case "expect-peer":
        this.timers.push({ step: effect.step, expects: effect.do === "expect-peer" });
        break;
      case "registered":
      case "succeeded":
      case "expect-uid":
      case "ring":
      case "ask-why":
        break;
      default:
        assert.fail(`unknown effect ${effect.do}`);
    }
  }
}

/** Makes random steps until none is left. */
export function comeToRest(pages, random, bound = 200_000) {
  for (let round = 0; round < bound; round += 1) {
    const moves = pages.flatMap((page) => page.moves());
    if (moves.length === 0) return;
    moves[Math.floor(random() * moves.length)]();
  }
  assert.fail("never comes to rest");
}
