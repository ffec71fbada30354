import assert from "node:assert/strict";
import { test } from "node:test";

import { subprotocols, takeToken } from "../token.js";

/** A browser's history as far as it matters: one entry. */
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
