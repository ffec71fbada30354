// @ts-check
// Begins to load the texts before the style sheets are there, for which start.js waits.

import { chooseLanguage, speak } from "./language.js";

export const language = chooseLanguage(new URL(location.href).searchParams.get("lang") ?? "", navigator.languages);
/** Until the texts are there. */
export const spoken = speak(language);
