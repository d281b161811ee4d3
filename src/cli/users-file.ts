/**
 * Reads a file of users: JSON lines, or CSV with a header line (comma, `"` as quote). Keys or columns:
 *
 * | name | holds |
 * |---|---|
 * | `username` | required |
 * | `password` | a hash in a known format, or a plain password, which is hashed |
 * | `password_hash` | instead of `password`: always a hash; `!` for a user without a password, as in Django |
 * | `plain_password` | instead of `password`: always a plain password, whatever it looks like |
 * | `email`, `id`, `is_active` | optional; an empty cell or `null` counts as absent |
 *
 * `passwordHash`, `plainPassword` and `isActive` are accepted too, any other name is refused. A `password` that looks like
 * a hash but is of no known format is refused too, since hashing a hash would lock its user out.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { Readable, pipeline } from "node:stream";
import { CsvError, parse as csvParser } from "csv-parse";
import type { NewUser } from "../stores/store.ts";
import { UsageError } from "../program/problem.ts";
import { parseEmail, parsePassword, parseUsername } from "./fields.ts";
import { counted, quoted } from "./format.ts";

export type ImportFormat = "csv" | "jsonl";

type Field = "username" | "email" | "password" | "passwordHash" | "plainPassword" | "id" | "isActive";
type Fields = Map<Field, unknown>;
export type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

const fieldNames: ReadonlyMap<string, Field> = new Map([
  ["username", "username"],
  ["email", "email"],
  ["password", "password"],
  ["password_hash", "passwordHash"],
  ["passwordHash", "passwordHash"],
  ["plain_password", "plainPassword"],
  ["plainPassword", "plainPassword"],
  ["id", "id"],
  ["is_active", "isActive"],
  ["isActive", "isActive"],
]);
const knownNames = "username, email, password, password_hash, plain_password, id, is_active";

/** `name$…` (Django), `$id$…` (crypt), `{SCHEME}…` (LDAP), `!…` (unusable) and bare hexadecimal digests. */
const hashLike = /^(?:[a-z][a-z0-9_]*\$|\$[A-Za-z0-9_-]+\$|\{[A-Za-z0-9-]+\}|!|[0-9A-Fa-f]{32,}$)/;
/** How Django marks a user without a password. Any other `!…` may be a password. */
const djangoUnusable = /^!(?:[A-Za-z0-9]{40})?$/;

type Password = { passwordHash: string } | { plainPassword: string };

/** A user as the file has it, with a plain password not hashed yet. */
export type Draft = Omit<NewUser, "passwordHash"> & Password;

/** A user's line or record. `number` counts from 1; a bad line has a `reason`. */
export type Line = { number: number } & ({ draft: Draft; reason?: undefined } | { draft?: undefined; reason: string });

/** A source of users that can be read more than once. */
export interface UsersFile {
  /** What a {@link Line} is in this file. */
  noun: "line" | "record";
  /** Reads and checks all lines from the beginning. Throws a {@link UsageError} for a file that can't be read as a whole. */
  lines(): AsyncIterable<Line>;
  /** How many records of each other model the last reading passed over. */
  passedOver?: ReadonlyMap<string, number>;
}

const maxLineLength = 65_536;

/** Tells a file's format by its extension. */
export function formatOf(file: string): ImportFormat {
  const extension = path.extname(file).toLowerCase();
  if (extension === ".csv") return "csv";
  if (extension === ".jsonl" || extension === ".ndjson") return "jsonl";
  const source = file === "-" ? "standard input" : file;
  throw new UsageError(`the format of ${source} is not known; add --format csv or --format jsonl`);
}

/**
 * Opens a file.
 * @returns a function that reads the bytes from the beginning at each call.
 * @throws {UsageError} when it can't be read.
 */
