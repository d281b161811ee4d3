/**
 * Password hashes in Django's formats: one file per format beside this one, found by the name inside the stored hash.
 *
 * ```ts
 * const passwords = createPasswords();
 * const stored = await passwords.hash("correct horse");   // pbkdf2_sha256$600000$…
 * await passwords.check("correct horse", stored);          // { ok: true }
 * ```
 */
import { argon2 } from "./argon2.ts";
import { bcrypt, bcryptSha256 } from "./bcrypt.ts";
import {
  type PasswordAlgorithm,
  type PreferredAlgorithm,
  defaultIterations,
  formats,
  maxIterations,
  preferredFormats,
} from "./formats.ts";
import { pbkdf2Sha1, pbkdf2Sha256 } from "./pbkdf2.ts";
import { scrypt } from "./scrypt.ts";

export type { PasswordAlgorithm, PreferredAlgorithm } from "./formats.ts";

/**
 * One hash format. The methods that take a hash are only asked about those that `isValid` accepts, and what they throw is
 * then a failure of their engine. Work is counted in units of the format's own: equal work takes equal time.
 */
export interface PasswordHasher {
  /** The name before the first `$`. */
  readonly algorithm: PasswordAlgorithm;
  /** Work of a new hash. */
  readonly work: number;
  /** The most work that a stored hash can have for refused logins to be padded to it: one hash must not slow down all. */
  readonly mostPadded: number;
  /** Rejects with {@link HasherUnavailable} when what it needs is not installed. */
  ready?(): Promise<void>;
  hash(password: string): Promise<string>;
  isValid(encoded: string): boolean;
  verify(password: string, encoded: string): Promise<boolean>;
  /** Cheap. Of a damaged hash it may be any number. */
  workOf(encoded: string): number;
  /** Whether the hash is weaker than a new one of the same format. */
  needsRehash(encoded: string): boolean;
  /** Whether the hash has as much work as is asked of the format ({@link formats}). */
  isSufficient(encoded: string): boolean;
  /** Does work for its time alone. */
  spend(password: string, work: number): Promise<void>;
}

export interface PasswordOptions {
  /** The format of new hashes, and of those that replace weaker ones at a login. Default `pbkdf2_sha256`. */
  preferred?: PreferredAlgorithm;
  /** PBKDF2 iterations of new hashes, at most 20,000,000. Default 600,000. */
  iterations?: number;
  /** Hashes computed at the same time. Default: the cores the runtime tells of, else 4. */
  concurrency?: number;
  /** Callers that may wait for a turn; one more gets {@link PasswordQueueFull}. Default 100. */
  queue?: number;
}

export interface PasswordCheck {
  ok: boolean;
  /** The password is right and its hash weaker than a new one, which should take its place. */
  isWeak?: boolean;
  /** The stored text is of no known format (an unusable `!…` is known), or is damaged. */
  unknownFormat?: boolean;
  /** The npm package that this hash needs and that is not installed. */
  missingPackage?: string;
}

export interface Passwords {
  /**
   * Resolves when the preferred format can be used.
   * @throws {HasherUnavailable} when the package that it needs is not installed.
   */
  ready(): Promise<void>;
  /**
   * A new hash in the preferred format.
   * @throws {RangeError} for a password over 4,096 bytes.
   * @throws {PasswordQueueFull} when too many callers wait already.
   */
  hash(password: string): Promise<string>;
  /**
   * Checks a password. Every check that fails does the same work: one hash of each format that is known to be stored, of
   * the most work among its hashes, with or without a stored hash (unknown user) and whatever its format. A stored hash of
   * more than four times the work of a new one is not matched. A password over 4,096 bytes fails without being hashed.
   * @param mayLogIn whether a right password is all that is needed. If not, its check takes as long as that of a wrong one.
   * @throws {PasswordQueueFull} when too many callers wait already.
   */
  check(password: string, encoded: string | undefined, mayLogIn?: boolean): Promise<PasswordCheck>;
  /**
   * Reads stored hashes, a few milliseconds at a time, so that {@link check} knows from the start what it has to match.
   * A format that is not among them is known from the first check of such a hash on.
   */
  learn(stored: Iterable<string> | AsyncIterable<string>): Promise<void>;
  /** Whether a text is a hash that {@link check} can judge, or Django's unusable password. */
  isHash(encoded: string): boolean;
}

