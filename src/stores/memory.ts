import { createForgetting } from "./forgetting.ts";
import {
  type NewUser,
  type Store,
  StoreError,
  type User,
  type UserChanges,
  type UsernameMatching,
  completeUser,
  foldUsername,
} from "./store.ts";

export interface MemoryStoreOptions {
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
}

/** The fewest facts that are claimed between two rounds of forgetting expired ones. */
const flushEvery = 10_000;

/**
 * A store that lives as long as its process: for tests, and for hosts that bring their users anew at each start. Imports
 * nothing of a runtime and answers at once, but for `addUsers` and `flushExpired`.
 */
export function memoryStore({ now = Date.now }: MemoryStoreOptions = {}): Store {
  const state = createState();
  const forgetting = createForgetting();
  const seconds = () => now() / 1000;
  let claimsUntilFlush = flushEvery;
  return {
    findUserByUsername: state.findUserByUsername,
    findUserById: state.findUserById,
    updateUser: (id, changes, expected, matching) => state.updateUser(id, changes, expected, matching, seconds()),
    addUser: (user, matching) => state.addUser(completeUser(user), seconds(), matching),
    async addUsers(users, matching) {
      const batch = crypto.randomUUID();
      state.stageUsers(batch, [], seconds());
      try {
        for await (const user of users as AsyncIterable<NewUser>) {
          state.stageUsers(batch, [completeUser(user)], seconds());
        }
      } catch (error) {
        state.dropStaged(batch);
        throw error;
      }
      return state.commitUsers(batch, seconds(), matching);
    },
    removeUser: state.removeUser,
    wasRemoved: state.wasRemoved,
    listUsers: state.listUsers,
    passwordHashes: state.passwordHashes,
    putIfAbsent(kind, id, value, expiresAt) {
      const at = seconds();
      forgetting.hear(at);
      if (--claimsUntilFlush <= 0) {
        claimsUntilFlush = Math.max(flushEvery, state.factCount() / 4); // the more there are, the longer a round takes
        state.markExpired(forgetting.until());
      }
      state.sweepShard(); // a little with each claim: some hosts let no timer run between two requests
      return state.putIfAbsent(kind, id, value, expiresAt, at);
    },
    get: (kind, id) => state.get(kind, id, seconds()),
    flushExpired() {
      forgetting.hear(seconds());
      return state.flushExpired(forgetting.until());
    },
    ping() {},
    close() {},
  };
}

/** The place of a user in the order of all; empty once the user is removed. */
interface Place {
  user: User | undefined;
}

/** The users of one folded name: several where names differ by case alone. */
type Holders = Place | Place[];

const holdersOf = (holders: Holders | undefined): Place[] => (holders === undefined ? [] : [holders].flat());
const joinHolders = (some: Holders, others: Holders): Holders => [some, others].flat();

/** Users that a commit adds together. They are indexed as they come, so that the commit itself takes no time. */
interface Batch {
  places: Place[][];
  size: number;
  /** Time of its newest record, in seconds. */
  at: number;
  ids: Table<Place>;
  names: Table<Holders>;
  /** Users whose id or name another user has, had or got since: the commit checks them again. */
  doubtful: Set<Place>;
  isAllDoubtful: boolean;
}

interface Fact {
  value: string;
  expiresAt: number;
}

/** Facts that are swept, and whose table grows, in one go. */
interface Shard {
  facts: Map<string, Fact>;
  /** Marked: what had expired at this time is gone, though it may still take up room. */
  flushedAt: number;
}

interface Kind {
  shards: (Shard | undefined)[];
  size: number;
}

/** A power of two. A million facts of a kind make shards that are swept in less than a millisecond each. */
const shardCount = 256;
/** How long work on all facts may keep everything else waiting. */
const sliceMs = 4;

/** Places in a row of the list of all users. */
const placesPerRow = 1000;
/** Up to this size a commit adds users one by one, in a few milliseconds. */
const smallBatch = 1000;

/** Ids are random as a rule; numbered ones are spread by their last characters just as well. */
function shardOf(id: string): number {
  let hash = id.length;
  for (let i = Math.max(0, id.length - 6); i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) & (shardCount - 1);
}

