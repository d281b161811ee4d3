/** The sessions that users see (setting `sessions`): recorded at login, touched at refresh, listed and ended. */
import { type MaybePromise, isPromise } from "../maybe-promise.ts";
import type { LoginRequest, Settings } from "../settings/types.ts";
import type { Session, User } from "../stores/store.ts";
import {
  type Claims,
  isIssuedBeforeMark,
  isMarkAhead,
  lastUse,
  nowOf,
  sessionEnd,
  sessionOf,
} from "../tokens/claims.ts";
import { endSessionById } from "./revocation.ts";
import { keptIdOf } from "./rules.ts";
import { type SessionContext, exists, isKeptWith } from "./state.ts";

/** The most characters that are stored of an agent and of an address: clients choose the one, proxies may pass on the other. */
const longestUserAgent = 256;
const longestAddress = 64;

/**
 * How long a rotation may go unrecorded in the list, in seconds: `touchInterval` of `stores/store.ts`, from which this room
 * may import types only.
 */
const unrecorded = 60;

/** Returns the part of a text that is stored, without control characters; `null` for nothing. */
function storable(text: string | null | undefined, longest: number): string | null {
  const short = (text ?? "").replace(/\p{Cc}/gu, "").slice(0, longest);
  return short.replace(/\p{Cs}/gu, "").trim() || null; // the cut may have left half of a surrogate pair
}

/** Returns when no token of a session is valid any more, in seconds, by the claims of its newest refresh or sliding token. */
function expiryOf(settings: Settings, claims: Claims): number {
  const isSliding = claims[settings.tokenTypeClaim] === "sliding";
  const end = lastUse(settings, claims) + (isSliding ? 0 : settings.accessTokenLifetime);
  const slack = settings.rotateRefreshTokens ? unrecorded : 0;
  return Math.min(end + slack, sessionEnd(settings, claims)) + settings.leeway;
}

/**
 * Records a login, and ends the user's oldest sessions where `maxSessions` is exceeded. Does nothing without `sessions`.
 * @param claims of its refresh or sliding token.
 */
export async function recordLogin(
  context: SessionContext,
  user: User,
  claims: Claims,
  request: LoginRequest,
): Promise<void> {
  const { settings, store } = context;
  if (!settings.sessions) return;
  const createdAt = claims.auth_time as number;
  await store.addSession!({
    id: sessionOf(settings, claims),
    userId: user.id,
    createdAt,
    lastUsedAt: createdAt,
    expiresAt: expiryOf(settings, claims),
    ip: storable(settings.clientAddress(request), longestAddress),
    userAgent: storable(request.headers.get("user-agent"), longestUserAgent),
  });
  if (settings.maxSessions === undefined) return;
  // By the store's order and not by time: of two logins at once, both then end the same one.
  const oldest = (await sessionsOf(context, user)).slice(0, -settings.maxSessions);
  await endSessions(context, oldest);
}

/**
 * Records that a session was used. The user gets the tokens even if that fails, which is logged.
 * @param claims of its newest refresh or sliding token.
 * @param now in seconds.
 */
export function touchSession({ settings, store }: SessionContext, claims: Claims, now: number): MaybePromise<void> {
  if (!settings.sessions) return undefined;
  const failed = (error: unknown): void => {
    const message = "the use of a session could not be recorded";
    settings.log({ level: "warn", code: "session_use_unrecorded", message, error });
  };
  try {
    const touched = store.touchSession!(sessionOf(settings, claims), now, expiryOf(settings, claims));
    return isPromise(touched) ? touched.then(undefined, failed) : touched;
  } catch (error) {
    return failed(error);
  }
}

/**
 * Returns the sessions of a user whose tokens are valid, in the order of their logins. Those that were ended, but are still
 * recorded because a process was stopped between the two, are left out.
 */
export async function sessionsOf({ settings, store }: SessionContext, user: User): Promise<Session[]> {
  const now = nowOf(settings);
  const isGoingOn = async ({ id, createdAt }: Session): Promise<boolean> => {
    if (exists(await store.get!("session", id))) return false;
    const isMarked = isIssuedBeforeMark({ auth_time: createdAt, iat: createdAt }, user) && !isMarkAhead(now, user);
    if (!isMarked) return true;
    const kept = await store.get!("kept", keptIdOf({ sid: id }, user.id, user.tokensValidFrom!));
    return exists(kept) && isKeptWith(kept!, user);
  };
  const sessions = await store.listSessions!(user.id);
  const states = await Promise.all(sessions.map(isGoingOn));
  return sessions.filter((_, index) => states[index]);
}

/** Revokes all tokens of some sessions. */
export async function endSessions(context: SessionContext, sessions: readonly Session[]): Promise<void> {
  const now = nowOf(context.settings);
  await Promise.all(sessions.map(({ id, expiresAt }) => endSessionById(context, id, expiresAt, now)));
}
