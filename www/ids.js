// @ts-check
// Ids: valid peer uids and room ids, and readable random names.

/** White space as in Python's `str.split`, which defines the protocol's ids. */
export const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Whether a peer can register under `text`. @param {string} text */
export function isPeerId(text) {
  return text !== "" && !WHITE_SPACE.test(text);
}

/** Whether `text` is a valid room id: the reference server reserves `session` for 1-1 calls. @param {string} text */
export function isRoomId(text) {
  return isPeerId(text) && text !== "session";
}

/** Turns user input into an id: inner white space becomes a hyphen. @param {string} text */
export function toId(text) {
  return text.split(WHITE_SPACE).filter(Boolean).join("-");
}

const ADJECTIVES =
  "amber bold brave bright calm clear clever cosy crisp early fair fast gentle glad golden happy keen kind light lively lucky mellow merry noble proud quick quiet sharp silver smart steady sunny swift warm wise".split(
    " ",
  );
const ANIMALS =
  "badger beaver bison crane dolphin eagle falcon finch fox gecko hare heron ibis jay koala lark lemur lynx marten mole newt otter owl panda pike puffin raven robin seal stoat swan tern tiger wren yak".split(
    " ",
  );

/** A readable random id such as `swift-otter-482`, one of about a million. @param {() => number} random */
export function randomId(random = Math.random) {
  const pick = (/** @type {string[]} */ words) => words[Math.floor(random() * words.length)];
  return `${pick(ADJECTIVES)}-${pick(ANIMALS)}-${100 + Math.floor(random() * 900)}`;
}
