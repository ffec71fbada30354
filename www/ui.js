// @ts-check
// The visible page: lobby or stage, status, notices. Only this file, ui/ and embed/ create visible elements.

import { say } from "./language.js";
import { Chat } from "./ui/chat.js";
import { Controls } from "./ui/controls.js";
import { DeviceChoice } from "./ui/devices.js";
import { fillTexts, find, icon, setText } from "./ui/dom.js";
import { Floor } from "./ui/floor.js";
import { Lobby } from "./ui/lobby.js";
import { QualityChoice } from "./ui/quality.js";
import { Ring } from "./ui/ring.js";
import { SoundCheck } from "./ui/soundcheck.js";
import { MAX_TEXT, ringText, shown } from "./texts.js";

/**
 * @typedef {import("./media.js").Kind} Kind
 * @typedef {import("./ui/lobby.js").LobbyEvents & {
 *   press: (what: import("./ui/controls.js").Control) => void,
 *   choose: (kind: Kind, device: string) => void,
 *   retry: (uid: string) => void, chat: (text: string) => void,
 *   improve: (quality: import("./quality.js").Quality) => void,
 *   accept: (camera: boolean | null) => void, decline: () => void, viewed: () => void, talk: (on: boolean) => boolean,
 *   useKeys: (used: boolean) => void}} UiEvents the last three as in ui/viewing.js
 */

/** How long good news is shown; an error stays until it is dismissed or over. */
const GOOD_NEWS_MS = 6000;

export class Ui {
  #unread = 0;
  /** @type {import("./texts.js").Topic} What the notice is about. */ #topic = "page";
  /** @type {{title: string, room: boolean} | null} */ #call = null;
  /** @type {string | null} The window's title while a call rings. */ #ringing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {import("./ui/lobby.js").Start} start @param {UiEvents} events
   * @param {{quality: import("./quality.js").Quality, shares: boolean}} sending `shares`: the browser can share a screen
   */
  constructor(start, events, { quality, shares }) {
    fillTexts(document);
    document.body.dataset.view = "lobby";
    this.status = find("status", HTMLElement);
    this.ownId = find("own-id", HTMLElement);
    this.title = find("title", HTMLElement);
    this.notice = find("notice", HTMLElement);
    this.settings = find("settings", HTMLDialogElement);
    this.lobby = new Lobby(start, events);
    this.ring = new Ring(events);
    this.floor = new Floor({ grid: find("grid", HTMLElement), alone: find("alone", HTMLElement), hear: find("hear", HTMLButtonElement) }, document, { ...events, notice: (text, good) => this.showNotice(text, good) });
    this.controls = new Controls(find("controls", HTMLElement), find("preview-controls", HTMLElement), events.press);
    this.chat = new Chat(find("chat", HTMLElement), { send: events.chat, closed: () => this.showChat(false) });
    this.panel = find("panel", HTMLElement);
    this.choices = [
      new DeviceChoice(find("lobby-devices", HTMLElement), "lobby", events.choose),
      new DeviceChoice(find("settings-devices", HTMLElement), "settings", events.choose),
    ];
    new QualityChoice(find("settings-quality", HTMLElement), quality, shares, events.improve);
    this.controls.share.hidden = !shares;
    this.soundChecks = ["lobby-devices", "settings-devices"].map((id) => new SoundCheck(find(id, HTMLElement)));
    const close = find("notice-close", HTMLButtonElement);
    close.append(icon("close"));
    close.addEventListener("click", () => this.clearNotice());
  }

  /** @param {string} text @param {string} state for scripts @param {string} lamp its colour */
  setStatus(text, state, lamp) {
    setText(this.status, text);
    this.status.dataset.state = state;
    find("lamp", HTMLElement).dataset.lamp = lamp;
    this.lobby.setBusy(state === "calling" || state === "joining");
  }

  /** @param {string} id */
  setOwnId(id) {
    setText(this.ownId, id);
    this.ownId.title = say("call.own-id", { id });
  }

