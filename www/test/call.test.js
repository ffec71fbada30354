import assert from "node:assert/strict";
import { test } from "node:test";

import { CALLER, Call } from "../call.js";
import { MAX_WAITING } from "../negotiation.js";
import { formatSignal, parseSignal } from "../protocol.js";
import { assertConnected } from "./model.js";
import { ModelPage, comeToRest } from "./page.js";
import { seeded } from "./random.js";
import { ModelServer } from "./server.js";

const SEEDS = 200;
const OFFER = '{"sdp":{"type":"offer","sdp":"v=0"}}';

/** A call machine that is registered as `me` and accepts calls at once. */
const registered = () => registeredWith({ autoAnswer: true });
/** A call machine that rings. */
const waiting = () => registeredWith({});
function registeredWith(how) {
  const call = new Call("me", how);
  call.handle({ type: "register" });
  call.handle({ type: "opened" });
  call.handle({ type: "text", text: "HELLO" });
  return call;
}
const text = (text) => ({ type: "text", text });
const closed = (code, reason = "") => ({ type: "closed", code, reason });
const kinds = (effects) => effects.map((effect) => effect.do);

/** Pages that are registered at one server; with `tellsCallers` the server names callers. */
function online(ids, random, tellsCallers = false) {
  const server = new ModelServer({ tellsCallers });
  const pages = ids.map((id) => new ModelPage(server, id));
  comeToRest(pages, random);
  for (const page of pages) assert.equal(page.call.state, "ready");
  return { server, pages };
}

test("registers, and takes the call of whoever speaks first, if it is to take calls at once", () => {
  const call = registered();
  assert.equal(call.state, "ready");
  assert.deepEqual(kinds(call.handle(text(OFFER))), ["add-peer", "signal"]);
  assert.equal(call.peer, CALLER);
});

const ICE = '{"ice":{"candidate":"c","sdpMLineIndex":0}}';

test("a call rings, and nothing happens before it is accepted", () => {
  for (const first of ["CALLER anna", OFFER, ICE, "OFFER_REQUEST"]) {
    const call = waiting();
    assert.deepEqual(call.handle(text(first)), [{ do: "ring", ring: 1 }]);
    assert.deepEqual([call.state, call.peer, call.caller], ["ringing", null, first === "CALLER anna" ? "anna" : null]);
    for (const more of [OFFER, ICE, "what?", "CALLER other"]) assert.deepEqual(call.handle(text(more)), [], more);
    const said = [...(first === "CALLER anna" ? [] : [first]), OFFER, ICE];
    const effects = call.handle({ type: "accept", ring: 1 });
    assert.deepEqual(effects[0], { do: "add-peer", uid: CALLER, offers: false });
    assert.deepEqual(effects.slice(1).map(({ signal }) => formatSignal(signal)), said.map((each) => formatSignal(parseSignal(each))));
    assert.equal(call.state, "in-call");
    assert.equal(call.caller, first === "CALLER anna" ? "anna" : null, "nobody takes another's name");
    assert.deepEqual(call.handle({ type: "accept", ring: 1 }), []);
  }
});

test("who declines closes, which the caller hears, and is ready again", () => {
  const call = waiting();
  call.handle(text(OFFER));
  assert.deepEqual(call.handle({ type: "decline" }), [{ do: "close" }]);
  assert.deepEqual(call.handle({ type: "accept", ring: 1 }), []);
  assert.deepEqual(call.handle(closed(1000)), [{ do: "connect" }]);
  call.handle({ type: "opened" });
  assert.deepEqual(call.handle(text("HELLO")), [{ do: "registered" }]);
  assert.deepEqual([call.state, call.caller], ["ready", null]);
});

test("a call that nobody takes is declined, and told", () => {
  const call = waiting();
  call.handle(text("CALLER anna"));
  assert.deepEqual(call.handle({ type: "ring-over", ring: 1 }), [{ do: "notice", code: "missed-call", subject: "anna" }, { do: "close" }]);
  call.handle(closed(1000));
  call.handle({ type: "opened" });
  call.handle(text("HELLO"));
  call.handle(text(OFFER));
  assert.deepEqual(call.handle({ type: "ring-over", ring: 1 }), [], "the next call has a time of its own");
  assert.equal(call.state, "ringing");
});

