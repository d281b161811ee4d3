/**
 * Random requests and random tokens against the contract, in process. A failure prints the seed, the index and the
 * input: `FUZZ_SEED=<seed> npx tsx test/tokens/fuzz.test.ts` runs the same cases again, `FUZZ_FROM=<index>` from there on.
 */
import process from "node:process";
import { exportPKCS8, generateKeyPair, jwtVerify } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { hmacOf } from "../../src/tokens/hmac.ts";
import { type KeySet, keysFrom } from "../../src/keys/key-set.ts";
import { signToken } from "../../src/tokens/sign.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import { keptIn } from "../support/runtime.ts";

const seed = Number(process.env.FUZZ_SEED || crypto.getRandomValues(new Uint32Array(1))[0]) >>> 0;
console.log(`FUZZ_SEED=${seed}`);

const requestCases = 12_000;
const tokenCases = 8_000;
const asymmetricCases = 500; // for each algorithm
const agreementCases = 100_000;
const limitMs = 5_000;

const now = 1_850_000_000;
const secret = "the secret of the fuzz suite, which nobody may ever see";
const maxBodySize = 4096;
const credentials = { username: "ada", password: "correct horse" };

/** A random source of its own for each case (mulberry32), so that one case can be run again without the ones before. */
function randomOf(group: number, index: number) {
  let state = (seed ^ Math.imul(group + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(next() * n);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const chance = (p: number): boolean => next() < p;
  const bytes = (n: number): Uint8Array<ArrayBuffer> => Uint8Array.from({ length: n }, () => below(256));
  return { below, pick, chance, bytes };
}
type Random = ReturnType<typeof randomOf>;

const utf8 = new TextEncoder();
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function base64url(data: string | Uint8Array): string {
  const raw = typeof data === "string" ? utf8.encode(data) : data;
  return btoa(String.fromCharCode(...raw))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

const hmac = { name: "HMAC", hash: "SHA-256" };
const macKey = await crypto.subtle.importKey("raw", utf8.encode(secret), hmac, false, ["sign"]);
async function hs256(text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.sign("HMAC", macKey, utf8.encode(text))));
}
const signText = async (payload: string, header = '{"alg":"HS256","typ":"JWT"}'): Promise<string> => {
  const text = `${base64url(header)}.${base64url(payload)}`;
  return `${text}.${await hs256(text)}`;
};

const passwordHash = await createPasswords({ iterations: 1 }).hash(credentials.password);

async function open(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore({ now: () => now * 1000 });
  await store.addUser({ id: "1", username: credentials.username, passwordHash });
  const log: LogEvent[] = [];
  const settings = { store, signingKey: secret, hashing: { iterations: 1 }, maxBodySize, now: () => now * 1000 };
  const { fetch } = createJwtEndpoints({ ...settings, log: keptIn(log), ...more });
  return { fetch, log };
}

/** Runs cases one after the other; each has a time limit, and its failure names how to run it again. */
async function run(
  name: string,
  count: number,
  oneCase: (index: number, note: (input: unknown) => void) => Promise<void>,
): Promise<void> {
  const from = Number(process.env.FUZZ_FROM ?? 0);
  for (let index = from; index < count; index++) {
    let input: unknown;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${limitMs} ms`)), limitMs);
      });
      const start = performance.now();
      await Promise.race([oneCase(index, (value) => (input = value)), late]);
      assert.ok(performance.now() - start < limitMs, `took longer than ${limitMs} ms`);
    } catch (error) {
      const plain = (_: string, value: unknown) => (value instanceof Uint8Array ? [...value] : value);
      const shown = JSON.stringify(input, plain)?.slice(0, 6000);
      const message = `${(error as Error).message}\n  FUZZ_SEED=${seed}, ${name}, case ${index}\n  input: ${shown}`;
      throw new Error(message, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
}

const oddTexts = [
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
const oddJson = [
  "null",
  "true",
  "false",
  "0",
  "-0",
  "1",
  "1.0",
  "-1e-7",
  "1e999",
  "-1e999",
  "9007199254740993",
  "1".repeat(400),
  '""',
  '"x"',
  "[]",
  "{}",
  "[[]]",
  '[{"a":1}]',
  '{"":{}}',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"\\u00e9"',
  "NaN",
  "Infinity",
  "-Infinity",
  "undefined",
  "'x'",
  "01",
  "+1",
  ".5",
  "1.",
  '"\\x"',
  '"\\u12"',
  '"\n"',
  "/**/1",
  "[1,]",
];
const realNames = ["username", "password", "refresh", "token"];
const fieldNames = [...realNames, "__proto__", "constructor", "", "non_field_errors", "x"];

function oddText(random: Random, tokens: readonly string[]): string {
  if (random.chance(0.2)) return random.pick(tokens);
  if (random.chance(0.5)) return random.pick(oddTexts);
  const parts = Array.from({ length: random.below(12) }, () =>
    random.chance(0.5) ? random.pick(oddTexts) : String.fromCharCode(random.below(65_536)),
  );
  return parts.join("");
}

function oddValue(random: Random, tokens: readonly string[]): string {
  if (random.chance(0.5)) return JSON.stringify(oddText(random, tokens));
  if (random.chance(0.1)) {
    const depth = random.below(600);
    const [left, right] = random.pick([
      ["[", "]"],
      ['{"a":', "}"],
    ] as const);
    const closed = random.chance(0.8) ? depth : random.below(depth + 1);
    return left.repeat(depth) + random.pick(oddJson) + right.repeat(closed);
  }
  return random.pick(oddJson);
}

function jsonBody(random: Random, tokens: readonly string[]): string {
  if (random.chance(0.15)) return oddValue(random, tokens);
  const names = random.chance(0.8) ? realNames : fieldNames;
  const members = Array.from({ length: random.below(6) }, () => {
    const name = JSON.stringify(random.chance(0.9) ? random.pick(names) : oddText(random, tokens));
    const right = (credentials as Record<string, string>)[JSON.parse(name)] ?? random.pick(tokens);
    const value = random.chance(0.3) ? JSON.stringify(right) : oddValue(random, tokens);
    const escaped = (char: string) => `\\u00${char.charCodeAt(0).toString(16)}`;
    return `${random.chance(0.05) ? name.replace(/[a-z]/, escaped) : name}:${value}`;
  });
  return `${random.pick(["", "", "", "\ufeff", " ", "\n"])}{${members.join(",")}}`;
}

function formBody(random: Random, tokens: readonly string[]): string {
  const pairs = Array.from({ length: random.below(6) }, () => {
    const [name, value] = [random.pick(fieldNames), oddText(random, tokens)];
    if (random.chance(0.3)) return `${name}=${value}`;
    return new URLSearchParams([[name, value]]).toString();
  });
  return pairs.join(random.pick(["&", "&", "&&", ";", "&=&"]));
}

function multipartBody(random: Random, tokens: readonly string[], boundary: string): string {
  const parts = Array.from({ length: random.below(5) }, () => {
    const name = random.pick(fieldNames);
    const file = random.chance(0.2) ? `; filename="${random.pick(["a", "", "\u00e9", '\\"', "a\0"])}"` : "";
    const partType = random.pick(["text/plain", "application/json", ";", "é"]);
    const type = random.chance(0.2) ? `\r\nContent-Type: ${partType}` : "";
    const line = random.pick(["\r\n", "\r\n", "\r\n", "\n", ""]);
    const disposition = random.pick(["form-data", "form-data", "form-data", "attachment", ""]);
    const quote = random.pick(['"', '"', '"', "", "'"]);
    const head = `Content-Disposition: ${disposition}; name=${quote}${name}${quote}${file}${type}`;
    return `--${boundary}${line}${head}${line}${line}${oddText(random, tokens)}${line}`;
  });
  return `${parts.join("")}--${boundary}${random.pick(["--\r\n", "--", "", "\r\n"])}`;
}

