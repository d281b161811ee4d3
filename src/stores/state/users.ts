/** The users in memory, found by id and by name. All times are arguments, in seconds. */
import { StoreError, type User, type UserChanges, type UsernameMatching, completeUser } from "../store.ts";
import { foldUsername, usernameDigest } from "../usernames.ts";
import { type ShardedMap, createShardedMap, shardOfId, shardOfName } from "./sharded-map.ts";

/** A user's entry in the list of all; empty once the user is removed. */
export interface Entry {
  user: User | undefined;
}

/** The users of one folded name: several where names differ by case alone. */
export type Holders = Entry | Entry[];

export const holdersOf = (holders: Holders | undefined): Entry[] => (holders === undefined ? [] : [holders].flat());
export const joinHolders = (some: Holders, others: Holders): Holders => [some, others].flat();

/** Entries by id and by folded name. */
export interface UserMaps {
  ids: ShardedMap<Entry>;
  names: ShardedMap<Holders>;
}

export const createUserMaps = (): UserMaps => ({
  ids: createShardedMap<Entry>(shardOfId),
  names: createShardedMap<Holders>(shardOfName, joinHolders),
});

/** Entries in a row of the list of all users: an array of a million takes long to grow. */
export const entriesPerRow = 1000;

export type Users = ReturnType<typeof createUsers>;

