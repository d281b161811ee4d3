/** Rotation, reuse, logout and everything else that ends tokens: on every store, in one process and in two. */
import path from "node:path";
import process from "node:process";
import { SignJWT, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair } from "jose";
import { Agent, request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type EndpointsStore,
  type JwtEndpointsSettings,
  type LogEvent,
  type Store,
  StoreError,
  type User,
  type UserChanges,
  createJwtEndpoints,
  createPasswords,
} from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { finished, until } from "../support/processes.ts";
import { keptIn, runtime, start, temporaryFolder } from "../support/runtime.ts";

const secret = "a secret of the session suite, 32 bytes or more";
const begin = 1_850_000_000;
const passwordHash = await createPasswords({ iterations: 1 }).hash("correct horse");

type Pair = Record<"access" | "refresh" | "token", string>;

type OpenStore = (now: () => number) => Store | Promise<Store>;

async function open(
  more: Partial<JwtEndpointsSettings> = {},
  openStore: OpenStore = (now) => memoryStore({ now }),
  clock = { seconds: begin + 0.5 },
) {
  const now = () => Math.round(clock.seconds * 1000); // the store's clock too, so that facts expire
  const store = await openStore(now);
  const log: LogEvent[] = [];
  for (const [index, username] of ["ada", "bea", "cid"].entries()) {
    if (!(await store.findUserByUsername(username))) {
      await store.addUser({ id: String(index + 1), username, passwordHash });
    }
  }
  const endpoints = createJwtEndpoints({
    store,
    signingKey: secret,
    hashing: { iterations: 1 },
    now,
    log: keptIn(log),
    rotateRefreshTokens: true,
    ...more,
  });
  const post = async (endpoint: string, data: unknown, headers: Record<string, string> = {}) => {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(data),
    };
    const answer = await endpoints.fetch(new Request(`http://localhost/jwt/${endpoint}/`, init));
    const body = (await answer.json()) as Pair & { non_field_errors?: string[]; detail?: string };
    return { status: answer.status, body, text: body.non_field_errors?.[0] };
  };
  const logIn = async (username = "ada"): Promise<Pair> => {
    const { status, body } = await post("create", { username, password: "correct horse" });
    assert.is(status, 200, JSON.stringify(body));
    return body;
  };
  const refresh = (token: string) => post("refresh", { refresh: token });
  const verify = async (token: string) => (await post("verify", { token })).status;
  const guard = async (token: string): Promise<number> => {
    const headers = { authorization: `Bearer ${token}` };
    const answer = endpoints.protect(() => new Response("in"))(new Request("http://localhost/me", { headers }));
    return (await answer).status;
  };
  return { endpoints, store, clock, log, post, logIn, refresh, verify, guard };
}
type Opened = Awaited<ReturnType<typeof open>>;

const codes = (log: LogEvent[]) => log.map(({ code }) => code);
const jti = (token: string) => decodeJwt(token).jti!;

/** That none of some tokens is good for anything any more. */
async function expectDead({ refresh, verify, guard }: Opened, ...pairs: Partial<Pair>[]): Promise<void> {
  for (const pair of pairs) {
    if (pair.refresh !== undefined) {
      assert.is((await refresh(pair.refresh)).status, 400, "refresh");
      assert.is(await verify(pair.refresh), 400, "verify of a refresh token");
    }
    if (pair.access !== undefined) {
      assert.is(await verify(pair.access), 400, "verify of an access token");
      assert.is(await guard(pair.access), 401, "authenticate");
    }
  }
}

const signed = (claims: Record<string, unknown>, key = secret) =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(new TextEncoder().encode(key));

const rotating = ["--rotate-refresh-tokens", "true"];

/** Ways to refresh: in every one, a token comes from a login and must not outlive it. */
const refreshing: [what: string, settings: Partial<JwtEndpointsSettings>, flags: string[]][] = [
  ["with rotation", {}, rotating],
  ["without rotation", { rotateRefreshTokens: false }, []],
  [
    "with sliding tokens",
    { rotateRefreshTokens: false, authTokenClasses: ["SlidingToken"] },
    ["--auth-token-classes", "SlidingToken"],
  ],
];

const stores: [name: string, openStore: OpenStore][] = [
  ["memory", (now) => memoryStore({ now })],
  ["file", (now) => openFileStore(temporaryFolder(), { now })],
];

