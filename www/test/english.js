// The texts that the tests expect: a page loads those of its language before it says anything.

import { speak } from "../language.js";

await speak("en");
