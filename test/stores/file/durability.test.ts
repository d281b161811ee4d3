/**
 * What is on the disk when a write is acknowledged. The pages of a killed process are not lost, so kill -9 does not show a
 * missing sync: here a disk is held back or recorded, and a copy of the folder stands for what a power cut leaves.
 */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Disk, createDisk, poolDisk } from "../../../src/stores/file/disk.ts";
import type { FileStore } from "../../../src/stores/file/index.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { until } from "../../support/processes.ts";
import { appendTo, guest, journal, journals, later, lineOf, rejection, using } from "../../support/stores.ts";

const file = suite("file store: durability");

/** Returns a disk whose appends are written, and end only when `release` is called after a `hold`. */
function holdingDisk() {
  const real = poolDisk();
  let held: Promise<void> | undefined;
  let release = (): void => {};
  let appends = 0;
  const append: Disk["append"] = async (...args) => {
    const size = await real.append(...args);
    appends++;
    await held;
    return size;
  };
  return {
    disk: { ...real, append },
    appends: () => appends,
    hold: () => (held = new Promise((resolve) => (release = resolve))),
    release(): void {
      held = undefined;
      release();
    },
  };
}

file("acknowledges a write when its sync has ended, though the record was read back before", async () => {
  const { disk, appends, hold, release } = holdingDisk();
  await using(
    temporaryFolder(),
    async (store) => {
      const { id } = await store.addUser(guest("ann"));
      const before = appends();
      hold();
      const acknowledged: string[] = [];
      const note = async (name: string, write: unknown) => (await write, acknowledged.push(name));
      const all = [
        note("fact", store.putIfAbsent("k", "i", "x", later)),
        note("user", store.addUser(guest("bob"))),
        note("change", store.updateUser(id, { tokensValidFrom: 5 })),
      ];
      await until(() => appends() > before, "it is written");
      await until(() => store.get("k", "i") === "x", "the poll has read it back");
      all.push(note("the same fact", store.putIfAbsent("k", "i", "y", later)));
      await sleep(50);
      assert.equal(acknowledged, []);
      release();
      await Promise.all(all);
      assert.is(acknowledged.length, 4);
    },
    { disk },
  );
});

file("syncs another process's fact before it returns it, and only once", async () => {
  const folder = temporaryFolder();
  const [writing, reading] = [holdingDisk(), holdingDisk()];
  await using(
    folder,
    (writer) =>
      using(
        folder,
        async (reader) => {
          await writer.addUser(guest("ann"));
          writing.hold();
          const write = writer.putIfAbsent("k", "i", "x", later);
          await until(() => reader.get("k", "i") === "x", "the other process has read it");
          const before = reading.appends();
          assert.is(await reader.putIfAbsent("k", "i", "y", later), "x");
          assert.is(reading.appends(), before + 1, "its own append has synced the file");
          assert.is(await reader.putIfAbsent("k", "i", "y", later), "x");
          assert.is(reading.appends(), before + 1);
          writing.release();
          assert.is(await write, "x");
        },
        { disk: reading.disk },
      ),
    { disk: writing.disk },
  );
});

const times = { createdAt: 1, lastUsedAt: 1, expiresAt: later, ip: null, userAgent: null };
const writes: Record<string, [write: (store: FileStore) => unknown, isThere: (store: FileStore) => unknown]> = {
  "a fact": [(store) => store.putIfAbsent("k", "i", "x", later), (store) => store.get("k", "i") === "x"],
  "a user": [(store) => store.addUser(guest("bob")), (store) => store.findUserByUsername("bob")],
  "a session": [
    (store) => store.addSession({ id: "s", userId: "1", ...times }),
    async (store) => (await store.listSessions("1")).length === 1,
  ],
};

for (const [name, [write, isThere]] of Object.entries(writes)) {
  file(`acknowledges ${name} that came after another process's seal when it is in the next generation`, async () => {
    const folder = temporaryFolder();
    const real = poolDisk();
    let isSealing = false;
    const append: Disk["append"] = (...args) => {
      if (isSealing) appendTo(journal(folder), lineOf({ k: "seal", at: Date.now() / 1000, by: "another.1" }));
      isSealing = false;
      return real.append(...args);
    };
    await using(
      folder,
      async (store) => {
        await store.addUser(guest("ann"));
        isSealing = true;
        await write(store);
        const copy = path.join(temporaryFolder(), "copy");
        fs.cpSync(folder, copy, { recursive: true });
        fs.chmodSync(copy, 0o700);
        await using(copy, async (reopened) => assert.ok(await isThere(reopened)));
        assert.is(store.stats().generation, 2);
      },
      { disk: { ...real, append } },
    );
  });
}

