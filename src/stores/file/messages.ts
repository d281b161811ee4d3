/**
 * Messages between the processes of a folder: one file a minute, appended to by all and read from where one left off. Nothing
 * is synced and nothing is lost with a file: a torn line is passed over, and a failed write loses its messages.
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import path from "node:path";
import { setInterval, clearInterval } from "node:timers";
import { createMessages } from "../messages.ts";
import type { MessageStore } from "../store.ts";
import { giveToOwner } from "./folder.ts";

/** How often the files are looked at, in milliseconds. */
const pollMs = 50;
/** The most that is read of a file at once; what comes before is passed over. It bounds what a flood of messages costs. */
const mostBytes = 1 << 20;

const messageFile = /^messages-(\d+)$/;
const nameOf = (minute: number): string => `messages-${minute}`;
const minuteNow = (): number => Math.floor(Date.now() / 60_000);

export interface FileMessages extends MessageStore {
  /** Sends what waits, and receives no more. */
  close(): void;
}

/** Makes no file before the first message, and reads none before the first subscription. */
export function createFileMessages(folder: string): FileMessages {
  const offsets = new Map<string, number>(); // of the files that were read
  let minute = 0; // of the file that is open for writing
  let fd = -1;
  let poll: NodeJS.Timeout | undefined;

  const messages = createMessages((batches) => {
    try {
      openPresent();
      // The first newline ends a torn line, the last one says that the line is whole.
      const bytes = Buffer.from(`\n${batches.join("\n")}\n`, "latin1");
      fs.writeSync(fd, bytes, 0, bytes.length, null);
    } catch {
      // The disk is full, or the folder can't be written: each process counts for itself meanwhile.
    }
    return undefined;
  });

  function openPresent(): void {
    const present = minuteNow();
    if (fd !== -1 && minute === present && fs.fstatSync(fd).nlink > 0) return; // somebody may have removed it
    closeFile();
    removeOthers(present);
    const opened = fs.openSync(path.join(folder, nameOf(present)), "a", 0o600);
    [fd, minute] = [opened, present];
    giveToOwner(fd, folder);
  }

  function closeFile(): void {
    const open = fd;
    fd = -1; // even if closing fails: the number may then be another file's
    if (open !== -1) fs.closeSync(open);
  }

  /** Removes the files of other minutes. Clocks of processes are read at different moments, so the next one may be there. */
  function removeOthers(present: number): void {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const { name } = entry;
      const [, found] = messageFile.exec(name) ?? [];
      if (found !== undefined && entry.isFile() && Math.abs(Number(found) - present) > 1) {
        fs.rmSync(path.join(folder, name), { force: true });
        offsets.delete(name);
      }
    }
  }

  function read(): void {
    const present = minuteNow();
    for (const name of offsets.keys()) if (name < nameOf(present - 1)) offsets.delete(name);
    for (const each of [present - 1, present]) {
      try {
        readFile(nameOf(each));
      } catch {
        // It was removed, or can't be read now.
      }
    }
  }

  function readFile(name: string): void {
    const file = path.join(folder, name);
    const stats = fs.statSync(file, { throwIfNoEntry: false });
    if (stats === undefined) return void offsets.delete(name);
    const readTo = offsets.get(name) ?? 0;
    // Shorter than before, it is another file of the same name.
    const offset = Math.max(readTo <= stats.size ? readTo : 0, stats.size - mostBytes);
    offsets.set(name, offset);
    if (offset === stats.size) return;
    const bytes = Buffer.allocUnsafe(stats.size - offset);
    const from = fs.openSync(file, "r");
    let got: number;
    try {
      got = fs.readSync(from, bytes, 0, bytes.length, offset);
    } finally {
      fs.closeSync(from);
    }
    const text = bytes.toString("latin1", 0, got);
    const end = text.lastIndexOf("\n") + 1; // what follows may still be half-written
    offsets.set(name, offset + end);
    for (const line of text.slice(0, end).split("\n")) if (line !== "") messages.receive(line);
  }

  return {
    publish: messages.publish,
    subscribe(receive) {
      messages.subscribe(receive);
      poll ??= setInterval(read, pollMs);
      poll.unref();
    },
    close() {
      void messages.close(); // writes at once
      clearInterval(poll);
      closeFile();
    },
  };
}
