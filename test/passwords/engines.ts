/** Recorded hashes, and the engines that make hashes: counted, or held back. */
import { createRequire } from "node:module";
import process from "node:process";
import { type PasswordOptions, createPasswords } from "../../src/index.ts";

/** Made by Django 3.2: `make_password(password)`, and PBKDF2PasswordHasher().encode for the last ones. */
export const recordings: [password: string, encoded: string][] = [
  [
    "correct horse battery staple",
    "pbkdf2_sha256$260000$dOH72by8DeUjNfhmHP1DDL$YtJgOTzhuzJ6/+qqCa+wZAAGO9v+qB2jF/StN2neul8=",
  ],
  ["pässwörd ☃ 😀", "pbkdf2_sha256$260000$1OOFIharpwMKGLcTHMPbSZ$E3OqqlOjscvE69J4QPRU2r+dl5TjCdxuLtBq9byniys="],
  [" spaces ", "pbkdf2_sha256$260000$VBwSwpcNq30IEuarpUzAWV$R7Py84lZX5cw2ulLXCGJwxqdT4aKntohj+zSEJApOM0="],
  ["e\u0301", "pbkdf2_sha256$260000$bdT5thkQRf962fXLfKYuag$ZuYeWPjMv36nkUnDFakugifNOP01yJjA2Eh78p9L39M="],
  ["x".repeat(4096), "pbkdf2_sha256$260000$FefNDEykZSUNhTJ8mgJkoP$NGpHFuG2E8P6PjQesMzvrSkgjvz+5HeN6kaISKoolJg="],
  ["admin", "pbkdf2_sha256$260000$seasalt$AB6Emd2jhgRpgZjRC3XdPLMWk0Hjd3pljOD1ZCGFGs8="],
  ["weak", "pbkdf2_sha256$1000$saltsalt$fhVxVS4ZLd3aOpjJzubC56XiIoPPiQMrTMpVXV06YsU="],
  ["weak", "pbkdf2_sha256$1$sält ☃$tfVRH1ylrdccb1FlXhR4WCbTrMQwOzWtjtDL/mXCpUs="],
];
export const weak = recordings[6]![1];
export const unusable = "!F8vafHWPTfTyNPifahtztr8FolMkTa1QohPC2BKo";

export const iterations = 10;
export const shape = (rounds: number) =>
  new RegExp(`^pbkdf2_sha256\\$${rounds}\\$[A-Za-z0-9]{22}\\$[A-Za-z0-9+/]{43}=$`);
export const turn = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Runs something while each derivation of key bits passes through `through`; puts WebCrypto back after. */
export async function watchingHashes<T>(
  through: (
    iterations: number,
    derive: () => Promise<ArrayBuffer>,
    digest: "SHA-256" | "SHA-1",
  ) => Promise<ArrayBuffer>,
  run: () => Promise<T>,
): Promise<T> {
  const { subtle } = crypto;
  const real = subtle.deriveBits;
  const value = (algorithm: Pbkdf2Params, key: CryptoKey, length: number) =>
    through(
      algorithm.iterations,
      () => real.call(subtle, algorithm, key, length),
      algorithm.hash as "SHA-256" | "SHA-1",
    );
  Object.defineProperty(subtle, "deriveBits", { value, configurable: true, writable: true });
  try {
    return await run();
  } finally {
    delete (subtle as { deriveBits?: unknown }).deriveBits;
    if (subtle.deriveBits !== real) Object.defineProperty(subtle, "deriveBits", { value: real, configurable: true });
  }
}

/** Work that the engines did, in the unit of each. */
export type Work = Partial<Record<"SHA-256" | "SHA-1" | "argon2" | "bcrypt" | "scrypt", number>>;
export let work: Work = {};
export const count = (engine: keyof Work, units: number): void => void (work[engine] = (work[engine] ?? 0) + units);

