// Many stock clients in one process, each of which asks one question after another.
//
// Arguments: the server's URL, the access tokens (one a client) as JSON, the seconds.
// stdout: one JSON object at the end. See tests/jitter.py.
const { io } = require('socket.io-client');

const [url, tokens, seconds] = [process.argv[2], JSON.parse(process.argv[3]), Number(process.argv[4])];
const until = Date.now() + seconds * 1000;
const told = {
  whole: 0, broken: 0, cut: 0, doubled: 0, recovered: 0, fresh: 0, disconnects: 0,
  unended: 0, problems: [], caughtUpMs: [],
};
let busy = 0;

function problem(text) {
  if (told.problems.length < 20) told.problems.push(text);
}

// What had happened before and after the first token that is not as it should be.
function around(trail, heard, text) {
  let at = 0;
  while (heard[at] === text[at]) at += 1;
  const number = heard.slice(0, heard.lastIndexOf(' ', at)).split(' ').pop();
  const index = trail.findLastIndex((what) => what.startsWith(`token ${number} @`));
  return trail.slice(Math.max(0, index - 6), index + 8).join(' | ');
}

function begin(token, index) {
  const socket = io(url, { auth: { token }, reconnectionDelay: 100, reconnectionDelayMax: 500 });
  let number = 0;
  let stream = null;
  let back = 0;
  let trail = []; // what has happened lately, to be told of a stream that is broken
  busy += 1;

  function note(what) {
    trail.push(what);
    if (trail.length > 4000) trail.shift();
  }

  function ask() {
    if (Date.now() > until) {
      busy -= 1;
      socket.close();
      if (busy === 0) finish();
      return;
    }
    number += 1;
    stream = { sessionId: `c${index}-${number}`, starts: 0, text: '' };
    socket.emit('llm:chat:stream', {
      sessionId: stream.sessionId,
      provider: 'openai',
      model: 'numbers',
      messages: [{ role: 'user', content: `Question ${index} ${number}` }],
    });
  }

  socket.on('connect', () => {
    note(`connect ${socket.recovered} ${socket.io.engine.id.slice(0, 4)} ${Date.now() % 100000}`);
    if (socket.recovered) told.recovered += 1;
    else if (number > 0) {
      told.fresh += 1;
      if (stream) {
        // What the client would attach to again; here it only counts.
        told.cut += 1;
        stream = null;
        setTimeout(ask, 200);
      }
    }
    back = Date.now();
    if (number === 0) ask();
  });
  socket.on('disconnect', (reason) => {
    told.disconnects += 1;
    note(`disconnect ${reason} ${Date.now() % 100000}`);
  });
  socket.io.on('open', () => socket.io.engine.once('upgrade', () => note(`upgrade ${Date.now() % 100000}`)));
  socket.onAny((name, data, offset) => {
    note(`${name.slice(11)} ${data.token ?? ''}@${offset}`);
    if (!stream || data.sessionId !== stream.sessionId) {
      if (name !== 'llm:stream:token') problem(`${name} of ${data.sessionId}, ${JSON.stringify(data).slice(0, 200)}`);
      return;
    }
    if (name === 'llm:stream:token' && back) {
      told.caughtUpMs.push(Date.now() - back);
      back = 0;
    }
    if (name === 'llm:stream:start') stream.starts += 1;
    else if (name === 'llm:stream:token') stream.text += data.token;
    else {
      const text = data.fullResponse ?? data.partialResponse;
      if (name === 'llm:stream:done' && stream.starts === 1 && text === stream.text) told.whole += 1;
      else if (name === 'llm:stream:done') {
        told.doubled += stream.text.length > text.length ? 1 : 0;
        told.broken += 1;
        problem(`${stream.sessionId}: ${stream.starts} starts, ${stream.text.length} of ${text.length}`);
        problem(around(trail, stream.text, text));
      } else {
        told.unended += 1;
        problem(`${name}: ${JSON.stringify(data).slice(0, 200)}`);
      }
      stream = null;
      setTimeout(ask, 50);
    }
  });
}

function finish() {
  const sorted = told.caughtUpMs.sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  told.caughtUpMs = { p50: at(0.5), p95: at(0.95), p99: at(0.99), count: sorted.length };
  process.stdout.write(JSON.stringify(told) + '\n');
  process.exit(0);
}

tokens.forEach((token, index) => setTimeout(() => begin(token, index), 5 * index));
