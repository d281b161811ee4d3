/** The `user` command as people run it: spawned, on a file store that this process may have open at the same time. */
import { Buffer } from "node:buffer";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Mistake } from "../src/cli/fields.ts";
import { importUsers } from "../src/cli/import.ts";
import { createPasswords } from "../src/index.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { openStore } from "../src/stores/open.ts";
import type { Store, User } from "../src/stores/store.ts";
import { command, finished, start, temporaryFolder, until } from "./runtime.ts";

const passwords = createPasswords();
// Every password of these tests contains "hunter", so that any output can be searched for it.
const secret = /hunter|pbkdf2_sha256\$|[A-Za-z0-9+/]{43}=/;

/** Of the right form, and of no password. */
const hashFor = (n: number): string => `pbkdf2_sha256$600000$salt${n}$${String(n).padStart(43, "A")}=`;

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

const program = "src/cli/user.ts";
const environment = (extra: Record<string, string> = {}) => ({ ...process.env, JWT_STORE: "", ...extra });

async function user(args: string[], { input = "", env = {} }: { input?: string; env?: Record<string, string> } = {}) {
  const child = start(program, args, { stdio: ["pipe", "pipe", "pipe"], env: environment(env) });
  child.stdin!.on("error", () => {}); // a command that reads nothing may be gone already
  child.stdin!.end(input);
  const result: Result = await finished(child);
  assert.not.match(result.stdout + result.stderr, secret, "the output holds a password or a hash");
  return result;
}

function refused({ code, stdout, stderr }: Result, reason: RegExp): void {
  assert.match(stderr, reason);
  assert.is(stderr.trimEnd().split("\n").length, 1, `not one line: ${stderr}`);
  assert.is(stdout, "");
  assert.is(code, 1);
}

function done({ code, stdout, stderr }: Result, line: RegExp): void {
  assert.is(stderr, "");
  assert.match(stdout, line);
  assert.is(stdout.trimEnd().split("\n").length, 1, `not one line: ${stdout}`);
  assert.is(code, 0);
}

const newStore = (): string => `file:${temporaryFolder()}/store`;

