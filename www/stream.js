// @ts-check
// The page's session with a stream: it publishes one (WHIP, RFC 9725) or plays one (WHEP). Events in, effects out, as in call.js.
// A stream is a 1-1 call with one peer, the media node or the peer that has the stream's name, without a connection to the server.

import { MAX_WAITING } from "./negotiation.js";

/** After this time without data the page asks the server whether the session still exists. The server notices the loss of a node at once. */
const SILENT_MS = 1000;
const ASK_EVERY_MS = 2000;

/**
 * @typedef {"ready" | "calling" | "in-call" | "refused"} State
 * @typedef {import("./protocol.js").Candidate} Candidate
 * @typedef {{url: string, etag: string}} Session where it is, and its ICE session
 *
 * @typedef {{type: "call", peer: string} | {type: "hang-up"}
 *   | {type: "send-signal", uid: string, signal: import("./protocol.js").Signal}
 *   | {type: "answered", turn: number, sdp: string, session: Session} | {type: "not-answered", turn: number, status: number, text: string}
 *   | {type: "look", now: number, received: number} | {type: "gone", session: Session}
 *   | {type: "peer-dead", uid: string}} Event `look`: what has come from the peer so far
 *
 * @typedef {{do: "add-peer", uid: string, offers: boolean} | {do: "remove-peer", uid: string}
 *   | {do: "signal", uid: string, signal: import("./protocol.js").Signal}
 *   | {do: "post", turn: number, sdp: string} | {do: "patch", session: Session, fragment: string} | {do: "ask", session: Session, fragment: string} | {do: "delete", session: Session}
 *   | {do: "notice", code: import("./call.js").NoticeCode, subject: string}} Effect
 */

export class Stream {
  /** @type {State} */ state = "ready";
  /** @type {string | null} The stream's name while there is a session, or is to be one. */ peer = null;
  /** Counts sessions: an answer is for one of them. */ #turn = 0;
  #offer = "";
  /** @type {Session | null} */ #session = null;
  /** The last value of `received`, and when to ask the server if it stays the same. */ #heard = { received: -1, ask: 0 };
  /** @type {Candidate[]} Our candidates until the answer is there. */ #early = [];

  // Members of `Call` that a stream does not use.
  room = null;
  caller = null;
  ring = 0;
  isAlone = false;

  /** @param {string} id a name for requests @param {"play" | "publish"} stream whether the page plays or publishes it */
  constructor(id, stream) {
    this.id = id;
    this.stream = stream;
  }

  /** @param {Event} event @returns {Effect[]} */
  handle(event) {
    switch (event.type) {
      case "call":
        return this.peer === null ? this.#begin(event.peer) : [];
      case "send-signal":
        return event.uid === this.peer ? this.#signal(event.signal) : [];
      case "answered":
        return event.turn === this.#turn ? this.#answered(event) : [{ do: "delete", session: event.session }];
      case "not-answered":
        return event.turn === this.#turn ? this.#refused(event.status, event.text) : [];
      case "hang-up":
        return this.#end();
      case "look":
        return this.#session ? this.#look(this.#session, event) : [];
      case "gone":
        return event.session === this.#session ? this.#end() : [];
      case "peer-dead":
        return event.uid === this.peer ? this.#end() : [];
      default:
        return []; // what only calls know
    }
  }

