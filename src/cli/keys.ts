/**
 * Manages the keys in a file store's folder: `npm run keys -- rotate`. Servers on the folder follow within two seconds,
 * without a restart, and no user is logged out. No secret is ever printed.
 */
import { randomBytes } from "node:crypto";
import { defineCommand } from "citty";
import { describeSettings } from "../index.ts";
import { type StoredKey, changeStoredKeys, firstKeySet, hasKeys, newJwk, readStoredKeys } from "../program/key-file.ts";
import { UsageError } from "../program/problem.ts";
import { parseDuration } from "../settings/values.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { storeFolder } from "../stores/open.ts";
import { algorithmNames, isAlgorithm } from "../tokens/algorithms.ts";
import { type Program, noStore, optionsHere, print, record, settingHere, commonFlags, storeUrl } from "./command.ts";
import { printable, quoted, spanOf, tableLines } from "./format.ts";

/** Returns the algorithm that the key of `signing.key` is used with, which the file does not say. */
const firstAlgorithm = (): string => String(settingHere("algorithm") ?? "HS256");

/** Returns the key set of a folder, also when it has only the key of `signing.key`. */
const keysOf = (folder: string): StoredKey[] => readStoredKeys(folder) ?? firstKeySet(folder, firstAlgorithm());

const nameOf = ({ kid }: StoredKey): string => kid ?? "-";
const described = (key: StoredKey): string => `${nameOf(key)} (${key.alg})`;
const activeOf = (keys: StoredKey[]): StoredKey | undefined => keys.find(({ status }) => status === "active");

async function newKey(alg: string, status: StoredKey["status"]): Promise<StoredKey> {
  const kid = randomBytes(8).toString("hex");
  return { kid, alg, status, created: new Date().toISOString(), jwk: await newJwk(alg) };
}

/**
 * Runs a command on the folder of a file store, and prints the line it returns.
 * @param makes whether the folder may have neither a store nor keys yet.
 */
async function withFolder(
  flag: string | undefined,
  run: (folder: string) => Promise<string>,
  { makes = false }: { makes?: boolean } = {},
): Promise<void> {
  const folder = storeFolder(storeUrl(flag));
  if (folder === undefined) {
    throw new UsageError("keys are kept in the folder of a file: store; name one with --store");
  }
  const isThere = holdsStore(folder) || hasKeys(folder);
  if (!isThere && !makes) throw noStore(folder);
  const line = await run(folder);
  await print(isThere ? `${line}\n` : `${line}; there is no store yet in ${printable(folder)}\n`);
}

const list = defineCommand({
  meta: { name: "list", description: "Show the keys: name, algorithm, status and age" },
  args: { ...commonFlags },
  async run({ args }) {
    await withFolder(args.store, async (folder) => {
      const rows = keysOf(folder).map((key) => {
        const age = spanOf(Math.max(0, (Date.now() - Date.parse(key.created)) / 1000), 1);
        return [nameOf(key), key.alg, key.status, age, key.retireAt ?? "-"];
      });
      const lines: string[] = [];
      for await (const line of tableLines(["KID", "ALG", "STATUS", "AGE", "RETIRES"], rows)) lines.push(line);
      return lines.join("\n");
    });
  },
});

const generate = defineCommand({
  meta: { name: "generate", description: "Make a key that is published, but does not sign yet" },
  args: {
    algorithm: { type: "string", valueHint: "name", description: "Its algorithm; default: that of the active key" },
    ...commonFlags,
  },
  async run({ args }) {
    const algorithm = algorithmOf(args.algorithm);
    const makeKey = async (folder: string): Promise<string> => {
      const key = await newKey(algorithm ?? activeOf(keysOf(folder))?.alg ?? firstAlgorithm(), "next");
      await changeStoredKeys(folder, firstAlgorithm(), (keys) => {
        if (activeOf(keys) === undefined) key.status = "active"; // the folder's first key
        return [...keys, key];
      });
      return key.status === "active"
        ? `generated ${described(key)}, which signs from now on`
        : `generated ${described(key)}; it signs once you rotate`;
    };
    await withFolder(args.store, makeKey, { makes: true });
  },
});

