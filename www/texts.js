// @ts-check
// The texts about states and errors: the cause, and what to do. The words are in texts/.

import { has, say, sayOf } from "./language.js";

/**
 * @typedef {import("./call.js").NoticeCode} NoticeCode
 * @typedef {import("./media.js").DeviceError} DeviceError
 * @typedef {import("./peer.js").PeerState} PeerState
 * @typedef {import("./peer.js").Failure} Failure
 * @typedef {{state: PeerState, answered: boolean}} Partner
 */

/** Most characters shown of a name, and of a text that a peer or a server wrote. */
const MAX_NAME = 128;
export const MAX_TEXT = 200;

/**
 * A stranger's text as the page shows it: bounded, on one line, and without control and format characters, which could
 * reverse or hide what stands beside it.
 * @param {string} text @param {number} max characters
 */
export function shown(text, max = MAX_NAME) {
  const units = text.slice(0, 2 * max + 1); // a character has at most two
  const characters = [...units.replace(/\s+/gu, " ").replace(/\p{C}/gu, "\ufffd")];
  const isCut = characters.length > max || units.length < text.length;
  return isCut ? `${characters.slice(0, max - 1).join("")}…` : characters.join("");
}

/** @typedef {import("./call.js").Call | import("./stream.js").Stream} AnyCall */

/** The short text of `#status`. @param {AnyCall} call @param {Partner | null} partner of a 1-1 call */
export function statusText(call, partner) {
  if ("stream" in call && call.state === "calling") return say("status.setting-up");
  if ("stream" in call && call.state === "in-call" && partner?.state === "connected") return say(`status.${call.stream}`);
  if (call.state !== "in-call") return say(`status.${call.state}`);
  return partner === null ? say("status.setting-up") : callText(partner, call.isAlone);
}

/** @param {Partner} partner @param {boolean} isAlone */
function callText({ state, answered }, isAlone) {
  if (state === "connected") return say(isAlone ? "status.alone" : "status.in-call");
  // A call that waits for its server and a new path has not failed yet.
  if (state === "failed") return say(isAlone ? "status.interrupted" : "status.failed");
  if (state === "interrupted") return say("status.interrupted");
  return say(answered ? "status.setting-up" : "status.calling");
}

/** The colour of the lamp beside it. @param {AnyCall} call @param {Partner | null} partner @returns {"good" | "busy" | "bad" | "off"} */
export function lamp(call, partner) {
  switch (call.state) {
    case "offline":
      return "off";
    case "refused":
      return "bad";
    case "in-call":
      return partner?.state === "connected" && !call.isAlone ? "good" : partner?.state === "failed" && !call.isAlone ? "bad" : "busy";
    case "ready":
    case "in-room":
      return "good";
    default:
      return "busy";
  }
}

/** Notices whose subject is a text; that of the others is a name. @type {NoticeCode[]} */
const WITH_TEXT = ["refused", "server-error", "peer-error"];

/** Reasons after which the page tries again. @type {NoticeCode[]} */
const RETRIED = ["server-unreachable", "server-draining", "server-full", "too-many", "no-websocket"];

/** @param {NoticeCode} code @param {string} subject */
export function noticeText(code, subject) {
  const why = `why.${code}`;
  if (has(why)) {
    const text = say(why, { subject: shown(subject) });
    return RETRIED.includes(code) ? `${text} ${say("notice.retried")}` : text;
  }
  const notice = /** @type {import("./language.js").Key} */ (`notice.${code}`);
  return sayOf(notice, { subject: shown(subject, WITH_TEXT.includes(code) ? MAX_TEXT : MAX_NAME) });
}

/** Whether a notice is not an error: good news, or a state that passes. @param {NoticeCode} code */
export function isGood(code) {
  return code === "back" || code === "peer-left";
}

/** Notices about the server: they go once it has registered us. @type {NoticeCode[]} */
const ABOUT_SERVER = [
  "server-unreachable",
  "server-draining",
  "server-full",
  "server-restarts",
  "server-lost",
  "call-goes-on",
  "call-interrupted",
  "too-many",
  "no-websocket",
  "token-missing",
  "token-expired",
  "token-refused",
  "uid-refused",
  "uid-taken",
  "refused",
  "replaced",
  "sent-away",
];

/** The topic of a notice: the notice goes when that works again. @param {NoticeCode} code @returns {Topic} */
export function topicOf(code) {
  if (ABOUT_SERVER.includes(code)) return "server";
  return code === "missed-call" || code === "call-failed" || code === "room-too-large" ? "page" : "call";
}

/** @typedef {"server" | "call" | "audio" | "video" | "page"} Topic */

/** The text of the dialog for an incoming call. @param {string | null} caller null if the server does not name it */
export function ringText(caller) {
  return sayOf("ring.text", { caller: shown(caller ?? "") });
}

/** @param {import("./media.js").Kind} kind @param {DeviceError | null} error */
export function deviceText(kind, error) {
  return error ? say(`device.${kind}.${error}`) : "";
}

/** The mark on a picture that is no longer new. @param {number} ms since its last frame */
export function staleText(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return say("tile.stale");
  return seconds < 60 ? say("tile.stale-seconds", { count: seconds }) : say("tile.stale-minutes", { count: Math.floor(seconds / 60) });
}

/** @typedef {import("./check/servers.js").Words} Words */

/**
 * The state of a peer as a tile shows it.
 * @param {PeerState} state @param {boolean} waits whether a failed connection waits for the server, to be replaced
 */
export function shownState(state, waits) {
  return state === "failed" && waits ? "interrupted" : state;
}

/** The text of a tile about its connection. @param {Partner & {reason: Failure | null, detail?: Words | null}} peer @param {boolean} waits */
export function peerText({ state, answered, reason, detail }, waits = false) {
  switch (shownState(state, waits)) {
    case "connecting":
      return say(answered ? "tile.connecting" : "tile.waiting");
    case "interrupted":
      return say("tile.interrupted");
    case "failed": {
      const failure = say(reason ? `failure.${reason}` : "failure.unknown");
      return detail ? `${failure} ${say(detail.key, detail.values)}` : failure;
    }
    default:
      return "";
  }
}
