// What peers in Node.js have in common: commands on stdin, reports on stdout, the signalling's WebSocket.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

/** The packages are outside the repository, where scripts/interop.sh has put them. */
export const load = createRequire(`${process.env.CALLBIN_INTEROP}/package.json`);

const WebSocket = load("ws");

export function report(it) {
  console.log(JSON.stringify(it));
}

/** @param {(send: (frame: string) => void) => {obey: (command: any) => void, hear: (frame: string) => void}} make */
export function run(make) {
  const [url, uid] = process.argv.slice(2);
  const socket = new WebSocket(url);
  const peer = make((frame) => socket.send(frame));
  socket.on("open", () => socket.send(`HELLO ${uid}`));
  socket.on("message", (frame) => peer.hear(frame.toString()));
  socket.on("close", () => report({ is: "closed" }));
  socket.on("error", (error) => report({ is: "error", error: String(error) }));
  createInterface({ input: process.stdin })
    .on("line", (line) => peer.obey(JSON.parse(line)))
    .on("close", () => process.exit());
}
