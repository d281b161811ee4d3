/**
 * What the store knows of a token: the one look-up that `rules.ts` judges. State is kept by ids, never by a token's text,
 * under three kinds of facts:
 *
 * - `blacklist`, by `jti`: this token is revoked;
 * - `session`, by `sid`: every token of the session is revoked, including those issued later;
 * - `successor`, by `jti`: the successor of a rotated refresh token.
 */
import { type MaybePromise, after } from "../maybe-promise.ts";
import type { EndpointsStore, Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { type Claims, jtiFrom, nowOf, sessionOf, userIdFrom } from "../tokens/claims.ts";
import {
  type Account,
  type RecordedRotation,
  type Rotation,
  type TokenFacts,
  type TokenState,
  isRefusedByUser,
  isRevokedByFact,
  isSingleUse,
} from "./rules.ts";

/** What sessions are kept with. */
export interface SessionContext {
  readonly settings: Settings;
  readonly store: EndpointsStore;
}

/** What the caller is about to decide. Only what that decision needs is looked up. */
export type Purpose = "verify" | "refresh" | "bearer";

/** Database clients often return null for a missing row. */
const orUndefined = <T>(found: T | null | undefined): T | undefined => found ?? undefined;
const exists = (found: unknown): boolean => found !== undefined && found !== null;

const noFacts: TokenFacts = Object.freeze({});
const blacklisted: TokenFacts = Object.freeze({ isBlacklisted: true });
const sessionEnded: TokenFacts = Object.freeze({ isSessionEnded: true });

/**
 * Looks up what the store knows of a token whose signature and claims are valid: the user first, then the facts, which
 * are skipped when the user decides. Returns no promise when the store returns none.
 */
export function lookUp(context: SessionContext, claims: Claims, purpose: Purpose): MaybePromise<TokenState> {
  return after(lookUpAccount(context, claims, purpose), (account) => {
    if (isRefusedByUser(claims, account)) return { account, facts: noFacts };
    return after(lookUpFacts(context, claims, purpose), (facts) => ({ account, facts }));
  });
}

function lookUpAccount(context: SessionContext, claims: Claims, purpose: Purpose): MaybePromise<Account> {
  const { settings, store } = context;
  return after(findUser(context, claims), (user) => {
    if (purpose === "refresh") {
      const allowed = user !== undefined && mayLogIn(settings, user);
      return after(allowed, (may) => ({ user, wasRemoved: false, mayLogIn: may }));
    }
    const id = userIdFrom(settings, claims);
    if (user !== undefined || id === undefined || purpose === "bearer" || store.wasRemoved === undefined) {
      return { user, wasRemoved: false, mayLogIn: true };
    }
    return after(store.wasRemoved(settings.userIdField, id), (wasRemoved) => ({ user, wasRemoved, mayLogIn: true }));
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
export function lookUpRevocation({ settings, store }: SessionContext, claims: Claims): MaybePromise<TokenFacts> {
  if (store.get === undefined) return noFacts;
  return after(store.get("blacklist", jtiFrom(settings, claims)), (fact) => {
    if (exists(fact)) return blacklisted;
    return after(store.get!("session", sessionOf(settings, claims)), (end) => (exists(end) ? sessionEnded : noFacts));
  });
}

/** Looks up the revocation of a token and, unless `rotate` will decide on it, the rotation of a single-use one. */
function lookUpFacts(context: SessionContext, claims: Claims, purpose: Purpose): MaybePromise<TokenFacts> {
  const { settings, store } = context;
  const revocation = lookUpRevocation(context, claims);
  if (purpose === "refresh" || !isSingleUse(settings, claims)) return revocation;
  return after(revocation, (facts) => {
    if (isRevokedByFact(facts)) return facts;
    return after(store.get!("successor", jtiFrom(settings, claims)), (recorded) =>
      exists(recorded) ? after(readRotation(context, recorded!), (rotation) => ({ rotation })) : noFacts,
    );
  });
}

/** Reads a recorded rotation and, where the grace period depends on it, whether the successor has been used. */
export function readRotation({ settings, store }: SessionContext, recorded: string): MaybePromise<Rotation> {
  const rotation = { ...(JSON.parse(recorded) as RecordedRotation), readAt: nowOf(settings) };
  if (settings.refreshGrace !== "until-used") return rotation;
  return after(store.get!("successor", rotation.jti), (next) => ({ ...rotation, isSuccessorUsed: exists(next) }));
}
