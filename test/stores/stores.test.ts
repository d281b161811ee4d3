import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Worker } from "node:worker_threads";
import { crc32 } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/passwords/index.ts";
import { storeCases } from "../../src/stores/conformance.ts";
import { SyncError } from "../../src/stores/file/disk.ts";
import {
  type Disk,
  type FileStore,
  type FileStoreOptions,
  openFileStore,
  poolDisk,
} from "../../src/stores/file/index.ts";
import { networkFileSystem } from "../../src/stores/file/folder.ts";
import { createState, memoryStore } from "../../src/stores/memory.ts";
import { openStore } from "../../src/stores/open.ts";
import { type Store, type User, type UsernameMatching, completeUser, foldUsername } from "../../src/stores/store.ts";
import { command, fillDisk, mountTmpfs, runtime, start, temporaryFolder } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";

const stores: [name: string, open: () => Store | Promise<Store>][] = [
  ["memory", () => memoryStore()],
  ["file", () => openFileStore(temporaryFolder())],
  // Compacts all the time, which nobody must notice.
  ["file, compacting, without a thread", () => openFileStore(temporaryFolder(), { compactAfter: 5, disk: poolDisk() })],
];

for (const [name, open] of stores) {
  const it = suite<{ store: Store }>(`store: ${name}`);
  it.before.each(async (context) => {
    context.store = await open();
  });
  it.after.each(async ({ store }) => store.close());
  for (const [title, run] of storeCases) it(title, ({ store }) => run(store));
  it.run();
}

const later = Date.now() / 1000 + 3600;
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
console.log(`SEED=${seed}`);

