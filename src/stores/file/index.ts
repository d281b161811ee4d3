/**
 * A store in a folder: an append-only journal of JSON lines, open in any number of processes at once. The folder must be
 * on a local POSIX file system, where an `O_APPEND` write is one piece.
 *
 * The file `journal-<generation>.jsonl` is the order of things and nobody holds a lock:
 * - A record is `\n`, the CRC-32 of its JSON in 8 hex digits, a space, the length of its JSON in bytes, a space, the JSON.
 *   It brings its own newline, so what a crash cut short never swallows the next one. A line that is shorter than it says
 *   was cut short in mid-write and never acknowledged: it is passed over with a warning. Any other line that does not
 *   hold together is damage. What no newline follows yet may still be in the making, and is left for later.
 * - A generation is linked under its name when it is whole and synced, and its first record, the head, says how long it
 *   was then. So a file without a head or shorter than its head says is damage, as is a line cut short in that part, or a
 *   file that gets shorter while it is open.
 * - A writer appends (one `O_APPEND` write and one `fdatasync` for all that waits), reads forward to its own record, and
 *   so learns the outcome that every other reader of the file learns: each applies all records, in file order, to the
 *   same state machine (`createState`). Times that matter are in the records, never taken from the reader's clock, and
 *   none of them is trusted alone with what is forgotten (`createForgetting`).
 *   How a writer tells names apart (`m`) is in its record too. (Letters that a runtime's Unicode is too old to know have
 *   no case there, so processes of one folder should agree on that version where case does not matter.)
 * - Users that come in bulk are `batch` records, which a later `commit` record adds, all or none. Batches that are under
 *   way at a compaction are carried over, until their writer has been silent for hours.
 * - Compaction: somebody appends a `seal`. Records after it are void, and their writers repeat them in the next
 *   generation, which anybody writes from the state at the seal: temporary file, fsync, link. Linking fails when the name
 *   is there already, where renaming would replace a generation that others may have appended to since. Whoever opens a
 *   generation syncs the folder before acknowledging anything in it, and only then removes older ones.
 * - After a failed `fdatasync` nobody knows what is on the disk, and a later one may claim success for pages the system
 *   gave up: the journal is sealed, and nothing is acknowledged before the next generation, written whole, is safe.
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { clearInterval, setImmediate, setInterval } from "node:timers";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { type Disk, SyncError, createDisk, poolDisk } from "./disk.ts";
import { giveToOwner, journalFile, networkFileSystemOf, openToOthers } from "./folder.ts";
import { type Times, createForgetting } from "../forgetting.ts";
import { createState } from "../memory.ts";
import {
  type NewUser,
  type Store,
  StoreError,
  type User,
  type UserChanges,
  type UsernameMatching,
  completeUser,
} from "../store.ts";

export interface FileStoreOptions {
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
  /** Told of torn lines and of a folder that is not on a local disk. Default: a line on standard error. */
  warn?: (line: string) => void;
  /** Fewest journal records before a compaction pays. Default 10,000. */
  compactAfter?: number;
  /**
   * Where blocking calls are made once the store is open. Default: a thread of its own, which starts with the first write
   * and takes some 10 MB. With `poolDisk()` the runtime's threads make them, and wait there for passwords being hashed.
   */
  disk?: Disk;
}

export interface FileStore extends Store {
  /** Counters for benches and tests: `fdatasync` calls, records read and the journal's generation. */
  stats(): { syncs: number; records: number; generation: number };
}

type UserRow = [
  id: string,
  username: string,
  email: string,
  passwordHash: string,
  isActive: 0 | 1,
  lastLogin: number | null,
  /** Left out while it is `null`, as it is in journals of before there was one. */
  tokensValidFrom?: number,
];

/** How its writer tells names apart, which is part of the record: every reader must come to the same outcome. */
interface Matching {
  m?: UsernameMatching;
}