for (const [name, openStore] of stores) {
  const it = suite(`sessions, ${name} store`);
  const opened = (more?: Partial<JwtEndpointsSettings>) => open(more, openStore);

  it("answer fifty refreshes of one token at once with one and the same successor", async () => {
    for (const more of [{}, { blacklistAfterRotation: true }, { refreshGrace: "until-used" }]) {
      const { logIn, refresh, log, store } = await opened(more);
      const { refresh: token } = await logIn();
      const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(token)));
      assert.equal(new Set(answers.map(({ status }) => status)), new Set([200]));
      assert.is(new Set(answers.map(({ body }) => body.refresh)).size, 1);
      assert.is(new Set(answers.map(({ body }) => body.access)).size, 50);
      assert.is.not(answers[0]!.body.refresh, token);
      assert.equal(log, []);
      await store.close();
    }
  });

  it("go on unnoticed within the grace, and end after it", async () => {
    const here = await opened({ refreshGrace: "10s" });
    const first = await here.logIn();
    const second = (await here.refresh(first.refresh)).body;
    here.clock.seconds += 9;
    const again = (await here.refresh(first.refresh)).body;
    assert.is(again.refresh, second.refresh);
    const third = (await here.refresh(second.refresh)).body;
    assert.is(await here.verify(third.access), 200);
    here.clock.seconds += 2;
    assert.is(await here.verify(first.refresh), 400, "to ask of it is not to use it again");
    assert.is((await here.refresh(third.refresh)).status, 200);
    const reused = await here.refresh(first.refresh);
    assert.equal([reused.status, reused.text], [400, "Token is blacklisted"]);
    await expectDead(here, first, second, third, again);
    assert.equal(codes(here.log), ["refresh_reuse"]);
    assert.is(here.log[0]!.userId, "1");
    assert.not.match(JSON.stringify(here.log), first.refresh.slice(40, 80));
    assert.is((await here.refresh((await here.logIn()).refresh)).status, 200, "a new login is a new session");
  });

  it("have no longer grace when the clock is set back, and none less when clocks differ by seconds", async () => {
    for (const [refreshGrace, back, status] of [
      ["10s", 4, 200],
      ["1s", 4, 200],
      ["10s", 3600, 400],
      ["1s", 60, 400],
    ] as const) {
      const here = await opened({ refreshGrace });
      const first = await here.logIn();
      here.clock.seconds += 7200;
      const second = (await here.refresh(first.refresh)).body;
      here.clock.seconds -= back;
      const told = `${refreshGrace}, ${back} s back`;
      assert.is(await here.verify(first.refresh), status, told);
      const again = await here.refresh(first.refresh);
      assert.is(again.status, status, told);
      if (status === 200) assert.is(again.body.refresh, second.refresh);
      here.clock.seconds += back;
      if (status === 400) await expectDead(here, second);
      await here.store.close();
    }
  });

  it("are strict without grace: of racing refreshes one wins, and then none", async () => {
    const here = await opened({ refreshGrace: 0 });
    const { refresh: token } = await here.logIn();
    const answers = await Promise.all(Array.from({ length: 10 }, () => here.refresh(token)));
    const won = answers.filter(({ status }) => status === 200);
    assert.is(won.length, 1);
    await expectDead(here, ...won.map(({ body }) => body));
    assert.ok(codes(here.log).includes("refresh_reuse"));
  });

  it("are strict without grace even if the one that began first comes second", async () => {
    let isFirst = true;
    const here = await open({ refreshGrace: 0 }, async (now) => {
      const store = await openStore(now);
      const findUserById = async (id: string) => {
        const user = await store.findUserById(id);
        if (isFirst) {
          isFirst = false;
          here.clock.seconds += 0.001;
          assert.is((await here.refresh(token)).status, 200); // asked later, and yet the first to use it
        }
        return user;
      };
      return { ...store, findUserById };
    });
    const { refresh: token } = await here.logIn();
    assert.is((await here.refresh(token)).status, 400);
    assert.equal(codes(here.log), ["refresh_reuse"]);
  });

  it("hand a successor out again until it is used itself, where that is wanted", async () => {
    const here = await opened({ refreshGrace: "until-used" });
    const first = await here.logIn();
    const second = (await here.refresh(first.refresh)).body;
    here.clock.seconds += 10_000;
    assert.is((await here.refresh(first.refresh)).body.refresh, second.refresh);
    const third = (await here.refresh(second.refresh)).body;
    assert.is((await here.refresh(first.refresh)).status, 400);
    await expectDead(here, third);
  });

  it("end for the newest descendant too that is being refreshed at that very moment", async () => {
    for (let round = 0; round < 20; round++) {
      const here = await opened({ refreshGrace: 1 });
      const first = await here.logIn();
      const second = (await here.refresh(first.refresh)).body;
      here.clock.seconds += 2;
      const tries = [() => here.refresh(second.refresh), () => here.refresh(first.refresh)];
      if (round % 2 === 1) tries.reverse();
      const answers = await Promise.all(tries.map((ask) => ask()));
      await expectDead(here, second, ...answers.filter(({ status }) => status === 200).map(({ body }) => body));
      await here.store.close();
    }
  });

  it("are not touched by unsigned, foreign or expired tokens that name them", async () => {
    const here = await opened({ refreshGrace: 0 });
    const { refresh: token } = await here.logIn();
    const next = (await here.refresh(token)).body;
    for (const way of [0, 1, 2, 3]) {
      const forged = await forge(token, way);
      for (const endpoint of ["refresh", "blacklist", "logout"]) {
        assert.is((await here.post(endpoint, { refresh: forged })).status, 400);
      }
    }
    assert.is((await here.refresh(next.refresh)).status, 200);
    assert.equal(here.log, []);
  });

  it("end with logout, once and for all, whatever stands in the Authorization header", async () => {
    const here = await opened();
    const [one, other] = [await here.logIn(), await here.logIn()];
    const next = (await here.refresh(one.refresh)).body;
    const headers = { authorization: `Bearer ${await signed({ ...decodeJwt(one.access), exp: 1 })}` };
    for (const token of [one.refresh, next.refresh, one.refresh]) {
      const answer = await here.post("logout", { refresh: token }, headers);
      assert.equal([answer.status, answer.body], [200, {}]);
    }
    await expectDead(here, one, next);
    assert.is((await here.refresh(other.refresh)).status, 200);
  });

  it("never outlast sessionLifetime, however often they are refreshed", async () => {
    const here = await opened({ sessionLifetime: "1h", refreshTokenLifetime: "30m", accessTokenLifetime: "20m" });
    let pair = await here.logIn();
    for (let i = 0; i < 5; i++) {
      here.clock.seconds += 700;
      const answer = await here.refresh(pair.refresh);
      assert.is(answer.status, 200);
      pair = answer.body;
      for (const token of [pair.refresh, pair.access]) assert.ok(decodeJwt(token).exp! <= begin + 3600);
    }
    here.clock.seconds = begin + 3600.5;
    await expectDead(here, pair);
  });

  it("that others began do not outlast it either", async () => {
    const foreign = { token_type: "refresh", exp: begin + 86_000, jti: "e".repeat(32), user_id: "1" };
    for (const rotateRefreshTokens of [true, false]) {
      const here = await opened({ rotateRefreshTokens, sessionLifetime: "10m", refreshTokenLifetime: "5m" });
      const cases: [Record<string, unknown>, ends: number][] = [
        [{ iat: begin - 10 }, begin + 590],
        [{ iat: begin - 10, auth_time: "2020-01-01" }, begin + 590],
        [{ iat: begin - 10, auth_time: null }, begin + 590],
        [{ iat: begin - 10, auth_time: begin - 500 }, begin + 100],
        [{ iat: begin - 601 }, begin],
        [{}, begin + 600.5], // refused, or as if it began now
      ];
      for (const [index, [more, ends]] of cases.entries()) {
        here.clock.seconds = begin + 0.5;
        let token = await signed({ ...foreign, jti: `${index}`, ...more });
        for (; here.clock.seconds < begin + 700; here.clock.seconds += 99) {
          const { status, body } = await here.refresh(token);
          if (status !== 200) {
            assert.is(status, 400);
            break;
          }
          assert.ok(here.clock.seconds < ends, JSON.stringify(more));
          assert.ok(decodeJwt(body.access).exp! <= ends, JSON.stringify(more));
          assert.is(await here.verify(body.access), 200, JSON.stringify(more));
          token = body.refresh ?? token;
        }
        assert.ok(here.clock.seconds < begin + 700);
      }
      await here.store.close();
    }
  });

  it("leave used tokens good where blacklistAfterRotation is off, as Simple JWT does", async () => {
    const here = await opened({ blacklistAfterRotation: false });
    const first = await here.logIn();
    const answers = [await here.refresh(first.refresh), await here.refresh(first.refresh)];
    here.clock.seconds += 3600;
    answers.push(await here.refresh(first.refresh));
    assert.is(new Set(answers.map(({ body }) => jti(body.refresh))).size, 3);
    assert.is((await here.post("blacklist", { refresh: answers[1]!.body.refresh })).status, 200);
    await expectDead(here, first, ...answers.map(({ body }) => ({ refresh: body.refresh })));
  });

  it("begin with a token that Django made, and end with it", async () => {
    const claims = { token_type: "refresh", exp: begin + 3600, iat: begin, jti: "d".repeat(32), user_id: 1 };
    for (const more of [{ tenant: "x" }, { tenant: "x", sid: 5 }, { tenant: "x", sid: "" }]) {
      const here = await opened();
      const foreign = await signed({ ...claims, ...more });
      const next = (await here.refresh(foreign)).body;
      assert.equal([decodeJwt(next.refresh).sid, decodeJwt(next.refresh).tenant], [claims.jti, "x"]);
      assert.equal([await here.verify(next.access), await here.guard(next.access)], [200, 200]);
      await here.post("logout", { refresh: next.refresh });
      await expectDead(here, { refresh: foreign }, next);
      await here.store.close();
    }
  });

  it("end for access tokens that outlast every refresh token", async () => {
    const here = await opened({ accessTokenLifetime: "10d", refreshTokenLifetime: "1d" });
    const one = await here.logIn();
    const other = await here.logIn();
    await here.post("logout", { refresh: one.refresh });
    await expectDead(here, one);
    for (const days of [1, 3, 9]) {
      here.clock.seconds = begin + days * 86_400 + 2;
      await expectDead(here, { access: one.access });
      assert.is(await here.guard(other.access), 200);
    }
  });

  it("answer the same successor after an outage that swallowed the first answer", async () => {
    let isDown = false;
    const here = await open({}, async (now) => {
      const store = await openStore(now);
      const putIfAbsent: Store["putIfAbsent"] = async (...fact) => {
        const standing = await store.putIfAbsent(...fact);
        if (isDown) throw new StoreError("STORE_UNAVAILABLE", "the connection was lost");
        return standing;
      };
      return { ...store, putIfAbsent };
    });
    const { refresh: token } = await here.logIn();
    isDown = true;
    assert.is((await here.refresh(token)).status, 503);
    isDown = false;
    const answers = [await here.refresh(token), await here.refresh(token)];
    assert.is(answers[0]!.status, 200);
    assert.is(answers[0]!.body.refresh, answers[1]!.body.refresh);
    assert.equal(codes(here.log), ["store_unavailable"]);
  });

  it("end with their user's removal, and no new user inherits them", async () => {
    for (const userIdField of ["id", "username"]) {
      for (const [what, more] of refreshing) {
        const here = await opened({ ...more, userIdField });
        const field = more.authTokenClasses === undefined ? "refresh" : "token";
        const told = `${userIdField}, ${what}`;
        const pair = await here.logIn();
        const foreign = await signed({
          ...decodeJwt(pair[field]),
          auth_time: undefined,
          sid: undefined,
          jti: "foreign",
        });
        const old = [...Object.values(pair), foreign];
        for (const token of old) assert.is(await here.verify(token), 200, told);
        const other = await here.logIn("bea");
        assert.is(await here.store.removeUser("1"), true);
        for (const token of old) {
          const { status, text } = await here.post("verify", { token });
          assert.equal([status, text], [400, "Token is blacklisted"], told);
        }
        const gone = "No active account found for the given token.";
        for (const token of [pair[field], foreign]) {
          assert.is((await here.post("refresh", { [field]: token })).text, gone, told);
        }
        const headers = { authorization: `Bearer ${pair.access ?? pair.token}` };
        const guarded = here.endpoints.protect(() => new Response("in"))(new Request("http://localhost/", { headers }));
        assert.is(((await (await guarded).json()) as { detail: string }).detail, "User not found", told);

        const again = { username: "ada", passwordHash };
        const refusal = await Promise.resolve()
          .then(() => here.store.addUser({ ...again, id: "1" }))
          .catch((error: Error) => error);
        assert.is((refusal as StoreError).code, "USER_EXISTS");
        await here.store.addUser({ ...again, id: "new" });
        for (const step of [0, 0.001, 1, 50]) {
          here.clock.seconds += step;
          for (const token of old) assert.is(await here.verify(token), 400, told);
          for (const token of [pair[field], foreign]) {
            assert.is((await here.post("refresh", { [field]: token })).status, 400, told);
          }
          assert.is(await here.guard(pair.access ?? pair.token), 401, told);
          const fresh = await here.logIn();
          for (const token of Object.values(fresh)) assert.is(await here.verify(token), 200, told);
          assert.is((await here.post("refresh", { [field]: fresh[field] })).status, 200, told);
          assert.is(await here.guard(fresh.access ?? fresh.token), 200, told);
        }
        assert.is((await here.post("refresh", { [field]: other[field] })).status, 200, "nobody else is touched");
        await here.store.close();
      }
    }
  });

  it("begin with no login by what another process has just changed", async () => {
    const ended = begin + 0.995;
    const changes: [how: string, change: (store: Store) => unknown, isGood: boolean][] = [
      ["logout", (store) => store.updateUser("1", { tokensValidFrom: ended }), true],
      ["passwd", (store) => store.updateUser("1", { tokensValidFrom: ended, passwordHash: "!" }), false],
      ["disable", (store) => store.updateUser("1", { tokensValidFrom: ended, isActive: false }), false],
      ["remove", (store) => store.removeUser("1"), false],
      [
        "remove, add",
        async (store) => {
          await store.removeUser("1");
          await store.addUser({ username: "ada", passwordHash });
        },
        false,
      ],
    ];
    for (const [how, change, isGood] of changes) {
      for (const [at, isAfter] of [
        [begin + 0.99, false],
        [begin + 0.997, true],
        [begin + 1.005, true],
      ] as const) {
        let stale: User | undefined;
        const here = await open({ userIdField: "username" }, async (now) => {
          const store = await openStore(now);
          // As a process that hears of others' changes after its first look.
          const findUserByUsername: Store["findUserByUsername"] = (...asked) => {
            const known = stale ?? store.findUserByUsername(...asked);
            stale = undefined;
            return known;
          };
          return { ...store, findUserByUsername };
        });
        const told = `${how}, ${at - begin}`;
        const known = await here.store.findUserById("1");
        here.clock.seconds = ended;
        await change(here.store);
        here.clock.seconds = at;
        stale = known;
        const { status, body } = await here.post("create", { username: "ada", password: "correct horse" });
        here.clock.seconds = begin + 2;
        if (isGood && isAfter) {
          assert.equal([status, await here.verify(body.access), await here.guard(body.access)], [200, 200, 200], told);
        } else if (status === 200) await expectDead(here, body);
        else assert.ok(!isGood, told);
        await here.store.close();
      }
    }
  });

  it("go by a name end when another takes it", async () => {
    const here = await opened({ userIdField: "username" });
    const pair = await here.logIn();
    await here.store.updateUser("1", { username: "dea" });
    await expectDead(here, pair);
    await here.store.updateUser("2", { username: "ada" });
    await expectDead(here, pair);
    assert.is(await here.guard((await here.logIn()).access), 200);
  });

  it("that Django began stay good for users who come from there", async () => {
    for (const userIdField of ["id", "username"]) {
      const here = await opened({ userIdField });
      const claims = { token_type: "access", exp: begin + 300, iat: begin - 9, jti: "j" };
      const token = await signed({ ...claims, user_id: userIdField === "id" ? 77 : "dea" });
      await here.store.removeUser("1");
      assert.equal([await here.verify(token), await here.guard(token)], [200, 401], "a user who never was here");
      await here.store.addUsers([{ id: "77", username: "dea", passwordHash }]);
      assert.equal([await here.verify(token), await here.guard(token)], [200, 200]);
      await here.store.close();
    }
  });

  it("of a user all end at once, whatever the clock shows, and new ones work", () => endAllOfUser(openStore));

  it("of a user all end for good, though the clock is ahead by days, and new ones work when it is right", async () => {
    const sliding: Partial<JwtEndpointsSettings> = {
      authTokenClasses: ["SlidingToken"],
      slidingTokenLifetime: "5d",
      slidingTokenRefreshLifetime: "5d",
      rotateRefreshTokens: false,
    };
    for (const more of [{}, { rotateRefreshTokens: false }, sliding]) {
      const isSliding = more === sliding;
      const here = await opened({ accessTokenLifetime: "5d", refreshTokenLifetime: "6d", ...more });
      const refresh = async (pair: Pair): Promise<Pair> => {
        const data = isSliding ? { token: pair.token } : { refresh: pair.refresh };
        const { status, body } = await here.post("refresh", data);
        assert.is(status, 200);
        return { ...pair, ...body };
      };
      const verified = async (...pairs: Pair[]): Promise<boolean[]> => {
        const found = new Set<boolean>();
        for (const { access, refresh: text, token } of pairs) {
          found.add((await here.guard(access ?? token)) === 200);
          for (const each of [access, text, token]) if (each) found.add((await here.verify(each)) === 200);
        }
        return [...found];
      };
      const before = await here.logIn();
      here.clock.seconds += 2 * 86_400;
      const ahead = await here.logIn();
      here.clock.seconds += 60;
      const ends = here.clock.seconds;
      await here.endpoints.revokeUser("1");
      here.clock.seconds += 60;
      const later = await here.logIn();
      assert.equal(await verified(later, await refresh(later)), [true]);
      here.clock.seconds -= 2 * 86_400 + 60;
      assert.equal(await verified(before, ahead), [false]);

      const one = await here.logIn();
      assert.ok(decodeJwt(one.access ?? one.token).iat! <= here.clock.seconds, "no token is from the future");
      const two = await refresh(await refresh(one));
      assert.equal(await verified(one, two), [true]);
      await here.endpoints.revokeUser("1"); // with the right clock
      assert.equal(await verified(before, ahead, one, two), [false]);
      let newest = await refresh(await here.logIn());
      for (const seconds of [ends - 30, ends, ends + 30, ends + 3600]) {
        here.clock.seconds = seconds;
        newest = await refresh(newest);
        assert.equal(await verified(newest, await here.logIn()), [true], `${seconds}`);
        assert.equal(await verified(before, ahead, one, two), [false], `${seconds}`);
      }
      await here.store.close();
    }
  });

  it(`follow a small model through a thousand random interleavings`, () => interleave(openStore));

  it.run();
}

