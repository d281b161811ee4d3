/** The client in tabs of a real browser, Debian's Chromium: on a page of one origin, with the server on another. On Node alone. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtClient, createJwtClient } from "../../src/client/index.ts";
import { launchBrowser, noteFaults, runInBrowser } from "../support/browser.ts";
import { projectRoot } from "../support/runtime.ts";
import type { Running } from "../support/server.ts";
import { credentials, startServer } from "./support.ts";

/** What the page has as globals. */
interface PageScope {
  createJwtClient: typeof createJwtClient;
  auth: JwtClient;
  states: unknown[];
}

const it = suite("client in Chromium");
const faults: string[] = [];
let browser: Browser;

const { outputFiles } = await build({
  entryPoints: [path.join(projectRoot, "src/client/index.ts")],
  bundle: true,
  format: "esm",
  write: false,
});
const pages = createServer((request, response) => {
  const isProgram = request.url === "/client.js";
  response.setHeader("content-type", isProgram ? "text/javascript" : "text/html");
  const program = 'import { createJwtClient } from "/client.js"; globalThis.createJwtClient = createJwtClient;';
  const page = `<!doctype html><link rel="icon" href="data:,"><title>page</title><script type="module">${program}</script>`;
  response.end(isProgram ? outputFiles[0]!.contents : page);
});
let port: number;

it.before(async () => {
  browser = await launchBrowser();
  await once(pages.listen(0), "listening");
  ({ port } = pages.address() as AddressInfo);
});

it.after(async () => {
  await browser.close();
  pages.close();
});

it.after.each(() => assert.equal(faults.splice(0), []));

/** Opens a tab whose client calls the server, and notes the requests to it as `POST /jwt/refresh/ 200`. */
async function openTab(
  context: BrowserContext,
  { origin }: Running,
  keeps: "cookie" | "storage",
  host = "localhost",
): Promise<{ page: Page; requests: string[] }> {
  const page = await context.newPage();
  noteFaults(page, faults, ["localhost", "127.0.0.1"]);
  const requests: string[] = [];
  page.on("response", (response) => {
    const { url, method } = { url: new URL(response.url()), method: response.request().method() };
    if (url.origin === origin && method !== "OPTIONS") requests.push(`${method} ${url.pathname} ${response.status()}`);
  });
  await page.addInitScript(
    ([url, kept]) => {
      addEventListener("load", () => {
        const scope = globalThis as unknown as PageScope;
        scope.states = [];
        scope.auth = scope.createJwtClient({ url: url!, tokens: kept === "cookie" ? kept : localStorage });
        scope.auth.subscribe((isLoggedIn) => scope.states.push(isLoggedIn));
      });
    },
    [origin, keeps],
  );
  await page.goto(`http://${host}:${port}/`);
  return { page, requests };
}

const logIn = (page: Page, username = "ada"): Promise<void> =>
  page.evaluate((given) => (globalThis as unknown as PageScope).auth.login(given), { ...credentials, username });
const nameOf = (page: Page): Promise<string | undefined> =>
  page.evaluate(async () => (await (globalThis as unknown as PageScope).auth.me())?.username);
const logOut = (page: Page): Promise<boolean> =>
  page.evaluate(() => (globalThis as unknown as PageScope).auth.logout());
const statesOf = (page: Page): Promise<unknown[]> => page.evaluate(() => (globalThis as unknown as PageScope).states);

/** Starts a server that the page may call as `localhost`. */
async function begin(...flags: string[]): Promise<Running> {
  const origins = ["localhost", "127.0.0.1"].map((host) => `http://${host}:${port}`);
  const server = await startServer("--cors", origins.join(","), ...flags);
  return { ...server, origin: server.origin.replace("127.0.0.1", "localhost") };
}

