// @ts-check
// Starts the page: its language, and then the calls or the connection test.

import { chooseLanguage, speak } from "./language.js";
import { start } from "./main.js";

const query = new URLSearchParams(location.search);
const language = chooseLanguage(query.get("lang") ?? "", navigator.languages);
document.documentElement.lang = language;
// English is there, so its page starts before the document has loaded.
if (language !== "en") await speak(language);
const isTest = query.has("test") && !["0", "false", "no"].includes(query.get("test") ?? "");
// Few people need the test: it is not loaded with the calls.
if (isTest) void import("./check/main.js");
else start();
