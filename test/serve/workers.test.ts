/** `--workers N`: real processes of this runtime's entry file on one port and one folder. */
import { unlimited } from "../support/server.ts";
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { finished, isAlive, processes, until } from "../support/processes.ts";
import { projectRoot, runtime, start, temporaryFolder } from "../support/runtime.ts";

const entry = `src/serve/${runtime}.ts`;

/** Returns the workers of a server, without processes that the loader of the program may have started. */
const workersOf = (server: number): number[] =>
  processes().flatMap(({ pid, parent, args }) =>
    parent === server && args.includes(`/serve/${runtime}.`) ? [pid] : [],
  );

interface Answer {
  status: number;
  data: Record<string, string>;
}

const flags = ["--port", "0", "--hashing-iterations", "1", ...unlimited, "--workers", "2"];

async function serve(...args: string[]) {
  const child = start(entry, [...flags, ...args]);
  let [stdout, stderr] = ["", ""];
  child.stdout!.on("data", (chunk: Uint8Array) => (stdout += chunk.toString()));
  child.stderr!.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  await until(() => stdout.includes("curl") || hasEnded(), "the workers listen", 30_000);
  assert.not.ok(hasEnded(), stderr);
  const port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(stdout)![1]);
  const password = /only once: (\S+)/.exec(stdout)![1]!;
  const pid = child.pid!;
  return {
    pid,
    password,
    output: () => stdout,
    errors: () => stderr,
    workers: () => workersOf(pid),
    hasEnded,
    exitCode: () => child.exitCode,
    /** Over a connection of its own, so that any worker may get it. */
    post: (path: string, body: unknown, ms = 10_000): Promise<Answer> =>
      new Promise((resolve, reject) => {
        const text = JSON.stringify(body);
        const headers = { "content-type": "application/json", "content-length": text.length };
        const options = { host: "127.0.0.1", port, path: `/jwt/${path}/`, method: "POST", headers, agent: false };
        const asked = http.request(options, (response) => {
          let answer = "";
          response.on("data", (chunk: Uint8Array) => (answer += chunk.toString()));
          response.on("end", () => {
            clearTimeout(timer);
            resolve({ status: response.statusCode!, data: JSON.parse(answer) as Record<string, string> });
          });
        });
        const timer = setTimeout(() => asked.destroy(new Error("no answer in time")), ms);
        asked.on("error", (error) => {
          clearTimeout(timer);
          reject(error);
        });
        asked.end(text);
      }),
    async stop(signal: NodeJS.Signals = "SIGTERM") {
      if (!hasEnded()) process.kill(pid, signal);
      await until(hasEnded, "the server has ended", 15_000);
    },
  };
}

const workers = suite("workers");

workers("announce one address once, and each of them serves it", async () => {
  const server = await serve("--store", `file:${temporaryFolder()}`, "--request-log", "false");
  const pids = server.workers();
  assert.is(pids.length, 2);
  assert.is(server.output().split("address  ").length - 1, 1);
  assert.match(server.output(), /^workers {2}2$/m);
  for (const pid of pids) {
    const others = pids.filter((other) => other !== pid);
    for (const other of others) process.kill(other, "SIGSTOP");
    const answers = await Promise.allSettled(
      Array.from({ length: 24 }, () => server.post("verify", { token: "none" }, 1500)),
    );
    for (const other of others) process.kill(other, "SIGCONT");
    assert.ok(
      answers.some(({ status }) => status === "fulfilled"),
      `worker ${pid} answers alone`,
    );
  }
  await server.stop();
});

workers("share users, sessions and keys", async () => {
  const server = await serve("--store", `file:${temporaryFolder()}`, "--rotate-refresh-tokens", "true");
  const { data, status } = await server.post("create", { username: "admin", password: server.password });
  assert.is(status, 200);
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => server.post("refresh", { refresh: data.refresh })),
  );
  assert.equal([...new Set(answers.map((answer) => answer.status))], [200]);
  assert.is(new Set(answers.map((answer) => answer.data.refresh)).size, 1, "they all have the same successor");
  const { refresh, access } = answers[0]!.data as { refresh: string; access: string };
  for (const token of [refresh, access]) {
    const verified = await Promise.all(Array.from({ length: 10 }, () => server.post("verify", { token })));
    assert.equal([...new Set(verified.map((answer) => answer.status))], [200]);
  }
  assert.is((await server.post("logout", { refresh })).status, 200);
  await until(async () => {
    const after = await Promise.all(Array.from({ length: 10 }, () => server.post("verify", { token: access })));
    return after.every((answer) => answer.status === 400);
  }, "every worker knows of the logout");
  await server.stop();
  for (const line of server
    .output()
    .trim()
    .split("\n")
    .filter((text) => text.startsWith("{")))
    JSON.parse(line); // none is torn
});

workers("are replaced when they die", async () => {
  const server = await serve("--store", `file:${temporaryFolder()}`, "--request-log", "false");
  const [victim] = server.workers();
  process.kill(victim!, "SIGKILL");
  await until(() => server.errors().includes(`worker ${victim} ended (SIGKILL)`), "its death is told");
  await until(() => server.workers().length === 2 && !server.workers().includes(victim!), "there is another");
  const login = { username: "admin", password: server.password };
  await until(async () => {
    const answers = await Promise.allSettled(Array.from({ length: 20 }, () => server.post("create", login)));
    return answers.every((answer) => answer.status === "fulfilled" && answer.value.status === 200);
  }, "all requests are answered");
  await server.stop();
  assert.is(server.exitCode(), runtime === "deno" ? server.exitCode() : 0);
});