for (const carry of ["refresh", "refresh,access"]) {
  it(`keeps ${carry} in __Host- cookies: login, refresh ahead of the expiry, reload, logout`, async () => {
    const server = await begin("--cookies-carry", carry, "--access-token-lifetime", "3s");
    const context = await browser.newContext();
    try {
      const { page, requests } = await openTab(context, server, "cookie");
      await logIn(page);
      const cookies = await context.cookies(server.origin);
      const names = carry.split(",").map((name) => `__Host-${name}`);
      assert.equal(cookies.map(({ name }) => name).toSorted(), names.toSorted());
      for (const { httpOnly, secure, sameSite } of cookies) {
        assert.equal([httpOnly, secure, sameSite], [true, true, "Strict"]);
      }
      assert.is(await page.evaluate(() => document.cookie), "", "no script can read them");
      assert.is(await nameOf(page), "ada");
      await page.waitForTimeout(2100);
      assert.is(await nameOf(page), "ada");
      const start = ["POST /jwt/create/ 200", "GET /users/me/ 200"];
      const isKnown = carry === "refresh"; // when a token in a cookie expires, no script can tell
      if (isKnown) assert.equal(requests, [...start, "POST /jwt/refresh/ 200", "GET /users/me/ 200"]);
      await page.waitForTimeout(1500);
      await page.reload();
      assert.is(await nameOf(page), "ada", "after a reload");
      assert.is(await logOut(page), true);
      assert.equal(await context.cookies(server.origin), []);
      assert.is(await nameOf(page), undefined);
      await page.reload();
      assert.is(await nameOf(page), undefined, "after a reload");
    } finally {
      await context.close();
      await server.stop();
    }
  });
}

for (const keeps of ["cookie", "storage"] as const) {
  it(`ten tabs with a ${keeps} refresh at once, and none loses the session`, async () => {
    const flags = keeps === "cookie" ? ["--cookies-carry", "refresh"] : [];
    const rotation = ["--rotate-refresh-tokens", "true", "--blacklist-after-rotation", "true"];
    const server = await begin(...rotation, ...flags, "--access-token-lifetime", "2s");
    const context = await browser.newContext();
    try {
      const tabs = await Promise.all(Array.from({ length: 10 }, () => openTab(context, server, keeps)));
      await logIn(tabs[0]!.page);
      for (let round = 0; round < 4; round++) {
        assert.equal(await Promise.all(tabs.map(({ page }) => nameOf(page))), Array(10).fill("ada"), `round ${round}`);
        await tabs[0]!.page.waitForTimeout(2200);
      }
      const all = tabs.flatMap(({ requests }) => requests);
      assert.ok(all.filter((request) => request === "POST /jwt/refresh/ 200").length >= (keeps === "cookie" ? 30 : 4));
      assert.equal(
        all.filter((request) => request.startsWith("POST /jwt/refresh/ 4")),
        [],
      );
    } finally {
      await context.close();
      await server.stop();
    }
  });
}

const kept = { storage: [], "refresh token in a cookie": ["refresh"], "tokens in cookies": ["refresh,access"] };
for (const [name, carried] of Object.entries(kept)) {
  it(`a tab hears of logins and logouts in another one with the same ${name}`, async () => {
    const server = await begin(...carried.flatMap((fields) => ["--cookies-carry", fields]));
    const context = await browser.newContext();
    const keeps = carried.length > 0 ? "cookie" : "storage";
    // A tab with cookies has to try them first.
    const [start, ...untried] = keeps === "cookie" ? [undefined, undefined] : [false];
    try {
      const [{ page }, { page: other }] = [
        await openTab(context, server, keeps),
        await openTab(context, server, keeps),
      ];
      const heard = async (states: unknown[]) => {
        await page.waitForFunction(
          (count) => (globalThis as unknown as PageScope).states.length >= count,
          states.length,
        );
        assert.equal(await statesOf(page), states);
      };
      await logIn(page);
      await heard([start, true]);
      await logIn(other, "fiona");
      await heard([start, true, ...untried, true]);
      assert.is(await nameOf(page), "fiona");
      assert.is(await logOut(other), true);
      await heard([start, true, ...untried, true, ...untried, false]);
      assert.is(await nameOf(page), undefined);
    } finally {
      await context.close();
      await server.stop();
    }
  });
}

it("a page at 127.0.0.1 is another site to a server at localhost, and gets no cookie", async () => {
  const server = await begin("--cookies-carry", "refresh");
  const context = await browser.newContext();
  try {
    const { page } = await openTab(context, server, "cookie", "127.0.0.1");
    await logIn(page);
    assert.equal(await context.cookies(server.origin), []);
    await page.reload();
    assert.is(await nameOf(page), undefined);
  } finally {
    await context.close();
    await server.stop();
  }
});

runInBrowser(it, "client in Chromium");
