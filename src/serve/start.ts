/** The server program, the same on every runtime: options, store, first start, listen, log, shut down. */
import { randomBytes } from "node:crypto";
import process from "node:process";
import { setInterval } from "node:timers";
import {
  type JwtEndpoints,
  type JwtEndpointsSettings,
  type LogEvent,
  type Store,
  createJwtEndpoints,
  createPasswords,
} from "../index.ts";
import { logToStandardError } from "../settings.ts";
import { openStore, storeFolder } from "../stores/open.ts";
import { ensureFirstKey, firstKeyAsJwk, hasKeyRing, newJwk, newSecret, readFirstKey, readKeyRing } from "./key-file.ts";
import { type Output, type Send, type Step, sendTo, takeOver, withRequestLog } from "./log.ts";
import { type ServerOptions, helpText, readOptions } from "./options.ts";
import { UsageError, problemOf } from "./problem.ts";
import {
  type Fork,
  WorkerEnded,
  freePort,
  hashesPerWorker,
  startWorkers,
  tellListening,
  workerCount,
  workerPort,
} from "./workers.ts";

/** How often expired facts are dropped from the store. */
const flushMs = 600_000;
/** How long a request in flight may take once the server is told to stop. */
const shutdownMs = 10_000;
/** How long the end waits for a slow reader of the log. */
const lastLinesMs = 1000;

export interface Prepared {
  endpoints: JwtEndpoints;
  store: Store;
  /** Gives a store that never had a user its first, and tells of it: its password is shown this once, never stored. */
  introduce(address: string): Promise<void>;
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
    const endpoints = await endpointsWith({ store, ...log, ...(await keySettings(options, { makes: true })) });
    flushRegularly(store, flushMs);
    const introduce = async (address: string) => tellOf(await addFirstUser(store, endpoints), address, endpoints);
    return { endpoints, store, introduce };
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
  if (event.code !== "setting_without_effect") logToStandardError(event);
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
  const ring = () => readKeyRing(folder, settings.algorithm as string | undefined);
  if (hasKeyRing(folder) || signingKey !== undefined) return { ...given, keys: ring };
  if (!needsKey) return given;
  const first = readFirstKey(folder) ?? (makes ? ensureFirstKey(folder, await fresh()) : undefined);
  if (!makes) return { signingKey: first ?? (await fresh()) };
  // Not as `signingKey`, which would stay good for as long as the server runs.
  const active = { ...firstKeyAsJwk(first!), alg: algorithm };
  return { keys: () => ring() ?? { active } };
}

/** A store that never had a user gets `admin`; of several processes that start at once, one makes it. */
async function addFirstUser(store: Store, { settings }: JwtEndpoints): Promise<string | undefined> {
  for await (const _ of store.listUsers() as AsyncIterable<unknown>) return undefined;
  if ((await store.peek("setup", "first-user")) !== undefined) return undefined; // all users were removed since
  const password = randomBytes(12).toString("base64url");
  const passwords = createPasswords(settings.hashing);
  try {
    await store.addUser({ username: "admin", passwordHash: await passwords.hash(password) });
  } catch (error) {
    if ((error as { code?: unknown }).code === "USER_EXISTS") return undefined;
    throw error;
  }
  await store.claim("setup", "first-user", "made", Number.MAX_SAFE_INTEGER);
  return password;
}

export interface Listening {
  /** Such as `http://127.0.0.1:8000`. */
  url: string;
  /** Takes no more requests, and resolves when those under way are answered. */
  close(): Promise<void>;
}

/**
 * What an entry file brings: its runtime's server around the handler's plain step. Rejects when it can't listen.
 * @param isShared whether other processes listen on the same address.
 */
export type Listen = (step: Step, address: { host: string; port: number }, isShared: boolean) => Promise<Listening>;

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
    const { endpoints, store } = prepared;
    if (options.workers > 1 && !isWorker) return await watchWorkers(prepared, options, runtime, fork, end);
    const { prefix } = endpoints.settings;
    const step = options.requestLog ? withRequestLog(endpoints.answer, prefix, output) : endpoints.answer;
    const server = await listen(step, options, isWorker).catch(cannotListen(options));
    const stop = async (): Promise<void> => {
      await server.close();
      await store.close();
    };
    const giveUp = () => store.close();
    if (!isWorker) {
      stopWhenAsked(stop, giveUp, end);
      return await announce(server.url, prepared, options, runtime);
    }
    stopWithWatcher(stop, giveUp, end);
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

/** The first signal stops, with time for requests under way; the second ends at once. */
function stopWhenAsked(stop: () => Promise<void>, giveUp: () => unknown, end: End): void {
  let isStopping = false;
  const asked = async (): Promise<void> => {
    if (isStopping) {
      giveUp();
      process.exit(1);
    }
    isStopping = true;
    setTimeout(() => void Promise.resolve(giveUp()).finally(() => end(1)), shutdownMs);
    await stop();
    await end(0);
  };
  process.on("SIGTERM", () => void asked());
  process.on("SIGINT", () => void asked());
}

/** A worker stops when it is told to, however often: a terminal and some supervisors tell it besides who watches it. */
function stopWithWatcher(stop: () => Promise<void>, giveUp: () => unknown, end: End): void {
  let stopping: Promise<void> | undefined;
  const told = () => {
    setTimeout(() => void Promise.resolve(giveUp()).finally(() => end(1)), shutdownMs);
    stopping ??= stop().then(() => end(0));
  };
  process.on("SIGTERM", told);
  process.on("disconnect", told); // the watcher is gone
  process.on("SIGINT", () => {});
}

async function watchWorkers(
  prepared: Prepared,
  options: ServerOptions,
  runtime: string,
  fork: Fork,
  end: End,
): Promise<void> {
  const port = await freePort(options).catch(cannotListen(options));
  const workers = await startWorkers(fork, { ...options, port }, () => void end(1));
  stopWhenAsked(workers.stop, workers.kill, end);
  await announce(workers.url, prepared, options, runtime);
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
): Promise<void> {
  const address = url + endpoints.settings.prefix;
  console.log(`address  ${address}/jwt/`);
  console.log(`store    ${options.store}`);
  if (options.workers > 1) console.log(`workers  ${options.workers}`);
  console.log(`profile  ${endpoints.settings.responses}`);
  console.log(`runtime  ${runtime}`);
  await introduce(address).catch((error: unknown) => {
    console.error(`jwt-endpoints: no first user was made: ${problemOf(error)}`);
  });
}

function tellOf(password: string | undefined, address: string, { settings }: JwtEndpoints): void {
  if (password === undefined) return;
  const body = JSON.stringify({ [settings.usernameField]: "admin", password });
  console.log(`\nThe store was empty. It now has the user "admin" with this password, shown only once: ${password}`);
  console.log(`Try it:\n  curl -X POST ${address}/jwt/create/ -H 'Content-Type: application/json' -d '${body}'\n`);
}