type Change =
  | { k: "head"; generation: number; bytes: string; times?: Times }
  | ({ k: "add"; u: UserRow } & Matching)
  | ({ k: "set"; id: string; c: UserChanges; x?: UserChanges } & Matching)
  | ({ k: "rename"; id: string; c: UserChanges; x?: UserChanges } & Matching)
  | { k: "remove"; id: string }
  | { k: "removed"; ids: string[]; names: number[] }
  /** Of versions that knew no `rename` and `remove`: ids and names are free again. */
  | { k: "del"; id: string }
  | { k: "claim"; kind: string; id: string; v: string; exp: number }
  | { k: "flush" }
  | { k: "batch"; b: string; u: UserRow[] }
  | ({ k: "commit"; b: string; n: number } & Matching)
  | { k: "drop"; b: string }
  | { k: "seal" };

/** `at`: the writer's clock in seconds; `by`: the writer and its running number, absent in a compacted part. */
type JournalRecord = Change & { at: number; by?: string };

/** Only a newer version writes such a record. */
class UnknownRecord extends Error {}

interface Pending {
  line: Buffer;
  by: string;
  /** Set when the record has been read back, in its place in the order. */
  outcome?: { value: unknown } | { error: unknown };
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export { type Disk, poolDisk };

const pollMs = 50;
const newline = 10;
/** Stands at the beginning of a line that somebody took out by hand, so that the file is as long as before. */
const takenOut = "--------";
const restore = "stop all that use it, then restore the file from a backup";
const chunkBytes = 1 << 20;
/** Read or written in one go while requests are served: some milliseconds of work. */
const sliceBytes = 1 << 17;
/** What has to stay free on the disk beside a new generation. */
const spareBytes = 1 << 16;
const recordsPerRoomCheck = 500;
const usersPerBatch = 1000;
/** How long after a failed compaction the next one is tried. */
const retryMs = 1000;
/** How long a generation's temporary file has not been written to when nobody is writing it any more. */
const abandonedMs = 60_000;
/** How long whoever sealed a journal has to write the next one before others do it too. */
const patienceMs = 300;

const journalName = (generation: number): string => `journal-${String(generation).padStart(6, "0")}.jsonl`;

/**
 * Opens a folder as a store, and makes it (0700, files 0600) when it isn't there.
 * @throws {StoreError} `STORE_UNAVAILABLE` when the folder can't be used, or others than its owner can; `STORE_DAMAGED`, with file and line, when a
 * record is damaged.
 */
export async function openFileStore(folder: string, options: FileStoreOptions = {}): Promise<FileStore> {
  const { now = Date.now, compactAfter = 10_000 } = options;
  const warn = options.warn ?? ((line: string) => console.warn(line));
  const me = randomBytes(6).toString("hex");
  const seconds = () => now() / 1000;

  let disk = poolDisk(); // a thread of its own would only delay the opening
  let state = createState();
  let forgetting = createForgetting();
  let generation = 0;
  let appendFd = -1;
  let readFd = -1;
  let offset = 0; // of the first byte not read as a whole line
  let snapshotEnd = 0; // what the generation began with ends here
  let counted = { offset: 0, lines: 0 }; // how many newlines come before a place that was asked for
  let seenSize = 0;
  let syncedOffset = 0;
  let records = 0;
  let syncs = 0;
  let isSealed = false;
  let sealedByMe = false;
  /** Number of records at which to see again whether a compaction pays. */
  let checkAt = compactAfter;
  /** Number of records at which to see again whether the disk is so full that it is needed before. */
  let roomCheckAt = 0;
  /** A sync has failed: what is on the disk is open, and a later sync may claim success for pages the system gave up. */
  let suspect = false;
  /** The open generation's name is on the disk, so that what is written to it counts. */
  let isNameSynced = false;
  let broken: StoreError | undefined;
  let lastFailure: StoreError | undefined;
  let retryAt = 0;
  let isOpen = false;
  let closed = false;

  const queue: Pending[] = [];
  const inFlight = new Map<string, Pending>(); // by `by`
  let counter = 0;
  let pumping: Promise<void> | undefined;

  const unavailable = (what: string, cause?: unknown): StoreError => {
    const reason = cause instanceof Error ? `: ${cause.message.split("\n", 1)[0]}` : "";
    return new StoreError("STORE_UNAVAILABLE", `${what} ${folder}${reason}`, { cause });
  };
  const filePath = (name: string): string => path.join(folder, name);

  function apply(record: JournalRecord): unknown {
    if (record.by !== undefined) forgetting.hear(record.at);
    switch (record.k) {
      case "add":
        return state.addUser(userFrom(record.u), record.at, record.m);
      case "set":
        return state.updateUser(record.id, record.c, record.x, record.m);
      case "rename":
        return state.updateUser(record.id, record.c, record.x, record.m, record.at);
      case "remove":
        return state.removeUser(record.id);
      case "removed":
        return state.restoreRemoved(record.ids, record.names);
      case "del":
        return state.dropUser(record.id);
      case "claim":
        return state.putIfAbsent(record.kind, record.id, record.v, record.exp, record.at);
      case "flush":
        return state.flushExpired(forgetting.until());
      case "batch":
        return state.stageUsers(record.b, record.u.map(userFrom), record.at);
      case "commit":
        // Forgotten at a compaction, and perhaps begun anew by the writer since: it may not be added in part.
        if (state.stagedCount(record.b) !== record.n) {
          state.dropStaged(record.b);
          throw unavailable("a batch of users took too long to be added to");
        }
        return state.commitUsers(record.b, record.at, record.m);
      case "drop":
        return state.dropStaged(record.b);
      case "seal":
        isSealed = true;
        sealedByMe = record.by?.startsWith(`${me}.`) ?? false;
        return undefined;
      case "head":
        if (record.times !== undefined) forgetting.restore(record.times);
        return undefined;
      default:
        throw new UnknownRecord();
    }
  }

  /** One line: applied, passed over, or damage. `isLast` is one that no newline follows yet: it may still grow. */
  function takeLine(line: Buffer, position: number, isLast: boolean): "taken" | "incomplete" {
    const json = readRecord(line);
    if (json === "damaged" || (json === undefined && position < snapshotEnd)) {
      if (line.toString("latin1", 0, takenOut.length) !== takenOut) throw damagedLine(position);
      warn(`${placeOf(position)} was taken out by hand and is passed over`);
      return "taken";
    }
    if (json === undefined) {
      if (isLast) return "incomplete";
      if (line.length > 0) warn(`${placeOf(position)} was cut short by a crash and is passed over`);
      return "taken";
    }
    const record = JSON.parse(json) as JournalRecord;
    records++;
    const mine = record.by === undefined ? undefined : inFlight.get(record.by);
    try {
      const value = apply(record);
      if (mine !== undefined) mine.outcome = { value };
    } catch (error) {
      if (error instanceof UnknownRecord) {
        throw unavailable(`${placeOf(position)} was written by a newer version; update this one to use`);
      }
      if (!(error instanceof StoreError)) throw error;
      if (mine !== undefined) mine.outcome = { error };
    }
    return "taken";
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
    return `${filePath(journalName(generation))}: line ${lines + 1}`; // the file begins with an empty line
  }

  function damagedLine(position: number): StoreError {
    const advice = `${restore}, or put ${takenOut} in place of that line's first characters to go on without it`;
    return new StoreError("STORE_DAMAGED", `${placeOf(position)} is damaged (its checksum does not match); ${advice}`);
  }

  function damagedFile(problem: string): StoreError {
    return new StoreError("STORE_DAMAGED", `${filePath(journalName(generation))} is damaged (${problem}); ${restore}`);
  }

  const gotShorter = (): StoreError => damagedFile("it got shorter while it was open");

  /** The store serves no more. While it runs, damage is a reason not to serve; at the start somebody looks at it. */
  function breakWith(error: StoreError): StoreError {
    const isNews = isOpen && error.code === "STORE_DAMAGED";
    return (broken = isNews ? new StoreError("STORE_UNAVAILABLE", error.message, { cause: error }) : error);
  }

  /** Applies what has been appended since, up to a seal. Synchronous: nobody sees half of it. */
  function readForward(): void {
    readSlice(Infinity);
  }

  /** Applies about so many bytes of what has been appended, and answers whether there is more. */
  function readSlice(bytes: number): boolean {
    if (broken !== undefined) throw broken;
    try {
      const { size, nlink } = fs.fstatSync(readFd);
      if (size < Math.max(seenSize, offset)) throw gotShorter();
      const end = offset + bytes;
      while (!isSealed && offset < size) {
        if (offset >= end) return true;
        if (!readChunk(size, Math.min(bytes, chunkBytes))) break;
      }
      seenSize = size;
      if (nlink === 0 && !isSealed) throw unavailable("the journal was removed from");
      return false;
    } catch (error) {
      throw breakWith(error instanceof StoreError ? error : unavailable("can't read", error));
    }
  }

  /** Answers whether any line was taken. */
  function readChunk(size: number, bytes: number): boolean {
    for (let length = bytes; ; length *= 2) {
      const buffer = Buffer.allocUnsafe(Math.min(length, size - offset));
      const got = fs.readSync(readFd, buffer, 0, buffer.length, offset);
      if (got < buffer.length && fs.fstatSync(readFd).size < size) throw gotShorter();
      const reachesEnd = offset + got >= size;
      let start = 0; // of a line's text, after its newline
      if (got > 0 && buffer[0] === newline) start = 1;
      let taken = false;
      while (!isSealed) {
        const end = buffer.indexOf(newline, start);
        const isLast = end === -1 || end >= got;
        if (isLast && !reachesEnd) break;
        const stop = isLast ? got : end;
        if (takeLine(buffer.subarray(start, stop), offset + start, isLast) === "incomplete") break;
        taken = true;
        if (isLast) {
          offset += got;
          return true;
        }
        start = end + 1;
      }
      if (taken || reachesEnd) {
        offset += Math.max(0, start - 1); // back to the newline that begins the next line
        return taken;
      }
    }
  }

  /** Everything that waits goes out with one write and one sync. */
  async function commit(batch: Pending[]): Promise<void> {
    let failure: StoreError | undefined;
    try {
      readForward();
      if (isSealed) return void queue.unshift(...batch.filter(isWanted));
      for (const pending of batch) inFlight.set(pending.by, pending);
      const synced = await disk
        .append(appendFd, Buffer.concat(batch.map(({ line }) => line)))
        .catch((error: unknown) => {
          suspect ||= error instanceof SyncError;
          throw unavailable(error instanceof SyncError ? "can't sync" : "can't write to", error);
        });
      syncs++;
      readForward();
      syncedOffset = Math.max(syncedOffset, Math.min(offset, synced));
    } catch (error) {
      failure = error as StoreError;
      for (const pending of batch) pending.outcome = { error };
    }
    lastFailure = failure;
    const again: Pending[] = [];
    for (const pending of batch) {
      inFlight.delete(pending.by);
      if (pending.outcome === undefined)
        again.push(pending); // short write, or after a seal
      else settle(pending, pending.outcome);
    }
    queue.unshift(...again.filter(isWanted));
  }

  /** A seal that came too late has nobody who waits for it, and the next generation no need of it. */
  const isWanted = (pending: Pending): boolean => pending.resolve !== ignore;

  function settle(pending: Pending, outcome: NonNullable<Pending["outcome"]>): void {
    if ("error" in outcome) pending.reject(outcome.error);
    else pending.resolve(outcome.value);
  }

  /** Works until nothing waits. Runs once at a time, and never rejects: who waits is told. */
  function pump(): Promise<void> {
    return (pumping ??= (async () => {
      await undefined; // a turn later, so that all of one turn's callers share a write and a sync
      try {
        for (let mayCompact = true; ;) {
          if (isSealed) {
            if (performance.now() < retryAt) throw lastFailure;
            await moveOn();
          } else if (!isNameSynced) {
            syncName();
            await removeOldGenerations();
          } else if (suspect || (mayCompact && (await isCompactionDue()))) {
            await commit([pendingFor({ k: "seal" })]);
            mayCompact = false;
            if (suspect && !isSealed) throw lastFailure;
          } else if (queue.length > 0) await commit(queue.splice(0));
          else break;
        }
      } catch (error) {
        lastFailure = error instanceof StoreError ? error : unavailable("can't compact the journal in", error);
        if (isSealed && performance.now() >= retryAt) retryAt = performance.now() + retryMs;
        for (const pending of queue.splice(0)) pending.reject(lastFailure);
      } finally {
        pumping = undefined;
      }
    })());
  }

  const ignore = (): void => {};

  function pendingFor(
    change: Change,
    resolve: Pending["resolve"] = ignore,
    reject: Pending["reject"] = ignore,
  ): Pending {
    const by = `${me}.${++counter}`;
    return { by, line: encodeRecord({ ...change, at: seconds(), by }), resolve, reject };
  }

  function append(change: Change): Promise<unknown> {
    if (closed) return Promise.reject(unavailable("the store is closed:"));
    if (broken !== undefined) return Promise.reject(broken);
    return new Promise((resolve, reject) => {
      queue.push(pendingFor(change, resolve, reject));
      void pump();
    });
  }

  /** Whether most records are superseded or expired. Counting takes a while, so it is done as the journal grows. */
  async function isCompactionDue(): Promise<boolean> {
    if (records < checkAt) {
      if (records < roomCheckAt) return false;
      roomCheckAt = records + recordsPerRoomCheck;
      if (freeBytes() > seenSize + spareBytes) return false;
    }
    const live = state.userCount() + (await state.liveFactCount(forgetting.until()));
    if (records > 2 * live && (await canCompact())) return true;
    checkAt = records + Math.max(compactAfter, live);
    roomCheckAt = records + Math.max(recordsPerRoomCheck, live / 4);
    return false;
  }

  /** A journal that is sealed but can't be followed by another takes no writes: better to let it grow. */
  async function canCompact(): Promise<boolean> {
    try {
      const { fd, remove } = openTemporary(generation + 1);
      fs.closeSync(fd);
      remove();
    } catch {
      return false;
    }
    const room = freeBytes() - spareBytes;
    return room > seenSize || room > (await liveBytes());
  }

  function freeBytes(): number {
    try {
      const { bavail, bsize } = fs.statfsSync(folder);
      return bavail * bsize;
    } catch {
      return Infinity; // not everyone may ask: Deno wants a flag for it
    }
  }

  /** How long the next generation would be. Takes as long as writing it. */
  async function liveBytes(): Promise<number> {
    const until = forgetting.until();
    let bytes = 0;
    let counted = 0;
    for (const record of snapshot()) {
      if (record.k === "claim" && record.exp <= until) continue;
      const { length } = encodeRecord(record);
      bytes += length;
      counted += length;
      if (counted < sliceBytes) continue;
      counted = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return bytes;
  }

  /** From a sealed generation to the next, which is written unless somebody was faster. */
  async function moveOn(): Promise<void> {
    const until = forgetting.until();
    await state.flushExpired(until);
    state.dropStagedUntil(until);
    const next = generation + 1;
    for (const end = performance.now() + patienceMs; !sealedByMe && performance.now() < end; await sleep(10)) {
      if (latestGeneration() !== generation) break;
    }
    if (latestGeneration() === generation) await createGeneration(next);
    let isNext = latestGeneration() === next;
    try {
      if (isNext) openGeneration(next);
      isNext &&= latestGeneration() === next;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      isNext = false; // compacted away just now
    }
    if (isNext) {
      skipSnapshot(); // it holds the very state that is held here
    } else {
      // Others went on twice while this process slept. If a name was free for a second file of that number just now, it
      // is stale: nobody uses it, since whoever opens one looks for a later one afterwards, as here.
      openLatest();
    }
    retryAt = 0;
  }

  /** The file that a generation is written to before it gets its name. */
  function openTemporary(number: number): { fd: number; temporary: string; remove(): void } {
    const temporary = filePath(`${journalName(number)}.${me}.tmp`);
    const remove = (): void => fs.rmSync(temporary, { force: true });
    const fd = fs.openSync(temporary, "wx", 0o600);
    try {
      giveToOwner(fd, folder);
    } catch (error) {
      fs.closeSync(fd);
      remove();
      throw error;
    }
    return { fd, temporary, remove };
  }

  async function createGeneration(number: number): Promise<void> {
    const { fd, temporary, remove } = openTemporary(number);
    try {
      const times = forgetting.times();
      const head = (bytes: number) =>
        encodeRecord({ k: "head", generation: number, bytes: String(bytes).padStart(15, "0"), times, at: 0 });
      let size = 0;
      let lines: Buffer[] = [head(0)];
      let waiting = 0;
      const flush = async () => {
        const buffer = Buffer.concat(lines);
        for (let done = 0; done < buffer.length;) done += await disk.write(fd, buffer.subarray(done));
        size += buffer.length;
        lines = [];
        waiting = 0;
      };
      for (const record of snapshot()) {
        const line = encodeRecord(record);
        lines.push(line);
        waiting += line.length;
        if (waiting >= sliceBytes) await flush();
      }
      await flush();
      const final = head(size);
      fs.writeSync(fd, final, 0, final.length, 0);
      await disk.fsync(fd);
      fs.linkSync(temporary, filePath(journalName(number)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
      await removeOldGenerations(); // what a crash left may be what takes up the room
      throw error;
    } finally {
      fs.closeSync(fd);
      remove();
    }
  }

  function* snapshot(): Iterable<JournalRecord> {
    for (const user of state.users()) yield { k: "add", u: rowFrom(user), at: 0 };
    const { ids, names } = state.removed(); // after the users: they have begun already
    for (let i = 0; i < Math.max(ids.length, names.length); i += usersPerBatch) {
      const end = i + usersPerBatch;
      yield { k: "removed", ids: ids.slice(i, end), names: names.slice(i, end), at: 0 };
    }
    for (const [kind, id, { value, expiresAt }] of state.facts()) {
      yield { k: "claim", kind, id, v: value, exp: expiresAt, at: 0 };
    }
    for (const [b, users, at] of state.staged()) yield { k: "batch", b, u: users.map(rowFrom), at };
  }

  function openGeneration(number: number): void {
    const file = filePath(journalName(number));
    const nextAppendFd = fs.openSync(file, fs.constants.O_WRONLY | fs.constants.O_APPEND);
    let nextReadFd: number;
    try {
      nextReadFd = fs.openSync(file, "r");
    } catch (error) {
      fs.closeSync(nextAppendFd);
      throw error;
    }
    closeFiles();
    [appendFd, readFd, generation] = [nextAppendFd, nextReadFd, number];
    offset = seenSize = syncedOffset = records = 0;
    counted = { offset: 0, lines: 0 };
    checkAt = compactAfter;
    roomCheckAt = 0;
    isSealed = false;
    suspect = isNameSynced = false;
    readHead();
  }

  /** Reads from its first record how long the generation was when it was linked, and holds it to that. */
  function readHead(): void {
    const buffer = Buffer.alloc(256);
    const got = fs.readSync(readFd, buffer, 0, buffer.length, 0);
    const end = buffer.indexOf(newline, 1);
    const json = buffer[0] === newline ? readRecord(buffer.subarray(1, end === -1 ? got : end)) : undefined;
    const head = json === undefined || json === "damaged" ? undefined : (JSON.parse(json) as JournalRecord);
    const { size } = fs.fstatSync(readFd);
    if (head?.k !== "head") throw breakWith(damagedFile(size === 0 ? "it is empty" : "its first line is missing"));
    snapshotEnd = Number(head.bytes);
    // The next record brings its newline; a power cut leaves NULs.
    const next = fs.readSync(readFd, buffer, 0, 1, snapshotEnd) === 0 ? newline : buffer[0]!;
    if (size < snapshotEnd || (next !== newline && next !== 0)) {
      throw breakWith(damagedFile(`not all of the ${snapshotEnd} bytes that it began with are there`));
    }
  }

  function closeFiles(): void {
    if (appendFd !== -1) fs.closeSync(appendFd);
    if (readFd !== -1) fs.closeSync(readFd);
    appendFd = readFd = -1;
  }

  function skipSnapshot(): void {
    offset = seenSize = snapshotEnd;
    records = state.userCount() + state.factCount();
    checkAt = Math.max(compactAfter, 2 * records);
  }

  /** Whether a generation's temporary file was left by a crash: its writer never pauses. */
  function isAbandoned(name: string): boolean {
    if (!name.endsWith(".tmp")) return false;
    const { mtimeMs } = fs.statSync(filePath(name), { throwIfNoEntry: false }) ?? { mtimeMs: Infinity };
    return mtimeMs < Date.now() - abandonedMs;
  }

  async function removeOldGenerations(): Promise<void> {
    for (const name of fs.readdirSync(folder)) {
      const old = /^journal-(\d{6,})\.jsonl(\.[0-9a-f]{12}\.tmp)?$/.exec(name);
      const isOld = old !== null && isNameSynced && Number(old[1]) < generation;
      if (old === null || !(isOld || isAbandoned(name))) continue;
      try {
        await disk.remove(filePath(name)); // freeing a large file takes a while
      } catch (error) {
        warn(unavailable(`can't remove ${name} from`, error).message); // it takes up room, no more
      }
    }
  }

  /** Until this has succeeded, a crash of the system may take the whole generation away. */
  function syncName(): void {
    try {
      const fd = fs.openSync(folder, "r");
      try {
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      throw unavailable("can't sync", error);
    }
    isNameSynced = true;
    syncedOffset = Math.max(syncedOffset, snapshotEnd);
  }

  function latestGeneration(): number {
    const numbers = fs.readdirSync(folder).map((name) => Number(journalFile.exec(name)?.[1] ?? 0));
    return Math.max(0, ...numbers);
  }

  /** Reads the newest generation from its beginning. */
  function openLatest(): void {
    for (;;) {
      const latest = latestGeneration();
      try {
        openGeneration(latest);
        break;
      } catch (error) {
        // Compacted away between the listing and the opening?
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || latestGeneration() === latest) throw error;
      }
    }
    state = createState();
    forgetting = createForgetting();
    readForward();
  }

  function refuseOpenToOthers(file: string, stats: fs.Stats): void {
    const problem = openToOthers(file, stats);
    if (problem !== undefined) throw new StoreError("STORE_UNAVAILABLE", problem);
  }

  async function open(): Promise<void> {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    refuseOpenToOthers(folder, fs.statSync(folder));
    const network = networkFileSystemOf(folder);
    if (network !== undefined) {
      warn(
        `${folder} is on a network file system (${network}), where what two processes write can mix; use a local disk`,
      );
    }
    if (latestGeneration() === 0) await createGeneration(1);
    openLatest();
    refuseOpenToOthers(filePath(journalName(generation)), fs.fstatSync(readFd));
    syncName();
    await removeOldGenerations();
    await pump();
    if (broken !== undefined) throw broken;
    if (isSealed) warn(lastFailure!.message); // all can be read, and is written again when there is room
  }

  try {
    await open();
  } catch (error) {
    closeFiles();
    throw error instanceof StoreError ? error : unavailable("can't open the folder", error);
  }

  isOpen = true;
  disk = options.disk ?? createDisk();
  let lastWarning = ""; // said once, however often the poll meets it
  const readOthers = (): void => {
    if (broken !== undefined || closed) return;
    try {
      const { size, nlink } = fs.fstatSync(readFd);
      if ((size !== seenSize || nlink === 0) && readSlice(sliceBytes)) setImmediate(readOthers);
      if (isSealed && performance.now() >= retryAt) void pump();
      lastWarning = "";
    } catch (error) {
      // What is no failure of the store is a mistake in this code, which its stack shows.
      const { message, stack = message } = error as Error;
      const line = error instanceof StoreError ? message : unavailable("can't look at the journal in", error).message;
      if (line !== lastWarning) warn(error instanceof StoreError ? line : `${line}\n${stack}`);
      lastWarning = line;
    }
  };
  const poll = setInterval(readOthers, pollMs);
  poll.unref();

  const readable = (): typeof state => {
    if (closed) throw unavailable("the store is closed:");
    if (broken !== undefined) throw broken;
    return state;
  };

  /** Who is not known may be new, added by another process a moment ago. */
  function findUser(look: () => User | undefined): User | undefined {
    const known = look();
    if (known !== undefined) return known;
    readOthers();
    return look();
  }

  return {
    findUserByUsername: (username, matching) => findUser(() => readable().findUserByUsername(username, matching)),
    findUserById: (id) => findUser(() => readable().findUserById(id)),
    updateUser: async (id, c, x, matching) =>
      (await append({
        k: c.username === undefined ? "set" : "rename",
        id,
        c,
        ...(x && { x }),
        ...said(matching),
      })) as User | undefined,
    addUser: async (user, matching) =>
      (await append({ k: "add", u: rowFrom(completeUser(user)), ...said(matching) })) as User,
    async addUsers(users, matching) {
      const b = `${me}.${++counter}`;
      let n = 0;
      let rows: UserRow[] = [];
      const flush = async () => {
        n += rows.length;
        await append({ k: "batch", b, u: rows });
        rows = [];
      };
      try {
        for await (const user of users as AsyncIterable<NewUser>) {
          rows.push(rowFrom(completeUser(user)));
          if (rows.length === usersPerBatch) await flush();
        }
        await flush();
      } catch (error) {
        await append({ k: "drop", b }).catch(() => {}); // without it, the batch is forgotten at a later compaction
        throw error;
      }
      return (await append({ k: "commit", b, n, ...said(matching) })) as number;
    },
    removeUser: async (id) => (await append({ k: "remove", id })) as boolean,
    wasRemoved: (field, value) => readable().wasRemoved(field, value),
    listUsers: () => readable().listUsers(),
    passwordHashes: () => readable().passwordHashes(),
    async putIfAbsent(kind, id, value, expiresAt) {
      // An earlier value that is on the disk for sure can't change any more. Before it is returned, other processes' appends
      // are read: the caller goes on to decide by all that was acknowledged before.
      const isKnown = readable().get(kind, id, seconds()) !== undefined;
      const isCaughtUp = isKnown && !readSlice(sliceBytes) && !isSealed && offset === syncedOffset;
      const standing = isCaughtUp ? state.get(kind, id, seconds()) : undefined;
      const exp = Math.min(expiresAt, Number.MAX_VALUE); // JSON has no Infinity
      return standing ?? ((await append({ k: "claim", kind, id, v: value, exp })) as string);
    },
    get: (kind, id) => readable().get(kind, id, seconds()),
    async flushExpired() {
      checkAt = compactAfter;
      return (await append({ k: "flush" })) as number;
    },
    async ping() {
      readable();
      if (lastFailure !== undefined) await append({ k: "flush" });
      if (fs.fstatSync(readFd).nlink === 0) readForward(); // compacted away, or removed: reading tells
    },
    async close() {
      if (closed) return;
      closed = true;
      clearInterval(poll);
      await pump();
      disk.close();
      closeFiles();
    },
    stats: () => ({ syncs, records, generation }),
  };
}

/** Only what is not the default is written. */
const said = (matching: UsernameMatching | undefined): Matching =>
  matching === "case-insensitive" ? { m: matching } : {};

function rowFrom({ id, username, email, passwordHash, isActive, lastLogin, tokensValidFrom }: User): UserRow {
  const row: UserRow = [id, username, email, passwordHash, isActive ? 1 : 0, lastLogin];
  if (tokensValidFrom !== null && tokensValidFrom !== undefined) row.push(tokensValidFrom);
  return row;
}

function userFrom([id, username, email, passwordHash, isActive, lastLogin, tokensValidFrom]: UserRow): User {
  return {
    id,
    username,
    email,
    passwordHash,
    isActive: isActive === 1,
    lastLogin,
    tokensValidFrom: tokensValidFrom ?? null,
  };
}

function encodeRecord(record: JournalRecord): Buffer {
  const json = JSON.stringify(record);
  const checksum = crc32(json).toString(16).padStart(8, "0");
  return Buffer.from(`\n${checksum} ${Buffer.byteLength(json)} ${json}`);
}

/** The JSON of a whole record; `undefined` for a line that was cut short. */
function readRecord(line: Buffer): string | "damaged" | undefined {
  let end = line.length;
  while (end > 0 && line[end - 1] === 0) end--; // what a power cut leaves where nothing was written yet
  const header = /^([0-9a-f]{8}) (\d{1,10}) /.exec(line.toString("latin1", 0, Math.min(end, 20)));
  if (header === null) {
    const isStart = end < 20 && /^([0-9a-f]{0,8}|[0-9a-f]{8} \d*)$/.test(line.toString("latin1", 0, end));
    return isStart ? undefined : "damaged";
  }
  const json = line.subarray(header[0].length, end);
  const length = Number(header[2]);
  const isSound = crc32(json) === Number.parseInt(header[1]!, 16);
  if (isSound && json.length === length) return json.toString();
  return !isSound && json.length < length ? undefined : "damaged"; // the length itself can be what is damaged
}
