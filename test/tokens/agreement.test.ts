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
import {
  alphabet,
  base64url,
  mutateToken,
  now,
  oddTexts,
  randomOf,
  run,
  secret,
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

agreement.run();
