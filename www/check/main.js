// @ts-check
// The connection test (`?test=1`): runs the probes one after the other, and shows and reports what they found.

import { UNWELCOME } from "../call.js";
import { isUsable } from "../endpoint.js";
import { IceServers } from "../ice.js";
import { number, say } from "../language.js";
import { MAX_TEXT, shown } from "../texts.js";
import { CheckView } from "../ui/check.js";
import { askWhy } from "../why.js";
import { Loop, probeDevice, probeServer, probeSignalling } from "./probes.js";
import { report } from "./report.js";
import { serverOf } from "./servers.js";
import * as judge from "./verdicts.js";

/** Most servers asked. */
const MAX_SERVERS = 12;

/** @typedef {import("./verdicts.js").Step} Step @typedef {import("./verdicts.js").Verdict} Verdict */

class Check {
  /** @type {Step[]} */ steps = [];

  /** @param {import("../parameters.js").Parameters} parameters */
  constructor(parameters) {
    this.parameters = parameters;
    this.view = new CheckView({ start: () => void this.#run(), copy: () => this.#report() }, parameters.foreignHost);
    this.#show();
  }

  async #run() {
    this.steps = [];
    this.view.setRunning(true);
    await this.#step("camera", { key: "device.video" }, async () => judge.deviceVerdict("video", await probeDevice("video")));
    await this.#step("microphone", { key: "device.audio" }, async () => judge.deviceVerdict("audio", await probeDevice("audio")));
    await this.#step("signalling", { key: "check.signalling" }, () => this.#signalling());
    const servers = await this.#servers();
    const relays = await this.#eachServer(servers);
    await this.#loop(relays);
    this.view.setRunning(false);
    this.#show();
  }

  /** @param {string} id @param {import("./verdicts.js").Words} title @param {() => Promise<Verdict>} probe */
  async #step(id, title, probe) {
    /** @type {Step} */
    const step = { id, title, verdict: { mark: "running", key: "check.running" } };
    this.steps.push(step);
    this.#show();
    try {
      step.verdict = await probe();
    } catch (error) {
      console.warn("callbin: a step of the connection test failed:", error);
      step.verdict = { mark: "bad", key: "check.failed" };
    }
    this.#show();
    return step.verdict;
  }

  /** @returns {Promise<Verdict>} */
  async #signalling() {
    const { server, token, id } = this.parameters;
    if (!isUsable(server, location.protocol)) return judge.signallingVerdict({ ms: null, why: "bad-address", error: "", id });
    const { ms, opened, reason } = await probeSignalling(this.parameters);
    const unwelcome = /** @type {import("../why.js").Why | undefined} */ (UNWELCOME.get(reason));
    const why = ms !== null ? null : opened ? (unwelcome ?? null) : await askWhy({ url: server, token, uid: id });
    return judge.signallingVerdict({ ms, why, error: shown(reason, MAX_TEXT), id: shown(id) });
  }

  /** The servers that the signalling server names, with their credentials. */
  async #servers() {
    const { server: url, token, iceServers: extra, id } = this.parameters;
    const ice = new IceServers({ url, token, extra });
    /** @type {{server: import("./verdicts.js").Server, ice: RTCIceServer}[]} */
    let found = [];
    await this.#step("ice", { key: "check.ice" }, async () => {
      await ice.once(id);
      found = (ice.configuration.iceServers ?? []).flatMap((each) =>
        [each.urls].flat().flatMap((urls) => {
          const server = serverOf(urls);
          return server ? [{ server, ice: { ...each, urls } }] : [];
        }),
      );
      found = found.slice(0, MAX_SERVERS);
      return judge.serversVerdict(found.map(({ server }) => server));
    });
    return found;
  }

  /** All at once: a silent one takes ten seconds. @param {{server: import("./verdicts.js").Server, ice: RTCIceServer}[]} servers */
  async #eachServer(servers) {
    const verdicts = await Promise.all(
      servers.map(({ server, ice }, i) => {
        const isTurn = server.scheme.startsWith("turn");
        /** @type {import("./verdicts.js").Words} */
        const title = { key: isTurn ? "check.turn" : "check.stun", values: { server: shown(server.host), transport: server.transport } };
        return this.#step(`${isTurn ? "turn" : "stun"}-${i}`, title, async () => judge.serverVerdict(server, await probeServer(ice, isTurn ? "relay" : "srflx")));
      }),
    );
    return servers.filter(({ server }, i) => server.scheme.startsWith("turn") && verdicts[i].mark === "good").map(({ ice }) => ice);
  }

  /** @param {RTCIceServer[]} relays */
  async #loop(relays) {
    if (relays.length === 0) return;
    const loop = new Loop(relays);
    try {
      const verdict = await this.#step("loop", { key: "check.loop" }, async () => judge.loopVerdict(await loop.connect()));
      if (verdict.mark !== "good") return;
      await this.#step("bandwidth", { key: "check.bandwidth" }, async () => judge.bandwidthVerdict(await loop.bandwidth(0), await loop.bandwidth(1), number));
    } finally {
      loop.close();
    }
  }

  /** The result so far; null before the first step. */
  get result() {
    return this.steps.length > 0 ? judge.summary(this.steps) : null;
  }

  #lines() {
    return this.steps.map(({ id, title, verdict }) => ({ id, mark: verdict.mark, title: say(title.key, title.values), text: say(verdict.key, verdict.values) }));
  }

  /** @returns {import("../ui/check.js").Line[]} one, or none */
  #resultLine() {
    return this.result ? [{ id: "result", mark: this.result.mark, title: "", text: say(this.result.key) }] : [];
  }

  #show() {
    this.view.show(this.#lines(), this.#resultLine()[0] ?? null);
  }

  #report() {
    const about = { page: location.href, server: this.parameters.server, browser: navigator.userAgent, time: new Date().toISOString() };
    return report([...this.#resultLine(), ...this.#lines()], about);
  }
}

/** Shows the connection test, which the user starts. @param {import("../parameters.js").Parameters} parameters */
export function start(parameters) {
  const check = new Check(parameters);
  // The page came here from its lobby without loading another document.
  addEventListener("popstate", () => location.reload());
  /** Read-only, for scripts and tests: the steps so far, and their result as in Check. */
  const inspection = { steps: () => check.steps.map(({ id, verdict: { mark, key } }) => ({ id, mark, key })), result: () => check.result };
  Object.defineProperty(window, "callbinTest", { value: Object.freeze(inspection) });
}
