/**
 * The promises of `store.ts` as cases for any store, under any test runner. A case takes a fresh, empty store and throws an
 * error that names the broken promise.
 *
 * ```ts
 * for (const [title, run] of storeCases) test(title, async () => run(await openMyStore()));
 * ```
 *
 * A case about an optional part does nothing for a store without it; the third member of its row returns the reason. The
 * cases about messages are in a table of their own, since they take two stores on the same data.
 */
import {
  type MessageStore,
  type NewUser,
  type Session,
  type SessionStore,
  type Store,
  type User,
  touchInterval,
} from "./store.ts";

const hash = "pbkdf2_sha256$1$salt$c3RvcmVzIG5ldmVyIGxvb2sgaW50byBoYXNoZXMuLi4=";
const oddNames = [
  "__proto__",
  "constructor",
  "toString",
  "Zoë 🦊",
  'quote " and \\',
  "line\nbreak\ttab",
  "a;b",
  "$&",
  "\u2028",
];

const soon = (): number => Date.now() / 1000 + 3600;
const newUser = (username: string, more: Partial<User> = {}): NewUser => ({ username, passwordHash: hash, ...more });

function check(holds: boolean, promise: string): asserts holds {
  if (!holds) throw new Error(`broken promise: ${promise}`);
}

function same(actual: unknown, expected: unknown, promise: string): void {
  const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(found === wanted, `${promise}; expected ${wanted}, found ${found}`);
}

async function refused(action: () => unknown, code: string, promise: string): Promise<Error> {
  try {
    await action();
  } catch (error) {
    same((error as { code?: unknown }).code, code, promise);
    return error as Error;
  }
  throw new Error(`broken promise: ${promise}; nothing was thrown`);
}

async function usernames(store: Store): Promise<string[]> {
  const names: string[] = [];
  for await (const user of store.listUsers() as AsyncIterable<User>) names.push(user.username);
  return names;
}

/** A case: what it shows, the run, and, for a part that a store may lack, why the case is skipped for a store. */
export type StoreCase = [
  title: string,
  run: (store: Store) => Promise<void>,
  skipReason?: (store: Store) => string | undefined,
];

const withoutSessions = ({ addSession, touchSession, listSessions, removeSession }: Store): string | undefined =>
  (addSession ?? touchSession ?? listSessions ?? removeSession) === undefined
    ? "the store keeps no sessions: it has no addSession"
    : undefined;

/** Makes the run of a case about sessions, which does nothing for a store without them. */
const aboutSessions = (run: (store: Store & SessionStore) => Promise<void>): [StoreCase[1], StoreCase[2]] => [
  async (store) => {
    if (withoutSessions(store) !== undefined) return;
    const { addSession, touchSession, listSessions, removeSession } = store;
    const isWhole = addSession && touchSession && listSessions && removeSession;
    check(isWhole !== undefined, "a store with sessions has all methods of SessionStore");
    await run(store as Store & SessionStore);
  },
  withoutSessions,
];

function withoutCount(store: Store): string | undefined {
  return store.countFacts === undefined ? "the store does not count its facts: it has no countFacts" : undefined;
}

const begin = Math.floor(Date.now() / 1000) - 600;

const newSession = (id: string, userId: string, more: Partial<Session> = {}): Session => {
  const times = { createdAt: begin, lastUsedAt: begin, expiresAt: soon() };
  return { id, userId, ...times, ip: "192.0.2.7", userAgent: "curl/8.9.1", ...more };
};

const entriesOf = (session: Session): unknown[] => Object.entries(session).sort();

async function sessionIds(store: Store & SessionStore, userId: string): Promise<string[]> {
  return (await store.listSessions(userId)).map(({ id }) => id);
}

