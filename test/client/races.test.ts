/** Calls of one client that overlap, as in a page where a refresh is slow and the user goes on. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtClient } from "../../src/client/index.ts";
import { until } from "../support/processes.ts";
import { runtime } from "../support/runtime.ts";
import { age, browserFetch, createStorage, credentials, recordingFetch, serversOf, wait } from "./support.ts";

const it = suite(`client with overlapping calls on ${runtime}`);
const serverWith = serversOf(it);

const fiona = { ...credentials, username: "fiona" };

/** A `fetch` whose responses of some endpoint arrive late: those to requests sent between `hold` and `release`. */
function lateFetch(endpoint: string, through: typeof fetch = fetch) {
  let isHeld = false;
  let arrived = 0;
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  return {
    hold: () => (isHeld = true),
    arrived: () => arrived,
    release() {
      isHeld = false;
      release();
    },
    async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
      const isLate = isHeld && String(input).endsWith(`${endpoint}/`);
      const response = await through(input, init);
      if (isLate) {
        arrived++;
        await held;
      }
      return response;
    },
  };
}

const flags = ["--cookies-carry", "refresh", "--cookies-secure", "false", "--access-token-lifetime", "2s"];

for (const rotation of ["false", "true"]) {
  it(`the cookie of a slow refresh replaces none of a later login (rotation ${rotation})`, async () => {
    const server = await serverWith(...flags, "--rotate-refresh-tokens", rotation);
    const late = lateFetch("jwt/refresh");
    const auth = createJwtClient({ url: server.origin, tokens: "cookie", fetch: browserFetch(late.fetch) });
    await auth.login(credentials);
    await wait(1100);
    late.hold();
    const user = auth.me();
    await until(() => late.arrived() > 0, "the refresh is under way");
    const login = auth.login(fiona);
    await wait(200);
    late.release();
    await Promise.all([user, login]);
    assert.is((await auth.me())?.username, "fiona");
    await wait(1100); // the cookie decides
    assert.is((await auth.me())?.username, "fiona");
  });
}

it("a refresh that begins while a login is under way waits for its cookie", async () => {
  const server = await serverWith(...flags, "--rotate-refresh-tokens", "true");
  const late = lateFetch("jwt/refresh", lateResponse("jwt/create", 150));
  const auth = createJwtClient({ url: server.origin, tokens: "cookie", fetch: browserFetch(late.fetch) });
  await auth.login(credentials);
  await wait(1100);
  const login = auth.login(fiona);
  late.hold();
  const user = auth.me();
  await login;
  late.release();
  await user;
  await wait(1100);
  assert.is((await auth.me())?.username, "fiona");
});

/** A `fetch` whose responses of an endpoint take longer by some milliseconds. */
function lateResponse(endpoint: string, ms: number): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (String(input).endsWith(`${endpoint}/`)) await wait(ms);
    return response;
  };
}

it("a logout is sent at once, though a refresh is under way", async () => {
  const server = await serverWith(...flags, "--rotate-refresh-tokens", "true");
  const late = lateFetch("jwt/refresh");
  const { requests, fetch } = recordingFetch(browserFetch(late.fetch));
  const auth = createJwtClient({ url: server.origin, tokens: "cookie", fetch });
  await auth.login(credentials);
  await wait(1100);
  late.hold();
  const user = auth.me();
  await until(() => late.arrived() > 0, "the refresh is under way");
  assert.is(await auth.logout(), true);
  assert.is(requests.at(-1), "POST /jwt/blacklist/ 200");
  late.release();
  assert.is(await user, undefined);
  assert.is(auth.isLoggedIn, false);
  const reloaded = createJwtClient({ url: server.origin, tokens: "cookie", fetch });
  assert.is(await reloaded.me(), undefined, "the late cookie is of a session that has ended");
});

for (const tokens of ["memory", "cookie"] as const) {
  it(`a logout counts, though a login before it gets its response later (${tokens})`, async () => {
    const server = await serverWith(...(tokens === "cookie" ? flags : []));
    const late = lateFetch("jwt/create");
    const { requests, fetch } = recordingFetch(browserFetch(late.fetch));
    const auth = createJwtClient({ url: server.origin, tokens, fetch });
    const states: unknown[] = [];
    late.hold();
    const login = auth.login(credentials);
    await until(() => late.arrived() > 0, "the login is under way");
    await auth.logout();
    auth.subscribe((isLoggedIn) => states.push(isLoggedIn));
    late.release();
    await login;
    assert.is(auth.isLoggedIn, false);
    assert.equal(states, [false]);
    assert.is(requests.at(-1), "POST /jwt/blacklist/ 200");
    assert.is(await createJwtClient({ url: server.origin, tokens, fetch }).me(), undefined, "after a reload");
    await auth.login(credentials);
    assert.is((await auth.me())?.username, "ada", "a later login counts");
  });
}

it("a login after that logout keeps its cookie, however late the other one's session is ended", async () => {
  const server = await serverWith(...flags);
  const late = lateFetch("jwt/create", lateResponse("jwt/blacklist", 1000));
  const fetch = browserFetch(late.fetch);
  const auth = createJwtClient({ url: server.origin, tokens: "cookie", fetch });
  late.hold();
  const former = auth.login(credentials);
  await until(() => late.arrived() > 0, "the login is under way");
  await auth.logout();
  const login = auth.login(fiona);
  late.release();
  await Promise.all([former, login]);
  await wait(1100); // all responses are there
  const reloaded = createJwtClient({ url: server.origin, tokens: "cookie", fetch });
  assert.is((await reloaded.me())?.username, "fiona");
});

it("the session of a later login is refreshed, though a refresh of the former one is under way", async () => {
  const server = await serverWith();
  const storage = createStorage();
  const late = lateFetch("jwt/refresh");
  const [slow, other] = [
    createJwtClient({ url: server.origin, tokens: storage, fetch: late.fetch }),
    createJwtClient({ url: server.origin, tokens: storage }),
  ];
  await slow.login(credentials);
  age(storage);
  late.hold();
  const former = slow.accessToken();
  await until(() => late.arrived() > 0, "the refresh is under way");
  await other.login(fiona);
  age(storage);
  const stale = JSON.parse([...storage.items.values()][0]!).access as string;
  const renewed = slow.accessToken();
  late.release();
  const token = await renewed;
  assert.type(token, "string");
  assert.is.not(token, stale);
  assert.is(await former, undefined);
});

it.run();