/** Random numbers that one seed repeats: mulberry32. The seed is said first, and can be given. */
function seeded() {
  const seed = Number(process.env.SEED || crypto.getRandomValues(new Uint32Array(1))[0]);
  console.log(`SEED=${seed}`);
  let state = seed >>> 0;
  const below = (n: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n);
  };
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  return { seed, below, pick };
}

/** What the commands do (`user logout`, `passwd`, `disable`): a mark later than any before, compared and set. */
async function markUser({ store, clock }: Opened, id: string, changes: UserChanges = {}): Promise<void> {
  for (;;) {
    const { tokensValidFrom } = (await store.findUserById(id))!;
    const mark = Math.max(Math.round(clock.seconds * 1000) / 1000, (tokensValidFrom ?? 0) + 0.001);
    const wanted = { ...changes, tokensValidFrom: mark };
    if ((await store.updateUser(id, wanted, { tokensValidFrom }))!.tokensValidFrom === mark) return;
  }
}

async function endAllOfUser(openStore: OpenStore): Promise<void> {
  const { seed, below, pick } = seeded();
  const here = await open({ accessTokenLifetime: "1d" }, openStore);
  const { clock, endpoints, store } = here;
  const ways: [string, (id: string) => Promise<unknown>][] = [
    ["revokeUser", (id) => endpoints.revokeUser(id)],
    ["revokeUser, twice at once", (id) => Promise.all([endpoints.revokeUser(id), endpoints.revokeUser(id)])],
    ["user logout", (id) => markUser(here, id)],
    ["user passwd", (id) => markUser(here, id, { passwordHash })],
    [
      "user disable, enable",
      async (id) => {
        await markUser(here, id, { isActive: false });
        const { username } = (await store.findUserById(id))!;
        assert.is((await here.post("create", { username, password: "correct horse" })).status, 400);
        await store.updateUser(id, { isActive: true });
      },
    ],
  ];
  const names = ["ada", "bea", "cid"];
  for (let round = 0; round < 30; round++) {
    // Anywhere in a second, its first and its last millisecond above all; in the first rounds the clock stands still.
    const moments = [0, 0.999, 0.001, 0.998, 0.5];
    clock.seconds = begin + round * 60 + (moments[round] ?? pick([...moments, below(1000) / 1000]));
    const user = below(names.length);
    const [way, end] = pick(ways);
    const told = `${way} (SEED=${seed}, round ${round})`;
    const pairs: Pair[] = [];
    for (let i = 1 + below(4); i > 0; i--) {
      if (pairs.length === 0 || below(2) === 0) pairs.push(await here.logIn(names[user]));
      else pairs.push((await here.refresh(pairs.at(-1)!.refresh)).body);
      if (round >= moments.length) clock.seconds += pick([0, 0, 0.001, 0.4, 1]);
    }
    const others = await here.logIn(names[(user + 1) % 3]);
    // One refresh is still under way.
    const [late] = await Promise.all([here.refresh(pairs.at(-1)!.refresh), end(String(user + 1))]);
    if (late.status === 200) pairs.push(late.body);
    await expectDead(here, ...pairs);
    for (const step of [0, 0, 0.001, 1]) {
      clock.seconds += step;
      const fresh = await here.logIn(names[user]);
      assert.equal([await here.verify(fresh.access), await here.guard(fresh.access)], [200, 200], told);
      const next = await here.refresh(fresh.refresh);
      assert.is(next.status, 200, told);
      assert.equal([await here.verify(next.body.refresh), await here.guard(next.body.access)], [200, 200], told);
    }
    await expectDead(here, ...pairs);
    assert.is(await here.guard(others.access), 200, told);
    assert.is((await here.refresh(others.refresh)).status, 200, told);
  }
  assert.is(await endpoints.revokeUser("99"), false);
  assert.equal(here.log, []);
  await store.close();
}

