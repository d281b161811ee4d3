/** Random requests against the contract, in process. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Random } from "../support/random.ts";
import {
  checkResponse,
  credentials,
  mutate,
  now,
  oddTexts,
  open,
  randomOf,
  run,
  signText,
  statuses,
  utf8,
} from "../support/fuzzing.ts";

const requestCases = 4_000;

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

interface FuzzRequest {
  path: string;
  method: string;
  headers: Record<string, string>;
  body: Uint8Array<ArrayBuffer> | undefined;
  /** How many bytes of the body arrive before the client goes away; `undefined` for a body that comes whole. */
  breaksAt: number | undefined;
  isStream: boolean;
}

function makeRequest(random: Random, tokens: readonly string[]): FuzzRequest {
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
function toRequest({ path, method, headers, body, isStream, breaksAt }: FuzzRequest): Request | undefined {
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

const requests = suite("fuzz: requests");

requests(`of any kind get the responses of the contract, in ${requestCases} cases`, async () => {
  const { fetch, log } = await open();
  const claims = { token_type: "refresh", exp: now + 3600, iat: now, jti: "j", user_id: "1" };
  const changes = [{}, { token_type: "access" }, { exp: now }, { user_id: 1 }, { jti: 5 }];
  const tokens = changes.map((change) => signText(JSON.stringify({ ...claims, ...change })));
  const seen: Record<string, number> = {};
  await run("requests", requestCases, async (index, note) => {
    const random = randomOf(0, index);
    const made = makeRequest(random, tokens);
    note(made);
    const request = toRequest(made);
    if (request === undefined) return;
    const response = await fetch(request);
    const text = await response.text();
    checkResponse(request.method, response, text);
    seen[response.status] = (seen[response.status] ?? 0) + 1;
    if (response.status === 200 && request.method === "POST" && request.url.includes("create")) {
      const sent = new TextDecoder().decode(made.body);
      assert.match(sent, /(\\u00..|c|%63)orrect(\+| |%20)horse|\\u00..rrect horse/i);
    }
  });
  // A path with another prefix before a route is logged once, as a wrong mount.
  const mounts = ["path_prefixed", "path_stripped"];
  assert.equal(
    log.filter(({ code }) => !mounts.includes(code)),
    [],
  );
  for (const mount of mounts) assert.ok(log.filter(({ code }) => code === mount).length <= 1, mount);
  const unseen = [...statuses].filter((status) => seen[status] === undefined);
  if (process.env.FUZZ_FROM === undefined) assert.equal(unseen, [], "no case had this status");
  console.log(`responses: ${JSON.stringify(seen)}`);
});

requests.run();
