/**
 * Django's `bcrypt_sha256$$2b$12$…`, bcrypt over the SHA-256 of the password in hex, and `bcrypt$$2b$12$…`, bcrypt over its
 * first 72 bytes, computed by the optional package `@node-rs/bcrypt` on threads of its own.
 */
import { type PasswordHasher, requirePackage } from "./index.ts";

const cost = 12; // Django's
/** Each step takes twice as long; 16 takes seconds. */
const maxCost = 16;

const load = requirePackage<typeof import("@node-rs/bcrypt")>("@node-rs/bcrypt", "bcrypt");

async function sha256Hex(password: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(password)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bcryptWith(algorithm: string, prepare: (password: string) => string | Promise<string>): PasswordHasher {
  const form = new RegExp(`^${algorithm}\\$(\\$2[aby]\\$(\\d\\d)\\$[./A-Za-z0-9]{53})$`);
  const decode = (encoded: string) => {
    const parts = form.exec(encoded);
    const stored = { hash: parts?.[1], cost: Number(parts?.[2]) };
    return stored.cost >= 4 && stored.cost <= maxCost ? { ...stored, hash: stored.hash! } : undefined;
  };
  const hash = async (password: string): Promise<string> => {
    const text = await (await load()).hash(await prepare(password), cost);
    return `${algorithm}$${text.replace("$2y$", "$2b$")}`; // two names of one thing, of which Python knows this
  };
  return {
    algorithm,
    ready: async () => void (await load()),
    hash,
    isValid: (encoded) => decode(encoded) !== undefined,
    async verify(password, encoded) {
      const { verify } = await load();
      return verify(await prepare(password), decode(encoded)!.hash);
    },
    needsRehash: (encoded) => decode(encoded)!.cost < cost,
    async harden(password, encoded) {
      // A cost is a power of two: those in between make up the difference.
      for (let step = decode(encoded)!.cost; step < cost; step++)
        await (await load()).hash(await prepare(password), step);
    },
    burn: async (password) => void (await hash(password)),
  };
}

export const bcrypt = (): PasswordHasher => bcryptWith("bcrypt", (password) => password);
export const bcryptSha256 = (): PasswordHasher => bcryptWith("bcrypt_sha256", sha256Hex);
