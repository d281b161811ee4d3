/**
 * Django's `argon2$argon2id$v=19$m=102400,t=2,p=8$salt$hash` (RFC 9106), computed by the optional package
 * `@node-rs/argon2` off the main thread. Each hash in computation takes 100 MiB, up to `hashing.concurrency` at once.
 */
import { type PasswordHasher, randomSalt, requirePackage } from "./hasher.ts";

/** Django's work factors; memory in KiB. */
const memoryCost = 102_400;
const timeCost = 2;
const parallelism = 8;
/** Limits for stored hashes: a damaged or hostile one must not exhaust the memory or compute for minutes. */
const maxMemory = 1_048_576;
const maxWork = 16 * maxMemory; // KiB times passes
/** The lowest memory and the lowest work among OWASP's recommended pairs, from 46 MiB × 1 to 7 MiB × 5. */
const leastMemory = 7168;
const leastWork = 35_840;

const load = requirePackage<typeof import("@node-rs/argon2")>("@node-rs/argon2", "argon2");

/** Base64 without padding and without set spare bits in the last character: the engine refuses both. */
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048])?$/;

/** Refuses everything the engine would refuse, so that an error of the engine is never the hash's fault. */
function decode(encoded: string) {
  const form =
    /^argon2\$(argon2(?:id|i|d))\$(?:v=(16|19)\$)?m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,2})\$([^$]{11,86})\$([^$]{16,172})$/;
  const parts = form.exec(encoded);
  if (parts === null || !base64.test(parts[6]!) || !base64.test(parts[7]!)) return undefined;
  const [memory, passes, lanes] = [Number(parts[3]), Number(parts[4]), Number(parts[5])];
  if (memory > maxMemory || memory * passes > maxWork || lanes > 255 || memory < 8 * lanes) return undefined;
  return { variant: parts[1]!, version: Number(parts[2] ?? 16), memory, passes };
}

export function argon2(): PasswordHasher {
  const compute = async (password: string, memory: number): Promise<string> => {
    const options = { memoryCost: memory, timeCost, parallelism, algorithm: 2 as const, version: 1 as const };
    const salt = new TextEncoder().encode(randomSalt());
    return `argon2${await (await load()).hash(password, { ...options, salt })}`;
  };
  return {
    algorithm: "argon2",
    work: memoryCost * timeCost,
    mostPadded: 4 * memoryCost * timeCost,
    ready: async () => void (await load()),
    hash: (password) => compute(password, memoryCost),
    isValid: (encoded) => decode(encoded) !== undefined,
    async verify(password, encoded) {
      const { verify } = await load();
      return verify(encoded.slice("argon2".length), password);
    },
    workOf(encoded) {
      const [, memory, passes] = /\$m=(\d+),t=(\d+),/.exec(encoded) ?? [];
      return Number(memory) * Number(passes);
    },
    needsRehash(encoded) {
      const { variant, version, memory, passes } = decode(encoded)!;
      return variant !== "argon2id" || version < 19 || memory < memoryCost || passes < timeCost;
    },
    isSufficient(encoded) {
      const { memory, passes } = decode(encoded)!;
      return memory >= leastMemory && memory * passes >= leastWork;
    },
    spend: async (password, work) =>
      void (await compute(password, Math.max(8 * parallelism, Math.round(work / timeCost)))),
  };
}
