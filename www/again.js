// @ts-check
// When a page calls again: the peer that it watches, or the stream that it plays or publishes.

/** The pauses after failures in a row, in ms; the last one is repeated. */
const PAUSES = [1000, 2000, 4000, 8000, 15_000];
/** Those of a stream, whose media node is replaced at once if it is lost. */
const STREAM_PAUSES = [200, 400, 800, 1600, 3000, 5000, 10_000];

export class Again {
  #failures = 0;

  /** @param {boolean} isStream */
  constructor(isStream) {
    this.pauses = isStream ? STREAM_PAUSES : PAUSES;
  }

  /** The pause before the next call, in ms. */
  pause() {
    const pause = this.pauses[Math.min(this.#failures, this.pauses.length - 1)];
    this.#failures += 1;
    return pause;
  }

  /** The peer was there. */
  succeeded() {
    this.#failures = 0;
  }
}
