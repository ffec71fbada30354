// A peer over the W3C's RTCPeerConnection, as browsers and werift have it. README.md beside this file says what
// it reads and reports.

const KINDS = ["audio", "video"];

export class Peer {
  #media = { audio: "sendrecv", video: "sendrecv", data: true };
  #offers = false;
  #channel = null;
  #unsent = [];
  #turn = Promise.resolve();
  /** @type {string[] | null} Candidates that came before their description was sent. */ #early = [];

  /**
   * @param {object} stack
   *   connect() makes the RTCPeerConnection, source(kind) the track to send or a promise of it, sink(kind, track)
   *   takes a received one, stats() tells what came of it
   * @param {(frame: string) => void} send
   * @param {(report: object) => void} report
   */
  constructor(stack, send, report) {
    Object.assign(this, { stack, send, report });
    this.pc = stack.connect();
    this.pc.onicecandidate = ({ candidate }) => candidate && this.#candidate(JSON.stringify({ ice: candidate.toJSON() }));
    this.pc.onconnectionstatechange = () => report({ is: "state", state: this.pc.connectionState });
    this.pc.ondatachannel = ({ channel }) => this.#adopt(channel);
    this.pc.ontrack = ({ track }) => stack.sink(track.kind, track);
    setInterval(() => this.#do(async () => report({ is: "stats", ...(await stack.stats(this.pc)) })), 250);
  }

  /** What the runner says. */
  obey(command) {
    if (command.do === "say") {
      this.#unsent.push(command.text);
      this.#say();
    }
    if (command.media) this.#media = command.media;
    if (command.do === "offer") this.#inTurn(() => this.#offer(command.restart));
    if (command.do !== "call") return;
    this.#offers = command.offer;
    this.send(`SESSION ${command.peer}`);
  }

  /** What server and peer say. */
  hear(frame) {
    if (frame === "HELLO") this.report({ is: "registered" });
    else if (frame === "OFFER_REQUEST" || (frame === "SESSION_OK" && this.#offers)) this.#inTurn(() => this.#offer());
    else if (frame === "SESSION_OK") this.send("OFFER_REQUEST");
    else if (frame.startsWith("ERROR")) this.report({ is: "error", error: frame });
    else this.#inTurn(() => this.#take(JSON.parse(frame)));
  }

  async #offer(restart = false) {
    if (this.#media.data && !this.#channel) this.#adopt(this.pc.createDataChannel("chat"));
    for (const kind of KINDS) await this.#arrange(kind);
    if (restart) this.pc.restartIce();
    await this.#describe(await this.pc.createOffer());
  }

  /** Has the transceiver of this kind as wanted. */
  async #arrange(kind) {
    const wanted = this.#media[kind];
    const found = this.#transceiver(kind);
    if (!wanted || wanted === "stopped") return found?.stop();
    const sends = wanted.startsWith("send");
    if (!found) {
      this.pc.addTransceiver(sends ? await this.stack.source(kind) : kind, { direction: wanted });
      return;
    }
    found.direction = wanted;
    if (sends && !found.sender.track) await found.sender.replaceTrack(await this.stack.source(kind));
  }

  #transceiver(kind) {
    return this.pc.getTransceivers().find((it) => (it.kind ?? it.receiver.track.kind) === kind && !isStopped(it));
  }

  async #take({ sdp, ice }) {
    if (ice) await this.pc.addIceCandidate(ice);
    if (!sdp) return;
    this.report({ is: "sdp", whose: "theirs", ...sdp });
    await this.pc.setRemoteDescription(sdp);
    if (sdp.type === "offer") {
      for (const kind of KINDS) if (this.#transceiver(kind)) await this.#arrange(kind);
      await this.#describe(await this.pc.createAnswer());
    }
    this.report({ is: "negotiated" });
  }

  async #describe(description) {
    this.#early ??= [];
    await this.pc.setLocalDescription(description);
    const { type, sdp } = this.pc.localDescription;
    this.report({ is: "sdp", whose: "ours", type, sdp });
    this.send(JSON.stringify({ sdp: { type, sdp } }));
    for (const candidate of this.#early) this.send(candidate);
    this.#early = null;
  }

  #candidate(frame) {
    if (this.#early) this.#early.push(frame);
    else this.send(frame);
  }

  #adopt(channel) {
    this.#channel = channel;
    channel.onmessage = ({ data }) => this.report({ is: "text", text: String(data) });
    channel.onopen = () => this.#say();
    this.#say();
  }

  #say() {
    if (this.#channel?.readyState !== "open") return;
    for (const text of this.#unsent.splice(0)) this.#channel.send(text);
  }

  /** One step of the negotiation after the other. */
  #inTurn(step) {
    this.#turn = this.#turn.then(() => this.#do(step));
  }

  async #do(step) {
    try {
      await step();
    } catch (error) {
      this.report({ is: "error", error: String(error) });
    }
  }
}

function isStopped(transceiver) {
  return transceiver.stopped || transceiver.stopping || ["stopped"].includes(transceiver.direction);
}
