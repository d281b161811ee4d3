/** `user import`: JSON lines and CSV. */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { importUsers } from "../../src/cli/import.ts";
import { UsageError } from "../../src/program/problem.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import {
  done,
  fileOf,
  hashFor,
  isPasswordOf,
  jsonFile,
  newStore,
  refused,
  secret,
  user,
  userProgram,
  usersOf,
  withoutProgress,
  withStore,
} from "../support/commands.ts";
import { environmentWith, start, temporaryFolder } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const importing = suite("user command: import");

const imported = {
  hash: { id: 7, username: "hash", email: "hash@example.org", password: hashFor(7), is_active: false },
  surelyHash: { id: "eight", username: "surely-hash", passwordHash: hashFor(8), isActive: true },
  unusable: { username: "unusable", password_hash: "!", email: null },
  plain: { username: "plain", password: " hunter 9 " },
  surelyPlain: { username: "surely-plain", plain_password: "hunter$10" },
};

async function assertImported(url: string): Promise<void> {
  const users = new Map((await usersOf(url)).map((found) => [found.username, found]));
  assert.equal([...users.keys()], ["hash", "surely-hash", "unusable", "plain", "surely-plain"]);
  const [hash, surelyHash] = [users.get("hash")!, users.get("surely-hash")!];
  assert.equal([hash.id, hash.email, hash.passwordHash, hash.isActive], ["7", "hash@example.org", hashFor(7), false]);
  assert.equal([surelyHash.id, surelyHash.passwordHash, surelyHash.isActive], ["eight", hashFor(8), true]);
  assert.is(users.get("unusable")!.passwordHash, "!");
  assert.ok(await isPasswordOf(users.get("plain"), " hunter 9 "));
  assert.ok(await isPasswordOf(users.get("surely-plain"), "hunter$10"));
}

importing("adds users from JSON lines, keeps hashes and hashes plain passwords", async () => {
  const url = await newStore();
  const file = jsonFile(Object.values(imported));
  done(await user(["import", file, "--store", url]), /^imported 5 users\n$/);
  await assertImported(url);
});

importing("adds users from CSV as spreadsheets write it, and from standard input", async () => {
  const [url, other] = [await newStore(), await newStore()];
  const csv =
    "\uFEFFid,username,email,password,password_hash,plain_password,is_active\r\n" +
    `7,hash,hash@example.org,${hashFor(7)},,,f\r\n` +
    `eight,surely-hash,,,${hashFor(8)},,TRUE\r\n\r\n` +
    ',unusable,,,!,,\r\n,plain,," hunter 9 ",,,\r\n' +
    ',"surely-plain",,,,hunter$10,1';
  const [fromFile, fromStdin] = await Promise.all([
    user(["import", fileOf("users.CSV", csv), "--store", url]),
    user(["import", "-", "--format", "csv", "--store", other], { input: csv }),
  ]);
  done(fromFile, /^imported 5 users\n$/);
  done(fromStdin, /^imported 5 users\n$/);
  await assertImported(url);
  await assertImported(other);
});

const badLines = [
  JSON.stringify({ username: "good", password: hashFor(1) }),
  '{"username": "ida", "password": "hunter',
  '["hunter"]',
  "",
  JSON.stringify({ password: "hunter two" }),
  JSON.stringify({ username: " ", password: "hunter two" }),
  JSON.stringify({ username: "ｇood", password: "hunter two" }),
  JSON.stringify({ username: "taken", password: "hunter two" }),
  JSON.stringify({ username: "ida" }),
  JSON.stringify({ username: "ida", password: "" }),
  JSON.stringify({ username: "ida", password: 5 }),
  JSON.stringify({ username: "ida", password: "hunter2" }),
  JSON.stringify({ username: "ida", password_hash: "hunter" }),
  JSON.stringify({ username: "ida", password: "pbkdf2_sha1$1000$hunter$AAAA" }),
  JSON.stringify({ username: "ida", password: "$2b$12$hunter" }),
  JSON.stringify({ username: "ida", password: "!hunter" }),
  JSON.stringify({ username: "ida", password: `${hashFor(1).slice(0, -9)}` }),
  JSON.stringify({ username: "ida", password: "hunter two", plain_password: "hunter two" }),
  JSON.stringify({ username: "ida", password: "hunter two", is_staff: true }),
  JSON.stringify({ username: "ida", password: "hunter two", is_active: "maybe" }),
  JSON.stringify({ username: "ida", password: "hunter two", id: "1" }),
  JSON.stringify({ username: "also good", password: hashFor(2), id: 2 }),
  JSON.stringify({ username: "ida", password: hashFor(2), id: "2" }),
];
const looksLikeHash =
  "the password looks like a hash, but is damaged or of no known format; call it plain_password if it is a password";
