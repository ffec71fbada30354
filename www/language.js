// @ts-check
// The language of the page, and its texts. A text is found by its key; texts/ has one file per language, and only that of the
// chosen one is loaded.

/**
 * @typedef {keyof typeof import("./texts/en.js").en} Key
 * @typedef {Record<Key, string>} Texts
 * @typedef {keyof typeof LANGUAGES} Language
 */

/** How each language is loaded. */
export const LANGUAGES = {
  en: async () => (await import("./texts/en.js")).en,
  de: async () => (await import("./texts/de.js")).de,
};

/** @type {Language} */
let spoken;
/** @type {Texts} */
let texts;

/**
 * The first language that the page has: that of the address (`?lang=`), else one that the browser prefers, else English.
 * @param {string} wanted may be empty @param {readonly string[]} preferred language tags (BCP 47), the best first
 * @returns {Language}
 */
export function chooseLanguage(wanted, preferred) {
  const primary = [wanted, ...preferred].map((tag) => tag.split("-")[0].toLowerCase());
  return /** @type {Language} */ (primary.find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? "en");
}

/** From then on texts are in this language; before the first one there are none. @param {Language} language */
export async function speak(language) {
  texts = await LANGUAGES[language]();
  spoken = language;
}

/** @param {string} key @returns {key is Key} whether there is such a text */
export function has(key) {
  return Object.hasOwn(texts, key);
}

/** A number as the language writes it, with one decimal at most. @param {number} value */
export function number(value) {
  return value.toLocaleString(spoken, { maximumFractionDigits: 1 });
}

/**
 * A text with its values. Values are inserted as they are: those of strangers have to go through `shown` first (texts.js).
 * @param {Key} key @param {Record<string, string | number>} values
 */
export function say(key, values = {}) {
  return texts[key].replace(/\{([a-z]+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Like `say`, with the text for an unknown subject if the value is empty and there is such a text. @param {Key} key @param {Record<string, string>} value */
export function sayOf(key, value) {
  const unnamed = `${key}.unnamed`;
  return say(Object.values(value)[0] === "" && has(unnamed) ? unnamed : key, value);
}
