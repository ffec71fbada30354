// @ts-check
// Before the call: name, room or peer, devices.

import { isRoomId, toId } from "../ids.js";
import { say } from "../language.js";
import { deviceText } from "../texts.js";
import { find, setText } from "./dom.js";

/**
 * @typedef {{id: string, room: string, peer: string, stream: "play" | "publish" | "", remoteOfferer: boolean, foreignHost: string}} Start
 *   `stream`: what the page does with a stream; `foreignHost`: the host of the link's server if the page does not come from it, else empty
 *
 * @typedef {object} LobbyEvents
 * @property {(id: string) => void} renamed
 * @property {(room: string) => void} join
 * @property {(peer: string, remoteOfferer: boolean) => void} call
 * @property {() => void} connect
 * @property {() => void} copyCallLink
 */

export class Lobby {
  /** @param {Start} start @param {LobbyEvents} events */
  constructor(start, events) {
    this.name = find("name", HTMLInputElement);
    this.nameHint = find("name-hint", HTMLElement);
    this.room = find("room", HTMLInputElement);
    this.peer = find("peer", HTMLInputElement);
    this.remoteOfferer = find("remote-offerer", HTMLInputElement);
    this.preview = find("preview", HTMLVideoElement);
    this.empty = find("preview-empty", HTMLElement);
    this.connect = find("connect", HTMLButtonElement);
    this.waitHint = find("wait-hint", HTMLElement);
    this.buttons = [find("join", HTMLButtonElement), find("call", HTMLButtonElement)];
    this.name.value = start.id;
    this.room.value = start.room;
    this.peer.value = start.peer;
    this.remoteOfferer.checked = start.remoteOfferer;
    this.#listen(events);
    this.setRoomOnly(start.room);
    this.stream = start.stream;
    if (start.stream) this.#streamOnly(start.stream);
    this.#setForeign(start.foreignHost);
  }

  /** @param {LobbyEvents} events */
  #listen(events) {
    const rename = () => {
      const id = toId(this.name.value);
      if (id) this.name.value = id;
      this.#mark(this.name, id ? "" : say("lobby.name-error"));
      if (id) events.renamed(id);
      return id !== "";
    };
    this.name.addEventListener("change", rename);
    onSubmit("name-form", rename);
    onSubmit("room-form", () => {
      const room = toId(this.room.value);
      const fine = isRoomId(room);
      this.#mark(this.room, fine ? "" : say("lobby.room-error"));
      if (fine && rename()) events.join(room);
    });
    onSubmit("call-form", () => {
      const peer = toId(this.peer.value);
      this.#mark(this.peer, peer ? "" : say("lobby.peer-error"));
      if (peer && rename()) events.call(peer, this.remoteOfferer.checked);
    });
    this.connect.addEventListener("click", () => rename() && events.connect());
    find("copy-call-link", HTMLButtonElement).addEventListener("click", events.copyCallLink);
    find("open-test", HTMLButtonElement).addEventListener("click", openTest);
    for (const input of [this.name, this.room, this.peer]) input.addEventListener("input", () => this.#mark(input, ""));
  }

  /** @param {HTMLInputElement} input @param {string} error */
  #mark(input, error) {
    input.setCustomValidity(error);
    if (error) input.reportValidity();
    if (input === this.name) this.setNameError("");
  }

  /** With a link to a room the lobby offers only to join it. @param {string} room */
  setRoomOnly(room) {
    const only = room !== "";
    for (const id of ["call-form", "or"]) find(id, HTMLElement).hidden = only;
    setText(find("lobby-heading", HTMLElement), only ? say("lobby.heading-room", { room }) : say("lobby.heading"));
  }

  /** With a link to a stream it offers only that. @param {"play" | "publish"} stream */
  #streamOnly(stream) {
    for (const id of ["name-form", "room-form", "or", "remote-offerer-field"]) find(id, HTMLElement).hidden = true;
    setText(find("lobby-heading", HTMLElement), say(`lobby.heading-${stream}`));
    setText(find("peer-label", HTMLElement), say("lobby.stream"));
    setText(find("call", HTMLElement), say(`lobby.${stream}`));
  }

  /** Shows the foreign server before anything is sent to it. @param {string} host */
  #setForeign(host) {
    setText(find("foreign-host", HTMLElement), host);
    find("foreign", HTMLElement).hidden = host === "";
  }

  /** Without a connection nobody can call us. @param {boolean} connected or connecting */
  setConnected(connected) {
    this.connect.hidden = connected;
    this.waitHint.hidden = !connected || this.stream !== "";
  }

  /** @param {string} error a text, empty if there is no error */
  setNameError(error) {
    setText(this.nameHint, error || say("lobby.name-hint"));
    this.nameHint.classList.toggle("error", error !== "");
    this.name.setAttribute("aria-invalid", String(error !== ""));
  }

  /** @param {boolean} busy whether a call is being set up already */
  setBusy(busy) {
    for (const button of this.buttons) button.disabled = busy;
  }

  /** @param {import("../media.js").Media} media @param {boolean} asking whether the browser still asks the user */
  update(media, asking) {
    const { track, device, on, error } = media.slots.video;
    const shown = track ? media.stream : null; // an empty stream would keep the page loading
    if (this.preview.srcObject !== shown) this.preview.srcObject = shown;
    this.preview.hidden = track === null;
    const waiting = asking ? say("device.waiting") : !on || device === "none" ? say("device.camera-is-off") : deviceText("video", error);
    setText(this.empty, track ? "" : waiting);
  }
}

/** Opens the connection test in place of the page, with the same server and token. */
function openTest() {
  const address = new URL(location.href);
  for (const name of ["call", "room", "join", "play", "publish"]) address.searchParams.delete(name);
  address.searchParams.set("test", "1");
  history.pushState(history.state, "", address.href);
  location.reload();
}

/** @param {string} id @param {() => void} submitted */
function onSubmit(id, submitted) {
  find(id, HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    submitted();
  });
}
