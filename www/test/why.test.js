import assert from "node:assert/strict";
import { test } from "node:test";

import { askWhy } from "../why.js";

/** The reason found for a server with these answers: status and text by path. */
async function why(answers, token = "t", url = "wss://h/calls/") {
  const asked = [];
  const request = async (address, { headers }) => {
    const { pathname } = new URL(address);
    asked.push([pathname, headers.Authorization]);
    const [status, text = ""] = answers[pathname] ?? [404];
    if (status === 0) throw new TypeError("Failed to fetch");
    return { status, ok: status === 200, text: async () => text };
  };
  return { why: await askWhy({ url, token, uid: "a b" }, request), asked };
}
const at = async (status, text, token) => (await why({ "/calls/ice-servers": [status, text] }, token)).why;

test("the answer to another request says why", async () => {
  for (const [status, text, expected] of [
    [401, "the token has expired", "token-expired"],
    [401, "the token is not valid\n", "token-refused"],
    [401, "the token is not valid yet\n", "token-refused"],
    [403, "uid not allowed\n", "uid-refused"],
    [403, "origin not allowed", "origin-refused"],
    [429, "too many requests from here", "too-many"],
    [503, "the server is full", "server-full"],
    [503, "the server is shutting down", "server-draining"],
    [502, "Bad Gateway", "server-unreachable"],
    [0, "", "server-unreachable"],
    [401, "<h1>401 Authorization Required</h1>", "no-websocket"],
    [401, "your session has expired", "no-websocket"],
    [403, "Request blocked. Support uid: 1234", "no-websocket"],
    [403, "", "no-websocket"],
  ]) {
    assert.equal(await at(status, text), expected, `${status} ${text}`);
  }
  assert.equal(await at(401, "a token is needed\n", ""), "token-missing");
  assert.equal(await at(401, "<h1>401 Authorization Required</h1>", ""), "no-websocket");
});

test("a server that answers everything but WebSockets drains, or a proxy is in the way", async () => {
  const { why: draining, asked } = await why({ "/ice-servers": [200], "/readyz": [503, "draining"] }, "");
  assert.equal(draining, "server-draining");
  assert.deepEqual(asked, ["/calls/ice-servers", "/ice-servers", "/calls/readyz", "/readyz"].map((path) => [path, undefined]));
  const withToken = await why({ "/ice-servers": [200], "/readyz": [503, "draining"] });
  assert.deepEqual(withToken.asked, [
    ["/calls/ice-servers", "Bearer t"],
    ["/calls/readyz", "Bearer t"],
  ]);
  for (const readyz of [[200], [404], [0]]) {
    assert.equal((await why({ "/calls/ice-servers": [200], "/calls/readyz": readyz })).why, "no-websocket");
  }
  assert.equal((await why({}, "", "nonsense")).why, "server-unreachable");
});
