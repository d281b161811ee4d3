/**
 * Django's `pbkdf2_sha256$iterations$salt$hash` and `pbkdf2_sha1$…` (RFC 8018 section 5.2; the hash in padded base64),
 * computed by WebCrypto off the main thread.
 */
import { defaultIterations, maxIterations } from "./formats.ts";
import { type PasswordHasher, WorkRefused, randomSalt, sameBytes } from "./hasher.ts";

const utf8 = new TextEncoder();

/** @param iterations those of new hashes; a stored hash with fewer is weak. */
export const pbkdf2Sha256 = (iterations: number): PasswordHasher =>
  pbkdf2("pbkdf2_sha256", "SHA-256", /^pbkdf2_sha256\$([1-9]\d{0,9})\$([^$]+)\$([A-Za-z0-9+/]{43}=)$/, iterations);

/** Takes the iterations of SHA-256: OWASP asks even more of SHA-1, the weaker hash. */
export const pbkdf2Sha1 = (iterations: number): PasswordHasher =>
  pbkdf2("pbkdf2_sha1", "SHA-1", /^pbkdf2_sha1\$([1-9]\d{0,9})\$([^$]+)\$([A-Za-z0-9+/]{27}=)$/, iterations);

function pbkdf2(
  algorithm: "pbkdf2_sha256" | "pbkdf2_sha1",
  digest: string,
  form: RegExp,
  iterations: number,
): PasswordHasher {
  const hashBits = digest === "SHA-1" ? 160 : 256;

  async function derive(password: string, salt: string, count: number): Promise<Uint8Array> {
    const key = await crypto.subtle.importKey("raw", utf8.encode(password), "PBKDF2", false, ["deriveBits"]);
    const parameters = { name: "PBKDF2", hash: digest, salt: utf8.encode(salt), iterations: count };
    try {
      return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, hashBits));
    } catch (cause) {
      if ((cause as Error).name !== "NotSupportedError") throw cause;
      throw new WorkRefused(`this runtime does not derive ${count} iterations of PBKDF2`, { cause });
    }
  }

  const start = algorithm.length + 1;
  const iterationsOf = (encoded: string): number => Number(encoded.slice(start, encoded.indexOf("$", start)));
  const isWeak = (encoded: string): boolean => iterationsOf(encoded) < iterations;

  return {
    algorithm,
    work: iterations,
    mostPadded: 4 * Math.max(iterations, defaultIterations),
    async hash(password) {
      const salt = randomSalt();
      const hash = await derive(password, salt, iterations);
      return `${algorithm}$${iterations}$${salt}$${btoa(String.fromCharCode(...hash))}`;
    },
    isValid(encoded) {
      const parts = form.exec(encoded);
      return parts !== null && Number(parts[1]) <= maxIterations;
    },
    async verify(password, encoded) {
      const [, count, salt, hash] = form.exec(encoded)!;
      const stored = Uint8Array.from(atob(hash!), (char) => char.charCodeAt(0));
      return sameBytes(await derive(password, salt!, Number(count)), stored);
    },
    workOf: iterationsOf,
    needsRehash: isWeak,
    isSufficient: (encoded) => !isWeak(encoded),
    spend: async (password, work) => void (await derive(password, "no user, no salt", work)),
  };
}
