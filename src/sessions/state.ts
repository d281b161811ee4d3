/**
 * What the store knows of a token: the one look-up that `rules.ts` judges. State is kept by ids, never by a token's text,
 * under four kinds of facts:
 *
 * - `blacklist`, by `jti`: this token is revoked;
 * - `session`, by `sid`: every token of the session is revoked, including those issued later;
 * - `successor`, by `jti`: the successor of a rotated refresh token;
 * - `kept`, by session and issued-before mark: the mark does not revoke the tokens of this session, while the user has the
 *   password whose digest is the value.
 */
import { type MaybePromise, after, isPromise } from "../maybe-promise.ts";
import type { EndpointsStore, Settings } from "../settings/types.ts";
import type { FactKey, GuardedFact, User } from "../stores/store.ts";
import { type Claims, type Issue, jtiFrom, nowOf, passwordDigest, sessionOf, userIdFrom } from "../tokens/claims.ts";
import type { RotationLimit } from "./rotation-limit.ts";
import {
  type Account,
  type RecordedRotation,
  type Rotation,
  type TokenFacts,
  type TokenState,
  isRefusedByUser,
  isRevokedByFact,
  isRevokedByUser,
  isSingleUse,
  keptIdOf,
} from "./rules.ts";

/** What sessions are kept with. */
export interface SessionContext {
  readonly settings: Settings;
  readonly store: EndpointsStore;
  /** Limits rotations by session, when that is on. */
  readonly rotations?: (() => MaybePromise<RotationLimit>) | undefined;
}

/** The rotation of a refresh token, made before the token's state is known. */
export interface RotationPlan {
  readonly issue: Issue;
  readonly fact: GuardedFact;
  /** The rotation that stands once the store has recorded it: this one or an earlier one. */
  recorded?: string | undefined;
}

/** What the caller is about to decide. Only what that decision needs is looked up. */
export type Purpose = "verify" | "refresh" | "bearer";

/** Database clients often return null for a missing row. */
const orUndefined = <T>(found: T | null | undefined): T | undefined => found ?? undefined;
export const exists = (found: unknown): boolean => found !== undefined && found !== null;

const noFacts: TokenFacts = Object.freeze({});
const blacklisted: TokenFacts = Object.freeze({ isBlacklisted: true });
const sessionEnded: TokenFacts = Object.freeze({ isSessionEnded: true });

/**
 * Looks up what the store knows of a token whose signature and claims are valid: the user first, then the facts, which
 * are skipped when the user decides. A store that can look all of it up at once does. Returns no promise when the store
 * returns none.
 * @param plan is recorded in the same step, where the store can (`latestState`).
 */
export function lookUp(
  context: SessionContext,
  claims: Claims,
  purpose: Purpose,
  plan?: RotationPlan,
): MaybePromise<TokenState> {
  const state = lookUpState(context, claims, purpose, plan);
  return context.settings.checkRevokeToken ? after(state, withPasswordDigest) : state;
}

/** Loads what {@link lookUp} needs under these settings, so that the first request does not wait for it. */
export const prepareLookUp = async ({ checkRevokeToken }: Settings): Promise<void> =>
  void (checkRevokeToken && (await passwordDigest("")));

function withPasswordDigest(state: TokenState): MaybePromise<TokenState> {
  const { account, facts } = state;
  if (account.user === undefined) return state;
  return after(passwordDigest(account.user.passwordHash), (digest) => ({
    account: { ...account, passwordDigest: digest },
    facts,
  }));
}

function lookUpState(
  context: SessionContext,
  claims: Claims,
  purpose: Purpose,
  plan: RotationPlan | undefined,
): MaybePromise<TokenState> {
  if (purpose === "verify" && context.store.recentState !== undefined) {
    const recent = lookUpRecent(context, claims);
    if (recent !== undefined) return recent;
  }
  if (purpose !== "verify" && context.store.latestState !== undefined) {
    const latest = lookUpLatest(context, claims, purpose, plan);
    if (latest !== undefined) return latest;
  }
  // Without closures where nothing has to be waited for: they took a few percent of a request's time.
  const user = findUser(context, claims);
  const account = isPromise(user)
    ? user.then((found) => accountOf(context, claims, purpose, found))
    : accountOf(context, claims, purpose, user);
  return isPromise(account)
    ? account.then((found) => stateOf(context, claims, purpose, found))
    : stateOf(context, claims, purpose, account);
}

