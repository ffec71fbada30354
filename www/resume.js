// @ts-check
// Gets a connected 1-1 call its session at the server back after the connection to the server is lost. Events in, effects
// out: no socket, no clock. docs/protocols/text.md, "Resuming a call", has the messages; `callbin` does the same.
//
// The offer has a random key, and the answer repeats it. Later both sides register again under their uids, the caller
// calls again, and each proves to the other that it knows the key. Media are not touched.

import { parseServerMessage, format } from "./protocol.js";
import { sha256 } from "./sha256.js";

/**
 * @typedef {import("./protocol.js").Signal} Signal
 * @typedef {{type: "lost"} | {type: "gone"} | {type: "sent-away"} | {type: "text", text: string}
 *   | {type: "listened", step: number, lives: boolean} | {type: "overdue", step: number}} Event
 *   `lost`: the connection to the server; `gone`: the server has ended the session, because the peer's connection is gone;
 *   `sent-away`: the server refuses us for good
 * @typedef {{do: "send", text: string} | {do: "registered"} | {do: "connect-later"} | {do: "resumed"} | {do: "peer-left"}
 *   | {do: "listen", step: number} | {do: "expect-peer", step: number}} Effect
 *   `connect-later`: closes the connection first; `listen`: whether the peer still sends; `expect-peer`: sets a deadline
 * @typedef {{nonce?: string, proof?: string}} Message
 *
 * @typedef {"attached" | "doubt" | "connecting" | "calling" | "asking" | "waiting" | "called" | "checking" | "alone"} State
 *   `attached`: it has its session; `doubt`: the peer may have left, or only its connection to the server is gone;
 *   `waiting`: the callee is registered; `called`: a peer calls it; `alone`: no attempt follows
 */

/** The attribute with the key. */
const ATTRIBUTE = "a=callbin-resume:";
const RANDOM = /^[\w-]{22,128}$/;
/** Most signals that wait until the session is resumed. */
const MAX_UNSENT = 128;

/** 128 random bits in hexadecimal. */
function fresh() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The proof of one side that it knows the key. @param {"caller" | "callee"} role @param {string} caller @param {string} callee @param {string} key */
export function proof(role, caller, callee, key) {
  return sha256(`${role}:${caller}:${callee}:${key}`);
}

/** The message of a frame that asks to resume a call; null if it is another frame. @param {string} text @returns {Message | null} */
export function parseResume(text) {
  if (!text.startsWith("{")) return null;
  try {
    const { nonce, proof } = JSON.parse(text).resume;
    const isValid = (nonce === undefined || RANDOM.test(nonce)) && (proof === undefined || typeof proof === "string");
    return isValid && (nonce ?? proof) !== undefined ? { nonce, proof } : null;
  } catch {
    return null;
  }
}

/** The session's part of a description, and the rest from the first m-line on. @param {string} sdp */
function split(sdp) {
  const at = sdp.search(/^m=/m);
  return at < 0 ? [sdp, ""] : [sdp.slice(0, at), sdp.slice(at)];
}

/** The key in a description, or null: a peer whose descriptions have one can resume the call. @param {string} sdp */
export function keyOf(sdp) {
  const line = split(sdp)[0].split(/\r?\n/).find((line) => line.startsWith(ATTRIBUTE));
  const key = line?.slice(ATTRIBUTE.length).trim() ?? "";
  return RANDOM.test(key) ? key : null;
}

/** @param {import("./protocol.js").Description} description @param {string} key @returns {Signal} */
function withKey({ type, sdp }, key) {
  const [session, media] = split(sdp);
  return { kind: "sdp", sdp: { type, sdp: `${session}${ATTRIBUTE}${key}\r\n${media}` } };
}

export class Resumption {
  /** @type {State} */ #state = "attached";
  /** Counts states: a deadline is for one of them. */ #step = 0;
  /** The key in our own offer. */ #own;
  /** @type {string | null} The key in the peer's last offer. */ #theirs = null;
  /** @type {string | null} The key that both descriptions had. */ #key = null;
  /** Our nonce of this attempt. */ #nonce = "";
  /** The proof that we expect. */ #expected = "";
  /** @type {Signal[]} */ #unsent = [];

  /** @param {string | null} peer the uid that we called; null if we were called */
  constructor(peer) {
    this.peer = peer;
    this.#own = fresh();
  }

  /** Whether both sides can resume the call. */
  get isAgreed() {
    return this.#key !== null;
  }

  /** Whether the session, once it is lost, may come back. */
  get isHopeful() {
    return this.isAgreed && this.#state !== "alone";
  }

  /** Whether the call has its session at the server. */
  get isAttached() {
    return this.#state === "attached";
  }

  /** Whether the call goes on without the server. */
  get isAlone() {
    return this.#state !== "attached" && this.#state !== "doubt";
  }

  /** Whether we wait for a connection to register on. */
  get isConnecting() {
    return this.#state === "connecting";
  }

