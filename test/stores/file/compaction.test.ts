import fs from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../../src/stores/file/index.ts";
import type { User } from "../../../src/stores/store.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { until } from "../../support/processes.ts";
import { guest, journal, journals, later, longAgo, using } from "../../support/stores.ts";

const file = suite("file store: compaction");

file("compacts superseded and expired records while another process writes", async () => {
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

file("compacts no more often than needed, however many processes have it open", async () => {
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

file.run();
