// @ts-check
// The ICE servers to use: those the signalling server names (`GET /ice-servers`), with credentials that expire.
// Without any, calls work within one network, and a server that knows nothing of this is no error.

const DEADLINE_MS = 3000;
/** When the answer doesn't say how long it is good, or that there is nothing to be had. */
const REFRESH_MS = 10 * 60_000;
/** After an error: soon, but less and less so. */
const RETRY_MS = 10_000;
const MAX_RETRY_MS = 60_000;

export class IceServers {
  /** Settles, always well, once the servers are known or will not be. @type {Promise<void>} */
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
    this.url = iceServersUrl(url);
    this.token = token;
    this.extra = extra;
    this.policy = /** @type {RTCIceTransportPolicy} */ (relay ? "relay" : "all");
    this.request = request;
  }

  /**
   * Balanced, as webrtcbin bundles only when told to: an offer is then for peers with one transport and for those
   * with one for each m-line.
   * @returns {RTCConfiguration}
   */
  get configuration() {
    return { bundlePolicy: "balanced", iceTransportPolicy: this.policy, iceServers: [...this.extra, ...this.#servers] };
  }

  /** Asks now, for this uid, and again before the credentials expire. What was asked before counts no more. @param {string} uid */
  follow(uid) {
    this.#turn += 1;
    this.#failures = 0;
    this.ready = this.#update(uid, this.#turn);
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

  /** @param {string} uid @param {number} turn @returns {Promise<number | null>} for how long the answer is good, null for an error */
  async #ask(uid, turn) {
    try {
      const headers = /** @type {Record<string, string>} */ (this.token ? { Authorization: `Bearer ${this.token}` } : {});
      const answer = await this.request(`${this.url}?uid=${encodeURIComponent(uid)}`, { headers, signal: AbortSignal.timeout(DEADLINE_MS) });
      if (!answer.ok) return isPassing(answer.status) ? null : REFRESH_MS;
      const { iceServers, ttl } = await answer.json();
      if (Array.isArray(iceServers) && turn === this.#turn) this.#servers = iceServers.filter((server) => server?.urls);
      return ttl > 0 ? Math.min(ttl * 1000, 2 ** 31 - 1) : REFRESH_MS;
    } catch {
      return null;
    }
  }
}

/** Whether the same question may be answered soon. Who has no such address, or refuses us, will do so again. @param {number} status */
function isPassing(status) {
  return status >= 500 || status === 408 || status === 429;
}

/** Beside the WebSocket, whatever its path and query. @param {string} url */
export function iceServersUrl(url) {
  try {
    return new URL("/ice-servers", url.replace(/^ws/, "http")).href;
  } catch {
    return "/ice-servers";
  }
}
