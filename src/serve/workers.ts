/**
 * `--workers N`: N processes that serve one address on one store, and the one that was started, which watches them. It
 * answers no requests: it makes what there must be one of, replaces a worker that dies, and stops them all.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type AddressInfo, createServer } from "node:net";
import { availableParallelism } from "node:os";
import process from "node:process";
import { setInterval } from "node:timers";
import type { ServerOptions } from "../program/options.ts";
import { UsageError } from "../program/problem.ts";

/** Set in workers alone: how many they are, the port they share. */
const [countVariable, portVariable] = ["JWT_ENDPOINTS_WORKERS", "JWT_ENDPOINTS_PORT"];
/** The id of the process that watches. */
const watcherVariable = "JWT_ENDPOINTS_WATCHER";
/** How often a worker looks whether that one lives. */
const watcherMs = 250;
/** How often workers may die, before all is given up: this many times in so many milliseconds. */
const [deathsAllowed, deathsMs] = [5, 10_000];

/** Starts another process of the program with these variables, and with a channel for messages. */
export type Fork = (env: Record<string, string>, options: ServerOptions) => ChildProcess;

/**
 * How runtimes do it whose servers share a port by themselves (`SO_REUSEPORT`).
 * @param runArgs returns what comes before the program in the runtime's own arguments.
 */
export const forkWith =
  (runArgs: (options: ServerOptions) => string[]): Fork =>
  (env, options) =>
    spawn(process.execPath, [...runArgs(options), process.argv[1]!, ...process.argv.slice(2)], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });

/** How many workers there are, in one of them; else `undefined`. */
export const workerCount = (): number | undefined => Number(process.env[countVariable]) || undefined;

/** The port of a worker; else `undefined`. */
export const workerPort = (): number | undefined => Number(process.env[portVariable]) || undefined;

/** Of the hashes that the machine can compute at once, a worker's share. */
export const hashesPerWorker = (workers: number): number => Math.ceil(availableParallelism() / workers);

/** Tells the process that watches where a worker listens. */
export const tellListening = (url: string): void => void process.send?.({ url });

/** Calls when the watcher says that the server as a whole is ready. */
export const whenReady = (call: () => void): void =>
  void process.on("message", (message: { isReady?: boolean }) => message?.isReady && call());

/** Calls when the watcher has ended, of which the channel alone tells nothing to one that still starts. */
export function whenWatcherIsGone(call: () => void): void {
  const watcher = Number(process.env[watcherVariable]);
  process.on("disconnect", call);
  setInterval(() => process.ppid !== watcher && call(), watcherMs).unref();
}

export interface Workers {
  url: string;
  /** Lets `/readyz` say so, in all of them and in those to come. */
  becomeReady(): void;
  /** Stops them all, and resolves when they have ended. */
  stop(): Promise<void>;
  kill(): void;
}

/**
 * Starts the workers, the first one alone: what it can't do, none can.
 * @param onGivenUp called when they keep dying and have been stopped.
 * @throws {WorkerEnded} when the first worker ends before it listens; it has said why.
 */
export async function startWorkers(
  fork: (env: Record<string, string>) => ChildProcess,
  { workers, port }: { workers: number; port: number },
  onGivenUp: () => void,
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
      child.on("message", (message: { url?: string }) => {
        if (message?.url === undefined) return; // the runtime's own
        isListening = true;
        if (isReady) tellReady(child);
        resolve(message.url);
      });
      child.on("error", (error) => reject(cannotStart(error)));
      child.on("exit", (code, signal) => {
        running.delete(child);
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

  function kill(): void {
    isStopping = true;
    for (const child of running) process.kill(child.pid!, "SIGKILL");
  }

  const url = await add();
  await Promise.all(Array.from({ length: workers - 1 }, () => add().catch(() => {}))); // replaced, or given up
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
          process.kill(child.pid!, "SIGTERM");
        }
        look();
      }),
    kill,
  };
}

/** A worker ended before it listened, and has said itself what was wrong. */
export class WorkerEnded extends Error {}

/** One that dies meanwhile is replaced. */
const tellReady = (child: ChildProcess): void => void child.send({ isReady: true }, () => {});

const cannotStart = (cause: unknown): UsageError =>
  new UsageError(`can't start a worker: ${(cause as Error).message}`, { cause });

/** The port, or one for 0; where ports are shared, a second server on it would go unnoticed. */
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