/** The same numbers for the same seed (mulberry32). */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function using<T>(
  folder: string,
  use: (store: FileStore) => T | Promise<T>,
  options?: FileStoreOptions,
): Promise<T> {
  const store = await openFileStore(folder, { warn: () => {}, ...options });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

const guest = (username: string) => ({ username, passwordHash: "pbkdf2_sha256$secret" });

/** Waits until a store answers again. */
function hasRecovered(store: FileStore): Promise<void> {
  const answers = async () =>
    rejection(() => store.ping()).then(
      () => false,
      () => true,
    );
  return until(answers, "it has recovered", 5000);
}

async function rejection(action: () => unknown): Promise<{ code?: string; message: string; cause?: unknown }> {
  try {
    await action();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}

const journals = (folder: string): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => /^journal-\d+\.jsonl$/.test(name))
    .sort();
const journal = (folder: string): string => path.join(folder, journals(folder).at(-1)!);
/** Deno's `writeFileSync` sets the mode of a file that is there already, too. */
const overwrite = (file: string, bytes: string | Uint8Array): void => fs.writeFileSync(file, bytes, { mode: 0o600 });
const appendTo = (file: string, bytes: string | Uint8Array): void => fs.appendFileSync(file, bytes, { mode: 0o600 });
const lineOf = (record: unknown): string => {
  const json = JSON.stringify(record);
  return `\n${crc32(json).toString(16).padStart(8, "0")} ${Buffer.byteLength(json)} ${json}`;
};
const mode = (file: string): string => (fs.statSync(file).mode & 0o777).toString(8);
const newline = 10;
const damagedLine = (message: string): number => Number(/journal-\d+\.jsonl: line (\d+) /.exec(message)?.[1]);

const flushing = suite("flushExpired");

/** A time so long ago that what expired then is forgotten. */
const longAgo = Date.now() / 1000 - 86_400;

for (const [name, open] of stores.slice(0, 2)) {
  flushing(`counts what it forgets: ${name}`, async () => {
    const store = await open();
    for (let i = 0; i < 5; i++) await store.putIfAbsent("k", `old-${i}`, "x", longAgo);
    await store.putIfAbsent("k", "kept", "x", later);
    assert.equal([await store.flushExpired(), await store.flushExpired()], [5, 0]);
    await store.close();
  });
}

for (const [ids, idOf] of [
  ["random", () => randomUUID().replaceAll("-", "")],
  ["numbered", (i: number) => `id-${i}`],
] as const) {
  flushing(`forgets ${ids} ids a small part at a time, though all are gone at once`, () => {
    const state = createState();
    const all = Array.from({ length: 100_000 }, (_, i) => idOf(i));
    for (const id of all) state.putIfAbsent("k", id, "x", 11, 10);
    state.markExpired(11);
    for (const id of all) assert.is(state.get("k", id, 10), undefined);
    const parts: number[] = [];
    for (let before = state.factCount(); state.sweepShard(); before = state.factCount()) {
      parts.push(before - state.factCount());
    }
    assert.is(state.factCount(), 0);
    assert.ok(Math.max(...parts) < 1000, `${Math.max(...parts)} at a time`);
  });
}

flushing("comes to the same whenever what is marked is swept, and whatever clocks say", () => {
  const random = randomFrom(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  for (let round = 0; round < 200; round++) {
    const states = [createState(), createState(), createState()];
    /** The rules in their plainest form: a flush drops at once. */
    const plain = new Map<string, { value: string; expiresAt: number }>();
    for (let step = 0; step < 60; step++) {
      const [kind, id, at, expiresAt] = [`kind-${pick(2)}`, `id-${pick(6)}`, pick(10), pick(12)];
      const key = `${kind} ${id}`;
      const told = `round ${round}, step ${step}, SEED=${seed}`;
      if (pick(5) === 0) {
        for (const [name, fact] of plain) if (fact.expiresAt <= at) plain.delete(name);
        for (const state of states) state.markExpired(at);
        while (states[0]!.sweepShard()); // at once; another some time; another never
      }
      if (pick(3) === 0) states[1]!.sweepShard();
      const fact = plain.get(key);
      const stands = fact !== undefined && fact.expiresAt > at ? fact.value : undefined;
      for (const state of states) assert.is(state.get(kind, id, at), stands, told);
      if (pick(2) === 0) continue;
      if (stands === undefined) plain.set(key, { value: `${step}`, expiresAt });
      for (const state of states)
        assert.is(state.putIfAbsent(kind, id, `${step}`, expiresAt, at), stands ?? `${step}`, told);
    }
    for (const state of states) while (state.sweepShard());
    for (const state of states) assert.is(state.factCount(), plain.size, `round ${round}, SEED=${seed}`);
    for (const state of states) assert.is([...state.facts()].length, plain.size, `round ${round}, SEED=${seed}`);
  }
});

flushing.run();

const removal = suite("removed users");

removal("stay removed in the file store: after a compaction, a restart, and in another process", async () => {
  const folder = temporaryFolder();
  const gone = Array.from({ length: 2500 }, (_, i) => ({ ...guest(`gone-${i}`), id: `id-${i}` }));
  const check = async (store: Store, told: string) => {
    for (const { id, username } of [gone[0]!, gone[1200]!, gone[2499]!]) {
      assert.equal([store.wasRemoved("id", id), store.wasRemoved("username", username)], [true, true], told);
      assert.is((await rejection(() => store.addUser({ ...guest("other"), id }))).code, "USER_EXISTS", told);
    }
    assert.is(store.wasRemoved("username", "kept"), false, told);
  };
  const other = await openFileStore(folder);
  await using(
    folder,
    async (store) => {
      await store.addUsers([...gone, { ...guest("kept"), id: "kept" }]);
      await Promise.all(gone.map(({ id }) => store.removeUser(id)));
      await check(store, "at once");
      await store.addUser(guest("more"));
      await until(() => store.stats().generation > 1, "it is compacted");
      await check(store, "after a compaction");
    },
    { compactAfter: 100 },
  );
  assert.is(other.findUserById("id-3"), undefined); // reads what others have written
  await check(other, "in another process");
  await other.close();
  const text = fs.readFileSync(journal(folder), "utf8");
  assert.not.match(text, "gone-", "a removed user leaves no name");
  await using(folder, async (store) => {
    await check(store, "after a restart");
    assert.ok((await store.addUser(guest("gone-7"))).tokensValidFrom! > 0, "whoever takes the name begins anew");
    assert.is((await store.addUser(guest("fresh"))).tokensValidFrom, null);
  });
});

removal("of a journal from before removals were remembered leave ids and names free, as then", async () => {
  const folder = temporaryFolder();
  const line = (change: object): string => lineOf({ ...change, at: 5, by: "old.1" });
  const add = (name: string) => line({ k: "add", u: ["7", name, "", "!", 1, null] });
  await using(folder, () => {});
  const lines = [
    add("ada"),
    line({ k: "del", id: "7" }),
    add("ada"),
    line({ k: "set", id: "7", c: { username: "bob" } }),
  ];
  appendTo(journal(folder), [...lines, line({ k: "add", u: ["8", "ada", "", "!", 1, null] })].join(""));
  for (const compactAfter of [10_000, 1]) {
    await using(
      folder,
      async (store) => {
        const users = [...(store.listUsers() as Iterable<User>)].map((user) => [user.id, user.username]);
        assert.equal(users.join(" "), "7,bob 8,ada");
        assert.is((await store.findUserById("8"))!.tokensValidFrom, null);
        assert.is(store.wasRemoved("id", "7"), false);
      },
      { compactAfter },
    );
  }
});

removal("leave their name to one of several racing processes, which all come to the same beginning", async () => {
  const folder = temporaryFolder();
  const stores = [await openFileStore(folder), await openFileStore(folder, { compactAfter: 5 })];
  await stores[0]!.addUser({ ...guest("ada"), id: "1-0" });
  for (let round = 2; round < 12; round++) {
    const { id: old } = (await stores[0]!.findUserByUsername("ada"))!;
    assert.is(await stores[round % 2]!.removeUser(old), true);
    const tries = stores.map(async (store, i) => store.addUser({ ...guest("ada"), id: `${round}-${i}` }));
    const won = (await Promise.allSettled(tries)).filter(({ status }) => status === "fulfilled");
    assert.is(won.length, 1);
    for (const [i, store] of stores.entries()) {
      assert.is((await rejection(() => store.addUser({ ...guest(`x-${round}-${i}`), id: old }))).code, "USER_EXISTS");
    }
    const [one, other] = stores.map((store) => store.findUserByUsername("ada") as User);
    assert.ok(one!.tokensValidFrom! > 0);
    assert.equal(one, other);
  }
  for (const store of stores) await store.close();
});

removal.run();

const clocks = suite("clocks that are wrong");

/** Stores of a clock that the test sets, in milliseconds, each opened anew where that makes a difference. */
const clocked: [name: string, open: (folder: string, now: () => number) => Promise<Store>, isKept: boolean][] = [
  ["memory", async (_, now) => memoryStore({ now }), false],
  ["file", (folder, now) => openFileStore(folder, { now, compactAfter: 20 }), true],
];
const [hour, day] = [3_600_000, 86_400_000];

for (const [name, open, isKept] of clocked) {
  clocks(`drop nothing that is valid by the right one, though one is days ahead for hours: ${name}`, async () => {
    let time = 1_900_000_000_000;
    const folder = temporaryFolder();
    let store = await open(folder, () => time);
    const reopen = async (): Promise<void> => {
      if (!isKept) return;
      await store.close();
      store = await open(folder, () => time);
    };
    const expiresAt = time / 1000 + 86_400;
    const { id } = await store.addUser(guest("ann"));
    for (let i = 0; i < 15; i++) await store.putIfAbsent("blacklist", `jti-${i}`, "1", expiresAt);
    const generation = (): number => (store as Partial<FileStore>).stats?.().generation ?? 0;
    const before = generation();
    for (const ahead of [2 * day, 400 * day, 2 * day]) {
      time += ahead;
      for (let step = 0; step < 20; step++) {
        time += hour / 2;
        assert.is(await store.get("blacklist", "jti-0"), undefined, "expired by this clock");
        assert.is(await store.flushExpired(), 0);
        for (let i = 0; i < 10; i++) await store.updateUser(id, { lastLogin: time + i }); // history to compact
        if (step === 10) await reopen();
      }
      time -= ahead + 10 * hour; // set right: as if no time had passed, and so as strict as can be
      await reopen();
      for (let i = 0; i < 15; i++) assert.is(await store.get("blacklist", `jti-${i}`), "1", "back by the right clock");
      assert.is(await store.putIfAbsent("blacklist", "jti-0", "2", expiresAt), "1");
    }
    if (isKept) assert.ok(generation() > before, "it was compacted meanwhile");
    await store.close();
  });

  clocks(`keep nothing for good, whether ahead, behind or stopped for days: ${name}`, async () => {
    let time = 1_900_000_000_000;
    const store = await open(temporaryFolder(), () => time);
    for (const jump of [0, 3 * day, -30 * day, -1_890_000_000_000, 1_890_000_000_000]) {
      time += jump;
      const id = `${jump}`;
      await store.putIfAbsent("k", id, "x", time / 1000 + 3600);
      let forgotten = 0;
      for (let step = 0; step < 40; step++) {
        time += hour;
        forgotten += await store.flushExpired();
      }
      assert.is(forgotten, 1, `${jump / day} days`);
    }
    await store.close();
  });
}

clocks("of two processes come to the same in both, and in whoever opens the store later", async () => {
  const random = randomFrom(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  const folder = temporaryFolder();
  const times = [1_900_000_000_000, 1_900_000_000_000] as [number, number];
  const openers = await Promise.all(
    ([0, 1] as const).map((i) => openFileStore(folder, { now: () => times[i], compactAfter: 30 })),
  );
  const ids = Array.from({ length: 8 }, (_, i) => `id-${i}`);
  for (let step = 0; step < 400; step++) {
    const i = pick(2) as 0 | 1;
    times[i] += [0, 1000, hour / 2, 2 * hour, 40 * hour, -3 * hour, -40 * hour][pick(7)]!;
    if (pick(3) === 0) await openers[i]!.flushExpired();
    else await openers[i]!.putIfAbsent("k", ids[pick(8)]!, `${step}`, times[i] / 1000 + pick(100) * 3600);
  }
  await until(() => new Set(openers.map((store) => store.stats().generation)).size === 1, "both have moved on");
  for (const store of openers) await store.putIfAbsent("k", "last", "x", Infinity); // reads all that was written
  times[1] = times[0] = 0; // a clock by which nothing has expired: what is absent is forgotten
  const third = await openFileStore(folder, { now: () => 0 });
  for (const id of [...ids, "last"]) {
    const [standing, ...others] = [...openers, third].map((store) => store.get("k", id));
    assert.equal(others, [standing, standing], `${id}, SEED=${seed}`);
  }
  assert.ok(openers[0]!.stats().generation > 2, `generation ${openers[0]!.stats().generation}`);
  for (const store of [...openers, third]) await store.close();
});

clocks.run();

const batches = suite("batches of users");

const person = (id: string, username: string): User => completeUser({ ...guest(username), id });

/** How often something puts an entry into a Map. */
function entriesPut(action: () => void): number {
  const { set } = Map.prototype;
  let count = 0;
  Map.prototype.set = function (key, value) {
    count++;
    return set.call(this, key, value);
  };
  try {
    action();
  } finally {
    Map.prototype.set = set;
  }
  return count;
}

batches("are added in no time, however many users they and the store have", () => {
  const state = createState();
  const size = 50_000;
  for (const batch of ["first", "second"]) {
    for (let i = 0; i < size; i += 1000) {
      const part = Array.from({ length: 1000 }, (_, n) => person(`${batch}-${i + n}`, `${batch} ${i + n}`));
      assert.ok(entriesPut(() => state.stageUsers(batch, part, 1)) < 5000);
    }
    assert.is(state.findUserByUsername(`${batch} 7`), undefined, "not before all are");
    const put = entriesPut(() => assert.is(state.commitUsers(batch, 1), size));
    // What is not yet in its place is brought there a part at a time.
    assert.ok(put < 500, `${put} entries for ${batch}`);
    const putLater = entriesPut(() => assert.is(state.findUserByUsername(`${batch} 7`)?.id, `${batch}-7`));
    assert.ok(putLater < 1000, `${putLater} entries`);
    if (batch === "first") while (state.settleNext());
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

type State = ReturnType<typeof createState>;
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

batches("come to the same as users who are added one by one, whatever happens between their parts", () => {
  const random = randomFrom(seed);
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
      if (pick(4) === 0) while (pick(20) > 0 && state.settleNext());
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

const folding = suite("foldUsername");

folding("folds every character, its capital and its small form alike, and what is folded no further", () => {
  const missed: string[] = [];
  for (let code = 0; code <= 0x1ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const char = String.fromCodePoint(code).normalize("NFKC");
    const folded = foldUsername(char);
    if (foldUsername(folded) !== folded || foldUsername(char.toUpperCase()) !== folded) missed.push(code.toString(16));
  }
  assert.equal(missed, []);
  for (const [name, folded] of [
    ["Ada", "ada"],
    ["straße", "strasse"],
    ["STRAẞE", "strasse"],
    ["ΟΔΟΣ", "οδος"],
    ["ZOË", "zoë"],
    ["\uFF21da", "ada"],
  ] as const) {
    assert.is(foldUsername(name), folded);
  }
});

folding.run();

const memory = suite("memory store");

memory("forgets expired facts by itself", async () => {
  let time = 1_000_000_000;
  const store = memoryStore({ now: () => time });
  for (let i = 0; i < 15_000; i++) {
    await store.putIfAbsent("k", `old-${i}`, "x", time / 1000 + 1);
    if (i % 1000 === 0) time += 3_000_000;
  }
  assert.ok(((await store.flushExpired()) as number) < 10_000);
});

memory("treats a field that is undefined as not named", async () => {
  const store = memoryStore();
  const { id } = await store.addUser({ ...guest("ann"), email: "a@example.org" });
  const changed = await store.updateUser(
    id,
    { email: undefined, isActive: false } as never,
    { lastLogin: undefined } as never,
  );
  assert.equal([changed?.email, changed?.isActive], ["a@example.org", false]);
});

memory.run();

const opening = suite("openStore");

opening("opens memory and file stores by URL", async () => {
  const folder = temporaryFolder();
  for (const url of [
    "memory:",
    `file:${folder}`,
    `file://${folder}/a%20b`,
    `file:${path.relative(".", folder)}/relative`,
  ]) {
    const store = await openStore(url);
    await store.addUser(guest("url"));
    await store.close();
  }
  assert.ok(
    journals(folder).length === 1 &&
      journals(`${folder}/a b`).length === 1 &&
      journals(`${folder}/relative`).length === 1,
  );
});

opening("refuses other URLs in one line that names the setting and repeats no credentials", async () => {
  for (const url of ["postgres://me:hunter2@host/db", "hunter2", "file:", "", "C:\\hunter2", "file:///%E0%A4%A"]) {
    const error = await rejection(() => openStore(url));
    assert.instance(error, TypeError);
    assert.match(error.message, /store/);
    assert.match(error.message, /memory:.*file:/);
    assert.not.match(error.message, /hunter2|\n/);
  }
});

opening.run();

const file = suite("file store");

file("keeps everything from one opening to the next", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    await store.addUsers(Array.from({ length: 3000 }, (_, i) => guest(`user-${i}`)));
    await store.putIfAbsent("jti", "a", "revoked", later);
    const { id } = (await store.findUserByUsername("user-7")) as User;
    await store.updateUser(id, { username: "Zoë 🦊\n\"'", lastLogin: 1.5 });
    await store.removeUser(((await store.findUserByUsername("user-8")) as User).id);
  });
  await using(folder, async (store) => {
    assert.is(await store.get("jti", "a"), "revoked");
    assert.is((await store.findUserByUsername("Zoë 🦊\n\"'"))?.lastLogin, 1.5);
    assert.is(await store.findUserByUsername("user-8"), undefined);
    assert.is([...(store.listUsers() as Iterable<User>)].length, 2999);
  });
});

file("opens a journal of before tokens had a time to count from, and writes the same while there is none", async () => {
  const folder = temporaryFolder();
  const row = (id: string, username: string) => [id, username, "", "!", 1, null];
  const old = [
    { k: "head", generation: 1, bytes: "000000000000000", at: 0 },
    { k: "add", u: row("1", "ann"), at: 1, by: "a.1" },
    { k: "batch", b: "a.2", u: [row("2", "Bob"), row("3", "bob")], at: 1, by: "a.3" },
    { k: "commit", b: "a.2", n: 2, at: 1, by: "a.4" },
    { k: "set", id: "1", c: { lastLogin: 5 }, at: 2, by: "a.5" },
    { k: "claim", kind: "jti", id: "x", v: "gone", exp: later, at: 2, by: "a.6" },
  ];
  overwrite(path.join(folder, "journal-000001.jsonl"), old.map(lineOf).join(""));
  await using(folder, async (store) => {
    const users = [...(store.listUsers() as Iterable<User>)].map((user) => [user.username, user.tokensValidFrom]);
    assert.equal(users, [
      ["ann", null],
      ["Bob", null],
      ["bob", null],
    ]);
    assert.is(await store.get("jti", "x"), "gone");
    await store.addUser({ ...guest("eve"), id: "4" });
    await store.updateUser("1", { username: "Ann" }, undefined, "exact");
  });
  const added = fs.readFileSync(journal(folder), "utf8").split("\n").slice(-2);
  assert.match(added[0]!, /"u":\["4","eve","","[^"]+",1,null\],"at":/);
  assert.not.match(added.join(), /"m":|tokensValidFrom/);
});

file("comes to the same outcome in every process when names that differ by case race", async () => {
  const folder = path.join(temporaryFolder(), "new");
  const at = String(Date.now() + 1200);
  const names = ["ada", "Ada", "ADA"];
  const children = names.map((name) =>
    finished(start("test/fixtures/store-opener.ts", [folder, at, name, "case-insensitive"])),
  );
  const results = (await Promise.all(children)).map(({ stdout, stderr }) => stdout.trim() || stderr);
  assert.equal([...results].sort(), ["USER_EXISTS", "USER_EXISTS", "done"]);
  await using(folder, async (store) => {
    const users = [...(store.listUsers() as Iterable<User>)].map(({ username }) => username);
    assert.equal(users, [names[results.indexOf("done")]]);
  });
});

file("comes to the same outcome in every opener when the clock of one is behind", async () => {
  const folder = temporaryFolder();
  const behind = { now: () => 99_000 };
  await using(
    folder,
    (ahead) =>
      using(
        folder,
        async (late) => {
          for (const id of ["a", "b"]) assert.is(await ahead.putIfAbsent("k", id, "first", 100), "first");
          await until(() => late.get("k", "a") === "first", "good by this clock");
          const flush = ahead.flushExpired();
          await until(() => late.get("k", "a") === undefined, "the flush is seen");
          assert.is(
            await late.putIfAbsent("k", "a", "second", 100),
            "second",
            "flushed is gone, whatever the clock says",
          );
          assert.is(await flush, 2);
          assert.is(await late.get("k", "a"), "second", "a flush is not meant for what comes after it");
        },
        behind,
      ),
    { now: () => 86_500_000 },
  );
  await using(
    folder,
    (store) => assert.equal([store.get("k", "a"), store.get("k", "b")], ["second", undefined]),
    behind,
  );
});

file("keeps a fact without an end, as the memory store does", async () => {
  const folder = temporaryFolder();
  await using(folder, (store) => store.putIfAbsent("k", "forever", "x", Infinity));
  await using(folder, async (store) => assert.is(await store.get("k", "forever"), "x"));
});

file("makes its folder 0700 and its files 0600", async () => {
  const folder = path.join(temporaryFolder(), "a/data");
  await using(folder, (store) => store.addUser(guest("ann")));
  assert.is(mode(folder), "700");
  assert.is(mode(journal(folder)), "600");
});

for (const [what, isFolder, mode] of [
  ["folder", true, 0o750],
  ["folder", true, 0o701],
  ["folder", true, 0o777],
  ["journal", false, 0o640],
  ["journal", false, 0o604],
] as const) {
  file(`refuses a ${what} of mode ${mode.toString(8)}, open to others, until the chmod it names was run`, async () => {
    const folder = path.join(temporaryFolder(), "it's a store");
    await using(folder, (store) => store.addUser(guest("ann")));
    fs.chmodSync(isFolder ? folder : journal(folder), mode);
    const { code, message } = await rejection(() => openFileStore(folder));
    assert.is(code, "STORE_UNAVAILABLE");
    assert.match(message, new RegExp(`^[^\n]* is open to others \\(mode ${mode.toString(8)}\\); run: chmod [^\n]*$`));
    assert.is(spawnSync("sh", ["-c", message.split("run: ")[1]!]).status, 0);
    await using(folder, async (store) => assert.ok(await store.findUserByUsername("ann")));
  });
}

file("makes nothing in a folder that is open to others", async () => {
  const folder = temporaryFolder();
  fs.chmodSync(folder, 0o755);
  assert.is((await rejection(() => openFileStore(folder))).code, "STORE_UNAVAILABLE");
  assert.equal(fs.readdirSync(folder), []);
});

file("warns of network file systems, and not of a local disk", async () => {
  for (const [type, name] of [
    [0x6969, "NFS"],
    [0x517b, "SMB"],
    [0xff534d42, "CIFS"],
    [0xff534d42 | 0, "CIFS"], // signed
    [0xfe534d42, "SMB2"],
    [0x01021997, "9P"],
    [0xef53, undefined], // ext4
    [0x58465342, undefined], // XFS
    [0x9123683e, undefined], // Btrfs
    [0x01021994, undefined], // tmpfs
    [0x794c7630, undefined], // overlayfs
    [0x65735546, undefined], // FUSE: it can be either
  ] as const) {
    assert.is(networkFileSystem(type), name);
  }
  const warnings: string[] = [];
  await using(temporaryFolder(), () => {}, { warn: (line) => void warnings.push(line) });
  assert.equal(warnings, []);
});

const asRoot = process.getuid?.() === 0 ? file : file.skip;

asRoot("leaves what root compacts to the user whose folder it is (needs root)", async () => {
  const folder = temporaryFolder();
  const uid = 54_321;
  fs.chownSync(folder, uid, uid);
  const server = () => finished(start("test/fixtures/store-of-user.ts", [folder, String(uid)]));
  await using(
    folder,
    async (store) => {
      const result = server();
      const ready = until(() => store.get("ready", "server") === "yes", "the server is there", 20_000);
      await Promise.race([ready, result.then(({ stderr }) => assert.unreachable(stderr))]);
      for (let i = 0; store.stats().generation < 3 && i < 200; i++) await store.putIfAbsent("k", `old-${i}`, "x", 1);
      assert.is(store.stats().generation, 3);
      await store.putIfAbsent("compacted", "by", "root", later);
      const { stdout, stderr } = await result;
      assert.is(stdout.trim(), "the server", stderr);
    },
    { compactAfter: 20 },
  );
  const { stdout, stderr } = await server();
  assert.is(stdout.trim(), "the server", `${stderr} at a later start`);
  assert.equal([fs.statSync(journal(folder)).uid, mode(journal(folder))], [uid, "600"]);
});

file("answers many writers with few syncs", async () => {
  await using(temporaryFolder(), async (store) => {
    const before = store.stats().syncs;
    await Promise.all(Array.from({ length: 64 }, (_, i) => store.putIfAbsent("k", `id-${i}`, "x", later)));
    const syncs = store.stats().syncs - before;
    assert.ok(syncs >= 1 && syncs <= 4, `${syncs} syncs for 64 claims`);
  });
});

file("sees another opener's writes without writing itself", async () => {
  const folder = temporaryFolder();
  await using(folder, (reader) =>
    using(folder, async (writer) => {
      await writer.putIfAbsent("k", "id", "x", later);
      const begin = performance.now();
      await until(async () => (await reader.get("k", "id")) !== undefined, "the fact is seen", 2000);
      assert.ok(performance.now() - begin < 500); // 50 ms and what a busy machine adds
    }),
  );
});

file("finds whom another opener has only just added", async () => {
  const folder = temporaryFolder();
  await using(folder, (reader) =>
    using(folder, async (writer) => {
      await writer.addUser(guest("ann"));
      assert.is((await reader.findUserByUsername("ann"))?.username, "ann");
      const { id } = await writer.addUser(guest("bob"));
      assert.is((await reader.findUserById(id))?.username, "bob");
    }),
  );
});

file("refuses to work once it is closed", async () => {
  const store = await openFileStore(temporaryFolder());
  const pending = store.putIfAbsent("k", "before", "x", later);
  await store.close();
  assert.is(await pending, "x", "what was asked before is finished");
  for (const action of [
    () => store.ping(),
    () => store.addUser(guest("ann")),
    () => store.putIfAbsent("k", "i", "x", later),
  ]) {
    assert.is((await rejection(action)).code, "STORE_UNAVAILABLE");
  }
});

file("passes over a last record cut short at any byte, and goes on", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    await store.addUser(guest("ann"));
    await store.putIfAbsent("k", "kept", "x", later);
    await store.putIfAbsent("k", "läst 🦊", "x", later);
  });
  const bytes = fs.readFileSync(journal(folder));
  for (let end = bytes.lastIndexOf("\n"); end <= bytes.length; end++) {
    for (const nulls of [0, 3]) {
      const copy = path.join(folder, "copy");
      fs.rmSync(copy, { recursive: true, force: true });
      fs.mkdirSync(copy, { mode: 0o700 });
      // A power cut can leave a file longer than what reached the disk, filled up with NULs.
      overwrite(path.join(copy, "journal-000001.jsonl"), Buffer.concat([bytes.subarray(0, end), Buffer.alloc(nulls)]));
      await using(copy, async (store) => {
        assert.is(await store.get("k", "kept"), "x", `cut at ${end}`);
        assert.is(await store.get("k", "läst 🦊"), end === bytes.length ? "x" : undefined, `cut at ${end}`);
        await store.addUser(guest("bob"));
      });
      const warnings: string[] = [];
      await using(copy, async (store) => assert.ok(await store.findUserByUsername("bob")), {
        warn: (line) => warnings.push(line),
      });
      assert.ok(warnings.length <= 1 && warnings.every((line) => damagedLine(line) === 5), warnings.join());
    }
  }
});

file("counts lines in parts, and each only once, however many were cut short", async () => {
  const folder = temporaryFolder();
  await using(folder, (store) => store.addUser(guest("ann")));
  const torn = Buffer.from(`\n00000000 99999 ${"x".repeat(50_000)}`);
  appendTo(journal(folder), Buffer.concat(Array.from({ length: 100 }, () => torn)));
  await using(folder, (store) => store.addUser(guest("bob")));
  const { size } = fs.statSync(journal(folder));
  const { readSync } = fs;
  const reads: number[] = [];
  const warnings: string[] = [];
  fs.readSync = ((...args: Parameters<typeof readSync>) => {
    const got = readSync(...args);
    reads.push(got);
    return got;
  }) as typeof readSync;
  try {
    await using(folder, () => {}, { warn: (line) => void warnings.push(line) });
  } finally {
    fs.readSync = readSync;
  }
  assert.equal(
    warnings.map(damagedLine),
    Array.from({ length: 100 }, (_, i) => i + 4),
  );
  assert.ok(Math.max(...reads) <= 1 << 20, `${Math.max(...reads)} bytes in one call`);
  const sum = reads.reduce((a, b) => a + b);
  assert.ok(sum < 3 * size, `${sum} bytes read of ${size}`);
});

file("refuses to open, and names the line, when any byte of an earlier record has changed", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    for (const name of ["ann", "bob", "eve"]) await store.addUser(guest(name));
  });
  const bytes = fs.readFileSync(journal(folder));
  const begin = bytes.lastIndexOf("\n", bytes.lastIndexOf("\n") - 1);
  const line = bytes
    .subarray(0, begin + 1)
    .toString()
    .split("\n").length;
  const missed: string[] = [];
  for (let at = begin; at < bytes.lastIndexOf("\n"); at++) {
    for (const flip of [0x01, 0x20, 0x80]) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= flip;
      overwrite(journal(folder), damaged);
      const error = await rejection(() => using(folder, () => {})).catch(() => undefined);
      // Without the newline, it is the line before that is damaged.
      const isNamed =
        error !== undefined && [line, at === begin ? line - 1 : line].includes(damagedLine(error.message));
      if (error?.code !== "STORE_DAMAGED" || !isNamed) missed.push(`byte ${at - begin} ^ ${flip}`);
      assert.not.match(error?.message ?? "", /secret|\n/);
    }
  }
  assert.equal(missed, [], "every change is found");
  assert.is(journals(folder).length, 1, "and nothing is touched");
});

