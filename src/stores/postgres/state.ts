/** The state of a token: from memory where it may lag, else by one statement that can also write what follows. */
import { type FactKey, type GuardedFact, type RecentState, type StateStore, StoreError, type User } from "../store.ts";
import type { Database } from "./connection.ts";
import { claimConflict, decoded, earlier, encoded, ownClock } from "./facts.ts";
import type { Feed } from "./feed.ts";
import type { ConnectionSettings } from "./options.ts";
import type { Recent } from "./recent.ts";
import { type UserTable, fromUsers, selectList } from "./user-table.ts";
import { quoted } from "./connection.ts";

type Found = Omit<User, "id"> & { id: string | null; hasFact: boolean; wasRemoved: boolean; written?: string | null };

/** @param feed absent where nothing is followed: then the recent state is asked for as well. */
export function createState(
  database: Database,
  table: UserTable,
  recent: Recent,
  feed: Feed | undefined,
  { whenBehind, maxLag }: Pick<ConnectionSettings, "whenBehind" | "maxLag">,
): StateStore {
  const { schema } = database;

  /** Parameters: the user's id, whether as a number or a text, kind and id of each fact, the server's clock. */
  function lookUp(count: number): string {
    const own = `$${2 * count + 3}`;
    const facts = Array.from({ length: count }, (_, i) => `(f.kind = $${2 * i + 3} and f.id = $${2 * i + 4})`);
    const hasFact =
      count === 0
        ? "false"
        : `exists (select from ${schema}.facts f where (${facts.join(" or ")}) and f.expires_at > ${earlier(own)})`;
    const wasRemoved = `exists (select from ${schema}.removed where field = 'id' and value = $2)`;
    return (
      `select ${selectList(table)}, ${hasFact} as "hasFact", ${wasRemoved} as "wasRemoved" from (select 1) one ` +
      `left join (${fromUsers(table, schema)}) on u.${quoted(table.columns.id)} = $1::${table.idType}`
    );
  }

  function lookUpAndWrite(count: number): string {
    const [kind, id, value, expiresAt, since] = [4, 5, 6, 7, 8].map((place) => `$${2 * count + place}`);
    const own = `$${2 * count + 3}`;
    return `with s as (${lookUp(count)}), w as (
      insert into ${schema}.facts as f (kind, id, value, expires_at)
      select ${kind}::text, ${id}::text, ${value}::text, ${expiresAt}::double precision from s
      where s."isActive" and not s."hasFact" and coalesce(s."tokensValidFrom" < ${since}::double precision, true)
      ${claimConflict(own)} returning value)
      select s.*, (select value from w) as written from s`;
  }

  async function ask(userId: string | undefined, facts: readonly FactKey[], write?: GuardedFact): Promise<Found> {
    const known = userId === undefined ? null : (table.idOf(userId) ?? null);
    const values: unknown[] = [known, known ?? "", ...facts.flat().map(encoded)];
    if (facts.length > 0 || write !== undefined) values.push(ownClock());
    if (write === undefined) return (await database.run<Found>(lookUp(facts.length), values))[0]!;
    values.push(...write.key.map(encoded), encoded(write.value), write.expiresAt, write.unlessMarkedSince);
    return (await database.run<Found>(lookUpAndWrite(facts.length), values))[0]!;
  }

  async function askRecent(userId: string | undefined, facts: readonly FactKey[]): Promise<RecentState> {
    const { tokensValidFrom = null, wasRemoved, hasFact } = await ask(userId, facts);
    return { tokensValidFrom, wasRemoved, hasFact };
  }

  return {
    recentState(userId, facts) {
      const isBehind = feed === undefined || performance.now() - feed.syncedAt() > maxLag;
      if (isBehind && feed !== undefined && whenBehind === "fail") {
        const message = "what other servers revoked has not been heard for longer than the parameter max_lag allows";
        throw new StoreError("STORE_UNAVAILABLE", message);
      }
      if (isBehind || facts.some(([kind]) => !recent.holds(kind))) return askRecent(userId, facts);
      const now = Date.now() / 1000;
      return {
        tokensValidFrom: userId === undefined ? null : recent.markOf(userId),
        wasRemoved: userId !== undefined && recent.wasRemoved(userId),
        hasFact: facts.some(([kind, id]) => recent.hasFact(kind, id, now)),
      };
    },
    async latestState(userId, facts, write) {
      const { hasFact, wasRemoved: _, written, id, ...user } = await ask(userId, facts, write);
      return {
        user: id === null ? undefined : { id, ...user },
        hasFact,
        written: written === undefined || written === null ? undefined : decoded(written),
      };
    },
  };
}
