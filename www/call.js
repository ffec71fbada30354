// @ts-check
// The page's state at the signalling server: registered, in a 1-1 call, in a room. Events in, effects out.
//
// The rest of the page treats a 1-1 call as a room with one peer: same effects, same peer connections. In this protocol
// closing the socket leaves a call or a room; afterwards we register again at once. A call is declined the same way:
// the server then closes the caller's socket.

import { isRoomId } from "./ids.js";
import { MAX_WAITING } from "./negotiation.js";
import { format, formatSignal, parseServerMessage, parseSignal } from "./protocol.js";
import { Resumption, parseResume } from "./resume.js";
import { Room } from "./room.js";

/**
 * @typedef {import("./protocol.js").Signal} Signal
 * @typedef {"offline" | "connecting" | "reconnecting" | "ready" | "ringing" | "calling" | "in-call" | "joining" | "in-room"
 *   | "leaving" | "refused"} State
 * @typedef {"uid-taken" | "refused" | "replaced" | "sent-away" | "peer-not-found" | "peer-busy" | "invalid-room" | "room-refused" | "server-error"
 *   | "peer-error" | "server-lost" | "server-restarts" | "no-answer" | "peer-left" | "not-taken" | "missed-call"
 *   | "call-goes-on" | "call-interrupted" | "call-cut" | "peer-lost" | "call-lost" | "call-failed" | "room-too-large" | "stream-taken" | "stream-nowhere" | "back" | import("./why.js").Why} NoticeCode
 *
 * @typedef {{type: "register"} | {type: "opened"} | {type: "text", text: string} | {type: "closed", code: number, reason: string, flows?: boolean, heals?: boolean}
 *   | {type: "call", peer: string, remoteOfferer: boolean} | {type: "join", room: string} | {type: "hang-up"}
 *   | {type: "rename", id: string} | {type: "send-signal", uid: string, signal: Signal}
 *   | {type: "accepting", ring: number} | {type: "accept", ring: number} | {type: "decline"}
 *   | {type: "ring-over", ring: number} | {type: "explained", id: string, why: import("./why.js").Why}
 *   | {type: "settle"} | {type: "unanswered", attempt: number} | {type: "peer-dead", uid: string, failed: boolean, hungUp: boolean, heals?: boolean}
 *   | {type: "uid-overdue", absence: number} | {type: "listened", step: number, lives: boolean} | {type: "overdue", step: number}} Event
 *
 * @typedef {import("./room.js").Effect | {do: "send", text: string} | {do: "connect"} | {do: "connect-later", leastMs?: number, mostMs?: number}
 *   | {do: "registered"} | {do: "succeeded"} | {do: "close"} | {do: "settle-later"} | {do: "expect-answer", attempt: number}
 *   | {do: "heal", uid: string} | {do: "listen", uid: string, step: number} | {do: "expect-peer", step: number}
 *   | {do: "ring", ring: number} | {do: "ask-why"} | {do: "stay-away"} | {do: "expect-uid", absence: number}
 *   | {do: "notice", code: NoticeCode, subject?: string}} Effect
 *
 * @typedef {{call: string, remoteOfferer: boolean} | {room: string}} Wish
 */

/** The uid under which a caller is kept, because not every server names the caller. */
export const CALLER = "caller";

/** Most characters kept of a caller's messages until we accept; an offer and its candidates are far fewer. */
const MAX_EARLY_SIZE = 1 << 20;

/**
 * Close reasons with code 1008 after which we must not reconnect: the server would refuse us again, or we would take
 * the uid back from the connection that replaced ours.
 * @type {Map<string, NoticeCode>}
 */
export const UNWELCOME = new Map([
  ["uid not allowed", "uid-refused"],
  ["token expired", "token-expired"],
  ["replaced by a new connection", "replaced"],
  ["closed by an operator", "sent-away"],
]);

/** The close code of a server that has too much to do, and how long we stay away after it at least. */
const TRY_AGAIN_LATER = 1013;
const BUSY_MS = 5000;

