// The peer in Node: the same events on socket.io and undici, and the same two ways over
// HTTP. It checks the JWT and validates the payload. With DATABASE set, it also writes to
// SQLite once at a stream's start and once at its end. With CLUSTER_ENGINE and REDIS set,
// it is one of several workers, and serves the sessions of any of them.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { Agent, request } from "undici";
import { Server } from "socket.io";

const { PORT, PROVIDER, SECRET, DATABASE, CLUSTER_ENGINE, REDIS } = process.env;
const isClustered = Boolean(CLUSTER_ENGINE && REDIS);
const agent = new Agent({ connections: 5000, pipelining: 1 });
const books = DATABASE ? await openBooks(DATABASE) : null;
const ROLES = ["system", "user", "assistant"];

async function openBooks(path) {
  const { default: Database } = await import("better-sqlite3");
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = NORMAL");
  database.exec(`CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY,
    user_id INTEGER, session_id TEXT, question TEXT, answer TEXT, state TEXT,
    created_at INTEGER)`);
  return {
    start: database.prepare("INSERT INTO message VALUES (?, ?, ?, ?, '', 'streaming', ?)"),
    end: database.prepare("UPDATE message SET answer = ?, state = ? WHERE id = ?"),
  };
}

async function openClusterEngine(path, url) {
  const { RedisEngine } = createRequire(import.meta.url)(path);
  const { createClient } = await import("redis");
  const clients = [createClient({ url }), createClient({ url })];
  await Promise.all(clients.map((client) => client.connect()));
  return new RedisEngine(...clients, { perMessageDeflate: false });
}

function userOf(token) {
  const [head, body, signature] = String(token).split(".");
  const right = createHmac("sha256", SECRET).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature ?? "", "base64url");
  if (given.length !== right.length || !timingSafeEqual(given, right)) {
    throw new Error("invalid");
  }
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  if (claims.exp * 1000 < Date.now()) throw new Error("expired");
  return claims.user_id;
}

function isMessage(message) {
  return ROLES.includes(message?.role) && typeof message.content === "string" && message.content;
}

function check(turn) {
  const { sessionId, messages } = turn ?? {};
  const isNamed = typeof sessionId === "string" && sessionId.length <= 128;
  if (!isNamed || !Array.isArray(messages) || !messages.length || !messages.every(isMessage)) {
    throw new Error("bad request");
  }
}

// Call `onToken` with each text of an answer; return the number of its tokens.
async function relay(turn, signal, onToken) {
  const { statusCode, body } = await request(PROVIDER, {
    method: "POST",
    dispatcher: agent,
    signal,
    headers: { "content-type": "application/json", authorization: "Bearer sk-bench" },
    body: JSON.stringify({
      model: turn.model,
      messages: turn.messages,
      stream: true,
      stream_options: { include_usage: true },
    }),
  });
  if (statusCode !== 200) throw new Error(`status ${statusCode}`);
  body.setEncoding("utf8");
  let rest = "";
  let count = 0;
  for await (const chunk of body) {
    rest += chunk;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const data = JSON.parse(line.slice(6));
      if (data.usage) count = data.usage.completion_tokens;
      const token = data.choices[0]?.delta?.content;
      if (token) onToken(token);
    }
  }
  return count;
}

// Call `emit` for each event of a stream: its start, its tokens, its one end.
async function answer(user, turn, emit, signal) {
  const { sessionId, provider, messages } = turn;
  const id = randomUUID();
  books?.start.run(id, user, sessionId, messages.at(-1).content, Date.now());
  emit("start", { sessionId, provider, timestamp: Date.now(), messageId: id });
  let text = "";
  let state = "complete";
  try {
    const tokenCount = await relay(turn, signal, (token) => {
      text += token;
      emit("token", { sessionId, token, timestamp: Date.now() });
    });
    const end = { fullResponse: text, tokenCount, timestamp: Date.now() };
    books?.end.run(text, state, id);
    emit("done", { sessionId, provider, ...end });
  } catch (error) {
    state = signal?.aborted ? "cancelled" : "error";
    books?.end.run(text, state, id);
    emit(state, { sessionId, error: error.message, timestamp: Date.now() });
  }
}

function onConnection(socket) {
  const running = new Map();
  socket.on("llm:chat:stream", async (turn) => {
    const emit = (name, fields) => socket.emit(`llm:stream:${name}`, fields);
    try {
      check(turn);
    } catch (error) {
      emit("error", { sessionId: null, error: error.message, timestamp: Date.now() });
      return;
    }
    const controller = new AbortController();
    running.set(turn.sessionId, controller);
    await answer(socket.data.user, turn, emit, controller.signal);
    running.delete(turn.sessionId);
  });
  socket.on("llm:stream:cancel", ({ sessionId }) => running.get(sessionId)?.abort());
}

async function onRequest(req, res) {
  const user = userOf(req.headers.authorization?.slice("Bearer ".length));
  let body = "";
  req.setEncoding("utf8");
  for await (const chunk of req) body += chunk;
  const turn = JSON.parse(body);
  check(turn);
  if (!turn.stream) {
    await answer(user, turn, (name, fields) => {
      if (name !== "start" && name !== "token") res.end(JSON.stringify(fields));
    });
    return;
  }
  res.writeHead(200, { "content-type": "text/event-stream" });
  await answer(user, turn, (name, fields) => {
    res.write(`event: llm:stream:${name}\ndata: ${JSON.stringify(fields)}\n\n`);
  });
  res.end();
}

const server = createServer((req, res) => {
  if (req.url !== "/llm/chat") return;
  onRequest(req, res).catch((error) => {
    res.writeHead(400);
    res.end(error.message);
  });
});
const io = new Server(isClustered ? undefined : server, { perMessageDeflate: false });
if (isClustered) {
  // The cluster engine makes polling clients wait before they join, one after another
  // here, and Node closes the connections of those that were idle for five seconds.
  server.keepAliveTimeout = 75_000;
  const engine = await openClusterEngine(CLUSTER_ENGINE, REDIS);
  engine.attach(server, { path: "/socket.io/" });
  io.bind(engine);
}
io.use((socket, next) => {
  try {
    socket.data.user = userOf(socket.handshake.auth.token);
    next();
  } catch (error) {
    next(error);
  }
});
io.on("connection", onConnection);
server.listen(Number(PORT), "127.0.0.1");
