// @ts-check
// Starts the page: its language, and then the calls or the connection test. The only module that reads the page's address: the
// others are loaded into pages of other sites, too (embed/).

import { Calls } from "./calls.js";
import { chooseLanguage, speak } from "./language.js";
import { start } from "./main.js";
import { readParameters } from "./parameters.js";

const parameters = readParameters(new URL(location.href), history);
const language = chooseLanguage(parameters.language, navigator.languages);
document.documentElement.lang = language;
// English is there, so its page starts before the document has loaded.
if (language !== "en") await speak(language);
// Few people need the test or a stream: they are not loaded with the calls.
if (parameters.isTest) (await import("./check/main.js")).start(parameters);
else start(parameters, parameters.stream ? (await import("./streams.js")).Streams : Calls);
