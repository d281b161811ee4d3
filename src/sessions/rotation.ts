/** Rotation of refresh tokens with reuse detection (RFC 9700 section 4.14). */
import { fail } from "../errors.ts";
import type { User } from "../stores/store.ts";
import { type Claims, type Issue, jtiFrom, newJti, sessionEnd } from "../tokens/claims.ts";
import { endSession } from "./revocation.ts";
import { type RecordedRotation, isInGrace, isRevokedByFact } from "./rules.ts";
import { type SessionContext, lookUpRevocation, readRotation } from "./state.ts";

/**
 * Rotates a refresh token that may be refreshed. The first rotation that is recorded stands, so racing refreshes all return
 * the same successor. Reuse after the grace period ends the session.
 * @param iat the `iat` of tokens issued by this request, in seconds.
 * @param now when the request began, in seconds.
 * @returns the successor's id and times, decided by this request or by an earlier one.
 * @throws `token_blacklisted` for a reused token and for a session ended meanwhile.
 */
export async function rotate(
  context: SessionContext,
  claims: Claims,
  user: User,
  iat: number,
  now: number,
): Promise<Issue> {
  const { settings, store } = context;
  const exp = Math.min(Math.floor(iat + settings.refreshTokenLifetime), sessionEnd(settings, claims));
  const issue: Issue = { jti: newJti(), iat, exp };
  if (settings.blacklistAfterRotation === false) return issue;

  const own = JSON.stringify({ ...issue, usedAt: now } satisfies RecordedRotation);
  const expiresAt = Math.ceil((claims.exp as number) + settings.leeway) + 1;
  const recorded = await store.putIfAbsent!("successor", jtiFrom(settings, claims), own, expiresAt);
  // Looked up again: putIfAbsent has caught up with other processes, and one of them may have ended the session.
  if (isRevokedByFact(await lookUpRevocation(context, claims))) throw fail("token_blacklisted");
  if (recorded === own) return issue;
  const rotation = await readRotation(context, recorded);
  if (isInGrace(settings, rotation, now)) return rotation;
  await endSession(context, claims, now);
  const message = "a used refresh token was presented again; its session has been ended";
  settings.log({ level: "warn", code: "refresh_reuse", message, userId: user.id });
  throw fail("token_blacklisted");
}
