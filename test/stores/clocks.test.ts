import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type FileStore, openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { until } from "../support/processes.ts";
import { randomFrom } from "../support/random.ts";
import { guest, seed, using } from "../support/stores.ts";

const clocks = suite("clocks that are wrong");

/** Stores with a clock that the test sets, in milliseconds; each is opened again where that makes a difference. */
const clocked: [name: string, open: (folder: string, now: () => number) => Promise<Store>, isKept: boolean][] = [
  ["memory", async (_, now) => memoryStore({ now }), false],
  ["file", (folder, now) => openFileStore(folder, { now, compactAfter: 20 }), true],
];
const [hour, day] = [3_600_000, 86_400_000];

for (const [name, open, isKept] of clocked) {
  clocks(`drop nothing that is valid by the right clock while one is days ahead for hours: ${name}`, async () => {
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

  clocks(`do not keep facts for ever, whether ahead, behind or stopped for days: ${name}`, async () => {
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

clocks("make equal states in two processes and in one that opens the store later", async () => {
  const random = randomFrom(seed).next;
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

clocks("have the same outcome in every process when the clock of one is behind", async () => {
  const folder = temporaryFolder();
  const behind = { now: () => 99_000 };
  await using(
    folder,
    (ahead) =>
      using(
        folder,
        async (late) => {
          for (const id of ["a", "b"]) assert.is(await ahead.putIfAbsent("k", id, "first", 100), "first");
          await until(() => late.get("k", "a") === "first", "the fact is valid by this clock");
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

clocks.run();
