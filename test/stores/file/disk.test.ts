import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../../src/stores/file/index.ts";
import { command, fillDisk, mountTmpfs, temporaryFolder } from "../../support/runtime.ts";
import {
  appendTo,
  guest,
  hasRecovered,
  journal,
  later,
  lineOf,
  longAgo,
  rejection,
  using,
} from "../../support/stores.ts";

const file = suite("file store: full and read-only disks");

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

onDisk("serves reads on a full disk, and writes once there is room (needs root, for tmpfs)", async () => {
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
  "compacts on a small disk full of history while there is room for the snapshot (needs root, for tmpfs)",
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

onDisk("makes room by removing the temporary file of a crashed compaction (needs root, for tmpfs)", async () => {
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

file.run();
