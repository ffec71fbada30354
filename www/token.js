// @ts-check
// The access token that a server may require: from the page's address to the server. URLs end up in histories, proxy
// logs and copied links, so the token is kept out of all of them.

/**
 * Removes the token from the page's address and returns it. A reload finds it in the history's state, which no other
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

/** The subprotocols for the WebSocket, which carry the token: a page can set no other header. @param {string} token */
export function subprotocols(token) {
  return token ? ["callbin", `token.${token}`] : [];
}

/**
 * The default uid, if the token restricts it. The server checks the token's signature.
 * @param {string} token
 * @param {() => string} random makes the rest of the name, for a token that fixes only its beginning
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

/** The claims of a token (RFC 7519). @param {string} token @returns {Record<string, unknown>} */
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
