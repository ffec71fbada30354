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

/**
 * The encoding parameters for each RTCRtpSender of the camera.
 * @param {number} peers the number of peers that share the camera
 * @param {{width?: number, height?: number}} camera its present size
 */
export function videoEncoding(peers, { width = 1280, height = 720 }) {
  const step = STEPS.find((step) => peers <= step.peers) ?? STEPS[STEPS.length - 1];
  const { shortSide, maxFramerate, maxBitrate } = step;
  return { maxBitrate, maxFramerate, scaleResolutionDownBy: Math.max(1, Math.min(width, height) / shortSide) };
}
