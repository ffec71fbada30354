import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_CANDIDATES, Negotiation, fingerprint } from "../negotiation.js";
import { ModelPeer, assertConnected } from "./model.js";
import { seeded } from "./random.js";

const ice = (candidate) => ({ kind: "ice", ice: { candidate, sdpMid: null, sdpMLineIndex: 0 } });
const sdp = (type, text, print = "AA") => ({ kind: "sdp", sdp: { type, sdp: `${text}\r\na=fingerprint:sha-256 ${print}\r\n` } });
const signal = (signal) => ({ type: "signal", signal });
const names = (effects) => effects.map((effect) => effect.do);

/** Two peers with a queue in each direction. */
function pair(roleA, roleB) {
  const toA = [];
  const toB = [];
  const a = new ModelPeer(roleA, (signal) => toB.push(signal));
  const b = new ModelPeer(roleB, (signal) => toA.push(signal));
  return { a, b, toA, toB };
}

/** Makes random steps until none is left. */
function run({ a, b, toA, toB }, random) {
  for (let round = 0; round < 10_000; round += 1) {
    const moves = [];
    if (toA.length) moves.push(() => a.receive(toA.shift()));
    if (toB.length) moves.push(() => b.receive(toB.shift()));
    if (!a.settled) moves.push(() => a.step());
    if (!b.settled) moves.push(() => b.step());
    if (moves.length === 0) return;
    moves[Math.floor(random() * moves.length)]();
  }
  assert.fail("never comes to rest");
}

test("the offer is queued before it is set, so no candidate overtakes it", () => {
  const negotiation = new Negotiation({ offers: true });
  assert.deepEqual(names(negotiation.handle({ type: "start" })), ["create-offer"]);
  const created = { type: "created", description: { type: "offer", sdp: "o" }, round: 0 };
  assert.deepEqual(names(negotiation.handle(created)), ["send", "set-local"]);
});

test("candidates before the description are held and then added in order", () => {
  const negotiation = new Negotiation({ offers: false });
  negotiation.handle({ type: "start" });
  assert.deepEqual(negotiation.handle(signal(ice("1"))), []);
  assert.deepEqual(negotiation.handle(signal(ice("2"))), []);
  assert.deepEqual(names(negotiation.handle(signal(sdp("offer", "o")))), ["set-remote"]);
  assert.deepEqual(negotiation.handle(signal(ice(""))), []);
  const effects = negotiation.handle({ type: "remote-set", round: 0 });
  assert.deepEqual(names(effects), ["add-candidate", "add-candidate", "add-candidate", "create-answer"]);
  assert.deepEqual(effects.slice(0, 3).map((effect) => effect.candidate.candidate), ["1", "2", ""]);
});

test("a flood of candidates is bounded, before the description and behind it", () => {
  const negotiation = new Negotiation({ offers: false });
  for (let i = 0; i < 10_000; i += 1) negotiation.handle(signal(ice(String(i))));
  negotiation.handle(signal(sdp("offer", "o")));
  assert.equal(negotiation.handle({ type: "remote-set", round: 0 }).length, MAX_CANDIDATES + 1);
  assert.deepEqual(negotiation.handle(signal(ice("one more"))), []);
});

test("an answer nobody asked for, and one said twice, are ignored", () => {
  const negotiation = new Negotiation({ offers: true });
  assert.deepEqual(negotiation.handle(signal(sdp("answer", "x"))), []);
  negotiation.handle({ type: "start" });
  negotiation.handle({ type: "created", description: { type: "offer", sdp: "o" }, round: 0 });
  negotiation.handle({ type: "local-set", round: 0 });
  assert.deepEqual(names(negotiation.handle(signal(sdp("answer", "a")))), ["set-remote"]);
  assert.deepEqual(negotiation.handle(signal(sdp("answer", "a"))), []);
  negotiation.handle({ type: "remote-set", round: 0 });
  assert.deepEqual(negotiation.handle(signal(sdp("answer", "a"))), []);
  assert.equal(negotiation.phase, "stable");
});

test("an offer said twice is answered once", () => {
  const negotiation = new Negotiation({ offers: false });
  negotiation.handle(signal(sdp("offer", "o")));
  assert.deepEqual(negotiation.handle(signal(sdp("offer", "o"))), []);
  negotiation.handle({ type: "remote-set", round: 0 });
  negotiation.handle({ type: "created", description: { type: "answer", sdp: "a" }, round: 0 });
  assert.deepEqual(negotiation.handle({ type: "local-set", round: 0 }), []);
  assert.deepEqual(negotiation.handle(signal(sdp("offer", "o"))), []);
});

