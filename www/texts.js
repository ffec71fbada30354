// @ts-check
// All texts about states and errors: the cause, and what to do.

/**
 * @typedef {import("./call.js").NoticeCode} NoticeCode
 * @typedef {import("./media.js").DeviceError} DeviceError
 * @typedef {import("./peer.js").PeerState} PeerState
 * @typedef {import("./peer.js").Failure} Failure
 * @typedef {{state: PeerState, answered: boolean}} Partner
 */

/** Most characters shown of a name, and of a text that a peer or a server wrote. */
const MAX_NAME = 128;
const MAX_TEXT = 200;

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

/** The short text of `#status`. @param {import("./call.js").Call} call @param {Partner | null} partner of a 1-1 call */
export function statusText(call, partner) {
  switch (call.state) {
    case "offline":
      return "Not connected";
    case "connecting":
      return "Connecting…";
    case "reconnecting":
      return "Reconnecting…";
    case "ready":
      return "Ready";
    case "ringing":
      return "Incoming call";
    case "calling":
      return "Calling…";
    case "in-call":
      return partner === null ? "Setting up…" : callText(partner, call.isAlone);
    case "joining":
      return "Joining…";
    case "in-room":
      return "In the room";
    case "leaving":
      return "Leaving…";
    case "refused":
      return "Refused";
  }
}

/** @param {Partner} partner @param {boolean} isAlone */
function callText({ state, answered }, isAlone) {
  if (state === "connected") return isAlone ? "In a call, server gone" : "In a call";
  if (state === "failed") return "Call failed";
  if (state === "interrupted") return "Interrupted";
  return answered ? "Setting up…" : "Calling…";
}

/** The colour of the lamp beside it. @param {import("./call.js").Call} call @param {Partner | null} partner @returns {"good" | "busy" | "bad" | "off"} */
export function lamp(call, partner) {
  switch (call.state) {
    case "offline":
      return "off";
    case "refused":
      return "bad";
    case "in-call":
      return partner?.state === "connected" ? (call.isAlone ? "busy" : "good") : partner?.state === "failed" ? "bad" : "busy";
    case "ready":
    case "in-room":
      return "good";
    default:
      return "busy";
  }
}

/** @type {Record<NoticeCode, (subject: string) => string>} */
const NOTICES = {
  "uid-taken": (id) => `The name “${id}” is taken. Choose another one.`,
  refused: (reason) => `The server refused this page${reason ? `: ${reason}` : ""}.`,
  replaced: (id) => `You have connected as “${id}” somewhere else, and only one of the two can stay.`,
  "sent-away": () => "The operator of the server ended your connection.",
  "peer-not-found": (id) => `“${id}” was not found. Is the name right, and is the other side online?`,
  "peer-busy": (id) => `“${id}” is busy in another call. Try again later.`,
  "invalid-room": (id) => `“${id}” can't be the name of a room. Choose another one.`,
  "room-refused": (id) => `The server does not let you into the room “${id}”.`,
  "server-error": (text) => `The server says: ${text || "an error"}`,
  "peer-error": (text) => `The other side ended the call: ${text || "an error"}`,
  "server-unreachable": () => "The server can't be reached. Trying again…",
  "server-draining": () => "The server is shutting down and takes no new calls. Trying again…",
  "server-full": () => "The server is full. Trying again…",
  "server-restarts": () => "The server is restarting. Reconnecting…",
  "too-many": () => "The server gets too many requests from your network. Trying again…",
  "no-websocket": () => "The server answers, but no connection for calls can be opened. Perhaps a proxy is in the way. Trying again…",
  "server-lost": () => "The server is gone. Reconnecting…",
  "token-missing": () => "This server is for people with an access token. Ask for a link that has one.",
  "token-expired": () => "Your access token has expired. Ask for a new link.",
  "token-refused": () => "The server does not accept your access token. Ask for a new link.",
  "uid-refused": (id) => `Your access token does not allow the name “${id}”. Choose another one.`,
  "origin-refused": () => "The server takes no calls from pages of this address.",
  "bad-address": () => "The link names a signalling server that no call can go through: its address has to begin with wss://.",
  "no-answer": () => "The server did not answer. Try again.",
  "peer-left": (id) => (id ? `“${id}” ended the call.` : "The caller ended the call."),
  "not-taken": (id) => `“${id}” did not take the call.`,
  "missed-call": (id) => (id ? `You missed a call from “${id}”.` : "You missed a call."),
  "call-goes-on": () => "The server is gone. Your call goes on without it.",
  "call-cut": (id) => `The connection to ${id ? `“${id}”` : "the caller"} was lost, and the server is gone, too.`,
  "call-lost": () => "The call ended because the server is gone. Reconnecting…",
  "call-failed": () => "A call failed and was ended.",
  "room-too-large": () => "The room is larger than this page can show: some participants are missing.",
  back: () => "Connected to the server again.",
};

/** Notices whose subject is a text; that of the others is a name. @type {NoticeCode[]} */
const WITH_TEXT = ["refused", "server-error", "peer-error"];

/** @param {NoticeCode} code @param {string} subject */
export function noticeText(code, subject) {
  return NOTICES[code](shown(subject, WITH_TEXT.includes(code) ? MAX_TEXT : MAX_NAME));
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
  return caller === null ? "Incoming call" : `${shown(caller)} is calling you`;
}

/** @type {Record<DeviceError, string>} */
const DEVICE_ERRORS = {
  "not-found": "not found.",
  blocked: "blocked. Allow it in the browser's address bar, then choose it again.",
  "in-use": "in use by another program. Close that, then choose it again.",
  insecure: "not available: the browser wants https:// or localhost for that.",
  failed: "failed to start. Choose another one.",
  unplugged: "was taken away. The call goes on without it.",
};

/** @param {import("./media.js").Kind} kind @param {DeviceError | null} error */
export function deviceText(kind, error) {
  const name = kind === "video" ? "Camera" : "Microphone";
  if (error === "not-found") return `No ${name.toLowerCase()} found. The call works without.`;
  return error ? `${name} ${DEVICE_ERRORS[error]}` : "";
}

/** @type {Record<Failure, string>} */
const FAILURES = {
  "no-answer": "No answer.",
  "no-offer": "The other side did not begin.",
  "no-path": "No network path to the other side was found.",
  lost: "The connection was lost.",
  disagreement: "The two sides could not agree on how to send sound and pictures.",
};

/** The mark on a picture that is no longer new. @param {number} ms since its last frame */
export function staleText(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "No new picture";
  return `No new picture for ${seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`}`;
}

/** The text of a tile about its connection. @param {Partner & {reason: Failure | null}} peer */
export function peerText({ state, answered, reason }) {
  switch (state) {
    case "connecting":
      return answered ? "Connecting…" : "Waiting for an answer…";
    case "interrupted":
      return "Interrupted…";
    case "failed":
      return reason ? FAILURES[reason] : "The call failed.";
    default:
      return "";
  }
}
