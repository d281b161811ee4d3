/** The page `/docs` in a real browser, Debian's Chromium, on Node alone: the page is the same on every runtime. */
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fitsWidth, launchBrowser, noteFaults, problemsOf, runInBrowser } from "../support/browser.ts";
import { type Running, serve } from "../support/server.ts";

const it = suite("docs in Chromium");
const faults: string[] = [];
let browser: Browser;
let server: Running;

it.before(async () => {
  server = await serve(["--store", "memory:", "--sessions", "true", "--prefix", "/auth", "--cookies-carry", "refresh"]);
  browser = await launchBrowser();
});

it.after(async () => {
  await browser.close();
  await server.stop();
});

it.after.each(() => assert.equal(faults.splice(0), []));

async function open(width = 1280, colorScheme: "light" | "dark" = "light"): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  noteFaults(page, faults);
  await page.goto(`${server.origin}/docs`);
  return page;
}

it("show every operation with its fields and all its responses, with no request but for the page", async () => {
  const page = await browser.newPage();
  noteFaults(page, faults);
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(`${server.origin}/docs`);
  const { text } = await server.send("/openapi.json");
  const { paths } = JSON.parse(text) as { paths: Record<string, Record<string, any>> };
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })),
  );
  assert.is(await page.locator("article").count(), operations.length);
  for (const { path, method, summary, operationId, responses } of operations) {
    const article = page.locator(`#${operationId}`);
    const head = article.locator("summary").first();
    assert.is((await head.innerText()).replace(/\s+/g, " "), `${method.toUpperCase()} ${path} ${summary}`);
    await head.click();
    for (const status of Object.keys(responses)) {
      const response = article.locator("details details").filter({ has: page.locator(`b:text-is("${status}")`) });
      await response.locator("summary").click();
      const { content } = responses[status];
      if (content) assert.ok(await response.locator("pre").first().isVisible(), `${operationId} ${status}`);
    }
  }
  const fields = await page.locator("#setPassword tbody tr").allInnerTexts();
  assert.equal(
    fields.map((row) => row.replace(/\s+/g, " ")),
    ["new_password string, required", "current_password string, required"],
  );
  assert.equal(requests, [`${server.origin}/docs`]);
  await page.close();
});

it("open and close by keyboard alone, with a focus that can be seen", async () => {
  const page = await open();
  const isOpen = () => page.locator("#logIn > details").getAttribute("open");
  for (const name of ["A", "SUMMARY"]) {
    await page.keyboard.press("Tab");
    assert.is(await page.evaluate(() => document.activeElement?.tagName), name);
    assert.is(await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle), "solid");
  }
  assert.is(await isOpen(), null);
  await page.keyboard.press("Enter");
  assert.is(await isOpen(), "");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.ok(await page.locator("#logIn pre").first().isVisible(), "the first response");
  await page.keyboard.press("Tab");
  assert.is(await page.evaluate(() => document.activeElement?.tagName), "PRE", "which can be scrolled");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  assert.is(await isOpen(), null);
  await page.close();
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [320, 1280]) {
    it(`fit a screen ${width} px wide, and axe finds nothing wrong, ${colorScheme}`, async () => {
      const page = await open(width, colorScheme);
      assert.equal([await fitsWidth(page), await problemsOf(page)], [true, []]);
      await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
      assert.equal([await fitsWidth(page), await problemsOf(page)], [true, []], "with everything open");
      await page.close();
    });
  }
}

runInBrowser(it, "docs in Chromium");
