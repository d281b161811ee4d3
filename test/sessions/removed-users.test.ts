/** Tokens of users who were removed, renamed or disabled. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type EndpointsStore, type JwtEndpointsSettings, StoreError, type User } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import {
  type Opened,
  begin,
  expectRevoked,
  markUser,
  passwordHash,
  refreshing,
  setUp,
  signed,
  stores,
} from "../support/sessions.ts";

for (const [name, openStore] of stores) {
  const it = suite(`removed users, ${name} store`);
  const setUpHere = (more?: Partial<JwtEndpointsSettings>) => setUp(more, openStore);

  it("refuses the tokens of a removed user, and of the next user with the same name or id", async () => {
    for (const userIdField of ["id", "username"]) {
      for (const [what, more] of refreshing) {
        const here = await setUpHere({ ...more, userIdField });
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

  it("refuses tokens that name a user by a username which that user gave up", async () => {
    const here = await setUpHere({ userIdField: "username" });
    const pair = await here.logIn();
    await here.store.updateUser("1", { username: "dea" });
    await expectRevoked(here, pair);
    await here.store.updateUser("2", { username: "ada" });
    await expectRevoked(here, pair);
    assert.is(await here.guard((await here.logIn()).access), 200);
  });

  it("accepts tokens that Django made for users imported later", async () => {
    for (const userIdField of ["id", "username"]) {
      const here = await setUpHere({ userIdField });
      const claims = { token_type: "access", exp: begin + 300, iat: begin - 9, jti: "j" };
      const token = await signed({ ...claims, user_id: userIdField === "id" ? 77 : "dea" });
      await here.store.removeUser("1");
      assert.equal([await here.verify(token), await here.guard(token)], [200, 401], "a user who never was here");
      await here.store.addUsers([{ id: "77", username: "dea", passwordHash }]);
      assert.equal([await here.verify(token), await here.guard(token)], [200, 200]);
      await here.store.close();
    }
  });

  it.run();
}

const host = suite("removed users, a host's store");

host("verify refuses a removed user's tokens also by a field that only the host can look up", async () => {
  const users = memoryStore();
  const withUuid = (user: User | undefined) => user && { ...user, uuid: `uuid of ${user.id}` };
  const store: EndpointsStore = {
    ...users,
    findUserByUsername: async (name) => withUuid(await users.findUserByUsername(name)),
    findUserBy: async (_, uuid) => withUuid(await users.findUserById(uuid.slice("uuid of ".length))),
  };
  const here = await setUp({ store, userIdField: "uuid" }, () => users);
  const pair = await here.logIn();
  assert.is(decodeJwt(pair.access).user_id, "uuid of 1");
  for (const token of Object.values(pair)) assert.is(await here.verify(token), 200);
  await users.removeUser("1");
  for (const token of Object.values(pair)) {
    const { status, text } = await here.post("verify", { token });
    assert.equal([status, text], [400, "Token is blacklisted"]);
  }
});

host("verify refuses a removed user's token also while another user takes the name", async () => {
  const users = memoryStore({ now: () => (begin + 0.7) * 1000 });
  let meanwhile = async () => {};
  const store: EndpointsStore = {
    ...users,
    async findUserByUsername(name) {
      const found = await users.findUserByUsername(name);
      await meanwhile(); // it is not known yet that the name was given up
      return found;
    },
  };
  const here = await setUp({ store, userIdField: "username" }, () => users);
  const pair = await here.logIn();
  await users.removeUser("1");
  meanwhile = async () => {
    meanwhile = async () => {};
    await users.addUser({ username: "ada", passwordHash });
  };
  assert.is(await here.verify(pair.access), 400);
  assert.is(await here.verify(pair.refresh), 400);
});

host.run();

const refresh = suite("refresh of removed and disabled users");

refresh("reports a removed or disabled user at refresh, in both profiles", async () => {
  for (const [responses, status] of [
    ["djoser", 400],
    ["simplejwt", 401],
  ] as const) {
    for (const rotateRefreshTokens of [false, true]) {
      const here = await setUp({ responses, rotateRefreshTokens });
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

refresh("reports a removed or disabled user before a revoked token", async () => {
  const ends: [how: string, end: (here: Opened, id: string) => Promise<unknown>][] = [
    ["disabled, which ends the sessions", async (here, id) => markUser(here, id, { isActive: false })],
    ["ended, then removed", async ({ endpoints, store }, id) => (await endpoints.revokeUser(id), store.removeUser(id))],
  ];
  for (const sliding of [false, true]) {
    for (const [how, end] of ends) {
      const here = await setUp(sliding ? { authTokenClasses: ["SlidingToken"], slidingTokenLifetime: "1h" } : {});
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

refresh.run();