/** The longest pause between attempts to connect while the path to the partner is lost, too. */
const URGENT_MS = 3000;

/** The server ignores our requests during a call to us, and a caller may stay silent: try this often. */
const UNANSWERED_ATTEMPTS = 2;

/** Lasting reasons why no WebSocket opens: another attempt would not help. @type {NoticeCode[]} */
const LASTING = ["token-missing", "token-expired", "token-refused", "uid-refused", "origin-refused", "bad-address"];

/** After a reload the page's old connection holds the uid for a moment: try this often before giving up. */
const TAKEN_ATTEMPTS = 3;

export class Call {
  /** @type {State} */ state = "offline";
  /** @type {string | null} The other side of a 1-1 call. */ peer = null;
  /** @type {string | null} The uid of the caller, if the server names it; also after we accepted. */ caller = null;
  /** @type {Resumption | null} The present 1-1 call's way back to the server. */ #resumption = null;
  /** Whether the path to the partner of a 1-1 call was lost, and might come back, when we last heard of it. */ #heals = false;
  /** @type {Room | null} */ room = null;
  /** @type {Wish | null} What to do once registered; the wish for a room stays while we are in it. */ #wish = null;
  #wasRegistered = false;
  #refusals = 0;
  /** Counts the times without a registration: each has its own deadline for getting our uid back. */ #absence = 0;
  /** Whether the server should long have noticed that our own old connection is dead. */ #uidOverdue = false;
  /** Whether the WebSocket has opened since we last connected. */ #opened = false;
  /** @type {NoticeCode | null} The last notice about the missing server. */ #told = null;
  /** @type {Signal[]} The caller's signals while the call rings. */ #early = [];
  /** Characters received from the caller while the call rings. */ #earlySize = 0;
  /** Counts rings: each has its own deadline, and an answer is for one of them. */ ring = 0;
  /** The ring that the user has accepted while the page still waits for the camera. */ #accepting = 0;
  /** Whether the peer that we called has sent a signal. */ #heard = false;
  /** Counts calls and joins: each has its own deadline. */ #attempt = 0;
  /** How many attempts in a row were not answered. */ #unanswered = 0;
  /** The server's `ERROR` before the registration: it says more than the close code. */ #objection = "";

  /** @param {string} id the uid to register @param {{autoAnswer?: boolean}} how `autoAnswer`: accepts calls at once */
  constructor(id, { autoAnswer = false } = {}) {
    this.id = id;
    this.autoAnswer = autoAnswer;
  }

  /** @param {Event} event @returns {Effect[]} */
  handle(event) {
    switch (event.type) {
      case "register":
        return this.state === "offline" ? this.#connectAnew() : [];
      case "opened":
        return this.#hello();
      case "text":
        return this.#text(event.text);
      case "closed":
        this.#heals = event.heals ?? false;
        return this.#closed(event.code, event.reason, event.flows ?? false);
      case "call":
        return this.#wishFor({ call: event.peer, remoteOfferer: event.remoteOfferer });
      case "join":
        return this.#wishFor({ room: event.room });
      case "hang-up":
        return this.#hangUp();
      case "accepting":
        this.#accepting = event.ring;
        return [];
      case "accept":
        return this.#rings(event.ring) ? this.#accept() : [];
      case "decline":
        return this.state === "ringing" ? this.#reconnect() : [];
      case "ring-over":
        return this.#rings(event.ring) && event.ring !== this.#accepting ? [this.#missed(), ...this.#reconnect()] : [];
      case "explained":
        return event.id === this.id ? this.#explained(event.why) : [];
      case "rename":
        return this.#rename(event.id);
      case "send-signal":
        return this.#sendSignal(event.uid, event.signal);
      case "settle":
        return this.state === "in-room" && this.room ? this.room.settle() : [];
      case "unanswered":
        return event.attempt === this.#attempt ? this.#noAnswer() : [];
      case "peer-dead":
        return this.#peerDead(event);
      case "uid-overdue":
        this.#uidOverdue ||= event.absence === this.#absence;
        return [];
      case "listened":
      case "overdue":
        return this.#resume(event);
    }
  }

