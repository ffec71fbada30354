// @ts-check
// The call as the browser's media session: a window with picture in picture gets buttons for microphone, camera and the end.

/** @typedef {"mic" | "camera" | "hang-up"} Action */

/** @type {[string, Action][]} */
const ACTIONS = [
  ["togglemicrophone", "mic"],
  ["togglecamera", "camera"],
  ["hangup", "hang-up"],
];

export class Session {
  #isOn = false;

  /** @param {(action: Action) => void} pressed */
  constructor(pressed) {
    this.pressed = pressed;
  }

  /** @param {boolean} on whether there is a call @param {boolean} sends whether it has our microphone and camera */
  show(on, sends) {
    if (on === this.#isOn) return;
    this.#isOn = on;
    for (const [name, action] of ACTIONS) {
      const acts = on && (sends || action === "hang-up");
      try {
        navigator.mediaSession?.setActionHandler(/** @type {any} */ (name), acts ? () => this.pressed(action) : null);
      } catch {
        // The browser lacks this action.
      }
    }
  }

  /** @param {boolean} microphone whether it is on @param {boolean} camera */
  update(microphone, camera) {
    const session = /** @type {any} */ (navigator.mediaSession);
    session?.setMicrophoneActive?.(microphone)?.catch?.(() => {});
    session?.setCameraActive?.(camera)?.catch?.(() => {});
  }
}
