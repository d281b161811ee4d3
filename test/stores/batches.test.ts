import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createState, type State } from "../../src/stores/state/index.ts";
import { completeUser, type User, type UsernameMatching } from "../../src/stores/store.ts";
import { foldUsername } from "../../src/stores/usernames.ts";
import { randomFrom } from "../support/random.ts";
import { guest, seed } from "../support/stores.ts";

const batches = suite("batches of users");

const person = (id: string, username: string): User => completeUser({ ...guest(username), id });

/** How many shards of users something moves: the table of each is searched for a gap first, from its beginning. */
function shardsMoved(action: () => void): number {
  const { indexOf } = Int32Array.prototype;
  let count = 0;
  Int32Array.prototype.indexOf = function (sought, from) {
    count++;
    return indexOf.call(this, sought, from);
  };
  try {
    action();
  } finally {
    Int32Array.prototype.indexOf = indexOf;
  }
  return count;
}

batches("are committed in constant time, however many users they and the store have", () => {
  const state = createState();
  const size = 50_000;
  for (const batch of ["first", "second"]) {
    for (let i = 0; i < size; i += 1000) {
      const part = Array.from({ length: 1000 }, (_, n) => person(`${batch}-${i + n}`, `${batch} ${i + n}`));
      state.stageUsers(batch, part, 1);
    }
    assert.is(state.findUserByUsername(`${batch} 7`), undefined, "not before all are");
    assert.is(
      shardsMoved(() => assert.is(state.commitUsers(batch, 1), size)),
      0,
    );
    // What is not yet in its place is brought there a shard at a time, which may have to grow first.
    const moved = shardsMoved(() => assert.is(state.findUserByUsername(`${batch} 7`)?.id, `${batch}-7`));
    assert.ok(moved <= 2, `${moved} shards`);
    assert.ok(batch === "first" || moved > 0, "what is counted happens");
    if (batch === "first") while (state.mergeNext());
  }
  assert.is(state.userCount(), 2 * size);
  for (let i = 0; i < size; i++) {
    assert.is(state.findUserByUsername(`first ${i}`)?.id, `first-${i}`);
    assert.is(state.findUserById(`second-${i}`)?.username, `second ${i}`);
  }
  assert.equal(
    state.listUsers().map(({ id }) => id),
    ["first", "second"].flatMap((batch) => Array.from({ length: size }, (_, i) => `${batch}-${i}`)),
  );
});

const between: [what: string, happens: (state: State) => unknown, exact: string, insensitive: string][] = [
  ["nothing", () => {}, "added", "added"],
  ["another got the name", (state) => state.addUser(person("x", "Wanted"), 5), "USER_EXISTS", "USER_EXISTS"],
  ["another got a like name", (state) => state.addUser(person("x", "wanted"), 5), "added", "USER_EXISTS"],
  ["another got the id", (state) => state.addUser(person("wanted", "x"), 5), "USER_EXISTS", "USER_EXISTS"],
  ["another took the name", (state) => state.updateUser("ann", { username: "Wanted" }), "USER_EXISTS", "USER_EXISTS"],
  ["another took a like name", (state) => state.updateUser("ann", { username: "WANTED" }), "added", "USER_EXISTS"],
  [
    "a removed user had the id",
    (state) => (state.addUser(person("wanted", "x"), 5), state.removeUser("wanted")),
    "USER_EXISTS",
    "USER_EXISTS",
  ],
  [
    "a removed user had the name",
    (state) => (state.addUser(person("x", "Wanted"), 5), state.removeUser("x")),
    "added anew",
    "added anew",
  ],
  [
    "another gave the name up",
    (state) => (
      state.updateUser("ann", { username: "Wanted" }),
      state.updateUser("ann", { username: "x" }, {}, "exact", 6)
    ),
    "added anew",
    "added anew",
  ],
];
for (const other of ["small", "large"] as const) {
  const others = other === "small" ? 1 : 1500;
  const stage = (state: State): void => {
    state.stageUsers("other", [person("other", "Wanted")], 5);
    state.stageUsers(
      "other",
      Array.from({ length: others }, (_, i) => person(`other-${i}`, `Other ${i}`)),
      5,
    );
  };
  between.push(
    [
      `another ${other} batch got the name`,
      (state) => (stage(state), state.commitUsers("other", 5)),
      "USER_EXISTS",
      "USER_EXISTS",
    ],
    [`another ${other} batch was dropped`, (state) => (stage(state), state.dropStaged("other")), "added", "added"],
  );
}

for (const [size, isFirst] of [
  [1, true],
  [3, false],
  [2500, true],
  [2500, false],
] as const) {
  batches(
    `of ${size} are added or refused for what happened since their ${isFirst ? "first" : "last"} user came`,
    () => {
      for (const [what, happens, exact, insensitive] of between) {
        for (const [matching, expected] of [
          ["exact", exact],
          ["case-insensitive", insensitive],
        ] as const) {
          for (const isBefore of [false, true]) {
            const state = createState();
            state.addUser(person("ann", "ann"), 1);
            const users = Array.from({ length: size }, (_, i) => person(`u-${i}`, `user ${i}`));
            users[isFirst ? 0 : size - 1] = person("wanted", "Wanted");
            if (isBefore) happens(state); // it is there when the batch comes
            for (let i = 0; i < size; i += 1000) state.stageUsers("batch", users.slice(i, i + 1000), 3);
            if (!isBefore) happens(state);
            const before = state.userCount();
            const code = ((): string => {
              try {
                assert.is(state.commitUsers("batch", 9, matching), size);
                return state.findUserById("wanted")!.tokensValidFrom === 9 ? "added anew" : "added";
              } catch (error) {
                return (error as { code: string }).code;
              }
            })();
            const told = `${what}, ${matching}, ${isBefore ? "before" : "since"}`;
            assert.is(code, expected, told);
            assert.is(state.userCount(), before + (code === "USER_EXISTS" ? 0 : size), told);
            assert.is(state.listUsers().length, state.userCount(), told);
            if (code === "USER_EXISTS") continue;
            assert.is(state.findUserByUsername("Wanted")?.id, "wanted", told);
            const like = state.listUsers().filter(({ username }) => username.toLowerCase() === "wanted");
            for (const { username, id } of like) assert.is(state.findUserByUsername(username)?.id, id, told);
          }
        }
      }
    },
  );
}

