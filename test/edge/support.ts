/** Bundles workers and runs them in `workerd`, the runtime of Cloudflare Workers. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { build } from "esbuild";
import { buildPackage } from "../support/package.ts";
import { sendTo } from "../support/hosts.ts";
import { freePort, projectRoot, until } from "../support/runtime.ts";

const { resolve } = createRequire(import.meta.url);
const binary = path.join(path.dirname(resolve("workerd/package.json")), "bin/workerd");

export interface WorkerOptions {
  /** Compatibility flags. */
  flags?: readonly string[];
  /** A folder for the Durable Objects; without one, there are none. */
  disk?: string | undefined;
  /** Texts in the worker's environment. */
  texts?: Readonly<Record<string, string>>;
}

export interface RunningWorker {
  child: ChildProcess;
  origin: string;
  /** Returns what workerd has printed on stderr. */
  errors(): string;
}

/**
 * A worker in front, which ends its request to the worker after the milliseconds in `x-leave-after`. As on Cloudflare's
 * network, that ends the request itself, with all that it waits for; workerd does not do so when a socket closes.
 */
const front = `export default {
  fetch(request, { WORKER }) {
    const ms = request.headers.get("x-leave-after");
    return WORKER.fetch(request, ms === null ? {} : { signal: AbortSignal.timeout(Number(ms)) })
      .catch((error) => new Response(JSON.stringify(error.name), { status: 499 }));
  },
};`;

/**
 * Builds the package, and bundles a worker with it into one file.
 * @param name of the worker's file in `test/fixtures/`.
 * @returns a function that starts workerd with the worker, which has loaded nothing before its first request but `/healthz`.
 */
export async function buildWorker(name: string): Promise<(options?: WorkerOptions) => Promise<RunningWorker>> {
  const built = buildPackage();
  const folder = mkdtempSync(path.join(built, "worker-"));
  await build({
    entryPoints: [path.join(projectRoot, "test/fixtures", name)],
    outfile: path.join(folder, "worker.js"),
    alias: {
      "jwt-endpoints": path.join(built, "dist/index.js"),
      "jwt-endpoints/stores/conformance": path.join(built, "dist/stores/conformance.js"),
      "jwt-endpoints/stores/durable-object": path.join(built, "dist/stores/durable-object/index.js"),
      "jwt-endpoints/stores/memory": path.join(built, "dist/stores/memory.js"),
    },
    tsconfigRaw: {},
    bundle: true,
    format: "esm",
    platform: "browser",
  });
  return (options = {}) => startWorker(folder, options);
}

async function startWorker(folder: string, { flags = [], disk, texts = {} }: WorkerOptions): Promise<RunningWorker> {
  const port = await freePort();
  const config = path.join(folder, `config-${port}.capnp`);
  const bindings = Object.entries(texts).map(([key, text]) => `(name = "${key}", text = ${JSON.stringify(text)})`);
  if (disk !== undefined) bindings.push('(name = "STORE", durableObjectNamespace = "JwtEndpointsStore")');
  const objects = `
  durableObjectNamespaces = [(className = "JwtEndpointsStore", uniqueKey = "store", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),`;
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "front", worker = (
      modules = [(name = "front", esModule = ${JSON.stringify(front)})],
      compatibilityDate = "2026-01-01",
      bindings = [(name = "WORKER", service = "main")]
    )),
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["private"]))${
      disk === undefined
        ? ""
        : `,
    (name = "disk", disk = (path = "${disk}", writable = true))`
    }
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "front")]
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-01-01",
  compatibilityFlags = ${JSON.stringify(flags)},${disk === undefined ? "" : objects}
  bindings = [${bindings.join(", ")}]
);
`,
  );
  const child = spawn(binary, ["serve", config], { stdio: ["ignore", "pipe", "pipe"] });
  const kill = () => void child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("close", () => process.off("exit", kill));
  let errors = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (errors += String(chunk)));
  const origin = `http://127.0.0.1:${port}`;
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`workerd ended: ${errors}`);
    return sendTo(origin, "/healthz").then(
      ({ status }) => status === 200,
      () => false,
    );
  }, "workerd serves");
  return { child, origin, errors: () => errors };
}
