// @ts-check
// The chat: at the side, or at the bottom on a phone.

import { say } from "../language.js";
import { element, icon } from "./dom.js";

/** Most messages kept; older ones are removed. */
const MAX_MESSAGES = 300;

export class Chat {
  /** @param {HTMLElement} node @param {{send: (text: string) => void, closed: () => void}} events */
  constructor(node, events) {
    this.node = node;
    this.list = element("ol");
    this.log = element("div", { class: "messages", id: "messages", role: "log", "aria-live": "polite", "aria-label": say("chat.messages"), tabindex: "0" }, this.list);
    this.input = element("input", { id: "chat-text", "aria-label": say("chat.message"), placeholder: say("chat.message"), autocomplete: "off", maxlength: "2000" });
    const close = element("button", { type: "button", class: "quiet", "aria-label": say("chat.close") }, icon("close"));
    close.addEventListener("click", events.closed);
    const send = element("button", { type: "submit", class: "primary", "aria-label": say("chat.send"), id: "chat-send" }, icon("send"));
    const form = element("form", {}, this.input, send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.input.value.trim();
      if (!text) return;
      this.input.value = "";
      events.send(text);
    });
    node.append(element("header", {}, element("h2", {}, say("chat.name")), close), this.log, form);
    node.addEventListener("keydown", (event) => event.key === "Escape" && events.closed());
    this.clear();
  }

  /** @param {{from: string, text: string, own?: boolean}} message */
  add({ from, text, own = false }) {
    this.list.querySelector(".empty")?.remove();
    while (this.list.childElementCount >= MAX_MESSAGES) this.list.firstElementChild?.remove();
    this.list.append(element("li", { class: own ? "own" : "" }, element("b", {}, from), text));
    this.log.scrollTop = this.log.scrollHeight;
  }

  clear() {
    this.list.replaceChildren(element("li", { class: "empty" }, say("chat.empty")));
  }

  /** @param {boolean} open */
  show(open) {
    this.node.hidden = !open;
    if (!open) return;
    this.log.scrollTop = this.log.scrollHeight;
    this.input.focus();
  }
}
