/** The server program, the same on every runtime: options, store, first start, listen, log, shut down. */
import process from "node:process";
import { setInterval } from "node:timers";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type HttpRequest,
  type JwtEndpoints,
  type JwtEndpointsSettings,
  type LogEvent,
  type Store,
  createJwtEndpoints,
  createPasswords,
} from "../index.ts";
import { fail } from "../errors.ts";
import { logToStandardError } from "../settings/log.ts";
import { openStore, storeFolder } from "../stores/open.ts";
import { introduceFirstUser } from "./first-user.ts";
import {
  ensureFirstKey,
  firstKeyAsJwk,
  hasKeySet,
  newJwk,
  newSecret,
  readFirstKey,
  readKeySet,
} from "../program/key-file.ts";
import { type Handle, type Output, type Send, sendTo, takeOver, withRequestLog, withUnderWay } from "./request-log.ts";
import { type ServerOptions, helpText, readOptions } from "../program/options.ts";
import { UsageError, problemOf } from "../program/problem.ts";
import {
  type Fork,
  WorkerEnded,
  freePort,
  hashesPerWorker,
  startWorkers,
  tellListening,
  whenReady,
  whenWatcherIsGone,
  workerCount,
  workerPort,
} from "./workers.ts";

/** How often expired facts are dropped from the store. */
const flushMs = 600_000;
/** How long a request in flight may take once the server is told to stop. */
const shutdownMs = 10_000;
/** How long the rest of a request may take to come then. */
const restMs = 1000;
/** A terminal and npm send the same signal twice. */
const sameSignalMs = 1000;
/** How long after a failure the first user is tried again. */
const introduceAgainMs = 5000;
/** How long the end waits for a slow reader of the log. */
const lastLinesMs = 1000;

export interface Prepared {
  endpoints: JwtEndpoints;
  store: Store;
  /** What `/readyz` goes by, beside the store. */
  readiness: { isReady: boolean };
  /**
   * Gives a store that never had a user its first, and tells of it: its password is shown this once, never stored.
   * @param print resolves to whether the text is out.
   */
  introduce(address: string, print: (text: string) => Promise<boolean>, onMade?: () => void): Promise<void>;
}

