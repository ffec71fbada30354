import assert from "node:assert/strict";
import { test } from "node:test";

import { Again } from "../again.js";
import { hudRows } from "../hud.js";
import { Names, Recording, extension, fileName, recordingType } from "../recording.js";
import { Saver } from "../saver.js";
import { chooseFile } from "../ui/files.js";
import { Recordings } from "../ui/recordings.js";
import "./english.js";

class FakeRecorder {
  state = "recording";
  constructor(stream, options) {
    if (stream === null) throw new DOMException("", "NotSupportedError");
    Object.assign(this, { stream, options });
    FakeRecorder.last = this;
  }
  start() {}
  piece(size) {
    this.ondataavailable({ data: { size } });
  }
  stop() {
    this.state = "inactive";
    queueMicrotask(() => this.onstop());
  }
}

/** A recording into a file that takes pieces as `write` does. */
function recording(write = async () => {}, stream = { getAudioTracks: () => [{}] }, type = "video/webm") {
  globalThis.MediaRecorder = FakeRecorder;
  const written = [];
  const target = { closed: 0, write: async (piece) => (await write(piece), written.push(piece.size)), close: async () => (target.closed += 1) };
  return { it: new Recording(stream, target, type), target, written, recorder: FakeRecorder.last };
}

test("pieces are written in their order, and the file is closed after the last", async () => {
  let delay = 5;
  const { it, target, written, recorder } = recording(() => new Promise((done) => setTimeout(done, (delay -= 1))));
  for (const size of [3, 2, 0, 1]) recorder.piece(size);
  it.stop();
  recorder.piece(9); // MediaRecorder delivers its last piece before it stops
  assert.equal(await it.done, "stopped");
  assert.deepEqual([written, target.closed], [[3, 2, 1, 9], 1]);
  it.stop();
});

test("the type of a recording without sound has no codec for sound", () => {
  const type = "video/webm;codecs=vp8,opus";
  const typeOf = (/** @type {object[]} */ sounds) => recording(undefined, { getAudioTracks: () => sounds }, type).recorder.options.mimeType;
  assert.deepEqual([typeOf([{}]), typeOf([])], [type, "video/webm;codecs=vp8"]);
});

test("a file that cannot be written ends the recording and keeps what was written", async () => {
  let left = 2;
  const { it, target, written, recorder } = recording(async () => {
    if ((left -= 1) < 0) throw new Error("full");
  });
  for (const size of [1, 2, 3, 4]) recorder.piece(size);
  assert.equal(await it.done, "file");
  assert.deepEqual([written, target.closed, recorder.state], [[1, 2], 1, "inactive"]);
});

test("a disk that does not keep up ends the recording, and memory is bounded", async () => {
  let release;
  const { it, recorder } = recording(() => new Promise((done) => (release = done)));
  recorder.piece(40 << 20);
  assert.equal(recorder.state, "recording");
  recorder.piece(40 << 20);
  assert.equal(recorder.state, "inactive");
  for (let n = 0; n < 2; n += 1) {
    await new Promise((done) => setTimeout(done));
    release();
  }
  assert.equal(await it.done, "slow");
});

test("a browser that cannot record says so", async () => {
  const { it, target } = recording(undefined, null);
  assert.deepEqual([await it.done, target.closed], ["browser", 1]);
  const { it: other, recorder } = recording();
  recorder.onerror();
  assert.equal(await other.done, "browser");
  assert.equal(recordingType((type) => type === "video/mp4"), "video/mp4");
  assert.deepEqual([recordingType(() => false), extension("video/mp4"), extension("")], ["", "mp4", "webm"]);
});

test("the name of a file is safe, and says of what it is", () => {
  const at = new Date("2026-11-26T20:15:30.5Z");
  assert.equal(fileName("robot · rear", at, "webm"), "robot-rear_2026-11-26_20-15-30.webm");
  assert.equal(fileName("../../etc/passwd", at, "png"), "etc-passwd_2026-11-26_20-15-30.png");
  assert.equal(fileName("Grüße 👋", at, "png"), "Grüße_2026-11-26_20-15-30.png");
  for (const odd of ["", "…", "\u202e", ".."]) assert.equal(fileName(odd, at, "png"), "call_2026-11-26_20-15-30.png");
  assert.ok(fileName("x".repeat(500), at, "png").length < 100);
});

