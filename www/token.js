// @ts-check
// The access token that a server may require: from the page's address to the server. URLs end up in histories, in logs of
// proxies, and in links that people copy, so the token stays in none of them.

/**
 * The token in the page's address, which is taken out of it. A reload finds it again in the history, which no other
 * site can read.
 * @param {URL} url
 * @param {Pick<History, "state" | "replaceState">} history
 * @returns {string} empty if there is none
 */
export function takeToken(url, history) {
  const token = url.searchParams.get("token");
  if (token === null) return typeof history.state?.token === "string" ? history.state.token : "";
  const clean = new URL(url);
  clean.searchParams.delete("token");
  history.replaceState({ token }, "", clean.href);
  return token;
}

/** What a WebSocket has to name as subprotocols: no other header is left to a page. @param {string} token */
export function subprotocols(token) {
  return token ? ["callbin", `token.${token}`] : [];
}

/**
 * The name to register as by default, if the token leaves no other choice. Its signature is the server's to check.
 * @param {string} token
 * @param {() => string} random makes a name, for a token that fixes its beginning only
 * @returns {string} empty if any name will do
 */
export function uidOf(token, random) {
  const { uid, sub } = claims(token);
  if (typeof uid !== "string") return "";
  if (!uid.endsWith("*")) return uid;
  const prefix = uid.slice(0, -1);
  if (prefix === "") return "";
  return typeof sub === "string" && sub.startsWith(prefix) ? sub : `${prefix}${/[\p{L}\p{N}]$/u.test(prefix) ? "-" : ""}${random()}`;
}

/** What a token says (RFC 7519). @param {string} token @returns {Record<string, unknown>} */
function claims(token) {
  try {
    const base64 = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const value = JSON.parse(new TextDecoder().decode(bytes));
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}
