/** Clients that share a storage, as the tabs of a browser do, or cookies; at servers that rotate refresh tokens. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtClient, type JwtClientOptions, createJwtClient } from "../../src/client/index.ts";
import { type Django, type Site, missingPackages, startDjango } from "../fixtures/djoser/site.ts";
import { runtime } from "../support/runtime.ts";
import {
  age,
  browserFetch,
  createStorage,
  credentials,
  openTabs,
  recordingFetch,
  spoil,
  serversOf,
  wait,
} from "./support.ts";

const it = suite(`client in tabs on ${runtime}`);
const serverWith = serversOf(it);

const namesOf = (tabs: JwtClient[]) => Promise.all(tabs.map(async (tab) => (await tab.me())?.username));
const twoClients = (options: JwtClientOptions): [JwtClient, JwtClient] => [
  createJwtClient(options),
  createJwtClient(options),
];
const countOf = (requests: string[], end: string) => requests.filter((request) => request.endsWith(end)).length;

it("ten tabs that refresh at once all stay logged in, with one successor", async () => {
  const server = await serverWith("--rotate-refresh-tokens", "true");
  const { tabs, storage, requests } = openTabs({ url: server.origin });
  await tabs[0]!.login(credentials);
  for (let round = 0; round < 3; round++) {
    const before = [...storage.items.values()][0]!;
    (round === 1 ? spoil : age)(storage);
    assert.equal(await namesOf(tabs), Array(10).fill("ada"));
    assert.is.not(JSON.parse([...storage.items.values()][0]!).refresh, JSON.parse(before).refresh, "it was rotated");
  }
  assert.ok(countOf(requests, "refresh/ 200") > 10, "tabs refreshed at the same time");
  assert.is(countOf(requests, "refresh/ 400"), 0);
  assert.is(await tabs[1]!.logout(), true);
  assert.equal(await namesOf(tabs), Array(10).fill(undefined), "and one logout is everybody's");
});

it("a logout in one tab stands, even while another one is refreshing", async () => {
  const server = await serverWith("--rotate-refresh-tokens", "true");
  const storage = createStorage();
  let [arrived, goOn] = [() => {}, () => {}];
  const isAsked = new Promise<void>((resolve) => (arrived = resolve));
  const isFree = new Promise<void>((resolve) => (goOn = resolve));
  const slow = createJwtClient({
    url: server.origin,
    tokens: storage,
    async fetch(input, init) {
      const response = await fetch(input, init);
      if (String(input).endsWith("refresh/")) await (arrived(), isFree);
      return response;
    },
  });
  await slow.login(credentials);
  age(storage);
  const user = slow.me();
  await isAsked;
  assert.is(await createJwtClient({ url: server.origin, tokens: storage }).logout(), true);
  goOn();
  assert.is(await user, undefined);
  assert.is(storage.items.size, 0);
  assert.is(slow.isLoggedIn, false);
});

it("tells listeners of a login as another user, here and in another tab, and not of a refresh", async () => {
  const server = await serverWith("--rotate-refresh-tokens", "true");
  const storage = createStorage();
  const [tab, other] = twoClients({ url: server.origin, tokens: storage });
  const states: unknown[] = [];
  tab.subscribe((isLoggedIn) => states.push(isLoggedIn));
  await tab.login(credentials);
  await tab.login({ ...credentials, username: "fiona" });
  assert.equal(states, [false, true, true]);
  age(storage);
  await tab.me();
  assert.is(states.length, 3, "a refresh");
  await other.login(credentials);
  assert.is((await tab.me())!.username, "ada");
  assert.equal(states, [false, true, true, true]);
});

/** A `fetch` that lets another client log in as fiona after each response whose end and status match. */
const fionaAfter =
  (through: typeof fetch, responses: RegExp, other: JwtClient): typeof fetch =>
  async (input, init) => {
    const response = await through(input, init);
    if (responses.test(`${String(input)} ${response.status}`)) await other.login({ ...credentials, username: "fiona" });
    return response;
  };

it("repeats no request of one user with the token of another", async () => {
  const server = await serverWith();
  const storage = createStorage();
  const other = createJwtClient({ url: server.origin, tokens: storage });
  const { requests, fetch } = recordingFetch();
  const slow = createJwtClient({ url: server.origin, tokens: storage, fetch: fionaAfter(fetch, / 401$/, other) });
  await slow.login(credentials);
  spoil(storage);
  assert.is((await slow.fetch("/users/me/")).status, 401);
  assert.is(countOf(requests, "me/ 200"), 0);
  assert.is((await slow.me())!.username, "fiona");
});

it("sends no request of one user with the token of another who logs in meanwhile", async () => {
  const server = await serverWith();
  const storage = createStorage();
  const other = createJwtClient({ url: server.origin, tokens: storage });
  const { requests, fetch } = recordingFetch();
  const slow = createJwtClient({
    url: server.origin,
    tokens: storage,
    fetch: fionaAfter(fetch, /refresh\/ /, other),
  });
  await slow.login(credentials);
  age(storage);
  assert.is((await slow.fetch("/users/me/")).status, 401);
  assert.equal(requests.slice(1), ["POST /jwt/refresh/ 200", "GET /users/me/ 401"]);
  assert.is((await slow.me())!.username, "fiona");
});

