/**
 * Django's `pbkdf2_sha256$iterations$salt$hash` (RFC 8018 §5.2; hash in padded base64), computed by WebCrypto, which
 * works off the main thread.
 */
import { type PasswordHasher, randomSalt, sameBytes } from "./index.ts";

const utf8 = new TextEncoder();
const hashBytes = 32;
/** Ten times what anybody uses; a damaged or hostile count must not hold a place for minutes. */
const maxIterations = 20_000_000;

async function derive(password: string, salt: string, iterations: number): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("raw", utf8.encode(password), "PBKDF2", false, ["deriveBits"]);
  const parameters = { name: "PBKDF2", hash: "SHA-256", salt: utf8.encode(salt), iterations };
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, hashBytes * 8));
}

function decode(encoded: string): { iterations: number; salt: string; hash: Uint8Array } | undefined {
  const parts = /^pbkdf2_sha256\$([1-9]\d{0,9})\$([^$]+)\$([A-Za-z0-9+/]{43}=)$/.exec(encoded);
  if (parts === null) return undefined;
  const iterations = Number(parts[1]);
  if (iterations > maxIterations) return undefined;
  return { iterations, salt: parts[2]!, hash: Uint8Array.from(atob(parts[3]!), (char) => char.charCodeAt(0)) };
}

/** @param iterations of new hashes; a stored hash with fewer is due for an upgrade. */
export function pbkdf2Sha256(iterations: number): PasswordHasher {
  let costliest = iterations; // of the hashes checked so far, within reason
  return {
    algorithm: "pbkdf2_sha256",
    async hash(password) {
      const salt = randomSalt();
      const hash = await derive(password, salt, iterations);
      return `pbkdf2_sha256$${iterations}$${salt}$${btoa(String.fromCharCode(...hash))}`;
    },
    isValid: (encoded) => decode(encoded) !== undefined,
    async verify(password, encoded) {
      const stored = decode(encoded);
      if (stored === undefined) return false;
      costliest = Math.max(costliest, Math.min(stored.iterations, 4 * iterations));
      return sameBytes(await derive(password, stored.salt, stored.iterations), stored.hash);
    },
    needsRehash: (encoded) => decode(encoded)!.iterations < iterations,
    async harden(password, encoded) {
      const { salt, iterations: done } = decode(encoded)!;
      if (done < costliest) await derive(password, salt, costliest - done);
    },
    async burn(password) {
      await derive(password, "no user, no salt", costliest);
    },
  };
}