function stateOf(
  context: SessionContext,
  claims: Claims,
  purpose: Purpose,
  account: Account,
): MaybePromise<TokenState> {
  const known = isRevokedByUser(claims, account) ? lookUpKept(context, claims, account) : account;
  return isPromise(known)
    ? known.then((found) => withFacts(context, claims, purpose, found))
    : withFacts(context, claims, purpose, known);
}

/** Looks up whether a session goes on past the user's mark, which only a token that is otherwise refused needs. */
function lookUpKept({ settings, store }: SessionContext, claims: Claims, account: Account): MaybePromise<Account> {
  const id = account.user?.id ?? userIdFrom(settings, claims);
  const mark = (account.user ?? account).tokensValidFrom;
  if (id === undefined || store.get === undefined) return account;
  return after(store.get("kept", keptIdOf(claims, id, mark!)), (digest) => {
    if (!exists(digest)) return account;
    return after(account.user ?? store.findUserById(id), (user) =>
      user ? after(isKeptWith(digest!, user), (isKept) => (isKept ? { ...account, isKept } : account)) : account,
    );
  });
}

/**
 * Whether a `kept` fact is about the password that the user has. Of two changes in one millisecond, which have the same mark,
 * both have written their fact, and one has changed the password.
 */
export const isKeptWith = (kept: string, user: User): MaybePromise<boolean> =>
  after(passwordDigest(user.passwordHash), (digest) => digest === kept);

function withFacts(
  context: SessionContext,
  claims: Claims,
  purpose: Purpose,
  account: Account,
): MaybePromise<TokenState> {
  if (isRefusedByUser(claims, account)) return { account, facts: noFacts };
  const facts = lookUpFacts(context, claims, purpose);
  return isPromise(facts) ? facts.then((found) => ({ account, facts: found })) : { account, facts };
}

function accountOf(
  context: SessionContext,
  claims: Claims,
  purpose: Purpose,
  user: User | undefined,
): MaybePromise<Account> {
  const { settings } = context;
  if (purpose === "refresh") {
    const may = user !== undefined && mayLogIn(settings, user);
    return isPromise(may)
      ? may.then((allowed) => ({ user, wasRemoved: false, mayLogIn: allowed }))
      : { user, wasRemoved: false, mayLogIn: may };
  }
  const id = userIdFrom(settings, claims);
  if (user !== undefined || id === undefined || purpose === "bearer") {
    return { user, wasRemoved: false, mayLogIn: true };
  }
  return after(wasRemovedOrFound(context, claims, id), (found) => ({ ...found, mayLogIn: true }));
}

/** Looks up whether the missing user of a token was removed. */
function wasRemovedOrFound(
  context: SessionContext,
  claims: Claims,
  id: string,
): MaybePromise<Pick<Account, "user" | "wasRemoved">> {
  const { store, settings } = context;
  const { userIdField: field } = settings;
  // Stores remember ids and names alone. By a field of the host's, whose users are all there, a missing user was removed.
  if (field !== "id" && field !== "username") return { user: undefined, wasRemoved: true };
  if (store.wasRemoved === undefined) return { user: undefined, wasRemoved: false };
  return after(store.wasRemoved(field, id), (wasRemoved) => {
    if (wasRemoved || field === "id") return { user: undefined, wasRemoved };
    // Another user may have taken the name since the first look-up: then nobody has given it up, and that user has a mark.
    return after(findUser(context, claims), (user) => ({ user, wasRemoved }));
  });
}

/** The facts by which a token is revoked. */
const revocationsOf = (settings: Settings, claims: Claims): FactKey[] => [
  ["blacklist", jtiFrom(settings, claims)],
  ["session", sessionOf(settings, claims)],
];

/** Looks up, possibly lagging, what `verify` judges; `undefined` where settings make it depend on more than the store keeps. */
function lookUpRecent(context: SessionContext, claims: Claims): MaybePromise<TokenState> | undefined {
  const { settings, store } = context;
  if (settings.userIdField !== "id" || settings.checkRevokeToken) return undefined;
  const recent = store.recentState!(userIdFrom(settings, claims), revocationsOf(settings, claims));
  return after(recent, ({ tokensValidFrom, wasRemoved, hasFact }) => {
    const marked: Account = { user: undefined, tokensValidFrom, wasRemoved, mayLogIn: true };
    return after(isRevokedByUser(claims, marked) ? lookUpKept(context, claims, marked) : marked, (account) => {
      if (hasFact || isRefusedByUser(claims, account) || !isSingleUse(settings, claims)) {
        return { account, facts: hasFact ? blacklisted : noFacts };
      }
      return after(lookUpSuccessor(context, claims), (facts) => ({ account, facts }));
    });
  });
}

