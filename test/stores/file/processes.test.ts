import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../../src/stores/file/index.ts";
import type { User } from "../../../src/stores/store.ts";
import { finished, until } from "../../support/processes.ts";
import { start, temporaryFolder } from "../../support/runtime.ts";
import { guest, later, using } from "../../support/stores.ts";

const file = suite("file store: several processes");

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

file("gives one of several racing processes a name when case does not matter", async () => {
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

file("finds a user by name as another process has just left it", async () => {
  const folder = temporaryFolder();
  await using(folder, async (one) => {
    await using(folder, async (other) => {
      const { id } = await one.addUser(guest("ada"));
      assert.ok(await other.findUserByUsername("ada"));
      for (let i = 0; i < 20; i++) {
        const changes = { passwordHash: `hash ${i}`, tokensValidFrom: i, isActive: i % 2 === 0 };
        await one.updateUser(id, changes);
        const { passwordHash, tokensValidFrom, isActive } = (await other.findUserByUsername("ada"))!;
        assert.equal({ passwordHash, tokensValidFrom, isActive }, changes);
      }
      await one.updateUser(id, { username: "grace" });
      assert.is(await other.findUserByUsername("ada"), undefined);
      await one.removeUser(id);
      assert.is(await other.findUserByUsername("grace"), undefined);
    });
  });
});

file("finds it so in the next generation too, and after many other changes", async () => {
  const folder = temporaryFolder();
  const one = await openFileStore(folder, { compactAfter: 20, warn: () => {} });
  const other = await openFileStore(folder);
  try {
    const { id } = await one.addUser(guest("ada"));
    const expectHash = async (passwordHash: string) => {
      await one.updateUser(id, { passwordHash });
      assert.is((await other.findUserByUsername("ada"))!.passwordHash, passwordHash);
    };
    for (let i = 0; i < 100; i++) await expectHash(`hash ${i}`);
    assert.ok(one.stats().generation > 3);
    await one.addUsers(Array.from({ length: 5000 }, (_, index) => guest(`guest ${index}`)));
    await expectHash("the last");
  } finally {
    await one.close();
    await other.close();
  }
});

for (const [how, compactAfter] of [
  ["", 10_000],
  [", compacting all the time", 40],
] as const) {
  file(`returns the same winners to racing processes${how}`, async () => {
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

file("continues after others have compacted more than once while it slept", async () => {
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

file.run();
