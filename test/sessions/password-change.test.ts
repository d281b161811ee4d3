/** Tokens issued under an earlier password (`checkRevokeToken`). */
import process from "node:process";
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Store, createPasswords } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { addContractUsers } from "../support/contract-client.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { begin, expectRevoked, setUp } from "../support/sessions.ts";

const it = suite("changed passwords");

it("refuses tokens of an old password with checkRevokeToken, except those of the login that upgrades its hash", async () => {
  const here = await setUp({ checkRevokeToken: true, hashing: { iterations: 3 } });
  const pair = await here.logIn(); // upgrades from one iteration to three
  // MD5 in upper case of the current hash, as Simple JWT computes it.
  assert.match(decodeJwt(pair.access).hash_password as string, /^[0-9A-F]{32}$/);
  const next = (await here.refresh(pair.refresh)).body;
  assert.equal([await here.guard(pair.access), await here.verify(next.refresh)], [200, 200]);
  await here.store.updateUser("1", { passwordHash: await createPasswords({ iterations: 3 }).hash("new") });
  for (const token of [pair.access, next.access, next.refresh]) assert.is(await here.verify(token), 400);
  assert.is(await here.guard(pair.access), 401);
  const refused = await here.refresh(next.refresh);
  assert.equal([refused.status, refused.text], [400, "The user's password has been changed."]);
});

it("reports a changed password in both profiles", async () => {
  for (const [responses, status] of [
    ["djoser", 400],
    ["simplejwt", 401],
  ] as const) {
    const here = await setUp({ responses, checkRevokeToken: true });
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

it("issues valid tokens for logins at once while their hash is upgraded", async () => {
  const here = await setUp({ checkRevokeToken: true, hashing: { iterations: 3 } });
  const pairs = await Promise.all([here.logIn(), here.logIn(), here.logIn()]);
  for (const pair of pairs) {
    assert.equal([await here.verify(pair.access), await here.guard(pair.access)], [200, 200]);
    assert.is((await here.refresh(pair.refresh)).status, 200);
  }
});

it("issues no valid tokens for an old password that is changed while its hash is upgraded", async () => {
  const changed = await createPasswords({ iterations: 3 }).hash("new");
  for (const checkRevokeToken of [true, false]) {
    const { store } = await setUp();
    const updateUser: Store["updateUser"] = async (id, changes, ...rest) => {
      const mark = { passwordHash: changed, tokensValidFrom: begin + 0.6 };
      if (changes.passwordHash !== undefined) await store.updateUser(id, mark);
      return store.updateUser(id, changes, ...rest);
    };
    const here = await setUp(
      { checkRevokeToken, hashing: { iterations: 3 }, store: { ...store, updateUser } },
      () => store,
    );
    const pair = await here.logIn();
    assert.is((await store.findUserById("1"))!.passwordHash, changed, "the new one stands");
    here.clock.seconds += 1;
    await expectRevoked(here, pair);
  }
});

it("refuses a login with the former password in another process, from the response to the change on", async () => {
  const folder = temporaryFolder();
  const stores = [await openFileStore(folder), await openFileStore(folder)] as const;
  try {
    await addContractUsers(stores[0]);
    const passwordRules = () => [];
    const [here, there] = [
      await endpointsWith({ store: stores[0], passwordRules }),
      await endpointsWith({ store: stores[1], passwordRules }),
    ];
    let { password } = credentials;
    for (let i = 0; i < 10; i++) {
      const { access } = JSON.parse((await here.post("/jwt/create/", { ...credentials, password })).text);
      const data = { current_password: password, new_password: `password ${i}` };
      const changed = await here.post("/users/set_password/", data, { authorization: `Bearer ${access}` });
      assert.is(changed.status, 204);
      assert.is((await there.post("/jwt/create/", { ...credentials, password })).status, 400, `change ${i}`);
      password = data.new_password;
      assert.is((await there.post("/jwt/create/", { ...credentials, password })).status, 200, `change ${i}`);
    }
  } finally {
    for (const store of stores) await store.close();
  }
});

it.run();
