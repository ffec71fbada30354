// @ts-check
// What the connection test tries: devices, the WebSocket, STUN and TURN servers, a loop through the relay. Each probe has a
// deadline, closes what it opened, and returns what it found; verdicts.js judges that.

import { socketUrl } from "../endpoint.js";
import { errorCode } from "../media.js";
import { format, parseServerMessage } from "../protocol.js";
import { pause, within } from "../time.js";
import { subprotocols } from "../token.js";

const DEVICE_MS = 20_000;
const LISTEN_MS = 2000;
const SIGNALLING_MS = 15_000;
/** Browsers give a silent server up after 10 s. */
const SERVER_MS = 11_000;
const LOOP_MS = 15_000;
const PINGS = 5;
/** A measurement of the bandwidth ends after this time, or after these bytes: a user may pay for them. */
const BANDWIDTH_MS = 2000;
const BANDWIDTH_BYTES = 8 << 20;
const CHUNK = new Uint8Array(16 << 10);
const MAX_BUFFERED = 1 << 20;

/** @param {import("../media.js").Kind} kind */
export async function probeDevice(kind) {
  /** @type {MediaStream | null | undefined} */
  let stream;
  try {
    const { mediaDevices } = navigator;
    if (!mediaDevices) return { error: /** @type {const} */ ("insecure") };
    // A user who does not answer the browser's question has no device for now.
    const opened = mediaDevices.getUserMedia({ [kind]: true });
    stream = await within(opened, DEVICE_MS);
    if (!stream) {
      void opened.then(stop, () => {});
      return { error: /** @type {const} */ ("blocked") };
    }
    return { error: null, ...(kind === "video" ? await look(stream) : await listen(stream)) };
  } catch (error) {
    return { error: errorCode(error) };
  } finally {
    if (stream) stop(stream);
  }
}

/** @param {MediaStream} stream */
function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** @param {MediaStream} stream */
async function look(stream) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, srcObject: stream });
  const isShown = new Promise((done) => video.addEventListener("timeupdate", done, { once: true }));
  await within(Promise.all([video.play(), isShown]), LISTEN_MS);
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context?.drawImage(video, 0, 0, 64, 64);
  const pixels = [...(context?.getImageData(0, 0, 64, 64).data ?? [])];
  const brightness = pixels.reduce((most, value, i) => (i % 4 === 3 ? most : Math.max(most, value)), 0); // without opacity
  return { width, height, brightness };
}

/** Listens until there is a sound. @param {MediaStream} stream */
async function listen(stream) {
  const context = new AudioContext();
  try {
    await within(context.resume(), LISTEN_MS);
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let level = 0;
    for (const until = performance.now() + LISTEN_MS; level < 0.01 && performance.now() < until; await pause(50)) {
      analyser.getFloatTimeDomainData(samples);
      level = Math.max(level, ...samples.map(Math.abs));
    }
    // Firefox begins only when there is something to play on.
    return { level: context.state === "running" ? level : null };
  } finally {
    void context.close();
  }
}

/**
 * Registers at the server, and leaves.
 * @param {{server: string, token: string, id: string}} where
 * @returns {Promise<{ms: number | null, opened: boolean, reason: string}>} time until the registration, or the server's reason
 */
export async function probeSignalling({ server, token, id }) {
  const start = performance.now();
  let opened = false;
  /** @type {WebSocket | null} */
  let socket = null;
  const end = new Promise((/** @type {(end: {ms: number | null, reason: string}) => void} */ done) => {
    try {
      socket = new WebSocket(socketUrl(server), subprotocols(token));
    } catch (error) {
      return done({ ms: null, reason: "" });
    }
    socket.onopen = () => {
      opened = true;
      socket?.send(format.hello(id));
    };
    socket.onmessage = ({ data }) => {
      const message = typeof data === "string" ? parseServerMessage(data) : null;
      if (message?.verb === "HELLO") done({ ms: Math.round(performance.now() - start), reason: "" });
      else if (message?.verb === "ERROR") done({ ms: null, reason: message.text });
    };
    // The name may be ours in another tab: the server has answered, and that is what counts.
    socket.onclose = ({ code, reason }) => done({ ms: code === 1002 ? Math.round(performance.now() - start) : null, reason });
  });
  const found = (await within(end, SIGNALLING_MS)) ?? { ms: null, reason: "" };
  /** @type {WebSocket | null} */ (socket)?.close(1000);
  return { ...found, opened };
}

