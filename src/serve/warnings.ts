/** What the server warns its operator of at the start: ways to run it that are allowed and rarely meant. */
import { availableParallelism } from "node:os";
import type { LogEvent } from "../index.ts";
import { type ServerOptions, isLoopback, secretsAmong } from "../program/options.ts";
import { defaultLimits } from "../program/server-options.ts";
import type { Runtime } from "./runtime.ts";
import { hashesPerWorker } from "./workers.ts";

type Served = Pick<Runtime, "name" | "fixedLimits" | "limitsHashes">;

/** A row returns its message, or `undefined` when it does not apply. */
const warnings: Record<string, (options: ServerOptions, args: string[], runtime: Served) => string | undefined> = {
  secret_on_command_line(_, args) {
    const [flag] = secretsAmong(args);
    if (flag === undefined) return undefined;
    const variable = `JWT_${flag.replaceAll("-", "_").toUpperCase()}`;
    return `--${flag} shows a secret to every user of the machine; use ${variable} or --${flag}-file`;
  },
  open_config_file: ({ config }) => config?.warning,
  open_without_proxy({ host, settings }) {
    if (isLoopback(host) || settings["trustedProxies"] !== undefined) return undefined;
    return (
      `the server listens on ${host}, beyond this machine, without TLS and without a trusted proxy: ` +
      "listen on 127.0.0.1 behind a proxy that ends TLS"
    );
  },
  limit_not_supported({ limits }, _, { name, fixedLimits }) {
    const idle = fixedLimits.filter((limit) => limits[limit] !== defaultLimits[limit]);
    if (idle.length === 0) return undefined;
    return `${name} can't be given ${idle.join(", ")}: let a proxy in front limit that`;
  },
  more_hashes_than_cores({ settings, workers }, _, { name, limitsHashes }) {
    const { concurrency } = (settings["hashing"] ?? {}) as { concurrency?: number };
    const cores = availableParallelism();
    if (concurrency === undefined || concurrency * workers <= Math.max(cores, workers)) return undefined;
    const each = workers > 1 ? ` in each of ${workers} workers` : "";
    return (
      `hashing.concurrency: ${concurrency}${each} is more than the ${cores} cores here: ` +
      (limitsHashes === true
        ? `${name} computes ${hashesPerWorker(workers)}${each}, since more would delay all other requests`
        : "logins get no faster, and other requests wait longer")
    );
  },
};

/**
 * Returns the warnings that apply.
 * @param args the words after the program's name.
 */
export const startWarnings = (options: ServerOptions, args: string[], runtime: Served): LogEvent[] =>
  Object.entries(warnings).flatMap(([code, messageOf]) => {
    const message = messageOf(options, args, runtime);
    return message === undefined ? [] : [{ level: "warn", code: code as LogEvent["code"], message }];
  });
