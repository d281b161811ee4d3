import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type FileStoreOptions, openFileStore } from "../src/stores/file.ts";
import { openStore } from "../src/stores/open.ts";
import type { StoreError } from "../src/stores/store.ts";
import { command, finished, start, temporaryFolder, until } from "./runtime.ts";

const it = suite("file store");
const fixture = "test/fixtures/store-process.ts";
const later = Date.now() / 1000 + 3600;

const seed = process.env.SEED ?? String(Date.now() % 1_000_000);
console.log(`seed ${seed}`);
/** The same numbers for the same seed. */
function* numbers(): Generator<number, never> {
  for (let i = 0; ; i++) yield createHash("sha256").update(`${seed}.${i}`).digest().readUInt32LE(0) / 2 ** 32;
}
const random = numbers();

function journalOf(folder: string): string {
  const names = fs.readdirSync(folder).filter((name) => name.endsWith(".jsonl"));
  assert.is(names.length, 1, names.join());
  return path.join(folder, names[0]!);
}

async function openQuietly(folder: string, options: FileStoreOptions = {}) {
  const warnings: string[] = [];
  const store = await openFileStore(folder, { warn: (line) => warnings.push(line), ...options });
  return { store, warnings };
}

it("keeps everything over a restart, in a folder of 0700 and files of 0600", async () => {
  const folder = path.join(temporaryFolder(), "deep", "data");
  const first = await openFileStore(folder);
  const ada = await first.addUser({ username: "ada", passwordHash: "!", email: "ada@example.org", lastLogin: 5.5 });
  await first.claim("kind", "id", "value", later);
  await first.close();
  assert.is(fs.statSync(folder).mode & 0o777, 0o700);
  assert.is(fs.statSync(journalOf(folder)).mode & 0o777, 0o600);
  const second = await openFileStore(folder);
  assert.equal(await second.findUserByUsername("ada"), ada);
  assert.is(await second.peek("kind", "id"), "value");
  await second.close();
});