/** One lineage of tokens as the model sees it. */
interface Lineage {
  user: string;
  /** Refresh tokens in their order, each with the time of its first use. */
  tokens: { text: string; usedAt?: number }[];
  access: string[];
  /** `undefined` after a login beside a revocation of its user: either may have been first. */
  ended: boolean | undefined;
}

/** A thousand batches of operations at once, each checked against what may and what must have happened. */
async function interleave(openStore: OpenStore): Promise<void> {
  const { seed, below, pick } = seeded();
  const names = ["ada", "bea", "cid"];
  for (let round = 0; round < 40; round++) {
    const grace = pick([0, 5, 10, "until-used"] as const);
    const here = await open({ refreshGrace: grace, refreshTokenLifetime: "1d", accessTokenLifetime: "1d" }, openStore);
    const explain = (what: string) => `${what} (SEED=${seed}, round ${round})`;
    const begun = async (user: string): Promise<Lineage> => {
      const { refresh, access } = await here.logIn(user);
      return { user, tokens: [{ text: refresh }], access: [access], ended: false };
    };
    const lineages = [await begun(pick(names)), await begun(pick(names))];
    for (let batch = 0; batch < 25; batch++) {
      here.clock.seconds += pick([0, 0, 0.001, 1, 4, 6, 11]);
      const now = Math.round(here.clock.seconds * 1000) / 1000;
      const revoked = below(12) === 0 ? pick(names) : undefined;
      const logins = below(4) === 0 ? [pick(names), pick(names)] : [];
      const asked: { lineage: Lineage; index: number; kind: "refresh" | "logout" | "forged"; text: string }[] = [];
      for (let i = 1 + below(6); i > 0; i--) {
        const lineage = pick(lineages);
        const index = below(3) === 0 ? below(lineage.tokens.length) : lineage.tokens.length - 1;
        const kind = pick([
          "refresh",
          "refresh",
          "refresh",
          "refresh",
          "refresh",
          "refresh",
          "logout",
          "forged",
        ] as const);
        const { text } = lineage.tokens[index]!;
        asked.push({ lineage, index, kind, text: kind === "forged" ? await forge(text, below(4)) : text });
      }
      // What must end: logouts, reuse after the grace. What may, as the order has it: a token used again beside the
      // first use of its successor (until-used).
      const ends = new Set<Lineage>(lineages.filter(({ user }) => user === revoked));
      const mayEnd = new Set<Lineage>();
      const seen = new Set<string>();
      for (const { lineage, index, kind, text } of asked) {
        if (kind === "logout") ends.add(lineage);
        if (kind !== "refresh") continue;
        const { usedAt } = lineage.tokens[index]!;
        const successor = lineage.tokens[index + 1];
        if (grace === "until-used") {
          if (successor?.usedAt !== undefined) ends.add(lineage);
          else if (asked.some((other) => other.kind === "refresh" && other.text === successor?.text))
            mayEnd.add(lineage);
        } else if (usedAt === undefined ? grace === 0 && seen.has(text) : now - usedAt >= grace) ends.add(lineage);
        seen.add(text);
      }
      const [answers, fresh] = await Promise.all([
        Promise.all(asked.map(({ kind, text }) => here.post(kind === "logout" ? kind : "refresh", { refresh: text }))),
        Promise.all(logins.map(begun)),
        revoked !== undefined && here.endpoints.revokeUser(String(names.indexOf(revoked) + 1)),
      ]);
      for (const [i, { lineage, index, kind }] of asked.entries()) {
        const { status, text, body } = answers[i]!;
        if (kind === "forged") {
          assert.is(status, 400, explain("forged"));
          assert.ok(["Token is invalid or expired", "Token has wrong type"].includes(text!), explain(text!));
        } else if (kind === "logout") assert.equal([status, body], [200, {}], explain("logout"));
        else if (status === 400) {
          assert.is(text, "Token is blacklisted", explain("text"));
          assert.ok(lineage.ended || ends.has(lineage) || mayEnd.has(lineage), explain("refused, though alive"));
          ends.add(lineage);
        } else {
          assert.equal([status, lineage.ended], [200, false], explain("an ended session came back"));
          lineage.access.push(body.access);
          lineage.tokens[index]!.usedAt ??= now;
          const successor = (lineage.tokens[index + 1] ??= { text: body.refresh });
          assert.is(body.refresh, successor.text, explain("two successors of one token"));
        }
      }
      for (const lineage of ends) lineage.ended = true;
      for (const lineage of fresh) {
        if (lineage.user === revoked) lineage.ended = undefined;
        lineages.push(lineage);
      }
      const touched = asked.map(({ lineage }) => lineage);
      for (const lineage of new Set([...touched, ...ends, ...fresh, pick(lineages)])) {
        const [newest, access] = [lineage.tokens.at(-1)!.text, lineage.access.at(-1)!];
        lineage.ended ??= (await here.verify(newest)) !== 200;
        const wanted = lineage.ended ? 400 : 200;
        assert.is(await here.verify(newest), wanted, explain("the newest refresh token"));
        assert.is(await here.verify(access), wanted, explain("the newest access token"));
        assert.is(await here.guard(pick(lineage.access)), lineage.ended ? 401 : 200, explain("any access token"));
      }
    }
    assert.ok(
      here.log.every(({ code }) => code === "refresh_reuse"),
      JSON.stringify(here.log),
    );
    await here.store.close();
  }
}

/** A token that names another one's ids, in one of four ways that must not count. */
async function forge(text: string, way: number): Promise<string> {
  const claims = decodeJwt(text);
  if (way === 0) return `${btoa('{"alg":"none"}').replaceAll("=", "")}.${text.split(".")[1]}.`;
  if (way === 1) return signed(claims, "another secret that is long enough, too");
  return signed(way === 2 ? { ...claims, exp: begin - 1 } : { ...claims, token_type: "access" });
}

const two = suite(`sessions, two ${runtime} servers on one folder`);

/** Two servers on one folder, asked by `post`, and ended when all is done. */
async function withServers(
  more: string[],
  use: (
    post: (server: number, endpoint: string, data: unknown) => Promise<{ status: number; body: Pair }>,
    credentials: unknown,
    folder: string,
  ) => Promise<void>,
): Promise<void> {
  const folder = path.join(temporaryFolder(), "data");
  const args = ["--port", "0", "--store", `file:${folder}`, "--hashing-iterations", "1"];
  const dispatcher = new Agent({ connections: 20 });
  const children = [];
  const origins: string[] = [];
  let told = "";
  for (let i = 0; i < 2; i++) {
    const child = start(`src/serve/${runtime}.ts`, [...args, ...more]);
    children.push(child);
    let mine = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (mine += chunk.toString()));
    await until(() => mine.includes("runtime  ") && (i > 0 || mine.includes("curl")), "the server has started", 20_000);
    origins.push(/http:\/\/[^/\s]+/.exec(mine)![0]);
    told += mine;
  }
  try {
    await use(
      async (server, endpoint, data) => {
        const body = JSON.stringify(data);
        const headers = { "content-type": "application/json" };
        const url = `${origins[server]}/jwt/${endpoint}/`;
        const answer = await request(url, { method: "POST", headers, body, dispatcher });
        return { status: answer.statusCode, body: (await answer.body.json()) as Pair };
      },
      JSON.parse(/-d '(\{.*\})'/.exec(told)![1]!),
      folder,
    );
  } finally {
    await dispatcher.close?.(); // not in the undici that Bun brings
    for (const child of children) {
      process.kill(child.pid!, "SIGTERM");
      await new Promise((resolve) => child.once("close", resolve));
    }
  }
}

two("agree on the successor of a token, and on what has ended", () =>
  withServers([...rotating, "--refresh-grace", "2s"], async (post, credentials) => {
    for (let round = 0; round < 10; round++) {
      const { refresh: token } = (await post(round % 2, "create", credentials)).body;
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) => post(i % 2, "refresh", { refresh: token })),
      );
      assert.equal(new Set(answers.map(({ status }) => status)), new Set([200]));
      const [successor, ...others] = new Set(answers.map(({ body }) => body.refresh));
      assert.equal(others, []);
      assert.is((await post(round % 2, "logout", { refresh: token })).status, 200);
      // The other one sees it within 50 ms, or before its own next write.
      assert.is((await post((round + 1) % 2, "refresh", { refresh: successor })).status, 400);
    }
  }),
);

