/** Reads settings from flags and environment, by the names in the settings schema: flags first, then the environment. */
import type { ArgsDef, CommandDef } from "citty";
import { type DescribedSetting, SettingError, describeSettings } from "../index.ts";
import { didYouMean } from "../settings/describe.ts";
import { isMemoryStore } from "../stores/open.ts";
import { type CommandLineProblems, readFlags } from "./command-line.ts";

/** The store where neither flag nor variable names one. */
export const defaultStore = "file:./data";

/** What the server program is started with. */
export interface ServerOptions {
  /** Address to listen on. */
  host: string;
  /** Port to listen on; 0 takes a free one. */
  port: number;
  /** Store URL: `memory:`, `file:./data`. */
  store: string;
  /** Whether each request is one log line. */
  requestLog: boolean;
  /** Number of processes that serve. */
  workers: number;
  /** For `createJwtEndpoints`; a setting that was not given is absent. */
  settings: Record<string, unknown>;
}

type ServerOption = Pick<DescribedSetting, "name" | "description" | "form" | "default"> & { env: string };

const serverOptions: ServerOption[] = [
  { name: "host", env: "HOST", form: "text", default: "127.0.0.1", description: "Address to listen on." },
  { name: "port", env: "PORT", form: "number", default: 8000, description: "Port to listen on; 0 takes a free one." },
  {
    name: "store",
    env: "JWT_STORE",
    form: "text",
    default: defaultStore,
    description: "`memory:` or `file:./folder`.",
  },
  {
    name: "requestLog",
    env: "JWT_REQUEST_LOG",
    form: "boolean",
    default: true,
    description: "One log line for each request.",
  },
  {
    name: "workers",
    env: "JWT_WORKERS",
    form: "number",
    default: 1,
    description: "Processes that serve the address together, on a store they can share.",
  },
];

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

/** Describes the server program for its help. */
export const serverCommand = (): CommandDef => ({
  meta: {
    name: "jwt-endpoints",
    description:
      "Serves the JWT endpoints. Every flag has an environment variable, shown in brackets; the flag comes first.",
  },
  args: serverFlags(),
});

/** Begins the variables that the program gives its own workers. */
const ownVariables = "JWT_ENDPOINTS_";
/** Variables that name a key. An empty one would start the server with a key that the operator did not choose. */
const neverEmpty = new Set(["JWT_SIGNING_KEY", "JWT_VERIFYING_KEY", "JWT_JWK_URL"]);

/**
 * Refuses misspelt `JWT_` variables and empty keys, which would otherwise go unnoticed.
 * @throws {SettingError} in one line that names the nearest variable, and no value.
 */
export function checkVariables(env: Record<string, string | undefined>): void {
  const known = listOptions().map((option) => option.env);
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
  const values = args.length === 0 ? {} : readFlags(args, serverFlags(), commandLineProblems);
  const result: Record<string, unknown> = {};
  for (const option of listOptions()) {
    const { name, flag } = option;
    const text = values[flag] ?? (env[option.env] || undefined); // an empty variable counts as not set
    const fallback = serverOptions.some((own) => own.name === name) ? option.default : undefined;
    const value = text === undefined ? fallback : convert(option, text);
    if (value !== undefined) setPath(result, name.split("."), value);
  }
  const { host, port, store, requestLog, workers, ...settings } = result as unknown as ServerOptions;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new SettingError(`setting port: ${port} is not a port; accepted: 0 to 65535`);
  }
  if (workers < 1 || workers > 1024) {
    throw new SettingError(`setting workers: ${workers} is not a number of processes; accepted: 1 to 1024`);
  }
  if (workers > 1 && isMemoryStore(store)) {
    throw new SettingError(`setting workers: ${workers} processes can't share the store memory:; use a file: store`);
  }
  return { host, port, store, requestLog, workers, settings: { ...settings } };
}

/** Words the problems of the server's command line. A stray argument isn't quoted: it may be a key. */
const commandLineProblems: CommandLineProblems = {
  unknownFlag: (flag, hint) => new SettingError(`setting ${flag} is not a flag of the server${hint || "; see --help"}`),
  missingValue: (flag) =>
    new SettingError(`setting ${flag} lacks its value; a value that begins with - takes ${flag}=`),
  needlessValue: (flag) => new SettingError(`setting ${flag} takes no value`),
  unknownValue: (flag, options) => new SettingError(`setting ${flag} is not one of ${options.join(", ")}`),
  argumentCount: () => new SettingError("the command line has a text that belongs to no flag"),
};

function convert({ name, form, default: fallback }: ServerOption, text: string): unknown {
  if (fallback === false && text === "false") return false; // such as `throttle`, which takes a rate or false
  switch (form) {
    case "number":
      if (!/^\d+$/.test(text)) throw new SettingError(`setting ${name}: ${JSON.stringify(text)} is not a whole number`);
      return Number(text);
    case "boolean":
      if (/^(true|1|yes|on)$/i.test(text)) return true;
      if (/^(false|0|no|off)$/i.test(text)) return false;
      throw new SettingError(`setting ${name}: ${JSON.stringify(text)} is not a boolean; accepted: true or false`);
    case "list":
      return text === "*" ? text : text.split(",").map((part) => part.trim());
    default:
      return name === "signingKey" || name === "verifyingKey" ? readKey(text) : text;
  }
}

/** Reads a key from text: a JWK is JSON, and PEM in a variable may have `\n` for its line ends. */
function readKey(text: string): unknown {
  if (text.startsWith("-----BEGIN")) return text.replaceAll("\\n", "\n");
  if (!text.startsWith("{")) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text; // a secret may begin with a brace
  }
}

function setPath(target: Record<string, unknown>, [key, ...rest]: string[], value: unknown): void {
  if (rest.length === 0) target[key!] = value;
  else setPath((target[key!] ??= {}) as Record<string, unknown>, rest, value);
}
