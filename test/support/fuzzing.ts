/** Random cases that can be run again: `FUZZ_SEED=<seed>` runs the same ones, `FUZZ_FROM=<index>` those from an index on. A
 * failure prints the seed, the index and the input. */
import { createHmac } from "node:crypto";
import process from "node:process";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { type Random, randomFrom, seedFrom } from "./random.ts";
import { keptIn } from "./runtime.ts";

export const seed = seedFrom("FUZZ_SEED");

const limitMs = 5_000;

export const now = 1_850_000_000;
export const secret = "the secret of the fuzz suite, which nobody may ever see";
export const maxBodySize = 4096;
export const credentials = { username: "ada", password: "correct horse" };

/** Returns the sequence of one case, so that the case can be run again without the ones before. */
export const randomOf = (group: number, index: number): Random =>
  randomFrom(seed ^ Math.imul(group + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));

/**
 * Runs cases one after the other; a failure names how to run its case again.
 * @param count cases in one process; the three runtimes together run three times as many, each with its own seed.
 */
export async function run(
  name: string,
  count: number,
  oneCase: (index: number, note: (input: unknown) => void) => Promise<void> | void,
): Promise<void> {
  let index = Number(process.env.FUZZ_FROM ?? 0);
  let input: unknown;
  let start = 0;
  let timer: ReturnType<typeof setInterval> | undefined;
  const note = (value: unknown) => (input = value);
  const late = new Promise<never>((_, reject) => {
    // One timer for all cases: one for each took a fifth of the time of short ones.
    timer = setInterval(() => {
      if (performance.now() - start > limitMs) reject(new Error(`no result within ${limitMs} ms`));
    }, 500);
  });
  const all = async () => {
    for (; index < count; index++) {
      input = undefined;
      start = performance.now();
      await oneCase(index, note);
      assert.ok(performance.now() - start < limitMs, `took longer than ${limitMs} ms`);
    }
  };
  try {
    await Promise.race([all(), late]);
  } catch (error) {
    const plain = (_: string, value: unknown) => (value instanceof Uint8Array ? [...value] : value);
    const shown = JSON.stringify(input, plain)?.slice(0, 6000);
    const message = `${(error as Error).message}\n  FUZZ_SEED=${seed}, ${name}, case ${index}\n  input: ${shown}`;
    throw new Error(message, { cause: error });
  } finally {
    clearInterval(timer);
  }
}

export const utf8 = new TextEncoder();
export const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

