import { expect, test } from "vitest";
import {
  answers,
  answerText,
  button,
  composer,
  finished,
  openPage,
  openScripted,
  questions,
  REFUSED,
  send,
  useBrowser,
} from "./harness.ts";

useBrowser();

test("a server that is gone is told, and the message waits for it", async () => {
  const page = await openPage({ expected: REFUSED });
  await page.context().setOffline(true);
  await send(page, "Tell me of the sea.");
  await answers(page).getByText("The server cannot be reached.").waitFor();
  expect(await questions(page).innerText()).toBe("Tell me of the sea.");
  await page.locator(".notice").filter({ hasText: "The server cannot be reached." }).waitFor();
  await page.context().setOffline(false);
  await button(page, "Try again").click();
  await page.locator(".stats").waitFor();
  expect(await answers(page).count()).toBe(1);
  expect(await answers(page).locator(".error").count()).toBe(0);
  await page.locator(".notice").waitFor({ state: "detached" });
});

test("a stream that breaks off is told, and what has come stays", async () => {
  const { page, script } = await openScripted();
  await send(page, "Tell me of the sea.");
  await script.say("The sea is");
  await script.close();
  await answers(page).getByText("The connection broke off before the answer was complete.").waitFor();
  expect(await answerText(page)).toBe("The sea is");
  await page.reload();
  await answers(page).getByText("The connection broke off").waitFor();
});

test("an error in a stream is told in the server's words", async () => {
  const { page, script } = await openScripted();
  await send(page, "Tell me of the sea.");
  await script.raw('data: {"error": {"message": "The answer took too long.", "code": "deadline"}}\n\n');
  await answers(page).getByText("The answer took too long.").waitFor();
});

test("a message that is too long is told in the server's words, and can be edited", async () => {
  const page = await openPage({ expected: REFUSED });
  const long = "word ".repeat(3000).trim();
  await send(page, long);
  await answers(page).locator(".error").filter({ hasText: "tokens" }).waitFor();
  await button(page, "Edit and send again").click();
  expect(await page.getByRole("textbox", { name: "Your message" }).inputValue()).toBe(long);
});

test("while a model is being loaded the page waits, and can be told to stop", async () => {
  const page = await openPage({ expected: REFUSED });
  let refusals = 0;
  const body = JSON.stringify({ error: { message: "The model chatty is being loaded; ask again." } });
  await page.route("**/v1/chat/completions", (route) => {
    refusals++;
    if (refusals > 2) return route.fallback();
    return route.fulfill({ status: 503, headers: { "Retry-After": "1" }, contentType: "application/json", body });
  });
  await send(page, "Tell me of the sea.");
  await answers(page).getByText("The model chatty is being loaded; ask again.").waitFor();
  await finished(page);
  expect(refusals).toBe(3);
  expect(await answerText(page)).toMatch(/\w/);
  refusals = 0;
  await send(page, "And more?");
  await answers(page).last().getByText("is being loaded").waitFor();
  await page.keyboard.press("Escape");
  await answers(page).last().getByText("Stopped.").waitFor();
});

test("the page can be opened before the server can list its models", async () => {
  const page = await openPage({ expected: REFUSED });
  await page.route("**/v1/models", (route) => route.fulfill({ status: 500, contentType: "text/plain", body: "Oh." }));
  await page.reload();
  await page.getByText("The server answered with the status 500.").waitFor();
  await composer(page).fill("typed meanwhile");
  await page.unroute("**/v1/models");
  await page.getByText("The server answered with the status 500.").waitFor({ state: "detached" });
  expect(await composer(page).inputValue()).toBe("typed meanwhile");
});

test("a model that cannot be loaded is told in the server's words", async () => {
  const page = await openPage({ expected: REFUSED });
  const body = JSON.stringify({ error: { message: "The model sterna-tern cannot be loaded: it is too large." } });
  await page.route("**/props?*", (route) => route.fulfill({ status: 500, contentType: "application/json", body }));
  await page.getByRole("combobox", { name: "Model" }).selectOption("sterna-tern");
  await page.locator(".notice").filter({ hasText: "it is too large." }).waitFor();
  await page.locator("#model-state").filter({ hasText: "Cannot be loaded" }).waitFor();
});
