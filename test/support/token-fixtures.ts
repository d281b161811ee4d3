/** Tokens made by hand, and endpoints on a frozen clock that judge them. Most invalid tokens have a valid signature over
 * exactly the text they show, so that no other rule can refuse them first. */
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { keysFrom } from "../../src/keys/key-set.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import { keptIn } from "./runtime.ts";

/** The secret that the recorded tokens were made with; 64 bytes, enough for HS512. */
export const secret = "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-";
export const now = 1_850_000_000;
const iterations = 1;
export const credentials = { username: "ada", password: "correct horse" };
const passwordHash = await createPasswords({ iterations }).hash(credentials.password);

export const utf8 = new TextEncoder();
export const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

export function base64url(data: string | Uint8Array): string {
  const bytes = typeof data === "string" ? utf8.encode(data) : data;
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

export async function hmac(text: string, key: string | Uint8Array = secret, hash = "SHA-256"): Promise<string> {
  const raw = typeof key === "string" ? utf8.encode(key) : Uint8Array.from(key);
  const imported = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash }, false, ["sign"]);
  return base64url(new Uint8Array(await crypto.subtle.sign("HMAC", imported, utf8.encode(text))));
}

export const ourHeader = '{"alg":"HS256","typ":"JWT"}';
export const jti = "0123456789abcdef0123456789abcdef";
export const validClaims = { token_type: "refresh", exp: now + 3600, iat: now - 60, jti, user_id: "1" };

/** A token of exactly these segments, with a valid signature over them. */
export const signSegments = async (...segments: [header: string, payload: string]) =>
  `${segments.join(".")}.${await hmac(segments.join("."))}`;
/** A token of exactly this payload text. */
export const signText = (payload: string, header = ourHeader) => signSegments(base64url(header), base64url(payload));
/** A valid token except for these claims; `undefined` takes one away. */
export const sign = (changes: Record<string, unknown> = {}, header = ourHeader) =>
  signText(JSON.stringify({ ...validClaims, ...changes }), header);

export async function open(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore({ now: () => now * 1000 });
  await store.addUser({ id: "1", username: "ada", passwordHash });
  const log: LogEvent[] = [];
  const settings: JwtEndpointsSettings = {
    store,
    signingKey: secret,
    hashing: { iterations },
    now: () => now * 1000,
    log: keptIn(log),
    ...more,
  };
  const endpoints = createJwtEndpoints(settings);
  const post = async (name: string, data: unknown) => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
    const response = await endpoints.fetch(new Request(`http://localhost/jwt/${name}/`, init));
    const text = await response.text();
    return { status: response.status, text, body: JSON.parse(text) };
  };
  /** Returns `"ok"` for a valid token, else the text of the refusal. */
  const judge = async (name: "verify" | "refresh", token: string): Promise<string> => {
    const { status, body } = await post(name, name === "verify" ? { token } : { refresh: token });
    return status === 200 ? "ok" : `${status} ${body.non_field_errors.join()}`;
  };
  const login = async (): Promise<{ access: string; refresh: string }> => {
    const { status, text, body } = await post("create", credentials);
    assert.is(status, 200, text);
    return body;
  };
  /** The token step itself, which gets the text as it is (the endpoints trim theirs). */
  const step = async (token: string): Promise<string> => {
    const parsed = parseSettings(settings);
    try {
      await verifyToken(parsed, await keysFrom(parsed)(), token);
      return "ok";
    } catch (error) {
      return (error as Error).message;
    }
  };
  return { endpoints, store, log, post, judge, login, step };
}

export const invalid = "400 Token is invalid or expired";
export const plain = await open();

export async function accepted(token: string, { judge, step } = plain): Promise<void> {
  assert.is(await step(token), "ok", token);
  assert.is(await judge("verify", token), "ok", token);
  assert.is(await judge("refresh", token), "ok", token);
}

export async function refused(token: string, { judge, step } = plain, text = "Token is invalid"): Promise<void> {
  assert.is(await step(token), text, token);
  assert.is(await judge("verify", token), invalid, token);
  assert.is(await judge("refresh", token), invalid, token);
}

export const expired = (token: string, server = plain): Promise<void> => refused(token, server, "Token is expired");

/** The other spellings of a segment: the same bytes for a reader that passes over the last character's spare bits. */
export function otherSpellings(segment: string): string[] {
  const spare = segment.length % 4 === 2 ? 4 : segment.length % 4 === 3 ? 2 : 0;
  const last = alphabet.indexOf(segment.at(-1)!);
  const others = Array.from({ length: 2 ** spare - 1 }, (_, i) => alphabet[last + i + 1]!);
  return others.map((char) => segment.slice(0, -1) + char);
}

/** Header or payload text grown by spaces until its base64url has spare bits: 4 for `rest` 1, 2 for `rest` 2. */
export function grown(text: string, rest: number): string {
  while (utf8.encode(text).length % 3 !== rest) text += " ";
  return text;
}
