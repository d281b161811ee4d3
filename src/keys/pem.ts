/**
 * PEM and DER: reads the keys that people have, and finds public keys where a secret is expected.
 *
 * Own code instead of an ASN.1 library: WebCrypto parses the keys themselves, what is left is to wrap two older forms in a
 * fixed header, and to recognize keys in text that is damaged or encoded twice, which no parser reads.
 */
import { type Algorithm, algorithms } from "../tokens/algorithms.ts";
import { bytesOf, decodeBase64url } from "../tokens/base64url.ts";

export type KeyPart = "private" | "public";

/** A key in the form that WebCrypto takes: PKCS #8 (RFC 5208) or SPKI (RFC 5280 §4.1). */
export interface PemKey {
  readonly der: Uint8Array<ArrayBuffer>;
  /** The kind of key that it names, as in the table of algorithms; `undefined` for an unknown one. */
  readonly keyType: string | undefined;
}

/** The kinds of key by their object identifiers in hex: those of the algorithms, and others that people try. */
const keyTypes: Record<string, string> = {
  "06092a864886f70d01010a": "RSASSA-PSS",
  "06052b8104000a": "secp256k1",
  "06032b656e": "X25519",
  "06032b656f": "X448",
  "06032b6571": "Ed448",
};
for (const { objectId, keyType } of Object.values(algorithms)) if (objectId !== undefined) keyTypes[objectId] = keyType;

/** rsaEncryption (RFC 8017 appendix C), and id-ecPublicKey (RFC 5480 §2.1.1). */
const rsaEncryption = "06092a864886f70d010101";
const ecPublicKey = "06072a8648ce3d0201";

/** Returns the kind of key that is named first in a piece of DER. */
function keyTypeIn(hex: string): string | undefined {
  const found = Object.entries(keyTypes).flatMap(([id, keyType]) =>
    hex.includes(id) ? [{ at: hex.indexOf(id), keyType }] : [],
  );
  return found.toSorted((a, b) => a.at - b.at)[0]?.keyType;
}

/** Encodes tag, length and value, in hex (X.690 §8.1). */
function encodeDer(tag: string, content: string): string {
  const length = content.length / 2;
  const digits = length.toString(16).padStart(length < 0x100 ? 2 : 4, "0");
  return tag + (length < 0x80 ? digits : `8${digits.length / 2}${digits}`) + content;
}

/**
 * Reads PEM text (RFC 7468), also PKCS #1 (RFC 8017 appendix A.1) and SEC 1 (RFC 5915), which `openssl genrsa` and
 * `openssl ecparam` write and Simple JWT takes: they are the inner part of PKCS #8 and SPKI.
 * @param algorithm the one that the key is for; its curve stands in where SEC 1 leaves the curve out.
 * @returns the key, or what is wrong with it; `problem` is `undefined` for text that can't be read at all.
 */
export function readPem(
  text: string,
  part: KeyPart,
  algorithm: Algorithm,
): PemKey | { readonly problem: string | undefined } {
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g)]
    .map(([, label, body]) => ({ label: label!, body: body! }))
    .filter(({ label }) => !label.endsWith("PARAMETERS"));
  const wanted = part === "private" ? /^((RSA|EC) )?PRIVATE KEY$/ : /^(RSA )?PUBLIC KEY$/;
  const block = blocks.find(({ label }) => wanted.test(label)) ?? blocks[0];
  if (block === undefined) return { problem: undefined };
  const { label, body } = block;
  if (!wanted.test(label) || body.includes("ENCRYPTED")) return { problem: problemOf(label, body, part) };
  let inner: string;
  try {
    inner = hexOf(bytesOf(atob(body.replace(/\s/g, ""))));
  } catch {
    return { problem: undefined };
  }
  const { objectId = "" } = algorithm;
  let whole = inner;
  let keyType: string | undefined;
  if (label.startsWith("RSA ")) {
    const identifier = encodeDer("30", `${rsaEncryption}0500`);
    const wrapped = part === "private" ? `020100${identifier}${encodeDer("04", inner)}` : undefined;
    whole = encodeDer("30", wrapped ?? identifier + encodeDer("03", `00${inner}`));
  } else if (label.startsWith("EC ")) {
    keyType = keyTypeIn(inner) ?? algorithm.keyType;
    whole = encodeDer("30", `020100${encodeDer("30", ecPublicKey + objectId)}${encodeDer("04", inner)}`);
  }
  // The algorithm stands at the beginning.
  keyType ??= keyTypeIn(whole.slice(0, 80));
  return { der: Uint8Array.from(whole.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)), keyType };
}

/** Says why a block of PEM is not accepted, and how to convert it where that is possible. */
function problemOf(label: string, body: string, part: KeyPart): string {
  if (label.startsWith("ENCRYPTED") || body.includes("ENCRYPTED")) {
    return "is an encrypted key, decrypt it with openssl pkey -in key.pem -out plain.pem";
  }
  if (label.includes("OPENSSH")) {
    return "is a key of OpenSSH, convert a copy with ssh-keygen -p -N '' -m PKCS8 -f copy";
  }
  if (label.includes("CERTIFICATE")) {
    const remedy = part === "public" ? ", take its key out with openssl x509 -in cert.pem -noout -pubkey" : "";
    return `is a certificate${remedy}`;
  }
  if (label.endsWith("PRIVATE KEY")) return "is a private key";
  return label.endsWith("PUBLIC KEY") ? "is a public key" : "is PEM text of another kind";
}

/** How many encodings inside one another are searched, such as base64 of base64 of PEM. */
const maxDepth = 3;

