/**
 * The fast path of the opening: takes users out of checked lines of a journal without parsing them. What is kept of a user
 * is a place in the journal's text, which is read when somebody looks the user up: that is faster than to parse all, and
 * takes less memory than their fields.
 */
import type { Buffer } from "node:buffer";
import { type Entry, emptyHash, entryOf, finished, withUnit } from "../state/directory.ts";
import type { User } from "../store.ts";
import { type ReadRecord, type UserRow, userFrom } from "./record.ts";

const [quote, comma, backslash, openBracket, closeBracket] = [34, 44, 92, 91, 93];

/** What follows the password hash in a row: `isActive`, `lastLogin`, and `tokensValidFrom` where there is one. */
const endOfRow = /^,[01],(null|\d+(\.\d+)?)(,\d+(\.\d+)?)?\]$/;
const usualEnd = ",1,null]";

/** Reads the row that `packRow` has taken at a place of a text, into a frozen user. */
function userFromText(text: string, start: number): User {
  const idEnd = text.indexOf('"', start + 2);
  const usernameEnd = text.indexOf('"', idEnd + 3);
  const emailEnd = text.indexOf('"', usernameEnd + 3);
  const hashEnd = text.indexOf('"', emailEnd + 3);
  const [lastLogin, tokensValidFrom] = text.slice(hashEnd + 4, text.indexOf("]", hashEnd)).split(",");
  return Object.freeze({
    id: text.slice(start + 2, idEnd),
    username: text.slice(idEnd + 3, usernameEnd),
    email: text.slice(usernameEnd + 3, emailEnd),
    passwordHash: text.slice(emailEnd + 3, hashEnd),
    isActive: text[hashEnd + 2] === "1",
    lastLogin: lastLogin === "null" ? null : Number(lastLogin),
    tokensValidFrom: tokensValidFrom === undefined ? null : Number(tokensValidFrom),
  });
}

/** Users who were looked up lately, by bits of the hash of their id: who makes one request often makes the next one. */
const lately: { entry: PackedEntry; user: User }[] = [];
const latelyCount = 1024; // a power of two

/** An entry that has a place in the journal's text until its user is changed. */
class PackedEntry implements Entry {
  private kept: string | User | undefined;
  private readonly start: number;
  readonly idHash: number;
  nameHash: number;

  constructor(text: string, start: number, idHash: number, nameHash: number) {
    this.kept = text;
    this.start = start;
    this.idHash = idHash;
    this.nameHash = nameHash;
  }

  get user(): User | undefined {
    if (typeof this.kept !== "string") return this.kept;
    const slot = this.idHash & (latelyCount - 1);
    const found = lately[slot];
    if (found?.entry === this) return found.user;
    const user = userFromText(this.kept, this.start);
    lately[slot] = { entry: this, user };
    return user;
  }

  set user(user: User | undefined) {
    this.kept = user;
  }
}

/** ASCII that JSON writes as it is. Past the end of the bytes, the unit is not a number. */
const isPlain = (unit: number): boolean => unit >= 32 && unit < 127 && unit !== backslash;

/** Returns where the text ends that begins at a place, or -1 if it is not plain. */
function endOfPlain(bytes: Buffer, from: number): number {
  let at = from;
  for (let unit = bytes[at]!; unit !== quote; unit = bytes[++at]!) if (!isPlain(unit)) return -1;
  return at;
}

/** Returns where a row ends that begins at a place, whatever is in it. */
function endOfAnyRow(bytes: Buffer, from: number, end: number): number {
  let isText = false;
  for (let at = from; at < end; at++) {
    const unit = bytes[at]!;
    if (unit === quote) isText = !isText;
    else if (unit === backslash) at++;
    else if (unit === closeBracket && !isText) return at + 1;
  }
  return end;
}

/** A place in a journal whose lines have been checked: in its bytes, and in their text, which begins at `from`. */
export interface Cursor {
  bytes: Buffer;
  text: string;
  from: number;
  at: number;
}