/** Long enough for any passphrase; beyond it the work of hashing is a gift to an attacker. */
const maxPasswordBytes = 4096;
/** How long reading stored hashes may keep everything else waiting. */
const sliceMs = 4;

/** A hash needs an optional package that is not installed, or that can't be loaded here. */
export class HasherUnavailable extends Error {
  override readonly name = "HasherUnavailable";
  readonly code = "HASHER_UNAVAILABLE";
  readonly packageName: string;
  constructor(packageName: string, algorithm: string, options?: ErrorOptions) {
    super(`${algorithm} hashes need the package ${packageName}, which is not installed or can't be loaded`, options);
    this.packageName = packageName;
  }
}

/**
 * Loads an optional package when it is first needed, and again only if that failed. Its name is no literal of the import,
 * so that bundlers leave it to the runtime: they can't follow it into its native code.
 */
export function requirePackage<T>(packageName: string, algorithm: string): () => Promise<T> {
  let loading: Promise<T> | undefined;
  return () =>
    (loading ??= import(/* webpackIgnore: true */ /* @vite-ignore */ packageName).catch((cause: unknown) => {
      loading = undefined;
      throw new HasherUnavailable(packageName, algorithm, { cause });
    }) as Promise<T>);
}

/** Thrown instead of letting logins pile up; answered as 503. */
export class PasswordQueueFull extends Error {
  override readonly name = "PasswordQueueFull";
  readonly code = "PASSWORD_QUEUE_FULL";
  /** Seconds until the queue, at its recent pace, will have drained. */
  readonly retryAfter: number;
  constructor(retryAfter: number) {
    super("too many passwords wait to be hashed");
    this.retryAfter = retryAfter;
  }
}

/**
 * @throws {RangeError} for iterations that {@link Passwords.check} would refuse, or a format that is only verified.
 */
