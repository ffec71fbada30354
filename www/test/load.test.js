import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";

// In the server's binary most modules are one, which pages of other sites load with the elements of embed/.
test("a module that is loaded does nothing: it needs no page, and leaves that of another site alone", async () => {
  const root = new URL("../", import.meta.url);
  const names = ["", "ui/", "check/"].flatMap((folder) => readdirSync(new URL(folder, root)).map((name) => folder + name));
  const modules = names.filter((name) => name.endsWith(".js") && !["early.js", "start.js", "embed.js"].includes(name));
  assert.ok(modules.includes("main.js") && modules.includes("check/main.js"));
  for (const name of modules) await import(new URL(name, root).href);
});
