/**
 * The interfaces of a store: users, tokens and, optional, sessions, which one object usually implements.
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

/** Finds and changes users. The methods may return a value or a promise. */
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
   * lately, so that a clock that is wrong for a while brings no revoked token back. Expired sessions go with them and are
   * not counted.
   */
  flushExpired(): MaybePromise<number>;
  /**
   * Returns how many facts the store holds. Expired ones count until they are dropped. For stores that hold them in memory:
   * it must be so cheap that it can be called every second. Optional; metrics show it.
   */
  countFacts?(): MaybePromise<number>;
  /**
   * Returns about how many facts the store holds, for stores that would have to read them all to count them: it must cost no
   * more than a look-up. Optional; metrics show it where there is no `countFacts`.
   */
  estimateFacts?(): MaybePromise<number>;
}

/** A fact by its kind and id. */
export type FactKey = readonly [kind: string, id: string];

/** What a look-up that may lag returns about a token. */
export interface RecentState {
  /** The user's issued-before mark in seconds since the epoch; `null` without one, and without the user. */
  tokensValidFrom: number | null;
  /** Whether the user was removed. */
  wasRemoved: boolean;
  /** Whether any of the facts stands. */
  hasFact: boolean;
}

/** What an exact look-up returns about a token. */
export interface LatestState {
  user: User | undefined;
  /** Whether any of the facts stands. */
  hasFact: boolean;
  /** The value that stands under the fact to write, this one or an earlier one; `undefined` when it was not written. */
  written?: string | undefined;
}

/** A fact to write along with a look-up, as by `putIfAbsent`, unless the look-up finds that the token is refused. */
export interface GuardedFact {
  key: FactKey;
  value: string;
  /** Seconds since the epoch. */
  expiresAt: number;
  /** Seconds since the epoch: not written for a user with an issued-before mark from this time on, nor an inactive one. */
  unlessMarkedSince: number;
}

/**
 * Everything that decides whether a token is revoked, in one look-up: for stores where each look-up costs a round trip.
 * Without these methods the endpoints use `findUserById`, `wasRemoved` and `get`, one after the other.
 */
export interface StateStore {
  /**
   * May lag behind other servers by a bound that the store documents, so that it can return at once. Used by `verify`.
   * @throws {StoreError} `STORE_UNAVAILABLE` when it lags further and the store is set to refuse then.
   */
  recentState(userId: string | undefined, facts: readonly FactKey[]): MaybePromise<RecentState>;
  /**
   * Returns what any server has acknowledged until now. Used where tokens are issued.
   * @param write written only for an active user without a later mark, and if none of the facts stands.
   */
  latestState(userId: string, facts: readonly FactKey[], write?: GuardedFact): MaybePromise<LatestState>;
}

/** A login, as users may see it. Holds personal data: an address and an agent. */
export interface Session {
  /** The `sid` of its tokens. */
  readonly id: string;
  /** The user's `id` in the store. */
  readonly userId: string;
  /** The time of the login, in seconds since the epoch. */
  readonly createdAt: number;
  /** The time of the login or of a later refresh, in seconds since the epoch. */
  readonly lastUsedAt: number;
  /** In seconds since the epoch. From then on none of its tokens is valid. */
  readonly expiresAt: number;
  /** The client's address at the login; `null` when it is not known. */
  readonly ip: string | null;
  /** The client's `User-Agent` at the login; `null` when it sent none. */
  readonly userAgent: string | null;
}

/** How much later than the recorded use the next one is before it is recorded, in seconds. */
export const touchInterval = 60;

/**
 * The sessions that users may see, an optional part of a store: a list for people to read. Whether a token is valid is
 * decided by facts and marks alone. `removeUser` drops the user's sessions, `flushExpired` expired ones.
 */
export interface SessionStore {
  /** Adds a session. One that has this id already stays as it is. */
  addSession(session: Session): MaybePromise<void>;
  /**
   * Records the use of a session, and until when it lasts now. Does nothing when the recorded use is less than
   * `touchInterval` earlier, so that a busy session costs few writes, and when there is no such session.
   * @param lastUsedAt seconds since the epoch.
   * @param expiresAt seconds since the epoch.
   */
  touchSession(id: string, lastUsedAt: number, expiresAt: number): MaybePromise<void>;
  /** Returns the sessions of a user that have not expired, in the order they were added. */
  listSessions(userId: string): MaybePromise<readonly Session[]>;
  /** Removes a session, if there is one. */
  removeSession(id: string): MaybePromise<void>;
}

/**
 * Messages between the processes of one store, an optional part: they carry what throttles count. A message may get lost, is
 * a fraction of a second late, and is not kept. Both methods return at once and never throw.
 */
export interface MessageStore {
  /**
   * Sends a text to the subscribers of all other processes that have opened the store, after those sent before.
   * @param text any characters, at most 1000.
   */
  publish(text: string): void;
  /**
   * Receives what other processes publish, until the store is closed.
   * @param receive never throws. Who may write to the store may forge texts.
   */
  subscribe(receive: (text: string) => void): void;
}

/** A whole store: users, facts about tokens, sessions where it records them, messages where it has several processes. */
export interface Store
  extends UserStore, TokenStore, Partial<StateStore>, Partial<SessionStore>, Partial<MessageStore> {
  /**
   * Resolves when the store can serve.
   * @throws {StoreError} `STORE_UNAVAILABLE` when it can't.
   */
  ping(): MaybePromise<void>;
  /** Finishes pending writes and closes files and connections. */
  close(): MaybePromise<void>;
}

/** The stable codes of a `StoreError`. */
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

/** A URL that names no store. Its message is one line and holds nothing of the URL but its scheme and names of parameters. */
export class StoreUrlError extends TypeError {
  override readonly name = "StoreUrlError";
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
