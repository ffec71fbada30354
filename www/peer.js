// @ts-check
// One peer: its RTCPeerConnection, from birth to end. What to do when is the Negotiation's to say.

import { AUDIO_BITRATE, videoEncoding } from "./bitrate.js";
import { MAX_WAITING, Negotiation } from "./negotiation.js";
import { readStats } from "./stats.js";

/**
 * @typedef {import("./protocol.js").Signal} Signal
 * @typedef {import("./media.js").Kind} Kind
 * @typedef {"connecting" | "connected" | "interrupted" | "failed" | "closed"} PeerState
 * @typedef {"no-answer" | "no-offer" | "no-path" | "lost" | "disagreement"} Failure
 * @typedef {object} PeerEvents
 * @property {(signal: Signal) => void} signal to be sent to the peer
 * @property {() => void} changed state, tracks or channel did
 * @property {(text: string) => void} chat
 */

/** From the agreement to the first packet, and for a program's answer to an offer. */
const CONNECT_DEADLINE_MS = 20_000;
/** For a person's answer: a page rings for 30 s (main.js). */
const ANSWER_DEADLINE_MS = 45_000;
/** How long the peer is kept waiting while the browser asks our user for camera and microphone. */
const DEVICES_DEADLINE_MS = 15_000;
/**
 * A browser begins with a guess of 300 kbit/s and a picture as small as that, and takes half a minute to make it
 * larger, although it knows within a second what the path can carry. For so long it has to keep the size.
 */
const KEEP_SIZE_MS = 5000;
const MAX_CHAT_LENGTH = 4000;
/** A peer that doesn't read its data channel gets no more than this. */
const MAX_CHAT_BUFFER = 1 << 20;
/** @type {Kind[]} */
const KINDS = ["audio", "video"];

/** @type {Set<RTCPeerConnection>} */
const open = new Set();

/** How many RTCPeerConnections are open. A call that ended leaves none. */
export function openConnections() {
  return open.size;
}

export class Peer {
  /** @type {PeerState} */ state = "connecting";
  /** @type {Failure | null} Why it failed. */ reason = null;
  /** Whether the peer has agreed to talk: before that, a person may have to. */ answered = false;
  /** What the peer sends. A new one with each connection. */
  stream = new MediaStream();
  /** @type {import("./stats.js").Stats | null} */ stats = null;
  /** Whether pictures arrive: a camera that is off or was never there sends none. */
  videoLive = false;

  /** @type {RTCPeerConnection | null} */ #connection = null;
  /** @type {Set<RTCDataChannel>} */ #channels = new Set();
  /** @type {import("./stats.js").Sample | null} */ #sample = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #deadline;
  /** @type {Signal[] | null} What arrives before our own devices are known. */ #early = [];
  #peers = 1;
  #keepSize = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #keepSizeTimer;

  /**
   * @param {string} uid
   * @param {{offers: boolean, rings: boolean, media: import("./media.js").Media, ice: import("./ice.js").IceServers}} how
   *   `rings`: we called, and wait for somebody to accept
   * @param {PeerEvents} events
   */
  constructor(uid, { offers, rings, media, ice }, events) {
    this.uid = uid;
    this.offers = offers;
    this.answered = !rings;
    this.media = media;
    this.ice = ice;
    this.events = events;
    this.negotiation = new Negotiation({ offers });
    void this.#begin();
  }

