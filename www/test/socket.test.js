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
  const clock = { now: 0 };
  const text = (text) => {
    log.push(text);
    if (text === "HELLO") client.registered();
  };
  const events = { opened: () => log.push("opened"), text, closed: (code) => log.push(code) };
  const environment = { WebSocket: FakeWebSocket, random: () => 1, now: () => clock.now };
  const client = new Socket("ws://x/", ["callbin", "token.x"], events, environment);
  return { log, clock, socket: client, made: FakeWebSocket.made };
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

test("each attempt waits longer until one succeeded for a while", (context) => {
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
  context.mock.timers.tick(30_000);
  s.connectLater();
  context.mock.timers.tick(500);
  assert.equal(made.length, 3);
});

test("a pause after a busy server is added to the back-off", (context) => {
  const { socket: s, made } = socket(context);
  for (const pause of [5500, 6000]) {
    const before = made.length;
    s.connectLater(5000);
    context.mock.timers.tick(pause - 1);
    assert.equal(made.length, before);
    context.mock.timers.tick(1);
    assert.equal(made.length, before + 1);
  }
});

test("a pause that is bounded stays so after many attempts", (context) => {
  const { socket: s, made } = socket(context);
  for (let attempt = 0; attempt < 8; attempt += 1) {
    s.connectLater(0, 3000);
    context.mock.timers.tick(3000);
    assert.equal(made.length, attempt + 1);
  }
});

test("a registration, a call or a room resets the back-off only if it lasts", (context) => {
  const { socket: s, made } = socket(context);
  const registerFor = (ms) => {
    made.at(-1).opens();
    made.at(-1).onmessage({ data: "HELLO" });
    context.mock.timers.tick(20_000);
    s.succeeded(); // a room was joined
    context.mock.timers.tick(ms);
    made.at(-1).onclose({ code: 1013, reason: "" });
    s.connectLater();
  };
  s.connect();
  for (const pause of [500, 1000, 2000]) {
    registerFor(29_999);
    const before = made.length;
    context.mock.timers.tick(pause - 1);
    assert.equal(made.length, before, `${pause}`);
    context.mock.timers.tick(1);
    assert.equal(made.length, before + 1);
  }
  registerFor(30_000);
  context.mock.timers.tick(500);
  assert.equal(made.length, 5);
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
  s.hurry(); // after this close reason the socket must not reconnect
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

test("a server that has promised heartbeats and falls silent is taken for gone", (context) => {
  const { socket: s, made, log } = socket(context);
  const say = (data) => made.at(-1).onmessage({ data });
  s.connect();
  made[0].opens();
  say("HELLO");
  say("HEARTBEAT 15");
  for (let beats = 0; beats < 3; beats += 1) {
    context.mock.timers.tick(24_999);
    say(beats === 1 ? "SESSION_OK" : "HEARTBEAT 15"); // any frame is a sign of life
  }
  context.mock.timers.tick(24_999);
  assert.deepEqual(log, ["opened", "HELLO", "SESSION_OK"]);
  context.mock.timers.tick(1);
  assert.deepEqual(log, ["opened", "HELLO", "SESSION_OK", 1006]);
  assert.equal(made[0].readyState, 2);

  s.connect();
  made[1].opens();
  say("HELLO");
  context.mock.timers.tick(1e6);
  assert.deepEqual(log.slice(4), ["opened", "HELLO"], "each connection has to promise anew");

  s.connect();
  made[2].opens();
  say("HEARTBEAT 15"); // callbin-server sends it before HELLO
  say("HELLO");
  context.mock.timers.tick(25_000);
  assert.deepEqual(log.slice(6), ["opened", "HELLO", 1006]);
});

test("after a sleep what has arrived meanwhile counts", (context) => {
  const { socket: s, made, log, clock } = socket(context);
  s.connect();
  made[0].opens();
  for (const data of ["HELLO", "HEARTBEAT 15"]) made[0].onmessage({ data });
  clock.now = 3_600_000;
  context.mock.timers.tick(25_000); // wakes an hour late
  assert.deepEqual(log, ["opened", "HELLO"]);
  made[0].onmessage({ data: "HEARTBEAT 15" });
  context.mock.timers.tick(24_999);
  assert.deepEqual(log, ["opened", "HELLO"]);
  clock.now += 25_000;
  context.mock.timers.tick(1);
  assert.deepEqual(log, ["opened", "HELLO", 1006]);
});

test("a peer's heartbeats neither begin the check nor shorten the time", (context) => {
  const { socket: s, made, log, clock } = socket(context);
  const say = (data) => made.at(-1).onmessage({ data });
  const begin = (...texts) => {
    s.connect();
    made.at(-1).opens();
    say("HELLO");
    for (const each of texts) say(each);
    log.length = 0;
  };
  begin('{"ice":null}', "HEARTBEAT 1");
  context.mock.timers.tick(1e6);
  assert.deepEqual(log, [], "not after another frame");
  begin();
  clock.now += 5001;
  say("HEARTBEAT 1");
  context.mock.timers.tick(1e6);
  assert.deepEqual(log, [], "not later");
  begin("HEARTBEAT 15", "HEARTBEAT 0");
  context.mock.timers.tick(24_999);
  assert.deepEqual(log, []);
  say("HEARTBEAT 30");
  context.mock.timers.tick(39_999);
  assert.deepEqual(log, []);
  context.mock.timers.tick(1);
  assert.deepEqual(log, [1006]);
});

test("a server that does not answer HELLO is given up", (context) => {
  const { socket: s, made, log } = socket(context);
  s.connect();
  made[0].opens();
  made[0].onmessage({ data: "ERROR not yet" });
  context.mock.timers.tick(19_999);
  assert.equal(log.length, 2);
  context.mock.timers.tick(1);
  assert.deepEqual([log.slice(2), made[0].readyState], [[1006], 2]);
  s.connect();
  made[1].opens();
  made[1].onmessage({ data: "HELLO" });
  context.mock.timers.tick(1e6);
  assert.deepEqual(log.slice(3), ["opened", "HELLO"]);
});

test("who stays away does not come back", (context) => {
  const { socket: s, made, log } = socket(context);
  s.connectLater();
  s.stayAway();
  s.hurry();
  context.mock.timers.tick(60_000);
  assert.deepEqual([made.length, log], [0, []]);
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
