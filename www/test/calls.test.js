import assert from "node:assert/strict";
import { test } from "node:test";

import { Calls } from "../calls.js";
import { Views } from "../views.js";

/** Calls that have not begun, and a function that adds a peer to them. */
function calls() {
  const done = [];
  const it = new Calls({ id: "me", server: "ws://localhost/", token: "", iceServers: [], relay: false, autoAnswer: false }, { changed: () => {} });
  it.do = (event) => done.push(event);
  const add = (uid, hears = true) => {
    const peer = { uid, state: "connected", hungUp: false, heals: false, shares: 0, limit: async (n) => (peer.shares = n), sendChat: () => hears, close: () => (peer.state = "closed") };
    it.add(peer);
    return peer;
  };
  return { it, add, done };
}

test("peers share the camera, and one that has failed takes no part of it", () => {
  const { it, add, done } = calls();
  const [a, b, c] = ["a", "b", "c"].map((uid) => add(uid));
  assert.deepEqual([a.shares, b.shares, c.shares], [3, 3, 3]);
  b.state = "failed";
  it.peerChanged(b);
  assert.deepEqual([a.shares, b.shares, c.shares], [2, 3, 2]);
  assert.deepEqual(done, [{ type: "peer-dead", uid: "b", failed: true, hungUp: false, heals: false }]);
  b.state = "connected";
  it.peerChanged(b);
  assert.deepEqual([a.shares, b.shares, c.shares], [3, 3, 3]);
  it.remove("c");
  assert.deepEqual([c.state, a.shares, b.shares], ["closed", 2, 2]);
  it.peerChanged(a);
  assert.equal(done.length, 1);
});

test("a text counts those that it reaches", () => {
  const { it, add } = calls();
  add("a");
  add("b", false);
  add("c");
  assert.equal(it.sendChat("hi"), 2);
});

test("the name of a camera, a stranger's text, is bounded and has no control characters", (t) => {
  globalThis.MediaStream = class {
    getTrackById = () => null;
    addTrack() {}
  };
  t.after(() => delete globalThis.MediaStream);
  const named = (id) => {
    const views = new Views();
    views.add({ track: { kind: "video", id: "t" }, transceiver: {}, streams: [{ id }] });
    return views.first.name;
  };
  assert.deepEqual([named("front"), named("-"), named("a\u202eb\u0007")], ["front", "", "a\ufffdb\ufffd"]);
  assert.ok(named("x".repeat(5000)).length < 200);
});
