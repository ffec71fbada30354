// @ts-check
// A quiet ringing tone, and one to test the speaker, synthesised here. Before the first user action on the page the browser may keep it silent.

const NOTES_HZ = [587, 740];
const NOTE_S = 0.35;
const PERIOD_S = 3;
const PERIODS = 20;
const LOUDNESS = 0.06;

export class Tone {
  /** @type {AudioContext | null} */ #context = null;

  constructor() {
    try {
      this.#context = new AudioContext();
      this.#play(this.#context);
    } catch {
      // A call can be accepted without a tone.
    }
  }

  /** @param {AudioContext} context */
  #play(context) {
    const gain = new GainNode(context, { gain: 0 });
    const oscillator = new OscillatorNode(context);
    for (let period = 0; period < PERIODS; period += 1) {
      NOTES_HZ.forEach((hz, i) => {
        const start = context.currentTime + period * PERIOD_S + i * NOTE_S;
        oscillator.frequency.setValueAtTime(hz, start);
        gain.gain.setValueAtTime(0, start);
        gain.gain.linearRampToValueAtTime(LOUDNESS, start + 0.03);
        gain.gain.linearRampToValueAtTime(0, start + NOTE_S);
      });
    }
    oscillator.connect(gain).connect(context.destination);
    oscillator.start();
  }

  stop() {
    void this.#context?.close().catch(() => {});
    this.#context = null;
  }
}

/** A tone on the left, then one on the right. */
export async function playTest() {
  const context = new AudioContext();
  const gain = new GainNode(context, { gain: 2 * LOUDNESS });
  const panner = new StereoPannerNode(context, { pan: -1 });
  const oscillator = new OscillatorNode(context, { frequency: NOTES_HZ[0] });
  const middle = context.currentTime + 2 * NOTE_S;
  panner.pan.setValueAtTime(1, middle);
  oscillator.frequency.setValueAtTime(NOTES_HZ[1], middle);
  oscillator.connect(gain).connect(panner).connect(context.destination);
  oscillator.start();
  oscillator.stop(middle + 2 * NOTE_S);
  await new Promise((done) => (oscillator.onended = done));
  await context.close();
}