for (const [grace, what, endpoint] of [
  ["1h", "that has been logged out by the other one", "logout"],
  ["until-used", "whose successor the other one has used", "refresh"],
] as const) {
  two(`refuse a used token ${what}, from the moment it was acknowledged`, () =>
    withServers([...rotating, "--refresh-grace", grace], async (post, credentials) => {
      for (let round = 0; round < 20; round++) {
        const [here, there] = [round % 2, (round + 1) % 2];
        const { refresh: token } = (await post(here, "create", credentials)).body;
        const { refresh: successor } = (await post(here, "refresh", { refresh: token })).body;
        const again = await post(there, "refresh", { refresh: token });
        assert.equal([again.status, again.body.refresh], [200, successor], "known there, and within the grace");
        assert.is((await post(here, endpoint, { refresh: successor })).status, 200);
        assert.is((await post(there, "refresh", { refresh: token })).status, 400, `round ${round}`);
      }
    }),
  );
}

for (const [what, more] of refreshing) {
  two(`end a user's sessions for good, even if one has not yet heard of it when it is asked, ${what}`, async () => {
    const folder = temporaryFolder();
    const clock = { seconds: begin };
    const openStore: OpenStore = (now) => openFileStore(folder, { now });
    const here = await open(more, openStore, clock);
    const there = await open(more, openStore, clock);
    const field = more.authTokenClasses === undefined ? "refresh" : "token";
    let unheard = 0;
    for (let round = 1; round <= 40 && unheard < 6; round++) {
      clock.seconds = begin + round * 10 + 0.995;
      const own = (await here.logIn())[field];
      const foreign = await signed({ ...decodeJwt(own), auth_time: undefined, sid: undefined, jti: `${round}` });
      await until(async () => (await there.verify(own)) === 200, "the other store answers");
      const { tokensValidFrom: before } = (await there.store.findUserById("1"))!;
      await here.endpoints.revokeUser("1");
      clock.seconds += 0.01; // a second of its own, in which whole seconds tell later from earlier
      if ((await there.store.findUserById("1"))!.tokensValidFrom === before) unheard++;
      const answers = await Promise.all([own, foreign].map((token) => there.post("refresh", { [field]: token })));
      const marked = (await here.store.findUserById("1"))!.tokensValidFrom;
      const hasHeard = async () => (await there.store.findUserById("1"))!.tokensValidFrom === marked;
      await until(hasHeard, "the other one has heard of it");
      for (const { body } of answers.filter(({ status }) => status === 200)) {
        for (const token of Object.values<string>(body as Pair)) {
          assert.equal([await there.verify(token), await there.guard(token)], [400, 401], `round ${round}`);
          assert.is((await there.post("refresh", { [field]: token })).status, 400, `round ${round}`);
        }
      }
      const fresh = await there.logIn();
      for (const token of Object.values(fresh)) assert.is(await here.verify(token), 200, "a login after it is good");
    }
    assert.ok(unheard > 0);
    await here.store.close();
    await there.store.close();
  });
}

for (const [what, , flags] of refreshing) {
  two(`let no refresh across a second's boundary outlive the end of a user's sessions, ${what}`, () =>
    withServers(flags, async (post, credentials, folder) => {
      const store = await openFileStore(folder);
      const { id } = (await store.findUserByUsername("admin"))!;
      const endpoints = createJwtEndpoints({ store, signingKey: secret });
      const issued: string[] = [];
      for (let round = 0; round < 6; round++) {
        const login = (await post(round % 2, "create", credentials)).body;
        const field = login.token === undefined ? "refresh" : "token";
        await new Promise((resolve) => setTimeout(resolve, 980 - (Date.now() % 1000) + (round % 2) * 8));
        await endpoints.revokeUser(id);
        // Tokens of the next second are later than the mark by their own times.
        for (let next = Math.ceil(Date.now() / 1000) * 1000; Date.now() < next + 20;) {
          for (const server of [0, 1]) {
            const { status, body } = await post(server, "refresh", { [field]: login[field] });
            if (status === 200) issued.push(...Object.values(body));
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 150));
        for (const token of [...issued, ...Object.values(login)]) {
          for (const server of [0, 1]) assert.is((await post(server, "verify", { token })).status, 400, token);
        }
        const fresh = (await post(round % 2, "create", credentials)).body;
        for (const token of Object.values(fresh)) {
          assert.is((await post(round % 2, "verify", { token })).status, 200, "a login after it is good");
        }
      }
      await store.close();
    }),
  );
}

for (const userIdField of ["id", "username"]) {
  two(
    `refuse the tokens of a user who was removed by a command, and of the name's next user too, by ${userIdField}`,
    () =>
      withServers([...rotating, "--user-id-field", userIdField], async (post, credentials, folder) => {
        const command = async (args: string[], input: string) => {
          const all = [...args, "--store", `file:${folder}`];
          const child = start("src/cli/user.ts", all, { stdio: ["pipe", "pipe", "pipe"] });
          child.stdin!.end(input);
          assert.is((await finished(child)).code, 0);
        };
        const { password } = credentials as { password: string };
        const old = [(await post(0, "create", credentials)).body, (await post(1, "create", credentials)).body];
        const expectRefused = async () => {
          for (const server of [0, 1]) {
            for (const { access, refresh } of old) {
              for (const token of [access, refresh]) assert.is((await post(server, "verify", { token })).status, 400);
              assert.is((await post(server, "refresh", { refresh })).status, 400);
            }
          }
        };
        await command(["remove", "admin"], "");
        await new Promise((resolve) => setTimeout(resolve, 100));
        await expectRefused();
        await command(["add", "admin", "--password-stdin"], password);
        for (const server of [0, 1]) {
          const fresh = (await post(server, "create", credentials)).body;
          await expectRefused();
          for (const token of Object.values(fresh)) {
            for (const each of [0, 1]) assert.is((await post(each, "verify", { token })).status, 200);
          }
        }
      }),
  );
}

two("carry on after a restart: with the same successor, and without those that ended", async () => {
  const folder = temporaryFolder();
  const openStore: OpenStore = (now) => openFileStore(folder, { now });
  const before = await open({}, openStore);
  const [one, other] = [await before.logIn(), await before.logIn()];
  const successor = (await before.refresh(one.refresh)).body.refresh;
  await before.post("logout", { refresh: other.refresh });
  await before.store.close();
  const after = await open({}, openStore);
  assert.is((await after.refresh(one.refresh)).body.refresh, successor);
  await expectDead(after, other);
  after.clock.seconds += 11;
  assert.is((await after.refresh(one.refresh)).status, 400);
  await expectDead(after, { refresh: successor });
  await after.store.close();
});

two.run();

const settings = suite("settings of sessions and logins");

settings("say so where a host's store does not keep the mark that ends sessions", async () => {
  const store = memoryStore();
  const { id } = await store.addUser({ username: "ada", passwordHash });
  const forgetful = { ...store, updateUser: () => store.findUserById(id) };
  const { revokeUser } = createJwtEndpoints({ store: forgetful, signingKey: secret });
  const problem = await revokeUser(id).catch((error: Error) => error.message);
  assert.is(problem, "the store's updateUser does not keep tokensValidFrom");
});

settings("let a store of two methods serve, without logout", async () => {
  const { findUserById, findUserByUsername } = memoryStore();
  const endpoints = createJwtEndpoints({ store: { findUserById, findUserByUsername }, signingKey: secret });
  await endpoints.ready();
  for (const [endpoint, status] of [
    ["verify", 400],
    ["create", 400],
    ["blacklist", 404],
    ["logout", 404],
  ] as const) {
    const init = { method: "POST" };
    assert.is((await endpoints.fetch(new Request(`http://localhost/jwt/${endpoint}/`, init))).status, status);
  }
});

settings("find the user of a token by the field that it holds", async () => {
  const users = memoryStore();
  const uuid = "0b8ba1b2-5d1f-4d0b-8c2e-2f8f0f0f0f0f";
  const findUserBy = (field: string, value: string) => (field === "uuid" && value === uuid ? ada : undefined);
  const ada = {
    id: 7 as unknown as string,
    username: "ada",
    email: "",
    passwordHash,
    isActive: true,
    lastLogin: null,
    uuid,
  };
  const byName = (name: string) => (name === "ada" ? (ada as User) : undefined);
  const store: EndpointsStore = {
    ...users,
    findUserBy,
    findUserByUsername: byName,
    findUserById: (id) => (id === "7" ? ada : undefined),
  };
  for (const [userIdField, claim] of [
    ["uuid", uuid],
    ["username", "ada"],
    ["id", "7"],
  ] as const) {
    const here = await open({ store, userIdField });
    const pair = await here.logIn();
    assert.is(decodeJwt(pair.access).user_id, claim, "always text, as Simple JWT 5.5 writes it");
    assert.equal([await here.guard(pair.access), (await here.refresh(pair.refresh)).status], [200, 200]);
  }
});

