// @ts-check
// The negotiation with one peer as a state machine: events in, effects out. No RTCPeerConnection, no clock.
//
// The signalling decides which side offers (the caller, the peer that joined last, an OFFER_REQUEST), never
// `negotiationneeded`, because GStreamer's counterpart is unreliable. One operation runs at a time. Signals that arrive
// meanwhile wait in order; candidates wait until a remote description is set.

/**
 * @typedef {import("./protocol.js").Description} Description
 * @typedef {import("./protocol.js").Candidate} Candidate
 * @typedef {import("./protocol.js").Signal} Signal
 *
 * @typedef {{type: "start"} | {type: "renegotiate"} | {type: "retry"} | {type: "close"}
 *   | {type: "signal", signal: Signal} | {type: "local-candidate", candidate: Candidate, round: number}
 *   | {type: "created", description: Description, round: number}
 *   | {type: "local-set", round: number} | {type: "remote-set", round: number}
 *   | {type: "connected"} | {type: "error", message: string, round: number} | {type: "give-up", reason: string}} Event
 *
 * @typedef {{do: "create-offer"} | {do: "create-answer"}
 *   | {do: "set-local", description: Description} | {do: "set-remote", description: Description}
 *   | {do: "add-candidate", candidate: Candidate} | {do: "send", signal: Signal}
 *   | {do: "reset"} | {do: "fail", reason: string}} Effect
 *
 * @typedef {"new" | "creating-offer" | "setting-offer" | "offered" | "applying-answer"
 *   | "applying-offer" | "creating-answer" | "setting-answer" | "stable" | "failed" | "closed"} Phase
 */

/** Most waiting signals of one peer; further ones are dropped. */
export const MAX_WAITING = 512;

/** Most candidates of one connection: honest peers have a few dozen at most, and each costs checks. */
export const MAX_CANDIDATES = 256;

/** How often to start over because answers got mixed up. */
const MAX_RESTARTS = 3;

/** Phases in which no operation is under way. @type {Phase[]} */
const AT_REST = ["new", "offered", "stable", "failed"];

export class Negotiation {
  /** @type {Phase} */ phase = "new";
  /** Counts connections: results of an abandoned one are ignored. */
  round = 0;
  /** @type {Signal[]} Waiting descriptions and candidates, in the order of arrival. */ #inbox = [];
  /** @type {Candidate[]} */ #held = [];
  /** @type {string | null} The remote offer or answer in force. */ #remoteSdp = null;
  #remoteSet = false;
  #candidates = 0;
  #wantsOffer = false;
  /** Whether the remote description in force is an answer, and there is no path to the peer yet. */ #answered = false;
  #restarts = 0;

  /**
   * @param {{offers: boolean}} role whether this side offers by the signalling's convention. It then also wins if both
   *   sides offer at once (glare): the other side withdraws its offer.
   */
  constructor({ offers }) {
    this.offers = offers;
    this.wins = offers;
  }

  /** @param {Event} event @returns {Effect[]} */
  handle(event) {
    if (this.phase === "closed") return [];
    if ("round" in event && event.round !== this.round) return [];
    switch (event.type) {
      case "start":
        return this.offers && this.phase === "new" ? this.#createOffer() : [];
      case "renegotiate":
        this.#wantsOffer = this.phase !== "new" && this.phase !== "failed";
        return this.#continue();
      case "retry":
        return [...this.#reset(), ...this.#createOffer()];
      case "signal":
        return this.#receive(event.signal);
      case "local-candidate":
        return [{ do: "send", signal: { kind: "ice", ice: event.candidate } }];
      case "created":
        return this.#created(event.description);
      case "connected":
        this.#answered = false;
        return [];
      case "local-set":
        return this.#localSet();
      case "remote-set":
        return this.#afterRemoteSet();
      case "error":
        return this.#fail(event.message);
      case "give-up":
        return this.#fail(event.reason);
      case "close":
        this.phase = "closed";
        this.#inbox = [];
        this.#held = [];
        return [];
    }
  }

  /** @param {Signal} signal @returns {Effect[]} */
  #receive(signal) {
    if (signal.kind === "offer-request") return this.#offerRequested();
    if (this.#inbox.length >= MAX_WAITING) return [];
    this.#inbox.push(signal);
    return this.#continue();
  }

  /** The peer requests our offer: then it expects our offer to win a glare. @returns {Effect[]} */
  #offerRequested() {
    if (this.phase === "failed") return [...this.#reset(), ...this.#claimOffer()];
    const free = this.phase === "new" || this.phase === "stable";
    return free ? this.#claimOffer() : [];
  }

  /** @returns {Effect[]} */
  #claimOffer() {
    this.wins = true;
    return this.#createOffer();
  }