/** A folder whose journal begins with a snapshot of three users and a fact, and goes on with a fact. */
async function compactedFolder(): Promise<string> {
  const folder = temporaryFolder();
  await using(
    folder,
    async (store) => {
      for (const name of ["ann", "bob", "eve"]) await store.addUser(guest(name));
      await store.putIfAbsent("k", "kept", "x", later);
      for (let i = 0; store.stats().generation === 1 && i < 200; i++) await store.putIfAbsent("k", `old-${i}`, "x", 1);
    },
    { compactAfter: 10 },
  );
  await using(folder, (store) => store.putIfAbsent("k", "appended", "x", later));
  return folder;
}

file("refuses a journal that holds less than it began with, wherever it was cut", async () => {
  const folder = await compactedFolder();
  const bytes = fs.readFileSync(journal(folder));
  const lines = bytes.toString().split("\n").slice(1);
  const snapshot = bytes.indexOf("\n", bytes.indexOf('"kept"'));
  const appended = bytes.subarray(snapshot);
  const cuts: [what: string, bytes: Buffer][] = [
    ["emptied", Buffer.alloc(0)],
    ["only NULs", Buffer.alloc(bytes.length)],
    ["no head", Buffer.from(["", ...lines.slice(1)].join("\n"))],
    ["half a head", bytes.subarray(0, 30)],
    ["begun anew", appended],
    ["NULs in the middle", Buffer.from(bytes).fill(0, bytes.indexOf('"bob"') - 30, bytes.indexOf('"eve"') + 100)],
  ];
  for (let end = 1; end < snapshot; end += bytes[end] === newline ? 1 : 13) {
    cuts.push([`cut at ${end}`, bytes.subarray(0, end)]);
  }
  for (let end = bytes.indexOf("\n", 1); end < snapshot; end = bytes.indexOf("\n", end + 1)) {
    cuts.push([`cut at the end of a line, ${end}`, bytes.subarray(0, end)]);
    cuts.push([`cut at ${end} and appended to`, Buffer.concat([bytes.subarray(0, end), appended])]);
    const more = Buffer.concat([bytes.subarray(0, end), ...Array.from({ length: 20 }, () => appended)]);
    cuts.push([`cut at ${end} and appended to for long`, more]);
  }
  const missed: string[] = [];
  for (const [what, left] of cuts) {
    overwrite(journal(folder), left);
    const error = await rejection(() => using(folder, () => {})).catch(() => undefined);
    if (error?.code !== "STORE_DAMAGED") missed.push(`${what}: ${error?.message}`);
    else if (!/^[^\n]*journal-000002\.jsonl[^\n]* is damaged [^\n]*backup[^\n]*$/.test(error.message))
      missed.push(error.message);
    if (Buffer.compare(fs.readFileSync(journal(folder)), left) !== 0) missed.push(`${what}: it was written to`);
  }
  assert.equal(missed, []);
  overwrite(journal(folder), bytes.subarray(0, snapshot));
  await using(folder, async (store) => {
    assert.ok(await store.findUserByUsername("eve"));
    assert.equal([store.get("k", "kept"), store.get("k", "appended")], ["x", undefined]);
  });
});

