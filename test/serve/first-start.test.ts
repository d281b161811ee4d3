/** The first start on an empty store: folder, key, first user. */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { introduceFirstUser } from "../../src/serve/first-user.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { environmentWith, runtime, start, temporaryFolder } from "../support/runtime.ts";
import { finished, freePort, until } from "../support/processes.ts";
import { entry, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: first start`);

it("makes folder, key and admin, and the next start finds them again", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const server = await serve(["--store", `file:${folder}`, "--hashing-iterations", "1000"]);
  assert.is(fs.statSync(folder).mode & 0o777, 0o700);
  for (const name of fs.readdirSync(folder)) {
    assert.is(fs.statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }
  const lines = server.output().split("\n");
  assert.match(lines[0]!, /^address {2}http:\/\/127\.0\.0\.1:\d+\/jwt\/$/);
  assert.is(lines[1], `console  ${server.origin}/`);
  assert.is(lines[2], `docs     ${server.origin}/docs`);
  assert.is(lines[3], `store    file:${folder}`);
  assert.is(lines[4], "profile  djoser");
  assert.match(lines[5]!, new RegExp(`^runtime {2}${runtime} \\d`, "i"));
  await until(() => server.output().includes("curl"), "the curl line is printed");
  const password = /"password":"([^"]+)"/.exec(server.output())![1]!;
  const response = await server.send("/jwt/create/", logIn("admin", password));
  assert.is(response.status, 200, response.text);
  const { refresh } = JSON.parse(response.text);
  const { access } = JSON.parse(
    (await server.send("/jwt/refresh/", { ...logIn("", ""), body: JSON.stringify({ refresh }) })).text,
  );
  assert.is(
    (await server.send("/jwt/blacklist/", { ...logIn("", ""), body: JSON.stringify({ refresh }) })).status,
    200,
  );
  assert.is(await server.stop(), 0);

  const again = await serve(["--store", `file:${folder}`]);
  assert.not.match(again.output(), "curl");
  assert.is((await again.send("/jwt/create/", logIn("admin", password))).status, 200);
  assert.is(
    (await again.send("/jwt/verify/", { ...logIn("", ""), body: JSON.stringify({ token: access }) })).text,
    "{}",
  );
  const refused = await again.send("/jwt/refresh/", { ...logIn("", ""), body: JSON.stringify({ refresh }) });
  assert.is(refused.text, '{"non_field_errors":["Token is blacklisted"]}');
  assert.is(await again.stop("SIGINT"), 0);
});

it("is ready only when there is a user", async () => {
  for (const workers of [[], ["--workers", "2"]]) {
    const port = await freePort();
    const args = ["--port", String(port), "--store", `file:${temporaryFolder()}`, "--hashing-iterations", "3000000"];
    const child = start(entry, [...args, ...workers], { env: environmentWith({}) });
    let output = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const seen: number[] = [];
    await until(
      async () => {
        const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
        if (response === undefined) return false;
        const text = await response.text();
        seen.push(response.status);
        if (response.status === 200) return true;
        assert.is(response.status, 503);
        assert.is(response.headers.get("retry-after"), "1");
        assert.is(text, '{"detail":"The server is starting."}');
        return false;
      },
      "it is ready",
      60_000,
    );
    assert.is(seen[0], 503);
    await until(() => output.includes("curl"), "the password is told");
    process.kill(child.pid!, "SIGTERM");
    assert.is(await ended, 0);
  }
});

it("prints a new password of the first user at each start until one could be printed", async () => {
  const folder = temporaryFolder();
  const port = await freePort();
  const args = ["--port", String(port), "--store", `file:${folder}`, "--hashing-iterations", "1000"];
  for (let round = 0; round < 2; round++) {
    const unheard = start(entry, args, { env: environmentWith({}), stdio: ["ignore", "pipe", "ignore"] });
    unheard.stdout!.destroy();
    const ended = new Promise((resolve) => unheard.once("exit", resolve));
    const status = () =>
      fetch(`http://127.0.0.1:${port}/readyz`).then(
        ({ status: code }) => code,
        () => 0,
      );
    await until(async () => (await status()) === 200, "there is a user", 20_000);
    process.kill(unheard.pid!, round === 0 ? "SIGKILL" : "SIGTERM");
    await ended;
  }
  const servers = await Promise.all([serve(args.slice(2)), serve(args.slice(2))]);
  const telling = () => servers.filter((server) => server.output().includes("curl"));
  await until(() => telling().length > 0, "a password is told");
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.is(telling().length, 1, "once");
  const password = /"password":"([^"]+)"/.exec(telling()[0]!.output())![1]!;
  for (const server of servers) {
    await until(
      async () => (await server.send("/jwt/create/", logIn("admin", password))).status === 200,
      "it is right",
    );
  }
  for (const server of servers) assert.is(await server.stop(), 0);
  const again = await serve(args.slice(2));
  await until(async () => (await again.send("/readyz")).status === 200, "it is ready");
  assert.not.match(again.output(), "curl");
  assert.is(await again.stop(), 0);
});

it("keeps a password that the operator set before one was printed", async () => {
  const folder = temporaryFolder();
  const store = await openFileStore(folder);
  const told: string[] = [];
  const introduce = (isTold: boolean) =>
    introduceFirstUser(store, {
      hash: async (password) => `hash of ${password}`,
      onMade: () => {},
      tell: async (password) => (told.push(password), isTold),
    });
  await introduce(false);
  const user = (await store.findUserByUsername("admin"))!;
  await store.updateUser(user.id, { passwordHash: "the operator's" });
  await introduce(true);
  assert.is((await store.findUserByUsername("admin"))!.passwordHash, "the operator's");
  assert.is(told.length, 1);
  await store.close();
});

it("makes neither folder nor user when the server can't start", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const wrong = start(entry, ["--store", `file:${folder}`, "--responses", "drf"], { env: environmentWith({}) });
  assert.is((await finished(wrong)).code, 1);
  assert.not.ok(fs.existsSync(folder));
  const blocker = net.createServer();
  await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
  const { port } = blocker.address() as net.AddressInfo;
  const blocked = start(entry, ["--store", `file:${folder}`, "--port", String(port)], { env: environmentWith({}) });
  assert.is((await finished(blocked)).code, 1);
  blocker.close();
  const server = await serve(["--store", `file:${folder}`]);
  await until(() => server.output().includes("curl"), "the first user is told of at the first start that works");
  assert.is(await server.stop(), 0);
});

it.run();
