/** Unpadded base64url (RFC 7515 §2, RFC 4648 §5), and the check that a text is its one canonical spelling. */
import { nodeBuffer } from "../native.ts";

/** The six bits that an ASCII code stands for; 64 marks a code outside the alphabet. */
export const sixBits = new Uint8Array(128).fill(64);
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
for (let six = 0; six < 64; six++) sixBits[alphabet.charCodeAt(six)] = six;

const utf8 = new TextEncoder();
/** Room for most texts: Node's buffers encode in a third of the time. */
const scratch = nodeBuffer?.alloc(4096);

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
 * the last character (RFC 4648 §3.5). Without this check several texts would carry the same signature.
 */
export function isCanonicalBase64url(text: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(text) && endsCanonically(text);
}

/**
 * Whether the last character of a segment has zeros in its spare bits.
 * @param start index of the segment's first character.
 * @param end index after its last.
 */
export function endsCanonically(text: string, start = 0, end = text.length): boolean {
  const rest = (end - start) % 4;
  if (rest === 0) return true;
  if (rest === 1) return false;
  // Two characters carry 12 bits for one byte, three carry 18 for two: 4 or 2 spare bits.
  return (rest === 2 ? "AQgw" : "AEIMQUYcgkosw048").includes(text[end - 1]!);
}
