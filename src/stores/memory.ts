import { createState } from "./state/index.ts";
import { createRetention } from "./state/retention.ts";
import { type NewUser, type SessionStore, type Store, completeUser } from "./store.ts";

/** What `memoryStore` may be given. */
export interface MemoryStoreOptions {
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
}

/** The fewest facts that are written between two rounds of dropping expired ones. */
const flushEvery = 10_000;

/**
 * Creates a store that lives as long as its process: for tests, and for hosts that bring their users anew at each start.
 * It uses standard globals only, and its methods return at once, except `addUsers` and `flushExpired`.
 */
export function memoryStore({ now = Date.now }: MemoryStoreOptions = {}): Store & SessionStore {
  const state = createState();
  const retention = createRetention();
  const seconds = () => now() / 1000;
  let writesUntilFlush = flushEvery;
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
      retention.observe(at);
      if (--writesUntilFlush <= 0) {
        writesUntilFlush = Math.max(flushEvery, state.factCount() / 4); // the more there are, the longer a round takes
        state.markExpired(retention.horizon());
      }
      state.sweepNext(); // a bit at each write: some hosts let no timer run between two requests
      return state.putIfAbsent(kind, id, value, expiresAt, at);
    },
    get: (kind, id) => state.get(kind, id, seconds),
    addSession(session) {
      retention.observe(seconds());
      state.sweepSessions(retention.horizon());
      state.addSession(session);
    },
    touchSession: state.touchSession,
    listSessions: (userId) => state.listSessions(userId, seconds()),
    removeSession: state.removeSession,
    flushExpired() {
      retention.observe(seconds());
      return state.flushExpired(retention.horizon());
    },
    countFacts: state.factCount,
    ping() {},
    close() {},
  };
}
