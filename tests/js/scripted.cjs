// socket.io-client on a connection to a script instead of a server.
"use strict";

const stock = require("socket.io-client");
const { Transport } = require("engine.io-client");

const HANDSHAKE = { sid: "s", upgrades: [], pingInterval: 25000, pingTimeout: 20000 };

/** What a test sends and receives as the server. */
const server = {
  /** Refusals of the next connections: `data` of each `connect_error`. */
  refusals: [],
  /** The `auth` of each client that asked to join. */
  auths: [],
  /** Called with each event. */
  onEvent: () => {},
  /** How many clients have left for good. */
  left: 0,
  connection: undefined,
  emit: (...event) => server.connection.say(`2${JSON.stringify(event)}`),
  /** Lose the connection. */
  lose: () => server.connection.onClose("transport close"),
  /** Disconnect the client, as a server does. */
  expel: () => server.connection.say("1"),
};

class Scripted extends Transport {
  get name() {
    return "scripted";
  }
  doOpen() {
    server.connection = this;
    setImmediate(() => {
      if (this.readyState !== "opening") return;
      this.onOpen();
      this.onPacket({ type: "open", data: JSON.stringify(HANDSHAKE) });
    });
  }
  doClose() {}
  write(packets) {
    this.writable = false;
    setImmediate(() => {
      if (this.readyState !== "open") return;
      for (const { type, data } of packets) if (type === "message") this.hear(data);
      this.writable = true;
      this.emitReserved("drain");
    });
  }
  say(data) {
    this.onPacket({ type: "message", data });
  }
  hear(data) {
    const rest = data.slice(1);
    if (data[0] === "0") this.judge(JSON.parse(rest || "{}"));
    else if (data[0] === "1") server.left += 1;
    else if (data[0] === "2") server.onEvent(...JSON.parse(rest));
  }
  judge(auth) {
    server.auths.push(auth);
    const refused = server.refusals.shift();
    if (refused) this.say(`4${JSON.stringify({ message: refused.code, data: refused })}`);
    else this.say(`0${JSON.stringify({ sid: "socket", pid: auth.pid ?? "pid" })}`);
  }
}

const io = (url, options) => stock.io(url, { ...options, transports: [Scripted] });
exports.io = io;
exports.server = server;
