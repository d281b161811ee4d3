/** Reads settings from flags and environment, by the names in the settings schema: flags first, then the environment. */
import { type JwtEndpointsSettings, SettingError, describeSettings } from "../index.ts";
import { recordsRotations } from "../settings/check.ts";
import { didYouMean, flagOf } from "../settings/describe.ts";
import { quoted } from "../settings/values.ts";
import { isMemoryStore } from "../stores/open.ts";
import { convert, readSecret } from "./values.ts";
import { type Flags, readFlags } from "./command-line.ts";
import {
  type ServerOption,
  fileFlagOf,
  fileFlags,
  fileVariableOf,
  secretOptions,
  serverFlags,
  serverProblems,
} from "./server-flags.ts";
import { type Limits, readLimits, serverOptions } from "./server-options.ts";

/** Limits that the server has by default, and an embedded handler only when they are set. */
export const guards = {
  throttle: "20/min",
  throttleSetPassword: "20/min",
  throttleFailures: "10/hour",
  throttleRotations: "600/hour",
};

/**
 * Returns the guards that do something beside the given settings: of one that does nothing, the start would warn.
 * @param settings as given, not parsed.
 */
export function guardsFor(settings: Partial<JwtEndpointsSettings>): Partial<typeof guards> {
  if ((settings.signingKey ?? settings.keys) === undefined) return {};
  const { throttleRotations: _, ...others } = guards;
  return recordsRotations(settings) && settings.authTokenClasses?.[0] !== "SlidingToken" ? guards : others;
}

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
  /** Whether `/openapi.json` is served. */
  openapi: boolean;
  /** Whether `/docs` is served. */
  docs: boolean;
  /** Number of processes that serve. */
  workers: number;
  /** What a client may take up. 0 takes a limit away. */
  limits: Limits;
  /** For `createJwtEndpoints`; a setting that was not given is absent. */
  settings: Record<string, unknown>;
  /** The configuration file, when there is one. */
  config?: ConfigFile;
}

/** A configuration file that was read. */
export interface ConfigFile {
  path: string;
  /** Checked values by the names of settings, those of groups such as `hashing` as objects. */
  values: Record<string, unknown>;
  /** Says that the file holds a secret and is open to others. */
  warning: string | undefined;
}

let listed: readonly ServerOption[] | undefined;

/** Lists the server's own options and, after them, every setting that a flag can give. */
export const listOptions = (): readonly ServerOption[] =>
  (listed ??= [
    ...serverOptions.map((option) => ({ ...option, flag: flagOf(option.name) })),
    ...describeSettings().filter(({ form }) => form !== "none"),
  ]);

/**
 * Returns the flags of a command line that hold a secret: keys that are not public, and store URLs with a password.
 * @param args the words after the program's name, which were read without an error.
 */
export function secretsAmong(args: string[]): string[] {
  const values = readServerFlags(args);
  const isSecret = (flag: string): boolean => {
    const value = values[flag];
    if (value === undefined || value.startsWith("-----BEGIN PUBLIC KEY")) return false;
    return flag !== "store" || /^[^:]+:\/\/[^/@]*:[^/@]+@/.test(value);
  };
  return secretOptions.filter((flag) => flag !== "verifying-key" && isSecret(flag));
}

let allFlags: Flags | undefined;

/** Returns all flags of the server. */
const commandFlags = (): Flags => (allFlags ??= { ...serverFlags(listOptions()), ...fileFlags(listOptions()) });

/**
 * Reads a command line of the server.
 * @param args the words after the program's name.
 * @returns values by the flag's name.
 * @throws {SettingError} in one line, for an unknown flag or one without its value.
 */
export const readServerFlags = (args: string[]): Record<string, string> =>
  args.length === 0 ? {} : readFlags(args, commandFlags(), serverProblems);

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

/** An option with its value, and where that comes from. */
export interface GivenOption extends ServerOption {
  /** `undefined` when it was not given and has no default that the program knows. */
  value: unknown;
  /** `--port`, `PORT`, the path of the configuration file, or `default`. */
  source: string;
  kind: "flag" | "variable" | "file" | "default";
}

/**
 * Finds the value of an option: in the flags, else in the environment, else in the configuration file.
 * @param flags as {@link readServerFlags} returns them.
 * @throws {SettingError} when it does not have the option's form, in one line.
 */
