import assert from "node:assert/strict";
import { test } from "node:test";

import { Call } from "../call.js";
import { lamp, peerText, ringText, statusText } from "../texts.js";

function inCall() {
  const call = new Call("me", { autoAnswer: true });
  call.state = "in-call";
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
  assert.equal(peerText({ state: "connecting", answered: false, reason: null }), "Waiting for an answer…");
});

test("who calls is named where the server tells", () => {
  assert.deepEqual([ringText("anna"), ringText(null)], ["anna is calling you", "Incoming call"]);
});
