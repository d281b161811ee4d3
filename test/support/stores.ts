/** What the suites of the stores share: the stores under test, and how to look at and damage a journal. */
import fs from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import * as assert from "uvu/assert";
import { type FileStore, type FileStoreOptions, openFileStore, poolDisk } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import { seedFrom } from "./random.ts";
import { temporaryFolder } from "./runtime.ts";
import { until } from "./processes.ts";

export const stores: [name: string, open: () => Store | Promise<Store>][] = [
  ["memory", () => memoryStore()],
  ["file", () => openFileStore(temporaryFolder())],
  // Compacts all the time, which must change no result.
  ["file, compacting, without a thread", () => openFileStore(temporaryFolder(), { compactAfter: 5, disk: poolDisk() })],
];

export const later = Date.now() / 1000 + 3600;
export const seed = seedFrom();

export async function using<T>(
  folder: string,
  use: (store: FileStore) => T | Promise<T>,
  options?: FileStoreOptions,
): Promise<T> {
  const store = await openFileStore(folder, { warn: () => {}, ...options });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

export const guest = (username: string) => ({ username, passwordHash: "pbkdf2_sha256$secret" });

/** Waits until a store responds again. */
export function hasRecovered(store: FileStore): Promise<void> {
  const responds = async () =>
    rejection(() => store.ping()).then(
      () => false,
      () => true,
    );
  return until(responds, "it has recovered", 5000);
}

export async function rejection(action: () => unknown): Promise<{ code?: string; message: string; cause?: unknown }> {
  try {
    await action();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}

export const journals = (folder: string): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => /^journal-\d+\.jsonl$/.test(name))
    .sort();
export const journal = (folder: string): string => path.join(folder, journals(folder).at(-1)!);
/** The mode is needed because Deno's `writeFileSync` also changes that of an existing file. */
export const overwrite = (file: string, bytes: string | Uint8Array): void =>
  fs.writeFileSync(file, bytes, { mode: 0o600 });
export const appendTo = (file: string, bytes: string | Uint8Array): void =>
  fs.appendFileSync(file, bytes, { mode: 0o600 });
export const lineOf = (record: unknown): string => {
  const json = JSON.stringify(record);
  return `\n${crc32(json).toString(16).padStart(8, "0")} ${Buffer.byteLength(json)} ${json}`;
};
export const mode = (file: string): string => (fs.statSync(file).mode & 0o777).toString(8);
export const newline = 10;
export const damagedLine = (message: string): number => Number(/journal-\d+\.jsonl: line (\d+) /.exec(message)?.[1]);

/** A time so long ago that facts that expired then are dropped. */
export const longAgo = Date.now() / 1000 - 86_400;

/** A folder whose journal begins with a snapshot of three users and a fact, followed by another fact. */
export async function compactedFolder(): Promise<string> {
  const folder = temporaryFolder();
  await using(
    folder,
    async (store) => {
      for (const name of ["ann", "bob", "eve"]) await store.addUser(guest(name));
      await store.putIfAbsent("k", "kept", "x", later);
      for (let i = 0; store.stats().generation === 1 && i < 200; i++) await store.putIfAbsent("k", `old-${i}`, "x", 1);
    },
    { compactAfter: 10 },
  );
  await using(folder, (store) => store.putIfAbsent("k", "appended", "x", later));
  return folder;
}

/** Writes one fact after another until one is refused, and returns those that were acknowledged. */
export async function claimUntilRefused(store: FileStore, code: string): Promise<string[]> {
  const acknowledged: string[] = [];
  for (;;) {
    const id = `id-${acknowledged.length}`;
    const error = await rejection(() => store.putIfAbsent("k", id, "x", later)).catch(() => undefined);
    if (error !== undefined) {
      assert.is(error.code, code, error.message);
      return acknowledged;
    }
    acknowledged.push(id);
  }
}
