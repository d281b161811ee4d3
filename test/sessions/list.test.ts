import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type Session, type Store, createJwtEndpoints } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { until } from "../support/processes.ts";
import { temporaryFolder } from "../support/runtime.ts";
import {
  type OpenStore,
  type Pair,
  begin,
  codesOf,
  expectRevoked,
  refreshing,
  secret,
  setUp,
  stores,
} from "../support/sessions.ts";

const it = suite("sessions one can see");

interface Row {
  id: string;
  current: boolean;
  created_at: string;
  last_used_at: string;
  expires_at: string;
  ip: string | null;
  user_agent: string | null;
}

async function open(more: Partial<JwtEndpointsSettings> = {}, openStore?: OpenStore, clock?: { seconds: number }) {
  const opened = await setUp({ sessions: true, ...more }, openStore, clock);
  const send = async (method: string, path: string, token?: string) => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await opened.endpoints.fetch(new Request(`http://localhost/jwt/${path}`, { method, headers }));
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const list = async (token: string): Promise<Row[]> => {
    const { status, text } = await send("GET", "sessions/", token);
    assert.is(status, 200, text);
    return JSON.parse(text);
  };
  const rowsOf = async (userId = "1"): Promise<readonly Session[]> => opened.store.listSessions!(userId);
  return { ...opened, send, list, rowsOf };
}
const bearerOf = (pair: Pair): string => pair.access ?? pair.token;
const sidOf = (pair: Pair): string => decodeJwt(bearerOf(pair)).sid as string;
const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();

for (const [storeName, openStore] of stores) {
  for (const [how, more] of refreshing) {
    it(`lists, ends one, ends all others: ${storeName}, ${how}`, async () => {
      const opened = await open({ rotateRefreshTokens: true, ...more }, openStore);
      const { clock, logIn, list, send, post, verify, guard, store } = opened;
      const pairs: Pair[] = [];
      for (let i = 0; i < 4; i++) {
        pairs.push(await logIn());
        clock.seconds += 10;
      }
      const other = await logIn("bea");
      const [first, second, third, fourth] = pairs as [Pair, Pair, Pair, Pair];
      const rows = await list(bearerOf(second));
      assert.equal(
        rows.map(({ id }) => id),
        pairs.map(sidOf).reverse(),
        "newest use first",
      );
      assert.equal(
        rows.map(({ current }) => current),
        [false, false, true, false],
      );
      assert.equal([rows[3]!.created_at, rows[3]!.last_used_at], [iso(begin), iso(begin)]);
      assert.ok(rows[3]!.expires_at > iso(begin + 86_400));

      clock.seconds += 60;
      const field = first.token === undefined ? "refresh" : "token";
      const { body, status } = await post("refresh", { [field]: first[field] });
      assert.is(status, 200);
      assert.is(sidOf(body), sidOf(first), "a refreshed token stays in its session");
      const [newest] = await list(bearerOf(body));
      assert.equal([newest!.id, newest!.current, newest!.last_used_at], [sidOf(first), true, iso(clock.seconds)]);

      const ended = await send("DELETE", `sessions/${sidOf(third)}/`, bearerOf(first));
      assert.equal([ended.status, ended.text], [204, ""]);
      assert.is(await verify(bearerOf(third)), 400);
      assert.is(await guard(bearerOf(third)), 401);
      assert.is((await post("refresh", { [field]: third[field] })).status, 400);
      assert.equal([await verify(bearerOf(fourth)), await verify(bearerOf(other))], [200, 200]);
      for (const id of [
        sidOf(third),
        sidOf(other),
        "unknown",
        "%2e%2e",
        "__proto__",
        decodeJwt(bearerOf(first)).jti!,
      ]) {
        if (id === sidOf(first)) continue; // a sliding token's id is its session's
        const refused = await send("DELETE", `sessions/${id}`, bearerOf(first));
        assert.equal([refused.status, refused.text], [404, '{"detail":"Not found."}'], id);
      }
      assert.is(await verify(bearerOf(other)), 200, "another user's session stays");

      assert.is((await send("DELETE", "sessions/", bearerOf(body))).status, 204);
      assert.is((await send("DELETE", "sessions", bearerOf(body))).status, 204, "again");
      for (const pair of [second, fourth]) assert.is(await guard(bearerOf(pair)), 401);
      assert.is(await guard(bearerOf(body)), 200);
      assert.equal(
        (await list(bearerOf(body))).map(({ id }) => id),
        [sidOf(first)],
      );

      assert.is((await send("DELETE", `sessions/${sidOf(first)}/`, bearerOf(body))).status, 204, "one's own");
      assert.is((await send("GET", "sessions/", bearerOf(body))).status, 401);
      assert.equal(await opened.rowsOf(), []);
      await store.close();
    });
  }
}