file("compacts in an order in which a power cut leaves one generation or the other", async () => {
  const folder = temporaryFolder();
  const real = poolDisk();
  const { fsyncSync, linkSync } = fs;
  const events: string[] = [];
  const note = (event: string): unknown => events.at(-1) !== event && events.push(event);
  const snapshot = (): string => {
    const name = fs.readdirSync(folder).find((each) => each.endsWith(".tmp"));
    return name === undefined ? "" : fs.readFileSync(path.join(folder, name), "latin1");
  };
  const nameOf = (ino: number) => journals(folder).find((name) => fs.statSync(path.join(folder, name)).ino === ino);
  let synced = "";
  const disk: Disk = {
    ...real,
    async append(fd, bytes) {
      const size = await real.append(fd, bytes);
      note(`append to ${nameOf(fs.fstatSync(fd).ino)}`);
      return size;
    },
    async fsync(fd) {
      await real.fsync(fd);
      note("sync of the snapshot");
      synced = snapshot();
    },
    remove(name) {
      note(`removal of ${path.basename(name)}`);
      return real.remove(name);
    },
  };
  fs.linkSync = (...args) => {
    note(synced !== "" && synced === snapshot() ? "name for what was synced" : "name for something else");
    linkSync(...args);
  };
  fs.fsyncSync = (fd) => {
    fsyncSync(fd);
    note(fs.fstatSync(fd).isDirectory() ? "sync of the folder" : "sync of a file");
  };
  try {
    await using(
      folder,
      async (store) => {
        events.length = 0;
        for (let i = 0; store.stats().generation === 1 && i < 100; i++) await store.putIfAbsent("k", `${i}`, "x", 1);
        await store.putIfAbsent("k", "after", "x", 1);
      },
      { disk, compactAfter: 10 },
    );
  } finally {
    Object.assign(fs, { fsyncSync, linkSync });
  }
  assert.equal(events, [
    "append to journal-000001.jsonl",
    "sync of the snapshot",
    "name for what was synced",
    "sync of the folder",
    "removal of journal-000001.jsonl",
    "append to journal-000002.jsonl",
  ]);
});

file("syncs what it appends, after it has noted how much that is", async () => {
  const { write, fstatSync, fdatasync } = fs;
  const calls: string[] = [];
  const recorded = <F extends (...args: never[]) => unknown>(name: string, call: F) =>
    ((...args: Parameters<F>) => (calls.push(name), call(...args))) as unknown as F;
  const name = path.join(temporaryFolder(), "journal");
  const fd = fs.openSync(name, "a");
  Object.assign(fs, {
    write: recorded("write", write),
    fstatSync: recorded("size", fstatSync),
    fdatasync: recorded("sync", fdatasync),
  });
  try {
    assert.is(await poolDisk().append(fd, new Uint8Array(5)), 5);
  } finally {
    Object.assign(fs, { write, fstatSync, fdatasync });
    fs.closeSync(fd);
  }
  assert.equal(calls, ["write", "size", "sync"]);
});

if (process.platform === "linux") {
  for (const [name, open] of Object.entries({ "the runtime's threads": poolDisk, "a store's own": createDisk })) {
    file(`reports what can't be synced by ${name}: /dev/null takes writes only`, async () => {
      const disk = open();
      const fd = fs.openSync("/dev/null", "a");
      try {
        assert.is(await disk.write(fd, new Uint8Array(5)), 5);
        const error = (await rejection(() => disk.append(fd, new Uint8Array(5)))) as Error;
        assert.is(error.name, "SyncError", error.message);
        assert.match((await rejection(() => disk.fsync(fd))).message, /EINVAL|invalid argument/i);
      } finally {
        disk.close();
        fs.closeSync(fd);
      }
    });
  }
}

file.run();