export function base64url(data: string | Uint8Array): string {
  const raw = typeof data === "string" ? utf8.encode(data) : data;
  return btoa(String.fromCharCode(...raw))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** By `createHmac`, which has no part in the hash that is tested, and is synchronous. */
export const hs256 = (text: string): string => createHmac("sha256", secret).update(text).digest("base64url");
export const signText = (payload: string, header = '{"alg":"HS256","typ":"JWT"}'): string => {
  const text = `${base64url(header)}.${base64url(payload)}`;
  return `${text}.${hs256(text)}`;
};

const passwordHash = await createPasswords({ iterations: 1 }).hash(credentials.password);

export async function open(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore({ now: () => now * 1000 });
  await store.addUser({ id: "1", username: credentials.username, passwordHash });
  const log: LogEvent[] = [];
  const settings = { store, signingKey: secret, hashing: { iterations: 1 }, maxBodySize, now: () => now * 1000 };
  const { fetch } = createJwtEndpoints({ ...settings, log: keptIn(log), ...more });
  return { fetch, log };
}

export const oddTexts = [
  "",
  " ",
  "\0",
  "a\0b",
  "\ud800",
  "\udc00x",
  "\ud83d\ude00",
  "\ufeff",
  "\u202e",
  "e\u0301",
  "ﬁ",
  "İ",
  "ß",
  "\uffff",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "non_field_errors",
  "detail",
  "$where",
  "' or 1=1 --",
  "ada",
  "correct horse",
  "null",
  "true",
  "[]",
  "1e999",
  "NaN",
  "a.b.c",
  "..",
  "...",
  "\u0085",
  "\x1c",
  "\u2028",
  "%00",
  "%",
];
/** Flips, cuts, doubles and splices bytes. */
export function mutate(random: Random, input: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let bytes: number[] = [...input];
  for (let times = 1 + random.below(4); times > 0; times--) {
    const at = random.below(bytes.length + 1);
    switch (random.below(5)) {
      case 0:
        if (bytes.length > 0) bytes[at % bytes.length]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes = bytes.slice(0, at);
        break;
      case 2:
        bytes.splice(at, 0, ...random.bytes(random.below(6)));
        break;
      case 3:
        bytes.splice(at, random.below(6));
        break;
      default:
        bytes.splice(at, 0, ...bytes.slice(random.below(bytes.length + 1)).slice(0, 64));
    }
  }
  return Uint8Array.from(bytes);
}

export const statuses = new Set([200, 400, 404, 405, 406, 413, 415]);

/** Checks the rules that hold for every response in the djoser profile. */
export function checkResponse(method: string, response: Response, text: string): void {
  const { status, headers } = response;
  assert.ok(statuses.has(status), `status ${status}: ${text.slice(0, 300)}`);
  assert.is(headers.get("content-type"), "application/json");
  assert.is(headers.get("cache-control"), "no-store");
  assert.is(headers.get("x-content-type-options"), "nosniff");
  assert.not.ok(text.includes(secret) || text.includes("pbkdf2") || text.includes("    at "), text);
  if (method === "HEAD") return assert.is(text, "");
  const body = JSON.parse(text) as Record<string, unknown>;
  assert.ok(typeof body === "object" && body !== null && !Array.isArray(body), text);
  if (status === 400) {
    for (const [name, texts] of Object.entries(body)) {
      assert.ok(Array.isArray(texts) && texts.length > 0, `${name}: ${text}`);
      assert.ok(
        (texts as unknown[]).every((each) => typeof each === "string" && each !== ""),
        `${name}: ${text}`,
      );
    }
    assert.ok(Object.hasOwn(body, "non_field_errors"), text);
  } else if (status !== 200) assert.equal([Object.keys(body), typeof body.detail], [["detail"], "string"], text);
}

const claimNames = ["exp", "iat", "nbf", "jti", "token_type", "user_id", "__proto__", "iss", "aud", "x"];
const claimValues = [
  `${now}`,
  `${now + 1}`,
  `${now + 3600}`,
  `${now - 1}`,
  `"${now + 60}"`,
  "null",
  "1e999",
  "-1",
  "0",
  "0.5",
  "[]",
  "{}",
  "true",
  '"x"',
  '""',
  '"access"',
  '"refresh"',
  "1e308",
  '["a"]',
  '{"a":{"a":1}}',
  "9007199254740993",
];
const headerTexts = [
  '{"alg":"none"}',
  '{"alg":"HS384","typ":"JWT"}',
  '{"alg":"HS512"}',
  '{"alg":"RS256"}',
  '{"alg":"ES256","typ":"JWT"}',
  "{}",
  '{"alg":"HS256"}',
  '{"typ":"JWT","alg":"HS256"}',
  '{"alg":"HS256","kid":"x"}',
  '{"alg":"HS256","crit":["exp"],"exp":1}',
  '{"alg":"HS256","crit":[]}',
  '{"alg":"HS256","b64":false}',
  '{"alg":"HS256","crit":["b64"],"b64":false}',
  "null",
  "[]",
  '{"alg":"HS256","alg":"none"}',
  '{"alg":["HS256"]}',
  '{"alg":"hs256"}',
  '{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}',
  '{"alg":"HS256","zip":"DEF"}',
  '{"alg":"HS256","typ":5}',
  '{"alg":"HS256","kid":null}',
  '{"alg":"HS256","cty":"JWT"} ',
];

export function validToken(random: Random): string {
  const claims: Record<string, unknown> = {
    token_type: random.pick(["access", "refresh"]),
    exp: now + 1 + random.below(1e6),
    iat: now - random.below(1e6),
    jti: Array.from(random.bytes(16), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    user_id: random.pick(["1", 1]),
  };
  if (random.chance(0.3)) claims.x = random.pick(["é", "😀", [1, { a: [] }], null, "\u2028", 1e21, "{}", '"exp":1']);
  if (random.chance(0.2)) claims.nbf = now - random.below(10);
  const header = random.pick(['{"alg":"HS256","typ":"JWT"}', '{"alg":"HS256"}', '{"typ":"JWT","alg":"HS256"}']);
  return signText(JSON.stringify(claims), header);
}

export function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(escape(atob(segment.replaceAll("-", "+").replaceAll("_", "/"))));
  } catch {
    return "{}";
  }
}

