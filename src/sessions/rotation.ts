/** Rotation of refresh tokens with reuse detection (RFC 9700 section 4.14). */
import { fail } from "../errors.ts";
import { type MaybePromise, after, isPromise } from "../maybe-promise.ts";
import type { User } from "../stores/store.ts";
import type { Settings } from "../settings/types.ts";
import { type Claims, type Issue, jtiFrom, loginTime, newJti, sessionEnd, sessionOf } from "../tokens/claims.ts";
import { endSession } from "./revocation.ts";
import { type RecordedRotation, isInGrace, isRevokedByFact, isSingleUse } from "./rules.ts";
import { type RotationPlan, type SessionContext, exists, lookUpRevocation, readRotation } from "./state.ts";

/** Makes the rotation of a refresh token: its successor, and the fact that records it. */
function makePlan(settings: Settings, claims: Claims, iat: number, now: number): RotationPlan {
  const exp = Math.min(Math.floor(iat + settings.refreshTokenLifetime), sessionEnd(settings, claims));
  const issue: Issue = { jti: newJti(), iat, exp };
  const fact = {
    key: ["successor", jtiFrom(settings, claims)] as const,
    value: JSON.stringify({ ...issue, usedAt: now } satisfies RecordedRotation),
    expiresAt: Math.ceil((claims.exp as number) + settings.leeway) + 1,
    unlessMarkedSince: Math.min(iat, loginTime(claims)),
  };
  return { issue, fact };
}

/**
 * Plans a rotation before the token's state is known, for a store that looks the state up and records in one step.
 * @param now when the request began, in seconds.
 * @returns `undefined` where the store can't, or where more than the store knows may refuse the refresh.
 */
export function planRotation(
  { settings, store, rotations }: SessionContext,
  claims: Claims,
  now: number,
): MaybePromise<RotationPlan | undefined> {
  if (store.latestState === undefined || !isSingleUse(settings, claims)) return undefined;
  const { userAuthenticationRule, checkRevokeToken } = settings;
  if (userAuthenticationRule !== undefined || checkRevokeToken || now >= sessionEnd(settings, claims)) return undefined;
  const plan = (): RotationPlan => makePlan(settings, claims, Math.floor(now), now);
  if (rotations === undefined) return plan();
  return after(rotations(), (limit) => (limit.waitOf(sessionOf(settings, claims)) > 0 ? undefined : plan()));
}

/**
 * Rotates a refresh token that may be refreshed. The first rotation that is recorded stands, so racing refreshes all return
 * the same successor. Reuse after the grace period ends the session.
 * @param iat the `iat` of tokens issued by this request, in seconds.
 * @param now when the request began, in seconds.
 * @param plan the plan that `lookUp` was given.
 * @param onReuse called once the session is ended for reuse.
 * @returns the successor's id and times, decided by this request or by an earlier one.
 * @throws `token_blacklisted` for a reused token and for a session ended meanwhile; `throttled` for a session at its limit.
 */
export async function rotate(
  context: SessionContext,
  claims: Claims,
  user: User,
  iat: number,
  now: number,
  plan: RotationPlan | undefined,
  onReuse: () => void,
): Promise<Issue> {
  const { settings, store, rotations } = context;
  const isRecorded = plan?.recorded !== undefined;
  const { issue, fact } = isRecorded ? plan : makePlan(settings, claims, iat, now);
  if (settings.blacklistAfterRotation === false) return issue;

  const session = sessionOf(settings, claims);
  const loading = rotations?.();
  const limit = isPromise(loading) ? await loading : loading;
  const wait = isRecorded ? 0 : (limit?.waitOf(session) ?? 0);
  // What is recorded goes on at the limit too: a retry gets its successor, and reuse ends the session.
  if (wait > 0 && !exists(await store.get!(...fact.key))) throw limit!.refusal(session, wait, user.id);
  const recorded = isRecorded ? plan.recorded! : await store.putIfAbsent!(...fact.key, fact.value, fact.expiresAt);
  if (recorded === fact.value) limit?.count(session);
  // Looked up again: putIfAbsent has caught up with other processes, and one of them may have ended the session.
  if (!isRecorded && isRevokedByFact(await lookUpRevocation(context, claims))) throw fail("token_blacklisted");
  if (recorded === fact.value) return issue;
  const rotation = await readRotation(context, recorded);
  if (isInGrace(settings, rotation, now)) return rotation;
  await endSession(context, claims, now);
  const message = "a used refresh token was presented again; its session has been ended";
  settings.log({ level: "warn", code: "refresh_reuse", message, userId: user.id });
  onReuse();
  throw fail("token_blacklisted");
}
