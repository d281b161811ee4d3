/** Settings of sessions and logins, and stores of a host. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type EndpointsStore, type User, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { begin, jtiOf, passwordHash, secret, setUp } from "../support/sessions.ts";

const it = suite("settings of sessions");

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
