// @ts-check
// One peer: its RTCPeerConnection, from creation to close. It carries out what its Negotiation decides.

import { AUDIO_BITRATE, videoEncoding } from "./bitrate.js";
import { MAX_WAITING, Negotiation } from "./negotiation.js";
import { Picture } from "./picture.js";
import { readStats, received } from "./stats.js";

/**
 * @typedef {import("./protocol.js").Signal} Signal
 * @typedef {import("./media.js").Kind} Kind
 * @typedef {"connecting" | "connected" | "interrupted" | "failed" | "closed"} PeerState
 * @typedef {"no-answer" | "no-offer" | "no-path" | "lost" | "disagreement"} Failure
 * @typedef {object} PeerEvents
 * @property {(signal: Signal) => void} signal to send to the peer
 * @property {() => void} changed after a change of state, tracks or data channel
 * @property {(text: string) => void} chat
 */

/** Deadline to connect once the peer takes part (`answered`). */
const CONNECT_DEADLINE_MS = 20_000;
/** Deadline for a person's answer: a page rings for 30 s (main.js). */
const ANSWER_DEADLINE_MS = 45_000;
/** How long a lost path may take to come back, as with `callbin` (docs/networks.md). */
const HEAL_MS = 120_000;
/** How long the side that does not win if both offer leaves the new offer to the other side. */
const HEAL_SECOND_MS = 1000;
/** How long the peer waits while the browser asks our user for camera and microphone. */
const DEVICES_DEADLINE_MS = 15_000;
/**
 * How long the browser must keep the picture's size at the start. It starts with an estimate of 300 kbit/s and a small
 * picture; within a second it knows the path's bandwidth, but it takes half a minute to enlarge the picture.
 */
const KEEP_SIZE_MS = 5000;
const MAX_CHAT_LENGTH = 4000;
/** The protocol of data channels that carry no texts. */
const DATA_PROTOCOL = "callbin-data";
/** Most bytes buffered for a peer that does not read its data channel. */
const MAX_CHAT_BUFFER = 1 << 20;
/** @type {Kind[]} */
const KINDS = ["audio", "video"];

/** @type {Set<RTCPeerConnection>} */
const open = new Set();

/** The number of open RTCPeerConnections; 0 after a call. */
export function openConnections() {
  return open.size;
}

export class Peer {
  /** @type {PeerState} */ state = "connecting";
  /** @type {Failure | null} Why it failed. */ reason = null;
  /** Whether the peer has ended the connection (a DTLS alert): without a server, that is how it hangs up. */ hungUp = false;
  /** Whether the peer takes part. Before that, a person may have to accept the call. */ answered = false;
  /** The peer's media; each connection has a new stream. */
  stream = new MediaStream();
  /** @type {import("./stats.js").Stats | null} */ stats = null;
  /** Whether new frames arrive, and how old they are. */
  picture = new Picture();

  /** @type {RTCPeerConnection | null} */ #connection = null;
  /** @type {Set<RTCDataChannel>} */ #channels = new Set();
  /** @type {import("./stats.js").Sample | null} */ #sample = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #deadline;
  /** @type {Signal[] | null} Signals that arrive before our own devices are known. */ #early = [];
  #peers = 1;
  #keepSize = true;
  /** @type {number | null} Since when there has been no path to the connected peer. */ #lostAt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #healing;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #healLater;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #keepSizeTimer;

