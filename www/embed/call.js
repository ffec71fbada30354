// @ts-check
// <callbin-call>: a call with camera and microphone, with buttons to mute, to hang up, and to accept a call.

import { say } from "../language.js";
import { ringText } from "../texts.js";
import { element, setText } from "../ui/dom.js";
import { CallbinElement } from "./element.js";
import { EmbeddedTile } from "./tile.js";

export class CallbinCall extends CallbinElement {
  /** @type {EmbeddedTile | null} */ #own = null;
  #ring = 0;

  constructor() {
    super();
    const button = (/** @type {string} */ name, /** @type {() => void} */ pressed) => {
      const node = element("button", { type: "button", part: `button ${name}`, hidden: true });
      node.addEventListener("click", pressed);
      return node;
    };
    this.buttons = {
      mic: button("mic", () => this.turn("audio", !this.media?.slots.audio.on)),
      camera: button("camera", () => this.turn("video", !this.media?.slots.video.on)),
      accept: button("accept", () => this.accept()),
      decline: button("decline", () => this.decline()),
      hangUp: button("hang-up", () => this.hangUp()),
    };
    this.controls = element("div", { part: "controls", role: "group" }, ...Object.values(this.buttons));
    this.shadowRoot?.append(this.controls);
  }

  get sends() {
    return true;
  }

  /** Calls a peer. @param {string} peer */
  call(peer) {
    this.calls?.do({ type: "call", peer, remoteOfferer: false });
  }

  /** Joins a room. @param {string} room */
  join(room) {
    this.calls?.do({ type: "join", room });
  }

  accept() {
    this.calls?.do({ type: "accept", ring: this.calls.call.ring });
  }

  decline() {
    this.calls?.do({ type: "decline" });
  }

  /** Mutes or unmutes the microphone; opens or closes the camera. @param {import("../media.js").Kind} kind @param {boolean} on */
  turn(kind, on) {
    void this.media?.turn(kind, on);
  }

  /** Sends a text to all peers. @param {string} text @returns {number} how many got it */
  send(text) {
    return this.calls?.sendChat(text) ?? 0;
  }

  update() {
    const { calls, media, buttons } = this;
    const state = calls?.call.state ?? "offline";
    const [rings, busy] = [state === "ringing", ["calling", "in-call", "joining", "in-room"].includes(state)];
    this.controls.setAttribute("aria-label", say("call.controls"));
    this.#label(buttons.mic, media?.slots.audio.track != null, say(media?.slots.audio.on ? "control.mute" : "control.unmute"));
    this.#label(buttons.camera, media !== null && media.slots.video.device !== "none", say(media?.slots.video.on ? "control.camera-off" : "control.camera-on"));
    this.#label(buttons.accept, rings, say("ring.accept"));
    this.#label(buttons.decline, rings, say("ring.decline"));
    this.#label(buttons.hangUp, busy, say(calls?.call.room ? "control.leave" : "control.hang-up"));
    if (rings && calls) this.#rings(calls.call);
    this.#showOwn();
  }

  /** The page may decide: an `incoming` event that is prevented declines the call. @param {import("../call.js").Call} call */
  #rings(call) {
    setText(this.status, ringText(call.caller));
    if (call.ring === this.#ring) return;
    this.#ring = call.ring;
    queueMicrotask(() => this.tell("incoming", { caller: call.caller }) || this.decline());
  }

  /** @param {HTMLButtonElement} button @param {boolean} shown @param {string} label */
  #label(button, shown, label) {
    button.hidden = !shown;
    setText(button, label);
  }

  #showOwn() {
    const track = this.media?.slots.video.track;
    if (track && this.media) {
      this.#own ??= new EmbeddedTile(say("call.you"), { self: true });
      this.#own.setStream(this.media.stream);
      if (!this.#own.node.isConnected) this.grid.append(this.#own.node);
    } else {
      this.#own?.remove();
      this.#own = null;
    }
  }
}
