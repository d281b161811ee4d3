#!/usr/bin/env node
/**
 * The keys of a file store's folder: `npm run keys -- rotate`. Servers on the folder follow within two seconds, without a
 * restart, and nobody is logged out. Nothing secret is ever printed.
 */
import { randomBytes } from "node:crypto";
import process from "node:process";
import { parseArgs } from "node:util";
import { describeSettings } from "../index.ts";
import { type StoredKey, changeStoredKeys, hasKeys, newJwk, readStoredKeys, takenIn } from "../program/key-file.ts";
import { checkVariables, readOptions } from "../program/options.ts";
import { problemOf } from "../program/problem.ts";
import { didYouMean } from "../settings/describe.ts";
import { parseDuration } from "../settings/values.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { storeFolder } from "../stores/open.ts";
import { defaultStore, noStore, print } from "./command.ts";
import { Mistake, printable, quoted } from "./fields.ts";

const usage = `Usage: keys COMMAND [--store file:./folder]

  list                     Show the keys: name, algorithm, status and age
  generate                 Make a key that is published, but does not sign yet
    --algorithm ES256        its algorithm; default: that of the active key
  rotate                   Let the next key sign, or a new one; the former retires
    --algorithm ES256        its algorithm; default: that of the next key, else of the active one
    --keep 1d                for how long tokens of the former stay good; default: as long
                             as any token does, by the longest of JWT_ACCESS_TOKEN_LIFETIME,
                             JWT_REFRESH_TOKEN_LIFETIME and JWT_SLIDING_TOKEN_LIFETIME,
                             and JWT_LEEWAY: set them as they are set for the server
  retire KID               End a key at once: its tokens are refused; - is the key without a name

Store: --store, else JWT_STORE, else ${defaultStore}. Servers on it follow within two seconds.
`;

const algorithms = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].concat(
  ["ES256", "ES384", "ES512"],
  "EdDSA",
);

/** What the first key was used with, which `signing.key` does not say. */
const firstAlgorithm = (): string => process.env["JWT_ALGORITHM"] || "HS256";

interface Flags {
  store?: string;
  algorithm?: string;
  keep?: string;
}

interface Command {
  flags: (keyof Flags)[];
  takes?: string;
  run(folder: string, flags: Flags, argument: string): Promise<string>;
}

const nameOf = ({ kid }: StoredKey): string => kid ?? "-";
const described = (key: StoredKey): string => `${nameOf(key)} (${key.alg})`;
const activeOf = (keys: StoredKey[]): StoredKey | undefined => keys.find(({ status }) => status === "active");

async function newKey(alg: string, status: StoredKey["status"]): Promise<StoredKey> {
  const kid = randomBytes(8).toString("hex");
  return { kid, alg, status, created: new Date().toISOString(), jwk: await newJwk(alg) };
}

const list: Command = {
  flags: ["store"],
  async run(folder) {
    const keys = readStoredKeys(folder) ?? takenIn(folder, firstAlgorithm());
    const rows = keys.map((key) => [nameOf(key), key.alg, key.status, ageOf(key.created), key.retireAt ?? "-"]);
    const table = [["KID", "ALG", "STATUS", "AGE", "RETIRES"], ...rows];
    const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
    return table
      .map((row) =>
        row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join("  ")
          .trimEnd(),
      )
      .join("\n");
  },
};

function ageOf(created: string): string {
  const seconds = Math.max(0, (Date.now() - Date.parse(created)) / 1000);
  const [unit, size] = (
    [
      ["d", 86_400],
      ["h", 3600],
      ["m", 60],
    ] as const
  ).find(([, size]) => seconds >= size) ?? ["s", 1];
  return `${Math.floor(seconds / size)}${unit}`;
}

const generate: Command = {
  flags: ["store", "algorithm"],
  async run(folder, { algorithm }) {
    const standing = readStoredKeys(folder) ?? takenIn(folder, firstAlgorithm());
    const key = await newKey(algorithm ?? activeOf(standing)?.alg ?? firstAlgorithm(), "next");
    await changeStoredKeys(folder, firstAlgorithm(), (keys) => {
      if (activeOf(keys) === undefined) key.status = "active"; // the first of all
      return [...keys, key];
    });
    return key.status === "active"
      ? `generated ${described(key)}, which signs from now on`
      : `generated ${described(key)}; it signs once you rotate`;
  },
};

const rotate: Command = {
  flags: ["store", "algorithm", "keep"],
  async run(folder, { algorithm, keep }) {
    const kept = keep === undefined ? longestLifetime() : secondsOf("--keep", keep);
    let spare: StoredKey | undefined; // made outside the lock: RSA takes its time
    let missing: string | undefined;
    let told = "";
    do {
      if (missing !== undefined) spare = await newKey(missing, "next");
      missing = undefined;
      await changeStoredKeys(folder, firstAlgorithm(), (keys) => {
        const former = activeOf(keys);
        const waiting = keys.find(({ status, alg }) => status === "next" && alg === (algorithm ?? alg));
        const wanted = algorithm ?? former?.alg ?? firstAlgorithm();
        const next = waiting ?? (spare?.alg === wanted ? spare : undefined);
        if (next === undefined) {
          missing = wanted;
          return undefined;
        }
        const retireAt = new Date(Date.now() + kept * 1000).toISOString();
        const rest = keys.filter((key) => key !== next && key !== former);
        const retired: StoredKey[] = former === undefined ? [] : [{ ...former, status: "retiring", retireAt }];
        told = `${described(next)} signs from now on`;
        if (former !== undefined) told += `; ${described(former)} retires at ${retireAt}`;
        return [{ ...next, status: "active" as const }, ...rest, ...retired];
      });
    } while (missing !== undefined);
    return told;
  },
};