  /**
   * @param {string} uid
   * @param {{offers: boolean, rings: boolean, media: import("./media.js").Media, ice: import("./ice.js").IceServers}} how
   *   `rings`: we called, and a person may have to accept
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
   * Starts once the devices are known, or after a deadline: an earlier offer would lack their media. A device that
   * comes later needs a renegotiation, which not every peer supports.
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

  /** Tries again with a new connection. */
  retry() {
    if (!this.#early) this.#handle({ type: "retry" });
  }

  /**
   * The session is back: replaces a lost connection. An offer before may have been lost with the former session. The side
   * that would win if both offered begins, as with `callbin`; the other side follows if it does not.
   */
  heal() {
    if (this.#lostAt === null || this.state === "interrupted") return;
    const { wins, round } = this.negotiation;
    clearTimeout(this.#healLater);
    this.#healLater = setTimeout(() => round === this.negotiation.round && this.retry(), wins ? 0 : HEAL_SECOND_MS);
  }

  close() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#healing);
    clearTimeout(this.#healLater);
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

  /** Whether a data channel is open. */
  get hasChat() {
    return [...this.#channels].some(({ readyState }) => readyState === "open");
  }

  /** Whether media flow, or may flow again by themselves. */
  get flows() {
    return (this.state === "connected" || this.state === "interrupted") && !this.hungUp;
  }

  /** Whether the path is lost, and may come back in time. */
  get heals() {
    return this.#lostAt !== null && !this.hungUp && performance.now() - this.#lostAt < HEAL_MS;
  }

  /** Whether the peer sends media. */
  get receivesMedia() {
    const directions = this.#connection?.getTransceivers().map((transceiver) => transceiver.currentDirection) ?? [];
    return directions.some((direction) => direction === "sendrecv" || direction === "recvonly");
  }

  /** The peer's present audio level, linear from 0 to 1. */
  get level() {
    const receiver = this.#connection?.getReceivers().find(({ track }) => track.kind === "audio");
    return receiver?.getSynchronizationSources()[0]?.audioLevel ?? this.stats?.audioIn?.level ?? 0;
  }

  /** What has arrived from the peer so far: bytes, and checks of the path. */
  async received() {
    const report = await this.#connection?.getStats().catch(() => null);
    return report ? received(report.values()) : 0;
  }

  async updateStats() {
    const connection = this.#connection;
    if (!connection) return;
    const report = await connection.getStats().catch(() => null);
    if (!report || connection !== this.#connection) return;
    const { stats, sample, report: senderReport } = readStats(report.values(), this.#sample);
    this.stats = stats;
    this.#sample = sample;
    this.picture.stats(now(), { framesDecoded: sample.framesIn, report: senderReport, roundTrip: stats.rttMs });
    if (stats.videoIn) stats.videoIn.ageMs = this.picture.takeAge();
  }

  /** Looks whether a new frame has come. */
  lookAtPicture() {
    const receiver = this.#connection && transceiverFor(this.#connection, "video")?.receiver;
    // A track is muted while the negotiated direction says that nothing comes.
    this.picture.look(now(), receiver?.getSynchronizationSources()[0], receiver?.track.muted === false);
  }

  /** Sends the tracks of our present devices. */
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
      transceiver.direction = "sendrecv"; // the first device of this kind: only that needs a new offer
      transceiver.sender.setStreams(this.media.stream);
      renegotiate = true;
    }
    if (connection !== this.#connection) return;
    if (renegotiate) this.#handle({ type: "renegotiate" });
    await this.limit(this.#peers);
  }

  /** Limits the video sent to this peer. @param {number} peers the number of peers that share the camera */
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
      // Browsers refuse this during a negotiation; it is repeated afterwards.
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
        // An unusable candidate (nonsense, or of an offer that lost a glare) does not end the call.
        return void this.#connection?.addIceCandidate(effect.candidate).catch(() => {});
      case "reset":
        return this.#reset();
      case "fail":
        return this.#fail(/** @type {Failure} */ (effect.reason));
    }
  }

  /**
   * Runs one operation and passes its result to the negotiation. `round` marks results of a connection that was
   * replaced meanwhile.
   * @param {(connection: RTCPeerConnection) => Promise<{type: "created", description: any} | {type: "local-set"} | {type: "remote-set"}>} operation
   */
  async #operate(operation) {
    const { round } = this.negotiation;
    try {
      const event = await operation(this.#need());
      this.#handle({ ...event, round });
      if (this.negotiation.phase === "stable") void this.updateTracks();
    } catch (error) {
      // For developers: users do not understand the browser's message.
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

  /** Creates the connection; if the browser rejects the ICE servers, without them. */
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
      clearTimeout(this.#healing);
      this.#lostAt = null;
      this.#handle({ type: "connected" });
      this.#become("connected");
      void this.limit(this.#peers);
      this.#watchTransport();
      this.#keepSizeTimer ??= setTimeout(() => {
        this.#keepSize = false;
        void this.limit(this.#peers);
      }, KEEP_SIZE_MS);
    } else if (state === "disconnected") {
      this.#lost();
      this.#become("interrupted");
    } else if (state === "failed") {
      const wasConnected = this.state === "interrupted" || this.state === "connected";
      if (wasConnected) this.#lost();
      this.#handle({ type: "give-up", reason: wasConnected ? "lost" : "no-path" });
    }
  }

  #lost() {
    if (this.#lostAt !== null) return;
    this.#lostAt = performance.now();
    this.#healing = setTimeout(() => this.events.changed(), HEAL_MS);
  }

  /** Notices that the peer ends the connection, which `connectionState` does not show. */
  #watchTransport() {
    const connection = this.#connection;
    const transport = connection?.getReceivers()[0]?.transport ?? connection?.sctp?.transport;
    if (!transport) return;
    transport.onstatechange = () => {
      if (transport.state !== "closed" || connection !== this.#connection) return;
      this.hungUp = true;
      this.events.changed();
    };
  }

  /**
   * Creates the data channel before the offer, because GStreamer needs that. Adds tracks instead of transceivers, so
   * that they are paired with the peer's m-lines if the peer's offer wins.
   * @param {RTCPeerConnection} connection
   */
  #prepareOffer(connection) {
    if (this.#channels.size === 0) this.#adopt(connection.createDataChannel("chat"));
    this.#addTracks(connection);
    for (const kind of KINDS) {
      if (!transceiverFor(connection, kind)) connection.addTransceiver(kind, { direction: "recvonly" });
    }
    offerCaptureTimes(connection);
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
    // Joined to something else at the other side, and not for texts.
    if (channel.protocol === DATA_PROTOCOL) return;
    this.#channels.add(channel);
    channel.onopen = () => this.events.changed();
    channel.onclose = () => {
      this.#channels.delete(channel);
      this.events.changed();
    };
    channel.onmessage = ({ data }) => typeof data === "string" && this.events.chat(data.slice(0, MAX_CHAT_LENGTH));
  }

  /** The peer takes part: from now on no person has to act, and the shorter deadline counts. */
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
    this.picture = new Picture();
    this.hungUp = false;
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

/** Milliseconds since 1970, by the clock of the statistics. */
function now() {
  return performance.timeOrigin + performance.now();
}

/**
 * `null` means end of candidates, which is an empty candidate on the wire; some browsers emit that one, too.
 * @param {RTCIceCandidate | null} candidate @returns {import("./protocol.js").Candidate}
 */
function candidateInit(candidate) {
  const { candidate: text = "", sdpMid = "0", sdpMLineIndex = 0, usernameFragment } = candidate?.toJSON() ?? {};
  return { candidate: text, sdpMid, sdpMLineIndex: sdpMLineIndex ?? 0, usernameFragment };
}

const CAPTURE_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/**
 * Browsers answer this header extension, and offer it only if a page wants that. It is not in all of them, nor in the types.
 * @param {RTCPeerConnection} connection
 */
function offerCaptureTimes(connection) {
  for (const transceiver of /** @type {any[]} */ (connection.getTransceivers())) {
    const all = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
    for (const extension of all) if (extension.uri === CAPTURE_TIME) extension.direction = "sendrecv";
    transceiver.setHeaderExtensionsToNegotiate?.(all);
  }
}

/**
 * The negotiated transceiver, if there is one. There may be another one without an m-line in the peer's offer.
 * @param {RTCPeerConnection} connection @param {Kind} kind
 */
function transceiverFor(connection, kind) {
  const all = connection.getTransceivers().filter(({ receiver, direction }) => receiver.track.kind === kind && direction !== "stopped");
  return all.find(({ mid }) => mid !== null) ?? all[0];
}
