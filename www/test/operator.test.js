import assert from "node:assert/strict";
import { test } from "node:test";

import { Operator, parseSaid } from "../operator.js";

const DRIVE = { id: "drive", type: "joystick", label: "Drive", gamepad: [0, 1] };
const LIGHT = { id: "light", type: "button", gamepad: 3 };
const SPEED = { id: "speed", type: "slider", min: -2, max: 2, step: 0.5, value: 9 };
const declared = (controls, more = {}) => parseSaid(JSON.stringify({ callbin: "controls", controls, ...more }));

/** An operator with a live picture. */
function operator(...controls) {
  const it = new Operator();
  it.hear(declared(controls));
  it.picture(true);
  return it;
}

test("a declaration is read, and what cannot be used is left out", () => {
  const { declaration } = declared([DRIVE, LIGHT, SPEED]);
  assert.deepEqual(declaration.controls.map(({ id, label, gamepad }) => [id, label, gamepad]), [["drive", "Drive", [0, 1]], ["light", "light", [3]], ["speed", "speed", []]]);
  const { min, max, step, value } = declaration.controls[2];
  assert.deepEqual([min, max, step, value], [-2, 2, 0.5, 2]);
  const odd = [null, 1, "x", {}, { id: "" }, { id: "x", type: "lever" }, { id: 1, type: "button" }, { id: "y".repeat(33), type: "button" }, LIGHT, LIGHT];
  assert.deepEqual(declared(odd).declaration.controls.map(({ id }) => id), ["light"]);
  const [slider] = declared([{ id: "s", type: "slider", min: "a", max: -5, step: 0, value: null }]).declaration.controls;
  assert.deepEqual([slider.min, slider.max, slider.step, slider.value], [0, 0, 1, 0]);
  const [button] = declared([{ id: "b", type: "button", label: `a\u202e${"x".repeat(99)}`, gamepad: [1, 2] }]).declaration.controls;
  assert.ok(button.label.length === 40 && !button.label.includes("\u202e"));
  assert.deepEqual(button.gamepad, []);
});

test("declarations are bounded, and other texts are none", () => {
  const many = Array.from({ length: 99 }, (_, n) => ({ id: `b${n}`, type: "button" }));
  assert.equal(declared(many).declaration.controls.length, 32);
  assert.deepEqual(declared("x").declaration.controls, []);
  for (const text of ["", "{", "null", "[]", '"callbin"', '{"callbin":"end"}', '{"callbin":"value","id":1,"value":2}', '{"callbin":"value","id":"a","value":"2"}', `{"callbin":"free","x":"${"x".repeat(20_000)}"}`]) {
    assert.equal(parseSaid(text), null, text.slice(0, 50));
  }
  assert.deepEqual(parseSaid('{"callbin":"held","by":"anna","you":false}'), { says: "held", by: "anna", you: false });
});

test("of many values the last one is sent, and each control has its own pace", () => {
  const it = operator(SPEED, LIGHT);
  for (const value of [0, 0.5, 1]) it.input("speed", value);
  it.input("light", 1);
  assert.deepEqual(it.due(1000), ['{"id":"speed","value":1}', '{"id":"light","value":1}']);
  it.input("speed", 2);
  assert.deepEqual(it.due(1049), []);
  assert.deepEqual(it.due(1050), ['{"id":"speed","value":2}']);
  assert.deepEqual(it.due(9000), []);
  it.input("other", 1);
  assert.deepEqual(it.due(9000), [], "not declared");
});

test("what is held is repeated, and its end is sent once", () => {
  const it = operator(DRIVE);
  it.input("drive", [0.5, 1], true);
  const sent = [];
  for (let now = 0; now < 500; now += 25) {
    if (now === 300) it.input("drive", [0, 0], false);
    for (const message of it.due(now)) sent.push([now, JSON.parse(message).value[1]]);
  }
  assert.deepEqual(sent, [[0, 1], [100, 1], [200, 1], [300, 0]]);
});

test("nothing is sent while the picture is not live, and nothing is made up for", () => {
  const it = new Operator();
  it.hear(declared([DRIVE, LIGHT]));
  assert.equal(it.hold, "stale");
  it.input("light", 1);
  it.picture(true);
  assert.deepEqual([it.hold, it.due(0)], ["live", []]);
  it.input("drive", [1, 1], true);
  it.input("light", 1);
  it.picture(false);
  assert.deepEqual(it.due(100), []);
  it.picture(true);
  assert.deepEqual(it.due(200), [], "the joystick has to be taken again");
  it.input("drive", [0, 1], true);
  assert.equal(it.due(300).length, 1);
});

test("another operator that has the control holds it back", () => {
  const it = operator(DRIVE);
  it.input("drive", [1, 0], true);
  it.hear({ says: "held", by: "berta", you: false });
  assert.deepEqual([it.hold, it.holder, it.due(0)], ["held", "berta", []]);
  it.hear({ says: "free" });
  assert.deepEqual([it.hold, it.due(100)], ["live", []]);
  it.hear({ says: "held", by: "anna", you: true });
  assert.equal(it.hold, "live");
  it.close();
  it.input("drive", [1, 0], true);
  assert.deepEqual([it.hold, it.due(500)], ["closed", []]);
});

test("a peer without a camera says so, and is operated blindly", () => {
  const it = new Operator();
  it.hear(declared([LIGHT], { blind: true }));
  it.input("light", 1);
  assert.deepEqual([it.hold, it.due(0).length], ["live", 1]);
});