  /** Whether a 1-1 call goes on although the server is gone: its media flow from peer to peer. */
  get isAlone() {
    return this.#resumption?.isAlone ?? false;
  }

  /** Whether the present 1-1 call has no session at the server. */
  get #isCutOff() {
    return this.#resumption?.isAttached === false;
  }

  /** Whether a 1-1 call whose path is lost may get its session and then a path back. */
  get #mayHeal() {
    return this.#heals && (this.#resumption?.isHopeful ?? false);
  }

  get #awaitsServer() {
    return this.state === "connecting" || this.state === "reconnecting";
  }

  /** Registers, but not on a socket that we no longer wait for: it must not take the uid. @returns {Effect[]} */
  #hello() {
    this.#opened = true;
    this.#objection = "";
    return this.#awaitsServer || this.#resumption?.isConnecting ? [{ do: "send", text: format.hello(this.id) }] : [];
  }

  /** @param {Wish} wish @returns {Effect[]} */
  #wishFor(wish) {
    const busy = this.peer !== null || this.room || this.state === "calling" || this.state === "joining";
    if (busy) return [];
    this.#wish = wish;
    this.#unanswered = 0;
    if (this.state === "ready") return this.#pursue();
    if (this.state === "ringing") return this.#reconnect();
    return this.state === "refused" || this.state === "offline" ? this.#connectAnew() : [];
  }

  /** @returns {Effect[]} */
  #pursue() {
    const wish = this.#wish;
    if (!wish) return [];
    const calls = "call" in wish;
    this.state = calls ? "calling" : "joining";
    this.#attempt += 1;
    return [
      { do: "send", text: calls ? format.session(wish.call) : format.room(wish.room) },
      { do: "expect-answer", attempt: this.#attempt },
    ];
  }

  /**
   * The server did not answer our request in time. Most likely a caller that stays silent came first, and our request
   * went to it: reconnect, which drops that caller. A room in which media still flow is not given up.
   * @returns {Effect[]}
   */
  #noAnswer() {
    if (this.state !== "calling" && this.state !== "joining") return [];
    this.#unanswered += 1;
    if (this.room || this.#unanswered < UNANSWERED_ATTEMPTS) return this.#reconnect();
    return [...this.#hangUp(), { do: "notice", code: "no-answer" }];
  }

  /**
   * A connection failed, or the peer ended it (`hungUp`). Without the server that ends the call, unless the path may come
   * back (`heals`): then the call is resumed first, and gets a new connection. A page that takes calls
   * by itself has no user to hang up or try again: it ends the call that it took, to be free for the next one, once its
   * path can't come back any more.
   * @param {{uid: string, failed: boolean, hungUp: boolean, heals?: boolean}} event @returns {Effect[]}
   */
  #peerDead({ uid, failed, hungUp, heals = false }) {
    if (uid === this.peer) this.#heals = heals;
    if (this.#isCutOff && uid === this.peer) {
      if (this.#mayHeal) return this.#tell("call-interrupted", this.#partnerName());
      const subject = this.#partnerName();
      const code = hungUp ? "peer-left" : this.#resumption?.isRegistered ? "peer-lost" : "call-cut";
      return [...this.#leaveAlone(), { do: "notice", code, subject }];
    }
    if (this.room) return this.room.dropStale(uid);
    // With a server, a peer that ends the connection also closes its socket, or else starts over.
    const unattended = failed && !this.#mayHeal && this.autoAnswer && this.state === "in-call" && uid === CALLER && uid === this.peer;
    return unattended ? [...this.#hangUp(), { do: "notice", code: "call-failed" }] : [];
  }

  /** Closes the socket and keeps the wish. @returns {Effect[]} */
  #reconnect() {
    this.state = "leaving";
    this.#forgetCaller();
    return [{ do: "close" }];
  }

  /** @param {string} text @returns {Effect[]} */
  #text(text) {
    if (this.#isCutOff) return this.#resume({ type: "text", text });
    const message = parseServerMessage(text);
    if (message?.verb === "ERROR") return this.#error(message);
    switch (this.state) {
      case "connecting":
      case "reconnecting":
        return message?.verb === "HELLO" ? this.#registered() : [];
      case "ready":
        return this.#fromCaller(message, text);
      case "calling":
        return message?.verb === "SESSION_OK" ? this.#calledPeer() : this.#fromCaller(message, text);
      case "ringing":
        return parseResume(text) ? this.#reconnect() : this.#keep(text);
      case "joining":
        return message?.verb === "ROOM_OK" ? this.#entered(message.peers) : this.#calledInstead(message, text);
      case "in-call":
        return this.#fromPartner(parseSignal(text));
      case "in-room":
        return this.#inRoom(message);
      default:
        return [];
    }
  }

  /** @returns {Effect[]} */
  #registered() {
    this.state = "ready";
    this.#objection = "";
    this.#wasRegistered = true;
    this.#forgetRefusals();
    /** @type {Effect[]} */
    const back = this.#told && this.#told !== "call-goes-on" && this.#told !== "call-interrupted" ? [{ do: "notice", code: "back" }] : [];
    this.#told = null;
    this.#forgetCaller();
    return [{ do: "registered" }, ...back, ...this.#pursue()];
  }

  /** @returns {Effect[]} */
  #calledPeer() {
    const wish = this.#wish;
    if (!wish || !("call" in wish)) return [];
    const { call: uid, remoteOfferer } = wish;
    this.#meet(uid);
    /** @type {Effect[]} */
    const effects = [{ do: "succeeded" }, { do: "add-peer", uid, offers: !remoteOfferer }];
    if (remoteOfferer) effects.push({ do: "send", text: formatSignal({ kind: "offer-request" }) });
    return effects;
  }

  /**
   * We are called: the server names the caller, or the caller's first message arrives. This may happen while we call
   * a peer ourselves, if the server handled the other call first.
   * @param {import("./protocol.js").ServerMessage | null} message @param {string} text @returns {Effect[]}
   */
  #fromCaller(message, text) {
    const signal = parseSignal(text);
    // The peer of a call that this page no longer has, perhaps since a reload.
    if (parseResume(text)) return this.#reconnect();
    if (message?.verb === "CALLER") this.caller = message.peer;
    else if (!signal) return [];
    // The peer has a deadline: a caller that stays silent does not hold a page that nobody attends.
    if (this.autoAnswer) return [...this.#take(), ...this.#fromPartner(signal)];
    this.state = "ringing";
    this.ring += 1;
    return [{ do: "ring", ring: this.ring }, ...this.#keep(text)];
  }

  /** Keeps the caller's signals while the call rings, within limits. @param {string} text @returns {Effect[]} */
  #keep(text) {
    const signal = parseSignal(text);
    this.#earlySize += text.length;
    if (signal && this.#earlySize <= MAX_EARLY_SIZE && this.#early.length < MAX_WAITING) this.#early.push(signal);
    return [];
  }

  /** Whether this very call rings. @param {number} ring */
  #rings(ring) {
    return this.state === "ringing" && ring === this.ring;
  }

  /** @returns {Effect[]} */
  #accept() {
    const early = this.#early;
    return [...this.#take(), ...early.flatMap((signal) => this.#fromPartner(signal))];
  }

  /** @returns {Effect[]} */
  #take() {
    const { caller } = this;
    this.#forgetCaller();
    this.#meet(CALLER);
    this.caller = caller;
    return [{ do: "add-peer", uid: CALLER, offers: false }];
  }

  #forgetCaller() {
    this.caller = null;
    this.#early = [];
    this.#earlySize = 0;
  }

  /** @returns {Effect} */
  #missed() {
    return { do: "notice", code: "missed-call", subject: this.caller ?? "" };
  }

  /** @param {string} uid */
  #meet(uid) {
    this.state = "in-call";
    this.peer = uid;
    this.#heard = uid === CALLER;
    this.#wish = null;
    this.#resumption = new Resumption(uid === CALLER ? null : uid);
  }

  /**
   * Declines a call that reached the server before our request to join a room.
   * @param {import("./protocol.js").ServerMessage | null} message @param {string} text @returns {Effect[]}
   */
  #calledInstead(message, text) {
    return message?.verb === "CALLER" || parseSignal(text) || parseResume(text) ? this.#reconnect() : [];
  }

  /** @param {Signal | null} signal @returns {Effect[]} */
  #fromPartner(signal) {
    if (!signal || this.peer === null) return [];
    this.#heard = true;
    this.#resumption?.hear(signal);
    return [{ do: "signal", uid: this.peer, signal }];
  }

  /** @param {string[]} uids @returns {Effect[]} */
  #entered(uids) {
    if (!this.#wish || !("room" in this.#wish)) return [];
    this.state = "in-room";
    this.room ??= new Room(this.#wish.room, this.id);
    return [{ do: "succeeded" }, ...this.room.entered(uids), { do: "settle-later" }];
  }

  /** @param {import("./protocol.js").ServerMessage | null} message @returns {Effect[]} */
  #inRoom(message) {
    if (!this.room) return [];
    switch (message?.verb) {
      case "ROOM_PEER_JOINED":
        return this.room.joined(message.peer);
      case "ROOM_PEER_LEFT":
        return this.room.left(message.peer);
      case "ROOM_PEER_MSG":
        return this.room.message(message.from, message.msg);
      default:
        return [];
    }
  }

  /** @param {Extract<import("./protocol.js").ServerMessage, {verb: "ERROR"}>} error @returns {Effect[]} */
  #error({ code, subject, text }) {
    /** @type {Partial<Record<string, NoticeCode>>} */
    const codes = { "not-found": "peer-not-found", busy: "peer-busy", "invalid-room": "invalid-room" };
    // If the name is a valid room id, the server refuses us, not the name.
    const known = code === "invalid-room" && isRoomId(subject) ? "room-refused" : codes[code];
    /** @type {Effect} */
    const notice = { do: "notice", code: known ?? "server-error", subject: known ? subject : text };
    switch (this.state) {
      case "calling":
      case "joining":
        this.state = "ready";
        this.#wish = null;
        return [notice, ...this.#forgetAll()];
      case "in-call":
        // In a session every message is the peer's.
        return [{ do: "notice", code: "peer-error", subject: text }, ...this.#hangUp()];
      case "ringing":
        return [this.#missed(), ...this.#reconnect()];
      case "in-room":
        // The addressee left while our message was under way: ROOM_PEER_LEFT handles that.
        return code === "not-found" || code === "not-in-room" ? [] : [notice];
      case "connecting":
      case "reconnecting":
        this.#objection = text;
        return [notice];
      default:
        return [notice];
    }
  }

  /**
   * @param {number} code @param {string} reason
   * @param {boolean} flows whether media flow between us and the partner of a 1-1 call
   * @returns {Effect[]}
   */
  #closed(code, reason, flows) {
    const before = this.state;
    const opened = this.#opened;
    this.#opened = false;
    if (this.#isCutOff) return this.#closedAgain(code, reason);
    if (code === 1002 && this.#awaitsServer) return this.#refused(reason);
    if (before === "refused") return [];
    const unwelcome = code === 1008 ? UNWELCOME.get(reason) : undefined;
    const missed = before === "ringing" ? [this.#missed()] : [];
    if (unwelcome) return [...missed, ...this.#giveUp(this.#whyUnwelcome(unwelcome))];
    if (before === "leaving") return code === TRY_AGAIN_LATER ? this.#waitFor(code) : this.#connectAnew();
    if (before === "ringing" && code === 1000) return [...missed, ...this.#connectAnew()];
    // Of a partner that is out of reach nothing can be heard: it may have lost the server as well.
    if (before === "in-call" && this.#mayHeal) return this.#resume({ type: "lost" });
    if (before === "in-call" && code === 1000) return flows ? this.#resume({ type: "gone" }) : this.#partnerLeft();
    if (before === "in-call" && flows) return this.#resume({ type: "lost" });
    const effects = before === "in-call" ? this.#forgetAll() : [];
    if (this.room) this.room.lost();
    // A caller that stayed silent has left.
    const silent = code === 1000 && (before === "ready" || before === "calling");
    // The missed call stays on the page; that the server is gone, the status says.
    const news = silent ? [] : missed.length > 0 ? missed : opened ? this.#tell(this.#whyLost(before, code)) : [{ do: /** @type {const} */ ("ask-why") }];
    return [...effects, ...news, ...this.#waitFor(code)];
  }

  /** Connects after a pause. @param {number} code of the last close @returns {Effect[]} */
  #waitFor(code) {
    this.state = this.#wasRegistered ? "reconnecting" : "connecting";
    return [code === TRY_AGAIN_LATER ? { do: "connect-later", leastMs: BUSY_MS } : { do: "connect-later" }];
  }

  /** The server has ended the session. @returns {Effect[]} */
  #partnerLeft() {
    const subject = this.#partnerName();
    return [...this.#forgetAll(), { do: "notice", code: this.#heard ? "peer-left" : "not-taken", subject }, ...this.#connectAnew()];
  }

  /** Handles an event of a 1-1 call that loses its session, or has lost it. @param {import("./resume.js").Event} event @returns {Effect[]} */
  #resume(event) {
    const wasAlone = this.isAlone;
    const effects = this.#resumption?.handle(event) ?? [];
    const news = !this.isAlone || wasAlone ? [] : this.#mayHeal ? this.#tell("call-interrupted", this.#partnerName()) : this.#tell("call-goes-on");
    return [...news, ...effects.flatMap((effect) => this.#resumeEffect(effect))];
  }

  /** @param {import("./resume.js").Effect} effect @returns {Effect[]} */
  #resumeEffect(effect) {
    switch (effect.do) {
      case "listen":
        return [{ ...effect, uid: this.peer ?? "" }];
      case "peer-left":
        return this.#partnerLeft();
      case "resumed": {
        this.#told = null;
        const uid = this.peer ?? "";
        const unsent = this.#resumption?.takeUnsent() ?? [];
        return [{ do: "notice", code: "back" }, ...unsent.flatMap((signal) => this.#sendSignal(uid, signal)), { do: "heal", uid }];
      }
      case "connect-later":
        return [this.#mayHeal ? { ...effect, mostMs: URGENT_MS } : effect];
      default:
        return [effect];
    }
  }

  /** A connection closed on which the call was to be resumed. @param {number} code @param {string} reason @returns {Effect[]} */
  #closedAgain(code, reason) {
    if (code === 1008 && UNWELCOME.has(reason)) return this.#resume({ type: "sent-away" });
    const effects = this.#resume({ type: code === 1000 ? "gone" : "lost" });
    return effects.map((effect) => (effect.do === "connect-later" && code === TRY_AGAIN_LATER ? { ...effect, leastMs: BUSY_MS } : effect));
  }

  /** Ends a call that went on without the server, and returns to the server. @returns {Effect[]} */
  #leaveAlone() {
    const isRegistered = this.#resumption?.isRegistered;
    this.state = isRegistered ? "leaving" : "reconnecting";
    return [...this.#forgetAll(), { do: isRegistered ? "close" : "connect" }];
  }

  /** The name of the partner in a 1-1 call; empty if it is not known. */
  #partnerName() {
    return (this.peer === CALLER ? this.caller : this.peer) ?? "";
  }

  /** @param {NoticeCode} code @returns {Effect} */
  #whyUnwelcome(code) {
    return this.#objection ? { do: "notice", code: "refused", subject: this.#objection } : { do: "notice", code, subject: this.id };
  }

  /** @param {State} before @param {number} code @returns {NoticeCode} */
  #whyLost(before, code) {
    if (before === "in-call") return "call-lost";
    if (code === 1001) return "server-restarts";
    if (code === TRY_AGAIN_LATER) return "too-many";
    return this.#wasRegistered ? "server-lost" : "server-unreachable";
  }

  /** Shows a notice about the server, but not twice in a row. @param {NoticeCode} code @param {string} [subject] @returns {Effect[]} */
  #tell(code, subject) {
    if (this.#told === code) return [];
    this.#told = code;
    return [subject === undefined ? { do: "notice", code } : { do: "notice", code, subject }];
  }

  /** Handles the reason why no WebSocket opened (why.js). @param {import("./why.js").Why} why @returns {Effect[]} */
  #explained(why) {
    if (!this.#awaitsServer || this.#opened) return [];
    if (LASTING.includes(why)) return [...this.#giveUp({ do: "notice", code: why, subject: this.id }), { do: "stay-away" }];
    // A notice already says that the server is gone.
    return why === "server-unreachable" && this.#told ? [] : this.#tell(why);
  }

  /** @param {string} reason @returns {Effect[]} */
  #refused(reason) {
    const taken = reason === "invalid peer uid";
    this.#refusals += 1;
    // Our own old connection may hold the uid until the server notices that it is dead.
    const mayBeOurs = this.#wasRegistered ? !this.#uidOverdue : this.#refusals < TAKEN_ATTEMPTS;
    if (taken && mayBeOurs) {
      const isFirst = this.#wasRegistered && this.#refusals === 1;
      return isFirst ? [{ do: "connect-later" }, { do: "expect-uid", absence: this.#absence }] : [{ do: "connect-later" }];
    }
    return this.#giveUp(taken ? { do: "notice", code: "uid-taken", subject: this.id } : { do: "notice", code: "refused", subject: reason });
  }

  #forgetRefusals() {
    this.#refusals = 0;
    this.#absence += 1;
    this.#uidOverdue = false;
  }

  /** Stops reconnecting until the user tries again. @param {Effect} notice @returns {Effect[]} */
  #giveUp(notice) {
    this.state = "refused";
    this.#wish = null;
    this.#forgetRefusals();
    this.#wasRegistered = false; // the uid may be another's now
    return [...this.#forgetAll(), notice];
  }

  /** @returns {Effect[]} */
  #hangUp() {
    this.#wish = null;
    if (this.#isCutOff) {
      this.#told = null; // the notice about the call is over
      return this.#leaveAlone();
    }
    const effects = this.#forgetAll();
    switch (this.state) {
      case "in-call":
      case "in-room":
      case "calling":
      case "ringing":
      case "joining":
        this.state = "leaving";
        return [...effects, { do: "close" }];
      default:
        return effects;
    }
  }

  /** @param {string} id @returns {Effect[]} */
  #rename(id) {
    if (this.peer !== null || this.room) return [];
    if (id === this.id) return this.state === "refused" ? this.#connectAnew() : [];
    this.id = id;
    this.#wasRegistered = false;
    this.#forgetRefusals();
    this.#told = null;
    if (this.state === "offline") return [];
    return ["ready", "ringing", "calling"].includes(this.state) ? this.#reconnect() : this.#connectAnew();
  }

  /** @returns {Effect[]} */
  #connectAnew() {
    this.state = "connecting";
    this.#opened = false;
    return [{ do: "connect" }];
  }

  /** Removes all peers. @returns {Effect[]} */
  #forgetAll() {
    /** @type {Effect[]} */
    const effects = this.room?.clear() ?? [];
    if (this.peer !== null) effects.push({ do: "remove-peer", uid: this.peer, reason: "left" });
    this.room = null;
    this.peer = null;
    this.#resumption = null;
    this.#forgetCaller();
    return effects;
  }

  /** @param {string} uid @param {Signal} signal @returns {Effect[]} */
  #sendSignal(uid, signal) {
    if (this.state === "in-call") {
      const said = this.#resumption?.say(signal);
      return said ? [{ do: "send", text: formatSignal(said) }] : [];
    }
    const text = formatSignal(signal);
    return this.state === "in-room" ? [{ do: "send", text: format.roomPeerMsg(uid, text) }] : [];
  }
}
