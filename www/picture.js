// @ts-check
// Whether a peer's picture is new, and how old it is. Pure: the same rules as client/src/age/ of the GStreamer client.

/**
 * @typedef {"none" | "live" | "stale" | "paused"} PictureState `none`: there was no frame yet, or none is negotiated;
 *   `paused`: the peer itself says that it sends nothing, for example because its camera is off
 *
 * @typedef {object} Source an entry of RTCRtpReceiver.getSynchronizationSources()
 * @property {number} timestamp when its latest frame was delivered, in ms since 1970
 * @property {number} rtpTimestamp
 * @property {number} [captureTimestamp] in ms since 1900, by the clock of the system that captured it
 * @property {number} [senderCaptureTimeOffset] how far that clock is ahead of the sender's, in ms
 */

/** A picture that is older is stale, at the usual frame rates. */
const LEAST_MS = 500;
const MOST_MS = 30_000;
/** Until the usual distance of the frames is known, and after a pause. */
const START_MS = 3000;
/** A picture is stale after this many usual distances. */
const DISTANCES = 2.5;
/** The usual distance is the median of this many; as many have to be known. */
const KEPT = 9;
const KNOWN = 3;

export class Fresh {
  /** @type {number[]} */ #distances = [];
  /** @type {number | null} */ #last = null;
  /** @type {number | null} */ #expected = null;
  #stale = false;

  /** A frame came. @param {number} now in ms */
  frame(now) {
    const last = this.#last;
    this.#last = now;
    if (last === null) return;
    const distance = Math.max(0, now - last);
    if (distance <= this.#limit()) this.#stale = false;
    this.#distances = [...this.#distances, distance].slice(-KEPT);
  }

  /** @param {number} now in ms @param {boolean} expected whether the peer is to send frames @returns {"none" | "live" | "stale"} */
  look(now, expected) {
    if (!expected) {
      this.#expected = null;
      this.#stale = false;
      return "none";
    }
    this.#expected ??= now;
    if (this.#last === null) return "none";
    const begins = this.#last < this.#expected;
    // After a pause, the peer gets some time to begin again.
    const due = begins ? Math.max(this.#last + this.#limit(), this.#expected + START_MS) : this.#last + this.#limit();
    if (now >= due) this.#stale = true;
    if (this.#stale) return "stale";
    return begins ? "none" : "live";
  }

  /** Time since the last frame in ms. @param {number} now */
  age(now) {
    return this.#last === null ? 0 : Math.max(0, now - this.#last);
  }

  #limit() {
    if (this.#distances.length < KNOWN) return START_MS;
    const sorted = [...this.#distances].sort((a, b) => a - b);
    return Math.min(MOST_MS, Math.max(LEAST_MS, sorted[sorted.length >> 1] * DISTANCES));
  }
}

/** Reports of this time are taken together, and as many of these steps count. */
const STEP_MS = 2000;
const STEPS = 15;

/** How far the peer's clock is ahead of ours: by its time in a sender report, plus half of the shortest round trip. */
export class Clock {
  /** @type {{begin: number, ahead: number | null, roundTrip: number | null}[]} */ #steps = [];

  /** @param {number} now @param {number} ahead the peer's time in a report minus ours at its arrival, in ms */
  report(now, ahead) {
    const step = this.#step(now);
    step.ahead = Math.max(step.ahead ?? -Infinity, ahead);
  }

  /** @param {number} now @param {number} ms */
  roundTrip(now, ms) {
    const step = this.#step(now);
    step.roundTrip = Math.min(step.roundTrip ?? Infinity, ms);
  }

  /** In ms; null as long as it is not known. */
  get ahead() {
    const ahead = Math.max(...this.#steps.map((step) => step.ahead ?? -Infinity));
    const roundTrip = Math.min(...this.#steps.map((step) => step.roundTrip ?? Infinity));
    return Number.isFinite(ahead + roundTrip) ? ahead + roundTrip / 2 : null;
  }

  /** @param {number} now */
  #step(now) {
    this.#steps = this.#steps.filter(({ begin }) => now - begin <= STEP_MS * STEPS);
    const last = this.#steps.at(-1);
    if (last && now - last.begin < STEP_MS) return last;
    const next = { begin: now, ahead: null, roundTrip: null };
    this.#steps.push(next);
    return next;
  }
}

/** Milliseconds from 1900 to 1970. */
const TO_UNIX_MS = 2_208_988_800_000;
/** Reports that are this far apart and name the same number of packets say that the peer sends nothing. */
const PAUSE_MS = 900;
/** More ages of one period are not kept. */
const MAX_AGES = 100;

/** The picture of one peer. All times are in ms since 1970. */
export class Picture {
  /** @type {PictureState} */ state = "none";
  #fresh = new Fresh();
  #clock = new Clock();
  /** @type {number | null} */ #rtpTimestamp = null;
  #frames = 0;
  /** @type {{sent: number, packets: number} | null} The first report that names the latest number of packets. */ #report = null;
  #paused = false;
  /** @type {number[]} */ #ages = [];

  /**
   * Looks at the latest frame.
   * @param {number} now @param {Source | undefined} source @param {boolean} sends whether the peer is to send frames
   */
  look(now, source, sends) {
    if (source && source.rtpTimestamp !== this.#rtpTimestamp) {
      this.#rtpTimestamp = source.rtpTimestamp;
      const delivered = Math.min(now, source.timestamp);
      // Another clock than ours counts as now.
      this.#frame(now - delivered < START_MS ? delivered : now);
      this.#captured(delivered, source);
    }
    const state = this.#fresh.look(now, sends && !this.#paused);
    this.state = this.#paused && sends ? "paused" : state;
  }

  /**
   * The statistics of a second: decoded frames, the sender's last report (`sent` and `arrived` in ms), a round trip.
   * @param {number} now
   * @param {{framesDecoded: number, report: {sent: number, arrived: number, packets: number} | null, roundTrip: number | null}} stats
   */
  stats(now, { framesDecoded, report, roundTrip }) {
    // Not every browser has synchronization sources for video.
    if (this.#rtpTimestamp === null && framesDecoded > this.#frames) this.#frame(now);
    this.#frames = framesDecoded;
    if (roundTrip !== null) this.#clock.roundTrip(now, roundTrip);
    if (!report) return;
    this.#clock.report(now, report.sent - report.arrived);
    if (report.packets !== this.#report?.packets) {
      this.#report = { sent: report.sent, packets: report.packets };
      this.#paused = false;
    } else if (report.sent - this.#report.sent >= PAUSE_MS && this.state === "stale") this.#paused = true;
  }

  /** How old the frames were when they were shown, since the last call: the median in ms, or null if it is not known. */
  takeAge() {
    const sorted = this.#ages.sort((a, b) => a - b);
    this.#ages = [];
    return sorted.length > 0 ? Math.round(sorted[sorted.length >> 1]) : null;
  }

  /** Time since the last frame in ms. @param {number} now */
  staleFor(now) {
    return this.#fresh.age(now);
  }

  /** @param {number} at */
  #frame(at) {
    this.#fresh.frame(at);
    this.#paused = false;
    this.#report = null;
  }

  /** @param {number} delivered @param {Source} source */
  #captured(delivered, { captureTimestamp, senderCaptureTimeOffset = 0 }) {
    const { ahead } = this.#clock;
    if (captureTimestamp === undefined || ahead === null || this.#ages.length >= MAX_AGES) return;
    this.#ages.push(Math.max(0, delivered + ahead - (captureTimestamp - TO_UNIX_MS - senderCaptureTimeOffset)));
  }
}
