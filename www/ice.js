// @ts-check
// The ICE servers to use: those the signalling server names (`GET /ice-servers`), with credentials that expire.
// Without any, calls work within one network, and a server that knows nothing of this is no error.

const DEADLINE_MS = 3000;
/** When the answer doesn't say how long it is good, or failed. */
const REFRESH_MS = 10 * 60_000;

export class IceServers {
  /** Settles, always well, once the servers are known or will not be. @type {Promise<void>} */
  ready = Promise.resolve();
  /** @type {RTCIceServer[]} */ #servers = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {{url: string, token: string, extra: RTCIceServer[], relay?: boolean}} where `url` is the WebSocket's;
   *   `relay`: only paths through a TURN server
   * @param {typeof fetch} request
   */
  constructor({ url, token, extra, relay = false }, request = fetch.bind(globalThis)) {
    this.url = iceServersUrl(url);
    this.token = token;
    this.extra = extra;
    this.policy = /** @type {RTCIceTransportPolicy} */ (relay ? "relay" : "all");
    this.request = request;
  }

  /** @returns {RTCConfiguration} */
  get configuration() {
    return { bundlePolicy: "max-bundle", iceTransportPolicy: this.policy, iceServers: [...this.extra, ...this.#servers] };
  }

  /** Asks now, for this uid, and again before the credentials expire. @param {string} uid */
  follow(uid) {
    clearTimeout(this.#timer);
    this.ready = this.#ask(uid).then((ttlMs) => {
      this.#timer = setTimeout(() => this.follow(uid), Math.max(10_000, ttlMs * 0.8));
    });
  }

  /** @param {string} uid @returns {Promise<number>} for how long the answer is good */
  async #ask(uid) {
    try {
      const headers = /** @type {Record<string, string>} */ (this.token ? { Authorization: `Bearer ${this.token}` } : {});
      const answer = await this.request(`${this.url}?uid=${encodeURIComponent(uid)}`, { headers, signal: AbortSignal.timeout(DEADLINE_MS) });
      if (!answer.ok) return REFRESH_MS;
      const { iceServers, ttl } = await answer.json();
      if (Array.isArray(iceServers)) this.#servers = iceServers.filter((server) => server?.urls);
      return ttl > 0 ? Math.min(ttl * 1000, 2 ** 31 - 1) : REFRESH_MS;
    } catch {
      return REFRESH_MS;
    }
  }
}

/** Beside the WebSocket, whatever its path and query. @param {string} url */
export function iceServersUrl(url) {
  try {
    return new URL("/ice-servers", url.replace(/^ws/, "http")).href;
  } catch {
    return "/ice-servers";
  }
}

/** The WebSocket's address with the token that a server may want. @param {string} url @param {string} token */
export function withToken(url, token) {
  if (!token) return url;
  return `${url}${url.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
}
