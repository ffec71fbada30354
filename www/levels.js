// @ts-check
// The active speaker: smoothed audio levels, one active speaker at a time, no flicker.

/** Audio level (linear, 0 to 1, from WebRTC's statistics) from which a peer may be speaking. */
const FLOOR = 0.01;
/** Factor by which another peer must be louder to take over. */
const LEAD = 1.5;
/** The active speaker stays marked for this long, and no other peer takes over earlier. */
const HOLD_MS = 1200;

export class Speakers {
  /** @type {Map<string, number>} */ #levels = new Map();
  /** @type {string | null} */ #active = null;
  #since = 0;
  #heard = 0;

  /** Fast up, slow down. @param {string} uid @param {number} level @param {number} now in ms @returns {number} the smoothed level */
  feed(uid, level, now) {
    const before = this.#levels.get(uid) ?? 0;
    const clean = Number.isFinite(level) ? Math.min(1, Math.max(0, level)) : 0;
    const smooth = clean > before ? clean : before * 0.6 + clean * 0.4;
    this.#levels.set(uid, smooth);
    this.#judge(now);
    return smooth;
  }

  /** @param {string} uid */
  remove(uid) {
    this.#levels.delete(uid);
    if (this.#active === uid) this.#active = null;
  }

  get active() {
    return this.#active;
  }

  /** @param {number} now */
  #judge(now) {
    const own = this.#active === null ? 0 : (this.#levels.get(this.#active) ?? 0);
    if (own >= FLOOR) this.#heard = now;
    else if (now - this.#heard > HOLD_MS) this.#active = null;
    const [loudest, level] = [...this.#levels].reduce((a, b) => (b[1] > a[1] ? b : a), ["", 0]);
    if (level < FLOOR || loudest === this.#active) return;
    const free = this.#active === null || (level > own * LEAD && now - this.#since > HOLD_MS);
    if (!free) return;
    this.#active = loudest;
    this.#since = this.#heard = now;
  }
}

/** A level as a fraction of a meter: 0 at -60 dB, 1 at 0 dB. @param {number} level */
export function meter(level) {
  if (!(level > 0)) return 0;
  return Math.min(1, Math.max(0, 1 + (20 * Math.log10(level)) / 60));
}
