import { afterEach, expect, test, vi } from "vitest";
import { Answering } from "../src/answering.ts";
import { append, newConversation, showBranchOf } from "../src/store/conversation.ts";

afterEach(() => vi.unstubAllGlobals());

test("a request that is sent again asks the same, whatever branch is shown meanwhile", async () => {
  const conversation = newConversation();
  const other = append(conversation, null, { role: "user", text: "An older question" });
  append(conversation, null, { role: "user", text: "The question" });
  const message = append(conversation, conversation.leaf, { role: "assistant", text: "", stopped: "user" });
  const asked: unknown[] = [];
  vi.stubGlobal("fetch", async (_path: string, { body }: { body: string }) => {
    asked.push(JSON.parse(body).messages);
    if (asked.length === 2) return new Response("{}", { status: 400 });
    showBranchOf(conversation, other);
    return new Response("{}", { status: 503, headers: { "Retry-After": "1" } });
  });
  await new Answering(conversation, message, {}, () => {}).run();
  expect(asked).toEqual([[{ role: "user", content: "The question" }], [{ role: "user", content: "The question" }]]);
  expect(message.error).toMatch(/status 400/);
});
