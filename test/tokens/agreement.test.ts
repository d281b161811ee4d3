/** The synchronous path against jose and WebCrypto. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type KeySet, keysFrom } from "../../src/keys/key-set.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { hmacOf } from "../../src/tokens/hmac.ts";
import { messageOf } from "../../src/tokens/sha256.ts";
import { signToken } from "../../src/tokens/sign.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import { roundsHere } from "../support/random.ts";
import {
  alphabet,
  base64url,
  mutateToken,
  now,
  oddTexts,
  randomOf,
  run,
  secret,
  signText,
  utf8,
  validToken,
} from "../support/fuzzing.ts";

/** In one process: 102,000 over the three runtimes, each with its own seed. */
const agreementCases = 34_000;

const agreement = suite("the synchronous path and jose");

agreement(`judge ${agreementCases} changed tokens alike`, async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret, now: () => now * 1000 });
  const hot = await keysFrom({ ...settings, verifiedTokenCache: 0 })();
  const cached = await keysFrom(settings)();
  const slow = { ...hot, verifying: hot.verifying.map((key) => ({ ...key, hmac: undefined })) };
  assert.ok(hot.verifying[0]!.hmac !== undefined, "this runtime has a synchronous path");
  const judge = async (keys: KeySet, token: string): Promise<string> => {
    try {
      return JSON.stringify(await verifyToken(settings, keys, token));
    } catch (error) {
      return (error as Error).message;
    }
  };
  let valid = 0;
  await run("agreement", agreementCases, async (index, note) => {
    const random = randomOf(4, index);
    let token = validToken(random);
    const other = () => validToken(random);
    for (let i = random.below(3); i > 0; i--) token = mutateToken(random, token, other);
    note(token);
    const wanted = await judge(slow, token);
    if (wanted.startsWith("{")) valid++;
    assert.is(await judge(hot, token), wanted);
    assert.is(await judge(cached, token), wanted);
    assert.is(await judge(cached, token), wanted, "the second time too");
  });
  assert.ok(process.env.FUZZ_FROM || valid > agreementCases / 10, `${valid} valid ones`);
});

agreement("compute the MAC of WebCrypto, whatever the lengths of key and text", async () => {
  await run("mac", 1_000, async (index, note) => {
    const random = randomOf(6, index);
    const key = random.bytes(1 + random.below(200));
    const text = Array.from(random.bytes(index < 300 ? index : random.below(5000)), (byte) => alphabet[byte & 63]).join(
      "",
    );
    const bits = random.pick([256, 384, 512]);
    note({ key: [...key], text, bits });
    const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: `SHA-${bits}` }, false, ["sign"]);
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", imported, utf8.encode(text)));
    const { sign, signedLength } = hmacOf(`HS${bits}`, undefined, key)!;
    const signedPart = (token: string): number => signedLength(messageOf(token)!, token.length);
    assert.is(sign(text), base64url(mac));
    assert.is(signedPart(`${text}.${base64url(mac)}`), text.length);
    mac[random.below(mac.length)]! ^= 1 << random.below(8);
    assert.is(signedPart(`${text}.${base64url(mac)}`), 0);
  });
});

agreement("sign alike", async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret });
  const { signing } = await keysFrom(settings)();
  await run("signing", 700, async (index, note) => {
    const random = randomOf(5, index);
    const claims = { x: random.pick(oddTexts), y: [...random.bytes(random.below(40))].map((n) => n / 7), é: "\u2028" };
    note(claims);
    assert.is(await signToken(signing, claims), await signToken({ ...signing!, hmac: undefined }, claims));
  });
});

/** Key sets of both algorithms, named or not, some of whose keys only jose can use, and tokens of their keys or of strangers. */
const keySetCases = roundsHere(3_000);

agreement(`judge alike with several keys, in ${keySetCases} cases`, async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret, now: () => now * 1000 });
  const importKey = async (alg: string, bytes: Uint8Array<ArrayBuffer>) => {
    const hash = `SHA-${alg.slice(2)}`;
    return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash }, false, ["sign", "verify"]);
  };
  const counts = { valid: 0, refused: 0 };
  await run("key sets", keySetCases, async (index, note) => {
    const random = randomOf(7, index);
    const newKey = async () => {
      const [alg, kid, bytes] = [random.pick(["HS256", "HS384"]), random.pick([undefined, "a", "b"]), random.bytes(64)];
      const hmac = random.chance(0.8) ? hmacOf(alg, kid, bytes) : undefined;
      return { alg, kid, key: await importKey(alg, bytes), needsKid: kid !== undefined && random.chance(0.5), hmac };
    };
    const verifying = await Promise.all(Array.from({ length: 1 + random.below(4) }, newKey));
    const signer = random.chance(0.8) ? random.pick(verifying) : await newKey();
    const remote = random.chance(0.2) ? { knows: () => false, keysFor: async () => [signer.key] } : undefined;
    const keys: KeySet = { signing: undefined, verifying, published: [], remote };
    const [alg, kid] = [signer.alg, random.chance(0.8) ? signer.kid : random.pick([undefined, "a", "c"])];
    const payload = random.chance(0.1) ? '{"exp":1,"exp":2}' : JSON.stringify({ exp: now + 60, iat: now, jti: "x" });
    const text = `${base64url(JSON.stringify({ alg, typ: "JWT", kid }))}.${base64url(payload)}`;
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", signer.key, utf8.encode(text)));
    const token = `${text}.${base64url(mac)}${random.chance(0.05) ? random.pick(["A", "é", ".A"]) : ""}`;
    note({ token, keys: verifying.map((key) => ({ ...key, hmac: key.hmac !== undefined })) });
    const judge = async (given: KeySet): Promise<string> => {
      try {
        return JSON.stringify(await verifyToken(settings, given, token));
      } catch (error) {
        return (error as Error).message;
      }
    };
    const wanted = await judge({ ...keys, verifying: verifying.map((key) => ({ ...key, hmac: undefined })) });
    assert.is(await judge(keys), wanted);
    counts[wanted.startsWith("{") ? "valid" : "refused"]++;
  });
  assert.ok(process.env.FUZZ_FROM || Math.min(counts.valid, counts.refused) > keySetCases / 5, JSON.stringify(counts));
});

agreement("refuse a forged token with the header that we write before the next task", async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret, now: () => now * 1000 });
  const keys = await keysFrom(settings)();
  const token = signText(JSON.stringify({ exp: now + 60, jti: "x" }));
  assert.equal(verifyToken(settings, keys, token), { exp: now + 60, jti: "x" });
  for (const forged of [
    token.slice(0, -4) + "AAAA",
    `${token}A`,
    token.replace(".", ".é"),
    `${token.slice(0, 40)}.x.y`,
  ]) {
    assert.throws(() => verifyToken(settings, keys, forged), /Token is invalid/);
  }
});

agreement.run();
