/** The `user` and `token` commands as people run them: spawned, on a file store that this process may have open at the same time. */
import { Buffer } from "node:buffer";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { importUsers } from "../../src/cli/import.ts";
import { UsageError } from "../../src/program/problem.ts";
import { type JwtEndpointsSettings, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { openStore } from "../../src/stores/open.ts";
import type { Store, User } from "../../src/stores/store.ts";
import { command, environmentWith, projectRoot, start, temporaryFolder } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";

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

interface Given {
  input?: string;
  env?: Record<string, string>;
}

const user = (args: string[], given?: Given): Promise<Result> => run(program, args, given);

async function run(program: string, args: string[], { input = "", env = {} }: Given = {}): Promise<Result> {
  const child = start(program, args, { stdio: ["pipe", "pipe", "pipe"], env: environmentWith(env) });
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

/** The URL of a store that nobody has made yet. */
const noStoreYet = (): string => `file:${temporaryFolder()}/store`;
const folderOf = (url: string): string => url.slice("file:".length);

async function newStore(): Promise<string> {
  const url = noStoreYet();
  await (await openStore(url)).close();
  return url;
}

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

single("does not wait for the end of the input, only for a line of it", async () => {
  const url = await newStore();
  const args = ["add", "bob", "--inactive", "--password-stdin", "--store", url];
  const child = start(program, args, { stdio: ["pipe", "pipe", "pipe"], env: environmentWith({}) });
  const result = finished(child);
  child.stdin!.write("hunter two\r\n"); // and stays open
  done(await result, /^added "bob", id \S+, disabled\n$/);
  const [bob] = await usersOf(url);
  assert.is(bob?.isActive, false);
  assert.ok(await isPasswordOf(bob, "hunter two"));
});

single("lets one of two win who add the same name at the same time", async () => {
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

single("refuses names and passwords that could not log in, and adds nobody", async () => {
  const url = await newStore();
  const add = (name: string, input: string) => user(["add", name, "--password-stdin", "--store", url], { input });
  const results = await Promise.all([
    add("dave", "\n"),
    add("dave", "hunter2\n"),
    add("dave", "🔑".repeat(7)), // fourteen units of UTF-16
    add("dave", "hunter".repeat(1000)),
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

single("finds, and refuses to add, names that differ by case alone when told so", async () => {
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

single("says in one line that there is no such user", async () => {
  const url = await newStore();
  const commands = ["passwd", "disable"];
  for (const result of await Promise.all(commands.map((name) => user([name, "nobody", "--store", url])))) {
    refused(result, /^there is no user "nobody"\n$/);
  }
});

single.run();

const usage = suite("user command: usage");

usage("refuses unknown commands, flags and arguments by name, but never repeats what may be a password", async () => {
  const cases: [args: string[], reason: RegExp][] = [
    [[], /^name a command; accepted: add, list, passwd, logout, disable, enable, remove, import;/],
    [["constructor"], /^unknown command "constructor"; accepted: add/],
    [["list", "--jsno"], /^unknown flag --jsno for list; did you mean --json\?\n$/],
    [["list", "--store", "--json"], /^--store needs a value/],
    [["add"], /^add needs a username/],
    [["add", "eve", "hunter2"], /^add takes one username/],
    [
      ["add", "eve", "--password=hunter2"],
      /^unknown flag --password for add; accepted: --email, --inactive, --password-stdin, /,
    ],
    [["import", "users.csv", "--format", "xml"], /^--format is not one of csv, jsonl/],
    [["import", "users.csv", "--model", "app.user"], /^--model needs --django\n$/],
    [["import", "users.json", "--username-field", "email"], /^--username-field needs --django\n$/],
    [["import", "users.csv", "--django", "--format", "csv"], /^--format csv can't be used with --django/],
  ];
  const results = await Promise.all(cases.map(([args]) => user(args)));
  for (const [index, result] of results.entries()) refused(result, cases[index]![1]);
});

usage("explains itself and its commands with --help", async () => {
  const commands = [["--help"], ["add", "--help"], ["import", "x", "-h"]];
  const [all, add, imports] = (await Promise.all(commands.map((args) => user(args)))) as [Result, Result, Result];
  for (const name of ["add", "list", "passwd", "logout", "disable", "enable", "remove", "import"]) {
    assert.match(all.stdout, new RegExp(`^ +${name} `, "m"));
  }
  assert.match(add.stdout, /USAGE jwt-endpoints-user add [^]*--password-stdin [^]*--store=<url>/);
  assert.match(imports.stdout, /USAGE jwt-endpoints-user import [^]*--format=<csv\|jsonl>[^]*--skip-bad /);
  assert.equal([all.code, add.code, imports.code], [0, 0, 0]);
});

usage("takes the store from JWT_STORE, and a flag before it", async () => {
  const [url, other] = [await newStore(), await newStore()];
  await withStore(url, (store) => store.addUser({ username: "frank", passwordHash: hashFor(1) }));
  const [fromEnvironment, fromFlag] = await Promise.all([
    user(["list", "--json"], { env: { JWT_STORE: url } }),
    user(["list", "--json", "--store", url], { env: { JWT_STORE: other } }),
  ]);
  assert.match(fromEnvironment.stdout, /"frank"/);
  assert.match(fromFlag.stdout, /"frank"/);
});

usage("refuses misspelt variables and empty keys, and so do the other commands", async () => {
  const url = noStoreYet();
  const misspelt = /^variable JWT_STOER is not a setting; did you mean JWT_STORE\?\n$/;
  refused(await user(["list", "--store", url], { env: { JWT_STOER: "hunter" } }), misspelt);
  refused(await run("src/cli/keys.ts", ["list", "--store", url], { env: { JWT_STOER: "hunter" } }), misspelt);
  refused(
    await run("src/cli/token.ts", ["flush", "--store", url], { env: { JWT_SIGNING_KEY: "" } }),
    /^variable JWT_SIGNING_KEY is empty; give it a value, or take it away\n$/,
  );
  refused(
    await run("src/cli/keys.ts", ["list", "--stoer", url]),
    /^unknown flag --stoer for list; did you mean --store\?\n$/,
  );
  assert.not.ok(existsSync(folderOf(url)));
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
  refused(unusable, /^there is no store in .*not-a-folder; name another with --store/);
});

usage("makes a store for add and import alone, and says so", async () => {
  const [missing, other] = [noStoreYet(), `file:${temporaryFolder()}`];
  writeFileSync(path.join(folderOf(other), "letter.txt"), "hunter");
  const input = [4, 5, 6].map((n) => Buffer.from(JSON.stringify({ n })).toString("base64url")).join(".");
  const commands = [
    { file: program, args: ["list"], url: other },
    { file: program, args: ["passwd", "ada"], url: missing },
    { file: program, args: ["disable", "ada"], url: missing },
    { file: "src/cli/token.ts", args: ["inspect", "--verify"], url: missing },
    { file: "src/cli/token.ts", args: ["flush"], url: other },
    { file: "src/cli/keys.ts", args: ["list"], url: other },
    { file: "src/cli/keys.ts", args: ["rotate"], url: missing },
  ];
  for (const { file, args, url } of commands) {
    const result = await run(file, [...args, "--store", url], { input, env: { JWT_SIGNING_KEY: "k".repeat(32) } });
    const advice = "; name another with --store (the server, add and import make one)\n";
    assert.is(result.stderr, `there is no store in ${folderOf(url)}${advice}`, args.join(" "));
    assert.equal([result.stdout, result.code], ["", 1]);
  }
  assert.not.ok(existsSync(folderOf(missing)));
  assert.equal(readdirSync(folderOf(other)), ["letter.txt"]);

  const add = ["add", "ada", "--password-stdin", "--store", missing];
  const added = await user(add, { input: "hunter two" });
  assert.match(added.stdout, /^made a new store in (.*)\nadded "ada", id \S+\n$/);
  assert.match(added.stdout, `made a new store in ${folderOf(missing)}\n`);
  const url = noStoreYet();
  const args = ["import", jsonFile([{ username: "bob", password: hashFor(1) }]), "--store", url];
  const importing = await user(args);
  assert.is(importing.stdout, `made a new store in ${folderOf(url)}\nimported 1 user\n`);
  assert.equal([added.code, importing.code, (await usersOf(url)).length], [0, 0, 1]);
});

usage("hashes as the server does, by flags and environment", async () => {
  const url = await newStore();
  const iterations = async (name: string) =>
    /\$(\d+)\$/.exec((await usersOf(url)).find(({ username }) => username === name)!.passwordHash)![1];
  const given = { input: "hunter two", env: { JWT_HASHING_ITERATIONS: "100001", JWT_HASHING_QUEUE: "0" } };
  const stdin = ["--password-stdin", "--store", url];
  done(await user(["add", "ada", ...stdin], given), /^added/);
  assert.is(await iterations("ada"), "100001");
  done(await user(["passwd", "ada", ...stdin, "--hashing-iterations", "100002"], given), /^changed/);
  assert.is(await iterations("ada"), "100002");
  const file = jsonFile(Array.from({ length: 9 }, (_, n) => ({ username: `user${n}`, password: "hunter two" })));
  done(await user(["import", file, "--store", url], given), /^imported 9 users\n$/);
  assert.is(await iterations("user8"), "100001");
  refused(
    await user(["add", "bob", ...stdin, "--hashing-preferred", "md5"], given),
    /^setting hashing.preferred: "md5" is not known; accepted: /,
  );
  refused(
    await user(["passwd", "ada", ...stdin], { input: "hunter two", env: { JWT_HASHING_ITERATIONS: "many" } }),
    /^setting hashing.iterations: "many" is not a whole number\n$/,
  );
});

usage.run();

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

importing("adds nobody when lines are bad, tells which and why, and with --skip-bad adds the others", async () => {
  const url = await newStore();
  await withStore(url, (store) => store.addUser({ id: "1", username: "taken", passwordHash: hashFor(3) }));
  const file = fileOf("users.jsonl", badLines.join("\n"));

  const all = await user(["import", file, "--store", url]);
  const count = "nothing was imported: 20 of 22 lines are bad (--skip-bad imports the others)";
  assert.equal(all.stderr.split("\n"), [...badReports, count, ""]);
  assert.is(all.stdout, "");
  assert.is(all.code, 1);
  assert.is((await usersOf(url)).length, 1);

  const good = await user(["import", file, "--skip-bad", "--store", url]);
  assert.equal(good.stderr.split("\n"), [...badReports, ""]);
  assert.is(good.stdout, "imported 2 users, skipped 20 bad lines\n");
  assert.is(good.code, 0);
  assert.equal(
    (await usersOf(url)).map(({ username }) => username),
    ["taken", "good", "also good"],
  );
});

importing("tells bad lines of a CSV by number, too, and no more than 20 of them", async () => {
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

importing("refuses a file it can't make sense of, even with --skip-bad", async () => {
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

importing("takes names that differ by case alone for one when told so", async () => {
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

/** As `… | head -1` does: no reason to complain. */
async function leavesEarly(args: string[]): Promise<void> {
  const child = start(program, args, { env: environmentWith({}) });
  let stderr = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  child.stdout!.once("data", () => child.stdout!.destroy());
  const [code] = await once(child, "exit");
  assert.is(stderr, "");
  assert.is(code, 0);
}

importing.run();

const django = suite("user command: import --django");

// Written by Django's `dumpdata auth.group auth.user` and `dumpdata auth.user --format jsonl`; the passwords are weak
// on purpose.
const dump = path.join(projectRoot, "test/fixtures/cli-dumpdata.json");

async function assertDumpImported(url: string): Promise<void> {
  const users = await usersOf(url);
  const rest = users.map(({ passwordHash, ...fields }) => (assert.type(passwordHash, "string"), fields));
  const common = { email: "", isActive: true, lastLogin: null, tokensValidFrom: null };
  assert.equal(rest, [
    { ...common, id: "1", username: "anna", email: "anna@example.org", lastLogin: 1_714_979_289.123 },
    { ...common, id: "2", username: "björn@example.org", email: "björn@example.org", isActive: false },
    { ...common, id: "3", username: "carl" },
    { ...common, id: "4", username: "dora" },
  ]);
  assert.ok(await isPasswordOf(users[0], "hunter anna"));
  assert.ok(await isPasswordOf(users[1], "hunter björn"));
  assert.match(users[2]!.passwordHash, /^![A-Za-z0-9]{40}$/);
  assert.ok(await isPasswordOf(users[3], "hunter dora"));
}

django("adds users as Django dumped them, and passes over other models", async () => {
  const [array, lines, stdin] = [await newStore(), await newStore(), await newStore()];
  const jsonl = dump.replace(".json", ".jsonl");
  const results = await Promise.all([
    user(["import", "--django", dump, "--store", array]),
    user(["import", "--django", jsonl, "--model", "Auth.User", "--store", lines]),
    user(["import", "-", "--django", "--store", stdin], { input: `\uFEFF \n${readFileSync(jsonl, "utf8")}` }),
  ]);
  done(results[0], /^imported 4 users, passed over 1 record of other models\n$/);
  done(results[1], /^imported 4 users\n$/);
  done(results[2], /^imported 4 users\n$/);
  for (const url of [array, lines, stdin]) await assertDumpImported(url);
  const again = await user(["import", "--django", dump, "--store", array]);
  assert.match(
    again.stderr,
    /^record 2: the username is taken\n.*\n.*\n.*\nnothing was imported: 4 of 4 records are bad /,
  );
  assert.is(again.code, 1);
});

const dumpFile = (records: unknown[], name = "dump.json"): string => fileOf(name, JSON.stringify(records));
const account = (pk: unknown, fields: Record<string, unknown> = {}, model = "accounts.account") => ({
  model,
  pk,
  fields: { password: hashFor(1), last_login: null, login: `user${String(pk)}`, ...fields },
});
const custom = { model: "accounts.Account", usernameField: "login" };

/** Without a process for each. */
async function importDump(file: string, { skipBad = false, options = custom, store = memoryStore() } = {}) {
  let reports = "";
  const { write } = process.stderr;
  process.stderr.write = (text: string | Uint8Array) => ((reports += String(text)), true);
  try {
    const summary = await importUsers(store, file, { django: options, skipBad });
    return { summary, reports, users: [...(store.listUsers() as Iterable<User>)] };
  } catch (error) {
    assert.instance(error, UsageError);
    assert.not.match((error as UsageError).message + reports, secret);
    return { summary: (error as UsageError).message, reports, users: [...(store.listUsers() as Iterable<User>)] };
  } finally {
    process.stderr.write = write;
  }
}

django("takes a user model and a login field of the site's own, and ids that are UUIDs", async () => {
  const uuid = "5a1b8f2e-6c0d-4e7f-9a3b-1c2d3e4f5a6b";
  const file = dumpFile([
    account(uuid, { login: "ada", email: "ada@example.org", last_login: "2024-01-02T03:04:05+02:00" }),
    account(2, { last_login: "2024-01-02T01:04:05.5" }, "Accounts.ACCOUNT"), // USE_TZ = False
    account(3, { password: "", is_active: false, email: null }),
    account(4, {}, "auth.user"),
  ]);
  const { summary, reports, users } = await importDump(file);
  assert.is(summary, "imported 3 users, passed over 1 record of other models");
  assert.is(reports, "");
  const common = { passwordHash: hashFor(1), email: "", isActive: true, lastLogin: null, tokensValidFrom: null };
  assert.equal(users, [
    { ...common, id: uuid, username: "ada", email: "ada@example.org", lastLogin: 1_704_157_445 },
    { ...common, id: "2", username: "user2", lastLogin: 1_704_157_445.5 },
    { ...common, id: "3", username: "user3", passwordHash: "!", isActive: false },
  ]);
});

django("adds nobody when records are bad, tells which and why, and with --skip-bad adds the others", async () => {
  const records: [record: unknown, reason: string | undefined][] = [
    [account(1), undefined],
    [{}, "not a record with model, pk and fields"],
    ["hunter", "not a record with model, pk and fields"],
    [{ model: "accounts.account", pk: 3, fields: [] }, "not a record with model, pk and fields"],
    [{ ...account(4), pk: undefined }, "no pk: tokens name it; dump without --natural-primary"],
    [account(2 ** 53), "pk is not a whole number or a word"],
    [account(6, { login: undefined }), 'no field "login"; --username-field says which users log in with'],
    [account(7, { login: 7 }), '"login" is not text'],
    [account(8, { login: " " }), "the username is blank"],
    [account(9, { login: "\uFFFD" }), "not UTF-8"],
    [account(10, { password: "hunter two" }), "the password hash is damaged or of no known format"],
    [account(11, { password: `${hashFor(1)}=` }), "the password hash is damaged or of no known format"],
    [
      account(12, { password: "0".repeat(32) }),
      "the password is an MD5 hash, which is not accepted: the user needs a new password",
    ],
    [
      account(13, { password: "sha1$salt$hunter" }),
      "the password is a SHA-1 hash, which is not accepted: the user needs a new password",
    ],
    [account(14, { is_active: "yes" }), "is_active is not true or false"],
    [account(15, { last_login: "yesterday" }), "last_login is not an ISO 8601 time"],
    [account(16, { last_login: "2024-13-01T00:00:00Z" }), "last_login is not an ISO 8601 time"],
    [account(17, { email: ["a"] }), "email is not text"],
    [account(18, { login: "user1" }), "the same username as record 1"],
    [account(1, { login: "user19" }), "the same id as record 1"],
    [account(20), undefined],
  ];
  const expected = records.flatMap(([, reason], index) =>
    reason === undefined ? [] : `record ${index + 1}: ${reason}\n`,
  );
  const file = dumpFile(records.map(([record]) => record));

  const all = await importDump(file);
  assert.is(all.reports, expected.join(""));
  assert.is(all.summary, "nothing was imported: 19 of 21 records are bad (--skip-bad imports the others)");
  assert.equal(all.users, []);

  const good = await importDump(file, { skipBad: true });
  assert.is(good.reports, expected.join(""));
  assert.is(good.summary, "imported 2 users, skipped 19 bad records");
  assert.equal(
    good.users.map(({ id }) => id),
    ["1", "20"],
  );

  const lines = fileOf("dump.jsonl", `${JSON.stringify(account(1))}\n\n{"model": "hunter`);
  const damaged = await importDump(lines);
  assert.is(damaged.reports, "line 3: not valid JSON\n");
  assert.is(damaged.summary, "nothing was imported: 1 of 2 lines is bad (--skip-bad imports the others)");
});

django("refuses a file it can't make sense of, even with --skip-bad", async () => {
  const whole = JSON.stringify(Array.from({ length: 2000 }, (_, n) => account(n)));
  const json = (text: string | Uint8Array) => fileOf("dump.json", text);
  const cut = /^nothing was imported: the JSON is damaged or cut off somewhere after record \d+$/;
  const noDump = /^nothing was imported: .*dump.json is not a dump as JSON in UTF-8$/;
  const cases: [file: string, reason: RegExp][] = [
    [json(whole.slice(0, -1)), cut],
    [json(whole.slice(0, 150_000)), cut],
    [json(whole.slice(0, 20)), cut],
    [json("["), cut],
    [json(`${whole.slice(0, 150_000)}\0${whole.slice(150_000)}`), cut],
    [json(`${whole} []`), cut],
    [json("[hunter]"), cut],
    [json(""), noDump],
    [json(" \n"), noDump],
    [json("<django-objects>"), noDump],
    [json("- model: auth.user\n"), noDump],
    [json(Buffer.from("\uFEFF[]", "utf16le")), noDump],
    [fileOf("none.json", '"hunter"'), /^nothing was imported: .*none.json is not a dump/],
    [
      dumpFile([account(1, {}, "auth.user"), account(2, {}, "auth.group")]),
      /no record is of the model "accounts.Account" \(--model\), but of "auth.user", "auth.group"$/,
    ],
    [path.join(temporaryFolder(), "none.json"), /^can't read .*none.json: no such file$/],
  ];
  for (const [file, reason] of cases) {
    const { summary, users, reports } = await importDump(file, { skipBad: true });
    assert.match(summary, reason);
    assert.is(reports, "");
    assert.equal(users, []);
  }
  assert.is((await importDump(json("[]"))).summary, "imported 0 users");
  assert.is((await importDump(json(whole))).summary, "imported 2000 users");

  const url = await newStore();
  refused(await user(["import", "--django", json(whole.slice(0, 150_000)), "--store", url]), /^nothing was imported: /);
  assert.equal(await usersOf(url), []);
});

const progressLine = /^\d+ (of \d+ users|(records|lines) checked, \d+ bad)\n/gm;

django("streams 20,000 users into a store that is open elsewhere", async () => {
  const url = await newStore();
  const count = 20_000;
  const file = dumpFile(
    Array.from({ length: count }, (_, n) => account(n, { login: `user${n}`, bio: "x".repeat(200) })),
  );
  await withStore(url, async (store) => {
    const args = ["import", "--django", file, "--model", custom.model, "--username-field", "login", "--store", url];
    const { stderr, ...result } = await user(args);
    done({ ...result, stderr: stderr.replaceAll(progressLine, "") }, /^imported 20000 users\n$/); // on a slow machine
    await until(async () => (await store.findUserById("19999")) !== undefined, "the last user appears");
  });
});

django.run();

const tokens = suite("token command");

const token = (args: string[], given?: Given): Promise<Result> => run("src/cli/token.ts", args, given);
const signingKey = "the signing key of the hunter's tests";
const withKey = { JWT_SIGNING_KEY: signingKey };

/** Tokens of a login, and the endpoints that made them. */
async function login(store: Store, settings: Partial<JwtEndpointsSettings> = {}) {
  const endpoints = createJwtEndpoints({ store, signingKey, hashing: { iterations: 1 }, ...settings });
  const post = async (name: string, data: unknown) => {
    const body = JSON.stringify(data);
    const headers = { "content-type": "application/json" };
    const response = await endpoints.fetch(new Request(`http://x/jwt/${name}/`, { method: "POST", headers, body }));
    return { status: response.status, ...((await response.json()) as { access: string; refresh: string }) };
  };
  const { access, refresh } = await post("create", { username: "ada", password: "hunter" });
  return { access, refresh, post };
}

const weakHash = () => createPasswords({ iterations: 1 }).hash("hunter");
const addAda = async (store: Store) => store.addUser({ id: "1", username: "ada", passwordHash: await weakHash() });
const claimsOf = (text: string) => JSON.parse(Buffer.from(text.split(".")[1]!, "base64url").toString());

tokens("shows what a token says, without any key, and that it was not verified", async () => {
  const store = memoryStore();
  await addAda(store);
  const { refresh } = await login(store, { claims: () => ({ note: "a\u202eb\nc", list: [1, "2"] }) });
  const { exp, jti } = claimsOf(refresh);
  const { code, stdout, stderr } = await token(["inspect"], { input: ` ${refresh}\r\nand more` });
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.slice(0, 4), ["header", '  alg  "HS256"', '  typ  "JWT"', "claims"]);
  assert.is(lines[4], '  token_type  "refresh"');
  const [expLine, remaining] = lines[5]!.split(", in ");
  assert.is(expLine, `  exp         ${new Date(exp * 1000).toISOString()}`);
  assert.match(remaining!, /^(1d|23h 59m)$/);
  assert.match(lines[6]!, /^  iat         20\S+Z, \d+s ago$/);
  assert.equal(lines.slice(7, 9), [`  jti         "${jti}"`, '  user_id     "1"']);
  assert.match(lines[9]!, /^  auth_time   20\S+Z, \d+s ago$/);
  assert.equal(lines.slice(10, 13), ['  note        "a\\u{202e}b\\nc"', '  list        [1,"2"]', "token"]);
  assert.match(lines[13]!, /^  expired   no, (1d|23h 59m) remain$/);
  assert.match(lines[14]!, /^  verified  no, nobody checked the signature \(--verify does\)/);
  assert.is(lines.length, 15);
  assert.not.match(stdout, new RegExp(refresh.split(".")[2]!), "its signature");
  assert.is(stderr, "");
  assert.is(code, 0);
});

tokens("refuses what is no token in one line that does not repeat it", async () => {
  const part = Buffer.from('{"a":1}').toString("base64url");
  const cases: [input: string, reason: RegExp][] = [
    ["", /^there is no token on standard input\n$/],
    ["hunter2", /^not a token: a signed JWT is three texts joined by dots\n$/],
    ["hunter.hunter.hunter", /^not a token: its header /],
    [`${part}.hunter.x`, /^not a token: its claims /],
    [`${part}.x.x.x.x`, /^the token is encrypted/],
    ["hunter".repeat(20_000), /^the token is longer than 65536 bytes\n$/],
  ];
  const results = await Promise.all(cases.map(([input]) => token(["inspect"], { input })));
  for (const [index, result] of results.entries()) refused(result, cases[index]![1]);
  refused(await token(["inspect", "hunter.hunter.hunter"]), /^inspect takes no arguments\n$/);
  refused(await token(["forge"]), /^unknown command "forge"; accepted: inspect, revoke, flush; /);
});

tokens("verifies with the environment's key or the store's, and looks revocations up in the store", async () => {
  const url = await newStore();
  const { access, refresh, expired, forged } = await withStore(url, async (store) => {
    await addAda(store);
    const pair = await login(store);
    const { access: expired } = await login(store, { now: () => Date.now() - 3_600_000 });
    const { access: forged } = await login(store, { signingKey: "another key of the hunter's, as long" });
    return { ...pair, expired, forged };
  });
  const verdict = async (input: string, env: Record<string, string> = withKey, store = url) => {
    const { code, stdout, stderr } = await token(["inspect", "--verify", "--store", store], { input, env });
    assert.is(stderr, "");
    return [code, /^  verified  (.*)$/m.exec(stdout)?.[1]];
  };
  const results = await Promise.all([
    verdict(access),
    verdict(expired),
    verdict(forged),
    verdict(access, { ...withKey, JWT_ALGORITHM: "HS384", JWT_SIGNING_KEY: "k".repeat(48) }),
    verdict(access, withKey, "memory:"),
  ]);
  assert.equal(results, [
    [0, "yes, the signature and the claims are good"],
    [1, "no, the signature is good, but it has expired"],
    [1, "no, no key of ours signed it, or its issuer, audience or id is not as it has to be"],
    [1, "no, its algorithm is none of ours (HS384; JWT_ALGORITHM)"],
    [0, "yes, the signature and the claims are good; no store was asked whether it is revoked"],
  ]);
  const keyless = await token(["inspect", "--verify", "--store", url], { input: access });
  refused(keyless, /^there is no key to verify with: set JWT_SIGNING_KEY, or name the server's store with --store\n$/);

  writeFileSync(path.join(folderOf(url), "signing.key"), `${signingKey}\n`, { mode: 0o600 });
  assert.equal(await verdict(refresh, {}), [0, "yes, the signature and the claims are good"]);
  done(await user(["logout", "ada", "--store", url]), /^ended/);
  assert.equal(await verdict(refresh, {}), [1, "no, the signature is good, but: Token is blacklisted"]);
});

tokens("revokes a good token, with its session, on a store that is open elsewhere", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    await addAda(store);
    const [plain, session, other] = [
      await login(store),
      await login(store, { rotateRefreshTokens: true }),
      await login(store),
    ];
    const revoke = (input: string) => token(["revoke", "--store", url], { input, env: withKey });
    const id = (text: string) => claimsOf(text).jti;

    done(await revoke(plain.access), new RegExp(`^revoked the token with the id "${id(plain.access)}"\n$`));
    await until(async () => (await store.get("blacklist", id(plain.access))) !== undefined, "the token is revoked");
    assert.is((await plain.post("verify", { token: plain.access })).status, 400);
    assert.is((await plain.post("refresh", { refresh: plain.refresh })).status, 200, "only what was named");

    const { sid } = claimsOf(session.access);
    const { refresh: successor } = await session.post("refresh", { refresh: session.refresh });
    done(await revoke(session.access), / and its session\n$/);
    await until(async () => (await store.get("session", sid)) !== undefined, "the session is ended");
    assert.is((await session.post("refresh", { refresh: successor })).status, 400);
    assert.is((await session.post("verify", { token: session.refresh })).status, 400);

    refused(await revoke(`${other.refresh.slice(0, -4)}AAAA`), /^nothing was revoked: no key of ours signed it/);
    const { access: expired } = await login(store, { now: () => Date.now() - 3_600_000 });
    refused(await revoke(expired), /^nothing was revoked: the signature is good, but it has expired\n$/);
    assert.is((await other.post("verify", { token: other.refresh })).status, 200);
  });
});

tokens("keeps a session ended for 30 days, or as long as its refresh tokens may last", async () => {
  const url = await newStore();
  const { access } = await withStore(url, async (store) => {
    await addAda(store);
    return login(store, { rotateRefreshTokens: true });
  });
  done(await token(["revoke", "--store", url], { input: access, env: withKey }), /and its session\n$/);
  const days = async (n: number) => {
    const later = await openFileStore(folderOf(url), { now: () => Date.now() + n * 86_400_000 });
    const standing = await later.get("session", claimsOf(access).sid);
    await later.close();
    return standing !== undefined;
  };
  assert.equal([await days(29.9), await days(30.1)], [true, false]);
});

tokens("forgets what has expired with flush", async () => {
  const url = await newStore();
  await withStore(url, async (store) => {
    await store.putIfAbsent("blacklist", "a", "1", Date.now() / 1000 + 0.05);
    await store.putIfAbsent("blacklist", "b", "1", Date.now() / 1000 + 1000);
    await until(async () => (await store.get("blacklist", "a")) === undefined, "one expires");
  });
  done(await token(["flush", "--store", url]), /^forgot [01] expired facts?\n$/); // a store may have by itself
  await withStore(url, async (store) => assert.is(await store.get("blacklist", "b"), "1"));
  refused(await token(["flush", "--store", "memory:"]), /lives in its server alone/);
});

tokens.run();

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
  const child = spawn("script", ["-qec", line, "/dev/null"], { env: environmentWith({}), stdio: "pipe" });
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
  const url = await newStore();
  const { code, screen } = await typed(["add", "pia", "--store", url], ["hunter ä\r", "hunter ä\r"]);
  assert.match(screen, /Password: \r\nPassword \(again\): \r\nadded "pia", id /);
  assert.is(code, 0);
  const [pia] = await usersOf(url);
  assert.ok(await isPasswordOf(pia, "hunter ä"));
});

onTerminal("changes nothing when the two differ, or on Ctrl-C and Ctrl-D", async () => {
  const url = await newStore();
  await withStore(url, (store) => store.addUser({ username: "quinn", passwordHash: hashFor(1) }));
  const passwd = (...answers: string[]) => typed(["passwd", "quinn", "--store", url], answers);
  const [differ, interrupted, ended] = await Promise.all([
    passwd("hunter one\r", "hunter two\r"),
    passwd("hunter one\r", "hun\x03"),
    passwd("\x04"),
  ]);
  assert.match(differ.screen, /the two passwords differ/);
  assert.match(interrupted.screen, /no password was given/);
  assert.match(ended.screen, /no password was given/);
  assert.equal([differ.code, interrupted.code, ended.code], [1, 1, 1]);
  assert.is((await usersOf(url))[0]!.passwordHash, hashFor(1));
});

terminal.run();
