// The pictures of a room in bare video elements: the page's connections without the page.
(async ({ width, height, columns }) => {
  document.body.replaceChildren();
  document.body.setAttribute("style", `margin: 0; display: grid; gap: 8px; grid-template-columns: repeat(${columns}, ${width}px)`);
  const names = ["calls", "peer", "media", "outgoing", "parameters"];
  const [{ Calls }, { Peer }, { Media }, { Outgoing }, { readParameters }] = await Promise.all(names.map((name) => import(`/${name}.js`)));
  const media = new Outgoing(new Media({ audio: "none", video: "none" }, () => {}), () => {});
  const nothing = () => {};
  window.shown = new Map();
  const show = ({ stream }) => {
    if (shown.has(stream) || stream.getVideoTracks().length === 0) return;
    const video = Object.assign(document.createElement("video"), { autoplay: true, width, height, srcObject: stream });
    shown.set(stream, video);
    document.body.append(video);
  };
  const addPeer = (uid, offers) => {
    const changed = () => {
      peer.views.shown.forEach(show);
      calls.peerChanged(peer);
    };
    const signal = (signal) => calls.do({ type: "send-signal", uid, signal });
    const peer = new Peer(uid, { offers, rings: false, cameras: 4, later: true, media, ice: calls.ice }, { signal, changed, chat: nothing, control: nothing });
    calls.add(peer);
  };
  const parameters = readParameters(new URL("/?room=r&watch=1", location.href), history);
  const calls = new Calls(parameters, { changed: nothing, registered: nothing, notice: nothing, removePeer: (uid) => calls.remove(uid), addPeer });
  calls.do({ type: "join", room: "r" });
})