export function createPasswords(options: PasswordOptions = {}): Passwords {
  const { iterations = defaultIterations, preferred: preferredName = "pbkdf2_sha256" } = options;
  if (!(Number.isInteger(iterations) && iterations >= 1 && iterations <= maxIterations)) {
    throw new RangeError(
      `iterations: ${iterations} is out of range; accepted: a whole number from 1 to ${maxIterations}`,
    );
  }
  if (!preferredFormats.includes(preferredName)) {
    throw new RangeError(`preferred: ${preferredName} hashes are not made; accepted: ${preferredFormats.join(", ")}`);
  }
  const concurrency = options.concurrency ?? (globalThis.navigator?.hardwareConcurrency || 4);
  const inTurn = createLimiter(concurrency, options.queue ?? 100);
  const all = [pbkdf2Sha256(iterations), pbkdf2Sha1(iterations), argon2(), bcryptSha256(), bcrypt(), scrypt()];
  const hashers = new Map<string, PasswordHasher>(all.map((hasher) => [hasher.algorithm, hasher]));
  const preferred = hashers.get(preferredName)!;
  /** What a refused login has to match of each format: the most work, and a hash that has it where one is stored. */
  const costliest = new Map<PasswordHasher, { work: number; encoded?: string }>([[preferred, preferred]]);

  const namedIn = (encoded: string): PasswordHasher | undefined =>
    hashers.get(encoded.slice(0, Math.max(0, encoded.indexOf("$"))));
  const hasherOf = (encoded: string): PasswordHasher | undefined => {
    const hasher = namedIn(encoded);
    return hasher?.isValid(encoded) ? hasher : undefined;
  };
  const isTooLong = (password: string): boolean =>
    password.length > maxPasswordBytes || new TextEncoder().encode(password).length > maxPasswordBytes;
  const isWeak = (hasher: PasswordHasher, encoded: string): boolean =>
    hasher === preferred
      ? hasher.needsRehash(encoded)
      : formats.indexOf(hasher.algorithm) < formats.indexOf(preferredName) || !hasher.isSufficient(encoded);

  function note(hasher: PasswordHasher, encoded: string): void {
    const work = hasher.workOf(encoded);
    const isMore = work > (costliest.get(hasher)?.work ?? 0) && work <= hasher.mostPadded;
    if (isMore && hasher.isValid(encoded)) costliest.set(hasher, { work, encoded });
  }

  /** Does what a refused login still has to do, when one hash of a format may be done already. */
  async function pad(password: string, done?: PasswordHasher, doneWork = 0): Promise<void> {
    for (const [hasher, { work, encoded }] of costliest) {
      try {
        if (hasher === done) await (work > doneWork && hasher.spend(password, work - doneWork));
        else if (encoded === undefined) await hasher.spend(password, work);
        else await hasher.verify(password, encoded);
      } catch (error) {
        if (!(error instanceof HasherUnavailable)) throw error; // its users are refused without this work too
      }
    }
  }

  return {
    ready: async () => preferred.ready?.(),
    async hash(password) {
      if (isTooLong(password)) throw new RangeError(`the password is longer than ${maxPasswordBytes} bytes`);
      return inTurn(() => preferred.hash(password));
    },
    async check(password, encoded, mayLogIn = true) {
      if (isTooLong(password)) return { ok: false };
      const hasher = encoded === undefined ? undefined : hasherOf(encoded);
      return inTurn(async () => {
        if (hasher === undefined) {
          await pad(password);
          return { ok: false, unknownFormat: encoded !== undefined && !encoded.startsWith("!") };
        }
        note(hasher, encoded!);
        let ok: boolean;
        try {
          ok = await hasher.verify(password, encoded!);
        } catch (error) {
          if (!(error instanceof HasherUnavailable)) throw error;
          await pad(password);
          return { ok: false, missingPackage: error.packageName };
        }
        if (!ok || !mayLogIn) await pad(password, hasher, hasher.workOf(encoded!));
        return ok && isWeak(hasher, encoded!) ? { ok, isWeak: true } : { ok };
      });
    },
    async learn(stored) {
      let [seen, sliceEnd] = [0, performance.now() + sliceMs];
      const iterator = Symbol.iterator in stored ? stored[Symbol.iterator]() : stored[Symbol.asyncIterator]();
      for (;;) {
        const next = iterator.next();
        const { done, value } = "then" in next ? await next : next;
        if (done === true) return;
        const hasher = namedIn(value);
        if (hasher !== undefined) note(hasher, value);
        if (++seen % 64 !== 0 || performance.now() < sliceEnd) continue; // looking at the clock takes as long as a hash
        await new Promise((resolve) => setTimeout(resolve));
        sliceEnd = performance.now() + sliceMs;
      }
    },
    isHash: (encoded) => encoded.startsWith("!") || hasherOf(encoded) !== undefined,
  };
}

/** At most `concurrency` tasks at once and `queue` waiting, first come first served. */
function createLimiter(concurrency: number, queue: number) {
  const waiting: (() => void)[] = [];
  let running = 0;
  let taskMs = 250; // a moving average, for Retry-After
  return async <T>(task: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) {
      if (waiting.length >= queue) {
        throw new PasswordQueueFull(Math.max(1, Math.ceil((waiting.length / concurrency) * (taskMs / 1000))));
      }
      await new Promise<void>((resolve) => waiting.push(resolve)); // the one who ends hands its place over
    } else running++;
    const start = performance.now();
    try {
      return await task();
    } finally {
      taskMs += (performance.now() - start - taskMs) / 8;
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}

/** The one constant-time comparison: its time depends on the length alone. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

const saltCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** 22 letters and digits, 131 random bits, as Django makes them. */
export function randomSalt(): string {
  let salt = "";
  while (salt.length < 22) {
    // Bytes from 248 on would make the first letters likelier than the rest.
    for (const byte of crypto.getRandomValues(new Uint8Array(32))) {
      if (byte < 248 && salt.length < 22) salt += saltCharacters[byte % 62];
    }
  }
  return salt;
}
