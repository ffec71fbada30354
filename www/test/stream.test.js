import assert from "node:assert/strict";
import { test } from "node:test";

import { Stream } from "../stream.js";
import { Streams } from "../streams.js";

const OFFER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=mid:1\r\n";
const FRAGMENT = "a=ice-ufrag:u\r\na=ice-pwd:p\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n";
const SESSION = { url: "http://host/whip/cam/1", etag: '"1"' };

const offer = (uid = "cam") => ({ type: "send-signal", uid, signal: { kind: "sdp", sdp: { type: "offer", sdp: OFFER } } });
const candidate = (text) => ({ type: "send-signal", uid: "cam", signal: { kind: "ice", ice: { candidate: text, sdpMid: "0", sdpMLineIndex: 0 } } });

/** A stream whose offer has been posted. */
function posted(stream = "publish") {
  const it = new Stream("me", stream);
  assert.deepEqual(it.handle({ type: "call", peer: "cam" }), [{ do: "add-peer", uid: "cam", offers: true }]);
  const [post] = it.handle(offer());
  assert.deepEqual([post.do, post.sdp, it.state], ["post", OFFER, "calling"]);
  return { it, turn: post.turn };
}

function live(stream) {
  const { it, turn } = posted(stream);
  const effects = it.handle({ type: "answered", turn, sdp: "answer", session: SESSION });
  return { it, turn, effects };
}

test("candidates wait for the answer, and follow in fragments", () => {
  const { it, turn } = posted();
  assert.deepEqual(it.handle(candidate("candidate:1")), []);
  assert.deepEqual(it.handle(candidate("")), []);
  assert.deepEqual(it.handle({ type: "answered", turn, sdp: "answer", session: SESSION }), [
    { do: "signal", uid: "cam", signal: { kind: "sdp", sdp: { type: "answer", sdp: "answer" } } },
    { do: "patch", session: SESSION, fragment: `${FRAGMENT}a=candidate:1\r\n` },
  ]);
  assert.equal(it.state, "in-call");
  assert.deepEqual(it.handle(candidate("candidate:2")), [{ do: "patch", session: SESSION, fragment: `${FRAGMENT}a=candidate:2\r\n` }]);
  assert.deepEqual(it.handle(candidate("")), [], "the end of candidates needs no request");
});

test("candidates that wait are bounded", () => {
  const { it, turn } = posted();
  for (let i = 0; i < 10_000; i += 1) it.handle(candidate(`candidate:${i}`));
  const [, { fragment }] = it.handle({ type: "answered", turn, sdp: "answer", session: SESSION });
  assert.ok(fragment.split("\r\n").length < 1000);
});

test("while nothing comes, the server is asked now and then, and says that the session is over", () => {
  const { it } = live();
  const look = (now, received) => it.handle({ type: "look", now, received });
  const asks = [];
  for (let now = 0; now < 10_000; now += 250) if (look(now, now).length > 0) asks.push(now);
  assert.deepEqual(asks, [], "while something comes");
  for (let now = 10_000; now < 16_000; now += 250) if (look(now, 9750).length > 0) asks.push(now);
  assert.deepEqual(asks, [10_750, 12_750, 14_750]);
  assert.deepEqual(look(17_000, 9750), [{ do: "ask", session: SESSION, fragment: FRAGMENT }]);
  assert.deepEqual(it.handle({ type: "gone", session: { ...SESSION } }), [], "an earlier session");
  assert.deepEqual(it.handle({ type: "gone", session: SESSION }), [{ do: "delete", session: SESSION }, { do: "remove-peer", uid: "cam" }]);
  assert.deepEqual(look(30_000, 9750), []);
});

test("each end deletes the session once", () => {
  for (const end of [{ type: "hang-up" }, { type: "peer-dead", uid: "cam" }]) {
    const { it } = live();
    assert.deepEqual(it.handle(end), [{ do: "delete", session: SESSION }, { do: "remove-peer", uid: "cam" }]);
    assert.deepEqual([it.state, it.peer, it.handle(end)], ["ready", null, []]);
  }
});

test("an answer that comes too late ends its session only", () => {
  const { it, turn } = posted();
  assert.deepEqual(it.handle({ type: "hang-up" }), [{ do: "remove-peer", uid: "cam" }]);
  it.handle({ type: "call", peer: "cam" });
  assert.deepEqual(it.handle({ type: "answered", turn, sdp: "answer", session: SESSION }), [{ do: "delete", session: SESSION }]);
  assert.deepEqual(it.handle({ type: "not-answered", turn, status: 409, text: "" }), []);
  assert.deepEqual([it.state, it.peer], ["calling", "cam"]);
});

test("another offer begins another session", () => {
  const { it } = live();
  assert.deepEqual(it.handle(offer()), [{ do: "delete", session: SESSION }, { do: "remove-peer", uid: "cam" }, { do: "add-peer", uid: "cam", offers: true }]);
  assert.equal(it.handle(offer())[0].do, "post");
  assert.deepEqual(it.handle(offer("other")), [], "of a former peer");
});

