// @ts-check
// The pictures of one peer: a view for each of its video tracks. The first view has the peer's sound, too.

import { Picture } from "./picture.js";
import { shown } from "./texts.js";

/** Most views of one peer: each is a decoder and a tile. */
const MAX_VIEWS = 8;
/** Stream ids that browsers and GStreamer generate are no names of cameras. */
const GENERATED = /^(-|user\d+@host-[0-9a-f]+|\{?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?|[A-Za-z0-9]{36})$/i;

export class View {
  stream = new MediaStream();
  /** Whether new frames arrive, and how old they are. */
  picture = new Picture();
  /** @type {RTCRtpTransceiver | null} */ transceiver = null;
  /** The camera's name: `callbin` sends it as the stream's id. Empty if there is none. */
  name = "";

  /** Whether the peer may send this picture, as negotiated. */
  get isReceived() {
    return ["sendrecv", "recvonly"].includes(this.transceiver?.currentDirection ?? "");
  }

  /** Looks whether a new frame has come. @param {number} now in ms since 1970 */
  look(now) {
    const receiver = this.transceiver?.receiver;
    // A track is muted while the negotiated direction says that nothing comes.
    this.picture.look(now, receiver?.getSynchronizationSources()[0], receiver?.track.muted === false);
  }
}

export class Views {
  list = [new View()];
  /** @type {Set<RTCRtpTransceiver | null>} Transceivers that the data saver has paused: their views stay. */ paused = new Set();

  get first() {
    return this.list[0];
  }

  /** Those to show. The first one is always there: it has the sound and the state. */
  get shown() {
    return this.list.filter((view, i) => i === 0 || view.isReceived || this.paused.has(view.transceiver));
  }

  /** The ids of the video tracks, one for each view. */
  get tracks() {
    return this.list.map(({ transceiver }) => transceiver?.receiver.track.id ?? "");
  }

  /**
   * A track of the peer begins, or begins again.
   * @param {Pick<RTCTrackEvent, "track" | "transceiver" | "streams">} event
   * @returns {boolean} whether its track is a new one
   */
  add({ track, transceiver, streams }) {
    if (track.kind === "audio") return addTo(this.first.stream, track);
    const known = this.list.find((view) => view.transceiver === transceiver);
    if (!known && this.first.transceiver && this.list.length >= MAX_VIEWS) return false;
    const view = known ?? (this.first.transceiver ? this.#more() : this.first);
    view.transceiver = transceiver;
    const id = streams[0]?.id ?? "";
    view.name = GENERATED.test(id) ? "" : shown(id);
    return addTo(view.stream, track);
  }

  #more() {
    const view = new View();
    this.list.push(view);
    return view;
  }
}

/** @param {MediaStream} stream @param {MediaStreamTrack} track */
function addTo(stream, track) {
  const isNew = stream.getTrackById(track.id) === null;
  stream.addTrack(track);
  return isNew;
}