/** The cases that every store has to pass, each a title and a function that throws when the store fails it. */
export const storeCases: StoreCase[] = [
  [
    "finds an added user by name and by id, with the defaults filled in",
    async (store) => {
      const added = await store.addUser(newUser("ada"));
      check(typeof added.id === "string" && added.id !== "", "a user without an id gets one");
      const whole = { id: added.id, username: "ada", email: "", passwordHash: hash, isActive: true, lastLogin: null };
      for (const user of [added, await store.findUserByUsername("ada"), await store.findUserById(added.id)]) {
        for (const [field, value] of Object.entries(whole))
          same(user?.[field as keyof User], value, `the field ${field}`);
      }
    },
  ],
  [
    "keeps every given field",
    async (store) => {
      const more = { id: "42", email: "b@example.org", isActive: false, lastLogin: 1700000000.5 };
      await store.addUser(newUser("bob", more));
      const found = (await store.findUserById("42")) as User;
      for (const [field, value] of Object.entries(more)) same(found[field as keyof User], value, `the field ${field}`);
    },
  ],
  [
    "returns undefined for a user it does not have",
    async (store) => {
      for (const name of ["nobody", "", ...oddNames]) {
        check((await store.findUserByUsername(name)) === undefined, "an unknown name is undefined");
        check((await store.findUserById(name)) === undefined, "an unknown id is undefined");
        check(
          (await store.updateUser(name, { email: "x" })) === undefined,
          "an update of a missing user returns undefined",
        );
        check((await store.removeUser(name)) === false, "removing a missing user returns false");
      }
    },
  ],
  [
    "accepts names of any characters and distinguishes names that differ by case",
    async (store) => {
      for (const name of [...oddNames, "eve", "Eve"]) await store.addUser(newUser(name, { id: `id-${name}` }));
      for (const name of [...oddNames, "eve", "Eve"]) {
        same((await store.findUserByUsername(name))?.id, `id-${name}`, "a name finds its own user");
        same((await store.findUserById(`id-${name}`))?.username, name, "an id finds its own user");
      }
    },
  ],
  [
    "refuses a name and an id that are taken",
    async (store) => {
      await store.addUser(newUser("carl", { id: "1" }));
      await refused(() => store.addUser(newUser("carl")), "USER_EXISTS", "a taken name is refused");
      const error = await refused(
        () => store.addUser(newUser("dora", { id: "1" })),
        "USER_EXISTS",
        "a taken id is refused",
      );
      check(!error.message.includes(hash), "an error holds no password hash");
      same(await usernames(store), ["carl"], "a refused user is not there");
    },
  ],
  [
    "lets one of many racing users have a name",
    async (store) => {
      const tries = Array.from({ length: 50 }, async () => store.addUser(newUser("prize")));
      const results = await Promise.allSettled(tries);
      const winners = results.filter((result) => result.status === "fulfilled");
      same(winners.length, 1, "exactly one wins");
      same(
        (await store.findUserByUsername("prize"))?.id,
        winners[0]!.value.id,
        "the name finds the user that was added",
      );
    },
  ],
  [
    "keeps a user's issued-before mark, which is null at first",
    async (store) => {
      const { id } = await store.addUser(newUser("una"));
      same((await store.findUserById(id))?.tokensValidFrom ?? null, null, "a new user has no such time");
      same(
        (await store.updateUser(id, { tokensValidFrom: 1700000000.25 }))?.tokensValidFrom,
        1700000000.25,
        "it is set",
      );
      await store.updateUser(id, { email: "u@example.org" });
      same((await store.findUserByUsername("una"))?.tokensValidFrom, 1700000000.25, "it stays");
      await store.addUser(newUser("vera", { tokensValidFrom: 5 }));
      const vera = (await store.findUserByUsername("vera"))!;
      same(vera.tokensValidFrom, 5, "it can be given");
      await store.updateUser(vera.id, { email: "v" }, { tokensValidFrom: 4 });
      same((await store.findUserById(vera.id))?.email, "", "it is compared as every field is");
      await store.updateUser(vera.id, { tokensValidFrom: null }, { tokensValidFrom: 5 });
      await store.updateUser(vera.id, { email: "v" }, { tokensValidFrom: null });
      const { tokensValidFrom, email } = (await store.findUserById(vera.id))!;
      same([tokensValidFrom ?? null, email], [null, "v"], "and can be emptied");
    },
  ],
  [
    "finds a name in any case under case-insensitive matching, an exact one first, and none of several",
    async (store) => {
      const find = async (name: string) => (await store.findUserByUsername(name, "case-insensitive"))?.id;
      await store.addUser(newUser("Ada", { id: "1" }));
      await store.addUser(newUser("Straße", { id: "2" }));
      for (const name of ["Ada", "ada", "ADA"]) same(await find(name), "1", "case does not matter");
      for (const name of ["STRASSE", "strasse", "STRAßE"]) same(await find(name), "2", "nor do its special forms");
      check((await store.findUserByUsername("ada")) === undefined, "by default it matters");
      await store.addUser(newUser("ADA", { id: "3" }));
      same([await find("Ada"), await find("ADA")], ["1", "3"], "who has exactly this name comes first");
      check((await find("ada")) === undefined, "of several that differ by case, none is found");
      await store.removeUser("3");
      same(await find("ada"), "1", "until one is left");
      for (const name of oddNames) check((await find(`${name}x`)) === undefined, "an unknown name is undefined");
    },
  ],
  [
    "accepts names of any characters under case-insensitive matching",
    async (store) => {
      const matching = "case-insensitive";
      for (const name of oddNames) await store.addUser(newUser(name, { id: `id-${name}` }), matching);
      for (const name of oddNames) {
        for (const other of [name, name.toUpperCase(), name.toLowerCase()]) {
          same((await store.findUserByUsername(other, matching))?.id, `id-${name}`, "a name finds its own user");
          await refused(() => store.addUser(newUser(other), matching), "USER_EXISTS", "a taken name is refused");
        }
      }
      same(await usernames(store), oddNames, "all keep the name they were given");
    },
  ],
  [
    "refuses a name that differs only by case under case-insensitive matching",
    async (store) => {
      const matching = "case-insensitive";
      const { id } = await store.addUser(newUser("Bea"), matching);
      const title = "a name that differs by case is taken";
      await refused(() => store.addUser(newUser("bea"), matching), "USER_EXISTS", title);
      await refused(() => store.addUsers([newUser("carl"), newUser("BEA")], matching), "USER_EXISTS", title);
      await refused(() => store.addUsers([newUser("dora"), newUser("Dora")], matching), "USER_EXISTS", title);
      const other = await store.addUser(newUser("eve"), matching);
      const rename = () => store.updateUser(other.id, { username: "bEA" }, undefined, matching);
      await refused(rename, "USER_EXISTS", title);
      same(await usernames(store), ["Bea", "eve"], "the refused are not there");
      same(
        (await store.updateUser(id, { username: "BEA" }, undefined, matching))?.username,
        "BEA",
        "but one's own case",
      );
      await store.removeUser(id);
      same(await store.addUsers([newUser("bea"), newUser("fay")], matching), 2, "a name that is given up is free");
    },
  ],
  [
    "compares names by the matching of each call",
    async (store) => {
      const matching = "case-insensitive";
      await store.addUser(newUser("gus", { id: "1" }), matching);
      await store.addUsers([newUser("GUS", { id: "2" }), newUser("guS", { id: "3" })]);
      await refused(() => store.addUser(newUser("guS")), "USER_EXISTS", "the same name is taken for everybody");
      await refused(() => store.addUser(newUser("Gus"), matching), "USER_EXISTS", "a like name is taken for who asks");
      const rename = () => store.updateUser("1", { username: "Gus" }, undefined, matching);
      await refused(rename, "USER_EXISTS", "nor can a user move among like names of others");
      const changed = await store.updateUser("1", { username: "gus", email: "g" }, undefined, matching);
      same(changed?.email, "g", "who keeps the name can change the rest");
      for (const id of ["2", "3"]) await store.removeUser(id);
      same((await rename())?.username, "Gus", "the name is free once the other users are removed");
      check((await store.findUserByUsername("gus")) === undefined, "the old name finds no user");
      same((await store.updateUser("1", { username: "gustav" }))?.username, "gustav", "a name can be given up");
      for (let i = 0; i < 3; i++) {
        const { id } = await store.addUser(newUser(i % 2 ? "gus" : "GUS"), matching);
        same((await store.findUserByUsername("Gus", matching))?.id, id, "a name that is free can be given again");
        same(await store.removeUser(id), true, "removing a user returns true");
      }
      same(await usernames(store), ["gustav"], "one is left");
    },
  ],
  [
    "lets one of many racing users have a name that differs only by case",
    async (store) => {
      const names = Array.from({ length: 64 }, (_, i) =>
        [..."prizes"].map((char, bit) => ((i >> bit) & 1 ? char.toUpperCase() : char)).join(""),
      );
      const tries = names.map(async (name) => store.addUser(newUser(name), "case-insensitive"));
      const winners = (await Promise.allSettled(tries)).filter(({ status }) => status === "fulfilled");
      same(winners.length, 1, "exactly one wins");
      same((await usernames(store)).length, 1, "and is alone");
      const ids: string[] = [];
      for (let i = 0; i < 16; i++) ids.push((await store.addUser(newUser(`runner-${i}`))).id);
      const moves = ids.map(async (id, i) =>
        store.updateUser(id, { username: `gold${i % 2 ? "en" : "EN"}` }, undefined, "case-insensitive"),
      );
      const moved = (await Promise.allSettled(moves)).filter(({ status }) => status === "fulfilled");
      same(moved.length, 1, "exactly one is renamed");
      const golden = (await usernames(store)).filter((name) => name.toLowerCase() === "golden");
      same(golden.length, 1, "and has the name alone");
    },
  ],
  [
    "changes the given fields and no others",
    async (store) => {
      const { id } = await store.addUser(newUser("finn", { email: "f@example.org" }));
      const changed = await store.updateUser(id, { isActive: false, lastLogin: 5 });
      same([changed?.isActive, changed?.lastLogin, changed?.email], [false, 5, "f@example.org"], "the changed user");
      same((await store.findUserById(id))?.isActive, false, "the change stays");
      same((await store.updateUser(id, { lastLogin: null }))?.lastLogin, null, "a field can be emptied");
    },
  ],
  [
    "moves a user to a new name, unless it is taken",
    async (store) => {
      const { id } = await store.addUser(newUser("gina"));
      await store.addUser(newUser("hugo"));
      await store.updateUser(id, { username: "georgina" });
      check((await store.findUserByUsername("gina")) === undefined, "the old name is free");
      same((await store.findUserByUsername("georgina"))?.id, id, "the new name finds the user");
      await refused(() => store.updateUser(id, { username: "hugo" }), "USER_EXISTS", "a taken name is refused");
      same((await store.findUserById(id))?.username, "georgina", "a refused change changes nothing");
      await store.addUser(newUser("gina"));
    },
  ],
  [
    "changes nothing when an expected field has another value",
    async (store) => {
      const { id } = await store.addUser(newUser("ida"));
      const stands = await store.updateUser(id, { passwordHash: "new" }, { passwordHash: "old" });
      same(stands?.passwordHash, hash, "the stored user is returned");
      same(
        (await store.updateUser(id, { passwordHash: "new" }, { passwordHash: hash }))?.passwordHash,
        "new",
        "a match changes",
      );
    },
  ],
  [
    "lets one of many racing conditional changes through",
    async (store) => {
      const { id } = await store.addUser(newUser("jon"));
      const tries = Array.from({ length: 30 }, async (_, i) =>
        store.updateUser(id, { passwordHash: `new-${i}` }, { passwordHash: hash }),
      );
      const returned = new Set((await Promise.all(tries)).map((user) => user?.passwordHash));
      same([...returned], [(await store.findUserById(id))?.passwordHash], "all calls return the user that is stored");
    },
  ],
  [
    "removes a user, frees the name, and never gives the id to another user",
    async (store) => {
      await store.addUser(newUser("kim", { id: "7" }));
      same(await store.removeUser("7"), true, "removing a user returns true");
      same(await store.removeUser("7"), false, "removing the user again returns false");
      check((await store.findUserByUsername("kim")) === undefined, "the name finds no user");
      check((await store.findUserById("7")) === undefined, "the id finds no user");
      for (const add of [
        () => store.addUser(newUser("lou", { id: "7" })),
        () => store.addUsers([newUser("k1"), newUser("lou", { id: "7" }), newUser("k2")]),
      ]) {
        const error = await refused(add, "USER_EXISTS", "a removed user's id is refused");
        check(error.message.includes('"7"') && !error.message.includes(hash), "the error names the id, and no hash");
      }
      check(
        (await store.updateUser("7", { email: "x" })) === undefined,
        "an update of a removed user returns undefined",
      );
      same(await usernames(store), [], "nothing was added");
      same((await store.addUser(newUser("kim", { id: "8" }))).id, "8", "the name can be given again");
    },
  ],
  [
    "returns which ids and names were removed",
    async (store) => {
      const tell = async (field: string, values: string[]) => {
        const told: boolean[] = [];
        for (const value of values) told.push(await store.wasRemoved(field, value));
        return told;
      };
      for (const name of oddNames) await store.addUser(newUser(name, { id: `id-${name}` }));
      const ids = oddNames.map((name) => `id-${name}`);
      const [all, none] = [true, false].map((value) => oddNames.map(() => value));
      const found = [await tell("id", ids), await tell("username", oddNames)];
      same(found, [none, none], "existing users were not removed");
      for (const id of ids) await store.removeUser(id);
      same([await tell("id", ids), await tell("username", oddNames)], [all, all], "removed users were removed");
      same([await tell("username", ids), await tell("id", oddNames)], [none, none], "each field by itself");
      same(await tell("email", [...ids, ...oddNames, ""]), [...none!, ...none!, false], "no other field");
      const { id } = await store.addUser(newUser("ida"));
      await store.updateUser(id, { username: "ida2" });
      same(
        await tell("username", ["ida", "ida2", "IDA", "nobody"]),
        [true, false, false, false],
        "a former name counts as removed",
      );
      same(await tell("id", [id]), [false], "the id of an existing user was not removed");
      await refused(() => store.addUsers([newUser("jo"), newUser("jo")]), "USER_EXISTS", "twice in one batch");
      same(await tell("username", ["jo"]), [false], "the name of a refused user was not removed");
      await store.addUser(newUser("ida"));
      same(await tell("username", ["ida"]), [false], "a name that is in use again was not removed");
    },
  ],
  [
    "sets an issued-before mark for a name that another user had, and for no other",
    async (store) => {
      const { id } = await store.addUser(newUser("kim"));
      await store.addUser(newUser("lea"));
      const rest = await store.addUser(newUser("mia", { tokensValidFrom: null }));
      await store.updateUser(id, { username: "kim2" });
      const since = Math.floor(Date.now()) / 1000;
      const begins = (user: User | undefined, promise: string) => {
        const { tokensValidFrom = null } = user ?? {};
        const now = Date.now() / 1000; // in whole milliseconds, which the store may round the other way
        check(tokensValidFrom !== null && tokensValidFrom >= since && tokensValidFrom <= now + 0.002, promise);
      };
      begins(
        await store.addUser(newUser("kim")),
        "a new user with another's former name gets an issued-before mark of now",
      );
      begins((await store.findUserByUsername("kim")) ?? undefined, "and the mark is stored");
      await store.removeUser(id);
      begins(
        await store.updateUser(rest.id, { username: "kim2" }),
        "a user renamed to a removed user's name gets an issued-before mark of now",
      );
      begins(await store.findUserById(rest.id), "and the mark is stored");
      await store.addUsers([newUser("mia"), newUser("nil")]);
      begins(await store.findUserByUsername("mia"), "so does a user added in a batch");
      for (const name of ["nil", "lea"]) {
        same(
          (await store.findUserByUsername(name))?.tokensValidFrom ?? null,
          null,
          "a new name leaves all tokens valid",
        );
      }
      const ahead = Math.ceil(Date.now() / 1000) + 60;
      await store.updateUser(rest.id, { username: "oda" });
      const late = await store.addUser(newUser("kim2", { tokensValidFrom: ahead }));
      same(late.tokensValidFrom, ahead, "a later mark of the new user is kept");
    },
  ],
  [
    "lists users in the order they were added, also while some are removed",
    async (store) => {
      for (let i = 0; i < 20; i++) await store.addUser(newUser(`user-${i}`));
      const seen: string[] = [];
      for await (const user of store.listUsers() as AsyncIterable<User>) {
        seen.push(user.username);
        await store.removeUser(user.id);
      }
      same(
        seen,
        Array.from({ length: 20 }, (_, i) => `user-${i}`),
        "all of them, though they are removed meanwhile",
      );
    },
  ],
  [
    "returns the password hashes that it holds, if it has the method",
    async (store) => {
      if (store.passwordHashes === undefined) return;
      const { id } = await store.addUser(newUser("olga", { passwordHash: "scrypt$old" }));
      await store.addUser(newUser("otto"));
      await store.updateUser(id, { passwordHash: "scrypt$new" });
      const told: string[] = [];
      for await (const one of store.passwordHashes() as AsyncIterable<string>) told.push(one);
      same(told.sort(), [hash, "scrypt$new"].sort(), "the current hash of each user");
    },
  ],
  [
    "adds a batch as a whole, from an iterable or an async one",
    async (store) => {
      same(await store.addUsers([newUser("l1"), newUser("l2")]), 2, "the number of users is returned");
      async function* many() {
        for (let i = 0; i < 2500; i++) yield newUser(`m${i}`);
      }
      same(await store.addUsers(many()), 2500, "the number of users is returned");
      same(await store.addUsers([]), 0, "an empty batch is fine");
      same((await usernames(store)).length, 2502, "all are there");
      check((await store.findUserByUsername("m2499")) !== undefined, "the last one is found");
    },
  ],
  [
    "adds nothing of a batch in which one name is taken",
    async (store) => {
      await store.addUser(newUser("nina"));
      const error = await refused(() => store.addUsers([newUser("n1"), newUser("nina")]), "USER_EXISTS", "refused");
      check(error.message.includes("nina"), "the error names the name");
      await refused(
        () => store.addUsers([newUser("n2"), newUser("n2")]),
        "USER_EXISTS",
        "twice in one batch is refused",
      );
      same(await usernames(store), ["nina"], "nothing was added");
      await store.addUser(newUser("n1"));
    },
  ],
  [
    "adds nothing of a batch whose source fails",
    async (store) => {
      function* failing() {
        for (let i = 0; i < 1500; i++) yield newUser(`o${i}`);
        throw Object.assign(new Error("the file ended early"), { code: "SOURCE" });
      }
      await refused(() => store.addUsers(failing()), "SOURCE", "the source's own error comes through");
      same(await usernames(store), [], "nothing was added");
      same(await store.addUsers([newUser("o1")]), 1, "the next batch works");
    },
  ],
  [
    "is not changed by a change to a user that it returned",
    async (store) => {
      const added = (await store.addUser(newUser("pia"))) as { email: string; id: string };
      try {
        added.email = "changed from outside";
      } catch {
        // a frozen object keeps the promise as well as a copy does
      }
      same((await store.findUserById(added.id))?.email, "", "a change to the object is no change to the user");
    },
  ],
  [
    "lets the first writer of a fact win",
    async (store) => {
      same(
        await store.putIfAbsent("successor", "jti-1", "first", soon()),
        "first",
        "the first writer's value is stored",
      );
      same(
        await store.putIfAbsent("successor", "jti-1", "second", soon()),
        "first",
        "the second learns the first one's",
      );
      same(await store.get("successor", "jti-1"), "first", "get returns the stored value");
      check((await store.get("successor", "jti-2")) === undefined, "a fact that was not written is undefined");
    },
  ],
  [
    "returns the same value to all of many racing writers",
    async (store) => {
      for (let round = 0; round < 5; round++) {
        const tries = Array.from({ length: 100 }, async (_, i) =>
          store.putIfAbsent("race", `id-${round}`, `value-${i}`, soon()),
        );
        const returned = new Set(await Promise.all(tries));
        same([...returned], [await store.get("race", `id-${round}`)], "every call returns the stored value");
      }
    },
  ],
  [
    "keeps facts of different kinds and ids apart, with any characters",
    async (store) => {
      const odd = [...oddNames, "", "a", "a\0b", "b"];
      for (const kind of odd) for (const id of odd) await store.putIfAbsent(kind, id, `${kind}|${id}`, soon());
      for (const kind of odd) {
        for (const id of odd) same(await store.get(kind, id), `${kind}|${id}`, "each fact has its own value");
      }
    },
  ],
  [
    "counts an expired fact as absent",
    async (store) => {
      await store.putIfAbsent("short", "past", "gone", Date.now() / 1000 - 1);
      check((await store.get("short", "past")) === undefined, "an expired fact is undefined");
      same(await store.putIfAbsent("short", "past", "new", soon()), "new", "an expired fact can be written again");
      await store.putIfAbsent("short", "brief", "gone", Date.now() / 1000 + 0.05);
      await new Promise((resolve) => setTimeout(resolve, 80));
      check((await store.get("short", "brief")) === undefined, "a fact expires with time alone");
      same(await store.putIfAbsent("short", "brief", "new", soon()), "new", "and can be written again");
    },
  ],
  [
    "drops expired facts, and only those, on flushExpired",
    async (store) => {
      for (let i = 0; i < 5; i++) await store.putIfAbsent("flush", `past-${i}`, "x", Date.now() / 1000 - 1);
      await store.putIfAbsent("flush", "stays", "x", soon());
      const forgotten = await store.flushExpired();
      check(forgotten >= 0 && forgotten <= 5, "the number of dropped facts is returned"); // less what it dropped by itself
      same(await store.flushExpired(), 0, "nothing is left to drop");
      same(await store.get("flush", "stays"), "x", "a fact that is valid stays");
    },
  ],
  [
    "serves while it drops expired facts",
    async (store) => {
      const ids = Array.from({ length: 500 }, (_, i) => `id-${i}`);
      const past = Date.now() / 1000 - 1;
      await Promise.all(ids.map(async (id) => store.putIfAbsent("busy", id, "gone", past)));
      const flush = store.flushExpired();
      check((await store.get("busy", "id-0")) === undefined, "an expired fact is undefined");
      const returned = new Set(await Promise.all(ids.map(async (id) => store.putIfAbsent("busy", id, "new", soon()))));
      same([...returned], ["new"], "an expired fact can be written again at any moment");
      await flush;
      await store.flushExpired();
      for (const id of ids) same(await store.get("busy", id), "new", "what was written meanwhile stays");
    },
  ],
  [
    "keeps the sessions of each user, in the order they were added",
    ...aboutSessions(async (store) => {
      const first = newSession("s-3", "1", {
        createdAt: begin + 0.5,
        lastUsedAt: begin + 7.25,
        expiresAt: soon() + 0.5,
      });
      const second = newSession("s-1", "1", { ip: null, userAgent: null });
      await store.addSession(first);
      await store.addSession(second);
      for (const name of oddNames) await store.addSession(newSession(`of ${name}`, name, { userAgent: name }));
      same((await store.listSessions("1")).map(entriesOf), [first, second].map(entriesOf), "every field is kept");
      for (const name of oddNames) {
        const [found, ...others] = await store.listSessions(name);
        same(
          [found?.userAgent, others.length],
          [name, 0],
          "each user has only the own sessions, with ids of any characters",
        );
      }
      same(await sessionIds(store, "nobody"), [], "a user without sessions has none");
      await store.addSession(newSession("s-3", "2"));
      same([await sessionIds(store, "1"), await sessionIds(store, "2")], [["s-3", "s-1"], []], "an id is added once");
    }),
  ],
  [
    "records the use of a session at most once a minute",
    ...aboutSessions(async (store) => {
      const expiresAt = soon();
      await store.addSession(newSession("s-1", "1", { expiresAt }));
      await store.addSession(newSession("s-2", "1", { expiresAt }));
      const times = async () => (await store.listSessions("1")).map((each) => [each.lastUsedAt, each.expiresAt]);
      await store.touchSession("s-1", begin + touchInterval - 0.5, expiresAt + 5);
      same((await times())[0], [begin, expiresAt], "a use within a minute is not recorded");
      await store.touchSession("s-1", begin + touchInterval, expiresAt + 60);
      same((await times())[0], [begin + touchInterval, expiresAt + 60], "one after a minute is");
      await store.touchSession("s-1", begin + 5, expiresAt);
      same((await times())[0], [begin + touchInterval, expiresAt + 60], "an earlier one is not");
      same((await times())[1], [begin, expiresAt], "another session stays as it is");
      await store.touchSession("s-3", begin + 500, expiresAt);
      same(await sessionIds(store, "1"), ["s-1", "s-2"], "a touch adds no session, and keeps the order");
    }),
  ],
  [
    "removes a session, missing or not, and all sessions of a removed user",
    ...aboutSessions(async (store) => {
      const { id } = await store.addUser(newUser("ida"));
      for (const session of ["s-1", "s-2", "s-3"]) await store.addSession(newSession(session, id));
      await store.addSession(newSession("s-4", "another"));
      await store.removeSession("s-2");
      same(await sessionIds(store, id), ["s-1", "s-3"], "the others stay");
      await store.removeSession("s-2");
      await store.removeSession("no such session");
      await store.touchSession("s-2", begin + 500, soon());
      same(await sessionIds(store, id), ["s-1", "s-3"], "a removed session does not come back");
      await store.removeUser(id);
      same([await sessionIds(store, id), await sessionIds(store, "another")], [[], ["s-4"]], "a removed user has none");
    }),
  ],
  [
    "counts an expired session as absent, and drops it on flushExpired",
    ...aboutSessions(async (store) => {
      const past = Date.now() / 1000 - 86_400;
      await store.addSession(newSession("s-1", "1", { expiresAt: past }));
      await store.addSession(newSession("s-2", "1"));
      await store.addSession(newSession("s-3", "1", { expiresAt: Date.now() / 1000 + 0.05 }));
      await new Promise((resolve) => setTimeout(resolve, 80));
      same(await sessionIds(store, "1"), ["s-2"], "an expired session is not listed");
      await store.flushExpired();
      same(await sessionIds(store, "1"), ["s-2"], "one that has not expired stays");
    }),
  ],
  [
    "counts its facts, once each",
    async (store) => {
      if (withoutCount(store) !== undefined) return;
      same(await store.countFacts!(), 0, "an empty store has none");
      for (const id of ["a", "b", "a"]) await store.putIfAbsent("kind", id, "x", soon());
      await store.putIfAbsent("other", "a", "x", soon());
      same(await store.countFacts!(), 3, "a fact counts by kind and id");
      await store.addUser(newUser("ida"));
      same(await store.countFacts!(), 3, "users do not count");
      await store.putIfAbsent("kind", "expired", "x", Date.now() / 1000 - 86_400);
      await store.flushExpired();
      same(await store.countFacts!(), 3, "a fact that was dropped does not count");
    },
    withoutCount,
  ],
  ["resolves a ping", async (store) => void (await store.ping())],
];

