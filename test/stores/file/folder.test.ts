import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../../src/stores/file/index.ts";
import { networkFileSystem } from "../../../src/stores/file/folder.ts";
import { finished, until } from "../../support/processes.ts";
import { start, temporaryFolder } from "../../support/runtime.ts";
import { guest, journal, later, mode, rejection, using } from "../../support/stores.ts";

const file = suite("file store: its folder");

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

file("creates nothing in a folder that is open to others", async () => {
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

file("becomes unavailable when its folder is removed, and does not create a new one", async () => {
  const folder = path.join(temporaryFolder(), "data");
  await using(folder, async (store) => {
    await store.addUser(guest("ann"));
    fs.rmSync(folder, { recursive: true });
    assert.is((await rejection(() => store.addUser(guest("bob")))).code, "STORE_UNAVAILABLE");
  });
});

file.run();
