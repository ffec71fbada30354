// A libdatachannel peer: see README.md.   node node-datachannel.mjs URL UID

import { PAYLOAD_TYPES, Sink, source } from "./gst.mjs";
import { load, report, run } from "./node.mjs";

const { Audio, PeerConnection, RtcpReceivingSession, Video } = load("node-datachannel");

const KINDS = ["audio", "video"];
const DIRECTIONS = { sendrecv: "SendRecv", sendonly: "SendOnly", recvonly: "RecvOnly", inactive: "Inactive" };
const SSRCS = { audio: 1111, video: 2222 };

class Peer {
  media = { audio: "sendrecv", video: "sendrecv", data: true };
  tracks = {};
  sinks = {};
  /** What the garbage collector must not take: the connection would go deaf and dumb. */
  kept = [];
  sources = new Set();
  unsent = [];

  constructor(send) {
    this.send = send;
    // Without the last one media can't be added to a connection that began without.
    const configuration = { iceServers: [], disableAutoNegotiation: true, forceMediaTransport: true };
    this.pc = new PeerConnection("peer", configuration);
    this.pc.onLocalDescription((sdp, type) => {
      report({ is: "sdp", whose: "ours", type, sdp });
      send(JSON.stringify({ sdp: { type, sdp } }));
    });
    this.pc.onLocalCandidate((candidate, sdpMid) => {
      const mids = [...this.pc.localDescription().sdp.matchAll(/^a=mid:(\S+)/gm)].map(([, mid]) => mid);
      send(JSON.stringify({ ice: { candidate, sdpMid, sdpMLineIndex: mids.indexOf(sdpMid) } }));
    });
    this.pc.onStateChange((state) => report({ is: "state", state }));
    this.pc.onDataChannel((channel) => this.adopt(channel));
    const stats = () => Object.fromEntries(KINDS.map((kind) => [kind, this.sinks[kind]?.stats]));
    setInterval(() => report({ is: "stats", ...stats() }), 250);
  }

  obey(command) {
    if (command.do === "say") {
      this.unsent.push(command.text);
      this.say();
    }
    if (command.media) this.media = command.media;
    if (command.do === "offer") this.attempt(() => this.offer());
    if (command.do !== "call") return;
    this.offers = command.offer;
    this.send(`SESSION ${command.peer}`);
  }

  hear(frame) {
    if (frame === "HELLO") report({ is: "registered" });
    else if (frame === "OFFER_REQUEST" || (frame === "SESSION_OK" && this.offers)) this.attempt(() => this.offer());
    else if (frame === "SESSION_OK") this.send("OFFER_REQUEST");
    else if (frame.startsWith("ERROR")) report({ is: "error", error: frame });
    else this.attempt(() => this.take(JSON.parse(frame)));
  }

  attempt(step) {
    try {
      step();
    } catch (error) {
      report({ is: "error", error: String(error) });
    }
  }

  offer() {
    if (this.media.data && !this.channel) this.adopt(this.pc.createDataChannel("chat"));
    for (const kind of KINDS) {
      const direction = DIRECTIONS[this.media[kind]];
      if (!direction) {
        this.tracks[kind]?.close(); // its m-line gets port 0
        delete this.tracks[kind];
      } else {
        // A track that is added again is the one there was, with another direction.
        this.use(kind, this.pc.addTrack(this.describe(kind, this.tracks[kind]?.mid() ?? this.free(kind), direction)));
      }
    }
    this.pc.setLocalDescription("offer");
  }

  /** A mid that no m-line has had. */
  free(kind) {
    const used = this.pc.localDescription()?.sdp ?? "";
    return [kind, `${kind}2`, `${kind}3`].find((mid) => !used.includes(`a=mid:${mid}\r`));
  }

  describe(kind, mid, direction, payloadType = PAYLOAD_TYPES[kind]) {
    const media = kind === "video" ? new Video(mid, direction) : new Audio(mid, direction);
    if (kind === "video") media.addVP8Codec(payloadType);
    else media.addOpusCodec(payloadType);
    this.kept.push(media);
    if (direction.startsWith("Send")) media.addSSRC(SSRCS[kind], "peer", "peer", `peer-${kind}`);
    return media;
  }

  /** The answer to each of the peer's m-lines that is not rejected, under its numbers. */
  answer() {
    for (const section of this.theirs.split(/^m=/m).slice(1)) {
      const kind = KINDS.find((kind) => section.startsWith(kind));
      const number = Number(new RegExp(`^a=rtpmap:(\\d+) ${kind === "video" ? "VP8" : "opus"}/`, "im").exec(section)?.[1]);
      const isRejected = /^\w+ 0 /.test(section) && !section.includes("a=bundle-only");
      if (!kind || !number || isRejected) continue;
      const mid = /^a=mid:(\S+)/m.exec(section)[1];
      this.use(kind, this.pc.addTrack(this.describe(kind, mid, DIRECTIONS[this.media[kind]] ?? "Inactive", number)), number);
    }
  }

  use(kind, track, payloadType = PAYLOAD_TYPES[kind]) {
    this.tracks[kind] = track;
    this.sinks[kind] ??= new Sink(kind);
    const handler = new RtcpReceivingSession();
    track.setMediaHandler(handler);
    this.kept.push(track, handler);
    track.onMessage((packet) => isRtp(packet) && this.sinks[kind].push(packet));
    this.payloadTypes = { ...this.payloadTypes, [kind]: payloadType };
    if (this.sources.has(kind)) return;
    this.sources.add(kind);
    source(kind, (packet) => {
      packet.writeUInt8((packet[1] & 0x80) | this.payloadTypes[kind], 1);
      packet.writeUInt32BE(SSRCS[kind], 8);
      if (this.tracks[kind]?.isOpen() && /^send/i.test(this.tracks[kind].direction())) this.tracks[kind].sendMessageBinary(packet);
    });
  }

  take({ sdp, ice }) {
    if (ice?.candidate) this.pc.addRemoteCandidate(ice.candidate, ice.sdpMid ?? "");
    if (!sdp) return;
    report({ is: "sdp", whose: "theirs", ...sdp });
    this.theirs = sdp.sdp;
    if (sdp.type === "offer") this.answer();
    this.pc.setRemoteDescription(sdp.sdp, sdp.type);
    if (sdp.type === "offer") this.pc.setLocalDescription("answer");
    report({ is: "negotiated" });
  }

  adopt(channel) {
    this.channel = channel;
    channel.onMessage((text) => report({ is: "text", text: String(text) }));
    channel.onOpen(() => this.say());
    this.say();
  }

  say() {
    if (!this.channel?.isOpen()) return;
    for (const text of this.unsent.splice(0)) this.channel.sendMessage(text);
  }
}

/** RTCP comes the same way: RFC 5761 tells them apart. */
function isRtp(packet) {
  return (packet[1] & 0x7f) < 64 || (packet[1] & 0x7f) > 95;
}

run((send) => new Peer(send));
