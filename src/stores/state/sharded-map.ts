/** Maps in shards: a `Map` of a million entries takes 0.1 s and more to grow, one of a few thousand takes no time. */

/** A power of two. A million facts of a kind make shards that are swept in less than a millisecond each. */
export const shardCount = 256;

const spread = (hash: number): number => (hash ^ (hash >>> 15)) & (shardCount - 1);

/** Returns the shard of an id by its last characters: ids are random or numbered. */
export function shardOfId(id: string): number {
  let hash = id.length;
  for (let i = Math.max(0, id.length - 6); i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return spread(hash);
}

/** Returns the shard of a name by all its characters: names often begin or end alike, as addresses do. */
export function shardOfName(name: string): number {
  let hash = name.length;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return spread(hash);
}

type Shards<V> = (Map<string, V> | undefined)[];

export type ShardedMap<V> = ReturnType<typeof createShardedMap<V>>;

/**
 * Creates a map in shards, which takes in another one in no time: a shard is merged with its counterpart when one of its
 * keys is looked up, or by `mergeNext`.
 * @param shardOf returns the shard of a key.
 * @param join makes one value of two for a key that both maps have. Default: the value of the other map.
 */
export function createShardedMap<V>(shardOf: (key: string) => number, join?: (mine: V, theirs: V) => V) {
  const shards: Shards<V> = Array.from({ length: shardCount }, () => undefined);
  let size = 0;
  let unmerged: Shards<V> | undefined; // of the other map
  let next = 0; // index of the first one that may be left

  function merge(i: number): void {
    const theirs = unmerged?.[i];
    if (theirs === undefined) return;
    unmerged![i] = undefined;
    const mine = shards[i] ?? new Map<string, V>();
    const [small, large] = mine.size < theirs.size ? [mine, theirs] : [theirs, mine];
    for (const [key, value] of small) {
      const other = large.get(key);
      large.set(key, other === undefined || join === undefined ? value : join(other, value));
    }
    shards[i] = large;
  }

  function shardFor(key: string): Map<string, V> | undefined {
    const i = shardOf(key);
    if (unmerged !== undefined) merge(i);
    return shards[i];
  }

  /** Merges one shard of the other map, and returns whether more are left. */
  function mergeNext(): boolean {
    if (unmerged === undefined) return false;
    merge(next++);
    if (next === shards.length) unmerged = undefined;
    return unmerged !== undefined;
  }

  return {
    get: (key: string): V | undefined => shardFor(key)?.get(key),
    set(key: string, value: V): void {
      const shard = shardFor(key) ?? (shards[shardOf(key)] = new Map());
      const before = shard.size;
      shard.set(key, value);
      size += shard.size - before;
    },
    delete(key: string): void {
      if (shardFor(key)?.delete(key)) size--;
    },
    size: (): number => size,
    mergeNext,
    /** Adds all entries of another map, which must not be used any more. */
    absorb(other: { release(): { released: Shards<V>; count: number } }): void {
      while (mergeNext());
      const { released, count } = other.release();
      unmerged = released;
      next = 0;
      size += count;
    },
    /** Gives its shards away. */
    release() {
      while (mergeNext());
      return { released: shards, count: size };
    },
  };
}
