// @ts-check
// The connection test: what each step found, in words. Pure.

import { turnError } from "./servers.js";

/**
 * @typedef {"running" | "good" | "warning" | "bad"} Mark
 * @typedef {import("./servers.js").Words} Words
 * @typedef {Words & {mark: Mark}} Verdict
 * @typedef {{id: string, title: Words, verdict: Verdict}} Step
 * @typedef {import("./servers.js").Server} Server
 */

/** Pictures darker than this (of 255) are black. */
const BLACK = 16;
/** Louder than this (linear) is a sound. The noise of a microphone in a silent room is about as loud. */
const SOUND = 0.003;
/** Megabits per second that a picture needs, and that sound needs. */
const PICTURE_MBPS = 1;
const SOUND_MBPS = 0.1;

/**
 * @param {import("../media.js").Kind} kind
 * @param {{error: import("../media.js").DeviceError | null, width?: number, height?: number, brightness?: number, level?: number | null}} found
 *   `brightness`: of the brightest pixel, 0 to 255; `level`: the loudest, linear from 0 to 1; null if it
 *   cannot be measured
 * @returns {Verdict}
 */
export function deviceVerdict(kind, { error, width = 0, height = 0, brightness = 255, level = 0 }) {
  if (error) return { mark: error === "not-found" ? "warning" : "bad", key: `device.${kind}.${error}` };
  if (kind === "audio" && level === null) return { mark: "warning", key: "check.microphone.unmeasured" };
  if (kind === "audio") return Number(level) >= SOUND ? { mark: "good", key: "check.microphone.good" } : { mark: "warning", key: "check.microphone.silent" };
  if (brightness < BLACK) return { mark: "warning", key: "check.camera.black" };
  return { mark: "good", key: "check.camera.good", values: { width, height } };
}

/**
 * @param {{ms: number | null, why: import("../why.js").Why | null, error: string, id: string}} found `ms` until the server had
 *   registered us as `id`; else why no WebSocket opened, or what the server said
 * @returns {Verdict}
 */
export function signallingVerdict({ ms, why, error, id }) {
  if (ms !== null) return { mark: "good", key: "check.signalling.good", values: { ms } };
  if (why) return { mark: "bad", key: `why.${why}`, values: { subject: id } };
  return error ? { mark: "bad", key: "check.signalling.error", values: { error } } : { mark: "bad", key: "notice.no-answer" };
}

/** @param {Server[]} servers @returns {Verdict} */
export function serversVerdict(servers) {
  const turn = servers.filter(({ scheme }) => scheme.startsWith("turn"));
  if (servers.length === 0) return { mark: "warning", key: "check.ice.none" };
  if (turn.length === 0) return { mark: "warning", key: "check.ice.no-turn" };
  if (turn.every(({ transport }) => transport === "UDP")) return { mark: "warning", key: "check.ice.only-udp" };
  return { mark: "good", key: "check.ice.good", values: { stun: servers.length - turn.length, turn: turn.length } };
}

/**
 * One server alone was asked for an address.
 * @param {Server} server @param {{ms: number | null, code: number | null}} found time until it gave one; the code of its error (701: no answer)
 * @returns {Verdict}
 */
export function serverVerdict({ scheme, transport }, { ms, code }) {
  const isTurn = scheme.startsWith("turn");
  if (ms !== null) return { mark: "good", key: isTurn ? "check.turn.good" : "check.stun.good", values: { ms } };
  if (!isTurn && code === null) return { mark: "good", key: "check.stun.direct" };
  return { mark: "bad", ...(isTurn ? turnError(transport, code) : { key: "check.stun.silent" }) };
}

/** @param {{ms: number, roundTrip: number} | null} found @returns {Verdict} */
export function loopVerdict(found) {
  return found ? { mark: "good", key: "check.loop.good", values: { ms: found.ms, trip: found.roundTrip } } : { mark: "bad", key: "check.loop.bad" };
}

/** @param {number} there kbit/s @param {number} back kbit/s @param {(mbps: number) => string} format @returns {Verdict} */
export function bandwidthVerdict(there, back, format) {
  const values = { there: format(there / 1000), back: format(back / 1000) };
  const least = Math.min(there, back) / 1000;
  if (least >= PICTURE_MBPS) return { mark: "good", key: "check.bandwidth.good", values };
  return least >= SOUND_MBPS ? { mark: "warning", key: "check.bandwidth.low", values } : { mark: "bad", key: "check.bandwidth.bad", values };
}

/** The result of all steps. @param {Step[]} steps @returns {Verdict} */
export function summary(steps) {
  const marks = (/** @type {Mark} */ mark) => steps.filter(({ verdict }) => verdict.mark === mark);
  const isBad = (/** @type {string} */ id) => marks("bad").some((step) => step.id === id);
  if (steps.some(({ verdict }) => verdict.mark === "running")) return { mark: "running", key: "check.summary.running" };
  if (isBad("signalling")) return { mark: "bad", key: "check.summary.no-server" };
  const turn = steps.filter(({ id }) => id.startsWith("turn"));
  if (turn.length > 0 && turn.every(({ verdict }) => verdict.mark === "bad")) return { mark: "bad", key: "check.summary.no-relay" };
  if (isBad("loop")) return { mark: "bad", key: "check.summary.no-relay" };
  if (marks("bad").length > 0) return { mark: "warning", key: "check.summary.partly" };
  return marks("warning").length > 0 ? { mark: "warning", key: "check.summary.warnings" } : { mark: "good", key: "check.summary.good" };
}
