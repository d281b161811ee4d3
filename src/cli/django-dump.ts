/**
 * What a Django site's `manage.py dumpdata auth.user` writes: a JSON array of `{"model", "pk", "fields"}`, or one such
 * object per line (`--format jsonl`). Of a user it has more than is wanted here; records of other models may stand beside.
 */
import { Buffer } from "node:buffer";
import path from "node:path";
import { Readable, pipeline } from "node:stream";
import { streamArray } from "stream-json/streamers/stream-array.js";
import { Mistake, parseEmail, parseUsername, quoted } from "./fields.ts";
import {
  type Bytes,
  type Draft,
  type ImportFormat,
  type Line,
  type UsersFile,
  judged,
  parseId,
  readJsonLines,
  textFrom,
} from "./users-file.ts";

export interface DumpOptions {
  /** The site's user model, `app.name`; compared without regard to case. */
  model: string;
  /** The field with the name users log in with, the model's `USERNAME_FIELD`. */
  usernameField: string;
}

interface DumpSource {
  /** Reads the bytes anew at each call. */
  read: () => Bytes;
  /** For messages, and its extension tells JSON lines. */
  file: string;
  /** `jsonl` when it was said to be JSON lines. */
  format: ImportFormat | undefined;
  isHash: (text: string) => boolean;
}

/**
 * Looks at the beginning of a dump, and answers a reader of its users.
 * @throws {Mistake} when it is no JSON.
 */
export async function openDump({ read, file, format, isHash }: DumpSource, options: DumpOptions): Promise<UsersFile> {
  const first = await firstCharacter(read());
  const isLines = format === "jsonl" || /^\.(jsonl|ndjson)$/i.test(path.extname(file)) || first === "{";
  if (!isLines && first !== "[") {
    throw new Mistake(`nothing was imported: ${file === "-" ? "standard input" : file} is not a dump as JSON in UTF-8`);
  }
  const model = options.model.toLowerCase();
  const passedOver = new Map<string, number>();
  async function* lines(): AsyncGenerator<Line> {
    passedOver.clear();
    for await (const { number, value } of isLines ? readJsonLines(read()) : readArray(read())) {
      const name = modelOf(value);
      if (name === undefined || name.toLowerCase() === model) {
        yield judged(number, () => draftFrom(value(), options.usernameField, isHash));
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

/** The elements of an array that is too large to be held whole. */
async function* readArray(bytes: Bytes): AsyncGenerator<{ number: number; value: Value }> {
  let number = 0;
  const parser = streamArray.withParserAsStream({ streamValues: false });
  // Errors of both reach the loop below.
  const elements = pipeline(Readable.from(bytes), parser, () => {}) as AsyncIterable<{ value: unknown }>;
  try {
    for await (const { value } of elements) yield { number: ++number, value: () => value };
  } catch (error) {
    // What follows can't be told apart any more, so this isn't one bad record. The parser's own message quotes nothing,
    // but doesn't say where.
    if (!(error instanceof Error && error.message.startsWith("Parser "))) throw error;
    throw new Mistake(`nothing was imported: the JSON is damaged or cut off somewhere after record ${number}`);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** `undefined` when it doesn't say, or isn't valid JSON: reported with the users. */
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
    throw new Mistake("not a record with model, pk and fields");
  }
  const { pk, fields } = record;
  if (pk === undefined || pk === null) throw new Mistake("no pk: tokens name it; dump without --natural-primary");
  const field = (name: string): unknown => (Object.hasOwn(fields, name) ? (fields[name] ?? undefined) : undefined);
  const username = textFrom(field(usernameField), quoted(usernameField));
  if (username === undefined) {
    throw new Mistake(`no field ${quoted(usernameField)}; --username-field says which users log in with`);
  }
  const isActive = field("is_active") ?? true; // a model need not have it
  if (typeof isActive !== "boolean") throw new Mistake("is_active is not true or false");
  return {
    id: parseId(pk, "pk"),
    username: parseUsername(username),
    email: parseEmail(textFrom(field("email"), "email") ?? ""),
    passwordHash: passwordHashFrom(textFrom(field("password"), "password") ?? "", isHash),
    isActive,
    lastLogin: timeFrom(textFrom(field("last_login"), "last_login")),
  };
}

/** Formats of Django's that are broken by now. Named without a look at more of the text than tells them. */
const brokenFormats: [name: string, form: RegExp][] = [
  ["an MD5", /^md5\$|^[0-9a-f]{32}$/i],
  ["a SHA-1", /^sha1\$|^[0-9a-f]{40}$/i],
  ["a crypt", /^crypt\$/],
];

function passwordHashFrom(text: string, isHash: (text: string) => boolean): string {
  if (text === "") return "!"; // nobody logs in with it at Django either
  if (isHash(text)) return text;
  const broken = brokenFormats.find(([, form]) => form.test(text))?.[0];
  throw new Mistake(
    broken === undefined
      ? "the password hash is damaged or of no known format"
      : `the password is ${broken} hash, which is not accepted: the user needs a new password`,
  );
}

/** Seconds from ISO 8601. A site without time zones (`USE_TZ = False`) writes none; taken as UTC then. */
function timeFrom(text: string | undefined): number | null {
  if (text === undefined) return null;
  const [, time, zone = "Z"] = /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:\d\d)?$/.exec(text) ?? [];
  const milliseconds = time === undefined ? Number.NaN : Date.parse(time.replace(" ", "T") + zone);
  if (Number.isNaN(milliseconds)) throw new Mistake("last_login is not an ISO 8601 time");
  return milliseconds / 1000;
}
