/** The sessions of a user, for the `user` command: what is recorded of them, and how all of them are ended. */
import type { Session, Store, User, UserChanges } from "../stores/store.ts";
import { noSuchUser } from "./command.ts";
import { isoTime, printable, tableLines } from "./format.ts";

/**
 * Revokes all tokens of a user that were issued until now, and changes the user in the same step. The issued-before mark
 * becomes later than any earlier one, also one that another process sets meanwhile, so that neither call is lost.
 * @throws {UsageError} when the user was removed meanwhile.
 */
export async function endSessions(
  store: Store,
  { id, username, ...user }: User,
  changes: UserChanges = {},
): Promise<void> {
  let standing = user.tokensValidFrom ?? null;
  for (;;) {
    const wanted: UserChanges = { ...changes, tokensValidFrom: Math.max(Date.now() / 1000, (standing ?? 0) + 0.001) };
    const stands = await store.updateUser(id, wanted, { tokensValidFrom: standing });
    if (stands === undefined) throw noSuchUser(username);
    // All fields are compared: another process may have written the same mark.
    if (Object.entries(wanted).every(([field, value]) => stands[field as keyof User] === value)) {
      const ended = ((await store.listSessions?.(id)) ?? []).filter(
        (session) => session.createdAt <= wanted.tokensValidFrom!,
      );
      await Promise.all(ended.map((session) => store.removeSession?.(session.id)));
      return;
    }
    standing = stands.tokensValidFrom ?? null;
  }
}

/**
 * Returns the sessions of a user that were not ended, newest use first. One whose tokens are revoked may still be recorded,
 * because a process was stopped between the two.
 */
export async function sessionsOf(store: Store, { id, tokensValidFrom }: User): Promise<Session[]> {
  const mark = tokensValidFrom ?? 0;
  const isValid = async ({ id: sid, createdAt }: Session): Promise<boolean> => {
    if ((await store.get("session", sid)) !== undefined) return false;
    // The session that changed the password goes on past the mark: the fact `kept` of the endpoints.
    return createdAt > mark || (await store.get("kept", JSON.stringify([id, sid, mark]))) !== undefined;
  };
  const valid: Session[] = [];
  for (const session of (await store.listSessions?.(id)) ?? []) if (await isValid(session)) valid.push(session);
  return valid.reverse().sort((one, other) => other.lastUsedAt - one.lastUsedAt); // of two at once, the later login first
}

/** Returns the lines of a table of sessions, or a line of JSON for each. */
export function sessionLines(sessions: readonly Session[], asJson: boolean): Iterable<string> | AsyncIterable<string> {
  if (asJson) return sessions.map(sessionJson);
  return tableLines(["SESSION", "LOGIN", "LAST USE", "EXPIRES", "ADDRESS", "AGENT"], sessions.map(sessionRow));
}

const sessionJson = (session: Session): string => {
  const [createdAt, lastUsedAt, expiresAt] = timesOf(session);
  return JSON.stringify({ ...session, createdAt, lastUsedAt, expiresAt });
};

const sessionRow = (session: Session): string[] => [
  printable(session.id),
  ...timesOf(session),
  printable(session.ip ?? "unknown"),
  printable(session.userAgent ?? "unknown"),
];

const timesOf = ({ createdAt, lastUsedAt, expiresAt }: Session) => [createdAt, lastUsedAt, expiresAt].map(isoTime);
