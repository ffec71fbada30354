import assert from "node:assert/strict";
import { test } from "node:test";

import { Operator, parseSaid } from "../operator.js";
import { Operators } from "../operators.js";
import "./english.js";

const DRIVE = { id: "drive", type: "joystick", label: "Drive", gamepad: [0, 1] };
const LIGHT = { id: "light", type: "button", gamepad: 3 };
const SPEED = { id: "speed", type: "slider", min: -2, max: 2, step: 0.5, value: 9 };
const declared = (controls, more = {}) => parseSaid(JSON.stringify({ callbin: "controls", controls, ...more }));

/** An operator whose controls are shown. */
function shown(controls, more) {
  const it = new Operator();
  it.hear(declared(controls, more));
  it.takeNews();
  return it;
}

/** With a live picture, too. */
function operator(...controls) {
  const it = shown(controls);
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
  const it = shown([DRIVE, LIGHT]);
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
});

test("a peer without a camera says so, and is operated blindly", () => {
  const it = shown([LIGHT], { blind: true });
  it.input("light", 1);
  assert.deepEqual([it.hold, it.due(0).length], ["live", 1]);
});

test("of many declarations and values the latest are shown, and only controls that are shown act", () => {
  const it = operator(SPEED);
  it.hear({ says: "value", id: "speed", value: 1 });
  it.hear({ says: "value", id: "other", value: 1 });
  it.hear({ says: "value", id: "speed", value: 2 });
  assert.deepEqual(it.takeNews(), { declaration: null, values: new Map([["speed", 2]]) });
  it.hear({ says: "value", id: "speed", value: 3 });
  for (const label of ["a", "b"]) it.hear(declared([{ ...SPEED, label }]));
  it.input("speed", 4);
  assert.deepEqual(it.due(0), [], "the user has moved the slider of the declaration before");
  const { declaration, values } = it.takeNews();
  assert.deepEqual([declaration.controls.map(({ label }) => label), values.size], [["b"], 0]);
  it.input("speed", 1);
  assert.deepEqual(it.due(0), ['{"id":"speed","value":1}']);
  assert.deepEqual(it.takeNews(), { declaration: null, values: new Map() });
});

/** The operators of peers with live pictures, as long as the test runs. `tick` lets some steps pass, and returns what each peer got. */
function operated(t, uids, enlarged = () => null) {
  const sections = new Map();
  const panel = { shows: 0, show: (uid, _, controls, input) => ((panel.shows += 1), sections.set(uid, input)), setValue: () => {}, setHold: () => {}, remove: (uid) => sections.delete(uid) };
  const operators = new Operators(panel, { nameOf: (uid) => uid, enlarged });
  t.after(() => uids.forEach((uid) => operators.remove(uid)));
  const peers = uids.map((uid) => ({ uid, state: "connected", takesControls: true, sent: [], views: { shown: [{ picture: { state: "live" } }] }, lookAtPictures: () => {}, sendControl: (text) => peers.find((peer) => peer.uid === uid).sent.push(text) }));
  let now = 0;
  const tick = (pad = null, steps = 1) => {
    for (let n = 0; n < steps; n += 1) operators.tick((now += 50), pad);
    return peers.map(({ sent }) => sent.splice(0).map((text) => JSON.parse(text).value));
  };
  const declare = (controls) => peers.forEach((peer) => operators.hear(peer, JSON.stringify({ callbin: "controls", controls })));
  declare([DRIVE, LIGHT]);
  tick();
  return { panel, sections, peers, tick, declare };
}
const pad = (x = 0) => ({ axes: [x, 0], buttons: [] });

test("a gamepad operates one peer: the only one, the enlarged one, or the one that was used last", (t) => {
  const one = operated(t, ["a"]);
  assert.deepEqual(one.tick(pad()), [[]]);
  assert.deepEqual(one.tick(pad(1)), [[[1, 0]]]);

  let enlarged = null;
  const two = operated(t, ["a", "b"], () => enlarged);
  two.tick(pad());
  assert.deepEqual(two.tick(pad(1)), [[], []], "none of them is chosen");
  two.tick(pad());
  two.sections.get("b")("light", 1, false);
  two.tick(pad());
  assert.deepEqual(two.tick(pad(1)), [[], [[1, 0]]]);
  enlarged = "a";
  assert.deepEqual(two.tick(pad(1), 4), [[], [[0, 0]]], "what it held ends, and the other peer does not move because of the change");
  two.tick(pad());
  assert.deepEqual(two.tick(pad(-1)), [[[-1, 0]], []]);
});

test("what a gamepad holds ends when it is unplugged, and begins again only from its rest", (t) => {
  const { tick, peers } = operated(t, ["a"]);
  tick(pad(1));
  assert.deepEqual(tick(pad(1)), [[]], "held since before");
  tick(pad());
  assert.deepEqual(tick(pad(1), 3), [[[1, 0], [1, 0]]]);
  assert.deepEqual(tick(null, 9), [[[0, 0]]]);
  assert.deepEqual(tick(pad(1), 9), [[]]);
  tick(pad());
  tick(pad(1));
  peers[0].views.shown[0].picture.state = "stale";
  assert.deepEqual(tick(pad(1)), [[]]);
  peers[0].views.shown[0].picture.state = "live";
  assert.deepEqual(tick(pad(0.9), 9), [[]], "a stick that trembles");
});

test("the last value waits for a peer that takes no more messages now", (t) => {
  const { sections, peers, tick } = operated(t, ["a"]);
  const [a] = peers;
  a.takesControls = false;
  sections.get("a")("drive", [1, 1], true);
  sections.get("a")("drive", [0, 0], false);
  assert.deepEqual(tick(null, 9), [[]]);
  a.takesControls = true;
  assert.deepEqual(tick(null, 9), [[[0, 0]]]);
});

test("declarations that come all the time are shown once per step", (t) => {
  const { panel, declare, tick } = operated(t, ["a"]);
  for (let n = 0; n < 500; n += 1) declare([DRIVE, { ...LIGHT, label: String(n) }]);
  tick();
  assert.equal(panel.shows, 2, "the first one, and the latest");
});
