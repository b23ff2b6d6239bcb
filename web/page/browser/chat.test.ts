import { expect, test } from "vitest";
import {
  answers,
  answerText,
  ask,
  button,
  composer,
  finished,
  openPage,
  openScripted,
  questions,
  SHORT,
  send,
  servers,
  useBrowser,
} from "./harness.ts";

useBrowser();

test("a message is sent, and its answer streams in and ends with its speed and the use of the context", async () => {
  const page = await openPage({ at: servers.slow, settings: { ...SHORT, max_tokens: 20 } });
  await page.getByRole("heading", { name: "What shall we talk about?" }).waitFor();
  const sent = page.waitForRequest("**/v1/chat/completions");
  await send(page, "Tell me of the sea.");
  expect((await sent).postDataJSON()).toMatchObject({
    model: "chatty",
    stream: true,
    max_tokens: 20,
    seed: 3,
    reasoning_effort: "none",
    messages: [{ role: "user", content: "Tell me of the sea." }],
  });
  expect(await composer(page).inputValue()).toBe("");
  await answers(page).locator(".body").filter({ hasText: /\w/ }).waitFor();
  const part = await answerText(page);
  await finished(page);
  const whole = await answerText(page);
  expect(whole.length).toBeGreaterThan(part.length);
  expect(whole.startsWith(part)).toBe(true);
  expect(await page.locator(".stats").innerText()).toMatch(/^chatty · 20 tokens · \d+\.\d tokens\/s$/);
  expect(await page.locator("#context").innerText()).toMatch(/^\d+ of [\d,]+ tokens$/);
  expect(await answers(page).innerText()).toContain("reached the most tokens");
  expect(await button(page, "Send").isVisible()).toBe(true);
});

