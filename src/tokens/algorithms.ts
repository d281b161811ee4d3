/**
 * The signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1), one row each: which key an algorithm takes, and how WebCrypto
 * imports and generates it. A new algorithm is one more row; no other file depends on an algorithm's name.
 */

export interface Algorithm {
  /** `kty` of its JWKs (RFC 7518 §6.1). */
  readonly kty: "oct" | "RSA" | "EC" | "OKP";
  /** Its kind of key in error messages; for elliptic curves `crv` of its JWKs. */
  readonly keyType: string;
  /**
   * The object identifier that names this kind in DER, in hex (RFC 8017 appendix C, RFC 5480 §2.1.1, RFC 8410 §3); absent
   * for secrets.
   */
  readonly objectId?: string;
  /** The least length of a secret in bytes, that of the hash (RFC 7518 §3.2); only of `oct`. */
  readonly leastBytes?: number;
  /** `importKey`'s parameters. */
  readonly importing: { readonly name: string; readonly hash?: string; readonly namedCurve?: string };
  /** `generateKey`'s parameters. */
  readonly generating: {
    readonly name: string;
    readonly hash?: string;
    readonly namedCurve?: string;
    readonly length?: number;
    readonly modulusLength?: number;
    readonly publicExponent?: Uint8Array<ArrayBuffer>;
  };
}

/** The least length of an RSA modulus (RFC 7518 §3.3 and §3.5), which is also that of new keys. */
export const leastRsaBits = 2048;

function hmac(bits: 256 | 384 | 512): Algorithm {
  const importing = { name: "HMAC", hash: `SHA-${bits}` };
  return { kty: "oct", keyType: "secret", leastBytes: bits / 8, importing, generating: { ...importing, length: 512 } };
}

function rsa(name: "RSASSA-PKCS1-v1_5" | "RSA-PSS", bits: 256 | 384 | 512): Algorithm {
  const importing = { name, hash: `SHA-${bits}` };
  const generating = { ...importing, modulusLength: leastRsaBits, publicExponent: Uint8Array.of(1, 0, 1) };
  return { kty: "RSA", keyType: "RSA", objectId: "06092a864886f70d010101", importing, generating };
}

function ecdsa(namedCurve: string, objectId: string): Algorithm {
  const importing = { name: "ECDSA", namedCurve };
  return { kty: "EC", keyType: namedCurve, objectId, importing, generating: importing };
}

function okp(name: string, objectId: string): Algorithm {
  return { kty: "OKP", keyType: name, objectId, importing: { name }, generating: { name } };
}

const rows = {
  HS256: hmac(256),
  HS384: hmac(384),
  HS512: hmac(512),
  RS256: rsa("RSASSA-PKCS1-v1_5", 256),
  RS384: rsa("RSASSA-PKCS1-v1_5", 384),
  RS512: rsa("RSASSA-PKCS1-v1_5", 512),
  PS256: rsa("RSA-PSS", 256),
  PS384: rsa("RSA-PSS", 384),
  PS512: rsa("RSA-PSS", 512),
  ES256: ecdsa("P-256", "06082a8648ce3d030107"),
  ES384: ecdsa("P-384", "06052b81040022"),
  ES512: ecdsa("P-521", "06052b81040023"),
  EdDSA: okp("Ed25519", "06032b6570"),
};

/** The names of the signature algorithms (RFC 7518 section 3.1, RFC 8037). */
export type AlgorithmName = keyof typeof rows;

/** Has no prototype, so that a name from a token or a file never reaches `Object.prototype`. */
export const algorithms: Readonly<Record<string, Algorithm>> = Object.freeze(
  Object.assign(Object.create(null) as Record<string, Algorithm>, rows),
);

export const algorithmNames = Object.keys(rows) as [AlgorithmName, ...AlgorithmName[]];

export const isAlgorithm = (name: unknown): name is AlgorithmName => typeof name === "string" && name in algorithms;

/** Whether an algorithm signs and verifies with the same secret. */
export const isSymmetric = (name: string): boolean => algorithms[name]?.kty === "oct";

/** Returns the first algorithm of the table that takes a key, by the key's `kty` and `crv`. */
export function algorithmFor({ kty, crv }: { kty?: string; crv?: string }): AlgorithmName | undefined {
  const ofType = algorithmNames.filter((name) => algorithms[name]!.kty === kty);
  return ofType.find((name) => algorithms[name]!.keyType === crv) ?? ofType[0];
}
