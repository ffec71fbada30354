// @ts-check
// The view of the connection test: a list of steps, the result, and the report.

import { say } from "../language.js";
import { element, fillTexts, find, setText } from "./dom.js";

/** @typedef {{id: string, mark: import("../check/verdicts.js").Mark, title: string, text: string}} Line */

export class CheckView {
  /** @param {{start: () => void, copy: () => string}} events `copy` returns the report @param {string} foreignHost shown before the start */
  constructor(events, foreignHost) {
    document.head.append(element("link", { rel: "stylesheet", href: new URL("../check.css", import.meta.url).href }));
    fillTexts(document);
    for (const id of ["lobby", "stage", "controls"]) find(id, HTMLElement).hidden = true;
    document.body.dataset.view = "check";
    document.title = `${say("check.title")} – callbin`;
    this.start = element("button", { id: "check-start", class: "primary", type: "button" }, say("check.start"));
    this.copy = element("button", { id: "check-copy", class: "secondary", type: "button", hidden: true }, say("check.copy"));
    this.list = element("ol", { id: "check-steps", class: "check-steps" });
    this.result = element("p", { id: "check-result", class: "check-result", role: "status" });
    this.report = element("textarea", { id: "check-report", class: "check-report", readonly: true, rows: "12", spellcheck: "false", "aria-label": say("check.report"), hidden: true });
    const foreign = element("p", { class: "foreign", hidden: foreignHost === "" }, `${say("lobby.foreign")} `, element("b", {}, foreignHost));
    this.start.addEventListener("click", events.start);
    this.copy.addEventListener("click", () => void this.#copy(events.copy()));
    const heading = element("h1", { tabindex: "-1" }, say("check.title"));
    const intro = element("p", { class: "hint" }, say("check.intro"));
    const buttons = element("div", { class: "check-buttons" }, this.start, this.copy);
    find("lobby", HTMLElement).after(element("section", { class: "check" }, heading, intro, foreign, buttons, this.result, this.list, this.report));
  }

  /** @param {boolean} running */
  setRunning(running) {
    this.start.disabled = running;
    this.copy.hidden = running;
    this.report.hidden = true;
    setText(this.start, say(running ? "check.running" : "check.again"));
  }

  /** @param {Line[]} lines @param {Line | null} result */
  show(lines, result) {
    if (result) this.result.dataset.mark = result.mark;
    else delete this.result.dataset.mark;
    setText(this.result, result?.text ?? "");
    const old = [...this.list.children].slice(lines.length);
    for (const node of old) node.remove();
    lines.forEach((line, i) => this.#row(line, this.list.children[i]));
  }

  /** @param {Line} line @param {Element | undefined} before */
  #row({ id, mark, title, text }, before) {
    const row = before ?? this.list.appendChild(element("li", {}, element("span", { class: "mark" }), element("b"), element("p")));
    if (!(row instanceof HTMLElement)) return;
    Object.assign(row.dataset, { step: id, mark });
    const [sign, name, words] = /** @type {HTMLElement[]} */ ([...row.children]);
    setText(sign, say(`check.mark.${mark}`));
    setText(name, title);
    setText(words, text);
  }

  /** @param {string} text */
  async #copy(text) {
    this.report.value = text;
    this.report.hidden = false;
    try {
      await navigator.clipboard.writeText(text);
      setText(this.copy, say("check.copied"));
    } catch {
      this.report.select(); // the user copies it by hand
    }
  }
}