export function giveOption(
  option: ServerOption,
  flags: Record<string, string>,
  env: Record<string, string | undefined>,
  config: ConfigFile | undefined,
): GivenOption {
  const { name, flag } = option;
  const isSecret = secretOptions.includes(flag);
  const [fileFlag, fileVariable] = [fileFlagOf(flag), fileVariableOf(option.env)];
  // An empty variable counts as not set.
  const given = flags[flag] ?? (env[option.env] || undefined);
  const file = isSecret ? (flags[fileFlag] ?? (env[fileVariable] || undefined)) : undefined;
  if (given !== undefined && file !== undefined) {
    throw new SettingError(`setting ${name} is given twice, by itself and as a file; take one of them away`);
  }
  if (given !== undefined) {
    const isFlag = flags[flag] !== undefined;
    const source = isFlag ? `--${flag}` : option.env;
    return { ...option, value: convert(option, given), source, kind: isFlag ? "flag" : "variable" };
  }
  if (file !== undefined) {
    const isFlag = flags[fileFlag] !== undefined;
    const source = isFlag ? `--${fileFlag}` : fileVariable;
    return { ...option, value: convert(option, readSecret(name, file)), source, kind: isFlag ? "flag" : "variable" };
  }
  const value = name
    .split(".")
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], config?.values);
  if (value !== undefined) return { ...option, value, source: config!.path, kind: "file" };
  const fallback = serverOptions.some((own) => own.name === name) ? option.default : undefined;
  return { ...option, value: fallback, source: "default", kind: "default" };
}

/**
 * Returns the value of one option where a command runs.
 * @returns `undefined` when it was not given.
 */
export function givenValue(
  name: string,
  env: Record<string, string | undefined>,
  config: ConfigFile | undefined,
): unknown {
  const option = listOptions().find((each) => each.name === name)!;
  const { value, kind } = giveOption(option, {}, env, config);
  return kind === "default" ? undefined : value;
}

/**
 * Reads what the server is started with.
 * @param args the words after the program's name.
 * @throws {SettingError} for an unknown flag or variable or a value of the wrong form, in one line.
 */
export function readOptions(
  args: string[],
  env: Record<string, string | undefined>,
  config?: ConfigFile,
): ServerOptions {
  checkVariables(env);
  const flags = readServerFlags(args);
  const options = listOptions();
  const names = new Set(options.map(({ name }) => name.split(".")[0]!));
  // Hooks have no flag, so they come from the file as they are.
  const result: Record<string, unknown> = Object.fromEntries(
    Object.entries(config?.values ?? {}).filter(([name]) => !names.has(name)),
  );
  for (const option of options) {
    const { name, value } = giveOption(option, flags, env, config);
    if (value !== undefined) setPath(result, name.split("."), value);
  }
  const { headersTimeout, requestTimeout, maxHeaderSize, maxConnections, ...others } =
    result as unknown as ServerOptions & Record<keyof Limits, number | string>;
  const limits = readLimits({ headersTimeout, requestTimeout, maxHeaderSize, maxConnections });
  const { host, port, store, requestLog, auditLog, metrics, openapi, docs, workers, ...rest } = others;
  const { console = isLoopback(host), ...settings } = rest;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new SettingError(`setting port: ${port} is not a port; accepted: 0 to 65535`);
  }
  if (metrics !== "" && !/^(\[[\da-f:]+\]|[^:\s]+):\d{1,5}$/i.test(metrics)) {
    throw new SettingError(`setting metrics: ${quoted(metrics)} is not an address; accepted: such as 127.0.0.1:9464`);
  }
  if (workers < 1 || workers > 1024) {
    throw new SettingError(`setting workers: ${workers} is not a number of processes; accepted: 1 to 1024`);
  }
  if (workers > 1 && isMemoryStore(store)) {
    throw new SettingError(`setting workers: ${workers} processes can't share the store memory:; use a file: store`);
  }
  if (docs === true && !openapi) {
    throw new SettingError("setting docs can't be on without openapi, which has what they show");
  }
  return {
    host,
    port,
    store,
    requestLog,
    auditLog,
    metrics,
    openapi,
    docs: docs ?? (openapi && isLoopback(host)),
    console,
    workers,
    limits,
    settings: { ...settings },
    ...(config !== undefined && { config }),
  };
}

/** Whether a host names this machine alone. */
export const isLoopback = (host: string): boolean => /^(127(\.\d+){3}|::1|\[::1\]|localhost)$/i.test(host);

function setPath(target: Record<string, unknown>, [key, ...rest]: string[], value: unknown): void {
  if (rest.length === 0) target[key!] = value;
  else setPath((target[key!] ??= {}) as Record<string, unknown>, rest, value);
}
