// @ts-check
// Finds out why no WebSocket opens. The browser hides the reason, but the server answers the same question over HTTP.

import { httpUrls } from "./endpoint.js";

/**
 * @typedef {"server-unreachable" | "server-draining" | "server-full" | "too-many" | "no-websocket" | "token-missing"
 *   | "token-expired" | "token-refused" | "uid-refused" | "origin-refused" | "bad-address"} Why
 */

const DEADLINE_MS = 5000;

/**
 * @param {{url: string, token: string, uid: string}} whom `url` is that of the WebSocket
 * @param {typeof fetch} request
 * @returns {Promise<Why>}
 */
export async function askWhy({ url, token, uid }, request = fetch.bind(globalThis)) {
  const headers = /** @type {Record<string, string>} */ (token ? { Authorization: `Bearer ${token}` } : {});
  const ask = async (/** @type {string} */ name, /** @type {string} */ query) => {
    let found = { status: 0, text: "" };
    for (const address of httpUrls(url, name, token !== "")) {
      const answer = await request(`${address}${query}`, { headers, signal: AbortSignal.timeout(DEADLINE_MS) });
      found = { status: answer.status, text: answer.ok ? "" : await answer.text() };
      if (found.status !== 404) break;
    }
    return found;
  };
  try {
    const { status, text } = await ask("ice-servers", `?uid=${encodeURIComponent(uid)}`);
    const why = reason(status, text, token !== "");
    if (why) return why;
    // A draining server goes on to answer clients that are in a call.
    const ready = await ask("readyz", "").catch(() => null);
    return ready?.status === 503 ? "server-draining" : "no-websocket";
  } catch {
    return "server-unreachable";
  }
}

/** @param {number} status @param {string} text @param {boolean} hasToken @returns {Why | null} */
function reason(status, text, hasToken) {
  switch (status) {
    case 0:
      return "server-unreachable";
    case 401:
    case 403:
      return refusal(text.trim(), hasToken);
    case 429:
      return "too-many";
    case 503:
      return text.includes("shutting down") ? "server-draining" : "server-full";
    case 502:
    case 504:
      return "server-unreachable"; // the status comes from a proxy
    default:
      return null;
  }
}

/**
 * Only callbin's own texts are reasons that last. Others come from a proxy (a login, a firewall), and may pass.
 * @param {string} text @param {boolean} hasToken @returns {Why | null}
 */
function refusal(text, hasToken) {
  switch (text) {
    case "a token is needed":
      return hasToken ? "token-refused" : "token-missing";
    case "the token has expired":
      return "token-expired";
    case "the token is not valid":
    case "the token is not valid yet":
      return "token-refused";
    case "uid not allowed":
      return "uid-refused";
    case "origin not allowed":
      return "origin-refused";
    default:
      return null;
  }
}
