import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type FileStore, openFileStore, poolDisk } from "../../../src/stores/file/index.ts";
import type { User } from "../../../src/stores/store.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { until } from "../../support/processes.ts";
import {
  appendTo,
  compactedFolder,
  damagedLine,
  guest,
  journal,
  journals,
  later,
  lineOf,
  newline,
  overwrite,
  rejection,
  using,
} from "../../support/stores.ts";

const file = suite("file store: the journal");

file("keeps all users and facts when it is opened again", async () => {
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

file("opens a journal from before issued-before marks, and writes the same rows while there are none", async () => {
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

file("keeps a fact without an end, as the memory store does", async () => {
  const folder = temporaryFolder();
  await using(folder, (store) => store.putIfAbsent("k", "forever", "x", Infinity));
  await using(folder, async (store) => assert.is(await store.get("k", "forever"), "x"));
});

file("skips a last line torn at any byte, and accepts writes", async () => {
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
      // A power cut can leave a file longer than the data on the disk, padded with NULs.
      overwrite(path.join(copy, "journal-000001.jsonl"), Buffer.concat([bytes.subarray(0, end), Buffer.alloc(nulls)]));
      const torn = async (store: FileStore) => {
        assert.is(await store.get("k", "kept"), "x", `cut at ${end}`);
        assert.is(await store.get("k", "läst 🦊"), end === bytes.length ? "x" : undefined, `cut at ${end}`);
        await store.addUser(guest("bob"));
      };
      await using(copy, torn, { disk: poolDisk() }); // hundreds of threads would do the same
      const warnings: string[] = [];
      await using(copy, async (store) => assert.ok(await store.findUserByUsername("bob")), {
        warn: (line) => warnings.push(line),
      });
      assert.ok(warnings.length <= 1 && warnings.every((line) => damagedLine(line) === 5), warnings.join());
    }
  }
});

file("counts lines in parts, and each only once, however many are torn", async () => {
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

file("applies no record after a seal, whether whole, torn or damaged", async () => {
  const folder = temporaryFolder();
  await using(folder, (store) => store.addUser(guest("ann")));
  const claim = (id: string): string =>
    lineOf({ k: "claim", kind: "k", id, v: "x", exp: later, at: 1, by: `old.${id}` });
  const seal = lineOf({ k: "seal", at: 1, by: "old.seal" });
  const after = [claim("late"), claim("torn").slice(0, 40), "\nwhat is this?", claim("later")];
  appendTo(journal(folder), [claim("before"), "\n0000", claim("läst"), seal, ...after].join(""));
  const warnings: string[] = [];
  await using(
    folder,
    async (store) => {
      assert.equal(
        ["before", "läst", "late", "later"].map((id) => store.get("k", id)),
        ["x", "x", undefined, undefined],
      );
      assert.is((await store.findUserByUsername("ann"))?.username, "ann");
      assert.is(store.stats().generation, 2);
    },
    { warn: (line) => void warnings.push(line) },
  );
  assert.equal(warnings.map(damagedLine), [5]);
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

file("refuses a journal that is shorter than its snapshot, wherever it was cut", async () => {
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

file("opens once an operator has removed a damaged line by hand", async () => {
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

file("does not take a half-written record for damage", async () => {
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
  assert.is(warnings.length, 1, "torn once another record follows");
});

file.run();
