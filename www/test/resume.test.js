import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { CALLER, Call } from "../call.js";
import { format, parseSignal } from "../protocol.js";
import { parseResume, proof, Resumption } from "../resume.js";
import { sha256 } from "../sha256.js";
import { assertConnected } from "./model.js";
import { ModelPage, comeToRest } from "./page.js";
import { seeded } from "./random.js";
import { ModelServer } from "./server.js";

const SDP = "v=0\r\ns=-\r\nm=audio 9 x 0\r\na=mid:0\r\n";
const offer = (sdp = SDP) => ({ kind: "sdp", sdp: { type: "offer", sdp } });
const answer = (sdp = SDP) => ({ kind: "sdp", sdp: { type: "answer", sdp } });
const text = (text) => ({ type: "text", text });
const kinds = (effects) => effects.map((effect) => effect.do);
const sent = (effects) => effects.filter((effect) => effect.do === "send").map((effect) => effect.text);

/** The two sides of a call; both know its key. */
function agreed() {
  const [caller, callee] = [new Resumption("you"), new Resumption(null)];
  callee.hear(caller.say(offer()));
  caller.hear(callee.say(answer()));
  assert.ok(caller.isAgreed && callee.isAgreed);
  return { caller, callee };
}

/** A side that has lost the server and registers again. */
function registered(side) {
  assert.deepEqual(side.handle({ type: "lost" }), [{ do: "connect-later" }]);
  return side.handle(text("HELLO"));
}

test("SHA-256 is what Node computes", () => {
  for (let length = 0; length < 200; length += 1) {
    const sample = "aé€😀".repeat(length).slice(0, length);
    assert.equal(sha256(sample), createHash("sha256").update(sample).digest("hex"), `${length}`);
  }
});

test("a proof is what the protocol says, and the client computes", () => {
  const [a, b, key] = ["a", "b", "c"].map((letter) => letter.repeat(32));
  assert.equal(proof("caller", a, b, key), "76015f9b2fda9652c097d39ed186fb2f1d93402b31fc9e499613daf6b60dc5ea");
});

test("the first offer and its answer have the key before the first m-line, and later descriptions have none", () => {
  const [caller, callee] = [new Resumption("you"), new Resumption(null)];
  const first = caller.say(offer());
  assert.match(first.sdp.sdp, /^v=0\r\ns=-\r\na=callbin-resume:[0-9a-f]{32}\r\nm=audio/);
  callee.hear(first);
  const reply = callee.say(answer());
  assert.equal(reply.sdp.sdp, first.sdp.sdp, "the answer repeats the key");
  caller.hear(reply);
  for (const side of [caller, callee]) assert.deepEqual(side.say(offer()), offer());
  assert.notEqual(new Resumption("you").say(offer()).sdp.sdp, first.sdp.sdp, "each call has another key");
});

test("a peer that does not repeat the key cannot resume", () => {
  for (const reply of [SDP, SDP.replace("m=", `a=callbin-resume:${"x".repeat(32)}\r\nm=`), `${SDP}a=callbin-resume:${"x".repeat(32)}\r\n`]) {
    const caller = new Resumption("you");
    caller.say(offer());
    caller.hear(answer(reply));
    assert.ok(!caller.isAgreed);
    assert.deepEqual(caller.handle({ type: "gone" }), [{ do: "peer-left" }]);
    assert.deepEqual([caller.handle({ type: "lost" }), caller.isAlone, caller.isConnecting], [[], true, false]);
    assert.equal(caller.say(offer()), null);
    assert.deepEqual(caller.takeUnsent(), []);
  }
  const callee = new Resumption(null);
  callee.hear(offer());
  assert.deepEqual(callee.say(answer()), answer());
});

test("both sides prove that they know the key, and send what waited", () => {
  const { caller, callee } = agreed();
  assert.deepEqual(kinds(registered(callee)), ["registered"]);
  const [, call] = registered(caller);
  assert.deepEqual(call, { do: "send", text: "SESSION you" });
  for (const side of [caller, callee]) assert.equal(side.say(offer()), null, "there is no session yet");
  const [ask] = sent(caller.handle(text("SESSION_OK")));
  callee.handle(text("CALLER me"));
  const [reply] = sent(callee.handle(text(ask)));
  const effects = caller.handle(text(reply));
  assert.deepEqual(kinds(effects), ["send", "resumed"]);
  assert.deepEqual(callee.handle(text(effects[0].text)), [{ do: "resumed" }]);
  for (const side of [caller, callee]) {
    assert.ok(side.isAttached && !side.isAlone);
    assert.deepEqual(side.takeUnsent(), [offer()]);
    assert.deepEqual(side.takeUnsent(), []);
  }
});

