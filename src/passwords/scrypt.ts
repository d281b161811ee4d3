/**
 * Django's `scrypt$n$salt$r$p$hash` (RFC 7914; 64 bytes in padded base64), computed by `node:crypto` off the main thread,
 * or by `@noble/hashes` in slices of the event loop.
 */
import { nodeCrypto } from "../native.ts";
import { type PasswordHasher, randomSalt, sameBytes } from "./hasher.ts";

interface Work {
  N: number;
  r: number;
  p: number;
}

const work: Work = { N: 16_384, r: 8, p: 5 }; // Django 5.1; Django 4.x has p = 1
const hashBytes = 64;
/** Limits for stored hashes: a damaged or hostile one must not exhaust the memory or compute for minutes. */
const maxMemory = 1 << 30;
const maxWork = 1 << 24;
/** OWASP's lowest N, and the work of Django 4.x, which costs an attacker more than 600,000 iterations of PBKDF2. */
const leastN = 8192;
const leastWork = 16_384 * 8;

const utf8 = new TextEncoder();

async function derive(password: string, salt: string, { N, r, p }: Work): Promise<Uint8Array> {
  const [secret, salted] = [utf8.encode(password), utf8.encode(salt)];
  if (nodeCrypto === undefined) {
    const { scryptAsync } = await import("@noble/hashes/scrypt.js");
    return scryptAsync(secret, salted, { N, r, p, dkLen: hashBytes, maxmem: 2 * maxMemory });
  }
  const { scrypt: native } = nodeCrypto;
  return new Promise((resolve, reject) => {
    const options = { N, r, p, maxmem: 2 * maxMemory };
    native(secret, salted, hashBytes, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

function decode(encoded: string) {
  const form = /^scrypt\$([1-9]\d{0,9})\$([^$]+)\$([1-9]\d{0,2})\$([1-9]\d{0,2})\$([A-Za-z0-9+/]{86}==)$/;
  const parts = form.exec(encoded);
  if (parts === null) return undefined;
  const [N, r, p] = [Number(parts[1]), Number(parts[3]), Number(parts[4])];
  if (N < 2 || !Number.isInteger(Math.log2(N)) || N >= 2 ** (16 * r)) return undefined; // RFC 7914 section 2
  if (128 * r * (N + p) > maxMemory || N * r * p > maxWork) return undefined;
  return { N, r, p, salt: parts[2]!, hash: parts[5]! };
}

export function scrypt(): PasswordHasher {
  return {
    algorithm: "scrypt",
    work: work.N * work.r * work.p,
    mostPadded: 4 * work.N * work.r * work.p,
    async hash(password) {
      const salt = randomSalt();
      const hash = await derive(password, salt, work);
      return `scrypt$${work.N}$${salt}$${work.r}$${work.p}$${btoa(String.fromCharCode(...hash))}`;
    },
    isValid: (encoded) => decode(encoded) !== undefined,
    async verify(password, encoded) {
      const { salt, hash, ...stored } = decode(encoded)!;
      const wanted = Uint8Array.from(atob(hash), (char) => char.charCodeAt(0));
      return sameBytes(await derive(password, salt, stored), wanted);
    },
    workOf(encoded) {
      const [, N, , r, p] = encoded.split("$", 5);
      return Number(N) * Number(r) * Number(p);
    },
    needsRehash(encoded) {
      const { N, r, p } = decode(encoded)!;
      return N < work.N || r < work.r || p < work.p;
    },
    isSufficient(encoded) {
      const { N, r, p } = decode(encoded)!;
      return N >= leastN && N * r * p >= leastWork;
    },
    async spend(password, amount) {
      const { r } = work;
      for (let { N } = work; N > 1; N /= 2) {
        const p = Math.floor(amount / (N * r));
        if (p > 0) await derive(password, "no user, no salt", { N, r, p });
        amount -= N * r * p;
      }
    },
  };
}