file("goes on without a damaged line once somebody has taken it out by hand", async () => {
  const folder = await compactedFolder();
  const bytes = fs.readFileSync(journal(folder));
  for (const text of ['"bob"', '"appended"']) {
    const line = bytes.toString("utf8", 0, bytes.indexOf(text)).split("\n").length;
    const damaged = Buffer.from(bytes);
    damaged[damaged.indexOf(text)]! ^= 1;
    overwrite(journal(folder), damaged);
    const { message } = await rejection(() => using(folder, () => {}));
    assert.is(damagedLine(message), line);
    const mark = /put (\S+) in place/.exec(message)![1]!;
    damaged.write(mark, damaged.lastIndexOf("\n", damaged.indexOf(text.slice(2))) + 1);
    overwrite(journal(folder), damaged);
    const warnings: string[] = [];
    await using(
      folder,
      async (store) => {
        const names = [...(store.listUsers() as Iterable<User>)].map(({ username }) => username);
        assert.equal(
          names,
          ["ann", "bob", "eve"].filter((name) => !text.includes(name)),
        );
        assert.is(store.get("k", "appended"), text.includes("appended") ? undefined : "x");
        await store.putIfAbsent("k", "next", "x", later);
      },
      { warn: (said) => void warnings.push(said) },
    );
    assert.equal(warnings.map(damagedLine), [line]);
  }
});

