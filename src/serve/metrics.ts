/** Figures for Prometheus, in OpenMetrics text, at an address of their own. Loaded only with `--metrics`. */
import { createServer } from "node:http";
import { setInterval } from "node:timers";
import process from "node:process";
import prom from "prom-client";
import type { JwtEndpoints, Store, User } from "../index.ts";
import { after, isPromise } from "../maybe-promise.ts";
import { firstKeySet, readStoredKeys } from "../program/key-file.ts";
import { type ServerOptions, isLoopback } from "../program/options.ts";
import { UsageError } from "../program/problem.ts";
import { version } from "../program/version.ts";
import { storeFolder } from "../stores/open.ts";
import type { GuardedFact, LatestState } from "../stores/store.ts";
import type { Handle } from "../http/message.ts";
import { onceByKind } from "./request-line.ts";
import { tellFigures } from "./workers.ts";

/** How often a worker hands its figures to the watcher, in milliseconds. */
const tellMs = 1000;
/** Bounds of the histograms, in seconds: a verify takes 0.05 ms, a login 0.1 s and more. */
const buckets = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const contentType = prom.Registry.OPENMETRICS_CONTENT_TYPE;

/** The methods of a store that requests wait for. A store has not all of them. */
const timed = [
  "findUserByUsername",
  "findUserById",
  "updateUser",
  "putIfAbsent",
  "get",
  "recentState",
  "latestState",
  "addSession",
  "touchSession",
  "listSessions",
  "removeSession",
  "ping",
] as const;

/** Kinds of facts that revoke nothing: one spares a session, one holds the secret under which throttles are shared. */
const notRevoking = ["kept", "throttle"];

/** Returns what a call of the store has revoked: the kind of a fact, or all tokens of a user; `undefined` for nothing. */
function revokedBy(method: (typeof timed)[number], args: unknown[], result: unknown): string | undefined {
  if (method === "updateUser") {
    const { tokensValidFrom } = args[1] as Partial<User>;
    return typeof tokensValidFrom === "number" && result !== undefined ? "user" : undefined;
  }
  const [kind, value, standing] = method === "latestState" ? writtenBy(args, result) : [args[0], args[2], result];
  const isWritten = (method === "latestState" || method === "putIfAbsent") && value !== undefined && value === standing;
  return isWritten && !notRevoking.includes(String(kind)) ? String(kind) : undefined;
}

/** Returns the fact that a look-up was to write along, and the value that stands. */
function writtenBy([, , write]: unknown[], result: unknown): [kind?: string, value?: string, standing?: string] {
  const { key, value } = (write ?? {}) as Partial<GuardedFact>;
  return [key?.[0], value, (result as LatestState).written];
}

export interface Metrics {
  /** Wraps a handler so that its requests are counted. */
  counted(handle: Handle, prefix: string): Handle;
  /** Wraps a store so that its calls are timed. */
  timed(store: Store): Store;
  /** Reads the login queue of these endpoints whenever figures are asked for. */
  watch(endpoints: JwtEndpoints): void;
  /** Receives how long a sync of the file store's journal took. */
  readonly onSync: (seconds: number) => void;
  figures(): Promise<object[]>;
}

/** Returns when the key that signs was made, in milliseconds; `undefined` unless the store's folder holds it. */
function keyTimeOf({ store, settings }: ServerOptions): number | undefined {
  const folder = storeFolder(store);
  if (folder === undefined || settings["signingKey"] !== undefined) return undefined;
  try {
    const keys = readStoredKeys(folder) ?? firstKeySet(folder, String(settings["algorithm"] ?? "HS256"));
    return Date.parse(keys.find(({ status }) => status === "active")?.created ?? "") || undefined;
  } catch {
    return undefined; // the server itself reports keys that it can't read
  }
}

