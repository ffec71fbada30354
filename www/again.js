// @ts-check
// When a page that watches calls its peer again.

/** The pauses after failures in a row, in ms; the last one is repeated. */
const PAUSES = [1000, 2000, 4000, 8000, 15_000];

export class Again {
  #failures = 0;

  /** The pause before the next call, in ms. */
  pause() {
    const pause = PAUSES[Math.min(this.#failures, PAUSES.length - 1)];
    this.#failures += 1;
    return pause;
  }

  /** The peer was there. */
  succeeded() {
    this.#failures = 0;
  }
}
