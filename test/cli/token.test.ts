/** The `token` command. */
import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints, createPasswords, type JwtEndpointsSettings } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import {
  done,
  folderOf,
  newStore,
  refused,
  type Given,
  type Result,
  run,
  user,
  withStore,
} from "../support/commands.ts";
import { until } from "../support/processes.ts";

const tokens = suite("token command");

const token = (args: string[], given?: Given): Promise<Result> => run("token", args, given);
const signingKey = "the signing key of the hunter's tests";
const withKey = { JWT_SIGNING_KEY: signingKey };

/** Logs in, and returns the tokens and a function that posts to the same endpoints. */
async function login(store: Store, settings: Partial<JwtEndpointsSettings> = {}) {
  const endpoints = createJwtEndpoints({ store, signingKey, hashing: { iterations: 1 }, ...settings });
  const post = async (name: string, data: unknown) => {
    const body = JSON.stringify(data);
    const headers = { "content-type": "application/json" };
    const response = await endpoints.fetch(new Request(`http://x/jwt/${name}/`, { method: "POST", headers, body }));
    return { status: response.status, ...((await response.json()) as { access: string; refresh: string }) };
  };
  const { access, refresh } = await post("create", { username: "ada", password: "hunter" });
  return { access, refresh, post };
}

const weakHash = () => createPasswords({ iterations: 1 }).hash("hunter");
const addAda = async (store: Store) => store.addUser({ id: "1", username: "ada", passwordHash: await weakHash() });
const claimsOf = (text: string) => JSON.parse(Buffer.from(text.split(".")[1]!, "base64url").toString());

tokens("shows the claims of a token without any key, and that it was not verified", async () => {
  const store = memoryStore();
  await addAda(store);
  const { refresh } = await login(store, { claims: () => ({ note: "a\u202eb\nc", list: [1, "2"] }) });
  const { exp, jti } = claimsOf(refresh);
  const { code, stdout, stderr } = await token(["inspect"], { input: ` ${refresh}\r\nand more` });
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.slice(0, 4), ["header", '  alg  "HS256"', '  typ  "JWT"', "claims"]);
  assert.is(lines[4], '  token_type  "refresh"');
  const [expLine, remaining] = lines[5]!.split(", in ");
  assert.is(expLine, `  exp         ${new Date(exp * 1000).toISOString()}`);
  assert.match(remaining!, /^(1d|23h 59m)$/);
  assert.match(lines[6]!, /^  iat         20\S+Z, \d+s ago$/);
  assert.equal(lines.slice(7, 9), [`  jti         "${jti}"`, '  user_id     "1"']);
  assert.match(lines[9]!, /^  auth_time   20\S+Z, \d+s ago$/);
  assert.equal(lines.slice(10, 13), ['  note        "a\\u{202e}b\\nc"', '  list        [1,"2"]', "token"]);
  assert.match(lines[13]!, /^  expired   no, (1d|23h 59m) remain$/);
  assert.match(lines[14]!, /^  verified  no: the signature was not checked, /);
  assert.is(lines.length, 15);
  assert.not.match(stdout, new RegExp(refresh.split(".")[2]!), "its signature");
  assert.is(stderr, "");
  assert.is(code, 0);
});

tokens("refuses a text that is no token with one line that does not quote it", async () => {
  const part = Buffer.from('{"a":1}').toString("base64url");
  const cases: [input: string, reason: RegExp][] = [
    ["", /^there is no token on standard input\n$/],
    ["hunter2", /^not a token: a signed JWT is three texts joined by dots\n$/],
    ["hunter.hunter.hunter", /^not a token: its header /],
    [`${part}.hunter.x`, /^not a token: its claims /],
    [`${part}.x.x.x.x`, /^the token is encrypted/],
    ["hunter".repeat(20_000), /^the token is longer than 65536 bytes\n$/],
  ];
  const results = await Promise.all(cases.map(([input]) => token(["inspect"], { input })));
  for (const [index, result] of results.entries()) refused(result, cases[index]![1]);
  refused(await token(["inspect", "hunter.hunter.hunter"]), /^inspect takes no arguments\n$/);
  refused(await token(["forge"]), /^unknown command "forge"; accepted: inspect, revoke, flush; /);
});

