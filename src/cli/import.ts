/**
 * Users from a file, all or none.
 *
 * JSON lines, or CSV with a header line (comma, `"` as quote). Keys or columns:
 *
 * | name | holds |
 * |---|---|
 * | `username` | required |
 * | `password` | a hash in a known format, or a plain password, which is hashed; what looks like a hash of an unknown format is refused, for hashing a hash would lock the user out |
 * | `password_hash` | instead: surely a hash; `!` for a user without a password, as in Django |
 * | `plain_password` | instead: surely a plain password, whatever it looks like |
 * | `email`, `id`, `is_active` | optional; an empty cell or `null` counts as absent |
 *
 * `passwordHash`, `plainPassword` and `isActive` are accepted too, any other name is refused.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import process from "node:process";
import { Readable, pipeline } from "node:stream";
import { CsvError, parse as csvParser } from "csv-parse";
import { type NewUser, type Store, StoreError, createPasswords } from "../index.ts";
import { Mistake, parseEmail, parsePassword, parseUsername } from "./fields.ts";

export const importFormats = ["csv", "jsonl"] as const;
export type ImportFormat = (typeof importFormats)[number];

type Field = "username" | "email" | "password" | "passwordHash" | "plainPassword" | "id" | "isActive";
type Fields = Map<Field, unknown>;

const fieldNames: ReadonlyMap<string, Field> = new Map([
  ...(["username", "email", "password", "passwordHash", "plainPassword", "id", "isActive"] as const).map(
    (name) => [name, name] as const,
  ),
  ...([["password_hash", "passwordHash"], ["plain_password", "plainPassword"], ["is_active", "isActive"]] as const),
]);
const knownNames = "username, email, password, password_hash, plain_password, id, is_active";

/** `name$…` (Django), `$id$…` (crypt), `{SCHEME}…` (LDAP), `!…` (unusable) and bare hexadecimal digests. */
const hashLike = /^(?:[a-z][a-z0-9_-]*\$|\$[a-z0-9_-]+\$|\{[a-z0-9-]+\}|!|[0-9a-f]{32,}$)/i;
/** How Django marks a user without a password; any other `!…` may well be a password. */
const djangoUnusable = /^!(?:[A-Za-z0-9]{40})?$/;

/** A user as the file has it, the password not hashed yet. */
type Draft = Omit<NewUser, "passwordHash"> & ({ passwordHash: string } | { plainPassword: string });

/** `number` counts from 1; a bad line has a `reason`. */
type Line = { number: number } & ({ draft: Draft; reason?: undefined } | { draft?: undefined; reason: string });

const maxLineLength = 65_536;
const maxReported = 20;
/** Lines looked at or hashed at a time; the hasher itself keeps to the cores. */
const width = 64;

export interface ImportOptions {
  /** Default: by the file's extension. */
  format?: ImportFormat | undefined;
  /** Add the good lines although others are bad. */
  skipBad: boolean;
}

/**
 * Reads the file twice: once to judge every line, once to add. Answers the summary.
 * @param file a path, or `-` for standard input, which is kept in memory: passwords don't go to a temporary file.
 */
export async function importUsers(store: Store, file: string, options: ImportOptions): Promise<string> {
  const format = options.format ?? formatOf(file);
  const read = await openSource(file);
  const passwords = createPasswords({ concurrency: availableParallelism() });
  const lines = () => readLines(read(), format, passwords.isHash);
  const progress = createProgress();

  const bad = new Set<number>();
  const reports: string[] = [];
  let good = 0;
  for await (const { number, reason } of inParallel(refuseRepeated(lines()), (line) => refuseTaken(store, line))) {
    if (reason === undefined) good++;
    else {
      bad.add(number);
      if (reports.length < maxReported) reports.push(`line ${number}: ${reason}\n`);
    }
    progress.show(() => `${good + bad.size} lines checked, ${bad.size} bad`);
  }
  progress.clear();
  if (bad.size > reports.length) reports.push(`and ${counted(bad.size - reports.length, "more bad line")}\n`);
  process.stderr.write(reports.join(""));
  if (bad.size > 0 && !options.skipBad) {
    const share = `${bad.size} of ${counted(good + bad.size, "line")} ${bad.size === 1 ? "is" : "are"} bad`;
    throw new Mistake(`nothing was imported: ${share} (--skip-bad imports the others)`);
  }

  async function* drafts(): AsyncGenerator<Draft> {
    for await (const { number, draft } of lines()) {
      if (bad.has(number)) continue;
      if (draft === undefined) throw new Mistake(`nothing was imported: the file changed meanwhile (line ${number})`);
      yield draft;
    }
  }
  async function* newUsers(): AsyncGenerator<NewUser> {
    let done = 0;
    const hashed = inParallel(drafts(), async (draft): Promise<NewUser> => {
      if ("passwordHash" in draft) return draft;
      const { plainPassword, ...user } = draft;
      return { ...user, passwordHash: await passwords.hash(plainPassword) };
    });
    for await (const user of hashed) {
      yield user;
      done++;
      progress.show(() => `${done} of ${counted(good, "user")}`);
    }
  }
  try {
    const imported = good === 0 ? 0 : await store.addUsers(newUsers());
    const skipped = bad.size === 0 ? "" : `, skipped ${counted(bad.size, "bad line")}`;
    return `imported ${counted(imported, "user")}${skipped}`;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "USER_EXISTS") throw error;
    throw new Mistake(`nothing was imported: ${error.message}, since a moment ago`);
  } finally {
    progress.clear();
  }
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

