/** What a folder that holds password hashes and keys must be: private, and on a disk of this machine. */
import fs from "node:fs";
import process from "node:process";
import { StoreError } from "../store.ts";

/** Makes a `STORE_UNAVAILABLE` whose text is `what`, the folder, and the first line of the cause. */
export function unavailable(what: string, folder: string, cause?: unknown): StoreError {
  const reason = cause instanceof Error ? `: ${cause.message.split("\n", 1)[0]}` : "";
  return new StoreError("STORE_UNAVAILABLE", `${what} ${folder}${reason}`, { cause });
}

/**
 * Returns, in one line with the `chmod` to run, why a file or folder can't be used: others than its owner may read or
 * change it. `undefined` when it is private, and on Windows, which has no such modes.
 */
export function openToOthers(file: string, stats: fs.Stats): string | undefined {
  if (process.platform === "win32" || (stats.mode & 0o077) === 0) return undefined;
  const mode = (stats.mode & 0o777).toString(8).padStart(3, "0");
  const path = /^[\w./@%+=:,-]+$/.test(file) ? file : `'${file.replaceAll("'", "'\\''")}'`;
  return `${file} is open to others (mode ${mode}); run: chmod ${stats.isDirectory() ? "700" : "600"} ${path}`;
}

/**
 * Gives a new file to the owner of its folder: a server of another user has to read what a command makes as root.
 * @throws when the owner is another user and this process may not give files away.
 */
export function giveToOwner(fd: number, folder: string): void {
  const { uid, gid } = fs.statSync(folder);
  if (fs.fstatSync(fd).uid !== uid) fs.fchownSync(fd, uid, gid);
}

/** Matches the name of a generation's journal, and captures its number. */
export const journalFile = /^journal-(\d{6,})\.jsonl$/;

/** Returns whether a folder holds a file store. `true` for a folder that can't be read: opening it then tells why. */
export function holdsStore(folder: string): boolean {
  try {
    return fs.readdirSync(folder).some((name) => journalFile.test(name));
  } catch (error) {
    return !["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code!);
  }
}

/** File systems that other machines may write to as well, by the type that `statfs` of Linux returns. */
const networkTypes = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"],
  [0x01161970, "GFS2"],
  [0x7461636f, "OCFS2"],
]);

/** Returns the name of a network file system by its type. FUSE is not among them: it can be local or not. */
export const networkFileSystem = (type: number): string | undefined => networkTypes.get(type >>> 0);

/** Returns the name of the network file system that a folder is on, `undefined` for a local disk. */
export function networkFileSystemOf(folder: string): string | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return networkFileSystem(fs.statfsSync(folder).type);
  } catch {
    return undefined; // Deno needs a permission for this call
  }
}
