import assert from "node:assert/strict";
import { test } from "node:test";

import { command } from "../keys.js";
import { filmStrip } from "../layout.js";
import { Lens } from "../lens.js";
import { readParameters } from "../parameters.js";
import { Wall } from "../wall.js";

const DESK = { isPhone: false, speaker: null };

function wall(...keys) {
  const it = new Wall();
  for (const key of keys) it.add(key);
  return it;
}

test("a tile is pinned, shown alone, and one of many again", () => {
  const it = wall("a", "b", "c");
  assert.deepEqual(it.view(DESK), { shape: "grid", main: null });
  it.pin("b");
  assert.deepEqual(it.view(DESK), { shape: "strip", main: "b" });
  it.pin("c");
  assert.equal(it.pinned, "c");
  it.spotlight("c");
  assert.deepEqual(it.view(DESK), { shape: "solo", main: "c" });
  it.spotlight("c");
  assert.deepEqual(it.view(DESK), { shape: "grid", main: null });
  it.pin("nobody");
  assert.deepEqual([it.pinned, it.back()], [null, false]);
});

test("a tile that goes takes the other tiles from no film strip", () => {
  const it = wall("a", "b");
  it.spotlight("a");
  it.remove("a");
  assert.deepEqual(it.view(DESK), { shape: "grid", main: null });
  assert.deepEqual([it.nth(1), it.nth(2), it.nth(0)], ["b", null, null]);
});

test("a single tile needs no film strip, but can be without our own", () => {
  const it = wall("a");
  it.pin("a");
  assert.equal(it.view(DESK).shape, "grid");
  it.add("b");
  assert.equal(it.view(DESK).shape, "strip");
  it.remove("b");
  it.spotlight("a");
  assert.deepEqual(it.view(DESK), { shape: "solo", main: "a" });
});

test("keys are for the focused tile, else the pinned one, else the first", () => {
  const it = wall("a", "b", "c");
  assert.equal(it.current(null), "a");
  it.pin("b");
  assert.equal(it.current(null), "b");
  assert.equal(it.current("c"), "c");
  assert.equal(it.current("gone"), "b");
  assert.equal(wall().current(null), null);
});

test("many tiles on a phone are a film strip below the speaker", () => {
  const phone = (speaker) => ({ isPhone: true, speaker });
  assert.equal(wall("a", "b", "c").view(phone("b")).shape, "grid");
  const it = wall("a", "b", "c", "d");
  assert.deepEqual(it.view(phone("b")), { shape: "strip", main: "b" });
  assert.deepEqual(it.view(phone("gone")), { shape: "strip", main: "a" });
  it.pin("d");
  assert.equal(it.view(phone("b")).main, "d");
});

test("a film strip leaves most of the space", () => {
  for (const height of [200, 568, 800, 2000]) {
    const strip = filmStrip({ width: 320, height }, { strip: 30 });
    assert.ok(strip.height < height / 2 && strip.height >= 84 && strip.width > 90, JSON.stringify(strip));
  }
});

test("a zoom keeps the place under the pointer and the box covered", () => {
  const lens = new Lens();
  const at = { x: 0.3, y: -0.2 };
  /** The place in the picture that is shown there. */
  const shown = () => [(at.x - lens.x) / lens.zoom, (at.y - lens.y) / lens.zoom].map((it) => it.toFixed(6));
  const before = shown();
  lens.zoomBy(2, at);
  lens.zoomBy(1.5, at);
  assert.deepEqual(shown(), before);
  lens.panBy(100, -100);
  assert.deepEqual([lens.x, lens.y], [1, -1]);
  lens.zoomBy(1e9);
  assert.equal(lens.zoom, 8);
  for (const odd of [0, -1, NaN]) lens.zoomBy(odd);
  lens.zoomBy(1e-9);
  assert.deepEqual([lens.zoom, Math.abs(lens.x), Math.abs(lens.y), lens.transform], [1, 0, 0, ""]);
});

test("a picture turns by quarters", () => {
  const lens = new Lens();
  lens.turn();
  assert.match(lens.transform, /rotate\(90deg\)/);
  for (let n = 0; n < 3; n += 1) lens.turn();
  assert.ok(lens.isPlain);
});

const press = (key, more = {}) => ({ key, code: /\d/.test(key) ? `Digit${key}` : "", shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, repeat: false, ...more });

test("keys are commands, except in texts and with other modifiers", () => {
  const all = { f: "full-screen", P: "picture-in-picture", m: "mic", v: "camera", "?": "help", Escape: "back", "+": "zoom-in" };
  for (const [key, name] of Object.entries(all)) {
    assert.deepEqual(command(press(key), "page"), { do: name });
    assert.deepEqual(command(press(key), "control"), { do: name });
    assert.equal(command(press(key), "text"), null);
    for (const modifier of ["ctrlKey", "altKey", "metaKey"]) assert.equal(command(press(key, { [modifier]: true }), "page"), null);
  }
  assert.deepEqual(command(press("3"), "page"), { do: "pin", tile: 3 });
  assert.deepEqual(command(press("§", { code: "Digit3", shiftKey: true }), "page"), { do: "spotlight", tile: 3 });
  for (const other of ["0", "x", "Enter", " ", "constructor"]) assert.equal(command(press(other), "page"), null);
});

test("arrows move a zoomed picture", () => {
  assert.deepEqual(command(press("ArrowLeft", { repeat: true }), "page"), { do: "move", x: -1, y: 0 });
  assert.deepEqual(command(press("ArrowDown"), "control"), { do: "move", x: 0, y: 1 });
  assert.equal(command(press("ArrowUp"), "text"), null);
});

test("of a key that is held down only a zoom is repeated", () => {
  assert.equal(command(press("m", { repeat: true }), "page"), null);
  assert.equal(command(press("1", { repeat: true }), "page"), null);
  assert.deepEqual(command(press("-", { repeat: true }), "page"), { do: "zoom-out" });
});

const read = (query) => readParameters(new URL(`http://host/?${query}`), { state: null, replaceState: () => {} });

test("a page that watches has no devices, and calls or joins at once", () => {
  const robot = read("watch=robot");
  assert.deepEqual([robot.watches, robot.peer, robot.join, robot.cameras], [true, "robot", false, 4]);
  const room = read("room=r&watch=1");
  assert.deepEqual([room.watches, room.peer, room.join], [true, "", true]);
  for (const { devices } of [robot, room, read("watch=robot&camera=x")]) assert.deepEqual(devices, { audio: "none", video: "none" });
  for (const query of ["room=r&watch=0", "room=r", "call=robot", "watch=", ""]) assert.equal(read(query).watches, false, query);
});

test("the number of cameras is bounded", () => {
  assert.deepEqual(["", "3", "0", "99", "x", "1.5"].map((count) => read(`cameras=${count}`).cameras), [1, 3, 1, 8, 1, 1]);
});