/** Makes one change of a token's text or content; half of the results are signed again, so that another rule than the signature decides. */
export function mutateToken(random: Random, token: string, other: () => string): string {
  const segments = token.split(".");
  const at = random.below(segments.length);
  const segment = segments[at] ?? "";
  const i = random.below(segment.length + 1);
  const insert = (text: string) => segment.slice(0, i) + text + segment.slice(i);
  let resign = random.chance(0.5);
  switch (random.below(13)) {
    case 0: // another character
      segments[at] = segment.slice(0, i) + random.pick([...alphabet]) + segment.slice(i + 1);
      break;
    case 1: // the last character's spare bits
      segments[at] =
        segment.slice(0, -1) + alphabet[(alphabet.indexOf(segment.at(-1) ?? "A") + 1 + random.below(15)) % 64];
      break;
    case 2:
      segments[at] = insert(random.pick(["=", "==", " ", "\n", "\t", "\0", "+", "/", "%", "\u00a0", "\ufeff", "."]));
      break;
    case 3:
      segments[at] = segment + random.pick(["=", "==", "A", "AA", "AAAA", " ", "\n"]);
      break;
    case 4:
      return token.slice(0, random.below(token.length + 1));
    case 5:
      [segments[at], segments[(at + 1) % 3]] = [segments[(at + 1) % 3] ?? "", segment];
      break;
    case 6: // of another valid token
      segments[at] = other().split(".")[at] ?? "";
      resign = false;
      break;
    case 7:
      return random.pick([`${token}.${token}`, `${token}.`, `.${token}`, `${segments.slice(0, 2).join(".")}.`]);
    case 8:
      segments[0] = base64url(random.pick(headerTexts));
      break;
    case 9: {
      // a claim repeated, added or removed
      const text = decodeSegment(segments[1] ?? "");
      const [name, value] = [random.pick(claimNames), random.pick(claimValues)];
      const key = random.chance(0.2) ? name.replace("e", "\\u0065") : name;
      const without = text.replace(new RegExp(`"${name}":("[^"]*"|[^,}]*),?`), "").replace(/,\}$/, "}");
      const base = random.chance(0.7) ? without : text;
      const start = base.endsWith("}") && base.length > 2 ? `${base.slice(0, -1)},` : "{";
      const more = `${start}"${key}":${value}}`;
      segments[1] = base64url(random.chance(0.8) ? more : base);
      resign = random.chance(0.9);
      break;
    }
    case 10: // other bytes under the payload
      segments[1] = base64url(mutate(random, utf8.encode(decodeSegment(segments[1] ?? ""))));
      break;
    case 11:
      return [
        random.pick([" ", "\n", "\ufeff", "\u0085", "\x1c", "\u3000", "\u200b"]),
        token,
        random.pick(["", " ", "\r\n", "\ufeff"]),
      ].join("");
    default:
      segments[at] = random.pick([
        segment.replaceAll("-", "+").replaceAll("_", "/"),
        segment.toLowerCase(),
        "",
        segment + segment,
        segment.slice(1),
        segment.split("").toReversed().join(""),
        base64url(random.bytes(random.below(40))),
      ]);
  }
  if (resign && segments.length === 3) segments[2] = hs256(segments.slice(0, 2).join("."));
  return segments.join(".");
}
