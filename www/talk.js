// @ts-check
// Notices that the user talks while muted, and unmutes as long as a key is down. Pure.

/** The lowest level (RMS) of speech. */
const LOUD = 0.02;
/** The user talks if LOUD_LOOKS of the last LOOKS levels were at least LOUD. */
const LOOKS = 10;
const LOUD_LOOKS = 5;
/** The shortest time between two notices. */
const PAUSE_MS = 30_000;

export class MutedTalk {
  /** @type {boolean[]} */ #looks = [];
  #silentUntil = -Infinity;

  /** Returns whether to show the notice now. @param {number} level @param {boolean} muted @param {number} now in ms */
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
