import { fail } from "../errors.ts";
import { endSessions, sessionsOf } from "../sessions/recorded.ts";
import { sessionOf } from "../tokens/claims.ts";
import type { UserEndpoint } from "./authenticate.ts";

const isoTime = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** Returns the bearer's sessions, the one that was used last first, and which of them the token belongs to. */
export const listSessions: UserEndpoint = async (context, { user, claims }) => {
  const current = sessionOf(context.settings, claims);
  const sessions = (await sessionsOf(context, user)).reverse(); // of two that were used at once, the later login first
  return sessions
    .sort((one, other) => other.lastUsedAt - one.lastUsedAt)
    .map(({ id, createdAt, lastUsedAt, expiresAt, ip, userAgent }) => ({
      id,
      current: id === current,
      created_at: isoTime(createdAt),
      last_used_at: isoTime(lastUsedAt),
      expires_at: isoTime(expiresAt),
      ip,
      user_agent: userAgent,
    }));
};

/**
 * Ends one of the bearer's sessions, which may be the current one.
 * @throws `not_found` for any other session, whether it is another user's or nobody's.
 */
export const endSessionOf: UserEndpoint = async (context, { user, id }) => {
  const sessions = (await sessionsOf(context, user)).filter((session) => session.id === id);
  if (sessions.length === 0) throw fail("not_found");
  await endSessions(context, sessions);
  return undefined;
};

/** Ends all sessions of the bearer but the current one. */
export const endOtherSessions: UserEndpoint = async (context, { user, claims }) => {
  const current = sessionOf(context.settings, claims);
  await endSessions(
    context,
    (await sessionsOf(context, user)).filter(({ id }) => id !== current),
  );
  return undefined;
};
