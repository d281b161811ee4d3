/** Simple JWT's digest of a stored password. A file of its own, loaded on demand: few sites compare passwords. */
import { md5 } from "@noble/hashes/legacy.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** With `checkRevokeToken` each verify and refresh needs the digest of its user, which takes some 6 µs to compute. */
let younger = new Map<string, string>();
/** The digests before those: a full generation replaces the one before. */
let older = younger;
/** The most digests of a generation, some 500 KB. */
const mostDigests = 2000;

/** Returns the MD5 of a stored hash in upper-case hex. */
export function digestOf(passwordHash: string): string {
  const known = younger.get(passwordHash);
  if (known !== undefined) return known;
  const digest = older.get(passwordHash) ?? bytesToHex(md5(utf8ToBytes(passwordHash))).toUpperCase();
  if (younger.size >= mostDigests) [younger, older] = [new Map(), younger];
  younger.set(passwordHash, digest);
  return digest;
}
