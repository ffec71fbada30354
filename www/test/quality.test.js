import assert from "node:assert/strict";
import { test } from "node:test";

import { screenEncoding, videoEncoding } from "../bitrate.js";
import { Media } from "../media.js";
import { CHOICES, deviceConstraints, preferred, readQuality, reopened, screenConstraints } from "../quality.js";
import { MutedTalk, PushToTalk } from "../talk.js";

const usual = readQuality(null);

test("choices are as they were stored, and the default where they are unknown", () => {
  for (const [name, [first]] of Object.entries(CHOICES)) assert.equal(usual[name], first, name);
  for (const odd of ["", "null", "1", "[]", "{", '"text"', '{"resolution":720,"echo":"false","codec":"VP7"}']) assert.deepEqual(readQuality(odd), usual, odd);
  const chosen = { ...usual, resolution: "1080", codec: "AV1", noise: false, screenPlace: "instead" };
  assert.deepEqual(readQuality(JSON.stringify({ ...chosen, other: 1 })), chosen);
});

test("choices are what the browser is asked for", () => {
  const { audio, video } = deviceConstraints({ ...usual, resolution: "1080", frames: "60", echo: false });
  assert.deepEqual(audio, { echoCancellation: false, noiseSuppression: true, autoGainControl: true });
  assert.deepEqual(video, { width: { ideal: 1920 }, height: { ideal: 1080 }, frameRate: { ideal: 60, max: 60 } });
  assert.equal(screenConstraints({ ...usual, screenSound: false }).audio, false);
  assert.deepEqual(screenConstraints(usual).video, { frameRate: { ideal: 15, max: 15 } });
});

test("only devices that are to work otherwise are opened again", () => {
  assert.deepEqual(reopened(usual, { ...usual, hint: "detail", codec: "VP9", screenPlace: "instead" }), []);
  assert.deepEqual(reopened(usual, { ...usual, resolution: "360" }), ["video"]);
  assert.deepEqual(reopened(usual, { ...usual, noise: false, frames: "15" }), ["audio", "video"]);
});

test("a preferred codec comes first, the others stay in their order", () => {
  const codecs = ["video/VP8", "video/rtx", "video/VP9", "video/H264", "video/VP9"].map((mimeType, id) => ({ mimeType, id }));
  assert.deepEqual(preferred(codecs, "vp9").map(({ id }) => id), [2, 4, 0, 1, 3]);
  assert.deepEqual(preferred(codecs, "AV1"), codecs);
});

test("with one peer the choice of the user holds, with more it can only lower theirs", () => {
  const camera = { width: 3840, height: 2160 };
  const choice = { resolution: "2160", frames: "60" };
  const one = videoEncoding(1, camera, choice);
  assert.deepEqual([one.scaleResolutionDownBy, one.maxFramerate], [1, 60]);
  assert.ok(one.maxBitrate > 10_000_000 && one.maxBitrate < 20_000_000, String(one.maxBitrate));
  assert.deepEqual(videoEncoding(3, camera, choice), videoEncoding(3, camera));
  const low = videoEncoding(3, { width: 640, height: 360 }, { resolution: "360", frames: "15" });
  assert.deepEqual([low.scaleResolutionDownBy, low.maxFramerate, low.maxBitrate], [1, 15, 600_000]);
  assert.equal(videoEncoding(1, camera, { resolution: "360", frames: "15" }).maxBitrate, 2_000_000);
});

test("a screen stays readable, and fits an uplink for any number of peers", () => {
  const screen = { width: 2560, height: 1440 };
  for (let peers = 1; peers < 30; peers += 1) {
    const { maxBitrate, scaleResolutionDownBy, maxFramerate } = screenEncoding(peers, screen, usual);
    assert.ok(peers * maxBitrate <= 5_000_000 && scaleResolutionDownBy <= 2 && maxFramerate === 15);
  }
});

test("devices are opened again with the new choices, and muted ones stay muted", async () => {
  const wishes = [];
  globalThis.MediaStream = class {
    addTrack() {}
    removeTrack() {}
  };
  const track = (kind) => ({ kind, stop: () => {} });
  const getUserMedia = async (wish) => (wishes.push(wish), { getTracks: () => Object.keys(wish).map(track) });
  Object.defineProperty(globalThis, "navigator", { value: { mediaDevices: { getUserMedia, enumerateDevices: async () => [], addEventListener: () => {} } }, configurable: true });
  const media = new Media({ audio: "", video: "" }, () => {}, usual);
  await media.ready;
  await media.turn("audio", false);
  await media.setQuality({ ...usual, noise: false, hint: "motion" });
  assert.deepEqual(wishes.slice(1).map((wish) => Object.keys(wish)), [["audio"]]);
  assert.equal(wishes[1].audio.noiseSuppression, false);
  assert.deepEqual([media.track("audio").enabled, media.track("video").contentHint], [false, "motion"]);
});

test("talking while muted is told once in a while, a single noise is not", () => {
  const talk = new MutedTalk();
  const told = [];
  for (let now = 0; now < 70_000; now += 200) {
    const level = now >= 10_000 ? 0.2 : now % 5000 === 0 ? 0.9 : 0.001;
    if (talk.look(level, true, now)) told.push(now);
  }
  assert.deepEqual(told, [10_800, 40_800]);
  assert.equal(new MutedTalk().look(1, false, 0), false);
});

test("a key held down talks only while it is held, and leaves a microphone that is on alone", () => {
  const push = new PushToTalk();
  assert.deepEqual([push.press(true), push.press(false), push.pushes, push.release(), push.release()], [true, false, true, true, false]);
  assert.deepEqual([push.press(false), push.release()], [false, false]);
});
