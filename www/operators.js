// @ts-check
// Wires the controls of peers: what peers declare, what the user does, and whether pictures are live.

import { PadReader, connected } from "./gamepad.js";
import { say } from "./language.js";
import { Operator, STEP_MS, parseSaid } from "./operator.js";

/**
 * @typedef {import("./peer.js").Peer} Peer
 * @typedef {{peer: Peer, operator: Operator, pad: PadReader}} Operated
 */

export class Operators {
  /** @type {Map<string, Operated>} */ #all = new Map();
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;

  /** @param {import("./ui/panel.js").Panel} panel @param {(uid: string) => string} nameOf */
  constructor(panel, nameOf) {
    this.panel = panel;
    this.nameOf = nameOf;
  }

  /** A peer says something on its channel of controls; null: the channel is closed. @param {Peer} peer @param {string | null} text */
  hear(peer, text) {
    if (text === null) return this.remove(peer.uid);
    const said = parseSaid(text);
    if (!said) return;
    const { operator } = this.#all.get(peer.uid) ?? this.#add(peer);
    operator.hear(said);
    if (said.says === "controls") this.panel.show(peer.uid, this.nameOf(peer.uid), said.declaration.controls, (id, value, held) => operator.input(id, value, held));
    if (said.says === "value") this.panel.setValue(peer.uid, said.id, said.value);
    this.#look(peer.uid);
  }

  /** @param {string} uid */
  remove(uid) {
    this.#all.get(uid)?.operator.close();
    this.#all.delete(uid);
    this.panel.remove(uid);
    if (this.#all.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Whether the controls of a peer act, for scripts: undefined if it has none. @param {string} uid */
  hold(uid) {
    return this.#all.get(uid)?.operator.hold;
  }

  /** @param {Peer} peer */
  #add(peer) {
    const operated = { peer, operator: new Operator(), pad: new PadReader() };
    this.#all.set(peer.uid, operated);
    this.#timer ??= setInterval(() => this.#tick(), STEP_MS);
    return operated;
  }

  #tick() {
    const pad = connected();
    const now = performance.now();
    for (const [uid, { peer, operator, pad: reader }] of this.#all) {
      peer.lookAtPictures();
      this.#look(uid);
      for (const { id, value, held } of pad ? reader.read(pad, operator.declaration.controls) : []) operator.input(id, value, held);
      for (const message of operator.due(now)) peer.sendControl(message);
    }
  }

  /** A picture that is not live holds the controls back. @param {string} uid */
  #look(uid) {
    const operated = this.#all.get(uid);
    if (!operated) return;
    const { peer, operator } = operated;
    const states = peer.views.shown.map(({ picture }) => picture.state);
    operator.picture(peer.state === "connected" && states.includes("live") && !states.includes("stale"));
    const { hold, holder } = operator;
    this.panel.setHold(uid, hold === "live" ? "" : say(`panel.${hold}`, { name: holder ?? "" }));
  }
}
