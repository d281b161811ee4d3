/**
 * What a store costs over HTTP: verify, refresh without and with rotation (ES256, durable), for the file store and for
 * PostgreSQL with one and two server processes. Per second, and per second of CPU time of the servers and of the database.
 */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { Agent, request } from "undici";
import { createPasswords } from "../src/passwords/index.ts";
import { openStore } from "../src/stores/open.ts";
import { migratePostgres } from "../src/stores/postgres/index.ts";
import { startPostgres } from "../test/support/postgres.ts";
import { environmentWith, runtime, start, temporaryFolder } from "../test/support/runtime.ts";
import { familyOf } from "../test/support/processes.ts";
import { unlimited } from "../test/support/server.ts";
import { quick } from "./lib/tools.ts";

const seconds = quick ? 1 : 5;
const chains = 32;
const ticksPerSecond = 100;
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const signingKey = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const agent = new Agent({ connections: chains });

/** CPU time of a process and its children so far, in seconds. */
function cpuOf(pid: number): number {
  const ticks = familyOf(pid).map((member) => {
    try {
      const fields = readFileSync(`/proc/${member}/stat`, "latin1").split(") ").at(-1)!.split(" ");
      return Number(fields[11]) + Number(fields[12]);
    } catch {
      return 0; // ended meanwhile
    }
  });
  return ticks.reduce((sum, each) => sum + each, 0) / ticksPerSecond;
}

async function post(url: string, name: string, data: object): Promise<Record<string, string>> {
  const options = { method: "POST", headers: { "content-type": "application/json" }, dispatcher: agent } as const;
  const { statusCode, body } = await request(`${url}/jwt/${name}/`, { ...options, body: JSON.stringify(data) });
  const answer = (await body.json()) as Record<string, string>;
  if (statusCode !== 200) throw new Error(`${name}: ${statusCode} ${JSON.stringify(answer)}`);
  return answer;
}

/** Starts a server on a store, of one process or several. */
async function serve(store: string, workers: number, isRotating: boolean) {
  const flags = ["--store", store, "--algorithm", "ES256", "--port", "0", "--hashing-iterations", "1000", ...unlimited];
  flags.push("--workers", String(workers), "--rotate-refresh-tokens", String(isRotating));
  const env = environmentWith({ JWT_SIGNING_KEY: signingKey });
  const child = start(`src/serve/${runtime}.ts`, flags, { env, stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise<string>((resolve, reject) => {
    let output = "";
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout!.on("data", (chunk: Uint8Array) => {
      output = (output + chunk.toString()).slice(-10_000);
      const found = /address {2}(\S+)\/jwt\//.exec(output);
      if (found !== null && output.includes("runtime")) resolve(found[1]!);
    });
  });
  const stop = () => new Promise((resolve) => child.once("exit", resolve) && child.kill("SIGTERM"));
  return { url, pid: child.pid!, stop };
}

async function measure(title: string, store: string, workers: number, databasePid?: number): Promise<void> {
  for (const what of ["verify", "refresh", "refresh with rotation"] as const) {
    const server = await serve(store, workers, what === "refresh with rotation");
    const credentials = { username: "bench", password: "correct horse" };
    const pairs = await Promise.all(Array.from({ length: chains }, () => post(server.url, "create", credentials)));
    const run = async (ms: number): Promise<number> => {
      let done = 0;
      const end = performance.now() + ms;
      const chain = async (pair: Record<string, string>): Promise<void> => {
        for (; performance.now() < end; done++) {
          if (what === "verify") await post(server.url, "verify", { token: pair.access });
          else Object.assign(pair, await post(server.url, "refresh", { refresh: pair.refresh }));
        }
      };
      await Promise.all(pairs.map(chain));
      return done;
    };
    await run(seconds * 200);
    const before = [cpuOf(server.pid), databasePid === undefined ? 0 : cpuOf(databasePid)] as const;
    const done = await run(seconds * 1000);
    const own = cpuOf(server.pid) - before[0];
    const database = databasePid === undefined ? 0 : cpuOf(databasePid) - before[1];
    const perCpu = (cpu: number): string => (done / cpu).toFixed(0).padStart(7);
    const columns = [title.padEnd(22), what.padEnd(22), (done / seconds).toFixed(0).padStart(7), perCpu(own)];
    console.log([...columns, perCpu(own + database)].join(" "));
    await server.stop();
  }
}

async function addUser(url: string): Promise<void> {
  const store = await openStore(url, { endsSoon: true });
  const passwordHash = await createPasswords({ iterations: 1000 }).hash("correct horse");
  await store.addUser({ username: "bench", passwordHash });
  await store.close();
}

const database = await startPostgres({ settings: { fsync: "on" } });
if (database === undefined) throw new Error("npm has no PostgreSQL binaries for this platform");
const folder = `file:${temporaryFolder()}/data`;
await addUser(folder);
const url = database.url();
await migratePostgres({ url });
await addUser(url);
console.log(`${runtime}, ${chains} connections, ES256, ${seconds} s each, load and database on the same machine`);
console.log(`${"".padEnd(46)}per s, per CPU s of the servers, and with the database`);
await measure("file", folder, 1);
await measure("PostgreSQL", url, 1, database.pid());
await measure("PostgreSQL, 2 workers", url, 2, database.pid());
await agent.close();
await database.stop();
process.exit(0);