/** Counts each call of an engine's function, and makes it. */
export function counted(engine: keyof Work, module: object, name: string, units: (args: unknown[]) => number): void {
  const functions = module as Record<string, (...args: unknown[]) => unknown>;
  const real = functions[name]!;
  functions[name] = (...args) => (count(engine, units(args)), real(...args));
}
// Wrapped before the hashers import them, so that the hashers get the wrapped functions.
export const require = createRequire(import.meta.url);
counted("bcrypt", require("@node-rs/bcrypt"), "hash", ([, cost]) => 2 ** Number(cost));
counted("bcrypt", require("@node-rs/bcrypt"), "verify", ([, hash]) => 2 ** Number((hash as string).slice(4, 6)));
counted("argon2", require("@node-rs/argon2"), "hash", ([, options]) => {
  const { memoryCost, timeCost } = options as { memoryCost: number; timeCost: number };
  return memoryCost * timeCost;
});
counted("argon2", require("@node-rs/argon2"), "verify", ([hash]) => {
  const [, memory, passes] = /m=(\d+),t=(\d+)/.exec(hash as string)!;
  return Number(memory) * Number(passes);
});
counted("scrypt", process.getBuiltinModule("node:crypto"), "scrypt", ([, , , options]) => {
  const { N, r, p } = options as { N: number; r: number; p: number };
  return N * r * p;
});

/** What the engines do while something runs. */
export async function workOf(run: () => Promise<unknown>): Promise<Work> {
  work = {};
  await watchingHashes((rounds, derive, digest) => {
    count(digest, rounds);
    return derive();
  }, run);
  return work;
}

/** Passwords whose hashes all wait until they are let go, one by one, oldest first. */
export async function gated(options: PasswordOptions, run: (gate: Gate) => Promise<void>): Promise<void> {
  const held: (() => Promise<unknown>)[] = [];
  const gate: Gate = {
    passwords: createPasswords({ iterations, ...options }),
    most: 0,
    running: 0,
    held,
    async letGo(count = 1) {
      for (let i = 0; i < count; i++) {
        for (let tries = 0; held.length === 0 && tries < 1000; tries++) await turn();
        await held.shift()!();
        await turn();
      }
    },
    async settle(count) {
      for (let tries = 0; held.length < count && tries < 1000; tries++) await turn();
      await turn();
    },
  };
  await watchingHashes(
    async (_, derive) => {
      gate.most = Math.max(gate.most, ++gate.running);
      return new Promise<ArrayBuffer>((resolve) => {
        held.push(() => {
          gate.running--;
          const derived = derive();
          resolve(derived);
          return derived;
        });
      });
    },
    () => run(gate),
  );
}

export interface Gate {
  passwords: ReturnType<typeof createPasswords>;
  most: number;
  running: number;
  held: (() => Promise<unknown>)[];
  /** Lets this many go, one after the other is done. */
  letGo(count?: number): Promise<void>;
  /** Waits until this many are held. */
  settle(count: number): Promise<void>;
}

/** Made by Django 3.2 with argon2-cffi and bcrypt, with low work factors; scrypt by hashlib in the format of Django 4.2. */
export const password = "pässwörd 🦊";
export const byDjango: Record<string, string> = {
  pbkdf2_sha256: "pbkdf2_sha256$1000$seasalt2seasalt2seasal$fiszM05Z3IrxW0Pop4Q8Ib6ii4b+LwNf9MNPIkaiL0M=",
  pbkdf2_sha1: "pbkdf2_sha1$1000$seasalt2seasalt2seasal$d1tPVELWcAzg0YYFuBYU7gdGJYc=",
  argon2id: "argon2$argon2id$v=19$m=1024,t=2,p=2$bGxyMTJCQnVUSGpuNk1iMXhkTE56ZA$2FnLzwVeb6JTwiMzSexNuQ",
  argon2i: "argon2$argon2i$v=19$m=512,t=2,p=1$c29tZXNhbHQtc29tZXNhbHQ$yvGXALttWP+IxIrfi0Jx0XwI7a5U5TcLMUlncjC3Afk",
  argon2d: "argon2$argon2d$v=19$m=512,t=2,p=1$c29tZXNhbHQtc29tZXNhbHQ$JzBddtFk10XgGGfh617SIoLICc6qiZxUFrl+diiBzrE",
  bcrypt_sha256: "bcrypt_sha256$$2b$04$cJLHIV2vZtBrOBpLPSwdjOirgKjjKTNRw3y2a145OpiCs9eYNgS/q",
  bcrypt: "bcrypt$$2b$04$i6LyatCLIsuSFrImDBhinO/v0E1x3qRiD/EZGz/NZ4BSpVfHkQtRm",
  scrypt:
    "scrypt$1024$seasalt2seasalt2seasal$8$1$cR6gr0caUxEzsXbwSiQ0kTiCCg8sK2rcEGa6X0aqWiFyd+B37dHyVZE7RqqHKj2uH22cXqQajR7SwxJr05HrDw==",
};
