import assert from "node:assert/strict";
import { test } from "node:test";

import { IceServers, iceServersUrl, withToken } from "../ice.js";

const TURN = { urls: ["turn:t.example"], username: "1:a", credential: "x" };

function asked(answer, token = "") {
  const requests = [];
  const request = async (url, { headers }) => {
    requests.push({ url, headers });
    if (answer instanceof Error) throw answer;
    return { ok: true, json: async () => answer };
  };
  return { requests, ice: new IceServers({ url: "wss://s:1/x?y", token, extra: [] }, request) };
}

test("asks beside the WebSocket, with the token in a header", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { ice, requests } = asked({ iceServers: [TURN, {}, null], ttl: 100 }, "t");
  ice.follow("a b");
  await ice.ready;
  assert.deepEqual(requests, [{ url: "https://s:1/ice-servers?uid=a%20b", headers: { Authorization: "Bearer t" } }]);
  assert.deepEqual(ice.configuration.iceServers, [TURN]);
  context.mock.timers.tick(80_000);
  assert.equal(requests.length, 2, "asked again before the credentials expire");
});

test("a server that doesn't answer, or nonsense, is no error", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  for (const answer of [new Error("gone"), {}, { iceServers: 7, ttl: "x" }, null]) {
    const { ice } = asked(answer);
    ice.follow("a");
    await ice.ready;
    assert.deepEqual(ice.configuration.iceServers, []);
  }
});

test("addresses", () => {
  assert.equal(iceServersUrl("ws://h:8443/deep/path?q"), "http://h:8443/ice-servers");
  assert.equal(withToken("ws://h/", ""), "ws://h/");
  assert.equal(withToken("ws://h/", "a+b"), "ws://h/?token=a%2Bb");
  assert.equal(withToken("ws://h/?x=1", "t"), "ws://h/?x=1&token=t");
});