/** Looks up exactly what `refresh` or a protected resource judges; `undefined` where the token does not name the user by id. */
function lookUpLatest(
  context: SessionContext,
  claims: Claims,
  purpose: Purpose,
  plan?: RotationPlan,
): MaybePromise<TokenState> | undefined {
  const { settings, store } = context;
  const id = settings.userIdField === "id" ? userIdFrom(settings, claims) : undefined;
  if (id === undefined) return undefined;
  const latest = store.latestState!(id, revocationsOf(settings, claims), plan?.fact);
  return after(latest, ({ user: found, hasFact, written }) => {
    if (plan !== undefined) plan.recorded = written;
    const user = orUndefined(found);
    const facts = hasFact ? blacklisted : noFacts;
    return after(purpose === "bearer" || (user !== undefined && mayLogIn(settings, user)), (may) => {
      const marked: Account = { user, wasRemoved: false, mayLogIn: may };
      return after(isRevokedByUser(claims, marked) ? lookUpKept(context, claims, marked) : marked, (account) => {
        const isDecided = purpose === "refresh" || hasFact || isRefusedByUser(claims, account);
        if (isDecided || !isSingleUse(settings, claims)) return { account, facts };
        return after(lookUpSuccessor(context, claims), (found) => ({ account, facts: found }));
      });
    });
  });
}

/** Finds the user named by a token by the field that the token holds (`userIdField`). */
function findUser({ settings, store }: SessionContext, claims: Claims): MaybePromise<User | undefined> {
  const id = userIdFrom(settings, claims);
  if (id === undefined) return undefined;
  if (settings.userIdField === "id") return after(store.findUserById(id), orUndefined);
  if (settings.userIdField === "username") return after(store.findUserByUsername(id), orUndefined);
  return after(store.findUserBy!(settings.userIdField, id), orUndefined);
}

/** Whether a user may log in and refresh (Simple JWT's `USER_AUTHENTICATION_RULE`). */
export function mayLogIn({ userAuthenticationRule, checkUserIsActive }: Settings, user: User): MaybePromise<boolean> {
  return userAuthenticationRule === undefined ? !checkUserIsActive || user.isActive : userAuthenticationRule(user);
}

/** Looks up the facts that revoke a token, by itself or with its session. */
export function lookUpRevocation(context: SessionContext, claims: Claims): MaybePromise<TokenFacts> {
  const { settings, store } = context;
  if (store.get === undefined) return noFacts;
  return after(store.get("blacklist", jtiFrom(settings, claims)), (fact) =>
    exists(fact) ? blacklisted : sessionFacts(context, claims),
  );
}

const sessionFacts = ({ settings, store }: SessionContext, claims: Claims): MaybePromise<TokenFacts> =>
  after(store.get!("session", sessionOf(settings, claims)), (end) => (exists(end) ? sessionEnded : noFacts));

/** Looks up the revocation of a token and, unless `rotate` will decide on it, the rotation of a single-use one. */
function lookUpFacts(context: SessionContext, claims: Claims, purpose: Purpose): MaybePromise<TokenFacts> {
  const { settings } = context;
  const revocation = lookUpRevocation(context, claims);
  if (purpose === "refresh" || !isSingleUse(settings, claims)) return revocation;
  return after(revocation, (facts) => {
    return isRevokedByFact(facts) ? facts : lookUpSuccessor(context, claims);
  });
}

function lookUpSuccessor(context: SessionContext, claims: Claims): MaybePromise<TokenFacts> {
  const { settings, store } = context;
  return after(store.get!("successor", jtiFrom(settings, claims)), (recorded) =>
    exists(recorded) ? after(readRotation(context, recorded!), (rotation) => ({ rotation })) : noFacts,
  );
}

/** Reads a recorded rotation and, where the grace period depends on it, whether the successor has been used. */
export function readRotation({ settings, store }: SessionContext, recorded: string): MaybePromise<Rotation> {
  const rotation = { ...(JSON.parse(recorded) as RecordedRotation), readAt: nowOf(settings) };
  if (settings.refreshGrace !== "until-used") return rotation;
  return after(store.get!("successor", rotation.jti), (next) => ({ ...rotation, isSuccessorUsed: exists(next) }));
}
