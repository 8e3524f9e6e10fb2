// One release of the stock client against a server of profile B, over each transport.
//
// Arguments: the server's URL, the client package. Prints a JSON object with the outcome
// of each transport; fails if a step takes too long.
const [url, packageName] = process.argv.slice(2);
const { io } = require(packageName);

const LIMIT_MS = 8000;
const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], default: undefined };

const once = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));
const ask = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));

// The engine may have been upgraded before the namespace is joined.
async function upgraded(socket) {
  for (;;) {
    const [who] = await ask(socket, 'whoami');
    if (who.transport === 'websocket') return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// The server sends a few events and immediately closes the connection.
async function lastWords(options) {
  const socket = io(url, options);
  await once(socket, 'connect');
  const heard = [];
  socket.on('burst', (n) => heard.push(n));
  const left = once(socket, 'disconnect');
  socket.emit('burst', 3);
  socket.emit('kill');
  return { killed: (await left)[0], heard };
}

async function run(transports) {
  const options = { forceNew: true, reconnection: false, ...(transports && { transports }) };
  const socket = io(url, options);
  await once(socket, 'connect');
  if (transports === undefined) await upgraded(socket);
  const [who] = await ask(socket, 'whoami');

  const answer = await ask(socket, 'echo', 1, 'é', { a: [true, null] });
  const bytes = Buffer.from([0, 1, 2, 255]);
  const [binary, nothing] = await ask(socket, 'echo', bytes, Buffer.alloc(0));
  socket.emit('echo', 'plain', bytes);
  const [plain, plainBytes] = await once(socket, 'echo');

  const question = new Promise((resolve) => {
    socket.once('question', (text, reply) => reply(text + '!'));
    socket.once('answered', (text) => resolve(text));
  });
  socket.emit('ask', 'how');

  const chat = socket.io.socket('/chat');
  await once(chat, 'connect');
  const [there] = await ask(chat, 'whoami');

  const refused = socket.io.socket('/auth');
  const [error] = await once(refused, 'connect_error');

  const result = {
    transport: who.transport,
    sameId: who.id === socket.id,
    answer,
    binary: Buffer.compare(Buffer.from(binary), bytes) === 0 && nothing.length === 0,
    plain: plain === 'plain' && Buffer.compare(Buffer.from(plainBytes), bytes) === 0,
    question: await question,
    namespace: there.nsp,
    refused: [error.message, error.data],
  };

  const left = once(chat, 'disconnect');
  chat.emit('kick');
  result.kicked = (await left)[0];
  const closed = once(socket, 'disconnect');
  socket.disconnect();
  result.closed = (await closed)[0];
  Object.assign(result, await lastWords(options));
  return result;
}

const limit = setTimeout(() => {
  console.error('a step took too long');
  process.exit(1);
}, LIMIT_MS);

(async () => {
  const results = {};
  for (const [name, transports] of Object.entries(TRANSPORTS)) results[name] = await run(transports);
  clearTimeout(limit);
  process.stdout.write(JSON.stringify(results), () => process.exit(0));
})();
