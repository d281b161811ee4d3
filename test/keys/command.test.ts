/** The `keys` command: servers follow it, and nobody is logged out. */
import fs from "node:fs";
import path from "node:path";
import { decodeProtectedHeader } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { environment, keysIn, program, ran, run, serve } from "../support/key-command.ts";
import { finished, until } from "../support/processes.ts";
import { start, temporaryFolder } from "../support/runtime.ts";

const command = suite("the keys command");

command("moves running servers from their first key to the next, and logs no user out", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const first = await serve(folder);
  await until(() => first.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(first.output())![1]!;
  const second = await serve(folder);
  const logIn = async (server: typeof first) =>
    (await server.post("create", { username: "admin", password })).body as { access: string; refresh: string };
  const old = await logIn(first);
  assert.equal(decodeProtectedHeader(old.access), { alg: "HS256", typ: "JWT" });
  assert.not.ok(fs.existsSync(path.join(folder, "keys.json")));

  assert.match(await ran(folder, "list"), /^KID +ALG +STATUS +AGE +RETIRES\n- +HS256 +active +\d+[smhd] +-\n$/);
  const generated = await ran(folder, "generate", "--algorithm", "ES256");
  const kid = /^generated ([0-9a-f]{16}) \(ES256\); it signs once you rotate\n$/.exec(generated)![1]!;
  assert.equal(decodeProtectedHeader((await logIn(first)).access), { alg: "HS256", typ: "JWT" });
  assert.match(
    await ran(folder, "rotate"),
    new RegExp(`^${kid} \\(ES256\\) signs from now on; - \\(HS256\\) retires at `),
  );
  assert.equal(
    keysIn(folder).map((key) => [key.kid, key.alg, key.status]),
    [
      [kid, "ES256", "active"],
      [undefined, "HS256", "retiring"],
    ],
  );
  const kept = Date.parse(keysIn(folder)[1]!.retireAt!) - Date.now();
  assert.ok(Math.abs(kept - 86_400_000) < 60_000, `${kept} ms`);
  for (const name of ["keys.json", "signing.key"]) {
    assert.is(fs.statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }

  for (const server of [first, second]) {
    await until(async () => decodeProtectedHeader((await logIn(server)).access).kid === kid, "it signs anew", 5_000);
    assert.ok(await server.isValid(old.access));
    const { status, body } = await server.post("refresh", { refresh: old.refresh });
    assert.is(status, 200);
    assert.is(decodeProtectedHeader(body.access!).kid, kid);
  }
  // A token of the server that rotates first is valid on the other at once.
  await ran(folder, "rotate", "--algorithm", "HS512");
  let fresh = old.access;
  await until(
    async () => decodeProtectedHeader((fresh = (await logIn(first)).access)).alg === "HS512",
    "the first signs anew",
    5_000,
  );
  assert.ok(await second.isValid(fresh));

  assert.is(await ran(folder, "retire", "-"), "retired - (HS256)\n");
  for (const server of [first, second]) {
    await until(async () => !(await server.isValid(old.access)), "the retired key is dropped", 5_000);
    assert.ok(await server.isValid(fresh));
    assert.is(server.errors(), "");
  }
  // A server that starts later uses the same keys.
  const third = await serve(folder);
  assert.ok(await third.isValid(fresh));
  assert.not.ok(await third.isValid(old.access));
  for (const { child } of [first, second, third]) child.kill();
});

command("rotates twice under constant load on two servers without a failed verification", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const servers = [await serve(folder)];
  await until(() => servers[0]!.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(servers[0]!.output())![1]!;
  servers.push(await serve(folder));
  const { refresh } = (await servers[0]!.post("create", { username: "admin", password })).body;
  const algorithms = new Set<string>();
  const tokens: string[] = [];
  const failures: string[] = [];
  let verified = 0;
  let isOver = false;
  // Without a pause the three of them would keep both cores busy until the servers have read their keys anew.
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
  const renewing = (async () => {
    for (let turn = 0; !isOver; turn++, await pause()) {
      const { status, body } = await servers[turn % 2]!.post("refresh", { refresh });
      if (status !== 200) failures.push(`refresh ${status}`);
      else tokens.push(body.access!);
      algorithms.add(String(decodeProtectedHeader(body.access!).alg));
    }
  })();
  const verifying = [0, 1].map(async (index) => {
    for (let turn = 0; !isOver; turn++, await pause()) {
      const token = tokens[turn % 3 === 0 ? 0 : tokens.length - 1];
      if (token === undefined) continue;
      if (await servers[index]!.isValid(token)) verified++;
      else failures.push(`verify of ${JSON.stringify(decodeProtectedHeader(token))}`);
    }
  });
  for (const algorithm of ["ES256", "HS384"]) {
    await ran(folder, "rotate", "--algorithm", algorithm);
    await until(() => algorithms.has(algorithm), `tokens are signed with ${algorithm}`, 10_000);
  }
  await until(() => verified > 100, "tokens are verified", 60_000);
  isOver = true;
  await Promise.all([renewing, ...verifying]);
  assert.equal(failures, []);
  assert.equal([...algorithms], ["HS256", "ES256", "HS384"]);
  assert.is((await servers[1]!.post("refresh", { refresh })).status, 200, "nobody was logged out");
  for (const { child } of servers) child.kill();
});

command("loses no key when several rotate at once", async () => {
  const folder = path.join(temporaryFolder(), "store");
  await ran(folder, "generate", "--algorithm", "EdDSA");
  const told = await Promise.all(Array.from({ length: 4 }, () => ran(folder, "rotate")));
  const keys = keysIn(folder);
  assert.is(keys.length, 5);
  assert.is(new Set(keys.map(({ kid }) => kid)).size, 5);
  assert.equal(keys.map(({ status }) => status).toSorted(), ["active", ...Array(4).fill("retiring")]);
  for (const line of told) assert.ok(keys.some(({ kid }) => line.startsWith(kid!)));
  assert.equal(fs.readdirSync(folder), ["keys.json"]);
  const kid = keys.find(({ status }) => status === "retiring")!.kid!;
  await ran(folder, "retire", kid);
  assert.is(keysIn(folder).length, 4);
});

command("refuses what it can't do with one line of error", async () => {
  const folder = path.join(temporaryFolder(), "store");
  await ran(folder, "generate");
  const { kid } = keysIn(folder)[0]!;
  const cases: [string[], RegExp][] = [
    [["retire", kid!], /is the one that signs; rotate first/],
    [["retire", "x"], /there is no key "x"/],
    [["retire"], /retire needs a KID/],
    [["generate", "--algorithm", "none"], /"none" is not known; accepted: HS256/],
    [["rotate", "--keep", "long"], /"long" is not a duration/],
    [["rotate", "--keep", "999999999w"], /"999999999w" is not a duration/],
    [["rotate", "--kid", "x"], /^unknown flag --kid for rotate; /],
    [["list", "x"], /^list takes no arguments/],
    [["turn"], /unknown command "turn"; accepted: list, generate, rotate, retire/],
  ];
  const results = await Promise.all(cases.map(([args]) => run(folder, ...args)));
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    assert.is(code, 1);
    assert.is(stdout, "");
    assert.match(stderr, cases[index]![1]);
    assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
  }
  fs.writeFileSync(path.join(folder, "keys.json"), '{"keys":[{"kid":"hunter2"');
  for (const args of [["list"], ["rotate"]]) {
    const { code, stderr } = await finished(
      start(program, [...args, "--store", `file:${folder}`], { env: environment }),
    );
    assert.is(code, 1);
    assert.match(stderr, /^setting keys: \S+keys\.json is damaged; bring back a copy of it\n$/);
  }
  assert.not.ok(fs.existsSync(path.join(folder, "keys.json.lock")));
  const nowhere = path.join(folder, "typo");
  assert.match((await run(nowhere, "retire", "x")).stderr, /there is no store in \S+typo/);
  assert.not.ok(fs.existsSync(nowhere));
});