settings("answer for users that were deleted or disabled meanwhile, in both profiles", async () => {
  for (const [responses, status] of [
    ["djoser", 400],
    ["simplejwt", 401],
  ] as const) {
    for (const rotateRefreshTokens of [false, true]) {
      const here = await open({ responses, rotateRefreshTokens });
      const [ada, bea] = [await here.logIn("ada"), await here.logIn("bea")];
      await here.store.removeUser("1");
      await here.store.updateUser("2", { isActive: false });
      for (const pair of [ada, bea]) {
        const answer = await here.refresh(pair.refresh);
        assert.is(answer.status, status);
        assert.is(answer.text ?? answer.body.detail, "No active account found for the given token.");
        assert.is(await here.guard(pair.access), 401);
      }
    }
  }
});

settings("tell of a user who is gone or disabled before anything that was revoked", async () => {
  const ends: [how: string, end: (here: Opened, id: string) => Promise<unknown>][] = [
    ["disabled, which ends the sessions", async (here, id) => markUser(here, id, { isActive: false })],
    ["ended, then removed", async ({ endpoints, store }, id) => (await endpoints.revokeUser(id), store.removeUser(id))],
  ];
  for (const sliding of [false, true]) {
    for (const [how, end] of ends) {
      const here = await open(sliding ? { authTokenClasses: ["SlidingToken"], slidingTokenLifetime: "1h" } : {});
      const field = sliding ? "token" : "refresh";
      const [one, loggedOut, other] = [await here.logIn(), await here.logIn(), await here.logIn("bea")];
      await here.post("logout", { [field]: loggedOut[field] });
      assert.is((await here.post("refresh", { [field]: loggedOut[field] })).text, "Token is blacklisted");
      await end(here, "1");
      for (const pair of [one, loggedOut]) {
        const { status, text } = await here.post("refresh", { [field]: pair[field] });
        assert.equal([status, text], [400, "No active account found for the given token."], how);
      }
      await here.endpoints.revokeUser("2");
      assert.is((await here.post("refresh", { [field]: other[field] })).text, "Token is blacklisted", how);
    }
  }
});

settings("let names differ by case where they are told to", async () => {
  const here = await open({ usernameMatching: "case-insensitive" });
  for (const name of ["ADA", "Ada", " aDa "]) await here.logIn(name);
  const exact = await open();
  assert.is((await exact.post("create", { username: "ADA", password: "correct horse" })).status, 400);
});

settings("ask the host's rule, and tell its hooks, never of a password", async () => {
  const told: unknown[] = [];
  const here = await open({
    userAuthenticationRule: async (user) => user.username !== "bea",
    onLoginSuccess: (user, { method, url }) => told.push(["in", user.username, method, new URL(url).pathname]),
    onLoginFailed: (credentials, { headers }) => told.push(["out", credentials, headers.get("content-type")]),
  });
  const { refresh: token } = await here.logIn();
  const refused = await here.post("create", { username: "bea", password: "correct horse" });
  assert.equal([refused.status, refused.text], [400, "Unable to log in with provided credentials."]);
  await here.post("create", { username: "nobody", password: "hunter2" });
  assert.equal(told, [
    ["in", "ada", "POST", "/jwt/create/"],
    ["out", { username: "bea" }, "application/json"],
    ["out", { username: "nobody" }, "application/json"],
  ]);
  assert.is((await here.refresh(token)).status, 200);
  const other = await open({ userAuthenticationRule: () => false });
  assert.is((await other.refresh(token)).text, "No active account found for the given token.");
});

settings("answer a hook that throws with a bare 500, and log why", async () => {
  for (const hook of ["onLoginSuccess", "onLoginFailed", "userAuthenticationRule", "claims"] as const) {
    const here = await open({
      [hook]: () => {
        throw new Error("mail is down");
      },
    });
    const password = hook === "onLoginFailed" ? "wrong" : "correct horse";
    const { status, body } = await here.post("create", { username: "ada", password });
    assert.equal([status, body], [500, { detail: "Internal server error." }], hook);
    assert.is((here.log[0]!.error as Error).message, "mail is down");
  }
});

settings("keep a host's claims through rotation, and reserved ones from it", async () => {
  const here = await open({
    claims: () => ({ role: "admin", sid: "mine", auth_time: 1, exp: 9e9, jti: "x", iss: "me", hash_password: "x" }),
  });
  const first = await here.logIn();
  const { body } = await here.refresh(first.refresh);
  for (const token of [first.access, first.refresh, body.access, body.refresh]) {
    const claims = decodeJwt(token);
    assert.is(claims.role, "admin");
    assert.is(claims.sid, jti(first.refresh));
    assert.is(claims.auth_time, begin);
    assert.equal([claims.iss, claims.hash_password], [undefined, undefined]);
    assert.ok(claims.exp! < begin + 100_000);
  }
});

settings(
  "refuse tokens of an old password with checkRevokeToken, but not those of the login that upgrades its hash",
  async () => {
    const here = await open({ checkRevokeToken: true, hashing: { iterations: 3 } });
    const pair = await here.logIn(); // upgrades from one iteration to three
    // MD5 in upper case of the hash that stands now, as Simple JWT computes it.
    assert.match(decodeJwt(pair.access).hash_password as string, /^[0-9A-F]{32}$/);
    const next = (await here.refresh(pair.refresh)).body;
    assert.equal([await here.guard(pair.access), await here.verify(next.refresh)], [200, 200]);
    await here.store.updateUser("1", { passwordHash: await createPasswords({ iterations: 3 }).hash("new") });
    for (const token of [pair.access, next.access, next.refresh]) assert.is(await here.verify(token), 400);
    assert.is(await here.guard(pair.access), 401);
    const refused = await here.refresh(next.refresh);
    assert.equal([refused.status, refused.text], [400, "The user's password has been changed."]);
  },
);

settings("answer one sliding token, which keeps its id through its refreshes", async () => {
  const here = await open({
    authTokenClasses: ["SlidingToken"],
    slidingTokenLifetime: "5m",
    slidingTokenRefreshLifetime: "1h",
  });
  const login = await here.logIn();
  assert.equal(Object.keys(login), ["token"]);
  const claims = decodeJwt(login.token);
  assert.equal(Object.keys(claims), ["token_type", "exp", "iat", "jti", "refresh_exp", "user_id", "auth_time"]);
  assert.equal([claims.token_type, claims.exp! - claims.iat!, claims.refresh_exp], ["sliding", 300, begin + 3600]);
  here.clock.seconds += 200;
  const { body } = await here.post("refresh", { token: login.token });
  assert.equal([jti(body.token), decodeJwt(body.token).exp], [claims.jti, begin + 500]);
  assert.equal([decodeJwt(body.token).iat, decodeJwt(body.token).auth_time], [begin + 200, begin], "of its login");
  assert.equal([await here.guard(body.token), await here.verify(body.token)], [200, 200]);
  const late = await signed({ ...claims, exp: begin + 9000, refresh_exp: begin + 100 });
  assert.is((await here.post("refresh", { token: late })).text, "Token 'refresh_exp' claim has expired");
  const never = await signed({ ...claims, exp: begin + 9000, refresh_exp: undefined });
  assert.is((await here.post("refresh", { token: never })).text, "Token has no 'refresh_exp' claim");
  assert.equal((await here.post("refresh", {})).body.token as unknown, ["This field is required."]);
  const disabled = await signed({ ...claims, exp: begin + 9000, refresh_exp: begin + 100, user_id: "2" });
  await here.store.updateUser("2", { isActive: false });
  assert.is((await here.post("refresh", { token: disabled })).text, "Token 'refresh_exp' claim has expired");
  assert.is((await here.post("logout", { token: login.token })).status, 200);
  for (const token of [login.token, body.token]) {
    assert.equal([await here.verify(token), await here.guard(token)], [400, 401], "all that share the id are void");
    assert.is((await here.post("refresh", { token })).status, 400);
  }
});

settings("end a session of sliding tokens with sessionLifetime, however often they are refreshed", async () => {
  const here = await open({ authTokenClasses: ["SlidingToken"], sessionLifetime: "10m" });
  let { token } = await here.logIn();
  const django = {
    token_type: "sliding",
    exp: begin + 300,
    iat: begin,
    refresh_exp: begin + 80_000,
    jti: "s",
    user_id: 1,
  };
  let foreign = await signed(django);
  for (let i = 0; i < 2; i++) {
    here.clock.seconds += 280;
    for (const [now, set] of [
      [token, (next: string) => (token = next)],
      [foreign, (next: string) => (foreign = next)],
    ] as const) {
      const { status, body } = await here.post("refresh", { token: now });
      assert.is(status, 200);
      assert.ok(decodeJwt(body.token).exp! <= begin + 600, `${decodeJwt(body.token).exp! - begin}`);
      set(body.token);
    }
  }
  here.clock.seconds = begin + 600.5;
  for (const each of [token, foreign]) {
    assert.is((await here.post("refresh", { token: each })).status, 400);
    assert.is(await here.guard(each), 401);
  }
});

