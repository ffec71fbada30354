import assert from "node:assert/strict";
import { test } from "node:test";

import { IceServers, usable } from "../ice.js";

const TURN = { urls: ["turn:t.example"], username: "1:a", credential: "x" };

function asked(answer, token = "") {
  const requests = [];
  const request = async (url, { headers }) => {
    requests.push({ url, headers });
    if (answer instanceof Error) throw answer;
    return { ok: true, status: 200, json: async () => answer };
  };
  return { requests, ice: new IceServers({ url: "wss://s:1/?y", token, extra: [] }, request) };
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

test("offers are for peers that don't bundle, too", () => {
  assert.equal(asked({}).ice.configuration.bundlePolicy, "balanced");
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

/** Requests whose answers the test gives: `answers` holds the functions to call, in order. */
function asking() {
  const answers = [];
  const request = () => new Promise((resolve, reject) => answers.push({ resolve, reject }));
  const ice = new IceServers({ url: "wss://s/", token: "", extra: [] }, request);
  const give = async (i, iceServers, ttl = 3600) => {
    answers[i].resolve({ ok: true, status: 200, json: async () => ({ iceServers, ttl }) });
    await settled();
  };
  return { ice, answers, give };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("after an error it asks again soon, then less and less often", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { ice, answers, give } = asking();
  ice.follow("a");
  for (const [i, seconds] of [10, 20, 40, 60, 60].entries()) {
    if (i % 2) answers[i].resolve({ ok: false, status: 503 });
    else answers[i].reject(new Error("gone"));
    await settled();
    context.mock.timers.tick(seconds * 1000 - 1);
    assert.equal(answers.length, i + 1);
    context.mock.timers.tick(1);
    assert.equal(answers.length, i + 2, `after ${seconds} s`);
  }
  await give(5, [TURN]);
  assert.deepEqual(ice.configuration.iceServers, [TURN]);
  context.mock.timers.tick(60_000);
  assert.equal(answers.length, 6);
});

test("a server that has none, or refuses us, is not asked again soon", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  for (const status of [401, 403, 404, 426]) {
    const { ice, answers } = asking();
    ice.follow("a");
    answers[0].resolve({ ok: false, status });
    await ice.ready;
    context.mock.timers.tick(60_000);
    assert.equal(answers.length, 1, `${status}`);
  }
});

test("of overlapping questions the last one counts, and has the only timer", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { ice, answers, give } = asking();
  ice.follow("a");
  const first = ice.ready;
  ice.follow("b");
  await give(1, [TURN], 100);
  await give(0, [], 50);
  await first;
  assert.deepEqual(ice.configuration.iceServers, [TURN]);
  context.mock.timers.tick(79_999);
  assert.equal(answers.length, 2);
  context.mock.timers.tick(1);
  assert.equal(answers.length, 3);
});

test("behind a proxy's path the server is asked there, and at the root where that is not known", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  const request = async (url) => {
    asked.push(url);
    if (url.includes("/web/")) return { ok: true, status: 200, json: async () => JSON.parse("<html>") };
    const found = !url.includes("/calls/");
    return { ok: found, status: found ? 200 : 404, json: async () => ({ iceServers: [TURN] }) };
  };
  for (const folder of ["calls", "web"]) {
    const ice = new IceServers({ url: `wss://s/${folder}/?x`, token: "", extra: [] }, request);
    ice.follow("a");
    await ice.ready;
    assert.deepEqual(asked.splice(0), [`https://s/${folder}/ice-servers?uid=a`, "https://s/ice-servers?uid=a"]);
    assert.deepEqual(ice.configuration.iceServers, [TURN]);
  }
});

test("the token is not sent to the root of a host where the server has a path", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  const request = async (url) => {
    asked.push(url);
    return { ok: false, status: 404 };
  };
  const ice = new IceServers({ url: "wss://s/calls/", token: "t", extra: [] }, request);
  ice.follow("a");
  await ice.ready;
  assert.deepEqual(asked, ["https://s/calls/ice-servers?uid=a"]);
});

test("what a browser does not take is left out, with a warning", (context) => {
  const warn = context.mock.method(console, "warn", () => {});
  const good = [
    { urls: ["stun:s.example", "STUN:s.example:3478", "stuns:[2001:db8::1]:5349"] },
    TURN,
    { urls: ["turns:t.example:443?transport=tcp"], username: "u", credential: "c" },
  ];
  assert.deepEqual(usable(good), good);
  assert.equal(warn.mock.callCount(), 0);
  const bad = [
    { urls: "turn:t.example" },
    { urls: "turn:t.example", username: "", credential: "c" },
    { urls: "turn:t.example", username: "u", credential: 7 },
    { urls: "http://s.example" },
    { urls: "stun:" },
    { urls: "stun:a b" },
    { urls: "stun:s.example:99999" },
    { urls: "stun:s.example?transport=udp" },
    { urls: "turn:t.example?transport=sctp", username: "u", credential: "c" },
    { urls: [] },
    { urls: [7] },
    {},
    null,
    "stun:s.example",
  ];
  for (const server of bad) assert.deepEqual(usable([server]), [], JSON.stringify(server));
  assert.equal(warn.mock.callCount(), bad.length);
  assert.deepEqual(usable([{ urls: ["stun:s.example", "turn:t.example"] }]), [{ urls: ["stun:s.example"] }]);
  assert.deepEqual(usable("x"), []);
  assert.ok(usable(Array(1000).fill(TURN)).length < 100);
});
