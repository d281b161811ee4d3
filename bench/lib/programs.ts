/** Programs that benches start: our server, others, and helpers that exchange lines of JSON. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import {
  environment as djangoEnvironment,
  missingPackages,
  python,
  startDjango,
} from "../../test/fixtures/djoser/site.ts";
import { bundle } from "../../test/support/bundle.ts";
import { projectRoot, runtime, start, startProgram, temporaryFolder } from "../../test/support/runtime.ts";
import { familyOf, jsonLines, until } from "../../test/support/processes.ts";
import { unlimited } from "../../test/support/server.ts";
import { versionsOf } from "./results.ts";
import { credentialsIn, ours, secret, urlIn } from "./tools.ts";

export const djoser = "Djoser, gunicorn";
export const credentials = { username: "ada", password: "correct horse" };

export interface Server {
  child: ChildProcess;
  url: string;
  /** The path before `/jwt/…`. */
  prefix: string;
  credentials: { username: string; password: string };
}

/** Waits until a server listens and returns what it has printed. */
export async function toldBy(
  child: ChildProcess,
  title: string,
  isComplete = (_told: string) => true,
): Promise<string> {
  let told = "";
  const hear = (chunk: Uint8Array) => {
    if (told.length < 10_000) told += chunk.toString();
  };
  child.stdout?.on("data", hear);
  child.stderr?.on("data", hear);
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  await until(() => hasEnded() || (urlIn(told) !== undefined && isComplete(told)), `${title} listens`, 30_000);
  if (hasEnded()) throw new Error(`${title} ended with code ${child.exitCode}: ${told}`);
  return told;
}

/** The curl line for the first user is the last that our server prints at its start. */
export const isAllOfOurs = (told: string): boolean => told.includes("curl");

const serving = { ...process.env, NODE_ENV: "production", JWT_SIGNING_KEY: secret };

const built = new Set<string>();

/** Builds `dist` as it is in the package, for Node, once for each folder. */
export function build(folder = projectRoot): void {
  if (built.has(folder)) return;
  const { status, stdout, stderr } = spawnSync("npm", ["run", "--silent", "build"], { cwd: folder, encoding: "utf8" });
  if (status !== 0) throw new Error(`the build failed: ${stdout}${stderr}`);
  built.add(folder);
}

/** Starts our server: on Node the built package, elsewhere the source. */
export const startOurs = (store = "memory:", ...more: string[]): Promise<Server> =>
  startOursIn(projectRoot, ["--store", store, "--request-log", "false", ...unlimited, ...more]);

/**
 * Starts our server from a tree of the project.
 * @param folder the tree; its `node_modules` must be there.
 */
export async function startOursIn(folder: string, more: string[]): Promise<Server> {
  const flags = ["--port", "0", ...more];
  if (runtime === "node") build(folder);
  const child =
    runtime === "node"
      ? spawn(process.execPath, ["dist/serve/node.js", ...flags], { cwd: folder, env: serving })
      : start(path.join(folder, `src/serve/${runtime}.ts`), flags, { cwd: folder, env: serving });
  process.on("exit", () => child.kill("SIGKILL"));
  const told = await toldBy(child, ours, isAllOfOurs);
  return { child, url: urlIn(told)!, prefix: "", credentials: credentialsIn(told) };
}

/** A server with the CPU that it takes. */
export interface Pinned extends Server {
  /** Of the process and its children. */
  pids: number[];
}

/** Keeps a server on the first core, where the system allows it. */
export function pinned(server: Server): Pinned {
  const pids = familyOf(server.child.pid!);
  for (const pid of pids) pinTo(pid, "0");
  return { ...server, pids };
}

/** Keeps the loads, which take it over from this process, off the first core. */
export const pinLoads = (): void => pinTo(process.pid, `1-${availableParallelism() - 1}`);

/** Not every system can, and not every container may: then the system's scheduler has its way. */
function pinTo(pid: number, cores: string): void {
  if (availableParallelism() > 1) spawnSync("taskset", ["-a", "-c", "-p", cores, String(pid)], { stdio: "ignore" });
}

/** Starts a program of the benches that serves, on Node without the loader of TypeScript, as ours. */
export async function startPeer(title: string, file: string, ...args: string[]): Promise<Server> {
  const child =
    runtime === "node"
      ? startProgram(process.execPath, [await bundled(file), ...args], { env: serving })
      : start(file, args, { env: serving });
  return { child, url: urlIn(await toldBy(child, title))!, prefix: "", credentials };
}

const bundles = new Map<string, string>();

/** Returns where the bundle of a program is, made at the first call. The packages it uses stay as they are. */
async function bundled(file: string): Promise<string> {
  const known = bundles.get(file);
  if (known !== undefined) return known;
  const folder = temporaryFolder();
  await bundle(projectRoot, [file], folder);
  const made = path.join(folder, file.replace(/\.ts$/, ".mjs"));
  bundles.set(file, made);
  return made;
}

