import fs from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../../src/stores/file/index.ts";
import type { Session } from "../../../src/stores/store.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { until } from "../../support/processes.ts";
import { appendTo, guest, journal, later, lineOf, longAgo, rejection, using } from "../../support/stores.ts";

const file = suite("file store: sessions");

const login = (id: string, userId: string, more: Partial<Session> = {}): Session => ({
  id,
  userId,
  createdAt: 1000,
  lastUsedAt: 1000,
  expiresAt: later,
  ip: "192.0.2.7",
  userAgent: "curl/8.9.1",
  ...more,
});
const kinds = (folder: string): string[] =>
  [...fs.readFileSync(journal(folder), "utf8").matchAll(/\{"k":"(\w+)"/g)].map(([, kind]) => kind!);

file(
  "keeps sessions, their order and their last use over compactions and a restart, and drops expired ones",
  async () => {
    const folder = temporaryFolder();
    const kept = [login("s-9", "1", { ip: null, userAgent: null }), login("s-1", "1"), login("s-5", "1")];
    const touched = { ...kept[1]!, lastUsedAt: 1060.5, expiresAt: later + 60.5 };
    const expected = [kept[0]!, touched, kept[2]!];
    await using(
      folder,
      async (store) => {
        for (const session of kept) await store.addSession(session);
        await store.addSession(login("s-2", "2"));
        await store.touchSession("s-1", touched.lastUsedAt, touched.expiresAt);
        for (let i = 0; store.stats().generation < 4; i++) {
          await store.addSession(login(`brief-${i}`, `user-${i % 3}`, { expiresAt: longAgo }));
          if (i % 2 === 0) await store.removeSession(`brief-${i}`);
          assert.ok(i < 500, "it is compacted");
        }
        assert.equal(await store.listSessions("1"), expected);
      },
      { compactAfter: 40 },
    );
    const text = fs.readFileSync(journal(folder), "utf8");
    const brief = text.match(/brief-/g)?.length ?? 0;
    assert.ok(brief < 80, `${brief} records of expired sessions are left`);
    await using(folder, async (store) => {
      assert.equal(await store.listSessions("1"), expected);
      assert.equal((await store.listSessions("2")).length, 1);
      assert.equal(await store.listSessions("user-1"), []);
    });
  },
);

file("does not compact again and again for the sake of sessions that are valid", async () => {
  await using(
    temporaryFolder(),
    async (store) => {
      await Promise.all(Array.from({ length: 500 }, (_, i) => store.addSession(login(`s-${i}`, `${i % 7}`))));
      for (let i = 0; i < 60; i++) await store.touchSession("s-3", 2000 + 100 * i, later);
      assert.is(store.stats().generation, 1);
    },
    { compactAfter: 20 },
  );
});

file("shows another opener's sessions at once, whichever compacts", async () => {
  const folder = temporaryFolder();
  const [one, other] = await Promise.all([1, 2].map(() => openFileStore(folder, { compactAfter: 25 })));
  for (let i = 0; i < 200; i++) {
    const [writer, reader] = i % 2 ? [one!, other!] : [other!, one!];
    await writer.addSession(login(`s-${i}`, `u-${i}`, { expiresAt: i % 10 === 0 ? later : longAgo }));
    if (i % 10 !== 0) continue;
    const shows = async () => (await reader.listSessions(`u-${i}`)).length === 1;
    // While the other one compacts, what it writes to the next generation shows a little later.
    assert.ok((await shows()) || (await until(shows, "it shows").then(() => reader.stats().generation > 1)));
    await reader.touchSession(`s-${i}`, 5000 + i, later);
    await writer.updateUser("nobody", {}); // reads what was written before
    assert.is((await writer.listSessions(`u-${i}`))[0]?.lastUsedAt, 5000 + i);
  }
  for (let i = 0; i < 200; i += 20) {
    await one!.removeSession(`s-${i}`);
    await until(async () => (await other!.listSessions(`u-${i}`)).length === 0, "it is gone");
  }
  for (const store of [one!, other!]) await store.close();
  await using(folder, async (store) => {
    for (let i = 0; i < 200; i += 10) assert.is((await store.listSessions(`u-${i}`)).length, i % 20 === 0 ? 0 : 1);
  });
});

file("records a use once a minute, and no removal of a missing session", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    await store.addSession(login("s-1", "1"));
    for (let i = 0; i < 180; i++) await store.touchSession("s-1", 1000 + i, later);
    await store.touchSession("unknown", 5000, later);
    await store.removeSession("unknown");
  });
  assert.equal(kinds(folder), ["head", "login", "touch", "touch"]);
});

file("leaves a journal as versions without sessions read it, until there is one", async () => {
  const folder = temporaryFolder();
  await using(
    folder,
    async (store) => {
      const { id } = await store.addUser(guest("ann"));
      for (let i = 0; store.stats().generation < 3; i++) await store.putIfAbsent("k", `${i}`, "x", 1);
      await store.removeSession("none");
      await store.removeUser(id);
      await store.flushExpired();
      assert.equal(await store.listSessions(id), []);
    },
    { compactAfter: 10 },
  );
  for (const kind of kinds(folder))
    assert.ok(["head", "add", "remove", "removed", "claim", "flush"].includes(kind), kind);
});

file("stops at a record of a newer version, and names the remedy", async () => {
  const folder = temporaryFolder();
  await using(folder, (store) => store.addSession(login("s-1", "1")));
  appendTo(journal(folder), lineOf({ k: "elevate", id: "s-1", at: 5, by: "new.1" }));
  const { code, message } = await rejection(() => openFileStore(folder));
  assert.is(code, "STORE_UNAVAILABLE");
  assert.match(message, /was written by a newer version; update this one to use /);
});

file("drops a user's sessions with the user, in every process and after a restart", async () => {
  const folder = temporaryFolder();
  const other = await openFileStore(folder);
  await using(folder, async (store) => {
    const { id } = await store.addUser({ ...guest("ann"), id: "7" });
    await store.addSession(login("s-1", id));
    assert.is((await other.listSessions("7")).length, 1);
    await store.removeUser(id);
    assert.equal([await store.listSessions("7"), await other.listSessions("7")], [[], []]);
  });
  await other.close();
  await using(folder, async (store) => assert.equal(await store.listSessions("7"), []));
});

file.run();
