// @ts-check
// Talking: while muted, and as long as a key is held down. Pure.

/** A level (RMS) from which somebody talks. */
const LOUD = 0.02;
/** The user talks if so many of the last looks were loud. */
const LOOKS = 10;
const LOUD_LOOKS = 5;
/** For so long the user is not told again. */
const PAUSE_MS = 30_000;

export class MutedTalk {
  /** @type {boolean[]} */ #looks = [];
  #silentUntil = -Infinity;

  /** Returns whether to tell the user now. @param {number} level @param {boolean} muted @param {number} now in ms */
  look(level, muted, now) {
    if (!muted) {
      this.#looks = [];
      return false;
    }
    this.#looks = [...this.#looks, level >= LOUD].slice(-LOOKS);
    if (now < this.#silentUntil || this.#looks.filter(Boolean).length < LOUD_LOOKS) return false;
    this.#silentUntil = now + PAUSE_MS;
    return true;
  }
}

/** A muted microphone is on while the key is down. */
export class PushToTalk {
  #pushes = false;

  get pushes() {
    return this.#pushes;
  }

  /** Returns whether to unmute. @param {boolean} muted */
  press(muted) {
    if (this.#pushes || !muted) return false;
    this.#pushes = true;
    return true;
  }

  /** Returns whether to mute again. */
  release() {
    const pushed = this.#pushes;
    this.#pushes = false;
    return pushed;
  }
}