export async function openSource(file: string): Promise<() => Bytes> {
  const unreadable = (error: unknown): UsageError => {
    const { code, message } = error as NodeJS.ErrnoException;
    return new UsageError(`can't read ${file}: ${code === "ENOENT" ? "no such file" : message}`);
  };
  async function* bytesOf(stream: Readable): AsyncGenerator<Uint8Array> {
    try {
      yield* stream as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw unreadable(error);
    }
  }
  if (file !== "-") {
    const info = await stat(file).catch((error: unknown) => Promise.reject(unreadable(error)));
    if (info.isFile()) return () => bytesOf(createReadStream(file));
  }
  // A pipe can be read only once.
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytesOf(file === "-" ? process.stdin : createReadStream(file))) chunks.push(chunk);
  return () => chunks;
}

/** Returns the user that a line holds, or the reason why it holds none. */
export function checkedLine(number: number, read: () => Draft): Line {
  try {
    return { number, draft: read() };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { number, reason: error.message };
  }
}

/** Reads and checks every line that isn't blank. Throws a {@link UsageError} for a file that can't be read as a whole. */
export async function* readLines(
  bytes: Bytes,
  format: ImportFormat,
  isHash: (text: string) => boolean,
): AsyncGenerator<Line> {
  if (format === "csv") {
    for await (const { number, fields } of readCsv(bytes)) yield checkedLine(number, () => draftFrom(fields(), isHash));
  } else {
    for await (const { number, value } of readJsonLines(bytes)) {
      yield checkedLine(number, () => draftFrom(jsonFields(value()), isHash));
    }
  }
}

/** Yields the lines that aren't blank. `value` throws a {@link UsageError} for a line that is no JSON. */
export async function* readJsonLines(bytes: Bytes): AsyncGenerator<{ number: number; value: () => unknown }> {
  const decoder = new TextDecoder(); // removes a byte order mark
  let number = 0;
  let rest = "";
  for await (const chunk of bytes) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    if (rest.length > maxLineLength) {
      throw new UsageError(`nothing was imported: line ${number + lines.length + 1} is too long for a user`);
    }
    for (const line of lines) {
      number++;
      if (line.trim() !== "") yield { number, value: () => parseJson(line) };
    }
  }
  rest += decoder.decode();
  if (rest.trim() !== "") yield { number: number + 1, value: () => parseJson(rest) };
}

function parseJson(line: string): unknown {
  refuseMangled(line);
  try {
    return JSON.parse(line);
  } catch {
    throw new UsageError("not valid JSON"); // the parser's own message quotes the line
  }
}

function jsonFields(data: unknown): Fields {
  if (typeof data !== "object" || data === null || Array.isArray(data)) throw new UsageError("not a JSON object");
  const fields: Fields = new Map();
  for (const [name, value] of Object.entries(data)) {
    const field = fieldNames.get(name);
    if (field === undefined) throw new UsageError(`unknown key ${quoted(name)}; known: ${knownNames}`);
    if (fields.has(field)) throw new UsageError(`${field} is given twice`);
    if (value !== null) fields.set(field, value);
  }
  return fields;
}

async function* readCsv(bytes: Bytes): AsyncGenerator<{ number: number; fields: () => Fields }> {
  let lastLine = 0;
  const parser = csvParser({
    bom: true,
    max_record_size: maxLineLength,
    record_delimiter: ["\r\n", "\n"],
    relax_column_count: true,
    skip_empty_lines: true,
    // A record's line goes in front of its cells.
    on_record: (cells: string[], { lines }) => [String((lastLine = lines)), ...cells],
  });
  // Errors of both reach the loop below.
  const rows = pipeline(Readable.from(bytes), parser, () => {}) as AsyncIterable<string[]>;
  let columns: Field[] | undefined;
  try {
    for await (const [line, ...cells] of rows) {
      if (columns === undefined) columns = csvColumns(cells);
      else {
        const header = columns;
        yield { number: Number(line), fields: () => csvFields(header, cells) };
      }
    }
  } catch (error) {
    // The end of the record can't be found, so this isn't one bad line. The parser's own message quotes the value.
    if (!(error instanceof CsvError)) throw error;
    throw new UsageError(
      `nothing was imported: a quote is out of place or not closed in the CSV after line ${lastLine}`,
    );
  }
  if (columns === undefined) throw new UsageError("nothing was imported: the CSV has no header line");
}