/** Creates the figures of this process. */
export function createMetrics(options: ServerOptions): Metrics {
  const registry = new prom.Registry<typeof contentType>();
  registry.setContentType(contentType);
  const registers = [registry];
  const times = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new prom.Histogram({ name, help, labelNames, buckets, registers });
  const requests = times("jwt_request_seconds", "Time from request to response.", ["endpoint", "status"]);
  const help = "Time of a call of the store; writes include the sync to the disk.";
  const storeCalls = times("jwt_store_seconds", help, ["method", "outcome"]);
  const syncs = times("jwt_journal_sync_seconds", "Time of an append to the file store's journal, with its sync.", []);
  const waits = times("jwt_hash_wait_seconds", "Time that a login waited for its password hash to begin.", []);
  const revocations = new prom.Counter({
    name: "jwt_revocations",
    help: "Tokens, sessions, users and rotated refresh tokens that were recorded as revoked or used.",
    labelNames: ["kind"],
    registers,
  });
  // Aggregated over workers as one value, since all have the same.
  new prom.Gauge({
    name: "jwt_build_info",
    help: "The runtime that serves, and the version of this package.",
    labelNames: ["runtime", "version"],
    registers,
    aggregator: "max",
  })
    .labels(`${process.release.name} ${process.version}`, version)
    .set(1);
  new prom.Gauge({
    name: "jwt_key_age_seconds",
    help: "Age of the key that signs, where it is kept in the store's folder.",
    registers,
    aggregator: "max",
    collect() {
      const time = keyTimeOf(options);
      if (time !== undefined) this.set((Date.now() - time) / 1000);
    },
  });

  return {
    counted(handle, prefix) {
      // To find the histogram by its labels takes Deno 1 µs.
      const timesOf = onceByKind((_, url, status) => requests.labels(endpointOf(url, prefix), String(status)));
      return (request) => {
        const start = performance.now();
        return after(handle(request), (response) => {
          timesOf(request, response).observe((performance.now() - start) / 1000);
          return response;
        });
      };
    },
    timed(store) {
      const countFacts = store.countFacts ?? store.estimateFacts;
      if (countFacts !== undefined) {
        new prom.Gauge({
          name: "jwt_facts",
          help: "Facts that the store holds: revoked tokens, ended sessions, rotations. Expired ones count until dropped.",
          registers,
          aggregator: "max", // workers share a store, and each holds all of it
          async collect() {
            try {
              this.set(await countFacts());
            } catch {
              this.remove(); // the store is down, and the other figures are needed all the more
            }
          },
        });
      }
      const wrapped = timed.flatMap((method) => {
        if (typeof store[method] !== "function") return [];
        const [ok, failed] = [storeCalls.labels(method, "ok"), storeCalls.labels(method, "failed")];
        const call = (...args: unknown[]): unknown => {
          const start = performance.now();
          const done = (outcome: typeof ok) => outcome.observe((performance.now() - start) / 1000);
          try {
            const result = (store[method] as (...given: unknown[]) => unknown)(...args);
            const succeed = (value: unknown) => {
              done(ok);
              const kind = revokedBy(method, args, value);
              if (kind !== undefined) revocations.labels(kind).inc();
            };
            if (isPromise(result)) result.then(succeed, () => done(failed));
            else succeed(result);
            return result;
          } catch (error) {
            done(failed);
            throw error;
          }
        };
        return [[method, call] as const];
      });
      return { ...store, ...Object.fromEntries(wrapped) };
    },
    watch(endpoints) {
      const gauge = (name: string, help: string, read: () => number) =>
        new prom.Gauge({
          name,
          help,
          registers,
          collect() {
            this.set(read());
          },
        });
      gauge("jwt_hashes_running", "Password hashes that are computed.", () => endpoints.loginQueue().running);
      gauge("jwt_hashes_waiting", "Logins that wait for a password hash.", () => endpoints.loginQueue().waiting);
      endpoints.observeLoginWaits((seconds) => waits.observe(seconds));
    },
    onSync: (seconds) => syncs.observe(seconds),
    figures: () => registry.getMetricsAsJSON(),
  };
}

/**
 * Returns the label of a request: the first two parts of its path, so that neither ids nor tokens become labels.
 * @param url empty for an unknown path.
 */
function endpointOf(url: string, prefix: string): string {
  if (url === "") return "other";
  const path = /^(?:[a-z]+:\/\/[^/?#]*)?([^?#]*)/i.exec(url)![1]!;
  const own = path.startsWith(prefix) ? path.slice(prefix.length) : path;
  return own.split("/").slice(0, 3).join("/");
}

/** Whether an origin is a server's own, under the address it listens on or another name of this machine. */
function isSameServer(origin: string, url: string): boolean {
  if (!URL.canParse(origin)) return false; // a page without an origin sends null
  const [page, server] = [new URL(origin), new URL(url)];
  const isSameHost = page.hostname === server.hostname || (isLoopback(page.hostname) && isLoopback(server.hostname));
  return isSameHost && page.port === server.port && page.protocol === server.protocol;
}

/** Hands the figures of a worker to its watcher, again and again. */
export const tellRegularly = (metrics: Metrics): void =>
  void setInterval(() => void metrics.figures().then(tellFigures), tellMs).unref();

/**
 * Serves the sum of some processes' figures as `GET /metrics`.
 * @param options name the address; with the console on, its page may read the figures too.
 * @param url of the server that the figures are about.
 * @returns a function that stops it.
 * @throws {UsageError} when it can't listen there.
 */
export function serveMetrics(
  { metrics: address, console: hasConsole }: ServerOptions,
  url: string,
  figures: () => Promise<object[][]>,
): Promise<() => void> {
  const colon = address.lastIndexOf(":");
  const server = createServer(async (request, response) => {
    if (request.url !== "/metrics" || request.method !== "GET") return void response.writeHead(404).end();
    try {
      const all = prom.AggregatorRegistry.aggregate(await figures());
      all.setContentType(contentType);
      const { origin } = request.headers;
      const isConsole = hasConsole && origin !== undefined && isSameServer(origin, url);
      const cors = isConsole ? { "access-control-allow-origin": origin, vary: "origin" } : {};
      response.writeHead(200, { "content-type": contentType, ...cors }).end(await all.metrics());
    } catch (error) {
      console.error(`jwt-endpoints: /metrics failed: ${(error as Error).message}`);
      response.writeHead(500).end();
    }
  });
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      reject(new UsageError(`can't serve metrics on ${address}: ${cause.message}`, { cause }));
    });
    server.listen(Number(address.slice(colon + 1)), address.slice(0, colon).replace(/^\[|\]$/g, ""), () => {
      resolve(() => void server.close());
    });
  });
}
