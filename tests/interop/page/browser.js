// The peer in a browser, for the call that the page's address names: ?stack=Firefox&number=3. It has a session of
// its own with the runner, for commands and reports. When that ends it goes on to the next call.

import { control, open, picture, sink, stats, tone } from "./media.js";
import { Peer } from "./peer.js";

const query = new URLSearchParams(location.search);
const number = Number(query.get("number"));
const uid = `${query.get("stack")}-${number}`;

/** Firefox has no AudioContext that runs without a sound card, but a microphone that hears a tone of 1000 Hz. */
async function microphone() {
  const plain = { echoCancellation: false, autoGainControl: false, noiseSuppression: false };
  return (await navigator.mediaDevices.getUserMedia({ audio: plain })).getAudioTracks()[0];
}

const SOURCES = { video: picture, audio: query.get("stack") === "Firefox" ? microphone : tone };
const tracks = {};

const stack = {
  connect: () => new RTCPeerConnection({ iceServers: [] }),
  source: async (kind) => (tracks[kind] ??= await SOURCES[kind]()),
  sink,
  stats,
};

control(uid, begin).onclose = () => {
  query.set("number", number + 1);
  location.search = query;
};

function begin(report, control) {
  report({ is: "page" });
  const socket = open(uid);
  const peer = new Peer(stack, (frame) => socket.send(frame), report);
  socket.onmessage = ({ data }) => peer.hear(data);
  socket.onclose = () => report({ is: "closed" });
  control.onmessage = ({ data }) => peer.obey(JSON.parse(data));
}
