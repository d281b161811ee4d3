/** What all commands share: flags, help, variables, the store, the hasher. */
import { Buffer } from "node:buffer";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  done,
  fileOf,
  folderOf,
  hashFor,
  jsonFile,
  newStore,
  noStoreYet,
  refused,
  type Result,
  run,
  user,
  userProgram,
  usersOf,
  withStore,
} from "../support/commands.ts";
import { temporaryFolder } from "../support/runtime.ts";

const usage = suite("user command: usage");

usage("refuses unknown commands, flags and arguments by name, but never repeats what may be a password", async () => {
  const cases: [args: string[], reason: RegExp][] = [
    [[], /^name a command; accepted: add, list, passwd, sessions, logout, disable, enable, remove, import;/],
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
  for (const name of ["add", "list", "passwd", "sessions", "logout", "disable", "enable", "remove", "import"]) {
    assert.match(all.stdout, new RegExp(`^ +${name} `, "m"));
  }
  assert.match(add.stdout, /^Usage: jwt-endpoints user add USERNAME [^]*--password-stdin [^]*--store URL /);
  assert.match(imports.stdout, /^Usage: jwt-endpoints user import FILE [^]*--format csv\|jsonl [^]*--skip-bad /);
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
  refused(await run("keys", ["list", "--store", url], { env: { JWT_STOER: "hunter" } }), misspelt);
  refused(
    await run("token", ["flush", "--store", url], { env: { JWT_SIGNING_KEY: "" } }),
    /^variable JWT_SIGNING_KEY is empty; give it a value, or take it away\n$/,
  );
  refused(await run("keys", ["list", "--stoer", url]), /^unknown flag --stoer for list; did you mean --store\?\n$/);
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
    { file: userProgram, args: ["list"], url: other },
    { file: userProgram, args: ["passwd", "ada"], url: missing },
    { file: userProgram, args: ["disable", "ada"], url: missing },
    { file: "token", args: ["inspect", "--verify"], url: missing },
    { file: "token", args: ["flush"], url: other },
    { file: "keys", args: ["list"], url: other },
    { file: "keys", args: ["rotate"], url: missing },
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