function csvColumns(header: string[]): Field[] {
  const names = header.map((name) => name.trim());
  if (!names.includes("username")) {
    // Not quoted: without a header line, this is a user's data, maybe the password.
    throw new UsageError('nothing was imported: the CSV must begin with a header line that has a column "username"');
  }
  return names.map((name, index) => {
    const field = fieldNames.get(name);
    if (field === undefined) {
      throw new UsageError(`nothing was imported: unknown column ${quoted(name)}; known: ${knownNames}`);
    }
    if (names.findIndex((other) => fieldNames.get(other) === field) < index) {
      throw new UsageError(`nothing was imported: the column ${quoted(name)} is there twice`);
    }
    return field;
  });
}

function csvFields(columns: Field[], cells: string[]): Fields {
  if (cells.length !== columns.length) {
    throw new UsageError(`${counted(cells.length, "cell")} where the header has ${columns.length}`);
  }
  const fields: Fields = new Map();
  for (const [index, cell] of cells.entries()) {
    refuseMangled(cell);
    if (cell !== "") fields.set(columns[index]!, cell);
  }
  return fields;
}

/** Refuses text with U+FFFD, which the decoders put where bytes are not UTF-8. */
function refuseMangled(text: string): void {
  if (text.includes("\uFFFD")) throw new UsageError("not UTF-8");
}

function draftFrom(fields: Fields, isHash: (text: string) => boolean): Draft {
  const username = textOf(fields, "username");
  if (username === undefined) throw new UsageError("no username");
  const id = fields.has("id") ? parseId(fields.get("id"), "id") : undefined;
  const isActive = flagOf(fields);
  return {
    username: parseUsername(username),
    email: parseEmail(textOf(fields, "email") ?? ""),
    ...(id !== undefined && { id }),
    ...(isActive !== undefined && { isActive }),
    ...passwordOf(fields, isHash),
  };
}

const textOf = (fields: Fields, field: Field): string | undefined => textFrom(fields.get(field), field);

/** Reads an optional text. Throws a {@link UsageError} when it is something else, or was not UTF-8. */
export function textFrom(value: unknown, name: string): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw new UsageError(`${name} is not text`);
  refuseMangled(value);
  return value;
}

function passwordOf(fields: Fields, isHash: (text: string) => boolean): Password {
  const given = (["password", "passwordHash", "plainPassword"] as const).filter((field) => fields.has(field));
  const field = given[0];
  if (field === undefined) throw new UsageError("no password");
  if (given.length > 1) throw new UsageError("more than one of password, password_hash, plain_password");
  const text = textOf(fields, field)!;
  if (field === "plainPassword") return { plainPassword: parsePassword(text) };
  if (field === "passwordHash") {
    if (!isHash(text)) throw new UsageError("password_hash is damaged or of no known format");
    return { passwordHash: text };
  }
  if (isHash(text) && (!text.startsWith("!") || djangoUnusable.test(text))) return { passwordHash: text };
  if (!hashLike.test(text)) return { plainPassword: parsePassword(text) };
  const remedy = "call it plain_password if it is a password";
  throw new UsageError(`the password looks like a hash, but is damaged or of no known format; ${remedy}`);
}

/** Returns an id as text: a whole number, or a word without spaces. */
export function parseId(value: unknown, name: string): string {
  const id = Number.isSafeInteger(value) ? String(value) : value;
  if (typeof id === "string" && /^[^\s\p{Cc}\p{Cs}]+$/u.test(id)) return id;
  throw new UsageError(`${name} is not a whole number or a word`);
}

/** Reads `is_active`: JSON's and Python's words, and `t`, `f`, 1 and 0, as databases write them. */
function flagOf(fields: Fields): boolean | undefined {
  const value = fields.get("isActive");
  if (value === undefined) return undefined;
  const word = String(value).toLowerCase();
  if (["true", "t", "1"].includes(word)) return true;
  if (["false", "f", "0"].includes(word)) return false;
  throw new UsageError("is_active is not true or false");
}