/**
 * Asks one server for an address.
 * @param {RTCIceServer} server @param {"srflx" | "relay"} type of the address
 * @returns {Promise<{ms: number | null, code: number | null}>} time until it gave one, or the code of its error; both null if
 *   the browser saw no error either
 */
export async function probeServer(server, type) {
  const connection = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: type === "relay" ? "relay" : "all" });
  const start = performance.now();
  /** @type {number | null} */
  let code = null;
  try {
    const end = new Promise((/** @type {(ms: number | null) => void} */ done) => {
      connection.onicecandidate = ({ candidate }) => {
        if (candidate === null) done(null);
        else if (candidate.type === type) done(Math.round(performance.now() - start));
      };
      connection.addEventListener("icecandidateerror", (event) => {
        code = /** @type {RTCPeerConnectionIceErrorEvent} */ (event).errorCode;
      });
    });
    connection.createDataChannel("");
    await connection.setLocalDescription();
    const ms = await within(end, SERVER_MS);
    const isLate = ms === null && connection.iceGatheringState !== "complete";
    return { ms, code: code ?? (isLate ? 701 : null) };
  } catch {
    return { ms: null, code: code ?? 0 };
  } finally {
    connection.close();
  }
}

/** Two connections of this page that reach each other only through TURN servers. */
export class Loop {
  /** @param {RTCIceServer[]} servers */
  constructor(servers) {
    const make = () => new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: "relay" });
    this.ends = [make(), make()];
  }

  /** @returns {Promise<{ms: number, roundTrip: number} | null>} time until it was connected, and its round trip; null if it never was */
  async connect() {
    const [one, other] = this.ends;
    const start = performance.now();
    const opened = Promise.all(
      this.ends.map((end) => {
        const channel = end.createDataChannel("", { negotiated: true, id: 0 });
        channel.binaryType = "arraybuffer";
        return new Promise((/** @type {(channel: RTCDataChannel) => void} */ done) => (channel.onopen = () => done(channel)));
      }),
    );
    try {
      one.onicecandidate = ({ candidate }) => void other.addIceCandidate(candidate ?? undefined).catch(() => {});
      other.onicecandidate = ({ candidate }) => void one.addIceCandidate(candidate ?? undefined).catch(() => {});
      await one.setLocalDescription();
      await other.setRemoteDescription(/** @type {RTCSessionDescriptionInit} */ (one.localDescription));
      await other.setLocalDescription();
      await one.setRemoteDescription(/** @type {RTCSessionDescriptionInit} */ (other.localDescription));
    } catch {
      return null;
    }
    this.channels = await within(opened, LOOP_MS);
    if (!this.channels) return null;
    const ms = Math.round(performance.now() - start);
    const roundTrip = await within(this.#roundTrip(this.channels), LOOP_MS);
    return roundTrip === null ? null : { ms, roundTrip };
  }

  /** The shortest round trip in ms. @param {RTCDataChannel[]} channels */
  async #roundTrip([one, other]) {
    other.onmessage = ({ data }) => other.send(data);
    let shortest = Infinity;
    for (let i = 0; i < PINGS; i += 1) {
      const start = performance.now();
      const back = new Promise((done) => (one.onmessage = done));
      one.send("ping");
      await back;
      shortest = Math.min(shortest, performance.now() - start);
    }
    return Math.max(1, Math.round(shortest));
  }

  /** The bandwidth in kbit/s. @param {0 | 1} from */
  async bandwidth(from) {
    const [sender, receiver] = [this.channels?.[from], this.channels?.[1 - from]];
    if (!sender || !receiver) return 0;
    let [received, first, last] = [0, 0, 0];
    sender.onmessage = null;
    receiver.onmessage = ({ data }) => {
      last = performance.now();
      first ||= last;
      received += data.byteLength ?? 0;
    };
    const until = performance.now() + BANDWIDTH_MS;
    for (let sent = 0; sent < BANDWIDTH_BYTES && performance.now() < until && sender.readyState === "open"; ) {
      if (sender.bufferedAmount > MAX_BUFFERED) await pause(5);
      else {
        sender.send(CHUNK);
        sent += CHUNK.length;
      }
    }
    // What is in flight still counts, for as long as it keeps coming.
    while (sender.bufferedAmount > 0 && performance.now() < until) await pause(5);
    await pause(100);
    receiver.onmessage = null;
    const counted = Math.max(0, received - CHUNK.length); // the time begins when the first is there
    return last > first ? Math.round((counted * 8) / (last - first)) : 0;
  }

  close() {
    for (const end of this.ends) end.close();
  }
}
