// @ts-check
// The members of the room, for any order of messages: events in, effects out. No sockets, no peer connections.

import { parseSignal } from "./protocol.js";

/**
 * @typedef {import("./protocol.js").Signal} Signal
 * @typedef {{do: "add-peer", uid: string, offers: boolean} | {do: "remove-peer", uid: string, reason: "left" | "replaced" | "lost"}
 *   | {do: "signal", uid: string, signal: Signal} | {do: "notice", code: "room-too-large"}} Effect
 */

/** Most peers: each needs a tile, a decoder and an encoder. */
export const MAX_PEERS = 24;
/** Most peers, and most messages of each, whose messages are kept because they overtook `ROOM_PEER_JOINED`. */
const MAX_EARLY_PEERS = 32;
const MAX_EARLY_MESSAGES = 64;

export class Room {
  /**
   * `announced`: the server named the peer, not only the peer itself. `stale`: from before the connection to the
   * server was lost; media may still flow, but the peer needs a new negotiation.
   * @type {Map<string, {announced: boolean, stale: boolean}>}
   */
  #members = new Map();
  /** @type {Map<string, Signal[]>} */
  #early = new Map();

  /** @param {string} id @param {string} self the own uid */
  constructor(id, self) {
    this.id = id;
    this.self = self;
  }

  get size() {
    return this.#members.size;
  }

  /** We joined: we offer to the earlier members, in their order. @param {string[]} uids @returns {Effect[]} */
  entered(uids) {
    return [...new Set(uids)].flatMap((uid) => {
      const member = this.#members.get(uid);
      if (member && !member.stale) return [];
      return [...this.#drop(uid, "replaced"), ...this.#add(uid, { offers: true, announced: true })];
    });
  }

  /** A peer joined: it offers to us. @param {string} uid @returns {Effect[]} */
  joined(uid) {
    const member = this.#members.get(uid);
    if (member && !member.stale && !member.announced) {
      member.announced = true; // its offer overtook this message
      return [];
    }
    return [...this.#drop(uid, "replaced"), ...this.#add(uid, { offers: false, announced: true })];
  }

  /** @param {string} uid @returns {Effect[]} */
  left(uid) {
    this.#early.delete(uid);
    return this.#drop(uid, "left");
  }

  /** @param {string} uid @param {string} text @returns {Effect[]} */
  message(uid, text) {
    const signal = parseSignal(text);
    if (!signal) return [];
    const member = this.#members.get(uid);
    if (member && !member.stale) return [{ do: "signal", uid, signal }];
    if (!opens(signal)) {
      this.#keep(uid, signal);
      return [];
    }
    const added = [...this.#drop(uid, "replaced"), ...this.#add(uid, { offers: false, announced: false })];
    return this.#members.has(uid) ? [...added, { do: "signal", uid, signal }] : added;
  }

  /** The server is gone. Media between peers may go on until we have rejoined. */
  lost() {
    for (const member of this.#members.values()) member.stale = true;
    this.#early.clear();
  }

  /** Some time after we rejoined: drops the members that did not come back. @returns {Effect[]} */
  settle() {
    const stale = [...this.#members].filter(([, member]) => member.stale).map(([uid]) => uid);
    return stale.flatMap((uid) => this.#drop(uid, "lost"));
  }

  /** The connection to a peer failed: drops the peer if it is stale. @param {string} uid @returns {Effect[]} */
  dropStale(uid) {
    return this.#members.get(uid)?.stale ? this.#drop(uid, "lost") : [];
  }

  /** @returns {Effect[]} */
  clear() {
    return [...this.#members.keys()].flatMap((uid) => this.#drop(uid, "left"));
  }

  /** @param {string} uid @param {{offers: boolean, announced: boolean}} how @returns {Effect[]} */
  #add(uid, { offers, announced }) {
    if (uid === this.self) return [];
    if (this.#members.size >= MAX_PEERS) return [{ do: "notice", code: "room-too-large" }];
    this.#members.set(uid, { announced, stale: false });
    const early = this.#early.get(uid) ?? [];
    this.#early.delete(uid);
    return [
      { do: "add-peer", uid, offers },
      ...early.map((signal) => /** @type {Effect} */ ({ do: "signal", uid, signal })),
    ];
  }

  /** @param {string} uid @param {"left" | "replaced" | "lost"} reason @returns {Effect[]} */
  #drop(uid, reason) {
    return this.#members.delete(uid) ? [{ do: "remove-peer", uid, reason }] : [];
  }

  /** @param {string} uid @param {Signal} signal */
  #keep(uid, signal) {
    const early = this.#early.get(uid) ?? [];
    if (early.length < MAX_EARLY_MESSAGES) early.push(signal);
    if (this.#early.size < MAX_EARLY_PEERS) this.#early.set(uid, early);
  }
}

/** Whether an unknown peer's signal begins a negotiation. @param {Signal} signal */
function opens(signal) {
  return signal.kind === "offer-request" || (signal.kind === "sdp" && signal.sdp.type === "offer");
}
