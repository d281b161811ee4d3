/** What the entry file of a runtime brings. */
import type { Handle } from "../http/message.ts";
import type { ServerOptions } from "../program/options.ts";
import type { Limits } from "../program/server-options.ts";
import type { Send } from "./request-log.ts";
import type { Fork } from "./workers.ts";

export interface Listening {
  /** Such as `http://127.0.0.1:8000`. */
  url: string;
  /** Accepts no more requests, and resolves when those under way are answered. */
  close(): Promise<void>;
}

/**
 * Listens with a runtime's own HTTP server; each entry file brings one. Rejects when it can't listen.
 * @param handle returns the response to a request; it never throws nor rejects.
 * @param isShared whether other processes listen on the same address.
 */
export type Listen = (
  handle: Handle,
  options: Pick<ServerOptions, "host" | "port" | "limits">,
  isShared: boolean,
) => Promise<Listening>;

/** What an entry file brings of its runtime. */
export interface Runtime {
  /** Name and version, such as `Node 20.19.0`. */
  name: string;
  listen: Listen;
  fork: Fork;
  /** Writes to the standard streams, where those of `node:process` block. */
  send?: Record<"stdout" | "stderr", Send>;
  /** The clock of the request log, in milliseconds, where `performance.now` takes too long. */
  now?: () => number;
  /** The limits that this runtime's HTTP server does not have, or not with another value. */
  fixedLimits: readonly (keyof Limits)[];
  /** Whether more password hashes at once than cores would delay all other requests, so that no more are computed. */
  limitsHashes?: boolean;
}
