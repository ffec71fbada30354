// @ts-check
// A small seeded generator (mulberry32): a failing run names its seed and can be repeated.

/** @param {number} seed @returns {() => number} */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @template T @param {() => number} random @param {T[]} list @returns {T} */
export function pick(random, list) {
  return list[Math.floor(random() * list.length)];
}
