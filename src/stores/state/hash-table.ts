/**
 * A table of values by hash, in which several may have one hash. It is filled several times as fast as a `Map` of texts,
 * and takes less memory. It is in shards, since one of a million values takes long to grow.
 */
import { shardCount } from "./sharded-map.ts";

/** Values beside their hashes: each as near as possible after the place that its hash names. A hash of 0 is an empty place. */
interface Shard<V> {
  hashes: Int32Array;
  values: (V | undefined)[];
  size: number;
}

const fewestPlaces = 16;

const shardOf = (hash: number): number => hash & (shardCount - 1);
const placeOf = (hash: number, places: number): number => (hash >>> 8) & (places - 1);

function createShard<V>(places: number): Shard<V> {
  // oxlint-disable-next-line unicorn/no-new-array -- filled, it would take a third of the time that the table takes
  return { hashes: new Int32Array(places), values: new Array<V | undefined>(places), size: 0 };
}

function put<V>({ hashes, values }: Shard<V>, hash: number, value: V): void {
  let at = placeOf(hash, hashes.length);
  while (hashes[at] !== 0) at = (at + 1) & (hashes.length - 1);
  hashes[at] = hash;
  values[at] = value;
}

/** Adds all values of one shard to another. Those of one hash keep their order, as the first one after a gap comes first. */
function putAll<V>(from: Shard<V>, into: Shard<V>): void {
  const { length } = from.hashes;
  const gap = from.hashes.indexOf(0);
  for (let i = 1; i < length; i++) {
    const at = (gap + i) & (length - 1);
    if (from.hashes[at] !== 0) put(into, from.hashes[at]!, from.values[at]!);
  }
  into.size += from.size;
}

/** Returns a shard with the same values and with room for so many more. */
function withRoom<V>(shard: Shard<V>, more: number): Shard<V> {
  let places = shard.hashes.length;
  while (4 * (shard.size + more) > 3 * places) places *= 2;
  if (places === shard.hashes.length) return shard;
  const larger = createShard<V>(places);
  putAll(shard, larger);
  return larger;
}

export type HashTable<V> = ReturnType<typeof createHashTable<V>>;

/**
 * Creates an empty table, which takes in another one in no time: a shard is merged with its counterpart when one of its
 * hashes is looked up, or by `mergeNext`. All hashes are integers from 1 to 2 ** 30 - 1.
 */
export function createHashTable<V>() {
  const shards: (Shard<V> | undefined)[] = Array.from({ length: shardCount }, () => undefined);
  let unmerged: (Shard<V> | undefined)[] | undefined; // of the other table
  let next = 0; // index of the first one that may be left

  function merge(i: number): void {
    const theirs = unmerged![i];
    if (theirs === undefined) return;
    unmerged![i] = undefined;
    const mine = shards[i];
    if (mine === undefined) return void (shards[i] = theirs);
    const [small, large] = mine.size < theirs.size ? [mine, theirs] : [theirs, mine];
    shards[i] = withRoom(large, small.size);
    putAll(small, shards[i]!);
  }

  function shardFor(hash: number): Shard<V> | undefined {
    const i = shardOf(hash);
    if (unmerged !== undefined) merge(i);
    return shards[i];
  }

  /** Returns the place of the first value of a hash from a place on, or -1. */
  function find({ hashes }: Shard<V>, hash: number, from: number): number {
    for (let at = from; hashes[at] !== 0; at = (at + 1) & (hashes.length - 1)) if (hashes[at] === hash) return at;
    return -1;
  }

  /** Merges one shard of the other table, and returns whether more are left. */
  function mergeNext(): boolean {
    if (unmerged === undefined) return false;
    merge(next++);
    if (next === shards.length) unmerged = undefined;
    return unmerged !== undefined;
  }

  return {
    /** Returns the first value of a hash. */
    first(hash: number): V | undefined {
      const shard = shardFor(hash);
      if (shard === undefined) return undefined;
      const at = find(shard, hash, placeOf(hash, shard.hashes.length));
      return at === -1 ? undefined : shard.values[at];
    },
    /** Returns all values of a hash, in the order they were added. */
    all(hash: number): V[] {
      const shard = shardFor(hash);
      if (shard === undefined) return [];
      const { hashes, values } = shard;
      const found: V[] = [];
      for (let at = find(shard, hash, placeOf(hash, hashes.length)); at !== -1;) {
        found.push(values[at]!);
        at = find(shard, hash, (at + 1) & (hashes.length - 1));
      }
      return found;
    },
    add(hash: number, value: V): void {
      const shard = withRoom(shardFor(hash) ?? createShard<V>(fewestPlaces), 1);
      put(shard, hash, value);
      shard.size++;
      shards[shardOf(hash)] = shard;
    },
    delete(hash: number, value: V): void {
      const { hashes, values } = shardFor(hash)!;
      const last = hashes.length - 1;
      let gap = placeOf(hash, hashes.length);
      while (values[gap] !== value) gap = (gap + 1) & last;
      // What follows without a gap moves up, unless that were before the place that its hash names.
      for (let at = (gap + 1) & last; hashes[at] !== 0; at = (at + 1) & last) {
        const home = placeOf(hashes[at]!, hashes.length);
        if (((at - home) & last) < ((at - gap) & last)) continue;
        hashes[gap] = hashes[at]!;
        values[gap] = values[at];
        gap = at;
      }
      hashes[gap] = 0;
      values[gap] = undefined;
      shards[shardOf(hash)]!.size--;
    },
    mergeNext,
    /** Adds all values of another table, which must not be used any more. */
    absorb(other: { release(): (Shard<V> | undefined)[] }): void {
      while (mergeNext());
      unmerged = other.release();
      next = 0;
    },
    /** Gives its shards away. */
    release() {
      while (mergeNext());
      return shards;
    },
  };
}
