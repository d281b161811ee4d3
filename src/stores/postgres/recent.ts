/** What decides whether a token is revoked, in memory: unexpired facts of some kinds, issued-before marks, removed ids. */

/** Facts that are swept in one go. A power of two. */
const shardCount = 256;
/** The last second that a small integer of JavaScript's engines can tell; later ones are kept until then. */
const lastSecond = 2 ** 30 - 1 + 2 ** 30;

/** The last characters tell ids apart, as those of a UUID or of random hex do. */
function shardOf(id: string): number {
  let hash = 0;
  for (let i = Math.max(0, id.length - 4); i < id.length; i++) hash = (hash * 31 + id.charCodeAt(i)) | 0;
  return hash & (shardCount - 1);
}

export type Recent = ReturnType<typeof createRecent>;

/** @param kinds which facts are held. */
export function createRecent(kinds: readonly string[]) {
  /** Kind -> shards of id -> the second in which the fact expires: a number takes no room of its own. */
  const facts = new Map(
    kinds.map((kind) => [kind, Array.from({ length: shardCount }, () => new Map<string, number>())]),
  );
  const marks = new Map<string, number>();
  const removed = new Set<string>();
  let next = 0;
  return {
    holds: (kind: string): boolean => facts.has(kind),
    /** @param expiresAt seconds since the epoch. */
    addFact(kind: string, id: string, expiresAt: number): void {
      const shard = facts.get(kind)?.[shardOf(id)];
      shard?.set(id, Math.min(Math.ceil(expiresAt), lastSecond));
    },
    setMark(userId: string, mark: number | null): void {
      if (mark === null) marks.delete(userId);
      else marks.set(userId, mark);
    },
    addRemoved(userId: string): void {
      removed.add(userId);
    },
    /** @param now seconds since the epoch. */
    hasFact(kind: string, id: string, now: number): boolean {
      const expiresAt = facts.get(kind)?.[shardOf(id)]!.get(id);
      return expiresAt !== undefined && (expiresAt > now || expiresAt === lastSecond);
    },
    markOf: (userId: string): number | null => marks.get(userId) ?? null,
    wasRemoved: (userId: string): boolean => removed.has(userId),
    /** Drops what has expired by a time from the next shard: a little at a time. */
    sweep(until: number): void {
      for (const shards of facts.values()) {
        const shard = shards[next]!;
        for (const [id, expiresAt] of shard) if (expiresAt <= until && expiresAt !== lastSecond) shard.delete(id);
      }
      next = (next + 1) % shardCount;
    },
  };
}