/** Flips, cuts, doubles and splices bytes. */
function mutate(random: Random, input: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
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

const paths = ["/jwt/create/", "/jwt/refresh/", "/jwt/verify/", "/jwt/blacklist/"];
const contentTypes = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];
const oddTypes = [
  "text/plain",
  "application/JSON ; charset=utf-8",
  "application/json;charset=latin1",
  "application/jsonx",
  "",
  ";",
  "*/*",
  "multipart/form-data",
  "multipart/form-data; boundary=",
  'multipart/form-data; boundary="',
  "json",
  "\u00e9/\u00e9",
  ",,",
  "application/json, text/plain",
  "x".repeat(2000),
  "multipart/mixed; boundary=b",
  "application/json;;;=;",
];
const accepts = [
  "*/*",
  "application/json",
  "application/*;q=0.1",
  "text/html",
  "text/html, */*;q=0.01",
  "application/json;q=0",
  "",
  ",",
  ";;;",
  "*",
  "*/*;q=abc",
  "application/json;q=0.000",
  "\u00ff",
  "a".repeat(3000),
  "application/vnd.api+json",
  "*/json",
];
const authorizations = [
  "Bearer",
  "Bearer ",
  "Bearer x",
  "Bearer x y",
  "Basic YWRhOng=",
  "bearer ..",
  "\u00ff\u00ff",
  "Bearer " + "A".repeat(5000),
  "",
];
const lies = ["0", "1", "-1", "abc", "9".repeat(20), "1e9", "4096", "4097", "0x10", " 5", "5, 5", "NaN", "Infinity"];

