import { Buffer } from "node:buffer";
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JournalRecord, type UserRow, encodeRecord } from "../../../src/stores/file/record.ts";
import type { NewUser, User } from "../../../src/stores/store.ts";
import { randomFrom } from "../../support/random.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { journal, overwrite, rejection, seed, using } from "../../support/stores.ts";

const opening = suite("file store: opening");

const letters = [
  "a",
  "B",
  "7",
  "é",
  "ß",
  "漢",
  "😀",
  '"',
  "\\",
  "]",
  "[",
  ",",
  "{",
  "\u0000",
  "\n",
  "\u2028",
  " ",
  "@",
];

/** Users of whom most are written as they are, and others need escapes, more bytes or numbers. */
function manyUsers(count: number): NewUser[] {
  const random = randomFrom(seed);
  const text = (): string =>
    random.chance(0.8) ? "plain" : Array.from({ length: random.below(6) }, () => random.pick(letters)).join("");
  return Array.from({ length: count }, (_, i) => ({
    id: `${text()}-${i}`,
    username: `${i}-${text()}`,
    email: text(),
    passwordHash: `pbkdf2_sha256$1$${text()}$${text()}`,
    isActive: random.chance(0.9),
    lastLogin: random.chance(0.5) ? null : random.pick([0, i, 1795761578.274, 0.001]),
    tokensValidFrom: random.chance(0.7) ? null : random.pick([i, 1795761578.5]),
  }));
}

const all = (listed: Iterable<User> | AsyncIterable<User>): User[] => [...(listed as Iterable<User>)];

opening("finds every user as it was added, from batches, from single records and from a snapshot", async () => {
  const folder = temporaryFolder();
  const users = manyUsers(1500);
  await using(folder, async (store) => {
    await store.addUsers(users.slice(0, 1000));
    await Promise.all(users.slice(1000).map((user) => store.addUser(user)));
  });
  for (const [way, options] of [["journal"], ["sealing", { compactAfter: 100 }], ["snapshot"]] as const) {
    await using(
      folder,
      async (store) => {
        assert.equal(all(store.listUsers()), users, way);
        for (const user of users) {
          assert.equal(await store.findUserById(user.id!), user, way);
          assert.equal(await store.findUserByUsername(user.username), user, way);
        }
        const capital = users.find(({ username }) => username.endsWith("B"))!;
        const other = capital.username.toLowerCase();
        assert.is(await store.findUserByUsername(other), undefined);
        assert.equal(await store.findUserByUsername(other, "case-insensitive"), capital);
        assert.is((await rejection(() => store.addUser({ ...capital, id: "new" }))).code, "USER_EXISTS");
        assert.is((await rejection(() => store.addUser({ ...capital, username: "new" }))).code, "USER_EXISTS");
        if (options === undefined) return;
        // Most records are history then.
        for (let n = 0; store.stats().generation === 1; n += 500) {
          await Promise.all(users.slice(0, 500).map(({ id, email }) => store.updateUser(id!, { email: email! })));
          assert.ok(n < 10_000, "the journal was not compacted");
        }
      },
      options,
    );
  }
});

opening("keeps a user who was changed, renamed or removed after the journal's beginning", async () => {
  const folder = temporaryFolder();
  const users = manyUsers(200);
  const [changed, renamed, removed] = users.map(({ id }) => id!);
  await using(folder, (store) => store.addUsers(users));
  const expected = [
    { ...users[0], lastLogin: 5, isActive: false },
    { ...users[1], username: "another" },
  ];
  for (const isFirst of [true, false]) {
    await using(folder, async (store) => {
      if (isFirst) {
        await store.updateUser(changed!, { lastLogin: 5, isActive: false });
        await store.updateUser(renamed!, { username: "another" });
        assert.is(await store.removeUser(removed!), true);
      }
      assert.equal(await store.findUserById(changed!), expected[0]);
      assert.equal(await store.findUserByUsername("another"), expected[1]);
      assert.is(await store.findUserByUsername(users[1]!.username), undefined);
      assert.is(await store.findUserById(removed!), undefined);
      assert.equal(all(store.listUsers()), [...expected, ...users.slice(3)]);
    });
  }
});

opening("refuses a journal in which a byte of one user has changed", async () => {
  const folder = temporaryFolder();
  await using(folder, (store) => store.addUsers(manyUsers(300)));
  const bytes = fs.readFileSync(journal(folder));
  const at = bytes.indexOf("pbkdf2_sha256", bytes.length / 2);
  bytes[at] = 113;
  overwrite(journal(folder), bytes);
  assert.is((await rejection(() => using(folder, () => {}))).code, "STORE_DAMAGED");
});

opening("reads a batch whatever its name and its other members are, before its users and after them", async () => {
  const u = Array.from({ length: 60 }, (_, i): UserRow => [`id-${i}`, `name-${i}`, "", "!".repeat(40), 1, null]);
  for (const b of ["plain", "é", "\u{1f600}", 'a"b']) {
    const folder = temporaryFolder();
    const head = (bytes: number) =>
      encodeRecord({ k: "head", generation: 1, bytes: String(bytes).padStart(15, "0"), at: 0 });
    const records: JournalRecord[] = [
      { k: "batch", b, u, at: 1, by: b },
      { k: "commit", b, n: u.length, at: 1, by: "w2" },
    ];
    const bytes = Buffer.concat([head(head(0).length), ...records.map((record) => encodeRecord(record))]);
    fs.writeFileSync(path.join(folder, "journal-000001.jsonl"), bytes, { mode: 0o600 });
    await using(folder, async (store) => assert.is(all(store.listUsers()).length, u.length, b));
  }
});

opening("bounds the bytes that one user's password changes and logins take up", async () => {
  const folder = temporaryFolder();
  const size = (): number =>
    fs
      .readdirSync(folder)
      .reduce((sum, name) => sum + (fs.statSync(path.join(folder, name), { throwIfNoEntry: false })?.size ?? 0), 0);
  const hash = (n: number): string => `pbkdf2_sha256$600000$${"s".repeat(22)}$${String(n).padStart(43, "h")}=`;
  await using(folder, async (store) => {
    const { id } = await store.addUser({ username: "ann", passwordHash: hash(0) });
    let largest = 0;
    const atOnce = 500;
    // The calls of a password change and of a login, with the defaults of the store.
    for (let n = 0; n < 24_000; n += atOnce) {
      await Promise.all(
        Array.from({ length: atOnce }, (_, i) =>
          i % 2 === 0
            ? store.updateUser(
                id,
                { passwordHash: hash(n + i), tokensValidFrom: 1795761578 },
                { passwordHash: hash(n) },
              )
            : store.updateUser(id, { lastLogin: 1795761578.274 + i }),
        ),
      );
      largest = Math.max(largest, size());
    }
    // What stores/README.md states: 10,000 records of at most 400 bytes, here with one more write of 500.
    assert.ok(largest < 10_500 * 400, `${largest} bytes`);
    assert.ok(largest > 1_000_000, `${largest} bytes: the changes were not written`);
    assert.ok(store.stats().generation >= 3, `generation ${store.stats().generation}`);
  });
});

opening.run();
