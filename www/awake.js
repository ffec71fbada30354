// @ts-check
// Keeps the screen on during a call. The browser releases the lock when the page is hidden.

export class Awake {
  #wanted = false;
  /** @type {WakeLockSentinel | null} */ #lock = null;
  #asking = false;

  constructor() {
    document.addEventListener("visibilitychange", () => void this.#update());
  }

  /** @param {boolean} wanted */
  keep(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    void this.#update();
  }

  async #update() {
    const { wakeLock } = navigator;
    if (!wakeLock || this.#asking) return;
    if (!this.#wanted) {
      void this.#lock?.release();
      this.#lock = null;
    } else if (document.visibilityState === "visible" && (this.#lock?.released ?? true)) {
      this.#asking = true;
      this.#lock = await wakeLock.request("screen").catch(() => null); // low battery, for example
      this.#asking = false;
      if (!this.#wanted) await this.#update();
    }
  }
}
