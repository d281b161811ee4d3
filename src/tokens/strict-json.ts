/**
 * JSON segments of a compact JWS (RFC 7515 §7.1). A duplicate key is refused (RFC 7515 §4, RFC 7519 §4), since two readers
 * would see different claims under the same signature.
 */
import { nodeBuffer } from "../native.ts";
import { bytesOf, decodeBase64url, decodeSegment, decoded, decodedText } from "./base64url.ts";

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

/**
 * Reads the most common kind of segment faster: ASCII without escapes, and no object inside another.
 * @param start index of the segment's first byte in the token: cutting the segment out would take longer.
 * @param end index after its last.
 * @returns `undefined` for every other segment, valid or not: {@link readJsonSegment} must judge it.
 */
export function readPlainSegment(token: Uint8Array, start: number, end: number): Record<string, unknown> | undefined {
  if (nodeBuffer === undefined) return undefined; // there is no faster way
  let quotes = decodeSegment(token, start, end);
  if (quotes >>> 16 !== 0 || decoded[0] !== 0x7b) return undefined;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(decodedText((3 * (end - start)) >> 2)) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  // Each key and each string value has two quotes. Where these account for all quotes, no key occurred twice.
  for (const name in value) {
    const member = value[name];
    if (typeof member === "object" && member !== null) return undefined;
    quotes -= typeof member === "string" ? 4 : 2;
  }
  return quotes === 0 ? value : undefined;
}

/** Whether any object in a text has the same key twice. The text must be valid JSON. */
export function hasDuplicateKey(json: string): boolean {
  const open: (Set<string> | undefined)[] = []; // one entry for each open container, `undefined` for an array
  for (const [token, colon] of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[[\]{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(token.slice(0, -colon.length)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return true;
      keys.add(key);
    }
  }
  return false;
}
