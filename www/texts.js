// @ts-check
// All that is said in words about states and errors: what is wrong, and what to do.

/**
 * @typedef {import("./call.js").NoticeCode} NoticeCode
 * @typedef {import("./media.js").DeviceError} DeviceError
 * @typedef {import("./peer.js").PeerState} PeerState
 */

/** The short text of `#status`. @param {import("./call.js").Call} call @param {PeerState | null} peer of the one peer of a 1-1 call */
export function statusText(call, peer) {
  switch (call.state) {
    case "offline":
      return "Not connected";
    case "connecting":
      return "Connecting…";
    case "reconnecting":
      return "Reconnecting…";
    case "ready":
      return "Ready";
    case "calling":
      return "Calling…";
    case "in-call":
      return peer === "connected" ? "In a call" : peer === "failed" ? "Call failed" : peer === "interrupted" ? "Interrupted" : "Setting up…";
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

/** @type {Record<NoticeCode, (subject: string) => string>} */
const NOTICES = {
  "uid-taken": (id) => `The name “${id}” is taken. Choose another one.`,
  refused: (reason) => `The server refused this page${reason ? `: ${reason}` : ""}.`,
  "peer-not-found": (id) => `“${id}” was not found. Is the name right, and is the other side online?`,
  "peer-busy": (id) => `“${id}” is busy in another call. Try again later.`,
  "invalid-room": (id) => `“${id}” can't be the name of a room. Choose another one.`,
  "server-error": (text) => `The server says: ${text || "an error"}`,
  "server-unreachable": () => "The server can't be reached. Trying again…",
  "server-lost": () => "The server is gone. Reconnecting…",
  "no-answer": () => "The server did not answer. Try again.",
  "peer-left": (id) => (id === "caller" ? "The caller ended the call." : `“${id}” ended the call.`),
  "call-lost": () => "The call ended because the server is gone. Reconnecting…",
  "room-too-large": () => "The room is larger than this page can show: some participants are missing.",
  back: () => "Connected to the server again.",
};

/** @param {NoticeCode} code @param {string} subject */
export function noticeText(code, subject) {
  return NOTICES[code](subject);
}

/** Whether a notice is good or passing news, not an error. @param {NoticeCode} code */
export function isGood(code) {
  return code === "back" || code === "peer-left";
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

/** What a tile says about its connection. @param {PeerState} state @param {string | null} reason */
export function peerText(state, reason) {
  switch (state) {
    case "connecting":
      return "Connecting…";
    case "interrupted":
      return "Interrupted…";
    case "failed":
      return `Failed: ${reason ?? "unknown reason"}`;
    default:
      return "";
  }
}
