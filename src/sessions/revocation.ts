/** Revocation: of one session (RFC 7009), and of all tokens of a user. */
import { type Claims, jtiFrom, nowOf, sessionOf } from "../tokens/claims.ts";
import type { SessionContext } from "./state.ts";

/** How long after the end of its session a token may still be issued by a request under way, in seconds. */
const issuanceMargin = 60;

/**
 * Revokes a token and its session. Idempotent. The facts are kept for as long as any of the tokens could be accepted.
 * @param now in seconds.
 */
export async function endSession({ settings, store }: SessionContext, claims: Claims, now: number): Promise<void> {
  const { leeway, refreshTokenLifetime, accessTokenLifetime } = settings;
  const { slidingTokenLifetime, slidingTokenRefreshExpClaim } = settings;
  const exp = claims.exp as number;
  const refreshExp = claims[slidingTokenRefreshExpClaim];
  const tokenEnd = Number.isFinite(refreshExp) ? Math.max(exp, (refreshExp as number) + slidingTokenLifetime) : exp;
  // Tokens expire by whole seconds, hence the extra second.
  const keptUntil = (end: number): number => Math.ceil(end + leeway) + 1;
  const facts = [store.putIfAbsent!("blacklist", jtiFrom(settings, claims), "1", keptUntil(tokenEnd))];
  if (settings.rotateRefreshTokens || claims.sid !== undefined) {
    const lifetime = Math.max(refreshTokenLifetime, accessTokenLifetime);
    const lastTokenEnd = Math.max(tokenEnd, now + lifetime) + issuanceMargin;
    facts.push(store.putIfAbsent!("session", sessionOf(settings, claims), "ended", keptUntil(lastTokenEnd)));
  }
  await Promise.all(facts);
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
    // In whole milliseconds, and later than an earlier mark, so that each of two revocations in one millisecond counts.
    const mark = Math.round(Math.max(nowOf(settings), (user.tokensValidFrom ?? 0) + 0.001) * 1000) / 1000;
    const expected = { tokensValidFrom: user.tokensValidFrom ?? null };
    user = await store.updateUser(id, { tokensValidFrom: mark }, expected);
    if ((user?.tokensValidFrom ?? 0) >= mark) return true;
  }
  if (user) throw new TypeError("the store's updateUser does not keep tokensValidFrom");
  return false;
}
