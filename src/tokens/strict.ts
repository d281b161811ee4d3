/**
 * The shape of a compact JWS (RFC 7515 §7.1), stricter than base64 and JSON readers are by themselves: one spelling per
 * token, one value per key. Otherwise two different texts carry the same signature, or two readers see different claims.
 */

/**
 * Whether a text is unpadded base64url in its one canonical spelling: no other characters, and zero in the bits that the
 * last character has to spare (RFC 4648 §3.5).
 */
export function isCanonicalBase64url(text: string): boolean {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return false;
  const rest = text.length % 4;
  if (rest === 0) return true;
  if (rest === 1) return false;
  // Two characters carry 12 bits for one byte, three carry 18 for two: 4 or 2 bits to spare.
  return (rest === 2 ? "AQgw" : "AEIMQUYcgkosw048").includes(text[text.length - 1]!);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The JSON object in a canonical base64url segment; `undefined` when it isn't one, or names a key twice. */
export function readJsonSegment(segment: string): Record<string, unknown> | undefined {
  try {
    const binary = atob(segment.replaceAll("-", "+").replaceAll("_", "/"));
    const json = /[^ -~]/.test(binary) ? utf8.decode(Uint8Array.from(binary, codeOf)) : binary;
    const value: unknown = JSON.parse(json);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const isSound = hasAllQuotes(value as object, json) || !hasDuplicateKey(json);
    return isSound ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not base64, not UTF-8, not JSON, or nested too deep: all the same to the caller
  }
}

const codeOf = (char: string): number => char.charCodeAt(0);

/**
 * Whether an object without others inside accounts for every quote of its text: two for a key, two for a value that is text.
 * Then no key was there twice. Cheaper than to look at the keys, and true of most tokens.
 */
function hasAllQuotes(value: object, json: string): boolean {
  if (json.includes("\\")) return false;
  let quotes = 0;
  for (let at = json.indexOf('"'); at !== -1; at = json.indexOf('"', at + 1)) quotes++;
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    if (typeof member === "object" && member !== null) return false;
    quotes -= typeof member === "string" ? 4 : 2;
  }
  return quotes === 0;
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
