/**
 * Users found by id and by folded name, through hashes of both, so that a user's texts need not be read before somebody
 * looks the user up.
 */
import type { User, UsernameMatching } from "../store.ts";
import { foldUsername } from "../usernames.ts";
import { type HashTable, createHashTable } from "./hash-table.ts";

/** A user's entry in the list of all. */
export interface Entry {
  /** `undefined` once the user is removed. */
  user: User | undefined;
  /** `hashText` of the id. */
  readonly idHash: number;
  /** `hashText` of the folded name. */
  nameHash: number;
}

let seed = 0; // made with the first hash: some hosts let no program make random numbers while it loads

/** Returns the hash of an empty text, another one in each process: who chooses names can't choose equal hashes. */
export const emptyHash = (): number => (seed ||= 1 + Math.floor(Math.random() * 2 ** 31));

/** Returns a hash (FNV-1a) with one UTF-16 unit more. */
export const withUnit = (hash: number, unit: number): number => Math.imul(hash ^ unit, 0x01000193);

/** Returns 30 bits of a hash, of which not all are 0: a small integer in every engine. */
export const finished = (hash: number): number => (hash ^ (hash >>> 15)) & 0x3fffffff || 1;

export function hashText(text: string): number {
  let hash = emptyHash();
  for (let i = 0; i < text.length; i++) hash = withUnit(hash, text.charCodeAt(i));
  return finished(hash);
}

export const hashUsername = (username: string): number => hashText(foldUsername(username));

/** Returns an entry of a user, who is frozen by that. */
export const entryOf = (user: User): Entry => ({
  user: Object.freeze(user),
  idHash: hashText(user.id),
  nameHash: hashUsername(user.username),
});

export type Directory = ReturnType<typeof createDirectory>;

export function createDirectory() {
  const ids = createHashTable<Entry>();
  const names = createHashTable<Entry>();
  let size = 0;

  /** Returns the first entry that was added with an id. */
  const findById = (id: string, hash = hashText(id)): Entry | undefined =>
    ids.all(hash).find(({ user }) => user!.id === id);

  /** Returns the entries of a folded name, in the order they were added. */
  const findByFoldedName = (key: string, hash = hashText(key)): Entry[] =>
    names.all(hash).filter(({ user }) => foldUsername(user!.username) === key);

  /** Returns whether the id or the folded name has the hash of another's. If not, both are new. */
  const meets = (entry: Entry): boolean =>
    ids.first(entry.idHash) !== undefined || names.first(entry.nameHash) !== undefined;
  /** Returns the first entry with the same id as this one. */
  const sameId = (entry: Entry): Entry | undefined => findById(entry.user!.id, entry.idHash);
  /** Returns the entries with the same folded name as this one. */
  const sameName = (entry: Entry): Entry[] => findByFoldedName(foldUsername(entry.user!.username), entry.nameHash);

  return {
    findById,
    findByFoldedName,
    findUserById(id: string): User | undefined {
      const hash = hashText(id);
      const user = ids.first(hash)?.user;
      return user === undefined || user.id === id ? user : findById(id, hash)?.user;
    },
    findUserByUsername(username: string, matching: UsernameMatching = "exact"): User | undefined {
      const key = foldUsername(username);
      const hash = hashText(key);
      const user = names.first(hash)?.user;
      if (user === undefined || user.username === username) return user;
      const alike = findByFoldedName(key, hash).map((entry) => entry.user!);
      const exact = alike.find((other) => other.username === username);
      return exact ?? (matching === "case-insensitive" && alike.length === 1 ? alike[0] : undefined);
    },
    meets,
    sameId,
    sameName,
    /** Returns whether another entry has the same id or the same folded name as this one. */
    clashes: (entry: Entry): boolean => meets(entry) && (sameId(entry) !== undefined || sameName(entry).length > 0),
    add(entry: Entry): void {
      ids.add(entry.idHash, entry);
      names.add(entry.nameHash, entry);
      size++;
    },
    /** Puts an entry in its place after a change of its user's name. */
    rename(entry: Entry): void {
      names.delete(entry.nameHash, entry);
      entry.nameHash = hashUsername(entry.user!.username);
      names.add(entry.nameHash, entry);
    },
    delete(entry: Entry): void {
      ids.delete(entry.idHash, entry);
      names.delete(entry.nameHash, entry);
      size--;
    },
    size: (): number => size,
    /** Adds all entries of another directory, which must not be used any more. */
    absorb(other: { release(): Released }): void {
      const theirs = other.release();
      ids.absorb(theirs.ids);
      names.absorb(theirs.names);
      size += theirs.size;
    },
    /** Gives its tables away. */
    release: (): Released => ({ ids, names, size }),
    /** Merges one shard of what was absorbed, and returns whether more are left. */
    mergeNext: (): boolean => ids.mergeNext() || names.mergeNext(),
  };
}

interface Released {
  ids: HashTable<Entry>;
  names: HashTable<Entry>;
  size: number;
}
