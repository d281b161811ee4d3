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
    addUser: (user, matching) => state.addUsers([completeUser(user)], seconds(), matching)[0]!,
    async addUsers(users, matching) {
      const batch: User[] = [];
      for await (const user of users as AsyncIterable<NewUser>) batch.push(completeUser(user));
      return state.addUsers(batch, seconds(), matching).length;
    },
    removeUser: state.removeUser,
    wasRemoved: state.wasRemoved,
    listUsers: state.listUsers,
    passwordHashes: state.passwordHashes,
    claim(kind, id, value, expiresAt) {
      const at = seconds();
      forgetting.hear(at);
      if (--claimsUntilFlush <= 0) {
        claimsUntilFlush = Math.max(flushEvery, state.factCount() / 4); // the more there are, the longer a round takes
        state.markExpired(forgetting.until());
      }
      state.sweepShard(); // a little with each claim: some hosts let no timer run between two requests
      return state.claim(kind, id, value, expiresAt, at);
    },
    peek: (kind, id) => state.peek(kind, id, seconds()),
    flushExpired() {
      forgetting.hear(seconds());
      return state.flushExpired(forgetting.until());
    },
    ping() {},
    close() {},
  };
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
const shardsPerKind = 256;
/** How long work on all facts may keep everything else waiting. */
const sliceMs = 4;

