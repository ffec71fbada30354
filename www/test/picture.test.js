import assert from "node:assert/strict";
import { test } from "node:test";

import { Clock, Fresh, Picture } from "../picture.js";

const frames = (from, to, distance) => Array.from({ length: Math.ceil((to - from) / distance) }, (_, n) => from + n * distance);

/** The changes that a user would see, of frames at these times. */
function changes(times, end, expected = () => true) {
  const fresh = new Fresh();
  const seen = [];
  let told = false;
  for (let now = 0; now < end; now += 1) {
    if (times.includes(now)) fresh.frame(now);
    const state = fresh.look(now, expected(now));
    if (state === (told ? "live" : "stale")) {
      seen.push([now, state]);
      told = !told;
    }
  }
  return seen;
}

test("half a second without a frame is stale, and two frames are live", () => {
  const times = [...frames(100, 1000, 33), ...frames(4000, 6000, 33)];
  assert.deepEqual(changes(times, 6000), [[1491, "stale"], [4033, "live"]]);
  assert.deepEqual(changes([], 9000), [], "there was no picture yet");
});

test("rare frames are usual, and a frame rate that falls is told once", () => {
  assert.deepEqual(changes(frames(0, 30_000, 1000), 30_000), []);
  assert.deepEqual(changes(frames(0, 20_000, 1000), 30_000), [[21_500, "stale"]]);
  const falls = [...frames(0, 3000, 33), ...frames(3000, 20_000, 1000)];
  assert.deepEqual(changes(falls, 20_000).map(([, state]) => state), ["stale", "live"]);
});

test("a pause that was negotiated is not stale", () => {
  const times = [...frames(0, 1000, 33), ...frames(8000, 9000, 33)];
  assert.deepEqual(changes(times, 9000, (now) => now < 1100 || now >= 7500), []);
  assert.deepEqual(changes(times, 9000, (now) => now < 1100 || now >= 2000), [[5000, "stale"], [8033, "live"]]);
});

test("the peer's clock is known but for what the two ways differ", () => {
  const clock = new Clock();
  assert.equal(clock.ahead, null);
  for (let n = 0; n < 50; n += 1) clock.report(n * 100, 5000 - 40 - (n % 7) * 9);
  assert.equal(clock.ahead, null, "without a round trip");
  for (let n = 0; n < 50; n += 1) clock.roundTrip(n * 100, 80 + (n % 5) * 11);
  assert.equal(clock.ahead, 5000);
  clock.report(60_000, 0);
  clock.roundTrip(60_000, 0);
  assert.equal(clock.ahead, 0, "old reports are forgotten");
});

const AHEAD = 7000;
const START = 1_700_000_000_000;

/** A frame that was captured `age` ms before it was shown at `at`. */
const frame = (at, age) => ({ timestamp: START + at, rtpTimestamp: at * 90, captureTimestamp: START + at - age + AHEAD + 2_208_988_800_000 });

/** A report of the peer that takes 20 ms. */
const report = (at, packets) => ({ sent: START + at - 20 + AHEAD, arrived: START + at, packets });

function picture() {
  const it = new Picture();
  it.stats(START, { framesDecoded: 0, report: report(0, 1), roundTrip: 40 });
  return it;
}

test("a picture is as old as its frames by one clock", () => {
  const it = picture();
  assert.equal(it.takeAge(), null);
  for (const at of [100, 200, 300]) it.look(START + at + 50, frame(at, 30 + at), true);
  it.look(START + 350, frame(300, 0), true); // the same frame again
  assert.equal(it.takeAge(), 230);
  assert.equal(it.takeAge(), null);
  const { captureTimestamp, ...without } = frame(400, 10);
  it.look(START + 450, without, true);
  assert.equal(it.takeAge(), null, "no capture time");
  it.look(START + 550, { ...without, rtpTimestamp: 1, captureTimestamp: captureTimestamp + 500, senderCaptureTimeOffset: 500 }, true);
  assert.equal(it.takeAge(), 10, "the clock of another system");
});

test("a picture without frames is stale, unless the peer says that it sends none", () => {
  const it = picture();
  for (let at = 0; at <= 1000; at += 100) it.look(START + at, frame(at, 0), true);
  assert.equal(it.state, "live");
  it.look(START + 1600, frame(1000, 0), true);
  assert.deepEqual([it.state, it.staleFor(START + 1600)], ["stale", 600]);
  it.stats(START + 1700, { framesDecoded: 10, report: report(1650, 50), roundTrip: null });
  it.stats(START + 2600, { framesDecoded: 10, report: report(2600, 60), roundTrip: null });
  it.look(START + 2700, frame(1000, 0), true);
  assert.equal(it.state, "stale", "packets are sent, and do not come");
  it.stats(START + 3600, { framesDecoded: 10, report: report(3600, 60), roundTrip: null });
  it.look(START + 3700, undefined, true);
  assert.equal(it.state, "paused");
  for (const at of [9000, 9100]) it.look(START + at, frame(at, 0), true);
  assert.equal(it.state, "live");
  it.look(START + 9900, frame(9100, 0), false);
  assert.equal(it.state, "none");
});

test("decoded frames serve where a browser names no sources", () => {
  const it = new Picture();
  for (let n = 1; n < 9; n += 1) {
    it.stats(START + n * 1000, { framesDecoded: n * 30, report: null, roundTrip: null });
    it.look(START + n * 1000, undefined, true);
    assert.equal(it.state, "live");
  }
  it.look(START + 11_000, undefined, true);
  assert.equal(it.state, "stale");
});
