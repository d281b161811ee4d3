/** The limit of rotations by session: what counts, who waits, and that nobody loses a session by it. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditEvent, JwtEndpointsSettings, Store } from "../../src/index.ts";
import { createRotationLimit } from "../../src/sessions/rotation-limit.ts";
import { createSharedCounts } from "../../src/shared-counts.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { type Opened, begin, codesOf, expectRevoked, jtiOf, setUp, stores } from "../support/sessions.ts";

/** Refreshes until the response is not 200, and returns the tokens in their order and that response. */
async function rotateUntilRefused({ refresh }: Opened, first: string) {
  const tokens = [first];
  while (tokens.length < 50) {
    const response = await refresh(tokens.at(-1)!);
    if (response.status !== 200) return { tokens, refused: response };
    tokens.push(response.body.refresh);
  }
  throw new Error("no refresh was refused");
}

const waitFor = (seconds: number) =>
  `Request was throttled. Expected available in ${seconds} second${seconds === 1 ? "" : "s"}.`;

for (const [name, openStore] of stores) {
  const it = suite(`limit of rotations, ${name} store`);
  const setUpHere = (more: Partial<JwtEndpointsSettings> = {}) =>
    setUp({ throttleRotations: "3/min", ...more }, openStore);

  it("responds 429 beyond the limit of a session, and the token works after the wait", async () => {
    const here = await setUpHere();
    const { refresh: first } = await here.logIn();
    const { tokens, refused } = await rotateUntilRefused(here, first);
    assert.is(tokens.length, 4);
    assert.equal([refused.status, refused.body], [429, { detail: waitFor(20) }]);
    here.clock.seconds += 19.5;
    const early = await here.refresh(tokens.at(-1)!);
    assert.equal([early.status, early.body.detail], [429, waitFor(1)]);
    here.clock.seconds += 0.5;
    assert.is((await here.refresh(tokens.at(-1)!)).status, 200);
    assert.equal(codesOf(here.log), ["throttled"], "a series of refusals is logged once");
    assert.equal([here.log[0]!.userId, here.log[0]!.level], ["1", "warn"]);
    await here.store.close();
  });

  it("writes nothing for a refused rotation, and allows one in each part of the time after a burst", async () => {
    const kinds: string[] = [];
    const here = await setUp({ throttleRotations: "3/min" }, async (now) => {
      const store = await openStore(now);
      const putIfAbsent: Store["putIfAbsent"] = (...fact) => (kinds.push(fact[0]), store.putIfAbsent(...fact));
      return { ...store, putIfAbsent };
    });
    let { refresh: token } = await here.logIn();
    for (let second = 0; second < 120; second++) {
      const { status, body } = await here.refresh(token);
      if (status === 200) token = body.refresh;
      else assert.is(status, 429);
      here.clock.seconds += 1;
    }
    assert.equal(kinds, Array<string>(8).fill("successor"));
    assert.equal(codesOf(here.log), ["throttled"]);
    await here.store.close();
  });

  it("counts a token once, however often it is presented within the grace period", async () => {
    const here = await setUpHere();
    const { refresh: first } = await here.logIn();
    const responses = await Promise.all(Array.from({ length: 20 }, () => here.refresh(first)));
    assert.equal(new Set(responses.map(({ status }) => status)), new Set([200]));
    const { tokens } = await rotateUntilRefused(here, responses[0]!.body.refresh);
    assert.is(tokens.length, 3);
    await here.store.close();
  });

  it("returns the same successor to a retry at the limit, and still detects reuse there", async () => {
    const here = await setUpHere({ throttleRotations: "3/hour" });
    const login = await here.logIn();
    const { tokens } = await rotateUntilRefused(here, login.refresh);
    const again = await here.refresh(tokens.at(-2)!);
    assert.equal([again.status, again.body.refresh], [200, tokens.at(-1)]);
    here.clock.seconds += 11;
    assert.is((await here.refresh(tokens.at(-1)!)).status, 429);
    assert.is((await here.refresh(tokens.at(-2)!)).text, "Token is blacklisted");
    await expectRevoked(here, { ...login, refresh: tokens.at(-1)! }, again.body);
    assert.equal(codesOf(here.log), ["throttled", "refresh_reuse"]);
    await here.store.close();
  });

  it("hinders neither another session of the user nor other endpoints", async () => {
    const here = await setUpHere();
    const [one, two] = [await here.logIn(), await here.logIn()];
    const { tokens } = await rotateUntilRefused(here, one.refresh);
    assert.is((await here.refresh(two.refresh)).status, 200);
    assert.is(await here.verify(tokens.at(-1)!), 200);
    assert.is(await here.guard(one.access), 200);
    assert.is((await here.post("logout", { refresh: tokens.at(-1)! })).status, 200);
    assert.is((await here.refresh(tokens.at(-1)!)).text, "Token is blacklisted", "before the limit");
    assert.is((await here.refresh((await here.logIn()).refresh)).status, 200);
    await here.store.close();
  });

  it.run();
}