command("keeps a former key for as long as the tokens of the environment's settings last", async () => {
  const generated = path.join(temporaryFolder(), "store");
  await ran(generated, "generate");
  const kept = async (args: string[], lifetimes: Record<string, string>): Promise<number> => {
    const folder = path.join(temporaryFolder(), "store");
    fs.cpSync(generated, folder, { recursive: true });
    const child = start(program, ["rotate", ...args, "--store", `file:${folder}`], {
      env: { ...environment, ...lifetimes },
    });
    const { code, stderr } = await finished(child);
    assert.is(code, 0, stderr);
    const { retireAt } = keysIn(folder).find(({ status }) => status === "retiring")!;
    return Math.round((Date.parse(retireAt!) - Date.now()) / 60_000) / 60;
  };
  assert.is(await kept([], {}), 24);
  assert.is(await kept([], { JWT_REFRESH_TOKEN_LIFETIME: "30d" }), 720);
  assert.is(await kept([], { JWT_SLIDING_TOKEN_LIFETIME: "2d" }), 48);
  assert.is(await kept([], { JWT_ACCESS_TOKEN_LIFETIME: "3d" }), 72);
  assert.is(await kept([], { JWT_ACCESS_TOKEN_LIFETIME: "3d", JWT_REFRESH_TOKEN_LIFETIME: "30d" }), 720);
  assert.is(await kept([], { JWT_ACCESS_TOKEN_LIFETIME: "3d", JWT_LEEWAY: "6m" }), 72.1);
  assert.is(await kept(["--keep", "1h30m"], { JWT_REFRESH_TOKEN_LIFETIME: "30d" }), 1.5);
});

command("ends a retiring key at its time also where its file is damaged by then", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const server = await serve(folder);
  await until(() => server.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(server.output())![1]!;
  const { body } = await server.post("create", { username: "admin", password });
  await ran(folder, "rotate", "--keep", "6s");
  await until(async () => {
    const again = await server.post("refresh", { refresh: body.refresh });
    return decodeProtectedHeader(again.body.access ?? body.access!).kid !== undefined;
  }, "it signs with the next");
  fs.writeFileSync(path.join(folder, "keys.json"), '{"keys":[');
  const { body: fresh } = await server.post("create", { username: "admin", password });
  await until(async () => !(await server.isValid(body.access!)), "the former key's time is over");
  assert.ok(await server.isValid(fresh.access!), "the other key stays in use");
  assert.match(server.errors(), /"code":"keys_unavailable".*keys\.json is damaged/);
  server.child.kill();
});

command("makes a key for any algorithm, as a first start does", async () => {
  const folder = path.join(temporaryFolder(), "store");
  const server = await serve(folder, "--algorithm", "ES256");
  await until(() => server.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(server.output())![1]!;
  const { body } = await server.post("create", { username: "admin", password });
  assert.equal(decodeProtectedHeader(body.access!), { alg: "ES256", typ: "JWT" });
  assert.match(await ran(folder, "list"), /\n- +ES256 +active /);
  await ran(folder, "rotate", "--keep", "4s");
  await until(async () => {
    const again = await server.post("refresh", { refresh: body.refresh });
    return decodeProtectedHeader(again.body.access!).kid !== undefined;
  }, "it signs with the next");
  await until(async () => !(await server.isValid(body.access!)), "the former key's time is over");
  server.child.kill();
});

command.run();