for (const [what, left] of [
  ["emptied", 0],
  ["cut short", 500],
] as const) {
  file(`turns unavailable when its journal is ${what} while it is open, and appends no more`, async () => {
    const folder = await compactedFolder();
    const warnings: string[] = [];
    const warn = (line: string) => void warnings.push(line);
    const idle = await openFileStore(folder, { warn });
    await using(folder, async (store) => {
      fs.truncateSync(journal(folder), left);
      const refused = [await rejection(() => store.addUser(guest("late")))];
      await until(() => warnings.length > 0, "the other opener has seen it", 5000);
      for (const opened of [store, idle]) {
        refused.push(await rejection(() => opened.putIfAbsent("k", "late", "x", later)));
        refused.push(await rejection(() => opened.findUserByUsername("ann")));
        refused.push(await rejection(() => opened.ping()));
      }
      for (const { code, message } of refused) {
        assert.is(code, "STORE_UNAVAILABLE");
        assert.match(message, /^[^\n]*journal-000002\.jsonl is damaged \(it got shorter [^\n]*backup[^\n]*$/);
      }
    });
    await idle.close();
    assert.is(warnings.length, 1, "said once");
    assert.is(fs.statSync(journal(folder)).size, left);
  });
}

file("turns unavailable when damage appears while it runs", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    await store.addUser(guest("ann"));
    appendTo(journal(folder), "\nwhat is this?\n");
    await until(
      async () =>
        rejection(() => store.ping()).then(
          () => true,
          () => false,
        ),
      "the damage is seen",
      2000,
    );
    const error = await rejection(() => store.ping());
    assert.is(error.code, "STORE_UNAVAILABLE");
    assert.is(damagedLine(error.message), 4);
    assert.is((await rejection(() => store.findUserByUsername("ann"))).code, "STORE_UNAVAILABLE");
  });
});

file("does not take a record in the making for damage", async () => {
  const folder = temporaryFolder();
  const warnings: string[] = [];
  await using(
    folder,
    async (store) => {
      await using(folder, (other) => other.addUser(guest("ann")));
      const bytes = fs.readFileSync(journal(folder));
      await using(folder, (other) => other.putIfAbsent("k", "slow", "x", later));
      const record = fs.readFileSync(journal(folder)).subarray(bytes.length).toString().replace("slow", "snail");
      assert.ok(record.length > 20);
      await until(async () => (await store.get("k", "slow")) === "x", "the first is seen");
      for (const part of ["\n", record.slice(1, 15), record.slice(15, 30)]) {
        appendTo(journal(folder), part);
        await new Promise((resolve) => setTimeout(resolve, 70));
        await store.ping();
      }
      assert.is(await store.putIfAbsent("k", "next", "x", later), "x");
    },
    { warn: (line) => warnings.push(line) },
  );
  assert.is(warnings.length, 1, "cut short for good once another record follows");
});

