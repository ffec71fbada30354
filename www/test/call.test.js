import assert from "node:assert/strict";
import { test } from "node:test";

import { CALLER, Call } from "../call.js";
import { assertConnected } from "./model.js";
import { ModelPage, comeToRest } from "./page.js";
import { seeded } from "./random.js";
import { ModelServer } from "./server.js";

const SEEDS = 200;
const OFFER = '{"sdp":{"type":"offer","sdp":"v=0"}}';

/** A call machine that is registered as `me`. */
function registered() {
  const call = new Call("me");
  call.handle({ type: "register" });
  call.handle({ type: "opened" });
  call.handle({ type: "text", text: "HELLO" });
  return call;
}
const text = (text) => ({ type: "text", text });
const closed = (code, reason = "") => ({ type: "closed", code, reason });
const kinds = (effects) => effects.map((effect) => effect.do);

/** Pages that are registered with one server. */
function online(ids, random) {
  const server = new ModelServer();
  const pages = ids.map((id) => new ModelPage(server, id));
  comeToRest(pages, random);
  for (const page of pages) assert.equal(page.call.state, "ready");
  return { server, pages };
}

test("registers, and is called by whoever speaks first", () => {
  const call = registered();
  assert.equal(call.state, "ready");
  assert.deepEqual(kinds(call.handle(text(OFFER))), ["add-peer", "signal"]);
  assert.equal(call.peer, CALLER);
});

test("an unknown text neither begins nor resets a call", () => {
  const call = registered();
  assert.deepEqual(call.handle(text("SESSION me")), []);
  assert.equal(call.state, "ready");
  call.handle(text(OFFER));
  for (const junk of ["", "SESSION me", "HELLO", "{}", "what?"]) assert.deepEqual(call.handle(text(junk)), []);
  assert.equal(call.state, "in-call");
});

test("calls: offers after SESSION_OK, or asks for an offer", () => {
  for (const remoteOfferer of [false, true]) {
    const call = registered();
    assert.deepEqual(call.handle({ type: "call", peer: "you", remoteOfferer }), [{ do: "send", text: "SESSION you" }, { do: "expect-answer", attempt: 1 }]);
    const effects = call.handle(text("SESSION_OK"));
    assert.deepEqual(effects[0], { do: "add-peer", uid: "you", offers: !remoteOfferer });
    assert.deepEqual(effects.slice(1), remoteOfferer ? [{ do: "send", text: "OFFER_REQUEST" }] : []);
  }
});

test("a call wished for before registering is made once registered", () => {
  const call = new Call("me");
  assert.deepEqual(call.handle({ type: "call", peer: "you", remoteOfferer: false }), [{ do: "connect" }]);
  call.handle({ type: "opened" });
  assert.ok(call.handle(text("HELLO")).some((effect) => effect.text === "SESSION you"));
});

test("not found and busy leave us registered", () => {
  for (const [error, code] of [["ERROR peer 'you' not found", "peer-not-found"], ["ERROR peer 'you' busy", "peer-busy"]]) {
    const call = registered();
    call.handle({ type: "call", peer: "you", remoteOfferer: false });
    assert.deepEqual(call.handle(text(error)), [{ do: "notice", code, subject: "you" }]);
    assert.equal(call.state, "ready");
  }
});

test("hanging up closes the socket, then registers again at once", () => {
  const call = registered();
  call.handle(text(OFFER));
  assert.deepEqual(kinds(call.handle({ type: "hang-up" })), ["remove-peer", "close"]);
  assert.deepEqual(kinds(call.handle(closed(1000))), ["connect"]);
});

test("the other side's hang-up is not taken for a lost server", () => {
  const ended = registered();
  ended.handle(text(OFFER));
  assert.deepEqual(kinds(ended.handle(closed(1000))), ["remove-peer", "notice", "connect"]);
  const lost = registered();
  lost.handle(text(OFFER));
  assert.deepEqual(lost.handle(closed(1006)).slice(1), [{ do: "notice", code: "call-lost" }, { do: "connect-later" }]);
});

test("a uid that is taken is given up, our own ghost's is not", () => {
  const call = new Call("me");
  call.handle({ type: "register" });
  const refuse = () => {
    call.handle({ type: "opened" });
    return kinds(call.handle(closed(1002, "invalid peer uid")));
  };
  assert.deepEqual([refuse(), refuse(), refuse()], [["connect-later"], ["connect-later"], ["notice"]]);
  assert.equal(call.state, "refused");
  assert.deepEqual(kinds(call.handle({ type: "rename", id: "other" })), ["connect"]);

  const known = registered();
  known.handle(closed(1006));
  for (let i = 0; i < 20; i += 1) assert.deepEqual(kinds(known.handle(closed(1002, "invalid peer uid"))), ["connect-later"]);
});

