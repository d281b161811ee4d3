/**
 * Reads what a Django site's `manage.py dumpdata auth.user` writes: a JSON array of `{"model", "pk", "fields"}`, or one such
 * object per line (`--format jsonl`). Fields that are not needed and records of other models are passed over.
 */
import { Buffer } from "node:buffer";
import path from "node:path";
import { Readable, pipeline } from "node:stream";
import { streamArray } from "stream-json/streamers/stream-array.js";
import { UsageError } from "../program/problem.ts";
import { parseEmail, parseUsername } from "./fields.ts";
import { quoted } from "./format.ts";
import {
  type Bytes,
  type Draft,
  type ImportFormat,
  type Line,
  type UsersFile,
  checkedLine,
  parseId,
  readJsonLines,
  textFrom,
} from "./users-file.ts";

export interface DumpOptions {
  /** The site's user model, `app.name`, compared without regard to case. */
  model: string;
  /** The field with the name users log in with, the model's `USERNAME_FIELD`. */
  usernameField: string;
}

interface DumpSource {
  /** Reads the bytes from the beginning at each call. */
  read: () => Bytes;
  /** Its path, for messages; the extension tells JSON lines. */
  file: string;
  /** `jsonl` when the flag says that it is JSON lines. */
  format: ImportFormat | undefined;
  isHash: (text: string) => boolean;
}

/**
 * Opens a dump. Its first character tells whether it is an array or lines.
 * @throws {UsageError} when it is no JSON.
 */
export async function openDump({ read, file, format, isHash }: DumpSource, options: DumpOptions): Promise<UsersFile> {
  const first = await firstCharacter(read());
  const isLines = format === "jsonl" || /^\.(jsonl|ndjson)$/i.test(path.extname(file)) || first === "{";
  if (!isLines && first !== "[") {
    throw new UsageError(
      `nothing was imported: ${file === "-" ? "standard input" : file} is not a dump as JSON in UTF-8`,
    );
  }
  const model = options.model.toLowerCase();
  const passedOver = new Map<string, number>();
  async function* lines(): AsyncGenerator<Line> {
    passedOver.clear();
    for await (const { number, value } of isLines ? readJsonLines(read()) : readArray(read())) {
      const name = modelOf(value);
      if (name === undefined || name.toLowerCase() === model) {
        yield checkedLine(number, () => draftFrom(value(), options.usernameField, isHash));
      } else passedOver.set(name, (passedOver.get(name) ?? 0) + 1);
    }
  }
  return { noun: isLines ? "line" : "record", lines, passedOver };
}

async function firstCharacter(bytes: Bytes): Promise<string | undefined> {
  for await (const chunk of bytes) {
    const text = Buffer.from(chunk).toString("latin1");
    const character = text.replace("\xef\xbb\xbf", "").trimStart()[0]; // without a byte order mark
    if (character !== undefined) return character;
  }
  return undefined;
}

type Value = () => unknown;

/** Yields the elements of an array that is too large to be held in memory. */
async function* readArray(bytes: Bytes): AsyncGenerator<{ number: number; value: Value }> {
  let number = 0;
  const parser = streamArray.withParserAsStream({ streamValues: false });
  // Errors of both reach the loop below.
  const elements = pipeline(Readable.from(bytes), parser, () => {}) as AsyncIterable<{ value: unknown }>;
  try {
    for await (const { value } of elements) yield { number: ++number, value: () => value };
  } catch (error) {
    // The end of the record can't be found, so this isn't one bad record. The parser's own message doesn't say where.
    if (!(error instanceof Error && error.message.startsWith("Parser "))) throw error;
    throw new UsageError(`nothing was imported: the JSON is damaged or cut off somewhere after record ${number}`);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns a record's model; `undefined` without one or for invalid JSON, which is reported as a bad line. */
function modelOf(value: Value): string | undefined {
  try {
    const record = value();
    return isObject(record) && typeof record.model === "string" ? record.model : undefined;
  } catch {
    return undefined;
  }
}

function draftFrom(record: unknown, usernameField: string, isHash: (text: string) => boolean): Draft {
  if (!isObject(record) || typeof record.model !== "string" || !isObject(record.fields)) {
    throw new UsageError("not a record with model, pk and fields");
  }
  const { pk, fields } = record;
  if (pk === undefined || pk === null) throw new UsageError("no pk: tokens name it; dump without --natural-primary");
  const field = (name: string): unknown => (Object.hasOwn(fields, name) ? (fields[name] ?? undefined) : undefined);
  const username = textFrom(field(usernameField), quoted(usernameField));
  if (username === undefined) {
    throw new UsageError(`no field ${quoted(usernameField)}; --username-field says which users log in with`);
  }
  const isActive = field("is_active") ?? true; // a site's own model may have no such field
  if (typeof isActive !== "boolean") throw new UsageError("is_active is not true or false");
  return {
    id: parseId(pk, "pk"),
    username: parseUsername(username),
    email: parseEmail(textFrom(field("email"), "email") ?? ""),
    passwordHash: passwordHashFrom(textFrom(field("password"), "password") ?? "", isHash),
    isActive,
    lastLogin: timeFrom(textFrom(field("last_login"), "last_login")),
  };
}

/** Django's formats that are broken by now, by their beginning or form. */
const brokenFormats: [name: string, form: RegExp][] = [
  ["an MD5", /^md5\$|^[0-9a-f]{32}$/i],
  ["a SHA-1", /^sha1\$|^[0-9a-f]{40}$/i],
  ["a crypt", /^crypt\$/],
];

function passwordHashFrom(text: string, isHash: (text: string) => boolean): string {
  if (text === "") return "!"; // Django refuses a login with it too
  if (isHash(text)) return text;
  const broken = brokenFormats.find(([, form]) => form.test(text))?.[0];
  throw new UsageError(
    broken === undefined
      ? "the password hash is damaged or of no known format"
      : `the password is ${broken} hash, which is not accepted: the user needs a new password`,
  );
}

/** Reads an ISO 8601 time as seconds. A site without time zones (`USE_TZ = False`) writes none; UTC is assumed. */
function timeFrom(text: string | undefined): number | null {
  if (text === undefined) return null;
  const [, time, zone = "Z"] = /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:\d\d)?$/.exec(text) ?? [];
  const milliseconds = time === undefined ? Number.NaN : Date.parse(time.replace(" ", "T") + zone);
  if (Number.isNaN(milliseconds)) throw new UsageError("last_login is not an ISO 8601 time");
  return milliseconds / 1000;
}
