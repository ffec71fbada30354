import assert from "node:assert/strict";
import { test } from "node:test";

import { Media } from "../media.js";

class FakeTrack {
  enabled = true;
  stopped = false;
  constructor(kind, deviceId) {
    Object.assign(this, { kind, deviceId });
  }
  stop() {
    this.stopped = true;
  }
}

class FakeStream {
  constructor(tracks = []) {
    this.tracks = new Set(tracks);
  }
  getTracks() {
    return [...this.tracks];
  }
  addTrack(track) {
    this.tracks.add(track);
  }
  removeTrack(track) {
    this.tracks.delete(track);
  }
}

/** All tracks that `getUserMedia` returned. @type {FakeTrack[]} */
const given = [];
/** The devices that the browser lists. */
let present = [];

/** Devices with any id; `refuse` returns the error with which a request fails, if any. */
async function media(choice = {}, refuse = () => null) {
  const made = opening(choice, refuse);
  await made.ready;
  return made;
}

/** As `media`, but the devices are still opening; `refuse` may return a promise. */
function opening(choice, refuse) {
  globalThis.MediaStream = FakeStream;
  const getUserMedia = async (wish) => {
    const error = await refuse(wish);
    if (error) throw error;
    const tracks = Object.entries(wish).map(([kind, { deviceId }]) => new FakeTrack(kind, deviceId?.exact ?? "default"));
    given.push(...tracks);
    return new FakeStream(tracks);
  };
  const mediaDevices = Object.assign(new EventTarget(), { getUserMedia, enumerateDevices: async () => present });
  Object.defineProperty(globalThis, "navigator", { value: { mediaDevices }, configurable: true });
  return new Media({ audio: "", video: "", ...choice }, () => {});
}

test("a mute survives a change of microphone", async () => {
  const m = await media();
  await m.turn("audio", false);
  await m.choose("audio", "other");
  const { on, track } = m.slots.audio;
  assert.deepEqual([on, track.deviceId, track.enabled], [false, "other", false]);
  await m.turn("audio", true);
  assert.equal(m.slots.audio.track.enabled, true);
});

test("a camera that is off stays off when another one is chosen, and comes on as that one", async () => {
  const m = await media();
  await m.turn("video", false);
  await m.choose("video", "other");
  assert.deepEqual([m.slots.video.on, m.slots.video.track], [false, null]);
  await m.turn("video", true);
  assert.equal(m.slots.video.track.deviceId, "other");
});

test("a device that is chosen after none is on", async () => {
  for (const kind of ["audio", "video"]) {
    const m = await media();
    await m.turn(kind, false);
    await m.choose(kind, "none");
    assert.equal(m.slots[kind].track, null);
    await m.choose(kind, "other");
    const { on, track } = m.slots[kind];
    assert.deepEqual([on, track.deviceId, track.enabled], [true, "other", true], kind);
  }
});

test("a device that failed is on when another one is chosen", async () => {
  const m = await media({ video: "broken" }, ({ video }) => (video?.deviceId?.exact === "broken" ? new DOMException("", "NotReadableError") : null));
  assert.equal(m.slots.video.error, "in-use");
  await m.choose("video", "other");
  assert.deepEqual([m.slots.video.on, m.slots.video.track.deviceId, m.slots.video.error], [true, "other", null]);
});

test("a device of last time that is gone is replaced by another, whatever class the error has", async () => {
  const gone = (name) => ({ name, constraint: "deviceId" });
  for (const error of [new DOMException("", "OverconstrainedError"), gone("OverconstrainedError"), gone("NotFoundError")]) {
    const m = await media({ audio: "gone" }, ({ audio }) => (audio?.deviceId?.exact === "gone" ? error : null));
    assert.deepEqual([m.slots.audio.track.deviceId, m.slots.audio.error], ["default", null]);
  }
});

test("a camera that is turned off while it opens stays off, whether the permission is granted or refused", async () => {
  for (const error of [null, new DOMException("", "NotReadableError")]) {
    given.length = 0;
    let answer;
    const permission = new Promise((done) => (answer = done));
    const m = opening({}, ({ audio, video }) => (audio && video ? permission : null));
    await m.turnCamera(false);
    answer(error);
    await m.ready;
    assert.deepEqual([m.slots.video.on, m.slots.video.track, m.slots.audio.track?.stopped], [false, null, false]);
    assert.equal(given.filter(({ kind, stopped }) => kind === "video" && !stopped).length, 0);
    assert.equal(given.some(({ kind }) => kind === "video"), error === null, "a camera that is off is not opened");
    await m.turnCamera(true);
    const { track } = m.slots.video;
    assert.notEqual(track, null);
    await m.turnCamera(true);
    assert.equal(m.slots.video.track, track, "a camera that is on is not opened again");
  }
});

test("what is closed stays closed when a device is plugged in", async () => {
  const missing = new DOMException("", "NotFoundError");
  let plugged = false;
  const refuse = () => (plugged ? null : missing);
  for (const closes of [false, true]) {
    [plugged, present, given.length] = [false, [], 0];
    const m = await media({}, refuse);
    assert.deepEqual([m.slots.audio.error, m.slots.video.error], ["not-found", "not-found"]);
    if (closes) m.close();
    [plugged, present] = [true, [{ kind: "audioinput" }, { kind: "videoinput" }]];
    navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
    await new Promise((done) => setTimeout(done));
    assert.deepEqual(given.map(({ kind }) => kind), closes ? [] : ["audio", "video"]);
  }
  present = [];
});

test("what is closed while it opens asks for no further device", async () => {
  for (const choice of [{}, { audio: "gone", video: "none" }]) {
    given.length = 0;
    let answer;
    const first = new Promise((done) => (answer = done));
    let asked = 0;
    const m = opening(choice, () => ((asked += 1) === 1 ? first : null));
    m.close();
    answer(new DOMException("", "NotFoundError"));
    await m.ready;
    await m.choose("video", "other");
    await m.turn("audio", true);
    assert.deepEqual([asked, given], [1, []]);
  }
});
