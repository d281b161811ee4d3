/** The interface of a hash format, and what the formats share. */
import type { PasswordAlgorithm } from "./formats.ts";

/**
 * One hash format. Only hashes that {@link PasswordHasher.isValid} accepts are passed to the other methods; an error they
 * throw is then a failure of their engine. Work is counted in a unit of the format's own: equal work takes equal time.
 */
export interface PasswordHasher {
  /** The name before the first `$` of a stored hash. */
  readonly algorithm: PasswordAlgorithm;
  /** Work of a new hash. */
  readonly work: number;
  /** The most work that refused logins are padded to, so that one costly stored hash does not slow down all of them. */
  readonly mostPadded: number;
  /**
   * Loads what the format needs.
   * @throws {HasherUnavailable} if its package is not installed.
   */
  ready?(): Promise<void>;
  /** Makes a new hash with a new salt. */
  hash(password: string): Promise<string>;
  /** Returns whether the text is a hash of this format whose work is within the limits. */
  isValid(encoded: string): boolean;
  /** Returns whether the password matches the hash, compared in constant time. */
  verify(password: string, encoded: string): Promise<boolean>;
  /** Returns the work of a stored hash without validating it: for a damaged hash it may be any number. */
  workOf(encoded: string): number;
  /** Returns whether the hash is weaker than a new one of the same format. */
  needsRehash(encoded: string): boolean;
  /** Returns whether the hash has the least work that OWASP asks of the format. */
  isSufficient(encoded: string): boolean;
  /** Computes a hash of the given work and drops it, so that a refused login takes as long as another. */
  spend(password: string, work: number): Promise<void>;
}

/** A hash needs an optional package that is not installed or cannot be loaded here. */
export class HasherUnavailable extends Error {
  override readonly name = "HasherUnavailable";
  readonly code = "HASHER_UNAVAILABLE";
  readonly packageName: string;
  constructor(packageName: string, algorithm: string, options?: ErrorOptions) {
    super(`${algorithm} hashes need the package ${packageName}, which is not installed or can't be loaded`, options);
    this.packageName = packageName;
  }
}

/** A hash asks for more work than the runtime does: deployed Cloudflare Workers derive 100,000 iterations of PBKDF2. */
export class WorkRefused extends Error {
  override readonly name = "WorkRefused";
  readonly code = "WORK_REFUSED";
}

/**
 * Returns a function that loads an optional package on its first call, and tries again only after a failure. The import
 * takes a variable, because bundlers cannot follow these packages into their native code.
 * @throws {HasherUnavailable} from the returned function, if the package cannot be loaded.
 */
export function requirePackage<T>(packageName: string, algorithm: string): () => Promise<T> {
  let loading: Promise<T> | undefined;
  return () =>
    // oxlint-disable-next-line import/no-dynamic-require
    (loading ??= import(/* webpackIgnore: true */ /* @vite-ignore */ packageName).catch((cause: unknown) => {
      loading = undefined;
      throw new HasherUnavailable(packageName, algorithm, { cause });
    }) as Promise<T>);
}

/** Compares in constant time: the time depends on the length alone. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

const saltCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** Returns 22 random letters and digits (131 bits), as Django makes its salts. */
export function randomSalt(): string {
  let salt = "";
  while (salt.length < 22) {
    // 248 is the largest multiple of 62 in a byte; the bytes above it would favour the first letters.
    for (const byte of crypto.getRandomValues(new Uint8Array(32))) {
      if (byte < 248 && salt.length < 22) salt += saltCharacters[byte % 62];
    }
  }
  return salt;
}
