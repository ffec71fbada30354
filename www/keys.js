// @ts-check
// Keys and their commands. No document.

/**
 * @typedef {{do: "pin" | "spotlight", tile: number} | {do: "move", x: number, y: number}
 *   | {do: "full-screen" | "picture-in-picture" | "mic" | "camera" | "back" | "help" | "zoom-in" | "zoom-out" | "rotate" | "snapshot" | "record" | "figures"}} Command
 * @typedef {"text" | "control" | "page"} Place where the focus is: in a text or a choice, on a button or link, or elsewhere
 * @typedef {{key: string, code: string, shiftKey: boolean, ctrlKey: boolean, altKey: boolean, metaKey: boolean, repeat: boolean}} Press
 */

const COMMANDS = new Map(/** @type {[string, Command["do"]][]} */ ([
  ["f", "full-screen"],
  ["p", "picture-in-picture"],
  ["m", "mic"],
  ["v", "camera"],
  ["r", "rotate"],
  ["s", "snapshot"],
  ["c", "record"],
  ["h", "figures"],
  ["+", "zoom-in"],
  ["-", "zoom-out"],
  ["?", "help"],
  ["escape", "back"],
]));

/** Where the view of a zoomed picture moves. @type {Map<string, [x: number, y: number]>} */
const ARROWS = new Map([
  ["arrowleft", [-1, 0]],
  ["arrowright", [1, 0]],
  ["arrowup", [0, -1]],
  ["arrowdown", [0, 1]],
]);

/** Keys that may be held down. @type {Command["do"][]} */
const REPEATED = ["zoom-in", "zoom-out"];

/**
 * The command of a key, or null. A key with Control, Alt or Meta belongs to the browser or the system.
 * @param {Press} press @param {Place} place @returns {Command | null}
 */
export function command(press, place) {
  if (place === "text" || press.ctrlKey || press.altKey || press.metaKey) return null;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(press.code)?.[1];
  if (digit) return press.repeat ? null : { do: press.shiftKey ? "spotlight" : "pin", tile: Number(digit) };
  const key = press.key.toLowerCase();
  const [x, y] = ARROWS.get(key) ?? [0, 0];
  if (x || y) return { do: "move", x, y };
  const name = COMMANDS.get(key);
  if (!name || (press.repeat && !REPEATED.includes(name))) return null;
  return /** @type {Command} */ ({ do: name });
}
