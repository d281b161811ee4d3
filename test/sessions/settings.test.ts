/** Settings of sessions and logins, and stores of a host. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type EndpointsStore, type JwtEndpointsSettings, type User, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { begin, jtiOf, passwordHash, secret, setUp } from "../support/sessions.ts";

const it = suite("settings of sessions");

it("stop the start when the store lacks a method or two claims share a name", async () => {
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
    [{ userIdClaim: "__proto__" }, /^setting userIdClaim: "__proto__" is taken, or no name of a claim$/],
    [{ jtiClaim: "exp" }, /^setting jtiClaim: "exp" is taken, or no name of a claim$/],
    [{ tokenTypeClaim: "user_id" }, /^setting tokenTypeClaim: "user_id" is taken, or no name of a claim$/],
    [{ refreshGrace: "365d" }, /^setting refreshGrace: "365d" is too long; accepted: up to "1h", or "until-used"$/],
    [{ refreshGrace: 3600.5 }, /^setting refreshGrace: 3600.5 is too long/],
    [{ leeway: "30d" }, /^setting leeway: "30d" is too long; accepted: up to "10m"$/],
    [{ leeway: 601 }, /^setting leeway: 601 is too long/],
    [{ refreshGrace: "soon" }, /^setting refreshGrace: "soon" is not a duration; accepted: .*"until-used"$/],
    [
      { authTokenClasses: ["RefreshToken" as "AccessToken"] },
      /^setting authTokenClasses.0: "RefreshToken" is not known/,
    ],
    [{ usernameField: "password" }, /^setting usernameField: "password" /], // onLoginFailed would be told passwords
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

it("serve a store of two methods, without logout", async () => {
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

it("find the user of a token by the field named by userIdField", async () => {
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
    const here = await setUp({ store, userIdField });
    const pair = await here.logIn();
    assert.is(decodeJwt(pair.access).user_id, claim, "always text, as Simple JWT 5.5 writes it");
    assert.equal([await here.guard(pair.access), (await here.refresh(pair.refresh)).status], [200, 200]);
  }
});

it("keep the host's claims through rotation, and never replace reserved ones", async () => {
  const here = await setUp({
    claims: () => ({ role: "admin", sid: "mine", auth_time: 1, exp: 9e9, jti: "x", iss: "me", hash_password: "x" }),
  });
  const first = await here.logIn();
  const { body } = await here.refresh(first.refresh);
  for (const token of [first.access, first.refresh, body.access, body.refresh]) {
    const claims = decodeJwt(token);
    assert.is(claims.role, "admin");
    assert.is(claims.sid, jtiOf(first.refresh));
    assert.is(claims.auth_time, begin);
    assert.equal([claims.iss, claims.hash_password], [undefined, undefined]);
    assert.ok(claims.exp! < begin + 100_000);
  }
});

it("take null from the store for a missing user", async () => {
  const { store } = await setUp();
  const none = null as unknown as undefined;
  const { wasRemoved: _, ...others } = store;
  const host: EndpointsStore = {
    ...others,
    findUserById: async (id) => (await store.findUserById(id)) ?? none,
    findUserByUsername: async (name) => (await store.findUserByUsername(name)) ?? none,
  };
  const here = await setUp({ store: host }, () => store);
  const pair = await here.logIn();
  await store.removeUser("1");
  assert.is((await here.post("create", { username: "ada", password: "correct horse" })).status, 400);
  assert.is((await here.refresh(pair.refresh)).text, "No active account found for the given token.");
  assert.is(await here.verify(pair.refresh), 200, "as Simple JWT: valid, not whose");
  assert.is(await here.guard(pair.access), 401);
  assert.equal(here.log, []);
});

it.run();
