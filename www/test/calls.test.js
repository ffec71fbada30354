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

test("in a room through a media node it alone gets our picture, and texts get nowhere", () => {
  const { it, add } = calls();
  it.call.room = /** @type {any} */ ({});
  const a = Object.assign(add("a"), { takesVideo: null });
  const node = Object.assign(add("0"), { takesVideo: null, isLite: null });
  const b = Object.assign(add("b"), { takesVideo: null });
  assert.equal(it.hasNode, true);
  Object.assign(node, { takesVideo: true, isLite: true });
  it.peerChanged(node);
  assert.equal(node.shares, 1, "the others are not expected to take it");
  a.takesVideo = true; // a client that the node asks to send to all
  it.peerChanged(a);
  assert.deepEqual([node.shares, a.shares], [2, 2]);
  Object.assign(b, { takesVideo: false });
  it.peerChanged(b);
  assert.deepEqual([node.shares, it.sendChat("hi")], [2, 0]);
});

test("a member of that name that is no server, and a peer of a call, are members like others", () => {
  const { it, add } = calls();
  const other = Object.assign(add("0"), { isLite: true });
  assert.deepEqual([it.isNode(other), it.sendChat("hi")], [false, 1], "in a 1-1 call");
  it.call.room = /** @type {any} */ ({});
  other.isLite = false;
  assert.deepEqual([it.isNode(other), it.hasNode, it.sendChat("hi")], [false, false, 1]);
});

test("a peer that takes no picture takes no share", () => {
  const { it, add } = calls();
  const [a, b] = ["a", "b"].map((uid) => add(uid));
  assert.equal(a.shares, 2);
  b.takesVideo = false;
  it.peerChanged(b);
  assert.equal(a.shares, 1);
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