const badReports = [
  "line 2: not valid JSON",
  "line 3: not a JSON object",
  "line 5: no username",
  "line 6: the username is blank",
  "line 7: the same username as line 1",
  "line 8: the username is taken",
  "line 9: no password",
  "line 10: the password is empty",
  "line 11: password is not text",
  "line 12: the password is too short; accepted: 8 characters or more",
  "line 13: password_hash is damaged or of no known format",
  ...[14, 15, 16, 17].map((n) => `line ${n}: ${looksLikeHash}`),
  "line 18: more than one of password, password_hash, plain_password",
  'line 19: unknown key "is_staff"; known: username, email, password, password_hash, plain_password, id, is_active',
  "line 20: is_active is not true or false",
  "line 21: the id is taken",
  "line 23: the same id as line 22",
];

importing("refuses the id of a user who was removed, and takes the name", async () => {
  const url = await newStore();
  const lines = ["1", "2"].map((id) => JSON.stringify({ username: `user-${id}`, password: hashFor(1), id }));
  const file = fileOf("again.jsonl", lines.join("\n"));
  done(await user(["import", file, "--store", url]), /^imported 2 users\n$/);
  done(await user(["remove", "user-1", "--store", url]), /^removed "user-1", id 1\n$/);
  done(await user(["remove", "user-2", "--store", url]), /^removed "user-2", id 2\n$/);
  const again = await user(["import", file, "--store", url]);
  assert.equal(again.stderr.split("\n"), [
    "line 1: the id belonged to a user who was removed",
    "line 2: the id belonged to a user who was removed",
    "nothing was imported: 2 of 2 lines are bad (--skip-bad imports the others)",
    "",
  ]);
  assert.is(again.code, 1);
  assert.equal(await usersOf(url), []);
  const before = Date.now() / 1000;
  done(
    await user(["add", "user-1", "--password-stdin", "--store", url], { input: "hunter two" }),
    /^added "user-1", id /,
  );
  const [added] = await usersOf(url);
  assert.ok(added!.tokensValidFrom! >= before, "tokens that name the former user-1 are not this one's");
});

importing("adds no user when lines are bad, says which and why, and with --skip-bad adds the others", async () => {
  const url = await newStore();
  await withStore(url, (store) => store.addUser({ id: "1", username: "taken", passwordHash: hashFor(3) }));
  const file = fileOf("users.jsonl", badLines.join("\n"));

  const all = await user(["import", file, "--store", url]);
  const count = "nothing was imported: 20 of 22 lines are bad (--skip-bad imports the others)";
  assert.equal(all.stderr.split("\n"), [...badReports, count, ""]);
  assert.is(all.stdout, "");
  assert.is(all.code, 1);
  assert.is((await usersOf(url)).length, 1);

  const imported = await user(["import", file, "--skip-bad", "--store", url]);
  assert.equal(imported.stderr.split("\n"), [...badReports, ""]);
  assert.is(imported.stdout, "imported 2 users, skipped 20 bad lines\n");
  assert.is(imported.code, 0);
  assert.equal(
    (await usersOf(url)).map(({ username }) => username),
    ["taken", "good", "also good"],
  );
});

importing("names at most 20 bad lines of a CSV by number", async () => {
  const url = await newStore();
  const invalidText = Buffer.from(`kim\xff,${hashFor(1)}\n`, "latin1");
  const csv = Buffer.concat([
    Buffer.from(`username,password\n"jo\nhn",${hashFor(1)}\n\njohn,${hashFor(1)},\n`),
    invalidText,
    Buffer.from("x,\n".repeat(25)),
  ]);
  const { code, stdout, stderr } = await user(["import", fileOf("users.csv", csv), "--store", url]);
  const lines = stderr.trimEnd().split("\n");
  assert.equal(lines.slice(0, 4), [
    "line 3: the username holds a control character", // where the record ends
    "line 5: 3 cells where the header has 2",
    "line 6: not UTF-8",
    "line 7: no password",
  ]);
  assert.equal(lines.slice(20), [
    "and 8 more bad lines",
    "nothing was imported: 28 of 28 lines are bad (--skip-bad imports the others)",
  ]);
  assert.is(stdout, "");
  assert.is(code, 1);
});