workers("leave no connection open without a response when they die, and no descriptor open in the parent", async () => {
  const server = await serve("--store", `file:${temporaryFolder()}`, "--request-log", "false");
  const openFiles = () => (fs.existsSync("/proc") ? fs.readdirSync(`/proc/${server.pid}/fd`).length : 0);
  const before = openFiles();
  let isOver = false;
  let hung = 0;
  const ask = async () => {
    while (!isOver) {
      await server.post("verify", { token: "none" }, 4000).catch((error: Error) => {
        if (error.message === "no answer in time") hung++;
      });
    }
  };
  const load = Promise.all(Array.from({ length: 16 }, ask));
  for (let kills = 0; kills < 5; kills++) {
    const [victim] = server.workers();
    process.kill(victim!, "SIGKILL");
    await until(() => server.workers().length === 2 && !server.workers().includes(victim!), "there is another");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  isOver = true;
  await load;
  assert.is(hung, 0);
  await until(() => openFiles() <= before, "the watcher holds no more than before");
  await server.stop();
});

workers("end with their parent, also while they start", async () => {
  for (const wait of [0, 30, 60, 90, 120, 160, 200, 300]) {
    const child = start(entry, [...flags, "--store", `file:${temporaryFolder()}`], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    await until(() => workersOf(child.pid!).length === 2, "the second worker starts", 30_000);
    await new Promise((resolve) => setTimeout(resolve, wait));
    const pids = workersOf(child.pid!);
    process.kill(child.pid!, "SIGKILL");
    await until(() => !pids.some(isAlive), `no worker is left, ${wait} ms on`, 15_000);
  }
});

if (runtime === "deno") {
  workers("have no more permissions than their parent", async () => {
    const folder = temporaryFolder();
    const permissions = ["--no-prompt", "--allow-net=127.0.0.1", "--allow-env", "--allow-run"];
    const store = [`--allow-read=${folder}`, `--allow-write=${folder}`];
    const args = [...permissions, ...store, entry, ...flags, "--store", `file:${folder}`];
    const child = spawn(process.execPath, ["run", ...args], { cwd: projectRoot });
    let output = "";
    child.stdout.on("data", (chunk: Uint8Array) => (output += Buffer.from(chunk).toString()));
    child.stderr.on("data", (chunk: Uint8Array) => (output += Buffer.from(chunk).toString()));
    try {
      await until(() => output.includes("curl") || child.exitCode !== null, "the workers listen", 30_000);
      const port = /http:\/\/127\.0\.0\.1:(\d+)/.exec(output)?.[1];
      assert.ok(port, output);
      const commands = processes().filter(({ parent }) => parent === child.pid);
      assert.is(commands.length, 2);
      for (const { args: command } of commands) {
        const given = command.split(" ").filter((flag) => /^-A|^--allow/.test(flag));
        const net = `--allow-net=127.0.0.1:${port}`;
        assert.equal(given.sort(), [...store, net, "--allow-env", "--allow-run"].sort());
      }
    } finally {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      process.kill(child.pid!, "SIGTERM");
      await ended;
    }
  });
}

workers("end the server with a few lines of error when they keep dying", async () => {
  const server = await serve("--store", `file:${temporaryFolder()}`, "--request-log", "false");
  await until(
    () => {
      for (const pid of server.workers()) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // ended by itself
        }
      }
      return server.hasEnded();
    },
    "it gives up",
    20_000,
  );
  await until(() => /workers ended within 10 s; giving up/.test(server.errors()), "it says so");
  assert.ok(server.errors().trim().split("\n").length < 12, server.errors());
});

workers("all end on one SIGTERM, and when their parent is killed", async () => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const server = await serve("--store", `file:${temporaryFolder()}`, "--request-log", "false");
    const pids = server.workers();
    assert.is(pids.length, 2);
    await server.stop(signal);
    await until(() => !pids.some(isAlive), `no worker is left after ${signal}`);
    assert.match(
      server.errors(),
      /^\{[^\n]+"code":"weak_setting"[^\n]+\}\n$/,
      "nothing but what tests make do with, once",
    );
  }
});

const refused = async (...args: string[]) => {
  const { code, stdout, stderr } = await finished(start(entry, args));
  assert.is(code, 1);
  assert.is(stdout, "");
  assert.is(stderr.trim().split("\n").length, 1, stderr);
  return stderr.trim();
};

workers("are refused with one line of error where several can't run", async () => {
  assert.is(
    await refused("--workers", "2", "--store", "memory:"),
    "jwt-endpoints: setting workers: 2 processes can't share the store memory:; use a file: store",
  );
  assert.match(await refused("--workers", "0"), /^jwt-endpoints: setting workers: 0 is not a number of processes/);
  assert.match(await refused("--workers", "two"), /^jwt-endpoints: setting workers: "two" is not a whole number/);
  const taken = net.createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as net.AddressInfo;
  assert.is(
    await refused("--workers", "2", "--port", String(port), "--store", `file:${temporaryFolder()}`),
    `jwt-endpoints: port ${port} of 127.0.0.1 is in use`,
  );
  taken.close();
});

workers.run();
