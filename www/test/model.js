// A model of RTCPeerConnection's signalling rules around one Negotiation: the test decides how long operations take,
// and calls that a browser would reject fail an assertion.

import assert from "node:assert/strict";

import { fingerprint, Negotiation } from "../negotiation.js";

let serial = 0;

export class ModelPeer {
  /** @param {{offers: boolean}} role @param {(signal: any) => void} send */
  constructor(role, send) {
    this.negotiation = new Negotiation(role);
    this.send = send;
    this.pending = [];
    this.failed = null;
    this.#open();
  }

  #open() {
    serial += 1;
    this.connection = { id: serial, state: "stable", local: null, remote: null, candidates: [], stray: 0 };
  }

  handle(event) {
    for (const effect of this.negotiation.handle(event)) this.#run(effect);
  }

  receive(signal) {
    this.handle({ type: "signal", signal });
  }

  /** Finishes the oldest operation under way. */
  step() {
    this.pending.shift()?.();
  }

  get settled() {
    return this.pending.length === 0;
  }

  #later(event) {
    const round = this.negotiation.round;
    this.pending.push(() => this.handle({ ...event, round }));
  }

  #run(effect) {
    const { connection } = this;
    switch (effect.do) {
      case "create-offer":
        serial += 1;
        this.#later({ type: "created", description: this.#description("offer") });
        break;
      case "create-answer":
        assert.equal(connection.state, "have-remote-offer");
        this.#later({ type: "created", description: this.#description("answer") });
        break;
      case "set-local":
        this.#setLocal(effect.description);
        break;
      case "set-remote":
        this.#setRemote(effect.description);
        break;
      case "add-candidate":
        assert.ok(connection.remote, "a candidate before the remote description");
        // In a glare the candidates of the ignored offer still arrive. A browser rejects them.
        if (connection.remote.sdp.includes(effect.candidate.usernameFragment)) connection.candidates.push(effect.candidate);
        else connection.stray += 1;
        break;
      case "send":
        this.send(effect.signal);
        break;
      case "reset":
        this.failed = null;
        this.#open();
        break;
      case "fail":
        this.failed = effect.reason;
        break;
      default:
        assert.fail(`unknown effect ${effect.do}`);
    }
  }

  #description(type) {
    const { id, remote } = this.connection;
    const to = type === "answer" ? ` answers ${remote.sdp.split("\n")[0]}` : "";
    serial += 1;
    return { type, sdp: `n${serial} of c${id};${to}\na=fingerprint:sha-256 ${id}\n` };
  }

  #setLocal(description) {
    const { connection } = this;
    const expected = description.type === "offer" ? "stable" : "have-remote-offer";
    assert.equal(connection.state, expected, `setLocalDescription(${description.type})`);
    connection.state = description.type === "offer" ? "have-local-offer" : "stable";
    connection.local = description;
    this.#later({ type: "local-set" });
    for (const name of ["one", ""]) {
      const candidate = { candidate: name, usernameFragment: `c${connection.id};`, sdpMid: "0", sdpMLineIndex: 0 };
      this.#later({ type: "local-candidate", candidate });
    }
  }

  #setRemote(description) {
    const { connection } = this;
    if (description.type === "answer") assert.equal(connection.state, "have-local-offer");
    // Setting an offer rolls back a local offer, and replaces a remote one.
    if (connection.remote) assert.equal(fingerprint(connection.remote.sdp), fingerprint(description.sdp));
    connection.state = description.type === "answer" ? "stable" : "have-remote-offer";
    connection.remote = description;
    this.#later({ type: "remote-set" });
  }
}

/** A description as its sender has it: the key of the call is added on the way. */
const own = (description) => description?.sdp.replace(/^a=callbin-resume:.*\r\n/m, "");

/** Asserts that both sides are stable and have set each other's descriptions. */
export function assertConnected(a, b, what = "") {
  for (const side of [a, b]) {
    assert.equal(side.failed, null, what);
    assert.equal(side.negotiation.phase, "stable", what);
    assert.equal(side.connection.state, "stable", what);
    const ends = side.connection.candidates.filter(({ candidate }) => candidate === "");
    assert.ok(ends.length > 0, `${what}: end of candidates`);
  }
  assert.equal(a.connection.local?.sdp, own(b.connection.remote), what);
  assert.equal(b.connection.local?.sdp, own(a.connection.remote), what);
}
