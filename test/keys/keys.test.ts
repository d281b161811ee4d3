/**
 * Where keys come from besides one setting: a JSON Web Key Set elsewhere (`jwkUrl`), a ring that changes (`keys`), and the
 * files that the `keys` command writes; and what is published of them.
 */
import { spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import {
  CompactSign,
  type JWK,
  calculateJwkThumbprint,
  compactVerify,
  createLocalJWKSet,
  decodeProtectedHeader,
  exportJWK,
  exportPKCS8,
  exportSPKI,
  generateKeyPair,
} from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jwks } from "../../src/endpoints/jwks.ts";
import { type JwtEndpointsSettings, createJwtEndpoints } from "../../src/index.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import type { RotatingKeys } from "../../src/settings/types.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { type KeySet, keysFrom } from "../../src/keys/key-set.ts";
import { prepareKey } from "../../src/keys/import.ts";
import { signToken } from "../../src/tokens/sign.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import {
  environmentWith,
  keptIn,
  runtime,
  command as runtimeCommand,
  start,
  temporaryFolder,
} from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";

const utf8 = new TextEncoder();
const secret = "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-";
const epoch = 1_850_000_000;

/** A clock that a test moves, in seconds. */
let now = epoch;
const claims = { token_type: "access", exp: epoch + 90_000, iat: epoch - 60, jti: "0".repeat(32), user_id: "1" };

interface Pair {
  alg: string;
  /** Private. */
  jwk: JWK;
  publicJwk: JWK;
  sign(header?: Record<string, unknown>): Promise<string>;
}

async function pairOf(alg: string, kid?: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const more = kid === undefined ? { alg } : { alg, kid };
  const sign = (header = {}) =>
    new CompactSign(utf8.encode(JSON.stringify(claims)))
      .setProtectedHeader({ alg, typ: "JWT", ...(kid !== undefined && { kid }), ...header })
      .sign(privateKey);
  const jwk = { ...(await exportJWK(privateKey)), ...more };
  return { alg, jwk, publicJwk: { ...(await exportJWK(publicKey)), ...more }, sign };
}

const secretJwk = (kid: string | undefined, fill: string): JWK => ({
  kty: "oct",
  k: fill.repeat(86),
  alg: "HS256",
  ...(kid !== undefined && { kid }),
});

const hmacToken = (jwk: JWK, header: Record<string, unknown> = {}): Promise<string> =>
  new CompactSign(utf8.encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: "HS256", typ: "JWT", ...(jwk.kid !== undefined && { kid: jwk.kid }), ...header })
    .sign(Uint8Array.from(atob(jwk.k!), (char) => char.charCodeAt(0)));

function open(more: Partial<JwtEndpointsSettings>) {
  const log: { code: string; message: string; error?: unknown }[] = [];
  const input: JwtEndpointsSettings = {
    store: memoryStore(),
    now: () => now * 1000,
    log: keptIn(log),
    ...more,
  };
  const settings = parseSettings(input);
  const keys = keysFrom(settings);
  /** `"ok"`, or the code of the refusal and, for a 503, when to try again. */
  const judge = async (token: string): Promise<string> => {
    try {
      await verifyToken(settings, await keys(), token, "access");
      return "ok";
    } catch (error) {
      const { code, retryAfter } = (error as { data: { code: string; retryAfter?: number } }).data;
      return retryAfter === undefined ? code : `${code} ${retryAfter}`;
    }
  };
  const sign = async () => signToken((await keys()).signing, claims);
  return { input, settings, keys, judge, sign, log };
}

/** What is wrong with settings, at once or when the keys are first asked for. */
async function problem(more: Partial<JwtEndpointsSettings>): Promise<string> {
  try {
    await open(more).keys();
  } catch (error) {
    assert.is((error as Error).name, "SettingError", (error as Error).stack);
    assert.not.match((error as Error).message, /\n/);
    return (error as Error).message;
  }
  throw new Error("nothing was wrong");
}

// ── jwkUrl ──

type Answer = (response: http.ServerResponse) => unknown;
const json =
  (value: unknown, status = 200, headers = {}): Answer =>
  (response) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));

/** A publisher of keys on a free port, whose answer a test changes. */
async function publisher(answer: Answer) {
  const state = { answer, hits: 0, url: "" };
  const server = http.createServer((_, response) => {
    state.hits++;
    state.answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  publishers.push(server);
  return state;
}
const publishers: http.Server[] = [];

const rsa = await pairOf("RS256", "r1");
const rsa2 = await pairOf("RS256", "r2");

const remote = suite("jwkUrl");
remote.before.each(() => {
  now = epoch;
});
remote.after(() => {
  for (const server of publishers) {
    server.closeAllConnections();
    server.close();
  }
});

for (const algorithm of ["RS256", "PS384", "ES256", "ES384", "EdDSA"] as const) {
  remote(`verifies ${algorithm} tokens signed elsewhere, and asks once for many`, async () => {
    const [one, two, stranger] = await Promise.all(["a", "b", "a"].map((kid) => pairOf(algorithm, kid)));
    const there = await publisher(json({ keys: [one!.publicJwk, two!.publicJwk] }));
    const { judge, log, keys } = open({ algorithm, jwkUrl: there.url });
    const tokens = await Promise.all([one!, two!, one!].map((pair) => pair.sign()));
    assert.equal(await Promise.all(tokens.map(judge)), ["ok", "ok", "ok"]);
    assert.is(await judge(await one!.sign({ kid: undefined })), "ok");
    assert.is(await judge(await one!.sign({ kid: "b" })), "token_invalid");
    assert.is(await judge(await stranger!.sign()), "token_invalid");
    assert.is(await judge(await stranger!.sign({ kid: undefined })), "token_invalid");
    for (const kid of [1, null, {}, ""]) assert.is(await judge(await one!.sign({ kid })), "token_invalid");
    assert.is(there.hits, 1);
    assert.equal(log, []);
    assert.is((await keys()).signing, undefined);
    assert.equal(await jwks({ keys }), { keys: [] });
  });
}

remote("leaves tokens of signingKey good, without a look at the URL", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge, sign } = open({ algorithm: "RS256", jwkUrl: there.url, signingKey: rsa2.jwk });
  assert.is(await judge(await sign()), "ok");
  assert.is(there.hits, 0);
  assert.is(await judge(await rsa.sign()), "ok");
  assert.is(there.hits, 1);
});

remote("that is down means 503 with Retry-After, and is left in peace for five seconds", async () => {
  const there = await publisher(json({}, 503));
  const { judge, log, input } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  const answers = await Promise.all(Array.from({ length: 20 }, () => judge(token)));
  assert.equal(new Set(answers), new Set(["keys_unavailable 5"]));
  assert.is(there.hits, 1);
  now += 4;
  assert.is(await judge(token), "keys_unavailable 1");
  assert.is(there.hits, 1);
  assert.equal(
    log.map(({ code }) => code),
    ["keys_unavailable"],
  );
  now += 1;
  there.answer = json({ keys: [rsa.publicJwk] });
  assert.is(await judge(token), "ok");
  assert.is(there.hits, 2);

  there.answer = json({}, 503);
  const endpoints = createJwtEndpoints(input);
  await endpoints.ready(); // it starts all the same
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) };
  const response = await endpoints.fetch(new Request("http://localhost/jwt/verify/", init));
  assert.is(response.status, 503);
  assert.is(response.headers.get("retry-after"), "5");
  assert.not.match(await response.text(), "127.0.0.1");
});