/** Everything but the listening: checks settings, opens the store, makes a key where none is. */
export async function prepare(options: ServerOptions): Promise<Prepared> {
  adaptToWorker(options);
  const endpointsWith = async (given: Partial<JwtEndpointsSettings>): Promise<JwtEndpoints> => {
    const endpoints = createJwtEndpoints({ ...options.settings, ...given } as unknown as JwtEndpointsSettings);
    await endpoints.ready().catch(unlessReadable);
    return endpoints;
  };
  // Wrong settings show before anything is opened or made; warnings are for those that are used.
  const trial = { store: await openStore("memory:"), log: () => {} };
  await endpointsWith({ ...trial, ...(await keySettings(options, { makes: false })) });
  const store = await openStore(options.store);
  try {
    const log = { log: workerCount() === undefined ? logToStandardError : logOfWorker };
    const readiness = { isReady: true };
    const served: Store = {
      ...store,
      ping() {
        if (!readiness.isReady) throw fail("store_unavailable", { text: "The server is starting.", retryAfter: 1 });
        return store.ping();
      },
    };
    const keys = await keySettings(options, { makes: true });
    const endpoints = await endpointsWith({ store: served, ...log, ...keys });
    flushRegularly(store, flushMs);
    const hash = (password: string) => createPasswords(endpoints.settings.hashing).hash(password);
    const introduce: Prepared["introduce"] = (address, print, onMade = () => {}) =>
      introduceFirstUser(store, { hash, onMade, tell: (password) => print(credentials(password, address, endpoints)) });
    return { endpoints, store, readiness, introduce };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** A store that could be opened and takes no writes, on a full disk for one, has said so, and tokens can be verified. */
function unlessReadable(error: { code?: unknown }): void {
  if (error.code !== "STORE_UNAVAILABLE") throw error;
}

/** The process that watches the workers has told what it would tell of the settings. */
function logOfWorker(event: LogEvent): void {
  if (event.code !== "setting_without_effect" && event.code !== "weak_setting") logToStandardError(event);
}

/** Drops expired facts now and then. A failure is told once, until it works again. */
export function flushRegularly(store: Store, ms: number): void {
  let isFailing = false;
  const flush = async (): Promise<void> => {
    try {
      await store.flushExpired();
      isFailing = false;
    } catch (error) {
      if (!isFailing) console.error(`jwt-endpoints: expired facts stay in the store: ${problemOf(error)}`);
      isFailing = true;
    }
  };
  setInterval(() => void flush(), ms).unref();
}

/** Unless it is set, how many hashes are computed at once is a matter of the machine, not of each worker. */
function adaptToWorker(options: ServerOptions): void {
  const workers = workerCount();
  if (workers === undefined) return;
  options.port = workerPort() ?? options.port;
  const { settings } = options;
  settings.hashing = { concurrency: hashesPerWorker(workers), ...(settings.hashing as object | undefined) };
}

/**
 * The settings that say which keys there are. A file store's folder holds its own, which may change while the server
 * runs; `--signing-key` stands beside them, and a server that is told where others' public keys are makes none.
 * @param makes whether a key may be put into the folder; without, a key that is to come is only tried out.
 */
async function keySettings(
  { store, settings }: ServerOptions,
  { makes }: { makes: boolean },
): Promise<Partial<JwtEndpointsSettings>> {
  const { signingKey, algorithm = "HS256" } = settings as { signingKey?: string; algorithm?: string };
  const given = signingKey === undefined ? {} : { signingKey };
  const folder = storeFolder(store);
  const onlyVerifies = settings.jwkUrl !== undefined || settings.verifyingKey !== undefined;
  const needsKey = signingKey === undefined && !onlyVerifies;
  const fresh = async () => (/^(RS|PS|ES|EdDSA)/.test(algorithm) ? newJwk(algorithm) : newSecret());
  if (folder === undefined) return needsKey ? { signingKey: await fresh() } : given;
  const ring = () => readKeySet(folder, settings.algorithm as string | undefined);
  if (hasKeySet(folder) || signingKey !== undefined) return { ...given, keys: ring };
  if (!needsKey) return given;
  const first = readFirstKey(folder) ?? (makes ? ensureFirstKey(folder, await fresh()) : undefined);
  if (!makes) return { signingKey: first ?? (await fresh()) };
  // Not as `signingKey`, which would stay good for as long as the server runs.
  const active = { ...firstKeyAsJwk(first!), alg: algorithm };
  return { keys: () => ring() ?? { active } };
}

export interface Listening {
  /** Such as `http://127.0.0.1:8000`. */
  url: string;
  /** Takes no more requests, and resolves when those under way are answered. */
  close(): Promise<void>;
}

/**
 * What an entry file brings: its runtime's server around the handler's plain handle. Rejects when it can't listen.
 * @param isShared whether other processes listen on the same address.
 */
export type Listen = (handle: Handle, address: { host: string; port: number }, isShared: boolean) => Promise<Listening>;

/**
 * Runs the server until it is told to stop; a mistake of whoever starts it is one line and exit code 1.
 * @param send how to write to the standard streams, where those of `node:process` block.
 */
export async function start(
  runtime: string,
  listen: Listen,
  fork: Fork,
  send: Record<"stdout" | "stderr", Send> = { stdout: sendTo(process.stdout), stderr: sendTo(process.stderr) },
): Promise<void> {
  const args = process.argv.slice(2);
  if (args.includes("--help") || args.includes("-h")) return console.log(helpText());
  const output = takeOver(send);
  const end = endWith(output);
  let prepared: Prepared | undefined;
  try {
    const options = readOptions(args, process.env);
    const isWorker = workerCount() !== undefined;
    prepared = await prepare(options);
    const { endpoints, store, readiness } = prepared;
    const becomeReady = () => void (readiness.isReady = true);
    readiness.isReady = false;
    if (options.workers > 1 && !isWorker) return await watchWorkers(prepared, options, runtime, fork, output, end);
    const { prefix } = endpoints.settings;
    const underWay = new Set<HttpRequest>();
    const handle = options.requestLog
      ? withRequestLog(endpoints.handle, underWay, prefix, output)
      : withUnderWay(endpoints.handle, underWay);
    const server = await listen(handle, options, isWorker).catch(cannotListen(options));
    const stop = async (): Promise<void> => {
      await Promise.race([server.close(), whenAnswered(underWay)]);
      await store.close();
    };
    const giveUp = () => store.close();
    if (!isWorker) {
      stopWhenAsked(stop, giveUp, end);
      return await announce(server.url, prepared, options, runtime, output, becomeReady);
    }
    stopWithWatcher(stop, giveUp, end);
    whenReady(becomeReady);
    tellListening(server.url);
  } catch (error) {
    await prepared?.store.close();
    if (!(error instanceof WorkerEnded)) console.error(`jwt-endpoints: ${problemOf(error)}`);
    await end(1);
  }
}

type End = (code: number) => Promise<never>;

/** Ends the process, with the last lines of the log. */
const endWith =
  ({ stdout, stderr }: Output): End =>
  async (code) => {
    await Promise.all([stdout.drain(lastLinesMs), stderr.drain(lastLinesMs)]);
    process.exit(code);
  };

/** Resolves when all that came whole within some time is answered; the rest ends with the process. */
async function whenAnswered(underWay: Set<HttpRequest>): Promise<void> {
  await sleep(restMs);
  do
    await sleep(50); // also for the last answers to leave
  while ([...underWay].some((asked) => !asked.isReading));
}

/** The first signal stops, with time for requests under way; the second ends at once. */
function stopWhenAsked(stop: () => Promise<void>, giveUp: () => unknown, end: End): void {
  let since: number | undefined;
  const asked = async (): Promise<void> => {
    if (since !== undefined) {
      if (performance.now() - since < sameSignalMs) return;
      giveUp();
      process.exit(1);
    }
    since = performance.now();
    setTimeout(() => void Promise.resolve(giveUp()).finally(() => end(1)), shutdownMs);
    await stop();
    await end(0);
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => void asked());
}

/** A worker stops when it is told to, however often: a terminal and some supervisors tell it besides who watches it. */
function stopWithWatcher(stop: () => Promise<void>, giveUp: () => unknown, end: End): void {
  let stopping: Promise<void> | undefined;
  const told = () => {
    if (stopping !== undefined) return;
    setTimeout(() => void Promise.resolve(giveUp()).finally(() => end(1)), shutdownMs);
    stopping = stop().then(() => end(0));
  };
  process.on("SIGTERM", told);
  whenWatcherIsGone(told);
  for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
}

async function watchWorkers(
  prepared: Prepared,
  options: ServerOptions,
  runtime: string,
  fork: Fork,
  output: Output,
  end: End,
): Promise<void> {
  const port = await freePort(options).catch(cannotListen(options));
  const forkHere = (env: Record<string, string>) => fork(env, { ...options, port });
  const workers = await startWorkers(forkHere, { ...options, port }, () => void end(1));
  stopWhenAsked(workers.stop, workers.kill, end);
  await announce(workers.url, prepared, options, runtime, output, workers.becomeReady);
  await prepared.store.close(); // the workers have their own
}

/** Runtimes have no code in common for an address that is none; what they throw then says it. */
const cannotListen =
  ({ host, port }: ServerOptions) =>
  (cause: Error): never => {
    if (cause instanceof TypeError) throw cause;
    const isInUse = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
    const reason = cause.message.split("\n", 1)[0]!;
    const message = isInUse
      ? `port ${port} of ${host} is in use`
      : `can't listen on port ${port} of ${host}: ${reason}`;
    throw new UsageError(message, { cause });
  };

async function announce(
  url: string,
  { endpoints, introduce }: Prepared,
  options: ServerOptions,
  runtime: string,
  { stdout }: Output,
  onMade: () => void,
): Promise<void> {
  const address = url + endpoints.settings.prefix;
  console.log(`address  ${address}/jwt/`);
  console.log(`store    ${options.store}`);
  if (options.workers > 1) console.log(`workers  ${options.workers}`);
  console.log(`profile  ${endpoints.settings.responses}`);
  console.log(`runtime  ${runtime}`);
  const print = (text: string) => {
    console.log(text);
    return stdout.drain(lastLinesMs);
  };
  for (let isFailing = false; ; isFailing = true) {
    try {
      return await introduce(address, print, onMade);
    } catch (error) {
      if (!isFailing) console.error(`jwt-endpoints: no first user was made: ${problemOf(error)}`);
      await sleep(introduceAgainMs);
    }
  }
}

function credentials(password: string, address: string, { settings }: JwtEndpoints): string {
  const body = JSON.stringify({ [settings.usernameField]: "admin", password });
  const command = `curl -X POST ${address}/jwt/create/ -H 'Content-Type: application/json' -d '${body}'`;
  const told = `The store was empty. It now has the user "admin" with this password, shown only once: ${password}`;
  return `\n${told}\nTry it:\n  ${command}\n`;
}
