// Ant Media's own client, as its package has it, for the stream that the page's address names: ?stream=s&do=join. It
// reports to the runner like the other peers.

import { WebRTCAdaptor } from "./antmedia/webrtc_adaptor.js";
import { control, picture, sink, stats, tone } from "./media.js";

const query = new URLSearchParams(location.search);
const stream = query.get("stream");
const role = query.get("do");

control(stream, (report, socket) => {
  report({ is: "page" });
  const adaptor = new WebRTCAdaptor({
    websocketURL: `${location.origin.replace("http", "ws")}/LiveApp/websocket`,
    isPlayMode: role === "play",
    initializeComponents: false,
    // Else it stops and begins again every three seconds while it waits: a call that comes just then is cut.
    reconnectIfRequiredFlag: !query.has("waits"),
    sdp_constraints: { OfferToReceiveAudio: role === "join", OfferToReceiveVideo: role === "join" },
    callback(info, it) {
      if (info === "initialized") report({ is: "registered" });
      else if (info === "newTrackAvailable") sink(it.track.kind, it.track);
      else if (info === "data_received") report({ is: "text", text: it.data });
      else if (info === "data_channel_opened") for (const text of unsent.splice(0)) adaptor.sendData(stream, text);
      else report({ is: "notice", notice: info });
    },
    callbackError(error, it) {
      if (error === "no_stream_exist") report({ is: "notice", notice: error });
      else report({ is: "error", error: `${error} ${JSON.stringify(it ?? null)}` });
    },
  });
  if (role !== "play") adaptor.mediaManager.localStream = new MediaStream([picture(), tone()]);
  void adaptor.initialize();

  const unsent = [];
  socket.onmessage = ({ data }) => {
    const command = JSON.parse(data);
    if (command.do === "say") unsent.push(command.text);
    else adaptor[command.do](stream);
  };
  setInterval(async () => {
    const pc = adaptor.remotePeerConnection[stream];
    if (pc) report({ is: "stats", ...(await stats(pc)) });
  }, 250);
});
