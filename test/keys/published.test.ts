/** What is published of the keys. */
import {
  calculateJwkThumbprint,
  compactVerify,
  createLocalJWKSet,
  exportJWK,
  exportPKCS8,
  exportSPKI,
  generateKeyPair,
} from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jwks } from "../../src/endpoints/jwks.ts";
import { open, pairOf, rsa, secret, secretJwk } from "../support/key-fixtures.ts";

const published = suite("the published key set");

published("holds the public keys of the key set, none private and none symmetric", async () => {
  const [active, next] = [await pairOf("ES384", "a"), await pairOf("EdDSA", "n")];
  const given = { active: active.jwk, next: [next.jwk], retiring: [rsa.jwk, secretJwk("h", "A")] };
  const { keys, sign } = open({ keys: () => given });
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
  for (const jwk of [active.jwk, next.jwk, rsa.jwk, given.retiring[1]!]) {
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
