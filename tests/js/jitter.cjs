// Many stock clients in one process, each of which asks one question after another.
//
// Arguments: the server's URL, a JSON file of access tokens (one per client), how many
// seconds to run.
// stdout: one JSON object at the end. See tests/jitter.py.
const { io } = require('socket.io-client');

const fs = require('fs');
const [url, file] = process.argv.slice(2, 4);
const tokens = JSON.parse(fs.readFileSync(file, 'utf8'));
const seconds = Number(process.argv[4]);
// The longest silence after an event of a stream; and, where the connection was lost
// before a question was acknowledged, from the return until the client asks again.
const HANGING_MS = 60000;
const UNHEARD_MS = 8000;
// When to try again after the server has refused the connection: the stock client does not.
const AGAIN_MS = 500;
// How many trails of hanging clients to report, and how much of each.
const TRAILS = 20;
const TRAIL = 120;
// It takes less time to find out that a worker is dead, and for its clients to be back.
const SLOW_MS = 4000;
const until = Date.now() + seconds * 1000;
const told = {
  whole: 0, broken: 0, cut: 0, doubled: 0, recovered: 0, fresh: 0, disconnects: 0,
  unended: 0, interrupted: 0, hanging: 0, unheard: 0, ignored: 0, askedAgain: 0,
  reattached: 0, late: 0, afterAll: 0, muted: 0, turnedAway: {}, refused: {}, problems: [], hangingTrails: [], caughtUpMs: [],
  backMs: [], stalledMs: [], slow: [],
};
let busy = 0;

function count(counters, code) {
  counters[code] = (counters[code] ?? 0) + 1;
}

function problem(text) {
  if (told.problems.length < 20) told.problems.push(text);
}

// Other problems are more frequent, and must not take the place of these.
function hanging(trail) {
  told.hanging += 1;
  if (told.hangingTrails.length >= TRAILS) return;
  told.hangingTrails.push(`${trail.slice(-TRAIL).join(' | ')} | now ${Date.now() % 100000}`);
}

// Note what happened to a client that had to wait for its next token.
function slow(ms, trail) {
  if (told.slow.length < 10) told.slow.push(`${ms}: ${trail.slice(-24).join(' | ')}`);
}

