/**
 * The interfaces of a store: users and tokens, which one object usually implements.
 * A store knows nothing of HTTP or of token formats. Every method may return at once or with a promise.
 * `conformance.ts` beside this file turns every promise made here into a case that any store can be run against.
 */
import type { MaybePromise } from "../maybe-promise.ts";

/** A user as the endpoints need it. A host's own store may return objects with more fields, which its hooks receive. */
export interface User {
  /** Never changes and is never used again. Tokens carry it, as a string. */
  readonly id: string;
  /** The unique name for the login. The settings may call the field by another name (`usernameField: "email"`). */
  readonly username: string;
  readonly email: string;
  /** Django's `algorithm$…` text; one that starts with `!` never matches (Django's unusable password). */
  readonly passwordHash: string;
  readonly isActive: boolean;
  /** Seconds since the epoch, or `null` before the first recorded login. */
  readonly lastLogin: number | null;
  /**
   * The issued-before mark, in seconds since the epoch: tokens issued (`iat`) before are revoked. `null`, or absent in a
   * host's own store, while all are valid. Set when a user's sessions are ended, the password is changed or the user is
   * disabled, and by the store itself when a user takes a name that another had: to that moment, unless it is later.
   */
  readonly tokensValidFrom?: number | null;
}

/** How names compare (`usernameMatching`): whether names that differ by case alone are one name. */
export type UsernameMatching = "exact" | "case-insensitive";

/** A user to add: only the name and the hash are required. The id defaults to a random UUID. */
export type NewUser = Pick<User, "username" | "passwordHash"> & Partial<User>;

/** Fields of a user that can change. */
export type UserChanges = Partial<Omit<User, "id">>;

export interface UserStore {
  /**
   * Returns the user of this name, or `undefined`. The caller has normalized the name (NFKC). With `case-insensitive`, the
   * user of exactly this name comes first, then the only user whose name differs by case alone; of several, none.
   */
  findUserByUsername(username: string, matching?: UsernameMatching): MaybePromise<User | undefined>;
  findUserById(id: string): MaybePromise<User | undefined>;
  /**
   * Changes some fields and returns the user after that; `undefined` when there is no such user.
   * @param expected if given, nothing changes unless each of these fields still has this value, compared and changed in
   * one step across processes. The user as it stands is returned either way.
   * @param matching decides whether a new username is taken. Default `exact`.
   * @throws {StoreError} `USER_EXISTS` when a new username is taken.
   */
  updateUser(
    id: string,
    changes: UserChanges,
    expected?: UserChanges,
    matching?: UsernameMatching,
  ): MaybePromise<User | undefined>;
  /**
   * Adds a user. A removed user's id stays taken; with `case-insensitive`, a username that differs from another by case
   * alone is taken, too.
   * @throws {StoreError} `USER_EXISTS` when the id or the username is taken, whichever process was first.
   */
  addUser(user: NewUser, matching?: UsernameMatching): MaybePromise<User>;
  /**
   * Adds all users or none, read as a stream, and returns how many. An error thrown by the iterable ends the batch with
   * nothing added.
   * @throws {StoreError} `USER_EXISTS`, naming the first name that is taken (in the store, or twice in the batch).
   */
  addUsers(users: Iterable<NewUser> | AsyncIterable<NewUser>, matching?: UsernameMatching): MaybePromise<number>;
  /**
   * Removes a user and returns whether there was one. The store remembers for good that the id and the name were in use,
   * so that nobody inherits the user's tokens: the id is never free again, and the next user of the name gets an
   * issued-before mark (`tokensValidFrom`).
   */
  removeUser(id: string): MaybePromise<boolean>;
  /**
   * Returns whether a user had a value of `id` or `username` and gave it up, by removal or by another name: `false` for any
   * other field, for a value that a user has, and for one that no user ever had.
   */
  wasRemoved(field: string, value: string): MaybePromise<boolean>;
  /** Returns every user, in the order they were added: a snapshot, so the caller may write while reading. */
  listUsers(): Iterable<User> | AsyncIterable<User>;
  /**
   * Returns every stored password hash, in any order. The endpoints read them little by little after the start, so that
   * refused logins do the same work whichever hash they concern. A store for which the whole list is costly may return one
   * hash of each format and cost, or leave the method out: a format is then known from the first login with it.
   */
  passwordHashes?(): Iterable<string> | AsyncIterable<string>;
}

/**
 * A register of facts that expire, in which the first writer wins. That single step carries a blacklisted `jti`, the
 * successor of a rotated token, the end of a session.
 */
export interface TokenStore {
  /**
   * Writes `value` under (`kind`, `id`) unless a value stands there, and returns the one that stands: this or the earlier
   * one. Atomic across processes: all racing callers get the same value. When it returns, the fact is as durable as the
   * store makes it.
   * @param expiresAt seconds since the epoch; from then on the fact is absent and may be written anew.
   */
  putIfAbsent(kind: string, id: string, value: string, expiresAt: number): MaybePromise<string>;
  /** Returns the value that stands, or `undefined` when there is none or it has expired. */
  get(kind: string, id: string): MaybePromise<string | undefined>;
  /**
   * Drops expired facts and returns how many; a store may have dropped others by itself before. It keeps what has expired
   * lately, so that a clock that is wrong for a while brings no revoked token back.
   */
  flushExpired(): MaybePromise<number>;
}

export interface Store extends UserStore, TokenStore {
  /**
   * Resolves when the store can serve.
   * @throws {StoreError} `STORE_UNAVAILABLE` when it can't.
   */
  ping(): MaybePromise<void>;
  /** Finishes pending writes and closes files and connections. */
  close(): MaybePromise<void>;
}

export type StoreErrorCode =
  /** Another user has the name or the id. */
  | "USER_EXISTS"
  /** The store can't serve now (full disk, unreadable folder, lost connection): a 503. Nothing was acknowledged. */
  | "STORE_UNAVAILABLE"
  /** What is stored is damaged, and an operator has to look at it. */
  | "STORE_DAMAGED";

/**
 * The only error that stores throw on purpose. The handler goes by `code` alone, so a host's own store need not import
 * this class. Messages hold no password hash and no token.
 */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Returns a whole {@link User} from a new one, with the defaults filled in. */
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
