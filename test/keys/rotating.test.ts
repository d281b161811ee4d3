/** A key set that changes while requests come: the setting `keys`. */
import { CompactSign, decodeProtectedHeader, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jwks } from "../../src/endpoints/jwks.ts";
import type { KeySet } from "../../src/keys/key-set.ts";
import { rotatingKeys } from "../../src/keys/rotating.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import type { RotatingKeys } from "../../src/settings/types.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import {
  clock,
  epoch,
  hmacToken,
  json,
  open,
  pairOf,
  problem,
  publisher,
  rsa,
  secret,
  secretJwk,
  utf8,
} from "../support/key-fixtures.ts";
import { until } from "../support/processes.ts";

const rotating = suite("a key set that changes");
rotating.before.each(() => {
  clock.now = epoch;
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const kids = ({ verifying }: KeySet) => verifying.map(({ kid }) => kid);

rotating("signs with the active key and verifies with all, each with its own algorithm", async () => {
  const [next, ec, ed] = [await pairOf("PS256", "n"), await pairOf("ES256", "e"), await pairOf("EdDSA", "d")];
  const hs = secretJwk("h", "A");
  const given: RotatingKeys = { active: ec.jwk, next: [next.publicJwk], retiring: [rsa.publicJwk, ed.jwk, hs] };
  const { judge, sign, keys } = open({ keys: () => given });
  assert.equal(decodeProtectedHeader(await sign()), { alg: "ES256", typ: "JWT", kid: "e" });
  for (const token of [
    await sign(),
    await hmacToken(hs),
    ...(await Promise.all([next, rsa, ed].map((p) => p.sign()))),
  ]) {
    assert.is(await judge(token), "ok");
  }
  assert.ok(!(keys() instanceof Promise), "answers at once");
  assert.equal(kids(await keys()), ["e", "n", "r1", "d", "h"]);
  // A kid selects; the algorithm is the key's.
  assert.is(await judge(await ec.sign({ kid: "d" })), "token_invalid");
  assert.is(await judge(await ec.sign({ kid: undefined })), "token_invalid");
  assert.is(await judge(await hmacToken({ ...hs, k: btoa(JSON.stringify(ec.publicJwk)), kid: "e" })), "token_invalid");
  const { privateKey } = await generateKeyPair("RS256");
  const forged = new CompactSign(utf8.encode("{}")).setProtectedHeader({ alg: "RS256", kid: "e" });
  assert.is(await judge(await forged.sign(privateKey)), "token_invalid");
});

rotating("leaves tokens without kid to keys without one, and to signingKey", async () => {
  const ec = await pairOf("ES256", "e");
  const old = secretJwk(undefined, "B");
  const plain = secretJwk(undefined, "C");
  const before = open({ keys: () => ({ active: ec.jwk }) });
  assert.is(await before.judge(await hmacToken(old)), "token_invalid");
  const { judge } = open({ keys: () => ({ active: ec.jwk, retiring: [old] }), signingKey: { ...plain, kid: "own" } });
  assert.is(await judge(await hmacToken(old)), "ok");
  assert.is(await judge(await hmacToken(plain)), "ok");
  assert.is(await judge(await hmacToken(plain, { kid: "own" })), "ok");
  assert.is(await judge(await ec.sign({ kid: undefined })), "token_invalid");
  const none = open({ keys: () => undefined, signingKey: secret });
  assert.equal(decodeProtectedHeader(await none.sign()), { alg: "HS256", typ: "JWT" });
});

rotating("is followed while requests go on, and read again at once for an unknown kid", async () => {
  const pairs = await Promise.all(["a", "b", "c"].map((kid) => pairOf("ES256", kid)));
  let given: RotatingKeys = { active: pairs[0]!.jwk };
  let calls = 0;
  const server = open({
    keys: () => {
      calls++;
      return given;
    },
  });
  const { judge, sign, keys } = server;
  assert.is(await judge(await pairs[0]!.sign()), "ok");
  assert.is(calls, 1);
  for (let i = 0; i < 50; i++) await judge(await sign());
  assert.is(calls, 1);
  // Another process signs with a key that it read of before we did.
  given = { active: pairs[1]!.jwk, retiring: [pairs[0]!.publicJwk] };
  const tokens = await Promise.all(Array.from({ length: 30 }, () => pairs[1]!.sign()));
  assert.equal(new Set(await Promise.all(tokens.map(judge))), new Set(["ok"]));
  assert.ok(calls <= 3, `called ${calls} times`);
  assert.is(decodeProtectedHeader(await sign()).kid, "b");
  // Unknown kids cause at most ten loads per second.
  const from = calls;
  const began = performance.now();
  for (let i = 0; i < 5; i++) {
    await Promise.all([1, 2, 3, 4].map(async (n) => judge(await pairs[2]!.sign({ kid: `x${i}${n}` }))));
  }
  const seconds = (performance.now() - began) / 1000;
  assert.ok(calls - from <= 2 + seconds * 12, `called ${calls - from} times in ${seconds} s`);
  // Without any new name: within a second or two.
  given = { active: pairs[2]!.jwk, retiring: [pairs[1]!.publicJwk] };
  await until(async () => (await keys()).signing!.kid === "c", "the key set is read again", 4_000);
  assert.is(await judge(await pairs[1]!.sign()), "ok");
  assert.is(await judge(await pairs[0]!.sign()), "token_invalid");
});

rotating("is read again before use after a while without use", async () => {
  const [one, two] = await Promise.all(["a", "b"].map((kid) => pairOf("ES256", kid)));
  let given: RotatingKeys = { active: one!.jwk };
  const { judge, sign } = open({ keys: () => given });
  assert.is(decodeProtectedHeader(await sign()).kid, "a");
  given = { active: two!.jwk };
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  const answers = await Promise.all([judge(await one!.sign()), judge(await one!.sign()), judge(await two!.sign())]);
  assert.equal(answers, ["token_invalid", "token_invalid", "ok"]);
});

rotating("keeps the last key set in use and logs once when a new one can't be read or is malformed", async () => {
  const pair = await pairOf("ES256", "a");
  let provide: () => RotatingKeys | Promise<RotatingKeys> = () => ({ active: pair.jwk });
  const { judge, keys, log } = open({ keys: () => provide() });
  const token = await pair.sign();
  assert.is(await judge(token), "ok");
  const unknown = await pair.sign({ kid: "x" });
  for (const bad of [
    () => {
      throw new Error("down");
    },
    async () => Promise.reject(new Error("down")),
    () => ({}) as RotatingKeys,
    () => ({ active: rsa.publicJwk }),
  ]) {
    provide = bad;
    assert.is(await judge(unknown), "token_invalid");
    assert.is(await judge(token), "ok");
  }
  assert.is(log.length, 1);
  assert.is(log[0]!.code, "keys_unavailable");
  provide = () => new Promise(() => {}); // hangs
  const began = performance.now();
  while (performance.now() - began < 2_500) {
    assert.is(await judge(token), "ok");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(!(keys() instanceof Promise));
});

rotating("ends a retiring key at its time even if the source can no longer be read", async () => {
  const [one, two] = await Promise.all(["a", "b"].map((kid) => pairOf("ES256", kid)));
  const old = secretJwk("h", "A");
  const retiring = [
    { ...one!.publicJwk, exp: epoch + 60 },
    { ...old, exp: epoch + 120 },
  ];
  let provide: () => RotatingKeys | Promise<RotatingKeys> = () => ({ active: two!.jwk, retiring });
  const { judge, keys, log } = open({ keys: () => provide() });
  const tokens = await Promise.all([one!.sign(), hmacToken(old), two!.sign()]);
  const judged = () => Promise.all(tokens.map(judge));
  // Remembered by now.
  for (let turn = 0; turn < 3; turn++) assert.equal(await judged(), ["ok", "ok", "ok"]);
  provide = () => {
    throw new Error("damaged");
  };
  clock.now += 60;
  await until(async () => (await judge(tokens[0]!)) === "token_invalid", "the first is out of use", 4_000);
  assert.equal(await judged(), ["token_invalid", "ok", "ok"]);
  provide = () => new Promise(() => {}); // hangs
  clock.now += 60;
  await until(async () => (await judge(tokens[1]!)) === "token_invalid", "the second is out of use", 4_000);
  assert.equal(await judged(), ["token_invalid", "token_invalid", "ok"]);
  assert.equal(
    (await jwks({ keys })).keys.map(({ kid }) => kid),
    ["b"],
  );
  assert.is(log.length, 1);
  // Nor does a key set that still has it bring a key back.
  let calls = 0;
  provide = () => {
    calls++;
    return { active: two!.jwk, retiring: [{ ...one!.publicJwk, exp: epoch + 60 }] };
  };
  await until(async () => (await keys(), calls > 0), "the key set is read again", 8_000);
  assert.equal(await judged(), ["token_invalid", "token_invalid", "ok"]);
});

rotating("causes one clear line of error when it is wrong from the start", async () => {
  const valid = secretJwk("a", "A");
  const ec = await pairOf("ES256", "e");
  const bad: [unknown, RegExp][] = [
    [null, /^setting keys returned no key set; accepted: /],
    [{}, /^setting keys\.active is not a JWK$/],
    [{ active: { ...valid, alg: undefined } }, /^setting keys\.active has no known alg; accepted: /],
    [{ active: { ...valid, alg: "none" } }, /^setting keys\.active has no known alg/],
    [{ active: { ...valid, alg: "toString" } }, /^setting keys\.active has no known alg/],
    [{ active: { ...valid, kid: "" } }, /^setting keys\.active is a JWK whose kid is not a name/],
    [{ active: { ...valid, k: "AAAA" } }, /^setting keys\.active is 3 bytes long; accepted: 32 or more/],
    [{ active: ec.publicJwk }, /^setting keys\.active is a public key; accepted: a private key/],
    [{ active: { ...ec.jwk, use: "enc" } }, /^setting keys\.active is a JWK whose use is "enc"/],
    [
      { active: { ...ec.jwk, alg: "ES384" } },
      /^setting keys\.active is a key of type P-256, but algorithm ES384 needs/,
    ],
    [{ active: valid, retiring: [valid] }, /^setting keys\.retiring\[0\] has the kid of another key of the key set$/],
    [{ active: valid, retiring: [{ ...rsa.jwk, n: "AA" }] }, /^setting keys\.retiring\[0\] /],
    [
      { active: valid, retiring: [{ ...rsa.publicJwk, exp: "2030-01-01" }] },
      /^setting keys\.retiring\[0\] has an exp that is not a number; accepted: seconds/,
    ],
    [{ active: valid, retiring: valid }, /^setting keys returned retiring or next keys that are not a list/],
  ];
  for (const [given, message] of bad) assert.match(await problem({ keys: () => given as RotatingKeys }), message);
  assert.match(await problem({ keys: "x" as never }), /^setting keys is not a function; accepted: /);
  const { keys } = open({
    keys: () => {
      throw new Error("the database is down");
    },
  });
  const error = await (keys() as Promise<KeySet>).catch((reason: { data: unknown }) => reason);
  assert.equal((error as { data: unknown }).data, { code: "keys_unavailable", retryAfter: 1 });
});

rotating("and jwkUrl go together", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const ec = await pairOf("ES256", "e");
  let calls = 0;
  const given = () => {
    calls++;
    return { active: ec.jwk };
  };
  const { judge, sign } = open({ algorithm: "RS256", jwkUrl: there.url, keys: given });
  assert.is(await judge(await rsa.sign()), "ok");
  assert.is(await judge(await sign()), "ok");
  const before = calls;
  for (let i = 0; i < 5; i++) assert.is(await judge(await rsa.sign()), "ok");
  assert.is(calls, before, "a key known there is not looked for here");
  assert.is(there.hits, 1);
});

rotating("is that of the latest reading in a worker, even if an earlier one ends later", async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret });
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { userAgent: "Cloudflare-Workers" }, configurable: true });
  try {
    let [current, loadMs] = ["first", 0];
    const keys = rotatingKeys(settings, () => current as never, {
      async load(given) {
        await pause(loadMs);
        return { signing: given as never, verifying: [] };
      },
      setOf: async (own) => own as KeySet,
    });
    const { newer } = await keys();
    [current, loadMs] = ["withdrawn", 500];
    const slow = newer!();
    await pause(200);
    [current, loadMs] = ["newest", 0];
    const latest = await newer!();
    assert.is(latest.signing as unknown, "newest");
    assert.is((await slow).signing as unknown, "newest");
  } finally {
    if (navigator === undefined) delete (globalThis as { navigator?: unknown }).navigator;
    else Object.defineProperty(globalThis, "navigator", navigator);
  }
});

rotating.run();