test("a click on accept takes the call that rang at the click, and no later one", () => {
  const call = waiting();
  call.handle(text("CALLER anna"));
  assert.deepEqual(call.handle({ type: "accepting", ring: call.ring }), []);
  call.handle(closed(1000));
  call.handle({ type: "opened" });
  call.handle(text("HELLO"));
  call.handle(text("CALLER mallory"));
  assert.deepEqual(call.handle({ type: "accept", ring: 1 }), []);
  assert.deepEqual([call.state, call.caller, call.ring], ["ringing", "mallory", 2]);
  assert.deepEqual(kinds(call.handle({ type: "ring-over", ring: 2 })), ["notice", "close"], "nobody has accepted this one");
});

test("a call that is accepted in time is not declined while the camera opens", () => {
  const call = waiting();
  call.handle(text(OFFER));
  call.handle({ type: "accepting", ring: 1 });
  assert.deepEqual(call.handle({ type: "ring-over", ring: 1 }), []);
  assert.deepEqual(kinds(call.handle({ type: "accept", ring: 1 })), ["add-peer", "signal"]);
});

test("a caller that hangs up while it rings was missed", () => {
  const call = waiting();
  call.handle(text("CALLER anna"));
  assert.deepEqual(call.handle(closed(1000)), [{ do: "notice", code: "missed-call", subject: "anna" }, { do: "connect" }]);
  for (const code of [1001, 1006, 1011]) {
    const lost = waiting();
    lost.handle(text("CALLER anna"));
    assert.deepEqual(lost.handle(closed(code)), [{ do: "notice", code: "missed-call", subject: "anna" }, { do: "connect-later" }]);
    assert.deepEqual(lost.handle({ type: "accept", ring: 1 }), []);
  }
  const replaced = waiting();
  replaced.handle(text("CALLER anna"));
  const notices = replaced.handle(closed(1008, "replaced by a new connection")).map(({ code, subject }) => [code, subject]);
  assert.deepEqual(notices, [["missed-call", "anna"], ["replaced", "me"]]);
  const error = waiting();
  error.handle(text("CALLER anna"));
  assert.deepEqual(kinds(error.handle(text("ERROR out of order"))), ["notice", "close"]);
});

test("what a caller says while it rings is bounded", () => {
  const call = waiting();
  call.handle(text(OFFER));
  const long = JSON.stringify({ sdp: { type: "offer", sdp: "x".repeat(1 << 18) } });
  for (let i = 0; i < 1000; i += 1) call.handle(text(long));
  const signals = (call) => call.handle({ type: "accept", ring: 1 }).filter((effect) => effect.do === "signal").length;
  assert.equal(signals(call), 4);
  const chatty = waiting();
  for (let i = 0; i < 10_000; i += 1) chatty.handle(text(ICE));
  assert.equal(signals(chatty), MAX_WAITING);
});

test("a call that comes while we call rings; declined, ours is made", () => {
  const answers = { accept: [["add-peer", "signal"], "in-call"], decline: [["close"], "leaving"] };
  for (const [type, expected] of Object.entries(answers)) {
    const call = waiting();
    call.handle({ type: "call", peer: "you", remoteOfferer: false });
    assert.deepEqual(kinds(call.handle(text(OFFER))), ["ring"]);
    assert.deepEqual(call.handle({ type: "unanswered", attempt: 1 }), []);
    assert.deepEqual([kinds(call.handle({ type, ring: 1 })), call.state], expected);
    call.handle(closed(1000));
    call.handle({ type: "opened" });
    const sent = call.handle(text("HELLO")).map((effect) => effect.text).filter(Boolean);
    assert.deepEqual(sent, type === "decline" ? ["SESSION you"] : []);
  }
});

test("a join or another name declines what rings", () => {
  for (const event of [{ type: "join", room: "r" }, { type: "rename", id: "other" }, { type: "hang-up" }]) {
    const call = waiting();
    call.handle(text("CALLER anna"));
    assert.deepEqual(call.handle(event), [{ do: "close" }]);
    assert.deepEqual(call.handle({ type: "accept", ring: 1 }), []);
  }
});

test("a page that takes calls by itself takes one at the caller's name, so that its deadline runs", () => {
  const call = registered();
  assert.deepEqual(call.handle(text("CALLER anna")), [{ do: "add-peer", uid: CALLER, offers: false }]);
  assert.deepEqual([call.state, call.caller], ["in-call", "anna"]);
  assert.deepEqual(kinds(call.handle(text(OFFER))), ["signal"]);
  assert.deepEqual(call.handle(closed(1000)).slice(1), [{ do: "notice", code: "peer-left", subject: "anna" }, { do: "connect" }]);
});

