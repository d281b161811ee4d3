import { type NewUser, type Store, StoreError, type User, type UserChanges, completeUser } from "./store.ts";

export interface MemoryStoreOptions {
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
}

/** How many facts are claimed between two rounds of forgetting expired ones. */
const flushEvery = 10_000;

/**
 * A store that lives as long as its process: for tests, and for hosts that bring their users anew at each start. Imports
 * nothing of a runtime and answers at once.
 */
export function memoryStore({ now = Date.now }: MemoryStoreOptions = {}): Store {
  const state = createState();
  const seconds = () => now() / 1000;
  let claimsUntilFlush = flushEvery;
  return {
    findUserByUsername: state.findUserByUsername,
    findUserById: state.findUserById,
    updateUser: state.updateUser,
    addUser: (user) => state.addUsers([completeUser(user)])[0]!,
    async addUsers(users) {
      const batch: User[] = [];
      for await (const user of users as AsyncIterable<NewUser>) batch.push(completeUser(user));
      return state.addUsers(batch).length;
    },
    removeUser: state.removeUser,
    listUsers: state.listUsers,
    claim(kind, id, value, expiresAt) {
      if (--claimsUntilFlush <= 0) {
        claimsUntilFlush = flushEvery;
        state.flushExpired(seconds());
      }
      return state.claim(kind, id, value, expiresAt, seconds());
    },
    peek: (kind, id) => state.peek(kind, id, seconds()),
    flushExpired: () => state.flushExpired(seconds()),
    ping() {},
    close() {},
  };
}

interface Fact {
  value: string;
  expiresAt: number;
}

export type State = ReturnType<typeof createState>;

/**
 * Users and facts as Maps, with the rules of the store interface and no clock: every time is an argument, in seconds. The
 * memory store is this state; the file store replays its journal into one, which is why equal journals make equal states.
 */
export function createState() {
  const users = new Map<string, User>();
  const idByUsername = new Map<string, string>();
  const facts = new Map<string, Map<string, Fact>>(); // kind -> id -> fact

  function peek(kind: string, id: string, at: number): string | undefined {
    const fact = facts.get(kind)?.get(id);
    return fact !== undefined && fact.expiresAt > at ? fact.value : undefined;
  }

  function forget(user: User): void {
    users.delete(user.id);
    idByUsername.delete(user.username);
  }

  return {
    findUserByUsername(username: string): User | undefined {
      const id = idByUsername.get(username);
      return id === undefined ? undefined : users.get(id);
    },
    findUserById: (id: string): User | undefined => users.get(id),
    /** All or none. */
    addUsers(batch: readonly User[]): readonly User[] {
      const added: User[] = [];
      for (const user of batch) {
        const clash = idByUsername.has(user.username) ? "username" : users.has(user.id) ? "id" : undefined;
        if (clash !== undefined) {
          added.forEach(forget);
          throw taken(clash, user[clash]);
        }
        users.set(user.id, Object.freeze(user));
        idByUsername.set(user.username, user.id);
        added.push(user);
      }
      return added;
    },
    updateUser(id: string, changes: UserChanges, expected: UserChanges = {}): User | undefined {
      const user = users.get(id);
      if (user === undefined) return undefined;
      for (const [field, value] of Object.entries(expected)) {
        if (value !== undefined && user[field as keyof User] !== value) return user;
      }
      const changed: User = Object.freeze(completeUser({ ...user, ...named(changes), id }));
      if (changed.username !== user.username) {
        if (idByUsername.has(changed.username)) throw taken("username", changed.username);
        idByUsername.delete(user.username);
        idByUsername.set(changed.username, id);
      }
      users.set(id, changed);
      return changed;
    },
    removeUser(id: string): boolean {
      const user = users.get(id);
      if (user !== undefined) forget(user);
      return user !== undefined;
    },
    listUsers: (): User[] => [...users.values()],
    claim(kind: string, id: string, value: string, expiresAt: number, at: number): string {
      const standing = peek(kind, id, at);
      if (standing !== undefined) return standing;
      let ofKind = facts.get(kind);
      if (ofKind === undefined) facts.set(kind, (ofKind = new Map()));
      ofKind.set(id, { value, expiresAt });
      return value;
    },
    peek,
    flushExpired(at: number): number {
      let flushed = 0;
      for (const [kind, ofKind] of facts) {
        for (const [id, { expiresAt }] of ofKind) {
          if (expiresAt <= at) {
            ofKind.delete(id);
            flushed++;
          }
        }
        if (ofKind.size === 0) facts.delete(kind);
      }
      return flushed;
    },
    *facts(): Iterable<[kind: string, id: string, fact: Fact]> {
      for (const [kind, ofKind] of facts) for (const [id, fact] of ofKind) yield [kind, id, fact];
    },
    /** Users, and facts that have not expired at a time. */
    size(at: number): number {
      let size = users.size;
      for (const ofKind of facts.values()) for (const { expiresAt } of ofKind.values()) if (expiresAt > at) size++;
      return size;
    },
  };
}

/** A field that is `undefined` counts as not named, as in JSON. */
function named(changes: UserChanges): UserChanges {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

function taken(field: "username" | "id", value: string): StoreError {
  return new StoreError("USER_EXISTS", `the ${field} ${JSON.stringify(value)} is taken`);
}
