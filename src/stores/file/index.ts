/**
 * A store in a folder: an append-only journal of JSON lines, open in any number of processes at once. The folder must be
 * on a local POSIX file system, where an `O_APPEND` write is atomic.
 *
 * The journal is the order, and nobody holds a lock. A writer appends, syncs, and reads forward to its own record; every
 * process applies all records in file order to the same state machine, so all learn the same outcome. Times that matter
 * are in the records, never taken from the reader's clock. `README.md` in `stores/` describes the format.
 *
 * - Users that come in bulk are `batch` records, which a later `commit` record adds, all or none. A compaction carries
 *   unfinished batches over, until their writer has been silent for hours.
 * - A compaction begins with a `seal`. Records after it do not count: their writers repeat them in the next generation,
 *   which any process writes from the state at the seal. The process that opens a generation syncs the folder before it
 *   acknowledges anything in it, and only then removes older ones.
 * - After a failed `fdatasync` the content of the disk is unknown: the journal is sealed, and nothing is acknowledged
 *   before the next generation, written whole, is synced.
 * - Letters that a runtime's Unicode version does not know have no case there, so processes of one folder should agree
 *   on that version if case does not matter.
 */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { type Lag, defaultLag } from "../parameters.ts";
import {
  type MessageStore,
  type NewUser,
  type SessionStore,
  type Store,
  StoreError,
  type User,
  completeUser,
} from "../store.ts";
import { type Disk, createDisk, poolDisk } from "./disk.ts";
import { createFollower } from "./follower.ts";
import { networkFileSystemOf, openToOthers, unavailable } from "./folder.ts";
import { createGenerations, sliceBytes } from "./generations.ts";
import { createFileMessages } from "./messages.ts";
import { createReader } from "./reader.ts";
import { type Change, type UserRow, matchingField, rowFrom, sessionRowFrom } from "./record.ts";
import { usersPerBatch } from "./replay.ts";
import { createWriter } from "./writer.ts";

export { type Disk, poolDisk };

/**
 * What `openFileStore` may be given beside the folder. `maxLag`, `whenBehind`: how old in milliseconds what is known of other
 * processes' writes may be (default 1000), and whether a read that finds it older reads forward first (`ask`, the default)
 * or is refused as unavailable (`fail`).
 */
export interface FileStoreOptions extends Partial<Lag> {
  /** The clock, in milliseconds. Default `Date.now`. */
  now?: () => number;
  /** Receives a line for a torn line, and for a folder that is not on a local disk. Default: standard error. */
  warn?: (line: string) => void;
  /** Fewest journal records before a compaction pays. Default 10,000. */
  compactAfter?: number;
  /**
   * Makes blocking calls once the store is open. Default: a thread of its own, which starts with the first write and
   * takes some 10 MB. With `poolDisk()` the runtime's threads make them, and wait there for passwords being hashed.
   */
  disk?: Disk;
  /** Receives how many seconds each append to the journal took, its sync included. */
  onSync?: (seconds: number) => void;
}

/** The store that `openFileStore` returns. */
export type FileStore = Store &
  SessionStore &
  MessageStore & {
    /** Counters for benches and tests: `fdatasync` calls, records read and the journal's generation. */
    stats(): { syncs: number; records: number; generation: number };
  };

/** @throws {StoreError} `STORE_UNAVAILABLE` */
function refuseOpenToOthers(file: string, stats: fs.Stats): void {
  const problem = openToOthers(file, stats);
  if (problem !== undefined) throw new StoreError("STORE_UNAVAILABLE", problem);
}

/**
 * Opens a folder as a store, and makes it (0700, files 0600) when it isn't there.
 * @throws {StoreError} `STORE_UNAVAILABLE` when the folder can't be used, or others than its owner can use it;
 * `STORE_DAMAGED`, with file and line, when a record is damaged.
 */
