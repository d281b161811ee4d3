/** Reads settings from flags and environment, by the names in the settings schema: flags first, then the environment. */
import type { ArgsDef, CommandDef } from "citty";
import { SettingError, describeSettings } from "../index.ts";
import { didYouMean } from "../settings/describe.ts";
import { isMemoryStore } from "../stores/open.ts";
import { convert, readSecret } from "./values.ts";
import { type CommandLineProblems, readFlags } from "./command-line.ts";
import { type Limits, type ServerOption, readLimits, serverOptions } from "./server-options.ts";

/** What the server program is started with. */
export interface ServerOptions {
  /** Address to listen on. */
  host: string;
  /** Port to listen on; 0 takes a free one. */
  port: number;
  /** Store URL: `memory:`, `file:./data`, `postgres://…`. */
  store: string;
  /** Whether each request is one log line. */
  requestLog: boolean;
  /** Where audit events go: `stderr`, `off`, or a file. */
  auditLog: string;
  /** Where `/metrics` is served: `host:port`; "" for nowhere. */
  metrics: string;
  /** Whether `GET /` is the console, a page that tries the endpoints. */
  console: boolean;
  /** Number of processes that serve. */
  workers: number;
  /** What a client may take up. 0 takes a limit away. */
  limits: Limits;
  /** For `createJwtEndpoints`; a setting that was not given is absent. */
  settings: Record<string, unknown>;
}

/** `hashing.queue` -> `hashing-queue`, `accessTokenLifetime` -> `access-token-lifetime`. */
const flagOf = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace(".", "-");

/** `accessTokenLifetime` -> `JWT_ACCESS_TOKEN_LIFETIME`. */
const envOf = (name: string): string => `JWT_${flagOf(name).replaceAll("-", "_").toUpperCase()}`;

/** Lists the server's own options and, after them, every setting that a flag can give. */
export function listOptions(): (ServerOption & { flag: string })[] {
  const settings = describeSettings().filter(({ form }) => form !== "none");
  return [...serverOptions, ...settings.map((setting) => ({ ...setting, env: envOf(setting.name) }))].map((option) => ({
    ...option,
    flag: flagOf(option.name),
  }));
}

/** How help names the value of a flag. */
const valueHints: Record<ServerOption["form"], string> = {
  text: "text",
  number: "number",
  duration: "duration",
  boolean: "true|false",
  list: "a,b",
  file: "file",
  none: "",
};

/** Derives the server's flags from its options. Each takes a value, as its variable does. */
function serverFlags(): ArgsDef {
  const flags = listOptions().map(({ flag, env, form, description, default: value }) => {
    const isShown = ["string", "number", "boolean"].includes(typeof value) && value !== "";
    const text = `${description} [${env}]`;
    return [
      flag,
      {
        type: "string" as const,
        valueHint: valueHints[form],
        description: text,
        ...(isShown && { default: `${value}` }),
      },
    ] as const;
  });
  return Object.fromEntries(flags);
}

/** Options whose value may be a secret: each can be read from a file, as containers hand secrets over (`JWT_STORE_FILE`). */
const secretOptions = ["store", "signing-key", "verifying-key"];
const fileFlagOf = (flag: string): string => `${flag}-file`;
const fileVariableOf = (env: string): string => `${env}_FILE`;

function fileFlags(): ArgsDef {
  const rows = listOptions().filter(({ flag }) => secretOptions.includes(flag));
  return Object.fromEntries(
    rows.map(({ flag, env, name }) => {
      const description = `File that holds the value of ${name}. [${fileVariableOf(env)}]`;
      return [fileFlagOf(flag), { type: "string" as const, valueHint: "path", description }] as const;
    }),
  );
}

/**
 * Returns the flags of a command line that hold a secret: keys that are not public, and store URLs with a password.
 * @param args the words after the program's name, which were read without an error.
 */
export function secretsAmong(args: string[]): string[] {
  const values = args.length === 0 ? {} : readFlags(args, commandFlags(), commandLineProblems);
  const isSecret = (flag: string): boolean => {
    const value = values[flag];
    if (value === undefined || value.startsWith("-----BEGIN PUBLIC KEY")) return false;
    return flag !== "store" || /^[^:]+:\/\/[^/@]*:[^/@]+@/.test(value);
  };
  return secretOptions.filter((flag) => flag !== "verifying-key" && isSecret(flag));
}

/** Describes the server program for its help. */
export const serverCommand = (): CommandDef => ({
  meta: {
    name: "jwt-endpoints",
    description:
      "Serves the JWT endpoints. Every flag has an environment variable, shown in brackets; the flag comes first.",
  },
  args: commandFlags(),
});

/** All flags of the server. */
const commandFlags = (): ArgsDef => ({ ...serverFlags(), ...fileFlags() });

/** Begins the variables that the program gives its own workers. */
const ownVariables = "JWT_ENDPOINTS_";
/** Variables that name a key. An empty one would start the server with a key that the operator did not choose. */
const neverEmpty = new Set([
  "JWT_SIGNING_KEY",
  "JWT_SIGNING_KEY_FILE",
  "JWT_VERIFYING_KEY",
  "JWT_VERIFYING_KEY_FILE",
  "JWT_JWK_URL",
]);

