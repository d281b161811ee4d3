/**
 * `--workers N`: N processes serve one address on one store, and the process that was started watches them. The watcher
 * serves no requests: it makes the key and the first user, replaces a worker that dies, and stops all workers.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type AddressInfo, createServer } from "node:net";
import { availableParallelism } from "node:os";
import process from "node:process";
import { setInterval } from "node:timers";
import type { JwtEndpointsSettings } from "../index.ts";
import type { ServerOptions } from "../program/options.ts";
import { UsageError } from "../program/problem.ts";

/** Variables of a worker: the number of workers, the port they share. */
const [countVariable, portVariable] = ["JWT_ENDPOINTS_WORKERS", "JWT_ENDPOINTS_PORT"];
/** Variable of a worker: the watcher's process id. */
const watcherVariable = "JWT_ENDPOINTS_WATCHER";
/** How often a worker checks that its watcher lives, in milliseconds. */
const watcherMs = 250;
/** The number of deaths within a number of milliseconds after which the watcher still replaces a worker. */
const [deathsAllowed, deathsMs] = [5, 10_000];

/** Starts another process of this program with these variables and a message channel. */
export type Fork = (env: Record<string, string>, options: ServerOptions) => ChildProcess;

/** Returns whether the program is part of its runtime's file, made by `bun build --compile` or `deno compile`. */
const isSingleFile = (): boolean =>
  process.argv[1]!.startsWith("/$bunfs/") ||
  (globalThis as { Deno?: { build: { standalone?: boolean } } }).Deno?.build.standalone === true;

/**
 * Makes a {@link Fork} for runtimes whose servers share a port by `SO_REUSEPORT`.
 * @param runArgs returns the runtime's own arguments, which precede the program.
 */
export const forkWith =
  (runArgs: (options: ServerOptions) => string[]): Fork =>
  (env, options) =>
    spawn(
      process.execPath,
      [...(isSingleFile() ? [] : [...runArgs(options), process.argv[1]!]), ...process.argv.slice(2)],
      {
        env: { ...process.env, ...env },
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      },
    );

/** Returns the number of workers in a worker, else `undefined`. */
export const workerCount = (): number | undefined => Number(process.env[countVariable]) || undefined;

/** Returns the shared port in a worker, else `undefined`. */
export const workerPort = (): number | undefined => Number(process.env[portVariable]) || undefined;

/** Returns a worker's share of the password hashes that the machine can compute at once. */
export const hashesPerWorker = (workers: number): number => Math.ceil(availableParallelism() / workers);

/** Returns the checked setting `hashing`, if there is one, with no more hashes at once than the machine can compute. */
export function withinCores({ settings, workers }: ServerOptions): Pick<Partial<JwtEndpointsSettings>, "hashing"> {
  const hashing = settings.hashing as JwtEndpointsSettings["hashing"];
  if (hashing?.concurrency === undefined) return {};
  return { hashing: { ...hashing, concurrency: Math.min(hashing.concurrency, hashesPerWorker(workers)) } };
}

/** Tells the watcher where this worker listens. */
export const tellListening = (url: string): void => void process.send?.({ url });

/** Hands this worker's figures to the watcher. */
export const tellFigures = (figures: object[]): void => void process.send?.({ figures });

/** Calls back when the watcher says that the whole server is ready. */
export const whenReady = (call: () => void): void =>
  void process.on("message", (message: { isReady?: boolean }) => message?.isReady && call());

/** Calls back when the watcher has ended. The parent's id is checked too: a worker that is still starting hears no `disconnect`. */
export function whenWatcherIsGone(call: () => void): void {
  const watcher = Number(process.env[watcherVariable]);
  process.on("disconnect", call);
  setInterval(() => process.ppid !== watcher && call(), watcherMs).unref();
}

export interface Workers {
  url: string;
  /** Makes `/readyz` return 200 in all workers, and in those that replace them. */
  becomeReady(): void;
  /** Stops all workers, and resolves when they have ended. */
  stop(): Promise<void>;
  /** Ends all workers at once. */
  kill(): void;
}