interface Asked {
  path: string;
  method: string;
  headers: Record<string, string>;
  body: Uint8Array<ArrayBuffer> | undefined;
  /** How many bytes of the body arrive before the client goes away; `undefined` for a body that comes whole. */
  breaksAt: number | undefined;
  isStream: boolean;
}

function makeAsked(random: Random, tokens: readonly string[]): Asked {
  const otherPaths = ["/healthz", "/readyz", "/", "/jwt", "/jwt/creat", "/jwt/create"];
  let path = random.pick(random.chance(0.9) ? paths : otherPaths);
  if (random.chance(0.06)) {
    const at = random.below(path.length + 1);
    const odd = ["%", "%00", "%2f", "//", "..", "%ff", "?", "#", "\u00e9", "%6a", "/", ";", "\\", "?x=%ff", "@", ":8/"];
    path = `/${path.slice(0, at)}${random.pick(odd)}${path.slice(at)}`.replace(/^\/{2}/, "/");
  }
  const otherMethods = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"];
  const method = random.chance(0.93) ? "POST" : random.pick(otherMethods);
  const headers: Record<string, string> = {};
  let type = random.pick(contentTypes);
  const boundary = random.pick(["b", "----WebKitFormBoundaryx", "a'b", "0"]);
  let body: Uint8Array<ArrayBuffer> | undefined;
  if (type === "multipart/form-data") {
    type += `; boundary=${boundary}`;
    body = utf8.encode(multipartBody(random, tokens, boundary));
  } else body = utf8.encode(type === "application/json" ? jsonBody(random, tokens) : formBody(random, tokens));
  if (random.chance(0.3)) body = mutate(random, body);
  if (random.chance(0.03)) body = random.bytes(random.below(300));
  if (random.chance(0.01)) body = utf8.encode("[".repeat(random.below(6000)));
  if (random.chance(0.02)) body = undefined;
  if (random.chance(0.95)) headers["content-type"] = random.chance(0.9) ? type : random.pick(oddTypes);
  if (random.chance(0.1)) headers["content-type"] = random.pick(contentTypes);
  if (random.chance(0.15)) headers.accept = random.pick(accepts);
  if (random.chance(0.15)) headers.authorization = random.pick([...authorizations, `Bearer ${random.pick(tokens)}`]);
  if (random.chance(0.08)) headers["content-length"] = random.pick(lies);
  if (random.chance(0.05)) headers.cookie = random.pick(["access=x", "a=b; ;;", "\u00ff"]);
  if (random.chance(0.05)) headers.origin = random.pick(["null", "https://evil.example", "x"]);
  if (random.chance(0.03)) headers["content-encoding"] = random.pick(["gzip", "br", "identity"]);
  if (random.chance(0.03)) headers["x-http-method-override"] = "DELETE";
  if (method === "GET" || method === "HEAD") body = undefined;
  const isStream = body !== undefined && random.chance(0.1);
  const breaksAt = isStream && random.chance(0.3) ? random.below(body!.length + 1) : undefined;
  return { path, method, headers, body, breaksAt, isStream };
}

