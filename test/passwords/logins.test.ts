/** Logins: what they do with stored hashes, and when the queue is full. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store, UserChanges } from "../../src/stores/store.ts";
import { temporaryFolder, keptIn } from "../support/runtime.ts";
import { until } from "../support/processes.ts";
import {
  weak,
  unusable,
  iterations,
  shape,
  turn,
  watchingHashes,
  workOf,
  gated,
  password,
  byDjango,
} from "./engines.ts";

const logins = suite("logins");

async function open(users: Record<string, string>, more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore();
  for (const [username, passwordHash] of Object.entries(users)) await store.addUser({ username, passwordHash });
  const log: LogEvent[] = [];
  const settings = { store, signingKey: "s".repeat(32), hashing: { iterations } };
  const endpoints = createJwtEndpoints({ ...settings, log: keptIn(log), ...more });
  const send = (body: BodyInit, type: string) =>
    endpoints.fetch(
      new Request("http://localhost/jwt/create/", { method: "POST", headers: { "content-type": type }, body }),
    );
  const login = async (username: string, password: string) =>
    (await send(JSON.stringify({ username, password }), "application/json")).status;
  const hashOf = async (username: string) => (await store.findUserByUsername(username))!.passwordHash;
  return { store, log, send, login, hashOf };
}

logins("get 503 with Retry-After on a full queue, and other requests are served as before", async () => {
  const encoded = await createPasswords({ iterations }).hash("right");
  const { send, log } = await open({ ada: encoded }, { hashing: { iterations, concurrency: 1, queue: 1 } });
  await gated({}, async ({ letGo, settle }) => {
    const body = JSON.stringify({ username: "ada", password: "right" });
    const post = () => send(body, "application/json");
    const [first, second] = [post(), post()];
    await settle(1);
    for (let tries = 0; tries < 20; tries++) await turn(); // the second has its place in the queue
    const nobody = JSON.stringify({ username: "nobody", password: "x" });
    for (const late of [await post(), await send(nobody, "application/json")]) {
      assert.is(late.status, 503);
      assert.ok(Number(late.headers.get("retry-after")) >= 1);
      assert.equal(await late.json(), { detail: "Too many logins are waiting. Try again later." });
    }
    await letGo(2);
    assert.equal([(await first).status, (await second).status], [200, 200]);
  });
  assert.is((await send(JSON.stringify({ username: "ada", password: "right" }), "application/json")).status, 200);
  assert.equal(log, []);
});

logins("upgrade a weak stored hash, once, and only with the right password", async () => {
  const { login, hashOf } = await open({ ada: weak }, { hashing: { iterations: 2000 } });
  assert.is(await login("ada", "wrong"), 400);
  assert.is(await hashOf("ada"), weak);
  assert.is(await login("ada", "weak"), 200);
  const upgraded = await hashOf("ada");
  assert.match(upgraded, shape(2000));
  assert.is(await login("ada", "weak"), 200);
  assert.is(await hashOf("ada"), upgraded);
  assert.is(await login("ada", "wrong"), 400);
});

logins(
  "of a user who may not log in do the same work with the right password, and leave a weak hash alone",
  async () => {
    const rules: Partial<JwtEndpointsSettings>[] = [{}, { userAuthenticationRule: (user) => user.isActive }];
    for (const rule of rules) {
      for (const old of [weak, byDjango.pbkdf2_sha1!]) {
        const right = old === weak ? "weak" : password;
        const { login, hashOf, store } = await open({ ada: old }, { hashing: { iterations: 2000 }, ...rule });
        const { id } = (await store.findUserByUsername("ada"))!;
        await store.updateUser(id, { isActive: false });
        const refused = { "SHA-256": 2000, ...(old !== weak && { "SHA-1": 1000 }) };
        for (const [name, given] of [
          ["ada", right],
          ["ada", "wrong"],
          ["nobody", right],
        ] as const) {
          assert.equal(await workOf(() => login(name, given)), refused, `${name}, ${given}`);
        }
        assert.is(await hashOf("ada"), old);
        await store.updateUser(id, { isActive: true });
        assert.is(await login("ada", right), 200);
        assert.match(await hashOf("ada"), shape(2000));
      }
    }
  },
);

logins("do the same work from the first on, for whatever hashes are stored", async () => {
  const files = await openFileStore(temporaryFolder());
  for (const store of [memoryStore(), files]) {
    for (const name of ["pbkdf2_sha1", "scrypt", "bcrypt_sha256"]) {
      await store.addUser({ username: name, passwordHash: byDjango[name]! });
    }
    const all = { "SHA-256": iterations, "SHA-1": 1000, bcrypt: 16, scrypt: 8192 };
    for (const [username, given] of [
      ["nobody", "wrong"],
      ["scrypt", "wrong"],
      ["pbkdf2_sha1", "wrong"],
      ["bcrypt_sha256", "wrong"],
    ] as const) {
      const { login } = await open({}, { store }); // which has seen no login yet
      assert.equal(await workOf(() => login(username, given)), all, username);
    }
  }
  await files.close();
});

logins("go on where the stored hashes can't be listed, which is logged once", async () => {
  const encoded = await createPasswords({ iterations }).hash("right");
  const store = memoryStore();
  await store.addUser({ username: "ada", passwordHash: encoded });
  async function* passwordHashes() {
    yield weak;
    throw new Error("connection lost");
  }
  const { login, log } = await open({}, { store: { ...store, passwordHashes } });
  for (let i = 0; i < 3; i++) assert.is(await login("ada", "right"), 200);
  assert.equal(
    log.map((event) => [(event as LogEvent).code, ((event as LogEvent).error as Error).message]),
    [["password_formats_unread", "connection lost"]],
  );
});

logins("succeed though the queue has filled up meanwhile, and leave a weak hash to a later one", async () => {
  const answers: ((may: boolean) => void)[] = [];
  const userAuthenticationRule = () => new Promise<boolean>((resolve) => void answers.push(resolve));
  const hashing = { iterations: 2000, concurrency: 1, queue: 0 };
  const { login, hashOf, log } = await open({ ada: weak }, { hashing, userAuthenticationRule });
  await gated({}, async ({ letGo, held }) => {
    const first = login("ada", "weak");
    await letGo(2);
    const second = login("ada", "weak"); // while the rule thinks about the first
    await until(() => held.length > 0, "the second is computed");
    answers.shift()!(true);
    assert.is(await first, 200);
    assert.is(await hashOf("ada"), weak);
    await letGo(2);
    await until(() => answers.length > 0, "the rule is called for the second");
    answers.shift()!(true);
    await letGo(1);
    assert.is(await second, 200);
  });
  assert.match(await hashOf("ada"), shape(2000));
  assert.equal(log, []);
});

logins("leave a stronger stored hash alone", async () => {
  const { login, hashOf } = await open({ ada: weak }, { hashing: { iterations: 10 } });
  assert.is(await login("ada", "weak"), 200);
  assert.is(await hashOf("ada"), weak);
});

logins("never restore a password that was changed meanwhile", async () => {
  const changed = await createPasswords({ iterations: 2000 }).hash("new password");
  const inner = memoryStore();
  const { id } = await inner.addUser({ username: "ada", passwordHash: weak });
  let updates = 0;
  const store: Store = {
    ...inner,
    // Between the check and the upgrade, another request changes the password.
    async updateUser(user: string, changes: UserChanges, expected?: UserChanges) {
      updates++;
      await inner.updateUser(id, { passwordHash: changed });
      return inner.updateUser(user, changes, expected);
    },
  };
  const { login } = await open({}, { store, hashing: { iterations: 2000 } });
  assert.is(await login("ada", "weak"), 200);
  assert.is(updates, 1);
  assert.is((await inner.findUserByUsername("ada"))!.passwordHash, changed);
  assert.is(await login("ada", "weak"), 400);
  assert.is(await login("ada", "new password"), 200);
});

logins("that race for the upgrade all succeed", async () => {
  const { login, hashOf } = await open({ ada: weak }, { hashing: { iterations: 2000 } });
  assert.equal(await Promise.all(Array.from({ length: 8 }, () => login("ada", "weak"))), Array(8).fill(200));
  assert.match(await hashOf("ada"), shape(2000));
  assert.is(await login("ada", "weak"), 200);
});

logins("succeed though the upgrade can't be stored, which is logged without the hash", async () => {
  const inner = memoryStore();
  await inner.addUser({ username: "ada", passwordHash: weak });
  const store: Store = {
    ...inner,
    updateUser() {
      throw new Error("disk full");
    },
  };
  const { login, log } = await open({}, { store, hashing: { iterations: 2000 } });
  assert.is(await login("ada", "weak"), 200);
  assert.is(log.length, 1);
  assert.is((log[0] as { code: string }).code, "rehash_failed");
  assert.not.match(JSON.stringify(log), "pbkdf2");
});

logins("hash once, for known and unknown users", async () => {
  const encoded = await createPasswords({ iterations }).hash("right");
  const { login, store, log } = await open({ ada: encoded, una: unusable, dan: "damaged" });
  await store.addUser({ username: "ian", passwordHash: encoded, isActive: false });
  for (const [username, password, status] of [
    ["ada", "right", 200],
    ["ada", "wrong", 400],
    ["nobody", "wrong", 400],
    ["una", "wrong", 400],
    ["dan", "wrong", 400],
    ["ian", "right", 400],
    ["ian", "wrong", 400],
  ] as const) {
    const seen: number[] = [];
    const count = (rounds: number, derive: () => Promise<ArrayBuffer>) => {
      seen.push(rounds);
      return derive();
    };
    assert.is(await watchingHashes(count, () => login(username, password)), status, username);
    assert.equal(seen, [iterations], username);
  }
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["password_format_unknown"],
  );
  assert.not.match(JSON.stringify(log), 'damaged"');
});

logins("are refused, with a warning, where a stored hash asks for more work than the runtime does", async () => {
  const costly = await createPasswords({ iterations: 4 * iterations }).hash("right");
  const plain = await createPasswords({ iterations }).hash("right");
  const { login, log } = await open({ ada: costly, eve: plain });
  // As on deployed Cloudflare Workers, at 100,000 iterations.
  const limit = (rounds: number, derive: () => Promise<ArrayBuffer>) =>
    rounds > iterations ? Promise.reject(new DOMException("too many", "NotSupportedError")) : derive();
  const limited = (username: string, password: string) => watchingHashes(limit, () => login(username, password));
  assert.is(await limited("ada", "right"), 400);
  assert.is(await limited("eve", "wrong"), 400, "others are padded to what can be done");
  assert.is(await limited("eve", "right"), 200);
  assert.is(log.length, 1);
  const { code, message } = log[0] as { code: string; message: string };
  assert.is(code, "password_work_refused");
  assert.match(message, `this runtime does not derive ${4 * iterations} iterations of PBKDF2`);
});

logins("take the password as it is: not trimmed, not normalized, not folded", async () => {
  const passwords = createPasswords({ iterations });
  const users = { spacey: " x ", composed: "\u00e9", decomposed: "e\u0301", ligature: "ﬁ", tab: "\t", zero: "\u200bx" };
  const stored = await Promise.all(
    Object.entries(users).map(async ([username, password]) => [username, await passwords.hash(password)]),
  );
  const { login, send } = await open(Object.fromEntries(stored));
  const others: Record<keyof typeof users, string[]> = {
    spacey: ["x", " x", "x ", "  x  ", "\u00a0x\u00a0", " X "],
    composed: ["e\u0301", "e", "\u00c9"],
    decomposed: ["\u00e9", "e"],
    ligature: ["fi", "FI"],
    tab: [" ", "\t\t"],
    zero: ["x"],
  };
  for (const [username, password] of Object.entries(users)) {
    assert.is(await login(username, password), 200, username);
    const form = new FormData();
    form.set("username", username);
    form.set("password", password);
    assert.is((await send(new URLSearchParams({ username, password }).toString(), urlencoded)).status, 200, username);
    const { body, type } = await multipart(form);
    assert.is((await send(body, type)).status, 200, username);
    for (const other of others[username as keyof typeof users]) {
      assert.is(await login(username, other), 400, JSON.stringify([username, other]));
    }
  }
});

const urlencoded = "application/x-www-form-urlencoded";

async function multipart(form: FormData): Promise<{ body: ArrayBuffer; type: string }> {
  const response = new Response(form);
  return { type: response.headers.get("content-type")!, body: await response.arrayBuffer() };
}

logins("with a password over 4096 bytes fail like a wrong password", async () => {
  const { send } = await open({ ada: weak });
  const response = await send(JSON.stringify({ username: "ada", password: "x".repeat(4097) }), "application/json");
  assert.is(response.status, 400);
  assert.equal(await response.json(), { non_field_errors: ["Unable to log in with provided credentials."] });
});

logins.run();