settings(
  "rotate without blacklisting on a store that can't revoke, and answer {access} alone without rotation",
  async () => {
    const { store } = await open();
    const { findUserById, findUserByUsername } = store;
    const poor = { findUserById, findUserByUsername };
    const rotating = await open({ store: poor, blacklistAfterRotation: false }, () => store);
    const first = await rotating.logIn();
    const next = (await rotating.refresh(first.refresh)).body;
    for (const token of [first.refresh, next.refresh]) assert.is((await rotating.refresh(token)).status, 200);
    assert.is(await rotating.guard(next.access), 200);
    const still = await open({ rotateRefreshTokens: false });
    const pair = await still.logIn();
    for (let i = 0; i < 3; i++) {
      const { body } = await still.refresh(pair.refresh);
      assert.equal([Object.keys(body), decodeJwt(body.access).sid], [["access"], undefined]);
      still.clock.seconds += 3600;
    }
    assert.is(decodeJwt(pair.refresh).sid, undefined);
    assert.is((await still.post("logout", { refresh: pair.refresh })).status, 200);
    await expectDead(still, { refresh: pair.refresh });
  },
);

settings("tell of a reused token in either profile's words", async () => {
  const here = await open({ responses: "simplejwt", refreshGrace: 0 });
  const { refresh: token } = await here.logIn();
  const next = (await here.refresh(token)).body;
  for (const used of [token, token, next.refresh]) {
    const { status, body } = await here.refresh(used);
    assert.equal([status, body], [401, { detail: "Token is blacklisted", code: "token_not_valid" }]);
    const asked = await here.post("verify", { token: used });
    assert.equal([asked.status, asked.body], [400, { non_field_errors: ["Token is blacklisted"] }]);
  }
  assert.equal(codes(here.log), ["refresh_reuse"], "said once");
});

settings("take null for no user, as many a database client answers", async () => {
  const { store } = await open();
  const none = null as unknown as undefined;
  const { wasRemoved: _, ...others } = store;
  const host: EndpointsStore = {
    ...others,
    findUserById: async (id) => (await store.findUserById(id)) ?? none,
    findUserByUsername: async (name) => (await store.findUserByUsername(name)) ?? none,
  };
  const here = await open({ store: host }, () => store);
  const pair = await here.logIn();
  await store.removeUser("1");
  assert.is((await here.post("create", { username: "ada", password: "correct horse" })).status, 400);
  assert.is((await here.refresh(pair.refresh)).text, "No active account found for the given token.");
  assert.is(await here.verify(pair.refresh), 200, "as Simple JWT: valid, not whose");
  assert.is(await here.guard(pair.access), 401);
  assert.equal(here.log, []);
});

settings("make good tokens for all who log in at once while their hash is upgraded", async () => {
  const here = await open({ checkRevokeToken: true, hashing: { iterations: 3 } });
  const pairs = await Promise.all([here.logIn(), here.logIn(), here.logIn()]);
  for (const pair of pairs) {
    assert.equal([await here.verify(pair.access), await here.guard(pair.access)], [200, 200]);
    assert.is((await here.refresh(pair.refresh)).status, 200);
  }
});

settings("make no good tokens from an old password, though it is changed while its hash is upgraded", async () => {
  const changed = await createPasswords({ iterations: 3 }).hash("new");
  for (const checkRevokeToken of [true, false]) {
    const { store } = await open();
    const updateUser: Store["updateUser"] = async (id, changes, ...rest) => {
      const mark = { passwordHash: changed, tokensValidFrom: begin + 0.6 };
      if (changes.passwordHash !== undefined) await store.updateUser(id, mark);
      return store.updateUser(id, changes, ...rest);
    };
    const here = await open(
      { checkRevokeToken, hashing: { iterations: 3 }, store: { ...store, updateUser } },
      () => store,
    );
    const pair = await here.logIn();
    assert.is((await store.findUserById("1"))!.passwordHash, changed, "the new one stands");
    here.clock.seconds += 1;
    await expectDead(here, pair);
  }
});

settings("say in either profile that a password has been changed", async () => {
  for (const [responses, status] of [
    ["djoser", 400],
    ["simplejwt", 401],
  ] as const) {
    const here = await open({ responses, checkRevokeToken: true });
    const pair = await here.logIn();
    const { createHash } = process.getBuiltinModule("node:crypto");
    const md5 = createHash("md5")
      .update((await here.store.findUserById("1"))!.passwordHash)
      .digest("hex");
    for (const token of [pair.access, pair.refresh]) assert.is(decodeJwt(token).hash_password, md5.toUpperCase());
    await here.store.updateUser("1", { passwordHash: await createPasswords({ iterations: 1 }).hash("new") });
    const text = "The user's password has been changed.";
    for (const answer of [
      await here.refresh(pair.refresh),
      await here.post("verify", { token: pair.refresh }),
      await here.post("verify", { token: pair.access }),
    ]) {
      assert.is(answer.status, status);
      assert.is(answer.text ?? answer.body.detail, text);
    }
    const headers = { authorization: `Bearer ${pair.access}` };
    const guarded = await here.endpoints.protect(() => new Response("in"))(
      new Request("http://localhost/", { headers }),
    );
    assert.equal([guarded.status, await guarded.json()], [401, { detail: text, code: "password_changed" }]);
  }
});

settings.run();

const guards = suite("guards");

guards("let in by type and by claims, and answer RFC 6750's errors", async () => {
  const here = await open({ claims: () => ({ role: "admin", groups: ["a", "b"] }) });
  const { access, refresh } = await here.logIn();
  const ask = async (options: Parameters<typeof here.endpoints.protect>[1], header?: string) => {
    const guarded = here.endpoints.protect(
      (_, { user, claims }) => Response.json([user.username, claims.role]),
      options,
    );
    const init = header === undefined ? {} : { headers: { authorization: header } };
    const answer = await guarded(new Request("http://localhost/", init));
    return [answer.status, answer.headers.get("www-authenticate"), await answer.json()] as const;
  };
  assert.equal(await ask({}, `Bearer ${access}`), [200, null, ["ada", "admin"]]);
  assert.equal((await ask({ tokenTypes: ["refresh"] }, `Bearer ${refresh}`))[0], 200);
  assert.equal((await ask({ tokenTypes: ["access", "refresh"] }, `Bearer ${refresh}`))[0], 200);
  assert.equal((await ask({ claims: { role: "admin", groups: "b" } }, `Bearer ${access}`))[0], 200);
  assert.equal((await ask({}))[1], 'Bearer realm="api"');
  assert.match(
    (await ask({}, "Bearer x"))[1]!,
    /^Bearer realm="api", error="invalid_token", error_description="[^"]+"$/,
  );
  assert.equal((await ask({}, `Bearer ${refresh}`))[0], 401);
  for (const claims of [{ role: "root" }, { groups: "c" }, { missing: 1 }, { toString: 1 }]) {
    const [status, challenge] = await ask({ claims }, `Bearer ${access}`);
    assert.is(status, 403);
    assert.match(challenge!, 'error="insufficient_scope"');
  }
});

guards("name the error of a token that was good once, and the scheme of the settings", async () => {
  const here = await open({ authHeaderTypes: ["JWT", "Bearer"], accessTokenLifetime: "1d" });
  const [ended, gone, disabled, expired] = [
    await here.logIn(),
    await here.logIn("bea"),
    await here.logIn("cid"),
    await here.logIn(),
  ];
  await here.post("logout", { refresh: ended.refresh });
  await here.store.removeUser("2");
  await here.store.updateUser("3", { isActive: false });
  const ask = async (token: string, scheme = "jwt") => {
    const headers = { authorization: `${scheme} ${token}` };
    const answer = await here.endpoints.protect(() => new Response("in"))(
      new Request("http://localhost/", { headers }),
    );
    const { detail } = (await answer.json()) as { detail: string };
    return [answer.status, answer.headers.get("www-authenticate"), detail];
  };
  const refused = (text: string, error = "invalid_token") => [
    401,
    `JWT realm="api", error="${error}", error_description="${text}"`,
    text,
  ];
  assert.equal(await ask(ended.access), refused("Given token not valid for any token type"));
  assert.equal(await ask(gone.access), refused("User not found"));
  assert.equal(await ask(disabled.access, "Bearer"), refused("User is inactive"));
  const nobody = await signed({ token_type: "access", exp: begin + 9, iat: begin, jti: "j" });
  assert.equal(await ask(nobody), refused("Token contained no recognizable user identification"));
  const twoValues = "Authorization header must contain two space-delimited values";
  assert.equal(await ask("a b"), refused(twoValues, "invalid_request"));
  assert.equal(await ask(expired.access, "Basic"), [
    401,
    'JWT realm="api"',
    "Authentication credentials were not provided.",
  ]);
  here.clock.seconds += 86_400;
  assert.equal(await ask(expired.access), refused("Given token not valid for any token type"));
});

