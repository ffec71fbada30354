// @ts-check
// One peer: its RTCPeerConnection, from creation to close. It carries out what its Negotiation decides.

import { MAX_WAITING, Negotiation } from "./negotiation.js";
import { preferred } from "./quality.js";
import { keyOf } from "./resume.js";
import { readStats, received } from "./stats.js";
import { now, within } from "./time.js";
import { Trail } from "./trail.js";
import { Views } from "./views.js";

/**
 * @typedef {import("./protocol.js").Signal} Signal
 * @typedef {import("./media.js").Kind} Kind
 * @typedef {"connecting" | "connected" | "interrupted" | "failed" | "closed"} PeerState
 * @typedef {"no-answer" | "no-offer" | "no-path" | "lost" | "disagreement"} Failure
 * @typedef {object} PeerEvents
 * @property {(signal: Signal) => void} signal to send to the peer
 * @property {() => void} changed after a change of state, tracks or data channel
 * @property {(text: string) => void} chat
 * @property {(text: string | null) => void} control a text on the channel of the peer's controls; null: it is closed
 */

/** Deadline to connect once the peer takes part (`answered`). */
const CONNECT_DEADLINE_MS = 20_000;
/** Deadline for a person's answer: a page rings for 30 s (calls.js). */
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
/** The label of the channel on which a peer may declare controls (docs/controls.md). */
const CONTROLS = "controls";
/** Most bytes of controls that wait before more are sent: what is late is of no use. */
const MAX_CONTROL_BUFFER = 4096;
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
  /** @type {import("./check/servers.js").Words | null} Which step failed, if there was no path. */ detail = null;
  /** Whether the peer has ended the connection (a DTLS alert): without a server, that is how it hangs up. */ hungUp = false;
  /** Whether the peer takes part. Before that, a person may have to accept the call. */ answered = false;
  /** The peer's media; each connection has new streams. */
  views = new Views();
  /** @type {import("./stats.js").Stats | null} */ stats = null;

  /** @type {RTCPeerConnection | null} */ #connection = null;
  /** @type {Set<RTCDataChannel>} */ #channels = new Set();
  /** @type {RTCDataChannel | null} That of the peer's controls. */ #controls = null;
  /** @type {import("./stats.js").Sample | null} */ #sample = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #deadline;
  /** @type {Signal[] | null} Signals that arrive before our own devices are known. */ #early = [];
  #trail = new Trail();
  /** @type {RTCRtpTransceiver | null} That of a screen beside the camera. */ #screen = null;
  /** Whether the peer takes no m-line for it. */ #refusesScreen = false;
  /** Whether the user has preferred a codec on this connection. */ #prefers = false;
  /** Whether the peer's videos are wanted. */ #receives = true;
  #peers = 1;
  #keepSize = true;
  /** @type {number | null} Since when there has been no path to the connected peer. */ #lostAt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #healing;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #healLater;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #keepSizeTimer;

  /**
   * @param {string} uid
   * @param {{offers: boolean, rings: boolean, cameras: number, later: boolean, media: import("./outgoing.js").Outgoing, ice: import("./ice.js").IceServers}} how
   *   `rings`: we called, and a person may have to accept; `cameras`: how many videos our offer asks for;
   *   `later`: the peer takes offers during a call, as the user says; peers that can resume a call always do
   * @param {PeerEvents} events
   */
  constructor(uid, { offers, rings, cameras, later, media, ice }, events) {
    this.uid = uid;
    this.cameras = cameras;
    this.later = later;
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
    await within(Promise.all([this.media.ready, this.ice.ready]), DEVICES_DEADLINE_MS);
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
    // Browsers drop the attribute from the description that they keep.
    if (signal.kind === "sdp" && keyOf(signal.sdp.sdp) !== null) this.later = true;
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

  /** Whether messages of the user's controls may be sent now: not while too many of them wait. */
  get takesControls() {
    return this.#controls?.readyState === "open" && this.#controls.bufferedAmount <= MAX_CONTROL_BUFFER;
  }

  /** Sends a message of the user's controls, if the peer `takesControls`. @param {string} text */
  sendControl(text) {
    if (this.#controls?.readyState === "open") this.#controls.send(text);
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

  /** Whether the peer is a server of media, as its description says (ICE lite); null before that. */
  get isLite() {
    const description = this.#connection?.remoteDescription;
    return description ? /^a=ice-lite/m.test(description.sdp) : null;
  }

  /** Whether the peer takes our video, as negotiated; null before that. */
  get takesVideo() {
    if (!this.#connection?.currentRemoteDescription) return null;
    const videos = this.#connection.getTransceivers().filter(({ receiver }) => receiver.track.kind === "video");
    return videos.some(({ currentDirection }) => currentDirection === "sendrecv" || currentDirection === "sendonly");
  }

  /** The peer's present audio level, linear from 0 to 1. */
  get level() {
    const receiver = this.#connection?.getReceivers().find(({ track }) => track.kind === "audio");
    if (!receiver || receiver.track.muted) return 0; // no sound comes, as negotiated
    return receiver.getSynchronizationSources()[0]?.audioLevel ?? this.stats?.audioIn?.level ?? 0;
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
    const { stats, sample, videos } = readStats(report.values(), this.#sample, this.views.tracks);
    this.stats = stats;
    this.#sample = sample;
    this.views.list.forEach(({ picture }, i) => {
      const [of, shown] = [videos[i], stats.videos[i]];
      picture.stats(now(), { framesDecoded: of.framesDecoded, report: of.report, roundTrip: stats.rttMs });
      if (shown) shown.ageMs = picture.takeAge();
    });
  }

  /** Looks whether new frames have come. */
  lookAtPictures() {
    for (const view of this.views.list) view.look(now());
  }

  /** The state of the first picture. */
  get picture() {
    return this.views.first.picture;
  }

  /** Sends the tracks of our present devices and screen. */
  async updateTracks() {
    const connection = this.#connection;
    if (!connection || this.negotiation.phase === "new") return;
    let renegotiate = false;
    for (const kind of KINDS) {
      const transceiver = this.#transceiver(connection, kind);
      const track = this.#trackFor(kind);
      if (!transceiver || transceiver.sender.track === track) continue;
      await transceiver.sender.replaceTrack(track).catch(() => {});
      if (!track || transceiver.direction.startsWith("send") || transceiver.mid === null) continue;
      transceiver.direction = "sendrecv"; // the first device of this kind: only that needs a new offer
      transceiver.sender.setStreams(this.media.stream);
      renegotiate = true;
    }
    if (connection !== this.#connection) return;
    if (this.#updateScreen(connection)) renegotiate = true;
    if (renegotiate) this.#handle({ type: "renegotiate" });
    await this.limit(this.#peers);
  }

  /** @param {Kind} kind */
  #trackFor(kind) {
    const isRefused = kind === "video" && this.#refusesScreen && this.media.beside;
    return isRefused ? this.media.beside : this.media.track(kind);
  }

  /** Sends the screen on an m-line of its own. Returns whether that takes an offer. @param {RTCPeerConnection} connection */
  #updateScreen(connection) {
    const track = this.media.beside;
    const screen = this.#screen;
    if (!screen) {
      if (track) this.#screen = connection.addTransceiver(track, { direction: "sendonly", streams: [this.media.screenStream] });
      return track !== null;
    }
    if (screen.sender.track !== track) void screen.sender.replaceTrack(track).catch(() => {});
    const direction = track ? "sendonly" : "inactive";
    if (!track) this.#refusesScreen = false;
    if (screen.direction === direction || screen.direction === "stopped") return false;
    screen.direction = direction;
    return true;
  }

  /** After a negotiation: a peer that takes no further m-line gets the screen instead of the camera. */
  #lookAtScreen() {
    const screen = this.#screen;
    if (screen?.sender.track && screen.direction !== "inactive") this.#refusesScreen = !["sendonly", "sendrecv"].includes(screen.currentDirection ?? "");
  }

  /** The user prefers another codec. */
  changeCodec() {
    if (!this.#connection) return;
    this.#preferCodec(this.#connection);
    this.#handle({ type: "renegotiate" });
  }

  /** The codec that the user prefers comes first. It has to be before an offer or answer. @param {RTCPeerConnection} connection */
  #preferCodec(connection) {
    const { codec } = this.media.quality;
    const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
    if (!codec && !this.#prefers) return;
    this.#prefers = true;
    for (const transceiver of connection.getTransceivers()) {
      if (transceiver.receiver.track.kind !== "video" || transceiver.direction === "stopped") continue;
      try {
        transceiver.setCodecPreferences?.(codec ? preferred(codecs, codec) : []);
      } catch {
        // The browser lacks it: the codec stays as agreed.
      }
    }
  }

  /**
   * Asks for the peer's videos, or for none of them (RFC 3264, section 8.4). That takes an offer, which not every peer takes
   * during a call.
   * @param {boolean} receives
   */
  receiveVideo(receives) {
    this.#receives = receives;
    const connection = this.#connection;
    if (!connection || this.negotiation.phase !== "stable" || !this.later) return;
    const { paused } = this.views;
    let renegotiate = false;
    for (const transceiver of connection.getTransceivers().filter(({ receiver, mid }) => receiver.track.kind === "video" && mid !== null)) {
      const wanted = turned(transceiver, receives, paused.has(transceiver));
      if (wanted === transceiver.direction) continue;
      if (receives) paused.delete(transceiver);
      else paused.add(transceiver);
      transceiver.direction = wanted;
      renegotiate = true;
    }
    if (renegotiate) this.#handle({ type: "renegotiate" });
  }

  /** Limits the video sent to this peer. @param {number} peers the number of peers that share the camera */
  async limit(peers) {
    this.#peers = peers;
    for (const sender of this.#connection?.getSenders() ?? []) {
      const { track } = sender;
      if (!track) continue;
      const parameters = sender.getParameters();
      const { encoding, degradation } = this.media.encoding(track, peers);
      if (!parameters.encodings?.length) continue;
      Object.assign(parameters.encodings[0], encoding);
      if (track.kind === "video") {
        parameters.degradationPreference = this.#keepSize ? "maintain-resolution" : degradation;
        chooseCodec(parameters, this.media.quality.codec);
      }
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
          this.#trail.heard(effect.description.sdp);
          if (effect.description.type === "offer") this.#prepareAnswer(connection);
          await connection.setRemoteDescription(effect.description);
          return { type: "remote-set" };
        });
      case "add-candidate":
        this.#trail.heard(effect.candidate.candidate);
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
      if (this.negotiation.phase !== "stable") return;
      this.#lookAtScreen();
      void this.updateTracks();
      this.receiveVideo(this.#receives);
      this.events.changed(); // directions may have changed
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
      if (current()) this.#trail.gathered(candidate?.type);
      if (current()) this.#handle({ type: "local-candidate", candidate: candidateInit(candidate), round });
    };
    connection.onicecandidateerror = ({ url, errorCode }) => current() && this.#trail.failed(url, errorCode);
    connection.onconnectionstatechange = () => current() && this.#connectionState(connection.connectionState);
    connection.ontrack = (event) => {
      if (!current()) return;
      if (this.views.add(event)) event.track.onmute = event.track.onunmute = () => current() && this.events.changed();
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
    if (!this.#controls) this.#adopt(connection.createDataChannel(CONTROLS, { protocol: DATA_PROTOCOL }));
    this.#addTracks(connection);
    for (const kind of KINDS) {
      if (!this.#transceiver(connection, kind)) connection.addTransceiver(kind, { direction: "recvonly" });
    }
    this.#prepareCameras(connection);
    this.#updateScreen(connection);
    this.#preferCodec(connection);
    offerCaptureTimes(connection);
  }

  /** The first offer has an m-line for each camera that the peer may have. @param {RTCPeerConnection} connection */
  #prepareCameras(connection) {
    const videos = connection.getTransceivers().filter(({ receiver }) => receiver.track.kind === "video").length;
    const isFirst = connection.localDescription === null && connection.remoteDescription === null;
    for (let n = videos; isFirst && n < this.cameras; n += 1) connection.addTransceiver("video", { direction: "recvonly" });
  }

  /** @param {RTCPeerConnection} connection */
  #prepareAnswer(connection) {
    if (connection.remoteDescription === null) this.#addTracks(connection);
    this.#preferCodec(connection);
  }

  /** @param {RTCPeerConnection} connection */
  #addTracks(connection) {
    for (const kind of KINDS) {
      const track = this.media.track(kind);
      if (track && !this.#transceiver(connection, kind)) connection.addTrack(track, this.media.stream);
    }
  }

  /**
   * The negotiated transceiver, if there is one. There may be another one without an m-line in the peer's offer.
   * @param {RTCPeerConnection} connection @param {Kind} kind
   */
  #transceiver(connection, kind) {
    const all = connection.getTransceivers().filter((it) => it.receiver.track.kind === kind && it.direction !== "stopped" && it !== this.#screen);
    return all.find(({ mid }) => mid !== null) ?? all[0];
  }

  /** @param {RTCDataChannel} channel */
  #adopt(channel) {
    // Joined to something else at the other side, and not for texts.
    if (channel.protocol === DATA_PROTOCOL) return channel.label === CONTROLS ? this.#adoptControls(channel) : undefined;
    this.#channels.add(channel);
    channel.onopen = () => this.events.changed();
    channel.onclose = () => {
      this.#channels.delete(channel);
      this.events.changed();
    };
    channel.onmessage = ({ data }) => typeof data === "string" && this.events.chat(data.slice(0, MAX_CHAT_LENGTH));
  }

  /** @param {RTCDataChannel} channel */
  #adoptControls(channel) {
    if (this.#controls) return;
    this.#controls = channel;
    channel.onmessage = ({ data }) => typeof data === "string" && this.events.control(data);
    channel.onclose = () => {
      this.#controls = null;
      this.events.control(null);
    };
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
    this.views = new Views();
    this.stats = null;
    this.#sample = null;
    this.hungUp = false;
    this.#trail = new Trail();
    this.#startDeadline();
    this.#become("connecting");
  }

  /** @param {Failure} reason */
  #fail(reason) {
    clearTimeout(this.#deadline);
    this.detail = reason === "no-path" ? this.#whyNoPath() : null;
    this.#closeConnection();
    this.reason = reason;
    this.#become("failed");
  }

  #whyNoPath() {
    const servers = (this.ice.configuration.iceServers ?? []).flatMap(({ urls }) => urls);
    const state = this.#connection?.iceConnectionState;
    return this.#trail.why(servers, state === "connected" || state === "completed");
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
    if (this.#controls) this.#controls.onmessage = this.#controls.onclose = null;
    if (this.#controls && this.state !== "closed") this.events.control(null);
    this.#controls = null;
    clearTimeout(this.#keepSizeTimer);
    this.#keepSizeTimer = undefined;
    this.#keepSize = true;
    this.#screen = null;
    this.#refusesScreen = this.#prefers = false;
    const connection = this.#connection;
    this.#connection = null;
    if (!connection) return;
    connection.close();
    open.delete(connection);
  }
}

/**
 * Sends with this codec if it is agreed, else with the first that is. Not every browser can choose.
 * @param {any} parameters of a sender; the types of TypeScript lack `codec` @param {string} name may be empty
 */
function chooseCodec({ encodings: [encoding], codecs = [] }, name) {
  const [first] = preferred(/** @type {{mimeType: string}[]} */ (codecs), name);
  if (name && first?.mimeType.toLowerCase() === `video/${name.toLowerCase()}`) encoding.codec = first;
  else delete encoding.codec;
}

/**
 * The direction of a transceiver with or without receiving. Only what we have paused begins again.
 * @param {RTCRtpTransceiver} transceiver @param {boolean} receives @param {boolean} isPaused @returns {RTCRtpTransceiverDirection}
 */
function turned({ direction, currentDirection }, receives, isPaused) {
  const sends = direction.startsWith("send");
  if (receives) return isPaused ? (sends ? "sendrecv" : "recvonly") : direction;
  const comes = currentDirection === "sendrecv" || currentDirection === "recvonly";
  return comes ? (sends ? "sendonly" : "inactive") : direction;
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
