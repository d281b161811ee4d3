/** Simple JWT's digest of a stored password. A file of its own, loaded on demand: few sites compare passwords. */
import { md5 } from "@noble/hashes/legacy.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** Returns the MD5 of a stored hash in upper-case hex. */
export const digestOf = (passwordHash: string): string => bytesToHex(md5(utf8ToBytes(passwordHash))).toUpperCase();
