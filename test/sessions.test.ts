/** Rotation, reuse, logout and everything else that ends tokens: on every store, in one process and in two. */
import path from "node:path";
import process from "node:process";
import { SignJWT, decodeJwt } from "jose";
import { Agent, request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type EndpointsStore,
  type JwtEndpointsSettings,
  type LogEvent,
  type Store,
  type User,
  createJwtEndpoints,
  createPasswords,
} from "../src/index.ts";
import { openFileStore } from "../src/stores/file.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { runtime, start, temporaryFolder, until } from "./runtime.ts";

const secret = "a secret of the session suite, 32 bytes or more";
const begin = 1_850_000_000;
const passwordHash = await createPasswords({ iterations: 1 }).hash("correct horse");

type Pair = Record<"access" | "refresh" | "token", string>;

async function open(more: Partial<JwtEndpointsSettings> = {}, store: Store = memoryStore({ now: () => begin * 1000 })) {
  const clock = { seconds: begin + 0.5 };
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
    now: () => clock.seconds * 1000,
    log: (event) => log.push(event),
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

const stores: [name: string, make: () => Promise<Store>][] = [
  ["memory", async () => memoryStore({ now: () => begin * 1000 })],
  ["file", async () => openFileStore(temporaryFolder(), { now: () => begin * 1000 })],
];

for (const [name, make] of stores) {
  const it = suite(`sessions, ${name} store`);
  const opened = async (more?: Partial<JwtEndpointsSettings>) => open(more, await make());

  it("answer fifty refreshes of one token at once with one and the same successor", async () => {
    const { logIn, refresh, log } = await opened();
    const { refresh: token } = await logIn();
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(token)));
    assert.equal(new Set(answers.map(({ status }) => status)), new Set([200]));
    assert.is(new Set(answers.map(({ body }) => body.refresh)).size, 1);
    assert.is(new Set(answers.map(({ body }) => body.access)).size, 50);
    assert.is.not(answers[0]!.body.refresh, token);
    assert.equal(log, []);
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

  it("are strict without grace: of racing refreshes one wins, and then none", async () => {
    const here = await opened({ refreshGrace: 0 });
    const { refresh: token } = await here.logIn();
    const answers = await Promise.all(Array.from({ length: 10 }, () => here.refresh(token)));
    const won = answers.filter(({ status }) => status === 200);
    assert.is(won.length, 1);
    await expectDead(here, ...won.map(({ body }) => body));
    assert.ok(codes(here.log).includes("refresh_reuse"));
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
    const claims = decodeJwt(token);
    const [, payload] = token.split(".") as [string, string];
    for (const forged of [
      `${btoa('{"alg":"none"}').replaceAll("=", "")}.${payload}.`,
      await signed(claims, "another secret that is long enough, too"),
      await signed({ ...claims, exp: begin - 1 }),
      await signed({ ...claims, token_type: "access" }),
    ]) {
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
    const here = await opened();
    const claims = {
      token_type: "refresh",
      exp: begin + 3600,
      iat: begin,
      jti: "d".repeat(32),
      user_id: 1,
      tenant: "x",
    };
    const foreign = await signed(claims);
    const next = (await here.refresh(foreign)).body;
    assert.equal([decodeJwt(next.refresh).sid, decodeJwt(next.refresh).tenant], [claims.jti, "x"]);
    await here.post("logout", { refresh: next.refresh });
    await expectDead(here, { refresh: foreign }, { refresh: next.refresh });
  });

  it("of a user all end at once, also those of the same second, and new ones work", async () => {
    const here = await opened({ accessTokenLifetime: "1h" });
    const ways: [string, () => Promise<unknown>][] = [
      ["revokeUser", () => here.endpoints.revokeUser("1")],
      [
        "revokeUser, twice in a millisecond",
        async () => [await here.endpoints.revokeUser("1"), await here.endpoints.revokeUser("1")],
      ],
      ["a mark of the commands", async () => here.store.updateUser("1", { tokensValidFrom: here.clock.seconds })],
    ];
    const others = await here.logIn("bea");
    for (const [way, end] of ways) {
      const dead: Pair[] = [];
      for (const step of [0, 0.001, 0.4]) {
        here.clock.seconds += step;
        const pair = await here.logIn();
        dead.push(pair, (await here.refresh(pair.refresh)).body);
      }
      here.clock.seconds += 0.001;
      await end();
      await expectDead(here, ...dead);
      here.clock.seconds += 0.005;
      const fresh = await here.logIn();
      assert.equal([await here.verify(fresh.access), await here.guard(fresh.access)], [200, 200], way);
      const next = await here.refresh(fresh.refresh);
      assert.is(next.status, 200, way);
      assert.equal([await here.verify(next.body.access), await here.verify(next.body.refresh)], [200, 200], way);
      await expectDead(here, ...dead);
    }
    assert.equal([await here.guard(others.access), (await here.refresh(others.refresh)).status], [200, 200]);
    assert.is(await here.endpoints.revokeUser("99"), false);
  });

  it(`follow a small model through a thousand random interleavings`, () => interleave(make));

  it.run();
}

/** One lineage of tokens as the model sees it. */
interface Lineage {
  user: string;
  /** Refresh tokens in their order, each with the time of its first use. */
  tokens: { text: string; usedAt?: number }[];
  access: string[];
  ended: boolean;
}

async function interleave(make: () => Promise<Store>): Promise<void> {
  const seed = Number(process.env.SEED || crypto.getRandomValues(new Uint32Array(1))[0]);
  console.log(`SEED=${seed}`);
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 15), state | 1);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(next() * n);
  const rounds = 40;
  for (let round = 0; round < rounds; round++) {
    const grace = [0, 5, 10][below(3)]!;
    const here = await open(
      { refreshGrace: grace, refreshTokenLifetime: "1d", accessTokenLifetime: "1d" },
      await make(),
    );
    const lineages: Lineage[] = [];
    const explain = (what: string) => `${what} (SEED=${seed}, round ${round})`;
    for (let batch = 0; batch < 25; batch++) {
      here.clock.seconds += [0, 0, 0.001, 1, 4, 6, 11][below(7)]!;
      const now = here.clock.seconds;
      if (lineages.length < 4 || below(8) === 0) {
        const user = ["ada", "bea", "cid"][below(3)]!;
        const pair = await here.logIn(user);
        lineages.push({ user, tokens: [{ text: pair.refresh }], access: [pair.access], ended: false });
      }
      const before = lineages.map(({ ended }) => ended);
      const ending = new Set<Lineage>();
      const asked: { lineage: Lineage; index: number; kind: "refresh" | "logout"; uses: boolean }[] = [];
      const firstUses = new Set<string>();
      const revoked = below(12) === 0 ? ["ada", "bea", "cid"][below(3)]! : undefined;
      for (let i = 1 + below(6); i > 0; i--) {
        const lineage = lineages[below(lineages.length)]!;
        const last = lineage.tokens.length - 1;
        const index = below(3) === 0 ? below(last + 1) : last;
        const token = lineage.tokens[index]!;
        const kind = below(10) === 0 ? "logout" : "refresh";
        if (kind === "logout") ending.add(lineage);
        else if (token.usedAt !== undefined && !(now - token.usedAt < grace)) ending.add(lineage);
        else if (token.usedAt === undefined && firstUses.has(token.text) && grace === 0) ending.add(lineage);
        asked.push({ lineage, index, kind, uses: token.usedAt === undefined });
        if (kind === "refresh" && token.usedAt === undefined) firstUses.add(token.text);
      }
      if (revoked !== undefined) for (const each of lineages) if (each.user === revoked) ending.add(each);
      const answers = await Promise.all([
        ...asked.map(({ lineage, index, kind }) => here.post(kind, { refresh: lineage.tokens[index]!.text })),
        ...(revoked === undefined
          ? []
          : [here.endpoints.revokeUser(String(["ada", "bea", "cid"].indexOf(revoked) + 1))]),
      ]);
      const successors = new Map<string, string>();
      for (const [i, { lineage, index, kind }] of asked.entries()) {
        const answer = answers[i] as Awaited<ReturnType<Opened["post"]>>;
        const wasEnded = before[lineages.indexOf(lineage)]!;
        assert.ok(answer.status === 200 || answer.status === 400, explain(`status ${answer.status}`));
        if (kind === "logout") {
          assert.equal([answer.status, answer.body], [200, {}], explain("logout"));
          continue;
        }
        if (answer.status === 400) {
          assert.is(answer.text, "Token is blacklisted", explain("text"));
          assert.ok(wasEnded || ending.has(lineage), explain("refused, though its session lives"));
          continue;
        }
        assert.not.ok(wasEnded, explain("an ended session came back"));
        const text = lineage.tokens[index]!.text;
        lineage.access.push(answer.body.access);
        const known = successors.get(text) ?? lineage.tokens[index + 1]?.text;
        if (known !== undefined) assert.is(answer.body.refresh, known, explain("two successors of one token"));
        successors.set(text, answer.body.refresh);
      }
      for (const [text, successor] of successors) {
        const lineage = lineages.find(({ tokens }) => tokens.some((token) => token.text === text))!;
        const index = lineage.tokens.findIndex((token) => token.text === text);
        lineage.tokens[index]!.usedAt ??= now;
        if (lineage.tokens[index + 1] === undefined) lineage.tokens.push({ text: successor });
      }
      for (const lineage of ending) lineage.ended = true;
      here.clock.seconds += 0.002; // so that what is issued next is later than a mark
      for (const lineage of lineages) {
        const wanted = lineage.ended ? 400 : 200;
        assert.is(await here.verify(lineage.tokens.at(-1)!.text), wanted, explain("the newest refresh token"));
        assert.is(await here.verify(lineage.access.at(-1)!), wanted, explain("the newest access token"));
        if (lineage.ended) assert.is(await here.verify(lineage.access[0]!), 400, explain("the first access token"));
      }
    }
    assert.ok(
      here.log.every(({ code }) => code === "refresh_reuse"),
      JSON.stringify(here.log),
    );
    await here.store.close();
  }
}

