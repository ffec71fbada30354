// @ts-check
// The user's choices about picture and sound, as constraints and encodings.

/**
 * @typedef {object} Quality
 * @property {string} resolution of the camera: its short side in pixels
 * @property {string} frames of the camera per second
 * @property {string} hint what matters in the camera's picture: `` (the browser's choice), `motion` or `detail`
 * @property {string} codec of our videos: `` (as agreed) or a name such as `VP9`
 * @property {boolean} echo whether the loudspeaker's echo is cancelled
 * @property {boolean} noise whether noise is suppressed
 * @property {boolean} gain whether the volume is adjusted
 * @property {string} screenPlace `beside` the camera, or `instead` of it
 * @property {string} screenFrames per second
 * @property {string} screenHint as `hint`, `detail` or `motion`
 * @property {boolean} screenSound whether its sound is shared, if the browser has it
 */

/** The choices; the first one of each is the default. @type {{[name in keyof Quality]: Quality[name] extends boolean ? boolean[] : string[]}} */
export const CHOICES = {
  resolution: ["720", "360", "1080", "2160"],
  frames: ["30", "15", "60"],
  hint: ["", "motion", "detail"],
  codec: ["", "VP8", "VP9", "H264", "AV1"],
  echo: [true, false],
  noise: [true, false],
  gain: [true, false],
  screenPlace: ["beside", "instead"],
  screenFrames: ["15", "5", "30"],
  screenHint: ["detail", "motion"],
  screenSound: [true, false],
};

/** @type {(keyof Quality)[]} */
const NAMES = /** @type {any} */ (Object.keys(CHOICES));

/** The choices in a text that was stored; the default for each that is not there or unknown. @param {string | null} stored @returns {Quality} */
export function readQuality(stored) {
  const choice = parsed(stored);
  const value = (/** @type {keyof Quality} */ name) => (/** @type {unknown[]} */ (CHOICES[name]).includes(choice[name]) ? choice[name] : CHOICES[name][0]);
  return /** @type {any} */ (Object.fromEntries(NAMES.map((name) => [name, value(name)])));
}

/** @param {string | null} text @returns {Record<string, unknown>} */
function parsed(text) {
  try {
    return Object(JSON.parse(text ?? "{}"));
  } catch {
    return {};
  }
}

/** @param {Quality} quality @returns {Record<import("./media.js").Kind, MediaTrackConstraints>} */
export function deviceConstraints({ resolution, frames, echo, noise, gain }) {
  const height = Number(resolution);
  return {
    audio: { echoCancellation: echo, noiseSuppression: noise, autoGainControl: gain },
    video: { width: { ideal: (height * 16) / 9 }, height: { ideal: height }, frameRate: { ideal: Number(frames), max: Number(frames) } },
  };
}

/** @param {Quality} quality @returns {DisplayMediaStreamOptions} */
export function screenConstraints({ screenFrames, screenSound }) {
  const audio = screenSound && { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  return { video: { frameRate: { ideal: Number(screenFrames), max: Number(screenFrames) } }, audio };
}

/** The codecs with those of this name first, in their order otherwise. @template {{mimeType: string}} T @param {T[]} codecs @param {string} name */
export function preferred(codecs, name) {
  const is = (/** @type {T} */ { mimeType }) => mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
  return [...codecs.filter(is), ...codecs.filter((codec) => !is(codec))];
}

/** Which devices have to be opened again after a change. @param {Quality} before @param {Quality} after @returns {import("./media.js").Kind[]} */
export function reopened(before, after) {
  const [old, now] = [deviceConstraints(before), deviceConstraints(after)];
  return /** @type {const} */ (["audio", "video"]).filter((kind) => JSON.stringify(old[kind]) !== JSON.stringify(now[kind]));
}
