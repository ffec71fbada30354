// @ts-check
// How much of the one camera each of N peers gets. A browser encodes anew for each peer, so what counts is the
// sum: pixels for the processor, bits for the uplink.

/**
 * For up to so many peers: the short side of the picture sent, its frame rate and bitrate.
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

/**
 * What to ask of each RTCRtpSender of the camera.
 * @param {number} peers how many the camera is sent to
 * @param {{width?: number, height?: number}} camera its present size
 */
export function videoEncoding(peers, { width = 1280, height = 720 }) {
  const step = STEPS.find((step) => peers <= step.peers) ?? STEPS[STEPS.length - 1];
  const { shortSide, maxFramerate, maxBitrate } = step;
  return { maxBitrate, maxFramerate, scaleResolutionDownBy: Math.max(1, Math.min(width, height) / shortSide) };
}
