/** The hook in a component, as integrators use it. */
import { act, cleanup, render, screen } from "@testing-library/react";
import { StrictMode, useState } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import {
  LLMClient,
  LLMProvider,
  type LLMStream,
  logOut,
  useActivity,
  useLLMStream,
} from "../../src/llm";
import {
  openSocket,
  pass,
  requests,
  reset,
  restore,
  socket,
  sockets,
  stored,
  storedMessage,
} from "./fakes";

const LOCAL = { provider: "local" };
let stream: LLMStream;

beforeEach(() => {
  reset();
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
});
afterEach(() => {
  cleanup();
  restore();
});

function Chat(options: { stopOnUnmount?: boolean; chat?: string }) {
  stream = useLLMStream({ openSocket, ...options });
  return (
    <ol>
      {stream.chat.messages.map(({ key, content }) => (
        <li key={key}>{content}</li>
      ))}
    </ol>
  );
}

async function connect(): Promise<void> {
  await act(() => pass());
  await act(async () => socket().accept());
}

const texts = () => screen.queryAllByRole("listitem").map((item) => item.textContent);

test("a chat is asked and shown", async () => {
  render(<Chat />);
  await connect();
  expect(stream.connection).toBe("connected");
  act(() => void stream.ask("Hi!", LOCAL));
  await act(() => {
    socket().start();
    socket().token("Hel");
    socket().token("lo");
    return pass();
  });
  expect(texts()).toEqual(["Hi!", "Hello"]);
  act(() => stream.clear());
  expect(texts()).toEqual([]);
});

test("in StrictMode one socket stays, and each token is shown once", async () => {
  render(
    <StrictMode>
      <Chat />
    </StrictMode>,
  );
  await connect();
  expect(sockets.filter(({ closed }) => !closed)).toEqual([socket()]);
  act(() => void stream.ask("Hi!", LOCAL));
  expect(sockets.flatMap(({ asked }) => asked)).toHaveLength(1);
  await act(() => {
    socket().start();
    socket().token("Hello");
    return pass();
  });
  expect(texts()).toEqual(["Hi!", "Hello"]);
});

test("unmounting during a stream cancels it, and nothing is heard any more", async () => {
  const { unmount } = render(<Chat />);
  await connect();
  act(() => void stream.ask("Hi!", LOCAL));
  const sessionId = socket().lastSessionId;
  act(() => socket().start());
  unmount();
  expect(socket().sentOf("llm:stream:cancel")).toEqual([{ sessionId }]);
  expect(socket()).toMatchObject({ closed: true, left: true });
  socket().token("Hello");
  await pass(60_000);
  expect(sockets).toHaveLength(1);
});

test("unmounting lets answers go on where that is wanted", async () => {
  const { unmount } = render(<Chat stopOnUnmount={false} />);
  await connect();
  act(() => void stream.ask("Hi!", LOCAL));
  unmount();
  expect(socket().sentOf("llm:stream:cancel")).toEqual([]);
  // A client that leaves with a word takes its answers with it.
  expect(socket()).toMatchObject({ closed: true, left: false });
  await pass(60_000);
  expect(sockets).toHaveLength(1);
  expect(socket()).toMatchObject({ connected: false, active: false });
  expect(socket().tokens).toHaveLength(1); // it does not come back
});

test("a component may open a conversation while it is drawn", async () => {
  stored.set("c1", [storedMessage("q1", "user", "Hi!")]);
  const warned = vi.spyOn(console, "error");
  const client = new LLMClient({ openSocket });
  function Opened() {
    const [key] = useState(() => client.openChat("c1"));
    return <Chat chat={key} />;
  }
  function List() {
    return useActivity(client).length;
  }
  const page = (opens: boolean) => (
    <StrictMode>
      <LLMProvider client={client}>
        <List />
        {opens && <Opened />}
      </LLMProvider>
    </StrictMode>
  );
  const { rerender } = render(page(false));
  rerender(page(true));
  await act(() => pass());
  expect(texts()).toEqual(["Hi!"]);
  expect(requests.filter((path) => path.includes("c1"))).toHaveLength(1);
  expect(warned).not.toHaveBeenCalled();
});

test("components share the client of the page, and leave its answers running", async () => {
  const client = new LLMClient({ openSocket });
  const page = (shows: boolean) => (
    <LLMProvider client={client}>{shows && <Chat />}</LLMProvider>
  );
  const { rerender } = render(page(true));
  await connect();
  act(() => void stream.ask("Hi!", LOCAL));
  const { key } = stream.chat;
  rerender(page(false));
  socket().start();
  socket().done("Hello");
  expect(sockets).toHaveLength(1);
  expect(socket().closed).toBe(false);
  expect(client.getChat(key)?.messages[1]?.content).toBe("Hello");
});

test.each([
  ["who logs out takes the answers along", true],
  ["a page that goes leaves its answers running", false],
])("%s", async (_, leaves) => {
  const client = new LLMClient({ openSocket });
  const { unmount } = render(
    <LLMProvider client={client}>
      <Chat />
    </LLMProvider>,
  );
  await connect();
  act(() => void stream.ask("Hi!", LOCAL));
  if (leaves) logOut();
  unmount();
  expect(socket()).toMatchObject({ closed: true, left: leaves });
});