  /** Whether we are registered, but have no session yet. */
  get isRegistered() {
    return ["calling", "asking", "waiting", "called", "checking"].includes(this.#state);
  }

  /**
   * A signal in the form in which it goes to the peer: with the key, as long as none is agreed on. Null if it has to wait
   * for the session, or can never be sent.
   * @param {Signal} signal @returns {Signal | null}
   */
  say(signal) {
    if (!this.isAttached) {
      if (this.#state !== "alone" && this.#unsent.length < MAX_UNSENT) this.#unsent.push(signal);
      return null;
    }
    if (signal.kind !== "sdp" || this.#key !== null) return signal;
    if (signal.sdp.type === "offer") return withKey(signal.sdp, this.#own);
    if (this.#theirs === null) return signal;
    this.#key = this.#theirs;
    return withKey(signal.sdp, this.#key);
  }

  /** Takes the key from a description of the peer. @param {Signal} signal */
  hear(signal) {
    if (signal.kind !== "sdp" || this.#key !== null) return;
    const key = keyOf(signal.sdp.sdp);
    if (signal.sdp.type === "offer") this.#theirs = key;
    else if (key === this.#own) this.#key = key;
  }

  /** The signals that waited for the session. */
  takeUnsent() {
    return this.#unsent.splice(0);
  }

  /** Handles an event of a connected call. @param {Event} event @returns {Effect[]} */
  handle(event) {
    switch (event.type) {
      case "lost":
        return this.#isHopeless ? [] : this.#retry();
      case "gone":
        return this.isAttached ? this.#doubt() : this.#isHopeless ? [] : this.#retry();
      case "sent-away":
        this.#enter("alone");
        return [];
      case "listened":
        if (this.#state !== "doubt" || event.step !== this.#step) return [];
        return event.lives ? this.#retry() : [{ do: "peer-left" }];
      case "overdue":
        return event.step === this.#step && this.isRegistered && this.#state !== "waiting" ? this.#retry() : [];
      case "text":
        return this.#text(event.text);
    }
  }

  /** Whether there is no connection, and none is awaited. */
  get #isHopeless() {
    return this.#state === "alone" || this.#state === "doubt";
  }

  /** @param {State} state */
  #enter(state) {
    this.#state = state;
    this.#step += 1;
  }

  /** @returns {Effect[]} */
  #doubt() {
    if (!this.isAgreed) return [{ do: "peer-left" }];
    this.#enter("doubt");
    return [{ do: "listen", step: this.#step }];
  }

  /** @returns {Effect[]} */
  #retry() {
    if (!this.isAgreed) this.#unsent = [];
    this.#enter(this.isAgreed ? "connecting" : "alone");
    return this.isAgreed ? [{ do: "connect-later" }] : [];
  }

  /** Expects an answer in time. @param {State} state @param {string[]} texts to send before @returns {Effect[]} */
  #expect(state, ...texts) {
    this.#enter(state);
    return [...texts.map((text) => /** @type {Effect} */ ({ do: "send", text })), { do: "expect-peer", step: this.#step }];
  }

  /** @param {string} text @returns {Effect[]} */
  #text(text) {
    const message = parseServerMessage(text);
    if (message?.verb === "ERROR") return this.#isHopeless ? [] : this.#retry();
    switch (this.#state) {
      case "connecting":
        return message?.verb === "HELLO" ? [{ do: "registered" }, ...this.#registered()] : [];
      case "calling":
        return message?.verb === "SESSION_OK" ? this.#expect("asking", format.resume({ nonce: this.#nonce })) : [];
      case "waiting":
        return message?.verb === "CALLER" ? this.#expect("called") : this.#fromPeer(text);
      case "asking":
      case "called":
      case "checking":
        return this.#fromPeer(text);
      default:
        return [];
    }
  }

  /** @returns {Effect[]} */
  #registered() {
    this.#nonce = fresh();
    if (this.peer !== null) return this.#expect("calling", format.session(this.peer));
    this.#enter("waiting");
    return [];
  }

  /** A message of the peer, or of another one: then the call goes on alone until the next attempt. @param {string} text @returns {Effect[]} */
  #fromPeer(text) {
    const { nonce, proof: theirs } = parseResume(text) ?? {};
    const [own, key] = [this.#nonce, this.#key ?? ""];
    if ((this.#state === "waiting" || this.#state === "called") && nonce !== undefined && theirs === undefined) {
      this.#expected = proof("caller", nonce, own, key);
      return this.#expect("checking", format.resume({ nonce: own, proof: proof("callee", nonce, own, key) }));
    }
    if (this.#state === "asking" && nonce !== undefined && theirs === proof("callee", own, nonce, key)) {
      this.#enter("attached");
      return [{ do: "send", text: format.resume({ proof: proof("caller", own, nonce, key) }) }, { do: "resumed" }];
    }
    if (this.#state === "checking" && nonce === undefined && theirs === this.#expected) {
      this.#enter("attached");
      return [{ do: "resumed" }];
    }
    return this.#retry();
  }
}
