/** Unpadded base64url (RFC 7515 §2, RFC 4648 §5), and the check that a text is its one canonical spelling. */
import { nodeBuffer } from "../native.ts";

/** The six bits that a byte stands for; 64 marks one outside the alphabet. */
const sixBits = new Uint8Array(256).fill(64);
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
for (let six = 0; six < 64; six++) sixBits[alphabet.charCodeAt(six)] = six;

export const utf8 = new TextEncoder();
/** Room for most texts: Node's buffers encode in a third of the time. */
const scratch = nodeBuffer?.alloc(4096);

/** The bytes that {@link decodeSegment} has decoded last. */
export const decoded: Uint8Array = scratch ?? new Uint8Array(4096);

/** Returns a part of the ASCII that was decoded last, on runtimes with Node's buffers. */
export const decodedText = (start: number, end: number): string => scratch!.toString("latin1", start, end);

/** For each byte what it adds to the result of {@link decodeSegment}. */
const counts = new Uint32Array(256).fill(0x10000, 0x7f);
counts[0x22] = 1;
counts[0x5c] = 0x10000;

/**
 * Decodes a segment of a token into {@link decoded}, if it is canonical base64url of up to 4096 characters.
 * @param start index of the segment's first byte in the token.
 * @param end index after its last.
 * @returns how many quotes are among the bytes, and 0x10000 or more when there is a backslash, a DEL or a byte beyond ASCII
 * too; -1 when the segment was not decoded.
 */
export function decodeSegment(token: Uint8Array, start: number, end: number): number {
  const count = end - start;
  if (count > 4096 || count % 4 === 1) return -1;
  let sum = 0;
  let size = 0;
  for (let i = start; i < end; i += 4) {
    const first = sixBits[token[i]!]!;
    const second = sixBits[token[i + 1]!]!;
    const third = i + 2 < end ? sixBits[token[i + 2]!]! : 0;
    const fourth = i + 3 < end ? sixBits[token[i + 3]!]! : 0;
    if ((first | second | third | fourth) > 63) return -1;
    const held = (first << 18) | (second << 12) | (third << 6) | fourth;
    sum += counts[held >> 16]! + counts[(held >> 8) & 0xff]! + counts[held & 0xff]!;
    decoded[size++] = held >> 16;
    decoded[size++] = held >> 8;
    decoded[size++] = held;
  }
  // What the last character holds beyond the last byte must be zeros (RFC 4648 §3.5).
  const length = (3 * count) >> 2;
  return length < size && decoded[length] !== 0 ? -1 : sum;
}

/** Encodes bytes, or text as UTF-8. */
export function encodeBase64url(data: string | Uint8Array): string {
  const isText = typeof data === "string";
  if (scratch !== undefined && data.length * 3 <= scratch.length) {
    if (!isText) scratch.set(data);
    return scratch.toString("base64url", 0, isText ? scratch.write(data) : data.length);
  }
  const bytes = isText && /[^ -~]/.test(data) ? utf8.encode(data) : data;
  const binary = typeof bytes === "string" ? bytes : String.fromCharCode(...bytes);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * Decodes base64url, and base64 as `atob` takes it.
 * @returns one character for each byte.
 * @throws {DOMException} for other text.
 */
export const decodeBase64url = (text: string): string => atob(text.replaceAll("-", "+").replaceAll("_", "/"));

/** The bytes of a text that has one character for each. */
export const bytesOf = (binary: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(binary, (char) => char.charCodeAt(0));

/**
 * Whether a text is base64url in its one canonical spelling: no padding, no other characters, and zeros in the spare bits of
 * the last character (RFC 4648 §3.5): two characters carry 12 bits for one byte, three carry 18 for two. Without this check
 * several texts would carry the same signature.
 */
export function isCanonicalBase64url(text: string): boolean {
  const last = ["", undefined, "AQgw", "AEIMQUYcgkosw048"][text.length % 4];
  return last !== undefined && /^[\w-]+$/.test(text) && (last === "" || last.includes(text.at(-1)!));
}