/** Ids are random as a rule; numbered ones are spread by their last characters just as well. */
function shardOf(id: string): number {
  let hash = id.length;
  for (let i = Math.max(0, id.length - 6); i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) & (shardsPerKind - 1);
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

export type State = ReturnType<typeof createState>;

/**
 * Users and facts as Maps, with the rules of the store interface and no clock: every time is an argument, in seconds. The
 * memory store is this state; the file store replays its journal into one, which is why equal journals make equal states.
 *
 * Nothing here takes long with a million facts: they are spread over shards, and a flush only marks the shards. A fact
 * that is marked as gone is gone for every method, so it does not matter when its shard is swept.
 */
export function createState() {
  const users = new Map<string, User>();
  // Folded name -> id, or ids where names differ by case alone. A name that is its own fold shares the string.
  const idsByName = new Map<string, string | string[]>();
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
    const ids = idsByName.get(foldOf(username));
    if (ids === undefined) return undefined;
    if (typeof ids === "string") {
      const user = users.get(ids)!;
      return matching === "case-insensitive" || user.username === username ? user : undefined;
    }
    return ids.map((id) => users.get(id)!).find((user) => user.username === username);
  }

  /** Who has a name that a user would have to leave to another; `matching` says how like it may be. */
  const isNameTaken = (username: string, matching: UsernameMatching | undefined, except?: string): boolean => {
    const ids = [idsByName.get(foldOf(username)) ?? []].flat().filter((id) => id !== except);
    return matching === "case-insensitive" ? ids.length > 0 : ids.some((id) => users.get(id)!.username === username);
  };

  function nameUser({ id, username }: User): void {
    const key = foldOf(username);
    const ids = idsByName.get(key);
    idsByName.set(key, ids === undefined ? id : [ids, id].flat());
  }

  function unnameUser({ id, username }: User): void {
    const key = foldOf(username);
    const rest = [idsByName.get(key)!].flat().filter((other) => other !== id);
    if (rest.length === 0) idsByName.delete(key);
    else idsByName.set(key, rest.length === 1 ? rest[0]! : rest);
  }

  /** A user as it is with a name just taken. If others had the name, tokens from before are theirs. */
  const withName = (user: User, at: number): User =>
    formerNames.size > 0 && formerNames.has(digestOf(user.username))
      ? { ...user, tokensValidFrom: Math.max(user.tokensValidFrom ?? 0, at) }
      : user;

  function forget(user: User): void {
    unnameUser(user);
    users.delete(user.id);
  }

  function peek(kind: string, id: string, at: number): string | undefined {
    const shard = kinds.get(kind)?.shards[shardOf(id)];
    const fact = shard?.facts.get(id);
    return fact !== undefined && fact.expiresAt > at && fact.expiresAt > shard!.flushedAt ? fact.value : undefined;
  }

  /** Marks what has expired at a time as gone. */
  function markExpired(at: number): void {
    for (const [name, kind] of kinds) {
      for (let i = 0; i < shardsPerKind; i++) {
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
    findUserById: (id: string): User | undefined => users.get(id),
    /** All or none. */
    addUsers(batch: readonly User[], at: number, matching?: UsernameMatching): readonly User[] {
      const added: User[] = [];
      for (const wanted of batch) {
        const user = withName(wanted, at);
        const clash = isNameTaken(user.username, matching) ? "username" : users.has(user.id) ? "id" : undefined;
        const wasRemoved = removedIds.has(user.id);
        if (clash !== undefined || wasRemoved) {
          added.forEach(forget);
          throw clash === undefined ? usedUp(user.id) : taken(clash, user[clash]);
        }
        users.set(user.id, Object.freeze(user));
        nameUser(user);
        added.push(user);
      }
      return added;
    },
    updateUser(
      id: string,
      changes: UserChanges,
      expected: UserChanges = {},
      matching?: UsernameMatching,
      at?: number,
    ): User | undefined {
      const user = users.get(id);
      if (user === undefined) return undefined;
      for (const [field, value] of Object.entries(expected)) {
        if (value !== undefined && user[field as keyof User] !== value) return user;
      }
      let changed = completeUser({ ...user, ...named(changes), id });
      if (changed.username === user.username) users.set(id, Object.freeze(changed));
      else {
        if (isNameTaken(changed.username, matching, id)) throw taken("username", changed.username);
        if (at !== undefined) {
          changed = withName(changed, at);
          formerNames.add(digestOf(user.username));
        }
        unnameUser(user);
        users.set(id, Object.freeze(changed));
        nameUser(changed);
      }
      return changed;
    },
    removeUser(id: string): boolean {
      const user = users.get(id);
      if (user === undefined) return false;
      forget(user);
      removedIds.add(id);
      formerNames.add(digestOf(user.username));
      return true;
    },
    /** As versions before this one removed users: id and name are free again. */
    dropUser(id: string): boolean {
      const user = users.get(id);
      if (user !== undefined) forget(user);
      return user !== undefined;
    },
    wasRemoved(field: string, value: string): boolean {
      if (field === "id") return removedIds.has(value);
      return field === "username" && formerNames.has(digestOf(value)) && findUserByUsername(value) === undefined;
    },
    removed: () => ({ ids: [...removedIds], names: [...formerNames] }),
    restoreRemoved(ids: readonly string[], names: readonly number[]): void {
      for (const id of ids) removedIds.add(id);
      for (const name of names) formerNames.add(name);
    },
    listUsers: (): User[] => [...users.values()],
    *passwordHashes(): Iterable<string> {
      for (const { passwordHash } of users.values()) yield passwordHash;
    },
    claim(kind: string, id: string, value: string, expiresAt: number, at: number): string {
      const standing = peek(kind, id, at);
      if (standing !== undefined) return standing;
      const i = shardOf(id);
      const marked = kinds.get(kind);
      // Claimed after the mark, by a clock behind the one that set it: the mark is not meant for this fact.
      if (marked !== undefined && expiresAt <= (marked.shards[i]?.flushedAt ?? -Infinity)) sweep(kind, marked, i);
      let ofKind = kinds.get(kind);
      if (ofKind === undefined) {
        ofKind = { shards: Array.from({ length: shardsPerKind }, () => undefined), size: 0 };
        kinds.set(kind, ofKind);
      }
      const { facts } = (ofKind.shards[i] ??= { facts: new Map(), flushedAt: -Infinity });
      const before = facts.size;
      facts.set(id, { value, expiresAt });
      factCount += facts.size - before;
      ofKind.size += facts.size - before;
      return value;
    },
    peek,
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
    userCount: (): number => users.size,
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
 * 53 bits of a text (cyrb53, by bryc). Of two names that share them by chance, whoever takes the one after the other was
 * given up begins anew, which does no harm.
 */
function digestOf(text: string): number {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    high = Math.imul(high ^ code, 0x9e3779b1);
    low = Math.imul(low ^ code, 0x5f356495);
  }
  const mix = (one: number, other: number): number =>
    Math.imul(one ^ (one >>> 16), 0x85ebca6b) ^ Math.imul(other ^ (other >>> 13), 0xc2b2ae35);
  high = mix(high, low);
  low = mix(low, high);
  return 2 ** 32 * (low & 0x1fffff) + (high >>> 0);
}