it("drops sessions that logout, reuse, revokeUser or removal ended, and never lists an ended one", async () => {
  const opened = await open({ rotateRefreshTokens: true });
  const { logIn, post, refresh, clock, endpoints, store, rowsOf, list } = opened;
  const ids = async () => (await rowsOf()).map(({ id }) => id);
  const out = await logIn();
  await post("logout", { refresh: out.refresh });
  assert.equal(await ids(), []);
  const reused = await logIn();
  await refresh(reused.refresh);
  clock.seconds += 11;
  assert.is((await refresh(reused.refresh)).status, 400);
  assert.equal([await ids(), codesOf(opened.log)], [[], ["refresh_reuse"]]);
  const revoked = await logIn();
  await endpoints.revokeUser("1");
  assert.equal(await ids(), []);
  await expectRevoked(opened, out, revoked);
  clock.seconds += 1;
  const [stopped, marked] = [await logIn(), await logIn()];
  await store.putIfAbsent("session", sidOf(stopped), "ended", begin + 90_000);
  assert.equal(
    (await list(marked.access)).map(({ id }) => id),
    [sidOf(marked)],
  );
  await store.updateUser("1", { tokensValidFrom: clock.seconds });
  clock.seconds += 1;
  const last = await logIn();
  assert.equal(
    (await list(last.access)).map(({ id }) => id),
    [sidOf(last)],
  );
  await store.removeUser("1");
  assert.equal(await ids(), []);
});

it("ends the oldest session at a login beyond maxSessions, also of logins at once", async () => {
  const opened = await open({ maxSessions: 2 });
  const pairs = [await opened.logIn(), await opened.logIn(), await opened.logIn()];
  assert.equal(
    (await opened.rowsOf()).map(({ id }) => id),
    pairs.slice(1).map(sidOf),
  );
  await expectRevoked(opened, pairs[0]!);
  await Promise.all([1, 2, 3, 4].map(() => opened.logIn()));
  assert.is((await opened.rowsOf()).length, 2);
});

it("of two servers on one folder each lists and ends the other's sessions, and maxSessions counts both", async () => {
  const folder = temporaryFolder();
  const clock = { seconds: begin + 0.5 };
  const more = { maxSessions: 2, rotateRefreshTokens: true };
  const openServer = () => open(more, (now) => openFileStore(folder, { now }), clock);
  const [here, there] = [await openServer(), await openServer()];
  const one = await here.logIn();
  const two = await there.logIn();
  assert.equal((await there.list(two.access)).map(({ id }) => id).toSorted(), [sidOf(one), sidOf(two)].toSorted());
  assert.is((await there.send("DELETE", `sessions/${sidOf(one)}/`, two.access)).status, 204);
  await until(async () => (await here.verify(one.access)) === 400, "the first server knows of the end");
  assert.is((await here.refresh(one.refresh)).status, 400);
  for (let round = 0; round < 5; round++) {
    clock.seconds += 10;
    const pairs = await Promise.all([here, there, here, there].map(({ logIn }) => logIn()));
    const left = async ({ rowsOf }: typeof here) =>
      (await rowsOf())
        .map(({ id }) => id)
        .toSorted()
        .join();
    await until(async () => (await left(here)) === (await left(there)), "both see the same sessions");
    assert.is((await here.rowsOf()).length, 2);
    const states = await Promise.all(pairs.map(({ access }) => there.guard(access)));
    assert.is(states.filter((status) => status === 200).length, 2);
  }
  await here.store.close();
  await there.store.close();
});

for (const [how, more] of refreshing) {
  it(`a session that is ended while its token is refreshed stays ended: ${how}`, async () => {
    const inner = memoryStore();
    let meanwhile = async () => {};
    // Every step of the store lets the other request go first.
    const slow = Object.fromEntries(
      Object.entries(inner).map(([name, method]) => [
        name,
        async (...args: never[]) => {
          await meanwhile();
          return (method as (...args: never[]) => unknown)(...args);
        },
      ]),
    ) as unknown as Store;
    for (let step = 0; step < 8; step++) {
      const opened = await open({ ...more, now: Date.now }, () => slow);
      const { logIn, post, send, guard, verify, rowsOf } = opened;
      const field = more.authTokenClasses === undefined ? "refresh" : "token";
      const [ended, own] = [await logIn(), await logIn()];
      let [left, isEnding] = [step, false];
      meanwhile = async () => {
        if (isEnding || left-- > 0) return;
        isEnding = true;
        assert.is((await send("DELETE", `sessions/${sidOf(ended)}/`, bearerOf(own))).status, 204);
      };
      const { status, body } = await post("refresh", { [field]: ended[field] });
      meanwhile = async () => {};
      if (!isEnding) await send("DELETE", `sessions/${sidOf(ended)}/`, bearerOf(own));
      if (status === 200) {
        for (const token of Object.values(body as Pair)) assert.is(await verify(token), 400, `step ${step}`);
        assert.is(await guard(bearerOf(body)), 401, `step ${step}`);
        assert.is((await post("refresh", { [field]: body[field] ?? ended[field] })).status, 400);
      }
      assert.ok(
        (await rowsOf()).every(({ id }) => id !== sidOf(ended)),
        "and is not in the list",
      );
    }
  });
}

