/**
 * The keys beside a file store: `keys.json`, which the `keys` command writes and every server on the folder reads while
 * it runs, and before there is one the single `signing.key` of a fresh start. Both are 0600, belong to the folder's owner,
 * and are replaced whole.
 */
import { createPrivateKey, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { type JwtEndpointsSettings, SettingError } from "../index.ts";
import { giveToOwner, openToOthers } from "../stores/file/folder.ts";

type KeyRing = NonNullable<Awaited<ReturnType<NonNullable<JwtEndpointsSettings["keys"]>>>>;
type Jwk = KeyRing["active"];

/** What `keys.json` says of a key. */
export interface StoredKey {
  /** Absent for the key that was in use before there was a `keys.json`: its tokens have none. */
  kid?: string;
  alg: string;
  /** The one active key signs; the next ones are published and wait; retiring ones verify until `retireAt`. */
  status: "active" | "next" | "retiring";
  /** ISO time. */
  created: string;
  /** ISO time from which on its tokens are refused; only of a retiring key. */
  retireAt?: string;
  jwk: Jwk;
}

const ringFile = (folder: string): string => path.join(folder, "keys.json");
const firstFile = (folder: string): string => path.join(folder, "signing.key");
/** How long a command waits for another one that is writing. */
const lockMs = 10_000;

export const hasKeySet = (folder: string): boolean => fs.existsSync(ringFile(folder));
export const hasKeys = (folder: string): boolean => hasKeySet(folder) || fs.existsSync(firstFile(folder));

/**
 * The keys of a folder that are good now; `undefined` when it has no `keys.json`.
 * @throws {SettingError} in one line when the file can't be read or is damaged.
 */
export function readStoredKeys(folder: string): StoredKey[] | undefined {
  const file = ringFile(folder);
  const text = readText(file);
  if (text === undefined) return undefined;
  let keys: StoredKey[] | undefined;
  try {
    keys = (JSON.parse(text) as { keys?: StoredKey[] }).keys;
  } catch {
    // told below, without the parser's message: it quotes the file
  }
  const isSound =
    Array.isArray(keys) &&
    keys.every((key) =>
      [key?.alg, key?.created, key?.kid ?? "", key?.jwk?.kty].every((member) => typeof member === "string"),
    ) &&
    keys.filter(({ status }) => status === "active").length === 1;
  if (!isSound) throw damaged(file);
  return keys!.filter(({ status, retireAt }) => status !== "retiring" || Date.parse(retireAt ?? "") > Date.now());
}

const damaged = (file: string): SettingError =>
  new SettingError(`setting keys: ${file} is damaged; bring back a copy of it`);

/** The key family that an algorithm needs. */
const familyOf = (alg: string): string =>
  alg.startsWith("HS") ? "oct" : alg.startsWith("ES") ? "EC" : alg === "EdDSA" ? "OKP" : "RSA";

/**
 * The ring in a folder for the `keys` setting; `undefined` when it has no `keys.json`.
 * @param algorithm that of the server, for the one key that was in use before there was a ring.
 */
export function readKeySet(folder: string, algorithm: string | undefined): KeyRing | undefined {
  const keys = readStoredKeys(folder);
  const jwks = (status: StoredKey["status"]): Jwk[] =>
    (keys ?? [])
      .filter((key) => key.status === status)
      .map(({ kid, alg, jwk, retireAt }) => {
        const isOurs = kid === undefined && algorithm !== undefined && familyOf(algorithm) === jwk.kty;
        const exp = status === "retiring" && { exp: Date.parse(retireAt!) / 1000 };
        return { ...jwk, alg: isOurs ? algorithm : alg, ...(kid !== undefined && { kid }), ...exp };
      });
  return keys && { active: jwks("active")[0]!, next: jwks("next"), retiring: jwks("retiring") };
}

/**
 * The text of the folder's single key, as the `signingKey` setting takes it; `undefined` when there is none.
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

/** A file's text; `undefined` when there is none. */
function readText(file: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = fs.openSync(file, "r");
    refuseOpen(file, fs.fstatSync(fd));
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

function refuseOpen(file: string, stats: fs.Stats): void {
  const problem = openToOthers(file, stats);
  if (problem !== undefined) throw new SettingError(`setting keys: ${problem}`);
}

/** The same as a JWK. */
export function firstKeyAsJwk(key: string | Jwk): Jwk {
  if (typeof key !== "string") return key;
  if (!key.startsWith("-----BEGIN")) return { kty: "oct", k: Buffer.from(key).toString("base64url") };
  try {
    return createPrivateKey(key).export({ format: "jwk" }) as Jwk;
  } catch {
    throw new SettingError("setting keys: signing.key holds no private key that can be read; bring back a copy of it");
  }
}

/** Puts a fresh key in the folder unless there is one, and answers the one there is: one of several processes wins. */
export function ensureFirstKey(folder: string, fresh: string | Jwk): string | Jwk {
  const temporary = writeTemporary(firstFile(folder), `${typeof fresh === "string" ? fresh : JSON.stringify(fresh)}\n`);
  try {
    fs.linkSync(temporary, firstFile(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    fs.rmSync(temporary);
  }
  syncFolder(folder); // tokens are signed with it from now on
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
    fs.rmSync(temporary, { force: true }); // half of a key, where the disk is full
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
 * Changes `keys.json`, one process at a time; the first change takes in the key of `signing.key`.
 * @param algorithm what that one was used with, if it does not say so itself.
 * @param change gets the keys and answers them as they are to be; `undefined` leaves the file alone.
 * @throws {SettingError} when another process holds the lock file for too long.
 */
export async function changeStoredKeys(
  folder: string,
  algorithm: string,
  change: (keys: StoredKey[]) => StoredKey[] | undefined,
): Promise<void> {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  refuseOpen(folder, fs.statSync(folder));
  const lock = `${ringFile(folder)}.lock`;
  for (const end = performance.now() + lockMs; !isCreated(lock); await new Promise((done) => setTimeout(done, 20))) {
    if (performance.now() > end) {
      throw new SettingError(`setting keys: another command is changing them; if there is none, remove ${lock}`);
    }
  }
  try {
    const changed = change(readStoredKeys(folder) ?? takenIn(folder, algorithm));
    if (changed === undefined) return;
    const temporary = writeTemporary(ringFile(folder), `${JSON.stringify({ keys: changed }, undefined, 2)}\n`);
    fs.renameSync(temporary, ringFile(folder));
    syncFolder(folder);
  } finally {
    fs.rmSync(lock);
  }
}

/** The ring that a folder without `keys.json` stands for. */
export function takenIn(folder: string, algorithm: string): StoredKey[] {
  const first = readFirstKey(folder);
  if (first === undefined) return [];
  const jwk = firstKeyAsJwk(first);
  const curves: Record<string, string> = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512" };
  const byKind: Record<string, string> = {
    RSA: "RS256",
    EC: curves[jwk.crv ?? ""] ?? "ES256",
    OKP: "EdDSA",
    oct: "HS256",
  };
  const alg = jwk.alg ?? (familyOf(algorithm) === jwk.kty ? algorithm : byKind[jwk.kty!]!);
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

/** A random secret as text: 64 characters, enough for every HMAC algorithm. */
export const newSecret = (): string => randomBytes(48).toString("base64url");

const ecCurves: Record<string, string> = { ES256: "P-256", ES384: "P-384", ES512: "P-521" };

/** Makes a private key, or a secret, for an algorithm of the `algorithm` setting. */
export async function newJwk(alg: string): Promise<Jwk> {
  if (alg.startsWith("HS")) return { kty: "oct", k: randomBytes(64).toString("base64url") };
  const rsa = {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength: 2048,
    publicExponent: Uint8Array.of(1, 0, 1),
  };
  const params = alg in ecCurves ? { name: "ECDSA", namedCurve: ecCurves[alg]! } : alg === "EdDSA" ? "Ed25519" : rsa;
  const { privateKey } = (await crypto.subtle.generateKey(params, true, ["sign", "verify"])) as CryptoKeyPair;
  const { kty, crv, x, y, n, e, d, p, q, dp, dq, qi } = await crypto.subtle.exportKey("jwk", privateKey);
  return JSON.parse(JSON.stringify({ kty, crv, x, y, n, e, d, p, q, dp, dq, qi })) as Jwk; // without what is undefined
}
