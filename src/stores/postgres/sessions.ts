/** The sessions that users may see: a list for people to read, in a table of its own, and one statement for each step. */
import { type Session, type SessionStore, touchInterval } from "../store.ts";
import type { Database } from "./connection.ts";
import { clock, decoded, encoded } from "./facts.ts";

const decodedOrNull = (text: string | null): string | null => (text === null ? null : decoded(text));
const encodedOrNull = (text: string | null): string | null => (text === null ? null : encoded(text));

export function createSessions({ run, schema }: Database): SessionStore {
  const add = `insert into ${schema}.sessions (id, user_id, created_at, last_used_at, expires_at, ip, user_agent)
    values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`;
  const touch = `update ${schema}.sessions set last_used_at = $2, expires_at = $3
    where id = $1 and last_used_at + ${touchInterval} <= $2`;
  const list = `select id, user_id as "userId", created_at as "createdAt", last_used_at as "lastUsedAt",
      expires_at as "expiresAt", ip, user_agent as "userAgent"
    from ${schema}.sessions where user_id = $1 and expires_at > ${clock} order by position`;
  const remove = `delete from ${schema}.sessions where id = $1`;

  return {
    async addSession({ id, userId, createdAt, lastUsedAt, expiresAt, ip, userAgent }) {
      const texts = [encodedOrNull(ip), encodedOrNull(userAgent)];
      await run(add, [encoded(id), encoded(userId), createdAt, lastUsedAt, expiresAt, ...texts]);
    },
    async touchSession(id, lastUsedAt, expiresAt) {
      await run(touch, [encoded(id), lastUsedAt, expiresAt]);
    },
    async listSessions(userId) {
      const rows = await run<Session>(list, [encoded(userId)]);
      return rows.map(({ id, ip, userAgent, ...times }) => ({
        ...times,
        id: decoded(id),
        userId,
        ip: decodedOrNull(ip),
        userAgent: decodedOrNull(userAgent),
      }));
    },
    async removeSession(id) {
      await run(remove, [encoded(id)]);
    },
  };
}
