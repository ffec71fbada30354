import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_PEERS, Room } from "../room.js";

const OFFER = '{"sdp":{"type":"offer","sdp":"v=0"}}';
const ANSWER = '{"sdp":{"type":"answer","sdp":"v=0"}}';
const ICE = '{"ice":{"candidate":"c","sdpMLineIndex":0}}';
const kinds = (effects) => effects.map(({ do: what, uid, reason }) => [what, uid, reason].filter(Boolean).join(" "));

function room(...members) {
  const room = new Room("r", "me");
  room.entered(members);
  return room;
}

test("we offer to those who were there, those who come offer to us", () => {
  const fresh = new Room("r", "me");
  assert.deepEqual(fresh.entered(["a", "b", "a", "me"]), [
    { do: "add-peer", uid: "a", offers: true },
    { do: "add-peer", uid: "b", offers: true },
  ]);
  assert.deepEqual(fresh.joined("c"), [{ do: "add-peer", uid: "c", offers: false }]);
});

test("an offer that overtakes the news of its sender is taken", () => {
  const r = room();
  assert.deepEqual(kinds(r.message("a", OFFER)), ["add-peer a", "signal a"]);
  assert.deepEqual(r.joined("a"), []);
  assert.equal(r.size, 1);
});

test("candidates that overtake everything are kept, an answer nobody wants makes no peer", () => {
  const r = room();
  assert.deepEqual(r.message("a", ICE), []);
  assert.deepEqual(kinds(r.joined("a")), ["add-peer a", "signal a"]);
  assert.deepEqual(r.message("b", ANSWER), []);
  assert.equal(r.size, 1);
});

test("who joins again without having left is met anew", () => {
  assert.deepEqual(kinds(room("a").joined("a")), ["remove-peer a replaced", "add-peer a"]);
});

test("who was met already is not met twice", () => {
  assert.deepEqual(room("a").entered(["a"]), []);
});

test("what somebody said before leaving is not kept for who comes next under that uid", () => {
  const r = room();
  r.message("a", ICE);
  r.left("a");
  assert.deepEqual(kinds(r.joined("a")), ["add-peer a"]);
});

test("news about strangers and nonsense change nothing", () => {
  const r = room("a");
  assert.deepEqual(r.left("x"), []);
  assert.deepEqual(r.message("a", "what?"), []);
  assert.deepEqual(r.message("x", "{}"), []);
  assert.equal(r.size, 1);
});

test("after the server is back, old connections are replaced or dropped, never leaked", () => {
  const r = room("a", "b", "c");
  r.lost();
  assert.deepEqual(kinds(r.entered(["a"])), ["remove-peer a replaced", "add-peer a"]);
  assert.deepEqual(kinds(r.joined("b")), ["remove-peer b replaced", "add-peer b"]);
  assert.deepEqual(r.dropStale("a"), []);
  assert.deepEqual(kinds(r.settle()), ["remove-peer c lost"]);
  assert.equal(r.size, 2);
});

test("a stale connection that dies is dropped at once", () => {
  const r = room("a");
  r.lost();
  assert.deepEqual(kinds(r.dropStale("a")), ["remove-peer a lost"]);
});

test("a crowd is bounded, and so is what strangers say", () => {
  const r = new Room("r", "me");
  const crowd = Array.from({ length: 1000 }, (_, i) => `p${i}`);
  assert.equal(r.entered(crowd).filter((effect) => effect.do === "add-peer").length, MAX_PEERS);
  assert.equal(r.size, MAX_PEERS);
  for (const uid of crowd) for (let i = 0; i < 100; i += 1) r.message(`s-${uid}`, ICE);
  assert.ok(r.joined("s-p1").length < 100);
});
