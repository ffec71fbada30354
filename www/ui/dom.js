// @ts-check
// Creates and finds elements. Text is inserted as text, never as markup.

import { DRAWINGS, FILLED } from "../icons.js";
import { say } from "../language.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | undefined>} attributes `true` sets an attribute without a value
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (typeof value === "string") node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An icon. @param {string} name of a drawing */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of [["class", "icon"], ["viewBox", "0 0 24 24"], ["aria-hidden", "true"]]) svg.setAttribute(attribute, value);
  return setIcon(svg, name);
}

/** @param {Element} svg @param {string} name */
export function setIcon(svg, name) {
  if (svg.getAttribute("data-icon") === name) return svg;
  svg.setAttribute("data-icon", name);
  const drawing = /** @type {import("../icons.js").Drawing} */ (name);
  svg.replaceChildren(path(DRAWINGS[drawing]));
  if (name in FILLED) svg.lastElementChild?.after(path(FILLED[name], "currentcolor"));
  return svg;
}

/** @param {string} drawing @param {string} fill */
function path(drawing, fill = "") {
  const node = document.createElementNS(SVG, "path");
  node.setAttribute("d", drawing);
  if (fill) node.setAttribute("fill", fill);
  return node;
}

/**
 * The element with this id; throws if index.html lacks it.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function find(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} with the id ${id}`);
  return found;
}

/**
 * Inserts the texts of index.html: `data-say` names the key of an element's text, `data-say-…` that of an attribute.
 * @param {ParentNode} root
 */
export function fillTexts(root) {
  const key = (/** @type {Element} */ node, /** @type {string} */ name) => /** @type {import("../language.js").Key} */ (node.getAttribute(name));
  for (const node of root.querySelectorAll("[data-say]")) node.textContent = say(key(node, "data-say"));
  for (const attribute of ["aria-label", "title"]) {
    const name = `data-say-${attribute}`;
    for (const node of root.querySelectorAll(`[${name}]`)) node.setAttribute(attribute, say(key(node, name)));
  }
}

/** Sets the text only if it differs: a live region announces each change. @param {HTMLElement} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Names a button that has only a drawing. @param {HTMLElement} button @param {string} text */
export function label(button, text) {
  button.title = text;
  button.setAttribute("aria-label", text);
}

/** What a video element plays: nothing while the stream has no tracks, because an empty stream keeps the whole page loading. @param {MediaStream} stream */
export function playable(stream) {
  return stream.getTracks().length > 0 ? stream : null;
}

/**
 * A round button with a drawing.
 * @param {{id: string, icon: string, label: string, className?: string}} what @param {() => void} pressed
 */
export function control({ id, icon: drawing, label, className = "" }, pressed) {
  const button = element("button", { id, type: "button", class: `control ${className}`.trim(), "aria-label": label, title: label }, icon(drawing));
  button.addEventListener("click", pressed);
  return button;
}
