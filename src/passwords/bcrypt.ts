/**
 * Django's `bcrypt_sha256$$2b$12$…` (bcrypt over the hex SHA-256 of the password) and `bcrypt$$2b$12$…` (bcrypt over its
 * first 72 bytes), computed by the optional package `@node-rs/bcrypt` off the main thread.
 */
import { type PasswordHasher, requirePackage } from "./hasher.ts";

const cost = 12; // Django's
/** Each step doubles the time; 16 takes seconds. The engine supports none below 4. */
const minCost = 4;
const maxCost = 16;
/** OWASP's minimum. */
const leastCost = 10;

const load = requirePackage<typeof import("@node-rs/bcrypt")>("@node-rs/bcrypt", "bcrypt");

async function sha256Hex(password: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(password)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bcryptWith(
  algorithm: "bcrypt" | "bcrypt_sha256",
  prepare: (password: string) => string | Promise<string>,
): PasswordHasher {
  const form = new RegExp(`^${algorithm}\\$(\\$2[aby]\\$\\d\\d\\$[./A-Za-z0-9]{53})$`);
  const costOf = (encoded: string): number => Number(encoded.slice(-56, -54));
  return {
    algorithm,
    work: 2 ** cost,
    mostPadded: 2 ** (cost + 2),
    ready: async () => void (await load()),
    async hash(password) {
      const text = await (await load()).hash(await prepare(password), cost);
      return `${algorithm}$${text.replace("$2y$", "$2b$")}`; // both name the same algorithm; Python's bcrypt reads `$2b$`
    },
    isValid: (encoded) => form.test(encoded) && costOf(encoded) >= minCost && costOf(encoded) <= maxCost,
    async verify(password, encoded) {
      const { verify } = await load();
      return verify(await prepare(password), form.exec(encoded)![1]!);
    },
    workOf: (encoded) => 2 ** costOf(encoded),
    needsRehash: (encoded) => costOf(encoded) < cost,
    isSufficient: (encoded) => costOf(encoded) >= leastCost,
    async spend(password, work) {
      const { hash } = await load();
      // Costs are powers of two, so any amount of work is the sum of one hash per set bit.
      for (let step = minCost; 2 ** step <= work; step++) {
        if ((work & (2 ** step)) !== 0) await hash(await prepare(password), step);
      }
    },
  };
}

/** Verified, but never made: it ignores everything after 72 bytes. */
export const bcrypt = (): PasswordHasher => bcryptWith("bcrypt", (password) => password);
export const bcryptSha256 = (): PasswordHasher => bcryptWith("bcrypt_sha256", sha256Hex);
