import fs from "node:fs";
import type { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords } from "../../../src/passwords/index.ts";
import { SyncError } from "../../../src/stores/file/disk.ts";
import { type Disk, openFileStore, poolDisk } from "../../../src/stores/file/index.ts";
import { finished, until } from "../../support/processes.ts";
import { runtime, start, temporaryFolder } from "../../support/runtime.ts";
import { claimUntilRefused, guest, hasRecovered, journals, later, rejection, using } from "../../support/stores.ts";

const file = suite("file store: writes");

file("acknowledges many writers with few syncs", async () => {
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

file("finds a user that another process has just added", async () => {
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
  assert.is(await pending, "x", "a write requested before is finished");
  for (const action of [
    () => store.ping(),
    () => store.addUser(guest("ann")),
    () => store.putIfAbsent("k", "i", "x", later),
  ]) {
    assert.is((await rejection(action)).code, "STORE_UNAVAILABLE");
  }
});

file("reports a failed sync, and recovers in a new generation", async () => {
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
          const write = Promise.resolve(store.putIfAbsent("k", `old-${i}`, "x", 1));
          refused = await write.then(
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
    const ended = new Set<Worker | undefined>([undefined]);
    const endThread = (): void => {
      ended.add(threads.at(-1));
      void threads.at(-1)!.terminate();
    };
    const acknowledged = await using(folder, async (store) => {
      const all: string[] = [];
      for (let round = 1; round <= 3; round++) {
        await store.putIfAbsent("round", `${round}`, "x", later);
        const refused = claimUntilRefused(store, "STORE_UNAVAILABLE");
        await until(() => !ended.has(threads.at(-1)), "the thread has started");
        setTimeout(endThread, 20 * round);
        const again = setInterval(endThread, 1000); // the thread may end between two writes, and none is refused then
        all.push(...(await refused));
        clearInterval(again);
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
    const { hash } = createPasswords({ concurrency: 10, queue: 10, iterations: 600_000 });
    let ended = 0;
    const hashes = Array.from({ length: 10 }, () => hash("correct horse").then(() => ended++));
    for (let i = 0; i < 3; i++) await store.putIfAbsent("k", `${i}`, "x", later);
    assert.ok(ended <= 4, `${ended} of 10 had ended`);
    await Promise.all(hashes);
  });
});

file("lets an idle process end, but not before its writes are on the disk", async () => {
  const folder = temporaryFolder();
  const { code, stdout, stderr } = await finished(start("test/fixtures/store-left-open.ts", [folder]));
  assert.equal([code, stdout.trim()], [0, "written"], stderr);
  await using(folder, async (store) => assert.is(await store.get("k", "last"), "x"));
});

if (runtime === "node" && fs.existsSync("/proc/self/fd")) {
  file("warns once, with the stack, of an unforeseen error in the poll", async () => {
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

file.run();