importing("refuses a file that can't be read as a whole, even with --skip-bad", async () => {
  const url = await newStore();
  refused(await user(["import", "no-such-file.csv", "--store", url]), /^can't read no-such-file.csv: no such file\n$/);
  assert.equal(await usersOf(url), []);

  // The rest without a process for each.
  const csv = (text: string) => fileOf("users.csv", text);
  const cases: [file: string, reason: RegExp][] = [
    [csv(""), /no header line/],
    [csv(`leo,hunter,${hashFor(1)}\n`), /must begin with a header line that has a column "username"$/],
    [csv("username,passwort\nleo,hunter two\n"), /unknown column "passwort"; known: /],
    [csv("username,password_hash,passwordHash\n"), /the column "passwordHash" is there twice/],
    [
      csv('username,password\nleo,hunter two\nmia,"hunter\nnoa,hunter\n'),
      /a quote .* not closed in the CSV after line 2$/,
    ],
    [csv('username,password\nleo,"hunter"2\n'), /a quote is out of place .* after line 1$/],
    [csv('username,password\nleo,hunter"2\n'), /a quote is out of place .* after line 1$/],
    [fileOf("users.jsonl", "x".repeat(200_000)), /line 1 is too long/],
    [fileOf("users.txt", ""), /format of .*users.txt is not known; add --format/],
    ["-", /format of standard input is not known; add --format/],
    [temporaryFolder(), /format of .* is not known/],
  ];
  const store = memoryStore();
  for (const [file, reason] of cases) {
    const error = await importUsers(store, file, { skipBad: true }).then(
      () => undefined,
      (error: unknown) => error,
    );
    assert.instance(error, UsageError);
    assert.match((error as UsageError).message, reason);
    assert.not.match((error as UsageError).message, secret);
  }
  assert.equal(store.listUsers(), []);
});

importing("streams 20,000 users into a store that is open elsewhere, and lists them", async () => {
  const url = await newStore();
  const count = 20_000;
  const file = jsonFile(Array.from({ length: count }, (_, n) => ({ username: `user${n}`, password: hashFor(n) })));
  await withStore(url, async (store) => {
    done(withoutProgress(await user(["import", file, "--store", url])), /^imported 20000 users\n$/);
    const last = async () => (await store.findUserByUsername("user19999"))?.passwordHash;
    await until(async () => (await last()) !== undefined, "the last user appears");
    assert.is(await last(), hashFor(19_999));
  });

  const [table] = await Promise.all([
    user(["list", "--store", url]),
    leavesEarly(["list", "--store", url]),
    leavesEarly(["list", "--json", "--store", url]),
  ]);
  assert.is(table.stdout.trimEnd().split("\n").length, count + 1);
});

importing("treats names that differ only by case as one with case-insensitive matching", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    for (const username of ["Tom", "TOM"]) await store.addUser({ username, passwordHash: hashFor(1) });
  });
  const names = ["Uwe", "tom", "vera", "uwe"];
  const file = jsonFile(names.map((username) => ({ username, password: hashFor(2) })));
  const args = ["import", file, "--skip-bad", "--store", url];
  const insensitive = await user([...args, "--username-matching", "case-insensitive"]);
  assert.is(insensitive.stderr, "line 2: the username is taken\nline 4: the same username as line 1\n");
  assert.is(insensitive.stdout, "imported 2 users, skipped 2 bad lines\n");
  const exact = await user(args);
  assert.is(exact.stdout, "imported 2 users, skipped 2 bad lines\n");
  assert.equal(
    (await usersOf(url)).map(({ username }) => username),
    ["Tom", "TOM", "Uwe", "vera", "tom", "uwe"],
  );
});

/** Reads the first lines and goes, as `… | head -1` does: no error. */
async function leavesEarly(args: string[]): Promise<void> {
  const child = start(userProgram, args, { env: environmentWith({}) });
  let stderr = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  child.stdout!.once("data", () => child.stdout!.destroy());
  const [code] = await once(child, "exit");
  assert.is(stderr, "");
  assert.is(code, 0);
}

importing.run();
