/**
 * The keys in a file store's folder. `keys.json` is a key set: the `keys` command writes it, and servers read it again while
 * they run. Before there is one, `signing.key` holds the single key of a fresh start. Both files have mode 0600, belong to
 * the folder's owner, and are replaced as a whole.
 */
import { createPrivateKey, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { type JwtEndpointsSettings, SettingError } from "../index.ts";
import { giveToOwner, openToOthers } from "../stores/file/folder.ts";
import { algorithmFor, algorithms, isAlgorithm, isSymmetric } from "../tokens/algorithms.ts";

type KeySet = NonNullable<Awaited<ReturnType<NonNullable<JwtEndpointsSettings["keys"]>>>>;
type Jwk = KeySet["active"];

/** A key as `keys.json` holds it. */
export interface StoredKey {
  /** Absent for the key of `signing.key`, whose tokens have no `kid`. */
  kid?: string;
  alg: string;
  /** The one active key signs, next keys are only published, retiring keys verify until `retireAt`. */
  status: "active" | "next" | "retiring";
  /** ISO time. */
  created: string;
  /** ISO time from which its tokens are refused. Only a retiring key has it. */
  retireAt?: string;
  jwk: Jwk;
}

const keySetFile = (folder: string): string => path.join(folder, "keys.json");
const firstFile = (folder: string): string => path.join(folder, "signing.key");
/** How long a command waits for another that changes the keys, in milliseconds. */
const lockMs = 10_000;

/** Returns whether a folder has a `keys.json`. */
export const hasKeySet = (folder: string): boolean => fs.existsSync(keySetFile(folder));
/** Returns whether a folder has keys of either kind. */
export const hasKeys = (folder: string): boolean => hasKeySet(folder) || fs.existsSync(firstFile(folder));

/**
 * Reads `keys.json`.
 * @returns the keys that sign or verify now or later; `undefined` without the file.
 * @throws {SettingError} in one line when the file can't be read or is damaged.
 */
export function readStoredKeys(folder: string): StoredKey[] | undefined {
  const file = keySetFile(folder);
  const text = readText(file);
  if (text === undefined) return undefined;
  let keys: StoredKey[] | undefined;
  try {
    keys = (JSON.parse(text) as { keys?: StoredKey[] }).keys;
  } catch {
    // reported below, without the parser's message: it quotes the file
  }
  const isValid =
    Array.isArray(keys) &&
    keys.every((key) =>
      [key?.alg, key?.created, key?.kid ?? "", key?.jwk?.kty].every((member) => typeof member === "string"),
    ) &&
    keys.filter(({ status }) => status === "active").length === 1;
  if (!isValid) throw damaged(file);
  return keys!.filter(({ status, retireAt }) => status !== "retiring" || Date.parse(retireAt ?? "") > Date.now());
}

const damaged = (file: string): SettingError =>
  new SettingError(`setting keys: ${file} is damaged; bring back a copy of it`);

/**
 * Reads `keys.json` as the `keys` setting takes it.
 * @param algorithm the server's, for the key that was in `signing.key`.
 * @returns `undefined` without the file.
 * @throws {SettingError} as {@link readStoredKeys}.
 */
export function readKeySet(folder: string, algorithm: string | undefined): KeySet | undefined {
  const keys = readStoredKeys(folder);
  const jwks = (status: StoredKey["status"]): Jwk[] =>
    (keys ?? [])
      .filter((key) => key.status === status)
      .map(({ kid, alg, jwk, retireAt }) => {
        const usesAlgorithm = kid === undefined && algorithm !== undefined && algorithms[algorithm]?.kty === jwk.kty;
        const exp = status === "retiring" && { exp: Date.parse(retireAt!) / 1000 };
        return { ...jwk, alg: usesAlgorithm ? algorithm : alg, ...(kid !== undefined && { kid }), ...exp };
      });
  return keys && { active: jwks("active")[0]!, next: jwks("next"), retiring: jwks("retiring") };
}

/**
 * Reads `signing.key` as the `signingKey` setting takes it.
 * @returns `undefined` without the file.
 * @throws {SettingError} in one line when the file can't be read or is damaged.
 */
export function readFirstKey(folder: string): string | Jwk | undefined {
  const file = firstFile(folder);
  const text = readText(file)?.trim();
  if (text === "") throw damaged(file);
  if (text === undefined || !text.startsWith("{")) return text;
  let jwk: Jwk;
  try {
    jwk = JSON.parse(text) as Jwk;
  } catch {
    throw damaged(file); // without the parser's message: it quotes the file
  }
  if (typeof jwk.kty !== "string") throw damaged(file);
  return jwk;
}

/**
 * Reads a file of keys.
 * @returns `undefined` when there is none.
 * @throws {SettingError} when it can't be read, or others than its owner may read or change it.
 */
function readText(file: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = fs.openSync(file, "r");
    requirePrivate(file, fs.fstatSync(fd));
    return fs.readFileSync(fd, "utf8");
  } catch (error) {
    if (error instanceof SettingError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new SettingError(`setting keys: ${file} can't be read: ${code ?? message}`, { cause: error });
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function requirePrivate(file: string, stats: fs.Stats): void {
  const problem = openToOthers(file, stats);
  if (problem !== undefined) throw new SettingError(`setting keys: ${problem}`);
}

/**
 * Converts the key of `signing.key` to a JWK.
 * @throws {SettingError} when it is PEM and no private key.
 */
export function firstKeyAsJwk(key: string | Jwk): Jwk {
  if (typeof key !== "string") return key;
  if (!key.startsWith("-----BEGIN")) return { kty: "oct", k: Buffer.from(key).toString("base64url") };
  try {
    return createPrivateKey(key).export({ format: "jwk" }) as Jwk;
  } catch {
    throw new SettingError("setting keys: signing.key holds no private key that can be read; bring back a copy of it");
  }
}

/**
 * Writes `signing.key` unless it exists. Of several processes that do so at once, the first wins.
 * @returns the key that the file holds now.
 */
export function ensureFirstKey(folder: string, fresh: string | Jwk): string | Jwk {
  const temporary = writeTemporary(firstFile(folder), `${typeof fresh === "string" ? fresh : JSON.stringify(fresh)}\n`);
  try {
    fs.linkSync(temporary, firstFile(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    fs.rmSync(temporary);
  }
  syncFolder(folder); // before a token is signed with a key that a crash could take away
  return readFirstKey(folder)!;
}

function writeTemporary(file: string, text: string): string {
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  const fd = fs.openSync(temporary, "wx", 0o600);
  try {
    giveToOwner(fd, path.dirname(file));
    fs.writeFileSync(fd, text);
    fs.fsyncSync(fd);
  } catch (error) {
    fs.rmSync(temporary, { force: true }); // a full disk leaves half of the keys in it
    if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
    throw new SettingError(`setting keys: ${path.dirname(file)} belongs to another user; run this as that user`);
  } finally {
    fs.closeSync(fd);
  }
  return temporary;
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, "r");
  fs.fsyncSync(fd);
  fs.closeSync(fd);
}

/**
 * Changes `keys.json`, one process at a time. The first change adds the key of `signing.key`.
 * @param algorithm the one that key is used with, unless the key itself names it.
 * @param change takes the keys and returns the new ones; `undefined` leaves the file alone.
 * @throws {SettingError} when another process holds the lock file for ten seconds.
 */
export async function changeStoredKeys(
  folder: string,
  algorithm: string,
  change: (keys: StoredKey[]) => StoredKey[] | undefined,
): Promise<void> {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  requirePrivate(folder, fs.statSync(folder));
  const lock = `${keySetFile(folder)}.lock`;
  for (const end = performance.now() + lockMs; !isCreated(lock); await new Promise((done) => setTimeout(done, 20))) {
    if (performance.now() > end) {
      throw new SettingError(`setting keys: another command is changing them; if there is none, remove ${lock}`);
    }
  }
  try {
    const changed = change(readStoredKeys(folder) ?? firstKeySet(folder, algorithm));
    if (changed === undefined) return;
    const temporary = writeTemporary(keySetFile(folder), `${JSON.stringify({ keys: changed }, undefined, 2)}\n`);
    fs.renameSync(temporary, keySetFile(folder));
    syncFolder(folder);
  } finally {
    fs.rmSync(lock);
  }
}

/**
 * Returns the key set that a folder without `keys.json` has: the key of `signing.key`, or none.
 * @param algorithm the one that key is used with, unless the key itself names it.
 */
export function firstKeySet(folder: string, algorithm: string): StoredKey[] {
  const first = readFirstKey(folder);
  if (first === undefined) return [];
  const jwk = firstKeyAsJwk(first);
  const alg = jwk.alg ?? (algorithms[algorithm]?.kty === jwk.kty ? algorithm : algorithmFor(jwk)!);
  const created = fs.statSync(firstFile(folder)).mtime.toISOString();
  return [{ alg, status: "active", created, jwk }];
}

function isCreated(file: string): boolean {
  try {
    fs.closeSync(fs.openSync(file, "wx", 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Makes a random secret as text: 64 characters, enough for every HMAC algorithm (RFC 7518 section 3.2). */
const newSecret = (): string => randomBytes(48).toString("base64url");

/**
 * Makes the key of a fresh start: a private key as a JWK, else a secret as text, also for a name that the check of the
 * settings will refuse.
 */
export const newFirstKey = async (alg: string): Promise<string | Jwk> =>
  isAlgorithm(alg) && !isSymmetric(alg) ? newJwk(alg) : newSecret();

/** Makes a private key, or a secret for an HMAC algorithm. */
export async function newJwk(alg: string): Promise<Jwk> {
  const { generating } = algorithms[alg]!;
  const made = await crypto.subtle.generateKey(generating, true, ["sign", "verify"]);
  const key = "privateKey" in made ? made.privateKey : made;
  const { key_ops: _, ext: __, alg: ___, ...members } = await crypto.subtle.exportKey("jwk", key);
  return members as Jwk;
}