const retire: Command = {
  flags: ["store"],
  takes: "KID",
  async run(folder, _, kid) {
    let told = "";
    const find = (keys: StoredKey[]): StoredKey => {
      const key = keys.find((each) => nameOf(each) === kid);
      if (key === undefined) throw new Mistake(`there is no key ${quoted(kid)}; accepted: a KID that list shows`);
      return key;
    };
    find(readStoredKeys(folder) ?? takenIn(folder, firstAlgorithm())); // before a folder is made in vain
    await changeStoredKeys(folder, firstAlgorithm(), (keys) => {
      const key = find(keys);
      if (key.status === "active") throw new Mistake(`the key ${quoted(kid)} is the one that signs; rotate first`);
      told = `retired ${described(key)}`;
      return keys.filter((each) => each !== key);
    });
    return told;
  },
};

const commands = new Map<string, Command>(Object.entries({ list, generate, rotate, retire }));

/** A thousand years, so that the end of it is a time that can be written. */
const longestKeep = 31_557_600_000;

function secondsOf(name: string, text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined || seconds > longestKeep) {
    throw new Mistake(`${name} ${quoted(text)} is not a duration; accepted: such as 30m, 1h30m, 1d`);
  }
  return seconds;
}

/** Seconds after a rotation within which servers may still sign with the former key: they follow within two. */
const followed = 10;

/** For how long a token may be accepted whose key a server gives up in a moment, by the settings of the environment. */
function longestLifetime(): number {
  const { settings } = readOptions([], process.env);
  const seconds = (setting: string): number => {
    const standard = describeSettings().find(({ name }) => name === setting)!.default;
    return secondsOf(`setting ${setting}`, String(settings[setting] ?? standard));
  };
  const lifetimes = ["accessTokenLifetime", "refreshTokenLifetime", "slidingTokenLifetime"].map(seconds);
  return Math.max(...lifetimes) + seconds("leeway") + followed;
}

function readCommandLine(name: string, { flags, takes }: Command, args: string[]): { values: Flags; argument: string } {
  const options = Object.fromEntries(flags.map((flag) => [flag, { type: "string" as const }]));
  let parsed;
  try {
    parsed = parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    const [problem] = (error as Error).message.split(". ") as [string];
    const unknown = /^Unknown option '(-[^' ]+)/.exec(problem)?.[1];
    const hint =
      unknown === undefined
        ? ""
        : didYouMean(
            unknown,
            flags.map((flag) => `--${flag}`),
          );
    throw new Mistake(`${name}: ${problem}${hint}`);
  }
  const values = parsed.values as Flags;
  if (takes !== undefined && parsed.positionals.length === 0) throw new Mistake(`${name} needs a ${takes}`);
  if (parsed.positionals.length > (takes === undefined ? 0 : 1)) throw new Mistake(`${name}: too many arguments`);
  if (values.algorithm !== undefined && !algorithms.includes(values.algorithm)) {
    throw new Mistake(`--algorithm ${quoted(values.algorithm)} is not known; accepted: ${algorithms.join(", ")}`);
  }
  return { values, argument: parsed.positionals[0] ?? "" };
}

async function main([name, ...args]: string[]): Promise<string> {
  if (name === undefined || [name, ...args].some((arg) => arg === "--help" || arg === "-h")) return usage.trimEnd();
  const command = commands.get(name);
  if (command === undefined) {
    throw new Mistake(`unknown command ${quoted(name)}; accepted: ${[...commands.keys()].join(", ")}`);
  }
  const { values, argument } = readCommandLine(name, command, args);
  checkVariables(process.env);
  const url = values.store ?? (process.env["JWT_STORE"] || defaultStore);
  const folder = storeFolder(url);
  if (folder === undefined) throw new Mistake("keys are kept in the folder of a file: store; name one with --store");
  const isThere = holdsStore(folder) || hasKeys(folder);
  if (!isThere && name !== "generate") throw noStore(folder);
  const told = await command.run(folder, values, argument);
  return isThere ? told : `${told}; there is no store yet in ${printable(folder)}`;
}

for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {}); // `print` tells of it
try {
  await print(`${await main(process.argv.slice(2))}\n`);
} catch (error) {
  // A reader that went away has seen enough.
  if ((error as NodeJS.ErrnoException).code !== "EPIPE") {
    process.exitCode = 1;
    process.stderr.write(`${problemOf(error)}\n`);
  }
}
