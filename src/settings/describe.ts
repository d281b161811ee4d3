/** The settings as a list, for flags, environment variables, `--help`, the README's table and hints in errors. */
import * as v from "valibot";
import { descriptions } from "./descriptions.ts";
import { type SettingName, settingsSchema } from "./schema.ts";
import type { SettingForm } from "./values.ts";

/** A setting, by its name as a path (`hashing.queue`). */
export interface DescribedSetting {
  name: string;
  /** What it does, in Markdown. */
  description: string;
  /** The default as a host would write it, or a function that returns it. */
  default: unknown;
  /** What the README shows as the default, where the value says too little. */
  shown?: string | undefined;
  /** How it is written as a flag or environment variable. */
  form: SettingForm;
  /** `access-token-lifetime`, without the dashes in front. */
  flag: string;
  /** `JWT_ACCESS_TOKEN_LIFETIME`. */
  env: string;
  /** The setting of Simple JWT with the same meaning: `ACCESS_TOKEN_LIFETIME`. */
  simpleJwtName?: string | undefined;
}

/** Returns all settings but `store`, in the order of the schema. */
export const describeSettings = (): DescribedSetting[] =>
  schemasIn(settingsSchema.entries).map(([name, entry]) => {
    const { description, isSimpleJwt, shown } = descriptions[name];
    const optional = entry as Partial<v.OptionalSchema<v.GenericSchema, unknown>>;
    return {
      name,
      description,
      default: optional.default,
      shown,
      form: formOf(optional.wrapped ?? entry),
      flag: flagOf(name),
      env: `JWT_${upperSnake(name)}`,
      simpleJwtName: isSimpleJwt ? upperSnake(name) : undefined,
    };
  });

/** Returns the names of all settings but `store`. */
export const settingNames = (): string[] => schemasIn(settingsSchema.entries).map(([name]) => name);

/** Returns the settings of a schema by name. An object without a form of its own is a group of settings. */
function schemasIn(entries: v.ObjectEntries, prefix = ""): [name: SettingName, schema: v.GenericSchema][] {
  return Object.entries(entries).flatMap(([key, entry]): [SettingName, v.GenericSchema][] => {
    if (key === "store") return [];
    const schema = (entry as Partial<v.OptionalSchema<v.GenericSchema, unknown>>).wrapped ?? (entry as v.GenericSchema);
    const isGroup = "entries" in schema && statedForm(schema) === undefined;
    return isGroup
      ? schemasIn(schema.entries as v.ObjectEntries, `${prefix}${key}.`)
      : [[(prefix + key) as SettingName, entry as v.GenericSchema]];
  });
}

const statedForm = (schema: v.GenericSchema): SettingForm | undefined =>
  (v.getMetadata(schema) as { form?: SettingForm }).form;

const formOf = (schema: v.GenericSchema): SettingForm => statedForm(schema) ?? formOfType[schema.type] ?? "text";

/** The forms that follow from the type of a schema; other schemas state theirs (`values.ts`), or are text. */
const formOfType: Record<string, SettingForm | undefined> = { boolean: "boolean", number: "number", array: "list" };

/** Returns the flag of a name: `hashing.queue` -> `hashing-queue`, `accessTokenLifetime` -> `access-token-lifetime`. */
export const flagOf = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace(".", "-");

/** `accessTokenLifetime` -> `ACCESS_TOKEN_LIFETIME`. */
const upperSnake = (name: string): string => flagOf(name).replaceAll("-", "_").toUpperCase();

/**
 * Suggests the known name nearest to an unknown one, in any spelling (`accessTokenLifetime`, `JWT_ACCESS_TOKEN_LIFETIME`).
 * @returns the end of an error message, or `""` when no name is near.
 */
export function didYouMean(name: string, known: readonly string[]): string {
  const bare = (text: string): string => text.toLowerCase().replace(/^jwt_|[^a-z0-9]/g, "");
  const distances = known.map((each) => editDistance(bare(name), bare(each)));
  const least = Math.min(...distances);
  const nearest = known[distances.indexOf(least)]!;
  // A suggestion has to keep a letter of a short name.
  return least < bare(nearest).length && least <= Math.max(2, Math.max(bare(name).length, bare(nearest).length) / 3)
    ? `; did you mean ${nearest}?`
    : "";
}

/** Returns how many letters have to be added, removed or replaced to turn one text into the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of Array.from(from).entries()) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j++) {
      next.push(Math.min(row[j + 1]! + 1, next[j]! + 1, row[j]! + (letter === to[j] ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1)!;
}
