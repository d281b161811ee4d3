/** The server program, the same on every runtime: options, store, keys, first user, listen, log, stop. */
import { isIP } from "node:net";
import process from "node:process";
import { setInterval } from "node:timers";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { type JwtEndpoints, type JwtEndpointsSettings, type Store, createJwtEndpoints } from "../index.ts";
import { fail } from "../errors.ts";
import { serverArguments, wantsInformation } from "../program/command-line.ts";
import { loadOptions } from "../program/config-file.ts";
import { createHasher } from "../program/hasher.ts";
import { keySettings } from "../program/key-settings.ts";
import { type ServerOptions, guardsFor } from "../program/options.ts";
import { UsageError, problemOf } from "../program/problem.ts";
import { openStore, shownUrl } from "../stores/open.ts";
import type { Metrics } from "./metrics.ts";
import { startWarnings } from "./warnings.ts";
import { describeApi, withConsole, withDocs } from "./pages.ts";
import { type AuditLog, logEvent, openAuditLog } from "./event-log.ts";
import { introduceFirstUser } from "./first-user.ts";
import type { Runtime } from "./runtime.ts";
import { type Output, UnderWay, sendTo, takeOver, withRequestLog, withUnderWay } from "./request-log.ts";
import { type End, endWith, lastLinesMs, stopOnSignal, stopWithWatcher, whenAnswered } from "./shutdown.ts";
import {
  WorkerEnded,
  freePort,
  startWorkers,
  tellListening,
  whenReady,
  adaptToWorker,
  withinCores,
  workerCount,
} from "./workers.ts";

/** How often expired facts are dropped from the store, in milliseconds. */
const flushMs = 600_000;
/** How long after a failure the first user is tried again, in milliseconds. */
const introduceAgainMs = 5000;

/** Runs the server until a signal stops it. An error that the operator can mend is one line and exit code 1. */
export async function start(runtime: Runtime): Promise<void> {
  const { listen, fork, send = { stdout: sendTo(process.stdout), stderr: sendTo(process.stderr) } } = runtime;
  const args = serverArguments(process.argv);
  const output = takeOver(send);
  const end = endWith(output);
  let prepared: Prepared | undefined;
  try {
    if (wantsInformation(args)) {
      const { informationFor } = await import("../program/information.ts");
      return console.log(await informationFor(args, process.env));
    }
    const options = await loadOptions(args, process.env);
    prepared = await prepare(options, runtime.limitsHashes);
    const { endpoints, store, readiness, auditLog } = prepared;
    readiness.isReady = false;
    const started: Started = { prepared, options, runtime, output };
    const isWorker = workerCount() !== undefined;
    if (options.workers > 1 && !isWorker) return await watchWorkers(started, fork, end);

    if (!isWorker) output.stdout.writeAlone();
    const underWay = new UnderWay();
    const served = withDocs(endpoints.handle, options);
    const handle = options.requestLog
      ? withRequestLog(served, underWay, output, runtime.now)
      : withUnderWay(served, underWay);
    const { metrics } = prepared;
    const counted = metrics?.counted(handle, endpoints.settings.prefix) ?? handle;
    const whole = withConsole(counted, endpoints.settings, options);
    const server = await listen(whole, options, isWorker).catch(cannotListen(options));
    const stop = async (): Promise<void> => {
      await Promise.race([server.close(), whenAnswered(underWay)]);
      await Promise.all([store.close(), auditLog.drain(lastLinesMs)]);
    };
    const giveUp = () => store.close();
    const becomeReady = () => void (readiness.isReady = true);
    if (metrics !== undefined) {
      const { serveMetrics, tellRegularly } = await import("./metrics.ts");
      if (isWorker) tellRegularly(metrics);
      else await serveMetrics(options, server.url, async () => [await metrics.figures()]);
    }
    if (isWorker) {
      stopWithWatcher(stop, giveUp, end);
      whenReady(becomeReady);
      tellListening(server.url);
    } else {
      stopOnSignal(stop, giveUp, end);
      await announce(server.url, started, becomeReady);
    }
  } catch (error) {
    await prepared?.store.close();
    if (!(error instanceof WorkerEnded)) console.error(`jwt-endpoints: ${problemOf(error)}`);
    await end(1);
  }
}

export interface Prepared {
  endpoints: JwtEndpoints;
  store: Store;
  /** Until it is ready, `/readyz` returns 503 whatever the store says. */
  readiness: { isReady: boolean };
  auditLog: AuditLog;
  /** `undefined` unless `/metrics` is on. */
  metrics: Metrics | undefined;
  /**
   * Gives a store that never had a user its first one. Its password is printed once and never stored.
   * @param address the URL in front of `/jwt/`.
   * @param print resolves to whether the text is out.
   * @param onMade called when the store has a user, or needs none.
   */
  introduce(address: string, print: (text: string) => Promise<boolean>, onMade?: () => void): Promise<void>;
}

/**
 * Prepares everything but the listening: checks the settings, opens the store, and makes a key where there is none.
 * @param limitsHashes as in {@link Runtime}.
 * @throws {SettingError} for a wrong setting, before anything is opened or made.
 */