test("a refusal says why, and only one of the token lasts", () => {
  const refused = (stream, status) => {
    const { it, turn } = posted(stream);
    const [removed, { code, subject }] = it.handle({ type: "not-answered", turn, status, text: "words" });
    assert.deepEqual(removed, { do: "remove-peer", uid: "cam" });
    return [code, subject, it.state];
  };
  assert.deepEqual(refused("publish", 409), ["stream-taken", "cam", "ready"]);
  assert.deepEqual(refused("play", 409), ["peer-busy", "cam", "ready"]);
  assert.deepEqual(refused("publish", 404), ["stream-nowhere", "cam", "ready"]);
  assert.deepEqual(refused("play", 404), ["peer-not-found", "cam", "ready"]);
  assert.deepEqual(refused("play", 403), ["refused", "words", "refused"]);
  assert.deepEqual(refused("publish", 422), ["peer-error", "words", "ready"]);
  assert.deepEqual(refused("play", 0), ["server-unreachable", "cam", "ready"]);
  assert.deepEqual(refused("play", 503), ["server-full", "cam", "ready"]);
  assert.deepEqual(refused("play", 502), ["server-unreachable", "cam", "ready"]);
  assert.deepEqual(refused("play", 504), ["not-taken", "cam", "ready"]);
  assert.deepEqual(refused("publish", 429), ["too-many", "cam", "ready"]);
  assert.deepEqual(refused("publish", 401), ["refused", "words", "refused"]);
});

/** Streams at a server that answers with these, and the requests that they made. */
function streams(answers, token = "") {
  const [requests, news] = [[], []];
  const request = async (url, { method = "GET", headers = {}, body }) => {
    if (url.includes("/ice-servers")) return new Response("{}");
    requests.push([method, url, headers, body]);
    const next = answers.shift();
    if (next instanceof Error) throw next;
    return next ?? new Response("");
  };
  const events = { changed: () => {}, addPeer: (uid) => news.push(["add", uid]), removePeer: (uid) => news.push(["remove", uid]), registered: () => news.push(["registered"]), notice: (code) => news.push([code]) };
  const it = new Streams({ id: "me", server: "ws://host/calls/", token, iceServers: [], relay: false, stream: "publish" }, events, request);
  return { it, requests, news };
}

const settled = async () => {
  for (let i = 0; i < 20; i += 1) await null;
};

test("a session is made, trickles and is deleted with its own URL, tag and token", async (t) => {
  const created = new Response("answer", { status: 201, headers: { Location: "/calls/whip/cam/7", ETag: '"7"' } });
  const { it, requests, news } = streams([created], "secret");
  t.after(() => it.ice.stop());
  it.do({ type: "call", peer: "cam" });
  it.do(offer());
  await settled();
  assert.equal(it.call.state, "in-call");
  it.do(candidate("candidate:1"));
  await settled();
  it.do({ type: "hang-up" });
  await settled();
  const all = { Authorization: "Bearer secret" };
  assert.deepEqual(requests, [
    ["POST", "http://host/calls/whip/cam", { ...all, "Content-Type": "application/sdp" }, OFFER],
    ["PATCH", "http://host/calls/whip/cam/7", { ...all, "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"7"' }, `${FRAGMENT}a=candidate:1\r\n`],
    ["DELETE", "http://host/calls/whip/cam/7", all, undefined],
  ]);
  assert.deepEqual(news, [["add", "cam"], ["registered"], ["remove", "cam"]], "notices about the server go");
});

test("candidates do not wait for requests of an earlier session", async (t) => {
  const created = (n) => new Response("answer", { status: 201, headers: { Location: `/calls/whip/cam/${n}`, ETag: `"${n}"` } });
  const { it, requests } = streams([created(1), new Promise(() => {}), new Response(""), created(2)]);
  t.after(() => it.do({ type: "hang-up" }));
  t.after(() => it.ice.stop());
  for (let n = 0; n < 2; n += 1) {
    it.do({ type: "call", peer: "cam" });
    it.do(offer());
    await settled();
    it.do(candidate("candidate:1"));
    await settled();
    if (n === 0) it.do({ type: "hang-up" });
  }
  const patched = requests.filter(([method]) => method === "PATCH").map(([, url]) => url);
  assert.deepEqual(patched, ["http://host/calls/whip/cam/1", "http://host/calls/whip/cam/2"]);
});

test("a server that does not answer is a notice, and the page may try again", async (t) => {
  const { it, news } = streams([new TypeError("no network"), new Response("no", { status: 503 })], "secret");
  t.after(() => it.ice.stop());
  for (let i = 0; i < 2; i += 1) {
    it.do({ type: "call", peer: "cam" });
    it.do(offer());
    await settled();
    assert.equal(it.call.state, "ready");
  }
  assert.deepEqual(news, [["add", "cam"], ["remove", "cam"], ["server-unreachable"], ["add", "cam"], ["remove", "cam"], ["server-full"]]);
});
