/**
 * Keys as people have them (a secret, PEM text, a JWK) -> keys to sign and verify with. What is wrong with one is told in
 * a line that names the setting and what is accepted, and never holds any part of the key.
 */
import type { JWK } from "jose";
import { SettingError } from "../errors.ts";
import type { KeyMaterial } from "../settings/types.ts";
import { asymmetricKeyIn } from "./pem.ts";
import { type Hmac, hmacOf } from "../tokens/hmac.ts";

/** WebCrypto's, by what every runtime's types have: those of Node have no name for it, and jose's is none under Deno. */
export type CryptoKey = Parameters<typeof crypto.subtle.exportKey>[1];

export interface Key {
  readonly alg: string;
  readonly kid: string | undefined;
  readonly key: CryptoKey;
  /** The same secret for the hot path, where the runtime has one. */
  readonly hmac?: Hmac | undefined;
  /** Whether it serves only tokens that name it: so do the keys of a ring. */
  readonly needsKid: boolean;
  /** When it goes out of use, in seconds since the epoch. */
  readonly exp?: number | undefined;
}

export type KeyPart = "private" | "public";

/** Algorithm -> the one kind of key it takes (RFC 7518 §3.1, RFC 8037 §3.1). */
const kinds: Record<string, string> = Object.assign(Object.create(null), {
  HS256: "secret",
  HS384: "secret",
  HS512: "secret",
  RS256: "RSA",
  RS384: "RSA",
  RS512: "RSA",
  PS256: "RSA",
  PS384: "RSA",
  PS512: "RSA",
  ES256: "P-256",
  ES384: "P-384",
  ES512: "P-521",
  EdDSA: "Ed25519",
});

export const isAlgorithm = (alg: unknown): alg is string => typeof alg === "string" && kinds[alg] !== undefined;
/** Whether an algorithm signs and verifies with one and the same secret. */
export const isSymmetric = (alg: string): boolean => kinds[alg] === "secret";

/** RFC 7518 §3.3 and §3.5 ask for no less. */
export const leastRsaBits = 2048;

export const wrongKey = (setting: string, problem: string, cause?: unknown): SettingError =>
  new SettingError(`setting ${setting} ${problem}`, { cause });

const isJwk = (material: KeyMaterial): material is JWK =>
  typeof material === "object" && !(material instanceof Uint8Array);

/** PEM text as one reads it from a file, with bytes, or with `\n` spelled out as environment variables have it. */
function pemText(material: KeyMaterial): string | undefined {
  if (isJwk(material)) return undefined;
  const text = typeof material === "string" ? material : new TextDecoder().decode(material);
  return /^\s*-----BEGIN|\n-----BEGIN [A-Z0-9 ]+-----/.test(text) ? text.replaceAll("\\n", "\n") : undefined;
}

/**
 * Checks at once what can be checked without a promise, and answers the import.
 * @param setting the name for errors.
 * @throws {SettingError} (also the promise) when the key does not fit the algorithm.
 */
export function prepareKey(
  setting: string,
  material: KeyMaterial,
  alg: string,
  part: KeyPart,
): () => Promise<Omit<Key, "needsKid">> {
  const kid = isJwk(material) ? material.kid : undefined;
  if (isJwk(material)) checkJwk(setting, material, alg, part);
  if (isSymmetric(alg)) {
    const bytes = secretBytes(setting, material, alg);
    const params = { name: "HMAC", hash: `SHA-${alg.slice(2)}` };
    return async () => ({
      alg,
      kid,
      key: await crypto.subtle.importKey("raw", bytes, params, false, ["sign", "verify"]),
      hmac: hmacOf(alg, kid, bytes),
    });
  }
  const pem = pemText(material);
  if (pem === undefined && !isJwk(material)) {
    throw wrongKey(setting, `is not a PEM or JWK key, which algorithm ${alg} needs`);
  }
  const standard = pem === undefined ? undefined : standardPem(setting, pem, alg, part);
  return async () => {
    const { importPKCS8, importSPKI } = await import("jose");
    let key: CryptoKey;
    try {
      const importPem = part === "private" ? importPKCS8 : importSPKI;
      if (standard !== undefined) key = await importPem(standard, alg, { extractable: true });
      else key = await importNumbers(membersOf(material as JWK, part), alg);
      // Deno imports a point that is not on the curve, and only finds out when the key is used.
      if (key.type === "public") await crypto.subtle.exportKey("spki", key);
    } catch (cause) {
      throw unreadable(setting, alg, part, cause);
    }
    const bits = rsaBits(key);
    if (bits !== undefined && bits < leastRsaBits) {
      throw wrongKey(setting, `has ${bits} bits; accepted: RSA of ${leastRsaBits} or more`);
    }
    return { alg, kid, key };
  };
}

/** The length of an RSA key's modulus; `undefined` for other keys. */
export const rsaBits = (key: CryptoKey): number | undefined => (key.algorithm as RsaHashedKeyAlgorithm).modulusLength;

const accepted = { private: "a private key (PEM or JWK)", public: "a public key (PEM or JWK)" };