const it = suite("limit of rotations");

it("sends Retry-After, keeps the cookie, and is the event throttled", async () => {
  const events: AuditEvent[] = [];
  const here = await setUp({
    throttleRotations: "1/hour",
    responses: "simplejwt",
    cookies: { carry: ["refresh"], secure: false },
    audit: (event) => void events.push(event),
  });
  const send = async (path: string, body: object, cookie = "") => {
    const headers = { "content-type": "application/json", cookie };
    const init = { method: "POST", headers, body: JSON.stringify(body) };
    return here.endpoints.fetch(new Request(`http://localhost/jwt/${path}/`, init));
  };
  const cookieOf = (response: Response) => response.headers.getSetCookie()[0]!.split(";")[0]!;
  const login = await send("create", { username: "ada", password: "correct horse" });
  const next = await send("refresh", {}, cookieOf(login));
  const refused = await send("refresh", {}, cookieOf(next));
  assert.is(refused.status, 429);
  assert.is(refused.headers.get("retry-after"), "3600");
  assert.equal(refused.headers.getSetCookie(), []);
  assert.equal(await refused.json(), { detail: waitFor(3600) });
  here.clock.seconds += 3600;
  assert.is((await send("refresh", {}, cookieOf(next))).status, 200);
  assert.equal(
    events.map(({ event }) => event),
    ["login", "throttled"],
  );
});

it("counts tokens without a session by the first one's id", async () => {
  const here = await setUp({ throttleRotations: "2/min", rotateRefreshTokens: false });
  const { refresh: first } = await here.logIn();
  assert.is(decodeJwt(first)["sid"], undefined);
  const rotating = await setUp({ throttleRotations: "2/min" }, () => here.store);
  const { tokens } = await rotateUntilRefused(rotating, first);
  assert.is(tokens.length, 3);
  assert.is(decodeJwt(tokens[2]!)["sid"], jtiOf(first));
});

it("limits nothing by default, nor where rotations are not recorded", async () => {
  for (const more of [
    {},
    { throttleRotations: "1/hour", blacklistAfterRotation: false },
    { throttleRotations: "1/hour", rotateRefreshTokens: false },
  ]) {
    const here = await setUp(more);
    let { refresh: token } = await here.logIn();
    for (let i = 0; i < 50; i++) {
      const { status, body } = await here.refresh(token);
      assert.is(status, 200);
      token = body.refresh ?? token;
    }
  }
});

/** The limit alone, with a clock. `hear` receives what another process counts. */
function limitOf(limit: number, seconds: number) {
  const clock = { ms: begin * 1000 };
  let receive = (_text: string): void => {};
  const store = { ...memoryStore(), publish: () => {}, subscribe: (given: typeof receive) => void (receive = given) };
  const settings = { store, prefix: "", now: () => clock.ms, log: () => {} };
  const rotations = createRotationLimit(settings, { limit, seconds }, createSharedCounts(settings));
  const hear = (session: string) => receive(`throttleRotations:${limit}/${seconds} ${clock.ms} ${session}`);
  return { clock, hear, ...rotations };
}

it("keeps its counts when the clock is set back, and nobody waits for longer", () => {
  const { clock, count, waitOf } = limitOf(60, 3600);
  for (let i = 0; i < 60; i++) count("a");
  clock.ms -= 3_600_000;
  assert.is(waitOf("a"), 60_000);
  clock.ms += 59_999;
  assert.is(waitOf("a"), 1);
  clock.ms += 1;
  assert.is(waitOf("a"), 0);
});

it("counts each burst of another process, also when the bucket was full before", () => {
  const { clock, hear, waitOf } = limitOf(10, 60);
  for (const hour of [0, 1, 2]) {
    clock.ms = (begin + hour * 3600) * 1000;
    assert.is(waitOf("a"), 0);
    for (let i = 0; i < 12; i++) hear("b");
    assert.is(waitOf("b"), 6000, `hour ${hour}`);
  }
});

it("allows whole numbers of rotations at rates that divide unevenly", () => {
  const { clock, count, waitOf } = limitOf(7, 60);
  let allowed = 0;
  for (let second = 0; second <= 3600; second++) {
    while (waitOf("a") === 0) {
      count("a");
      allowed++;
    }
    assert.ok(waitOf("a") <= 60_000 / 7);
    clock.ms += 1000;
  }
  assert.is(allowed, 7 + 7 * 60);
});

it("remembers a bounded number of sessions, and still the latest", () => {
  const { count, waitOf } = limitOf(1, 3600);
  for (let i = 0; i < 200_000; i++) count(`session ${i}`);
  assert.is(waitOf("session 0"), 0, "forgotten");
  assert.is(waitOf("session 199999"), 3_600_000);
  assert.is(waitOf("session 150000"), 3_600_000);
});

it.run();
