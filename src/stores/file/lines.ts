/** Parses the lines of a journal that have been checked, many in one go. */
import type { Buffer } from "node:buffer";
import { entryOf } from "../state/directory.ts";
import { type Cursor, mayAddUsers, unpackLine } from "./packed.ts";
import { type JournalRecord, type ReadRecord, space, userFrom } from "./record.ts";

/** Checked lines, one right after the other in `bytes`. */
export interface CheckedLines {
  bytes: Buffer;
  /** Where the lines begin. */
  starts: number[];
  /** Where their JSON begins. */
  jsonStarts: number[];
  /** Where the last line ends. */
  end: number;
}

/** Fewer bytes that add users are parsed with what is around them: texts of their own would be no smaller. */
const fewBytes = 2048;

const entriesFrom = (record: JournalRecord): ReadRecord => {
  if (record.k === "add") return { ...record, u: entryOf(userFrom(record.u)) };
  if (record.k === "batch") return { ...record, u: record.u.map((row) => entryOf(userFrom(row))) };
  return record;
};

/** Returns where the JSON of a line ends. A power cut may have left NULs after it. */
function jsonEnd({ bytes, starts, end }: CheckedLines, i: number): number {
  let at = i + 1 < starts.length ? starts[i + 1]! - 1 : end;
  while (bytes[at - 1] === 0) at--;
  return at;
}

/**
 * Parses lines in one call, which takes half the time of a call for each. What stands around their JSON is overwritten.
 * @param to index of the line after the last one.
 */
function parseLines(lines: CheckedLines, first: number, to: number): ReadRecord[] {
  const { bytes, starts, jsonStarts, end } = lines;
  for (let i = first; i < to; i++) {
    bytes.fill(space, jsonEnd(lines, i), i + 1 < starts.length ? starts[i + 1]! - 1 : end);
    bytes.fill(space, starts[i]!, jsonStarts[i]!);
    if (i > first) bytes[starts[i]!] = 44; // a comma
  }
  const records = JSON.parse(`[${bytes.toString("utf8", starts[first], jsonEnd(lines, to - 1))}]`) as JournalRecord[];
  if (records.length !== to - first) throw new SyntaxError("a line holds more than one record");
  return records.map(entriesFrom);
}

/** Parses lines that may add users. They share one text, which is kept. */
function unpackLines(lines: CheckedLines, first: number, to: number, records: ReadRecord[]): void {
  const { bytes, jsonStarts } = lines;
  const from = jsonStarts[first]!;
  const cursor: Cursor = { bytes, text: bytes.toString("latin1", from, jsonEnd(lines, to - 1)), from, at: from };
  for (let i = first; i < to; i++) {
    cursor.at = jsonStarts[i]!;
    const record = unpackLine(cursor, jsonEnd(lines, i));
    if (record === undefined) records.push(...parseLines(lines, i, i + 1));
    else records.push(record);
  }
}

/** Parses checked lines. */
export function parseRun(lines: CheckedLines): ReadRecord[] {
  const { bytes, starts, jsonStarts } = lines;
  const records: ReadRecord[] = [];
  let parsed = 0; // how many lines are done with
  for (let first = 0; first < starts.length;) {
    let to = first;
    while (to < starts.length && mayAddUsers(bytes, jsonStarts[to]!)) to++;
    if (to === first) first++;
    else {
      if (jsonEnd(lines, to - 1) - jsonStarts[first]! >= fewBytes) {
        if (first > parsed) for (const record of parseLines(lines, parsed, first)) records.push(record);
        unpackLines(lines, first, to, records);
        parsed = to;
      }
      first = to;
    }
  }
  if (starts.length > parsed) for (const record of parseLines(lines, parsed, starts.length)) records.push(record);
  return records;
}
