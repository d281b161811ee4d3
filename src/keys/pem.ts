/**
 * Finds keys of public-key algorithms in what is given as an HMAC secret, in the spellings that people paste and programs
 * read: every reader of the public key could sign with it. Only what no secret contains by chance counts, so that random
 * text and random bytes pass.
 */

/** Encodings inside one another that are looked into, such as base64 of base64 of PEM. */
const maxDepth = 3;

/** Says what kind of key some bytes are or spell, such as `a public key`; `undefined` for a secret. */
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

// As Latin-1 but for 80 to 9F, which no pattern below has.
const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder();

const named = (isPrivate: boolean): string => (isPrivate ? "a private key" : "a public key");

/** The type of an SSH key before its base64, or before the length of its first number (RFC 4253 §6.6). */
const sshKey = /(?:ssh|ecdsa)-[\w.@-]{2,40}(?:\s+AAAA|\0\0\0)/;

/** Blocks of PEM (RFC 7468), PGP and SSH, JWKs (RFC 7517), and lines of SSH. */
function keyInText(text: string): string | undefined {
  // Dashes and white space get lost or changed on the way, letters don't.
  const block = /BEGIN[A-Z0-9]{0,20}?(PUBLICKEY|PRIVATEKEY|CERTIFICATE)/.exec(text.replace(/[^A-Za-z0-9]/g, ""))?.[1];
  if (block !== undefined) return block === "CERTIFICATE" ? "a certificate" : named(block === "PRIVATEKEY");
  if (text.includes("-----BEGIN ")) return "PEM text";
  const json = /kty|\\u/.test(text) ? unescaped(text) : text;
  if (/\bkty["'\\\s]*[:=]["'\\\s]*(?:RSA|EC|OKP)\b/.test(json)) return named(/\bd["'\\\s]*[:=]/.test(json));
  return sshKey.test(text) ? named(false) : undefined;
}

/** JSON in one spelling; other text as it is. */
function unescaped(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}

// In hex, where `~~` is a byte that was lost because somebody read the bytes as UTF-8.
/** A private key: PKCS #8 (RFC 5958 §2), PKCS #1 (RFC 8017 appendix A.1.2), SEC 1 (RFC 5915 §3). */
const privateDer = /^30(?:..){1,3}0201(?:00|01)(?:02|04|30)/;
/** One under a password (RFC 5958 §3): the object id of how it is encrypted comes first (RFC 8018). */
const sealedDer = /^30(?:..){1,3}30(?:..){1,2}06..2a(?:86|~~)48(?:86|~~)(?:f7|~~)0d01(?:05|0c)/;
/** An RSA public key without its algorithm (RFC 8017 appendix A.1.1): its beginning, or as text from end to end. */
const publicDer =
  /3082....02820[1-8]..00|^30(?:8[12]|~~)(?:..){1,2}02(?:8[12]|~~)(?:..){1,2}00.*02(?:03010001|01(?:03|11))/;
/** The object ids of keys and certificates: RSA's, those of X9.62 and X9.57, the curves of SEC 2, and RFC 8410's. */
const objectIds = [
  /06092a(?:86|~~)48(?:86|~~)(?:f7|~~)0d01/,
  /060[78]2a(?:86|~~)48(?:ce|~~)3[8d]/,
  /06052b(?:81|~~)0400/,
  /300506032b65/,
];

/** Keys and certificates in DER (X.690), also where it was read as text, as Latin-1 or as UTF-8. */
function keyInDer(bytes: Uint8Array): string | undefined {
  const text = utf8.decode(bytes);
  const hexes = [hexOf(bytes)];
  if (text.length < bytes.length) hexes.push(hexOf(Array.from(text, (char) => char.codePointAt(0)!)));
  for (const hex of hexes) {
    if (privateDer.test(hex) || sealedDer.test(hex)) return named(true);
    if (publicDer.test(hex) || objectIds.some((id) => id.test(hex))) return named(false);
  }
  return undefined;
}

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hexOf(codes: ArrayLike<number>): string {
  let hex = "";
  for (let i = 0; i < codes.length; i++) hex += hexDigits[codes[i]!] ?? "~~";
  return hex;
}

/** What a text may be an encoding of: hex, or base64 of either alphabet, in lines, in quotes or behind something. */
function* decodings(text: string): Generator<Uint8Array> {
  const words = text.replaceAll(/\\[nrt]/g, " ");
  const whole = words.replaceAll(/\s/g, "");
  const digits = whole.replaceAll(/0x|\\x|[:,]/g, "");
  if (/^(?:[0-9a-f]{2})+$/i.test(digits)) yield Uint8Array.from(digits.match(/../g)!, (pair) => parseInt(pair, 16));
  const runs = new Set([...whole.matchAll(/[\w+/-]{24,}/g), ...words.matchAll(/[\w+/-]{24,}/g)].map(([run]) => run));
  for (const run of runs) {
    const standard = run.replaceAll("-", "+").replaceAll("_", "/");
    for (let start = 0; start < 4; start++) {
      const part = standard.slice(start);
      const end = part.length - (part.length % 4 === 1 ? 1 : 0); // no base64 has one character in its last group
      yield Uint8Array.from(atob(part.slice(0, end)), (char) => char.charCodeAt(0));
    }
  }
}