async function withStore<T>(url: string, use: (store: Store) => T | Promise<T>): Promise<T> {
  const store = await openStore(url);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

const usersOf = (url: string): Promise<User[]> =>
  withStore(url, async (store) => {
    const users: User[] = [];
    for await (const found of store.listUsers()) users.push(found);
    return users;
  });

const isPasswordOf = async (found: User | undefined, password: string): Promise<boolean> =>
  (await passwords.check(password, found?.passwordHash)).ok;

function fileOf(name: string, text: string | Uint8Array): string {
  const file = path.join(temporaryFolder(), name);
  writeFileSync(file, text);
  return file;
}

const jsonFile = (rows: unknown[]): string =>
  fileOf("users.jsonl", rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

const single = suite("user command: one user");

single("adds a user, whom a process that has the store open sees at once", async () => {
  const url = newStore();
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

single("does not wait for the end of the input, only for a line of it", async () => {
  const url = newStore();
  const args = ["add", "bob", "--inactive", "--password-stdin", "--store", url];
  const child = start(program, args, { stdio: ["pipe", "pipe", "pipe"], env: environment() });
  const result = finished(child);
  child.stdin!.write("hunter\r\n"); // and stays open
  done(await result, /^added "bob", id \S+, disabled\n$/);
  const [bob] = await usersOf(url);
  assert.is(bob?.isActive, false);
  assert.ok(await isPasswordOf(bob, "hunter"));
});

single("lets one of two win who add the same name at the same time", async () => {
  const url = newStore();
  const add = () => user(["add", "carol", "--password-stdin", "--store", url], { input: "hunter\n" });
  const results = await Promise.all([add(), add()]);
  assert.equal(results.map(({ code }) => code).sort(), [0, 1]);
  refused(
    results.find(({ code }) => code === 1)!,
    /^the username "carol" is taken\n$/,
  );
  assert.is((await usersOf(url)).length, 1);
});

single("refuses names and passwords that could not log in, and adds nobody", async () => {
  const url = newStore();
  const add = (name: string, input: string) => user(["add", name, "--password-stdin", "--store", url], { input });
  const results = await Promise.all([
    add("dave", "\n"),
    add("dave", "hunter".repeat(1000)),
    add("dave", "hunter\0\n"),
    add(" ", "hunter\n"),
    add("da\nve", "hunter\n"),
    user(["add", "dave", "--store", url]),
  ]);
  const reasons = [
    /password is empty/,
    /longer than 4096 bytes/,
    /NUL/,
    /blank/,
    /control character/,
    /no terminal.*--password-stdin/,
  ];
  for (const [index, result] of results.entries()) refused(result, reasons[index]!);
  assert.equal(await usersOf(url), []);
});

single("changes, disables, enables and removes a user of a store that is open elsewhere", async () => {
  const url = newStore();
  await withStore(url, async (store) => {
    const { id } = await store.addUser({ username: "Zoë", passwordHash: hashFor(1) });
    const zoe = () => store.findUserById(id);
    done(await user(["disable", "Zoe\u0308", "--store", url]), /^disabled "Zoë"\n$/);
    await until(async () => (await zoe())?.isActive === false, "the user is disabled");
    done(await user(["enable", "Zoë", "--store", url]), /^enabled "Zoë"\n$/);
    await until(async () => (await zoe())?.isActive === true, "the user is enabled");
    const passwd = user(["passwd", "Zoë", "--password-stdin", "--store", url], { input: "hunter" });
    done(await passwd, /^changed the password of "Zoë"\n$/);
    await until(async () => (await zoe())?.passwordHash !== hashFor(1), "the password changes");
    assert.ok(await isPasswordOf(await zoe(), "hunter"));
    done(await user(["remove", "Zoë", "--store", url]), new RegExp(`^removed "Zoë", id ${id}\n$`));
    await until(async () => (await zoe()) === undefined, "the user is gone");
  });
});

single("says in one line that there is no such user", async () => {
  const url = newStore();
  const commands = ["passwd", "disable"];
  for (const result of await Promise.all(commands.map((name) => user([name, "nobody", "--store", url])))) {
    refused(result, /^there is no user "nobody"\n$/);
  }
});

single.run();

const usage = suite("user command: usage");

usage("refuses unknown commands, flags and arguments by name, but never repeats what may be a password", async () => {
  const cases: [args: string[], reason: RegExp][] = [
    [[], /^name a command; accepted: add, list, passwd, disable, enable, remove, import/],
    [["constructor"], /^unknown command "constructor"; accepted: add/],
    [["list", "--jsno"], /^unknown flag --jsno for list; accepted: --json, --store\n$/],
    [["list", "--store", "--json"], /^--store needs a value/],
    [["add"], /^add needs a username/],
    [["add", "eve", "hunter2"], /^add takes one username/],
    [["add", "eve", "--password=hunter2"], /^unknown flag --password for add/],
    [["import", "users.csv", "--format", "xml"], /^--format is not one of csv, jsonl/],
  ];
  const results = await Promise.all(cases.map(([args]) => user(args)));
  for (const [index, result] of results.entries()) refused(result, cases[index]![1]);
});

usage("explains itself and its commands with --help", async () => {
  const commands = [["--help"], ["add", "--help"], ["import", "x", "-h"]];
  const [all, add, imports] = (await Promise.all(commands.map((args) => user(args)))) as [Result, Result, Result];
  for (const name of ["add", "list", "passwd", "disable", "enable", "remove", "import"]) {
    assert.match(all.stdout, new RegExp(`^ +${name} `, "m"));
  }
  assert.match(add.stdout, /USAGE jwt-endpoints-user add [^]*--password-stdin [^]*--store=<url>/);
  assert.match(imports.stdout, /USAGE jwt-endpoints-user import [^]*--format=<csv\|jsonl>[^]*--skip-bad /);
  assert.equal([all.code, add.code, imports.code], [0, 0, 0]);
});

usage("takes the store from JWT_STORE, and a flag before it", async () => {
  const [url, other] = [newStore(), newStore()];
  await withStore(url, (store) => store.addUser({ username: "frank", passwordHash: hashFor(1) }));
  const [fromEnvironment, fromFlag] = await Promise.all([
    user(["list", "--json"], { env: { JWT_STORE: url } }),
    user(["list", "--json", "--store", url], { env: { JWT_STORE: other } }),
  ]);
  assert.match(fromEnvironment.stdout, /"frank"/);
  assert.match(fromFlag.stdout, /"frank"/);
});

usage("says in one line why a store can't be used", async () => {
  const file = fileOf("not-a-folder", "");
  const [memory, unknown, unusable] = await Promise.all([
    user(["list", "--store", "memory:"]),
    user(["list", "--store", "redis://:hunter@localhost"]),
    user(["list", "--store", `file:${file}`]),
  ]);
  refused(memory, /memory: store lives in its server alone/);
  refused(unknown, /unknown scheme "redis:"/);
  refused(unusable, /can't open the folder/);
});

usage.run();

const listing = suite("user command: list");

const gina = { id: "1", username: "gina", email: "gina@example.org", passwordHash: hashFor(1) };

listing("shows a table, with control characters made visible", async () => {
  const url = newStore();
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
  const url = newStore();
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
  const url = newStore();
  const file = jsonFile(Object.values(imported));
  done(await user(["import", file, "--store", url]), /^imported 5 users\n$/);
  await assertImported(url);
});

importing("adds users from CSV as spreadsheets write it, and from standard input", async () => {
  const [url, other] = [newStore(), newStore()];
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
  JSON.stringify({ password: "hunter" }),
  JSON.stringify({ username: " ", password: "hunter" }),
  JSON.stringify({ username: "ｇood", password: "hunter" }),
  JSON.stringify({ username: "taken", password: "hunter" }),
  JSON.stringify({ username: "ida" }),
  JSON.stringify({ username: "ida", password: "" }),
  JSON.stringify({ username: "ida", password: 5 }),
  JSON.stringify({ username: "ida", password_hash: "hunter" }),
  JSON.stringify({ username: "ida", password: "pbkdf2_sha1$1000$hunter$AAAA" }),
  JSON.stringify({ username: "ida", password: "$2b$12$hunter" }),
  JSON.stringify({ username: "ida", password: "!hunter" }),
  JSON.stringify({ username: "ida", password: `${hashFor(1).slice(0, -9)}` }),
  JSON.stringify({ username: "ida", password: "hunter", plain_password: "hunter" }),
  JSON.stringify({ username: "ida", password: "hunter", is_staff: true }),
  JSON.stringify({ username: "ida", password: "hunter", is_active: "maybe" }),
  JSON.stringify({ username: "ida", password: "hunter", id: "1" }),
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
  "line 12: password_hash is damaged or of no known format",
  ...[13, 14, 15, 16].map((n) => `line ${n}: ${looksLikeHash}`),
  "line 17: more than one of password, password_hash, plain_password",
  'line 18: unknown key "is_staff"; known: username, email, password, password_hash, plain_password, id, is_active',
  "line 19: is_active is not true or false",
  "line 20: the id is taken",
  "line 22: the same id as line 21",
];

importing("adds nobody when lines are bad, tells which and why, and with --skip-bad adds the others", async () => {
  const url = newStore();
  await withStore(url, (store) => store.addUser({ id: "1", username: "taken", passwordHash: hashFor(3) }));
  const file = fileOf("users.jsonl", badLines.join("\n"));

  const all = await user(["import", file, "--store", url]);
  const count = "nothing was imported: 19 of 21 lines are bad (--skip-bad imports the others)";
  assert.equal(all.stderr.split("\n"), [...badReports, count, ""]);
  assert.is(all.stdout, "");
  assert.is(all.code, 1);
  assert.is((await usersOf(url)).length, 1);

  const good = await user(["import", file, "--skip-bad", "--store", url]);
  assert.equal(good.stderr.split("\n"), [...badReports, ""]);
  assert.is(good.stdout, "imported 2 users, skipped 19 bad lines\n");
  assert.is(good.code, 0);
  assert.equal(
    (await usersOf(url)).map(({ username }) => username),
    ["taken", "good", "also good"],
  );
});

importing("tells bad lines of a CSV by number, too, and no more than 20 of them", async () => {
  const url = newStore();
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

importing("refuses a file it can't make sense of, even with --skip-bad", async () => {
  const url = newStore();
  refused(await user(["import", "no-such-file.csv", "--store", url]), /^can't read no-such-file.csv: no such file\n$/);
  assert.equal(await usersOf(url), []);

  // The rest without a process for each.
  const csv = (text: string) => fileOf("users.csv", text);
  const cases: [file: string, reason: RegExp][] = [
    [csv(""), /no header line/],
    [csv(`leo,hunter,${hashFor(1)}\n`), /must begin with a header line that has a column "username"$/],
    [csv("username,passwort\nleo,hunter\n"), /unknown column "passwort"; known: /],
    [csv("username,password_hash,passwordHash\n"), /the column "passwordHash" is there twice/],
    [csv('username,password\nleo,hunter\nmia,"hunter\nnoa,hunter\n'), /a quote .* not closed in the CSV after line 2$/],
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
    assert.instance(error, Mistake);
    assert.match((error as Mistake).message, reason);
    assert.not.match((error as Mistake).message, secret);
  }
  assert.equal(store.listUsers(), []);
});

importing("streams 20,000 users into a store that is open elsewhere, and lists them", async () => {
  const url = newStore();
  const count = 20_000;
  const file = jsonFile(Array.from({ length: count }, (_, n) => ({ username: `user${n}`, password: hashFor(n) })));
  await withStore(url, async (store) => {
    done(await user(["import", file, "--store", url]), /^imported 20000 users\n$/);
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

/** As `… | head -1` does: no reason to complain. */
async function leavesEarly(args: string[]): Promise<void> {
  const child = start(program, args, { env: environment() });
  let stderr = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  child.stdout!.once("data", () => child.stdout!.destroy());
  const [code] = await once(child, "exit");
  assert.is(stderr, "");
  assert.is(code, 0);
}

importing.run();

const terminal = suite("user command: password prompt");

// `script` gives the command a terminal; elsewhere than in util-linux its flags differ.
const hasTerminal = /util-linux/.test(spawnSync("script", ["--version"], { encoding: "utf8" }).stdout ?? "");
const onTerminal = (title: string, run: () => Promise<void>): void => {
  if (hasTerminal) return terminal(title, run);
  console.log(`skipped, as there is no util-linux \`script\` to make a terminal: ${title}`);
  terminal.skip(title);
};

/** Runs the command on a terminal and answers the prompts one by one. */
async function typed(args: string[], answers: string[]): Promise<{ code: number | null; screen: string }> {
  const [file, all] = command(program, args);
  const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
  const line = [file, ...all].map(quote).join(" ");
  const child = spawn("script", ["-qec", line, "/dev/null"], { env: environment(), stdio: "pipe" });
  let screen = "";
  let answered = 0;
  child.stdout.on("data", (chunk: Uint8Array) => {
    screen += chunk.toString();
    while ((screen.match(/Password/g)?.length ?? 0) > answered && answered < answers.length) {
      child.stdin.write(answers[answered++]!);
    }
  });
  const [code] = (await once(child, "close")) as [number | null];
  assert.not.match(screen, secret, "the password is on the screen");
  return { code, screen };
}

onTerminal("asks twice without echo", async () => {
  const url = newStore();
  const { code, screen } = await typed(["add", "pia", "--store", url], ["hunter ä\r", "hunter ä\r"]);
  assert.match(screen, /Password: \r\nPassword \(again\): \r\nadded "pia", id /);
  assert.is(code, 0);
  const [pia] = await usersOf(url);
  assert.ok(await isPasswordOf(pia, "hunter ä"));
});

onTerminal("changes nothing when the two differ, or on Ctrl-C and Ctrl-D", async () => {
  const url = newStore();
  await withStore(url, (store) => store.addUser({ username: "quinn", passwordHash: hashFor(1) }));
  const passwd = (...answers: string[]) => typed(["passwd", "quinn", "--store", url], answers);
  const [differ, interrupted, ended] = await Promise.all([
    passwd("hunter\r", "hunter2\r"),
    passwd("hunter\r", "hun\x03"),
    passwd("\x04"),
  ]);
  assert.match(differ.screen, /the two passwords differ/);
  assert.match(interrupted.screen, /no password was given/);
  assert.match(ended.screen, /no password was given/);
  assert.equal([differ.code, interrupted.code, ended.code], [1, 1, 1]);
  assert.is((await usersOf(url))[0]!.passwordHash, hashFor(1));
});

terminal.run();
