import assert from "node:assert/strict";
import { test } from "node:test";

import { httpUrls, isUsable, socketUrl } from "../endpoint.js";

test("HTTP is spoken beside the WebSocket, else at the root", () => {
  const cases = [
    ["ws://h:8443/", ["http://h:8443/x"]],
    ["wss://h/", ["https://h/x"]],
    ["wss://h", ["https://h/x"]],
    ["wss://h/calls/", ["https://h/calls/x", "https://h/x"]],
    ["wss://h/calls/?token=1#a", ["https://h/calls/x", "https://h/x"]],
    ["wss://h/calls", ["https://h/x", "https://h/calls/x"]],
    ["wss://h/calls/ws", ["https://h/calls/x", "https://h/calls/ws/x", "https://h/x"]],
    ["https://h/calls/", ["https://h/calls/x", "https://h/x"]],
    ["nonsense", []],
  ];
  for (const [server, urls] of cases) assert.deepEqual(httpUrls(server, "x", false), urls, server);
});

test("a token goes nowhere outside of the server's own path: the rest of the host may be another's", () => {
  const cases = [
    ["wss://h/", ["https://h/x"]],
    ["wss://h/calls/", ["https://h/calls/x"]],
    ["wss://h/calls", ["https://h/calls/x"]],
    ["wss://h/calls/ws", ["https://h/calls/x", "https://h/calls/ws/x"]],
  ];
  for (const [server, urls] of cases) assert.deepEqual(httpUrls(server, "x", true), urls, server);
});

test("the WebSocket's address asks for more than the protocol tells, and keeps what it had", () => {
  const url = new URL(socketUrl("wss://h/calls/?room=a%20b&token=x"));
  assert.deepEqual([url.pathname, [...url.searchParams]], ["/calls/", [["room", "a b"], ["token", "x"], ["wants", "caller,heartbeat"]]]);
  assert.equal(socketUrl("nonsense"), "nonsense");
});

test("an address that no WebSocket can be opened at is known beforehand", () => {
  for (const [server, page, usable] of [
    ["ws://h/", "http:", true],
    ["wss://h/", "http:", true],
    ["wss://h/", "https:", true],
    ["ws://h/", "https:", false],
    ["ws://localhost:8443/", "https:", true],
    ["ws://127.0.0.1/", "https:", true],
    ["http://h/", "http:", true],
    ["ftp://h/", "http:", false],
    ["h:8443", "http:", false],
    ["nonsense", "http:", false],
  ]) {
    assert.equal(isUsable(server, page), usable, `${server} ${page}`);
  }
});

test("requests, which carry the token, never go to another host than the server's", () => {
  for (const server of ["wss://own.host//evil.example/", "wss://own.host//evil.example", "wss://own.host///evil.example/a", "wss://own.host/\\evil.example/", "wss://own.host//"]) {
    const urls = [true, false].flatMap((hasToken) => httpUrls(server, "x", hasToken));
    assert.ok(urls.length > 1, server);
    for (const url of urls) assert.equal(new URL(url).host, "own.host", `${server}: ${url}`);
  }
});
