/** Keys in the forms that people have: PEM, PKCS #1, SEC 1, JWKs. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { compactVerify, exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { open, pemOf, problem, rsa, rsa2, utf8 } from "../support/key-fixtures.ts";

const forms = suite("keys as people have them");

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

forms("of the wrong type are refused with their type and the accepted one", async () => {
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
