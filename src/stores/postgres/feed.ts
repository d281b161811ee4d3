/**
 * Keeps a server's memory of revocations in step with what all servers write.
 *
 * Each row carries the id of the transaction that wrote it. Ids are given out in order, but their transactions end in
 * any: a position "after the last id seen" would pass over a slow one. So the position is a snapshot, which names the
 * transactions that it could not see yet; new is what the former snapshot could not see and the present one can.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createMessages } from "../messages.ts";
import type { MessageStore } from "../store.ts";
import type { Database, Listener, Run } from "./connection.ts";
import { clock, decoded } from "./facts.ts";
import type { Recent } from "./recent.ts";

/** How often the feed asks, whether it is told of news or not. */
const pollMs = { withNotices: 50, without: 20 };
/** How soon after one reading the next may begin. */
const restMs = 5;
/** Notices of this server are this far apart: each takes a lock that all of the database's notices share. */
const noticeMs = 20;
/** How long a lost connection is left alone. */
const retryMs = 200;
/** Rows that one fetch of the first reading takes. */
const pageSize = 10_000;
/** How much longer than it lasts by the database's clock a fact is held, in seconds: a server's may be behind. */
const keepFor = 2 * 3600;

/** The most bytes of a name in PostgreSQL. */
const longestName = 63;

interface News {
  what: "fact" | "mark" | "removed" | null;
  kind: string | null;
  id: string | null;
  at: number | null;
}

export interface Feed {
  /** When the last reading that succeeded began, by `performance.now`. */
  syncedAt(): number;
  /** Tells the other servers, soon, that something was written. */
  announce(): void;
  /** Messages between the servers; `undefined` behind a pooler that passes no notices on. */
  messages: MessageStore | undefined;
  close(): Promise<void>;
}

/** Returns the channel of a schema's notices. PostgreSQL takes no channel of a longer name than {@link longestName}. */
function channelOf(schema: string): string {
  const suffix = "_news";
  if (schema.length + suffix.length <= longestName) return schema + suffix;
  return createHash("sha256").update(schema).digest("hex").slice(0, 40) + suffix;
}

/**
 * Reads all there is, then follows.
 * @throws {StoreError} `STORE_UNAVAILABLE` when the first reading fails.
 */
export async function startFeed(database: Database, recent: Recent, kinds: readonly string[]): Promise<Feed> {
  const { schema } = database;
  const channel = channelOf(database.where.schema);
  const messages = createMessages(async (batches) => {
    await database.run("select pg_notify($1, batch) from unnest($2::text[]) as batch", [channel, batches]);
  });
  const sources = (condition: string): string => `
    select 'fact' as what, kind, id, expires_at as at from ${schema}.facts where kind = any($1) and ${condition}
    union all select 'mark', null, user_id, tokens_valid_from from ${schema}.marks where ${condition}
    union all select 'removed', null, value, null from ${schema}.removed where field = 'id' and ${condition}`;
  // Rows of a dump that was restored may name transactions of the future: they were read at the start.
  const isNew =
    "tx >= pg_snapshot_xmin($2::pg_snapshot) and not pg_visible_in_snapshot(tx, $2::pg_snapshot) " +
    "and pg_visible_in_snapshot(tx, pg_current_snapshot())";
  const newsSince = `select s.*, n.* from (select pg_current_snapshot()::text as snapshot, ${clock} as now) s
    left join (${sources(isNew)}) n on true`;
  const serverIs = `select concat(pg_postmaster_start_time(), inet_server_addr(), inet_server_port()) as server`;

  let position: string | undefined;
  let server: string | undefined;
  let syncedAt = Number.NEGATIVE_INFINITY;
  let isClosed = false;
  let isLost = false;
  let hasNews = false;
  let wake: () => void = () => {};
  let listener: Listener | undefined;

  function take({ what, kind, id, at }: News): void {
    if (what === "fact") recent.addFact(decoded(kind!), decoded(id!), at!);
    else if (what === "mark") recent.setMark(id!, at);
    else if (what === "removed") recent.addRemoved(id!);
  }

  /** Reads everything in one snapshot, page by page. */
  async function readAll(run: Run): Promise<void> {
    await run("begin isolation level repeatable read read only");
    try {
      await run("set local statement_timeout = 0");
      const [row] = await run<{ snapshot: string }>("select pg_current_snapshot()::text as snapshot");
      await run(`declare feed no scroll cursor for ${sources("true")}`, [kinds]);
      for (let isMore = true; isMore;) {
        const page = await run<News>(`fetch ${pageSize} from feed`);
        for (const news of page) take(news);
        isMore = page.length === pageSize;
      }
      position = row!.snapshot;
    } finally {
      await run("commit");
    }
  }

  async function connect(): Promise<Listener> {
    const onNotice = (payload: string): void => {
      if (payload !== "") return messages.receive(payload);
      hasNews = true;
      wake();
    };
    const onEnd = (): void => {
      isLost = true;
      wake();
    };
    const connected = await database.listen(channel, onNotice, onEnd);
    try {
      isLost = false;
      const began = performance.now();
      const [row] = await connected.run<{ server: string }>(serverIs);
      // Another server, a former replica for one, may lack transactions and give their ids out again.
      if (position === undefined || row!.server !== server) {
        await readAll(connected.run);
        server = row!.server;
        syncedAt = began;
      }
      return connected;
    } catch (error) {
      await connected.close();
      throw error;
    }
  }

  async function readNews({ run }: Listener): Promise<void> {
    const began = performance.now();
    const rows = await run<News & { snapshot: string; now: number }>(newsSince, [kinds, position]);
    for (const row of rows) take(row);
    position = rows[0]!.snapshot;
    syncedAt = began;
    recent.sweep(rows[0]!.now - keepFor);
  }

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  async function follow(): Promise<void> {
    while (!isClosed) {
      try {
        if (listener === undefined || isLost) {
          await listener?.close();
          listener = undefined;
          listener = await connect();
        }
        hasNews = false;
        await readNews(listener);
        await sleep(restMs);
        if (!hasNews && !isLost && !isClosed) await pause(database.hasNotices ? pollMs.withNotices : pollMs.without);
      } catch {
        // Told by the age of what is held, and by every statement that the endpoints send.
        isLost = true;
        if (!isClosed) await pause(retryMs);
      }
    }
    await listener?.close();
  }

  listener = await connect();
  const following = follow();

  let notice: ReturnType<typeof setTimeout> | undefined;
  return {
    syncedAt: () => syncedAt,
    announce() {
      if (!database.hasNotices) return;
      notice ??= setTimeout(() => {
        notice = undefined;
        database.run("select pg_notify($1, '')", [channel]).catch(() => {}); // the others poll besides
      }, noticeMs);
    },
    messages: database.hasNotices ? messages : undefined,
    async close() {
      isClosed = true;
      clearTimeout(notice);
      await messages.close();
      wake();
      await following;
    },
  };
}
