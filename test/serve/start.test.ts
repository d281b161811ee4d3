/** What the server makes of its options at the start, and how it refuses them. */
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { crc32 } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { secret } from "../support/contract-client.ts";
import {
  environmentWith,
  fillDisk,
  mountTmpfs,
  projectRoot,
  runtime,
  start,
  temporaryFolder,
} from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";
import { entry, json, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: start`);

it("reads flags before the environment", async () => {
  const server = await serve(["--store", "memory:", "--responses", "simplejwt", "--access-token-lifetime", "1h"], {
    JWT_STORE: "file:/nowhere",
    JWT_RESPONSES: "djoser",
    JWT_PREFIX: "auth/",
    JWT_THROTTLE: "false",
    JWT_CORS: "false",
    JWT_SIGNING_KEY: secret,
  });
  assert.match(server.output(), "profile  simplejwt");
  const { status } = await server.send("/auth/jwt/verify/", { ...logIn("", ""), body: '{"token":"x"}' });
  assert.is(status, 401);
  await server.stop();
});

it("prints the name that --host gave, which opens", async () => {
  for (const host of ["localhost", "127.0.0.1"]) {
    const server = await serve(["--store", "memory:", "--host", host], { JWT_SIGNING_KEY: secret });
    const [, address, name] = /^address {2}(http:\/\/(.+):\d+)\/jwt\/$/m.exec(server.output())!;
    assert.is(name, host);
    assert.is((await fetch(`${address}/healthz`)).status, 200);
    await server.stop();
  }
});

it("stops with one line and exit code 1 for errors that the operator can fix", async () => {
  const blocker = net.createServer();
  await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
  const { port } = blocker.address() as net.AddressInfo;
  const notAFolder = path.join(temporaryFolder(), "file");
  fs.writeFileSync(notAFolder, "");
  const cases: [args: string[], env: Record<string, string>, message: RegExp][] = [
    [["--store", "memory:", "--port", String(port)], {}, /port \d+ of 127\.0\.0\.1 is in use/],
    [["--store", `file:${notAFolder}`], {}, /can't open the folder/],
    [["--store", "mysql://u:hunter2@h/db"], {}, /setting store has the unknown scheme "mysql:"; accepted/],
    [["--store", "memory:", "--algorithm", "HS1"], {}, /setting algorithm: "HS1" is not known; accepted/],
    [["--store", "memory:", "--signing-key", "hunter2"], {}, /setting signingKey is 7 bytes long/],
    [
      ["--store", "memory:"],
      { JWT_ACCESS_TOKEN_LIFETIME: "soon" },
      /setting accessTokenLifetime: "soon" is not a duration/,
    ],
    [
      ["--store", "memory:", "--algorithm", "RS256"],
      { JWT_SIGNING_KEY: "-----BEGIN hunter2" },
      /setting signingKey can't be read/,
    ],
    [["--store", "memory:", "--port", "99999"], {}, /setting port: 99999 is not a port/],
    [["--store", "memory:", "--prot", "1"], {}, /setting --prot is not a flag of the server; did you mean --port\?$/m],
    [
      ["--store", "memory:"],
      { JWT_ROTATE_REFRESH_TOKEN: "true" },
      /variable JWT_ROTATE_REFRESH_TOKEN is not a setting; did you mean JWT_ROTATE_REFRESH_TOKENS\?$/m,
    ],
    [["--store", "memory:"], { JWT_SIGNING_KEY: "" }, /variable JWT_SIGNING_KEY is empty; give it a value/],
  ];
  try {
    await Promise.all(
      cases.map(async ([args, env, message]) => {
        const { code, stdout, stderr } = await finished(start(entry, args, { env: environmentWith(env) }));
        assert.is(code, 1, stderr);
        assert.match(stderr, message);
        assert.is(stderr.trim().split("\n").length, 1, stderr);
        assert.not.match(stderr + stdout, "hunter2");
      }),
    );
  } finally {
    blocker.close();
  }
});

it("warns once of settings that are weak or have no effect together, and starts", async () => {
  const warned =
    /"code":"setting_without_effect","message":"settings without effect: refreshGrace without rotateRefre/g;
  for (const args of [[], ["--workers", "2"]]) {
    const server = await serve(["--store", `file:${temporaryFolder()}/data`, ...args], { JWT_REFRESH_GRACE: "5s" });
    await until(() => server.output().includes("curl"), "the first user is told of");
    assert.is(await server.stop(), 0);
    assert.is(server.errors().match(warned)?.length, 1, server.errors());
    assert.is(server.errors().match(/"code":"weak_setting","message":"setting hashing.iterations: /g)?.length, 1);
  }
});

if (runtime === "deno") {
  it("says that misspelt variables go unnoticed where Deno does not let it list them, and still refuses empty keys", async () => {
    const permissions = ["--no-prompt", "--allow-net=127.0.0.1", "--allow-env=PORT,HOST,JWT_*,NO_COLOR,TERM"];
    const args = ["run", ...permissions, entry, "--store", "memory:", "--port", "0"];
    const env = environmentWith({ JWT_SIGNING_KEY: "" });
    const { code, stderr } = await finished(spawn(process.execPath, args, { cwd: projectRoot, env }));
    assert.is(code, 1);
    const [unlisted, refused] = stderr.trim().split("\n");
    assert.is(unlisted, "jwt-endpoints: misspelt JWT_ variables go unnoticed; to refuse them takes all of --allow-env");
    assert.is(refused, "jwt-endpoints: variable JWT_SIGNING_KEY is empty; give it a value, or take it away");
  });
}

if (runtime === "deno") {
  it("names the flag for a permission that Deno denies, in one line", async () => {
    const folder = temporaryFolder();
    const net = "--allow-net=127.0.0.1";
    const env = "--allow-env=PORT,HOST,JWT_*";
    const memory = ["--store", "memory:"];
    const file = ["--store", `file:${folder}`];
    const storeFlags = `--allow-read=${folder} --allow-write=${folder}`;
    const cases: [flags: string[], args: string[], line: string][] = [
      [["--allow-env=OTHER"], memory, `env access to JWT_SIGNING_KEY; start it with ${env}`],
      [["--allow-env=JWT_*"], memory, `env access to HOST; start it with ${env}`],
      [[env], memory, "net access to 127.0.0.1:0; start it with --allow-net=127.0.0.1:0"],
      [[env, net], ["--host", "0.0.0.0", ...memory], "net access to 0.0.0.0:0; start it with --allow-net=0.0.0.0:0"],
      [[env, net], file, `read access to ${folder}/keys.json; start it with ${storeFlags}`],
      [[env, net, `--allow-read=${folder}`], file, `write access to ${folder}; start it with ${storeFlags}`],
      [[env, net, `--allow-write=${folder}`], file, `read access to ${folder}/keys.json; start it with ${storeFlags}`],
      [
        ["--allow-env", net, ...storeFlags.split(" ")],
        ["--workers", "2", ...file],
        `run access to ${process.execPath}; start it with --allow-run=${process.execPath}`,
      ],
      [
        [env, net, "--allow-run", ...storeFlags.split(" ")],
        ["--workers", "2", ...file],
        "env access; start it with --allow-env",
      ],
    ];
    for (const [flags, args, line] of cases) {
      const child = spawn(process.execPath, ["run", "--no-prompt", ...flags, entry, "--port", "0", ...args], {
        cwd: projectRoot,
        env: environmentWith({}),
        timeout: 20_000,
      });
      const { code, stderr } = await finished(child);
      const lines = stderr.trim().split("\n");
      assert.is(lines.filter((each) => !each.includes("misspelt")).join("\n"), `jwt-endpoints: Deno denies ${line}`);
      assert.is(code, 1);
    }
    for (const [program, name] of [
      ["user", "list"],
      ["token", "flush"],
      ["keys", "list"],
    ]) {
      const args = ["run", "--no-prompt", "--allow-env", "src/cli/main.ts", program!, name!, ...file];
      const { code, stderr } = await finished(spawn(process.execPath, args, { cwd: projectRoot, timeout: 20_000 }));
      assert.match(
        stderr,
        /^Deno denies (read|write) access to .*; start it with --allow-read=\S+ --allow-write=\S+\n$/,
      );
      assert.is(code, 1);
    }
  });
}

const disk = mountTmpfs("256k");

(disk === undefined ? it.skip : it)(
  "starts on a full disk after a crash in a compaction, and verifies while it can't write (needs root, for tmpfs)",
  async () => {
    const folder = path.join(disk!, "data");
    const first = await serve(["--store", `file:${folder}`, "--hashing-iterations", "1000"]);
    await until(() => first.output().includes("curl"), "the curl line is printed");
    const password = /"password":"([^"]+)"/.exec(first.output())![1]!;
    const tokens = JSON.parse((await first.send("/jwt/create/", logIn("admin", password))).text);
    assert.is(await first.stop(), 0);
    const seal = JSON.stringify({ k: "seal", at: Date.now() / 1000, by: "crashed.1" });
    const line = `\n${crc32(seal).toString(16).padStart(8, "0")} ${seal.length} ${seal}`;
    const file = path.join(folder, "journal-000001.jsonl");
    fs.appendFileSync(file, line, { mode: 0o600 }); // Deno also changes the mode of an existing file
    const makeRoom = fillDisk(disk!);
    const server = await serve(["--store", `file:${folder}`]);
    const post = async (route: string, body: unknown): Promise<number> =>
      (await server.send(`/jwt/${route}/`, { method: "POST", headers: json, body: JSON.stringify(body) })).status;
    assert.is(await post("verify", { token: tokens.access }), 200);
    assert.is(await post("logout", { refresh: tokens.refresh }), 503);
    assert.is((await server.send("/readyz")).status, 503);
    assert.is(await post("verify", { token: tokens.refresh }), 200);
    makeRoom();
    await until(async () => (await server.send("/readyz")).status === 200, "it is ready again");
    assert.is(await post("logout", { refresh: tokens.refresh }), 200);
    assert.is(await post("refresh", { refresh: tokens.refresh }), 400);
    assert.is(await server.stop(), 0);
  },
);

it("shares one folder with another server and the user command", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const [one, two] = await Promise.all([serve(["--store", `file:${folder}`]), serve(["--store", `file:${folder}`])]);
  const add = start("user", ["add", "alice", "--password-stdin", "--store", `file:${folder}`], {
    stdio: "pipe",
  });
  add.stdin!.end("open sesame\n");
  const added = await finished(add);
  assert.is(added.code, 0, added.stderr);
  let refresh = "";
  for (const server of [one, two]) {
    await until(
      async () => (await server.send("/jwt/create/", logIn("alice", "open sesame"))).status === 200,
      "alice is known",
    );
    refresh = JSON.parse((await server.send("/jwt/create/", logIn("alice", "open sesame"))).text).refresh;
  }
  const init = { ...logIn("", ""), body: JSON.stringify({ refresh }) };
  assert.is((await one.send("/jwt/refresh/", init)).status, 200, "both servers have the same key");
  assert.is((await one.send("/jwt/blacklist/", init)).status, 200);
  await until(async () => (await two.send("/jwt/refresh/", init)).status === 400, "the other server knows");
  const printed = [one, two].filter((server) => server.output().includes("curl")).length;
  assert.is(printed, 1, "one of the two made the admin");
  assert.is((await finished(start("user", ["disable", "alice", "--store", `file:${folder}`]))).code, 0);
  await until(
    async () => (await one.send("/jwt/create/", logIn("alice", "open sesame"))).status === 400,
    "alice is out",
  );
  assert.equal(await Promise.all([one.stop(), two.stop()]), [0, 0]);
});

it.run();
