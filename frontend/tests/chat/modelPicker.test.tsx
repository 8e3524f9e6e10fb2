/** What can be picked, and where those are led who may change what cannot. */
import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { createRef } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Conversation } from "../../src/chat/Conversation";
import { ModelPicker } from "../../src/chat/ModelPicker";
import { offersOf, type Provider } from "../../src/chat/providers";
import { UiProvider } from "../../src/ui";
import { connectedClient, pass, reset, restore, socket } from "../llm/fakes";

const PAGE = "/chat/admin/llmchat/providerkey/add/?provider=1";
const MISSING: Provider = {
  ...{ name: "claude", label: "Claude", model: "sonnet", models: [], usable: false },
  ...{ code: "key_not_configured", error: "No key" },
};
const LOCAL: Provider = { name: "local", label: "Local", model: "small", usable: true };

beforeEach(() => {
  reset();
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.stubGlobal("CSS", { supports: () => true });
});
afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
  restore();
});

function pickerOf(...providers: Provider[]) {
  const offers = offersOf(providers);
  const does = { choose: vi.fn(), refresh: vi.fn() };
  return { offers, picked: offers[0] ?? null, problem: null, ...does };
}

test.each([PAGE, undefined])("the page %s of a provider without a key", async (adminUrl) => {
  const assign = vi.spyOn(location, "assign").mockReturnValue(undefined);
  const missing = adminUrl === undefined ? MISSING : { ...MISSING, adminUrl };
  render(
    <UiProvider>
      <ModelPicker {...pickerOf(LOCAL, missing)} />
    </UiProvider>,
  );
  fireEvent.keyDown(screen.getByRole("button"), { key: "Enter" });
  await act(() => pass());
  const item = screen.getByRole("menuitem", { name: /Claude/ });
  expect(item.textContent?.includes("Set it up in the admin.")).toBe(adminUrl !== undefined);
  fireEvent.click(item);
  expect(assign.mock.calls).toEqual(adminUrl === undefined ? [] : [[adminUrl]]);
});

test("what the provider lacks is read anew where an answer fails for it", async () => {
  const { client, key } = await connectedClient();
  const picker = pickerOf(LOCAL);
  render(
    <UiProvider>
      <Conversation
        client={client}
        chatKey={key}
        owner="1"
        picker={picker}
        instructions=""
        composer={createRef<HTMLTextAreaElement>()}
      />
    </UiProvider>,
  );
  const ask = () => client.ask(key, "Hi!", { provider: "local" });
  act(() => void ask());
  await act(async () => socket().fail("provider_unavailable"));
  expect(picker.refresh).not.toHaveBeenCalled();
  act(() => void ask());
  await act(async () => socket().fail("provider_auth"));
  expect(picker.refresh).toHaveBeenCalledOnce();
});
