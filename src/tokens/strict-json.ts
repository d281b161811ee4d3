/**
 * JSON segments of a compact JWS (RFC 7515 §7.1). A duplicate key is refused (RFC 7515 §4, RFC 7519 §4), since two readers
 * would see different claims under the same signature.
 */
import { nodeBuffer } from "../native.ts";
import { bytesOf, decodeBase64url, endsCanonically, sixBits } from "./base64url.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Returns the JSON object in a canonical base64url segment; `undefined` for anything else and for a duplicate key. */
export function readJsonSegment(segment: string): Record<string, unknown> | undefined {
  try {
    const binary = decodeBase64url(segment);
    const json = /[^ -~]/.test(binary) ? utf8.decode(bytesOf(binary)) : binary;
    const value: unknown = JSON.parse(json);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return hasDuplicateKey(json) ? undefined : (value as Record<string, unknown>);
  } catch {
    return undefined; // not base64, not UTF-8, not JSON, or nested too deep: the caller treats them alike
  }
}

/** Holds the decoded bytes of most tokens. */
const scratch = nodeBuffer?.alloc(3072);

/**
 * Reads the most common kind of segment faster: ASCII without escapes, and no object inside another.
 * @param start index of the segment's first character in the token: cutting the segment out would take longer.
 * @param end index after its last.
 * @returns `undefined` for every other segment, valid or not: {@link readJsonSegment} must judge it.
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
  // Each key and each string value has two quotes. Where these account for all quotes, no key occurred twice.
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    if (typeof member === "object" && member !== null) return undefined;
    quotes -= typeof member === "string" ? 4 : 2;
  }
  return quotes === 0 ? (value as Record<string, unknown>) : undefined;
}

/** Whether any object in a text has the same key twice. The text must be valid JSON. */
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
