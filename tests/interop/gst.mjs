// Pictures and sound for stacks that carry RTP and have no codecs: GStreamer makes and takes the packets, in a
// process of its own, framed as RFC 4571 has it (16 bits of length before each).

import { spawn } from "node:child_process";

export const PAYLOAD_TYPES = { video: 96, audio: 111 };

const SOURCES = {
  video: `videotestsrc is-live=true pattern=solid-color foreground-color=0xff00c800 ! video/x-raw,width=320,height=240,framerate=15/1
    ! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=15 ! rtpvp8pay mtu=1200 picture-id-mode=15-bit pt=${PAYLOAD_TYPES.video}`,
  audio: `audiotestsrc is-live=true freq=1000 volume=0.4 ! audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay pt=${PAYLOAD_TYPES.audio}`,
};

const SINKS = {
  video: `encoding-name=VP8,clock-rate=90000 ! rtpstreamdepay ! rtpvp8depay ! vp8dec ! videoconvert ! videoscale
    ! video/x-raw,format=RGB,width=16,height=16`,
  audio: `encoding-name=OPUS,clock-rate=48000 ! rtpstreamdepay ! rtpopusdepay ! opusdec ! audioconvert
    ! audio/x-raw,format=S16LE,channels=1,rate=48000`,
};
/** What a sink writes: 16 by 16 pixels, 10 ms of sound. */
const CHUNKS = { video: 16 * 16 * 3, audio: 960 };

function launch(pipeline) {
  const child = spawn("gst-launch-1.0", ["-q", ...pipeline.split(/\s+/)], { stdio: ["pipe", "pipe", "inherit"] });
  process.on("exit", () => child.kill("SIGKILL"));
  child.stdin.on("error", () => {}); // it ended: nothing is decoded any more, and the runner sees that
  return child;
}

/** Calls `packet` with each RTP packet of an endless green picture, or of a tone of 1000 Hz. */
export function source(kind, packet) {
  let buffer = Buffer.alloc(0);
  launch(`${SOURCES[kind]} ! rtpstreampay ! fdsink fd=1`).stdout.on("data", (data) => {
    buffer = Buffer.concat([buffer, data]);
    while (buffer.length >= 2 && buffer.length >= 2 + buffer.readUInt16BE(0)) {
      const end = 2 + buffer.readUInt16BE(0);
      packet(Buffer.from(buffer.subarray(2, end)));
      buffer = buffer.subarray(end);
    }
  });
}

/** Decodes what is pushed into it. */
export class Sink {
  #buffer = Buffer.alloc(0);
  #gst;
  stats = { packets: 0, frames: 0 };

  constructor(kind) {
    this.kind = kind;
    const caps = `application/x-rtp-stream,media=${kind},payload=${PAYLOAD_TYPES[kind]},`;
    this.#gst = launch(`fdsrc fd=0 do-timestamp=true ! ${caps}${SINKS[kind]} ! fdsink fd=1 sync=false`);
    this.#gst.stdout.on("data", (data) => this.#decoded(data));
  }

  push(packet) {
    this.stats.packets += 1;
    const length = Buffer.alloc(2);
    length.writeUInt16BE(packet.length);
    this.#gst.stdin.write(Buffer.concat([length, packet]));
  }

  #decoded(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    const size = CHUNKS[this.kind];
    for (; this.#buffer.length >= size; this.#buffer = this.#buffer.subarray(size)) {
      this.stats.frames += 1;
      const chunk = this.#buffer.subarray(0, size);
      if (this.kind === "video") this.stats.color = [0, 1, 2].map((part) => mean(chunk, part));
      else this.stats.level = level(chunk);
    }
  }
}

function mean(pixels, part) {
  let sum = 0;
  for (let i = part; i < pixels.length; i += 3) sum += pixels[i];
  return Math.round(sum / (pixels.length / 3));
}

function level(samples) {
  let sum = 0;
  for (let i = 0; i < samples.length; i += 2) sum += (samples.readInt16LE(i) / 32768) ** 2;
  return Math.sqrt(sum / (samples.length / 2));
}
