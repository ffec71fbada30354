import assert from "node:assert/strict";
import { test } from "node:test";

import { Call } from "../call.js";
import { lamp, noticeText, peerText, ringText, shown, statusText } from "../texts.js";
import "./english.js";

function inCall() {
  const call = new Call("me", { autoAnswer: true });
  for (const event of [{ type: "register" }, { type: "opened" }, { type: "text", text: "HELLO" }, { type: "text", text: "CALLER anna" }]) call.handle(event);
  return call;
}
const partner = (state, answered = true) => ({ state, answered });

test("the lamp says what the words beside it say", () => {
  const call = inCall();
  for (const [other, words, colour] of [
    [partner("connected"), "In a call", "good"],
    [partner("failed"), "Call failed", "bad"],
    [partner("interrupted"), "Interrupted", "busy"],
    [partner("connecting"), "Setting up…", "busy"],
    [partner("connecting", false), "Calling…", "busy"],
    [null, "Setting up…", "busy"],
  ]) {
    assert.deepEqual([statusText(call, other), lamp(call, other)], [words, colour]);
  }
  call.handle({ type: "closed", code: 1006, reason: "", flows: true });
  assert.deepEqual([statusText(call, partner("connected")), lamp(call, partner("connected"))], ["In a call, server gone", "busy"]);
  assert.deepEqual([statusText(call, partner("failed")), lamp(call, partner("failed"))], ["Interrupted", "busy"], "it waits for the server and a path");
  for (const [state, colour] of [["offline", "off"], ["refused", "bad"], ["ready", "good"], ["in-room", "good"], ["ringing", "busy"], ["reconnecting", "busy"]]) {
    call.state = state;
    assert.equal(lamp(call, null), colour, state);
  }
});

test("failures are told in plain words", () => {
  for (const reason of ["no-answer", "no-offer", "no-path", "lost", "disagreement", null]) {
    const text = peerText({ state: "failed", answered: true, reason });
    assert.match(text, /^[A-Z].*\.$/);
    assert.doesNotMatch(text, /Error|undefined|negotiation/);
  }
  const lost = { state: "failed", answered: true, reason: "lost" };
  assert.deepEqual([peerText(lost), peerText(lost, true)], ["The connection was lost.", "Interrupted…"]);
  assert.equal(peerText({ state: "connecting", answered: false, reason: null }), "Waiting for an answer…");
});

test("who calls is named where the server tells", () => {
  assert.deepEqual([ringText("anna"), ringText(null)], ["anna is calling you", "Incoming call"]);
});

test("what a stranger wrote can neither reverse nor hide nor flood what stands beside it", () => {
  assert.equal(shown("anna"), "anna");
  assert.equal(shown("čeněk-李😀"), "čeněk-李😀");
  assert.equal(shown("a\u202egnp\u200b\u0000\ud800"), "a\ufffdgnp\ufffd\ufffd\ufffd");
  assert.equal(shown("one\r\n\ttwo"), "one two");
  for (const [each, max] of [["x", 128], ["😀", 128], ["x", 200]]) {
    assert.equal(shown(each.repeat(max), max), each.repeat(max));
    for (const length of [max + 1, 10_000]) assert.equal(shown(each.repeat(length), max), `${each.repeat(max - 1)}…`);
  }
  const hostile = `\u202e${"x".repeat(1 << 20)}`;
  assert.equal(ringText(hostile), `\ufffd${"x".repeat(126)}… is calling you`);
  assert.equal(noticeText("missed-call", hostile), `You missed a call from “\ufffd${"x".repeat(126)}…”.`);
  for (const code of ["peer-error", "server-error", "refused"]) {
    const text = noticeText(code, hostile);
    assert.ok(text.includes(`: \ufffd${"x".repeat(198)}…`) && text.length < 260, text);
  }
  assert.equal(noticeText("peer-error", ""), "The other side ended the call: an error");
});