file("compacts what is superseded and expired, while another opener carries on", async () => {
  const folder = temporaryFolder();
  const options = { compactAfter: 200 };
  await using(
    folder,
    (other) =>
      using(
        folder,
        async (store) => {
          await store.addUsers([guest("ann"), guest("bob")]);
          const { id } = (await store.findUserByUsername("ann")) as User;
          await store.putIfAbsent("k", "kept", "x", later);
          let largest = 0;
          for (let i = 1; i <= 100; i++) {
            await Promise.all([
              ...Array.from({ length: 10 }, (_, n) => store.putIfAbsent("k", `${i}-${n}`, "brief", longAgo)),
              store.updateUser(id, { lastLogin: i }),
              i % 3 === 0 ? other.putIfAbsent("k", `other-${i}`, "x", later) : undefined,
            ]);
            largest = Math.max(largest, fs.statSync(journal(folder)).size);
          }
          assert.ok(store.stats().generation > 2, `generation ${store.stats().generation}`);
          assert.ok(largest < 100_000, `${largest} bytes`);
          await until(async () => (await other.findUserById(id))?.lastLogin === 100, "the other has moved on");
          assert.is(await store.putIfAbsent("k", "other-99", "late", later), "x");
          assert.is(await other.get("k", "kept"), "x");
        },
        options,
      ),
    options,
  );
  assert.is(journals(folder).length, 1, "old generations are gone");
  await using(folder, async (store) => {
    assert.is((await store.findUserByUsername("ann"))?.lastLogin, 100);
    for (let i = 3; i <= 99; i += 3) assert.is(await store.get("k", `other-${i}`), "x");
    assert.equal(
      [...(store.listUsers() as Iterable<User>)].map((user) => user.username),
      ["ann", "bob"],
    );
  });
});

file("compacts no more often than there is a reason to, however many have it open", async () => {
  const folder = temporaryFolder();
  const openers = await Promise.all(Array.from({ length: 4 }, () => openFileStore(folder, { compactAfter: 100 })));
  for (let i = 0; i < 100; i++) {
    await Promise.all(openers.map((store, n) => store.putIfAbsent("k", `${i}-${n}`, "brief", longAgo)));
  }
  await until(() => new Set(openers.map((store) => store.stats().generation)).size === 1, "all have moved on");
  const { generation } = openers[0]!.stats();
  await Promise.all(openers.map((store) => store.close()));
  assert.ok(generation >= 3 && generation <= 8, `generation ${generation} after 400 records, compacting after 100`);
});

file("adds a batch as a whole across compactions, and nothing of one whose writer died", async () => {
  const folder = temporaryFolder();
  await using(
    folder,
    async (store) => {
      async function* slow() {
        for (let i = 0; i < 2500; i++) {
          if (i % 500 === 0)
            await Promise.all([1, 2, 3, 4, 5, 6].map((n) => store.putIfAbsent("k", `${i}-${n}`, "x", 1)));
          yield guest(`batch-${i}`);
        }
      }
      assert.is(await store.addUsers(slow()), 2500);
      const never = store.addUsers(
        (async function* () {
          for (let i = 0; i < 1500; i++) yield guest(`never-${i}`);
          await new Promise(() => {});
        })(),
      );
      await Promise.race([never, new Promise((resolve) => setTimeout(resolve, 100))]);
    },
    { compactAfter: 5 },
  );
  await using(folder, (store) => assert.is([...(store.listUsers() as Iterable<User>)].length, 2500));
});

/** Writes one fact after another until one is refused, and returns those that were acknowledged. */
async function claimUntilRefused(store: FileStore, code: string): Promise<string[]> {
  const acknowledged: string[] = [];
  for (;;) {
    const id = `id-${acknowledged.length}`;
    const error = await rejection(() => store.putIfAbsent("k", id, "x", later)).catch(() => undefined);
    if (error !== undefined) {
      assert.is(error.code, code, error.message);
      return acknowledged;
    }
    acknowledged.push(id);
  }
}

file("reports a failed sync, trusts that journal no more and recovers in a new one", async () => {
  const folder = temporaryFolder();
  const real = poolDisk();
  let isFailing = false;
  // The one fault here that is made up: disks that fail on demand are hard to come by.
  const append: Disk["append"] = async (...args) => {
    const size = await real.append(...args);
    if (isFailing) throw new SyncError("EIO: i/o error");
    return size;
  };
  await using(
    folder,
    async (store) => {
      await store.addUser(guest("ann"));
      isFailing = true;
      assert.is((await rejection(() => store.putIfAbsent("k", "doubtful", "x", later))).code, "STORE_UNAVAILABLE");
      isFailing = false;
      await hasRecovered(store);
      await store.putIfAbsent("k", "sure", "x", later);
      assert.ok(store.stats().generation > 1);
    },
    { disk: { ...real, append } },
  );
  await using(folder, async (store) => {
    assert.ok(await store.findUserByUsername("ann"));
    assert.is(await store.get("k", "sure"), "x");
  });
});