  /** @returns {Effect[]} */
  #createOffer() {
    this.phase = "creating-offer";
    this.#wantsOffer = false;
    return [{ do: "create-offer" }];
  }

  /** Handles waiting signals until an operation starts. @returns {Effect[]} */
  #continue() {
    /** @type {Effect[]} */
    const effects = [];
    while (this.#inbox.length > 0) {
      const next = this.#inbox[0];
      if (next.kind === "sdp" && !AT_REST.includes(this.phase)) break;
      this.#inbox.shift();
      effects.push(...(next.kind === "sdp" ? this.#take(next.sdp) : this.#candidate(next)));
    }
    if (this.#wantsOffer && this.phase === "stable") effects.push(...this.#createOffer());
    return effects;
  }

  /** @param {Signal} signal @returns {Effect[]} */
  #candidate(signal) {
    if (signal.kind !== "ice" || this.#candidates >= MAX_CANDIDATES) return [];
    this.#candidates += 1;
    if (this.#remoteSet) return [{ do: "add-candidate", candidate: signal.ice }];
    this.#held.push(signal.ice);
    return [];
  }

  /** @param {Description} description @returns {Effect[]} */
  #take(description) {
    if (description.sdp === this.#remoteSdp) return []; // a repetition
    if (description.type === "answer") return this.phase === "offered" ? this.#apply(description, "applying-answer") : this.#answeredAgain();
    if (this.phase === "offered" && this.wins) return []; // glare: the peer withdraws its offer
    const reset = this.phase === "failed" || this.#isAnotherConnection(description.sdp) ? this.#reset(description) : [];
    return [...reset, ...this.#apply(description, "applying-offer")];
  }

  /**
   * A second answer to our offer. We came back under our old uid, and the first answer was meant for our previous
   * connection; this one is for us. Start over.
   * @returns {Effect[]}
   */
  #answeredAgain() {
    if (!this.#answered || this.phase !== "stable" || this.#restarts >= MAX_RESTARTS) return [];
    this.#restarts += 1;
    return [...this.#reset(), ...this.#createOffer()];
  }

  /**
   * Whether an offer is for a new connection instead of the present one: the peer started over. The certificate shows
   * it, because browsers and GStreamer make one for each connection.
   * @param {string} sdp
   */
  #isAnotherConnection(sdp) {
    return this.#remoteSdp !== null && fingerprint(sdp) !== fingerprint(this.#remoteSdp);
  }

  /** @param {Description} description @param {Phase} phase @returns {Effect[]} */
  #apply(description, phase) {
    this.phase = phase;
    this.#answered = description.type === "answer";
    this.#remoteSdp = description.sdp;
    return [{ do: "set-remote", description }];
  }

  /** @returns {Effect[]} */
  #afterRemoteSet() {
    this.#remoteSet = true;
    /** @type {Effect[]} */
    const effects = this.#held.map((candidate) => ({ do: "add-candidate", candidate }));
    this.#held = [];
    if (this.phase === "applying-offer") {
      const newer = this.#newerOffer();
      if (newer) return [...effects, ...newer];
      this.phase = "creating-answer";
      return [...effects, { do: "create-answer" }];
    }
    this.phase = "stable";
    return [...effects, ...this.#continue()];
  }

  /**
   * Sends the description before it is set: setting it starts the candidates, and clients rely on this order.
   * @param {Description} description @returns {Effect[]}
   */
  #created(description) {
    if (this.phase === "creating-offer" && this.#yields()) {
      this.phase = "stable"; // so that #continue applies that offer
      return this.#continue();
    }
    const newer = this.phase === "creating-answer" && this.#newerOffer();
    if (newer) return newer;
    this.phase = this.phase === "creating-offer" ? "setting-offer" : "setting-answer";
    return [
      { do: "send", signal: { kind: "sdp", sdp: description } },
      { do: "set-local", description },
    ];
  }

  /**
   * Applies an offer that came before the previous one was answered, if there is one. Only the newest is answered,
   * because the peer takes any answer for one to its newest offer.
   * @returns {Effect[] | null}
   */
  #newerOffer() {
    const next = this.#inbox[0];
    if (next?.kind !== "sdp" || next.sdp.type !== "offer" || next.sdp.sdp === this.#remoteSdp) return null;
    this.#inbox.shift();
    return [...this.#take(next.sdp), ...this.#continue()];
  }

  /** Whether to drop our unsent offer, because the peer's offer came first. */
  #yields() {
    return !this.wins && this.#inbox.some((signal) => signal.kind === "sdp" && signal.sdp.type === "offer");
  }

  /** @returns {Effect[]} */
  #localSet() {
    this.phase = this.phase === "setting-offer" ? "offered" : "stable";
    return this.#continue();
  }

  /** @param {string} reason @returns {Effect[]} */
  #fail(reason) {
    if (this.phase === "failed") return [];
    this.phase = "failed";
    return [{ do: "fail", reason }, ...this.#continue()];
  }

  /**
   * Starts over with a new connection, because GStreamer can neither restart ICE nor reuse a webrtcbin. The peer's
   * signals for the old connection are dropped, except those after `offer`.
   * @param {Description | null} offer @returns {Effect[]}
   */
  #reset(offer = null) {
    this.round += 1;
    this.phase = "new";
    this.#held = [];
    this.#remoteSdp = null;
    this.#remoteSet = false;
    this.#candidates = 0;
    this.#wantsOffer = false;
    if (!offer) this.#inbox = [];
    return [{ do: "reset" }];
  }
}

/** The first certificate's fingerprint in a session description. @param {string} sdp */
export function fingerprint(sdp) {
  return /^a=fingerprint:(.*)$/im.exec(sdp)?.[1].trim().toUpperCase() ?? "";
}
