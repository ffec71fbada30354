// @ts-check
// The ICE servers that the signalling server names (`GET /ice-servers`), with credentials that expire.
// Without any, calls work within one network; a server that does not offer `/ice-servers` is no error.

import { httpUrls } from "./endpoint.js";

const DEADLINE_MS = 3000;
/** Time until the next request if the answer has no `ttl`, or if there are no ICE servers. */
const REFRESH_MS = 10 * 60_000;
/** Time until the next request after an error; it grows with each further error. */
const RETRY_MS = 10_000;
const MAX_RETRY_MS = 60_000;

export class IceServers {
  /** Resolves (never rejects) once the servers are known or the first request has failed. @type {Promise<void>} */
  ready = Promise.resolve();
  /** @type {RTCIceServer[]} */ #servers = [];
  /** Counts calls of `follow`. */ #turn = 0;
  #failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {{url: string, token: string, extra: RTCIceServer[], relay?: boolean}} where `url` is the WebSocket's;
   *   `relay`: only paths through a TURN server
   * @param {typeof fetch} request
   */
  constructor({ url, token, extra, relay = false }, request = fetch.bind(globalThis)) {
    this.urls = httpUrls(url, "ice-servers", token !== "");
    this.token = token;
    this.extra = usable(extra);
    this.policy = /** @type {RTCIceTransportPolicy} */ (relay ? "relay" : "all");
    this.request = request;
  }

  /**
   * `balanced`, because webrtcbin bundles only on request: such an offer suits peers with one transport as well as
   * peers with one per m-line.
   * @returns {RTCConfiguration}
   */
  get configuration() {
    return { bundlePolicy: "balanced", iceTransportPolicy: this.policy, iceServers: [...this.extra, ...this.#servers] };
  }

  /** Asks now for this uid, and again before the credentials expire. Drops earlier requests. @param {string} uid */
  follow(uid) {
    this.#turn += 1;
    this.#failures = 0;
    this.ready = this.#update(uid, this.#turn);
  }

  /** Asks no more. */
  stop() {
    this.#turn += 1;
    clearTimeout(this.#timer);
  }

  /** Asks once, and not again before the credentials expire. @param {string} uid */
  async once(uid) {
    this.#turn += 1;
    await this.#ask(uid, this.#turn);
  }

  /** @param {string} uid @param {number} turn @returns {Promise<void>} */
  async #update(uid, turn) {
    clearTimeout(this.#timer);
    const goodMs = await this.#ask(uid, turn);
    if (turn !== this.#turn) return this.ready;
    this.#failures = goodMs === null ? this.#failures + 1 : 0;
    const delay = goodMs === null ? Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.#failures - 1)) : Math.max(10_000, goodMs * 0.8);
    this.#timer = setTimeout(() => {
      this.ready = this.#update(uid, turn);
    }, delay);
  }

  /** @param {string} uid @param {number} turn @returns {Promise<number | null>} milliseconds the answer is valid, null for an error */
  async #ask(uid, turn) {
    try {
      for (const url of this.urls) {
        const answer = await this.#get(url, uid);
        if (isPassing(answer.status)) return null;
        if (answer.status === 401 || answer.status === 403) break;
        const { iceServers, ttl } = (answer.ok && (await answer.json().catch(notJson))) || {};
        if (!Array.isArray(iceServers)) continue; // not the list of ICE servers: try the next URL
        if (turn === this.#turn) this.#servers = usable(iceServers);
        return ttl > 0 ? Math.min(ttl * 1000, 2 ** 31 - 1) : REFRESH_MS;
      }
      return REFRESH_MS;
    } catch {
      return null;
    }
  }

  /** @param {string} url @param {string} uid */
  #get(url, uid) {
    const headers = /** @type {Record<string, string>} */ (this.token ? { Authorization: `Bearer ${this.token}` } : {});
    return this.request(`${url}?uid=${encodeURIComponent(uid)}`, { headers, signal: AbortSignal.timeout(DEADLINE_MS) });
  }
}

/** Invalid JSON counts as no answer; a broken connection stays an error. @param {unknown} error */
function notJson(error) {
  if (error instanceof SyntaxError) return null;
  throw error;
}

/** Whether the same request may succeed soon; not if the path is missing, or the server refuses us. @param {number} status */
function isPassing(status) {
  return status >= 500 || status === 408 || status === 429;
}

/** Most ICE servers used: more make connecting slower, not more reliable. */
const MAX_SERVERS = 16;

/**
 * The ICE servers that a browser accepts. A URL that it does not understand, or a TURN server without credentials,
 * would make the constructor of RTCPeerConnection throw, so that every call fails.
 * @param {unknown} servers
 * @returns {RTCIceServer[]}
 */
export function usable(servers) {
  if (!Array.isArray(servers)) return [];
  return servers.slice(0, MAX_SERVERS).flatMap((server) => {
    const { username, credential } = server ?? {};
    const given = [server?.urls ?? []].flat();
    const urls = given.filter((url) => isUsable(url, isText(username) && isText(credential)));
    if (urls.length < given.length || given.length === 0) console.warn("callbin: the server names an ICE server that browsers do not take:", given);
    if (urls.length === 0) return [];
    return [isText(username) && isText(credential) ? { urls, username, credential } : { urls }];
  });
}

/** RFC 7064 and RFC 7065: `turn:host:port?transport=udp`. The host is a name or an IP address, IPv6 in brackets. */
const ICE_URL = /^(stuns?|turns?):(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::(\d{1,5}))?(\?transport=(?:udp|tcp))?$/i;

/** @param {unknown} url @param {boolean} hasCredentials */
function isUsable(url, hasCredentials) {
  const [, scheme, , port = "1", transport] = (typeof url === "string" && ICE_URL.exec(url)) || [];
  if (!scheme || Number(port) < 1 || Number(port) > 65535) return false;
  return scheme.toLowerCase().startsWith("turn") ? hasCredentials : !transport;
}

/** @param {unknown} value */
function isText(value) {
  return typeof value === "string" && value !== "";
}
