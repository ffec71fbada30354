// @ts-check
// Starts the page: its language, and then the calls or the connection test. The only module that reads the page's address: the
// others are loaded into pages of other sites, too (embed/).

import { chooseLanguage, speak } from "./language.js";

const language = chooseLanguage(new URL(location.href).searchParams.get("lang") ?? "", navigator.languages);
document.documentElement.lang = language;
// The texts and the page load at the same time.
const [{ Calls }, { start }, { readParameters }] = await Promise.all([import("./calls.js"), import("./main.js"), import("./parameters.js"), speak(language)]);
const parameters = readParameters(new URL(location.href), history);
// Few people need the test or a stream: they are not loaded with the calls.
if (parameters.isTest) (await import("./check/main.js")).start(parameters);
else start(parameters, parameters.stream ? (await import("./streams.js")).Streams : Calls);
