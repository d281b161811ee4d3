/**
 * The console in a real browser, Debian's Chromium, on Node alone: the page is the same on every runtime. With `--write` it
 * takes the screenshots of `src/console/README.md`.
 */
import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fitsWidth, launchBrowser, noteFaults, problemsOf, runInBrowser } from "../support/browser.ts";
import { freePort, until } from "../support/processes.ts";
import { projectRoot, temporaryFolder } from "../support/runtime.ts";
import { type Running, serve } from "../support/server.ts";

const isWriting = process.argv.includes("--write");

const it = suite("console in Chromium");

let browser: Browser;
let server: Running;
let password: string;
const faults: string[] = [];

async function open(settings: { colorScheme?: "light" | "dark"; height?: number } = {}): Promise<Page> {
  const { colorScheme = "light", height = 760 } = settings;
  const page = await browser.newPage({ viewport: { width: 1200, height }, colorScheme });
  noteFaults(page, faults);
  await page.goto(`${server.origin}/`);
  return page;
}

async function logIn(page: Page, given = password): Promise<void> {
  await page.getByLabel("Username").fill("admin");
  await page.getByLabel("Password").fill(given);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** Takes a picture for the README. */
async function picture(page: Page, name: string): Promise<void> {
  if (isWriting) await page.screenshot({ path: path.join(projectRoot, "src/console", `${name}.png`) });
}

it.before(async () => {
  const store = `file:${temporaryFolder()}/data`;
  const metrics = `127.0.0.1:${await freePort()}`;
  server = await serve(["--store", store, "--sessions", "true", "--metrics", metrics]);
  await until(() => server.output().includes("only once: "), "the first user is made", 20_000);
  password = /only once: (\S+)/.exec(server.output())![1]!;
  browser = await launchBrowser();
});

it.after(async () => {
  await browser.close();
  assert.is(await server.stop(), 0);
});

it.after.each(() => assert.equal(faults.splice(0), []));

it("logs in, shows both tokens with the time they have left, and refreshes", async () => {
  const page = await open();
  await logIn(page);
  await page.getByRole("heading", { name: "Access token" }).waitFor();
  assert.match(await page.locator("[data-token=access]").innerText(), /^4:5\d left$/);
  assert.match(await page.locator("[data-token=refresh]").innerText(), /^23:59:5\d left$/);
  assert.match(
    await page.getByRole("region", { name: "claims of the access token" }).innerText(),
    /"token_type": "access"/,
  );
  await picture(page, "console-light");
  const before = await page.locator(".token").first().innerText();
  await page.getByRole("button", { name: "Refresh", exact: true }).click();
  await page.getByText("Refreshed.").waitFor();
  assert.is.not(await page.locator(".token").first().innerText(), before);
  await page.getByRole("button", { name: "Verify the access token" }).click();
  await page.getByText("The access token is valid.").waitFor();
  await page.getByRole("button", { name: "Who am I?" }).click();
  await page.getByText("username: admin").waitFor();
  await page.close();
});

it("shows each request beside its response, never the password, and copies it as curl", async () => {
  const page = await open();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.origin });
  await logIn(page);
  await page.getByRole("heading", { name: "Access token" }).waitFor();
  const request = await page.getByRole("region", { name: "Request", exact: true }).innerText();
  assert.match(request, /^POST \/jwt\/create\/\nContent-Type: application\/json\n\n\{"username":"admin"/);
  assert.match(
    await page.getByRole("region", { name: "Response", exact: true }).innerText(),
    /^200 OK\n[^]*"access": "eyJ/,
  );
  await page.getByRole("button", { name: "Copy as curl" }).click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(
    copied.startsWith(`curl -X POST ${server.origin}/jwt/create/ \\\n  -H 'Content-Type: application/json'`),
    copied,
  );
  assert.not((await page.content()).includes(password));
  assert.not(copied.includes(password));
  await page.close();
});

it("tells a newcomer where the password is, and leads to the page of all endpoints", async () => {
  const page = await open();
  assert.ok(await page.getByText("first start prints a user and a password").isVisible());
  assert.not(await page.getByRole("heading", { name: "Earlier" }).isVisible(), "there is nothing yet");
  await page.getByRole("link", { name: "All endpoints" }).click();
  await page.getByRole("heading", { name: "JWT endpoints" }).waitFor();
  await page.close();
});

it("shows the server's own words for a refusal, and text from the server as text", async () => {
  const page = await open();
  await page.getByLabel("Username").fill("<img src=x onerror=alert(1)>");
  await page.getByLabel("Password").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("Unable to log in with provided credentials.").waitFor();
  assert.is(await page.locator("img").count(), 0);
  await page.close();
});