test("another peer that has the uid proves nothing", () => {
  const nonce = "n".repeat(32);
  for (const other of ["hello", '{"ice":null}', format.resume({ nonce: "short" }), format.resume({ proof: "x" }), format.resume({ nonce, proof: "x" })]) {
    const { caller, callee } = agreed();
    registered(callee);
    registered(caller);
    assert.deepEqual(callee.handle(text(other)), [{ do: "connect-later" }], other);
    caller.handle(text("SESSION_OK"));
    assert.deepEqual(caller.handle(text(other)), [{ do: "connect-later" }], other);
    registered(callee);
    callee.handle(text(format.resume({ nonce })));
    assert.deepEqual(callee.handle(text(other)), [{ do: "connect-later" }], other);
    assert.ok(callee.isAlone);
  }
});

test("the caller's own proof is not taken for the callee's", () => {
  const { caller } = agreed();
  registered(caller);
  const [ask] = sent(caller.handle(text("SESSION_OK")));
  assert.deepEqual(caller.handle(text(ask)), [{ do: "connect-later" }]);
});

test("each step has a deadline of its own; a callee that nobody calls has none", () => {
  const { caller, callee } = agreed();
  registered(callee);
  for (let step = 0; step < 10; step += 1) assert.deepEqual(callee.handle({ type: "overdue", step }), []);
  const called = callee.handle(text("CALLER mallory"));
  assert.deepEqual(callee.handle({ type: "overdue", step: called[0].step }), [{ do: "connect-later" }]);
  const calling = registered(caller).at(-1);
  const asking = caller.handle(text("SESSION_OK")).at(-1);
  assert.deepEqual(caller.handle({ type: "overdue", step: calling.step }), [], "that one was answered");
  assert.deepEqual(caller.handle({ type: "overdue", step: asking.step }), [{ do: "connect-later" }]);
});

test("a session that the server ended is resumed if the peer still sends", () => {
  for (const [lives, effects, isAlone] of [[true, ["connect-later"], true], [false, ["peer-left"], false]]) {
    const { caller } = agreed();
    const [listen] = caller.handle({ type: "gone" });
    assert.deepEqual([listen.do, caller.isAlone, caller.isAttached], ["listen", false, false]);
    assert.deepEqual(caller.handle({ type: "listened", step: listen.step - 1, lives: !lives }), []);
    assert.deepEqual(kinds(caller.handle({ type: "listened", step: listen.step, lives })), effects);
    assert.equal(caller.isAlone, isAlone);
  }
});

test("errors and closes lead to another attempt, and a final refusal to none", () => {
  const { caller } = agreed();
  registered(caller);
  for (const event of [text("ERROR peer 'you' not found"), { type: "lost" }, { type: "gone" }]) {
    assert.deepEqual(caller.handle(event), [{ do: "connect-later" }]);
    caller.handle(text("HELLO"));
  }
  assert.deepEqual(caller.handle({ type: "sent-away" }), []);
  for (const event of [text("HELLO"), text("ERROR x"), { type: "lost" }, { type: "gone" }]) assert.deepEqual(caller.handle(event), []);
  assert.ok(caller.isAlone && !caller.isConnecting);
});

test("what waits for the session is bounded, and other frames are no request", () => {
  const { caller } = agreed();
  caller.handle({ type: "lost" });
  for (let i = 0; i < 1000; i += 1) caller.say(offer());
  assert.equal(caller.takeUnsent().length, 128);
  for (const frame of ["", "{", "{}", "7", "null", '{"resume":{}}', '{"resume":7}', '{"resume":{"nonce":7}}', '{"resume":{"proof":7}}']) {
    assert.equal(parseResume(frame), null, frame);
  }
});

