// @ts-check
// STUN and TURN servers, and their errors in words. Pure. Apart from the test's other words, because calls use them, too (trail.js).

/**
 * @typedef {{key: import("../language.js").Key, values?: Record<string, string | number>}} Words
 * @typedef {{scheme: "stun" | "stuns" | "turn" | "turns", host: string, transport: "UDP" | "TCP" | "TLS"}} Server
 */

/** A server's URL in parts; null if it is none. @param {string} url RFC 7064, RFC 7065 @returns {Server | null} */
export function serverOf(url) {
  const [, scheme = "", host = "", transport = ""] = /^(stuns?|turns?):([^?]+)(?:\?transport=(\w+))?$/i.exec(url) ?? [];
  if (!scheme) return null;
  const isSecure = scheme.toLowerCase().endsWith("s");
  const over = isSecure ? "TLS" : transport.toLowerCase() === "tcp" ? "TCP" : "UDP";
  return { scheme: /** @type {Server["scheme"]} */ (scheme.toLowerCase()), host, transport: over };
}

/** @param {string} transport @param {number | null} code @returns {Words} */
export function turnError(transport, code) {
  switch (code) {
    case null:
    case 701:
      return { key: "check.turn.silent", values: { transport } };
    case 400:
    case 401:
    case 438:
    case 441:
      return { key: "check.turn.credentials", values: { code } };
    case 403:
      return { key: "check.turn.forbidden", values: { code } };
    case 486:
    case 508:
      return { key: "check.turn.full", values: { code } };
    default:
      return { key: "check.turn.error", values: { code } };
  }
}
