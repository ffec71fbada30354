// @ts-check
// Time: pauses, deadlines, and the clock of pictures and statistics.

/** @param {number} ms @returns {Promise<void>} */
export function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

/** @template T @param {Promise<T>} promise @param {number} ms @returns {Promise<T | null>} null after the time */
export function within(promise, ms) {
  return Promise.race([promise, pause(ms).then(() => null)]);
}

/** Milliseconds since 1970, by the clock of the statistics. */
export function now() {
  return performance.timeOrigin + performance.now();
}