// Return what happened before and after the first token that is wrong.
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
  let gone = 0;
  let stalled = 0;
  let watch = null;
  let isOver = false;
  const over = new Set(); // the sessions that have ended
  let trail = []; // what happened recently, to be reported if a stream is broken
  busy += 1;

  function note(what) {
    trail.push(what);
    if (trail.length > 4000) trail.shift();
  }

  // A client that receives nothing for too long has been forgotten by the server, unless
  // it was mute: see `mute`.
  function heard() {
    clearTimeout(watch);
    const isLost = stream && !stream.known && stream.disturbed && socket.connected;
    watch = setTimeout(() => {
      if (!stream) return;
      if (stream.starts) hanging(trail);
      else silent(stream.known ? 'unheard' : stream.disturbed ? 'askedAgain' : 'ignored');
      stream = null;
      ask();
    }, isLost ? UNHEARD_MS : HANGING_MS);
  }

  // A question of which nothing was heard.
  function silent(what) {
    told[what] += 1;
    if (told[what] <= 5) problem(`${what}: ${trail.slice(-12).join(' | ')}`);
  }

  // The server has acknowledged a question; `error` is set if the connection was lost.
  function acknowledged(asked, error, ack) {
    note(`ack ${error ? error.message : ack.ok} ${Date.now() % 100000}`);
    if (error || !ack.ok) return; // a refusal is an event, too
    asked.known = true;
    if (asked === stream) heard();
  }

  // The client has a new socket: go on with the answer there.
  function attach(wanted) {
    socket.timeout(UNHEARD_MS).emit('llm:stream:attach', { sessionId: wanted.sessionId }, (error, ack) => {
      note(`attached ${error ? error.message : ack.code ?? ack.ok} ${Date.now() % 100000}`);
      if (wanted !== stream || (error && !socket.connected)) return; // it attaches again
      if (error) return attach(wanted);
      if (!ack.ok) {
        told.cut += 1;
        problem(`cut: ${ack.code} ${trail.slice(-12).join(' | ')}`);
        stream = null;
        setTimeout(ask, 200);
        return;
      }
      told.reattached += 1;
      if (!ack.text.startsWith(wanted.text)) {
        told.broken += 1;
        problem(around(trail, wanted.text, ack.text));
      }
      wanted.text = ack.text;
      wanted.starts = 1;
      heard();
      if (ack.ended) end(ack.ended.event, ack.ended.data);
    });
  }

  // The stock client has lost its WebSocket in mid-upgrade: it neither polls nor sends
  // until it misses a ping. Only what follows that silence, and what preceded it, counts.
  function mute() {
    if (stream) heard();
  }

  function ask() {
    if (Date.now() > until) {
      isOver = true;
      busy -= 1;
      clearTimeout(watch);
      socket.close();
      if (busy === 0) finish();
      return;
    }
    number += 1;
    back = stalled = 0;
    // `known`: acknowledged or begun. `disturbed`: the connection was lost meanwhile.
    const asked = { sessionId: `c${index}-${number}`, starts: 0, text: '', known: false, disturbed: false };
    stream = asked;
    heard();
    note(`ask ${socket.connected} ${socket.io.engine.transport.name} ${socket.io.engine.upgrading} ${Date.now() % 100000}`);
    socket.timeout(HANGING_MS).emit('llm:chat:stream', {
      sessionId: stream.sessionId,
      provider: 'openai',
      model: 'numbers',
      messages: [{ role: 'user', content: `Question ${index} ${number}` }],
    }, (error, ack) => acknowledged(asked, error, ack));
  }

  // A stream was cut off with its worker: what is left is what the client has seen.
  function interrupted(stream, data) {
    const text = data.partialResponse ?? '';
    if (stream.starts === 0) {
      count(told.refused, data.code);
      return;
    }
    told.interrupted += 1;
    if (!stream.text.startsWith(text) || stream.starts !== 1) {
      told.broken += 1;
      problem(`${stream.sessionId}: ${stream.starts} starts, ${text.length} of ${stream.text.length}`);
      problem(around(trail, stream.text, text));
    }
  }

  // The one end of a stream.
  function end(name, data) {
    const text = data.fullResponse ?? data.partialResponse;
    if (name === 'llm:stream:done' && stream.starts === 1 && text === stream.text) told.whole += 1;
    else if (name === 'llm:stream:done') {
      told.doubled += stream.text.length > text.length ? 1 : 0;
      told.broken += 1;
      problem(`${stream.sessionId}: ${stream.starts} starts, ${stream.text.length} of ${text.length}`);
      problem(around(trail, stream.text, text));
    } else if (data.code === 'interrupted' || data.code === 'draining') {
      interrupted(stream, data);
    } else if (stream.starts === 0 && data.code) {
      count(told.refused, data.code);
    } else {
      told.unended += 1;
      problem(`${name}: ${JSON.stringify(data).slice(0, 200)}`);
    }
    over.add(stream.sessionId);
    stream = null;
    setTimeout(ask, data.code ? 500 : 50);
  }

  socket.on('connect', () => {
    note(`connect ${socket.recovered} ${socket.io.engine.id.slice(0, 4)} ${Date.now() % 100000}`);
    if (socket.recovered) told.recovered += 1;
    else if (number > 0) {
      told.fresh += 1;
      problem(`fresh: ${trail.slice(-12).join(' | ')}`);
      if (stream?.known) attach(stream);
    }
    if (stream && !stream.known) heard();
    // A question that was lost with the connection has nothing to catch up with.
    back = stream && stream.starts ? Date.now() : 0;
    if (gone) told.backMs.push(Date.now() - gone);
    if (back && !stalled) stalled = gone;
    gone = 0;
    if (number === 0) ask();
  });
  socket.on('disconnect', (reason) => {
    told.disconnects += 1;
    if (stream) stream.disturbed = true;
    gone ||= Date.now(); // the connection may be lost again before the client has its socket
    note(`disconnect ${reason} ${Date.now() % 100000}`);
    if (reason === 'ping timeout') {
      told.muted += 1;
      mute();
    }
  });
  socket.on('connect_error', (error) => {
    note(`connect_error ${error.message} active=${socket.active} ${Date.now() % 100000}`);
    if (socket.active || isOver) return;
    count(told.turnedAway, error.data?.code ?? error.message);
    setTimeout(() => isOver || socket.connect(), AGAIN_MS);
  });
  for (const name of ['reconnect_attempt', 'reconnect_error']) {
    socket.io.on(name, () => note(`${name} ${Date.now() % 100000}`));
  }
  socket.io.on('open', () => {
    const { engine } = socket.io;
    note(`open ${engine.id.slice(0, 4)} ${Date.now() % 100000}`);
    engine.once('upgrade', () => note(`upgrade ${Date.now() % 100000}`));
    engine.once('upgradeError', (error) => {
      note(`upgradeError ${error.message} upgrading=${engine.upgrading} ${Date.now() % 100000}`);
      if (engine.upgrading) mute();
    });
  });
  socket.onAny((name, data, offset) => {
    note(`${name.slice(11)} ${data.token ?? ''}${data.code ?? ''}@${offset} ${Date.now() % 100000}`);
    if (!stream || data.sessionId !== stream.sessionId) {
      told[over.has(data.sessionId) ? 'late' : 'afterAll'] += 1;
      if (name !== 'llm:stream:token') problem(`${name} of ${data.sessionId}, ${JSON.stringify(data).slice(0, 200)}`);
      return;
    }
    stream.known = true;
    if (name === 'llm:stream:start') stream.starts += 1;
    heard();
    if (name !== 'llm:stream:start' && back) {
      told.caughtUpMs.push(Date.now() - back);
      if (stalled) told.stalledMs.push(Date.now() - stalled);
      if (stalled && Date.now() - stalled > SLOW_MS) slow(Date.now() - stalled, trail);
      back = stalled = 0;
    }
    if (name === 'llm:stream:start') return;
    if (name === 'llm:stream:token') stream.text += data.token;
    else end(name, data);
  });
}

function shares(values) {
  const sorted = values.sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1), count: sorted.length };
}

function finish() {
  for (const name of ['caughtUpMs', 'backMs', 'stalledMs']) told[name] = shares(told[name]);
  process.stdout.write(JSON.stringify(told) + '\n');
  process.exit(0);
}

tokens.forEach((token, index) => setTimeout(() => begin(token, index), 5 * index));
