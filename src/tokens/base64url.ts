/** Unpadded base64url (RFC 7515 §2, RFC 4648 §5), and the check that a text is its one canonical spelling. */

/** The codes of the alphabet's characters, by the six bits that each stands for. */
export const base64urlCodes = new TextEncoder().encode(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
);

/** The six bits that an ASCII code stands for; 64 marks a code outside the alphabet. */
export const sixBits = new Uint8Array(128).fill(64);
for (const [six, code] of base64urlCodes.entries()) sixBits[code] = six;

const utf8 = new TextEncoder();

/** Encodes text, as UTF-8. */
export function encodeBase64url(text: string): string {
  const binary = /[^ -~]/.test(text) ? String.fromCharCode(...utf8.encode(text)) : text;
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