  /**
   * An offer made before the devices are known would promise less than we have. What comes too late is
   * negotiated afterwards, which not every peer can.
   */
  async #begin() {
    const late = new Promise((done) => setTimeout(done, DEVICES_DEADLINE_MS));
    await Promise.race([Promise.all([this.media.ready, this.ice.ready]), late]);
    if (this.state === "closed") return;
    this.#startDeadline();
    const early = this.#early ?? [];
    this.#early = null;
    this.#handle({ type: "start" });
    for (const signal of early) this.receive(signal);
  }

  /** @param {Signal} signal */
  receive(signal) {
    if (signal.kind === "sdp" && !this.answered) this.#agreed();
    if (!this.#early) this.#handle({ type: "signal", signal });
    else if (this.#early.length < MAX_WAITING) this.#early.push(signal);
  }

  /** Another attempt, with another connection. */
  retry() {
    if (!this.#early) this.#handle({ type: "retry" });
  }

  close() {
    clearTimeout(this.#deadline);
    this.negotiation.handle({ type: "close" });
    this.#closeConnection();
    this.state = "closed";
  }

  /** @param {string} text @returns {boolean} whether it could be sent */
  sendChat(text) {
    const channel = [...this.#channels].find(({ readyState }) => readyState === "open");
    if (!channel || channel.bufferedAmount > MAX_CHAT_BUFFER) return false;
    channel.send(text);
    return true;
  }

  /** Whether the peer can be written to. */
  get hasChat() {
    return [...this.#channels].some(({ readyState }) => readyState === "open");
  }

  /** How loud the peer is right now, linear from 0 to 1. */
  get level() {
    const receiver = this.#connection?.getReceivers().find(({ track }) => track.kind === "audio");
    return receiver?.getSynchronizationSources()[0]?.audioLevel ?? this.stats?.audioIn?.level ?? 0;
  }

  async updateStats() {
    const connection = this.#connection;
    if (!connection) return;
    const report = await connection.getStats().catch(() => null);
    if (!report || connection !== this.#connection) return;
    const before = this.#sample?.framesIn ?? 0;
    const { stats, sample } = readStats(report.values(), this.#sample);
    this.stats = stats;
    this.#sample = sample;
    this.videoLive = sample.framesIn > before;
  }

  /** Our devices changed: the call goes on with what there is now. */
  async updateTracks() {
    const connection = this.#connection;
    if (!connection || this.negotiation.phase === "new") return;
    let renegotiate = false;
    for (const kind of KINDS) {
      const transceiver = transceiverFor(connection, kind);
      const track = this.media.track(kind);
      if (!transceiver || transceiver.sender.track === track) continue;
      await transceiver.sender.replaceTrack(track).catch(() => {});
      if (!track || transceiver.direction.startsWith("send") || transceiver.mid === null) continue;
      transceiver.direction = "sendrecv"; // a device where there was none: only that needs an offer
      transceiver.sender.setStreams(this.media.stream);
      renegotiate = true;
    }
    if (connection !== this.#connection) return;
    if (renegotiate) this.#handle({ type: "renegotiate" });
    await this.limit(this.#peers);
  }

  /** Shares the camera fairly. @param {number} peers how many it is sent to */
  async limit(peers) {
    this.#peers = peers;
    for (const sender of this.#connection?.getSenders() ?? []) {
      const { track } = sender;
      if (!track) continue;
      const parameters = sender.getParameters();
      const encoding = track.kind === "video" ? videoEncoding(peers, track.getSettings()) : { maxBitrate: AUDIO_BITRATE };
      if (!parameters.encodings?.length) continue;
      Object.assign(parameters.encodings[0], encoding);
      if (track.kind === "video") parameters.degradationPreference = this.#keepSize ? "maintain-resolution" : "balanced";
      // Refused while a negotiation is under way; asked again when that is done.
      await sender.setParameters(parameters).catch(() => {});
    }
  }

  /** @param {import("./negotiation.js").Event} event */
  #handle(event) {
    for (const effect of this.negotiation.handle(event)) this.#run(effect);
  }

  /** @param {import("./negotiation.js").Effect} effect */
  #run(effect) {
    switch (effect.do) {
      case "send":
        return this.events.signal(effect.signal);
      case "create-offer":
        return this.#operate(async (connection) => {
          this.#prepareOffer(connection);
          return this.#created(await connection.createOffer());
        });
      case "create-answer":
        return this.#operate(async (connection) => this.#created(await connection.createAnswer()));
      case "set-local":
        return this.#operate(async (connection) => {
          await connection.setLocalDescription(effect.description);
          return { type: "local-set" };
        });
      case "set-remote":
        return this.#operate(async (connection) => {
          if (effect.description.type === "offer") this.#prepareAnswer(connection);
          await connection.setRemoteDescription(effect.description);
          return { type: "remote-set" };
        });
      case "add-candidate":
        // One that can't be used (of an offer that lost a glare, or nonsense) is no reason to give up.
        return void this.#connection?.addIceCandidate(effect.candidate).catch(() => {});
      case "reset":
        return this.#reset();
      case "fail":
        return this.#fail(/** @type {Failure} */ (effect.reason));
    }
  }

  /**
   * Runs one operation and tells the negotiation how it ended. What a connection that was replaced meanwhile
   * has to say is told apart by its round.
   * @param {(connection: RTCPeerConnection) => Promise<{type: "created", description: any} | {type: "local-set"} | {type: "remote-set"}>} operation
   */
  async #operate(operation) {
    const { round } = this.negotiation;
    try {
      const event = await operation(this.#need());
      this.#handle({ ...event, round });
      if (this.negotiation.phase === "stable") void this.updateTracks();
    } catch (error) {
      // For developers. To everybody else the browser's own words say nothing.
      console.warn(`callbin: the negotiation with ${this.uid} failed:`, error);
      this.#handle({ type: "error", message: "disagreement", round });
    }
  }

  /** @param {RTCSessionDescriptionInit} description @returns {{type: "created", description: any}} */
  #created({ type, sdp }) {
    return { type: "created", description: { type, sdp: sdp ?? "" } };
  }

  /** @returns {RTCPeerConnection} */
  #need() {
    this.#connection ??= this.#connect();
    return this.#connection;
  }

  #connect() {
    const connection = this.#create();
    open.add(connection);
    const { round } = this.negotiation;
    const current = () => connection === this.#connection;
    connection.onicecandidate = ({ candidate }) => {
      if (current()) this.#handle({ type: "local-candidate", candidate: candidateInit(candidate), round });
    };
    connection.onconnectionstatechange = () => current() && this.#connectionState(connection.connectionState);
    connection.ontrack = ({ track }) => {
      if (!current()) return;
      this.stream.addTrack(track);
      this.events.changed();
    };
    connection.ondatachannel = ({ channel }) => current() && this.#adopt(channel);
    return connection;
  }

  /** ICE servers that the browser does not take after all must not cost the call. */
  #create() {
    const { configuration } = this.ice;
    try {
      return new RTCPeerConnection(configuration);
    } catch (error) {
      console.warn("callbin: the browser does not take the ICE servers:", error);
      return new RTCPeerConnection({ ...configuration, iceServers: [] });
    }
  }

  /** @param {RTCPeerConnectionState} state */
  #connectionState(state) {
    if (state === "connected") {
      clearTimeout(this.#deadline);
      this.#handle({ type: "connected" });
      this.#become("connected");
      void this.limit(this.#peers);
      this.#keepSizeTimer ??= setTimeout(() => {
        this.#keepSize = false;
        void this.limit(this.#peers);
      }, KEEP_SIZE_MS);
    } else if (state === "disconnected") {
      this.#become("interrupted");
    } else if (state === "failed") {
      this.#handle({ type: "give-up", reason: this.state === "interrupted" ? "lost" : "no-path" });
    }
  }

  /**
   * The data channel comes before the offer, for GStreamer. Tracks are added rather than transceivers, so that
   * they pair with the other side's if its offer wins.
   * @param {RTCPeerConnection} connection
   */
  #prepareOffer(connection) {
    if (this.#channels.size === 0) this.#adopt(connection.createDataChannel("chat"));
    this.#addTracks(connection);
    for (const kind of KINDS) {
      if (!transceiverFor(connection, kind)) connection.addTransceiver(kind, { direction: "recvonly" });
    }
  }

  /** @param {RTCPeerConnection} connection */
  #prepareAnswer(connection) {
    if (connection.remoteDescription === null) this.#addTracks(connection);
  }

  /** @param {RTCPeerConnection} connection */
  #addTracks(connection) {
    for (const kind of KINDS) {
      const track = this.media.track(kind);
      if (track && !transceiverFor(connection, kind)) connection.addTrack(track, this.media.stream);
    }
  }

  /** @param {RTCDataChannel} channel */
  #adopt(channel) {
    this.#channels.add(channel);
    channel.onopen = () => this.events.changed();
    channel.onclose = () => {
      this.#channels.delete(channel);
      this.events.changed();
    };
    channel.onmessage = ({ data }) => typeof data === "string" && this.events.chat(data.slice(0, MAX_CHAT_LENGTH));
  }

  /** From now on it is programs that take their time. */
  #agreed() {
    this.answered = true;
    if (!this.#early && this.state === "connecting") this.#startDeadline();
    this.events.changed();
  }

  #startDeadline() {
    clearTimeout(this.#deadline);
    const ms = this.answered ? CONNECT_DEADLINE_MS : ANSWER_DEADLINE_MS;
    this.#deadline = setTimeout(() => this.#handle({ type: "give-up", reason: this.#whyLate() }), ms);
  }

  /** @returns {Failure} */
  #whyLate() {
    if (this.#connection?.remoteDescription) return "no-path";
    return this.offers ? "no-answer" : "no-offer";
  }

  #reset() {
    this.#closeConnection();
    this.stream = new MediaStream();
    this.stats = null;
    this.#sample = null;
    this.videoLive = false;
    this.#startDeadline();
    this.#become("connecting");
  }

  /** @param {Failure} reason */
  #fail(reason) {
    clearTimeout(this.#deadline);
    this.#closeConnection();
    this.reason = reason;
    this.#become("failed");
  }

  /** @param {PeerState} state */
  #become(state) {
    if (this.state === "closed") return;
    this.state = state;
    if (state !== "failed") this.reason = null;
    this.events.changed();
  }

  #closeConnection() {
    for (const channel of this.#channels) channel.onopen = channel.onclose = channel.onmessage = null;
    this.#channels.clear();
    clearTimeout(this.#keepSizeTimer);
    this.#keepSizeTimer = undefined;
    this.#keepSize = true;
    const connection = this.#connection;
    this.#connection = null;
    if (!connection) return;
    connection.close();
    open.delete(connection);
  }
}

/**
 * Null is the end of all candidates, which the wire has as an empty one; some browsers emit that, too.
 * @param {RTCIceCandidate | null} candidate @returns {import("./protocol.js").Candidate}
 */
function candidateInit(candidate) {
  const { candidate: text = "", sdpMid = "0", sdpMLineIndex = 0, usernameFragment } = candidate?.toJSON() ?? {};
  return { candidate: text, sdpMid, sdpMLineIndex: sdpMLineIndex ?? 0, usernameFragment };
}

/**
 * The one that was negotiated, if any: there can be another that the peer's offer had no m-line for.
 * @param {RTCPeerConnection} connection @param {Kind} kind
 */
function transceiverFor(connection, kind) {
  const all = connection.getTransceivers().filter(({ receiver, direction }) => receiver.track.kind === kind && direction !== "stopped");
  return all.find(({ mid }) => mid !== null) ?? all[0];
}