function formatOf(file: string): ImportFormat {
  const extension = path.extname(file).toLowerCase();
  if (extension === ".csv") return "csv";
  if (extension === ".jsonl" || extension === ".ndjson") return "jsonl";
  throw new Mistake(`the format of ${file === "-" ? "standard input" : file} is not known; add --format csv or --format jsonl`);
}

/** A function that reads the bytes anew at each call. */
async function openSource(file: string): Promise<() => AsyncIterable<Uint8Array> | Iterable<Uint8Array>> {
  const unreadable = (error: unknown): Mistake => {
    const { code, message } = error as NodeJS.ErrnoException;
    return new Mistake(`can't read ${file}: ${code === "ENOENT" ? "no such file" : message}`);
  };
  async function* bytesOf(stream: Readable): AsyncGenerator<Uint8Array> {
    try {
      yield* stream as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw unreadable(error);
    }
  }
  const isRegular = file !== "-" && (await stat(file).catch((error: unknown) => Promise.reject(unreadable(error)))).isFile();
  if (isRegular) return () => bytesOf(createReadStream(file));
  // A pipe can be read once only.
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytesOf(file === "-" ? process.stdin : createReadStream(file))) chunks.push(chunk);
  return () => chunks;
}

function readLines(
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  format: ImportFormat,
  isHash: (text: string) => boolean,
): AsyncGenerator<Line> {
  const judge = (number: number, read: () => Fields): Line => {
    try {
      return { number, draft: draftFrom(read(), isHash) };
    } catch (error) {
      if (!(error instanceof Mistake)) throw error;
      return { number, reason: error.message };
    }
  };
  return format === "csv" ? readCsv(bytes, judge) : readJsonLines(bytes, judge);
}

type Judge = (number: number, read: () => Fields) => Line;

async function* readJsonLines(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, judge: Judge): AsyncGenerator<Line> {
  const decoder = new TextDecoder(); // takes a byte order mark away
  let number = 0;
  let rest = "";
  for await (const chunk of bytes) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    if (rest.length > maxLineLength) throw new Mistake(`line ${number + lines.length + 1} is too long for a user`);
    for (const line of lines) {
      number++;
      if (line.trim() !== "") yield judge(number, () => jsonFields(line));
    }
  }
  rest += decoder.decode();
  if (rest.trim() !== "") yield judge(number + 1, () => jsonFields(rest));
}

function jsonFields(line: string): Fields {
  refuseMangled(line);
  let data: unknown;
  try {
    data = JSON.parse(line);
  } catch {
    throw new Mistake("not valid JSON"); // the parser's own message quotes the line
  }
  if (typeof data !== "object" || data === null || Array.isArray(data)) throw new Mistake("not a JSON object");
  const fields: Fields = new Map();
  for (const [name, value] of Object.entries(data)) {
    const field = fieldNames.get(name);
    if (field === undefined) throw new Mistake(`unknown key ${JSON.stringify(name.slice(0, 40))}; known: ${knownNames}`);
    if (fields.has(field)) throw new Mistake(`${field} is given twice`);
    if (value !== null) fields.set(field, value);
  }
  return fields;
}

async function* readCsv(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, judge: Judge): AsyncGenerator<Line> {
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
        yield judge(Number(line), () => csvFields(header, cells));
      }
    }
  } catch (error) {
    // Where a record ends can't be told any more, so this isn't one bad line. The parser's own message quotes the value.
    if (!(error instanceof CsvError)) throw error;
    throw new Mistake(`nothing was imported: a quote is out of place or not closed in the CSV after line ${lastLine}`);
  }
  if (columns === undefined) throw new Mistake("nothing was imported: the CSV has no header line");
}

function csvColumns(header: string[]): Field[] {
  const names = header.map((name) => name.trim());
  if (!names.includes("username")) {
    // Not quoted: without a header line, this is somebody's password.
    throw new Mistake('nothing was imported: the CSV must begin with a header line that has a column "username"');
  }
  return names.map((name, index) => {
    const field = fieldNames.get(name);
    if (field === undefined) {
      throw new Mistake(`nothing was imported: unknown column ${JSON.stringify(name.slice(0, 40))}; known: ${knownNames}`);
    }
    if (names.findIndex((other) => fieldNames.get(other) === field) < index) {
      throw new Mistake(`nothing was imported: the column ${JSON.stringify(name)} is there twice`);
    }
    return field;
  });
}

function csvFields(columns: Field[], cells: string[]): Fields {
  if (cells.length !== columns.length) {
    throw new Mistake(`${counted(cells.length, "cell")} where the header has ${columns.length}`);
  }
  const fields: Fields = new Map();
  for (const [index, cell] of cells.entries()) {
    refuseMangled(cell);
    if (cell !== "") fields.set(columns[index]!, cell);
  }
  return fields;
}

