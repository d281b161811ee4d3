/** What a host gives -> checked settings with their defaults, once, at the start. */
import * as v from "valibot";
import { SettingError } from "../errors.ts";
import { inconsistency } from "./check.ts";
import { didYouMean, settingNames } from "./describe.ts";
import { settingsSchema } from "./schema.ts";
import { errorTexts, quoted } from "./values.ts";
import type { JwtEndpointsSettings, Settings } from "./types.ts";

/**
 * Checks settings and fills in the defaults.
 * @returns the settings, frozen; durations in seconds.
 * @throws {SettingError} that names the first wrong setting and what is accepted.
 */
export function parseSettings(input: JwtEndpointsSettings): Settings {
  const settings = parse(settingsSchema, input);
  const problem = inconsistency(settings);
  if (problem !== undefined) throw new SettingError(`setting ${problem}`);
  return Object.freeze(settings);
}

/**
 * Checks `hashing` alone and fills in its defaults, for a program that makes hashes and no tokens.
 * @throws {SettingError} as {@link parseSettings}.
 */
export const parseHashing = (hashing: JwtEndpointsSettings["hashing"]): Settings["hashing"] =>
  parse(v.object({ hashing: settingsSchema.entries.hashing }), { hashing }).hashing;

/**
 * Checks settings that come without a store, such as those of a configuration file. What they are together is checked with
 * the store.
 * @throws {SettingError} as {@link parseSettings}.
 */
export const checkSettings = (input: Record<string, unknown>): void =>
  void parse(v.omit(settingsSchema, ["store"]), input);

/** The codes of texts, by their names as settings. */
const textNames = Object.keys(errorTexts.entries).map((code) => `texts.${code}`);

function parse<S extends v.GenericSchema & { entries: v.ObjectEntries }>(schema: S, input: unknown): v.InferOutput<S> {
  const result = read(schema, input);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue) ?? "settings";
  const isUnknown = issue.expected === "never"; // its input is the unknown name
  const names = () => ["store", ...settingNames(), ...textNames];
  const hint = isUnknown ? didYouMean(path, names()) : "";
  throw new SettingError(`setting ${path}${isUnknown ? "" : shownValue(path, issue.input)} ${issue.message}${hint}`);
}

/** Reads settings by a schema. Some may be getters of the host, which throw. */
function read<S extends v.GenericSchema & { entries: v.ObjectEntries }>(
  schema: S,
  input: unknown,
): v.SafeParseResult<S> {
  try {
    return v.safeParse(schema, input);
  } catch (cause) {
    const name = Object.keys(schema.entries).find((each) => {
      try {
        v.safeParse(schema.entries[each] as v.GenericSchema, (input as Record<string, unknown>)[each]);
        return false;
      } catch {
        return true;
      }
    });
    const subject = name === undefined ? "settings" : `setting ${name}`; // a getter may throw only once
    throw new SettingError(`${subject} can't be read: code of the host throws`, { cause });
  }
}

/** Returns the offending value, quoted, unless it could be a secret or is a lump of data. */
function shownValue(path: string, value: unknown): string {
  const plain = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  return plain && !/key|store|url/i.test(path) ? `: ${quoted(value)}` : "";
}
