// @ts-check
// The elements <callbin-view> and <callbin-call> for other pages: load this module from the server, and use them
// (docs/embedding.md).

import { CallbinCall } from "./embed/call.js";
import { CallbinView } from "./embed/view.js";

for (const [name, element] of /** @type {const} */ ([["callbin-view", CallbinView], ["callbin-call", CallbinCall]])) {
  if (!customElements.get(name)) customElements.define(name, element);
}

export { CallbinCall, CallbinView };
