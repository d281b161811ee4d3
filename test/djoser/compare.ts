/** Sends the same request to both sides and judges what differs. */
import * as assert from "uvu/assert";
import type { Case, Dialect } from "../fixtures/djoser/cases.ts";
import type { SiteResponse, SiteRequest } from "../fixtures/djoser/site.ts";
import type { Runtime } from "../support/runtime.ts";
import type { Both } from "./both.ts";
import { departures } from "./departures.ts";

/** How often each departure has occurred, by runtime. */
export const occurred: Record<Runtime, Map<string, number>> = { node: new Map(), deno: new Map(), bun: new Map() };

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

function decoded(segment: string): { [name: string]: Json } {
  const binary = atob(segment.replaceAll("-", "+").replaceAll("_", "/"));
  const text = new TextDecoder().decode(Uint8Array.from(binary, (c) => c.charCodeAt(0)));
  return JSON.parse(text.replace('"x":NaN,', "")) as { [name: string]: Json }; // Python writes NaN, which is not JSON
}

const ownTimes = new Set(["exp", "iat"]);

/** Returns the parts of a token that both sides must share: names, types, lifetimes, and claims that are not its own. */
function essence(token: string, { jtiClaim, refreshExpClaim }: Dialect): Json {
  const [header = "", payload = ""] = token.split(".");
  const claims = decoded(payload);
  const iat = claims.iat as number;
  // Each of the two tokens of Simple JWT reads the clock by itself.
  assert.ok(Math.abs(Date.now() / 1000 - iat) < 10, "iat is not now");
  for (const [name, value] of Object.entries(claims)) {
    if (ownTimes.has(name) || name === refreshExpClaim) claims[name] = Number.isInteger(value) ? "time" : "odd";
    if (name === jtiClaim) claims[name] = /^[0-9a-f]{32}$/.test(value as string) ? "id" : "odd";
    // In steps, for seconds that go by between the two on a busy machine; of a sliding token's second time some have gone
    // by since the login.
    const step = name === "exp" ? 25 : 60;
    if ((name === "exp" || name === refreshExpClaim) && typeof value === "number") {
      claims[`life of ${name}`] = Math.round((value - iat) / step);
    }
  }
  return { header: decoded(header), claims };
}

function flat(value: Json, dialect: Dialect, path: string, into: Map<string, string>): Map<string, string> {
  if (Array.isArray(value)) {
    into.set(path, `list of ${value.length}`);
    value.forEach((one, index) => flat(one, dialect, `${path}[${index}]`, into));
  } else if (typeof value === "object" && value !== null) {
    into.set(path, "object");
    for (const [name, one] of Object.entries(value)) flat(one, dialect, `${path}.${name}`, into);
  } else if (/^body\.(access|refresh|token)$/.test(path) && typeof value === "string" && value.includes(".")) {
    flat(essence(value, dialect), dialect, path, into);
  } else into.set(path, JSON.stringify(value));
  return into;
}

function flatResponse(
  { status, headers, text }: SiteResponse,
  { endpoint, method }: Case,
  dialect: Dialect,
): Map<string, string> {
  const all = new Map<string, string>([["status", String(status)]]);
  for (const name of ["content-type", "www-authenticate", "allow"]) {
    // The host decides which methods its own resource allows.
    if (!(name === "allow" && endpoint === "whoami")) all.set(name, String(headers.get(name)));
  }
  if (method === "HEAD") return all; // gunicorn sends the body that there must not be
  let body: Json;
  try {
    body = JSON.parse(text) as Json;
  } catch {
    return all.set("body", `not JSON: ${text.slice(0, 200)}`);
  }
  return flat(body, dialect, "body", all);
}

/** Returns the names of differing parts, with both values. */
function differences(request: Case, theirs: SiteResponse, ours: SiteResponse, dialect: Dialect): Map<string, string> {
  const [a, b] = [flatResponse(theirs, request, dialect), flatResponse(ours, request, dialect)];
  const found = new Map<string, string>();
  for (const name of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(name) !== b.get(name)) found.set(name, `${a.get(name)} | ${b.get(name)}`);
  }
  const hasToken = /"(access|refresh|token)":"/.test(ours.text);
  if (found.size === 0 && theirs.text !== ours.text && !hasToken && request.method !== "HEAD")
    found.set("spelling", `${theirs.text} | ${ours.text}`);
  return found;
}

/**
 * Sends a request to both sides and notes what differs.
 * @param ourRequest returns the request for the runtime at an index of `both.ours`, where it is not Django's.
 * @param after what has happened before, to be told with a difference.
 */
export async function compare(
  both: Both,
  request: Case,
  ourRequest: (index: number) => SiteRequest = () => request,
  after = "",
) {
  const sent = both.ours.map(({ send }, index) => send(ourRequest(index)));
  const [theirs, ...ours] = await Promise.all([both.theirs(request), ...sent]);
  for (const [index, { name, problems }] of both.ours.entries()) {
    const problem = judge(request, theirs, ours[index]!, both, occurred[name]);
    if (problem !== undefined) problems.push(problem + after);
  }
  return { theirs, ours };
}

/** Names what differs without being a known departure, and counts departures. */
function judge(
  request: Case,
  theirs: SiteResponse,
  ours: SiteResponse,
  both: Both,
  counts: Map<string, number>,
): string | undefined {
  const left = differences(request, theirs, ours, both.dialect);
  for (const [name, { when, theirs: a, ours: b, covers = /^/ }] of Object.entries(departures)) {
    if (left.size === 0) break;
    const covered = [...left.keys()].filter((key) => covers.test(key));
    if (covered.length === 0 || !when(request, both) || a?.(theirs) === false || b?.(ours) === false) continue;
    for (const key of covered) left.delete(key);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  if (left.size === 0) return undefined;
  const { method, path, marks } = request;
  const shown = ({ status, text }: SiteResponse) =>
    `${status} ${withoutTokens(text.replace(/^\s*<[^]*<title>([^<]*)<[^]*/, "$1")).slice(0, 300)}`;
  const list = left.has("status")
    ? `    Django: ${shown(theirs)}\n    ours:   ${shown(ours)}`
    : [...left].map(([name, values]) => `    ${name}: ${values} (Django | ours)`).join("\n");
  return `${method} ${path} [${[...marks].join("; ")}]\n${list}`;
}

export function withoutTokens(text: string): string {
  return text.replaceAll(/[\w-]{20,}\.[\w-]{20,}\.[\w-]{8,}/g, "…");
}
