/** Every algorithm, with keys in every form, from login to verification. */
import { type JWK, decodeProtectedHeader, exportJWK, exportPKCS8, exportSPKI, generateKeyPair, jwtVerify } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { base64url, invalid, now, open, secret, sign, utf8 } from "../support/token-fixtures.ts";

const keys = suite("keys");

for (const [algorithm, least] of [
  ["HS256", 32],
  ["HS384", 48],
  ["HS512", 64],
] as const) {
  keys(`for ${algorithm} have ${least} bytes or more, or the construction stops`, async () => {
    const bytes = new Uint8Array(least - 1).fill(65);
    const message = `setting signingKey is ${least - 1} bytes`;
    for (const signingKey of ["A".repeat(least - 1), bytes, { kty: "oct", k: base64url(bytes) }]) {
      assert.throws(
        () => createJwtEndpoints({ store: memoryStore(), algorithm, signingKey }),
        (error: Error) => error.name === "SettingError" && error.message.startsWith(message),
      );
    }
    assert.is(await (await open({ algorithm, signingKey: "A".repeat(least) })).judge("verify", "x"), invalid);
    // bytes, not characters
    await (await open({ algorithm, signingKey: "é".repeat(least / 2) })).login();
  });
}

const asymmetric = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] as const;
for (const algorithm of asymmetric) {
  keys(`of ${algorithm} as PEM and as JWK go round create, refresh and verify`, async () => {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    const pem = await exportPKCS8(pair.privateKey);
    const jwk = await exportJWK(pair.privateKey);
    const publicPem = await exportSPKI(pair.publicKey);
    const publicJwk = await exportJWK(pair.publicKey);
    const forms: Partial<JwtEndpointsSettings>[] = [
      { signingKey: pem },
      { signingKey: jwk },
      { signingKey: { ...jwk, kid: "k1", alg: algorithm } },
      { signingKey: pem, verifyingKey: publicPem },
      { signingKey: jwk, verifyingKey: publicJwk },
    ];
    let last: string | undefined;
    for (const form of forms) {
      const server = await open({ algorithm, ...form });
      await server.endpoints.ready();
      const { access, refresh } = await server.login();
      const again = (await server.post("refresh", { refresh })).body.access;
      for (const token of [access, refresh, again, last ?? access]) {
        assert.is(await server.judge("verify", token), "ok");
        assert.is(decodeProtectedHeader(token).alg, algorithm);
        await jwtVerify(token, pair.publicKey, { algorithms: [algorithm], currentDate: new Date(now * 1000) });
      }
      const damaged = `${again.slice(0, -8)}${again.at(-8) === "A" ? "B" : "A"}${again.slice(-7)}`;
      assert.is(await server.judge("verify", damaged), invalid);
      assert.is(await server.judge("refresh", await sign()), invalid);
      const unsigned = `${again.split(".").slice(0, 2).join(".")}.AAAA`;
      assert.is(await server.judge("verify", unsigned), invalid);
      if ((form.signingKey as JWK).kid === undefined) last = access;
      assert.equal(server.log, []);
    }
    const stranger = await generateKeyPair(algorithm, { extractable: true });
    const other = await open({ algorithm, signingKey: await exportPKCS8(stranger.privateKey) });
    assert.is(await other.judge("verify", last!), invalid);
  });
}

/** What `ready` rejects with. */
async function problem(more: Partial<JwtEndpointsSettings>): Promise<Error> {
  try {
    await (await open(more)).endpoints.ready();
  } catch (error) {
    return error as Error;
  }
  throw new Error(`nothing was wrong with ${more.algorithm}`);
}

keys("of RSA under 2048 bits are refused by ready", async () => {
  const publicExponent = Uint8Array.of(1, 0, 1);
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 1024, publicExponent };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  for (const signingKey of [await exportPKCS8(pair.privateKey), await exportJWK(pair.privateKey)]) {
    const error = await problem({ algorithm: "RS256", signingKey });
    assert.is(error.name, "SettingError");
    assert.is(error.message, "setting signingKey has 1024 bits; accepted: RSA of 2048 or more");
  }
});

keys("that do not fit the algorithm are refused by ready, with no part of the key in the error", async () => {
  const made = async (alg: string) => {
    const pair = await generateKeyPair(alg, { extractable: true });
    const { privateKey, publicKey } = pair;
    return { pem: await exportPKCS8(privateKey), jwk: await exportJWK(privateKey), spki: await exportSPKI(publicKey) };
  };
  const rsa = await made("RS256");
  const ec = await made("ES256");
  const ec384 = await made("ES384");
  const ed = await made("EdDSA");
  const notDer = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
  const bad: Partial<JwtEndpointsSettings>[] = [
    { algorithm: "ES256", signingKey: rsa.pem },
    { algorithm: "ES256", signingKey: rsa.jwk },
    { algorithm: "ES256", signingKey: ec384.pem },
    { algorithm: "ES256", signingKey: ec384.jwk },
    { algorithm: "ES256", signingKey: ed.pem },
    { algorithm: "ES384", signingKey: ec.pem },
    { algorithm: "RS256", signingKey: ec.pem },
    { algorithm: "RS256", signingKey: ec.jwk },
    { algorithm: "PS256", signingKey: ed.pem },
    { algorithm: "EdDSA", signingKey: rsa.pem },
    { algorithm: "EdDSA", signingKey: ec.jwk },
    { algorithm: "RS256", signingKey: { ...rsa.jwk, alg: "PS256" } },
    { algorithm: "RS256", signingKey: secret },
    { algorithm: "RS256", signingKey: utf8.encode(secret) },
    { algorithm: "RS256", signingKey: rsa.spki },
    { algorithm: "RS256", signingKey: rsa.pem, verifyingKey: rsa.pem },
    { algorithm: "RS256", signingKey: rsa.pem, verifyingKey: ec.spki },
    { algorithm: "ES256", signingKey: ec.pem, verifyingKey: notDer },
  ];
  for (const more of bad) {
    const error = await problem(more);
    assert.is(error.name, "SettingError", error.stack);
    assert.match(error.message, /^setting (signing|verifying)Key [^\n]+$/);
    for (const piece of [rsa.pem.slice(100, 140), rsa.jwk.n!, ec.jwk.x!, ed.jwk.x!, "BEGIN", "django"]) {
      assert.not.match(error.message, piece);
    }
  }
});

keys("of the wrong kind for HMAC stop the construction", async () => {
  const pair = await generateKeyPair("ES256", { extractable: true });
  const jwk = await exportJWK(pair.privateKey);
  const bad: Partial<JwtEndpointsSettings>[] = [
    { signingKey: await exportPKCS8(pair.privateKey) },
    { signingKey: await exportSPKI(pair.publicKey) },
    { signingKey: jwk },
    { signingKey: { kty: "oct" } },
    { signingKey: { kty: "oct", k: base64url(secret), alg: "HS512" } },
    { signingKey: { kty: "oct", k: "%".repeat(60) } },
    { signingKey: secret, verifyingKey: secret },
  ];
  for (const more of bad) {
    const settings = { store: memoryStore(), signingKey: secret, ...more };
    assert.throws(
      () => createJwtEndpoints(settings),
      (error: Error) =>
        error.name === "SettingError" && ![jwk.d!, "django", "%%"].some((piece) => error.message.includes(piece)),
    );
  }
});

keys.run();
