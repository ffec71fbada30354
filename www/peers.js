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
    return [...this.peers.values()].filter((peer) => peer.sendChat(text)).length;
  }

  /** Each further peer needs another encoder and a share of the uplink. Failed ones get nothing. */
  share() {
    const served = [...this.peers.values()].filter(({ state }) => state !== "failed");
    if (served.length === this.#shares) return;
    this.#shares = served.length;
    for (const peer of served) void peer.limit(served.length);
  }
}
