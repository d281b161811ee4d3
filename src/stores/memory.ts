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
    addUser: (user, matching) => state.addUsers([completeUser(user)], matching)[0]!,
    async addUsers(users, matching) {
      const batch: User[] = [];
      for await (const user of users as AsyncIterable<NewUser>) batch.push(completeUser(user));
      return state.addUsers(batch, matching).length;
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
  // Folded name -> id, or ids where names differ by case alone. A name that is its own fold shares the string.
  const idsByName = new Map<string, string | string[]>();
  const facts = new Map<string, Map<string, Fact>>(); // kind -> id -> fact

  function peek(kind: string, id: string, at: number): string | undefined {
    const fact = facts.get(kind)?.get(id);
    return fact !== undefined && fact.expiresAt > at ? fact.value : undefined;
  }

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

  function forget(user: User): void {
    unnameUser(user);
    users.delete(user.id);
  }

  return {
    findUserByUsername,
    findUserById: (id: string): User | undefined => users.get(id),
    /** All or none. */
    addUsers(batch: readonly User[], matching?: UsernameMatching): readonly User[] {
      const added: User[] = [];
      for (const user of batch) {
        const clash = isNameTaken(user.username, matching) ? "username" : users.has(user.id) ? "id" : undefined;
        if (clash !== undefined) {
          added.forEach(forget);
          throw taken(clash, user[clash]);
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
    ): User | undefined {
      const user = users.get(id);
      if (user === undefined) return undefined;
      for (const [field, value] of Object.entries(expected)) {
        if (value !== undefined && user[field as keyof User] !== value) return user;
      }
      const changed: User = Object.freeze(completeUser({ ...user, ...named(changes), id }));
      if (changed.username === user.username) users.set(id, changed);
      else {
        if (isNameTaken(changed.username, matching, id)) throw taken("username", changed.username);
        unnameUser(user);
        users.set(id, changed);
        nameUser(changed);
      }
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
