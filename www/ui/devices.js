// @ts-check
// The choice of camera and microphone: in the lobby, and in a dialog during a call.

import { say } from "../language.js";
import { deviceText } from "../texts.js";
import { element, setText } from "./dom.js";

/** @typedef {import("../media.js").Kind} Kind */

export class DeviceChoice {
  /**
   * @param {HTMLElement} host
   * @param {string} prefix of the elements' ids
   * @param {(kind: Kind, device: string) => void} chosen
   */
  constructor(host, prefix, chosen) {
    this.rows = [this.#row(`${prefix}-camera`, "video", chosen), this.#row(`${prefix}-microphone`, "audio", chosen)];
    host.append(...this.rows.map(({ row }) => row));
  }

  /** @param {string} id @param {Kind} kind @param {(kind: Kind, device: string) => void} chosen */
  #row(id, kind, chosen) {
    const select = element("select", { id, "aria-describedby": `${id}-hint` });
    select.addEventListener("change", () => chosen(kind, select.value));
    const hint = element("p", { id: `${id}-hint`, class: "hint", role: "status" });
    const row = element("div", { class: "device" }, element("label", { for: id }, say(`device.${kind}`)), select, hint);
    return { row, select, hint, kind };
  }

  /** @param {import("../media.js").Media} media */
  update(media) {
    for (const { select, hint, kind } of this.rows) {
      const { device, on, track, error } = media.slots[kind];
      const devices = media.devices.filter((entry) => entry.kind === `${kind}input` && entry.deviceId);
      const options = devices.map((entry, i) => ({ value: entry.deviceId, text: entry.label || say(`device.${kind}.numbered`, { number: i + 1 }) }));
      if (devices.length === 0) options.push({ value: "", text: say(error ? "device.retry" : "device.default") });
      options.push({ value: "none", text: say(`device.${kind}.none`) });
      // A device that is switched off stays selected.
      const unused = on ? device : device || select.value;
      fill(select, options, device === "none" ? "none" : (track?.getSettings().deviceId ?? unused));
      setText(hint, deviceText(kind, error));
      hint.hidden = !error;
    }
  }
}

/** @param {HTMLSelectElement} select @param {{value: string, text: string}[]} options @param {string} value */
function fill(select, options, value) {
  const same = select.options.length === options.length && options.every((option, i) => select.options[i].value === option.value && select.options[i].text === option.text);
  if (!same) select.replaceChildren(...options.map((option) => element("option", { value: option.value }, option.text)));
  // Without a device no option is selected, so that choosing any of them is a change.
  select.value = value;
}
