/** The users in memory, found by id and by name. All times are arguments, in seconds. */
import { StoreError, type User, type UserChanges, type UsernameMatching, completeUser } from "../store.ts";
import { foldUsername, usernameDigest } from "../usernames.ts";
import { type Directory, type Entry, createDirectory } from "./directory.ts";

/** Entries in a row of the list of all users: an array of a million takes long to grow. */
export const entriesPerRow = 1000;

export type Users = ReturnType<typeof createUsers>;

/** Creates an empty list of users with the rules of the store interface for one user at a time. */
export function createUsers() {
  let rows: Entry[][] = [[]];
  let emptyEntries = 0;
  const directory = createDirectory();
  const removedIds = new Set<string>();
  const formerNames = new Set<number>(); // as digests: of a removed user, neither name nor address is kept

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
    if (directory.findById(user.id) !== undefined) return taken("id", user.id);
    return removedIds.has(user.id) ? usedUp(user.id) : undefined;
  }

  /** Checks an entry that may be refused, or whose user may get an issued-before mark. */
  function check(entry: Entry, at: number, matching: UsernameMatching | undefined): void {
    const user = entry.user!;
    const problem = refusal(user, matching, directory.sameName(entry));
    if (problem !== undefined) throw problem;
    const marked = withName(user, at);
    if (marked !== user) entry.user = Object.freeze(marked);
  }

  /** Returns whether an id or a name is another user's, or has been. */
  const isInUse = (entry: Entry): boolean =>
    directory.clashes(entry) ||
    (removedIds.size > 0 && removedIds.has(entry.user!.id)) ||
    (formerNames.size > 0 && formerNames.has(usernameDigest(entry.user!.username)));

  /** Adds an entry whose user has been checked. */
  function addChecked(entry: Entry): void {
    let row = rows[rows.length - 1]!;
    if (row.length >= entriesPerRow) rows.push((row = []));
    row.push(entry);
    directory.add(entry);
  }

  function forget(entry: Entry): void {
    directory.delete(entry);
    entry.user = undefined;
    if (++emptyEntries < entriesPerRow || emptyEntries < directory.size()) return;
    const left = rows.flat().filter(({ user }) => user !== undefined);
    rows = [[]];
    for (let i = 0; i < left.length; i += entriesPerRow) rows.push(left.slice(i, i + entriesPerRow));
    emptyEntries = 0;
  }

  function* listUsers(): Iterable<User> {
    for (const row of rows) for (const { user } of row) if (user !== undefined) yield user;
  }

  return {
    findUserByUsername: directory.findUserByUsername,
    findUserById: directory.findUserById,
    findByFoldedName: directory.findByFoldedName,
    withName,
    refusal,
    isInUse,
    /** @throws {StoreError} `USER_EXISTS` */
    addEntry(entry: Entry, at: number, matching?: UsernameMatching): void {
      if (directory.meets(entry) || removedIds.size > 0 || formerNames.size > 0) check(entry, at, matching);
      addChecked(entry);
    },
    addChecked,
    /** Adds many entries whose users have been checked, with a directory of them that is not used any more. */
    absorb(more: Entry[][], theirs: Directory): void {
      for (const row of more) rows.push(row);
      directory.absorb(theirs);
    },
    mergeNext: directory.mergeNext,
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
      const entry = directory.findById(id);
      if (entry === undefined) return undefined;
      const user = entry.user!;
      for (const [field, value] of Object.entries(expected)) {
        if (value !== undefined && user[field as keyof User] !== value) return user;
      }
      let changed = completeUser({ ...user, ...given(changes), id });
      const isRenamed = changed.username !== user.username;
      if (isRenamed) {
        const others = directory.findByFoldedName(foldUsername(changed.username)).filter((other) => other !== entry);
        if (isAmong(others, changed.username, matching)) throw taken("username", changed.username);
        if (at !== undefined) {
          changed = withName(changed, at);
          formerNames.add(usernameDigest(user.username));
        }
      }
      entry.user = Object.freeze(changed);
      if (isRenamed) directory.rename(entry);
      return changed;
    },
    removeUser(id: string): boolean {
      const entry = directory.findById(id);
      if (entry === undefined) return false;
      formerNames.add(usernameDigest(entry.user!.username));
      removedIds.add(id);
      forget(entry);
      return true;
    },
    /** Removes a user as versions before removals were remembered did: id and name are free again. */
    dropUser(id: string): boolean {
      const entry = directory.findById(id);
      if (entry !== undefined) forget(entry);
      return entry !== undefined;
    },
    wasRemoved(field: string, value: string): boolean {
      if (field === "id") return removedIds.has(value);
      return (
        field === "username" &&
        formerNames.has(usernameDigest(value)) &&
        directory.findUserByUsername(value) === undefined
      );
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
    userCount: directory.size,
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