test("a page declines to resume a call that it does not have, without ringing on", () => {
  const request = format.resume({ nonce: "n".repeat(32) });
  const begin = () => {
    const call = new Call("me");
    for (const event of [{ type: "register" }, { type: "opened" }, text("HELLO")]) call.handle(event);
    return call;
  };
  assert.deepEqual(begin().handle(text(request)), [{ do: "close" }]);
  const ringing = begin();
  ringing.handle(text("CALLER anna"));
  assert.deepEqual(ringing.handle(text(request)), [{ do: "close" }]);
  const joining = begin();
  joining.handle({ type: "join", room: "r" });
  assert.deepEqual(joining.handle(text(request)), [{ do: "close" }]);
});

/** A page in a call that can be resumed, without the server. */
function alone() {
  const call = new Call("me", { autoAnswer: true });
  for (const event of [{ type: "register" }, { type: "opened" }, text("HELLO"), text("CALLER anna")]) call.handle(event);
  call.handle(text(JSON.stringify({ sdp: offer(SDP.replace("m=", `a=callbin-resume:${"k".repeat(32)}\r\nm=`)).sdp })));
  call.handle({ type: "send-signal", uid: CALLER, signal: answer() });
  assert.deepEqual(call.handle({ type: "closed", code: 1006, reason: "", flows: true }), [{ do: "notice", code: "call-goes-on" }, { do: "connect-later" }]);
  return call;
}

test("hanging up during an attempt closes the connection, which has our uid", () => {
  const connecting = alone();
  assert.deepEqual(kinds(connecting.handle({ type: "hang-up" })), ["remove-peer", "connect"]);
  const call = alone();
  assert.deepEqual(call.handle({ type: "opened" }), [{ do: "send", text: "HELLO me" }]);
  assert.deepEqual(call.handle(text("HELLO")), [{ do: "registered" }]);
  assert.deepEqual([call.state, call.isAlone], ["in-call", true]);
  assert.deepEqual(kinds(call.handle({ type: "hang-up" })), ["remove-peer", "close"]);
  assert.deepEqual(kinds(call.handle({ type: "closed", code: 1000, reason: "" })), ["connect"]);
});

test("a page that waits for its call back is not disturbed by a refusal or a busy server", () => {
  const call = alone();
  assert.deepEqual(call.handle({ type: "closed", code: 1013, reason: "" }), [{ do: "connect-later", leastMs: 5000 }]);
  assert.deepEqual(call.handle({ type: "closed", code: 1002, reason: "invalid peer uid" }), [{ do: "connect-later" }]);
  assert.deepEqual(call.handle({ type: "closed", code: 1008, reason: "token expired" }), []);
  assert.deepEqual([call.state, call.isAlone], ["in-call", true], "the call goes on, for good without the server");
  assert.deepEqual(kinds(call.handle({ type: "hang-up" })), ["remove-peer", "connect"]);
});

test("any interleaving: a call of two pages gets its session back after a crash or the loss of one connection", () => {
  for (let seed = 0; seed < 200; seed += 1) {
    const random = seeded(seed);
    const server = new ModelServer({ tellsCallers: seed % 2 === 0 });
    const pages = ["a", "b", "c"].map((id) => new ModelPage(server, id));
    comeToRest(pages, random);
    const [a, b, c] = pages;
    a.do({ type: "call", peer: "b", remoteOfferer: random() < 0.5 });
    comeToRest(pages, random);
    for (const page of [a, b]) Object.assign(page, { flows: true, hasTime: true });
    const rounds = [a, b].map((page) => [...page.peers.values()][0].negotiation.round);
    if (random() < 0.5) server.crash();
    else {
      const { connection } = random() < 0.5 ? a : b;
      server.left(connection);
      connection.closed = { code: 1006, reason: "" };
    }
    c.do({ type: "call", peer: random() < 0.5 ? "a" : "b", remoteOfferer: false });
    comeToRest(pages, random);
    const [[forA], [forB]] = [a, b].map((page) => [...page.peers.values()]);
    for (const page of [a, b]) assert.deepEqual([page.call.state, page.call.isAlone], ["in-call", false], `seed ${seed}`);
    assert.deepEqual([forA, forB].map((peer) => peer.negotiation.round), rounds, "media are not touched");
    forA.handle({ type: "renegotiate" });
    comeToRest(pages, random);
    assertConnected(forA, forB, `seed ${seed}`);
    assert.equal(forB.connection.remote.sdp, forA.connection.local.sdp, "later descriptions have no key");
  }
});

