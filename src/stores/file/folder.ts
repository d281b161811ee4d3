/** What a folder that holds passwords' hashes and keys must be, on a disk of this machine. */
import fs from "node:fs";
import process from "node:process";

/**
 * Says, in one line, why a file or folder may not be used when others than its owner may read or change it; `undefined`
 * when it is private. Windows has no such modes.
 */
export function openToOthers(file: string, stats: fs.Stats): string | undefined {
  if (process.platform === "win32" || (stats.mode & 0o077) === 0) return undefined;
  const mode = (stats.mode & 0o777).toString(8).padStart(3, "0");
  const path = /^[\w./@%+=:,-]+$/.test(file) ? file : `'${file.replaceAll("'", "'\\''")}'`;
  return `${file} is open to others (mode ${mode}); run: chmod ${stats.isDirectory() ? "700" : "600"} ${path}`;
}

/**
 * Gives a new file to the owner of its folder: what a command makes as root, a server of another user has to read.
 * @throws when the owner is another one and this process may not give files away.
 */
export function giveToOwner(fd: number, folder: string): void {
  const { uid, gid } = fs.statSync(folder);
  if (fs.fstatSync(fd).uid !== uid) fs.fchownSync(fd, uid, gid);
}

/** The journal of one generation, which the number is. */
export const journalFile = /^journal-(\d{6,})\.jsonl$/;

/** Returns whether a folder holds a file store. Yes for one that can't be read: to open it tells why. */
export function holdsStore(folder: string): boolean {
  try {
    return fs.readdirSync(folder).some((name) => journalFile.test(name));
  } catch (error) {
    return !["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code!);
  }
}

/** What `statfs` of Linux calls file systems that other machines write to as well. */
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

/** Returns the name of a network file system. FUSE is none of them: it can be either. */
export const networkFileSystem = (type: number): string | undefined => networkTypes.get(type >>> 0);

/** Returns the name of the network file system that a folder is on. */
export function networkFileSystemOf(folder: string): string | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return networkFileSystem(fs.statfsSync(folder).type);
  } catch {
    return undefined; // not everyone may ask: Deno wants a flag for it
  }
}
