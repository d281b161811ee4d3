/** Writes to the journal: one append and one sync for all that waits, and the seal and the snapshot of a compaction. */
import { Buffer } from "node:buffer";
import { setImmediate } from "node:timers";
import { setTimeout as sleep } from "node:timers/promises";
import { StoreError } from "../store.ts";
import { type Disk, SyncError } from "./disk.ts";
import { unavailable } from "./folder.ts";
import { type Generations, sliceBytes } from "./generations.ts";
import type { Journal } from "./journal.ts";
import type { Outcome, Reader } from "./reader.ts";
import { type Change, encodeRecord } from "./record.ts";
import { snapshotOf } from "./replay.ts";

export interface WriterOptions {
  folder: string;
  /** The id of this opener. */
  me: string;
  disk: Disk;
  /** The clock, in seconds. */
  seconds: () => number;
  compactAfter: number;
  onSync: ((seconds: number) => void) | undefined;
}

interface Pending {
  line: Buffer;
  by: string;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** What has to stay free on the disk beside a new generation. */
const spareBytes = 1 << 16;
const recordsPerRoomCheck = 500;
/** How long after a failed compaction the next one is tried, in milliseconds. */
const retryMs = 1000;
/** How long the process that sealed a journal has to write the next one before others do it too, in milliseconds. */
const patienceMs = 300;

const ignore = (): void => {};

/** Returns whether a caller waits: a seal that came too late is of no use to the next generation. */
const isWaitedFor = (pending: Pending): boolean => pending.resolve !== ignore;

export type Writer = ReturnType<typeof createWriter>;

export function createWriter(reader: Reader, generations: Generations, options: WriterOptions) {
  const { folder, me, seconds, compactAfter, onSync } = options;
  const queue: Pending[] = [];
  let { disk } = options;
  let counter = 0;
  let syncs = 0;
  let pumping: Promise<void> | undefined;
  let lastFailure: StoreError | undefined;
  let retryAt = 0;
  let journal: Journal | undefined; // the one that the next four are about
  /** A sync has failed: what is on the disk is not known, and a later sync may claim success for lost pages. */
  let isSuspect = false;
  /** The journal's name is on the disk, so that what is written to it counts. */
  let isNameSynced = false;
  /** Number of records at which to see again whether a compaction pays. */
  let checkAt = compactAfter;
  /** Number of records at which to see again whether the disk is so full that it is needed before. */
  let roomCheckAt = 0;

  function pendingFor(change: Change, resolve: Pending["resolve"] = ignore, reject: Pending["reject"] = ignore) {
    const by = `${me}.${++counter}`;
    return { by, line: encodeRecord({ ...change, at: seconds(), by }), resolve, reject };
  }

  /** Appends a batch with one write and one sync, and settles what has been read back. */
  async function commit(batch: Pending[]): Promise<void> {
    let failure: StoreError | undefined;
    try {
      reader.readForward();
      if (reader.journal().isSealed()) return void queue.unshift(...batch.filter(isWaitedFor));
      for (const { by } of batch) reader.expect(by);
      const since = performance.now();
      await reader.journal().append(disk, Buffer.concat(batch.map(({ line }) => line)));
      onSync?.((performance.now() - since) / 1000);
      syncs++;
      reader.readForward();
    } catch (error) {
      failure = error as StoreError;
      isSuspect ||= failure.cause instanceof SyncError;
    }
    lastFailure = failure;
    const again: Pending[] = [];
    for (const pending of batch) {
      const outcome = reader.takeOutcome(pending.by);
      if (failure !== undefined) pending.reject(failure);
      else if (outcome === undefined)
        again.push(pending); // a short write, or after a seal
      else settle(pending, outcome);
    }
    queue.unshift(...again.filter(isWaitedFor));
  }

  function settle(pending: Pending, outcome: Outcome): void {
    if ("error" in outcome) pending.reject(outcome.error);
    else pending.resolve(outcome.value);
  }

  /** Works until nothing waits. Runs once at a time and never rejects: failures go to the callers. */
  function pump(): Promise<void> {
    return (pumping ??= (async () => {
      await undefined; // a turn later, so that all callers of one turn share a write and a sync
      try {
        for (let mayCompact = true; ;) {
          noteJournal();
          if (reader.journal().isSealed()) {
            const isLatest = generations.latest() === reader.journal().generation;
            if (isLatest && performance.now() < retryAt) throw lastFailure;
            await compact();
          } else if (!isNameSynced) {
            syncName();
            await generations.removeBefore(reader.journal().generation, disk);
          } else if (isSuspect || (mayCompact && (await isCompactionDue()))) {
            await commit([pendingFor({ k: "seal" })]);
            mayCompact = false;
            if (isSuspect && !reader.journal().isSealed()) throw lastFailure;
          } else if (queue.length > 0) await commit(queue.splice(0));
          else break;
        }
      } catch (error) {
        lastFailure = error instanceof StoreError ? error : unavailable("can't compact the journal in", folder, error);
        if (reader.journal().isSealed() && performance.now() >= retryAt) retryAt = performance.now() + retryMs;
        for (const pending of queue.splice(0)) pending.reject(lastFailure);
      } finally {
        pumping = undefined;
      }
    })());
  }

  /** Begins anew with a generation that has just been opened. */
  function noteJournal(): void {
    if (reader.journal() === journal) return;
    journal = reader.journal();
    isSuspect = isNameSynced = false;
    checkAt = compactAfter;
    roomCheckAt = 0;
  }

  function syncName(): void {
    noteJournal();
    generations.syncNames();
    isNameSynced = true;
    reader.journal().noteNameSynced();
  }

  /** Returns whether most records are superseded or expired. Counting takes a while, so it is done as the journal grows. */
  async function isCompactionDue(): Promise<boolean> {
    const records = reader.records();
    if (records < checkAt) {
      if (records < roomCheckAt) return false;
      roomCheckAt = records + recordsPerRoomCheck;
      if (generations.freeBytes() > reader.journal().size() + spareBytes) return false;
    }
    const state = reader.state();
    const horizon = reader.retention().horizon();
    const live = state.userCount() + (await state.liveFactCount(horizon)) + (await state.liveSessionCount(horizon));
    if (reader.records() > 2 * live && (await canCompact())) return true;
    checkAt = reader.records() + Math.max(compactAfter, live);
    roomCheckAt = reader.records() + Math.max(recordsPerRoomCheck, live / 4);
    return false;
  }

  /** Returns whether a seal can be followed by a snapshot: a sealed journal takes no writes, so it had better grow. */
  async function canCompact(): Promise<boolean> {
    if (!generations.canCreate(reader.journal().generation + 1)) return false;
    const room = generations.freeBytes() - spareBytes;
    return room > reader.journal().size() || room > (await liveBytes());
  }

  /** Returns how long the next generation would be. Takes as long as writing it. */
  async function liveBytes(): Promise<number> {
    const horizon = reader.retention().horizon();
    let bytes = 0;
    let counted = 0;
    for (const record of snapshotOf(reader.state())) {
      if (record.k === "claim" && record.exp <= horizon) continue;
      if (record.k === "login" && record.s[4] <= horizon) continue;
      const { length } = encodeRecord(record);
      bytes += length;
      counted += length;
      if (counted < sliceBytes) continue;
      counted = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return bytes;
  }

  /** Goes from a sealed generation to the next, which it writes unless another process was faster. */
  async function compact(): Promise<void> {
    const state = reader.state();
    const sealed = reader.journal();
    const horizon = reader.retention().horizon();
    await state.flushExpired(horizon);
    state.dropStagedUntil(horizon);
    const isMine = sealed.sealedBy()?.startsWith(`${me}.`) ?? false;
    for (const end = performance.now() + patienceMs; !isMine && performance.now() < end; await sleep(10)) {
      if (generations.latest() !== sealed.generation) break;
    }
    if (generations.latest() === sealed.generation) {
      await generations.create(sealed.generation + 1, snapshotOf(state), reader.retention().times(), disk);
    }
    const isHeld = reader.openNext();
    noteJournal();
    if (isHeld) checkAt = Math.max(compactAfter, 2 * reader.records());
    retryAt = 0;
  }

  return {
    /** Appends a change, and resolves with its outcome once it is on the disk and in its place in the order. */
    append: (change: Change): Promise<unknown> =>
      new Promise((resolve, reject) => {
        queue.push(pendingFor(change, resolve, reject));
        void pump();
      }),
    pump,
    syncName,
    /** Returns an id for a batch of users. */
    nextId: (): string => `${me}.${++counter}`,
    /** Returns why the last attempt to write failed, `undefined` when it did not. */
    lastFailure: (): StoreError | undefined => lastFailure,
    mayRetry: (): boolean => performance.now() >= retryAt,
    /** Has it count at the next write what a compaction would save. */
    checkSoon(): void {
      checkAt = compactAfter;
    },
    useDisk(other: Disk): void {
      disk = other;
    },
    syncs: (): number => syncs,
  };
}
