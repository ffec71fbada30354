// @ts-check
// A peer's statistics per second, from RTCPeerConnection.getStats().

/**
 * @typedef {{at: number, videoIn: number, videoOut: number, audioIn: number, audioOut: number, framesIn: number, framesOut: number}} Sample
 *
 * @typedef {object} Stats plain JSON
 * @property {{width: number, height: number, fps: number, kbps: number, codec: string, framesDecoded: number, packetsLost: number, jitterMs: number, ageMs: number | null} | null} videoIn
 *   `ageMs`: time from the capture of the frames to their display, if it is known
 * @property {{width: number, height: number, fps: number, kbps: number, codec: string, limitedBy: string} | null} videoOut
 * @property {{kbps: number, codec: string, level: number, energy: number, packetsLost: number, jitterMs: number} | null} audioIn
 * @property {{kbps: number, codec: string} | null} audioOut
 * @property {number | null} ownLevel of our microphone
 * @property {number | null} rttMs
 * @property {string | null} path type and protocol of our candidate in use, such as `host/udp`
 */

/**
 * The peer's last sender report of its video, which is being received: when it was sent by the peer's clock, and when it
 * arrived (in ms), and how many packets the peer had sent.
 * @typedef {{sent: number, arrived: number, packets: number}} SenderReport
 *
 * @param {Iterable<any>} report the values of an RTCStatsReport
 * @param {Sample | null} before the sample of the last call
 * @returns {{stats: Stats, sample: Sample, report: SenderReport | null}}
 */
export function readStats(report, before) {
  const all = [...report];
  const byId = new Map(all.map((entry) => [entry.id, entry]));
  const inbound = (/** @type {string} */ kind) => busiest(all, "inbound-rtp", kind, "bytesReceived");
  const outbound = (/** @type {string} */ kind) => busiest(all, "outbound-rtp", kind, "bytesSent");
  const [videoIn, audioIn, videoOut, audioOut] = [inbound("video"), inbound("audio"), outbound("video"), outbound("audio")];
  const sample = takeSample(videoIn, audioIn, videoOut, audioOut);
  const rate = rates(sample, before);
  const codec = (/** @type {any} */ entry) => String(byId.get(entry.codecId)?.mimeType ?? "").replace(/^\w+\//, "");
  const pair = activePair(all, byId);
  return {
    sample,
    report: senderReport(byId.get(videoIn?.remoteId)),
    stats: {
      videoIn: videoIn && { ...size(videoIn), fps: rate.fps("framesIn"), kbps: rate.kbps("videoIn"), codec: codec(videoIn), framesDecoded: videoIn.framesDecoded ?? 0, ...losses(videoIn), ageMs: null },
      videoOut: videoOut && { ...size(videoOut), fps: rate.fps("framesOut"), kbps: rate.kbps("videoOut"), codec: codec(videoOut), limitedBy: videoOut.qualityLimitationReason ?? "none" },
      audioIn: audioIn && { kbps: rate.kbps("audioIn"), codec: codec(audioIn), level: audioIn.audioLevel ?? 0, energy: audioIn.totalAudioEnergy ?? 0, ...losses(audioIn) },
      audioOut: audioOut && { kbps: rate.kbps("audioOut"), codec: codec(audioOut) },
      ownLevel: all.find((entry) => entry.type === "media-source" && entry.kind === "audio")?.audioLevel ?? null,
      rttMs: pair?.currentRoundTripTime === undefined ? null : round(pair.currentRoundTripTime * 1000, 1),
      path: path(pair, byId),
    },
  };
}

/** What has arrived on all paths: bytes, and checks of the paths. @param {Iterable<any>} report the values of an RTCStatsReport */
export function received(report) {
  const pairs = [...report].filter((entry) => entry.type === "candidate-pair");
  const counts = pairs.flatMap((pair) => [pair.bytesReceived, pair.requestsReceived, pair.responsesReceived]);
  return counts.reduce((sum, count) => sum + (count ?? 0), 0);
}

/** The stream in use is the one with the most bytes: replaced streams stay in the report. */
function busiest(/** @type {any[]} */ all, /** @type {string} */ type, /** @type {string} */ kind, /** @type {string} */ bytes) {
  const found = all.filter((entry) => entry.type === type && entry.kind === kind);
  return found.reduce((a, b) => ((b[bytes] ?? 0) >= (a?.[bytes] ?? 0) ? b : a), null);
}

/** @returns {Sample} */
function takeSample(/** @type {any} */ videoIn, /** @type {any} */ audioIn, /** @type {any} */ videoOut, /** @type {any} */ audioOut) {
  const at = (videoIn ?? audioIn ?? videoOut ?? audioOut)?.timestamp ?? 0;
  return {
    at,
    videoIn: videoIn?.bytesReceived ?? 0,
    audioIn: audioIn?.bytesReceived ?? 0,
    videoOut: videoOut?.bytesSent ?? 0,
    audioOut: audioOut?.bytesSent ?? 0,
    framesIn: videoIn?.framesDecoded ?? 0,
    framesOut: videoOut?.framesEncoded ?? 0,
  };
}

/** @param {Sample} now @param {Sample | null} before */
function rates(now, before) {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const perSecond = (/** @type {keyof Sample} */ key) => (before && seconds > 0 ? Math.max(0, now[key] - before[key]) / seconds : 0);
  return {
    fps: (/** @type {keyof Sample} */ key) => round(perSecond(key), 1),
    kbps: (/** @type {keyof Sample} */ key) => Math.round((perSecond(key) * 8) / 1000),
  };
}

/** @returns {SenderReport | null} */
function senderReport(/** @type {any} */ entry) {
  if (!entry?.remoteTimestamp) return null;
  return { sent: entry.remoteTimestamp, arrived: entry.timestamp, packets: entry.packetsSent ?? 0 };
}

function size(/** @type {any} */ entry) {
  return { width: entry.frameWidth ?? 0, height: entry.frameHeight ?? 0 };
}

function losses(/** @type {any} */ entry) {
  return { packetsLost: entry.packetsLost ?? 0, jitterMs: round((entry.jitter ?? 0) * 1000, 1) };
}

function activePair(/** @type {any[]} */ all, /** @type {Map<string, any>} */ byId) {
  const transport = all.find((entry) => entry.type === "transport" && entry.selectedCandidatePairId);
  return byId.get(transport?.selectedCandidatePairId) ?? all.find((entry) => entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded");
}

function path(/** @type {any} */ pair, /** @type {Map<string, any>} */ byId) {
  const local = byId.get(pair?.localCandidateId);
  return local ? `${local.candidateType}/${local.protocol}` : null;
}

function round(/** @type {number} */ value, /** @type {number} */ digits) {
  return Number(value.toFixed(digits));
}
