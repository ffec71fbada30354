// The unmodified library gstwebrtc-api: ?produce=UID sends a green picture and a tone, ?consume=UID receives from a peer.

import { picture, tone } from "./media.js";

const query = new URLSearchParams(location.search);
const seen = { state: "connecting", errors: [], producers: [] };
window.seen = seen;

function note(session) {
  session.addEventListener("error", ({ message, error }) => seen.errors.push(`${message}: ${error}`));
  session.addEventListener("stateChanged", () => (seen.state = ["idle", "connecting", "streaming", "closed"][session.state]));
}

function produce() {
  const session = api.createProducerSession(new MediaStream([picture(), tone()]));
  note(session);
  session.start();
}

function consume(uid) {
  const session = api.createConsumerSession(uid);
  note(session);
  const video = Object.assign(document.createElement("video"), { autoplay: true });
  document.body.append(video);
  session.addEventListener("streamsChanged", () => (video.srcObject = session.streams[0]));
  session.connect();
  window.look = async () => {
    const found = { frames: 0, packets: 0, color: null, level: 0 };
    for (const it of (await session.rtcPeerConnection?.getStats())?.values() ?? []) {
      if (it.type !== "inbound-rtp") continue;
      if (it.kind === "video") found.frames = it.framesDecoded ?? 0;
      else [found.packets, found.level] = [it.packetsReceived, it.audioLevel ?? 0];
    }
    if (video.videoWidth) {
      const context = new OffscreenCanvas(8, 8).getContext("2d");
      context.drawImage(video, 0, 0, 8, 8);
      found.color = [...context.getImageData(4, 4, 1, 1).data].slice(0, 3);
    }
    return found;
  };
}

const own = query.get("produce");
const api = new GstWebRTCAPI({
  signalingServerUrl: `${location.origin.replace("http", "ws")}/webrtcsink`,
  meta: own ? { uid: own } : null,
  webrtcConfig: { iceServers: [], bundlePolicy: "max-bundle" },
});
api.registerPeerListener({ producerAdded: ({ id }) => seen.producers.push(id) });
api.registerConnectionListener({
  connected: () => (own ? produce() : consume(query.get("consume"))),
  disconnected: () => (seen.state = "disconnected"),
});