it("loses nothing acknowledged in 40 rounds of kill -9 under write load", async () => {
  const folder = temporaryFolder();
  const users: string[] = [];
  const facts = new Map<string, string>();
  for (let round = 0; round < 40; round++) {
    const compactAfter = round % 2 === 0 ? "10000" : "40";
    const child = start(fixture, ["write", folder, compactAfter, String(round)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
    await until(() => output.split("\n").length > 3, "the child has written", 20_000);
    await new Promise((resolve) => setTimeout(resolve, random.next().value * 60));
    process.kill(child.pid!, "SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
    for (const line of output.slice(0, output.lastIndexOf("\n")).split("\n")) {
      if (line.startsWith("user ")) users.push(line.slice(5));
      const fact = /^fact (\S+) (.*)$/.exec(line);
      if (fact !== null) facts.set(fact[1]!, fact[2]!);
    }
    const { store } = await openQuietly(folder);
    for (const name of users) {
      const user = await store.findUserByUsername(name);
      assert.ok(user, `round ${round}: the user ${name} is there`);
      if (/^\d/.test(name)) assert.is(user.email, `${name}@example.org`);
    }
    for (const [id, value] of facts) assert.is(await store.peek("write", id), value, `round ${round}`);
    await store.close();
  }
  assert.ok(users.length > 100 && facts.size > 100, `${users.length} users, ${facts.size} facts`);
});

it("opens with all earlier records when the last one was cut at any byte", async () => {
  const folder = temporaryFolder();
  const { store } = await openQuietly(folder);
  await store.addUser({ username: "first", passwordHash: "!" });
  const before = fs.statSync(journalOf(folder)).size;
  await store.addUser({ username: "last; with a semicolon, a \t tab and a \n newline", passwordHash: "!" });
  await store.close();
  const whole = fs.readFileSync(journalOf(folder));
  const name = path.basename(journalOf(folder));
  for (let size = before; size < whole.length; size++) {
    const copy = temporaryFolder();
    fs.writeFileSync(path.join(copy, name), whole.subarray(0, size));
    const cut = await openQuietly(copy);
    assert.equal(
      (cut.store.listUsers() as { username: string }[]).map((user) => user.username),
      ["first"],
      `at ${size}`,
    );
    await cut.store.addUser({ username: "next", passwordHash: "!" });
    await cut.store.close();
    const again = await openQuietly(copy);
    assert.ok(await again.store.findUserByUsername("next"), `cut at ${size}`);
    assert.is(again.warnings.length, size <= before + 1 ? 0 : 1, `cut at ${size}: ${again.warnings.join()}`);
    await again.store.close();
  }
});

it("stops at a damaged record, wherever its bytes are wrong, naming the line and what to do", async () => {
  const folder = temporaryFolder();
  const { store } = await openQuietly(folder);
  for (const username of ["one", "two", "three"]) await store.addUser({ username, passwordHash: "!secret" });
  await store.close();
  const file = journalOf(folder);
  const whole = fs.readFileSync(file);
  const start = whole.indexOf("two") - 40;
  for (const at of [
    start,
    start + 20,
    whole.indexOf("two"),
    whole.indexOf("\n", whole.indexOf("two")) - 9,
    whole.indexOf("two") + 8,
  ]) {
    const damaged = Buffer.from(whole);
    damaged[at] = damaged[at]! ^ 1;
    fs.writeFileSync(file, damaged);
    const error = await openQuietly(folder).then(
      () => undefined,
      (thrown: unknown) => thrown as StoreError,
    );
    assert.is(error?.code, "STORE_DAMAGED", `byte ${at}`);
    assert.match(error!.message, /journal-000001\.jsonl: line 4 is damaged.*backup/);
    assert.not.match(error!.message, "secret");
  }
});

it("tells 300 racing claims of two other processes and its own the same one winner for each id", async () => {
  for (const compactAfter of [10_000, 20]) {
    const folder = temporaryFolder();
    const { store } = await openQuietly(folder, { compactAfter });
    const racers = ["a", "b"].map((name) =>
      start(fixture, ["race", folder, String(compactAfter), "100", name], { stdio: ["pipe", "pipe", "inherit"] }),
    );
    const outputs = racers.map(() => "");
    racers.forEach((child, i) => child.stdout!.on("data", (chunk: Uint8Array) => (outputs[i] += chunk.toString())));
    await until(() => outputs.every((output) => output.includes("ready")), "the racers are ready", 20_000);
    for (const child of racers) child.stdin!.write("go\n");
    const ids = Array.from({ length: 100 }, (_, i) => `id-${i}`);
    const mine = await Promise.all(ids.map(async (id) => store.claim("race", id, "me", later)));
    await until(() => outputs.every((output) => output.includes("]")), "the racers are done", 20_000);
    for (const output of outputs) assert.equal(JSON.parse(output.slice(output.indexOf("["))), mine);
    assert.ok(mine.every((winner) => ["a", "b", "me"].includes(winner)));
    await store.close();
    const again = await openQuietly(folder);
    assert.equal(
      ids.map((id) => again.store.peek("race", id)),
      mine,
    );
    await again.store.close();
  }
});

it("sees what others write within a moment, without writing itself", async () => {
  const folder = temporaryFolder();
  const one = await openQuietly(folder);
  const two = await openQuietly(folder);
  await one.store.addUser({ username: "ada", passwordHash: "!" });
  await until(() => two.store.findUserByUsername("ada") !== undefined, "the other store knows the user", 2000);
  await Promise.all([one.store.close(), two.store.close()]);
});

it("shares one sync among writes that come together", async () => {
  const { store } = await openQuietly(temporaryFolder());
  const before = store.stats().syncs;
  await Promise.all(Array.from({ length: 64 }, async (_, i) => store.claim("kind", `id-${i}`, "x", later)));
  const syncs = store.stats().syncs - before;
  assert.ok(syncs >= 1 && syncs <= 4, `${syncs} syncs for 64 claims`);
  await store.close();
});

it("compacts to a fraction, loses nothing, and others carry on in the new file", async () => {
  const folder = temporaryFolder();
  const one = await openQuietly(folder, { compactAfter: 500 });
  const two = await openQuietly(folder, { compactAfter: 500 });
  const { id } = await one.store.addUser({ username: "ada", passwordHash: "!" });
  await one.store.claim("kind", "stays", "x", later);
  let largest = 0;
  for (let i = 0; i < 2000; i += 50) {
    await Promise.all(Array.from({ length: 50 }, async (_, j) => one.store.updateUser(id, { lastLogin: i + j })));
    await two.store.claim("kind", `gone-${i}`, "x", 1);
    largest = Math.max(largest, fs.statSync(path.join(folder, fs.readdirSync(folder).sort().at(-1)!)).size);
  }
  assert.ok(one.store.stats().generation > 2, `generation ${one.store.stats().generation}`);
  assert.ok(largest < 200_000, `${largest} bytes`);
  await until(() => two.store.findUserById(id) !== undefined && two.store.stats().generation > 2, "the other moved on");
  assert.is((await two.store.findUserById(id))?.lastLogin, 1999);
  assert.is(await two.store.peek("kind", "stays"), "x");
  await two.store.updateUser(id, { email: "new" });
  await until(async () => (await one.store.findUserById(id))?.email === "new", "the first one sees the other's change");
  await Promise.all([one.store.close(), two.store.close()]);
  journalOf(folder); // one file is left
});

it("carries a batch that is being added over a compaction", async () => {
  const folder = temporaryFolder();
  const { store } = await openQuietly(folder, { compactAfter: 20 });
  async function* slowly() {
    for (let i = 0; i < 2500; i++) {
      if (i % 1000 === 999) await Promise.all(Array.from({ length: 200 }, async () => store.flushExpired()));
      yield { username: `user-${i}`, passwordHash: "!" };
    }
  }
  assert.is(await store.addUsers(slowly()), 2500);
  assert.ok(store.stats().generation > 1);
  await store.close();
  const again = await openQuietly(folder);
  assert.is([...(again.store.listUsers() as Iterable<unknown>)].length, 2500);
  await again.store.close();
});

it("finds its way when others have compacted twice while it slept", async () => {
  const folder = temporaryFolder();
  const child = start(fixture, ["race", folder, "10000", "1", "sleeper"], { stdio: ["pipe", "pipe", "inherit"] });
  let output = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
  await until(() => output.includes("ready"), "the other process is there", 20_000);
  process.kill(child.pid!, "SIGSTOP");
  const { store } = await openQuietly(folder, { compactAfter: 20 });
  await store.claim("race", "id-0", "me", later);
  for (let i = 0; i < 200; i++) await store.flushExpired();
  assert.ok(store.stats().generation > 3);
  child.stdin!.write("go\n");
  process.kill(child.pid!, "SIGCONT");
  await until(() => output.includes("]"), "the other process has its answer");
  assert.match(output, '["me"]');
  await store.addUser({ username: "after", passwordHash: "!" });
  await store.close();
  const again = await openQuietly(folder);
  assert.ok(await again.store.findUserByUsername("after"));
  await again.store.close();
});

it("can be made by several openers at once", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const stores = await Promise.all(Array.from({ length: 8 }, () => openFileStore(folder)));
  const answers = await Promise.all(stores.map(async (store, i) => store.claim("kind", "id", `${i}`, later)));
  assert.is(new Set(answers).size, 1);
  await Promise.all(stores.map((store) => store.close()));
});

it("answers STORE_UNAVAILABLE on a full disk, keeps what it has, and recovers when there is room", async () => {
  const folder = temporaryFolder();
  const [program, args] = command(fixture, ["fill", folder, "10000"]);
  // A limit on file size stands for the full disk: the same failing and short writes, without a disk to fill.
  const script = 'trap "" XFSZ; ulimit -S -f 64; exec "$@"';
  const child = spawn("bash", ["-c", script, "bash", program, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = finished(child);
  let output = "";
  child.stdout.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
  try {
    await until(() => output.includes("ready"), "the child is there", 20_000);
    child.stdin.write("fill\n");
    await until(() => output.includes("failed"), "the disk is full");
    child.stdin.write("one\n");
    await until(() => output.split("failed").length === 3, "it is still full");
    assert.match(output, /failed \d\d+ STORE_UNAVAILABLE\nfailed \d\d+ STORE_UNAVAILABLE/);
    execFileSync("prlimit", ["--pid", String(child.pid), "--fsize=unlimited"]);
    child.stdin.write("one\n");
    await until(() => output.includes("added"), "there is room again");
  } finally {
    child.stdin.end();
    setTimeout(() => child.kill("SIGKILL"), 2000).unref();
    await ended;
  }
  const added = Number(/added (\d+)/.exec(output)![1]);
  const { store } = await openQuietly(folder);
  for (let i = 0; i < added; i++) assert.ok(await store.findUserByUsername(`user-${i}`), `user-${i}`);
  await store.close();
});

it("turns unavailable when its folder is removed, rather than write to nowhere", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const { store, warnings } = await openQuietly(folder);
  await store.addUser({ username: "ada", passwordHash: "!" });
  fs.rmSync(folder, { recursive: true });
  await until(() => warnings.length > 0, "the store has noticed");
  for (const action of [
    () => store.findUserByUsername("ada"),
    () => store.claim("a", "b", "c", later),
    () => store.ping(),
  ]) {
    const error = await (async () => action())().then(
      () => undefined,
      (thrown: unknown) => thrown as StoreError,
    );
    assert.is(error?.code, "STORE_UNAVAILABLE");
  }
  await store.close();
});

it("names the folder that can't be opened, and the scheme that is not known", async () => {
  const file = path.join(temporaryFolder(), "file");
  fs.writeFileSync(file, "");
  const error = await openFileStore(file).then(
    () => undefined,
    (thrown: unknown) => thrown as StoreError,
  );
  assert.is(error?.code, "STORE_UNAVAILABLE");
  assert.match(error!.message, file);
  assert.is(error!.message.split("\n").length, 1);
  for (const url of ["redis://user:hunter2@host", "data", "file:"]) {
    const problem = await openStore(url).then(
      () => undefined,
      (thrown: unknown) => thrown as Error,
    );
    assert.instance(problem, TypeError);
    assert.match(problem!.message, /^setting store .*accepted: memory: or file:/);
    assert.not.match(problem!.message, "hunter2");
  }
});

it.run();