file("acknowledges nothing after a compaction until the folder is synced, and tries that again", async () => {
  const folder = temporaryFolder();
  const { fsyncSync } = fs;
  await using(
    folder,
    async (store) => {
      await store.putIfAbsent("k", "standing", "x", later);
      let tries = 0;
      // Made up, as above: of all that is synced at a compaction, the folder alone fails.
      fs.fsyncSync = (fd) => {
        if (fs.fstatSync(fd).isDirectory() && ++tries <= 3) throw new Error("EIO: i/o error");
        fsyncSync(fd);
      };
      try {
        let refused = 0;
        for (let i = 0; tries === 0 && i < 100; i++) {
          const answer = Promise.resolve(store.putIfAbsent("k", `old-${i}`, "x", 1));
          refused = await answer.then(
            () => 0,
            () => 1,
          );
        }
        assert.equal([tries, refused, store.stats().generation], [1, 1, 2]);
        assert.equal(journals(folder), ["journal-000001.jsonl", "journal-000002.jsonl"], "both are kept");
        const standing = await rejection(() => store.putIfAbsent("k", "standing", "y", later));
        assert.match(standing.message, /can't sync .*EIO/);
        assert.is(standing.code, "STORE_UNAVAILABLE");
        assert.is((await rejection(() => store.ping())).code, "STORE_UNAVAILABLE");
        assert.is(await store.putIfAbsent("k", "standing", "y", later), "x");
        await store.putIfAbsent("k", "new", "x", later);
        assert.equal([tries, journals(folder)], [4, ["journal-000002.jsonl"]]);
      } finally {
        fs.fsyncSync = fsyncSync;
      }
    },
    { compactAfter: 20 },
  );
});

// Deno has threads for files alone: the store starts none.
if (runtime !== "deno") {
  file("refuses the writes that are under way when its thread dies, and goes on with another", async () => {
    const folder = temporaryFolder();
    const threads: Worker[] = [];
    const note = (worker: Worker): unknown => threads.push(worker);
    process.on("worker", note);
    const acknowledged = await using(folder, async (store) => {
      const all: string[] = [];
      for (let round = 1; round <= 3; round++) {
        await store.putIfAbsent("round", `${round}`, "x", later);
        const refused = claimUntilRefused(store, "STORE_UNAVAILABLE");
        await until(() => threads.length === round, "the thread has started");
        setTimeout(() => void threads.at(-1)!.terminate(), 20 * round);
        all.push(...(await refused));
        await hasRecovered(store);
      }
      await store.putIfAbsent("k", "after", "x", later);
      return [...all, "after"];
    });
    process.off("worker", note);
    await using(folder, async (store) => {
      for (const id of acknowledged) assert.is(await store.get("k", id), "x", id);
    });
  });

  file("writes by other threads where its own can't start", async () => {
    const folder = temporaryFolder();
    let tries = 0;
    const end = (worker: Worker): void => {
      tries++;
      void worker.terminate();
    };
    process.on("worker", end);
    try {
      await using(folder, async (store) => {
        for (let i = 0; i < 20; i++) await store.putIfAbsent("k", `${i}`, "x", later);
      });
    } finally {
      process.off("worker", end);
    }
    assert.is(tries, 1);
    await using(folder, async (store) => assert.is(await store.get("k", "19"), "x"));
  });
}

file("writes while more passwords are hashed than the runtime has threads", async () => {
  await using(temporaryFolder(), async (store) => {
    await store.putIfAbsent("k", "before", "x", later); // its thread has started
    const { hash } = createPasswords({ concurrency: 16, queue: 16, iterations: 600_000 });
    let ended = 0;
    const hashes = Array.from({ length: 16 }, () => hash("correct horse").then(() => ended++));
    for (let i = 0; i < 3; i++) await store.putIfAbsent("k", `${i}`, "x", later);
    assert.ok(ended <= 4, `${ended} of 16 had ended`);
    await Promise.all(hashes);
  });
});

file("keeps no process that has nothing to do, and lets none end before its writes have", async () => {
  const folder = temporaryFolder();
  const { code, stdout, stderr } = await finished(start("test/fixtures/store-left-open.ts", [folder]));
  assert.equal([code, stdout.trim()], [0, "written"], stderr);
  await using(folder, async (store) => assert.is(await store.get("k", "last"), "x"));
});

file("names a folder it can't use, in one line", async () => {
  const folder = temporaryFolder();
  fs.writeFileSync(path.join(folder, "plain"), "");
  const error = await rejection(() => openFileStore(path.join(folder, "plain/data")));
  assert.is(error.code, "STORE_UNAVAILABLE");
  assert.ok(error.message.includes(path.join(folder, "plain/data")) && !error.message.includes("\n"), error.message);
  if (process.getuid?.() === 0) return; // root may do anything; the read-only disk below covers it
  fs.chmodSync(folder, 0o500);
  assert.is((await rejection(() => openFileStore(path.join(folder, "data")))).code, "STORE_UNAVAILABLE");
  fs.chmodSync(folder, 0o700);
});

file("turns unavailable when its folder is removed, and does not start anew in silence", async () => {
  const folder = path.join(temporaryFolder(), "data");
  await using(folder, async (store) => {
    await store.addUser(guest("ann"));
    fs.rmSync(folder, { recursive: true });
    assert.is((await rejection(() => store.addUser(guest("bob")))).code, "STORE_UNAVAILABLE");
  });
});

const hasPrlimit = process.platform === "linux" && spawnSync("prlimit", ["--version"]).status === 0;
(hasPrlimit ? file : file.skip)(
  "loses nothing to a file size limit, and goes on when it is lifted (needs prlimit)",
  async () => {
    const folder = temporaryFolder();
    const [program, args] = command("test/fixtures/store-limited.ts", [folder]);
    const shell = ["-c", 'trap "" XFSZ; exec "$@"', "sh", program, ...args];
    const { status, stdout, stderr } = spawnSync("sh", shell, { encoding: "utf8", timeout: 30_000 });
    assert.is(status, 0, stderr);
    const { acknowledged, code, message, pingWhileFull, readable } = JSON.parse(stdout);
    assert.equal([code, pingWhileFull, readable], ["STORE_UNAVAILABLE", "STORE_UNAVAILABLE", true]);
    assert.match(message, /EFBIG|too large/i);
    await using(folder, async (store) => {
      for (const id of acknowledged) assert.is(await store.get("c", id), id);
    });
  },
);

const disk = mountTmpfs("256k");
const onDisk = disk === undefined ? file.skip : file;

onDisk("serves reads on a full disk, and writes again when there is room (needs root, for tmpfs)", async () => {
  const folder = path.join(disk!, "full");
  const acknowledged: string[] = [];
  const warnings: string[] = [];
  const options = { compactAfter: 10, warn: (line: string) => void warnings.push(line) };
  await using(
    folder,
    async (store) => {
      const { id } = await store.addUser(guest("ann"));
      fs.writeFileSync(path.join(disk!, "ballast"), Buffer.alloc(100_000));
      let failure: { code?: string; message: string } | undefined;
      for (let i = 0; failure === undefined && i < 20_000; i++) {
        try {
          acknowledged.push(await store.putIfAbsent("c", `id-${i}`, `value-${i}`, later));
          await store.updateUser(id, { lastLogin: i });
        } catch (error) {
          failure = error as Error;
        }
      }
      assert.is(failure?.code, "STORE_UNAVAILABLE");
      assert.match(failure!.message, /ENOSPC|no space/i);
      assert.is(await store.get("c", "id-0"), "value-0");
      assert.is((await rejection(() => store.ping())).code, "STORE_UNAVAILABLE");
      fs.rmSync(path.join(disk!, "ballast"));
      await hasRecovered(store);
      acknowledged.push(
        await store.putIfAbsent("c", `id-${acknowledged.length}`, `value-${acknowledged.length}`, later),
      );
    },
    options,
  );
  await using(folder, async (store) => {
    for (const [i, value] of acknowledged.entries()) assert.is(await store.get("c", `id-${i}`), value);
  });
  fs.rmSync(folder, { recursive: true });
});

onDisk("says that a disk is read-only, and opens when it no longer is (needs root, for tmpfs)", async () => {
  const folder = path.join(disk!, "read-only");
  await using(folder, (store) => store.addUser(guest("ann")));
  const remount = (how: string): void => assert.is(spawnSync("mount", ["-o", `remount,${how}`, disk!]).status, 0);
  remount("ro");
  const error = await rejection(() => openFileStore(folder));
  assert.is(error.code, "STORE_UNAVAILABLE");
  assert.match(error.message, /EROFS|read-only/i);
  assert.ok(error.message.includes(folder) && !error.message.includes("\n") && error.cause !== undefined);
  remount("rw");
  await using(folder, async (store) => assert.ok(await store.findUserByUsername("ann")));
});

onDisk(
  "compacts as long as there is room for what lives, on a small disk full of history (needs root, for tmpfs)",
  async () => {
    for (const compactAfter of [300, 10_000]) {
      const folder = path.join(disk!, "history");
      const live: string[] = [];
      await using(
        folder,
        async (store) => {
          const { id } = await store.addUser(guest("ann"));
          for (let i = 0; i < 5000; i++) {
            await Promise.all([
              store.updateUser(id, { lastLogin: i }),
              store.putIfAbsent("k", `old-${i}`, "x", longAgo),
            ]);
            if (i % 100 !== 0) continue;
            live.push(`live-${i}`);
            await store.putIfAbsent("k", `live-${i}`, "x", later);
          }
          assert.ok(
            store.stats().generation > 2,
            `generation ${store.stats().generation}, compactAfter ${compactAfter}`,
          );
        },
        { compactAfter },
      );
      await using(folder, async (store) => {
        for (const id of live) assert.is(store.get("k", id), "x");
        assert.is((await store.findUserByUsername("ann"))?.lastLogin, 4999);
      });
      fs.rmSync(folder, { recursive: true });
    }
  },
);

onDisk(
  "opens a journal that was sealed when the disk was full, serves reads, and writes again (needs root, for tmpfs)",
  async () => {
    const folder = path.join(disk!, "sealed");
    await using(folder, async (store) => {
      await store.addUser(guest("ann"));
      await store.putIfAbsent("k", "kept", "x", later);
    });
    const now = Date.now() / 1000;
    appendTo(journal(folder), lineOf({ k: "seal", at: now, by: "crashed.1" }));
    const makeRoom = fillDisk(disk!);
    const warnings: string[] = [];
    await using(
      folder,
      async (store) => {
        assert.match(warnings.join("\n"), /^[^\n]*(ENOSPC|no space)[^\n]*$/i);
        assert.equal([(await store.findUserByUsername("ann"))?.username, store.get("k", "kept")], ["ann", "x"]);
        assert.is((await rejection(() => store.putIfAbsent("k", "new", "x", later))).code, "STORE_UNAVAILABLE");
        assert.is((await rejection(() => store.ping())).code, "STORE_UNAVAILABLE");
        makeRoom();
        await hasRecovered(store);
        assert.is(await store.putIfAbsent("k", "new", "x", later), "x");
      },
      { warn: (line) => void warnings.push(line) },
    );
    await using(folder, async (store) => assert.equal([store.get("k", "kept"), store.get("k", "new")], ["x", "x"]));
    fs.rmSync(folder, { recursive: true });
  },
);

onDisk("makes room by removing what a crash at a compaction has left (needs root, for tmpfs)", async () => {
  const folder = path.join(disk!, "left");
  await using(folder, (store) => store.addUser(guest("ann")));
  appendTo(journal(folder), lineOf({ k: "seal", at: Date.now() / 1000, by: "crashed.1" }));
  const left = (id: string): string => path.join(folder, `journal-000002.jsonl.${id}.tmp`);
  const [recent, abandoned] = [left("0123456789ab"), left("ba9876543210")];
  fs.writeFileSync(recent, "");
  fs.writeFileSync(abandoned, Buffer.alloc(100_000));
  const makeRoom = fillDisk(disk!);
  await using(folder, async (store) => {
    assert.is((await rejection(() => store.ping())).code, "STORE_UNAVAILABLE");
    const minutesAgo = Date.now() / 1000 - 120;
    fs.utimesSync(abandoned, minutesAgo, minutesAgo);
    await hasRecovered(store);
    assert.equal([fs.existsSync(abandoned), fs.existsSync(recent)], [false, true], "nobody writes the one");
  });
  makeRoom();
  fs.rmSync(folder, { recursive: true });
});

file("lets several processes open a new folder at once", async () => {
  const folder = path.join(temporaryFolder(), "new");
  const at = String(Date.now() + 1200);
  const names = ["a", "b", "c"];
  const children = names.map((name) => finished(start("test/fixtures/store-opener.ts", [folder, at, name])));
  for (const { stdout, stderr } of await Promise.all(children)) assert.is(stdout.trim(), "done", stderr);
  await using(folder, async (store) => {
    for (const name of names) assert.ok(await store.findUserByUsername(name), name);
  });
});

for (const [how, compactAfter] of [
  ["", 10_000],
  [", compacting all the time", 40],
] as const) {
  file(`tells racing processes the same winners${how}`, async () => {
    const folder = temporaryFolder();
    await using(
      folder,
      async (store) => {
        const names = ["a", "b", "c"];
        const args = (name: string) => [folder, String(compactAfter), name, "100"];
        const children = names.map((name) => finished(start("test/fixtures/store-claimer.ts", args(name))));
        const all = Promise.all(children);
        const ready = async () => names.every((name) => store.get("ready", name) === "yes");
        await Promise.race([all, until(ready, "all are ready", 20_000)]);
        await store.putIfAbsent("start", "at", "now", later);
        let done = false;
        void all.then(() => (done = true));
        const { id } = await store.addUser(guest("busy"));
        for (let i = 0; !done; i++) await store.updateUser(id, { lastLogin: i }); // garbage to compact
        const results = (await all).map(({ stdout, stderr }) => {
          assert.ok(stdout !== "", stderr);
          return JSON.parse(stdout) as { answers: Record<string, string>; generation: number };
        });
        for (let i = 0; i < 100; i++) {
          const told = new Set([
            ...results.map(({ answers }) => answers[`id-${i}`]),
            await store.get("race", `id-${i}`),
          ]);
          assert.is(told.size, 1, `id-${i}: ${[...told].join()}`);
        }
        const winners = new Set(Object.values(results[0]!.answers));
        assert.ok(winners.size > 1, "it was a race");
        if (compactAfter < 100) assert.ok(store.stats().generation > 1, `generation ${store.stats().generation}`);
      },
      { compactAfter },
    );
  });
}

file("finds its way when others have compacted more than once while it slept", async () => {
  const folder = temporaryFolder();
  await using(
    folder,
    async (store) => {
      const sleeper = start("test/fixtures/store-claimer.ts", [folder, "10000", "sleeper", "1"]);
      const result = finished(sleeper);
      await until(() => store.get("ready", "sleeper") === "yes", "the other process is there", 20_000);
      process.kill(sleeper.pid!, "SIGSTOP");
      await store.putIfAbsent("race", "id-0", "mine", later);
      for (let i = 0; i < 200; i++) await store.flushExpired();
      assert.ok(store.stats().generation > 3, `generation ${store.stats().generation}`);
      process.kill(sleeper.pid!, "SIGCONT");
      await store.putIfAbsent("start", "at", "now", later);
      const { stdout, stderr } = await result;
      assert.equal(JSON.parse(stdout || stderr).answers, { "id-0": "mine" });
      await store.addUser(guest("after"));
    },
    { compactAfter: 20 },
  );
  await using(folder, async (store) => assert.ok(await store.findUserByUsername("after")));
});

/** Every acknowledged write that is missing from a store. */
async function missing(store: FileStore, facts: [kind: string, name: string, value?: unknown][]): Promise<string[]> {
  const removed = new Set(facts.filter(([kind]) => kind === "removed").map(([, name]) => name));
  const users = new Map<string, User>();
  for (const user of store.listUsers() as Iterable<User>) users.set(user.username, user);
  const lost = facts.filter(([kind, name, value]) => {
    if (kind === "claim") return store.get("load", name) !== value;
    if (kind === "counter") return (users.get(name)?.lastLogin ?? 0) < (value as number);
    if (kind === "removed") return users.has(name);
    return !removed.has(name) && !users.has(name) && !isLastGuest(facts, name);
  });
  return lost.map((fact) => fact.join(" "));
}

/** Its removal may have landed without having been acknowledged. */
function isLastGuest(facts: [kind: string, name: string, value?: unknown][], name: string): boolean {
  const [writer, number] = name.split("-guest-");
  return (
    number !== undefined && !facts.some(([kind, id]) => kind === "claim" && id === `${writer}-${Number(number) + 1}`)
  );
}

async function killRounds(lane: number, rounds: number, processes: number, compactAfter: number): Promise<void> {
  const random = randomFrom(seed + lane);
  const folder = temporaryFolder();
  const facts: [kind: string, name: string, value?: unknown][] = [];
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      Array.from({ length: processes }, async (_, n) => {
        const name = `w${round}.${n}`;
        const child = start("test/fixtures/store-writer.ts", [folder, String(compactAfter), name]);
        let output = "";
        let delay: number | undefined = 20 + random() * 200;
        child.stdout!.on("data", (chunk: Uint8Array) => {
          output += chunk.toString();
          if (delay !== undefined) setTimeout(() => child.kill("SIGKILL"), delay);
          delay = undefined;
        });
        let errors = "";
        child.stderr!.on("data", (chunk: Uint8Array) => (errors += chunk.toString()));
        await new Promise((resolve) => child.once("close", resolve));
        assert.is(child.signalCode, "SIGKILL", errors);
        for (const line of output.split("\n").slice(0, -1)) facts.push(JSON.parse(line));
      }),
    );
    const batches = new Map<string, number>();
    await using(folder, async (store) => {
      assert.equal(await missing(store, facts), [], `round ${round} of lane ${lane}, SEED=${seed}`);
      for (const { username } of store.listUsers() as Iterable<User>) {
        const batch = /^(.*-batch-\d+)-/.exec(username)?.[1];
        if (batch !== undefined) batches.set(batch, (batches.get(batch) ?? 0) + 1);
      }
    });
    for (const [batch, size] of batches) assert.is(size, 4, `${batch} is there in part`);
  }
  assert.ok(facts.length > rounds * 10, `only ${facts.length} writes were acknowledged`);
}

if (runtime === "node" && fs.existsSync("/proc/self/fd")) {
  file("warns once, with the stack, of what the poll meets and nobody foresaw", async () => {
    const folder = temporaryFolder();
    const warnings: string[] = [];
    const store = await openFileStore(folder, { warn: (line) => void warnings.push(line) });
    const isOfFolder = (fd: string) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
      } catch {
        return false; // that of the listing itself
      }
    };
    const fds = fs.readdirSync("/proc/self/fd").filter(isOfFolder).map(Number);
    for (const fd of fds) fs.closeSync(fd);
    await until(() => warnings.length > 0, "it warns");
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.is(warnings.length, 1, warnings.join("\n"));
    assert.match(warnings[0]!, /EBADF.*\n.*at /s);
    for (const _ of fds) fs.openSync(folder, "r"); // the store closes these numbers
    await store.close();
  });
}

file("loses no acknowledged write in 40 rounds of kill -9, half of them compacting", async () => {
  await Promise.all([killRounds(1, 20, 1, 10_000), killRounds(2, 20, 2, 30)]);
});

file.run();