tokens("verifies with the environment's key or the store's, and looks revocations up in the store", async () => {
  const url = await newStore();
  const { access, refresh, expired, forged } = await withStore(url, async (store) => {
    await addAda(store);
    const pair = await login(store);
    const { access: expired } = await login(store, { now: () => Date.now() - 3_600_000 });
    const { access: forged } = await login(store, { signingKey: "another key of the hunter's, as long" });
    return { ...pair, expired, forged };
  });
  const verdict = async (input: string, env: Record<string, string> = withKey, store = url) => {
    const { code, stdout, stderr } = await token(["inspect", "--verify", "--store", store], { input, env });
    assert.is(stderr, "");
    return [code, /^  verified  (.*)$/m.exec(stdout)?.[1]];
  };
  const results = await Promise.all([
    verdict(access),
    verdict(expired),
    verdict(forged),
    verdict(access, { ...withKey, JWT_ALGORITHM: "HS384", JWT_SIGNING_KEY: "k".repeat(48) }),
    verdict(access, withKey, "memory:"),
  ]);
  assert.equal(results, [
    [0, "yes, the signature and the claims are valid"],
    [1, "no, the signature is valid, but it has expired"],
    [1, "no, no key of ours signed it, or its issuer, audience or id is not as it has to be"],
    [1, "no, its algorithm is none of ours (HS384; JWT_ALGORITHM)"],
    [0, "yes, the signature and the claims are valid; revocation was not checked: there is no store"],
  ]);
  const keyless = await token(["inspect", "--verify", "--store", url], { input: access });
  refused(keyless, /^there is no key to verify with: set JWT_SIGNING_KEY, or name the server's store with --store\n$/);

  writeFileSync(path.join(folderOf(url), "signing.key"), `${signingKey}\n`, { mode: 0o600 });
  assert.equal(await verdict(refresh, {}), [0, "yes, the signature and the claims are valid"]);
  done(await user(["logout", "ada", "--store", url]), /^ended/);
  assert.equal(await verdict(refresh, {}), [1, "no, the signature is valid, but: Token is blacklisted"]);
});

tokens("revokes a valid token and its session on a store that is open elsewhere", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    await addAda(store);
    const [plain, session, other] = [
      await login(store),
      await login(store, { rotateRefreshTokens: true }),
      await login(store),
    ];
    const revoke = (input: string) => token(["revoke", "--store", url], { input, env: withKey });
    const id = (text: string) => claimsOf(text).jti;

    done(await revoke(plain.access), new RegExp(`^revoked the token with the id "${id(plain.access)}"\n$`));
    await until(async () => (await store.get("blacklist", id(plain.access))) !== undefined, "the token is revoked");
    assert.is((await plain.post("verify", { token: plain.access })).status, 400);
    assert.is((await plain.post("refresh", { refresh: plain.refresh })).status, 200, "only what was named");

    const { sid } = claimsOf(session.access);
    const { refresh: successor } = await session.post("refresh", { refresh: session.refresh });
    done(await revoke(session.access), / and its session\n$/);
    await until(async () => (await store.get("session", sid)) !== undefined, "the session is ended");
    assert.is((await session.post("refresh", { refresh: successor })).status, 400);
    assert.is((await session.post("verify", { token: session.refresh })).status, 400);

    refused(await revoke(`${other.refresh.slice(0, -4)}AAAA`), /^nothing was revoked: no key of ours signed it/);
    const { access: expired } = await login(store, { now: () => Date.now() - 3_600_000 });
    refused(await revoke(expired), /^nothing was revoked: the signature is valid, but it has expired\n$/);
    assert.is((await other.post("verify", { token: other.refresh })).status, 200);
  });
});

tokens("remembers an ended session for 30 days, or as long as refreshTokenLifetime", async () => {
  const url = await newStore();
  const { access } = await withStore(url, async (store) => {
    await addAda(store);
    return login(store, { rotateRefreshTokens: true });
  });
  done(await token(["revoke", "--store", url], { input: access, env: withKey }), /and its session\n$/);
  const days = async (n: number) => {
    const later = await openFileStore(folderOf(url), { now: () => Date.now() + n * 86_400_000 });
    const standing = await later.get("session", claimsOf(access).sid);
    await later.close();
    return standing !== undefined;
  };
  assert.equal([await days(29.9), await days(30.1)], [true, false]);
});

tokens("drops expired facts with flush", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    await store.putIfAbsent("blacklist", "a", "1", Date.now() / 1000 + 0.05);
    await store.putIfAbsent("blacklist", "b", "1", Date.now() / 1000 + 1000);
    await until(async () => (await store.get("blacklist", "a")) === undefined, "one expires");
  });
  done(await token(["flush", "--store", url]), /^forgot [01] expired facts?\n$/); // a store may have by itself
  await withStore(url, async (store) => assert.is(await store.get("blacklist", "b"), "1"));
  refused(await token(["flush", "--store", "memory:"]), /lives in its server alone/);
});

tokens.run();
