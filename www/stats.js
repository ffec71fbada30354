// @ts-check
// A peer's statistics per second, from RTCPeerConnection.getStats().

/**
 * @typedef {{bytes: number, frames: number, packets: number, lost: number, buffer: number, played: number}} Received totals of one video:
 *   `buffer` is the time that `played` frames waited in the jitter buffer, in s
 * @typedef {{at: number, videos: Record<string, Received>, videoOut: number, audioIn: number, audioOut: number, framesOut: number}} Sample
 *
 * @typedef {object} VideoIn
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} kbps
 * @property {string} codec
 * @property {number} framesDecoded
 * @property {number} packetsLost
 * @property {number} jitterMs
 * @property {number | null} ageMs time from the capture of the frames to their display, if it is known
 * @property {number | null} bufferMs how long frames waited in the jitter buffer during the last second
 * @property {number} lossPercent of the packets of the last second
 * @property {number} freezes how often the picture stood still, and for how long altogether
 * @property {number} frozenMs
 *
 * @typedef {object} Stats plain JSON
 * @property {VideoIn | null} videoIn the peer's first video
 * @property {(VideoIn | null)[]} videos all its videos, in the order of the views
 * @property {{width: number, height: number, fps: number, kbps: number, codec: string, limitedBy: string} | null} videoOut
 * @property {{kbps: number, codec: string, level: number, energy: number, packetsLost: number, jitterMs: number} | null} audioIn
 * @property {{kbps: number, codec: string} | null} audioOut
 * @property {number | null} rttMs
 * @property {string | null} path type and protocol of our candidate in use, such as `host/udp`
 * @property {{local: string, remote: string, protocol: string, relay: string} | null} route types of both candidates in use, and
 *   protocols: on the path, and from us to our TURN server (empty without one)
 */

/**
 * The peer's last sender report of its video, which is being received: when it was sent by the peer's clock, and when it
 * arrived (in ms), and how many packets the peer had sent.
 * @typedef {{sent: number, arrived: number, packets: number}} SenderReport
 *
 * @param {Iterable<any>} report the values of an RTCStatsReport
 * @param {Sample | null} before the sample of the last call
 * @param {string[]} tracks the ids of the peer's video tracks
 * @returns {{stats: Stats, sample: Sample, videos: {framesDecoded: number, report: SenderReport | null}[]}}
 */
