import { expect, test } from "vitest";
import {
  answers,
  answerText,
  ask,
  button,
  composer,
  downloaded,
  entries,
  finished,
  openPage,
  openScripted,
  questions,
  SHORT,
  secondTab,
  send,
  servers,
  upload,
  useBrowser,
} from "./harness.ts";

useBrowser();

test("conversations are kept apart, renamed and deleted", async () => {
  const page = await openPage();
  const first = await ask(page, "Tell me of the sea.");
  await button(page, "New conversation").click();
  expect(await answers(page).count()).toBe(0);
  await ask(page, "Tell me of a house.");
  expect(await entries(page).allInnerTexts()).toEqual(["Tell me of a house.", "Tell me of the sea."]);
  await entries(page).nth(1).click();
  expect(await answerText(page)).toBe(first);
  await button(page, "Rename this conversation").click();
  await page.getByRole("textbox", { name: "Title" }).fill("The sea");
  await button(page, "Rename").click();
  await page.getByRole("heading", { name: "The sea" }).waitFor();
  await button(page, "Delete this conversation").click();
  await button(page, "Cancel").click();
  expect(await entries(page).count()).toBe(2);
  await button(page, "Delete this conversation").click();
  await button(page, "Delete").click();
  await expect.poll(() => entries(page).allInnerTexts()).toEqual(["Tell me of a house."]);
  await page.reload();
  await expect.poll(() => entries(page).allInnerTexts()).toEqual(["Tell me of a house."]);
});

test("a conversation that is deleted while an answer comes does not come back", async () => {
  const { page, script } = await openScripted();
  await send(page, "Tell me of the sea.");
  await script.say("A gull");
  await page.getByText("A gull").waitFor();
  await button(page, "Delete this conversation").click();
  await button(page, "Delete").click();
  await expect.poll(() => entries(page).count()).toBe(0);
  await page.waitForTimeout(1500); // longer than until what comes is saved
  await page.reload();
  await send(page, "Tell me of a house.");
  await script.say("A house");
  await script.end();
  await finished(page);
  await expect.poll(() => entries(page).allInnerTexts()).toEqual(["Tell me of a house."]);
});

test("an answer goes on while another conversation is shown", async () => {
  const page = await openPage({ at: servers.slow, settings: { ...SHORT, max_tokens: 25 } });
  await send(page, "Tell me of the sea.");
  await page.locator(".message.assistant[aria-busy=true]").waitFor();
  await button(page, "New conversation").click();
  await page.getByText("(answering)").waitFor({ state: "attached" });
  expect(await button(page, "Send").isVisible()).toBe(true);
  await page.getByText("(answering)").waitFor({ state: "detached" });
  await entries(page).first().click();
  expect(await page.locator(".stats").innerText()).toContain("25 tokens");
});

test("the browser's way back leads to the conversation before", async () => {
  const page = await openPage();
  await ask(page, "Tell me of the sea.");
  await button(page, "New conversation").click();
  await ask(page, "Tell me of a house.");
  await entries(page).nth(1).click();
  await page.goBack();
  await expect.poll(() => questions(page).allInnerTexts()).toEqual(["Tell me of a house."]);
});

test("what was typed and not sent stays with its conversation, also over a reload", async () => {
  const page = await openPage();
  await ask(page, "Tell me of the sea.");
  await composer(page).fill("half a");
  await button(page, "New conversation").click();
  expect(await composer(page).inputValue()).toBe("");
  await composer(page).fill("another");
  await entries(page).first().click();
  expect(await composer(page).inputValue()).toBe("half a");
  await page.reload();
  await expect.poll(() => composer(page).inputValue()).toBe("half a");
});

test("an export that is imported gives the same conversations", async () => {
  const page = await openPage();
  const text = await ask(page, "Tell me of the sea.");
  await button(page, "New conversation").click();
  await ask(page, "Tell me of a house.");
  const all = await downloaded(page, () => button(page, "Export all").click());
  expect(JSON.parse(all).conversations).toHaveLength(2);
  await upload(page, all);
  await page.getByText("0 conversations imported. 2 conversations in the file are here already.").waitFor();
  const other = await openPage();
  await upload(other, all);
  await other.getByText("2 conversations imported.").waitFor();
  await entries(other).nth(1).click();
  expect(await answerText(other)).toBe(text);
  await other.reload();
  await expect.poll(() => answerText(other)).toBe(text);
  const one = await downloaded(other, () => button(other, "Export this conversation").click());
  expect(JSON.parse(one).conversations).toEqual([JSON.parse(all).conversations[1]]);
});

test("a file that is no export is refused, and changes nothing", async () => {
  const page = await openPage();
  for (const file of [
    "",
    "{}",
    "[1]",
    '{"format": "sterna-conversations", "version": 1, "conversations": [{"id": 7}]}',
  ]) {
    await upload(page, file);
    await page.locator(".notice").filter({ hasText: "This file" }).waitFor();
    await button(page, "Close this notice").click();
  }
  expect(await entries(page).count()).toBe(0);
});

test("another tab sees what changes", async () => {
  const page = await openPage();
  const text = await ask(page, "Tell me of the sea.");
  const tab = await secondTab(page);
  await entries(tab).first().click();
  expect(await answerText(tab)).toBe(text);
  await page.bringToFront();
  await ask(page, "And more?");
  await expect.poll(() => questions(tab).allInnerTexts()).toEqual(["Tell me of the sea.", "And more?"]);
  await finished(tab);
  await button(page, "Delete this conversation").click();
  await button(page, "Delete").click();
  await expect.poll(() => entries(tab).count()).toBe(0);
});

test("without a database the page says so, and works", async () => {
  const page = await openPage({ before: () => Object.defineProperty(window, "indexedDB", { value: undefined }) });
  await page.getByText("This browser stores nothing here").waitFor();
  await ask(page, "Tell me of the sea.");
  expect(await entries(page).allInnerTexts()).toEqual(["Tell me of the sea."]);
});

test("a full storage is told, and loses nothing that is shown", async () => {
  const page = await openPage({
    before: () => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException("full", "QuotaExceededError");
      };
      Storage.prototype.setItem = () => {
        throw new DOMException("full", "QuotaExceededError");
      };
    },
  });
  const text = await ask(page, "Tell me of the sea.");
  await page.getByText("A conversation could not be saved").waitFor();
  await button(page, "New conversation").click();
  await entries(page).first().click();
  expect(await answerText(page)).toBe(text);
});

test("records that are broken are left alone", async () => {
  const page = await openPage();
  await ask(page, "Tell me of the sea.");
  await page.evaluate(
    () =>
      new Promise<void>((resolve) => {
        indexedDB.open("sterna").onsuccess = (event) => {
          const { result } = event.target as IDBOpenDBRequest;
          const store = result.transaction("conversations", "readwrite").objectStore("conversations");
          store.put({ id: "x", messages: "none" });
          store.put({ id: "y", messages: [{ id: "1", parent: "1", role: "user", text: "in a circle" }, 7, null] });
          store.transaction.oncomplete = () => resolve();
        };
      }),
  );
  await page.reload();
  await expect.poll(() => entries(page).allInnerTexts()).toContain("Tell me of the sea.");
  expect(await entries(page).count()).toBe(2);
});