test("of offers that come before one is answered, the newest counts", () => {
  for (const step of ["remote-set", "created"]) {
    const negotiation = new Negotiation({ offers: false });
    negotiation.handle(signal(sdp("offer", "one")));
    if (step === "created") negotiation.handle({ type: "remote-set", round: 0 });
    assert.deepEqual(negotiation.handle(signal(sdp("offer", "two"))), []);
    assert.deepEqual(negotiation.handle(signal(ice("of two"))), []);
    const event = step === "created" ? { type: step, description: { type: "answer", sdp: "to one" }, round: 0 } : { type: step, round: 0 };
    const effects = negotiation.handle(event).filter((effect) => effect.do !== "add-candidate");
    assert.deepEqual(effects, [{ do: "set-remote", description: sdp("offer", "two").sdp }], step);
    assert.deepEqual(names(negotiation.handle({ type: "remote-set", round: 0 })).slice(-1), ["create-answer"]);
    const sent = negotiation.handle({ type: "created", description: { type: "answer", sdp: "to two" }, round: 0 });
    assert.deepEqual(names(sent), ["send", "set-local"]);
  }
});

test("what the peer said about a connection that was given up is void", () => {
  const negotiation = new Negotiation({ offers: true });
  negotiation.handle({ type: "start" });
  negotiation.handle(signal(sdp("answer", "late"))); // waits, because the offer is still being created
  negotiation.handle({ type: "retry" });
  negotiation.handle({ type: "created", description: { type: "offer", sdp: "o" }, round: 1 });
  assert.deepEqual(negotiation.handle({ type: "local-set", round: 1 }), []);
});

test("an answer that overtakes our own set-local waits for it", () => {
  const negotiation = new Negotiation({ offers: true });
  negotiation.handle({ type: "start" });
  negotiation.handle({ type: "created", description: { type: "offer", sdp: "o" }, round: 0 });
  assert.deepEqual(negotiation.handle(signal(sdp("answer", "a"))), []);
  assert.deepEqual(names(negotiation.handle({ type: "local-set", round: 0 })), ["set-remote"]);
});

test("an answer that was meant for our former self is followed by ours, and then we begin anew", () => {
  const offered = () => {
    const negotiation = new Negotiation({ offers: true });
    negotiation.handle({ type: "start" });
    negotiation.handle({ type: "created", description: { type: "offer", sdp: "o" }, round: 0 });
    negotiation.handle({ type: "local-set", round: 0 });
    negotiation.handle(signal(sdp("answer", "to another")));
    negotiation.handle({ type: "remote-set", round: 0 });
    return negotiation;
  };
  assert.deepEqual(names(offered().handle(signal(sdp("answer", "to this")))), ["reset", "create-offer"]);
  const connected = offered();
  connected.handle({ type: "connected" });
  assert.deepEqual(connected.handle(signal(sdp("answer", "nonsense"))), []);
  const mixed = offered();
  let restarts = 0;
  for (let round = 1; round < 20; round += 1) {
    restarts += mixed.handle(signal(sdp("answer", `${round}`))).filter((effect) => effect.do === "reset").length;
    mixed.handle({ type: "created", description: { type: "offer", sdp: `${round}` }, round: mixed.round });
    mixed.handle({ type: "local-set", round: mixed.round });
    mixed.handle(signal(sdp("answer", `again ${round}`)));
    mixed.handle({ type: "remote-set", round: mixed.round });
  }
  assert.equal(restarts, 3, "not for ever");
});

test("OFFER_REQUEST makes the answerer offer, once", () => {
  const negotiation = new Negotiation({ offers: false });
  negotiation.handle({ type: "start" });
  assert.deepEqual(names(negotiation.handle(signal({ kind: "offer-request" }))), ["create-offer"]);
  assert.deepEqual(negotiation.handle(signal({ kind: "offer-request" })), []);
});

test("an offer of another connection resets, one within the connection doesn't", () => {
  for (const [print, expected] of [["AA", ["set-remote"]], ["BB", ["reset", "set-remote"]]]) {
    const negotiation = new Negotiation({ offers: false });
    negotiation.handle(signal(sdp("offer", "first", "aa")));
    negotiation.handle({ type: "remote-set", round: 0 });
    negotiation.handle({ type: "created", description: { type: "answer", sdp: "a" }, round: 0 });
    negotiation.handle({ type: "local-set", round: 0 });
    assert.deepEqual(names(negotiation.handle(signal(sdp("offer", "second", print)))), expected);
  }
});