test("a page that takes calls by itself ends one that failed, and is free for the next", () => {
  const call = registered();
  call.handle(text("CALLER anna"));
  assert.deepEqual(kinds(call.handle({ type: "peer-dead", uid: CALLER, failed: true, hungUp: false })), ["remove-peer", "close", "notice"]);
  assert.deepEqual(call.handle(closed(1000)), [{ do: "connect" }]);
  const attended = waiting();
  attended.handle(text(OFFER));
  attended.handle({ type: "accept", ring: 1 });
  assert.deepEqual(attended.handle({ type: "peer-dead", uid: CALLER, failed: true, hungUp: false }), [], "the user may try again");
  assert.equal(attended.state, "in-call");
});

test("whether a call was taken is told apart from its end", () => {
  for (const [said, code] of [[[], "not-taken"], [[ICE], "peer-left"]]) {
    const call = waiting();
    call.handle({ type: "call", peer: "you", remoteOfferer: false });
    call.handle(text("SESSION_OK"));
    for (const each of said) call.handle(text(each));
    assert.deepEqual(call.handle(closed(1000))[1], { do: "notice", code, subject: "you" });
  }
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
    assert.deepEqual(effects.slice(0, 2), [{ do: "succeeded" }, { do: "add-peer", uid: "you", offers: !remoteOfferer }]);
    assert.deepEqual(effects.slice(2), remoteOfferer ? [{ do: "send", text: "OFFER_REQUEST" }] : []);
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

/** A call that goes on without the server. */
function alone(how = {}) {
  const call = registeredWith({ autoAnswer: true, ...how });
  call.handle(text("CALLER anna"));
  assert.deepEqual(call.handle({ ...closed(1006), flows: true }), [{ do: "notice", code: "call-goes-on" }]);
  assert.deepEqual([call.state, call.peer, call.isAlone], ["in-call", CALLER, true]);
  return call;
}
const LEFT = { do: "remove-peer", uid: CALLER, reason: "left" };

test("a call in which media flow goes on without the server, until one side ends it", () => {
  const call = alone();
  assert.deepEqual(call.handle({ type: "send-signal", uid: CALLER, signal: parseSignal(ICE) }), [], "there is nobody to send it");
  assert.deepEqual(call.handle({ type: "call", peer: "you", remoteOfferer: false }), []);
  assert.deepEqual(call.handle({ type: "hang-up" }), [LEFT, { do: "connect" }]);
  assert.deepEqual([call.state, call.isAlone], ["reconnecting", false]);
  // The page is not in a call any more, so it says that the server is gone.
  assert.deepEqual(kinds(call.handle(closed(1006))), ["ask-why", "connect-later"]);
  assert.deepEqual(kinds(call.handle({ type: "explained", id: "me", why: "server-unreachable" })), ["notice"]);

  for (const [failed, hungUp, code] of [[false, true, "peer-left"], [true, true, "peer-left"], [true, false, "call-cut"]]) {
    const ended = alone();
    assert.deepEqual(ended.handle({ type: "peer-dead", uid: "other", failed, hungUp }), []);
    const effects = ended.handle({ type: "peer-dead", uid: CALLER, failed, hungUp });
    assert.deepEqual(effects, [LEFT, { do: "connect" }, { do: "notice", code, subject: "anna" }]);
    ended.handle({ type: "opened" });
    assert.deepEqual(ended.handle(text("HELLO")), [{ do: "registered" }], "the notice about the call stays");
    assert.equal(ended.state, "ready");
  }
});

test("who is sent away by the server does not go on with the call", () => {
  const call = registered();
  call.handle(text(OFFER));
  assert.deepEqual(kinds(call.handle({ ...closed(1008, "closed by an operator"), flows: true })), ["remove-peer", "notice"]);
  const ended = registered();
  ended.handle(text(OFFER));
  assert.deepEqual(kinds(ended.handle({ ...closed(1000), flows: true })), ["remove-peer", "notice", "connect"], "the other side hung up");
});

test("with a server, a peer that ends its connection may begin another", () => {
  const call = registered();
  call.handle(text(OFFER));
  assert.deepEqual(call.handle({ type: "peer-dead", uid: CALLER, failed: false, hungUp: true }), []);
  assert.equal(call.state, "in-call");
  assert.deepEqual(kinds(call.handle({ type: "peer-dead", uid: CALLER, failed: true, hungUp: true })), ["remove-peer", "close", "notice"]);
});

test("a server that has too much to do is left alone for a while", () => {
  const busy = { do: "connect-later", leastMs: 5000 };
  const call = registered();
  call.handle(JOIN);
  call.handle(text("ROOM_OK"));
  assert.deepEqual(call.handle(closed(1013)).at(-1), busy);
  call.handle({ type: "opened" });
  assert.deepEqual(call.handle(closed(1013)).at(-1), busy);
  const leaving = registered();
  leaving.handle(JOIN);
  leaving.handle({ type: "hang-up" });
  assert.deepEqual(leaving.handle(closed(1013)), [busy]);
  assert.equal(leaving.state, "reconnecting");
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
  const takenAgain = () => known.handle(closed(1002, "invalid peer uid"));
  const [, { absence }] = takenAgain();
  for (let i = 0; i < 20; i += 1) assert.deepEqual(kinds(takenAgain()), ["connect-later"]);
  known.handle({ type: "opened" });
  known.handle(text("HELLO"));
  known.handle(closed(1006));
  const [, later] = takenAgain();
  assert.deepEqual(known.handle({ type: "uid-overdue", absence }), [], "that loss is over");
  assert.deepEqual(kinds(takenAgain()), ["connect-later"]);
  known.handle({ type: "uid-overdue", absence: later.absence });
  assert.deepEqual(takenAgain(), [{ do: "notice", code: "uid-taken", subject: "me" }]);
  assert.equal(known.state, "refused");
});

test("who is not welcome doesn't come back by itself", () => {
  const call = registered();
  call.handle({ type: "join", room: "r" });
  call.handle(text("ROOM_OK a"));
  assert.deepEqual(call.handle(closed(1008, "replaced by a new connection")).slice(1), [{ do: "notice", code: "replaced", subject: "me" }]);
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
  assert.deepEqual(refusal(), [{ do: "notice", code: "uid-refused", subject: call.id }]);
  const [notice] = refusal("ERROR not now", "HELLO");
  assert.deepEqual(notice, { do: "notice", code: "uid-refused", subject: call.id }, "what was said before HELLO is over");
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
  assert.deepEqual(call.handle(closed(1006)), [{ do: "notice", code: "server-lost" }, { do: "connect-later" }]);
  assert.deepEqual(kinds(call.handle(closed(1006))), ["ask-why", "connect-later"]);
  assert.deepEqual(call.handle({ type: "explained", id: "me", why: "server-unreachable" }), []);
  call.handle({ type: "opened" });
  assert.deepEqual(call.handle(text("HELLO")), [{ do: "registered" }, { do: "notice", code: "back" }]);
});

test("why no WebSocket opens is asked, and told once", () => {
  const call = new Call("me");
  call.handle({ type: "register" });
  const explained = (why) => call.handle({ type: "explained", id: "me", why });
  assert.deepEqual(kinds(call.handle(closed(1006))), ["ask-why", "connect-later"]);
  assert.deepEqual(explained("server-full"), [{ do: "notice", code: "server-full" }]);
  call.handle(closed(1006));
  assert.deepEqual(explained("server-full"), []);
  assert.deepEqual(explained("server-draining"), [{ do: "notice", code: "server-draining" }]);
  call.handle({ type: "opened" });
  assert.deepEqual(explained("server-full"), [], "late: it has opened meanwhile");
  assert.deepEqual(kinds(call.handle(closed(1013, "too many registrations, try again later"))), ["notice", "connect-later"]);
  call.handle({ type: "opened" });
  assert.deepEqual(kinds(call.handle(text("HELLO"))), ["registered", "notice"]);
  assert.deepEqual(explained("token-expired"), []);
  const renamed = new Call("me");
  renamed.handle({ type: "register" });
  renamed.handle(closed(1006));
  renamed.handle({ type: "rename", id: "other" });
  assert.deepEqual(renamed.handle({ type: "explained", id: "me", why: "uid-refused" }), [], "that was about another name");
});

test("for reasons that last nobody tries again by itself", () => {
  for (const why of ["token-missing", "token-expired", "token-refused", "uid-refused", "origin-refused", "bad-address"]) {
    const call = new Call("me");
    call.handle({ type: "join", room: "r" });
    call.handle(closed(1006));
    assert.deepEqual(call.handle({ type: "explained", id: "me", why }), [{ do: "notice", code: why, subject: "me" }, { do: "stay-away" }]);
    assert.equal(call.state, "refused");
    assert.deepEqual(call.handle({ type: "rename", id: "other" }), [{ do: "connect" }]);
  }
});

test("a restart of the server is called so", () => {
  assert.deepEqual(registered().handle(closed(1001, "server is shutting down"))[0], { do: "notice", code: "server-restarts" });
});

test("a room that we may not enter is told apart from one that cannot be", () => {
  for (const [room, code] of [["secret", "room-refused"], ["a b", "invalid-room"], ["session", "invalid-room"]]) {
    const call = registered();
    call.handle({ type: "join", room });
    assert.deepEqual(call.handle(text(`ERROR invalid room id '${room}'`)), [{ do: "notice", code, subject: room }]);
  }
});

test("in a call an error is the peer's", () => {
  const call = registered();
  call.handle(text(OFFER));
  assert.deepEqual(call.handle(text("ERROR no camera"))[0], { do: "notice", code: "peer-error", subject: "no camera" });
});

test("entering a room meets its members, and gives those time who lost the server, too", () => {
  const call = registered();
  assert.deepEqual(call.handle({ type: "join", room: "r" }), [{ do: "send", text: "ROOM r" }, { do: "expect-answer", attempt: 1 }]);
  assert.deepEqual(kinds(call.handle(text("ROOM_OK a"))), ["succeeded", "add-peer", "settle-later"]);
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

test("a registration alone does not count as success: a join may be refused each time", () => {
  for (const [code, reason] of [[1013, "too many joins, try again later"], [1008, "too many messages"]]) {
    const call = registered();
    call.handle(JOIN);
    for (let round = 0; round < 3; round += 1) {
      assert.equal(kinds(call.handle(closed(code, reason))).at(-1), "connect-later");
      call.handle({ type: "opened" });
      assert.ok(!kinds(call.handle(text("HELLO"))).includes("succeeded"));
      assert.equal(call.state, "joining");
    }
    assert.ok(kinds(call.handle(text("ROOM_OK"))).includes("succeeded"));
  }
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
    const { server, pages } = online(["a", "b"], random, seed % 2 === 0);
    const joins = random() < 0.5;
    if (joins) pages[1].do({ type: "join", room: "r" });
    const silent = server.connect();
    server.text(silent, "HELLO silent");
    server.text(silent, "SESSION a");
    pages[0].do(joins ? { type: "join", room: "r" } : { type: "call", peer: "b", remoteOfferer: random() < 0.5 });
    pages[0].accepts = server.tellsCallers ? false : true;
    comeToRest(pages, random);
    if (!server.tellsCallers) {
      assert.equal(pages[0].call.state, joins ? "joining" : "calling");
      pages[0].do({ type: "unanswered", attempt: pages[0].attempt });
    }
    comeToRest(pages, random);
    const [[a], [b]] = pages.map((page) => [...page.peers.values()]);
    assertConnected(a, b, `seed ${seed}`);
  }
});

test("any interleaving: two pages call each other at the same time", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const { pages } = online(["a", "b"], random, seed % 2 === 0);
    const remoteOfferer = random() < 0.5;
    pages[0].do({ type: "call", peer: "b", remoteOfferer });
    if (random() < 0.7) pages[1].do({ type: "call", peer: "a", remoteOfferer });
    comeToRest(pages, random);
    const [[a], [b]] = pages.map((page) => [...page.peers.values()]);
    assertConnected(a, b, `seed ${seed}`);
  }
});

test("any interleaving: calls that are declined or taken, and hung up meanwhile", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const { pages } = online(["a", "b", "c"], random, seed % 2 === 0);
    for (let action = 0; action < 12; action += 1) {
      const page = pages[Math.floor(random() * pages.length)];
      page.accepts = random() < 0.5;
      const other = pages[Math.floor(random() * pages.length)];
      if (random() < 0.3) page.do({ type: "hang-up" });
      else page.do({ type: "call", peer: other.call.id, remoteOfferer: random() < 0.5 });
      for (let step = Math.floor(random() * 20); step > 0; step -= 1) {
        const moves = pages.flatMap((page) => page.moves());
        if (moves.length > 0) moves[Math.floor(random() * moves.length)]();
      }
    }
    for (const page of pages) page.accepts = true;
    comeToRest(pages, random);
    for (const page of pages) page.do({ type: "hang-up" });
    comeToRest(pages, random);
    for (const page of pages) assert.deepEqual([page.call.state, page.peers.size], ["ready", 0], `seed ${seed}`);
  }
});

test("any interleaving: hang up and call again", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const random = seeded(seed);
    const { pages } = online(["a", "b"], random, seed % 2 === 0);
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

/** Asserts that each member of the room is connected to each other member, and to no other page. */
function assertRoom(pages, seed) {
  const inside = pages.filter((page) => page.call.state === "in-room");
  for (const page of pages) {
    const others = inside.includes(page) ? inside.filter((other) => other !== page) : [];
    assert.deepEqual([...page.peers.keys()].sort(), others.map((other) => other.call.id).sort(), `seed ${seed}: ${page.call.id} (${page.call.state})`);
    for (const other of others) assertConnected(page.peers.get(other.call.id), other.peers.get(page.call.id), `seed ${seed}`);
  }
}
