/** The register of facts: one statement for each step, by the database's clock, which all servers share. */
import type { Times } from "../state/retention.ts";
import { createRetention } from "../state/retention.ts";
import type { TokenStore } from "../store.ts";
import type { Database } from "./connection.ts";

/** Rows that one statement forgets, so that none keeps others waiting. */
const batchSize = 10_000;

/** PostgreSQL's text holds no NUL. */
export const encoded = (text: string): string =>
  text.includes("\0") || text.includes("\\") ? text.replaceAll("\\", "\\\\").replaceAll("\0", "\\0") : text;

export const decoded = (text: string): string =>
  text.includes("\\") ? text.replaceAll(/\\[\\0]/g, (code) => (code === "\\0" ? "\0" : "\\")) : text;

/** The database's clock, in seconds. */
export const clock = "extract(epoch from clock_timestamp())::double precision";

/**
 * The earlier of the database's clock and the server's: a server whose clock is behind takes tokens that have expired for
 * valid ones, so what revoked them has to stand as long. Rows are kept for hours after they expire.
 * @param own the parameter that holds the server's, in seconds.
 */
export const earlier = (own: string): string => `least(${clock}, ${own}::double precision)`;
export const ownClock = (): number => Date.now() / 1000;

/**
 * Lets the first writer win, in one statement. The update that changes nothing takes the row's lock and returns what
 * stands, this or an earlier one; a select beside an insert would not see the row of a transaction that ended in between.
 */
export const claimConflict = (own: string): string => `on conflict (kind, id) do update set
      value = case when f.expires_at <= ${earlier(own)} then excluded.value else f.value end,
      tx = case when f.expires_at <= ${earlier(own)} then excluded.tx else f.tx end,
      expires_at = case when f.expires_at <= ${earlier(own)} then excluded.expires_at else f.expires_at end`;

/** @param onWrite called when a fact has been written that others may have to hear of. */
export function createFacts(database: Database, onWrite: (kind: string, id: string, expiresAt: number) => void) {
  const { schema } = database;
  const claim = `insert into ${schema}.facts as f (kind, id, value, expires_at) values ($1, $2, $3, $4)
    ${claimConflict("$5")} returning value, expires_at as "expiresAt"`;
  const read = `select value from ${schema}.facts where kind = $1 and id = $2 and expires_at > ${earlier("$3")}`;

  /** Deletes what expired by a time, in seconds, and returns how many rows that were. */
  async function forget(table: "facts" | "sessions", until: number): Promise<number> {
    let forgotten = 0;
    for (let count = batchSize; count === batchSize; forgotten += count) {
      const [row] = await database.run<{ count: number }>(
        `with gone as (delete from ${schema}.${table} where ctid = any(array(
           select ctid from ${schema}.${table} where expires_at <= $1 limit ${batchSize})) returning 1)
         select count(*)::integer as count from gone`,
        [until],
      );
      count = row!.count;
    }
    return forgotten;
  }

  return {
    async putIfAbsent(kind, id, value, expiresAt) {
      const [row] = await database.run<{ value: string; expiresAt: number }>(claim, [
        encoded(kind),
        encoded(id),
        encoded(value),
        expiresAt,
        ownClock(),
      ]);
      onWrite(kind, id, row!.expiresAt);
      return decoded(row!.value);
    },
    async get(kind, id) {
      const [row] = await database.run<{ value: string }>(read, [encoded(kind), encoded(id), ownClock()]);
      return row === undefined ? undefined : decoded(row.value);
    },
    /** The database's own count of live rows, which lags by seconds; after a crash of the database it begins anew. */
    async estimateFacts() {
      const [row] = await database.run<{ count: string }>(
        "select pg_stat_get_live_tuples($1::regclass)::text as count",
        [`${schema}.facts`],
      );
      return Number(row!.count);
    },
    /** Goes by the times on record, so that a clock which runs ahead for a while brings no revoked token back. */
    async flushExpired() {
      const until = await database.transaction("begin", async (run) => {
        const [row] = await run<{ now: number; believed: number | null; doubted: number | null }>(
          `select ${clock} as now, believed, doubted from ${schema}.forgetting for update`,
        );
        const retention = createRetention();
        if (row!.believed !== null) retention.restore([row!.believed, row!.doubted]);
        retention.observe(row!.now);
        const [believed, doubted] = retention.times() as Times;
        await run(`update ${schema}.forgetting set believed = $1, doubted = $2`, [believed, doubted]);
        return retention.horizon();
      });
      await forget("sessions", until);
      return forget("facts", until);
    },
  } satisfies TokenStore;
}