const rotate = defineCommand({
  meta: {
    name: "rotate",
    description: "Let the next key sign, or a new one; the former key only verifies from then on",
  },
  args: {
    algorithm: {
      type: "string",
      valueHint: "name",
      description: "Algorithm of a new key; default: that of the next key, else of the active one",
    },
    keep: {
      type: "string",
      valueHint: "duration",
      description:
        "How long tokens of the former key stay valid; default: the longest lifetime of a token, from the server's " +
        "configuration file or variables, such as JWT_REFRESH_TOKEN_LIFETIME, and JWT_LEEWAY",
    },
    ...commonFlags,
  },
  async run({ args }) {
    const algorithm = algorithmOf(args.algorithm);
    const kept = args.keep === undefined ? longestLifetime() : secondsOf("--keep", args.keep);
    await withFolder(args.store, (folder) => rotateKeys(folder, algorithm, kept));
  },
});

/** @param kept seconds for which the former key verifies. */
async function rotateKeys(folder: string, algorithm: string | undefined, kept: number): Promise<string> {
  let spare: StoredKey | undefined; // made outside the lock, since an RSA key takes a second
  let missing: string | undefined;
  let line = "";
  let signing: string | undefined;
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
      line = `${described(next)} signs from now on`;
      signing = next.kid;
      if (former !== undefined) line += `; ${described(former)} retires at ${retireAt}`;
      return [{ ...next, status: "active" as const }, ...rest, ...retired];
    });
  } while (missing !== undefined);
  record("keys_rotated", { keyId: signing });
  return line;
}

const retire = defineCommand({
  meta: { name: "retire", description: "End a key at once: its tokens are refused from now on" },
  args: {
    KID: {
      type: "positional",
      required: true,
      description: "Name of the key, as list shows it; - is the first key, which has no name",
    },
    ...commonFlags,
  },
  async run({ args }) {
    const kid = args.KID;
    const find = (keys: StoredKey[]): StoredKey => {
      const key = keys.find((each) => nameOf(each) === kid);
      if (key === undefined) throw new UsageError(`there is no key ${quoted(kid)}; accepted: a KID that list shows`);
      return key;
    };
    await withFolder(args.store, async (folder) => {
      find(keysOf(folder)); // before the change below makes a folder
      let line = "";
      await changeStoredKeys(folder, firstAlgorithm(), (keys) => {
        const key = find(keys);
        if (key.status === "active") throw new UsageError(`the key ${quoted(kid)} is the one that signs; rotate first`);
        line = `retired ${described(key)}`;
        return keys.filter((each) => each !== key);
      });
      record("key_retired", { keyId: kid });
      return line;
    });
  },
});

/** @throws {UsageError} for a name that is no algorithm. */
function algorithmOf(flag: string | undefined): string | undefined {
  if (flag === undefined || isAlgorithm(flag)) return flag;
  throw new UsageError(`--algorithm ${quoted(flag)} is not known; accepted: ${algorithmNames.join(", ")}`);
}

/** A thousand years in seconds, so that the end is a time that ISO 8601 can write. */
const longestKeep = 31_557_600_000;

function secondsOf(name: string, text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined || seconds > longestKeep) {
    throw new UsageError(`${name} ${quoted(text)} is not a duration; accepted: such as 30m, 1h30m, 1d`);
  }
  return seconds;
}

/** Seconds after a rotation within which a server may still sign with the former key. Servers follow within two. */
const followed = 10;

/** Returns for how many seconds a token of the former key may be accepted, by the settings of the environment. */
function longestLifetime(): number {
  const { settings } = optionsHere();
  const seconds = (setting: string): number => {
    const standard = describeSettings().find(({ name }) => name === setting)!.default;
    return secondsOf(`setting ${setting}`, String(settings[setting] ?? standard));
  };
  const lifetimes = ["accessTokenLifetime", "refreshTokenLifetime", "slidingTokenLifetime"].map(seconds);
  return Math.max(...lifetimes) + seconds("leeway") + followed;
}

export const program: Program = {
  name: "keys",
  description: "Manages the signing keys of a file store; servers that run on it follow within two seconds",
  commands: { list, generate, rotate, retire },
};
