/** The recorded sessions in memory, found by id and by user. All times are arguments, in seconds. */
import { type Session, touchInterval } from "../store.ts";
import { createShardedMap, shardCount, shardOfId } from "./sharded-map.ts";
import { pause, runSlice } from "./slices.ts";

/** A session, which a touch replaces. */
interface Entry {
  session: Session;
}

/** Creates an empty list of sessions with the rules of the store interface. */
export function createSessions() {
  const shards: (Map<string, Entry> | undefined)[] = Array.from({ length: shardCount }, () => undefined);
  const byUser = createShardedMap<Entry | Set<Entry>>(shardOfId); // in the order they were added; mostly one, or few
  let count = 0;
  let next = 0; // index of the shard that is swept next

  const find = (id: string): Entry | undefined => shards[shardOfId(id)]?.get(id);

  function entriesOf(userId: string): Iterable<Entry> {
    const entries = byUser.get(userId);
    return entries instanceof Set ? entries : entries === undefined ? [] : [entries];
  }

  function forget(entry: Entry): void {
    const { id, userId } = entry.session;
    shards[shardOfId(id)]!.delete(id);
    count--;
    const entries = byUser.get(userId)!;
    if (entries instanceof Set) entries.delete(entry);
    if (!(entries instanceof Set) || entries.size === 0) byUser.delete(userId);
  }

  /** Drops what has expired at a time in one of the shards. */
  function sweepSessions(at: number): void {
    for (const entry of shards[next]?.values() ?? []) if (entry.session.expiresAt <= at) forget(entry);
    next = (next + 1) % shardCount;
  }

  return {
    addSession(session: Session): void {
      if (find(session.id) !== undefined) return;
      const entry = { session: Object.freeze({ ...session }) };
      (shards[shardOfId(session.id)] ??= new Map()).set(session.id, entry);
      count++;
      const others = byUser.get(session.userId);
      if (others === undefined) byUser.set(session.userId, entry);
      else if (others instanceof Set) others.add(entry);
      else byUser.set(session.userId, new Set([others, entry]));
    },
    /** Returns whether the use of a session would be recorded: it is known, and was not used lately. */
    isTouchDue(id: string, lastUsedAt: number): boolean {
      const entry = find(id);
      return entry !== undefined && lastUsedAt >= entry.session.lastUsedAt + touchInterval;
    },
    touchSession(id: string, lastUsedAt: number, expiresAt: number): void {
      const entry = find(id);
      if (entry === undefined || lastUsedAt < entry.session.lastUsedAt + touchInterval) return;
      entry.session = Object.freeze({ ...entry.session, lastUsedAt, expiresAt });
    },
    listSessions: (userId: string, at: number): Session[] =>
      Array.from(entriesOf(userId), ({ session }) => session).filter(({ expiresAt }) => expiresAt > at),
    hasSession: (id: string): boolean => find(id) !== undefined,
    removeSession(id: string): void {
      const entry = find(id);
      if (entry !== undefined) forget(entry);
    },
    removeSessionsOf(userId: string): void {
      for (const entry of entriesOf(userId)) forget(entry);
    },
    sweepSessions,
    /** Drops what has expired at a time, in slices. An expired session is listed by none, so it does not matter when. */
    async flushSessions(at: number): Promise<void> {
      let left = shardCount;
      const step = (): boolean => {
        sweepSessions(at);
        return --left > 0;
      };
      while (!runSlice(step)) await pause();
    },
    /** Yields all sessions, those of one user in their order. */
    *sessions(): Iterable<Session> {
      for (const shard of shards) {
        for (const { session } of shard?.values() ?? []) {
          const entries = entriesOf(session.userId);
          const [first] = entries;
          if (first!.session === session) for (const entry of entries) yield entry.session;
        }
      }
    },
    /** Returns how many sessions take up room, whether they have expired or not. */
    sessionCount: (): number => count,
    /** Counts sessions that have not expired at a time, in slices: those added meanwhile may be missed. */
    async liveSessionCount(at: number): Promise<number> {
      let live = 0;
      let i = 0;
      const countShard = (): boolean => {
        for (const { session } of shards[i]?.values() ?? []) if (session.expiresAt > at) live++;
        return ++i < shardCount;
      };
      while (!runSlice(countShard)) await pause();
      return live;
    },
  };
}
