import { fail } from "../errors.ts";
import { endSessions, sessionsOf } from "../sessions/recorded.ts";
import type { Session } from "../stores/store.ts";
import { sessionOf } from "../tokens/claims.ts";
import { type UserCall, type UserEndpoint, loggedOut } from "./authenticate.ts";
import type { Context } from "./endpoint.ts";

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
export const endSessionOf: UserEndpoint = async (context, call) => {
  const { user, id, claims } = call;
  const sessions = (await sessionsOf(context, user)).filter((session) => session.id === id);
  if (sessions.length === 0) throw fail("not_found");
  await logOut(context, call, sessions);
  return id === sessionOf(context.settings, claims) ? loggedOut : undefined;
};

/** Ends all sessions of the bearer but the current one. */
export const endOtherSessions: UserEndpoint = async (context, call) => {
  const current = sessionOf(context.settings, call.claims);
  const sessions = await sessionsOf(context, call.user);
  await logOut(
    context,
    call,
    sessions.filter(({ id }) => id !== current),
  );
  return undefined;
};

async function logOut(context: Context, { user, request }: UserCall, sessions: readonly Session[]): Promise<void> {
  await endSessions(context, sessions);
  for (const { id } of sessions) context.record?.("logout", request, { userId: user.id, sessionId: id });
}
