/** The table of the server program's own options, and the limits among them. */
import { SettingError } from "../index.ts";
import { parseDuration, quoted } from "../settings/values.ts";
import type { ServerOption } from "./server-flags.ts";

/** The store where neither flag nor variable names one. */
export const defaultStore = "file:./data";

/** Limits of the HTTP server itself, of each process. Not every runtime's server has all of them. */
export interface Limits {
  /** How long the headers of a request may take to arrive, in milliseconds. */
  headersTimeout: number;
  /** How long a whole request may take to arrive, in milliseconds. */
  requestTimeout: number;
  /** The most bytes of a request's headers. */
  maxHeaderSize: number;
  /** The most connections at once. */
  maxConnections: number;
}

/** The longest time that a client may take, in seconds. */
const mostTimeout = 600;
/** A token in a header must fit, and no client may fill the memory. */
const [leastHeaderSize, mostHeaderSize] = [1024, 1_048_576];

/** The options that the program has besides the settings of the endpoints. */
export const serverOptions: Omit<ServerOption, "flag">[] = [
  { name: "host", env: "HOST", form: "text", default: "127.0.0.1", description: "Address to listen on." },
  { name: "port", env: "PORT", form: "number", default: 8000, description: "Port to listen on; 0 takes a free one." },
  {
    name: "store",
    env: "JWT_STORE",
    form: "text",
    default: defaultStore,
    description:
      "Where users and sessions are kept: `memory:`, `file:./folder` or `postgres://user:password@host/database`.",
  },
  {
    name: "requestLog",
    env: "JWT_REQUEST_LOG",
    form: "boolean",
    default: true,
    description: "Write one log line for each request.",
  },
  {
    name: "auditLog",
    env: "JWT_AUDIT_LOG",
    form: "text",
    default: "stderr",
    description: "Where audit events go: `stderr`, `off`, or a file that servers and commands append to.",
  },
  {
    name: "metrics",
    env: "JWT_METRICS",
    form: "text",
    default: "",
    description: "Address that serves `/metrics`, such as `127.0.0.1:9464`; nowhere by default.",
  },
  {
    name: "openapi",
    env: "JWT_OPENAPI",
    form: "boolean",
    default: true,
    description: "Serve the OpenAPI document at `/openapi.json`.",
  },
  {
    name: "docs",
    env: "JWT_DOCS",
    form: "boolean",
    default: undefined,
    description: "Serve the OpenAPI document as a page at `/docs`. On for a loopback address, off for others.",
  },
  {
    name: "console",
    env: "JWT_CONSOLE",
    form: "boolean",
    default: undefined,
    description: "Serve a page at `/` that tries the endpoints. On for a loopback address, off for others.",
  },
  {
    name: "workers",
    env: "JWT_WORKERS",
    form: "number",
    default: 1,
    description: "Processes that serve the address together, on a store they can share.",
  },
  {
    name: "headersTimeout",
    env: "JWT_HEADERS_TIMEOUT",
    form: "duration",
    default: "10s",
    description: "How long the headers of a request may take to arrive; 0 is as long as `requestTimeout`.",
  },
  {
    name: "requestTimeout",
    env: "JWT_REQUEST_TIMEOUT",
    form: "duration",
    default: "30s",
    description: "How long a whole request may take to arrive; 0 is no limit.",
  },
  {
    name: "maxHeaderSize",
    env: "JWT_MAX_HEADER_SIZE",
    form: "number",
    default: 16_384,
    description: "Most bytes in the headers of a request.",
  },
  {
    name: "maxConnections",
    env: "JWT_MAX_CONNECTIONS",
    form: "number",
    default: 10_000,
    description: "Most connections of a process at once; 0 is no limit.",
  },
];

/** The limits where nothing else is given. */
export const defaultLimits: Limits = readLimits(
  Object.fromEntries(serverOptions.map(({ name, default: value }) => [name, value])) as never,
);

/** @throws {SettingError} for a limit that can't work. */
export function readLimits(given: Record<keyof Limits, number | string>): Limits {
  const inMs = (name: "headersTimeout" | "requestTimeout"): number => {
    const seconds = parseDuration(given[name]);
    if (seconds !== undefined && seconds <= mostTimeout) return Math.round(seconds * 1000);
    const shown = quoted(given[name]);
    throw new SettingError(
      `setting ${name}: ${shown} is not a time limit; accepted: 0, or text such as "10s", up to "10m"`,
    );
  };
  const [forHeaders, requestTimeout] = [inMs("headersTimeout"), inMs("requestTimeout")];
  // The headers are a part of the request, and Node refuses a longer time for them.
  const headersTimeout = requestTimeout === 0 ? forHeaders : Math.min(forHeaders || requestTimeout, requestTimeout);
  const [maxHeaderSize, maxConnections] = [Number(given.maxHeaderSize), Number(given.maxConnections)];
  if (maxHeaderSize < leastHeaderSize || maxHeaderSize > mostHeaderSize) {
    const accepted = `accepted: ${leastHeaderSize} to ${mostHeaderSize} bytes`;
    throw new SettingError(`setting maxHeaderSize: ${maxHeaderSize} is out of range; ${accepted}`);
  }
  return { headersTimeout, requestTimeout, maxHeaderSize, maxConnections };
}
