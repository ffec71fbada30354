// @ts-check
// The wire format: text frames between a peer and the signalling server, and the signals between two peers in them. The
// same rules as the Rust crate `protocol`. No document, no state: Node tests it.

import { WHITE_SPACE, isPeerId } from "./ids.js";

/**
 * @typedef {{type: "offer" | "answer", sdp: string}} Description
 * @typedef {{candidate: string, sdpMid: string | null, sdpMLineIndex: number | null, usernameFragment?: string | null}} Candidate
 * @typedef {{kind: "offer-request"} | {kind: "sdp", sdp: Description} | {kind: "ice", ice: Candidate}} Signal
 * @typedef {"not-found" | "busy" | "not-in-room" | "invalid-room" | "already-in-room" | "other"} ErrorCode
 * @typedef {{verb: "HELLO"} | {verb: "SESSION_OK"}
 *   | {verb: "ROOM_OK" | "ROOM_PEER_LIST", peers: string[]}
 *   | {verb: "ROOM_PEER_JOINED" | "ROOM_PEER_LEFT" | "CALLER", peer: string}
 *   | {verb: "ROOM_PEER_MSG", from: string, msg: string}
 *   | {verb: "ERROR", code: ErrorCode, subject: string, text: string}} ServerMessage
 */

/** Parses one frame of the server; null if it is none. @param {string} text @returns {ServerMessage | null} */
export function parseServerMessage(text) {
  const [verb, rest] = splitVerb(text);
  switch (verb) {
    case "HELLO":
    case "SESSION_OK":
      return rest === "" ? { verb } : null;
    case "ROOM_OK":
    case "ROOM_PEER_LIST":
      return { verb, peers: rest.split(WHITE_SPACE).filter(Boolean) };
    case "ROOM_PEER_JOINED":
    case "ROOM_PEER_LEFT":
    case "CALLER":
      return isPeerId(rest) ? { verb, peer: rest } : null;
    case "ROOM_PEER_MSG": {
      const [from, msg] = splitOnce(rest);
      return msg === null || !isPeerId(from) ? null : { verb, from, msg };
    }
    default:
      return text.startsWith("ERROR") ? parseError(text.slice("ERROR".length).trim()) : null;
  }
}

/** @type {[ErrorCode, RegExp][]} */
const ERRORS = [
  ["not-found", /^peer (.*) not found$/s],
  ["busy", /^peer (.*) busy$/s],
  ["not-in-room", /^peer (.*) is not in the room$/s],
  ["invalid-room", /^invalid room id (.*)$/s],
  ["already-in-room", /^invalid msg, already in room()$/],
];

/** As in every client, any text with this prefix is an error. @param {string} text @returns {ServerMessage} */
function parseError(text) {
  for (const [code, pattern] of ERRORS) {
    const match = pattern.exec(text);
    if (match) return { verb: "ERROR", code, subject: unquote(match[1]), text };
  }
  return { verb: "ERROR", code: "other", subject: "", text };
}

/** Removes Python's quotes: `'x'`, but `"o'brien"`. @param {string} text */
function unquote(text) {
  const quote = text[0];
  const quoted = text.length > 1 && (quote === "'" || quote === '"') && text.endsWith(quote);
  return quoted ? text.slice(1, -1) : text;
}

/** The verb, and the text after the white space behind it. @param {string} text @returns {[string, string]} */
function splitVerb(text) {
  const [verb, rest] = splitOnce(text);
  if (rest === null) return [verb, ""];
  let start = 0;
  while (start < rest.length && WHITE_SPACE.test(rest[start])) start += 1;
  return [verb, rest.slice(start)];
}

/** @param {string} text @returns {[string, string | null]} */
function splitOnce(text) {
  const at = text.search(WHITE_SPACE);
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
}

/** The messages from a peer to the server. */
export const format = {
  hello: (/** @type {string} */ uid) => `HELLO ${uid}`,
  session: (/** @type {string} */ uid) => `SESSION ${uid}`,
  room: (/** @type {string} */ id) => `ROOM ${id}`,
  roomPeerMsg: (/** @type {string} */ uid, /** @type {string} */ msg) => `ROOM_PEER_MSG ${uid} ${msg}`,
  /** To the partner of a session that is resumed. */
  resume: (/** @type {{nonce?: string, proof?: string}} */ members) => JSON.stringify({ resume: members }),
};

/** Parses one message of a peer; null for anything else, which must not disturb a call. @param {string} text @returns {Signal | null} */
export function parseSignal(text) {
  if (text === "OFFER_REQUEST") return { kind: "offer-request" };
  const json = parseObject(text);
  if (!json) return null;
  if ("sdp" in json) return parseDescription(json.sdp);
  return "ice" in json ? parseCandidate(json.ice) : null;
}

/** @param {any} value @returns {Signal | null} */
function parseDescription(value) {
  const type = typeof value?.type === "string" ? value.type.toLowerCase() : null;
  if ((type !== "offer" && type !== "answer") || typeof value.sdp !== "string") return null;
  return { kind: "sdp", sdp: { type, sdp: value.sdp } };
}

/**
 * `null` and an empty candidate both mean end of candidates. GStreamer names the m-line by its index alone; without
 * index and mid it is the first m-line, to which a bundle's candidates belong. The index may be a string and the mid a
 * number; an invalid index beside a mid is ignored.
 * @param {any} value @returns {Signal | null}
 */
function parseCandidate(value) {
  if (value !== null && typeof value !== "object") return null;
  const { candidate = "", sdpMid = null, sdpMLineIndex = null, usernameFragment } = value ?? {};
  const mid = typeof sdpMid === "number" ? String(sdpMid) : sdpMid;
  if (typeof candidate !== "string" || (mid !== null && typeof mid !== "string")) return null;
  const index = readIndex(sdpMLineIndex);
  if (index === null && sdpMLineIndex !== null && mid === null) return null;
  /** @type {Candidate} */
  const ice = { candidate, sdpMid: mid, sdpMLineIndex: index === null && mid === null ? 0 : index };
  if (typeof usernameFragment === "string") ice.usernameFragment = usernameFragment;
  return { kind: "ice", ice };
}

/** @param {unknown} value @returns {number | null} null if it is no index */
function readIndex(value) {
  const index = typeof value === "string" && /^\d{1,4}$/.test(value) ? Number(value) : value;
  return typeof index === "number" && Number.isInteger(index) && index >= 0 ? index : null;
}

/** @param {string} text @returns {Record<string, unknown> | null} */
function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** @param {Signal} signal */
export function formatSignal(signal) {
  if (signal.kind === "offer-request") return "OFFER_REQUEST";
  return JSON.stringify(signal.kind === "sdp" ? { sdp: signal.sdp } : { ice: signal.ice });
}
