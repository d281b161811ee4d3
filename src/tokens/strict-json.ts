/**
 * The shape of a compact JWS (RFC 7515 §7.1), stricter than base64 and JSON readers are by themselves: one spelling per
 * token, one value per key. Otherwise two different texts carry the same signature, or two readers see different claims.
 */
import { nodeBuffer } from "../native.ts";

/**
 * Whether a text is unpadded base64url in its one canonical spelling: no other characters, and zero in the bits that the
 * last character has to spare (RFC 4648 §3.5).
 */
export function isCanonicalBase64url(text: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(text) && endsCanonically(text);
}

function endsCanonically(text: string, start = 0, end = text.length): boolean {
  const rest = (end - start) % 4;
  if (rest === 0) return true;
  if (rest === 1) return false;
  // Two characters carry 12 bits for one byte, three carry 18 for two: 4 or 2 bits to spare.
  return (rest === 2 ? "AQgw" : "AEIMQUYcgkosw048").includes(text[end - 1]!);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The JSON object in a canonical base64url segment; `undefined` when it isn't one, or names a key twice. */
export function readJsonSegment(segment: string): Record<string, unknown> | undefined {
  try {
    const binary = atob(segment.replaceAll("-", "+").replaceAll("_", "/"));
    const json = /[^ -~]/.test(binary) ? utf8.decode(Uint8Array.from(binary, codeOf)) : binary;
    const value: unknown = JSON.parse(json);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return hasDuplicateKey(json) ? undefined : (value as Record<string, unknown>);
  } catch {
    return undefined; // not base64, not UTF-8, not JSON, or nested too deep: all the same to the caller
  }
}

const codeOf = (char: string): number => char.charCodeAt(0);

/** Room for the bytes of most tokens. */
const scratch = nodeBuffer?.alloc(3072);

/** The codes of base64url's characters, by what they stand for (RFC 4648 §5). */
export const base64urlCodes = new TextEncoder().encode(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
);
/** By code, what it stands for; 64 is none. */
const sixBits = new Uint8Array(128).fill(64);
for (const [six, code] of base64urlCodes.entries()) sixBits[code] = six;

/**
 * The same for what most tokens are: ASCII without escapes, and no object inside another. `undefined` for all else, which
 * {@link isCanonicalBase64url} and {@link readJsonSegment} have to judge.
 * @param start where the segment is in the token, and `end`; to cut it out would take longer.
 */
export function readPlainSegment(token: string, start: number, end: number): Record<string, unknown> | undefined {
  if (scratch === undefined || end - start > 4096 || !endsCanonically(token, start, end)) return undefined;
  let size = 0;
  let quotes = 0;
  for (let i = start, held = 0, bits = 0; i < end; i++) {
    const code = token.charCodeAt(i);
    const six = code < 128 ? sixBits[code]! : 64;
    if (six === 64) return undefined;
    held = (held << 6) | six;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    const byte = (held >>> bits) & 0xff;
    if (byte === 0x22) quotes++;
    else if (byte === 0x5c || byte > 0x7e) return undefined;
    scratch[size++] = byte;
  }
  let value: unknown;
  try {
    value = JSON.parse(scratch.toString("latin1", 0, size));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  // Two quotes for each key and each text. If that accounts for all of them, no key was there twice.
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    if (typeof member === "object" && member !== null) return undefined;
    quotes -= typeof member === "string" ? 4 : 2;
  }
  return quotes === 0 ? (value as Record<string, unknown>) : undefined;
}

/** Whether any object in a text names a key twice. The text must be valid JSON. */
export function hasDuplicateKey(json: string): boolean {
  const open: (Set<string> | undefined)[] = []; // one entry for each open container, `undefined` for an array
  const tokens = /"(?:[^"\\]|\\.)*"(\s*:)?|[[\]{}]/g;
  for (let match = tokens.exec(json); match !== null; match = tokens.exec(json)) {
    const token = match[0];
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (match[1] !== undefined) {
      const key = JSON.parse(token.slice(0, -match[1].length)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return true;
      keys.add(key);
    }
  }
  return false;
}
