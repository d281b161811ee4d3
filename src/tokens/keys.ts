/**
 * Settings -> keys, imported once: a CryptoKey costs half of what raw bytes cost at each use.
 * The algorithm comes from the configuration and never from a token (RFC 8725 §3.1); a token's `kid` only picks among
 * the keys held here, and `jku`, `jwk`, `x5u`, `x5c` are never followed (§3.10).
 */
import { CompactSign, type JWK, compactVerify, exportJWK, importJWK, importPKCS8, importSPKI } from "jose";
import { type KeyMaterial, type Settings, SettingError } from "../settings.ts";

export interface Key {
  readonly alg: string;
  readonly kid: string | undefined;
  readonly key: CryptoKey;
}

export interface KeySet {
  /** Signs new tokens. */
  readonly signing: Key;
  /** Verify, in the order they are tried for a token without `kid`. */
  readonly verifying: readonly Key[];
}

/** HMAC keys need at least the hash's length (RFC 7518 §3.2). */
const hmacBytes: Record<string, number> = { HS256: 32, HS384: 48, HS512: 64 };

const isPem = (key: KeyMaterial): key is string => typeof key === "string" && key.trimStart().startsWith("-----BEGIN");
const isJwk = (key: KeyMaterial): key is JWK => typeof key === "object" && !(key instanceof Uint8Array);

function wrongKey(setting: string, problem: string, cause?: unknown): SettingError {
  return new SettingError(`setting ${setting} ${problem}`, { cause });
}

/** The secret's bytes, checked at once so that a short secret stops the construction, not the first request. */
function secretBytes(setting: string, material: KeyMaterial, alg: string): Uint8Array<ArrayBuffer> {
  if (isPem(material)) throw wrongKey(setting, `is a PEM key, but algorithm ${alg} needs a secret`);
  if (isJwk(material) && (material.kty !== "oct" || typeof material.k !== "string")) {
    throw wrongKey(setting, `is a JWK of type ${JSON.stringify(material.kty)}, but algorithm ${alg} needs type "oct"`);
  }
  let bytes: Uint8Array<ArrayBuffer>;
  if (isJwk(material)) {
    if (material.alg !== undefined && material.alg !== alg) {
      throw wrongKey(setting, `is a JWK for ${JSON.stringify(material.alg)}, but algorithm is ${alg}`);
    }
    try {
      bytes = Uint8Array.from(atob(material.k!.replaceAll("-", "+").replaceAll("_", "/")), (char) =>
        char.charCodeAt(0),
      );
    } catch (cause) {
      throw wrongKey(setting, 'is a JWK whose "k" is not base64url', cause);
    }
  } else {
    bytes = typeof material === "string" ? new TextEncoder().encode(material) : Uint8Array.from(material);
  }
  const least = hmacBytes[alg]!;
  if (bytes.length < least) {
    throw wrongKey(
      setting,
      `is ${bytes.length} bytes long; accepted: ${least} or more for ${alg} (RFC 7518 section 3.2)`,
    );
  }
  return bytes;
}

/** One asymmetric key from PEM or JWK; a private one is made extractable, so that its public half can be read off. */
async function importAsymmetric(setting: string, material: KeyMaterial, alg: string, part: "private" | "public") {
  if (!isPem(material) && !isJwk(material)) {
    throw wrongKey(setting, `is not a PEM or JWK key, which algorithm ${alg} needs`);
  }
  let key: CryptoKey;
  try {
    const options = { extractable: true };
    if (isJwk(material)) {
      if (material.alg !== undefined && material.alg !== alg) throw new Error(`the JWK is for ${material.alg}`);
      if (part === "private" && material.d === undefined) throw new Error("the JWK is not a private key");
      key = (await importJWK(material, alg, options)) as CryptoKey;
    } else {
      key = await (part === "private" ? importPKCS8 : importSPKI)(material.trim(), alg, options);
    }
  } catch (cause) {
    const form = part === "private" ? "a private key (PKCS #8 PEM or JWK)" : "a public key (SPKI PEM or JWK)";
    throw wrongKey(setting, `can't be read; accepted for ${alg}: ${form}`, cause);
  }
  const bits = (key.algorithm as RsaHashedKeyAlgorithm).modulusLength;
  if (bits !== undefined && bits < 2048) throw wrongKey(setting, `has ${bits} bits; accepted: RSA of 2048 or more`);
  return { alg, kid: isJwk(material) ? material.kid : undefined, key };
}

async function publicHalf({ alg, kid, key }: Key): Promise<Key> {
  const { kty, crv, x, y, n, e } = await exportJWK(key);
  const jwk = Object.fromEntries(Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined));
  return { alg, kid, key: (await importJWK(jwk as JWK, alg)) as CryptoKey };
}

async function belongTogether(signing: Key, verifying: Key): Promise<boolean> {
  const signed = await new CompactSign(new Uint8Array(1)).setProtectedHeader({ alg: signing.alg }).sign(signing.key);
  return compactVerify(signed, verifying.key).then(
    () => true,
    () => false,
  );
}

/**
 * Checks what can be checked at once and answers a function that imports the keys on first use.
 * @throws {SettingError} (also the promise) when a key does not fit the algorithm; the key itself is never in the message.
 */
export function keysFrom(settings: Settings): () => Promise<KeySet> {
  const { algorithm: alg, signingKey, verifyingKey } = settings;
  let keys: Promise<KeySet> | undefined;
  if (alg in hmacBytes) {
    if (verifyingKey !== undefined) throw wrongKey("verifyingKey", `is set, but ${alg} verifies with signingKey`);
    const bytes = secretBytes("signingKey", signingKey, alg);
    const kid = isJwk(signingKey) ? signingKey.kid : undefined;
    const hash = `SHA-${alg.slice(2)}`;
    return () =>
      (keys ??= crypto.subtle
        .importKey("raw", bytes, { name: "HMAC", hash }, false, ["sign", "verify"])
        .then((key) => ({ signing: { alg, kid, key }, verifying: [{ alg, kid, key }] })));
  }
  const load = async (): Promise<KeySet> => {
    const signing = await importAsymmetric("signingKey", signingKey, alg, "private");
    const verifying =
      verifyingKey === undefined
        ? await publicHalf(signing)
        : await importAsymmetric("verifyingKey", verifyingKey, alg, "public");
    if (!(await belongTogether(signing, verifying))) throw wrongKey("verifyingKey", "does not belong to signingKey");
    return { signing, verifying: [{ ...verifying, kid: verifying.kid ?? signing.kid }] };
  };
  return () => (keys ??= load());
}
