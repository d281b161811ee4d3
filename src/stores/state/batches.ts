/** Users who are staged in parts and added together, all or none. All times are arguments, in seconds. */
import type { User, UsernameMatching } from "../store.ts";
import { foldUsername } from "../usernames.ts";
import { type Directory, type Entry, createDirectory } from "./directory.ts";
import { pause, runSlice } from "./slices.ts";
import { type Users, entriesPerRow, taken } from "./users.ts";

/** Its users are indexed as they come, so that the commit itself takes no time. */
interface Batch {
  directory: Directory;
  rows: Entry[][];
  size: number;
  /** Time of its newest part. */
  at: number;
  /** Users whose id or name is another's, was, or has become so since: the commit checks them. */
  unsure: Set<Entry>;
  isAllUnsure: boolean;
}

/** Up to this size a commit adds users one by one, in a few milliseconds. */
const smallBatch = 1000;

/**
 * Creates the set of batches that are neither committed nor dropped.
 * @param users what they are checked against and added to.
 */
export function createBatches(users: Users) {
  const batches = new Map<string, Batch>();
  let merging: Promise<void> | undefined;

  async function mergeAll(): Promise<void> {
    do await pause();
    while (!runSlice(users.mergeNext));
    merging = undefined;
  }

  /** Marks the users of all batches who want the id or the folded name of this entry. */
  function recheck(entry: Entry): void {
    for (const { directory, unsure } of batches.values()) {
      const sameId = directory.sameId(entry);
      if (sameId !== undefined) unsure.add(sameId);
      for (const other of directory.sameName(entry)) unsure.add(other);
    }
  }

  /**
   * Checks the users of a batch that need it, in their order.
   * @throws {StoreError} `USER_EXISTS` for the first one that can't be added.
   */
  function checkUnsure({ rows, directory, unsure, isAllUnsure }: Batch, at: number, matching?: UsernameMatching): void {
    for (const row of rows) {
      for (const entry of row) {
        if (!isAllUnsure && !unsure.has(entry)) continue;
        const user = entry.user!;
        const own = directory.sameName(entry);
        const alike = [...users.findByFoldedName(foldUsername(user.username)), ...own.slice(0, own.indexOf(entry))];
        const problem = users.refusal(user, matching, alike);
        if (problem !== undefined) throw problem;
        if (directory.sameId(entry) !== entry) throw taken("id", user.id);
        entry.user = Object.freeze(users.withName(user, at));
      }
    }
  }

  function stageEntry({ rows, directory, unsure }: Batch, entry: Entry): void {
    let row = rows[rows.length - 1]!;
    if (row.length >= entriesPerRow) rows.push((row = []));
    row.push(entry);
    const isTwice = directory.clashes(entry);
    if (isTwice || users.isInUse(entry)) unsure.add(entry);
    directory.add(entry);
  }

  return {
    recheck,
    /** Adds users to a batch, which a commit adds to the store. */
    stageEntries(name: string, part: readonly Entry[], at: number): void {
      let batch = batches.get(name);
      if (batch === undefined) {
        batch = { directory: createDirectory(), rows: [[]], size: 0, at, unsure: new Set(), isAllUnsure: false };
        batches.set(name, batch);
      }
      for (const entry of part) stageEntry(batch, entry);
      batch.size += part.length;
      batch.at = at;
    },
    stagedCount: (name: string): number | undefined => batches.get(name)?.size,
    /**
     * Adds all users of a batch or none, and returns how many.
     * @throws {StoreError} `USER_EXISTS`
     */
    commitUsers(name: string, at: number, matching?: UsernameMatching): number {
      const batch = batches.get(name)!;
      batches.delete(name);
      if (batch.isAllUnsure || batch.unsure.size > 0) checkUnsure(batch, at, matching);
      if (batch.size <= smallBatch) {
        for (const entry of batch.rows.flat()) {
          recheck(entry);
          users.addChecked(entry);
        }
        return batch.size;
      }
      for (const other of batches.values()) other.isAllUnsure = true;
      users.absorb(batch.rows, batch.directory);
      merging ??= mergeAll();
      return batch.size;
    },
    dropStaged(name: string): void {
      batches.delete(name);
    },
    /** Drops batches whose newest part is not after a time. */
    dropStagedUntil(time: number): void {
      for (const [name, { at }] of batches) if (at <= time) batches.delete(name);
    },
    /** Yields the batches in parts, for a snapshot. */
    *staged(): Iterable<[name: string, users: User[], at: number]> {
      for (const [name, { rows, at }] of batches) {
        for (const row of rows) yield [name, row.map(({ user }) => user!), at];
      }
    },
  };
}
