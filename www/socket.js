// @ts-check
// One WebSocket at a time to the signalling server, with liveness checks and back-off. No document; of the protocol it
// knows only the heartbeat.

/** How long to wait for the server's close frame before going on without it. */
const CLOSE_DEADLINE_MS = 1000;
/** How long an attempt to connect may take. */
const OPEN_DEADLINE_MS = 10_000;
/** How long an open connection may take to answer HELLO: a webhook has 5 s, a slow server more. */
const HELLO_DEADLINE_MS = 20_000;
/**
 * How long a registration, a call or a room must last to reset the back-off: a server may register us and refuse a join,
 * or close each room that we have joined.
 */
const STABLE_MS = 30_000;
/** How long after the registration the first heartbeat may come. */
const PROMISE_MS = 5000;
/** How late a heartbeat may be. */
const LATE_MS = 10_000;
/** After the computer slept, timers fire before frames that have arrived: wait this long for those. */
const AWAKE_MS = 5000;

/**
 * Exponential back-off with jitter, so that peers of a restarted server do not reconnect all at once.
 * @param {number} attempt 0 for the first
 * @param {() => number} random
 */
export function backOffMs(attempt, random = Math.random) {
  const ceiling = Math.min(15_000, 500 * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling * (0.5 + 0.5 * random()));
}

/**
 * @typedef {{opened: () => void, text: (text: string) => void, closed: (code: number, reason: string) => void}} SocketEvents
 */

/** Exactly one `closed` event follows each `connect`, unless `connect` is called again before. */
export class Socket {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempt = 0;
  /** Whether the timer is `connectLater`'s. */ #waits = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #pulse;
  /** How long the server may be silent; 0 until it has announced heartbeats. */ #patienceMs = 0;
  /** Until when the server may announce heartbeats for the first time; null if it no longer may. @type {number | null} */
  #promiseDue = null;

  /**
   * @param {string} url
   * @param {string[]} protocols subprotocols to name
   * @param {SocketEvents} events
   * @param {{WebSocket?: typeof WebSocket, random?: () => number, now?: () => number}} environment
   */
  constructor(url, protocols, events, environment = {}) {
    this.url = url;
    this.protocols = protocols;
    this.events = events;
    this.WebSocket = environment.WebSocket ?? globalThis.WebSocket;
    this.random = environment.random ?? Math.random;
    this.now = environment.now ?? (() => performance.now());
  }

  /** Connects now. */
  connect() {
    this.#drop();
    let socket;
    try {
      socket = new this.WebSocket(this.url, this.protocols);
    } catch (error) {
      this.#timer = setTimeout(() => this.events.closed(1006, String(error)), 0);
      return;
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#closed(1006, "no answer to HELLO"), HELLO_DEADLINE_MS);
      this.#promiseDue = Infinity;
      this.events.opened();
    };
    socket.onmessage = ({ data }) => {
      const text = typeof data === "string" ? data : jsonIn(data);
      const isBeat = text !== null && this.#hear(text);
      if (text !== null && !isBeat) this.events.text(text);
    };
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#timer = setTimeout(() => this.#closed(1006, "no connection in time"), OPEN_DEADLINE_MS);
  }

  /**
   * A frame arrived: the connection is alive. Once the server has announced heartbeats, silence means that it is dead.
   * A browser would notice that only when it sends, and then only after minutes.
   * @param {string} text @returns {boolean} whether that was a heartbeat
   */
  #hear(text) {
    const beat = /^HEARTBEAT (\d{1,5})$/.exec(text);
    if (beat) this.#promise(Number(beat[1]) * 1000 + LATE_MS);
    else this.#promiseDue = null;
    if (this.#patienceMs > 0) this.#expect(this.#patienceMs);
    return beat !== null;
  }

  /**
   * A heartbeat may be a peer's text: in a 1-1 call the server forwards all frames. Therefore only the frame
   * before or after the answer to HELLO turns the check on, and later heartbeats can only lengthen the time.
   * @param {number} ms
   */
  #promise(ms) {
    const mayBegin = this.#promiseDue !== null && this.now() <= this.#promiseDue;
    if (this.#patienceMs > 0 || mayBegin) this.#patienceMs = Math.max(this.#patienceMs, ms);
    this.#promiseDue = null;
  }

  /** @param {number} ms within which a frame must arrive */
  #expect(ms) {
    clearTimeout(this.#pulse);
    const due = this.now() + ms;
    this.#pulse = setTimeout(() => {
      if (this.now() - due > LATE_MS) this.#expect(AWAKE_MS);
      else this.#closed(1006, "no heartbeat");
    }, ms);
  }

  /**
   * Connects after a pause that grows with every call until the back-off is reset.
   * @param {number} leastMs added to it @param {number} mostMs bounds it
   */
  connectLater(leastMs = 0, mostMs = Infinity) {
    this.#drop();
    this.#waits = true;
    this.#timer = setTimeout(() => this.connect(), leastMs + Math.min(mostMs, backOffMs(this.#attempt, this.random)));
    this.#attempt += 1;
  }

  /** Ends the pause of `connectLater`, for example because the network is back. */
  hurry() {
    if (this.#waits) this.connect();
  }

  /** Stops all attempts. No `closed` event follows. */
  stayAway() {
    this.#drop();
  }

  /** The server answered HELLO, with the frame that is being handled. */
  registered() {
    this.succeeded();
    this.#promiseDue = this.now() + PROMISE_MS;
  }

  /** The server did what we asked for: resets the back-off if that lasts. */
  succeeded() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#attempt = 0), STABLE_MS);
  }

  /** @param {string} text */
  send(text) {
    if (this.#socket?.readyState === 1) this.#socket.send(text);
  }

  /** Closes the socket. The `closed` event follows once the server answers, or after a deadline. */
  close() {
    if (!this.#socket) return;
    this.#socket.onmessage = null;
    this.#socket.close(1000);
    clearTimeout(this.#timer);
    clearTimeout(this.#pulse);
    this.#timer = setTimeout(() => this.#closed(1006, "no answer to close"), CLOSE_DEADLINE_MS);
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    this.#drop();
    this.events.closed(code, reason);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#pulse);
    this.#patienceMs = 0;
    this.#promiseDue = null;
    this.#waits = false;
    if (!this.#socket) return;
    const socket = this.#socket;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState < 2) socket.close();
  }
}

/**
 * The JSON in a binary frame, which some peers send. The server's own messages are text frames.
 * @param {ArrayBuffer} data @returns {string | null}
 */
function jsonIn(data) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(data);
    return text.trimStart().startsWith("{") ? text : null;
  } catch {
    return null;
  }
}
