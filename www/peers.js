// @ts-check
// The peers that the page is connected with, and what they share. A base of calls (calls.js) and streams (streams.js).

export class Peers {
  /** @type {Map<string, import("./peer.js").Peer>} */ peers = new Map();
  /** How many peers share the camera. */ #shares = 0;

  /** @param {import("./peer.js").Peer} peer */
  add(peer) {
    this.peers.set(peer.uid, peer);
    this.share();
  }

  /** @param {string} uid */
  remove(uid) {
    this.peers.get(uid)?.close();
    this.peers.delete(uid);
    this.share();
  }

  /** Sends a text to all peers. @param {string} text @returns {number} how many get it */
  sendChat(text) {
    if (this.hasNode) return 0; // it takes data channels, but passes nothing on
    return [...this.peers.values()].filter((peer) => peer.sendChat(text)).length;
  }

  /** Whether a peer is the media node of a room, which passes our picture on and has none of its own. Overridden. @param {import("./peer.js").Peer} _peer */
  isNode(_peer) {
    return false;
  }

  /** Whether a media node passes our picture on: then it alone takes it. */
  get hasNode() {
    return [...this.peers.values()].some((peer) => this.isNode(peer));
  }

  /**
   * Each further peer that takes our picture needs another encoder and a share of the uplink. One that has not said yet whether it
   * does gets a share, unless a media node does. Failed ones get nothing.
   */
  share() {
    const { hasNode } = this;
    const served = [...this.peers.values()].filter(({ state, takesVideo }) => state !== "failed" && (takesVideo ?? !hasNode));
    if (served.length === this.#shares) return;
    this.#shares = served.length;
    for (const peer of served) void peer.limit(served.length);
  }
}
