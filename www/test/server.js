// A model of the signalling server: in-order queues, no network, and those rules of docs/protocols/text.md whose effects the page
// can see.

export class ModelServer {
  /** @type {Map<string, {id: string, to: string[], partner: string | null, room: string | null}>} */
  peers = new Map();

  /** @param {{tellsCallers?: boolean}} how whether it names the caller to the callee */
  constructor({ tellsCallers = false } = {}) {
    this.tellsCallers = tellsCallers;
  }

  /** A new connection; `deliver` receives the server's messages, `closed` the close. */
  connect() {
    return { id: null, to: [], closed: null };
  }

  text(connection, text) {
    if (connection.closed !== null) return;
    const [, verb, rest] = /^(\S+) ?(.*)$/s.exec(text);
    if (connection.id === null) return this.#hello(connection, rest);
    const me = this.peers.get(connection.id);
    if (me.partner) return this.peers.get(me.partner).connection.to.push(text);
    if (me.room) return verb === "ROOM_PEER_MSG" ? this.#message(me, rest) : me.connection.to.push("ERROR invalid msg, already in room");
    if (verb === "SESSION") return this.#session(me, rest);
    if (verb === "ROOM") return this.#room(me, rest);
  }

  #hello(connection, id) {
    if (this.peers.has(id)) return this.#close(connection, 1002, "invalid peer uid");
    connection.id = id;
    this.peers.set(id, { id, connection, partner: null, room: null });
    connection.to.push("HELLO");
  }

  #session(me, id) {
    const other = this.peers.get(id);
    if (!other) return me.connection.to.push(`ERROR peer '${id}' not found`);
    if (other === me || other.partner || other.room) return me.connection.to.push(`ERROR peer '${id}' busy`);
    me.partner = other.id;
    other.partner = me.id;
    me.connection.to.push("SESSION_OK");
    if (this.tellsCallers) other.connection.to.push(`CALLER ${me.id}`);
  }

  #room(me, room) {
    const others = this.#others(room, me.id);
    me.room = room;
    me.connection.to.push(`ROOM_OK ${others.map(({ id }) => id).join(" ")}`);
    for (const other of others) other.connection.to.push(`ROOM_PEER_JOINED ${me.id}`);
  }

  #message(me, rest) {
    const [, id, msg] = /^(\S+) (.*)$/s.exec(rest);
    const other = this.peers.get(id);
    if (!other) return me.connection.to.push(`ERROR peer '${id}' not found`);
    if (other.room !== me.room) return me.connection.to.push(`ERROR peer '${id}' is not in the room`);
    other.connection.to.push(`ROOM_PEER_MSG ${me.id} ${msg}`);
  }

  /** The peer's socket closed. */
  left(connection) {
    const me = this.peers.get(connection.id ?? "");
    if (!me || me.connection !== connection) return;
    this.peers.delete(me.id);
    if (me.partner) {
      const partner = this.peers.get(me.partner);
      this.peers.delete(me.partner);
      this.#close(partner.connection, 1000, "");
    }
    if (me.room) for (const other of this.#others(me.room, me.id)) other.connection.to.push(`ROOM_PEER_LEFT ${me.id}`);
  }

  /** The server dies: all connections are lost without a close frame. */
  crash() {
    for (const { connection } of this.peers.values()) this.#close(connection, 1006, "");
    this.peers.clear();
  }

  #others(room, self) {
    return [...this.peers.values()].filter((peer) => peer.room === room && peer.id !== self);
  }

  #close(connection, code, reason) {
    connection.closed = { code, reason };
  }
}
