// The stock Socket.IO client under remote control, with one JSON object per line.
//
// Arguments: the server's URL, the client package, the client's options as JSON.
// stdin:  {"emit": [name, ...args], "ack": number?} | {"drop": true} | {"close": true}
// stdout: {"on": what, ...} for everything that the client reports, in order.
const readline = require('node:readline');

const [url, packageName, options] = process.argv.slice(2);
const { io } = require(packageName);

const socket = io(url, JSON.parse(options));
const tell = (report) => process.stdout.write(JSON.stringify(report) + '\n');
const transport = () => socket.io.engine.transport.name;

socket.io.on('open', () => {
  socket.io.engine.once('upgrade', () => tell({ on: 'upgrade', transport: transport() }));
});
socket.on('connect', () => {
  tell({ on: 'connect', id: socket.id, recovered: socket.recovered === true, transport: transport() });
});
socket.on('disconnect', (reason) => tell({ on: 'disconnect', reason }));
socket.on('connect_error', (error) => {
  tell({ on: 'connect_error', message: error.message, data: error.data ?? null, active: socket.active ?? null });
});
socket.onAny((name, ...args) => tell({ on: 'event', name, args, transport: transport() }));

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line);
    if (command.emit) {
      const answer = (...args) => tell({ on: 'ack', ack: command.ack, args });
      socket.emit(...command.emit, ...(command.ack === undefined ? [] : [answer]));
    } else if (command.drop) {
      socket.io.engine.close(); // as if the network had failed: the client reconnects
    } else {
      socket.close();
    }
  })
  .on('close', () => process.exit(0));