it("records address and agent, short and without control characters, and the use at most once a minute", async () => {
  const agent = `curl \x85${"é".repeat(300)}`;
  let ip: string | undefined;
  const opened = await open({ clientAddress: () => ip, rotateRefreshTokens: false });
  const logIn = (headers: Record<string, string>) =>
    opened.post("create", { username: "ada", password: "correct horse" }, headers);
  for (const [userAgent, address] of [[agent, "192.0.2.7"], [""], ["x", "2001:db8::1".repeat(20)]] as const) {
    ip = address;
    await logIn({ "user-agent": userAgent });
  }
  const rows = await opened.rowsOf();
  assert.equal(
    rows.map((row) => row.ip?.slice(0, 9) ?? null),
    ["192.0.2.7", null, "2001:db8:"],
  );
  assert.ok(rows.every((row) => (row.ip ?? "").length <= 64 && (row.userAgent ?? "").length <= 256));
  assert.match(rows[0]!.userAgent!, /^curl é+$/);
  assert.is(rows[1]!.userAgent, null);
  const { body } = await logIn({});
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    opened.clock.seconds += 25;
    await opened.refresh(body.refresh);
    times.push((await opened.rowsOf())[3]!.lastUsedAt - begin);
  }
  assert.equal(times, [0, 0, 75.5, 75.5, 75.5]);
});

it("keeps a rotated session in the list for as long as its tokens are valid", async () => {
  const opened = await open({ rotateRefreshTokens: true, refreshTokenLifetime: 600 });
  const pair = await opened.logIn();
  opened.clock.seconds += 59; // not recorded, but the successor lasts longer
  const { body } = await opened.refresh(pair.refresh);
  opened.clock.seconds += 599;
  assert.is((await opened.list((await opened.refresh(body.refresh)).body.access)).length, 1);
});

it("refreshes even if the use can't be recorded, and fails a login that can't be recorded", async () => {
  const whole = memoryStore();
  const broken = () => Promise.reject(Object.assign(new Error("full"), { code: "STORE_UNAVAILABLE" }));
  const store: Store = { ...whole, touchSession: broken };
  const opened = await open({ rotateRefreshTokens: false }, () => store);
  const { refresh } = await opened.logIn();
  assert.is((await opened.refresh(refresh)).status, 200);
  assert.equal(codesOf(opened.log), ["session_use_unrecorded"]);
  store.addSession = broken;
  assert.is((await opened.post("create", { username: "ada", password: "correct horse" })).status, 503);
});

for (const responses of ["djoser", "simplejwt"] as const) {
  it(`refuses requests without an access token, and other methods: ${responses}`, async () => {
    const { send, logIn } = await open({ responses });
    const { access, refresh } = await logIn();
    for (const [method, path] of [
      ["GET", "sessions/"],
      ["DELETE", "sessions/"],
      ["DELETE", "sessions/x/"],
    ] as const) {
      const bare = await send(method, path);
      const text = '{"detail":"Authentication credentials were not provided."}';
      assert.equal([bare.status, bare.text], [401, text]);
      assert.is(bare.headers.get("www-authenticate"), 'Bearer realm="api"');
      assert.is((await send(method, path, refresh)).status, 401, "a refresh token is none");
    }
    for (const [method, path, allow] of [
      ["POST", "sessions/", "GET, HEAD, DELETE, OPTIONS"],
      ["PUT", "sessions", "GET, HEAD, DELETE, OPTIONS"],
      ["GET", "sessions/x/", "DELETE, OPTIONS"],
    ] as const) {
      const refused = await send(method, path, access);
      assert.equal([refused.status, refused.headers.get("allow")], [405, allow]);
    }
  });
}

it("is off by default, and then tokens, routes and store are as ever", async () => {
  const opened = await open({ sessions: false, rotateRefreshTokens: false });
  const { access } = await opened.logIn();
  assert.is(decodeJwt(access).sid, undefined);
  assert.is((await opened.send("GET", "sessions/", access)).status, 404);
  assert.equal(await opened.rowsOf(), []);
});

it("is refused on a store that keeps no sessions, which serves everything else", () => {
  const { listSessions: _, ...store } = memoryStore();
  createJwtEndpoints({ store, signingKey: secret });
  assert.throws(
    () => createJwtEndpoints({ store, signingKey: secret, sessions: true }),
    /^setting sessions can't be on: the store keeps none; accepted: false, or a store with addSession, touchSession, listSessions, removeSession, putIfAbsent, and get$/,
  );
});

it("serves tokens from before the setting was turned on", async () => {
  let shared: Store | undefined;
  const before = await open({ sessions: false, rotateRefreshTokens: false }, (now) => (shared = memoryStore({ now })));
  const old = await before.logIn();
  const opened = await open({ rotateRefreshTokens: false }, () => shared!);
  assert.equal(await opened.list(old.access), []);
  const { body } = await opened.refresh(old.refresh);
  assert.is(sidOf(body), decodeJwt(old.refresh).jti);
  await opened.post("logout", { refresh: old.refresh });
  assert.is(await opened.guard(body.access), 401, "its access tokens end with it from now on");
});

it.run();