/** Hashes all of a name: names often begin or end alike, as addresses do. */
function shardOfName(name: string): number {
  let hash = name.length;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) & (shardCount - 1);
}

type Table<V> = ReturnType<typeof createTable<V>>;

/**
 * A Map in shards, since a Map of a million entries takes 0.1 s and more to grow. It takes in another table at once: a
 * shard is merged with its counterpart when a key of it is looked up, or by `settleNext`.
 * @param join makes one value of two for a key that both tables have.
 */
function createTable<V>(shardOfKey: (key: string) => number, join?: (mine: V, theirs: V) => V) {
  const shards: (Map<string, V> | undefined)[] = Array.from({ length: shardCount }, () => undefined);
  let size = 0;
  let waiting: (Map<string, V> | undefined)[] | undefined; // shards of the other table, not merged yet
  let next = 0; // index of the first one that may be left

  function settle(i: number): void {
    const theirs = waiting?.[i];
    if (theirs === undefined) return;
    waiting![i] = undefined;
    const mine = shards[i] ?? new Map<string, V>();
    const [small, large] = mine.size < theirs.size ? [mine, theirs] : [theirs, mine];
    for (const [key, value] of small) {
      const other = large.get(key);
      large.set(key, other === undefined || join === undefined ? value : join(other, value));
    }
    shards[i] = large;
  }

  const shardFor = (key: string): Map<string, V> | undefined => {
    const i = shardOfKey(key);
    if (waiting !== undefined) settle(i);
    return shards[i];
  };

  /** Merges one shard of the other table, and returns whether more are left. */
  function settleNext(): boolean {
    if (waiting === undefined) return false;
    settle(next++);
    if (next === shards.length) waiting = undefined;
    return waiting !== undefined;
  }

  return {
    get: (key: string): V | undefined => shardFor(key)?.get(key),
    set(key: string, value: V): void {
      const shard = shardFor(key) ?? (shards[shardOfKey(key)] = new Map());
      const before = shard.size;
      shard.set(key, value);
      size += shard.size - before;
    },
    delete(key: string): void {
      if (shardFor(key)?.delete(key)) size--;
    },
    size: (): number => size,
    settleNext,
    /** Adds all entries of another table, which must not be used any more. */
    takeIn(other: { give(): { theirs: (Map<string, V> | undefined)[]; count: number } }): void {
      while (settleNext());
      const { theirs, count } = other.give();
      waiting = theirs;
      next = 0;
      size += count;
    },
    give() {
      while (settleNext());
      return { theirs: shards, count: size };
    },
  };
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

export type State = ReturnType<typeof createState>;

/**
 * Users and facts as Maps, with the rules of the store interface and no clock: every time is an argument, in seconds. The
 * memory store is this state; the file store replays its journal into one, which is why equal journals make equal states.
 *
 * Nothing here takes long with a million facts: they are spread over shards, and a flush only marks the shards. A fact
 * that is marked as gone is gone for every method, so it does not matter when its shard is swept. Nor does anything take
 * long with a million users who come in a batch: see `Batch`.
 */
export function createState() {
  let places: Place[][] = [[]];
  let emptyPlaces = 0;
  const ids = createTable<Place>(shardOf);
  const names = createTable<Holders>(shardOfName, joinHolders); // by folded name, which shares the string of a name that is its own fold
  const batches = new Map<string, Batch>(); // begun and neither committed nor dropped
  let settling: Promise<void> | undefined;
  const removedIds = new Set<string>();
  const formerNames = new Set<number>(); // as digests: of a removed user, neither name nor address is kept
  const kinds = new Map<string, Kind>();
  let factCount = 0;
  let dropped = 0; // facts, by sweeping
  const unswept: [name: string, kind: Kind, index: number][] = [];
  let sweeping: Promise<void> | undefined;

  const foldOf = (username: string): string => {
    const folded = foldUsername(username);
    return folded === username ? username : folded;
  };

  function findUserByUsername(username: string, matching: UsernameMatching = "exact"): User | undefined {
    const holders = names.get(foldOf(username));
    if (holders === undefined) return undefined;
    if (Array.isArray(holders)) return holders.find(({ user }) => user!.username === username)?.user;
    return matching === "case-insensitive" || holders.user!.username === username ? holders.user : undefined;
  }

  /** Returns whether one of the users of a folded name has this name under the given matching. */
  const isAmong = (holders: Place[], username: string, matching: UsernameMatching | undefined): boolean =>
    matching === "case-insensitive" ? holders.length > 0 : holders.some(({ user }) => user!.username === username);

  /** @param key the folded name. */
  function nameUser(place: Place, key: string): void {
    const holders = names.get(key);
    names.set(key, holders === undefined ? place : joinHolders(holders, place));
  }

  function unnameUser(place: Place): void {
    const key = foldOf(place.user!.username);
    const rest = holdersOf(names.get(key)).filter((other) => other !== place);
    if (rest.length === 0) names.delete(key);
    else names.set(key, rest.length === 1 ? rest[0]! : rest);
  }

  function addPlace(place: Place, key: string): void {
    if (places.at(-1)!.length >= placesPerRow) places.push([]);
    places.at(-1)!.push(place);
    ids.set(place.user!.id, place);
    nameUser(place, key);
  }

  /** Marks the users of all batches who want this id or this folded name. */
  function doubtOthers(id: string, key: string): void {
    for (const { ids: stagedIds, names: stagedNames, doubtful } of batches.values()) {
      const sameId = stagedIds.get(id);
      if (sameId !== undefined) doubtful.add(sameId);
      for (const place of holdersOf(stagedNames.get(key))) doubtful.add(place);
    }
  }

  /**
   * Returns why a user can't be added.
   * @param alike the users of the same folded name.
   */
  function refusal(user: User, matching: UsernameMatching | undefined, alike: Place[]): StoreError | undefined {
    if (alike.length > 0 && isAmong(alike, user.username, matching)) return taken("username", user.username);
    if (ids.get(user.id) !== undefined) return taken("id", user.id);
    return removedIds.has(user.id) ? usedUp(user.id) : undefined;
  }

  /**
   * Checks the doubtful users of a batch, in their order.
   * @throws {StoreError} `USER_EXISTS` for the first one that can't be added.
   */
  function checkDoubtful(
    { places: rows, ids: ownIds, names: ownNames, doubtful, isAllDoubtful }: Batch,
    at: number,
    matching?: UsernameMatching,
  ): void {
    for (const row of rows) {
      for (const place of row) {
        if (!isAllDoubtful && !doubtful.has(place)) continue;
        const user = place.user!;
        const isTwice = ownIds.get(user.id) !== place;
        const key = foldOf(user.username);
        const own = holdersOf(ownNames.get(key));
        const earlier = isTwice ? own : own.slice(0, own.indexOf(place));
        const problem = refusal(user, matching, [...holdersOf(names.get(key)), ...earlier]);
        if (problem !== undefined) throw problem;
        if (isTwice) throw taken("id", user.id);
        place.user = Object.freeze(withName(user, at));
      }
    }
  }

  /** Merges one shard of an added batch, and returns whether more are left. */
  const settleNext = (): boolean => ids.settleNext() || names.settleNext();

  async function settleAll(): Promise<void> {
    do await pause();
    while (!runSlice(settleNext));
    settling = undefined;
  }

  function* listUsers(): Iterable<User> {
    for (const row of places) for (const { user } of row) if (user !== undefined) yield user;
  }

  /** A user as it is with a name just taken. If others had the name, tokens from before are theirs. */
  const withName = (user: User, at: number): User =>
    formerNames.size > 0 && formerNames.has(digestOf(user.username))
      ? { ...user, tokensValidFrom: Math.max(user.tokensValidFrom ?? 0, at) }
      : user;

  function forget(place: Place): void {
    unnameUser(place);
    ids.delete(place.user!.id);
    place.user = undefined;
    if (++emptyPlaces < placesPerRow || emptyPlaces < ids.size()) return;
    const left = places.flat().filter(({ user }) => user !== undefined);
    places = [[]];
    for (let i = 0; i < left.length; i += placesPerRow) places.push(left.slice(i, i + placesPerRow));
    emptyPlaces = 0;
  }

  function get(kind: string, id: string, at: number): string | undefined {
    const shard = kinds.get(kind)?.shards[shardOf(id)];
    const fact = shard?.facts.get(id);
    return fact !== undefined && fact.expiresAt > at && fact.expiresAt > shard!.flushedAt ? fact.value : undefined;
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

  /** Drops what is marked in one shard, and answers whether there was a marked one. */
  function sweepShard(): boolean {
    const next = unswept.pop();
    if (next !== undefined) sweep(...next);
    return next !== undefined;
  }

  async function sweepAll(): Promise<void> {
    do await pause();
    while (!runSlice(sweepShard));
    sweeping = undefined;
  }

  return {
    findUserByUsername,
    findUserById: (id: string): User | undefined => ids.get(id)?.user,
    addUser(wanted: User, at: number, matching?: UsernameMatching): User {
      const user = Object.freeze(withName(wanted, at));
      const key = foldOf(user.username);
      const problem = refusal(user, matching, holdersOf(names.get(key)));
      if (problem !== undefined) throw problem;
      doubtOthers(user.id, key);
      addPlace({ user }, key);
      return user;
    },
    /** Adds users to a batch, which a commit adds to the store. */
    stageUsers(name: string, users: readonly User[], at: number): void {
      let batch = batches.get(name);
      if (batch === undefined) {
        const tables = { ids: createTable<Place>(shardOf), names: createTable<Holders>(shardOfName) };
        batch = { ...tables, places: [[]], size: 0, at, doubtful: new Set(), isAllDoubtful: false };
        batches.set(name, batch);
      }
      for (const user of users) {
        const place: Place = { user: Object.freeze(user) };
        if (batch.places.at(-1)!.length >= placesPerRow) batch.places.push([]);
        batch.places.at(-1)!.push(place);
        const key = foldOf(user.username);
        const isTwice = batch.ids.get(user.id) !== undefined;
        const alike = batch.names.get(key);
        const wasUsed = removedIds.has(user.id) || withName(user, at) !== user;
        if (
          isTwice ||
          alike !== undefined ||
          wasUsed ||
          ids.get(user.id) !== undefined ||
          names.get(key) !== undefined
        ) {
          batch.doubtful.add(place);
        }
        if (isTwice) continue;
        batch.ids.set(user.id, place);
        batch.names.set(key, alike === undefined ? place : joinHolders(alike, place));
      }
      batch.size += users.length;
      batch.at = at;
    },
    settleNext,
    stagedCount: (name: string): number | undefined => batches.get(name)?.size,
    /** Adds all users of a batch or none, and returns how many. */
    commitUsers(name: string, at: number, matching?: UsernameMatching): number {
      const batch = batches.get(name)!;
      batches.delete(name);
      if (batch.isAllDoubtful || batch.doubtful.size > 0) checkDoubtful(batch, at, matching);
      if (batch.size <= smallBatch) {
        for (const place of batch.places.flat()) {
          const key = foldOf(place.user!.username);
          doubtOthers(place.user!.id, key);
          addPlace(place, key);
        }
        return batch.size;
      }
      for (const other of batches.values()) other.isAllDoubtful = true;
      for (const row of batch.places) places.push(row);
      ids.takeIn(batch.ids);
      names.takeIn(batch.names);
      settling ??= settleAll();
      return batch.size;
    },
    dropStaged(name: string): void {
      batches.delete(name);
    },
    /** Drops batches whose newest record is not after a time. */
    dropStagedUntil(time: number): void {
      for (const [name, { at }] of batches) if (at <= time) batches.delete(name);
    },
    *staged(): Iterable<[name: string, users: User[], at: number]> {
      for (const [name, { places: rows, at }] of batches) {
        for (const row of rows) yield [name, row.map(({ user }) => user!), at];
      }
    },
    updateUser(
      id: string,
      changes: UserChanges,
      expected: UserChanges = {},
      matching?: UsernameMatching,
      at?: number,
    ): User | undefined {
      const place = ids.get(id);
      if (place === undefined) return undefined;
      const user = place.user!;
      for (const [field, value] of Object.entries(expected)) {
        if (value !== undefined && user[field as keyof User] !== value) return user;
      }
      let changed = completeUser({ ...user, ...named(changes), id });
      if (changed.username === user.username) place.user = Object.freeze(changed);
      else {
        const key = foldOf(changed.username);
        const others = holdersOf(names.get(key)).filter((other) => other !== place);
        if (isAmong(others, changed.username, matching)) throw taken("username", changed.username);
        if (at !== undefined) {
          changed = withName(changed, at);
          formerNames.add(digestOf(user.username));
        }
        doubtOthers(id, key);
        unnameUser(place);
        place.user = Object.freeze(changed);
        nameUser(place, key);
      }
      return changed;
    },
    removeUser(id: string): boolean {
      const place = ids.get(id);
      if (place === undefined) return false;
      formerNames.add(digestOf(place.user!.username));
      removedIds.add(id);
      forget(place);
      return true;
    },
    /** As versions before this one removed users: id and name are free again. */
    dropUser(id: string): boolean {
      const place = ids.get(id);
      if (place !== undefined) forget(place);
      return place !== undefined;
    },
    wasRemoved(field: string, value: string): boolean {
      if (field === "id") return removedIds.has(value);
      return field === "username" && formerNames.has(digestOf(value)) && findUserByUsername(value) === undefined;
    },
    removed: () => ({ ids: [...removedIds], names: [...formerNames] }),
    restoreRemoved(oldIds: readonly string[], oldNames: readonly number[]): void {
      for (const id of oldIds) removedIds.add(id);
      for (const name of oldNames) formerNames.add(name);
    },
    listUsers: (): User[] => [...listUsers()],
    /** The same without a copy: for a reader that is done before the next change. */
    users: listUsers,
    *passwordHashes(): Iterable<string> {
      for (const { passwordHash } of listUsers()) yield passwordHash;
    },
    putIfAbsent(kind: string, id: string, value: string, expiresAt: number, at: number): string {
      const standing = get(kind, id, at);
      if (standing !== undefined) return standing;
      const i = shardOf(id);
      const marked = kinds.get(kind);
      // Claimed after the mark, by a clock behind the one that set it: the mark is not meant for this fact.
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
    get,
    markExpired,
    sweepShard,
    /** Marks what has expired at a time as gone at once, and answers how much room that made when all is swept. */
    async flushExpired(at: number): Promise<number> {
      const before = dropped;
      markExpired(at);
      await (sweeping ??= sweepAll());
      return dropped - before;
    },
    /** To be read when all is swept: a fact that is marked as gone is among them until then. */
    *facts(): Iterable<[kind: string, id: string, fact: Fact]> {
      for (const [name, { shards }] of kinds) {
        for (const shard of shards) if (shard) for (const [id, fact] of shard.facts) yield [name, id, fact];
      }
    },
    /** Facts that take up room, whether they have expired or not. */
    factCount: (): number => factCount,
    userCount: (): number => ids.size(),
    /** Facts that have not expired at a time, counted without a long pause: those claimed meanwhile may be missed. */
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

/** Repeats a step while it answers that more is to do, and answers whether all was done before the time was up. */
function runSlice(step: () => boolean): boolean {
  for (const end = performance.now() + sliceMs; performance.now() < end;) if (!step()) return true;
  return false;
}

/** A field that is `undefined` counts as not named, as in JSON. */
function named(changes: UserChanges): UserChanges {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

function taken(field: "username" | "id", value: string): StoreError {
  return new StoreError("USER_EXISTS", `the ${field} ${JSON.stringify(value)} is taken`);
}

function usedUp(id: string): StoreError {
  const reason = "belonged to a user who was removed, and ids are never used again";
  return new StoreError("USER_EXISTS", `the id ${JSON.stringify(id)} ${reason}`);
}

/**
 * Returns 53 bits of a text: FNV-1a over its UTF-16 units forwards and backwards. Journals hold it, so it stays as it is.
 * A chance collision does no harm: the user who takes a name that collides with a former one begins anew.
 */
function digestOf(text: string): number {
  let [forwards, backwards] = [0x811c9dc5, 0x811c9dc5];
  for (let i = 0; i < text.length; i++) {
    forwards = Math.imul(forwards ^ text.charCodeAt(i), 0x01000193);
    backwards = Math.imul(backwards ^ text.charCodeAt(text.length - 1 - i), 0x01000193);
  }
  return 2 ** 21 * (forwards >>> 0) + (backwards >>> 11);
}
