// @ts-check
// Addresses at the signalling server, derived from that of its WebSocket.

/** The messages that we request in addition to the protocol's. A server that does not know them ignores this. */
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
 * The URLs where the server may answer HTTP requests, the likeliest first: beside the WebSocket; below its path, if
 * that is a prefix without its slash; at the root. A proxy may serve callbin below a path: the ICE servers of
 * `wss://host/calls/` are at `https://host/calls/ice-servers`.
 * All are at the server's own origin: `//other/x` as a path would name another host. A token may go only below the
 * server's own path: other paths of the host may be someone else's.
 * @param {string} server @param {string} name @param {boolean} hasToken whether the request carries the token
 * @returns {string[]} try the next one if the resource is not there
 */
export function httpUrls(server, name, hasToken) {
  try {
    const url = new URL(server.replace(/^ws/, "http"));
    const folder = url.pathname.replace(/[^/]*$/, "");
    const below = `${url.pathname.replace(/\/+$/, "")}/`;
    const own = folder === "/" ? below : folder;
    const paths = [name, `${below}${name}`.replace(/^\/+/, "/"), `/${name}`];
    const found = paths
      .map((path) => new URL(path, url))
      .filter(({ origin, pathname }) => origin === url.origin && (!hasToken || pathname.startsWith(own)));
    return [...new Set(found.map(({ href }) => href))];
  } catch {
    return [];
  }
}
