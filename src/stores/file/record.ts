/**
 * One line of a journal: `\n`, the CRC-32 of its JSON in 8 hex digits, a space, the length of its JSON in bytes, a space,
 * the JSON. A record brings its own newline, so a line that a crash has torn never swallows the next one.
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import type { Entry } from "../state/directory.ts";
import type { Times } from "../state/retention.ts";
import type { Session, User, UserChanges, UsernameMatching } from "../store.ts";

export type UserRow = [
  id: string,
  username: string,
  email: string,
  passwordHash: string,
  isActive: 0 | 1,
  lastLogin: number | null,
  /** Left out while it is `null`, as in journals from before there was one. */
  tokensValidFrom?: number,
];

export type SessionRow = [
  id: string,
  userId: string,
  createdAt: number,
  lastUsedAt: number,
  expiresAt: number,
  ip: string | null,
  userAgent: string | null,
];

/** How its writer compares names (`m`): part of the record, since every reader must come to the same outcome. */
interface Matching {
  m?: UsernameMatching;
}

/** `Row` is how it has a user. */
export type Change<Row = UserRow> =
  /** The first record; `bytes` is the size of the generation when it got its name. */
  | { k: "head"; generation: number; bytes: string; times?: Times }
  | ({ k: "add"; u: Row } & Matching)
  | ({ k: "set"; id: string; c: UserChanges; x?: UserChanges } & Matching)
  | ({ k: "rename"; id: string; c: UserChanges; x?: UserChanges } & Matching)
  | { k: "remove"; id: string }
  | { k: "removed"; ids: string[]; names: number[] }
  /** Of versions that knew no `rename` and `remove`: ids and names are free again. */
  | { k: "del"; id: string }
  /** A fact: `putIfAbsent` under its name on disk. */
  | { k: "claim"; kind: string; id: string; v: string; exp: number }
  | { k: "login"; s: SessionRow }
  | { k: "touch"; id: string; t: number; exp: number }
  | { k: "logout"; id: string }
  | { k: "flush" }
  | { k: "batch"; b: string; u: Row[] }
  | ({ k: "commit"; b: string; n: number } & Matching)
  | { k: "drop"; b: string }
  | { k: "seal" };

/** `at`: the writer's clock in seconds; `by`: the writer and its running number, absent in a snapshot. */
export type JournalRecord<Row = UserRow> = Change<Row> & { at: number; by?: string };

/** A record that has been read. */
export type ReadRecord = JournalRecord<Entry>;

export const newline = 10;
export const space = 32;
/** An operator puts this in place of the first characters of a line to take it out: the file keeps its size. */
export const takenOut = "--------";

/** Returns the field of a record that tells its matching: only what is not the default is written. */
export const matchingField = (matching: UsernameMatching | undefined): Matching =>
  matching === "case-insensitive" ? { m: matching } : {};

export function rowFrom({ id, username, email, passwordHash, isActive, lastLogin, tokensValidFrom }: User): UserRow {
  const row: UserRow = [id, username, email, passwordHash, isActive ? 1 : 0, lastLogin];
  if (tokensValidFrom !== null && tokensValidFrom !== undefined) row.push(tokensValidFrom);
  return row;
}

export function userFrom(row: UserRow): User {
  return {
    id: row[0],
    username: row[1],
    email: row[2],
    passwordHash: row[3],
    isActive: row[4] === 1,
    lastLogin: row[5],
    tokensValidFrom: row[6] ?? null,
  };
}

export const sessionRowFrom = (session: Session): SessionRow => [
  session.id,
  session.userId,
  session.createdAt,
  session.lastUsedAt,
  session.expiresAt,
  session.ip,
  session.userAgent,
];

export const sessionFrom = ([id, userId, createdAt, lastUsedAt, expiresAt, ip, userAgent]: SessionRow): Session => ({
  id,
  userId,
  createdAt,
  lastUsedAt,
  expiresAt,
  ip,
  userAgent,
});

export function encodeRecord(record: JournalRecord): Buffer {
  const json = JSON.stringify(record);
  const checksum = crc32(json).toString(16).padStart(8, "0");
  return Buffer.from(`\n${checksum} ${Buffer.byteLength(json)} ${json}`);
}

export const isTorn = -1;
export const isDamaged = -2;

/** Returns the value of a lower-case hex digit, or -1. */
const hexValue = (code: number): number =>
  code >= 48 && code <= 57 ? code - 48 : code >= 97 && code <= 102 ? code - 87 : -1;

/**
 * Checks a line without its newline. Trailing NULs are ignored: a power cut leaves them where nothing was written yet.
 * @returns the index where its JSON begins, `isTorn` for a line that was cut short, `isDamaged` for any other.
 */
export function checkLine(bytes: Buffer, start: number, lineEnd: number): number {
  let end = lineEnd;
  while (end > start && bytes[end - 1] === 0) end--;
  let at = start;
  let checksum = 0;
  for (; at < start + 8 && at < end; at++) {
    const digit = hexValue(bytes[at]!);
    if (digit === -1) return isDamaged;
    checksum = checksum * 16 + digit;
  }
  if (at === end) return isTorn;
  if (bytes[at++] !== space) return isDamaged;
  const lengthAt = at;
  let length = 0;
  for (; at < end && bytes[at]! >= 48 && bytes[at]! <= 57; at++) length = length * 10 + bytes[at]! - 48;
  if (at - lengthAt > 10) return isDamaged;
  if (at === end) return isTorn;
  if (bytes[at++] !== space || at - 1 === lengthAt) return isDamaged;
  const isSound = crc32(bytes.subarray(at, end)) === checksum;
  if (isSound && end - at === length) return at;
  return !isSound && end - at < length ? isTorn : isDamaged; // the length itself can be what is damaged
}