remote("that answers anything but a key set counts as down", async () => {
  const there = await publisher(json({}));
  const file = `file://${temporaryFolder()}/keys.json`;
  fs.writeFileSync(new URL(file), JSON.stringify({ keys: [rsa.publicJwk] }));
  const good = { keys: [rsa.publicJwk] };
  const answers: [string, Answer][] = [
    ["HTML", (response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>Keys</h1>")],
    ["an empty body", (response) => response.end()],
    ["another object", json({ error: "no" })],
    ["a list", json([rsa.publicJwk])],
    ["keys that are no list", json({ keys: rsa.publicJwk })],
    ["keys that are no objects", json({ keys: ["x"] })],
    ["null", json(null)],
    ["500", json(good, 500)],
    ["404", json(good, 404)],
    ["204", (response) => response.writeHead(204).end()],
    ["a redirect to a file", json(good, 302, { location: file })],
    ["a redirect elsewhere", json(good, 307, { location: there.url })],
    ["too much", (response) => response.end(JSON.stringify({ ...good, x: "x".repeat(1_048_576) }))],
    [
      "an end too soon",
      (response) => response.writeHead(200, { "content-length": 5000 }).write("{", () => response.destroy()),
    ],
  ];
  for (const [name, answer] of answers) {
    there.answer = answer;
    there.hits = 0;
    const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
    assert.is(await judge(await rsa.sign()), "keys_unavailable 5", name);
    assert.is(there.hits, 1, name);
  }
});

remote("that closes the connection, or where nobody listens, counts as down", async () => {
  const token = await rsa.sign();
  const rude = await publisher((response) => response.destroy()); // some runtimes try it twice
  const nobody = `http://127.0.0.1:1/keys`;
  for (const jwkUrl of [rude.url, nobody]) {
    assert.is(await open({ algorithm: "RS256", jwkUrl }).judge(token), "keys_unavailable 5");
  }
});

remote("that never ends its answer is given up after five seconds", async () => {
  const token = await rsa.sign();
  const silent = await publisher(() => {});
  const endless = await publisher((response) => response.writeHead(200).write('{"keys":['));
  const began = performance.now();
  const answers = await Promise.all(
    [silent, endless].map(({ url }) => open({ algorithm: "RS256", jwkUrl: url }).judge(token)),
  );
  assert.equal(answers, ["keys_unavailable 5", "keys_unavailable 5"]);
  assert.ok(performance.now() - began < 9_000);
});

remote("is asked again for an unknown kid after thirty seconds, not before", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  assert.is(await judge(await rsa.sign()), "ok");
  there.answer = json({ keys: [rsa2.publicJwk, rsa.publicJwk] });
  now += 29;
  for (let i = 0; i < 5; i++) assert.is(await judge(await rsa2.sign({ kid: `x${i}` })), "token_invalid");
  assert.is(await judge(await rsa2.sign()), "token_invalid");
  assert.is(there.hits, 1);
  now += 1;
  assert.equal(await Promise.all([rsa2, rsa2, rsa].map(async (pair) => judge(await pair.sign()))), ["ok", "ok", "ok"]);
  assert.is(there.hits, 2);
  assert.is(await judge(await rsa.sign({ kid: "x" })), "token_invalid");
  assert.is(there.hits, 2);
});

remote("drops a key that is published no more, ten minutes later at most", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk, rsa2.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  assert.is(await judge(token), "ok");
  there.answer = json({ keys: [rsa2.publicJwk] });
  now += 599;
  assert.is(await judge(token), "ok");
  assert.is(there.hits, 1);
  now += 1;
  // At once, unless this machine takes longer than a request waits for newer keys.
  await until(async () => (await judge(token)) === "token_invalid", "the newer keys are there");
  assert.is(there.hits, 2);
});

remote("is asked again when the clock was set back", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  now += 1000;
  assert.is(await judge(await rsa.sign()), "ok");
  there.answer = json({}, 500);
  now += 86_400;
  assert.is(await judge(await rsa.sign()), "keys_unavailable 5");
  // What was asked for and what failed are both a day ahead.
  there.answer = json({ keys: [rsa2.publicJwk] });
  now -= 86_400 - 60;
  assert.is(await judge(await rsa2.sign()), "ok");
  assert.is(there.hits, 3);
  there.answer = json({ keys: [rsa.publicJwk] });
  now -= 1000;
  assert.is(await judge(await rsa2.sign()), "token_invalid");
  assert.is(await judge(await rsa.sign()), "ok");
});

remote("that went down leaves the last keys in use for an hour", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  assert.is(await judge(token), "ok");
  there.answer = json({}, 500);
  now += 601;
  assert.is(await judge(token), "ok");
  assert.is(there.hits, 2);
  // A key that may be there, if only one could ask: not a 401.
  assert.is(await judge(await rsa2.sign()), "keys_unavailable 5");
  assert.is(there.hits, 2);
  // From here on nobody waits for a URL that hangs.
  there.answer = () => {};
  now += 5;
  const began = performance.now();
  assert.is(await judge(token), "ok");
  assert.ok(performance.now() - began < 2_000);
  await until(() => there.hits === 3, "it is asked again meanwhile");
  now = epoch + 3_599;
  assert.is(await judge(token), "ok");

  const lately = await publisher(json({ keys: [rsa.publicJwk] }));
  const late = open({ algorithm: "RS256", jwkUrl: lately.url });
  assert.is(await late.judge(token), "ok");
  lately.answer = json({}, 500);
  now += 3_600;
  assert.is(await late.judge(token), "keys_unavailable 5");
  lately.answer = json({ keys: [rsa.publicJwk] });
  now += 5;
  assert.is(await late.judge(token), "ok");
});

remote("that hangs once the keys are ten minutes old keeps no request waiting for it", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge, log } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  assert.is(await judge(token), "ok");
  for (const answer of [
    () => {},
    (response: http.ServerResponse) => response.writeHead(200).write('{"keys":['), // begins, and never ends
  ]) {
    there.answer = answer;
    there.hits = 0;
    now += 601;
    const began = performance.now();
    // At once, and again while the first request to the URL still hangs.
    for (let turn = 0; turn < 3; turn++) {
      assert.equal(await Promise.all([judge(token), judge(token)]), ["ok", "ok"]);
    }
    assert.ok(performance.now() - began < 2_500, `${performance.now() - began} ms`);
    assert.is(there.hits, 1);
    // A key that may be there is waited for, and not for ever.
    assert.is(await judge(await rsa2.sign()), "keys_unavailable 5");
    assert.ok(performance.now() - began < 9_000, `${performance.now() - began} ms`);
    now += 5;
    there.answer = json({ keys: [rsa.publicJwk] });
    await until(async () => (await judge(token)) === "ok" && there.hits > 1, "it is asked again");
    await until(async () => (await judge(await rsa2.sign())) === "token_invalid", "and answers");
  }
  assert.is(log.length, 2);
});

remote("has keys passed over that are weak, private, symmetric, or for something else", async () => {
  const publicExponent = Uint8Array.of(1, 0, 1);
  const params = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 1024, publicExponent };
  const weak = await crypto.subtle.generateKey(params, true, ["sign", "verify"]);
  const input = `${btoa('{"alg":"RS256","kid":"r1"}')}.${btoa(JSON.stringify(claims))}`.replaceAll("=", "");
  const signature = new Uint8Array(await crypto.subtle.sign(params.name, weak.privateKey, utf8.encode(input)));
  const weakToken = `${input}.${btoa(String.fromCharCode(...signature))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "")}`;
  const { kty, n, e } = rsa.publicJwk;
  const bad: [string, JWK, string][] = [
    ["weak", { ...(await exportJWK(weak.publicKey)), kid: "r1" }, weakToken],
    ["private", rsa.jwk, await rsa.sign()],
    ["another alg", { ...rsa.publicJwk, alg: "RS512" }, await rsa.sign()],
    ["for encryption", { ...rsa.publicJwk, use: "enc" }, await rsa.sign()],
    ["no verification", { ...rsa.publicJwk, key_ops: ["encrypt"] }, await rsa.sign()],
    ["another kty", (await pairOf("ES256", "r1")).publicJwk, await rsa.sign()],
    ["broken", { kty: kty!, kid: "r1", e: e!, n: "AA" }, await rsa.sign()],
    ["a secret", { ...secretJwk("r1", "A") }, await hmacToken(secretJwk("r1", "A"))],
    [
      "its text as a secret",
      { kty: kty!, n: n!, e: e!, kid: "r1" },
      await hmacToken({ ...secretJwk("r1", "A"), k: btoa(n!) }),
    ],
  ];
  for (const [name, jwk, token] of bad) {
    const there = await publisher(json({ keys: [jwk, rsa2.publicJwk] }));
    const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
    assert.is(await judge(token), "token_invalid", name);
    assert.is(await judge(await rsa2.sign()), "ok", name);
  }
});

