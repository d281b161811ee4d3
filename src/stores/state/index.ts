/**
 * Users, facts and sessions in memory, with the rules of the store interface and no clock: every time is an argument, in seconds.
 * The memory store is this state; the file store replays its journal into one, so equal journals make equal states.
 *
 * No call takes long with a million users or facts: both are spread over shards, a flush only marks shards, and a large
 * batch is indexed as it is staged.
 */
import type { User, UserChanges, UsernameMatching } from "../store.ts";
import { createBatches } from "./batches.ts";
import { type Entry, entryOf } from "./directory.ts";
import { createFacts } from "./facts.ts";
import { createSessions } from "./sessions.ts";
import { createUsers } from "./users.ts";

export type State = ReturnType<typeof createState>;

export function createState() {
  const users = createUsers();
  const { recheck, ...batches } = createBatches(users);
  const facts = createFacts();
  const { flushSessions, ...sessions } = createSessions();
  function addEntry(entry: Entry, at: number, matching?: UsernameMatching): void {
    users.addEntry(entry, at, matching);
    recheck(entry);
  }
  return {
    ...facts,
    ...sessions,
    ...batches,
    findUserByUsername: users.findUserByUsername,
    findUserById: users.findUserById,
    dropUser: users.dropUser,
    wasRemoved: users.wasRemoved,
    removed: users.removed,
    restoreRemoved: users.restoreRemoved,
    listUsers: users.listUsers,
    users: users.users,
    passwordHashes: users.passwordHashes,
    userCount: users.userCount,
    mergeNext: users.mergeNext,
    /** Adds a user by an entry, which the store keeps. */
    addEntry,
    addUser(wanted: User, at: number, matching?: UsernameMatching): User {
      const entry = entryOf(wanted);
      addEntry(entry, at, matching);
      return entry.user!;
    },
    stageUsers: (name: string, part: readonly User[], at: number): void =>
      batches.stageEntries(name, part.map(entryOf), at),
    updateUser(
      id: string,
      changes: UserChanges,
      expected?: UserChanges,
      matching?: UsernameMatching,
      at?: number,
    ): User | undefined {
      const user = users.updateUser(id, changes, expected, matching, at);
      if (user !== undefined && changes.username !== undefined) recheck(entryOf(user));
      return user;
    },
    removeUser(id: string): boolean {
      sessions.removeSessionsOf(id);
      return users.removeUser(id);
    },
    /** Drops the facts and sessions that have expired at a time, and returns how many facts. */
    async flushExpired(at: number): Promise<number> {
      const [dropped] = await Promise.all([facts.flushExpired(at), flushSessions(at)]);
      return dropped;
    },
  };
}
