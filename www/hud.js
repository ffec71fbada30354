// @ts-check
// The figures on a picture: age, size, rates, losses and path.

import { say } from "./language.js";

/**
 * @typedef {import("./stats.js").Stats} Stats
 * @typedef {import("./stats.js").VideoIn} VideoIn
 * @typedef {[name: string, value: string]} Row
 */

/**
 * The rows for one video of a peer. Those about sound, our own video and the path are with the first one only.
 * @param {Stats | null} stats @param {number} index of the video @returns {Row[]}
 */
export function hudRows(stats, index = 0) {
  if (!stats) return [];
  const video = stats.videos[index] ?? null;
  const rows = video?.width ? videoRows(video, stats.rttMs) : [];
  return index === 0 ? [...rows, ...peerRows(stats)] : rows;
}

/** @param {VideoIn} video @param {number | null} rttMs @returns {Row[]} */
function videoRows(video, rttMs) {
  const { width, height, fps, kbps, codec, lossPercent, freezes, frozenMs } = video;
  const age = ageText(video, rttMs);
  /** @type {Row[]} */
  const rows = [[say("stats.in"), `${width}×${height} ${Math.round(fps)} fps ${kbps} kbit/s ${codec}`]];
  if (age) rows.push([say("stats.age"), age]);
  rows.push([say("stats.lost"), `${lossPercent} %`]);
  if (freezes > 0) rows.push([say("stats.freezes"), `${freezes}, ${(frozenMs / 1000).toFixed(1)} s`]);
  return rows;
}

/**
 * The age by the capture time if the peer sends it. Else it is estimated: half a round trip and the time in the jitter
 * buffer, without the peer's camera and encoder.
 * @param {VideoIn} video @param {number | null} rttMs
 */
function ageText({ ageMs, bufferMs }, rttMs) {
  if (ageMs !== null) return `${ageMs} ms`;
  return bufferMs === null || rttMs === null ? "" : `≈ ${Math.round(rttMs / 2 + bufferMs)} ms`;
}

/** @param {Stats} stats @returns {Row[]} */
function peerRows({ videoOut, audioIn, rttMs, route }) {
  /** @type {Row[]} */
  const rows = [];
  if (audioIn) rows.push([say("stats.audio"), `${audioIn.kbps} kbit/s ${audioIn.codec}`]);
  if (videoOut?.width) rows.push([say("stats.out"), `${videoOut.width}×${videoOut.height} ${Math.round(videoOut.fps)} fps ${videoOut.kbps} kbit/s`]);
  if (route) rows.push([say("stats.path"), pathText(route)]);
  if (rttMs !== null) rows.push([say("stats.rtt"), `${rttMs} ms`]);
  return rows;
}

/** The types of both candidates, and the protocol; to our TURN server it may be another one. @param {NonNullable<Stats["route"]>} route */
function pathText({ local, remote, protocol, relay }) {
  const to = relay && relay !== protocol ? `${relay.toUpperCase()}, ${protocol.toUpperCase()}` : protocol.toUpperCase();
  return `${local} → ${remote} ${to}`;
}