const noMore = { settings: "", urls: "" };

/**
 * Starts the Django site of the tests.
 * @param workers gunicorn's processes.
 * @param iterations those of its password hashes; by default as few as in the tests.
 * @param more Python lines at the end of its settings, and of its URLs.
 */
export async function startDjoser(workers: number, iterations?: number, more = noMore): Promise<Server> {
  const { database, stop } = await startDjango(secret, [credentials]);
  stop();
  const args = ["-m", "gunicorn", "-w", String(workers), "--graceful-timeout", "1", "-b", "127.0.0.1:0", "wsgi"];
  const env = {
    ...djangoEnvironment({ secret }, database),
    ...(iterations !== undefined && strongHashes(iterations, more)),
  };
  const cwd = path.join(projectRoot, "test/fixtures/djoser");
  const child = spawn(python, args, { cwd, env, stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => child.kill("SIGTERM")); // gunicorn then ends its workers too
  const told = await toldBy(child, djoser, (text) => text.includes("Booting worker"));
  return { child, url: urlIn(told)!, prefix: "/auth", credentials };
}

/** Returns the environment of settings that extend the site's by a stronger hasher. */
function strongHashes(iterations: number, { settings: lines, urls }: typeof noMore): Record<string, string> {
  const folder = temporaryFolder();
  const base = "from django.contrib.auth.hashers import PBKDF2PasswordHasher as Base";
  const hasher = `${base}\nclass Hasher(Base):\n    iterations = ${iterations}\n`;
  writeFileSync(path.join(folder, "strong_hasher.py"), hasher);
  const settings =
    'from settings import *\nPASSWORD_HASHERS = ["strong_hasher.Hasher"]\nROOT_URLCONF = "strong_urls"\n';
  writeFileSync(path.join(folder, "strong_settings.py"), settings + lines);
  writeFileSync(path.join(folder, "strong_urls.py"), `from urls import urlpatterns\n${urls}`);
  return { DJANGO_SETTINGS_MODULE: "strong_settings", PYTHONPATH: folder };
}

/** Starts Djoser if it is installed; returns a note for the report if not. */
export async function addDjoser(
  servers: Map<string, Server>,
  ...of: Parameters<typeof startDjoser>
): Promise<string[]> {
  const missing = missingPackages();
  if (missing.length > 0) return [`Djoser is not measured: ${missing.join(", ")} not installed`];
  servers.set(djoser, await startDjoser(...of));
  return [];
}

export async function stopAll(servers: Iterable<Server>): Promise<void> {
  for (const { child } of servers) {
    child.kill(child.spawnfile === python ? "SIGQUIT" : "SIGKILL"); // gunicorn ends its workers first
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
}

/** Logs in and returns the refresh token. */
export async function logIn({ url, prefix, credentials }: Server): Promise<string> {
  const headers = { "content-type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify(credentials) };
  const answer = await fetch(`${url}${prefix}/jwt/create/`, request);
  if (!answer.ok) throw new Error(`the login got status ${answer.status}`);
  return ((await answer.json()) as { refresh: string }).refresh;
}

/** Returns the versions of our server, of packages in `node_modules`, and of Djoser if it is measured. */
export function versionsOfServers(packages: readonly string[]): Record<string, string> {
  const { version } = JSON.parse(readFileSync(path.join(projectRoot, "package.json"), "utf8")) as { version: string };
  const own = { [ours]: `${version}, ${runtime === "node" ? "built" : "from source"}`, ...versionsOf(packages) };
  if (missingPackages().length > 0) return own;
  const names = ["djoser", "django", "djangorestframework-simplejwt", "gunicorn"];
  const program = `import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ${JSON.stringify(names)}}))`;
  const { status, stdout } = spawnSync(python, ["-c", program], { encoding: "utf8" });
  return status === 0 ? { ...own, ...(JSON.parse(stdout) as Record<string, string>) } : own;
}

/**
 * Starts a program of the benches on Node, on any runtime, that responds to each line of JSON with another. It ends when its
 * standard input does, so no later than this process.
 */
export function startLineServer<Input extends object, Output>(file: string, ...args: string[]) {
  const stdio = ["pipe", "pipe", "inherit"] as const;
  const child = spawn("node", ["--import", "tsx", file, ...args], { cwd: projectRoot, stdio: [...stdio] });
  const ask = jsonLines(child, file);
  return {
    ask: (input: Input): Promise<Output> => ask(input),
    stop: () => void child.stdin!.end(),
  };
}

/** Handles each line of JSON on standard input: the program that {@link startLineServer} starts. */
export async function serveLines<Input, Output>(handle: (input: Input) => Promise<Output>): Promise<never> {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await handle(JSON.parse(line) as Input)));
  }
  process.exit();
}
