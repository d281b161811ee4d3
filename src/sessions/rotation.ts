/**
 * What the store remembers of tokens and sessions, and what that means: which tokens are void, and what a refresh token is
 * followed by (RFC 9700 §4.14). Everything is kept by ids, under three kinds of the register:
 *
 * - `blacklist`, by `jti`: one token is void;
 * - `session`, by `sid`: every token of a session is void, those not yet issued too;
 * - `successor`, by `jti`: what a rotated refresh token was followed by, decided by whoever claims first.
 */
import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import type { Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import {
  type Claims,
  type Issue,
  isIssuedTooEarly,
  isPasswordUnchanged,
  jtiFrom,
  newJti,
  nowOf,
  sessionEnd,
  sessionOf,
  userIdFrom,
} from "../tokens/claims.ts";
import type { Context } from "../endpoints/endpoint.ts";

/** Many a database client answers null for none. */
const orNone = <T>(found: T | null | undefined): T | undefined => found ?? undefined;
const isThere = (found: unknown): boolean => found !== undefined && found !== null;

/** The user a token speaks for, if it says one and there is one. */
export function findUserOf({ settings, store }: Context, claims: Claims): MaybePromise<User | undefined> {
  const id = userIdFrom(settings, claims);
  if (id === undefined) return undefined;
  if (settings.userIdField === "id") return after(store.findUserById(id), orNone);
  if (settings.userIdField === "username") return after(store.findUserByUsername(id), orNone);
  return after(store.findUserBy!(settings.userIdField, id), orNone);
}

/** Who may log in and refresh (Simple JWT's `USER_AUTHENTICATION_RULE`). */
export function mayAuthenticate(
  { userAuthenticationRule, checkUserIsActive }: Settings,
  user: User,
): MaybePromise<boolean> {
  return userAuthenticationRule === undefined ? !checkUserIsActive || user.isActive : userAuthenticationRule(user);
}

/** Whether a token whose signature and claims are good has been made void by itself, with its session or its user. */
function isRevoked({ settings, store }: Context, claims: Claims, user: User | undefined): MaybePromise<boolean> {
  if (user !== undefined && isIssuedTooEarly(claims, user)) return true;
  if (store.get === undefined) return false;
  return after(
    store.get("blacklist", jtiFrom(settings, claims)),
    (fact) => isThere(fact) || after(store.get!("session", sessionOf(settings, claims)), isThere),
  );
}

/**
 * Checks what a refresh needs of its token, in the contract's order: a user who may have a new one, not revoked, of a
 * session that still lasts.
 * @param now in seconds.
 * @returns the user.
 */
export function requireUser(context: Context, claims: Claims, now: number): MaybePromise<User> {
  const { settings } = context;
  return after(findUserOf(context, claims), (user) => {
    if (user === undefined) throw fail("no_active_account");
    return after(mayAuthenticate(settings, user), (may) => {
      if (!may) throw fail("no_active_account");
      return after(isRevoked(context, claims, user), (revoked) => {
        if (revoked) throw fail("token_blacklisted");
        if (!isPasswordUnchanged(settings, claims, user)) throw fail("password_changed");
        if (now >= sessionEnd(settings, claims)) throw fail("token_invalid");
        return user;
      });
    });
  });
}

/** What a token was followed by, and when. */
interface Rotation extends Issue {
  usedAt: number;
}

/** How far the clocks of several processes may be apart, in seconds. */
const clockSkew = 5;

/**
 * Whether a used token still answers with its successor. A use that lies ahead by more than the grace was recorded before
 * the clock was set back, and the grace must not last until the clock comes there again.
 * @param now when the request began: who came second may have begun first, and waiting for the store is no delay of theirs.
 */
async function isInGrace({ settings, store }: Context, { jti, usedAt }: Rotation, now: number): Promise<boolean> {
  if (settings.refreshGrace === "until-used") return !isThere(await store.get!("successor", jti));
  const { refreshGrace } = settings;
  return Math.max(0, now - usedAt) < refreshGrace && usedAt - nowOf(settings) < Math.max(refreshGrace, clockSkew);
}

/** Whether a refresh token has been rotated and its grace is over. Who only asks has not used it again. */
function isUsedUp(context: Context, claims: Claims): MaybePromise<boolean> {
  const { settings, store } = context;
  const { rotateRefreshTokens, blacklistAfterRotation, tokenTypeClaim } = settings;
  if (!rotateRefreshTokens || blacklistAfterRotation === false || claims[tokenTypeClaim] !== "refresh") return false;
  return after(
    store.get!("successor", jtiFrom(settings, claims)),
    async (standing) =>
      isThere(standing) && !(await isInGrace(context, JSON.parse(standing!) as Rotation, nowOf(settings))),
  );
}

/** Whether a token is good for nothing any more, for whatever the store knows of it, its session or its user. */
export function isVoid(context: Context, claims: Claims, user: User | undefined): MaybePromise<boolean> {
  return after(isRevoked(context, claims, user), (revoked) => revoked || isUsedUp(context, claims));
}

/**
 * Whether a token whose user is not there is revoked: by the user's removal, where the store tells that, or as any other.
 * Otherwise a missing user is no error here.
 */
export function isOrphanRevoked(context: Context, claims: Claims): MaybePromise<boolean> {
  const { settings, store } = context;
  const id = userIdFrom(settings, claims);
  if (id === undefined || store.wasRemoved === undefined) return isVoid(context, claims, undefined);
  return after(
    store.wasRemoved(settings.userIdField, id),
    (wasRemoved) => wasRemoved || isVoid(context, claims, undefined),
  );
}

/** How much later than the end of its session a token may still be issued, by a request under way; in seconds. */
const underWay = 60;

/** Makes a token and its whole session void; again and again, if asked to. */
export async function endSession({ settings, store }: Context, claims: Claims, now: number): Promise<void> {
  const { leeway, refreshTokenLifetime, accessTokenLifetime } = settings;
  const { slidingTokenLifetime, slidingTokenRefreshExpClaim } = settings;
  // Kept for as long as any token it is about could be accepted, whose times are judged in whole seconds.
  const exp = claims.exp as number;
  const refreshExp = claims[slidingTokenRefreshExpClaim];
  const last = Number.isFinite(refreshExp) ? Math.max(exp, (refreshExp as number) + slidingTokenLifetime) : exp;
  const facts = [store.putIfAbsent!("blacklist", jtiFrom(settings, claims), "1", Math.ceil(last + leeway) + 1)];
  if (settings.rotateRefreshTokens || claims.sid !== undefined) {
    const lifetime = Math.max(refreshTokenLifetime, accessTokenLifetime);
    const lastOfSession = Math.max(last, now + lifetime) + underWay;
    facts.push(
      store.putIfAbsent!("session", sessionOf(settings, claims), "ended", Math.ceil(lastOfSession + leeway) + 1),
    );
  }
  await Promise.all(facts);
}

/** Ends all sessions of a user at once, by the time before which no token of theirs counts; no list of tokens is kept. */
export async function revokeUser({ settings, store }: Context, id: string): Promise<boolean> {
  if (store.updateUser === undefined) throw new TypeError("revokeUser needs a store with updateUser");
  let user = await store.findUserById(id);
  for (let tries = 0; user && tries < 10; tries++) {
    // In whole milliseconds, and later than any earlier mark, so that two in one millisecond both count.
    const mark = Math.round(Math.max(nowOf(settings), (user.tokensValidFrom ?? 0) + 0.001) * 1000) / 1000;
    const expected = { tokensValidFrom: user.tokensValidFrom ?? null };
    user = await store.updateUser(id, { tokensValidFrom: mark }, expected);
    if ((user?.tokensValidFrom ?? 0) >= mark) return true;
  }
  if (user) throw new TypeError("the store's updateUser does not keep tokensValidFrom");
  return false;
}

/**
 * What follows a refresh token whose user is known. With reuse detection the first claim decides, so that racing refreshes
 * all answer the same successor; a token used again after the grace period ends its session.
 * @param iat when a token that is issued now counts as issued, in seconds; `now` is the time itself.
 * @returns the id and times of the successor, also when an earlier refresh decided them.
 * @throws `token_blacklisted` for a reused token.
 */
export async function rotate(context: Context, claims: Claims, user: User, iat: number, now: number): Promise<Issue> {
  const { settings, store } = context;
  const exp = Math.min(Math.floor(iat + settings.refreshTokenLifetime), sessionEnd(settings, claims));
  const issue: Issue = { jti: newJti(), iat, exp };
  if (settings.blacklistAfterRotation === false) return issue;

  const mine = JSON.stringify({ ...issue, usedAt: now } satisfies Rotation);
  const expiresAt = Math.ceil((claims.exp as number) + settings.leeway) + 1;
  const standing = await store.putIfAbsent!("successor", jtiFrom(settings, claims), mine, expiresAt);
  // A store of several processes has caught up with the others by now: did one of them end the session?
  if (await isRevoked(context, claims, undefined)) throw fail("token_blacklisted");
  if (standing === mine) return issue;
  const rotation = JSON.parse(standing) as Rotation;
  if (await isInGrace(context, rotation, now)) return rotation;
  await endSession(context, claims, now);
  const message = "a used refresh token was presented again; its session has been ended";
  settings.log({ level: "warn", code: "refresh_reuse", message, userId: user.id });
  throw fail("token_blacklisted");
}
