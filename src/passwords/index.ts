/**
 * Password hashes in Django's formats. Each format has a file beside this one; a stored hash names its format before the
 * first `$`.
 *
 * ```ts
 * const passwords = createPasswords();
 * const stored = await passwords.hash("correct horse");   // pbkdf2_sha256$600000$…
 * await passwords.check("correct horse", stored);          // { ok: true }
 * ```
 */
import { argon2 } from "./argon2.ts";
import { bcrypt, bcryptSha256 } from "./bcrypt.ts";
import { type PreferredAlgorithm, defaultIterations, formats, maxIterations, preferredFormats } from "./formats.ts";
import { HasherUnavailable, type PasswordHasher, WorkRefused } from "./hasher.ts";
import { pbkdf2Sha1, pbkdf2Sha256 } from "./pbkdf2.ts";
import { type Caller, type QueueLoad, createLimiter } from "./queue.ts";
import { scrypt } from "./scrypt.ts";

export type { PasswordAlgorithm, PreferredAlgorithm } from "./formats.ts";
export { HasherUnavailable } from "./hasher.ts";
export { type Caller, ClientGone, PasswordQueueFull } from "./queue.ts";

/** How `createPasswords` hashes, as the setting `hashing`. */
export interface PasswordOptions {
  /** The format of new hashes and of those that replace weaker ones at a login. Default `pbkdf2_sha256`. */
  preferred?: PreferredAlgorithm;
  /** PBKDF2 iterations of new hashes, at most 20,000,000. Default 600,000. */
  iterations?: number;
  /** Hashes computed at the same time. Default: the number of cores if the runtime reports it, else 4. */
  concurrency?: number;
  /** Callers that may wait; the next one gets {@link PasswordQueueFull}. Default 100. */
  queue?: number;
}

/** The result of checking a password against a hash. */
export interface PasswordCheck {
  ok: boolean;
  /** The password is right, but its hash is weaker than a new one and should be replaced. */
  isWeak?: boolean;
  /** The stored text has no known format or is damaged. Django's unusable password (`!…`) is a known format. */
  unknownFormat?: boolean;
  /** The npm package that this hash needs, if it is not installed. */
  missingPackage?: string;
  /** The hash asks for more work than the runtime does: what it refuses. */
  refusedWork?: string;
}

/** Hashes passwords and checks them against hashes of all formats, a limited number at a time. */
export interface Passwords {
  /**
   * Resolves when the preferred format can be used.
   * @throws {HasherUnavailable} if its package is not installed.
   */
  ready(): Promise<void>;
  /**
   * Returns a new hash in the preferred format.
   * @throws {RangeError} for a password over 4,096 bytes.
   * @param caller on whose behalf; the places in the queue are shared out by client.
   * @throws {PasswordQueueFull} when too many callers wait.
   * @throws {ClientGone} when the client has gone before the hash began.
   */
  hash(password: string, caller?: Caller): Promise<string>;
  /**
   * Checks a password. Every failed check does the same work, so that its time does not tell which users exist: one hash
   * of each format in the store, with the most work found there. Hashes of more than four times the work of a new one are
   * left out of that maximum. A password over 4,096 bytes fails without being hashed.
   * @param encoded the stored hash; undefined for an unknown user.
   * @param mayLogIn false if a right password is refused as well (inactive user): its check then takes as long as a
   * failed one. Default true.
   * @param caller on whose behalf, as for {@link hash}.
   * @throws {PasswordQueueFull} when too many callers wait.
   * @throws {ClientGone} when the client has gone before the hash began.
   */
  check(password: string, encoded: string | undefined, mayLogIn?: boolean, caller?: Caller): Promise<PasswordCheck>;
  /**
   * Reads stored hashes, so that {@link check} knows from the start the work to pad to. It yields to the event loop every
   * few milliseconds. A format not among them counts from the first check of such a hash on.
   */
  learn(stored: Iterable<string> | AsyncIterable<string>): Promise<void>;
  /** Returns how many callers wait for a hash. */
  load(): QueueLoad;
  /** Calls a function with the seconds that each caller has waited, as its hash begins. Replaces an earlier function. */
  observeWaits(observer: (seconds: number) => void): void;
  /** Returns whether the text is a hash that {@link check} can verify, or Django's unusable password. */
  isHash(encoded: string): boolean;
}

/** Whether an error says that a hash can't be computed here at all. */
const cannotRun = (error: unknown): error is HasherUnavailable | WorkRefused =>
  error instanceof HasherUnavailable || error instanceof WorkRefused;

/** Longer than any passphrase; without a limit an attacker could make the server hash megabytes. */
export const maxPasswordBytes = 4096;
/** The longest that reading stored hashes may block the event loop. */
const sliceMs = 4;

/**
 * Returns the password functions of one endpoint set.
 * @throws {RangeError} for iterations out of range, or for a preferred format that is only verified (`bcrypt`).
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
  const limiter = createLimiter(concurrency, options.queue ?? 100);
  const all = [pbkdf2Sha256(iterations), pbkdf2Sha1(iterations), argon2(), bcryptSha256(), bcrypt(), scrypt()];
  const hashers = new Map<string, PasswordHasher>(all.map((hasher) => [hasher.algorithm, hasher]));
  const preferred = hashers.get(preferredName)!;
  /** For each stored format the most work of its hashes, and one hash with it: what a refused login is padded to. */
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

  /** Does the remaining work of a refused login. `done` is the format already computed, `doneWork` its work. */
  async function pad(password: string, done?: PasswordHasher, doneWork = 0): Promise<void> {
    for (const [hasher, { work, encoded }] of costliest) {
      try {
        if (hasher === done) await (work > doneWork && hasher.spend(password, work - doneWork));
        else if (encoded === undefined) await hasher.spend(password, work);
        else await hasher.verify(password, encoded);
      } catch (error) {
        if (!cannotRun(error)) throw error; // its own users are refused without this work too
      }
    }
  }

  return {
    ready: async () => preferred.ready?.(),
    async hash(password, caller) {
      if (isTooLong(password)) throw new RangeError(`the password is longer than ${maxPasswordBytes} bytes`);
      return limiter.run(() => preferred.hash(password), caller);
    },
    async check(password, encoded, mayLogIn = true, caller = {}) {
      if (isTooLong(password)) return { ok: false };
      const hasher = encoded === undefined ? undefined : hasherOf(encoded);
      return limiter.run(async () => {
        if (hasher === undefined) {
          await pad(password);
          return { ok: false, unknownFormat: encoded !== undefined && !encoded.startsWith("!") };
        }
        note(hasher, encoded!);
        let ok: boolean;
        try {
          ok = await hasher.verify(password, encoded!);
        } catch (error) {
          if (!cannotRun(error)) throw error;
          await pad(password);
          return error instanceof WorkRefused
            ? { ok: false, refusedWork: error.message }
            : { ok: false, missingPackage: error.packageName };
        }
        if (!ok || !mayLogIn) await pad(password, hasher, hasher.workOf(encoded!));
        return ok && isWeak(hasher, encoded!) ? { ok, isWeak: true } : { ok };
      }, caller);
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
        if (++seen % 64 !== 0 || performance.now() < sliceEnd) continue; // reading the clock costs as much as reading a hash
        await new Promise((resolve) => setTimeout(resolve));
        sliceEnd = performance.now() + sliceMs;
      }
    },
    load: limiter.load,
    observeWaits: limiter.observeWaits,
    isHash: (encoded) => encoded.startsWith("!") || hasherOf(encoded) !== undefined,
  };
}