export async function openFileStore(folder: string, options: FileStoreOptions = {}): Promise<FileStore> {
  const { now = Date.now, compactAfter = 10_000 } = options;
  const warn = options.warn ?? ((line: string) => console.warn(line));
  const me = randomBytes(6).toString("hex");
  const seconds = () => now() / 1000;
  let disk = poolDisk(); // a thread of its own would only delay the opening
  const generations = createGenerations(folder, me, warn);
  const reader = createReader(folder, generations, warn);
  const writer = createWriter(reader, generations, {
    folder,
    me,
    disk,
    seconds,
    compactAfter,
    onSync: options.onSync,
  });

  async function open(): Promise<void> {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    refuseOpenToOthers(folder, fs.statSync(folder));
    const network = networkFileSystemOf(folder);
    if (network !== undefined) {
      warn(
        `${folder} is on a network file system (${network}), where what two processes write can mix; use a local disk`,
      );
    }
    if (generations.latest() === 0) await generations.create(1, [], undefined, disk);
    reader.openLatest();
    const { generation } = reader.journal();
    refuseOpenToOthers(generations.file(generation), reader.fileStats());
    writer.syncName();
    await generations.removeBefore(generation, disk);
    await writer.pump();
    if (reader.broken() !== undefined) throw reader.broken();
    if (reader.journal().isSealed()) warn(writer.lastFailure()!.message); // it serves reads until there is room
  }

  try {
    await open();
  } catch (error) {
    reader.close();
    throw error instanceof StoreError ? error : unavailable("can't open the folder", folder, error);
  }

  reader.serve();
  disk = options.disk ?? createDisk();
  writer.useDisk(disk);
  const { maxLag = defaultLag.maxLag, whenBehind = defaultLag.whenBehind } = options;
  const follower = createFollower(reader, writer, generations, { folder, warn, maxLag, whenBehind });
  const { readIfAppended, readAll, state: readable, freshState } = follower;
  const messages = createFileMessages(folder);

  async function append<T>(change: Change): Promise<T> {
    follower.requireOpen(); // the writer reads forward itself
    return (await writer.append(change)) as T;
  }

  /** Reads what other processes have appended until now. */
  function catchUp(): void {
    follower.requireOpen();
    if (reader.journal().hasNews()) reader.readForward();
  }

  /** Returns whether all that was read is on the disk for sure, in a journal that still takes writes. */
  const isReadSynced = (): boolean => !reader.journal().isSealed() && reader.journal().isReadSynced();

  return {
    findUserByUsername(username, matching) {
      freshState(); // throws when this process is too far behind
      const look = () => readable().findUserByUsername(username, matching);
      const reading = readAll(); // a login with a password that another process has just changed is refused at once
      return reading === undefined ? look() : reading.then(look);
    },
    findUserById(id) {
      const known = freshState().findUserById(id);
      if (known !== undefined) return known;
      readIfAppended(); // another process may have added the user a moment ago
      return readable().findUserById(id);
    },
    updateUser(id, c, x, matching) {
      const k = c.username === undefined ? "set" : "rename";
      return append<User | undefined>({ k, id, c, ...(x && { x }), ...matchingField(matching) });
    },
    addUser: async (user, matching) =>
      append<User>({ k: "add", u: rowFrom(completeUser(user)), ...matchingField(matching) }),
    async addUsers(users, matching) {
      const b = writer.nextId();
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
        await append({ k: "drop", b }).catch(() => {}); // without it, a later compaction drops the batch
        throw error;
      }
      return append<number>({ k: "commit", b, n, ...matchingField(matching) });
    },
    removeUser: (id) => append<boolean>({ k: "remove", id }),
    wasRemoved: (field, value) => readable().wasRemoved(field, value),
    listUsers: () => readable().listUsers(),
    passwordHashes: () => readable().passwordHashes(),
    async putIfAbsent(kind, id, value, expiresAt) {
      // An earlier value that is on the disk for sure can't change any more. Before it is returned, other processes' appends
      // are read: the caller goes on to decide by all that was acknowledged before.
      const isKnown = readable().get(kind, id, seconds) !== undefined;
      const isCaughtUp = isKnown && !reader.readForward(sliceBytes) && isReadSynced();
      const standing = isCaughtUp ? reader.state().get(kind, id, seconds) : undefined;
      const exp = Math.min(expiresAt, Number.MAX_VALUE); // JSON has no Infinity
      return standing ?? append<string>({ k: "claim", kind, id, v: value, exp });
    },
    get: (kind, id) => readable().get(kind, id, seconds),
    addSession: (session) => append<void>({ k: "login", s: sessionRowFrom(session) }),
    touchSession(id, t, exp) {
      return readable().isTouchDue(id, t) ? append<void>({ k: "touch", id, t, exp }) : undefined;
    },
    listSessions(userId) {
      catchUp();
      return readable().listSessions(userId, seconds());
    },
    removeSession(id) {
      catchUp(); // a logout of a session that is not recorded, or has been removed before, costs no write
      return readable().hasSession(id) ? append<void>({ k: "logout", id }) : undefined;
    },
    async flushExpired() {
      writer.checkSoon();
      return append<number>({ k: "flush" });
    },
    countFacts: () => reader.state().factCount(),
    publish: messages.publish,
    subscribe: messages.subscribe,
    async ping() {
      freshState();
      if (writer.lastFailure() !== undefined) await append({ k: "flush" });
      if (reader.journal().isRemoved()) reader.readForward(); // compacted away, or removed: reading tells
    },
    async close() {
      if (follower.isClosed()) return;
      follower.close();
      messages.close();
      await writer.pump();
      disk.close();
      reader.close();
    },
    stats: () => ({
      syncs: writer.syncs(),
      records: reader.records(),
      generation: reader.journal().generation,
    }),
  };
}
