// @ts-check
// The language of the page, and its texts. A text is found by its key; texts/ has one file per language.

import { de } from "./texts/de.js";
import { en } from "./texts/en.js";

/**
 * @typedef {keyof typeof en} Key
 * @typedef {Record<Key, string>} Texts
 * @typedef {keyof typeof LANGUAGES} Language
 */

export const LANGUAGES = { en, de };

/** @type {Language} */
let spoken = "en";

/**
 * The first language that the page has: that of the address (`?lang=`), else one that the browser prefers, else English.
 * @param {string} wanted may be empty @param {readonly string[]} preferred language tags (BCP 47), the best first
 * @returns {Language}
 */
export function chooseLanguage(wanted, preferred) {
  const primary = [wanted, ...preferred].map((tag) => tag.split("-")[0].toLowerCase());
  return /** @type {Language} */ (primary.find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? "en");
}

/** From now on texts are in this language. @param {Language} language */
export function speak(language) {
  spoken = language;
}

/**
 * A text with its values. Values are inserted as they are: those of strangers have to go through `shown` first (texts.js).
 * @param {Key} key @param {Record<string, string | number>} values
 */
export function say(key, values = {}) {
  return LANGUAGES[spoken][key].replace(/\{([a-z]+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Like `say`, with the text for an unknown subject if the value is empty and there is such a text. @param {Key} key @param {Record<string, string>} value */
export function sayOf(key, value) {
  const unnamed = /** @type {Key} */ (`${key}.unnamed`);
  return say(Object.values(value)[0] === "" && unnamed in en ? unnamed : key, value);
}
