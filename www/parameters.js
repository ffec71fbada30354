// @ts-check
// The parameters in the page's address.

import { isPeerId, isRoomId, randomId, toId } from "./ids.js";
import { takeToken, uidOf } from "./token.js";

/** @typedef {ReturnType<typeof readParameters>} Parameters */

/** @param {URL} url of the page @param {Pick<History, "state" | "replaceState">} history keeps the token */
export function readParameters(url, history) {
  const get = (/** @type {string} */ name) => url.searchParams.get(name) ?? "";
  const flag = (/** @type {string} */ name) => url.searchParams.has(name) && !["0", "false", "no"].includes(get(name));
  const room = toId(get("room"));
  const stun = get("stun");
  const token = takeToken(url, history);
  return {
    id: [toId(get("id")), uidOf(token, randomId)].find(isPeerId) ?? randomId(),
    room: isRoomId(room) ? room : "",
    badRoom: room && !isRoomId(room) ? room : "",
    peer: toId(get("call")),
    join: flag("join"),
    remoteOfferer: flag("remote-offerer"),
    autoAnswer: flag("auto-answer"),
    language: get("lang"),
    customServer: get("server"),
    foreignHost: foreignHost(get("server"), url),
    server: get("server") || new URL(".", url.origin.replace(/^http/, "ws") + url.pathname).href,
    devices: { audio: get("microphone"), video: get("camera") },
    token,
    relay: flag("relay"),
    iceServers: stun ? [{ urls: stun }] : [],
  };
}

/** The server's host if it is not the page's, else empty. @param {string} server @param {URL} page */
function foreignHost(server, page) {
  try {
    const { host } = new URL(server, page);
    return host === page.host ? "" : host;
  } catch {
    return ""; // not an address: no socket can be opened either
  }
}
