// @ts-check
// <callbin-call>: a call with camera and microphone, with buttons to mute, to share a screen, to hang up, and to accept a call.

import { say } from "../language.js";
import { Outgoing } from "../outgoing.js";
import { ringText } from "../texts.js";
import { Controls } from "../ui/controls.js";
import { element, setText } from "../ui/dom.js";
import { CallbinElement } from "./element.js";

const BUSY = ["calling", "in-call", "joining", "in-room"];

export class CallbinCall extends CallbinElement {
  /** @type {Controls | null} */ #controls = null;
  /** @type {Record<"mic" | "camera" | "share" | "more" | "hangUp" | "accept" | "decline", HTMLButtonElement> | null} */ buttons = null;
  #ring = 0;

  get sends() {
    return true;
  }

  makeControls() {
    const node = element("div", { class: "controls", part: "controls", role: "group", "aria-label": say("call.controls") });
    const controls = new Controls(node, element("div"), (what) => this.#press(what));
    const answer = (/** @type {string} */ name, /** @type {string} */ look, /** @type {string} */ text, /** @type {() => void} */ pressed) => {
      const button = element("button", { type: "button", class: look, part: `button ${name}`, hidden: true }, text);
      button.addEventListener("click", pressed);
      return button;
    };
    const accept = answer("accept", "primary", say("ring.accept"), () => this.accept());
    const decline = answer("decline", "secondary danger", say("ring.decline"), () => this.decline());
    node.prepend(accept, decline);
    for (const button of [controls.chat, controls.stats, controls.settings, controls.invite]) button.remove();
    const { mics, cameras, share, more, hangUp } = controls;
    this.#controls = controls;
    this.buttons = { mic: mics[0], camera: cameras[0], share, more, hangUp, accept, decline };
    for (const [name, button] of Object.entries({ mic: mics[0], camera: cameras[0], share, more, "hang-up": hangUp })) button.part.add("button", name);
    return [node];
  }

  /** Calls a peer. @param {string} peer */
  call(peer) {
    this.stage?.callPeer(peer, false);
  }

  /** Joins a room. @param {string} room */
  join(room) {
    this.stage?.do({ type: "join", room });
  }

  accept() {
    this.stage?.do({ type: "accept", ring: this.stage.call.ring });
  }

  decline() {
    this.stage?.do({ type: "decline" });
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
    const { buttons, stage } = this;
    if (!buttons || !stage || !this.#controls) return;
    const { call, media, outgoing } = stage;
    const [rings, busy] = [call.state === "ringing", BUSY.includes(call.state)];
    this.#controls.update(media);
    this.#controls.setRoom(call.room !== null);
    this.#controls.setSharing(outgoing.screen !== null);
    buttons.mic.hidden = media.slots.audio.track === null;
    buttons.camera.hidden = media.slots.video.device === "none";
    buttons.share.hidden = !Outgoing.isPossible || !busy;
    buttons.more.hidden = buttons.hangUp.hidden = !busy;
    buttons.accept.hidden = buttons.decline.hidden = !rings;
    if (rings) this.#rings(call);
  }

  /** The page may decide: an `incoming` event that is prevented declines the call. @param {import("../stage.js").Stage["call"]} call */
  #rings(call) {
    setText(this.status, ringText(call.caller));
    if (call.ring === this.#ring) return;
    this.#ring = call.ring;
    queueMicrotask(() => this.tell("incoming", { caller: call.caller }) || this.decline());
  }

  /** @param {import("../ui/controls.js").Control} what */
  #press(what) {
    const { stage, buttons } = this;
    if (!stage || !buttons) return;
    if (what === "hang-up") this.hangUp();
    else if (what === "more") stage.floor.viewing.openMore(buttons.more, stage.showsStats, []);
    else if (what === "mic" || what === "camera" || what === "share") stage.press(what);
  }
}