/**
 * Finds a key of a public-key algorithm in bytes that are meant to be an HMAC secret, in the forms that people paste and
 * programs read: everybody who knows the public key could sign with it. Only what no secret contains by chance is taken for a
 * key, so that random text and random bytes pass.
 * @returns what was found, such as `a public key`; `undefined` for a secret.
 */
export function asymmetricKeyIn(bytes: Uint8Array, depth = 0): string | undefined {
  const raw = latin1.decode(bytes);
  const text = raw.replaceAll("\0", ""); // UTF-16 is ASCII with NULs between
  const found = keyInText(text) ?? (sshKey.test(raw) ? named(false) : undefined) ?? keyInDer(bytes);
  if (found !== undefined || depth === maxDepth) return found;
  for (const inner of decodings(text)) {
    const key = asymmetricKeyIn(inner, depth + 1);
    if (key !== undefined) return key;
  }
  return undefined;
}

// Latin-1 except for 80 to 9F, which occur in no pattern below.
const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder();

const named = (isPrivate: boolean): string => (isPrivate ? "a private key" : "a public key");

/** The type of an SSH key before its base64, or before the length of its first number (RFC 4253 §6.6). */
const sshKey = /(?:ssh|ecdsa)-[\w.@-]{2,40}(?:\s+AAAA|\0\0\0)/;

/** Finds blocks of PEM (RFC 7468), PGP and SSH, JWKs (RFC 7517), and lines of SSH. */
function keyInText(text: string): string | undefined {
  // Dashes and white space are often lost or changed in transit, letters are not.
  const block = /BEGIN[A-Z0-9]{0,20}?(PUBLICKEY|PRIVATEKEY|CERTIFICATE)/.exec(text.replace(/[^A-Za-z0-9]/g, ""))?.[1];
  if (block !== undefined) return block === "CERTIFICATE" ? "a certificate" : named(block === "PRIVATEKEY");
  if (text.includes("-----BEGIN ")) return "PEM text";
  const json = /kty|\\u/.test(text) ? unescaped(text) : text;
  if (/\bkty["'\\\s]*[:=]["'\\\s]*(?:RSA|EC|OKP)\b/.test(json)) return named(/\bd["'\\\s]*[:=]/.test(json));
  return sshKey.test(text) ? named(false) : undefined;
}

/** Rewrites JSON without escapes; returns other text unchanged. */
function unescaped(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

// Patterns over hex, in which `~~` is a byte that was lost when a program read the bytes as UTF-8.
/** A private key: PKCS #8 (RFC 5958 §2), PKCS #1 (RFC 8017 appendix A.1.2), SEC 1 (RFC 5915 §3). */
const privateDer = /^30(?:..){1,3}0201(?:00|01)(?:02|04|30)/;
/** An encrypted private key (RFC 5958 §3): it begins with the object identifier of its encryption (RFC 8018). */
const sealedDer = /^30(?:..){1,3}30(?:..){1,2}06..2a(?:86|~~)48(?:86|~~)(?:f7|~~)0d01(?:05|0c)/;
/** An RSA public key without its algorithm (RFC 8017 appendix A.1.1): its beginning or, where bytes were lost, all of it. */
const publicDer =
  /3082....02820[1-8]..00|^30(?:8[12]|~~)(?:..){1,2}02(?:8[12]|~~)(?:..){1,2}00.*02(?:03010001|01(?:03|11))/;
/** The object identifiers of keys and certificates: RSA's, those of X9.62 and X9.57, the curves of SEC 2, and RFC 8410's. */
const objectIdPatterns = [
  /06092a(?:86|~~)48(?:86|~~)(?:f7|~~)0d01/,
  /060[78]2a(?:86|~~)48(?:ce|~~)3[8d]/,
  /06052b(?:81|~~)0400/,
  /300506032b65/,
];

/** Finds keys and certificates in DER (X.690), also after a program read it as Latin-1 or UTF-8 text. */
function keyInDer(bytes: Uint8Array): string | undefined {
  const text = utf8.decode(bytes);
  const hexes = [hexOf(bytes)];
  if (text.length < bytes.length) hexes.push(hexOf(Array.from(text, (char) => char.codePointAt(0)!)));
  for (const hex of hexes) {
    if (privateDer.test(hex) || sealedDer.test(hex)) return named(true);
    if (publicDer.test(hex) || objectIdPatterns.some((id) => id.test(hex))) return named(false);
  }
  return undefined;
}

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hexOf(codes: ArrayLike<number>): string {
  let hex = "";
  for (let i = 0; i < codes.length; i++) hex += hexDigits[codes[i]!] ?? "~~";
  return hex;
}

/** Decodes what a text may be an encoding of: hex, or base64 of either alphabet, in lines, in quotes or after other text. */
function* decodings(text: string): Generator<Uint8Array> {
  const words = text.replaceAll(/\\[nrt]/g, " ");
  const whole = words.replaceAll(/\s/g, "");
  const digits = whole.replaceAll(/0x|\\x|[:,]/g, "");
  if (/^(?:[0-9a-f]{2})+$/i.test(digits)) yield Uint8Array.from(digits.match(/../g)!, (pair) => parseInt(pair, 16));
  const runs = new Set([...whole.matchAll(/[\w+/-]{24,}/g), ...words.matchAll(/[\w+/-]{24,}/g)].map(([run]) => run));
  for (const run of runs) {
    for (let start = 0; start < 4; start++) {
      const part = run.slice(start);
      const end = part.length - (part.length % 4 === 1 ? 1 : 0); // no base64 has one character in its last group
      yield bytesOf(decodeBase64url(part.slice(0, end)));
    }
  }
}
