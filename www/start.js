// @ts-check
// Starts the page: its language, and then the calls or the connection test. Only this module and early.js read the page's address: the
// others are loaded into pages of other sites, too (embed/).

import { language, spoken } from "./early.js";

document.documentElement.lang = language;
const [{ Calls }, { start }, { readParameters }] = await Promise.all([import("./calls.js"), import("./main.js"), import("./parameters.js"), spoken]);
const parameters = readParameters(new URL(location.href), history);
// Few people need the test or a stream: they are not loaded with the calls.
if (parameters.isTest) (await import("./check/main.js")).start(parameters);
else start(parameters, parameters.stream ? (await import("./streams.js")).Streams : Calls);
