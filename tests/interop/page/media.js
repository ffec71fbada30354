// What a page sends and how it looks at what it receives: a green picture and a tone of 1000 Hz.

export const sound = new AudioContext({ sampleRate: 48000 });
const sinks = {};

export function picture() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
  const context = canvas.getContext("2d");
  let count = 0;
  setInterval(() => {
    context.fillStyle = "rgb(0, 200, 0)";
    context.fillRect(0, 0, 320, 240);
    context.fillStyle = "white"; // something that moves
    context.fillRect((count++ * 8) % 320, 0, 16, 16);
  }, 66);
  return canvas.captureStream(15).getVideoTracks()[0];
}

export function tone() {
  const oscillator = new OscillatorNode(sound, { frequency: 1000 });
  const volume = new GainNode(sound, { gain: 0.4 });
  const destination = new MediaStreamAudioDestinationNode(sound, { channelCount: 1 });
  oscillator.connect(volume).connect(destination);
  oscillator.start();
  return destination.stream.getAudioTracks()[0];
}

/** Shows or plays a received track. */
export function sink(kind, track) {
  const stream = new MediaStream([track]);
  const element = document.createElement(kind);
  element.srcObject = stream;
  element.muted = true; // as loud in the analyser
  element.autoplay = true;
  document.body.append(element);
  sinks[kind]?.remove();
  sinks[kind] = element;
  if (kind === "video") return;
  element.analyser = new AnalyserNode(sound, { fftSize: 2048 });
  sound.createMediaStreamSource(stream).connect(element.analyser);
}

/** @param {RTCPeerConnection} pc */
export async function stats(pc) {
  void sound.resume();
  const stats = { video: { frames: 0, color: color() }, audio: { frames: 0, level: 0 } };
  for (const it of (await pc.getStats()).values()) {
    if (it.type !== "inbound-rtp") continue;
    stats[it.kind].frames += it.kind === "video" ? (it.framesDecoded ?? 0) : it.packetsReceived;
    if (it.kind === "audio") stats.audio.level = Math.max(level(), it.audioLevel ?? 0);
  }
  return stats;
}

function color() {
  if (!sinks.video?.videoWidth) return null;
  const context = new OffscreenCanvas(8, 8).getContext("2d");
  context.drawImage(sinks.video, 0, 0, 8, 8);
  const pixels = context.getImageData(0, 0, 8, 8).data;
  return [0, 1, 2].map((part) => Math.round(pixels.filter((_, i) => i % 4 === part).reduce((sum, it) => sum + it, 0) / 64));
}

function level() {
  const samples = new Float32Array(2048);
  sinks.audio?.analyser.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, it) => sum + it * it, 0) / samples.length);
}

/**
 * A session with the runner, for commands and reports. It begins when the runner is there.
 * @param {string} uid
 * @param {(report: (it: object) => void, control: WebSocket) => void} begin
 */
export function control(uid, begin) {
  const control = open(`${uid}-page`);
  const ask = () => control.send(`SESSION ${uid}-runner`);
  control.onmessage = ({ data }) => {
    if (data === "HELLO") ask();
    else if (data === "SESSION_OK") begin((it) => control.send(JSON.stringify(it)), control);
    else setTimeout(ask, 200); // the runner is not there yet
  };
  return control;
}

export function open(uid) {
  const socket = new WebSocket(location.origin.replace("http", "ws"));
  socket.onopen = () => socket.send(`HELLO ${uid}`);
  return socket;
}
