/**
 * Keys as people have them (a secret, PEM text, a JWK) -> keys that sign and verify. An error names the setting and what is
 * accepted, in one line, and never holds any part of the key.
 */
import type { JWK } from "jose";
import type { KeyMaterial } from "../settings/types.ts";
import { SettingError } from "../errors.ts";
import { algorithms, isSymmetric, leastRsaBits } from "../tokens/algorithms.ts";
import { bytesOf, decodeBase64url } from "../tokens/base64url.ts";
import { hmacOf } from "../tokens/hmac.ts";
import type { CryptoKey, Key } from "../tokens/key.ts";
import { type KeyPart, asymmetricKeyIn, readPem } from "./pem.ts";

export const wrongKey = (setting: string, problem: string, cause?: unknown): SettingError =>
  new SettingError(`setting ${setting} ${problem}`, { cause });

const isJwk = (material: KeyMaterial): material is JWK =>
  typeof material === "object" && !(material instanceof Uint8Array);

/** Returns PEM text as it is in a file, from text or bytes, or with `\n` spelled out as in environment variables. */
function pemText(material: KeyMaterial): string | undefined {
  if (isJwk(material)) return undefined;
  const text = typeof material === "string" ? material : new TextDecoder().decode(material);
  return /^\s*-----BEGIN|\n-----BEGIN [A-Z0-9 ]+-----/.test(text) ? text.replaceAll("\\n", "\n") : undefined;
}

/**
 * Checks at once what needs no promise, and returns the function that imports the key.
 * @param setting its name, for errors.
 * @throws {SettingError} (the function too) when the key does not fit the algorithm.
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
    const { importing } = algorithms[alg]!;
    return async () => ({
      alg,
      kid,
      key: await crypto.subtle.importKey("raw", bytes, importing, false, ["sign", "verify"]),
      hmac: hmacOf(alg, kid, bytes),
    });
  }
  const pem = pemText(material);
  if (pem === undefined && !isJwk(material)) {
    throw wrongKey(setting, `is not a PEM or JWK key, which algorithm ${alg} needs`);
  }
  const der = pem === undefined ? undefined : derOf(setting, pem, alg, part);
  return async () => {
    let key: CryptoKey;
    try {
      key = await (der === undefined
        ? importJwk(material as JWK, alg, part)
        : crypto.subtle.importKey(part === "private" ? "pkcs8" : "spki", der, ...importArguments(alg, part)));
      // Deno imports a point that is not on the curve, and fails only when the key is used.
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

/** `importKey`'s last arguments. Keys are extractable, so that the public half of a private key can be published. */
const importArguments = (alg: string, part: KeyPart) =>
  [algorithms[alg]!.importing, true, [part === "private" ? "sign" : "verify"] as KeyUsage[]] as const;

const importJwk = (jwk: JWK, alg: string, part: KeyPart): Promise<CryptoKey> =>
  crypto.subtle.importKey("jwk", membersOf(jwk, part), ...importArguments(alg, part));

/** Returns the length of an RSA key's modulus; `undefined` for other keys. */
export const rsaBits = (key: CryptoKey): number | undefined => (key.algorithm as RsaHashedKeyAlgorithm).modulusLength;

const accepted = { private: "a private key (PEM or JWK)", public: "a public key (PEM or JWK)" };

const unreadable = (setting: string, alg: string, part: KeyPart, cause?: unknown): SettingError =>
  wrongKey(setting, `can't be read; accepted for ${alg}: ${accepted[part]}`, cause);

const noSecret = (setting: string, key: string, alg: string): SettingError =>
  wrongKey(setting, `is ${key}, but algorithm ${alg} needs a secret`);

function checkKeyType(setting: string, keyType: string | undefined, alg: string): void {
  const needed = algorithms[alg]!.keyType;
  if (keyType === undefined || keyType === needed) return;
  throw wrongKey(setting, `is a key of type ${keyType}, but algorithm ${alg} needs one of type ${needed}`);
}

const quote = (value: unknown): string => String(JSON.stringify(value)).slice(0, 40);

/** Checks that what a JWK says about itself agrees with its use here (RFC 7517 §4). */
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
  checkKeyType(
    setting,
    kty === "oct" ? "secret" : kty === "RSA" ? "RSA" : typeof crv === "string" ? crv.slice(0, 20) : undefined,
    alg,
  );
  if (part === "private" && d === undefined) throw wrongKey(setting, `is a public key; accepted: ${accepted.private}`);
  if (part === "public" && d !== undefined) throw wrongKey(setting, `is a private key; accepted: ${accepted.public}`);
}

