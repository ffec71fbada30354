import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { LANGUAGES, chooseLanguage, say, sayOf, speak } from "../language.js";
import { noticeText, peerText, ringText } from "../texts.js";
import "./english.js";

const FOLDER = new URL("../", import.meta.url);
const read = (name) => readFileSync(new URL(name, FOLDER), "utf8");
const modules = ["", "ui/", "check/", "embed/"].flatMap((folder) => readdirSync(new URL(folder, FOLDER)).filter((name) => name.endsWith(".js")).map((name) => folder + name));
const html = read("index.html").replace(/<!--.*?-->/gs, "").replace(/<noscript>.*?<\/noscript>/gs, "");
const all = Object.fromEntries(await Promise.all(Object.entries(LANGUAGES).map(async ([name, load]) => [name, await load()])));
const { en } = all;
const keys = Object.keys(en);
const placeholders = (text) => [...text.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => name).sort();

test("all languages have the same texts, with the same placeholders", () => {
  for (const [name, texts] of Object.entries(all)) {
    assert.deepEqual(Object.keys(texts), keys, name);
    for (const key of keys) {
      assert.ok(texts[key].trim() === texts[key] && texts[key] !== "", `${name} ${key}`);
      assert.deepEqual(placeholders(texts[key]), placeholders(en[key]), `${name} ${key}`);
      assert.doesNotMatch(texts[key].replace(/\{[a-z]+\}/g, ""), /[{}<>]/, `${name} ${key}`);
    }
  }
});

test("a text about an unknown subject has no place for it", () => {
  for (const key of keys.filter((key) => key.endsWith(".unnamed"))) {
    assert.ok(keys.includes(key.replace(".unnamed", "")), key);
    assert.deepEqual(placeholders(en[key]), [], key);
  }
});

/** The string literals of a module, without comments, regular expressions and messages for developers. */
function literals(source) {
  const token = /\/\/.*|\/\*[\s\S]*?\*\/|(?<=[(,=:?&|!]\s*)\/(?:\\.|\[(?:\\.|[^\]])*\]|[^/\n\\[])+\/|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`/g;
  const forUsers = source.replace(/console\.\w+\(.*|new (?:Error|DOMException)\(.*/g, "");
  return [...forUsers.matchAll(token)].map(([text]) => text).filter((text) => /^["`]/.test(text)).map((text) => text.slice(1, -1));
}

/** Names of keys and of headers, which look like words. */
const NOT_WORDS = ["Authorization", "Escape", "Esc", "Space", "Enter", "Bearer ${token}", "Bearer ${this.token}"];

test("no module and no markup has a text of its own", () => {
  for (const name of modules) {
    const words = literals(read(name)).filter((text) => /^[A-ZÄÖÜ][a-zäöüß]+(?:[ .,:!?…]|$)/.test(text) && !NOT_WORDS.includes(text));
    assert.deepEqual(words.filter((text) => name !== "ids.js"), [], name);
  }
  const visible = html.replace(/<svg[\s\S]*?<\/svg>|<head>[\s\S]*?<\/head>/g, "").replace(/<[^>]*>/g, " ");
  assert.deepEqual(visible.split(/\s+/).filter(Boolean), ["callbin"], "the name of the program alone");
  for (const [, name, value] of html.matchAll(/ (aria-label|title|alt|placeholder)="([^"]+)"/g)) {
    assert.ok(name === "placeholder" && /^[a-z-]+$/.test(value), `${name}="${value}" is a text, not an example of a name`);
  }
});

test("each text that is asked for exists, and each that exists is asked for", () => {
  const asked = new Set([...html.matchAll(/ data-say(?:-[a-z-]+)?="([^"]+)"/g)].map(([, key]) => key));
  const patterns = [];
  for (const name of modules.filter((name) => name !== "language.js")) {
    for (const text of literals(read(name))) {
      if (/^[a-z]+\.[a-z$]/.test(text)) patterns.push(new RegExp(`^${text.split(/\$\{[^}]*\}/).map((part) => part.replaceAll(".", "\\.")).join("[a-z-]+")}$`));
    }
  }
  for (const key of asked) assert.ok(keys.includes(key), `index.html asks for ${key}`);
  const used = (key) => asked.has(key) || patterns.some((pattern) => pattern.test(key));
  assert.deepEqual(keys.filter((key) => !used(key) && !used(key.replace(".unnamed", ""))), []);
});

test("the address chooses the language, else the browser, else it is English", () => {
  assert.equal(chooseLanguage("de", ["en-US"]), "de");
  assert.equal(chooseLanguage("DE-at", []), "de");
  assert.equal(chooseLanguage("", ["fr-FR", "de-CH", "en"]), "de");
  assert.equal(chooseLanguage("", ["en-GB", "de"]), "en");
  assert.equal(chooseLanguage("tlh", ["fr"]), "en");
  assert.equal(chooseLanguage("__proto__", ["constructor", "tostring"]), "en");
});

test("values are inserted once, as they are", () => {
  assert.equal(say("notice.peer-busy", { subject: "{subject} $& $1" }), "“{subject} $& $1” is busy in another call. Try again later.");
  assert.equal(sayOf("notice.peer-left", { subject: "" }), "The caller ended the call.");
  assert.equal(sayOf("notice.peer-busy", { subject: "" }), "“” is busy in another call. Try again later.");
});

test("a page in German is in German", async () => {
  await speak("de");
  try {
    assert.equal(noticeText("missed-call", "anna"), "Sie haben einen Anruf von „anna“ verpasst.");
    assert.equal(ringText(null), "Eingehender Anruf");
    assert.equal(peerText({ state: "failed", answered: true, reason: "no-path" }), "Es wurde kein Netzweg zur Gegenseite gefunden.");
  } finally {
    await speak("en");
  }
});
