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
