/**
 * What a store is: two small interfaces, users and tokens, which one object usually implements.
 * A store knows nothing of HTTP or of token formats. Every method may answer at once or with a promise.
 * `conformance.ts` beside this file turns every promise made here into a case that any store can be run against.
 */
import type { MaybePromise } from "../maybe-promise.ts";

/** A user as the endpoints need it. A host's own store may return objects with more fields; they reach its hooks. */
export interface User {
  /** Never changes, never used again. Tokens carry it, as a string. */
  readonly id: string;
  /** What the user logs in with, unique. The settings may call the field by another name (`usernameField: "email"`). */
  readonly username: string;
  readonly email: string;
  /** Django's `algorithm$…` text; one that starts with `!` never matches (Django's unusable password). */
  readonly passwordHash: string;
  readonly isActive: boolean;
  /** Seconds since the epoch, or `null` before the first recorded login. */
  readonly lastLogin: number | null;
  /**
   * Seconds since the epoch: tokens issued (`iat`) before are void. `null`, or absent in a host's own store, while all
   * count. Set when a user's sessions are ended, the password is changed or the user is disabled, and by the store itself
   * when a user takes a name that another had: to that moment, unless it is later already.
   */
  readonly tokensValidFrom?: number | null;
}

/** Whether names that differ by case alone are one name (`usernameMatching`). */
export type UsernameMatching = "exact" | "case-insensitive";

/** A name with differences of case taken out: two names that fold alike are one under `case-insensitive`. */
export function foldUsername(username: string): string {
  if (/^[ -@[-~]*$/.test(username)) return username; // ASCII without capitals: most names
  // Small first: some capitals (ẞ) stay as they are when made capital, where their small form (ß) becomes others (SS).
  return username.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
}

/** A user to add: only the name and the hash must be said. The id defaults to a random UUID. */
export type NewUser = Pick<User, "username" | "passwordHash"> & Partial<User>;

/** Fields of a user that can change. */
export type UserChanges = Partial<Omit<User, "id">>;

export interface UserStore {
  /**
   * The user of this name, or `undefined`. The caller has normalized the name (NFKC). With `case-insensitive`, who has
   * exactly this name comes first, then the one user whose name differs by case alone; of several, none.
   */
  findUserByUsername(username: string, matching?: UsernameMatching): MaybePromise<User | undefined>;
  findUserById(id: string): MaybePromise<User | undefined>;
  /**
   * Changes some fields and answers the user as it then stands; `undefined` when there is no such user.
   * With `expected`, changes nothing unless every field named there still has that value, compared and changed in one
   * step across processes; the user that stands is answered either way.
   * Throws {@link StoreError} `USER_EXISTS` when a new username is taken, as `matching` has it (default `exact`).
   */
  updateUser(
    id: string,
    changes: UserChanges,
    expected?: UserChanges,
    matching?: UsernameMatching,
  ): MaybePromise<User | undefined>;
  /**
   * Throws {@link StoreError} `USER_EXISTS` when the id or the username is taken, whichever process was first; with
   * `case-insensitive`, a username that differs from another by case alone is taken too. A removed user's id stays taken.
   */
  addUser(user: NewUser, matching?: UsernameMatching): MaybePromise<User>;
  /**
   * Adds all or none, read as a stream, and answers how many. Throws `USER_EXISTS` naming the first name that is
   * taken (in the store, or twice in the batch); an error thrown by the iterable ends the batch with nothing added.
   */
  addUsers(users: Iterable<NewUser> | AsyncIterable<NewUser>, matching?: UsernameMatching): MaybePromise<number>;
  /**
   * Removes a user and returns whether there was one. The store remembers for good that the id and the name were in use, so
   * that nobody inherits the user's tokens: the id is never free again, and whoever takes the name begins anew
   * (`tokensValidFrom`).
   */
  removeUser(id: string): MaybePromise<boolean>;
  /**
   * Whether a user had a value of `id` or `username` and gave it up, by removal or by another name. False for any other
   * field, for a value that a user has, and for one that nobody ever had.
   */
  wasRemoved(field: string, value: string): MaybePromise<boolean>;
  /** Every user, in the order they were added; a snapshot, so the caller may write while reading. */
  listUsers(): Iterable<User> | AsyncIterable<User>;
  /**
   * Every stored password hash, in any order. The endpoints read them little by little after the start, so that refused
   * logins do the same work whichever of them they concern. A store to which a whole list is costly may return one hash
   * of each format and cost, or leave the method out: a format is then known from the first login of such a user on.
   */
  passwordHashes?(): Iterable<string> | AsyncIterable<string>;
}

/**
 * A register of facts that expire, in which the first writer wins. That single step carries a blacklisted `jti`, the
 * successor of a rotated token, the end of a session.
 */
export interface TokenStore {
  /**
   * Writes `value` under (`kind`, `id`) unless a value stands there, and answers the value that stands: mine, or the
   * earlier one. Atomic across processes: of any number of racing callers all learn the same value. When it answers,
   * the fact is as durable as the store gets.
   * @param expiresAt seconds since the epoch; from then on the fact counts as absent and may be claimed anew.
   */
  putIfAbsent(kind: string, id: string, value: string, expiresAt: number): MaybePromise<string>;
  /** The value that stands, or `undefined` when there is none or it has expired. */
  get(kind: string, id: string): MaybePromise<string | undefined>;
  /**
   * Forgets expired facts and returns how many; a store may have forgotten others by itself before. It keeps what expired
   * lately, since a clock that is set wrong for a while must not bring revoked tokens back.
   */
  flushExpired(): MaybePromise<number>;
}

export interface Store extends UserStore, TokenStore {
  /** Resolves when the store can serve; throws {@link StoreError} `STORE_UNAVAILABLE` when it can't. */
  ping(): MaybePromise<void>;
  /** Finishes pending writes and lets go of files and connections. */
  close(): MaybePromise<void>;
}

export type StoreErrorCode =
  /** Another user has the name or the id. */
  | "USER_EXISTS"
  /** The store can't serve now (full disk, unreadable folder, lost connection); answered as 503. Nothing was acknowledged. */
  | "STORE_UNAVAILABLE"
  /** What is stored is damaged; somebody has to look at it. */
  | "STORE_DAMAGED";

/**
 * The one error stores throw on purpose. The handler goes by `code` alone, so a host's own store need not import this
 * class. Messages hold no password hash and no token.
 */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A whole {@link User} from a new one, with the defaults filled in. */
export function completeUser(user: NewUser): User {
  return {
    id: user.id ?? crypto.randomUUID(),
    username: user.username,
    email: user.email ?? "",
    passwordHash: user.passwordHash,
    isActive: user.isActive ?? true,
    lastLogin: user.lastLogin ?? null,
    tokensValidFrom: user.tokensValidFrom ?? null,
  };
}
