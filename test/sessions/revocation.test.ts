/** What ends tokens: logout, and the revocation of a user. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import {
  type OpenStore,
  type Pair,
  begin,
  expectRevoked,
  forge,
  markUser,
  passwordHash,
  secret,
  setUp,
  signed,
  stores,
} from "../support/sessions.ts";

for (const [name, openStore] of stores) {
  const it = suite(`revocation, ${name} store`);
  const setUpHere = (more?: Partial<JwtEndpointsSettings>) => setUp(more, openStore);

  it("ignores unsigned, foreign and expired tokens that name a session", async () => {
    const here = await setUpHere({ refreshGrace: 0 });
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

  it("ends a session by logout, idempotently, whatever the Authorization header says", async () => {
    const here = await setUpHere();
    const [one, other] = [await here.logIn(), await here.logIn()];
    const next = (await here.refresh(one.refresh)).body;
    const headers = { authorization: `Bearer ${await signed({ ...decodeJwt(one.access), exp: 1 })}` };
    for (const token of [one.refresh, next.refresh, one.refresh]) {
      const answer = await here.post("logout", { refresh: token }, headers);
      assert.equal([answer.status, answer.body], [200, {}]);
    }
    await expectRevoked(here, one, next);
    assert.is((await here.refresh(other.refresh)).status, 200);
  });

  it("begins a session with a token that Django made, and ends it by logout", async () => {
    const claims = { token_type: "refresh", exp: begin + 3600, iat: begin, jti: "d".repeat(32), user_id: 1 };
    for (const more of [{ tenant: "x" }, { tenant: "x", sid: 5 }, { tenant: "x", sid: "" }]) {
      const here = await setUpHere();
      const foreign = await signed({ ...claims, ...more });
      const next = (await here.refresh(foreign)).body;
      assert.equal([decodeJwt(next.refresh).sid, decodeJwt(next.refresh).tenant], [claims.jti, "x"]);
      assert.equal([await here.verify(next.access), await here.guard(next.access)], [200, 200]);
      await here.post("logout", { refresh: next.refresh });
      await expectRevoked(here, { refresh: foreign }, next);
      await here.store.close();
    }
  });

  it("refuses access tokens of an ended session, also if they outlive every refresh token", async () => {
    const here = await setUpHere({ accessTokenLifetime: "10d", refreshTokenLifetime: "1d" });
    const one = await here.logIn();
    const other = await here.logIn();
    await here.post("logout", { refresh: one.refresh });
    await expectRevoked(here, one);
    for (const days of [1, 3, 9]) {
      here.clock.seconds = begin + days * 86_400 + 2;
      await expectRevoked(here, { access: one.access });
      assert.is(await here.guard(other.access), 200);
    }
  });

  it("refuses all earlier tokens of a user and accepts new ones, at any instant of a second", () =>
    revokeAtAnyInstant(openStore));

  it("refuses all earlier tokens of a user when the clock was days ahead, and accepts new ones once it is right", async () => {
    const sliding: Partial<JwtEndpointsSettings> = {
      authTokenClasses: ["SlidingToken"],
      slidingTokenLifetime: "5d",
      slidingTokenRefreshLifetime: "5d",
      rotateRefreshTokens: false,
    };
    for (const more of [{}, { rotateRefreshTokens: false }, sliding]) {
      const isSliding = more === sliding;
      const here = await setUpHere({ accessTokenLifetime: "5d", refreshTokenLifetime: "6d", ...more });
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

  it.run();
}

async function revokeAtAnyInstant(openStore: OpenStore): Promise<void> {
  const seed = seedFrom();
  const { below, pick } = randomFrom(seed);
  const here = await setUp({ accessTokenLifetime: "1d" }, openStore);
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
    // At any point of a second, mostly its first or last millisecond; in the first rounds the clock does not advance.
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
    await expectRevoked(here, ...pairs);
    for (const step of [0, 0, 0.001, 1]) {
      clock.seconds += step;
      const fresh = await here.logIn(names[user]);
      assert.equal([await here.verify(fresh.access), await here.guard(fresh.access)], [200, 200], told);
      const next = await here.refresh(fresh.refresh);
      assert.is(next.status, 200, told);
      assert.equal([await here.verify(next.body.refresh), await here.guard(next.body.access)], [200, 200], told);
    }
    await expectRevoked(here, ...pairs);
    assert.is(await here.guard(others.access), 200, told);
    assert.is((await here.refresh(others.refresh)).status, 200, told);
  }
  assert.is(await endpoints.revokeUser("99"), false);
  assert.equal(here.log, []);
  await store.close();
}

const host = suite("revocation on a host's store");

host("throws when the store's updateUser does not keep tokensValidFrom", async () => {
  const store = memoryStore();
  const { id } = await store.addUser({ username: "ada", passwordHash });
  const forgetful = { ...store, updateUser: () => store.findUserById(id) };
  const { revokeUser } = createJwtEndpoints({ store: forgetful, signingKey: secret });
  const problem = await revokeUser(id).catch((error: Error) => error.message);
  assert.is(problem, "the store's updateUser does not keep tokensValidFrom");
});

host.run();
