// @ts-check
// The parameters in the page's address.

import { isPeerId, isRoomId, randomId, toId } from "./ids.js";
import { takeToken, uidOf } from "./token.js";

/** @typedef {ReturnType<typeof readParameters>} Parameters */

/** Video m-lines in our offers, at most: a peer may have several cameras. Those of a watching page, which `callbin` can fill. */
const MAX_CAMERAS = 8;
const WATCHED_CAMERAS = 4;

/** @param {URL} url of the page @param {Pick<History, "state" | "replaceState">} history keeps the token */
export function readParameters(url, history) {
  const get = (/** @type {string} */ name) => url.searchParams.get(name) ?? "";
  const flag = (/** @type {string} */ name) => url.searchParams.has(name) && !["0", "false", "no"].includes(get(name));
  const stream = readStream(url);
  const room = stream ? "" : toId(get("room"));
  const stun = get("stun");
  const token = takeToken(url, history);
  const watches = stream ? stream === "play" : isRoomId(room) ? flag("watch") : toId(get("watch")) !== "";
  return {
    id: [toId(get("id")), uidOf(token, randomId)].find(isPeerId) ?? randomId(),
    room: isRoomId(room) ? room : "",
    badRoom: room && !isRoomId(room) ? room : "",
    peer: (stream && toId(get(stream))) || toId(get("call")) || (room ? "" : toId(get("watch"))),
    stream,
    watches,
    cameras: stream ? 1 : (cameras(get("cameras")) ?? (watches ? WATCHED_CAMERAS : 1)),
    join: flag("join") || (room !== "" && watches),
    figures: flag("hud"),
    saves: get("saver") === "" || flag("saver"),
    remoteOfferer: flag("remote-offerer"),
    autoAnswer: flag("auto-answer"),
    customServer: get("server"),
    foreignHost: foreignHost(get("server"), url),
    server: get("server") || new URL(".", url.origin.replace(/^http/, "ws") + url.pathname).href,
    devices: watches ? { audio: "none", video: "none" } : { audio: get("microphone"), video: get("camera") },
    token,
    isTest: flag("test"),
    relay: flag("relay"),
    iceServers: stun ? [{ urls: stun }] : [],
  };
}

/** What the page does with a stream, if its address says so. @param {URL} url @returns {"play" | "publish" | ""} */
function readStream({ searchParams }) {
  return (/** @type {const} */ (["play", "publish"])).find((name) => toId(searchParams.get(name) ?? "") !== "") ?? "";
}

/** @param {string} text */
function cameras(text) {
  const count = Number(text);
  return text && Number.isInteger(count) ? Math.min(MAX_CAMERAS, Math.max(1, count)) : null;
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