it("lists the sessions, ends another one, and logs out", async () => {
  const [page, other] = [await open(), await open()];
  for (const each of [page, other]) {
    await logIn(each);
    await each.getByRole("heading", { name: "Access token" }).waitFor();
  }
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByText("this one").waitFor();
  const rows = page.locator("#session-rows tr");
  const count = await rows.count();
  assert.ok(count >= 2);
  await rows.filter({ hasText: "another" }).first().getByRole("button").click();
  await page.getByText(`${count - 1} session`).waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByText("Logged out").waitFor();
  assert.is(await page.getByRole("heading", { name: "Access token" }).count(), 0);
  assert.ok(await page.getByLabel("Username").isVisible());
  await Promise.all([page.close(), other.close()]);
});

it("stays logged in where cookies carry all tokens", async () => {
  const flags = ["--cookies-carry", "refresh,access", "--host", "localhost"];
  const other = await serve(["--store", `file:${temporaryFolder()}/data`, ...flags]);
  await until(() => other.output().includes("only once: "), "the first user is made", 20_000);
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(`${other.origin}/`);
  await logIn(page, /only once: (\S+)/.exec(other.output())![1]!);
  for (const [action, said] of [
    ["Who am I?", "username: admin"],
    ["Refresh", "Refreshed."],
    ["Log out", "Logged out"],
  ] as const) {
    await page.getByRole("button", { name: action, exact: true }).click();
    await page.getByText(said).waitFor();
  }
  await page.close();
  assert.is(await other.stop(), 0);
});

it("works by keyboard alone", async () => {
  const page = await open();
  await page.getByLabel("Username").focus();
  await page.keyboard.type("admin");
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Access token" }).waitFor();
  assert.is(await page.evaluate(() => document.activeElement?.id), "refresh");
  await page.getByRole("tab", { name: "Tokens" }).focus();
  await page.keyboard.press("ArrowRight");
  assert.ok(await page.getByRole("tabpanel", { name: "Metrics" }).isVisible());
  await page.keyboard.press("ArrowLeft");
  assert.ok(await page.getByRole("tabpanel", { name: "Tokens" }).isVisible());
  await page.close();
});

it("draws the live metrics", async () => {
  const page = await open({ colorScheme: "dark" });
  await page.getByRole("tab", { name: "Metrics" }).click();
  await page.getByText("every 2 seconds").waitFor();
  for (let i = 0; i < (isWriting ? 30 : 1); i++) {
    for (let n = 0; n < 40 + 30 * Math.sin(i); n++) await server.send("/jwt/verify/", { method: "POST" });
    await page.waitForTimeout(isWriting ? 1000 : 2500);
  }
  const row = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name: "/jwt/verify" }) });
  assert.match(await row.innerText(), /^\/jwt\/verify\s+\d+\s+\d+\s/);
  assert.ok((await page.locator("polyline").count()) >= 3);
  await picture(page, "console-metrics-dark");
  await page.close();
});

for (const colorScheme of ["light", "dark"] as const) {
  it(`has nothing that axe finds wrong, ${colorScheme}`, async () => {
    const page = await open({ colorScheme });
    assert.equal(await problemsOf(page), []);
    await logIn(page, "wrong");
    await page.getByRole("alert").getByText("Unable to log in").waitFor();
    assert.equal(await problemsOf(page), []);
    await logIn(page);
    await page.getByRole("button", { name: "Sessions" }).click();
    await page.getByText("this one").waitFor();
    assert.equal(await problemsOf(page), []);
    await page.getByRole("tab", { name: "Metrics" }).click();
    await page.getByRole("rowheader").first().waitFor();
    assert.equal(await problemsOf(page), []);
    await page.close();
  });
}

it("fits a narrow screen", async () => {
  const page = await open();
  await page.setViewportSize({ width: 320, height: 740 });
  await logIn(page);
  await page.getByRole("heading", { name: "Access token" }).waitFor();
  assert.ok(await fitsWidth(page), "nothing is wider than the screen");
  await page.close();
});

it("is one page of at most 40 KB, gzipped", async () => {
  const { text } = await server.send("/", { headers: { accept: "text/html" } });
  const bytes = gzipSync(text).length;
  console.log(`\nthe console is ${(bytes / 1024).toFixed(1)} KiB gzipped`);
  assert.ok(bytes <= 40_000);
});

runInBrowser(it, "console in Chromium");