test("recordings that begin in the same second get names that differ", () => {
  const names = new Names();
  const at = (ms) => new Date(Date.UTC(2026, 10, 26, 20, 15, 30, ms));
  const next = (of, ms) => names.next(of, at(ms), "webm").replace("2026-11-26_20-15-", "");
  assert.deepEqual([next("robot 1", 0), next("robot-1", 5), next("Robot 1", 999)], ["robot-1_30.webm", "robot-1_30-2.webm", "Robot-1_30-3.webm"]);
  assert.deepEqual([next("anna", 999), next("robot 1", 1000), next("robot 1", 1001)], ["anna_30.webm", "robot-1_31.webm", "robot-1_31-2.webm"]);
});

test("recordings that are kept in memory share one limit", async (t) => {
  const saved = [];
  const { setTimeout } = globalThis;
  const link = () => ({ setAttribute: (name, value) => name === "download" && saved.push(value), append: () => {}, click: () => {} });
  Object.assign(globalThis, { window: {}, document: { createElement: link }, setTimeout: () => {} });
  t.after(() => (Object.assign(globalThis, { setTimeout }), delete globalThis.window, delete globalThis.document));
  const [first, second] = [await chooseFile("1.webm"), await chooseFile("2.webm")];
  await first.write({ size: 2 ** 29 });
  await second.write({ size: 2 ** 29 });
  await assert.rejects(second.write({ size: 1 }));
  await first.close();
  await second.write({ size: 2 ** 29 });
  await assert.rejects(second.write({ size: 1 }));
  await second.close();
  assert.deepEqual(saved, ["1.webm", "2.webm"]);
});

test("only a browser that can record offers to record all", () => {
  globalThis.addEventListener = globalThis.removeEventListener = () => {};
  const tiles = new Map([["anna", {}]]);
  globalThis.MediaRecorder = FakeRecorder;
  FakeRecorder.isTypeSupported = () => true;
  assert.equal(new Recordings().allItem(tiles).label, "Record all");
  assert.equal(new Recordings().allItem(new Map()), false);
  delete globalThis.MediaRecorder;
  assert.equal(new Recordings().allItem(tiles), false);
});

test("a peer that stays away is called more rarely, and at once when it has been there", () => {
  const again = new Again(false);
  const pauses = Array.from({ length: 7 }, () => again.pause());
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  again.succeeded();
  assert.equal(again.pause(), 1000);
});

test("only a page that stays hidden saves data, unless a picture is needed", () => {
  const saver = new Saver(true);
  const first = saver.shown(true);
  saver.shown(false);
  const second = saver.shown(true);
  saver.elapsed(first);
  assert.equal(saver.receives, true, "the timer of an earlier time");
  saver.elapsed(second);
  assert.equal(saver.receives, false);
  saver.need(true);
  assert.equal(saver.receives, true);
  saver.need(false);
  assert.equal(saver.receives, false);
  saver.shown(false);
  assert.equal(saver.receives, true);
  assert.equal(new Saver(false).shown(true), null);
});

const video = { width: 640, height: 360, fps: 29.7, kbps: 500, codec: "VP8", ageMs: null, bufferMs: 30, lossPercent: 1.5, freezes: 0, frozenMs: 0 };
const stats = (more) => ({ videos: [{ ...video, ...more }, video], videoOut: null, audioIn: null, rttMs: 41, route: null, ...more });

test("an age that is not known is estimated, and said to be", () => {
  const age = (more) => hudRows(stats(more)).find(([name]) => name === "age")?.[1];
  assert.equal(age({ ageMs: 120 }), "120 ms");
  assert.equal(age({}), "≈ 51 ms");
  assert.equal(age({ bufferMs: null }), undefined);
  assert.equal(age({ rttMs: null }), undefined);
});

test("the path names both protocols if we reach our relay otherwise", () => {
  const path = (route) => hudRows(stats({ route })).find(([name]) => name === "path")?.[1];
  assert.equal(path({ local: "host", remote: "srflx", protocol: "udp", relay: "" }), "host → srflx UDP");
  assert.equal(path({ local: "relay", remote: "host", protocol: "udp", relay: "tls" }), "relay → host TLS, UDP");
  assert.equal(path({ local: "relay", remote: "host", protocol: "udp", relay: "udp" }), "relay → host UDP");
});

test("the path is on the first picture only, and without figures there are no rows", () => {
  const route = { local: "host", remote: "host", protocol: "tcp", relay: "" };
  assert.deepEqual(hudRows(stats({ route }), 1).map(([name]) => name), ["in", "age", "lost"]);
  assert.deepEqual(hudRows(stats({ freezes: 2, frozenMs: 1260 })).find(([name]) => name === "frozen"), ["frozen", "2, 1.3 s"]);
  assert.deepEqual([hudRows(null), hudRows({ ...stats({}), videos: [] }, 1)], [[], []]);
});