const unreadable = (setting: string, alg: string, part: KeyPart, cause?: unknown): SettingError =>
  wrongKey(setting, `can't be read; accepted for ${alg}: ${accepted[part]}`, cause);

const noSecret = (setting: string, key: string, alg: string): SettingError =>
  wrongKey(setting, `is ${key}, but algorithm ${alg} needs a secret`);

function checkKind(setting: string, kind: string | undefined, alg: string): void {
  if (kind === undefined || kind === kinds[alg]) return;
  throw wrongKey(setting, `is a key of type ${kind}, but algorithm ${alg} needs one of type ${kinds[alg]}`);
}

const quote = (value: unknown): string => String(JSON.stringify(value)).slice(0, 40);

/** What a JWK says about itself must agree with its use here (RFC 7517 §4). */
function checkJwk(setting: string, { kty, crv, k, d, alg: own, use, kid, key_ops }: JWK, alg: string, part: KeyPart) {
  if (own !== undefined && own !== alg) throw wrongKey(setting, `is a JWK for ${quote(own)}, but algorithm is ${alg}`);
  if (use !== undefined && use !== "sig") {
    throw wrongKey(setting, `is a JWK whose use is ${quote(use)}; accepted: "sig", or none`);
  }
  if (kid !== undefined && (typeof kid !== "string" || kid === "")) {
    throw wrongKey(setting, "is a JWK whose kid is not a name; accepted: text, or none");
  }
  const operation = part === "private" ? "sign" : "verify";
  if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes(operation))) {
    throw wrongKey(setting, `is a JWK whose key_ops lack "${operation}"`);
  }
  if (isSymmetric(alg)) {
    if (kty !== "oct") throw noSecret(setting, `a ${d === undefined ? "public" : "private"} key`, alg);
    if (typeof k !== "string") throw wrongKey(setting, `is a JWK without "k", which algorithm ${alg} needs`);
    return;
  }
  checkKind(
    setting,
    kty === "oct" ? "secret" : kty === "RSA" ? "RSA" : typeof crv === "string" ? crv.slice(0, 20) : undefined,
    alg,
  );
  if (part === "private" && d === undefined) throw wrongKey(setting, `is a public key; accepted: ${accepted.private}`);
  if (part === "public" && d !== undefined) throw wrongKey(setting, `is a private key; accepted: ${accepted.public}`);
}

const publicMembers = ["kty", "crv", "x", "y", "n", "e"] as const;
const privateMembers = ["d", "p", "q", "dp", "dq", "qi"] as const;

/** A JWK of nothing but the numbers: what it says about itself has been judged, and would only confuse the import. */
function membersOf(jwk: JWK, part: KeyPart): JWK {
  const names = part === "private" ? [...publicMembers, ...privateMembers] : publicMembers;
  return Object.fromEntries(names.filter((name) => jwk[name] !== undefined).map((name) => [name, jwk[name]])) as JWK;
}

/** A JWK without its private members, or a secret as it is: enough to verify with. */
export const verifyingPart = (jwk: JWK): JWK =>
  jwk.kty === "oct" ? jwk : { ...membersOf(jwk, "public"), alg: jwk.alg, use: jwk.use, kid: jwk.kid };

/** HMAC keys need at least the hash's length (RFC 7518 §3.2), and no one else may know them. */
function secretBytes(setting: string, material: KeyMaterial, alg: string): Uint8Array<ArrayBuffer> {
  let bytes: Uint8Array<ArrayBuffer>;
  if (isJwk(material)) {
    try {
      bytes = bytesFromBase64(material.k!.replaceAll("-", "+").replaceAll("_", "/"));
    } catch (cause) {
      throw wrongKey(setting, 'is a JWK whose "k" is not base64url', cause);
    }
  } else {
    bytes = typeof material === "string" ? new TextEncoder().encode(material) : Uint8Array.from(material);
  }
  const key = asymmetricKeyIn(bytes);
  if (key !== undefined) throw noSecret(setting, key, alg);
  const least = Number(alg.slice(2)) / 8;
  if (bytes.length < least) {
    const remedy = `accepted: ${least} or more for ${alg} (RFC 7518 section 3.2)`;
    throw wrongKey(setting, `is ${bytes.length} bytes long; ${remedy}`);
  }
  return bytes;
}

const bytesFromBase64 = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** The object ids that tell keys apart, in DER as hex (RFC 5480 §2.1.1, RFC 8017 appendix C, RFC 8410 §3). */
const objectIds = {
  "06092a864886f70d010101": "RSA",
  "06092a864886f70d01010a": "RSASSA-PSS",
  "06082a8648ce3d030107": "P-256",
  "06052b81040022": "P-384",
  "06052b81040023": "P-521",
  "06052b8104000a": "secp256k1",
  "06032b656e": "X25519",
  "06032b656f": "X448",
  "06032b6570": "Ed25519",
  "06032b6571": "Ed448",
};
const rsaIdentifier = "300d06092a864886f70d0101010500";
const ecIdentifiers: Record<string, string> = {
  "P-256": "301306072a8648ce3d020106082a8648ce3d030107",
  "P-384": "301006072a8648ce3d020106052b81040022",
  "P-521": "301006072a8648ce3d020106052b81040023",
};

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The kind of key named first in a piece of DER. */
function kindIn(hex: string): string | undefined {
  const found = Object.entries(objectIds).flatMap(([id, kind]) =>
    hex.includes(id) ? [{ at: hex.indexOf(id), kind }] : [],
  );
  return found.toSorted((a, b) => a.at - b.at)[0]?.kind;
}

