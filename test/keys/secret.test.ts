/** An HMAC secret must be no public key, in any spelling, and may be anything else. */
import { generateKeyPairSync } from "node:crypto";
import { type JWK, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { prepareKey } from "../../src/keys/import.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { open, pemOf, problem, secretJwk } from "../support/key-fixtures.ts";
import {
  base64,
  certificate,
  materials,
  pgp,
  spellingsOfDer,
  spellingsOfJwk,
  spellingsOfPem,
  spellingsOfSsh,
  wrapped,
} from "../support/key-spellings.ts";

const secrets = suite("an HMAC secret");

secrets("is refused when it is a public or private key, however it is spelled", async () => {
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

secrets("is refused in a key set, too, if it is a public key", async () => {
  const spki = await exportSPKI((await generateKeyPair("ES256", { extractable: true })).publicKey);
  const valid = secretJwk("a", "A");
  const bad: JWK = { kty: "oct", kid: "b", alg: "HS512", k: Buffer.from(spki).toString("base64url") };
  const message = "is a public key, but algorithm HS512 needs a secret";
  assert.is(await problem({ keys: () => ({ active: bad }) }), `setting keys.active ${message}`);
  assert.is(await problem({ keys: () => ({ active: valid, next: [bad] }) }), `setting keys.next[0] ${message}`);
  assert.is(await problem({ keys: () => ({ active: valid, retiring: [bad] }) }), `setting keys.retiring[0] ${message}`);
});

secrets("may be any random text or bytes", () => {
  const seed = seedFrom();
  const random = randomFrom(seed);
  const upTo = random.below;
  const bytes = (least = 32) => random.bytes(least + upTo(100));
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