/**
 * Refuses misspelt `JWT_` variables and empty keys, which would otherwise go unnoticed.
 * @throws {SettingError} in one line that names the nearest variable, and no value.
 */
export function checkVariables(env: Record<string, string | undefined>): void {
  const options = listOptions();
  const files = options.filter(({ flag }) => secretOptions.includes(flag)).map(({ env: name }) => fileVariableOf(name));
  const known = [...options.map((option) => option.env), ...files];
  for (const name of variablesOf(env)) {
    if (name.startsWith(ownVariables)) continue;
    if (!known.includes(name)) {
      const hint = didYouMean(name, known) || "; the server's --help lists those that are";
      throw new SettingError(`variable ${name} is not a setting${hint}`);
    }
    if (neverEmpty.has(name) && env[name] === "") {
      throw new SettingError(`variable ${name} is empty; give it a value, or take it away`);
    }
  }
}

function variablesOf(env: Record<string, string | undefined>): string[] {
  try {
    return Object.keys(env).filter((name) => name.startsWith("JWT_"));
  } catch {
    // Deno lists variables only to a program that may read all of them.
    console.error("jwt-endpoints: misspelt JWT_ variables go unnoticed; to refuse them takes all of --allow-env");
    return [...neverEmpty].filter((name) => env[name] !== undefined);
  }
}

/**
 * Reads what the server is started with.
 * @param args the words after the program's name.
 * @throws {SettingError} for an unknown flag or variable or a value of the wrong form, in one line.
 */
export function readOptions(args: string[], env: Record<string, string | undefined>): ServerOptions {
  checkVariables(env);
  const values = args.length === 0 ? {} : readFlags(args, commandFlags(), commandLineProblems);
  const result: Record<string, unknown> = {};
  for (const option of listOptions()) {
    const { name, flag } = option;
    const given = values[flag] ?? (env[option.env] || undefined); // an empty variable counts as not set
    const file = secretOptions.includes(flag)
      ? (values[fileFlagOf(flag)] ?? (env[fileVariableOf(option.env)] || undefined))
      : undefined;
    if (given !== undefined && file !== undefined) {
      throw new SettingError(`setting ${name} is given twice, by itself and as a file; take one of them away`);
    }
    const text = file === undefined ? given : readSecret(name, file);
    const fallback = serverOptions.some((own) => own.name === name) ? option.default : undefined;
    const value = text === undefined ? fallback : convert(option, text);
    if (value !== undefined) setPath(result, name.split("."), value);
  }
  const { headersTimeout, requestTimeout, maxHeaderSize, maxConnections, ...others } =
    result as unknown as ServerOptions & Record<keyof Limits, number | string>;
  const limits = readLimits({ headersTimeout, requestTimeout, maxHeaderSize, maxConnections });
  const { host, port, store, requestLog, auditLog, metrics, workers, ...rest } = others;
  const { console = isLoopback(host), ...settings } = rest;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new SettingError(`setting port: ${port} is not a port; accepted: 0 to 65535`);
  }
  if (metrics !== "" && !/^(\[[\da-f:]+\]|[^:\s]+):\d{1,5}$/i.test(metrics)) {
    throw new SettingError(
      `setting metrics: ${JSON.stringify(metrics)} is not an address; accepted: such as 127.0.0.1:9464`,
    );
  }
  if (workers < 1 || workers > 1024) {
    throw new SettingError(`setting workers: ${workers} is not a number of processes; accepted: 1 to 1024`);
  }
  if (workers > 1 && isMemoryStore(store)) {
    throw new SettingError(`setting workers: ${workers} processes can't share the store memory:; use a file: store`);
  }
  return { host, port, store, requestLog, auditLog, metrics, console, workers, limits, settings: { ...settings } };
}

/** Whether a host names this machine alone. */
export const isLoopback = (host: string): boolean => /^(127(\.\d+){3}|::1|\[::1\]|localhost)$/i.test(host);

/** Words the problems of the server's command line. A stray argument isn't quoted: it may be a key. */
const commandLineProblems: CommandLineProblems = {
  unknownFlag: (flag, hint) => new SettingError(`setting ${flag} is not a flag of the server${hint || "; see --help"}`),
  missingValue: (flag) =>
    new SettingError(`setting ${flag} lacks its value; a value that begins with - takes ${flag}=`),
  needlessValue: (flag) => new SettingError(`setting ${flag} takes no value`),
  unknownValue: (flag, options) => new SettingError(`setting ${flag} is not one of ${options.join(", ")}`),
  argumentCount: () => new SettingError("the command line has a text that belongs to no flag"),
};

function setPath(target: Record<string, unknown>, [key, ...rest]: string[], value: unknown): void {
  if (rest.length === 0) target[key!] = value;
  else setPath((target[key!] ??= {}) as Record<string, unknown>, rest, value);
}
