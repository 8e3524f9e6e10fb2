// The peer in Node: the same events on socket.io and undici, the JWT checked, the
// payload validated; with DATABASE set, one SQLite write at a stream's start and one
// at its end.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { Agent, request } from "undici";
import { Server } from "socket.io";

const { PORT, PROVIDER, SECRET, DATABASE } = process.env;
const agent = new Agent({ connections: 5000, pipelining: 1 });
const books = DATABASE ? await openBooks(DATABASE) : null;

async function openBooks(path) {
  const { default: Database } = await import("better-sqlite3");
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = NORMAL");
  database.exec(`CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, user_id INTEGER,
    session_id TEXT, question TEXT, answer TEXT, state TEXT, created_at INTEGER)`);
  return {
    start: database.prepare("INSERT INTO message VALUES (?, ?, ?, ?, '', 'streaming', ?)"),
    end: database.prepare("UPDATE message SET answer = ?, state = 'complete' WHERE id = ?"),
  };
}

function userOf(token) {
  const [head, body, signature] = String(token).split(".");
  const right = createHmac("sha256", SECRET).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature ?? "", "base64url");
  if (given.length !== right.length || !timingSafeEqual(given, right)) throw new Error("invalid");
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  if (claims.exp * 1000 < Date.now()) throw new Error("expired");
  return claims.user_id;
}

function isValid(turn) {
  return (
    typeof turn?.sessionId === "string" && turn.sessionId.length <= 128 && Array.isArray(turn.messages) &&
    turn.messages.length > 0 &&
    turn.messages.every((m) => ["system", "user", "assistant"].includes(m?.role) && typeof m.content === "string" && m.content)
  );
}

async function answer(socket, turn) {
  const { sessionId } = turn;
  const provider = turn.provider;
  const id = randomUUID();
  books?.start.run(id, socket.data.user, sessionId, turn.messages.at(-1).content, Date.now());
  socket.emit("llm:stream:start", { sessionId, provider, timestamp: Date.now(), messageId: id });
  let text = "", rest = "", count = 0;
  const { statusCode, body } = await request(PROVIDER, {
    method: "POST",
    dispatcher: agent,
    headers: { "content-type": "application/json", authorization: "Bearer sk-bench" },
    body: JSON.stringify({ model: turn.model, messages: turn.messages, stream: true, stream_options: { include_usage: true } }),
  });
  if (statusCode !== 200) throw new Error(`status ${statusCode}`);
  body.setEncoding("utf8");
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
      if (!token) continue;
      text += token;
      socket.emit("llm:stream:token", { sessionId, token, timestamp: Date.now() });
    }
  }
  books?.end.run(text, id);
  socket.emit("llm:stream:done", { sessionId, provider, fullResponse: text, tokenCount: count, timestamp: Date.now() });
}

const server = createServer();
const io = new Server(server, { perMessageDeflate: false });
io.use((socket, next) => {
  try {
    socket.data.user = userOf(socket.handshake.auth.token);
    next();
  } catch (error) {
    next(error);
  }
});
io.on("connection", (socket) => {
  socket.on("llm:chat:stream", (turn) => {
    const fail = (error) =>
      socket.emit("llm:stream:error", { sessionId: turn?.sessionId ?? null, error: error.message, timestamp: Date.now() });
    if (!isValid(turn)) fail(new Error("bad request"));
    else answer(socket, turn).catch(fail);
  });
});
server.listen(Number(PORT), "127.0.0.1", () => console.log("up"));