/** Makes an entry of the row at the cursor and moves past it, or returns `undefined` for a row that has to be parsed. */
function packRow(cursor: Cursor): Entry | undefined {
  const { bytes, text, from, at: start } = cursor;
  if (bytes[start] !== openBracket || bytes[start + 1] !== quote) return undefined;
  let at = start + 2;
  let idHash = emptyHash();
  for (let unit = bytes[at]!; unit !== quote; unit = bytes[++at]!) {
    if (!isPlain(unit)) return undefined;
    idHash = withUnit(idHash, unit);
  }
  if (bytes[at + 1] !== comma || bytes[at + 2] !== quote) return undefined;
  at += 3;
  let nameHash = emptyHash();
  for (let unit = bytes[at]!; unit !== quote; unit = bytes[++at]!) {
    if (!isPlain(unit)) return undefined;
    nameHash = withUnit(nameHash, unit >= 65 && unit <= 90 ? unit + 32 : unit); // as the folded name has it
  }
  for (let field = 0; field < 2; field++) {
    if (bytes[at + 1] !== comma || bytes[at + 2] !== quote) return undefined;
    at = endOfPlain(bytes, at + 3);
    if (at === -1) return undefined;
  }
  at++;
  let end = at + usualEnd.length;
  if (!text.startsWith(usualEnd, at - from)) {
    end = bytes.indexOf(closeBracket, at) + 1;
    if (end === 0 || !endOfRow.test(text.slice(at - from, end - from))) return undefined;
  }
  cursor.at = end;
  return new PackedEntry(text, start - from, finished(idHash), finished(nameHash));
}

/** Parses the row at the cursor and moves past it. */
function parseRow(cursor: Cursor, end: number): Entry {
  const { bytes, at } = cursor;
  cursor.at = endOfAnyRow(bytes, at, end);
  return entryOf(userFrom(JSON.parse(bytes.toString("utf8", at, cursor.at)) as UserRow));
}

/** Takes the rows of the list at the cursor and moves past it, or returns `undefined` if it is not written as usual. */
function takeRows(cursor: Cursor, end: number): Entry[] | undefined {
  const { bytes } = cursor;
  const entries: Entry[] = [];
  cursor.at++;
  if (bytes[cursor.at] !== closeBracket) {
    for (;;) {
      entries.push(packRow(cursor) ?? parseRow(cursor, end));
      if (bytes[cursor.at] !== comma) break;
      cursor.at++;
    }
  }
  return bytes[cursor.at++] === closeBracket ? entries : undefined;
}

const beginOfAdd = '{"k":"add","u":[';
const endOfSnapshotLine = ',"at":0}';
const beginOfBatch = /\{"k":"batch","b":"[ !#-[\]-~]*","u":\[/y;

/** Returns whether a line may be one that adds users: by the first letter of its kind. */
export function mayAddUsers(bytes: Buffer, jsonStart: number): boolean {
  const letter = bytes[jsonStart + '{"k":"'.length];
  return letter === 97 || letter === 98; // "add", "batch"
}

/**
 * Parses the line at the cursor, all but its users.
 * @param end where the line ends.
 * @returns `undefined` for a line that is not written as usual.
 */
export function unpackLine(cursor: Cursor, end: number): ReadRecord | undefined {
  const { text, from, at: start } = cursor;
  const isAdd = text.startsWith(beginOfAdd, start - from);
  beginOfBatch.lastIndex = start - from;
  if (!isAdd && !beginOfBatch.test(text)) return undefined;
  const usersStart = (isAdd ? start + beginOfAdd.length : beginOfBatch.lastIndex + from) - 1;
  cursor.at = usersStart;
  const u = isAdd ? (packRow(cursor) ?? parseRow(cursor, end)) : takeRows(cursor, end);
  if (u === undefined) return undefined;
  const rest = text.slice(cursor.at - from, end - from);
  if (/[^ -~]/.test(rest)) return undefined; // the text has a character for each byte
  if (isAdd && rest === endOfSnapshotLine) return { k: "add", u: u as Entry, at: 0 };
  return { ...(JSON.parse(`${text.slice(start - from, usersStart - from)}0${rest}`) as ReadRecord), u } as ReadRecord;
}
