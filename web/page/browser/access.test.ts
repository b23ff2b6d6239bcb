import axe from "axe-core";
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import {
  answers,
  ask,
  button,
  composer,
  entries,
  finished,
  openPage,
  openScripted,
  questions,
  send,
  useBrowser,
} from "./harness.ts";

useBrowser();

const RICH = [
  "# A title",
  "Some **text** with `code` and [a link](https://example.org).",
  "1. one\n   - two",
  "> quoted",
  "| a | b |\n|--:|---|\n| 1 | 2 |",
  "```js\nlet a = 1;\n```",
  "---",
].join("\n\n");

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate(
    async () => (await (window as unknown as { axe: typeof axe }).axe.run()).violations,
  );
  return found.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`));
}

describe.each(["light", "dark"] as const)("axe finds nothing to say in %s colours", (colorScheme) => {
  test.each([
    [1100, 800],
    [390, 780],
  ])("at %i pixels", async (width, height) => {
    const { page, script } = await openScripted({ context: { colorScheme, viewport: { width, height } } });
    expect(await violations(page)).toEqual([]);
    await send(page, "Everything?");
    await script.raw('data: {"choices": [{"delta": {"reasoning_content": "A thought."}}]}\n\n');
    await script.say(RICH);
    await answers(page).locator("table").waitFor();
    expect(await violations(page)).toEqual([]);
    await script.end();
    await finished(page);
    await page.locator(".assistant summary").click();
    expect(await violations(page)).toEqual([]);
    await send(page, "And an error?");
    await script.close();
    await page.locator(".error").waitFor();
    await button(page, "Edit and send again").last().click();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press("Escape");
    for (const name of ["Settings", "Rename this conversation", "Delete this conversation"]) {
      await button(page, name).click();
      expect(await violations(page)).toEqual([]);
      await page.keyboard.press("Escape");
    }
    if (width < 800) await button(page, "List of conversations").click();
    expect(await violations(page)).toEqual([]);
  });
});

test("everything can be done by keyboard alone", async () => {
  const page = await openPage();
  await expect.poll(() => composer(page).evaluate((area) => area === document.activeElement)).toBe(true);
  await page.keyboard.type("Tell me");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("of the sea?");
  await page.keyboard.press("Enter");
  await finished(page);
  expect(await questions(page).innerText()).toBe("Tell me\nof the sea?");
  await page.keyboard.press("Alt+r");
  await page.locator(".assistant .count").getByText("2/2").waitFor();
  await finished(page);
  await page.keyboard.press("Alt+c");
  await button(page, "Copied").waitFor();
  await page.keyboard.press("Alt+n");
  await page.keyboard.type("Second");
  await page.keyboard.press("Enter");
  await finished(page);
  await page.keyboard.press("Alt+ArrowDown");
  await expect.poll(() => questions(page).allInnerTexts()).toEqual(["Tell me\nof the sea?"]);
  await page.keyboard.press("Alt+ArrowUp");
  await expect.poll(() => questions(page).allInnerTexts()).toEqual(["Second"]);
  await page.keyboard.press("Alt+m");
  await page.keyboard.press("?");
  await page.getByRole("heading", { name: "Keyboard" }).waitFor();
  expect(await page.locator("#shortcuts dt").count()).toBeGreaterThan(10);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Alt+s");
  await page.keyboard.type("0.25");
  await page.keyboard.press("Enter");
  await page.locator("#settings-dialog").waitFor({ state: "hidden" });
  expect(await page.evaluate(() => localStorage.getItem("sterna-preferences"))).toContain('"temperature":0.25');
});

test("every control can be reached by the tabulator, and shows that it is", async () => {
  const page = await openPage();
  await ask(page, "Tell me of the sea.");
  const reached = new Set<string>();
  for (let press = 0; press < 40; press++) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement;
      const name = element.getAttribute("aria-label") ?? element.textContent?.trim() ?? "";
      const { outlineStyle } = getComputedStyle(element);
      return { name, isSeen: element === document.body || outlineStyle !== "none" || element.id === "message" };
    });
    expect(found.isSeen, found.name).toBe(true);
    reached.add(found.name);
  }
  for (const name of [
    "New conversation",
    "Tell me of the sea.",
    "Import",
    "Export all",
    "Keyboard",
    "Settings",
    "Model",
    "Message",
    "Copy the text",
    "Another answer",
    "Delete this conversation",
    "List of conversations",
  ])
    expect([...reached]).toContain(name);
});

test("screen readers hear blocks when they are complete, not tokens", async () => {
  const { page, script } = await openScripted();
  const heard = () => page.locator("#announcer p").allTextContents();
  await send(page, "Tell me of the sea.");
  for (const piece of ["The ", "sea ", "is ", "blue.\n", "\nIt ", "is "]) await script.say(piece);
  await expect.poll(heard).toEqual(["The answer is being written.", "The sea is blue."]);
  await script.say("deep.");
  await script.end();
  await expect
    .poll(heard)
    .toEqual(["The answer is being written.", "The sea is blue.", "It is deep.", "The answer is complete."]);
  expect(await page.locator("#announcer").getAttribute("aria-live")).toBe("polite");
  expect(await page.locator("#thread [aria-live], #thread [role=log], #thread [role=status]").count()).toBe(0);
});

test("a phone shows the thread, and the list over it on demand", async () => {
  const { page, script } = await openScripted({
    context: { viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true },
  });
  const isWide = () => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  expect(await isWide()).toBe(false);
  await composer(page).fill("Something wide?");
  await button(page, "Send").tap();
  await script.say(`${RICH}\n\n${"x".repeat(500)}\n\n\`\`\`\n${"y".repeat(500)}\n\`\`\``);
  await script.end();
  await finished(page);
  expect(await isWide()).toBe(false);
  expect(await entries(page).isVisible()).toBe(false);
  await button(page, "List of conversations").tap();
  await entries(page).waitFor();
  await button(page, "New conversation").tap();
  await entries(page).waitFor({ state: "hidden" });
  expect(await answers(page).count()).toBe(0);
  const box = await button(page, "Send").boundingBox();
  expect(Math.min(box?.width ?? 0, box?.height ?? 0)).toBeGreaterThan(36);
});

test("the colours are those of the system, or those chosen, and last", async () => {
  const page = await openPage({ context: { colorScheme: "dark" } });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await button(page, "Colours: as the system").click();
  const light = await ground();
  expect(light).not.toBe(dark);
  await page.reload();
  expect(await ground()).toBe(light);
  await button(page, "Colours: light").click();
  expect(await ground()).toBe(dark);
});

test("an example is sent as it stands", async () => {
  const page = await openPage();
  const example = page.locator(".example").first();
  const text = await example.innerText();
  await example.click();
  await finished(page);
  expect(await questions(page).allInnerTexts()).toEqual([text]);
});
