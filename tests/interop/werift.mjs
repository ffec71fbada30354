// A werift peer: see README.md.   node werift.mjs URL UID

import { PAYLOAD_TYPES, Sink, source } from "./gst.mjs";
import { load, report, run } from "./node.mjs";
import { Peer } from "./page/peer.js";

const { MediaStreamTrack, RTCPeerConnection, useOPUS, useVP8 } = load("werift");

const tracks = {};
const sinks = {};

const pc = new RTCPeerConnection({
  iceServers: [],
  codecs: {
    audio: [useOPUS({ payloadType: PAYLOAD_TYPES.audio })],
    video: [useVP8({ payloadType: PAYLOAD_TYPES.video })],
  },
});

const sends = (kind) => pc.getTransceivers().some((it) => it.kind === kind && it.currentDirection?.startsWith("send"));

const stack = {
  connect: () => pc,
  source(kind) {
    if (tracks[kind]) return tracks[kind];
    const track = new MediaStreamTrack({ kind });
    // It sends what it gets, whatever was agreed.
    source(kind, (packet) => sends(kind) && track.writeRtp(packet));
    return (tracks[kind] = track);
  },
  sink(kind, track) {
    sinks[kind] ??= new Sink(kind);
    track.onReceiveRtp.subscribe((packet) => sinks[kind].push(packet.serialize()));
  },
  stats: () => ({ video: sinks.video?.stats, audio: sinks.audio?.stats }),
};

run((send) => new Peer(stack, send, report));
