/** The files of a store's generations: their names, how the next one is written, and how old ones go. */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import path from "node:path";
import type { Times } from "../state/retention.ts";
import type { Disk } from "./disk.ts";
import { giveToOwner, journalFile, unavailable } from "./folder.ts";
import { type JournalRecord, encodeRecord } from "./record.ts";

/** Read or written in one go while requests are served, in bytes: some milliseconds of work. */
export const sliceBytes = 1 << 17;
/** After so long without a write, in milliseconds, a generation's temporary file was left by a crash. */
const abandonedMs = 60_000;

const journalName = (generation: number): string => `journal-${String(generation).padStart(6, "0")}.jsonl`;

export type Generations = ReturnType<typeof createGenerations>;

/** @param me the id of this opener, 12 hex digits, which its temporary files carry. */
export function createGenerations(folder: string, me: string, warn: (line: string) => void) {
  const filePath = (name: string): string => path.join(folder, name);

  /** Creates the file that a generation is written to before it gets its name. */
  function openTemporary(generation: number): { fd: number; temporary: string; remove(): void } {
    const temporary = filePath(`${journalName(generation)}.${me}.tmp`);
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

  /** Returns whether a temporary file was left by a crash: its writer never pauses. */
  function isAbandoned(name: string): boolean {
    if (!name.endsWith(".tmp")) return false;
    const { mtimeMs } = fs.statSync(filePath(name), { throwIfNoEntry: false }) ?? { mtimeMs: Infinity };
    return mtimeMs < Date.now() - abandonedMs;
  }

  /** Removes generations before this one, and what crashes have left. */
  async function removeBefore(generation: number, disk: Disk): Promise<void> {
    for (const name of fs.readdirSync(folder)) {
      const old = /^journal-(\d{6,})\.jsonl(\.[0-9a-f]{12}\.tmp)?$/.exec(name);
      if (old === null || !(Number(old[1]) < generation || isAbandoned(name))) continue;
      try {
        await disk.remove(filePath(name)); // freeing a large file takes a while
      } catch (error) {
        warn(unavailable(`can't remove ${name} from`, folder, error).message); // it takes up room, no more
      }
    }
  }

  return {
    file: (generation: number): string => filePath(journalName(generation)),
    /** Returns the newest generation, 0 when there is none. */
    latest(): number {
      const numbers = fs.readdirSync(folder).map((name) => Number(journalFile.exec(name)?.[1] ?? 0));
      return Math.max(0, ...numbers);
    },
    /**
     * Writes a generation: temporary file, sync, link. Does nothing when another process was faster: a link fails when
     * the name is taken, where a rename would replace a generation that others may have appended to since.
     */
    async create(generation: number, records: Iterable<JournalRecord>, times: Times | undefined, disk: Disk) {
      const { fd, temporary, remove } = openTemporary(generation);
      try {
        const head = (bytes: number) =>
          encodeRecord({ k: "head", generation, bytes: String(bytes).padStart(15, "0"), times, at: 0 });
        let size = 0;
        let lines: Buffer[] = [head(0)];
        let unwritten = 0;
        const flush = async () => {
          const buffer = Buffer.concat(lines);
          for (let done = 0; done < buffer.length;) done += await disk.write(fd, buffer.subarray(done));
          size += buffer.length;
          lines = [];
          unwritten = 0;
        };
        for (const record of records) {
          const line = encodeRecord(record);
          lines.push(line);
          unwritten += line.length;
          if (unwritten >= sliceBytes) await flush();
        }
        await flush();
        const final = head(size);
        fs.writeSync(fd, final, 0, final.length, 0);
        await disk.fsync(fd);
        fs.linkSync(temporary, filePath(journalName(generation)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
        await removeBefore(0, disk); // what a crash has left may be what takes up the room
        throw error;
      } finally {
        fs.closeSync(fd);
        remove();
      }
    },
    /** Returns whether a generation's file can be made. */
    canCreate(generation: number): boolean {
      try {
        const { fd, remove } = openTemporary(generation);
        fs.closeSync(fd);
        remove();
        return true;
      } catch {
        return false;
      }
    },
    removeBefore,
    /** Syncs the names of the files. Before that, a crash of the system may take a new generation away. */
    syncNames(): void {
      try {
        const fd = fs.openSync(folder, "r");
        try {
          fs.fsyncSync(fd);
        } finally {
          fs.closeSync(fd);
        }
      } catch (error) {
        throw unavailable("can't sync", folder, error);
      }
    },
    /** Returns how many bytes are free on the disk. */
    freeBytes(): number {
      try {
        const { bavail, bsize } = fs.statfsSync(folder);
        return bavail * bsize;
      } catch {
        return Infinity; // Deno needs a permission for this call
      }
    },
  };
}
