import assert from "node:assert/strict";
import { test } from "node:test";

import { Socket, backOffMs } from "../socket.js";
import { seeded } from "./random.js";

class FakeWebSocket {
  static made = [];
  readyState = 0;
  sent = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeWebSocket.made.push(this);
  }
  send(text) {
    this.sent.push(text);
  }
  close() {
    this.readyState = 2;
  }
  opens() {
    this.readyState = 1;
    this.onopen?.();
  }
}

function socket(context) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  FakeWebSocket.made = [];
  const log = [];
  const events = { opened: () => log.push("opened"), text: (text) => log.push(text), closed: (code) => log.push(code) };
  return { log, socket: new Socket("ws://x/", ["callbin", "token.x"], events, { WebSocket: FakeWebSocket, random: () => 1 }), made: FakeWebSocket.made };
}

test("the back-off grows, is bounded and jitters", () => {
  assert.equal(backOffMs(0, () => 1), 500);
  assert.equal(backOffMs(0, () => 0), 250);
  assert.equal(backOffMs(3, () => 1), 4000);
  assert.equal(backOffMs(1e6, () => 1), 15_000);
  const random = seeded(1);
  assert.ok(new Set(Array.from({ length: 20 }, () => backOffMs(4, random))).size > 10);
});

test("each attempt names the subprotocols", (context) => {
  const { socket: s, made } = socket(context);
  s.connect();
  s.connect();
  assert.deepEqual(made.map(({ url, protocols }) => [url, protocols]), Array(2).fill(["ws://x/", ["callbin", "token.x"]]));
});

test("each attempt waits longer until one succeeded", (context) => {
  const { socket: s, made } = socket(context);
  s.connectLater();
  context.mock.timers.tick(500);
  assert.equal(made.length, 1);
  s.connectLater();
  context.mock.timers.tick(999);
  assert.equal(made.length, 1);
  context.mock.timers.tick(1);
  assert.equal(made.length, 2);
  s.succeeded();
  s.connectLater();
  context.mock.timers.tick(500);
  assert.equal(made.length, 3);
});

test("hurries only what waits to connect", (context) => {
  const { socket: s, made } = socket(context);
  s.hurry();
  assert.equal(made.length, 0);
  s.connectLater();
  s.hurry();
  s.hurry();
  assert.equal(made.length, 1);
  context.mock.timers.tick(500);
  assert.equal(made.length, 1);
  made[0].onclose({ code: 1008, reason: "uid not allowed" });
  s.hurry(); // whoever is told so doesn't want to come back
  assert.equal(made.length, 1);
});

test("a former socket says nothing any more", (context) => {
  const { socket: s, made, log } = socket(context);
  s.connect();
  made[0].opens();
  s.connect();
  assert.equal(made[0].onmessage, null);
  made[1].opens();
  s.send("x");
  assert.deepEqual([made[0].sent, made[1].sent, log], [[], ["x"], ["opened", "opened"]]);
});

test("a server that never answers a close or an attempt doesn't hold us up", (context) => {
  const { socket: s, made, log } = socket(context);
  s.connect();
  made[0].opens();
  s.close();
  context.mock.timers.tick(1000);
  assert.deepEqual(log, ["opened", 1006]);
  s.connect();
  context.mock.timers.tick(10_000);
  assert.deepEqual(log, ["opened", 1006, 1006]);
});

test("JSON may come in a binary frame, and nothing else", (context) => {
  const { socket: s, made, log } = socket(context);
  s.connect();
  made[0].opens();
  const bytes = (text) => new TextEncoder().encode(text).buffer;
  assert.equal(made[0].binaryType, "arraybuffer");
  made[0].onmessage({ data: bytes(' {"ice":null}') });
  for (const data of [bytes("SESSION_OK"), bytes(""), new Uint8Array([0x7b, 0xff]).buffer]) made[0].onmessage({ data });
  assert.deepEqual(log, ["opened", ' {"ice":null}']);
});