/** `undefined` when the runtime itself has no such request. */
function toRequest({ path, method, headers, body, isStream, breaksAt }: Asked): Request | undefined {
  let sent = 0;
  const stream = (bytes: Uint8Array<ArrayBuffer>) =>
    new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        if (breaksAt !== undefined && sent >= breaksAt) return controller.error(new Error("the client went away"));
        if (sent >= bytes.length) return controller.close();
        const end = Math.min(bytes.length, breaksAt ?? bytes.length, sent + 100);
        controller.enqueue(bytes.slice(sent, end));
        sent = end;
      },
    });
  try {
    const init = { method, headers, body: body !== undefined && isStream ? stream(body) : body, duplex: "half" };
    return new Request(`http://localhost${path}`, init as RequestInit);
  } catch {
    return undefined;
  }
}

const statuses = new Set([200, 400, 404, 405, 406, 413, 415]);

/** What the contract says of any answer in the djoser profile, whatever was asked. */
function checkAnswer(method: string, response: Response, text: string): void {
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

const requests = suite("fuzz: requests");

requests(`${requestCases} of any kind are answered as the contract says`, async () => {
  const { fetch, log } = await open();
  const claims = { token_type: "refresh", exp: now + 3600, iat: now, jti: "j", user_id: "1" };
  const changes = [{}, { token_type: "access" }, { exp: now }, { user_id: 1 }, { jti: 5 }];
  const tokens = await Promise.all(changes.map((change) => signText(JSON.stringify({ ...claims, ...change }))));
  const seen: Record<string, number> = {};
  await run("requests", requestCases, async (index, note) => {
    const random = randomOf(0, index);
    const asked = makeAsked(random, tokens);
    note(asked);
    const request = toRequest(asked);
    if (request === undefined) return;
    const response = await fetch(request);
    const text = await response.text();
    checkAnswer(request.method, response, text);
    seen[response.status] = (seen[response.status] ?? 0) + 1;
    if (response.status === 200 && request.method === "POST" && request.url.includes("create")) {
      const sent = new TextDecoder().decode(asked.body);
      assert.match(sent, /(\\u00..|c|%63)orrect(\+| |%20)horse|\\u00..rrect horse/i);
    }
  });
  // A path with more or less in front of a route is told of once, as a mount that is wrong.
  const mounts = ["path_prefixed", "path_stripped"];
  assert.equal(
    log.filter(({ code }) => !mounts.includes(code)),
    [],
  );
  for (const mount of mounts) assert.ok(log.filter(({ code }) => code === mount).length <= 1, mount);
  const unseen = [...statuses].filter((status) => seen[status] === undefined);
  if (process.env.FUZZ_FROM === undefined) assert.equal(unseen, [], "no case was answered so");
  console.log(`answers: ${JSON.stringify(seen)}`);
});

requests.run();

const tokens = suite("fuzz: tokens");

/** What DRF takes off around a token field, so that both readers get the same text. */
const isSpace = (char: string | undefined): boolean =>
  char !== undefined && char !== "\ufeff" && (char.trim() === "" || "\x1c\x1d\x1e\x1f\x85".includes(char));
function trimmed(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isSpace(text[start])) start++;
  while (end > start && isSpace(text[end - 1])) end--;
  return text.slice(start, end);
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

async function goodToken(random: Random): Promise<string> {
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

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(escape(atob(segment.replaceAll("-", "+").replaceAll("_", "/"))));
  } catch {
    return "{}";
  }
}

