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
import { pbkdf2Sha1, pbkdf2Sha256 } from "./pbkdf2.ts";
import { scrypt } from "./scrypt.ts";

/** The formats, by the names in front of the hashes. */
export type PasswordAlgorithm = "pbkdf2_sha256" | "pbkdf2_sha1" | "argon2" | "bcrypt_sha256" | "bcrypt" | "scrypt";

/**
 * One hash format. `verify`, `needsRehash` and `harden` are only asked about hashes that `isValid` accepts, and what they
 * throw is then a failure of their engine.
 */
export interface PasswordHasher {
  /** The name before the first `$`. */
  readonly algorithm: string;
  /** Rejects with {@link HasherUnavailable} when what it needs is not installed. */
  ready?(): Promise<void>;
  hash(password: string): Promise<string>;
  isValid(encoded: string): boolean;
  verify(password: string, encoded: string): Promise<boolean>;
  /** Whether the hash is weaker than one made now. */
  needsRehash(encoded: string): boolean;
  /** Does the work that a weaker hash saves, so that time does not tell how strong a hash is (Django's `harden_runtime`). */
  harden(password: string, encoded: string): Promise<void>;
  /** Does the work of a check for which there is no hash, as costly as the costliest of those checked so far. */
  burn(password: string): Promise<void>;
}

export interface PasswordOptions {
  /** The format of new hashes, and of those that replace others at a login. Default `pbkdf2_sha256`. */
  preferred?: PasswordAlgorithm;
  /** PBKDF2 iterations of new hashes. Default 600,000. */
  iterations?: number;
  /** Hashes computed at the same time. Default: the cores the runtime tells of, else 4. */
  concurrency?: number;
  /** Callers that may wait for a turn; one more gets {@link PasswordQueueFull}. Default 100. */
  queue?: number;
}

export interface PasswordCheck {
  ok: boolean;
  /** A stronger hash of the same password, to be stored in place of the old one. */
  rehashed?: string;
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
   * Checks a password; without a stored hash (unknown user) it takes the same time and fails. The same is the time of the
   * preferred format: a hash of another one takes its own, until its user has logged in once.
   * A password over 4,096 bytes fails without being hashed.
   * @throws {PasswordQueueFull} when too many callers wait already.
   */
  check(password: string, encoded: string | undefined): Promise<PasswordCheck>;
  /** Whether a text is a hash that {@link check} can judge, or Django's unusable password. */
  isHash(encoded: string): boolean;
}

/** Long enough for any passphrase; beyond it the work of hashing is a gift to an attacker. */
const maxPasswordBytes = 4096;

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

export function createPasswords(options: PasswordOptions = {}): Passwords {
  const concurrency = options.concurrency ?? (globalThis.navigator?.hardwareConcurrency || 4);
  const inTurn = createTurns(concurrency, options.queue ?? 100);
  const iterations = options.iterations ?? 600_000;
  const all = [pbkdf2Sha256(iterations), pbkdf2Sha1(iterations), argon2(), bcryptSha256(), bcrypt(), scrypt()];
  const hashers = new Map(all.map((hasher) => [hasher.algorithm, hasher]));
  const preferred = hashers.get(options.preferred ?? "pbkdf2_sha256")!;

  const hasherOf = (encoded: string): PasswordHasher | undefined => {
    const hasher = hashers.get(encoded.slice(0, Math.max(0, encoded.indexOf("$"))));
    return hasher?.isValid(encoded) ? hasher : undefined;
  };
  const isTooLong = (password: string): boolean =>
    password.length > maxPasswordBytes || new TextEncoder().encode(password).length > maxPasswordBytes;

  return {
    ready: async () => preferred.ready?.(),
    async hash(password) {
      if (isTooLong(password)) throw new RangeError(`the password is longer than ${maxPasswordBytes} bytes`);
      return inTurn(() => preferred.hash(password));
    },
    async check(password, encoded) {
      if (isTooLong(password)) return { ok: false };
      const hasher = encoded === undefined ? undefined : hasherOf(encoded);
      return inTurn(async () => {
        if (hasher === undefined) {
          await preferred.burn(password);
          return { ok: false, unknownFormat: encoded !== undefined && !encoded.startsWith("!") };
        }
        let ok: boolean;
        try {
          ok = await hasher.verify(password, encoded!);
        } catch (error) {
          if (!(error instanceof HasherUnavailable)) throw error;
          if (hasher !== preferred) await preferred.burn(password);
          return { ok: false, missingPackage: error.packageName };
        }
        if (!ok) await hasher.harden(password, encoded!);
        const isWeak = hasher !== preferred || hasher.needsRehash(encoded!);
        return ok && isWeak ? { ok, rehashed: await preferred.hash(password) } : { ok };
      });
    },
    isHash: (encoded) => encoded.startsWith("!") || hasherOf(encoded) !== undefined,
  };
}

/** At most `concurrency` tasks at once and `queue` waiting, first come first served. */
function createTurns(concurrency: number, queue: number) {
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
