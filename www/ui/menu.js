// @ts-check
// A menu that opens at a button. One at a time; a click beside it or Escape closes it.

import { element, icon } from "./dom.js";

/** @typedef {{label: string, icon: string, key?: string, on?: boolean, run: () => void}} Item `key`: its shortcut; `on`: of a switch */

const GAP = 6;

export class Menu {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.node = element("div", { class: "menu", id: "menu", popover: "auto", role: "group" });
    host.append(this.node);
  }

  /** @param {HTMLElement} anchor @param {string} label @param {Item[]} items */
  open(anchor, label, items) {
    this.close();
    this.node.setAttribute("aria-label", label);
    this.node.replaceChildren(...items.map((item) => this.#button(item)));
    this.node.showPopover();
    this.#place(anchor.getBoundingClientRect());
    /** @type {HTMLElement | null} */ (this.node.firstElementChild)?.focus();
  }

  close() {
    if (this.node.matches(":popover-open")) this.node.hidePopover();
  }

  /** @param {Item} item */
  #button({ label, icon: drawing, key = "", on, run }) {
    const pressed = on === undefined ? undefined : String(on);
    const button = element("button", { type: "button", "aria-pressed": pressed }, icon(drawing), element("span", {}, label));
    if (key) button.append(element("kbd", { "aria-hidden": "true" }, key));
    button.addEventListener("click", () => {
      this.close();
      run();
    });
    return button;
  }

  /** Above its button if there is room, else below, and inside the window. @param {DOMRect} at */
  #place(at) {
    const { offsetWidth: width, offsetHeight: height } = this.node;
    const left = Math.max(GAP, Math.min(innerWidth - width - GAP, at.right - width));
    const above = at.top - height - GAP;
    const top = above >= GAP ? above : Math.max(GAP, Math.min(innerHeight - height - GAP, at.bottom + GAP));
    this.node.style.setProperty("left", `${left}px`);
    this.node.style.setProperty("top", `${top}px`);
  }
}