  /** @param {{title: string, room: boolean} | null} call null for the lobby */
  showStage(call) {
    const stage = call !== null;
    this.#call = call;
    if (stage === (document.body.dataset.view === "stage") && this.title.textContent === (call?.title ?? "")) return;
    document.body.dataset.view = stage ? "stage" : "lobby";
    find("lobby", HTMLElement).hidden = stage;
    find("stage", HTMLElement).hidden = !stage;
    find("controls", HTMLElement).hidden = !stage;
    setText(this.title, call?.title ?? "");
    this.title.hidden = !stage;
    this.#setWindowTitle();
    this.controls.setRoom(call?.room ?? false);
    if (!stage) {
      this.showChat(false);
      this.chat.clear();
      this.#setUnread(0);
      this.settings.close();
    }
    this.#moveFocus(stage);
  }

  /** Moves a focus that is hidden now to the shown view, but not to the hang-up button. @param {boolean} stage */
  #moveFocus(stage) {
    const { activeElement } = document;
    if (activeElement && activeElement !== document.body && (activeElement.checkVisibility?.() ?? false)) return;
    const { mics, chat } = this.controls;
    const target = stage ? (mics[0].hidden ? chat : mics[0]) : find("lobby-heading", HTMLElement);
    target.focus({ preventScroll: true });
  }

  /** @param {boolean} rings @param {string | null} caller if it is known */
  setRinging(rings, caller) {
    this.ring.show(rings, caller);
    this.#ringing = rings ? ringText(caller) : null;
    this.#setWindowTitle();
  }

  #setWindowTitle() {
    const title = this.#ringing ? `☎ ${this.#ringing}` : this.#call?.title;
    document.title = title ? `${title} – callbin` : "callbin";
  }

  /** @param {string} text @param {boolean} good @param {import("./texts.js").Topic} topic what it is about */
  showNotice(text, good, topic = "page") {
    clearTimeout(this.#timer);
    this.#topic = topic;
    setText(find("notice-text", HTMLElement), text);
    this.notice.classList.toggle("good", good);
    this.notice.hidden = false;
    if (good) this.#timer = setTimeout(() => this.clearNotice(), GOOD_NEWS_MS);
  }

  /** Removes the notice; with `topic` only if it is about that. @param {import("./texts.js").Topic} [topic] */
  clearNotice(topic = this.#topic) {
    if (topic === this.#topic) this.notice.hidden = true;
  }

  /** @param {number} level of our microphone */
  setOwnLevel(level) {
    for (const check of this.soundChecks) check.setLevel(level);
  }

  /** @param {import("./outgoing.js").Outgoing} outgoing @param {boolean} asking */
  updateMedia({ media, screen }, asking) {
    this.lobby.update(media, asking);
    for (const choice of this.choices) choice.update(media);
    this.controls.update(media);
    this.ring.update(media);
    this.controls.setSharing(screen !== null);
  }

  /** @param {boolean} [open] toggles if not given */
  showChat(open = this.chat.node.hasAttribute("hidden")) {
    const wasOpen = !this.chat.node.hidden;
    this.chat.show(open);
    this.controls.setOpen("chat", open);
    if (open) this.#setUnread(0);
    else if (wasOpen) this.controls.chat.focus();
  }

  /** Tells screen readers what others see. @param {string} text */
  announce(text) {
    setText(find("news", HTMLElement), text);
  }

  /** @param {{from: string, text: string, own?: boolean}} message */
  addChat(message) {
    this.chat.add(message);
    if (!this.chat.node.hidden) return; // the list itself is announced
    this.#setUnread(this.#unread + 1);
    this.announce(say("chat.from", { name: message.from, text: shown(message.text, MAX_TEXT) }));
  }

  showSettings() {
    this.settings.showModal();
  }

  /** The page only watches. */
  watch() {
    this.controls.watch();
    this.floor.grid.self.node.hidden = true;
    find("lobby-devices", HTMLElement).hidden = true;
  }

  /** The page plays or publishes a stream: it has no name that others could call, and nobody who reads texts. */
  stream() {
    this.controls.chat.hidden = true;
    this.ownId.hidden = true;
  }

  /** @param {boolean} showsStats */
  showMore(showsStats) {
    const { controls, floor } = this;
    floor.viewing.openMore(controls.more, showsStats, controls.items);
  }

  /** @param {number} count */
  #setUnread(count) {
    this.#unread = count;
    this.controls.setUnread(count);
  }
}