it("returns as the user whoever logged in while it asked", async () => {
  const server = await serverWith();
  for (const [responses, disturb] of [
    [/ 401$/, spoil],
    [/refresh\/ /, age],
  ] as const) {
    const storage = createStorage();
    const other = createJwtClient({ url: server.origin, tokens: storage });
    const slow = createJwtClient({ url: server.origin, tokens: storage, fetch: fionaAfter(fetch, responses, other) });
    await slow.login(credentials);
    disturb(storage);
    assert.is((await slow.me())!.username, "fiona");
  }
});

it("notices at a refresh that the cookie is another user's, and sends no request of the first with it", async () => {
  const flags = ["--cookies-carry", "refresh", "--cookies-secure", "false", "--access-token-lifetime", "2s"];
  const server = await serverWith(...flags);
  const browser = browserFetch();
  const { requests, fetch } = recordingFetch(browser);
  const [tab, other] = twoClients({ url: server.origin, tokens: "cookie", fetch });
  const states: unknown[] = [];
  tab.subscribe((isLoggedIn) => states.push(isLoggedIn));
  await tab.login(credentials);
  await other.login({ ...credentials, username: "fiona" });
  await wait(1100);
  assert.is((await tab.fetch("/users/me/")).status, 401);
  assert.equal(requests.slice(2), ["POST /jwt/refresh/ 200", "GET /users/me/ 401"]);
  assert.equal(states, [undefined, true, true]);
  assert.is((await tab.me())!.username, "fiona");
  await other.login(credentials);
  await wait(1100);
  assert.is((await tab.me())!.username, "ada", "at once, too");
  await wait(1100);
  assert.is((await tab.me())!.username, "ada");
  assert.is(states.length, 4, "a refresh of the same user is no login");
});

for (const carry of ["refresh", "refresh,access"]) {
  it(`keeps ${carry} in cookies: ten tabs, a reload, a logout`, async () => {
    const flags = ["--cookies-carry", carry, "--cookies-secure", "false", "--rotate-refresh-tokens", "true"];
    const server = await serverWith(...flags);
    const browser = browserFetch();
    const { requests, fetch } = recordingFetch(browser);
    const open = () => createJwtClient({ url: server.origin, tokens: "cookie", fetch });
    const first = open();
    assert.is(first.isLoggedIn, undefined);
    assert.is(await first.me(), undefined, "there is no cookie yet");
    assert.is(first.isLoggedIn, false);
    await first.login(credentials);
    assert.is((await first.me())!.username, "ada");
    assert.is(typeof (await first.accessToken()), carry === "refresh" ? "string" : "undefined");
    const tabs = Array.from({ length: 10 }, open);
    assert.equal(await namesOf(tabs), Array(10).fill("ada"), "after a reload");
    assert.is(tabs[0]!.isLoggedIn, true);
    assert.is(countOf(requests, "refresh/ 200"), 10);
    assert.is(await tabs[3]!.logout(), true);
    assert.is(await tabs[3]!.me(), undefined);
    assert.is(await open().me(), undefined, "after a reload");
  });
}

it("says so when the server keeps the tokens in cookies and the client does not", async () => {
  const server = await serverWith("--cookies-carry", "refresh,access", "--cookies-secure", "false");
  const error = await createJwtClient({ url: server.origin })
    .login(credentials)
    .catch((thrown: Error) => thrown);
  assert.match((error as Error).message, 'the option tokens has to be "cookie"');
});

const missing = missingPackages();
const secret = "the secret of the site that the client talks to, 64 bytes of it, as it has to be";
const settings = {
  simple_jwt: { ROTATE_REFRESH_TOKENS: true, BLACKLIST_AFTER_ROTATION: true, AUTH_HEADER_TYPES: ["JWT"] },
};

if (missing.length > 0) {
  const reason = `there is no Django site to talk to: apt-get install ${missing.join(" ")}`;
  console.log(`skipped, as ${reason}`);
  if (process.env.CI === "true") it("talks to a Django site", () => assert.unreachable(reason));
} else {
  let django: Django;
  let site: Site;
  it.before(async () => {
    django = await startDjango(secret, [credentials]);
    site = await django.open(settings);
  });
  it.after(() => django.stop());

  it("a Djoser site that revokes used tokens logs no tab out", async () => {
    const { tabs, storage, requests } = openTabs({ url: `${site.origin}/auth`, scheme: "JWT" });
    await tabs[0]!.login(credentials);
    for (let round = 0; round < 3; round++) {
      age(storage);
      assert.equal(await namesOf(tabs), Array(10).fill("ada"));
    }
    assert.ok(countOf(requests, "refresh/ 401") > 0, "some tabs were refused");
    const response = await tabs[2]!.fetch("/whoami/");
    assert.is(((await response.json()) as { username: string }).username, "ada");
    const error = await tabs[2]!.login({ ...credentials, password: "wrong" }).catch((thrown: Error) => thrown);
    assert.match((error as Error).message, "No active account found with the given credentials");
    assert.is(await tabs[4]!.logout(), true);
    assert.equal(await namesOf(tabs), Array(10).fill(undefined));
  });
}

it.run();