test("who is not welcome doesn't come back by itself", () => {
  const call = registered();
  call.handle({ type: "join", room: "r" });
  call.handle(text("ROOM_OK a"));
  assert.deepEqual(kinds(call.handle(closed(1008, "replaced by a new connection"))), ["remove-peer", "notice"]);
  assert.equal(call.state, "refused");
  assert.equal(call.room, null);
  const slow = registered();
  assert.ok(kinds(slow.handle(closed(1008, "reads too slowly"))).includes("connect-later"));
});

test("a refusal is told with the reason that the server gave before it closed", () => {
  const call = new Call("me");
  const refusal = (...texts) => {
    call.handle({ type: "rename", id: `${call.id}x` });
    call.handle({ type: "register" });
    call.handle({ type: "opened" });
    for (const each of texts) call.handle(text(each));
    return call.handle(closed(1008, "uid not allowed"));
  };
  assert.deepEqual(refusal("ERROR only until noon"), [{ do: "notice", code: "refused", subject: "only until noon" }]);
  assert.deepEqual(refusal(), [{ do: "notice", code: "refused", subject: "uid not allowed" }]);
  const [notice] = refusal("ERROR not now", "HELLO");
  assert.deepEqual(notice, { do: "notice", code: "refused", subject: "uid not allowed" }, "what was said before HELLO is over");
});

test("a socket that opens although nobody waits for it says nothing", () => {
  const call = registered();
  call.handle(closed(1008, "replaced by a new connection"));
  assert.deepEqual(call.handle({ type: "opened" }), []);
  assert.deepEqual(call.handle(text("HELLO")), []);
  assert.equal(call.state, "refused");
});

test("the loss of the server is told once, its return too", () => {
  const call = registered();
  assert.deepEqual(kinds(call.handle(closed(1001))), ["notice", "connect-later"]);
  assert.deepEqual(kinds(call.handle(closed(1006))), ["connect-later"]);
  call.handle({ type: "opened" });
  assert.deepEqual(call.handle(text("HELLO")), [{ do: "registered" }, { do: "notice", code: "back" }]);
});

test("entering a room meets its members, and gives those time who lost the server, too", () => {
  const call = registered();
  assert.deepEqual(call.handle({ type: "join", room: "r" }), [{ do: "send", text: "ROOM r" }, { do: "expect-answer", attempt: 1 }]);
  assert.deepEqual(kinds(call.handle(text("ROOM_OK a"))), ["add-peer", "settle-later"]);
});

test("in a room an error about somebody who just left is no error", () => {
  const call = registered();
  call.handle({ type: "join", room: "r" });
  call.handle(text("ROOM_OK a"));
  assert.deepEqual(call.handle(text("ERROR peer 'a' not found")), []);
  assert.equal(call.state, "in-room");
});

const CALL = { type: "call", peer: "you", remoteOfferer: false };
const JOIN = { type: "join", room: "r" };

test("a call or a join without an answer is tried again with another connection, then given up", () => {
  for (const [wish, line] of [[CALL, "SESSION you"], [JOIN, "ROOM r"]]) {
    const call = registered();
    call.handle(wish);
    assert.deepEqual(call.handle({ type: "unanswered", attempt: 1 }), [{ do: "close" }]);
    assert.deepEqual(kinds(call.handle(closed(1000))), ["connect"]);
    call.handle({ type: "opened" });
    assert.deepEqual(call.handle(text("HELLO")), [{ do: "registered" }, { do: "send", text: line }, { do: "expect-answer", attempt: 2 }]);
    assert.deepEqual(call.handle({ type: "unanswered", attempt: 2 }), [{ do: "close" }, { do: "notice", code: "no-answer" }]);
    call.handle(closed(1000));
    call.handle({ type: "opened" });
    assert.deepEqual(call.handle(text("HELLO")), [{ do: "registered" }]);
    assert.equal(call.state, "ready");
  }
});

