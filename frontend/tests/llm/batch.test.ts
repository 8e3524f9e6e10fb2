/** Many tokens, few renderings. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Batch } from "../../src/llm/batch";
import { connectedClient, pass, reset, restore, socket } from "./fakes";

beforeEach(reset);
afterEach(restore);

test("a thousand tokens between two frames are one change", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Count", { provider: "local" });
  socket().start();
  const changed = vi.fn();
  client.subscribe(changed);
  for (let index = 0; index < 1000; index += 1) socket().token(`${index} `);
  expect(changed).not.toHaveBeenCalled();
  await pass(17);
  expect(changed).toHaveBeenCalledOnce();
  const text = chat().messages[1]?.content ?? "";
  expect(text.trim().split(" ").map(Number)).toEqual([...Array(1000).keys()]);
});

test("a hidden page, which has no frames, is brought up to date all the same", async () => {
  vi.stubGlobal("requestAnimationFrame", () => 0);
  const deliver = vi.fn();
  const batch = new Batch(deliver);
  batch.add("s1", "a");
  batch.add("s2", "b");
  batch.add("s1", "c");
  await pass(249);
  expect(deliver).not.toHaveBeenCalled();
  await pass(1);
  expect(deliver.mock.calls).toEqual([[new Map([["s1", "ac"], ["s2", "b"]])]]);
  batch.add("s1", "d");
  await pass(250);
  expect(deliver.mock.lastCall).toEqual([new Map([["s1", "d"]])]);
});