/**
 * A case about messages, as {@link StoreCase}. It takes two stores that were opened on the same data, as by two processes; they
 * may have served other cases.
 */
export type MessageCase = [
  title: string,
  run: (one: Store, other: Store) => Promise<void>,
  skipReason: (store: Store) => string | undefined,
];

const withoutMessages = ({ publish, subscribe }: Store): string | undefined =>
  (publish ?? subscribe) === undefined ? "the store carries no messages: it has no publish" : undefined;

/** Makes the run of a case about messages, which does nothing for a store without them. */
const aboutMessages = (
  run: (one: MessageStore, other: MessageStore) => Promise<void>,
): [MessageCase[1], MessageCase[2]] => [
  async (one, other) => {
    if (withoutMessages(one) !== undefined) return;
    check((one.publish && one.subscribe) !== undefined, "a store with messages has both methods of MessageStore");
    await run(one as Store & MessageStore, other as Store & MessageStore);
  },
  withoutMessages,
];

/** Subscribes, and returns a function that waits for a number of texts with a beginning of their own and returns these. */
function listenTo(store: MessageStore, beginning: string): (count: number) => Promise<string[]> {
  const received: string[] = [];
  store.subscribe((text) => {
    if (text.startsWith(beginning)) received.push(text);
  });
  return async (count) => {
    for (const end = Date.now() + 10_000; received.length < count && Date.now() < end;) await pause(10);
    await pause(100); // for those that should not come
    return received;
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The cases for stores with the methods of `MessageStore`. */
export const messageCases: MessageCase[] = [
  [
    "delivers messages to the other process, in the order of their sender, and not to the sender",
    ...aboutMessages(async (one, other) => {
      const [mine, theirs] = [listenTo(one, "order "), listenTo(other, "order ")];
      await pause(100); // a subscription may take a moment
      const sent = Array.from({ length: 300 }, (_, i) => `order ${i}`);
      for (const [i, text] of sent.entries()) {
        one.publish(text);
        if (i % 100 === 50) await pause(30);
      }
      same(await theirs(sent.length), sent, "the other process receives each once, in order");
      same(await mine(0), [], "the sender receives none");
      other.publish("order back");
      same(await mine(1), ["order back"], "the other process sends, too");
    }),
  ],
  [
    "delivers any text, equal ones as often as they were sent, and to every subscriber",
    ...aboutMessages(async (one, other) => {
      const [first, second] = [listenTo(other, "text "), listenTo(other, "text ")];
      await pause(100);
      const long = "🦊\n".repeat(333);
      const texts = ["", ...oddNames, "\0\r\n\u007f\ud800", '["x"]', "same", "same", long, long, long].map(
        (text) => `text ${text}`,
      );
      for (const text of texts) one.publish(text);
      same(await first(texts.length), texts, "a text arrives as it was sent");
      same(await second(texts.length), texts, "a second subscriber receives the same");
    }),
  ],
];
