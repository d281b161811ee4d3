/**
 * The blocking calls of the file store. Node and Bun make them on the threads that also hash passwords: with as many
 * logins under way as there are threads, a write waits for seconds, so the store has a thread of its own there. Deno has
 * threads for files alone, and its file descriptors are known to one thread only.
 */
import fs from "node:fs";
import process from "node:process";
import { Worker } from "node:worker_threads";

/** The calls that the file store makes of a disk. Tests put their own in its place. */
export interface Disk {
  /**
   * Appends with one write call, which may take less than all, and syncs.
   * @returns the size of the file that is on the disk.
   * @throws {SyncError} when it is not known what is on the disk. After any other error nothing was written.
   */
  append(fd: number, bytes: Uint8Array): Promise<number>;
  /** Makes one write call, and returns how many bytes it took. */
  write(fd: number, bytes: Uint8Array): Promise<number>;
  fsync(fd: number): Promise<void>;
  /** Removes a file, if it is there. */
  remove(file: string): Promise<void>;
  close(): void;
}

export class SyncError extends Error {
  override readonly name = "SyncError";
}

/** Returns a disk that uses the threads of the runtime. */
export function poolDisk(): Disk {
  // Not promisified: promisify(fs.write) differs between runtimes.
  const call = <T>(begin: (done: (error: Error | null, value: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      begin((error, value) => (error ? reject(error) : resolve(value)));
    });
  const write: Disk["write"] = (fd, bytes) => call((done) => fs.write(fd, bytes, 0, bytes.length, null, done));
  return {
    async append(fd, bytes) {
      await write(fd, bytes);
      try {
        const { size } = fs.fstatSync(fd);
        await call((done) => fs.fdatasync(fd, done as fs.NoParamCallback));
        return size;
      } catch (error) {
        throw new SyncError((error as Error).message, { cause: error });
      }
    },
    write,
    fsync: (fd) => call((done) => fs.fsync(fd, done as fs.NoParamCallback)),
    remove: (file) => call((done) => fs.rm(file, { force: true }, done as fs.NoParamCallback)),
    close() {},
  };
}

/** The thread's program, as text: so it is part of every bundle, and no loader has to find it. */
const program = `
const fs = require("node:fs");
const { parentPort } = require("node:worker_threads");
let isWritten;
const calls = {
  append(fd, bytes) {
    calls.write(fd, bytes);
    isWritten = true;
    const { size } = fs.fstatSync(fd);
    fs.fdatasyncSync(fd);
    return size;
  },
  write: (fd, bytes) => fs.writeSync(fd, bytes, 0, bytes.length, null),
  fsync: (fd) => fs.fsyncSync(fd),
  remove: (file) => fs.rmSync(file, { force: true }),
};
parentPort.on("message", ([name, ...args]) => {
  if (name === "close") return parentPort.close();
  isWritten = false;
  let result;
  try {
    result = { value: calls[name](...args) };
  } catch ({ message, code }) {
    result = { message, code, isWritten }; // a copy of an error would have no code
  }
  parentPort.postMessage(result);
});
parentPort.postMessage("up");
`;

type Result = "up" | { value: unknown } | { message: string; code: string; isWritten: boolean };

interface Call {
  name: keyof Disk;
  args: unknown[];
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Returns a disk with a thread of its own, which starts with the first call. Falls back to `poolDisk`. */
export function threadDisk(): Disk {
  const pool = poolDisk();
  let canStart = true;
  let thread: Worker | undefined;
  const calls: Call[] = []; // without a result yet, in the order of the results

  function start(): Worker | undefined {
    let isUp = false;
    try {
      // It needs no loader and no environment, and little memory: what is written only passes through.
      const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };
      const worker = new Worker(program, { eval: true, execArgv: [], env: {}, resourceLimits });
      worker.on("message", (result: Result) => {
        if (result === "up") isUp = true;
        else settle(worker, result);
      });
      worker.on("error", () => {}); // the thread ends then
      worker.on("exit", () => {
        thread = undefined;
        canStart &&= isUp;
        for (const call of calls.splice(0)) {
          if (isUp) call.reject(new SyncError("the thread that writes has ended"));
          else byPool(call);
        }
      });
      worker.unref(); // once it has listeners, which hold the process
      return worker;
    } catch {
      canStart = false;
      return undefined;
    }
  }

  function settle(worker: Worker, result: Exclude<Result, "up">): void {
    const { resolve, reject } = calls.shift()!;
    if (calls.length === 0) worker.unref();
    if ("value" in result) resolve(result.value);
    else {
      const { message, code, isWritten } = result;
      reject(Object.assign(isWritten ? new SyncError(message) : new Error(message), { code }));
    }
  }

  function byPool({ name, args, resolve, reject }: Call): void {
    (pool[name] as (...args: unknown[]) => Promise<unknown>)(...args).then(resolve, reject);
  }

  const call = <T>(name: keyof Disk, ...args: unknown[]): Promise<T> =>
    new Promise<unknown>((resolve, reject) => {
      if (canStart) thread ??= start();
      const made: Call = { name, args, resolve, reject };
      if (thread === undefined) return byPool(made);
      if (calls.push(made) === 1) thread.ref(); // a caller who waits holds the process
      thread.postMessage([name, ...args]);
    }) as Promise<T>;

  return {
    append: (fd, bytes) => call("append", fd, bytes),
    write: (fd, bytes) => call("write", fd, bytes),
    fsync: (fd) => call("fsync", fd),
    remove: (file) => call("remove", file),
    close: () => thread?.postMessage(["close"]),
  };
}

export const createDisk = (): Disk => (process.versions.deno === undefined ? threadDisk() : poolDisk());
