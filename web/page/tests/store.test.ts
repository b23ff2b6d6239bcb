import { describe, expect, test } from "vitest";
import { sentMessages } from "../src/answering.ts";
import {
  append,
  branch,
  type Conversation,
  newConversation,
  readConversation,
  showBranchOf,
  titleOf,
  versions,
} from "../src/store/conversation.ts";
import { readSettings } from "../src/store/settings.ts";
import { exported, readExport } from "../src/store/transfer.ts";

const user = (text: string) => ({ role: "user" as const, text });
const assistant = (text: string) => ({ role: "assistant" as const, text });

/** A conversation of a question with two answers, the first of which was asked about. */
function branched(): Conversation {
  const conversation = newConversation();
  const question = append(conversation, null, user("Why?"));
  const first = append(conversation, question.id, assistant("Because."));
  append(conversation, first.id, user("Really?"));
  append(conversation, question.id, assistant("Why not?"));
  return conversation;
}

const texts = (conversation: Conversation) => branch(conversation).map(({ text }) => text);

describe("a conversation", () => {
  test("shows one branch, and each of them again", () => {
    const conversation = branched();
    expect(texts(conversation)).toEqual(["Why?", "Why not?"]);
    const [first, second] = versions(conversation, branch(conversation)[1] as never);
    expect([first?.text, second?.text]).toEqual(["Because.", "Why not?"]);
    showBranchOf(conversation, first as never);
    expect(texts(conversation)).toEqual(["Why?", "Because.", "Really?"]);
  });

  test("is named by its first line, or as the user wants", () => {
    const conversation = newConversation();
    expect(titleOf(conversation)).toBe("New conversation");
    append(conversation, null, user(`\n ${"long ".repeat(50)}\nsecond`));
    expect(titleOf(conversation)).toMatch(/^long (long )*long…$/);
    conversation.title = "Named";
    expect(titleOf(conversation)).toBe("Named");
  });

  test("is sent without its last message, failed answers and thoughts", () => {
    const conversation = { ...newConversation(), system: "Be brief." };
    let at = append(conversation, null, user("One")).id;
    at = append(conversation, at, { ...assistant(""), error: "gone" }).id;
    at = append(conversation, at, user("Two")).id;
    at = append(conversation, at, { ...assistant("Answer"), thoughts: "Hm." }).id;
    at = append(conversation, at, user("Three")).id;
    append(conversation, at, assistant(""));
    expect(sentMessages(conversation)).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "One\n\nTwo" },
      { role: "assistant", content: "Answer" },
      { role: "user", content: "Three" },
    ]);
  });

  test("comes back from an export as it was", () => {
    const conversation = branched();
    Object.assign(conversation.messages[1] ?? {}, {
      thoughts: "t",
      model: "m",
      stopped: "length",
      stats: { prompt: 1, cached: 0, answer: 2, speed: 3.5 },
    });
    expect(readExport(exported([conversation]))).toEqual([conversation]);
  });

  test.each<unknown>([null, 7, "text", [], {}, { id: 7, messages: [] }, { id: "a", messages: {} }])(
    "%j is none",
    (value) => expect(readConversation(value)).toBeNull(),
  );

  test("leaves out messages that make no sense", () => {
    const good = { id: "1", parent: null, role: "user", text: "a" };
    const messages = [
      good,
      { ...good, id: "1", text: "the same id" },
      { ...good, id: "2", parent: "2" },
      { ...good, id: "3", parent: "later" },
      { ...good, id: "4", role: "system" },
      { ...good, id: "5", text: ["a"] },
      { ...good, id: "6", stats: { prompt: "1" }, stopped: "x", thoughts: 1 },
    ];
    const read = readConversation({ id: "a", messages, leaf: "nowhere", created: "yesterday" });
    expect(read?.messages).toEqual([good, { ...good, id: "6" }]);
    expect(read?.leaf).toBe("6");
  });
});

test.each([
  ["", "holds no conversations"],
  ['{"format": "other"}', "holds no conversations"],
  ['{"format": "sterna-conversations", "version": 2}', "newer version"],
  ['{"format": "sterna-conversations", "version": 1, "conversations": [1]}', "damaged"],
])("the file %j is refused", (file, reason) => expect(() => readExport(file)).toThrow(reason));

test("settings that cannot be are left out", () => {
  expect(readSettings({ temperature: 0, top_p: 2, top_k: 1.5, min_p: "0.1", seed: 5, thinking: 1 })).toEqual({
    temperature: 0,
    seed: 5,
  });
});
