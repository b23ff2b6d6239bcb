import { expect, test } from "vitest";
import {
  answers,
  composer,
  entries,
  finished,
  openPage,
  openScripted,
  REFUSED,
  send,
  servers,
  upload,
  useBrowser,
} from "./harness.ts";

useBrowser();

const MALICE = [
  "<script>alert(1)</script>",
  '<img src="https://evil.example/a.png" onerror="alert(1)">',
  "![a picture](https://evil.example/b.png)",
  "[a script](javascript:alert(1)) and <a href='javascript:alert(1)'>another</a>",
  "[data](data:text/html,<script>alert(1)</script>)",
  '<iframe src="https://evil.example"></iframe><style>body { display: none }</style>',
  "[a link](https://example.org/?a=1&b=<b>)",
  "https://example.org/bare",
  "```html\n</code></pre><script>alert(1)</script>\n```",
].join("\n\n");

async function expectText(page: Awaited<ReturnType<typeof openPage>>): Promise<void> {
  const answer = answers(page).last();
  const text = await answer.innerText();
  for (const part of ["<script>alert(1)</script>", "<img src=", "<iframe", "(javascript:alert(1))", "<style>"])
    expect(text).toContain(part);
  expect(await page.locator(".message :is(script, img, iframe, style, object, embed, form, video)").count()).toBe(0);
  const links = await answer
    .locator("a")
    .evaluateAll((all) => all.map((link) => [link.getAttribute("href"), link.getAttribute("rel")]));
  expect(links.length).toBeGreaterThan(1);
  for (const [href, rel] of links) {
    expect(href).toMatch(/^https:\/\/(example\.org|evil\.example)\//);
    expect(rel).toBe("noopener noreferrer");
  }
}

test("a malicious answer stays text, while it comes and when it is there", async () => {
  const { page, script } = await openScripted();
  await send(page, MALICE);
  for (let at = 0; at < MALICE.length; at += 29) await script.say(MALICE.slice(at, at + 29));
  await script.end();
  await finished(page);
  await expectText(page);
  await page.reload();
  await answers(page).waitFor();
  await expectText(page);
  expect(await entries(page).first().innerText()).toBe("<script>alert(1)</script>");
});

test("a malicious import stays text, in titles, models and errors too", async () => {
  const page = await openPage();
  const message = {
    id: "a",
    parent: null,
    role: "assistant",
    text: MALICE,
    model: MALICE,
    error: MALICE,
    thoughts: MALICE,
  };
  const conversation = { id: "__proto__", title: MALICE, system: MALICE, messages: [message], leaf: "a" };
  await upload(page, JSON.stringify({ format: "sterna-conversations", version: 1, conversations: [conversation] }));
  await entries(page).first().click();
  await answers(page).waitFor();
  await expectText(page);
  expect(await page.title()).toContain("<script>");
});

test("the policy lets the page ask its own server alone, and makes no markup of texts", async () => {
  const page = await openPage({ expected: /Content Security Policy|TrustedHTML/ });
  const response = await page.request.get(servers.open, { headers: { Accept: "text/html" } });
  expect(response.headers()["content-security-policy"]).toContain("default-src 'self'");
  const refused = await page.evaluate(async () => {
    const results: boolean[] = [];
    addEventListener("securitypolicyviolation", (event) => results.push(event.disposition === "enforce"));
    try {
      document.createElement("div").innerHTML = "<b>";
    } catch {
      results.push(true);
    }
    const inline = document.createElement("style");
    inline.textContent = "body { display: none }";
    document.head.append(inline);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return [results.length >= 3, getComputedStyle(document.body).display];
  });
  expect(refused).toEqual([true, "flex"]);
});

test("a key is asked for where the server wants one, and is kept in this tab alone", async () => {
  const page = await openPage({ at: servers.guarded, expected: REFUSED });
  const key = page.getByRole("textbox", { name: "API key" });
  await key.fill("wrong");
  await page.getByRole("button", { name: "Use the key" }).click();
  await page.getByText("The key is not one of this server's").waitFor();
  await page.keyboard.press("Escape");
  await send(page, "Tell me of the sea.");
  await answers(page).getByText("The key is not one of this server's").waitFor();
  await key.fill(servers.key);
  await page.getByRole("button", { name: "Use the key" }).click();
  await page.locator(".stats").filter({ hasText: "tokens" }).waitFor();
  expect(await answers(page).count()).toBe(1);
  const stored = await page.evaluate(() => [
    JSON.stringify({ ...localStorage }),
    JSON.stringify({ ...sessionStorage }),
  ]);
  expect(stored[0]).not.toContain(servers.key);
  expect(stored[1]).toContain(servers.key);
  expect(await composer(page).inputValue()).toBe("");
});