const two = suite(`sessions, two ${runtime} servers on one folder`);

two("agree on the successor of a token, and on what has ended", async () => {
  const store = `file:${path.join(temporaryFolder(), "data")}`;
  const args = ["--port", "0", "--store", store, "--rotate-refresh-tokens", "true", "--hashing-iterations", "1"];
  const dispatcher = new Agent({ connections: 20 });
  const children = [];
  const origins: string[] = [];
  let told = "";
  for (let i = 0; i < 2; i++) {
    const child = start(`src/serve/${runtime}.ts`, [...args, "--refresh-grace", "2s"]);
    children.push(child);
    let mine = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (mine += chunk.toString()));
    await until(() => mine.includes("runtime  ") && (i > 0 || mine.includes("curl")), "the server has started", 20_000);
    origins.push(/http:\/\/[^/\s]+/.exec(mine)![0]);
    told += mine;
  }
  const credentials = JSON.parse(/-d '(\{.*\})'/.exec(told)![1]!);
  const post = async (server: number, endpoint: string, data: unknown) => {
    const body = JSON.stringify(data);
    const headers = { "content-type": "application/json" };
    const answer = await request(`${origins[server]}/jwt/${endpoint}/`, { method: "POST", headers, body, dispatcher });
    return { status: answer.statusCode, body: (await answer.body.json()) as Pair };
  };
  try {
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
  } finally {
    await dispatcher.close?.(); // not in the undici that Bun brings
    for (const child of children) {
      process.kill(child.pid!, "SIGTERM");
      await new Promise((resolve) => child.once("close", resolve));
    }
  }
});

