// @ts-check
// The tracks that peers get: camera, microphone, and a screen that the user shares.

import { AUDIO_BITRATE, SCREEN_AUDIO_BITRATE, screenEncoding, videoEncoding } from "./bitrate.js";
import { screenConstraints } from "./quality.js";

/**
 * @typedef {import("./media.js").Kind} Kind
 * @typedef {"cancelled" | "failed"} ShareError `cancelled`: the user has chosen no screen, or the system allows none
 */

export class Outgoing {
  /** @type {MediaStreamTrack | null} */ screen = null;
  /** The screen alone: beside the camera it has a stream of its own. */
  screenStream = new MediaStream();
  /** @type {Mix | null} */ #mix = null;
  #beside = true;
  #asking = false;

  /** @param {import("./media.js").Media} media @param {() => void} changed @param {boolean} hasOneVideo whether the peer takes only one video */
  constructor(media, changed, hasOneVideo = false) {
    this.hasOneVideo = hasOneVideo;
    this.media = media;
    this.changed = changed;
  }

  /** Whether the browser can share a screen. */
  static get isPossible() {
    return typeof navigator.mediaDevices?.getDisplayMedia === "function";
  }

  get ready() {
    return this.media.ready;
  }

  get quality() {
    return this.media.quality;
  }

  get stream() {
    return this.media.stream;
  }

  /** The track for the m-line of this kind. @param {Kind} kind */
  track(kind) {
    if (kind === "video") return this.isInstead ? this.screen : this.media.track("video");
    return this.#mix?.track ?? this.media.track("audio");
  }

  /** The microphone may be another one. */
  mediaChanged() {
    this.#mix?.setMicrophone(this.media.track("audio"));
  }

  /** The screen, if it has an m-line of its own. */
  get beside() {
    return this.#beside ? this.screen : null;
  }

  /** Whether peers get the screen, not the camera. */
  get isInstead() {
    return this.screen !== null && !this.#beside;
  }

  /** Asks the user for a screen. @returns {Promise<ShareError | null>} */
  async share() {
    if (this.screen || this.#asking) return null;
    this.#asking = true;
    const { quality } = this;
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia(screenConstraints(quality));
      this.#begin(stream, quality);
      return null;
    } catch (error) {
      return error instanceof DOMException && error.name === "NotAllowedError" ? "cancelled" : "failed";
    } finally {
      this.#asking = false;
    }
  }

  stop() {
    if (!this.screen) return;
    this.screen.onended = null;
    for (const track of this.screenStream.getTracks()) track.stop();
    this.screen = null;
    this.screenStream = new MediaStream();
    this.#mix?.close();
    this.#mix = null;
    this.changed();
  }

  /** @param {MediaStream} stream @param {import("./quality.js").Quality} quality */
  #begin(stream, quality) {
    const [screen] = stream.getVideoTracks();
    const [sound] = stream.getAudioTracks();
    screen.contentHint = quality.screenHint;
    screen.onended = () => this.stop(); // the user has ended it in the browser, or closed the window
    this.screen = screen;
    this.screenStream = new MediaStream([screen]);
    this.#beside = quality.screenPlace === "beside" && !this.hasOneVideo;
    if (sound) {
      this.screenStream.addTrack(sound);
      this.#mix = new Mix(sound);
      this.mediaChanged();
    }
    this.changed();
  }

  /**
   * The encoding parameters of a sender.
   * @param {MediaStreamTrack} track @param {number} peers that share it
   * @returns {{encoding: RTCRtpEncodingParameters, degradation: "maintain-resolution" | "maintain-framerate" | "balanced"}}
   */
  encoding(track, peers) {
    const { quality } = this;
    if (track.kind === "audio") return { encoding: { maxBitrate: this.#mix ? SCREEN_AUDIO_BITRATE : AUDIO_BITRATE }, degradation: "balanced" };
    const isScreen = track === this.screen;
    const encoding = (isScreen ? screenEncoding : videoEncoding)(peers, track.getSettings(), quality);
    const hint = isScreen ? quality.screenHint : quality.hint;
    return { encoding, degradation: hint === "detail" ? "maintain-resolution" : hint === "motion" ? "maintain-framerate" : "balanced" };
  }
}

/** Microphone and the sound of a screen on one track: not every peer plays two. */
class Mix {
  #context = new AudioContext();
  #out = this.#context.createMediaStreamDestination();
  /** @type {MediaStreamTrack | null} */ #microphone = null;
  /** @type {MediaStreamAudioSourceNode | null} */ #source = null;

  /** @param {MediaStreamTrack} sound */
  constructor(sound) {
    this.#context.createMediaStreamSource(new MediaStream([sound])).connect(this.#out);
  }

  get track() {
    return this.#out.stream.getAudioTracks()[0];
  }

  /** @param {MediaStreamTrack | null} track */
  setMicrophone(track) {
    if (track === this.#microphone) return;
    this.#source?.disconnect();
    this.#microphone = track;
    this.#source = track && this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source?.connect(this.#out);
  }

  close() {
    void this.#context.close().catch(() => {});
  }
}
