// @ts-check
// How loud our microphone is, also while it is muted.

export class MicrophoneLevel {
  /** @type {AudioContext | null} */ #context = null;
  /** @type {AnalyserNode | null} */ #analyser = null;
  /** @type {MediaStreamTrack | null} */ #track = null;
  /** @type {MediaStreamTrack | null} A muted track is silent, its clone is not. */ #clone = null;
  #samples = new Float32Array(1024);

  /** @param {MediaStreamTrack | null} track */
  follow(track) {
    if (track === this.#track) return;
    this.#clone?.stop();
    this.#analyser?.disconnect();
    this.#analyser = this.#clone = null;
    this.#track = track;
    if (!track) return;
    try {
      this.#context ??= new AudioContext();
      this.#clone = track.clone();
      this.#clone.enabled = true;
      this.#analyser = new AnalyserNode(this.#context, { fftSize: this.#samples.length });
      this.#context.createMediaStreamSource(new MediaStream([this.#clone])).connect(this.#analyser);
    } catch {
      this.#analyser = null; // without a meter the microphone works all the same
    }
  }

  /** The present level (RMS), 0 to 1. Browsers measure nothing before the first user action on the page. */
  get level() {
    if (!this.#analyser) return 0;
    if (this.#context?.state === "suspended" && (navigator.userActivation?.hasBeenActive ?? true)) void this.#context.resume().catch(() => {});
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const square = this.#samples.reduce((sum, sample) => sum + sample * sample, 0);
    return Math.sqrt(square / this.#samples.length);
  }
}