  /** @param {string} peer @returns {Effect[]} */
  #begin(peer) {
    this.peer = peer;
    this.state = "calling";
    this.#turn += 1;
    this.#offer = "";
    this.#early = [];
    return [{ do: "add-peer", uid: peer, offers: true }];
  }

  /** @param {import("./protocol.js").Signal} signal @returns {Effect[]} */
  #signal(signal) {
    if (signal.kind === "ice") return this.#candidate(signal.ice);
    if (signal.kind !== "sdp" || signal.sdp.type !== "offer" || this.peer === null) return [];
    // A session takes one offer: another one, for a camera that was switched on, begins a new session.
    const { peer } = this;
    if (this.#offer) return [...this.#end(), ...this.#begin(peer)];
    this.#offer = signal.sdp.sdp;
    return [{ do: "post", turn: this.#turn, sdp: this.#offer }];
  }

  /** @param {Candidate} candidate @returns {Effect[]} */
  #candidate(candidate) {
    if (this.#session) return patch(this.#session, this.#offer, [candidate]);
    if (this.#early.length < MAX_WAITING) this.#early.push(candidate);
    return [];
  }

  /** @param {{sdp: string, session: Session}} answer @returns {Effect[]} */
  #answered({ sdp, session }) {
    this.state = "in-call";
    this.#session = session;
    this.#heard = { received: -1, ask: 0 };
    const signal = /** @type {const} */ ({ kind: "sdp", sdp: { type: "answer", sdp } });
    return [{ do: "signal", uid: this.peer ?? "", signal }, ...patch(session, this.#offer, this.#early.splice(0))];
  }

  /** @param {Session} session @param {{now: number, received: number}} event @returns {Effect[]} */
  #look(session, { now, received }) {
    const heard = this.#heard;
    if (received !== heard.received) this.#heard = { received, ask: now + SILENT_MS };
    if (received !== heard.received || now < heard.ask) return [];
    heard.ask = now + ASK_EVERY_MS;
    return [{ do: "ask", session, fragment: fragment(this.#offer, []) }];
  }

  /** @param {number} status of HTTP; 0 without an answer @param {string} text @returns {Effect[]} */
  #refused(status, text) {
    const { peer } = this;
    if (peer === null) return [];
    const effects = this.#end();
    const lasts = status === 401 || status === 403;
    if (lasts) this.state = "refused";
    return [...effects, { do: "notice", code: code(status, this.stream === "publish"), subject: lasts || status === 422 ? text : peer }];
  }

  /** @returns {Effect[]} */
  #end() {
    const [peer, session] = [this.peer, this.#session];
    if (peer === null) return [];
    this.peer = this.#session = null;
    this.state = "ready";
    this.#turn += 1;
    /** @type {Effect[]} */ const effects = session ? [{ do: "delete", session }] : [];
    return [...effects, { do: "remove-peer", uid: peer }];
  }
}

/** The notice for a refusal. @param {number} status @param {boolean} publishes @returns {import("./call.js").NoticeCode} */
function code(status, publishes) {
  switch (status) {
    case 0:
    case 502:
      return "server-unreachable";
    case 504:
      return "not-taken";
    case 401:
    case 403:
      return "refused";
    case 404:
      return publishes ? "stream-nowhere" : "peer-not-found";
    case 409:
      return publishes ? "stream-taken" : "peer-busy";
    case 422:
      return "peer-error";
    case 429:
      return "too-many";
    case 503:
      return "server-full";
    default:
      return "server-error";
  }
}

/** @param {Session} session @param {string} offer @param {Candidate[]} candidates @returns {Effect[]} */
function patch(session, offer, candidates) {
  const lines = candidates.map(({ candidate }) => candidate).filter((candidate) => candidate.startsWith("candidate:"));
  return lines.length > 0 ? [{ do: "patch", session, fragment: fragment(offer, lines) }] : [];
}

/**
 * An SDP fragment with candidates (RFC 8840, section 9). The offer bundles, so all of them are those of its first m-line.
 * @param {string} offer @param {string[]} candidates
 */
function fragment(offer, candidates) {
  const find = (/** @type {RegExp} */ line) => (line.exec(offer)?.[0] ?? "").trim();
  const head = [/^a=ice-ufrag:.*$/m, /^a=ice-pwd:.*$/m, /^m=.*$/m, /^a=mid:.*$/m].map(find);
  return [...head, ...candidates.map((line) => `a=${line}`), ""].join("\r\n");
}
