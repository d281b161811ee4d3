/** The header: `alg`, `kid`, `crit`, `b64`, and keys that a token brings along. */
import { decodeProtectedHeader, exportJWK, exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  accepted,
  base64url,
  validClaims,
  hmac,
  open,
  ourHeader,
  refused,
  secret,
  sign,
  signSegments,
  utf8,
} from "../support/token-fixtures.ts";

const header = suite("the header");

header("is refused with any crit", async () => {
  for (const crit of ['["exp"]', '["b64"]', "[]", "null", '""', "{}", '["alg"]', '["x"]']) {
    await refused(await sign({}, `{"alg":"HS256","typ":"JWT","crit":${crit},"x":1}`));
  }
  await refused(await sign({}, '{"alg":"HS256","b64":true,"crit":["b64"]}'));
  await refused(await sign({}, '{"alg":"HS256","\\u0063rit":["x"],"x":1}'));
});

header("is refused with an unencoded payload (RFC 7797), whether crit names it or not", async () => {
  const payload = JSON.stringify(validClaims);
  for (const b64 of ["false", "null", "0", '"false"', "[]"]) {
    for (const more of ["", ',"crit":["b64"]', ',"crit":["exp"]']) {
      const text = `{"alg":"HS256","typ":"JWT","b64":${b64}${more}}`;
      await refused(await sign({}, text));
      await refused(`${base64url(text)}.${payload}.${await hmac(`${base64url(text)}.${payload}`)}`);
    }
  }
  await accepted(await sign({}, '{"alg":"HS256","typ":"JWT","b64":true}')); // the default, spelled out
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const keys = { signingKey: await exportPKCS8(privateKey), verifyingKey: await exportSPKI(publicKey) };
  const public_ = await open({ algorithm: "ES256", ...keys });
  const text = `${base64url('{"alg":"ES256","typ":"JWT","b64":false}')}.${base64url(payload)}`;
  const parameters = { name: "ECDSA", hash: "SHA-256" };
  const signature = new Uint8Array(await crypto.subtle.sign(parameters, privateKey, utf8.encode(text)));
  await refused(`${text}.${base64url(signature)}`, public_);
});

header("is refused with alg none, in any spelling, signed or not", async () => {
  const payload = base64url(JSON.stringify(validClaims));
  for (const alg of ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS257"]) {
    const segment = base64url(JSON.stringify({ alg, typ: "JWT" }));
    await refused(await signSegments(segment, payload));
    await refused(`${segment}.${payload}.`);
  }
  await refused(await sign({}, '{"typ":"JWT"}'));
  for (const alg of ["null", "[]", '["HS256"]', "256", "{}"]) await refused(await sign({}, `{"alg":${alg}}`));
});

header("is refused with another HMAC than the configured one, though its signature holds", async () => {
  const payload = base64url(JSON.stringify(validClaims));
  const hashes = { HS256: "SHA-256", HS384: "SHA-384", HS512: "SHA-512" };
  for (const algorithm of ["HS256", "HS384", "HS512"] as const) {
    const server = await open({ algorithm });
    for (const [alg, hash] of Object.entries(hashes)) {
      const text = `${base64url(JSON.stringify({ alg, typ: "JWT" }))}.${payload}`;
      const token = `${text}.${await hmac(text, secret, hash)}`;
      await (alg === algorithm ? accepted(token, server) : refused(token, server));
    }
  }
});

header("is refused when it names one algorithm and is signed with another", async () => {
  const text = `${base64url(ourHeader)}.${base64url(JSON.stringify(validClaims))}`;
  for (const hash of ["SHA-1", "SHA-384", "SHA-512"]) await refused(`${text}.${await hmac(text, secret, hash)}`);
  const mac = await hmac(text);
  await refused(`${text}.${mac.slice(0, 22)}`); // 128 of its 256 bits
});

header("cannot turn an RSA public key into an HMAC secret", async () => {
  const pair = await generateKeyPair("RS256", { extractable: true });
  const pem = await exportSPKI(pair.publicKey);
  const jwk = JSON.stringify(await exportJWK(pair.publicKey));
  const server = await open({ algorithm: "RS256", signingKey: await exportPKCS8(pair.privateKey) });
  const text = `${base64url(ourHeader)}.${base64url(JSON.stringify(validClaims))}`;
  for (const key of [pem, pem.trim(), `${pem}\n`, jwk, secret]) {
    await refused(`${text}.${await hmac(text, key)}`, server);
  }
  const asRsa = `${base64url('{"alg":"RS256","typ":"JWT"}')}.${base64url(JSON.stringify(validClaims))}`;
  await refused(`${asRsa}.${await hmac(asRsa, pem)}`, server);
});

header("may name any kid while the configured key has none: nothing to pick", async () => {
  for (const kid of ["a", "", "../../dev/null", "' or 1=1", "__proto__"]) {
    await accepted(await sign({}, JSON.stringify({ alg: "HS256", kid })));
  }
});

header("is refused with another kid than the configured key's, and accepted with it or without one", async () => {
  const server = await open({ signingKey: { kty: "oct", k: base64url(secret), kid: "k1" } });
  await accepted(await sign({}, '{"alg":"HS256","kid":"k1"}'), server);
  await accepted(await sign(), server);
  for (const kid of ['"k2"', '"K1"', '""', '"__proto__"', "null", "1", '["k1"]', "{}"]) {
    await refused(await sign({}, `{"alg":"HS256","kid":${kid}}`), server);
  }
  const { access } = await server.login();
  assert.is(decodeProtectedHeader(access).kid, "k1");
});

header("cannot bring its own key: jku, jwk, x5u and x5c are never followed", async () => {
  const attacker = "an attacker's own secret, of 32 bytes or more";
  const k = base64url(attacker);
  const called: unknown[] = [];
  const realFetch = globalThis.fetch;
  globalThis.fetch = ((...args: unknown[]) => {
    called.push(args);
    return Promise.reject(new Error("no network here"));
  }) as typeof fetch;
  try {
    const url = "http://localhost:9/keys";
    const tricks = [{ jwk: { kty: "oct", k } }, { jku: url }, { x5u: url }, { x5c: [k] }];
    for (const trick of tricks) {
      const head = JSON.stringify({ alg: "HS256", typ: "JWT", ...trick });
      const text = `${base64url(head)}.${base64url(JSON.stringify(validClaims))}`;
      await refused(`${text}.${await hmac(text, attacker)}`);
      await accepted(await sign({}, head)); // ignored, so no reason to refuse either
    }
  } finally {
    globalThis.fetch = realFetch;
  }
  assert.equal(called, []);
});

header.run();
