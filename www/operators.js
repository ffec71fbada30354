// @ts-check
// Wires the controls of peers: what peers declare, what the user does, and whether pictures are live.

import { PadReader, connected, rests } from "./gamepad.js";
import { say } from "./language.js";
import { Operator, STEP_MS, parseSaid } from "./operator.js";

/**
 * @typedef {import("./peer.js").Peer} Peer
 * @typedef {import("./gamepad.js").Pad} Pad
 * @typedef {{peer: Peer, operator: Operator, reader: PadReader, hold: import("./operator.js").Hold}} Operated `hold`: as shown
 */

/** @type {Pad} */
const AT_REST = { axes: [], buttons: [] };

export class Operators {
  /** @type {Map<string, Operated>} */ #all = new Map();
  /** @type {string | null} The peer whose section of the panel was used last. */ #used = null;
  /** @type {string | null} The peer that the gamepad operates. */ #padOf = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;

  /**
   * @param {import("./ui/panel.js").Panel} panel
   * @param {{nameOf: (uid: string) => string, enlarged: () => string | null}} page `enlarged`: the uid of the peer with the enlarged tile
   */
  constructor(panel, page) {
    this.panel = panel;
    this.page = page;
  }

  /** A peer says something on its channel of controls; null: the channel is closed. @param {Peer} peer @param {string | null} text */
  hear(peer, text) {
    if (text === null) return this.remove(peer.uid);
    const said = parseSaid(text);
    if (said) (this.#all.get(peer.uid) ?? this.#add(peer)).operator.hear(said);
  }

  /** @param {string} uid */
  remove(uid) {
    this.#all.delete(uid);
    if (uid === this.#padOf) this.#padOf = null;
    this.panel.remove(uid);
    if (this.#all.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Whether the controls of a peer act, for scripts: undefined if it has none. @param {string} uid */
  hold(uid) {
    return this.#all.get(uid)?.hold;
  }

  /** Shows what peers have said, and sends what the user has done. @param {number} now in ms @param {Pad | null} pad */
  tick(now, pad) {
    for (const operated of this.#all.values()) this.#show(operated);
    this.#choosePeer(pad);
    for (const [uid, { peer, operator, reader }] of this.#all) {
      // What the gamepad held ends when it is unplugged, or for another peer.
      const seen = uid === this.#padOf && pad ? pad : AT_REST;
      for (const { id, value, held } of reader.read(seen, operator.declaration.controls)) operator.input(id, value, held);
      // Else the latest values wait.
      if (peer.takesControls) for (const message of operator.due(now)) peer.sendControl(message);
    }
  }

  /** @param {Peer} peer */
  #add(peer) {
    const operator = new Operator();
    const operated = { peer, operator, reader: new PadReader(), hold: operator.hold };
    this.#all.set(peer.uid, operated);
    this.#timer ??= setInterval(() => this.tick(performance.now(), connected()), STEP_MS);
    return operated;
  }

  /** Shows the latest that a peer has said, however often it does. A picture that is not live holds the controls back. @param {Operated} operated */
  #show(operated) {
    const { peer, operator } = operated;
    const { uid } = peer;
    const { declaration, values } = operator.takeNews();
    const input = (/** @type {string} */ id, /** @type {import("./operator.js").Value} */ value, /** @type {boolean} */ held) => {
      this.#used = uid;
      operator.input(id, value, held);
    };
    if (declaration) this.panel.show(uid, this.page.nameOf(uid), declaration.controls, input);
    for (const [id, value] of values) this.panel.setValue(uid, id, value);
    peer.lookAtPictures();
    const states = peer.views.shown.map(({ picture }) => picture.state);
    operator.picture(peer.state === "connected" && states.includes("live") && !states.includes("stale"));
    const { hold, holder } = operator;
    operated.hold = hold;
    this.panel.setHold(uid, hold === "live" ? "" : say(`panel.${hold}`, { name: holder ?? "" }));
  }

  /** The gamepad operates one peer, and another one only after it has been at rest: no peer moves because of the change. @param {Pad | null} pad */
  #choosePeer(pad) {
    const wanted = pad && this.#wanted();
    if (wanted === this.#padOf) return;
    const controls = this.#all.get(wanted ?? "")?.operator.declaration.controls ?? [];
    this.#padOf = pad && rests(pad, controls) ? wanted : null;
  }

  /** Of several peers that of the enlarged tile, else the one whose section was used last. */
  #wanted() {
    const uids = [...this.#all].filter(([, { operator }]) => operator.declaration.controls.some(({ gamepad }) => gamepad.length > 0)).map(([uid]) => uid);
    const uid = uids.length === 1 ? uids[0] : [this.page.enlarged(), this.#used].find((it) => it !== null && uids.includes(it));
    return uid !== undefined && uid !== null && this.hold(uid) === "live" ? uid : null;
  }
}