test("any interleaving: a call that loses its path and the server gets both back", () => {
  for (let seed = 0; seed < 200; seed += 1) {
    const random = seeded(seed);
    const server = new ModelServer({ tellsCallers: seed % 2 === 0 });
    const [a, b] = ["a", "b"].map((id) => new ModelPage(server, id));
    comeToRest([a, b], random);
    a.do({ type: "call", peer: "b", remoteOfferer: random() < 0.5 });
    comeToRest([a, b], random);
    for (const page of [a, b]) Object.assign(page, { flows: true, hasTime: true });
    // Each side may lose the server before or after its path, and the other side's loss may be all that it hears of.
    const lose = () => {
      if (random() < 0.5) return server.crash();
      const { connection } = random() < 0.5 ? a : b;
      server.left(connection);
      connection.closed = { code: 1006, reason: "" };
    };
    const losses = [() => a.losePath(random() < 0.7), () => b.losePath(random() < 0.7), lose].sort(() => random() - 0.5);
    for (const loss of losses) loss();
    comeToRest([a, b], random);
    const [[forA], [forB]] = [a, b].map((page) => [...page.peers.values()]);
    for (const page of [a, b]) assert.deepEqual([page.call.state, page.call.isAlone], ["in-call", false], `seed ${seed}`);
    assertConnected(forA, forB, `seed ${seed}`);
  }
});

test("a path that does not come back in time ends the call", () => {
  const lost = (heals) => ({ type: "peer-dead", uid: CALLER, failed: true, hungUp: false, heals });
  const call = alone();
  assert.deepEqual(call.handle(lost(true)), [{ do: "notice", code: "call-interrupted", subject: "anna" }]);
  assert.deepEqual(call.handle({ type: "closed", code: 1006, reason: "", heals: true }), [{ do: "connect-later", mostMs: 3000 }], "it hurries");
  assert.deepEqual(call.handle(lost(true)), [], "the user knows already");
  assert.deepEqual(kinds(call.handle(lost(false))), ["remove-peer", "connect", "notice"]);
  assert.equal(call.state, "reconnecting");

  const waiting = alone();
  waiting.handle(lost(true));
  waiting.handle({ type: "opened" });
  waiting.handle(text("HELLO"));
  assert.deepEqual(waiting.handle(lost(false)).at(-1), { do: "notice", code: "peer-lost", subject: "anna" }, "the server is there");

  const sentAway = alone();
  sentAway.handle(lost(true));
  assert.deepEqual(sentAway.handle({ type: "closed", code: 1008, reason: "token expired", heals: true }), []);
  assert.deepEqual(kinds(sentAway.handle(lost(true))), ["remove-peer", "connect", "notice"], "it can't come back");
});

test("a partner that is out of reach has not hung up because its session is over", () => {
  const inCall = () => {
    const call = new Call("me", { autoAnswer: true });
    for (const event of [{ type: "register" }, { type: "opened" }, text("HELLO"), text("CALLER anna")]) call.handle(event);
    call.handle(text(JSON.stringify({ sdp: offer(SDP.replace("m=", `a=callbin-resume:${"k".repeat(32)}\r\nm=`)).sdp })));
    return call;
  };
  const end = { type: "closed", code: 1000, reason: "", flows: false, heals: true };
  const call = inCall();
  call.handle({ type: "send-signal", uid: CALLER, signal: answer() });
  assert.deepEqual(call.handle(end), [{ do: "notice", code: "call-interrupted", subject: "anna" }, { do: "connect-later", mostMs: 3000 }]);
  assert.equal(call.isAlone, true);
  const unattended = inCall();
  unattended.handle({ type: "send-signal", uid: CALLER, signal: answer() });
  const dead = { type: "peer-dead", uid: CALLER, failed: true, hungUp: false };
  assert.deepEqual(unattended.handle({ ...dead, heals: true }), [], "a page that takes calls by itself waits, too");
  assert.deepEqual(kinds(unattended.handle({ ...dead, heals: false })), ["remove-peer", "close", "notice"]);
  const without = inCall();
  assert.deepEqual(kinds(without.handle(end)), ["remove-peer", "notice", "connect"], "without a key it can't come back");
});
