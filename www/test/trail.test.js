import assert from "node:assert/strict";
import { test } from "node:test";

import { peerText } from "../texts.js";
import { Trail } from "../trail.js";
import "./english.js";

const TURN = ["stun:s:3478", "turn:t:3478?transport=tcp"];
const heard = () => {
  const trail = new Trail();
  trail.gathered("host");
  trail.heard("v=0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n");
  return trail;
};

test("a failed attempt names the step that failed", () => {
  const alone = new Trail();
  assert.deepEqual(alone.why(TURN, false), { key: "check.turn.silent", values: { transport: "TCP" } });
  alone.gathered("host");
  assert.deepEqual(alone.why(TURN, false), { key: "trail.no-remote" });
  assert.deepEqual(heard().why([], false), { key: "check.ice.none" });
  assert.deepEqual(heard().why(["stun:s:3478"], false), { key: "check.ice.no-turn" });
  assert.deepEqual(heard().why(TURN, true), { key: "trail.no-encryption" });
  assert.deepEqual(heard().why(TURN, false), { key: "check.turn.silent", values: { transport: "TCP" } });
  const refused = heard();
  refused.failed("stun:s:3478", 701);
  refused.failed("turn:t:3478?transport=tcp", 401);
  assert.deepEqual(refused.why(TURN, false), { key: "check.turn.credentials", values: { code: 401 } });
  const relayed = heard();
  relayed.gathered("relay");
  assert.deepEqual(relayed.why(TURN, false), { key: "trail.relayed" });
});

test("the tile says it in the words of the connection test", () => {
  const failed = { state: "failed", answered: true, reason: "no-path", detail: heard().why(TURN, false) };
  assert.equal(peerText(failed), "No network path to the other side was found. No answer over TCP. A firewall may block it, or the server is down.");
});

test("many errors take no memory", () => {
  const trail = heard();
  for (let i = 0; i < 10_000; i += 1) trail.failed("turn:t", i);
  assert.deepEqual(trail.why(TURN, false), { key: "check.turn.error", values: { code: 31 } });
});