test("the deadline of a call that was answered strikes no other", () => {
  const call = registered();
  call.handle(CALL);
  call.handle(text("ERROR peer 'you' busy"));
  assert.deepEqual(call.handle({ type: "unanswered", attempt: 1 }), []);
  call.handle(CALL);
  assert.deepEqual(call.handle({ type: "unanswered", attempt: 1 }), []);
  call.handle(text("SESSION_OK"));
  assert.deepEqual(call.handle({ type: "unanswered", attempt: 2 }), []);
  assert.equal(call.state, "in-call");
});

test("a room is not given up because the server that came back doesn't answer", () => {
  const call = registered();
  call.handle(JOIN);
  call.handle(text("ROOM_OK a"));
  call.handle(closed(1006));
  for (let attempt = 2; attempt < 10; attempt += 1) {
    call.handle({ type: "opened" });
    call.handle(text("HELLO"));
    assert.deepEqual(call.handle({ type: "unanswered", attempt }), [{ do: "close" }]);
    call.handle(closed(1000));
  }
  assert.equal(call.room.size, 1);
});

test("any interleaving: somebody calls us and says nothing while we call or join", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const { server, pages } = online(["a", "b"], random);
    const joins = random() < 0.5;
    if (joins) pages[1].do({ type: "join", room: "r" });
    const silent = server.connect();
    server.text(silent, "HELLO silent");
    server.text(silent, "SESSION a");
    pages[0].do(joins ? { type: "join", room: "r" } : { type: "call", peer: "b", remoteOfferer: random() < 0.5 });
    comeToRest(pages, random);
    assert.equal(pages[0].call.state, joins ? "joining" : "calling");
    pages[0].do({ type: "unanswered", attempt: pages[0].attempt });
    comeToRest(pages, random);
    const [[a], [b]] = pages.map((page) => [...page.peers.values()]);
    assertConnected(a, b, `seed ${seed}`);
  }
});

test("any interleaving: two pages call each other at the same time", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const { pages } = online(["a", "b"], random);
    const remoteOfferer = random() < 0.5;
    pages[0].do({ type: "call", peer: "b", remoteOfferer });
    if (random() < 0.7) pages[1].do({ type: "call", peer: "a", remoteOfferer });
    comeToRest(pages, random);
    const [[a], [b]] = pages.map((page) => [...page.peers.values()]);
    assertConnected(a, b, `seed ${seed}`);
  }
});

test("any interleaving: hang up and call again", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const { pages } = online(["a", "b"], random);
    for (let round = 0; round < 4; round += 1) {
      const [first, second] = random() < 0.5 ? pages : [...pages].reverse();
      first.do({ type: "call", peer: second.call.id, remoteOfferer: random() < 0.5 });
      comeToRest(pages, random);
      assertConnected([...first.peers.values()][0], [...second.peers.values()][0], `seed ${seed}`);
      (random() < 0.5 ? first : second).do({ type: "hang-up" });
      comeToRest(pages, random);
      for (const page of pages) assert.deepEqual([page.call.state, page.peers.size], ["ready", 0], `seed ${seed}`);
    }
  }
});

test("any interleaving: up to five pages join, leave, come back; the server crashes", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const ids = ["a", "b", "c", "d", "e"].slice(0, 2 + Math.floor(random() * 4));
    const { server, pages } = online(ids, random);
    for (let action = 0; action < 12; action += 1) {
      const page = pages[Math.floor(random() * pages.length)];
      if (random() < 0.05) server.crash();
      else if (page.call.state === "in-room" && random() < 0.4) page.do({ type: "hang-up" });
      else page.do({ type: "join", room: "r" });
      for (let step = Math.floor(random() * 40); step > 0; step -= 1) {
        const moves = pages.flatMap((page) => page.moves());
        if (moves.length > 0) moves[Math.floor(random() * moves.length)]();
      }
    }
    comeToRest(pages, random);
    for (const page of pages) page.do({ type: "settle" });
    assertRoom(pages, seed);
  }
});

/** Everybody in the room is connected to every other in it, and to nobody else. */
function assertRoom(pages, seed) {
  const inside = pages.filter((page) => page.call.state === "in-room");
  for (const page of pages) {
    const others = inside.includes(page) ? inside.filter((other) => other !== page) : [];
    assert.deepEqual([...page.peers.keys()].sort(), others.map((other) => other.call.id).sort(), `seed ${seed}: ${page.call.id} (${page.call.state})`);
    for (const other of others) assertConnected(page.peers.get(other.call.id), other.peers.get(page.call.id), `seed ${seed}`);
  }
}