batches("make the same state as users added one by one, whatever happens between their parts", () => {
  const random = randomFrom(seed).next;
  const pick = (count: number): number => Math.floor(random() * count);
  for (let round = 0; round < 15; round++) {
    const state = createState();
    /** The rules in their plainest form. */
    let users: User[] = [];
    const removed = new Set<string>();
    const former = new Set<string>();
    const staged = new Map<string, User[]>();
    const nameOf = (): string => `${["user", "User"][pick(2)]}${pick(2) === 0 ? pick(40) : 40 + pick(1e6)}`;
    const newPerson = (): User => person(pick(2) === 0 ? `${pick(40)}` : `${40 + pick(1e6)}`, nameOf());
    const isTaken = (all: User[], name: string, matching: UsernameMatching): boolean =>
      all.some(({ username }) =>
        matching === "exact" ? username === name : foldUsername(username) === foldUsername(name),
      );
    const renewed = (user: User, at: number): User =>
      former.has(user.username) ? { ...user, tokensValidFrom: at } : user;
    const plainAdd = (batch: User[], at: number, matching: UsernameMatching): string => {
      const all = [...users];
      const names = new Set(all.map(({ username }) => (matching === "exact" ? username : foldUsername(username))));
      const ids = new Set(all.map(({ id }) => id));
      for (const user of batch) {
        const name = matching === "exact" ? user.username : foldUsername(user.username);
        if (names.has(name) || ids.has(user.id) || removed.has(user.id)) return "USER_EXISTS";
        names.add(name);
        ids.add(user.id);
        all.push(renewed(user, at));
      }
      users = all;
      return "added";
    };
    const outcome = (action: () => unknown): string => {
      try {
        action();
        return "added";
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    for (let step = 0; step < 60; step++) {
      const told = `round ${round}, step ${step}, SEED=${seed}`;
      const matching = (["exact", "case-insensitive"] as const)[pick(2)]!;
      const batch = `batch-${pick(3)}`;
      const someone = users[pick(users.length)];
      const what = pick(8);
      if (what === 0) {
        const user = newPerson();
        assert.is(
          outcome(() => state.addUser({ ...user }, step, matching)),
          plainAdd([user], step, matching),
          told,
        );
      } else if (what <= 2) {
        // Large ones are added in another way than small ones; only their beginning is likely to clash.
        const part = Array.from({ length: pick(4) }, newPerson);
        const bulk = pick(3) === 0 ? 600 + pick(600) : 0;
        for (let i = 0; i < bulk; i++) part.push(person(`${round}.${step}.${i}`, `Bulk ${round}.${step}.${i}`));
        state.stageUsers(
          batch,
          part.map((user) => ({ ...user })),
          step,
        );
        staged.set(batch, [...(staged.get(batch) ?? []), ...part]);
      } else if (what <= 4 && staged.has(batch)) {
        assert.is(state.stagedCount(batch), staged.get(batch)!.length, told);
        const expected = plainAdd(staged.get(batch)!, step, matching);
        staged.delete(batch);
        assert.is(
          outcome(() => state.commitUsers(batch, step, matching)),
          expected,
          told,
        );
      } else if (what === 5 && staged.has(batch) && pick(3) === 0) {
        staged.delete(batch);
        state.dropStaged(batch);
      } else if (what === 6 && someone !== undefined) {
        const name = nameOf();
        const others = users.filter((user) => user !== someone);
        const isRefused = isTaken(others, name, matching);
        assert.is(
          outcome(() => state.updateUser(someone.id, { username: name }, undefined, matching, step)),
          isRefused ? "USER_EXISTS" : "added",
          told,
        );
        if (!isRefused && name !== someone.username) {
          const changed = renewed({ ...someone, username: name }, step);
          former.add(someone.username);
          users = users.map((user) => (user === someone ? changed : user));
        }
      } else if (what === 7 && someone !== undefined) {
        const isOld = pick(2) === 0;
        if (isOld) state.dropUser(someone.id);
        else {
          state.removeUser(someone.id);
          removed.add(someone.id);
          former.add(someone.username);
        }
        users = users.filter((user) => user !== someone);
      }
      if (pick(4) === 0) while (pick(20) > 0 && state.mergeNext());
      const sample = [...users.slice(0, 5), ...users.slice(-5)];
      for (const user of sample) {
        assert.equal(state.findUserById(user.id), user, told);
        assert.equal(state.findUserByUsername(user.username), user, told);
      }
      assert.is(state.userCount(), users.length, told);
    }
    assert.equal(state.listUsers(), users, `round ${round}, SEED=${seed}`);
    for (const [name, part] of staged) {
      const kept = [...state.staged()].filter(([of]) => of === name).flatMap(([, some]) => some);
      assert.equal(kept, part, `round ${round}, SEED=${seed}`);
    }
  }
});

batches.run();
