/**
 * Measures the time from starting a server's process to its first response: from source, built (on Node), with a store of
 * 100,000 users, beside Fastify with fast-jwt and beside a bare `node:http` server. The request is sent as soon as the
 * server prints its address. `--against REF` adds another version of ours, built, and the ratio to it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import process from "node:process";
import { openFileStore } from "../src/stores/file/index.ts";
import { command, projectRoot, runtime, temporaryFolder } from "../test/support/runtime.ts";
import { residentOf } from "../test/support/processes.ts";
import { median, medianRatio } from "../test/support/statistics.ts";
import { checkOut } from "./lib/against.ts";
import { build } from "./lib/programs.ts";
import { type Column, digits, report, timeColumns, timeFigures, versionsOf } from "./lib/results.ts";
import { againstRef, newUsers, quick, rotated, rounded, roundsOr, secret, tidy, urlIn } from "./lib/tools.ts";

const rounds = roundsOr(quick ? 2 : 11);
const users = 100_000;

/** Plain JavaScript, given to the runtime as text: no time goes into stripping types. */
const bare = `
  import { createServer } from "node:http";
  const server = createServer((request, response) => response.end("{}"));
  server.listen(0, "127.0.0.1", () => console.log("http://127.0.0.1:" + server.address().port));`;
const fastify = `
  import { fastify } from "fastify";
  import { createSigner, createVerifier } from "fast-jwt";
  const key = process.env.JWT_SIGNING_KEY;
  const [verify, sign] = [createVerifier({ key, algorithms: ["HS256"] }), createSigner({ key })];
  const app = fastify();
  app.get("/healthz", async () => ({}));
  app.post("/jwt/verify/", async ({ body }) => (verify(body.token), {}));
  app.post("/jwt/refresh/", async ({ body }) => ({ access: sign(verify(body.refresh)) }));
  console.log(await app.listen({ port: 0, host: "127.0.0.1" }));`;

const before = `${againstRef}, built, file store`;

const asText: Record<typeof runtime, string[]> = {
  node: ["--input-type=module", "-e"],
  deno: ["eval"],
  bun: ["-e"],
};

type Command = [program: string, args: string[]];

/** Returns the file that `npm start` runs of a tree that was built. Earlier versions have an ES module alone. */
function builtServer(tree: string): string {
  const file = path.join(tree, "dist/serve/node.cjs");
  return existsSync(file) ? file : file.replace(/cjs$/, "js");
}

async function commands(): Promise<Map<string, Command>> {
  const folder = temporaryFolder();
  const store = await openFileStore(folder);
  await store.addUsers(newUsers(users));
  await store.close();
  const flags = ["--port", "0", "--request-log", "false", "--store"];
  const filled = `file:${folder}`;
  const source = (url: string): Command => command(`src/serve/${runtime}.ts`, [...flags, url]);
  const all = new Map<string, Command>();
  if (runtime === "node") {
    build();
    const built = (url: string, tree = projectRoot): Command => [process.execPath, [builtServer(tree), ...flags, url]];
    all.set("built, memory store", built("memory:"));
    all.set(`built, file store, ${rounded(users)} users`, built(filled));
    if (againstRef !== undefined) {
      const tree = checkOut(againstRef);
      build(tree);
      all.set(before, built(filled, tree));
    }
  }
  all.set("from source, memory store", source("memory:"));
  all.set(`from source, file store, ${rounded(users)} users`, source(filled));
  all.set("Fastify, fast-jwt", [process.execPath, [...asText[runtime], fastify]]);
  all.set("bare node:http", [process.execPath, [...asText[runtime], bare]]);
  return all;
}

interface Start {
  ms: number;
  rss: number | undefined;
}

async function startOnce([program, args]: Command): Promise<Start> {
  const env = { ...process.env, NODE_ENV: "production", JWT_SIGNING_KEY: secret };
  const begin = performance.now();
  const child = spawn(program, args, { cwd: projectRoot, env, stdio: ["ignore", "pipe", "pipe"] });
  try {
    await firstResponse(await portOf(child));
    const ms = performance.now() - begin;
    return { ms, rss: residentOf(child.pid!) };
  } finally {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
}

/** What it says first. */
function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let told = "";
    const hear = (chunk: Uint8Array) => {
      told += chunk.toString();
      const url = urlIn(told);
      if (url !== undefined) resolve(Number(new URL(url).port));
    };
    child.stdout!.on("data", hear);
    child.stderr!.on("data", hear);
    child.once("exit", (code) => reject(new Error(`a server ended with code ${code}: ${told}`)));
  });
}

/** One request on a plain socket, which needs nothing to warm up on this side. */
function firstResponse(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () => {
      socket.write("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    });
    socket.once("data", (chunk: Uint8Array) => {
      const line = chunk.toString().split("\r\n", 1)[0]!;
      socket.destroy();
      if (line.includes(" 200 ")) resolve();
      else reject(new Error(`/healthz returned ${line}`));
    });
    socket.once("error", reject);
  });
}

async function measure(): Promise<void> {
  const subjects = await commands();
  const found = new Map([...subjects.keys()].map((title) => [title, [] as Start[]]));
  for (let round = -1; round < rounds; round++) {
    for (const [title, subject] of rotated([...subjects], Math.max(0, round))) {
      const start = await startOnce(subject);
      if (round >= 0) found.get(title)!.push(start); // the first round fills the system's caches
    }
  }
  const ms = ({ ms: value }: Start) => value;
  const bareTimes = found.get("bare node:http")!.map(ms);
  const earlier = found.get(before)?.map(ms);
  const rows = [...found].map(([server, all]) => {
    const resident = all.map(({ rss }) => rss).filter((value) => value !== undefined);
    return {
      server,
      ...timeFigures(all.map(ms)),
      over_bare_ms: tidy(median(all.map((each, round) => ms(each) - bareTimes[round]!))),
      to_bare: tidy(medianRatio(all.map(ms), bareTimes)),
      ...(earlier && { to_before: tidy(medianRatio(all.map(ms), earlier)) }),
      resident_mib: resident.length === 0 ? undefined : tidy(median(resident) / (1 << 20)),
    };
  });
  const columns: Column[] = [
    { key: "server", title: "server" },
    ...timeColumns(rounded),
    { key: "over_bare_ms", title: "over bare", text: rounded },
    { key: "to_bare", title: "to bare", text: digits(2) },
    ...(earlier === undefined ? [] : [{ key: "to_before", title: `to ${againstRef}`, text: digits(2) }]),
    { key: "resident_mib", title: "resident MiB", text: rounded },
  ];
  report(
    againstRef === undefined ? "startup" : undefined,
    [{ title: `start to first answer, ${rounds} rounds`, columns, rows }],
    versionsOf(["fastify", "fast-jwt"]),
  );
}

await measure();