const publicMembers = ["kty", "crv", "x", "y", "n", "e"] as const;
const privateMembers = ["d", "p", "q", "dp", "dq", "qi"] as const;

/** Returns a JWK of the numbers alone: what it says about itself was checked before, and WebCrypto would check it otherwise. */
function membersOf(jwk: JWK, part: KeyPart): JWK {
  const names = part === "private" ? [...publicMembers, ...privateMembers] : publicMembers;
  return Object.fromEntries(names.filter((name) => jwk[name] !== undefined).map((name) => [name, jwk[name]])) as JWK;
}

/** Returns the part of a JWK that verifies: all but its private members, or a whole secret. */
export const verifyingPart = (jwk: JWK): JWK =>
  jwk.kty === "oct" ? jwk : { ...membersOf(jwk, "public"), alg: jwk.alg, use: jwk.use, kid: jwk.kid };

/** Returns the bytes of an HMAC key, which has at least the hash's length (RFC 7518 §3.2) and contains no public key. */
function secretBytes(setting: string, material: KeyMaterial, alg: string): Uint8Array<ArrayBuffer> {
  let bytes: Uint8Array<ArrayBuffer>;
  if (isJwk(material)) {
    try {
      bytes = bytesOf(decodeBase64url(material.k!));
    } catch (cause) {
      throw wrongKey(setting, 'is a JWK whose "k" is not base64url', cause);
    }
  } else {
    bytes = typeof material === "string" ? new TextEncoder().encode(material) : Uint8Array.from(material);
  }
  const key = asymmetricKeyIn(bytes);
  if (key !== undefined) throw noSecret(setting, key, alg);
  const least = algorithms[alg]!.leastBytes!;
  if (bytes.length < least) {
    const remedy = `accepted: ${least} or more for ${alg} (RFC 7518 section 3.2)`;
    throw wrongKey(setting, `is ${bytes.length} bytes long; ${remedy}`);
  }
  return bytes;
}

/** Reads PEM text into the DER that WebCrypto takes. */
function derOf(setting: string, text: string, alg: string, part: KeyPart): Uint8Array<ArrayBuffer> {
  const read = readPem(text, part, algorithms[alg]!);
  if ("der" in read) {
    checkKeyType(setting, read.keyType, alg);
    return read.der;
  }
  if (read.problem === undefined) throw unreadable(setting, alg, part);
  throw wrongKey(setting, `${read.problem}; accepted for ${alg}: ${accepted[part]}`);
}

/** Returns the key that verifies what another key signs. */
export async function publicHalf(signing: Key): Promise<Key> {
  const { alg, kid, key, needsKid } = signing;
  if (key.type === "secret") return signing;
  const jwk = (await crypto.subtle.exportKey("jwk", key)) as JWK;
  return { alg, kid, key: await importJwk(jwk, alg, "public"), needsKid };
}

/** Whether one key verifies what the other signs. Runtimes import a key whose numbers disagree, and fail only here. */
export async function belongTogether(signing: Key, verifying: Key): Promise<boolean> {
  const { CompactSign, compactVerify } = await import("jose");
  const sign = () => new CompactSign(new Uint8Array(1)).setProtectedHeader({ alg: signing.alg }).sign(signing.key);
  try {
    await compactVerify(await sign(), verifying.key);
    return true;
  } catch {
    return false;
  }
}

/** Returns the public half of a key. A JWK states both halves, and where they disagree nobody could verify its tokens. */
export async function checkedHalf(setting: string, signing: Key): Promise<Key> {
  const verifying = await publicHalf(signing);
  if (signing.key === verifying.key || (await belongTogether(signing, verifying))) return verifying;
  throw wrongKey(setting, "has a private and a public part that do not belong together");
}

/**
 * Returns a key as it is published (RFC 7517); a key without a name gets its thumbprint as `kid` (RFC 7638).
 * @returns `undefined` for a secret.
 */
export async function publishedJwk({ alg, kid, key }: Key): Promise<JWK | undefined> {
  if (key.type !== "public") return undefined;
  const { calculateJwkThumbprint } = await import("jose");
  const jwk = membersOf((await crypto.subtle.exportKey("jwk", key)) as JWK, "public");
  return Object.freeze({ ...jwk, kid: kid ?? (await calculateJwkThumbprint(jwk)), alg, use: "sig" });
}
