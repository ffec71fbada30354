// @ts-check
// What an attempt to connect to a peer has shown so far, and which step of it failed. Pure. The words are those of the
// connection test (check/).

import { serverOf, turnError } from "./check/servers.js";

/** @typedef {import("./check/servers.js").Words} Words */

/** Most errors kept of one attempt. */
const MAX_ERRORS = 32;

export class Trail {
  /** Types of our candidates: `host`, `srflx`, `relay`. @type {Set<string>} */ #own = new Set();
  /** The number of the peer's candidates. */ #theirs = 0;
  /** @type {{url: string, code: number}[]} */ #errors = [];

  /** @param {string | null | undefined} type of one of our candidates */
  gathered(type) {
    if (type) this.#own.add(type);
  }

  /** @param {string} text a candidate or a description of the peer */
  heard(text) {
    this.#theirs += text.match(/candidate:/g)?.length ?? 0;
  }

  /** A STUN or TURN server failed. @param {string} url @param {number} code */
  failed(url, code) {
    if (this.#errors.length < MAX_ERRORS) this.#errors.push({ url, code });
  }

  /**
   * Why there is no path.
   * @param {string[]} servers URLs of the STUN and TURN servers @param {boolean} hasPath whether ICE has found one
   * @returns {Words | null} null if nothing points to a cause
   */
  why(servers, hasPath) {
    if (hasPath) return { key: "trail.no-encryption" };
    // Without addresses of our own the fault is here.
    if (this.#theirs === 0 && this.#own.size > 0) return { key: "trail.no-remote" };
    if (this.#own.has("relay")) return { key: "trail.relayed" };
    const relays = servers.map(serverOf).filter((server) => server?.scheme.startsWith("turn"));
    if (relays.length === 0) return { key: servers.length === 0 ? "check.ice.none" : "check.ice.no-turn" };
    const error = this.#errors.findLast(({ url }) => url.startsWith("turn"));
    const transport = (error && serverOf(error.url)?.transport) ?? relays[0]?.transport ?? "UDP";
    return turnError(transport, error?.code ?? null);
  }
}
