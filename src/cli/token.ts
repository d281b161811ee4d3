#!/usr/bin/env node
/**
 * Tokens from the outside: `npm run token -- inspect < token.txt`. A token comes on standard input, never as an argument:
 * arguments show in process lists and shell histories. What is printed of it are its claims, never its signature.
 */
import process from "node:process";
import { defineCommand } from "citty";
import type { Context } from "../endpoints/endpoint.ts";
import { endSession } from "../sessions/rotation.ts";
import { verify } from "../endpoints/verify.ts";
import { type JwtEndpointsSettings, type Store, SettingError, createPasswords, isFailure } from "../index.ts";
import { hasKeySet, readKeySet, takenIn } from "../program/key-file.ts";
import { readOptions } from "../program/options.ts";
import { parseSettings } from "../settings/parse.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { isMemoryStore, openStore, storeFolder } from "../stores/open.ts";
import { type Claims, jtiFrom, nowOf } from "../tokens/claims.ts";
import { keysFrom } from "../keys/key-set.ts";
import { isCanonicalBase64url, readJsonSegment } from "../tokens/strict-json.ts";
import { verifyToken } from "../tokens/verify.ts";
import { defaultStore, noStore, print, runProgram, storeFlag, storeUrl, withStore } from "./command.ts";
import { Mistake, counted, printable, quoted } from "./fields.ts";
import { readToken } from "./prompt.ts";

/** A session may last for as long as the server's refresh tokens, and this command isn't told for how long. In seconds. */
const leastSessionMemory = 30 * 86_400;

const inspect = defineCommand({
  meta: {
    name: "inspect",
    description: "Show the header and the claims of a token, read from standard input; needs no key",
  },
  args: {
    verify: {
      type: "boolean",
      description:
        "Also verify it, with the environment's settings and the store's keys; exit code 1 when it is not good",
    },
    ...storeFlag,
  },
  async run({ args }) {
    const token = await readToken();
    const { header, claims } = readParts(token);
    const now = Date.now() / 1000;
    let verdict = "no, nobody checked the signature (--verify does): anybody can have written this";
    if (args.verify === true) {
      const { isGood, told } = await verified(storeUrl(args.store), token);
      verdict = `${isGood ? "yes" : "no"}, ${told}`;
      if (!isGood) process.exitCode = 1;
    }
    const rows = (data: Claims) =>
      Object.entries(data).map(([name, value]) => [name, shown(name, value, now)] as const);
    await print(
      [
        ...section("header", rows(header)),
        ...section("claims", rows(claims)),
        ...section("token", [
          ["expired", expiry(claims, now)],
          ["verified", verdict],
        ]),
        "",
      ].join("\n"),
    );
  },
});

const revoke = defineCommand({
  meta: {
    name: "revoke",
    description: "Make a token, read from standard input, and its session void; it has to be a good one",
  },
  args: { ...storeFlag },
  async run({ args }) {
    const token = await readToken();
    readParts(token);
    const url = storeUrl(args.store);
    await withStore(url, async (store) => {
      const context = await contextFor(store, url);
      const problem = await problemOf(context, token);
      if (problem !== undefined) throw new Mistake(`nothing was revoked: ${problem}`);
      const { settings } = context;
      const claims = await verifyToken(settings, await context.keys(), token);
      const refreshTokenLifetime = Math.max(settings.refreshTokenLifetime, leastSessionMemory);
      await endSession({ ...context, settings: { ...settings, refreshTokenLifetime } }, claims, nowOf(settings));
      const session = claims.sid === undefined ? "" : " and its session";
      await print(`revoked the token with the id ${quoted(jtiFrom(settings, claims))}${session}\n`);
    });
  },
});

const flush = defineCommand({
  meta: { name: "flush", description: "Forget what has expired: revoked tokens, ended sessions" },
  args: { ...storeFlag },
  async run({ args }) {
    await withStore(storeUrl(args.store), async (store) => {
      await print(`forgot ${counted(await store.flushExpired(), "expired fact")}\n`);
    });
  },
});

/** Header and claims as they stand there. Not quoted in any error: it may be a password that got here by mistake. */
function readParts(token: string): { header: Claims; claims: Claims } {
  const segments = token.split(".");
  if (segments.length === 5) throw new Mistake("the token is encrypted (JWE); accepted: a signed one (JWS)");
  if (segments.length !== 3) throw new Mistake("not a token: a signed JWT is three texts joined by dots");
  const [header, claims] = segments.map((text) => (isCanonicalBase64url(text) ? readJsonSegment(text) : undefined));
  if (header === undefined) throw new Mistake("not a token: its header is no base64url of a JSON object");
  if (claims === undefined) throw new Mistake("not a token: its claims are no base64url of a JSON object");
  return { header, claims };
}

/** What the endpoints run with, for a store: settings of the environment, and the keys that a server there would have. */
async function contextFor(store: Store, url: string): Promise<Context> {
  try {
    const { settings: given } = readOptions([], process.env);
    // The store remembers which tokens were rotated, whether or not this environment says that they are.
    const rotation = { rotateRefreshTokens: true };
    const input = { ...given, ...keySettings(given, storeFolder(url)), ...rotation, store };
    const settings = parseSettings(input as unknown as JwtEndpointsSettings);
    const keys = keysFrom(settings);
    await keys();
    return { settings, store, passwords: createPasswords(), keys };
  } catch (error) {
    if (error instanceof SettingError || isFailure(error)) throw new Mistake(error.message);
    throw error;
  }
}

