// WHIP and WHEP libraries in a browser, with the peer that the page's address names: ?client=whip-web-client&peer=x. The
// runner reads `report`.

import { WHIPClient as WebClient } from "@eyevinn/whip-web-client";
import { WHEPClient } from "whip-whep/whep.js";
import { WHIPClient } from "whip-whep/whip.js";

import { picture, sink, stats, tone } from "./media.js";

const query = new URLSearchParams(location.search);
const peer = query.get("peer");
const whip = `${location.origin}/whip/${peer}`;
const whep = `${location.origin}/whep/${peer}`;

const media = () => new MediaStream([picture(), tone()]);

const CLIENTS = {
  async "whip-web-client"() {
    let pc;
    const peerConnectionFactory = (configuration) => (pc = new RTCPeerConnection(configuration));
    const client = new WebClient({ endpoint: whip, opts: { timeout: 2000 }, peerConnectionFactory });
    await client.ingest(media());
    return pc;
  },
  async "whip-whep-publish"() {
    const pc = new RTCPeerConnection();
    const stream = media();
    for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    await new WHIPClient().publish(pc, whip);
    return pc;
  },
  async "whip-whep-view"() {
    const pc = new RTCPeerConnection();
    for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
    pc.ontrack = ({ track }) => sink(track.kind, track);
    await new WHEPClient().view(pc, whep);
    return pc;
  },
};

window.report = { stats: null, error: null };
try {
  const pc = await CLIENTS[query.get("client")]();
  setInterval(async () => (window.report.stats = await stats(pc)), 250);
} catch (error) {
  window.report.error = String(error);
}
