// @ts-check
// One picture in an element: video, name, what its connection does, and a mark on a picture that is no longer new.

import { say } from "../language.js";
import { peerText, shownState, staleText } from "../texts.js";
import { element, playable, setText } from "../ui/dom.js";

export class EmbeddedTile {
  /** @param {string} name @param {{self?: boolean}} how */
  constructor(name, { self = false } = {}) {
    this.video = element("video", { part: self ? "video self" : "video", autoplay: true, playsinline: true, "aria-label": self ? say("device.own-camera") : say("tile.video", { name }) });
    this.video.muted = self;
    this.name = element("span", { part: "name" }, name);
    this.state = element("p", { part: "state", role: "status", hidden: true });
    this.stale = element("p", { part: "stale", hidden: true });
    this.node = element("figure", { part: self ? "tile self" : "tile", role: "listitem" }, this.video, this.stale, this.state, element("figcaption", {}, this.name));
  }

  /** @param {MediaStream} stream */
  setStream(stream) {
    const shown = playable(stream);
    if (this.video.srcObject !== shown) this.video.srcObject = shown;
    // Without a click on the page browsers play no sound: a picture without sound is better than none.
    if (shown) void this.video.play().catch((error) => error?.name === "NotAllowedError" && this.#playMuted());
  }

  #playMuted() {
    this.video.muted = true;
    void this.video.play().catch(() => {});
  }

  /** As that of the page (ui/tile.js). @param {Parameters<typeof peerText>[0]} peer @param {boolean} waits */
  setState(peer, waits) {
    const text = peerText(peer, waits);
    this.node.dataset.state = shownState(peer.state, waits);
    setText(this.state, text);
    this.state.hidden = text === "";
  }

  /** @param {import("../picture.js").PictureState} state @param {number} ms since the last frame */
  setPicture(state, ms) {
    const isStale = state === "stale";
    this.node.dataset.picture = state;
    this.node.part.toggle("is-stale", isStale);
    this.stale.hidden = !isStale;
    setText(this.stale, isStale ? staleText(ms) : "");
  }

  remove() {
    this.video.srcObject = null;
    this.node.remove();
  }
}
