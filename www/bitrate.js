// @ts-check
// The video size and bitrate for each of N peers. A browser encodes separately for each peer, so the sum counts: pixels
// for the processor, bits for the uplink.

/**
 * Up to `peers` peers: the short side of the video in pixels, its frame rate in Hz and its bitrate in bit/s.
 * Four participants (three peers) get 640×360.
 */
const STEPS = [
  { peers: 1, shortSide: 720, maxFramerate: 30, maxBitrate: 2_000_000 },
  { peers: 3, shortSide: 360, maxFramerate: 30, maxBitrate: 600_000 },
  { peers: 5, shortSide: 270, maxFramerate: 25, maxBitrate: 350_000 },
  { peers: 8, shortSide: 216, maxFramerate: 20, maxBitrate: 220_000 },
  { peers: Infinity, shortSide: 180, maxFramerate: 15, maxBitrate: 130_000 },
];

export const AUDIO_BITRATE = 40_000;
/** With the sound of a screen, which may be music. */
export const SCREEN_AUDIO_BITRATE = 128_000;

/**
 * The encoding parameters for each RTCRtpSender of the camera.
 * @param {number} peers the number of peers that share the camera
 * @param {{width?: number, height?: number}} camera its present size
 * @param {{resolution: string, frames: string}} choice of the user: with one peer it holds, more peers get at most their step
 */
export function videoEncoding(peers, { width = 1280, height = 720 }, choice = { resolution: "720", frames: "30" }) {
  const step = STEPS.find((step) => peers <= step.peers) ?? STEPS[STEPS.length - 1];
  const [lines, frames] = [Number(choice.resolution), Number(choice.frames)];
  const isAlone = step === STEPS[0];
  const shortSide = isAlone ? lines : Math.min(step.shortSide, lines);
  const maxFramerate = isAlone ? frames : Math.min(step.maxFramerate, frames);
  // More lines need more bits, but not in proportion to their pixels.
  const more = isAlone ? Math.max(1, (lines / 720) ** 1.5) * Math.max(1, (frames / 30) ** 0.5) : 1;
  return { maxBitrate: Math.round(step.maxBitrate * more), maxFramerate, scaleResolutionDownBy: Math.max(1, Math.min(width, height) / shortSide) };
}

/** The bitrate of a screen for one peer, that for all peers together, and the lines that many peers get. */
const SCREEN = { one: 2_500_000, all: 5_000_000, lines: 1080, linesOfMany: 720 };

/**
 * The encoding parameters for each RTCRtpSender of a shared screen.
 * @param {number} peers the number of peers that share it
 * @param {{width?: number, height?: number}} screen its present size
 * @param {{screenFrames: string}} choice of the user
 */
export function screenEncoding(peers, { width = 1920, height = 1080 }, { screenFrames }) {
  const lines = peers <= 3 ? SCREEN.lines : SCREEN.linesOfMany;
  const maxBitrate = Math.floor(Math.min(SCREEN.one, SCREEN.all / Math.max(1, peers)));
  return { maxBitrate, maxFramerate: Number(screenFrames), scaleResolutionDownBy: Math.max(1, Math.min(width, height) / lines) };
}
