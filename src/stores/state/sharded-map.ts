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

/**
 * Creates a map in shards.
 * @param shardOf returns the shard of a key.
 */
export function createShardedMap<V>(shardOf: (key: string) => number) {
  const shards: (Map<string, V> | undefined)[] = Array.from({ length: shardCount }, () => undefined);
  return {
    get: (key: string): V | undefined => shards[shardOf(key)]?.get(key),
    set: (key: string, value: V): void => void (shards[shardOf(key)] ??= new Map()).set(key, value),
    delete: (key: string): void => void shards[shardOf(key)]?.delete(key),
  };
}
