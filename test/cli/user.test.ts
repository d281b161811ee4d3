/** The `user` command: one user, and the list. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  done,
  hashFor,
  isPasswordOf,
  newStore,
  refused,
  user,
  userProgram,
  usersOf,
  withStore,
} from "../support/commands.ts";
import { environmentWith, start } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";

const single = suite("user command: one user");

single("adds a user, and a process that has the store open sees it at once", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    const args = ["add", " Ａlice ", "--email", "alice@example.org", "--password-stdin", "--store", url];
    const result = await user(args, { input: " hunter two \nhunter on another line\n" });
    done(result, /^added "Alice", id [0-9a-f-]{36}\n$/);
    await until(async () => (await store.findUserByUsername("Alice")) !== undefined, "the user appears");
    const alice = await store.findUserByUsername("Alice");
    assert.is(alice?.id, /id (\S+)/.exec(result.stdout)?.[1]);
    assert.is(alice?.email, "alice@example.org");
    assert.is(alice?.isActive, true);
    assert.ok(await isPasswordOf(alice, " hunter two "), "the first line, spaces kept, its newline cut off");
  });
});

single("reads one line and does not wait for the end of the input", async () => {
  const url = await newStore();
  const args = ["add", "bob", "--inactive", "--password-stdin", "--store", url];
  const child = start(userProgram, args, { stdio: ["pipe", "pipe", "pipe"], env: environmentWith({}) });
  const result = finished(child);
  child.stdin!.write("hunter two\r\n"); // and stays open
  done(await result, /^added "bob", id \S+, disabled\n$/);
  const [bob] = await usersOf(url);
  assert.is(bob?.isActive, false);
  assert.ok(await isPasswordOf(bob, "hunter two"));
});

single("adds one of two users of the same name that are added at the same time", async () => {
  const url = await newStore();
  const add = () => user(["add", "carol", "--password-stdin", "--store", url], { input: "hunter two\n" });
  const results = await Promise.all([add(), add()]);
  assert.equal(results.map(({ code }) => code).sort(), [0, 1]);
  refused(
    results.find(({ code }) => code === 1)!,
    /^the username "carol" is taken\n$/,
  );
  assert.is((await usersOf(url)).length, 1);
});

single("refuses names and passwords that could not log in", async () => {
  const url = await newStore();
  const add = (name: string, input: string) => user(["add", name, "--password-stdin", "--store", url], { input });
  const results = await Promise.all([
    add("dave", "\n"),
    add("dave", "hunter2\n"),
    add("dave", "🔑".repeat(7)), // fourteen units of UTF-16
    add("dave", "hunter".repeat(1000)),
    add("dave", "iloveyou\n"),
    add("dave", "8364501927\n"),
    add("davidson", "davidson1\n"),
    add("dave", "hunter\0two\n"),
    add(" ", "hunter two\n"),
    add("da\nve", "hunter two\n"),
    add("da\uFFFDve", "hunter two\n"),
    user(["add", "dave", "--store", url]),
  ]);
  const reasons = [
    /password is empty/,
    /^the password is too short; accepted: 8 characters or more\n$/,
    /^the password is too short; accepted: 8 characters or more\n$/,
    /longer than 4096 bytes/,
    /^This password is too common\.\n$/,
    /^This password is entirely numeric\.\n$/,
    /^The password is too similar to the username\.\n$/,
    /NUL/,
    /blank/,
    /control character/,
    /the username is not UTF-8/,
    /no terminal.*--password-stdin/,
  ];
  for (const [index, result] of results.entries()) refused(result, reasons[index]!);
  assert.equal(await usersOf(url), []);
});

single("changes, disables, enables and removes a user of a store that is open elsewhere", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    const { id } = await store.addUser({ username: "Zoë", passwordHash: hashFor(1) });
    const zoe = () => store.findUserById(id);
    done(await user(["disable", "Zoe\u0308", "--store", url]), /^disabled "Zoë"\n$/);
    await until(async () => (await zoe())?.isActive === false, "the user is disabled");
    done(await user(["enable", "Zoë", "--store", url]), /^enabled "Zoë"\n$/);
    await until(async () => (await zoe())?.isActive === true, "the user is enabled");
    const passwd = user(["passwd", "Zoë", "--password-stdin", "--store", url], { input: "hunter two" });
    done(await passwd, /^changed the password of "Zoë"\n$/);
    await until(async () => (await zoe())?.passwordHash !== hashFor(1), "the password changes");
    assert.ok(await isPasswordOf(await zoe(), "hunter two"));
    done(await user(["remove", "Zoë", "--store", url]), new RegExp(`^removed "Zoë", id ${id}\n$`));
    await until(async () => (await zoe()) === undefined, "the user is gone");
  });
});

single(
  "ends all sessions with logout, passwd and disable, each time later than before, and not with enable",
  async () => {
    const url = await newStore();
    const before = Date.now() / 1000;
    const future = before + 3600; // as by a clock that was wrong
    await withStore(url, async (store) => {
      await store.addUser({ username: "rosa", passwordHash: hashFor(1) });
      await store.addUser({ username: "sven", passwordHash: hashFor(1), tokensValidFrom: future });
    });
    const marks = async () => (await usersOf(url)).map(({ tokensValidFrom }) => tokensValidFrom!);
    const run = (...args: string[]) => user([...args, "--store", url], { input: "hunter two" });

    done(await run("logout", "rosa"), /^ended all sessions of "rosa"\n$/);
    const [first] = await marks();
    assert.ok(first! >= before && first! <= Date.now() / 1000, `${first}`);
    done(await run("passwd", "rosa", "--password-stdin"), /^changed the password/);
    const [second] = await marks();
    assert.ok(second! > first!);
    done(await run("disable", "rosa"), /^disabled/);
    const [third] = await marks();
    assert.ok(third! > second!);
    done(await run("enable", "rosa"), /^enabled/);
    assert.is((await marks())[0], third);

    await Promise.all([run("disable", "sven"), run("passwd", "sven", "--password-stdin"), run("logout", "sven")]);
    const [, sven] = await usersOf(url);
    assert.ok(sven!.tokensValidFrom! > future && sven!.tokensValidFrom! < future + 1);
    assert.is(sven!.isActive, false, "none is lost of those that come upon the same time");
    assert.ok(await isPasswordOf(sven, "hunter two"));
    assert.not.match((await run("list", "--json")).stdout, /alid/);
  },
);

single("finds, and refuses to add, names that differ only by case with case-insensitive matching", async () => {
  const url = await newStore();
  await withStore(url, (store) => store.addUser({ username: "Straße", passwordHash: hashFor(1) }));
  const run = (args: string[], env?: Record<string, string>) =>
    user([...args, "--password-stdin", "--store", url], { input: "hunter two", env: env ?? {} });
  const insensitive = ["--username-matching", "case-insensitive"];
  const environment = { JWT_USERNAME_MATCHING: "case-insensitive" };

  refused(await run(["passwd", "STRASSE"]), /^there is no user "STRASSE"\n$/);
  done(await run(["passwd", "STRASSE", ...insensitive]), /^changed the password of "Straße"\n$/);
  done(await run(["passwd", "strasse"], environment), /^changed the password of "Straße"\n$/);
  refused(await run(["add", "STRASSE", ...insensitive]), /^the username "STRASSE" is taken\n$/);
  refused(await run(["add", "strasse", "--username-matching", "loose"]), /is not one of exact, case-insensitive\n$/);
  refused(await run(["add", "x"], { JWT_USERNAME_MATCHING: "loose" }), /^JWT_USERNAME_MATCHING is not one of exact, /);
  done(await run(["add", "strasse", "--username-matching", "exact"], environment), /^added "strasse"/);
  refused(await run(["passwd", "STRASSE"], environment), /^several users have the name "STRASSE" but for case; /);
  done(await run(["passwd", "strasse"], environment), /of "strasse"\n$/);
});

single("reports an unknown user in one line", async () => {
  const url = await newStore();
  const commands = ["passwd", "disable"];
  for (const result of await Promise.all(commands.map((name) => user([name, "nobody", "--store", url])))) {
    refused(result, /^there is no user "nobody"\n$/);
  }
});

single.run();

const listing = suite("user command: list");

const gina = { id: "1", username: "gina", email: "gina@example.org", passwordHash: hashFor(1) };

listing("shows a table, with control characters made visible", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    await store.addUser({ ...gina, lastLogin: 1_700_000_000 });
    await store.addUser({ id: "22", username: "h\x1b[2Jans", passwordHash: hashFor(2), isActive: false });
  });
  const { code, stdout, stderr } = await user(["list", "--store", url]);
  assert.is(
    stdout,
    [
      "USERNAME       ID  EMAIL             ACTIVE  LAST LOGIN",
      "gina           1   gina@example.org  yes     2023-11-14T22:13:20.000Z",
      "h\\u{1b}[2Jans  22                    no      never",
      "",
    ].join("\n"),
  );
  assert.is(stderr, "");
  assert.is(code, 0);
});

listing("shows a JSON object per user with --json", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    await store.addUser({ ...gina, lastLogin: 1.5 });
    await store.addUser({ id: "2", username: "hans", passwordHash: hashFor(2), isActive: false });
  });
  const { code, stdout } = await user(["list", "--json", "--store", url]);
  assert.equal(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
    [
      { username: "gina", id: "1", email: "gina@example.org", isActive: true, lastLogin: "1970-01-01T00:00:01.500Z" },
      { username: "hans", id: "2", email: "", isActive: false, lastLogin: null },
    ],
  );
  assert.is(code, 0);
});

listing.run();
