// @ts-check
// Starts the page: its language, and then the calls or the connection test.

import { chooseLanguage, speak } from "./language.js";
import { start } from "./main.js";

const query = new URLSearchParams(location.search);
const language = chooseLanguage(query.get("lang") ?? "", navigator.languages);
speak(language);
document.documentElement.lang = language;
const isTest = query.has("test") && !["0", "false", "no"].includes(query.get("test") ?? "");
// Few people need the test. It is not loaded with the calls, which start before the page has loaded.
if (isTest) void import("./check/main.js");
else start();