test("results of a connection that was given up are void", () => {
  const negotiation = new Negotiation({ offers: true });
  negotiation.handle({ type: "start" });
  assert.deepEqual(names(negotiation.handle({ type: "retry" })), ["reset", "create-offer"]);
  assert.deepEqual(negotiation.handle({ type: "created", description: { type: "offer", sdp: "old" }, round: 0 }), []);
  assert.deepEqual(negotiation.handle({ type: "error", message: "old", round: 0 }), []);
  assert.equal(negotiation.phase, "creating-offer");
});

test("a failure is told once, and nothing follows a close", () => {
  const negotiation = new Negotiation({ offers: false });
  negotiation.handle(signal(sdp("offer", "garbage")));
  assert.deepEqual(negotiation.handle({ type: "error", message: "bad", round: 0 }), [{ do: "fail", reason: "bad" }]);
  assert.deepEqual(negotiation.handle({ type: "give-up", reason: "late" }), []);
  negotiation.handle({ type: "close" });
  assert.deepEqual(negotiation.handle(signal(sdp("offer", "o"))), []);
  assert.deepEqual(negotiation.handle({ type: "retry" }), []);
});

test("fingerprints are compared as RFC 8122 wants: without regard to case", () => {
  assert.equal(fingerprint("v=0\r\na=fingerprint:sha-256 ab:CD\r\n"), "SHA-256 AB:CD");
  assert.equal(fingerprint("v=0\r\n"), "");
});

/** Starts of a negotiation: all must end connected for any interleaving. */
const BEGINNINGS = {
  "one side offers": [{ offers: true }, { offers: false }, () => {}],
  "an offer is requested": [{ offers: false }, { offers: false }, ({ toB }) => toB.push({ kind: "offer-request" })],
  "both offer at once": [{ offers: true }, { offers: false }, ({ b }) => b.handle({ type: "retry" })],
  "renegotiation from both sides": [
    { offers: true },
    { offers: false },
    ({ a, b }, random) => {
      b.pending.push(() => b.handle({ type: "renegotiate" }));
      if (random() < 0.5) a.pending.push(() => a.handle({ type: "renegotiate" }));
    },
  ],
};

for (const [name, [roleA, roleB, begin]] of Object.entries(BEGINNINGS)) {
  test(`any interleaving connects: ${name}`, () => {
    for (let seed = 0; seed < 500; seed += 1) {
      const random = seeded(seed);
      const peers = pair(roleA, roleB);
      peers.a.handle({ type: "start" });
      peers.b.handle({ type: "start" });
      begin(peers, random);
      run(peers, random);
      assertConnected(peers.a, peers.b, `seed ${seed}`);
    }
  });
}

test("any interleaving connects: a retry after a failure", () => {
  for (let seed = 0; seed < 500; seed += 1) {
    const random = seeded(seed);
    const peers = pair({ offers: true }, { offers: false });
    peers.a.handle({ type: "start" });
    run(peers, random);
    const [first, second] = random() < 0.5 ? [peers.a, peers.b] : [peers.b, peers.a];
    if (random() < 0.5) first.handle({ type: "give-up", reason: "ice" });
    if (random() < 0.5) second.handle({ type: "give-up", reason: "ice" });
    first.failed = second.failed = null;
    first.handle({ type: "retry" });
    run(peers, random);
    assertConnected(peers.a, peers.b, `seed ${seed}`);
  }
});

test("random garbage among the signals never makes an illegal step", () => {
  for (let seed = 0; seed < 500; seed += 1) {
    const random = seeded(seed);
    const peers = pair({ offers: true }, { offers: false });
    peers.a.handle({ type: "start" });
    const junk = [sdp("answer", "junk"), ice("junk"), { kind: "offer-request" }, ice("")];
    for (let i = 0; i < 6; i += 1) peers.toB.splice(Math.floor(random() * (peers.toB.length + 1)), 0, junk[Math.floor(random() * junk.length)]);
    run(peers, random);
    for (const side of [peers.a, peers.b]) assert.ok(["stable", "offered"].includes(side.negotiation.phase), `seed ${seed}: ${side.negotiation.phase}`);
  }
});
