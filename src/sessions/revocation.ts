/** Revocation: of one session (RFC 7009), and of all tokens of a user, or of all but those of one session. */
import type { EndpointsStore, Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { type Claims, jtiFrom, lastUse, nowOf, passwordDigest, sessionOf } from "../tokens/claims.ts";
import { keptIdOf } from "./rules.ts";
import type { SessionContext } from "./state.ts";

/** How long after the end of its session a token may still be issued by a request under way, in seconds. */
const issuanceMargin = 60;

/** Returns until when a fact about tokens is kept: they expire by whole seconds, hence the extra one. */
const keptUntil = ({ leeway }: Settings, end: number): number => Math.ceil(end + leeway) + 1;

/**
 * Revokes a token and its session. Idempotent. The facts are kept for as long as any of the tokens could be accepted.
 * @param now in seconds.
 */
export async function endSession(context: SessionContext, claims: Claims, now: number): Promise<void> {
  const { settings, store } = context;
  const end = lastUse(settings, claims);
  const facts = [store.putIfAbsent!("blacklist", jtiFrom(settings, claims), "1", keptUntil(settings, end))];
  const { rotateRefreshTokens, sessions } = settings;
  const inSession = rotateRefreshTokens || sessions || claims.sid !== undefined;
  const ended = inSession ? endSessionById(context, sessionOf(settings, claims), end, now) : undefined;
  await Promise.all([...facts, ended]);
}

/**
 * Revokes all tokens of a session, and removes it from the list of the user's sessions. Idempotent.
 * @param end when the tokens known to the caller have expired, in seconds.
 * @param now in seconds.
 */
export async function endSessionById(
  { settings, store }: SessionContext,
  id: string,
  end: number,
  now: number,
): Promise<void> {
  const lifetime = Math.max(settings.refreshTokenLifetime, settings.accessTokenLifetime);
  const lastTokenEnd = Math.max(end, now + lifetime) + issuanceMargin;
  await store.putIfAbsent!("session", id, "ended", keptUntil(settings, lastTokenEnd));
  await store.removeSession?.(id); // last, so that a session that is not ended stays in the list
}

/**
 * Revokes all tokens of a user by moving the user's issued-before mark (`tokensValidFrom`) to the present.
 * @param id the user's `id` in the store.
 * @returns whether there is such a user.
 * @throws {TypeError} when the store has no `updateUser`, or one that does not keep `tokensValidFrom`.
 */
export async function revokeUser({ settings, store }: SessionContext, id: string): Promise<boolean> {
  if (store.updateUser === undefined) throw new TypeError("revokeUser needs a store with updateUser");
  let user = await store.findUserById(id);
  for (let tries = 0; user && tries < 10; tries++) {
    const mark = nextMark(nowOf(settings), user);
    const expected = { tokensValidFrom: user.tokensValidFrom ?? null };
    user = await store.updateUser(id, { tokensValidFrom: mark }, expected);
    if ((user?.tokensValidFrom ?? 0) >= mark) {
      await removeSessionsUntil(store, id, mark);
      return true;
    }
  }
  if (user) throw new TypeError("the store's updateUser does not keep tokensValidFrom");
  return false;
}

/**
 * Removes the sessions that an issued-before mark has ended from the list of the user's sessions.
 * @param kept the id of one that goes on.
 */
async function removeSessionsUntil(store: EndpointsStore, userId: string, mark: number, kept?: string): Promise<void> {
  const sessions = (await store.listSessions?.(userId)) ?? [];
  const ended = sessions.filter(({ id, createdAt }) => createdAt <= mark && id !== kept);
  await Promise.all(ended.map(({ id }) => store.removeSession?.(id)));
}

/** Returns a mark in whole milliseconds, later than an earlier one: each of two revocations in one millisecond counts. */
function nextMark(now: number, user: User): number {
  return Math.round(Math.max(now, (user.tokensValidFrom ?? 0) + 0.001) * 1000) / 1000;
}

/**
 * Gives a user another password and revokes all tokens issued until now, in one step, unless the user has changed since.
 * @param user as found, with the password that was checked.
 * @param own claims of a token whose session goes on: a fact keeps it past this one mark, and what is refreshed in it holds
 * the mark as known. Needs a store with facts.
 * @returns the user as stored, with another `passwordHash` if something else came first; `undefined` for a removed user.
 * @throws {TypeError} when the store's `updateUser` does not keep `tokensValidFrom`.
 */
export async function changePassword(
  { settings, store }: SessionContext,
  user: User,
  passwordHash: string,
  own?: Claims,
): Promise<User | undefined> {
  const { refreshTokenLifetime, accessTokenLifetime, slidingTokenLifetime, slidingTokenRefreshLifetime } = settings;
  const now = nowOf(settings);
  const tokensValidFrom = nextMark(now, user);
  if (own !== undefined) {
    const slidingLifetime = slidingTokenLifetime + slidingTokenRefreshLifetime;
    const lastTokenEnd = now + Math.max(refreshTokenLifetime, accessTokenLifetime, slidingLifetime) + issuanceMargin;
    // Written first: between the two steps the session would be refused.
    await store.putIfAbsent!(
      "kept",
      keptIdOf(own, user.id, tokensValidFrom),
      await passwordDigest(passwordHash),
      Math.ceil(lastTokenEnd + settings.leeway),
    );
  }
  const expected = { passwordHash: user.passwordHash, tokensValidFrom: user.tokensValidFrom ?? null };
  const stored = (await store.updateUser!(user.id, { passwordHash, tokensValidFrom }, expected)) ?? undefined;
  if (stored?.passwordHash === passwordHash && stored.tokensValidFrom !== tokensValidFrom) {
    throw new TypeError("the store's updateUser does not keep tokensValidFrom");
  }
  if (stored?.tokensValidFrom === tokensValidFrom) {
    await removeSessionsUntil(store, user.id, tokensValidFrom, own && sessionOf(settings, own));
  }
  return stored;
}
