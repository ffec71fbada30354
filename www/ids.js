// @ts-check
// Ids: what a peer may register as, what a room may be called, and readable random names.

/** White space as Python's `str.split` sees it, which is what the protocol's ids were defined by. */
export const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Whether a peer can register under `text`. @param {string} text */
export function isPeerId(text) {
  return text !== "" && !WHITE_SPACE.test(text);
}

/** Whether a room can be called `text`: the reference server keeps 1-1 calls under `session`. @param {string} text */
export function isRoomId(text) {
  return isPeerId(text) && text !== "session";
}

/** Turns what somebody typed into an id: inner white space becomes a hyphen. @param {string} text */
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

/** A readable id such as `swift-otter-482`: one of about a million. @param {() => number} random */
export function randomId(random = Math.random) {
  const pick = (/** @type {string[]} */ words) => words[Math.floor(random() * words.length)];
  return `${pick(ADJECTIVES)}-${pick(ANIMALS)}-${100 + Math.floor(random() * 900)}`;
}
