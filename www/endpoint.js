// @ts-check
// Addresses at the signalling server, from that of its WebSocket.

/** What we ask the server to tell beside what the protocol tells everybody. One that does not know this ignores it. */
const WANTS = "caller,heartbeat";

/** The address to open the WebSocket at. @param {string} server */
export function socketUrl(server) {
  try {
    const url = new URL(server);
    url.searchParams.set("wants", WANTS);
    return url.href;
  } catch {
    return server;
  }
}

/** Whether a browser can open a WebSocket there, from a page of this protocol. @param {string} server @param {string} page `https:` or `http:` */
export function isUsable(server, page) {
  try {
    const { protocol, hostname } = new URL(server);
    const local = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
    return protocol === "wss:" || protocol === "https:" || (["ws:", "http:"].includes(protocol) && (page !== "https:" || local));
  } catch {
    return false;
  }
}

/**
 * Where the server may answer HTTP requests, the likeliest first: beside the WebSocket, below its path, should that be a
 * prefix without a slash, and at the root. A proxy may have given it a path of its own: `wss://host/calls/` has its ICE
 * servers at `https://host/calls/ice-servers`.
 * @param {string} server @param {string} name
 * @returns {string[]} the next one is for when what is asked for is not there
 */
export function httpUrls(server, name) {
  try {
    const url = new URL(server.replace(/^ws/, "http"));
    const below = `${url.pathname.replace(/\/+$/, "")}/${name}`;
    return [...new Set([name, below, `/${name}`].map((path) => new URL(path, url).href))];
  } catch {
    return [];
  }
}