/** The decoders put U+FFFD where bytes are not UTF-8. */
function refuseMangled(text: string): void {
  if (text.includes("\uFFFD")) throw new Mistake("not UTF-8");
}

function draftFrom(fields: Fields, isHash: (text: string) => boolean): Draft {
  const username = textOf(fields, "username");
  if (username === undefined) throw new Mistake("no username");
  const id = idOf(fields);
  const isActive = flagOf(fields);
  return {
    username: parseUsername(username),
    email: parseEmail(textOf(fields, "email") ?? ""),
    ...(id !== undefined && { id }),
    ...(isActive !== undefined && { isActive }),
    ...passwordOf(fields, isHash),
  };
}

function textOf(fields: Fields, field: Field): string | undefined {
  const value = fields.get(field);
  if (value !== undefined && typeof value !== "string") throw new Mistake(`${field} is not text`);
  return value;
}

function passwordOf(
  fields: Fields,
  isHash: (text: string) => boolean,
): { passwordHash: string } | { plainPassword: string } {
  const given = (["password", "passwordHash", "plainPassword"] as const).filter((field) => fields.has(field));
  const field = given[0];
  if (field === undefined) throw new Mistake("no password");
  if (given.length > 1) throw new Mistake("more than one of password, password_hash, plain_password");
  const text = textOf(fields, field)!;
  if (field === "plainPassword") return { plainPassword: parsePassword(text) };
  if (field === "passwordHash") {
    if (!isHash(text)) throw new Mistake("password_hash is damaged or of no known format");
    return { passwordHash: text };
  }
  if (isHash(text) && (!text.startsWith("!") || djangoUnusable.test(text))) return { passwordHash: text };
  if (!hashLike.test(text)) return { plainPassword: parsePassword(text) };
  const remedy = "call it plain_password if it is a password";
  throw new Mistake(`the password looks like a hash, but is damaged or of no known format; ${remedy}`);
}

function idOf(fields: Fields): string | undefined {
  const value = fields.get("id");
  if (value === undefined) return undefined;
  const id = Number.isSafeInteger(value) ? String(value) : value;
  if (typeof id !== "string" || !/^[^\s\p{Cc}\p{Cs}]+$/u.test(id)) throw new Mistake("id is not a whole number or a word");
  return id;
}

/** JSON's and Python's words, and `t`, `f`, 1 and 0, as databases write them. */
function flagOf(fields: Fields): boolean | undefined {
  const value = fields.get("isActive");
  if (value === undefined) return undefined;
  const word = String(value).toLowerCase();
  if (["true", "t", "1"].includes(word)) return true;
  if (["false", "f", "0"].includes(word)) return false;
  throw new Mistake("is_active is not true or false");
}

async function* refuseRepeated(lines: AsyncIterable<Line>): AsyncGenerator<Line> {
  const usernames = new Map<string, number>();
  const ids = new Map<string, number>();
  for await (const line of lines) {
    if (line.draft === undefined) {
      yield line;
      continue;
    }
    const { number, draft } = line;
    const sameName = usernames.get(draft.username);
    const sameId = draft.id === undefined ? undefined : ids.get(draft.id);
    if (sameName !== undefined) yield { number, reason: `the same username as line ${sameName}` };
    else if (sameId !== undefined) yield { number, reason: `the same id as line ${sameId}` };
    else {
      usernames.set(draft.username, number);
      if (draft.id !== undefined) ids.set(draft.id, number);
      yield line;
    }
  }
}

async function refuseTaken(store: Store, line: Line): Promise<Line> {
  const { number, draft } = line;
  if (draft === undefined) return line;
  if (await store.findUserByUsername(draft.username)) return { number, reason: "the username is taken" };
  if (draft.id !== undefined && (await store.findUserById(draft.id))) return { number, reason: "the id is taken" };
  return line;
}

/** Results in the order of the items, some of which are worked on at the same time. */
async function* inParallel<T, R>(items: AsyncIterable<T>, step: (item: T) => Promise<R>): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for await (const item of items) {
    const result = step(item);
    result.catch(() => {}); // reported when its turn comes, or after an earlier failure not at all
    running.push(result);
    if (running.length >= width) yield await running.shift()!;
  }
  for (const result of running) yield await result;
}

/** On a terminal one line that is rewritten; elsewhere, in a log, a line now and then. */
function createProgress() {
  const { stderr } = process;
  const interval = stderr.isTTY ? 100 : 5000;
  let nextAt = performance.now() + interval;
  let isShown = false;
  return {
    show(text: () => string): void {
      const now = performance.now();
      if (now < nextAt) return;
      nextAt = now + interval;
      isShown = true;
      stderr.write(stderr.isTTY ? `\r\x1b[K${text()}` : `${text()}\n`);
    },
    clear(): void {
      if (stderr.isTTY && isShown) stderr.write("\r\x1b[K");
      isShown = false;
    },
  };
}