remote("is the only place keys come from: what a token names is not followed", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const theirs = await publisher(json({ keys: [rsa2.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  for (const header of [{ jku: theirs.url }, { x5u: theirs.url }, { jwk: rsa2.publicJwk }]) {
    assert.is(await judge(await rsa2.sign({ ...header, kid: "r1" })), "token_invalid");
    assert.is(await judge(await rsa2.sign(header)), "token_invalid");
  }
  assert.is(theirs.hits, 0);
});

remote("needs an http URL and an algorithm with public keys", async () => {
  const jwkUrl = "https://keys.example/jwks.json";
  assert.match(
    await problem({ jwkUrl, signingKey: secret }),
    /^setting jwkUrl can't be used with algorithm HS256; acc/,
  );
  for (const wrong of ["file:///etc/keys.json", "keys.json", "", "ftp://keys.example/", "data:,{}", "//keys.example"]) {
    assert.match(
      await problem({ jwkUrl: wrong, algorithm: "RS256" }),
      /^setting jwkUrl is not an address of keys; accep/,
    );
  }
  const withPassword = await problem({ jwkUrl: "https://u:hunter2@keys.example/", algorithm: "RS256" });
  assert.match(withPassword, /^setting jwkUrl is not .* without a user name or password$/);
  assert.not.match(withPassword, "hunter2");
  assert.match(await problem({}), /^setting signingKey is missing; accepted: /);
});

remote.run();

// ── keys ──

const ringOf = suite("a key ring");
ringOf.before.each(() => {
  now = epoch;
});

const kids = ({ verifying }: KeySet) => verifying.map(({ kid }) => kid);

ringOf("signs with the active key and verifies with all, each with its own algorithm", async () => {
  const [next, ec, ed] = [await pairOf("PS256", "n"), await pairOf("ES256", "e"), await pairOf("EdDSA", "d")];
  const hs = secretJwk("h", "A");
  const ring: RotatingKeys = { active: ec.jwk, next: [next.publicJwk], retiring: [rsa.publicJwk, ed.jwk, hs] };
  const { judge, sign, keys } = open({ keys: () => ring });
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

ringOf("leaves tokens without kid to keys without one, and to signingKey", async () => {
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

ringOf("is followed while requests go on, and an unknown kid is looked up at once", async () => {
  const pairs = await Promise.all(["a", "b", "c"].map((kid) => pairOf("ES256", kid)));
  let ring: RotatingKeys = { active: pairs[0]!.jwk };
  let asked = 0;
  const server = open({
    keys: () => {
      asked++;
      return ring;
    },
  });
  const { judge, sign, keys } = server;
  assert.is(await judge(await pairs[0]!.sign()), "ok");
  assert.is(asked, 1);
  for (let i = 0; i < 50; i++) await judge(await sign());
  assert.is(asked, 1);
  // Another process signs with a key that it read of before we did.
  ring = { active: pairs[1]!.jwk, retiring: [pairs[0]!.publicJwk] };
  const tokens = await Promise.all(Array.from({ length: 30 }, () => pairs[1]!.sign()));
  assert.equal(new Set(await Promise.all(tokens.map(judge))), new Set(["ok"]));
  assert.ok(asked <= 3, `asked ${asked} times`);
  assert.is(decodeProtectedHeader(await sign()).kid, "b");
  // Names nobody knows don't make it ask more than ten times a second.
  const from = asked;
  const began = performance.now();
  for (let i = 0; i < 5; i++) {
    await Promise.all([1, 2, 3, 4].map(async (n) => judge(await pairs[2]!.sign({ kid: `x${i}${n}` }))));
  }
  const seconds = (performance.now() - began) / 1000;
  assert.ok(asked - from <= 2 + seconds * 12, `asked ${asked - from} times in ${seconds} s`);
  // Without any new name: within a second or two.
  ring = { active: pairs[2]!.jwk, retiring: [pairs[1]!.publicJwk] };
  await until(async () => (await keys()).signing!.kid === "c", "the ring is read again", 4_000);
  assert.is(await judge(await pairs[1]!.sign()), "ok");
  assert.is(await judge(await pairs[0]!.sign()), "token_invalid");
});

ringOf("that was not needed for a while is read before it is used again", async () => {
  const [one, two] = await Promise.all(["a", "b"].map((kid) => pairOf("ES256", kid)));
  let ring: RotatingKeys = { active: one!.jwk };
  const { judge, sign } = open({ keys: () => ring });
  assert.is(decodeProtectedHeader(await sign()).kid, "a");
  ring = { active: two!.jwk };
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  const answers = await Promise.all([judge(await one!.sign()), judge(await one!.sign()), judge(await two!.sign())]);
  assert.equal(answers, ["token_invalid", "token_invalid", "ok"]);
});

ringOf("that can't be read again, or answers nonsense, leaves the last one in use and is told of once", async () => {
  const pair = await pairOf("ES256", "a");
  let answer: () => RotatingKeys | Promise<RotatingKeys> = () => ({ active: pair.jwk });
  const { judge, keys, log } = open({ keys: () => answer() });
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
    answer = bad;
    assert.is(await judge(unknown), "token_invalid");
    assert.is(await judge(token), "ok");
  }
  assert.is(log.length, 1);
  assert.is(log[0]!.code, "keys_unavailable");
  answer = () => new Promise(() => {}); // hangs
  const began = performance.now();
  while (performance.now() - began < 2_500) {
    assert.is(await judge(token), "ok");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(!(keys() instanceof Promise));
});

ringOf("that can't be read any more still ends a retiring key at its time", async () => {
  const [one, two] = await Promise.all(["a", "b"].map((kid) => pairOf("ES256", kid)));
  const old = secretJwk("h", "A");
  const retiring = [
    { ...one!.publicJwk, exp: epoch + 60 },
    { ...old, exp: epoch + 120 },
  ];
  let answer: () => RotatingKeys | Promise<RotatingKeys> = () => ({ active: two!.jwk, retiring });
  const { judge, keys, log } = open({ keys: () => answer() });
  const tokens = await Promise.all([one!.sign(), hmacToken(old), two!.sign()]);
  const judged = () => Promise.all(tokens.map(judge));
  // Remembered by now.
  for (let turn = 0; turn < 3; turn++) assert.equal(await judged(), ["ok", "ok", "ok"]);
  answer = () => {
    throw new Error("damaged");
  };
  now += 60;
  await until(async () => (await judge(tokens[0]!)) === "token_invalid", "the first is out of use", 4_000);
  assert.equal(await judged(), ["token_invalid", "ok", "ok"]);
  answer = () => new Promise(() => {}); // hangs
  now += 60;
  await until(async () => (await judge(tokens[1]!)) === "token_invalid", "the second is out of use", 4_000);
  assert.equal(await judged(), ["token_invalid", "token_invalid", "ok"]);
  assert.equal(
    (await jwks({ keys })).keys.map(({ kid }) => kid),
    ["b"],
  );
  assert.is(log.length, 1);
  // Nor does a ring that still has it bring a key back.
  let asked = 0;
  answer = () => {
    asked++;
    return { active: two!.jwk, retiring: [{ ...one!.publicJwk, exp: epoch + 60 }] };
  };
  await until(async () => (await keys(), asked > 0), "the ring is read again", 8_000);
  assert.equal(await judged(), ["token_invalid", "token_invalid", "ok"]);
});

ringOf("that is wrong from the start is one clear line", async () => {
  const good = secretJwk("a", "A");
  const ec = await pairOf("ES256", "e");
  const bad: [unknown, RegExp][] = [
    [null, /^setting keys answered no key ring; accepted: /],
    [{}, /^setting keys\.active is not a JWK$/],
    [{ active: { ...good, alg: undefined } }, /^setting keys\.active has no known alg; accepted: /],
    [{ active: { ...good, alg: "none" } }, /^setting keys\.active has no known alg/],
    [{ active: { ...good, alg: "toString" } }, /^setting keys\.active has no known alg/],
    [{ active: { ...good, kid: "" } }, /^setting keys\.active is a JWK whose kid is not a name/],
    [{ active: { ...good, k: "AAAA" } }, /^setting keys\.active is 3 bytes long; accepted: 32 or more/],
    [{ active: ec.publicJwk }, /^setting keys\.active is a public key; accepted: a private key/],
    [{ active: { ...ec.jwk, use: "enc" } }, /^setting keys\.active is a JWK whose use is "enc"/],
    [
      { active: { ...ec.jwk, alg: "ES384" } },
      /^setting keys\.active is a key of type P-256, but algorithm ES384 needs/,
    ],
    [{ active: good, retiring: [good] }, /^setting keys\.retiring\[0\] has the kid of another key of the ring$/],
    [{ active: good, retiring: [{ ...rsa.jwk, n: "AA" }] }, /^setting keys\.retiring\[0\] /],
    [
      { active: good, retiring: [{ ...rsa.publicJwk, exp: "2030-01-01" }] },
      /^setting keys\.retiring\[0\] has an exp that is not a number; accepted: seconds/,
    ],
    [{ active: good, retiring: good }, /^setting keys answered retiring or next keys that are not a list/],
  ];
  for (const [ring, message] of bad) assert.match(await problem({ keys: () => ring as RotatingKeys }), message);
  assert.match(await problem({ keys: "x" as never }), /^setting keys is not a function; accepted: /);
  const { keys } = open({
    keys: () => {
      throw new Error("the database is down");
    },
  });
  const error = await (keys() as Promise<KeySet>).catch((reason: { data: unknown }) => reason);
  assert.equal((error as { data: unknown }).data, { code: "keys_unavailable", retryAfter: 1 });
});

ringOf("and jwkUrl go together", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const ec = await pairOf("ES256", "e");
  let asked = 0;
  const ring = () => {
    asked++;
    return { active: ec.jwk };
  };
  const { judge, sign } = open({ algorithm: "RS256", jwkUrl: there.url, keys: ring });
  assert.is(await judge(await rsa.sign()), "ok");
  assert.is(await judge(await sign()), "ok");
  const before = asked;
  for (let i = 0; i < 5; i++) assert.is(await judge(await rsa.sign()), "ok");
  assert.is(asked, before, "a key known there is not looked for here");
  assert.is(there.hits, 1);
});

ringOf.run();

// ── what is published ──

const published = suite("the published key set");

published("holds the public keys of the ring, none private and none symmetric", async () => {
  const [active, next] = [await pairOf("ES384", "a"), await pairOf("EdDSA", "n")];
  const ring = { active: active.jwk, next: [next.jwk], retiring: [rsa.jwk, secretJwk("h", "A")] };
  const { keys, sign } = open({ keys: () => ring });
  const set = await jwks({ keys });
  assert.equal(
    set.keys.map(({ kid, alg, use, kty }) => [kid, alg, use, kty]),
    [
      ["a", "ES384", "sig", "EC"],
      ["n", "EdDSA", "sig", "OKP"],
      ["r1", "RS256", "sig", "RSA"],
    ],
  );
  const members = new Set(set.keys.flatMap((jwk) => Object.keys(jwk)));
  assert.equal([...members].toSorted(), ["alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"]);
  const text = JSON.stringify(set);
  for (const jwk of [active.jwk, next.jwk, rsa.jwk, ring.retiring[1]!]) {
    for (const name of ["d", "p", "q", "dp", "dq", "qi", "k"]) {
      if (jwk[name as "d"] !== undefined) assert.not.ok(text.includes(jwk[name as "d"]!), name);
    }
  }
  await compactVerify(await sign(), createLocalJWKSet(JSON.parse(text)));
});

published("names a key without kid by its thumbprint, whatever the key came as", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  const publicJwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(publicJwk);
  const [pem, spki] = [await exportPKCS8(privateKey), await exportSPKI(publicKey)];
  for (const form of [
    { signingKey: pem },
    { signingKey: await exportJWK(privateKey) },
    { signingKey: pem, verifyingKey: spki },
    { verifyingKey: publicJwk },
  ]) {
    const { keys } = open({ algorithm: "ES256", ...form });
    assert.equal(await jwks({ keys }), { keys: [{ ...publicJwk, kid, alg: "ES256", use: "sig" }] });
  }
  const hs = open({ signingKey: secret });
  assert.equal(await jwks({ keys: hs.keys }), { keys: [] });
});

published.run();

// ── forms of keys ──

const forms = suite("keys as people have them");

const pemOf = (label: string, body: string): string => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;

forms("in PKCS #1 and SEC 1, as openssl writes them and Simple JWT takes them, work", async () => {
  const cases: [algorithm: JwtEndpointsSettings["algorithm"], type: "pkcs1" | "sec1"][] = [
    ["RS256", "pkcs1"],
    ["PS512", "pkcs1"],
    ["ES256", "sec1"],
    ["ES384", "sec1"],
  ];
  for (const [algorithm, type] of cases) {
    const { privateKey, publicKey } = await generateKeyPair(algorithm!, { extractable: true });
    const old = createPrivateKey(await exportPKCS8(privateKey))
      .export({ type, format: "pem" })
      .toString();
    assert.match(old, /^-----BEGIN (RSA|EC) PRIVATE KEY-----/);
    const { sign, judge } = open({ algorithm, signingKey: old });
    const token = await sign();
    assert.is(await judge(token), "ok");
    await compactVerify(token, publicKey);
    const around = `Bag Attributes\n${pemOf("EC PARAMETERS", "BggqhkjOPQMBBw==")}${old}`;
    for (const signingKey of [utf8.encode(old), old.replaceAll("\n", "\\n"), old.replaceAll("\n", "\r\n"), around]) {
      assert.is(await open({ algorithm, signingKey }).judge(token), "ok");
    }
    if (type === "pkcs1") {
      const verifyingKey = createPublicKey(await exportSPKI(publicKey))
        .export({ type, format: "pem" })
        .toString();
      assert.match(verifyingKey, /^-----BEGIN RSA PUBLIC KEY-----/);
      assert.is(await open({ algorithm, signingKey: old, verifyingKey }).judge(token), "ok");
      assert.is(await open({ algorithm, verifyingKey }).judge(token), "ok"); // only verifies
    }
  }
});

forms("of the wrong sort are told what they are and what is accepted", async () => {
  const ec = await generateKeyPair("ES384", { extractable: true });
  const [ecPem, ecSpki] = [await exportPKCS8(ec.privateKey), await exportSPKI(ec.publicKey)];
  const rsaPair = await generateKeyPair("RS256", { extractable: true });
  const rsaPem = await exportPKCS8(rsaPair.privateKey);
  const x25519 = pemOf("PRIVATE KEY", "MC4CAQAwBQYDK2VuBCIEIEDIn5GVlLlQnpN0rwRkF3wQ2SYg22zm+xS9pKINxNbq");
  const pss = pemOf("PRIVATE KEY", "MIIEugIBADALBgkqhkiG9w0BAQoEggSm");
  const sealed = pemOf("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,A0A3\n\nAAAA");
  type Row = [
    alg: string,
    key: JwtEndpointsSettings["signingKey"],
    verifying: JwtEndpointsSettings["verifyingKey"],
    RegExp,
  ];
  const rows: Row[] = [
    ["ES256", ecPem, undefined, /signingKey is a key of type P-384, but algorithm ES256 needs one of type P-256/],
    ["RS256", ecPem, undefined, /signingKey is a key of type P-384, but algorithm RS256 needs one of type RSA/],
    ["EdDSA", rsaPem, undefined, /signingKey is a key of type RSA, but algorithm EdDSA needs one of type Ed25519/],
    ["EdDSA", x25519, undefined, /signingKey is a key of type X25519, but algorithm EdDSA needs one of type Ed25519/],
    ["PS256", pss, undefined, /signingKey is a key of type RSASSA-PSS, but algorithm PS256 needs one of type RSA/],
    ["ES384", ecSpki, undefined, /signingKey is a public key; accepted for ES384: a private key \(PEM or JWK\)/],
    ["ES384", ecPem, ecPem, /verifyingKey is a private key; accepted for ES384: a public key \(PEM or JWK\)/],
    [
      "RS256",
      pemOf("ENCRYPTED PRIVATE KEY", "AAAA"),
      undefined,
      /signingKey is an encrypted key, decrypt it with openssl/,
    ],
    ["RS256", sealed, undefined, /signingKey is an encrypted key, decrypt it with openssl/],
    ["RS256", pemOf("OPENSSH PRIVATE KEY", "AAAA"), undefined, /signingKey is a key of OpenSSH, convert a copy/],
    [
      "RS256",
      pemOf("CERTIFICATE", "AAAA"),
      undefined,
      /signingKey is a certificate; accepted for RS256: a private key/,
    ],
    [
      "RS256",
      rsaPem,
      pemOf("CERTIFICATE", "AAAA"),
      /verifyingKey is a certificate, take its key out with openssl x509/,
    ],
    ["RS256", pemOf("PRIVATE KEY", "!"), undefined, /signingKey can't be read; accepted for RS256: a private key/],
    ["RS256", "-----BEGIN hunter2", undefined, /signingKey can't be read; accepted for RS256: a private key/],
    ["RS256", rsa.publicJwk, undefined, /signingKey is a public key; accepted: a private key/],
    ["RS256", rsa.jwk, rsa.jwk, /verifyingKey is a private key; accepted: a public key/],
    [
      "RS256",
      { ...rsa.jwk, use: "enc" },
      undefined,
      /signingKey is a JWK whose use is "enc"; accepted: "sig", or none/,
    ],
    ["RS256", { ...rsa.jwk, key_ops: ["verify"] }, undefined, /signingKey is a JWK whose key_ops lack "sign"/],
    ["RS384", rsa.jwk, undefined, /signingKey is a JWK for "RS256", but algorithm is RS384/],
    ["EdDSA", { kty: "OKP", crv: "X25519", x: "AA", d: "AA" }, undefined, /signingKey is a key of type X25519, but/],
    ["RS256", { kty: "oct", k: "A".repeat(86) }, undefined, /signingKey is a key of type secret, but algorithm RS256/],
    ["HS256", ecPem, undefined, /signingKey is a private key, but algorithm HS256 needs a secret/],
    ["HS256", { kty: "oct" }, undefined, /signingKey is a JWK without "k", which algorithm HS256 needs/],
  ];
  for (const [algorithm, signingKey, verifyingKey, message] of rows) {
    const told = await problem({ algorithm: algorithm as "RS256", signingKey, verifyingKey });
    assert.match(told, new RegExp(`^setting ${message.source}`));
    assert.not.match(told, /hunter2|MIIE|MC4C/);
  }
  const halves = { ...rsa.jwk, n: rsa2.jwk.n! };
  assert.match(
    await problem({ algorithm: "RS256", signingKey: halves }),
    /^setting signingKey (has a private and|can't)/,
  );
});

forms.run();

// ── what is no secret ──

const secrets = suite("an HMAC secret");

const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString("base64");
const wrapped = (text: string, width: number, end = "\n"): string =>
  text.replace(new RegExp(`.{${width}}`, "g"), `$&${end}`);
const utf16 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(`\ufeff${text}`, "utf16le"));

/** DER in the spellings in which people paste it, or a program reads it. */
function spellingsOfDer(der: Uint8Array): (readonly [string, string | Uint8Array])[] {
  const text = base64(der);
  const url = Buffer.from(der).toString("base64url");
  const hex = Buffer.from(der).toString("hex");
  return [
    ["DER", der],
    ["DER before a line end", Uint8Array.of(...der, 10)],
    ["DER read as Latin-1", Buffer.from(der).toString("latin1")],
    ["DER read as UTF-8", Buffer.from(der).toString("utf8")],
    ["hex", hex],
    ["hex with colons", wrapped(hex.toUpperCase(), 2, ":")],
    ["base64", text],
    ["base64 without padding", text.replaceAll("=", "")],
    ["base64url", url],
    ["base64 in lines of 64", wrapped(text, 64)],
    ["base64 in lines of 76", wrapped(text, 76, "\r\n")],
    ["base64 in lines of 10", wrapped(text, 10)],
    ["base64 with spaces", wrapped(text, 4, " ")],
    ["base64 with line ends spelled out", wrapped(text, 64, "\\n")],
    ["base64 with line ends of a URL", wrapped(text, 64, "%0A")],
    ["base64 in quotes", `"${text}"`],
    ["base64 behind a name", `KEY=${url}`],
    ["base64 behind a letter", `x${text}`],
    ["base64 of base64", base64(text)],
    ["base64 of hex", base64(hex)],
  ];
}

function spellingsOfPem(pem: string): (readonly [string, string | Uint8Array])[] {
  return [
    ["PEM", pem],
    ["PEM without an end", pem.trim()],
    ["PEM with CRLF", pem.replaceAll("\n", "\r\n")],
    ["PEM with CR", pem.replaceAll("\n", "\r")],
    ["PEM with line ends spelled out", pem.replaceAll("\n", "\\n")],
    ["PEM with line ends lost", pem.replaceAll("\n", "")],
    ["PEM with spaces for line ends", pem.replaceAll("\n", " ")],
    ["PEM without any white space", pem.replace(/\s/g, "")],
    ["PEM behind a character", `x${pem}`],
    ["PEM behind white space", ` \t\n\n ${pem}`],
    ["PEM behind a no-break space", `\u00a0${pem}`],
    ["PEM behind a byte order mark", `\ufeff${pem}`],
    ["PEM in quotes", `"${pem}"`],
    ["PEM indented", pem.replace(/^/gm, "    ")],
    ["PEM without dashes", pem.replaceAll("-----", "")],
    ["PEM without its end", pem.slice(0, -40)],
    ["PEM in UTF-16", utf16(pem)],
    ["base64 of PEM", base64(pem)],
    ["base64 of PEM in lines", wrapped(base64(pem), 76)],
    ["base64 of base64 of PEM", base64(base64(pem))],
  ];
}

function spellingsOfJwk(jwk: JWK): (readonly [string, string | Uint8Array])[] {
  const text = JSON.stringify(jwk);
  return [
    ["JSON", text],
    ["indented JSON", JSON.stringify(jwk, undefined, 2)],
    ["JSON with a line end", `${text}\r\n`],
    ["JSON with spaces", text.replaceAll(":", " : ")],
    ["JSON with escapes", text.replace('"kty"', '"\\u006bty"')],
    ["JSON behind a byte order mark", `\ufeff${text}`],
    ["JSON behind a character", `x${text}`],
    ["JSON cut short", text.slice(0, -2)],
    ["JSON in JSON", JSON.stringify(text)],
    ["JSON in UTF-16", utf16(text)],
    ["a literal", text.replace(/"(\w+)":/g, "$1:").replaceAll('"', "'")],
    ["a set", JSON.stringify({ keys: [jwk] })],
    ["a set behind a secret", JSON.stringify({ keys: [{ kty: "oct", k: "A".repeat(43) }, jwk] }, undefined, 1)],
    ["a list", JSON.stringify([jwk])],
    ["a set in an object", JSON.stringify({ jwks: { keys: [jwk] } })],
    ["base64 of JSON", base64(text)],
    ["base64url of a set", Buffer.from(JSON.stringify({ keys: [jwk] })).toString("base64url")],
  ];
}

const certificate = pemOf(
  "CERTIFICATE",
  `MIIBbzCCARWgAwIBAgIUE4JWkX0HPpaERC8xLt7cXRjesyowCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjYwNzQyNTJaGA8yMTI2MTEwMjA3NDI1Mlow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKXOaoYkTWox
eeL/ruQDxKqN5oTBU3wDx1fCfApLfNwVxY5i5NIXQXEKEDsLuEqLcNw6jf9tJ8dP
cV1RhmjduxmjUzBRMB0GA1UdDgQWBBS7AfAuLtwneQszGzB2tsCptZsyvTAfBgNV
HSMEGDAWgBS7AfAuLtwneQszGzB2tsCptZsyvTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCICBnaH/avklim8WaMPLLuFBnyrh8lDJi5uhX3VgA1sBd
AiEAuyK+hLxuCX6AZUSVpgRaA3FTfBrO2hYUEM2qEEpFB6k=`,
);
const pgp = (kind: string): string =>
  `-----BEGIN PGP ${kind} KEY BLOCK-----\nVersion: 1\n\nmDMEZjKdJxYJKwYBBAHaRw8BAQdA\n=xxxx\n-----END PGP ${kind} KEY BLOCK-----\n`;

/** A public key as OpenSSH writes it (RFC 4253 section 6.6, RFC 5656, RFC 8709). */
function sshKey({ kty, crv, n, e, x, y }: JWK): [type: string, body: Uint8Array] {
  const number = (text: string) => {
    const bytes = Buffer.from(text, "base64url");
    return bytes[0]! > 127 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
  };
  const curve = `nistp${crv?.slice(2)}`;
  const fields =
    kty === "RSA"
      ? ["ssh-rsa", number(e!), number(n!)]
      : kty === "OKP"
        ? ["ssh-ed25519", Buffer.from(x!, "base64url")]
        : [
            `ecdsa-sha2-${curve}`,
            curve,
            Buffer.concat([Buffer.of(4), Buffer.from(x!, "base64url"), Buffer.from(y!, "base64url")]),
          ];
  const pieces = fields.flatMap((field) => {
    const bytes = Buffer.from(field as string);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  });
  return [String(fields[0]), Uint8Array.from(Buffer.concat(pieces))];
}

function spellingsOfSsh(jwk: JWK): (readonly [string, string | Uint8Array])[] {
  const [type, body] = sshKey(jwk);
  const line = `${type} ${base64(body)}`;
  return [
    ["a line of OpenSSH", line],
    ["a line of OpenSSH with a comment", `${line} ada@example.org\n`],
    ["a line of authorized_keys", `restrict,command="true" ${line} ada`],
    ["a line of known_hosts", `example.org\t${line.replace(" ", "\t")}\n`],
    ["a line of OpenSSH behind a character", `"${line}"`],
    ["the bytes of OpenSSH", body],
    ["the base64 of OpenSSH", base64(body)],
    ["base64 of a line of OpenSSH", base64(line)],
    ["RFC 4716", `---- BEGIN SSH2 PUBLIC KEY ----\n${wrapped(base64(body), 70)}\n---- END SSH2 PUBLIC KEY ----\n`],
    ["a key of PuTTY", `PuTTY-User-Key-File-3: ${type}\nPublic-Lines: 6\n${wrapped(base64(body), 64)}\n`],
  ];
}

/** The same material as text, bytes and a JWK. */
function materials(value: string | Uint8Array): [string, string | Uint8Array | JWK][] {
  const bytes = typeof value === "string" ? utf8.encode(value) : value;
  const forms: [string, string | Uint8Array | JWK][] = [
    ["as bytes", bytes],
    ["as the k of a JWK", { kty: "oct", k: Buffer.from(bytes).toString("base64url") }],
  ];
  return typeof value === "string" ? [["as text", value], ...forms] : forms;
}

secrets("is refused that is a public or private key, however it is spelled", async () => {
  const types: Parameters<typeof generateKeyPairSync>[] = [
    ["rsa" as never, { modulusLength: 2048 } as never],
    ["ec" as never, { namedCurve: "P-256" } as never],
    ["ec" as never, { namedCurve: "P-384" } as never],
    ["ec" as never, { namedCurve: "P-521" } as never],
    ["ed25519" as never, {} as never],
  ];
  let checked = 0;
  const check = async (kind: string, spellings: (readonly [string, string | Uint8Array])[], expected: RegExp) => {
    for (const [name, value] of spellings) {
      for (const [form, signingKey] of materials(value)) {
        const title = `${kind}: ${name}, ${form}`;
        let message = "";
        try {
          open({ signingKey }); // at once, without a promise
        } catch (error) {
          message = (error as Error).message;
        }
        assert.match(message, expected, title);
        checked++;
      }
    }
  };
  const isPublic = /^setting signingKey is a public key, but algorithm HS256 needs a secret$/;
  const isPrivate = /^setting signingKey is a private key, but algorithm HS256 needs a secret$/;
  for (const [type, options] of types) {
    const { publicKey, privateKey } = generateKeyPairSync(type as "ec", options as { namedCurve: string });
    const jwk = publicKey.export({ format: "jwk" }) as JWK;
    const kind = `${jwk.kty} ${jwk.crv ?? ""}`;
    const publicForms: ("spki" | "pkcs1")[] = jwk.kty === "RSA" ? ["spki", "pkcs1"] : ["spki"];
    const privateForms: ("pkcs8" | "pkcs1" | "sec1")[] =
      jwk.kty === "RSA" ? ["pkcs8", "pkcs1"] : jwk.kty === "EC" ? ["pkcs8", "sec1"] : ["pkcs8"];
    for (const form of publicForms) {
      const der = Uint8Array.from(publicKey.export({ type: form as "spki", format: "der" }));
      const pem = publicKey.export({ type: form as "spki", format: "pem" }).toString();
      await check(`${kind} ${form}`, [...spellingsOfDer(der), ...spellingsOfPem(pem)], isPublic);
    }
    for (const form of privateForms) {
      const der = Uint8Array.from(privateKey.export({ type: form as "pkcs8", format: "der" }));
      const pem = privateKey.export({ type: form as "pkcs8", format: "pem" }).toString();
      await check(`${kind} ${form}`, [...spellingsOfDer(der), ...spellingsOfPem(pem)], isPrivate);
    }
    await check(`${kind} JWK`, spellingsOfJwk({ ...jwk, kid: "a", use: "sig" }), isPublic);
    await check(
      `${kind} JWK`,
      spellingsOfJwk({ kid: "a", ...(privateKey.export({ format: "jwk" }) as JWK) }),
      isPrivate,
    );
    await check(kind, spellingsOfSsh(jwk), isPublic);
    for (const [signingKey, expected] of [
      [jwk, isPublic],
      [privateKey.export({ format: "jwk" }) as JWK, isPrivate],
    ] as const) {
      assert.match(await problem({ signingKey }), expected);
    }
  }
  const isCertificate = /^setting signingKey is a certificate, but algorithm HS256 needs a secret$/;
  await check("certificate", spellingsOfPem(certificate), isCertificate);
  const inside = Uint8Array.from(Buffer.from(certificate.split("-----")[2]!, "base64"));
  await check("certificate", spellingsOfDer(inside), /^setting signingKey is a public key, but/);
  await check("PGP", spellingsOfPem(pgp("PUBLIC")), isPublic);
  await check("PGP", spellingsOfPem(pgp("PRIVATE")), isPrivate);
  await check("sealed", [["PEM", pemOf("ENCRYPTED PRIVATE KEY", "MIIFLTBXBgkqhkiG9w0BBQ0w")]], isPrivate);
  const sealed = { cipher: "aes-256-cbc", passphrase: "x", type: "pkcs8", format: "der" } as const;
  const sealedDer = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export(sealed);
  await check("sealed", spellingsOfDer(Uint8Array.from(sealedDer)), isPrivate);
  await check("OpenSSH", [["PEM", pemOf("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjEAAAAA")]], isPrivate);
  assert.ok(checked > 1000, `${checked} spellings`);
});

secrets("is refused in a ring, too, if it is a public key", async () => {
  const spki = await exportSPKI((await generateKeyPair("ES256", { extractable: true })).publicKey);
  const good = secretJwk("a", "A");
  const bad: JWK = { kty: "oct", kid: "b", alg: "HS512", k: Buffer.from(spki).toString("base64url") };
  const message = "is a public key, but algorithm HS512 needs a secret";
  assert.is(await problem({ keys: () => ({ active: bad }) }), `setting keys.active ${message}`);
  assert.is(await problem({ keys: () => ({ active: good, next: [bad] }) }), `setting keys.next[0] ${message}`);
  assert.is(await problem({ keys: () => ({ active: good, retiring: [bad] }) }), `setting keys.retiring[0] ${message}`);
});

secrets("may be any random text or bytes", () => {
  const seed = Number(process.env.SEED || crypto.getRandomValues(new Uint32Array(1))[0]);
  console.log(`SEED=${seed}`);
  let state = seed >>> 0;
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0; // mulberry32
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const upTo = (n: number): number => Math.floor(random() * n);
  const bytes = (least = 32) => Uint8Array.from({ length: least + upTo(100) }, () => upTo(256));
  const textOf = (alphabet: readonly string[], least: number, between = "") =>
    Array.from({ length: least + upTo(60) }, () => alphabet[upTo(alphabet.length)]!).join(between);
  const django = [..."abcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*(-_=+)"];
  const printable = Array.from({ length: 95 }, (_, code) => String.fromCharCode(32 + code));
  const letters = [...printable, ..."äöüßéñ漢字かな🔑😀\u0000\t\n\ufffd\u00a0\ufeff"];
  const words =
    "begin end public private key certificate pem ssh rsa dsa ecdsa jwk kty oct ec d x n e secret BEGIN KEY RSA EC".split(
      " ",
    );
  const kinds: [string, () => string | Uint8Array | JWK][] = [
    ["bytes", bytes],
    ["bytes that begin like DER", () => Uint8Array.of(0x30, 0x82, 0x01, 0x22, ...bytes())],
    ["base64", () => base64(bytes())],
    ["base64 in lines", () => wrapped(base64(bytes(60)), 64)],
    ["base64url", () => Buffer.from(bytes()).toString("base64url")],
    ["base64 of base64", () => base64(base64(bytes()))],
    ["hex", () => Buffer.from(bytes()).toString("hex")],
    ["Latin-1", () => Buffer.from(bytes()).toString("latin1")],
    ["bytes read as UTF-8", () => Buffer.from(bytes(64)).toString("utf8")],
    ["a SECRET_KEY of Django", () => textOf(django, 50)],
    ["a SECRET_KEY of Django's startproject", () => `django-insecure-${textOf(django, 50)}`],
    ["printable", () => textOf(printable, 32)],
    ["letters of all sorts", () => textOf(letters, 32)],
    ["words", () => textOf(words, 20, [" ", "-", "_", "."][upTo(4)]!)],
    ["a UUID", () => `${crypto.randomUUID()}${upTo(10)}`],
    ["JSON", () => JSON.stringify({ [textOf(django, 5)]: textOf(printable, 32) })],
    ["a JWK of a secret as text", () => JSON.stringify({ kty: "oct", k: Buffer.from(bytes()).toString("base64url") })],
    ["a JWK of a secret", () => ({ kty: "oct", k: Buffer.from(bytes()).toString("base64url") })],
  ];
  for (const [kind, make] of kinds) {
    for (let turn = 0; turn < 1000; turn++) {
      const secret = make();
      try {
        prepareKey("signingKey", secret, "HS256", "private");
      } catch (error) {
        throw new Error(`SEED=${seed}, ${kind}: ${JSON.stringify(secret)}`, { cause: error });
      }
    }
  }
});

secrets.run();

// ── the keys command and the server ──

const command = suite("the keys command");
const program = "src/cli/keys.ts";

interface Key {
  kid?: string;
  alg: string;
  status: string;
  retireAt?: string;
  jwk: JWK;
}
const keysIn = (folder: string): Key[] => JSON.parse(fs.readFileSync(path.join(folder, "keys.json"), "utf8")).keys;
const environment = environmentWith({});

async function run(folder: string, ...args: string[]) {
  const result = await finished(start(program, [...args, "--store", `file:${folder}`], { env: environment }));
  if (fs.existsSync(path.join(folder, "keys.json"))) {
    for (const { jwk } of keysIn(folder)) {
      for (const part of [jwk.k, jwk.d, jwk.p]) {
        if (part !== undefined) assert.not.ok((result.stdout + result.stderr).includes(part), "prints a secret");
      }
    }
  }
  return result;
}

async function ran(folder: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(folder, ...args);
  assert.is(code, 0, stderr);
  assert.is(stderr, "");
  return stdout;
}

const serve = (folder: string, ...args: string[]) => serveBy(`src/serve/${runtime}.ts`, folder, args);
/** A server that belongs to another user than root. */
const serveAs = (uid: number, folder: string) => serveBy("test/fixtures/server-of-user.ts", folder, [], [String(uid)]);

async function serveBy(file: string, folder: string, args: string[], before: string[] = []) {
  const all = [
    ...before,
    "--port",
    "0",
    "--hashing-iterations",
    "100000", // the fewest that are no warning
    "--request-log",
    "false",
    "--store",
    `file:${folder}`,
    ...args,
  ];
  const child = start(file, all, { env: environment });
  let output = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
  let errors = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (errors += chunk.toString()));
  await until(() => /runtime /.test(output) || child.exitCode !== null, "the server is up", 30_000);
  assert.is(child.exitCode, null, errors);
  const url = /address +(\S+)/.exec(output)![1]!;
  const post = async (name: string, data: unknown) => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
    const response = await fetch(`${url}${name}/`, init);
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };
  const isGood = async (token: string): Promise<boolean> => (await post("verify", { token })).status === 200;
  // All but the warning of the few iterations that tests make do with.
  const told = () => errors.replace(/^\{[^\n]+"code":"weak_setting"[^\n]+\}\n/m, "");
  return { child, post, isGood, output: () => output, errors: told };
}

/** How a server ends that is not to start. */
function refusedStart(folder: string) {
  const child = start(`src/serve/${runtime}.ts`, ["--port", "0", "--store", `file:${folder}`], { env: environment });
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  return finished(child).finally(() => clearTimeout(timer));
}

command("carries a running server over from its first key to the next, and nobody is logged out", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const first = await serve(folder);
  await until(() => first.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(first.output())![1]!;
  const second = await serve(folder);
  const logIn = async (server: typeof first) =>
    (await server.post("create", { username: "admin", password })).body as { access: string; refresh: string };
  const old = await logIn(first);
  assert.equal(decodeProtectedHeader(old.access), { alg: "HS256", typ: "JWT" });
  assert.not.ok(fs.existsSync(path.join(folder, "keys.json")));

  assert.match(await ran(folder, "list"), /^KID +ALG +STATUS +AGE +RETIRES\n- +HS256 +active +\d+[smhd] +-\n$/);
  const generated = await ran(folder, "generate", "--algorithm", "ES256");
  const kid = /^generated ([0-9a-f]{16}) \(ES256\); it signs once you rotate\n$/.exec(generated)![1]!;
  assert.equal(decodeProtectedHeader((await logIn(first)).access), { alg: "HS256", typ: "JWT" });
  assert.match(
    await ran(folder, "rotate"),
    new RegExp(`^${kid} \\(ES256\\) signs from now on; - \\(HS256\\) retires at `),
  );
  assert.equal(
    keysIn(folder).map((key) => [key.kid, key.alg, key.status]),
    [
      [kid, "ES256", "active"],
      [undefined, "HS256", "retiring"],
    ],
  );
  const kept = Date.parse(keysIn(folder)[1]!.retireAt!) - Date.now();
  assert.ok(Math.abs(kept - 86_400_000) < 60_000, `${kept} ms`);
  for (const name of ["keys.json", "signing.key"]) {
    assert.is(fs.statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }

  for (const server of [first, second]) {
    await until(async () => decodeProtectedHeader((await logIn(server)).access).kid === kid, "it signs anew", 5_000);
    assert.ok(await server.isGood(old.access));
    const { status, body } = await server.post("refresh", { refresh: old.refresh });
    assert.is(status, 200);
    assert.is(decodeProtectedHeader(body.access!).kid, kid);
  }
  // Whoever signs first, the other knows the key at once.
  await ran(folder, "rotate", "--algorithm", "HS512");
  let fresh = old.access;
  await until(
    async () => decodeProtectedHeader((fresh = (await logIn(first)).access)).alg === "HS512",
    "the first signs anew",
    5_000,
  );
  assert.ok(await second.isGood(fresh));

  assert.is(await ran(folder, "retire", "-"), "retired - (HS256)\n");
  for (const server of [first, second]) {
    await until(async () => !(await server.isGood(old.access)), "the retired key is dropped", 5_000);
    assert.ok(await server.isGood(fresh));
    assert.is(server.errors(), "");
  }
  // A fresh start goes on with the same keys.
  const third = await serve(folder);
  assert.ok(await third.isGood(fresh));
  assert.not.ok(await third.isGood(old.access));
  for (const { child } of [first, second, third]) child.kill();
});

command("rotates twice under constant load on two servers, and not one verification fails", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const servers = [await serve(folder)];
  await until(() => servers[0]!.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(servers[0]!.output())![1]!;
  servers.push(await serve(folder));
  const { refresh } = (await servers[0]!.post("create", { username: "admin", password })).body;
  const algorithms = new Set<string>();
  const tokens: string[] = [];
  const failures: string[] = [];
  let verified = 0;
  let isOver = false;
  const renewing = (async () => {
    for (let turn = 0; !isOver; turn++) {
      const { status, body } = await servers[turn % 2]!.post("refresh", { refresh });
      if (status !== 200) failures.push(`refresh ${status}`);
      else tokens.push(body.access!);
      algorithms.add(String(decodeProtectedHeader(body.access!).alg));
    }
  })();
  const verifying = [0, 1].map(async (index) => {
    for (let turn = 0; !isOver; turn++) {
      const token = tokens[turn % 3 === 0 ? 0 : tokens.length - 1];
      if (token === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
      else if (await servers[index]!.isGood(token)) verified++;
      else failures.push(`verify of ${JSON.stringify(decodeProtectedHeader(token))}`);
    }
  });
  for (const algorithm of ["ES256", "HS384"]) {
    await ran(folder, "rotate", "--algorithm", algorithm);
    await until(() => algorithms.has(algorithm), `tokens are signed with ${algorithm}`, 10_000);
  }
  isOver = true;
  await Promise.all([renewing, ...verifying]);
  assert.equal(failures, []);
  assert.equal([...algorithms], ["HS256", "ES256", "HS384"]);
  assert.ok(verified > 100, `${verified} verifications`);
  assert.is((await servers[1]!.post("refresh", { refresh })).status, 200, "nobody was logged out");
  for (const { child } of servers) child.kill();
});

command("loses no key when several rotate at once", async () => {
  const folder = path.join(temporaryFolder(), "store");
  await ran(folder, "generate", "--algorithm", "EdDSA");
  const told = await Promise.all(Array.from({ length: 4 }, () => ran(folder, "rotate")));
  const keys = keysIn(folder);
  assert.is(keys.length, 5);
  assert.is(new Set(keys.map(({ kid }) => kid)).size, 5);
  assert.equal(keys.map(({ status }) => status).toSorted(), ["active", ...Array(4).fill("retiring")]);
  for (const line of told) assert.ok(keys.some(({ kid }) => line.startsWith(kid!)));
  assert.equal(fs.readdirSync(folder), ["keys.json"]);
  const kid = keys.find(({ status }) => status === "retiring")!.kid!;
  await ran(folder, "retire", kid);
  assert.is(keysIn(folder).length, 4);
});

command("refuses what it can't do in one line", async () => {
  const folder = path.join(temporaryFolder(), "store");
  await ran(folder, "generate");
  const { kid } = keysIn(folder)[0]!;
  const cases: [string[], RegExp][] = [
    [["retire", kid!], /is the one that signs; rotate first/],
    [["retire", "x"], /there is no key "x"/],
    [["retire"], /retire needs a KID/],
    [["generate", "--algorithm", "none"], /"none" is not known; accepted: HS256/],
    [["rotate", "--keep", "long"], /"long" is not a duration/],
    [["rotate", "--keep", "999999999w"], /"999999999w" is not a duration/],
    [["rotate", "--kid", "x"], /^unknown flag --kid for rotate; /],
    [["list", "x"], /^list takes no arguments/],
    [["turn"], /unknown command "turn"; accepted: list, generate, rotate, retire/],
  ];
  const results = await Promise.all(cases.map(([args]) => run(folder, ...args)));
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    assert.is(code, 1);
    assert.is(stdout, "");
    assert.match(stderr, cases[index]![1]);
    assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
  }
  fs.writeFileSync(path.join(folder, "keys.json"), '{"keys":[{"kid":"hunter2"');
  for (const args of [["list"], ["rotate"]]) {
    const { code, stderr } = await finished(
      start(program, [...args, "--store", `file:${folder}`], { env: environment }),
    );
    assert.is(code, 1);
    assert.match(stderr, /^setting keys: \S+keys\.json is damaged; bring back a copy of it\n$/);
  }
  assert.not.ok(fs.existsSync(path.join(folder, "keys.json.lock")));
  const nowhere = path.join(folder, "typo");
  assert.match((await run(nowhere, "retire", "x")).stderr, /there is no store in \S+typo/);
  assert.not.ok(fs.existsSync(nowhere));
});

command("and the server tell of a damaged file of keys in one line that holds nothing of it", async () => {
  const ring = '{"keys":[{"alg":"HS256","status":"active","kid":5,"created":"2026-01-01","jwk":{"kty":"oct"}}]}';
  const files: [name: string, text: string][] = [
    ["signing.key", '{"kty":"oct","k":"hunter2hunter2hunter2"x}'],
    ["signing.key", '{"k":"hunter2", "kty":hunter2}'],
    ["signing.key", '{"k":"hunter2"}'],
    ["signing.key", "\n"],
    ["keys.json", ring],
  ];
  for (const [name, text] of files) {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    const server = refusedStart(folder);
    for (const { code, stdout, stderr } of await Promise.all([run(folder, "list"), run(folder, "generate"), server])) {
      assert.is(code, 1, text);
      assert.is(stdout, "");
      assert.match(
        stderr,
        /^(jwt-endpoints: )?setting keys: \S+(signing\.key|keys\.json) is damaged; bring back a copy of it\n$/,
      );
    }
    assert.equal(fs.readdirSync(folder), [name]);
  }
});

command("and the server refuse a file of keys that is open to others, until the chmod they name was run", async () => {
  for (const [name, modes] of [
    ["signing.key", [0o640, 0o777]],
    ["keys.json", [0o604, 0o620]],
  ] as const) {
    const folder = path.join(temporaryFolder(), "it's a store");
    if (name === "keys.json") await ran(folder, "generate");
    else {
      fs.mkdirSync(folder, { mode: 0o700 });
      fs.writeFileSync(path.join(folder, name), `${secret}\n`, { mode: 0o600 });
    }
    const file = path.join(folder, name);
    for (const mode of modes) {
      fs.chmodSync(file, mode);
      const server = refusedStart(folder);
      const commands = ["list", "rotate"].map((name) => run(folder, name));
      let chmod: string | undefined;
      for (const { code, stdout, stderr } of await Promise.all([server, ...commands])) {
        assert.is(code, 1);
        assert.is(stdout, "");
        const [, told, line] = /^(?:jwt-endpoints: )?setting keys: (.+); run: (chmod 600 .+)\n$/.exec(stderr) ?? [];
        assert.is(told, `${file} is open to others (mode ${mode.toString(8)})`, stderr);
        chmod = line;
      }
      assert.is(spawnSync("sh", ["-c", chmod!]).status, 0);
      assert.is(fs.statSync(file).mode & 0o777, 0o600);
    }
    assert.match(await ran(folder, "list"), /active/);
    fs.chmodSync(folder, 0o755);
    assert.match(
      (await run(folder, "generate")).stderr,
      /^setting keys: .* is open to others \(mode 755\); run: chmod 700 /,
    );
  }
});

const asRoot = process.getuid?.() === 0 ? command : command.skip;

asRoot("leaves the keys that root makes to the user whose folder it is (needs root)", async () => {
  const folder = temporaryFolder();
  const uid = 54_321;
  fs.chownSync(folder, uid, uid);
  const server = await serveAs(uid, folder);
  await until(() => server.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(server.output())![1]!;
  const algorithms = async (url: typeof server) => {
    const { body } = await url.post("create", { username: "admin", password });
    return decodeProtectedHeader(body.access!).alg;
  };
  assert.is(await algorithms(server), "HS256");
  await ran(folder, "rotate", "--algorithm", "ES256"); // as root
  await until(async () => (await algorithms(server)) === "ES256", "the server reads what root wrote");
  const { uid: owner, gid, mode } = fs.statSync(path.join(folder, "keys.json"));
  assert.equal([owner, gid, mode & 0o777], [uid, uid, 0o600]);
  assert.is(server.errors(), "");
  server.child.kill();
  await new Promise((resolve) => server.child.once("close", resolve));
  const again = await serveAs(uid, folder);
  assert.is(await algorithms(again), "ES256");
  again.child.kill();
  // Nor does a server that root has started once keep its user from starting.
  const fresh = temporaryFolder();
  fs.chownSync(fresh, uid, uid);
  const first = await serve(fresh);
  first.child.kill();
  assert.is(fs.statSync(path.join(fresh, "signing.key")).uid, uid);
  (await serveAs(uid, fresh)).child.kill();
});

const withoutChown = ["--bounding-set=-chown", "--inh-caps=-chown"];
const hasSetpriv = spawnSync("setpriv", [...withoutChown, "true"]).status === 0;
(process.getuid?.() === 0 && hasSetpriv ? command : command.skip)(
  "refuses to make keys that the user whose folder it is could not read (needs root and setpriv)",
  async () => {
    const folder = temporaryFolder();
    fs.chownSync(folder, 54_321, 54_321);
    const [runs, args] = runtimeCommand(program, ["generate", "--store", `file:${folder}`]);
    const { status, stderr } = spawnSync("setpriv", [...withoutChown, runs, ...args], {
      encoding: "utf8",
      env: environment,
    });
    assert.is(status, 1);
    assert.is(stderr, `setting keys: ${folder} belongs to another user; run this as that user\n`);
    assert.equal(fs.readdirSync(folder), []);
  },
);

command("and the server refuse a public key in a file of keys", async () => {
  const { publicKey } = await generateKeyPair("ES256", { extractable: true });
  const spki = await exportSPKI(publicKey);
  const jwk = await exportJWK(publicKey);
  const isPublic =
    /^jwt-endpoints: setting (signingKey|keys\.active) is a public key, but algorithm HS256 needs a secret\n$/;
  const oct = { kty: "oct", k: Buffer.from(JSON.stringify(jwk)).toString("base64url") };
  const ring = { keys: [{ kid: "a", alg: "HS256", status: "active", created: "2026-01-01", jwk: oct }] };
  const files: [name: string, text: string, RegExp][] = [
    ["signing.key", `\n ${spki.replaceAll("\n", "\r")}`, isPublic],
    ["signing.key", `"${spki}"`, isPublic],
    ["signing.key", spki.split("-----")[2]!, isPublic],
    ["signing.key", JSON.stringify(jwk), isPublic],
    ["keys.json", JSON.stringify(ring), isPublic],
  ];
  for (const [name, text, message] of files) {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    const { code, stderr } = await refusedStart(folder);
    assert.is(code, 1, text);
    assert.match(stderr, message);
  }
  const folder = temporaryFolder();
  fs.writeFileSync(path.join(folder, "signing.key"), spki, { mode: 0o600 });
  for (const args of [["list"], ["rotate"]]) {
    const { code, stderr } = await run(folder, ...args);
    assert.is(code, 1);
    assert.match(
      stderr,
      /^setting keys: signing\.key holds no private key that can be read; bring back a copy of it\n$/,
    );
  }
});

command("keeps a former key for as long as the tokens of the environment's settings last", async () => {
  const kept = async (args: string[], lifetimes: Record<string, string>): Promise<number> => {
    const folder = path.join(temporaryFolder(), "store");
    await ran(folder, "generate");
    const child = start(program, ["rotate", ...args, "--store", `file:${folder}`], {
      env: { ...environment, ...lifetimes },
    });
    const { code, stderr } = await finished(child);
    assert.is(code, 0, stderr);
    const { retireAt } = keysIn(folder).find(({ status }) => status === "retiring")!;
    return Math.round((Date.parse(retireAt!) - Date.now()) / 60_000) / 60;
  };
  assert.is(await kept([], {}), 24);
  assert.is(await kept([], { JWT_REFRESH_TOKEN_LIFETIME: "30d" }), 720);
  assert.is(await kept([], { JWT_SLIDING_TOKEN_LIFETIME: "2d" }), 48);
  assert.is(await kept([], { JWT_ACCESS_TOKEN_LIFETIME: "3d" }), 72);
  assert.is(await kept([], { JWT_ACCESS_TOKEN_LIFETIME: "3d", JWT_REFRESH_TOKEN_LIFETIME: "30d" }), 720);
  assert.is(await kept([], { JWT_ACCESS_TOKEN_LIFETIME: "3d", JWT_LEEWAY: "6m" }), 72.1);
  assert.is(await kept(["--keep", "1h30m"], { JWT_REFRESH_TOKEN_LIFETIME: "30d" }), 1.5);
});

command("ends a retiring key at its time also where its file is damaged by then", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const server = await serve(folder);
  await until(() => server.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(server.output())![1]!;
  const { body } = await server.post("create", { username: "admin", password });
  await ran(folder, "rotate", "--keep", "6s");
  await until(async () => {
    const again = await server.post("refresh", { refresh: body.refresh });
    return decodeProtectedHeader(again.body.access ?? body.access!).kid !== undefined;
  }, "it signs with the next");
  fs.writeFileSync(path.join(folder, "keys.json"), '{"keys":[');
  const { body: fresh } = await server.post("create", { username: "admin", password });
  await until(async () => !(await server.isGood(body.access!)), "the former key's time is over");
  assert.ok(await server.isGood(fresh.access!), "the other key stays in use");
  assert.match(server.errors(), /"code":"keys_unavailable".*keys\.json is damaged/);
  server.child.kill();
});

command("and a fresh start make a key for any algorithm", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const server = await serve(folder, "--algorithm", "ES256");
  await until(() => server.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(server.output())![1]!;
  const { body } = await server.post("create", { username: "admin", password });
  assert.equal(decodeProtectedHeader(body.access!), { alg: "ES256", typ: "JWT" });
  assert.match(await ran(folder, "list"), /\n- +ES256 +active /);
  await ran(folder, "rotate", "--keep", "4s");
  await until(async () => {
    const again = await server.post("refresh", { refresh: body.refresh });
    return decodeProtectedHeader(again.body.access!).kid !== undefined;
  }, "it signs with the next");
  await until(async () => !(await server.isGood(body.access!)), "the former key's time is over");
  server.child.kill();
});

command.run();