export function readStats(report, before, tracks = [""]) {
  const all = [...report];
  const byId = new Map(all.map((entry) => [entry.id, entry]));
  const videosIn = tracks.map((id) => videoOf(all, id));
  const audioIn = busiest(all, "inbound-rtp", "audio", "bytesReceived");
  const [videoOut, audioOut] = ["video", "audio"].map((kind) => busiest(all, "outbound-rtp", kind, "bytesSent"));
  const sample = takeSample(videosIn, audioIn, videoOut, audioOut);
  const rate = rates(sample, before);
  const codec = (/** @type {any} */ entry) => String(byId.get(entry.codecId)?.mimeType ?? "").replace(/^\w+\//, "");
  const videos = videosIn.map((entry) => entry && { ...videoIn(entry, sample, before), codec: codec(entry) });
  const pair = activePair(all, byId);
  return {
    sample,
    videos: videosIn.map((entry) => ({ framesDecoded: entry?.framesDecoded ?? 0, report: senderReport(byId.get(entry?.remoteId)) })),
    stats: {
      videoIn: videos[0] ?? null,
      videos,
      videoOut: videoOut && { ...size(videoOut), fps: rate.fps("framesOut"), kbps: rate.kbps("videoOut"), codec: codec(videoOut), limitedBy: videoOut.qualityLimitationReason ?? "none" },
      audioIn: audioIn && { kbps: rate.kbps("audioIn"), codec: codec(audioIn), level: audioIn.audioLevel ?? 0, energy: audioIn.totalAudioEnergy ?? 0, ...losses(audioIn) },
      audioOut: audioOut && { kbps: rate.kbps("audioOut"), codec: codec(audioOut) },
      rttMs: pair?.currentRoundTripTime === undefined ? null : round(pair.currentRoundTripTime * 1000, 1),
      path: path(pair, byId),
      route: route(pair, byId),
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

/** The stream of a track. Not every browser names the tracks of its streams. */
function videoOf(/** @type {any[]} */ all, /** @type {string} */ track) {
  const named = all.some((entry) => entry.type === "inbound-rtp" && entry.kind === "video" && entry.trackIdentifier);
  return busiest(named && track ? all.filter((entry) => entry.trackIdentifier === track) : all, "inbound-rtp", "video", "bytesReceived");
}

/** @returns {Sample} */
function takeSample(/** @type {any[]} */ videosIn, /** @type {any} */ audioIn, /** @type {any} */ videoOut, /** @type {any} */ audioOut) {
  const known = videosIn.filter(Boolean);
  const at = (known[0] ?? audioIn ?? videoOut ?? audioOut)?.timestamp ?? 0;
  return {
    at,
    videos: Object.fromEntries(known.map((entry) => [entry.id, totals(entry)])),
    audioIn: audioIn?.bytesReceived ?? 0,
    videoOut: videoOut?.bytesSent ?? 0,
    audioOut: audioOut?.bytesSent ?? 0,
    framesOut: videoOut?.framesEncoded ?? 0,
  };
}

/** @returns {Received} */
function totals(/** @type {any} */ entry) {
  const { bytesReceived = 0, framesDecoded = 0, packetsReceived = 0, packetsLost = 0, jitterBufferDelay = 0, jitterBufferEmittedCount = 0 } = entry;
  return { bytes: bytesReceived, frames: framesDecoded, packets: packetsReceived, lost: packetsLost, buffer: jitterBufferDelay, played: jitterBufferEmittedCount };
}

/** All of a VideoIn but its codec. @param {any} entry @param {Sample} now @param {Sample | null} before */
function videoIn(entry, now, before) {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const [total, last] = [now.videos[entry.id], before?.videos[entry.id]];
  const grown = (/** @type {keyof Received} */ key) => (last && seconds > 0 ? Math.max(0, total[key] - last[key]) : 0);
  const [lost, played] = [grown("lost"), grown("played")];
  return {
    ...size(entry),
    fps: round(seconds > 0 ? grown("frames") / seconds : 0, 1),
    kbps: Math.round(seconds > 0 ? (grown("bytes") * 8) / 1000 / seconds : 0),
    framesDecoded: entry.framesDecoded ?? 0,
    ...losses(entry),
    ageMs: /** @type {number | null} */ (null),
    bufferMs: played > 0 ? Math.round((grown("buffer") * 1000) / played) : null,
    lossPercent: lost > 0 ? round((lost * 100) / (lost + grown("packets")), 1) : 0,
    freezes: entry.freezeCount ?? 0,
    frozenMs: Math.round((entry.totalFreezesDuration ?? 0) * 1000),
  };
}

/** @typedef {"videoOut" | "audioIn" | "audioOut" | "framesOut"} Total */

/** @param {Sample} now @param {Sample | null} before */
function rates(now, before) {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const perSecond = (/** @type {Total} */ key) => (before && seconds > 0 ? Math.max(0, now[key] - before[key]) / seconds : 0);
  return {
    fps: (/** @type {Total} */ key) => round(perSecond(key), 1),
    kbps: (/** @type {Total} */ key) => Math.round((perSecond(key) * 8) / 1000),
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

/** @returns {Stats["route"]} */
function route(/** @type {any} */ pair, /** @type {Map<string, any>} */ byId) {
  const [local, remote] = [byId.get(pair?.localCandidateId), byId.get(pair?.remoteCandidateId)];
  if (!local || !remote) return null;
  return { local: local.candidateType, remote: remote.candidateType, protocol: local.protocol, relay: local.candidateType === "relay" ? (local.relayProtocol ?? "") : "" };
}

function round(/** @type {number} */ value, /** @type {number} */ digits) {
  return Number(value.toFixed(digits));
}