test("an answer is the one that the server gives, whatever way it takes", async () => {
  const page = await openPage();
  const text = await ask(page, "Tell me of a ship.");
  const reply = await fetch(`${servers.open}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({
      messages: [{ role: "user", content: "Tell me of a ship." }],
      max_tokens: 12,
      seed: 3,
      reasoning_effort: "none",
    }),
  });
  const words = (from: string) => from.split(/\s+/).filter(Boolean).join(" ");
  const { choices } = (await reply.json()) as { choices: { message: { content: string } }[] };
  expect(words(text)).toBe(words(choices[0]?.message.content ?? ""));
});

test("Escape stops an answer; what has come stays, and the page takes the next message", async () => {
  const page = await openPage({ at: servers.slow, settings: { ...SHORT, max_tokens: 300 } });
  await send(page, "Tell me of the sea.");
  await answers(page).locator(".body").filter({ hasText: /\w/ }).waitFor();
  await page.keyboard.press("Escape");
  await answers(page).getByText("Stopped.").waitFor();
  const text = await answerText(page);
  expect(text).not.toBe("");
  await send(page, "And now?");
  await button(page, "Stop").click();
  await finished(page);
  expect(await answers(page).count()).toBe(2);
  expect(await answers(page).first().locator(":scope > .body").innerText()).toBe(text);
});

test("a reload shows the same conversation, and a half answer counts as stopped", async () => {
  const page = await openPage({ at: servers.slow, settings: { ...SHORT, max_tokens: 300 } });
  await send(page, "Tell me of the sea.");
  await answers(page)
    .locator(".body")
    .filter({ hasText: /\w+ \w+ \w+/ })
    .waitFor();
  await page.reload();
  await answers(page).getByText("Stopped.").waitFor();
  expect(await questions(page).innerText()).toBe("Tell me of the sea.");
  expect(await answerText(page)).toMatch(/\w+ \w+/);
});

test("an edited message is sent anew, and both versions stay", async () => {
  const page = await openPage();
  const first = await ask(page, "Tell me of the sea.");
  await button(page, "Edit and send again").click();
  await page.getByRole("textbox", { name: "Your message" }).fill("Tell me of a house.");
  await page.locator(".editor").getByRole("button", { name: "Send" }).click();
  await finished(page);
  expect(await questions(page).allInnerTexts()).toEqual(["Tell me of a house."]);
  const second = await answerText(page);
  await page.getByText("2/2").waitFor();
  await button(page, "Version before").click();
  expect(await questions(page).allInnerTexts()).toEqual(["Tell me of the sea."]);
  expect(await answerText(page)).toBe(first);
  await button(page, "Next version").click();
  expect(await answerText(page)).toBe(second);
});

test("the up arrow edits the last message, and Escape leaves it as it was", async () => {
  const page = await openPage();
  await ask(page, "Tell me of the sea.");
  await composer(page).press("ArrowUp");
  await page.getByRole("textbox", { name: "Your message" }).fill("Something else");
  await page.keyboard.press("Escape");
  expect(await questions(page).allInnerTexts()).toEqual(["Tell me of the sea."]);
  expect(await answers(page).count()).toBe(1);
});

test("another answer stands beside the first, and an answer can be corrected in place", async () => {
  const page = await openPage({ settings: { max_tokens: 12, thinking: false } });
  const first = await ask(page, "Tell me of the sea.");
  await button(page, "Another answer").click();
  await page.locator(".assistant .count").getByText("2/2").waitFor();
  await finished(page);
  await page.locator(".assistant").getByRole("button", { name: "Version before" }).click();
  expect(await answerText(page)).toBe(first);
  await button(page, "Edit the answer").click();
  await page.getByRole("textbox", { name: "The answer" }).fill("It is **blue**.");
  await button(page, "Save").click();
  expect(await answerText(page)).toBe("It is blue.");
  const sent = page.waitForRequest("**/v1/chat/completions");
  await ask(page, "Why?");
  expect((await sent).postDataJSON().messages[1]).toEqual({ role: "assistant", content: "It is **blue**." });
  await page.reload();
  await page.getByText("It is blue.").waitFor();
});

test("texts and code are copied", async () => {
  const { page, script } = await openScripted({ context: { permissions: ["clipboard-read", "clipboard-write"] } });
  await send(page, "Some code?");
  await script.say("Here **it** is:\n```js\nlet a = 1;\nlet b;\n```\n");
  await script.end();
  await finished(page);
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  await button(page, "Copy the code").click();
  await expect.poll(clipboard).toBe("let a = 1;\nlet b;");
  await answers(page).getByRole("button", { name: "Copy the text" }).click();
  await expect.poll(clipboard).toContain("Here **it** is:");
});

test("thoughts are folded, and come apart from the answer", async () => {
  const page = await openPage({ settings: { max_tokens: 12, seed: 3, thinking: true } });
  await send(page, "Tell me of the sea.");
  await page.locator(".assistant summary", { hasText: "Thoughts" }).waitFor();
  await finished(page);
  const thoughts = answers(page).locator(".thoughts .body");
  expect(await thoughts.isVisible()).toBe(false);
  await page.locator(".assistant summary").click();
  expect(await thoughts.innerText()).toMatch(/\w/);
  expect(await answerText(page)).toBe("");
});

test("the page tells how much of the prompt is read", async () => {
  const { page, script } = await openScripted();
  await send(page, "A long prompt");
  await script.raw(
    'data: {"choices": [], "prompt_progress": {"total": 400, "cache": 0, "processed": 100}}\n\n: ping\n\n',
  );
  await page.getByText("Reading the prompt: 25 %").waitFor();
  await script.raw('data: {"choices": [], "prompt_progress": {"total": 400, "cache": 0, "proc');
  await script.raw('essed": 300}}\n\n');
  await page.getByText("Reading the prompt: 75 %").waitFor();
  await script.say("Done.");
  await page.getByText("Reading the prompt").waitFor({ state: "detached" });
  await script.end();
  await finished(page);
  expect(await answerText(page)).toBe("Done.");
});

test("the system prompt and the settings are those of the next request", async () => {
  const page = await openPage({ settings: {} });
  await page.getByText("System prompt: none").click();
  await page.getByRole("textbox", { name: "System prompt" }).fill("You are a sailor.");
  await button(page, "Settings").click();
  await page.getByLabel("Temperature").fill("0.5");
  await page.getByLabel("Top p").fill("7");
  await button(page, "Done").click(); // the browser says why this cannot be
  await page.getByLabel("Top p").fill("");
  await page.getByLabel("Max tokens").fill("4");
  await page.getByLabel("Thinking").selectOption("off");
  await button(page, "Done").click();
  const sent = page.waitForRequest("**/v1/chat/completions");
  await ask(page, "Hello");
  const body = (await sent).postDataJSON();
  expect(body.messages[0]).toEqual({ role: "system", content: "You are a sailor." });
  expect(body).toMatchObject({ temperature: 0.5, max_tokens: 4, reasoning_effort: "none" });
  expect(body).not.toHaveProperty("top_p");
  await page.reload();
  await page.getByText("System prompt: You are a sailor.").waitFor();
});

test("another model is loaded when it is picked, and answers", async () => {
  const page = await openPage();
  await page.locator("#model-state[data-state=loaded]").waitFor();
  await page.getByRole("combobox", { name: "Model" }).selectOption("sterna-tern");
  await page.locator("#model-state[data-state=loaded]").waitFor();
  await page.getByText("no chat template").waitFor();
  await ask(page, "Once upon a time");
  expect(await page.locator(".stats").innerText()).toMatch(/^sterna-tern/);
  await page.reload();
  await page.getByText("Once upon a time").first().waitFor();
  expect(await page.getByRole("combobox", { name: "Model" }).inputValue()).toBe("sterna-tern");
});

test("a right-to-left text runs from right to left", async () => {
  const { page, script } = await openScripted();
  await send(page, "ما هو البحر؟");
  await script.say("هو **ماء** كثير.");
  await script.end();
  await finished(page);
  for (const text of [questions(page), answers(page).locator("p[dir]").first()])
    expect(await text.evaluate((shown) => getComputedStyle(shown).direction)).toBe("rtl");
});

test("an edit while an answer is written stops that one", async () => {
  const page = await openPage({ at: servers.slow, settings: { ...SHORT, max_tokens: 300 } });
  await send(page, "Tell me of the sea.");
  await answers(page).locator(".body").filter({ hasText: /\w/ }).waitFor();
  await button(page, "Edit and send again").click();
  await page.getByRole("textbox", { name: "Your message" }).fill("Tell me of a house.");
  await page.locator(".editor").getByRole("button", { name: "Send" }).click();
  await answers(page).locator(".body").filter({ hasText: /\w/ }).waitFor();
  expect(await button(page, "Stop").isVisible()).toBe(true);
  await page.keyboard.press("Escape");
  await answers(page).getByText("Stopped.").waitFor();
  await button(page, "Version before").click();
  await answers(page).getByText("Stopped.").waitFor();
  expect(await questions(page).innerText()).toBe("Tell me of the sea.");
});

test("the state of the model follows the answers", async () => {
  const { page, script } = await openScripted();
  const state = page.locator("#model-state");
  await page.getByRole("combobox", { name: "Model" }).selectOption("sterna-tern");
  await state.filter({ hasText: /^Loaded$/ }).waitFor();
  await page.evaluate(() => document.getElementById("model-state")?.setAttribute("data-state", "idle"));
  await send(page, "Hello");
  await state.filter({ hasText: "Being loaded" }).waitFor();
  await script.say("Hello.");
  await state.filter({ hasText: /^Loaded$/ }).waitFor();
  await script.end();
  await finished(page);
});
