// @ts-check
// The report of a connection test as text, to be sent to a support engineer. It has no token, credential or network address of
// the user: only what the steps say, and the names of the servers. Pure.

/** @type {Record<import("./verdicts.js").Mark, string>} */
const SIGNS = { good: "+", warning: "!", bad: "-", running: "?" };

/**
 * @param {{mark: import("./verdicts.js").Mark, title: string, text: string}[]} lines the first is the result
 * @param {{page: string, server: string, browser: string, time: string}} about addresses of the page and of its server
 */
export function report(lines, { page, server, browser, time }) {
  const head = [`callbin ${time}`, ...new Set([bare(page), bare(server)].filter(Boolean)), browser];
  return [...head, "", ...lines.map(({ mark, title, text }) => `${SIGNS[mark]} ${title}${title ? ": " : ""}${text}`), ""].join("\n");
}

/** An address without its query, in which a token may be, and without credentials. @param {string} address */
function bare(address) {
  try {
    const { protocol, host, pathname } = new URL(address);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return "";
  }
}
