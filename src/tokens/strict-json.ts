/**
 * JSON segments of a compact JWS (RFC 7515 §7.1). A duplicate key is refused (RFC 7515 §4, RFC 7519 §4), since two readers
 * would see different claims under the same signature.
 */
import { nodeBuffer } from "../native.ts";
import { bytesOf, decodeBase64url, decodeSegment, decoded, decodedText, utf8 as encoder } from "./base64url.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const [space, quote, zero, openingBrace, closingBrace] = [0x20, 0x22, 0x30, 0x7b, 0x7d];

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
  if (quotes >>> 16 !== 0 || decoded[0] !== openingBrace) return undefined;
  const length = (3 * (end - start)) >> 2;
  const known = readKnownNames(length);
  if (known !== undefined) return known;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(decodedText(0, length)) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  // Each key and each string value has two quotes. Where these account for all quotes, no key occurred twice.
  for (const name in value) {
    const member = value[name];
    if (typeof member === "object" && member !== null) return undefined;
    quotes -= typeof member === "string" ? 4 : 2;
  }
  if (quotes !== 0) return undefined;
  if (++others > mostOthers) rememberNames(Object.keys(value), length);
  return value;
}

/** The names of the last payload that was remembered, in their order: all tokens of one issuer have the same. */
let knownNames: string[] = [];
/** What stands in front of the value of each: a brace or a comma, the name in quotes, and a colon. */
let fronts: Uint8Array[] = [];
/** How many payloads in a row could not be read by these names. */
let others = 0;
/** After so many of them the names are replaced. Tokens of two issuers in turn never get there. */
const mostOthers = 8;

/** Remembers the names of the segment that was decoded last, or none when it can't be read by them. */
function rememberNames(names: string[], length: number): void {
  // To assign `__proto__` sets the prototype, and other names of it may be frozen.
  knownNames = names.some((name) => name in Object.prototype) ? [] : names;
  fronts = knownNames.map((name, i) => encoder.encode(`${i === 0 ? "{" : ","}${JSON.stringify(name)}:`));
  if (readKnownNames(length) === undefined) fronts = [];
  others = 0;
}

/**
 * Reads the segment that was decoded last if it has the remembered names, and only strings and whole numbers as values. That
 * takes less time than `JSON.parse`.
 * @param length of the segment, in bytes.
 */
function readKnownNames(length: number): Record<string, unknown> | undefined {
  const value: Record<string, unknown> = {};
  let at = 0;
  for (let i = 0; i < fronts.length; i++) {
    const front = fronts[i]!;
    for (let j = 0; j < front.length; j++) if (decoded[at++] !== front[j]) return undefined;
    const from = at;
    if (decoded[at] === quote) {
      while (decoded[++at]! !== quote) if (decoded[at]! < space || at >= length) return undefined;
      value[knownNames[i]!] = decodedText(from + 1, at++); // a slice of the whole would keep the whole in memory
      continue;
    }
    let number = 0;
    for (let digit; (digit = decoded[at]! - zero) >= 0 && digit <= 9; at++) number = 10 * number + digit;
    // JSON has no number without a digit, nor one with a zero in front. Longer ones may not be exact.
    if (at === from || at - from > 15 || (decoded[from] === zero && at - from > 1)) return undefined;
    value[knownNames[i]!] = number;
  }
  if (decoded[at] !== closingBrace || at + 1 !== length) return undefined;
  others = 0;
  return value;
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