/**
 * Starts the workers: the first one alone, since the others would fail as it does.
 * @param onGivenUp called when workers kept dying and all were ended.
 * @param onFigures called with the figures of a worker, and without when it has ended.
 * @throws {WorkerEnded} when the first worker ends before it listens.
 * @throws {UsageError} when no process can be started.
 */
export async function startWorkers(
  fork: (env: Record<string, string>) => ChildProcess,
  { workers, port }: { workers: number; port: number },
  onGivenUp: () => void,
  onFigures: (pid: number, figures: object[] | undefined) => void,
): Promise<Workers> {
  const env = {
    [countVariable]: String(workers),
    [portVariable]: String(port),
    [watcherVariable]: String(process.pid),
  };
  const running = new Set<ChildProcess>();
  const deaths: number[] = [];
  let isStopping = false;
  let isReady = false;

  const add = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const child = forkOrTell();
      let isListening = false;
      running.add(child);
      child.on("message", (message: { url?: string; figures?: object[] }) => {
        if (message?.figures !== undefined) onFigures(child.pid!, message.figures);
        if (message?.url === undefined) return; // a message of the runtime itself
        isListening = true;
        if (isReady) tellReady(child);
        resolve(message.url);
      });
      child.on("error", (error) => reject(cannotStart(error)));
      child.on("exit", (code, signal) => {
        running.delete(child);
        onFigures(child.pid!, undefined);
        reject(new WorkerEnded());
        if (!isStopping && (isListening || running.size > 0)) replace(child, signal ?? `code ${code}`);
      });
    });

  function forkOrTell(): ChildProcess {
    try {
      return fork(env);
    } catch (error) {
      throw cannotStart(error); // Deno without permission
    }
  }

  function replace({ pid }: ChildProcess, how: string): void {
    console.error(`jwt-endpoints: worker ${pid} ended (${how}) and is replaced`);
    const now = performance.now();
    deaths.push(now);
    if (deaths.filter((at) => now - at < deathsMs).length <= deathsAllowed) return void add().catch(() => {});
    console.error(`jwt-endpoints: ${deathsAllowed + 1} workers ended within ${deathsMs / 1000} s; giving up`);
    kill();
    onGivenUp();
  }

  function send(child: ChildProcess, signal: NodeJS.Signals): void {
    try {
      process.kill(child.pid!, signal);
    } catch {
      // It has ended, and its event comes in a moment.
    }
  }

  function kill(): void {
    isStopping = true;
    for (const child of running) send(child, "SIGKILL");
  }

  const url = await add();
  await Promise.all(Array.from({ length: workers - 1 }, () => add().catch(() => {}))); // `replace` deals with failures
  return {
    url,
    becomeReady() {
      isReady = true;
      for (const child of running) tellReady(child);
    },
    stop: () =>
      new Promise((resolve) => {
        isStopping = true;
        const look = () => running.size === 0 && resolve();
        for (const child of running) {
          child.on("exit", look);
          send(child, "SIGTERM");
        }
        look();
      }),
    kill,
  };
}

/** Says that a worker ended before it listened. The worker itself has printed why. */
export class WorkerEnded extends Error {}

/** Ignores a failure: a worker that can't be told has ended and is replaced. */
const tellReady = (child: ChildProcess): void => void child.send({ isReady: true }, () => {});

const cannotStart = (cause: unknown): UsageError =>
  new UsageError(`can't start a worker: ${(cause as Error).message}`, { cause });

/**
 * Returns the port, or a free one for 0.
 * @throws when it is in use. Servers that share ports would not notice another server there.
 */
export function freePort({ host, port }: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, host, () => {
      const { port: free } = server.address() as AddressInfo;
      server.close(() => resolve(free));
    });
  });
}

/** Gives a worker the port that all share, and its share of the hashes that the machine can compute at once. */
export function adaptToWorker(options: ServerOptions): void {
  const workers = workerCount();
  if (workers === undefined) return;
  options.port = workerPort() ?? options.port;
  const { settings } = options;
  settings.hashing = { concurrency: hashesPerWorker(workers), ...(settings.hashing as object | undefined) };
}
