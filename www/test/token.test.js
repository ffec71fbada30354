import assert from "node:assert/strict";
import { test } from "node:test";

import { readParameters } from "../parameters.js";
import { subprotocols, takeToken, uidOf } from "../token.js";

/** A model of a browser's history with one entry. */
class Entry {
  state = null;
  constructor(href) {
    this.href = href;
  }
  replaceState(state, _, href) {
    this.state = structuredClone(state);
    this.href = href;
  }
  take() {
    return takeToken(new URL(this.href), this);
  }
}

test("the token leaves the address and nothing else does", () => {
  const entry = new Entry("https://h/call/?room=a%20b&token=x.y-z_1&join=1#top");
  assert.equal(entry.take(), "x.y-z_1");
  const { pathname, searchParams, hash } = new URL(entry.href);
  assert.deepEqual([pathname, [...searchParams], hash], ["/call/", [["room", "a b"], ["join", "1"]], "#top"]);
});

test("a reload finds it again, and a new one replaces it", () => {
  const entry = new Entry("https://h/?token=old&token=older");
  entry.take();
  assert.equal(entry.href, "https://h/");
  assert.equal(entry.take(), "old");
  entry.href = "https://h/?token=new";
  assert.deepEqual([entry.take(), entry.take()], ["new", "new"]);
});

test("an address without one stays as it is", () => {
  for (const state of [null, 7, "x", {}, { token: 7 }]) {
    const entry = new Entry("https://h/?room=a%20b&join");
    entry.state = state;
    assert.deepEqual([entry.take(), entry.href, entry.state], ["", "https://h/?room=a%20b&join", state]);
  }
});

test("a WebSocket carries it beside the protocol's name", () => {
  assert.deepEqual(subprotocols("x.y.z"), ["callbin", "token.x.y.z"]);
  assert.deepEqual(subprotocols(""), []);
});

/** A token with these claims. Its signature is not checked here. */
const jwt = (claims) => ["{}", JSON.stringify(claims), "x"].map((part) => Buffer.from(part).toString("base64url")).join(".");

test("a token that fixes the name gives it", () => {
  const name = (claims) => uidOf(jwt(claims), () => "swift-otter");
  for (const [claims, uid] of [
    [{ uid: "alice", sub: "x" }, "alice"],
    [{ uid: "grüße-👋" }, "grüße-👋"],
    [{ uid: "alice*", sub: "alice-2" }, "alice-2"],
    [{ uid: "alice*", sub: "bob" }, "alice-swift-otter"],
    [{ uid: "alice/*" }, "alice/swift-otter"],
    [{ uid: "*", sub: "alice" }, ""],
    [{ sub: "alice" }, ""],
    [{ uid: 7 }, ""],
    [null, ""],
    ["x", ""],
  ]) {
    assert.equal(name(claims), uid, JSON.stringify(claims));
  }
  for (const token of ["", "x", "a.b.c", "..", "a.*.c", `a.${Buffer.from([0xff]).toString("base64url")}.c`]) assert.equal(uidOf(token, () => "x"), "");
});

test("the address has the last word on the name", () => {
  const read = (query) => readParameters(new URL(`https://h/calls/?${query}`), new Entry("https://h/"));
  const token = jwt({ uid: "alice" });
  assert.equal(read(`token=${token}`).id, "alice");
  assert.equal(read(`token=${token}&id=berta`).id, "berta");
  assert.match(read("").id, /^[a-z]+-[a-z]+-\d{3}$/);
  assert.match(read(`token=${jwt({ uid: "a b" })}`).id, /^[a-z]+-[a-z]+-\d{3}$/);
});

test("calls are taken at once only where the address says so", () => {
  const read = (query) => readParameters(new URL(`https://h/calls/?${query}`), new Entry("https://h/")).autoAnswer;
  assert.deepEqual(["", "auto-answer=0", "call=x", "auto-answer=1", "auto-answer"].map(read), [false, false, false, true, true]);
});

test("the server is beside the page", () => {
  const { server } = readParameters(new URL("https://h/calls/?room=r"), new Entry("https://h/"));
  assert.equal(server, "wss://h/calls/");
});