/** One change of a token's text or content; half sign the result again, so that it is not the signature that fails. */
async function mutateToken(random: Random, token: string, other: string): Promise<string> {
  const segments = token.split(".");
  const others = other.split(".");
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
    case 6: // of another good token
      segments[at] = others[at] ?? "";
      resign = false;
      break;
    case 7:
      return random.pick([`${token}.${token}`, `${token}.`, `.${token}`, `${segments.slice(0, 2).join(".")}.`]);
    case 8:
      segments[0] = base64url(random.pick(headerTexts));
      break;
    case 9: {
      // a claim written again, anew, or taken away
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
  if (resign && segments.length === 3) segments[2] = await hs256(segments.slice(0, 2).join("."));
  return segments.join(".");
}

async function judge(fetch: (request: Request) => Promise<Response>, name: "verify" | "refresh", token: string) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(name === "verify" ? { token } : { refresh: token });
  const response = await fetch(new Request(`http://localhost/jwt/${name}/`, { method: "POST", headers, body }));
  const text = await response.text();
  checkAnswer("POST", response, text);
  return response.status;
}

async function joseAccepts(token: string, key: CryptoKey | Uint8Array, algorithm: string): Promise<boolean> {
  const options = { algorithms: [algorithm], currentDate: new Date(now * 1000) };
  return jwtVerify(token, key, options).then(
    () => true,
    () => false,
  );
}

tokens(`${tokenCases} changed ones are accepted only where jose would too, and unchanged ones always`, async () => {
  const { fetch, log } = await open();
  const key = utf8.encode(secret);
  const counts = { accepted: 0, refused: 0, stricter: 0 };
  await run("tokens", tokenCases, async (index, note) => {
    const random = randomOf(1, index);
    const good = await goodToken(random);
    let token = good;
    const other = await goodToken(random);
    for (let times = 1 + random.below(2); times > 0; times--) token = await mutateToken(random, token, other);
    note({ good, token });
    if (index % 4 === 0) assert.is(await judge(fetch, "verify", good), 200, "an unchanged token was refused");
    const status = await judge(fetch, "verify", token);
    const read = trimmed(token);
    const isGood = await joseAccepts(read, key, "HS256");
    if (status === 200) {
      assert.ok(isGood, "accepted, though jose refuses it");
      const [header, payload, signature] = read.split(".") as [string, string, string];
      // One text for one content: what is accepted is the canonical spelling of what it says.
      const again = [header, payload].map((segment) => base64url(Uint8Array.from(rawBytes(segment))));
      assert.equal([header, payload, signature], [...again, await hs256(`${header}.${payload}`)], "not canonical");
      const claims = JSON.parse(decodeSegment(payload)) as { exp?: unknown; jti?: unknown };
      assert.ok(typeof claims.exp === "number" && claims.exp > now && typeof claims.jti === "string");
      counts.accepted++;
    } else if (isGood) counts.stricter++;
    else counts.refused++;
    if (index % 3 === 0) {
      const refreshed = await judge(fetch, "refresh", token);
      assert.ok(refreshed !== 200 || status === 200, "refresh took what verify refused");
    }
  });
  assert.equal(log, []);
  for (const count of Object.values(counts)) assert.ok(process.env.FUZZ_FROM || count > 50, JSON.stringify(counts));
  console.log(`tokens: ${JSON.stringify(counts)}`);
});

function rawBytes(segment: string): number[] {
  return [...atob(segment.replaceAll("-", "+").replaceAll("_", "/"))].map((char) => char.charCodeAt(0));
}

