import fs from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../src/stores/file/index.ts";
import type { Store, User } from "../../src/stores/store.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { until } from "../support/processes.ts";
import { appendTo, guest, journal, lineOf, rejection, using } from "../support/stores.ts";

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
  await until(() => other.findUserById("id-3") === undefined, "the other process has read it");
  await check(other, "in another process");
  await other.close();
  const text = fs.readFileSync(journal(folder), "utf8");
  assert.not.match(text, "gone-", "a removed user leaves no name");
  await using(folder, async (store) => {
    await check(store, "after a restart");
    assert.ok((await store.addUser(guest("gone-7"))).tokensValidFrom! > 0, "a later user of the name starts anew");
    assert.is((await store.addUser(guest("fresh"))).tokensValidFrom, null);
  });
});

removal("leave ids and names free in a journal from before removals were remembered", async () => {
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

removal("free their name for one of several racing processes, which all see the same issued-before mark", async () => {
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
    const [one, other] = await Promise.all(stores.map((store) => store.findUserByUsername("ada")));
    assert.ok(one!.tokensValidFrom! > 0);
    assert.equal(one, other);
  }
  for (const store of stores) await store.close();
});

removal.run();
