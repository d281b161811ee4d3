/** The register of facts in memory. All times are arguments, in seconds. */
import { shardCount, shardOfId } from "./sharded-map.ts";
import { pause, runSlice } from "./slices.ts";

export interface Fact {
  value: string;
  expiresAt: number;
}

/** Facts that are swept together, in a map that grows by itself. */
interface Shard {
  facts: Map<string, Fact>;
  /** What had expired at this time is gone for every method, though it takes up room until the shard is swept. */
  flushedAt: number;
}

interface Kind {
  shards: (Shard | undefined)[];
  size: number;
}

/**
 * Creates an empty register. A flush only marks the shards, whatever their number of facts, and sweeps them bit by bit
 * afterwards: a marked fact is gone for every method, so it does not matter when its shard is swept.
 */
export function createFacts() {
  const kinds = new Map<string, Kind>();
  let factCount = 0;
  let dropped = 0; // facts, by sweeping
  const unswept: [name: string, kind: Kind, index: number][] = [];
  let sweeping: Promise<void> | undefined;

  /** @param at the clock, which is read only where there is such a fact: most tokens have none. */
  function get(kind: string, id: string, at: () => number): string | undefined {
    const shard = kinds.get(kind)?.shards[shardOfId(id)];
    const fact = shard?.facts.get(id);
    return fact !== undefined && fact.expiresAt > at() && fact.expiresAt > shard!.flushedAt ? fact.value : undefined;
  }

  /** Marks what has expired at a time as gone. */
  function markExpired(at: number): void {
    for (const [name, kind] of kinds) {
      for (let i = 0; i < shardCount; i++) {
        const shard = kind.shards[i];
        if (shard === undefined) continue;
        if (shard.flushedAt === -Infinity) unswept.push([name, kind, i]);
        shard.flushedAt = Math.max(shard.flushedAt, at);
      }
    }
  }

  function sweep(name: string, kind: Kind, index: number): void {
    const shard = kind.shards[index];
    if (shard === undefined || shard.flushedAt === -Infinity) return;
    const { facts, flushedAt } = shard;
    let gone = 0;
    for (const { expiresAt } of facts.values()) if (expiresAt <= flushedAt) gone++;
    if (2 * gone > facts.size) {
      shard.facts = new Map(); // deleting costs several times as much as keeping
      for (const [id, fact] of facts) if (fact.expiresAt > flushedAt) shard.facts.set(id, fact);
    } else if (gone > 0) {
      for (const [id, { expiresAt }] of facts) if (expiresAt <= flushedAt) facts.delete(id);
    }
    dropped += gone;
    factCount -= gone;
    kind.size -= gone;
    shard.flushedAt = -Infinity;
    if (shard.facts.size === 0) kind.shards[index] = undefined;
    if (kind.size === 0 && kinds.get(name) === kind) kinds.delete(name);
  }

  /** Drops what is marked in one shard, and returns whether there was a marked shard. */
  function sweepNext(): boolean {
    const next = unswept.pop();
    if (next !== undefined) sweep(...next);
    return next !== undefined;
  }

  async function sweepAll(): Promise<void> {
    do await pause();
    while (!runSlice(sweepNext));
    sweeping = undefined;
  }

  return {
    get,
    /** Writes a value unless one stands, and returns the one that stands. */
    putIfAbsent(kind: string, id: string, value: string, expiresAt: number, at: number): string {
      const standing = get(kind, id, () => at);
      if (standing !== undefined) return standing;
      const i = shardOfId(id);
      const marked = kinds.get(kind);
      // Written after the mark, by a clock behind the one that set it: the mark is not meant for this fact.
      if (marked !== undefined && expiresAt <= (marked.shards[i]?.flushedAt ?? -Infinity)) sweep(kind, marked, i);
      let ofKind = kinds.get(kind);
      if (ofKind === undefined) {
        ofKind = { shards: Array.from({ length: shardCount }, () => undefined), size: 0 };
        kinds.set(kind, ofKind);
      }
      const { facts } = (ofKind.shards[i] ??= { facts: new Map(), flushedAt: -Infinity });
      const before = facts.size;
      facts.set(id, { value, expiresAt });
      factCount += facts.size - before;
      ofKind.size += facts.size - before;
      return value;
    },
    markExpired,
    sweepNext,
    /** Marks what has expired at a time as gone at once, and returns how many facts are dropped when all is swept. */
    async flushExpired(at: number): Promise<number> {
      const before = dropped;
      markExpired(at);
      await (sweeping ??= sweepAll());
      return dropped - before;
    },
    /** Yields all facts. To be read when all is swept: until then, marked ones are among them. */
    *facts(): Iterable<[kind: string, id: string, fact: Fact]> {
      for (const [name, { shards }] of kinds) {
        for (const shard of shards) if (shard) for (const [id, fact] of shard.facts) yield [name, id, fact];
      }
    },
    /** Returns how many facts take up room, whether they have expired or not. */
    factCount: (): number => factCount,
    /** Counts facts that have not expired at a time, in slices: those written meanwhile may be missed. */
    async liveFactCount(at: number): Promise<number> {
      let live = 0;
      const shards = [...kinds.values()].flatMap((kind) => kind.shards);
      const countShard = (): boolean => {
        const shard = shards.pop();
        const from = Math.max(at, shard?.flushedAt ?? 0);
        if (shard) for (const { expiresAt } of shard.facts.values()) if (expiresAt > from) live++;
        return shards.length > 0;
      };
      while (!runSlice(countShard)) await pause();
      return live;
    },
  };
}
