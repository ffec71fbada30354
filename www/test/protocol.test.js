import assert from "node:assert/strict";
import { test } from "node:test";

import { isPeerId, isRoomId, randomId, toId } from "../ids.js";
import { format, formatSignal, parseServerMessage, parseSignal } from "../protocol.js";
import { pick, seeded } from "./random.js";

test("ids are what Python would not split", () => {
  for (const good of ["a", "1234", "gst-demo", "ünï", "o'brien", "{}", "\u200b", "\ufeff"]) assert.ok(isPeerId(good), good);
  for (const bad of ["", " ", "a b", "a ", "a\n", "a\u00a0b", "a\u2003b", "a\u001cb", "a\u0085b"]) assert.ok(!isPeerId(bad), bad);
  assert.ok(isPeerId("session") && !isRoomId("session") && isRoomId("sessions"));
});

test("typed names become ids, random ones are", () => {
  assert.equal(toId("  Jane  Doe "), "Jane-Doe");
  for (let seed = 0; seed < 200; seed += 1) assert.match(randomId(seeded(seed)), /^[a-z]+-[a-z]+-\d{3}$/);
});

test("reads each message of the server", () => {
  const cases = [
    ["HELLO", { verb: "HELLO" }],
    ["SESSION_OK", { verb: "SESSION_OK" }],
    ["ROOM_OK ", { verb: "ROOM_OK", peers: [] }],
    ["ROOM_OK", { verb: "ROOM_OK", peers: [] }],
    ["ROOM_OK a b", { verb: "ROOM_OK", peers: ["a", "b"] }],
    ["ROOM_PEER_LIST a", { verb: "ROOM_PEER_LIST", peers: ["a"] }],
    ["ROOM_PEER_JOINED a", { verb: "ROOM_PEER_JOINED", peer: "a" }],
    ["CALLER a", { verb: "CALLER", peer: "a" }],
    ["ROOM_PEER_LEFT a", { verb: "ROOM_PEER_LEFT", peer: "a" }],
    ["ROOM_PEER_MSG a  {} ", { verb: "ROOM_PEER_MSG", from: "a", msg: " {} " }],
  ];
  for (const [text, message] of cases) assert.deepEqual(parseServerMessage(text), message, text);
});

test("reads errors as Python quotes them", () => {
  const read = (text) => {
    const { code, subject } = parseServerMessage(text);
    return [code, subject];
  };
  assert.deepEqual(read("ERROR peer 'x' not found"), ["not-found", "x"]);
  assert.deepEqual(read("ERROR peer \"o'brien\" busy"), ["busy", "o'brien"]);
  assert.deepEqual(read("ERROR peer 'x' is not in the room"), ["not-in-room", "x"]);
  assert.deepEqual(read("ERROR invalid room id ''"), ["invalid-room", ""]);
  assert.deepEqual(read("ERROR invalid msg, already in room"), ["already-in-room", ""]);
  for (const text of ["ERROR", "ERROR:", "ERRORS galore"]) assert.equal(parseServerMessage(text).code, "other", text);
});

test("knows what is none of the server's messages", () => {
  for (const text of ["", "HELLO you", "SESSION_OKAY", "ROOM_OKAY x", "ROOM_PEER_JOINED", "ROOM_PEER_MSG a", "{}", "hello"]) {
    assert.equal(parseServerMessage(text), null, text);
  }
});

test("prints what the server reads", () => {
  assert.equal(format.hello("me"), "HELLO me");
  assert.equal(format.session("you"), "SESSION you");
  assert.equal(format.room("r"), "ROOM r");
  assert.equal(format.roomPeerMsg("you", '{"a": 1}'), 'ROOM_PEER_MSG you {"a": 1}');
});

test("reads candidates of browsers and of GStreamer", () => {
  const chrome = parseSignal('{"ice":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"ab"}}');
  assert.deepEqual(chrome.ice, { candidate: "candidate:1", sdpMid: "0", sdpMLineIndex: 0, usernameFragment: "ab" });
  const gstreamer = parseSignal('{"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}');
  assert.deepEqual(gstreamer.ice, { candidate: "candidate:1", sdpMid: null, sdpMLineIndex: 1 });
});

test("reads what can only mean one thing", () => {
  const read = (ice) => parseSignal(JSON.stringify({ ice: { candidate: "c", ...ice } }))?.ice;
  assert.equal(read({ sdpMLineIndex: "1" }).sdpMLineIndex, 1);
  assert.equal(parseSignal('{"ice":{"candidate":"c","sdpMLineIndex":1.0}}').ice.sdpMLineIndex, 1);
  assert.deepEqual(read({ sdpMLineIndex: 1, sdpMid: 0 }), { candidate: "c", sdpMid: "0", sdpMLineIndex: 1 });
  for (const nonsense of [-1, 0.5, "", "x", true, {}]) {
    assert.deepEqual(read({ sdpMLineIndex: nonsense, sdpMid: "a" }), { candidate: "c", sdpMid: "a", sdpMLineIndex: null });
    assert.equal(read({ sdpMLineIndex: nonsense }), undefined, String(nonsense));
  }
  for (const type of ["OFFER", "Answer"]) {
    assert.deepEqual(parseSignal(JSON.stringify({ sdp: { type, sdp: "v=0" } })).sdp, { type: type.toLowerCase(), sdp: "v=0" });
  }
});

test("a candidate without any m-line belongs to the first", () => {
  assert.equal(parseSignal('{"ice":{"candidate":"candidate:1"}}').ice.sdpMLineIndex, 0);
});

test("reads every end of candidates", () => {
  for (const text of ['{"ice":{"candidate":"","sdpMid":"0","sdpMLineIndex":0}}', '{"ice":{"candidate":"","sdpMid":null,"sdpMLineIndex":null}}', '{"ice":null}', '{"ice":{}}']) {
    assert.equal(parseSignal(text).ice.candidate, "", text);
  }
});

test("refuses the rest", () => {
  const bad = ["", "HELLO", "[]", "1", "null", "{}", '{"sdp":1}', '{"sdp":null}', '{"sdp":{"type":"pranswer","sdp":""}}', '{"ice":7}', '{"ice":{"candidate":7}}', '{"ice":{"candidate":"x","sdpMLineIndex":-1}}'];
  for (const text of bad) assert.equal(parseSignal(text), null, text);
});

test("signals are read back as they were printed", () => {
  const signals = [
    { kind: "offer-request" },
    { kind: "sdp", sdp: { type: "offer", sdp: "v=0\r\n" } },
    { kind: "ice", ice: { candidate: "", sdpMid: "0", sdpMLineIndex: 0, usernameFragment: "x" } },
  ];
  for (const signal of signals) assert.deepEqual(parseSignal(formatSignal(signal)), signal);
});

test("no text makes a parser throw", () => {
  const random = seeded(7);
  const parts = ["ROOM_OK", "ROOM_PEER_MSG", "ERROR", " peer ", "'", '"', "{", "}", '"ice":', '"sdp":', "null", " ", "\n", "😀", "\ud800", "HELLO", "[", "]", "1"];
  for (let round = 0; round < 5000; round += 1) {
    const text = Array.from({ length: Math.floor(random() * 8) }, () => pick(random, parts)).join("");
    parseServerMessage(text);
    parseSignal(text);
  }
});