guards("let no refresh token in that has been used up", async () => {
  const here = await open({ refreshGrace: 0 });
  const { refresh: token } = await here.logIn();
  const guarded = here.endpoints.protect(() => new Response("in"), { tokenTypes: ["refresh"] });
  const ask = async () =>
    (await guarded(new Request("http://localhost/", { headers: { authorization: `Bearer ${token}` } }))).status;
  assert.is(await ask(), 200);
  await here.refresh(token);
  assert.is(await ask(), 401);
  assert.equal(here.log, [], "to show it at a guard is not to use it again");
});

guards("give the host claims of its own, not those that are remembered", async () => {
  const { endpoints, logIn } = await open({ claims: () => ({ nested: { role: "user" } }) });
  const { access } = await logIn();
  const headers = { authorization: `Bearer ${access}` };
  for (let i = 0; i < 3; i++) {
    const { claims } = await endpoints.authenticate(new Request("http://localhost/", { headers }));
    assert.equal([claims.user_id, (claims.nested as { role: string }).role], ["1", "user"]);
    claims.user_id = "2";
    (claims.nested as { role: string }).role = "admin";
  }
});

guards.run();

const rfc8725 = suite("RFC 8725");
const segment = (value: unknown) =>
  btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const goodClaims = { token_type: "access", exp: begin + 100, iat: begin, jti: "j", user_id: "1" };

/** One row for each recommendation of RFC 8725 §3. */
const practices: [section: string, what: string, run: (here: Opened, access: string) => Promise<void>][] = [
  [
    "3.1",
    "verifies by the configured algorithm alone",
    async ({ verify }, access) => {
      const [, payload, signature] = access.split(".") as [string, string, string];
      for (const alg of ["none", "None", "HS384", "RS256", "", 256, null, undefined]) {
        for (const end of ["", signature]) assert.is(await verify(`${segment({ alg })}.${payload}.${end}`), 400);
      }
    },
  ],
  [
    "3.2",
    "can be told no algorithm that is unfit",
    async () => {
      for (const algorithm of ["none", "HS1", "RS1", "ES256K", "RSA1_5", "dir"] as unknown as "HS256"[]) {
        const create = () => createJwtEndpoints({ store: memoryStore(), signingKey: secret, algorithm });
        assert.throws(create, /^setting algorithm: "[^"]+" is not known; accepted: HS256,/);
      }
    },
  ],
  [
    "3.3",
    "checks every signature, whole, and before anything that a token says",
    async ({ verify, refresh, log }, access) => {
      const [head, payload, signature] = access.split(".") as [string, string, string];
      for (let i = 0; i < signature.length; i++) {
        const other = signature[i] === "A" ? "B" : "A";
        const changed = signature.slice(0, i) + other + signature.slice(i + 1);
        assert.is(await verify(`${head}.${payload}.${changed}`), 400);
      }
      assert.is(await verify(`${head}.${payload}.${signature.slice(0, -1)}`), 400);
      for (const claims of [{ exp: 1 }, { token_type: "sliding" }, { user_id: "nobody" }]) {
        const forged = `${head}.${segment({ ...goodClaims, ...claims })}.${signature}`;
        assert.is((await refresh(forged)).text, "Token is invalid or expired");
      }
      assert.equal(log, []);
    },
  ],
  [
    "3.4",
    "takes no key that is no point of its curve",
    async () => {
      const jwk = async () => exportJWK((await generateKeyPair("ES256", { extractable: true })).publicKey);
      const verifyingKey = { ...(await jwk()), y: (await jwk()).y! };
      const endpoints = createJwtEndpoints({ store: memoryStore(), algorithm: "ES256", verifyingKey });
      const refused = await endpoints.ready().catch((error: Error) => error);
      assert.match(String(refused), /^SettingError: setting verifyingKey can't be read; accepted for ES256/);
      assert.not.match(String(refused), verifyingKey.y);
    },
  ],
  [
    "3.5",
    "takes no HMAC key that is shorter than the hash",
    async () => {
      for (const [algorithm, least] of [
        ["HS256", 32],
        ["HS384", 48],
        ["HS512", 64],
      ] as const) {
        const create = (length: number) => () =>
          createJwtEndpoints({ store: memoryStore(), algorithm, signingKey: "k".repeat(length) });
        assert.throws(create(least - 1), new RegExp(`accepted: ${least} or more`));
        assert.not.throws(create(least));
      }
    },
  ],
  [
    "3.6",
    "takes nothing encrypted or compressed",
    async ({ verify }, access) => {
      const [, payload, signature] = access.split(".") as [string, string, string];
      const jwe = segment({ alg: "dir", enc: "A256GCM", zip: "DEF" });
      for (const token of [`${jwe}..${payload}.${payload}.${signature}`, `${jwe}.${payload}.${signature}`]) {
        assert.is(await verify(token), 400);
      }
    },
  ],
  [
    "3.7",
    "takes UTF-8 only, in one spelling",
    async ({ verify }) => {
      const { createHmac } = process.getBuiltinModule("node:crypto");
      for (const payload of ['{"x":"\xff"}', "\xef\xbb\xbf{}", "\xff\xfe{\0}\0"]) {
        const text = `${segment({ alg: "HS256", typ: "JWT" })}.${btoa(payload).replaceAll("=", "")}`;
        assert.is(await verify(`${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`), 400);
      }
    },
  ],
  [
    "3.8",
    "checks the issuer where one is set, and whose the token is",
    async ({ guard }) => {
      const here = await open({ issuer: "https://me.example" });
      assert.is(await here.verify((await here.logIn()).access), 200);
      assert.is(await here.verify(await signed(goodClaims)), 400);
      assert.is(await here.verify(await signed({ ...goodClaims, iss: "https://you.example" })), 400);
      assert.is(await guard(await signed(goodClaims)), 200);
      for (const user_id of ["99", "", null, true, 1.5, ["1"], {}, undefined]) {
        assert.is(await guard(await signed({ ...goodClaims, user_id })), 401, JSON.stringify(user_id));
      }
    },
  ],
  [
    "3.9",
    "checks the audience where one is set",
    async () => {
      const here = await open({ audience: ["a", "b"] });
      assert.is(await here.verify((await here.logIn()).access), 200);
      for (const aud of [undefined, "c", ["c"], ["a", 5], [], {}]) {
        assert.is(await here.verify(await signed({ ...goodClaims, aud })), 400);
      }
    },
  ],
  [
    "3.10",
    "follows no address and takes no key that a token brings",
    async ({ verify, logIn }) => {
      const key = new TextEncoder().encode("a key that came with the token, long enough");
      for (const header of [
        { jku: "http://127.0.0.1:1/keys" },
        { x5u: "http://127.0.0.1:1/cert" },
        { jwk: { kty: "oct", k: segment("k") } },
        { kid: "../../etc/passwd" },
        { kid: "' OR 1=1 --" },
      ]) {
        const token = await new SignJWT(goodClaims).setProtectedHeader({ alg: "HS256", ...header }).sign(key);
        assert.is(await verify(token), 400);
      }
      // Ids and users that are names of something else look up nothing.
      for (const name of ["__proto__", "constructor", "../ada", "1'--"]) {
        const claims = { ...goodClaims, jti: name, sid: name };
        assert.is(await verify(await signed(claims)), 200);
        assert.is(await verify(await signed({ ...claims, user_id: name })), 200);
      }
      await logIn();
    },
  ],
  [
    "3.11",
    "names the kind of each token, in a claim as Simple JWT does",
    async ({ logIn, refresh }) => {
      const pair = await logIn();
      const types = [pair.access, pair.refresh].map((token) => decodeJwt(token).token_type);
      assert.equal(types, ["access", "refresh"]);
      assert.is(decodeProtectedHeader(pair.access).typ, "JWT");
      assert.is((await refresh(await signed({ ...goodClaims, token_type: undefined }))).text, "Token has no type");
    },
  ],
  [
    "3.12",
    "takes no kind of token for another",
    async ({ post, refresh, guard, logIn }) => {
      const pair = await logIn();
      assert.is(await guard(pair.refresh), 401);
      assert.is((await refresh(pair.access)).text, "Token has wrong type");
      assert.is((await post("logout", { refresh: pair.access })).text, "Token has wrong type");
      for (const token_type of ["sliding", "Access", "", null, 1, ["access"]]) {
        const token = await signed({ ...goodClaims, token_type });
        assert.is((await refresh(token)).text, "Token has wrong type");
        assert.is(await guard(token), 401);
      }
    },
  ],
];
for (const [section, what, run] of practices) {
  rfc8725(`${section}: ${what}`, async () => {
    const here = await open();
    await run(here, (await here.logIn()).access);
  });
}
rfc8725.run();
