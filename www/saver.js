// @ts-check
// Data saver: after some time in a hidden page, videos are not received. Pure.

/** A page that is hidden for a shorter time keeps receiving: a new request for videos takes a moment. */
export const HIDDEN_MS = 12_000;

export class Saver {
  #hidden = false;
  #needed = false;
  /** Counts changes of visibility: each has its own timer. */ #times = 0;
  #saves = false;

  /** @param {boolean} enabled */
  constructor(enabled) {
    this.enabled = enabled;
  }

  /** Whether videos are to be received. */
  get receives() {
    return !this.#saves || this.#needed;
  }

  /**
   * The page is hidden or shown. Returns a number for `elapsed`, to be called with it after HIDDEN_MS, or null.
   * @param {boolean} hidden
   */
  shown(hidden) {
    this.#hidden = hidden;
    this.#times += 1;
    if (!hidden) this.#saves = false;
    return hidden && this.enabled ? this.#times : null;
  }

  /** @param {number} time */
  elapsed(time) {
    if (this.#hidden && time === this.#times) this.#saves = true;
  }

  /** A picture is in a window of its own, or recorded. @param {boolean} needed */
  need(needed) {
    this.#needed = needed;
  }
}
