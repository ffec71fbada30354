import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const FOLDER = new URL("../", import.meta.url);

/** The declarations of a style sheet, each with the rules around it. */
function declarations(css) {
  const [found, around] = [[], []];
  for (const [, text, end] of css.replace(/\/\*[\s\S]*?\*\//g, "").matchAll(/([^{};]*)([{};])/g)) {
    if (end === "{") around.push(text.trim());
    else if (text.trim()) found.push({ text: text.trim(), around: [...around] });
    if (end === "}") around.pop();
  }
  return found;
}

test("nothing moves for those who want reduced motion", () => {
  const moving = [];
  for (const name of readdirSync(FOLDER).filter((name) => name.endsWith(".css"))) {
    for (const { text, around } of declarations(readFileSync(new URL(name, FOLDER), "utf8"))) {
      if (!/^(animation|transition|scroll-behavior)\b/.test(text)) continue;
      assert.ok(around.includes("@media (prefers-reduced-motion: no-preference)"), `${name}: ${around.at(-1)} { ${text} }`);
      moving.push(text);
    }
  }
  assert.ok(moving.length > 0);
});
