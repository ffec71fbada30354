import assert from "node:assert/strict";
import { test } from "node:test";

import { PadReader } from "../gamepad.js";

const CONTROLS = [
  { id: "drive", type: "joystick", hold: false, gamepad: [0, 1] },
  { id: "light", type: "button", hold: false, gamepad: [2] },
  { id: "horn", type: "button", hold: true, gamepad: [5] },
  { id: "speed", type: "slider", hold: false, gamepad: [] },
];
const pad = (axes, ...down) => ({ axes, buttons: Array.from({ length: 4 }, (_, n) => ({ pressed: down.includes(n), value: 0 })) });

test("axes are a joystick that rests in its middle and goes up", () => {
  const reader = new PadReader();
  assert.deepEqual(reader.read(pad([0.05, -0.1]), CONTROLS), []);
  assert.deepEqual(reader.read(pad([1, -1]), CONTROLS), [{ id: "drive", value: [1, 1], held: true }]);
  assert.deepEqual(reader.read(pad([1, -1]), CONTROLS), [], "unchanged");
  const [{ value }] = reader.read(pad([-0.56, 7]), CONTROLS);
  assert.deepEqual(value, [-0.5, -1]);
  assert.deepEqual(reader.read(pad([0, 0]), CONTROLS), [{ id: "drive", value: [0, 0], held: false }]);
});

test("a button acts once when it is pressed, or as long as it is held", () => {
  const reader = new PadReader();
  assert.deepEqual(reader.read(pad([], 2), CONTROLS), [{ id: "light", value: 1, held: false }]);
  assert.deepEqual(reader.read(pad([]), CONTROLS), []);
  const horn = [{ ...CONTROLS[2], gamepad: [3] }];
  assert.deepEqual(reader.read(pad([], 3), horn), [{ id: "horn", value: 1, held: true }]);
  assert.deepEqual(reader.read(pad([]), horn), [{ id: "horn", value: 0, held: false }]);
});

test("a gamepad without these axes and buttons does nothing", () => {
  assert.deepEqual(new PadReader().read({ axes: [], buttons: [] }, CONTROLS), []);
  assert.deepEqual(new PadReader().read(pad([NaN, NaN]), CONTROLS), []);
});
