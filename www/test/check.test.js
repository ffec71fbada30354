import assert from "node:assert/strict";
import { test } from "node:test";

import { report } from "../check/report.js";
import { serverOf } from "../check/servers.js";
import * as judge from "../check/verdicts.js";
import { say } from "../language.js";
import "./english.js";

const key = (verdict) => [verdict.mark, verdict.key];
const step = (id, mark) => ({ id, title: { key: "check.ice" }, verdict: { mark, key: "check.failed" } });

test("a server's URL is understood", () => {
  assert.deepEqual(serverOf("stun:a.org"), { scheme: "stun", host: "a.org", transport: "UDP" });
  assert.deepEqual(serverOf("turn:[::1]:3478?transport=tcp"), { scheme: "turn", host: "[::1]:3478", transport: "TCP" });
  assert.deepEqual(serverOf("turns:a:5349?transport=tcp"), { scheme: "turns", host: "a:5349", transport: "TLS" });
  assert.equal(serverOf("http://a"), null);
});

test("devices: missing, black, silent, and good ones", () => {
  assert.deepEqual(key(judge.deviceVerdict("video", { error: "not-found" })), ["warning", "device.video.not-found"]);
  assert.deepEqual(key(judge.deviceVerdict("audio", { error: "blocked" })), ["bad", "device.audio.blocked"]);
  assert.deepEqual(key(judge.deviceVerdict("video", { error: null, width: 640, height: 480, brightness: 3 })), ["warning", "check.camera.black"]);
  assert.deepEqual(judge.deviceVerdict("video", { error: null, width: 640, height: 480, brightness: 200 }), { mark: "good", key: "check.camera.good", values: { width: 640, height: 480 } });
  assert.deepEqual(key(judge.deviceVerdict("audio", { error: null, level: 0.0001 })), ["warning", "check.microphone.silent"]);
  assert.deepEqual(key(judge.deviceVerdict("audio", { error: null, level: null })), ["warning", "check.microphone.unmeasured"]);
  assert.deepEqual(key(judge.deviceVerdict("audio", { error: null, level: 0.1 })), ["good", "check.microphone.good"]);
});

test("signalling: registered, refused with a reason, or not even opened", () => {
  assert.deepEqual(key(judge.signallingVerdict({ ms: 12, why: null, error: "", id: "me" })), ["good", "check.signalling.good"]);
  assert.deepEqual(key(judge.signallingVerdict({ ms: null, why: "token-expired", error: "", id: "me" })), ["bad", "why.token-expired"]);
  assert.deepEqual(judge.signallingVerdict({ ms: null, why: null, error: "not today", id: "me" }).values, { error: "not today" });
  assert.deepEqual(key(judge.signallingVerdict({ ms: null, why: null, error: "", id: "me" })), ["bad", "notice.no-answer"]);
});

test("the list of servers says in which networks calls fail", () => {
  const servers = (...urls) => judge.serversVerdict(urls.map(serverOf)).key;
  assert.equal(servers(), "check.ice.none");
  assert.equal(servers("stun:a"), "check.ice.no-turn");
  assert.equal(servers("stun:a", "turn:a"), "check.ice.only-udp");
  assert.equal(servers("turn:a", "turns:a:443"), "check.ice.good");
});

test("a server that is silent, refuses, or is full is told apart", () => {
  const turn = serverOf("turns:a:443");
  const found = (ms, code) => judge.serverVerdict(turn, { ms, code });
  assert.deepEqual(found(20, null), { mark: "good", key: "check.turn.good", values: { ms: 20 } });
  assert.deepEqual(found(null, 701), { mark: "bad", key: "check.turn.silent", values: { transport: "TLS" } });
  assert.deepEqual([401, 403, 486, 500].map((code) => found(null, code).key), ["check.turn.credentials", "check.turn.forbidden", "check.turn.full", "check.turn.error"]);
  const stun = serverOf("stun:a");
  assert.deepEqual([[5, null], [null, null], [null, 701]].map(([ms, code]) => judge.serverVerdict(stun, { ms, code }).key), ["check.stun.good", "check.stun.direct", "check.stun.silent"]);
});

test("the slower direction of the bandwidth decides", () => {
  const marks = [[5000, 4000], [5000, 400], [50, 5000]].map(([there, back]) => judge.bandwidthVerdict(there, back, String).mark);
  assert.deepEqual(marks, ["good", "warning", "bad"]);
});

test("the result is that of the step that matters most", () => {
  const result = (...steps) => judge.summary(steps).key;
  assert.equal(result(step("camera", "running")), "check.summary.running");
  assert.equal(result(step("camera", "good"), step("signalling", "bad"), step("turn-0", "bad")), "check.summary.no-server");
  assert.equal(result(step("turn-0", "bad"), step("turn-1", "bad")), "check.summary.no-relay");
  assert.equal(result(step("turn-0", "bad"), step("turn-1", "good"), step("loop", "good")), "check.summary.partly");
  assert.equal(result(step("turn-0", "good"), step("loop", "bad")), "check.summary.no-relay");
  assert.equal(result(step("microphone", "warning")), "check.summary.warnings");
  assert.equal(result(step("camera", "good")), "check.summary.good");
});

test("the report has the steps, and nothing secret", () => {
  const about = { page: "https://user:pw@a.org/calls/?token=SECRET&test=1#SECRET", server: "wss://b.org/?token=SECRET", browser: "Browser/1", time: "2026-01-01T00:00:00Z" };
  const text = report([{ mark: "good", title: "", text: say("check.summary.good") }, { mark: "bad", title: "Camera", text: "Gone." }], about);
  assert.deepEqual(text.split("\n"), ["callbin 2026-01-01T00:00:00Z", "https://a.org/calls/", "wss://b.org/", "Browser/1", "", `+ ${say("check.summary.good")}`, "- Camera: Gone.", ""]);
  assert.doesNotMatch(text, /SECRET|pw/);
  assert.match(report([], { ...about, server: "not an address" }), /^callbin/);
});