/** Creates an empty list of users with the rules of the store interface for one user at a time. */
export function createUsers() {
  let rows: Entry[][] = [[]];
  let emptyEntries = 0;
  const { ids, names } = createUserMaps();
  const removedIds = new Set<string>();
  const formerNames = new Set<number>(); // as digests: of a removed user, neither name nor address is kept

  function findUserByUsername(username: string, matching: UsernameMatching = "exact"): User | undefined {
    const holders = names.get(foldUsername(username));
    if (holders === undefined) return undefined;
    if (Array.isArray(holders)) return holders.find(({ user }) => user!.username === username)?.user;
    return matching === "case-insensitive" || holders.user!.username === username ? holders.user : undefined;
  }

  /** Returns whether one of the users of a folded name has this name under the given matching. */
  const isAmong = (holders: Entry[], username: string, matching: UsernameMatching | undefined): boolean =>
    matching === "case-insensitive" ? holders.length > 0 : holders.some(({ user }) => user!.username === username);

  /** Returns the user with an issued-before mark if the name has been another's: tokens from before are that one's. */
  const withName = (user: User, at: number): User =>
    formerNames.size > 0 && formerNames.has(usernameDigest(user.username))
      ? { ...user, tokensValidFrom: Math.max(user.tokensValidFrom ?? 0, at) }
      : user;

  /**
   * Returns why a user can't be added.
   * @param alike the users of the same folded name.
   */
  function refusal(user: User, matching: UsernameMatching | undefined, alike: Entry[]): StoreError | undefined {
    if (alike.length > 0 && isAmong(alike, user.username, matching)) return taken("username", user.username);
    if (ids.get(user.id) !== undefined) return taken("id", user.id);
    return removedIds.has(user.id) ? usedUp(user.id) : undefined;
  }

  function nameEntry(entry: Entry, key: string, holders: Holders | undefined): void {
    names.set(key, holders === undefined ? entry : joinHolders(holders, entry));
  }

  function unnameEntry(entry: Entry): void {
    const key = foldUsername(entry.user!.username);
    const rest = holdersOf(names.get(key)).filter((other) => other !== entry);
    if (rest.length === 0) names.delete(key);
    else names.set(key, rest.length === 1 ? rest[0]! : rest);
  }

  function addEntry(entry: Entry, key: string, holders: Holders | undefined): void {
    let row = rows[rows.length - 1]!;
    if (row.length >= entriesPerRow) rows.push((row = []));
    row.push(entry);
    ids.set(entry.user!.id, entry);
    nameEntry(entry, key, holders);
  }

  function forget(entry: Entry): void {
    unnameEntry(entry);
    ids.delete(entry.user!.id);
    entry.user = undefined;
    if (++emptyEntries < entriesPerRow || emptyEntries < ids.size()) return;
    const left = rows.flat().filter(({ user }) => user !== undefined);
    rows = [[]];
    for (let i = 0; i < left.length; i += entriesPerRow) rows.push(left.slice(i, i + entriesPerRow));
    emptyEntries = 0;
  }

  function* listUsers(): Iterable<User> {
    for (const row of rows) for (const { user } of row) if (user !== undefined) yield user;
  }

  return {
    findUserByUsername,
    findUserById: (id: string): User | undefined => ids.get(id)?.user,
    /** Returns the entries of a folded name. */
    withFoldedName: (key: string): Entry[] => holdersOf(names.get(key)),
    withName,
    refusal,
    /** Returns whether an id or a name is another user's, or has been. */
    isInUse: (user: User, key: string): boolean =>
      ids.get(user.id) !== undefined ||
      names.get(key) !== undefined ||
      removedIds.has(user.id) ||
      (formerNames.size > 0 && formerNames.has(usernameDigest(user.username))),
    /** @throws {StoreError} `USER_EXISTS` */
    addUser(wanted: User, key: string, at: number, matching?: UsernameMatching): User {
      const user = Object.freeze(withName(wanted, at));
      const holders = names.get(key);
      const problem = refusal(user, matching, holdersOf(holders));
      if (problem !== undefined) throw problem;
      addEntry({ user }, key, holders);
      return user;
    },
    /** Adds an entry whose user has been checked. */
    addEntry: (entry: Entry, key: string): void => addEntry(entry, key, names.get(key)),
    /** Adds many entries whose users have been checked, with maps of them that are not used any more. */
    absorb(more: Entry[][], maps: UserMaps): void {
      for (const row of more) rows.push(row);
      ids.absorb(maps.ids);
      names.absorb(maps.names);
    },
    /** Merges one shard of what was absorbed, and returns whether more are left. */
    mergeNext: (): boolean => ids.mergeNext() || names.mergeNext(),
    /**
     * @param at absent in journals from before names were remembered.
     * @throws {StoreError} `USER_EXISTS`
     */
    updateUser(
      id: string,
      changes: UserChanges,
      expected: UserChanges = {},
      matching?: UsernameMatching,
      at?: number,
    ): User | undefined {
      const entry = ids.get(id);
      if (entry === undefined) return undefined;
      const user = entry.user!;
      for (const [field, value] of Object.entries(expected)) {
        if (value !== undefined && user[field as keyof User] !== value) return user;
      }
      let changed = completeUser({ ...user, ...given(changes), id });
      if (changed.username === user.username) entry.user = Object.freeze(changed);
      else {
        const key = foldUsername(changed.username);
        const others = holdersOf(names.get(key)).filter((other) => other !== entry);
        if (isAmong(others, changed.username, matching)) throw taken("username", changed.username);
        if (at !== undefined) {
          changed = withName(changed, at);
          formerNames.add(usernameDigest(user.username));
        }
        unnameEntry(entry);
        entry.user = Object.freeze(changed);
        nameEntry(entry, key, names.get(key));
      }
      return changed;
    },
    removeUser(id: string): boolean {
      const entry = ids.get(id);
      if (entry === undefined) return false;
      formerNames.add(usernameDigest(entry.user!.username));
      removedIds.add(id);
      forget(entry);
      return true;
    },
    /** Removes a user as versions before removals were remembered did: id and name are free again. */
    dropUser(id: string): boolean {
      const entry = ids.get(id);
      if (entry !== undefined) forget(entry);
      return entry !== undefined;
    },
    wasRemoved(field: string, value: string): boolean {
      if (field === "id") return removedIds.has(value);
      return field === "username" && formerNames.has(usernameDigest(value)) && findUserByUsername(value) === undefined;
    },
    /** Returns what is remembered of removed users and former names, for a snapshot. */
    removed: () => ({ ids: [...removedIds], names: [...formerNames] }),
    restoreRemoved(oldIds: readonly string[], oldNames: readonly number[]): void {
      for (const id of oldIds) removedIds.add(id);
      for (const name of oldNames) formerNames.add(name);
    },
    listUsers: (): User[] => [...listUsers()],
    /** Yields all users without a copy, for a reader that is done before the next change. */
    users: listUsers,
    *passwordHashes(): Iterable<string> {
      for (const { passwordHash } of listUsers()) yield passwordHash;
    },
    userCount: (): number => ids.size(),
  };
}

/** Returns the changes that name a value: `undefined` counts as absent, as in JSON. */
function given(changes: UserChanges): UserChanges {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

export function taken(field: "username" | "id", value: string): StoreError {
  return new StoreError("USER_EXISTS", `the ${field} ${JSON.stringify(value)} is taken`);
}

function usedUp(id: string): StoreError {
  const reason = "belonged to a user who was removed, and ids are never used again";
  return new StoreError("USER_EXISTS", `the id ${JSON.stringify(id)} ${reason}`);
}