export async function prepare(options: ServerOptions, limitsHashes = false): Promise<Prepared> {
  adaptToWorker(options);
  const endpointsWith = async (given: Partial<JwtEndpointsSettings>): Promise<JwtEndpoints> => {
    const settings = { ...options.settings, ...given } as unknown as JwtEndpointsSettings;
    const endpoints = createJwtEndpoints({ ...guardsFor(settings), ...settings });
    await endpoints.ready().catch(unlessReadable);
    return endpoints;
  };
  // The first endpoints only check the settings; they log nothing, so that each warning comes once.
  const trial = { store: await openStore("memory:"), log: () => {} };
  await endpointsWith({ ...trial, ...(await keySettings(options, "try")) });
  const auditLog = openAuditLog(options.auditLog);
  const metrics = options.metrics === "" ? undefined : (await import("./metrics.ts")).createMetrics(options);
  const store = await openStore(options.store, { onSync: metrics?.onSync });
  try {
    const readiness = { isReady: true };
    const watched = withReadiness(store, readiness);
    const endpoints = await endpointsWith({
      store: metrics?.timed(watched) ?? watched,
      log: logEvent,
      ...(limitsHashes && withinCores(options)),
      ...(options.openapi && { openapi: describeApi }),
      ...(auditLog.record && { audit: auditLog.record }),
      ...(await keySettings(options, "make")),
    });
    metrics?.watch(endpoints);
    flushRegularly(store, flushMs);
    const hash = async (password: string) => (await createHasher(endpoints.settings.hashing)).hash(password);
    return {
      endpoints,
      store,
      readiness,
      auditLog,
      metrics,
      introduce: (address, print, onMade = () => {}) =>
        introduceFirstUser(store, {
          hash,
          onMade,
          tell: (password) => print(credentials(password, address, endpoints)),
        }),
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Lets a store that was opened but takes no writes pass, on a full disk for one: it has logged so, and tokens verify. */
function unlessReadable(error: { code?: unknown }): void {
  if (error.code !== "STORE_UNAVAILABLE") throw error;
}

/** Makes `ping`, which `/readyz` calls, fail until the server is ready. */
const withReadiness = (store: Store, readiness: { isReady: boolean }): Store => ({
  ...store,
  ping() {
    if (!readiness.isReady) throw fail("store_unavailable", { text: "The server is starting.", retryAfter: 1 });
    return store.ping();
  },
});

/**
 * Drops expired facts from the store at an interval. A failure is logged once, until it works again.
 * @param ms the interval in milliseconds.
 */
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

/** A server that was prepared, for what it prints once it listens. */
interface Started {
  prepared: Prepared;
  options: ServerOptions;
  runtime: Runtime;
  output: Output;
}

/** Runs the process that watches the workers: starts them, prints where they listen, and makes the first user. */
async function watchWorkers(started: Started, fork: Runtime["fork"], end: End): Promise<void> {
  const { options, prepared } = started;
  const port = await freePort(options).catch(cannotListen(options));
  const forkHere = (env: Record<string, string>) => fork(env, { ...options, port });
  const figures = new Map<number, object[]>();
  const onFigures = (pid: number, latest: object[] | undefined): void => {
    if (latest === undefined) figures.delete(pid);
    else figures.set(pid, latest);
  };
  const workers = await startWorkers(forkHere, { ...options, port }, () => void end(1), onFigures);
  if (options.metrics !== "") {
    const { serveMetrics } = await import("./metrics.ts");
    await serveMetrics(options, workers.url, async () => [...figures.values()]);
  }
  stopOnSignal(workers.stop, workers.kill, end);
  await announce(workers.url, started, workers.becomeReady);
  await prepared.store.close(); // each worker has opened its own
}

/** Words a failure to listen. Runtimes share no code for an address that does not exist, so their own reason is shown. */
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

/**
 * Prints where and how the server runs, then gives the store its first user. That is tried again until it works.
 * @param onMade called when the store has a user, or needs none.
 */
async function announce(
  listening: string,
  { prepared, options, runtime, output }: Started,
  onMade: () => void,
): Promise<void> {
  for (const warning of startWarnings(options, serverArguments(process.argv), runtime)) logEvent(warning);
  const { endpoints, introduce } = prepared;
  const url = urlByName(listening, options.host);
  const address = url + endpoints.settings.prefix;
  console.log(`address  ${address}/jwt/`);
  if (options.console) console.log(`console  ${url}/`);
  if (options.docs) console.log(`docs     ${url}/docs`);
  console.log(`store    ${shownUrl(options.store)}`);
  if (options.workers > 1) console.log(`workers  ${options.workers}`);
  console.log(`profile  ${endpoints.settings.responses}`);
  console.log(`runtime  ${runtime.name}`);
  const print = (text: string) => {
    console.log(text);
    return output.stdout.drain(lastLinesMs);
  };
  await turn(); // the lines go out before a password is hashed
  for (let isFailing = false; ; isFailing = true) {
    try {
      return await introduce(address, print, onMade);
    } catch (error) {
      if (!isFailing) console.error(`jwt-endpoints: no first user was made: ${problemOf(error)}`);
      await sleep(introduceAgainMs);
    }
  }
}

/** Returns the URL under the name that `--host` gave, such as `localhost`; the same URL where that is an address. */
function urlByName(listening: string, host: string): string {
  if (isIP(host) !== 0) return listening;
  const url = new URL(listening);
  url.hostname = host;
  return url.origin;
}

/** Words the first user's password, with a command to paste. */
function credentials(password: string, address: string, { settings }: JwtEndpoints): string {
  const body = JSON.stringify({ [settings.usernameField]: "admin", password });
  const command = `curl -X POST ${address}/jwt/create/ -H 'Content-Type: application/json' -d '${body}'`;
  const introduction = `The store was empty. It now has the user "admin" with this password, shown only once: ${password}`;
  return `\n${introduction}\nTry it:\n  ${command}\n`;
}