two.run();

const settings = suite("settings of sessions and logins");

settings("refuse what the store can't do, and claims that share a name", async () => {
  const { findUserById, findUserByUsername } = memoryStore();
  const poor = { findUserById, findUserByUsername };
  const cases: [Partial<JwtEndpointsSettings>, RegExp][] = [
    [
      { store: poor },
      /^setting blacklistAfterRotation can't be on: the store can't revoke tokens; accepted: false, or/,
    ],
    [{ store: poor, blacklistAfterRotation: true }, /^setting blacklistAfterRotation can't be on/],
    [{ store: poor, rotateRefreshTokens: false, updateLastLogin: true }, /^setting updateLastLogin can't be on/],
    [
      { userIdField: "uuid" },
      /^setting userIdField: "uuid" can't be looked up; accepted: id, username, or a store with/,
    ],
    [{ jtiClaim: "exp" }, /^setting jtiClaim: "exp" is the name of another claim$/],
    [{ tokenTypeClaim: "user_id" }, /^setting tokenTypeClaim: "user_id" is the name of another claim$/],
    [{ refreshGrace: "soon" }, /^setting refreshGrace: "soon" is not a duration; accepted: .*"until-used"$/],
    [
      { authTokenClasses: ["RefreshToken" as "AccessToken"] },
      /^setting authTokenClasses.0: "RefreshToken" is not known/,
    ],
    [{ authHeaderName: "two words" }, /^setting authHeaderName: "two words" is not the name of a header/],
    [
      { usernameMatching: "lower" as "exact" },
      /^setting usernameMatching: "lower" is not known; accepted: exact, case-/,
    ],
  ];
  for (const [more, message] of cases) {
    assert.throws(
      () => createJwtEndpoints({ store: memoryStore(), signingKey: secret, rotateRefreshTokens: true, ...more }),
      (error: Error) => message.test(error.message) || assert.unreachable(error.message),
    );
  }
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
  assert.equal(Object.keys(claims), ["token_type", "exp", "iat", "jti", "refresh_exp", "user_id"]);
  assert.equal([claims.token_type, claims.exp! - claims.iat!, claims.refresh_exp], ["sliding", 300, begin + 3600]);
  here.clock.seconds += 200;
  const { body } = await here.post("refresh", { token: login.token });
  assert.equal([jti(body.token), decodeJwt(body.token).exp], [claims.jti, begin + 500]);
  assert.equal([await here.guard(body.token), await here.verify(body.token)], [200, 200]);
  const late = await signed({ ...claims, exp: begin + 9000, refresh_exp: begin + 100 });
  assert.is((await here.post("refresh", { token: late })).text, "Token 'refresh_exp' claim has expired");
  const never = await signed({ ...claims, exp: begin + 9000, refresh_exp: undefined });
  assert.is((await here.post("refresh", { token: never })).text, "Token has no 'refresh_exp' claim");
  assert.equal((await here.post("refresh", {})).body.token as unknown, ["This field is required."]);
  assert.is((await here.post("logout", { token: login.token })).status, 200);
  for (const token of [login.token, body.token]) {
    assert.equal([await here.verify(token), await here.guard(token)], [400, 401], "all that share the id are void");
    assert.is((await here.post("refresh", { token })).status, 400);
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

const practices: [section: string, what: string, run: (here: Opened, access: string) => Promise<void>][] = [
  [
    "2.1, 3.1",
    "takes no algorithm but the configured one, none among them",
    async ({ verify }, access) => {
      const [, payload, signature] = access.split(".") as [string, string, string];
      for (const alg of ["none", "None", "HS384", "RS256", ""]) {
        for (const end of ["", signature]) assert.is(await verify(`${segment({ alg })}.${payload}.${end}`), 400);
      }
    },
  ],
  [
    "2.2, 3.5",
    "takes no HMAC key that is shorter than the hash",
    async () => {
      assert.throws(() => createJwtEndpoints({ store: memoryStore(), signingKey: "password" }), /accepted: 32 or more/);
    },
  ],
  [
    "3.2, 3.3",
    "checks the signature before anything that a token says",
    async ({ verify, refresh, log }) => {
      const forged = `${segment({ alg: "HS256", typ: "JWT" })}.${segment({ ...goodClaims, exp: 1 })}.${"A".repeat(43)}`;
      assert.equal([await verify(forged), (await refresh(forged)).text], [400, "Token is invalid or expired"]);
      assert.equal(log, []);
    },
  ],
  [
    "3.7",
    "takes UTF-8 only, in one spelling",
    async ({ verify }) => {
      const { createHmac } = process.getBuiltinModule("node:crypto");
      const text = `${segment({ alg: "HS256", typ: "JWT" })}.${btoa('{"x":"\xff"}').replaceAll("=", "")}`;
      assert.is(await verify(`${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`), 400);
    },
  ],
  [
    "3.8",
    "checks the issuer where one is set",
    async () => {
      const here = await open({ issuer: "https://me.example" });
      assert.is(await here.verify((await here.logIn()).access), 200);
      assert.is(await here.verify(await signed(goodClaims)), 400);
      assert.is(await here.verify(await signed({ ...goodClaims, iss: "https://you.example" })), 400);
    },
  ],
  [
    "3.9",
    "checks the audience where one is set",
    async () => {
      const here = await open({ audience: ["a", "b"] });
      assert.is(await here.verify((await here.logIn()).access), 200);
      for (const aud of [undefined, "c", ["c"], ["a", 5], {}])
        assert.is(await here.verify(await signed({ ...goodClaims, aud })), 400);
    },
  ],
  [
    "3.10",
    "follows no address and takes no key that a token brings",
    async ({ verify }) => {
      for (const header of [
        { jku: "http://127.0.0.1:1/keys" },
        { x5u: "http://127.0.0.1:1/cert" },
        { jwk: { kty: "oct", k: segment("k") } },
        { kid: "../../etc/passwd" },
      ]) {
        const key = new TextEncoder().encode("a key that came with the token, long enough");
        const token = await new SignJWT(goodClaims).setProtectedHeader({ alg: "HS256", ...header }).sign(key);
        assert.is(await verify(token), 400);
      }
    },
  ],
  [
    "3.11, 3.12",
    "tells kinds of tokens apart by a claim that each must have",
    async ({ refresh, guard, logIn }) => {
      const pair = await logIn();
      assert.is((await refresh(pair.access)).text, "Token has wrong type");
      assert.is(await guard(pair.refresh), 401);
      assert.is((await refresh(await signed({ ...goodClaims, token_type: undefined }))).text, "Token has no type");
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