function keySettings(given: Record<string, unknown>, folder: string | undefined): Partial<JwtEndpointsSettings> {
  const algorithm = given.algorithm as string | undefined;
  if (folder !== undefined && hasKeySet(folder)) return { keys: () => readKeySet(folder, algorithm) };
  if ([given.signingKey, given.verifyingKey, given.jwkUrl].some((setting) => setting !== undefined)) return {};
  const [first] = folder === undefined ? [] : takenIn(folder, algorithm ?? "HS256");
  if (first === undefined) {
    throw new Mistake("there is no key to verify with: set JWT_SIGNING_KEY, or name the server's store with --store");
  }
  return { keys: () => ({ active: { ...first.jwk, alg: first.alg } }) };
}

/** Whether the endpoints would take the token, and why; revocations are looked up where there is a store. */
async function verified(url: string, token: string): Promise<{ isGood: boolean; told: string }> {
  const folder = storeFolder(url);
  const isThere = folder === undefined ? !isMemoryStore(url) : holdsStore(folder);
  if (isThere) {
    let answer: { isGood: boolean; told: string };
    await withStore(url, async (store) => void (answer = await verdictOf(await contextFor(store, url), token)));
    return answer!;
  }
  if (folder !== undefined && url !== defaultStore) throw noStore(folder); // somebody wants to know what it says
  const answer = await verdictOf(await contextFor(await openStore("memory:"), url), token);
  return { ...answer, told: answer.isGood ? `${answer.told}; no store was asked whether it is revoked` : answer.told };
}

async function verdictOf(context: Context, token: string): Promise<{ isGood: boolean; told: string }> {
  const problem = await problemOf(context, token);
  if (problem !== undefined) return { isGood: false, told: problem };
  try {
    await verify(context, { token }, { method: "POST", url: "", headers: { get: () => null } });
    return { isGood: true, told: "the signature and the claims are good" };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { isGood: false, told: `the signature is good, but: ${error.message}` };
  }
}

/** Why a token is no good by itself, whatever the store says; `undefined` for a good one. */
async function problemOf({ settings, keys }: Context, token: string): Promise<string | undefined> {
  const set = await keys();
  try {
    // Whatever the time, which is told apart.
    await verifyToken({ ...settings, leeway: Number.POSITIVE_INFINITY }, set, token);
  } catch (error) {
    if (!isFailure(error)) throw error;
    if (error.data?.code !== "token_invalid") return error.message;
    const algorithms = [...new Set(set.verifying.map(({ alg }) => alg))];
    const { alg } = readParts(token).header;
    if (set.remote === undefined && !algorithms.includes(alg as string)) {
      return `its algorithm is none of ours (${algorithms.join(", ")}; JWT_ALGORITHM)`;
    }
    return "no key of ours signed it, or its issuer, audience or id is not as it has to be";
  }
  try {
    await verifyToken(settings, set, token);
    return undefined;
  } catch (error) {
    if (!isFailure(error)) throw error;
    const { exp } = readParts(token).claims;
    const hasExpired = typeof exp === "number" && exp <= nowOf(settings) - settings.leeway;
    return `the signature is good, but it ${hasExpired ? "has expired" : "is not valid yet"}`;
  }
}

function section(title: string, rows: readonly (readonly [name: string, text: string])[]): string[] {
  const width = Math.max(0, ...rows.map(([name]) => printable(name).length));
  return [title, ...rows.map(([name, text]) => `  ${printable(name).padEnd(width)}  ${text}`)];
}

const times = new Set(["exp", "iat", "nbf", "auth_time", "refresh_exp"]);

function shown(name: string, value: unknown, now: number): string {
  if (times.has(name) && typeof value === "number" && Math.abs(value) <= 8.64e12) {
    const distance = value - now;
    const words = distance > 0 ? `in ${spanOf(distance)}` : `${spanOf(-distance)} ago`;
    return `${new Date(value * 1000).toISOString()}, ${words}`;
  }
  return printable(JSON.stringify(value));
}

function expiry({ exp }: Claims, now: number): string {
  if (typeof exp !== "number") return "no, it has no time to expire";
  return exp > now ? `no, ${spanOf(exp - now)} remain` : `yes, for ${spanOf(now - exp)}`;
}

const units = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
] as const;

/** Seconds in the two largest units: `23h 59m`. */
function spanOf(seconds: number): string {
  let rest = Math.round(seconds);
  const first = units.findIndex(([, size]) => rest >= size);
  const shownUnits = first === -1 ? units.slice(-1) : units.slice(first, first + 2);
  const parts = shownUnits.map(([unit, size]) => {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    return `${amount}${unit}`;
  });
  return parts.filter((part, index) => index === 0 || !part.startsWith("0")).join(" ");
}

await runProgram({
  name: "jwt-endpoints-token",
  description: "Tokens, read from standard input: what they say, and the end of them",
  commands: { inspect, revoke, flush },
});