/** Tag, length and value, in hex (X.690 §8.1). */
function der(tag: string, content: string): string {
  const length = content.length / 2;
  const digits = length.toString(16).padStart(length < 0x100 ? 2 : 4, "0");
  return tag + (length < 0x80 ? digits : `8${digits.length / 2}${digits}`) + content;
}

/**
 * The PEM text that WebCrypto takes, PKCS #8 or SPKI. The older forms PKCS #1 (RFC 8017 appendix A.1) and SEC 1
 * (RFC 5915), as `openssl genrsa` and `openssl ecparam` write them and Simple JWT takes them, are the inner part of that.
 */
function standardPem(setting: string, text: string, alg: string, part: KeyPart): string {
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g)]
    .map(([, label, body]) => ({ label: label!, body: body! }))
    .filter(({ label }) => !label.endsWith("PARAMETERS"));
  const wanted = part === "private" ? /^((RSA|EC) )?PRIVATE KEY$/ : /^(RSA )?PUBLIC KEY$/;
  const block = blocks.find(({ label }) => wanted.test(label)) ?? blocks[0];
  if (block === undefined) throw unreadable(setting, alg, part);
  const { label, body } = block;
  const refuse = (problem: string) => wrongKey(setting, `${problem}; accepted for ${alg}: ${accepted[part]}`);
  if (label.startsWith("ENCRYPTED") || body.includes("ENCRYPTED")) {
    throw refuse("is an encrypted key, decrypt it with openssl pkey -in key.pem -out plain.pem");
  }
  if (label.includes("OPENSSH")) {
    throw refuse("is a key of OpenSSH, convert a copy with ssh-keygen -p -N '' -m PKCS8 -f copy");
  }
  if (label.includes("CERTIFICATE")) {
    const remedy = part === "public" ? ", take its key out with openssl x509 -in cert.pem -noout -pubkey" : "";
    throw refuse(`is a certificate${remedy}`);
  }
  if (!wanted.test(label)) {
    throw refuse(
      `is a ${label.endsWith("PRIVATE KEY") ? "private key" : label.endsWith("PUBLIC KEY") ? "public key" : "PEM text of another kind"}`,
    );
  }
  let inner: string;
  try {
    inner = hexOf(bytesFromBase64(body.replace(/\s/g, "")));
  } catch (cause) {
    throw unreadable(setting, alg, part, cause);
  }
  let whole = inner;
  if (label === "RSA PRIVATE KEY") whole = der("30", `020100${rsaIdentifier}${der("04", inner)}`);
  else if (label === "RSA PUBLIC KEY") whole = der("30", rsaIdentifier + der("03", `00${inner}`));
  else if (label === "EC PRIVATE KEY") {
    const curve = kindIn(inner) ?? kinds[alg]!; // it may leave its curve out
    checkKind(setting, curve, alg);
    whole = der("30", `020100${ecIdentifiers[curve] ?? ""}${der("04", inner)}`);
  }
  checkKind(setting, kindIn(whole.slice(0, 80)), alg); // the algorithm stands at the beginning
  const bytes = Uint8Array.from(whole.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const kind = part === "private" ? "PRIVATE KEY" : "PUBLIC KEY";
  return `-----BEGIN ${kind}-----\n${btoa(String.fromCharCode(...bytes))}\n-----END ${kind}-----`;
}

/** The key that verifies what another signs. */
export async function publicHalf(signing: Key): Promise<Key> {
  const { alg, kid, key, needsKid } = signing;
  if (key.type === "secret") return signing;
  const { exportJWK } = await import("jose");
  const jwk = membersOf(await exportJWK(key), "public");
  return { alg, kid, key: await importNumbers(jwk, alg), needsKid };
}

/** Imports a public or private JWK; extractable, so that the public half can be read off. */
async function importNumbers(jwk: JWK, alg: string): Promise<CryptoKey> {
  const { importJWK } = await import("jose");
  const key = await importJWK(jwk, alg, { extractable: true });
  if (key instanceof Uint8Array) throw new TypeError("a secret has no public half"); // jose gives bytes for those alone
  return key;
}

/**
 * A key as others may see it, by RFC 7517; a key without a name gets its thumbprint for one (RFC 7638).
 * @returns `undefined` for a secret.
 */
export async function publishedJwk({ alg, kid, key }: Key): Promise<JWK | undefined> {
  if (key.type !== "public") return undefined;
  const { calculateJwkThumbprint, exportJWK } = await import("jose");
  const jwk = membersOf(await exportJWK(key), "public");
  return Object.freeze({ ...jwk, kid: kid ?? (await calculateJwkThumbprint(jwk)), alg, use: "sig" });
}
