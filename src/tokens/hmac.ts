/**
 * The hot path: tokens whose header is byte for byte the one we write are signed and verified at once, without a promise
 * and without waiting behind password hashes in a thread pool, as WebCrypto's calls do. All others go through jose, and
 * both agree on every token (`test/fuzz.test.ts`).
 */
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { hasSlowHashes, nodeBuffer, nodeCrypto } from "../native.ts";

export interface Hmac {
  /** The first segment of our tokens, with its dot. */
  readonly head: string;
  /** The base64url signature of the first two segments. */
  sign(text: string): string;
  /** Whether a token that begins with {@link head} carries its signature, in the one spelling that we write. */
  isSigned(token: string): boolean;
}

/** @returns `undefined` where there is no `node:crypto`. */
export function hmacOf(alg: string, kid: string | undefined, secret: Uint8Array): Hmac | undefined {
  if (nodeCrypto?.hash === undefined) return undefined;
  const sign =
    hasSlowHashes && alg === "HS256"
      ? hmacInJavaScript(secret)
      : hmacWith(nodeCrypto.hash, `sha${alg.slice(2)}`, secret);
  return {
    head: `${base64url(headerOf(alg, kid))}.`,
    sign,
    isSigned(token) {
      const dot = token.lastIndexOf(".");
      return sameText(sign(token.slice(0, dot)), token.slice(dot + 1));
    },
  };
}

type Hash = NonNullable<typeof nodeCrypto>["hash"];
/** What such a hash answers: the one kind of array that Latin-1 text can be written to. */
type Bytes = Uint8Array & { write(text: string, offset: number, encoding: "latin1"): number };

/**
 * HMAC by its definition (RFC 2104 §2), of two one-shot hashes over buffers that stay: `createHmac` makes a stream, and a
 * native object for the garbage collector to finish, for each token.
 * @returns a function of ASCII text; of a character beyond Latin-1 only the low byte counts.
 */
function hmacWith(hash: Hash, algorithm: string, secret: Uint8Array): (text: string) => string {
  const blockBytes = algorithm === "sha256" ? 64 : 128;
  const hashBytes = Number(algorithm.slice(3)) / 8;
  const key = secret.length > blockBytes ? hash(algorithm, secret, "buffer") : secret;
  const padded = (pad: number) => Uint8Array.from({ length: blockBytes }, (_, i) => (key[i] ?? 0) ^ pad);
  const { constructor } = hash(algorithm, secret, "buffer");
  const { alloc } = constructor as unknown as { alloc(size: number): Bytes };
  let inner = alloc(blockBytes + 4096);
  inner.set(padded(0x36));
  const outer = alloc(blockBytes + hashBytes);
  outer.set(padded(0x5c));
  return (text) => {
    if (blockBytes + text.length > inner.length) {
      inner = alloc(blockBytes + 2 * text.length);
      inner.set(padded(0x36));
    }
    const end = blockBytes + inner.write(text, blockBytes, "latin1");
    outer.write(hash(algorithm, inner.subarray(0, end), "latin1" as "binary"), blockBytes, "latin1");
    return hash(algorithm, outer, "base64url");
  };
}

/** The same by `@noble/hashes`, for HS256 alone; the state after the key is kept. */
function hmacInJavaScript(secret: Uint8Array): (text: string) => string {
  const keyed = hmac.create(sha256, secret);
  const signature = nodeBuffer!.alloc(32);
  let [state, bytes] = [keyed.clone(), new Uint8Array(4096)];
  return (text) => {
    if (text.length > bytes.length) bytes = new Uint8Array(2 * text.length);
    const { written } = utf8.encodeInto(text, bytes);
    state = keyed._cloneInto(state); // half the time of a new clone each
    state.update(bytes.subarray(0, written)).digestInto(signature);
    return signature.toString("base64url");
  };
}

/** The header of our tokens, as JSON. */
export const headerOf = (alg: string, kid: string | undefined): string =>
  JSON.stringify(kid === undefined ? { alg, typ: "JWT" } : { alg, typ: "JWT", kid });

const utf8 = new TextEncoder();

/** UTF-8 text as unpadded base64url (RFC 7515 §2). */
export function base64url(text: string): string {
  const binary = /[^ -~]/.test(text) ? String.fromCharCode(...utf8.encode(text)) : text;
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** In a time that depends on the length alone. */
function sameText(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
