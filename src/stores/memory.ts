import { type NewUser, type Store, StoreError, type User, completeUser } from "./store.ts";

export interface MemoryStoreOptions {
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
}

/** How many new facts are taken between two rounds of forgetting expired ones. */
const flushEvery = 10_000;

/**
 * A store that lives as long as its process: for tests, and for hosts that bring their users anew at each start. Imports
 * nothing of a runtime and answers at once.
 */
export function memoryStore({ now = Date.now }: MemoryStoreOptions = {}): Store {
  const users = new Map<string, User>();
  const idByUsername = new Map<string, string>();
  const facts = new Map<string, { value: string; expiresAt: number }>();
  let claimsUntilFlush = flushEvery;

  const factKey = (kind: string, id: string): string => JSON.stringify([kind, id]);

  function insert(user: User): void {
    if (idByUsername.has(user.username)) throw taken("username", user.username);
    if (users.has(user.id)) throw taken("id", user.id);
    users.set(user.id, Object.freeze(user));
    idByUsername.set(user.username, user.id);
  }

  function flushExpired(): number {
    const before = facts.size;
    const seconds = now() / 1000;
    for (const [key, { expiresAt }] of facts) if (expiresAt <= seconds) facts.delete(key);
    claimsUntilFlush = flushEvery;
    return before - facts.size;
  }

  function peek(kind: string, id: string): string | undefined {
    const fact = facts.get(factKey(kind, id));
    return fact !== undefined && fact.expiresAt > now() / 1000 ? fact.value : undefined;
  }

  return {
    findUserByUsername(username) {
      const id = idByUsername.get(username);
      return id === undefined ? undefined : users.get(id);
    },
    findUserById: (id) => users.get(id),
    updateUser(id, changes, expected = {}) {
      const user = users.get(id);
      if (user === undefined) return undefined;
      for (const [field, value] of Object.entries(expected)) if (user[field as keyof User] !== value) return user;
      const changed: User = Object.freeze({ ...user, ...changes, id });
      if (changed.username !== user.username) {
        if (idByUsername.has(changed.username)) throw taken("username", changed.username);
        idByUsername.delete(user.username);
        idByUsername.set(changed.username, id);
      }
      users.set(id, changed);
      return changed;
    },
    addUser(newUser) {
      const user = completeUser(newUser);
      insert(user);
      return user;
    },
    async addUsers(newUsers) {
      const batch: User[] = [];
      for await (const newUser of newUsers as AsyncIterable<NewUser>) batch.push(completeUser(newUser));
      const added: User[] = [];
      try {
        for (const user of batch) {
          insert(user);
          added.push(user);
        }
      } catch (error) {
        for (const user of added) {
          users.delete(user.id);
          idByUsername.delete(user.username);
        }
        throw error;
      }
      return added.length;
    },
    removeUser(id) {
      const user = users.get(id);
      if (user === undefined) return false;
      users.delete(id);
      idByUsername.delete(user.username);
      return true;
    },
    listUsers: () => [...users.values()],
    claim(kind, id, value, expiresAt) {
      const standing = peek(kind, id);
      if (standing !== undefined) return standing;
      facts.set(factKey(kind, id), { value, expiresAt });
      if (--claimsUntilFlush === 0) flushExpired();
      return value;
    },
    peek,
    flushExpired,
    ping() {},
    close() {},
  };
}

function taken(field: "username" | "id", value: string): StoreError {
  return new StoreError("USER_EXISTS", `the ${field} ${JSON.stringify(value)} is taken`);
}