for (const [group, algorithm] of (["RS256", "ES256", "EdDSA"] as const).entries()) {
  tokens(`${asymmetricCases} changed ones of ${algorithm} likewise`, async () => {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    const { fetch, log } = await open({ algorithm, signingKey: await exportPKCS8(pair.privateKey) });
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(credentials) };
    const login = async () => (await fetch(new Request("http://localhost/jwt/create/", init))).json();
    const [one, two] = [await login(), await login()] as [Record<string, string>, Record<string, string>];
    await run(algorithm, asymmetricCases, async (index, note) => {
      const random = randomOf(2 + group, index);
      const good = random.pick([one.access!, one.refresh!]);
      const token = await mutateToken(random, good, two.access!);
      note({ good, token });
      if (index % 10 === 0) assert.is(await judge(fetch, "verify", good), 200, "an unchanged token was refused");
      if ((await judge(fetch, "verify", token)) !== 200) return;
      assert.ok(await joseAccepts(trimmed(token), pair.publicKey, algorithm), "accepted, though jose refuses it");
    });
    assert.equal(log, []);
  });
}

tokens(`are judged alike by the hot path and by jose, over ${agreementCases} tokens`, async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret, now: () => now * 1000 });
  const hot = await keysFrom({ ...settings, verifiedTokenCache: 0 })();
  const cached = await keysFrom(settings)();
  const slow = { ...hot, verifying: hot.verifying.map((key) => ({ ...key, hmac: undefined })) };
  assert.ok(hot.verifying[0]!.hmac !== undefined, "this runtime has a hot path");
  const judge = async (keys: KeySet, token: string): Promise<string> => {
    try {
      return JSON.stringify(await verifyToken(settings, keys, token));
    } catch (error) {
      return (error as Error).message;
    }
  };
  let good = 0;
  await run("agreement", agreementCases, async (index, note) => {
    const random = randomOf(4, index);
    let token = await goodToken(random);
    const other = await goodToken(random);
    for (let i = random.below(3); i > 0; i--) token = await mutateToken(random, token, other);
    note(token);
    const wanted = await judge(slow, token);
    if (wanted.startsWith("{")) good++;
    assert.is(await judge(hot, token), wanted);
    assert.is(await judge(cached, token), wanted);
    assert.is(await judge(cached, token), wanted, "the second time too");
  });
  assert.ok(good > agreementCases / 10, `${good} good ones`);
});

tokens("carry the MAC that WebCrypto computes, whatever the lengths of key and text", async () => {
  await run("mac", 3_000, async (index, note) => {
    const random = randomOf(6, index);
    const key = random.bytes(1 + random.below(200));
    const text = Array.from(random.bytes(index < 300 ? index : random.below(5000)), (byte) => alphabet[byte & 63]).join(
      "",
    );
    const bits = random.pick([256, 384, 512]);
    note({ key: [...key], text, bits });
    const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: `SHA-${bits}` }, false, ["sign"]);
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", imported, utf8.encode(text)));
    const { sign, isSigned } = hmacOf(`HS${bits}`, undefined, key)!;
    assert.is(sign(text), base64url(mac));
    assert.ok(isSigned(`${text}.${base64url(mac)}`));
    mac[random.below(mac.length)]! ^= 1 << random.below(8);
    assert.not.ok(isSigned(`${text}.${base64url(mac)}`));
  });
});

tokens("are signed alike by the hot path and by jose", async () => {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret });
  const { signing } = await keysFrom(settings)();
  await run("signing", 2_000, async (index, note) => {
    const random = randomOf(5, index);
    const claims = { x: random.pick(oddTexts), y: [...random.bytes(random.below(40))].map((n) => n / 7), é: "\u2028" };
    note(claims);
    assert.is(await signToken(signing, claims), await signToken({ ...signing!, hmac: undefined }, claims));
  });
});

tokens.run();
