import assert from "node:assert/strict";
import { test } from "node:test";

import { videoEncoding } from "../bitrate.js";
import { tileLayout } from "../layout.js";
import { Speakers, meter } from "../levels.js";
import { readStats } from "../stats.js";

test("four participants get 640×360, and more get less each", () => {
  const camera = { width: 1280, height: 720 };
  assert.equal(videoEncoding(1, camera).scaleResolutionDownBy, 1);
  assert.equal(videoEncoding(3, camera).scaleResolutionDownBy, 2);
  let last = videoEncoding(1, camera);
  for (let peers = 2; peers < 30; peers += 1) {
    const next = videoEncoding(peers, camera);
    assert.ok(next.maxBitrate <= last.maxBitrate && next.scaleResolutionDownBy >= last.scaleResolutionDownBy);
    assert.ok(peers * next.maxBitrate <= 5_000_000, `${peers} peers fit an uplink`);
    last = next;
  }
});

test("a small camera is never scaled up, an upright one counts by its short side", () => {
  assert.equal(videoEncoding(3, { width: 320, height: 240 }).scaleResolutionDownBy, 1);
  assert.equal(videoEncoding(3, { width: 720, height: 1280 }).scaleResolutionDownBy, 2);
});

test("tiles fit their space without overlap", () => {
  for (const space of [{ width: 1280, height: 720 }, { width: 390, height: 700 }, { width: 844, height: 300 }]) {
    for (let count = 1; count <= 16; count += 1) {
      const { columns, rows, width, height } = tileLayout(count, space, { minWidth: 0 });
      assert.ok(columns * rows >= count && columns * (rows - 1) < count, `${count}: ${columns}×${rows}`);
      assert.ok(columns * width + (columns - 1) * 8 <= space.width, "width");
      assert.ok(rows * height + (rows - 1) * 8 <= space.height + 0.5, "height");
    }
  }
});

test("tiles use the shape of the screen, and are never too small to see", () => {
  const desk = { width: 1280, height: 720 };
  const phone = { width: 390, height: 700 };
  assert.deepEqual([1, 2, 4, 9, 16].map((n) => tileLayout(n, desk).columns), [1, 2, 2, 3, 4]);
  assert.deepEqual([1, 2, 3].map((n) => tileLayout(n, phone).columns), [1, 1, 1]);
  const many = tileLayout(16, phone);
  assert.ok(many.width >= 150 && many.columns === 2);
});

test("no space is no reason to fail", () => {
  assert.deepEqual(tileLayout(0, { width: 0, height: 0 }), { columns: 1, rows: 1, width: 0, height: 0 });
});

test("the loudest speaks; a louder moment of somebody else doesn't flicker", () => {
  const speakers = new Speakers();
  speakers.feed("a", 0.2, 0);
  assert.equal(speakers.active, "a");
  speakers.feed("b", 0.9, 100);
  assert.equal(speakers.active, "a");
  for (let now = 200; now <= 1600; now += 200) {
    speakers.feed("a", 0, now);
    speakers.feed("b", 0.9, now);
  }
  assert.equal(speakers.active, "b");
});

test("silence has no speaker, and who left doesn't speak", () => {
  const speakers = new Speakers();
  speakers.feed("a", 0.2, 0);
  for (let now = 100; now < 5000; now += 200) speakers.feed("a", 0.0001, now);
  assert.equal(speakers.active, null);
  speakers.feed("a", 0.5, 6000);
  speakers.remove("a");
  assert.equal(speakers.active, null);
  speakers.feed("a", NaN, 6100);
  assert.equal(speakers.active, null);
});

test("the meter is in decibels", () => {
  assert.deepEqual([0, 1e-9, 0.001, 1, 7].map(meter), [0, 0, 0, 1, 1]);
  assert.ok(Math.abs(meter(0.0316) - 0.5) < 0.01);
});

