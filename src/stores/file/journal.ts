/** The journal of one generation: read forward from its snapshot, and appended to. */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import { StoreError } from "../store.ts";
import { type Disk, SyncError } from "./disk.ts";
import { unavailable } from "./folder.ts";
import { parseRun } from "./lines.ts";
import { type ReadRecord, checkLine, isDamaged, isTorn, newline, takenOut } from "./record.ts";
import { UnknownRecordError } from "./replay.ts";

const restore = "stop all that use it, then restore the file from a backup";
const chunkBytes = 1 << 20;
/** Takes the byte that `hasAppended` reads. */
const probe = Buffer.alloc(1);

export type Journal = ReturnType<typeof openJournal>;

/**
 * Opens the journal of a generation for reading and appending.
 * @param folder the store's folder, for messages.
 * @throws {StoreError} `STORE_DAMAGED` when not all of the snapshot is there that it began with.
 */
export function openJournal(file: string, generation: number, folder: string, warn: (line: string) => void) {
  const appendFd = fs.openSync(file, fs.constants.O_WRONLY | fs.constants.O_APPEND);
  let readFd = -1;
  let snapshotEnd = 0; // the size of the generation when it got its name
  let offset = 0; // of the first byte not read as a whole line
  let seenSize = 0;
  let syncedSize = 0;
  let isSealed = false;
  let sealedBy: string | undefined;
  let counted = { offset: 0, lines: 0 }; // how many newlines come before a place that was asked for

  function close(): void {
    fs.closeSync(appendFd);
    if (readFd !== -1) fs.closeSync(readFd);
  }

  const damagedFile = (problem: string): StoreError =>
    new StoreError("STORE_DAMAGED", `${file} is damaged (${problem}); ${restore}`);
  const gotShorter = (): StoreError => damagedFile("it got shorter while it was open");

  function damagedLine(position: number): StoreError {
    const advice = `${restore}, or put ${takenOut} in place of that line's first characters to go on without it`;
    return new StoreError("STORE_DAMAGED", `${placeOf(position)} is damaged (its checksum does not match); ${advice}`);
  }

  /**
   * Returns file and line number of the line whose text starts at a position. A crash can leave many torn lines, so each
   * count goes on from the one before.
   */
  function placeOf(position: number): string {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    let { offset: from, lines } = counted.offset <= position ? counted : { offset: 0, lines: 0 };
    while (from < position) {
      const got = fs.readSync(readFd, buffer, 0, Math.min(chunkBytes, position - from), from);
      if (got === 0) break; // the file was made shorter meanwhile
      const read = buffer.subarray(0, got);
      for (let at = read.indexOf(newline); at !== -1; at = read.indexOf(newline, at + 1)) lines++;
      from += got;
    }
    counted = { offset: from, lines };
    return `${file}: line ${lines + 1}`; // the file begins with an empty line
  }

  /** Reads from the head, the first record, how long the generation was when it got its name, and checks that. */
  function readHead(): number {
    const buffer = Buffer.alloc(256);
    const got = fs.readSync(readFd, buffer, 0, buffer.length, 0);
    const end = buffer.indexOf(newline, 1);
    const stop = end === -1 ? got : end;
    const json = buffer[0] === newline ? checkLine(buffer, 1, stop) : isTorn;
    const head = json < 0 ? undefined : parseRun({ bytes: buffer, starts: [1], jsonStarts: [json], end: stop })[0];
    const { size } = fs.fstatSync(readFd);
    if (head?.k !== "head") throw damagedFile(size === 0 ? "it is empty" : "its first line is missing");
    const bytes = Number(head.bytes);
    // The next record brings its newline; a power cut leaves NULs.
    const next = fs.readSync(readFd, buffer, 0, 1, bytes) === 0 ? newline : buffer[0]!;
    if (size < bytes || (next !== newline && next !== 0)) {
      throw damagedFile(`not all of the ${bytes} bytes that it began with are there`);
    }
    return bytes;
  }

  /**
   * Passes over a line that holds no record.
   * @param isLast no newline follows yet, so the line may still grow.
   * @returns `false` when the line is left for later.
   * @throws {StoreError} `STORE_DAMAGED` unless the line is torn, or an operator has taken it out.
   */
  function passOver(line: Buffer, position: number, check: number, isLast: boolean): boolean {
    if (check === isDamaged || position < snapshotEnd) {
      if (line.toString("latin1", 0, takenOut.length) !== takenOut) throw damagedLine(position);
      warn(`${placeOf(position)} was taken out by hand and is passed over`);
    } else if (isLast) return false;
    else if (line.length > 0) warn(`${placeOf(position)} was cut short by a crash and is passed over`);
    return true;
  }

  /** Takes records in order up to a seal. Returns the index of that one, or -1. */
  function takeRun(records: ReadRecord[], starts: number[], take: (record: ReadRecord) => void): number {
    for (const [i, record] of records.entries()) {
      try {
        take(record);
      } catch (error) {
        if (!(error instanceof UnknownRecordError)) throw error;
        const place = placeOf(offset + starts[i]!);
        throw unavailable(`${place} was written by a newer version; update this one to use`, folder);
      }
      if (record.k !== "seal") continue;
      isSealed = true;
      sealedBy = record.by;
      return i;
    }
    return -1;
  }

  /** Takes the lines of a chunk, which begins at `offset`, and returns how many bytes are done with. */
  function takeLines(chunk: Buffer, reachesEnd: boolean, take: (record: ReadRecord) => void): number {
    let start = chunk[0] === newline ? 1 : 0; // of a line's text
    let done = 0;
    let starts: number[] = [];
    let jsonStarts: number[] = [];
    /** Takes the checked lines before `start`, and returns whether the reading goes on. */
    const takeChecked = (end: number): boolean => {
      if (starts.length === 0) return true;
      const sealAt = takeRun(parseRun({ bytes: chunk, starts, jsonStarts, end }), starts, take);
      done = sealAt === -1 || sealAt + 1 === starts.length ? end : starts[sealAt + 1]! - 1;
      starts = [];
      jsonStarts = [];
      return sealAt === -1;
    };
    for (let isLast = false; !isLast;) {
      const end = chunk.indexOf(newline, start);
      isLast = end === -1;
      const stop = isLast ? chunk.length : end;
      if (isLast && !reachesEnd) break;
      const check = checkLine(chunk, start, stop);
      if (check >= 0) {
        starts.push(start);
        jsonStarts.push(check);
      } else {
        if (!takeChecked(start - 1)) return done;
        if (!passOver(chunk.subarray(start, stop), offset + start, check, isLast)) return Math.max(0, start - 1);
        done = stop;
      }
      if (isLast) start = stop + 1;
      else start = end + 1;
    }
    takeChecked(start - 1);
    return done;
  }

  function readChunk(size: number, bytes: number, take: (record: ReadRecord) => void): boolean {
    for (let length = bytes; ; length *= 2) {
      const buffer = Buffer.allocUnsafe(Math.min(length, size - offset));
      const got = fs.readSync(readFd, buffer, 0, buffer.length, offset);
      if (got < buffer.length && fs.fstatSync(readFd).size < size) throw gotShorter();
      const reachesEnd = offset + got >= size;
      const done = takeLines(buffer.subarray(0, got), reachesEnd, take);
      offset += done;
      if (done > 0 || reachesEnd) return done > 0;
    }
  }

  try {
    readFd = fs.openSync(file, "r");
    snapshotEnd = readHead();
  } catch (error) {
    close();
    throw error;
  }

  return {
    generation,
    /**
     * Reads about so many bytes of what has been appended since, up to a seal. Synchronous: nobody sees half of it.
     * @param take is given each record.
     * @returns whether there is more.
     */
    readForward(take: (record: ReadRecord) => void, bytes = Infinity): boolean {
      const { size, nlink } = fs.fstatSync(readFd);
      if (size < Math.max(seenSize, offset)) throw gotShorter();
      const end = offset + bytes;
      while (!isSealed && offset < size) {
        if (offset >= end) return true;
        if (!readChunk(size, Math.min(bytes, chunkBytes), take)) break;
      }
      seenSize = size;
      if (nlink === 0 && !isSealed) throw unavailable("the journal was removed from", folder);
      return false;
    },
    /** Takes the snapshot as read, since its state is already held. */
    skipSnapshot(): void {
      offset = seenSize = snapshotEnd;
    },
    /**
     * Appends and syncs. What was written is not applied before it is read.
     * @throws {StoreError} `STORE_UNAVAILABLE`, with a `SyncError` as its cause when it is not known what is on the disk.
     */
    async append(disk: Disk, bytes: Uint8Array): Promise<void> {
      try {
        syncedSize = Math.max(syncedSize, await disk.append(appendFd, bytes));
      } catch (error) {
        throw unavailable(error instanceof SyncError ? "can't sync" : "can't write to", folder, error);
      }
    },
    /** Notes that the name, and so the snapshot, is on the disk. */
    noteNameSynced(): void {
      syncedSize = Math.max(syncedSize, snapshotEnd);
    },
    /** Returns whether all that was read is on the disk. */
    isReadSynced: (): boolean => offset <= syncedSize,
    /**
     * Returns whether anything has been appended since it was read. That a file was removed or cut, only `hasNews` sees, which
     * takes ten times as long on Deno.
     */
    hasAppended: (): boolean => fs.readSync(readFd, probe, 0, 1, seenSize) > 0,
    /** Returns whether the file has changed since it was read. */
    hasNews(): boolean {
      const { size, nlink } = fs.fstatSync(readFd);
      return size !== seenSize || nlink === 0;
    },
    isRemoved: (): boolean => fs.fstatSync(readFd).nlink === 0,
    stats: (): fs.Stats => fs.fstatSync(readFd),
    size: (): number => seenSize,
    isSealed: (): boolean => isSealed,
    /** Returns who has sealed it: the `by` of the seal. */
    sealedBy: (): string | undefined => sealedBy,
    close,
  };
}