const REPORT = (at, bytes, frames) => [
  { type: "codec", id: "C", mimeType: "video/VP8" },
  { type: "inbound-rtp", id: "I", kind: "video", timestamp: at, bytesReceived: bytes, framesDecoded: frames, frameWidth: 640, frameHeight: 360, packetsLost: 2, jitter: 0.0042, codecId: "C" },
  { type: "inbound-rtp", id: "old", kind: "video", timestamp: at, bytesReceived: 0 },
  { type: "inbound-rtp", id: "A", kind: "audio", timestamp: at, bytesReceived: 10, audioLevel: 0.25, totalAudioEnergy: 3 },
  { type: "transport", id: "T", selectedCandidatePairId: "P" },
  { type: "candidate-pair", id: "P", currentRoundTripTime: 0.0123, localCandidateId: "L" },
  { type: "local-candidate", id: "L", candidateType: "host", protocol: "udp" },
];

test("statistics are per second since the last sample", () => {
  const first = readStats(REPORT(1000, 1000, 0), null);
  assert.deepEqual([first.stats.videoIn.kbps, first.stats.videoIn.fps], [0, 0]);
  const { stats } = readStats(REPORT(3000, 126_000, 60), first.sample);
  assert.deepEqual(stats.videoIn, { width: 640, height: 360, fps: 30, kbps: 500, codec: "VP8", framesDecoded: 60, packetsLost: 2, jitterMs: 4.2, ageMs: null, bufferMs: null, lossPercent: 0, freezes: 0, frozenMs: 0 });
  assert.deepEqual([stats.rttMs, stats.path, stats.audioIn.level, stats.videoOut], [12.3, "host/udp", 0.25, null]);
});

test("the sender's report is that of the stream in use", () => {
  const entries = REPORT(1000, 1000, 5).map((entry) => (entry.id === "I" ? { ...entry, remoteId: "R" } : entry));
  assert.equal(readStats(entries, null).videos[0].report, null);
  const reports = ["other", "R"].map((id) => ({ type: "remote-outbound-rtp", id, kind: "video", remoteTimestamp: 7000 + id.length, timestamp: 900, packetsSent: 50 }));
  assert.deepEqual(readStats([...entries, ...reports], null).videos[0].report, { sent: 7001, arrived: 900, packets: 50 });
});

test("an empty report is a peer without media", () => {
  const { stats } = readStats([], null);
  assert.deepEqual(stats, { videoIn: null, videos: [null], videoOut: null, audioIn: null, audioOut: null, rttMs: null, path: null, route: null });
});

test("each camera has figures of its own, of the last second", () => {
  const camera = (id, track, more) => ({ type: "inbound-rtp", kind: "video", id, trackIdentifier: track, timestamp: 0, ...more });
  const before = readStats([camera("1", "a", { bytesReceived: 9000 }), camera("2", "b", { bytesReceived: 10 })], null, ["a", "b", "c"]);
  const after = [
    camera("1", "a", { timestamp: 1000, bytesReceived: 9000, packetsReceived: 5, framesDecoded: 4 }),
    camera("2", "b", { timestamp: 1000, bytesReceived: 1010, packetsReceived: 90, packetsLost: 10, framesDecoded: 15, jitterBufferDelay: 3, jitterBufferEmittedCount: 50, freezeCount: 2, totalFreezesDuration: 1.25 }),
  ];
  const { stats, videos } = readStats(after, before.sample, ["a", "b", "c"]);
  assert.deepEqual(stats.videos.map((video) => video?.kbps), [0, 8, undefined]);
  const { fps, lossPercent, bufferMs, freezes, frozenMs } = stats.videos[1];
  assert.deepEqual({ fps, lossPercent, bufferMs, freezes, frozenMs }, { fps: 15, lossPercent: 10, bufferMs: 60, freezes: 2, frozenMs: 1250 });
  assert.deepEqual(videos.map(({ framesDecoded }) => framesDecoded), [4, 15, 0]);
});

test("the route has the types of both ends, and how we reach our relay", () => {
  const entries = [
    { type: "transport", id: "t", selectedCandidatePairId: "p" },
    { type: "candidate-pair", id: "p", localCandidateId: "l", remoteCandidateId: "r" },
    { id: "l", candidateType: "relay", protocol: "udp", relayProtocol: "tls" },
    { id: "r", candidateType: "srflx", protocol: "udp" },
  ];
  assert.deepEqual(readStats(entries, null).stats.route, { local: "relay", remote: "srflx", protocol: "udp", relay: "tls" });
});
