/**
 * Inspects and revokes tokens: `npm run token -- inspect < token.txt`. A token comes on standard input, never as an
 * argument: arguments show in process lists and shell histories. Its claims are printed, its signature never.
 */
import process from "node:process";
import { defineCommand } from "citty";
import type { Context } from "../endpoints/endpoint.ts";
import { endSession } from "../sessions/revocation.ts";
import { verify as verifyEndpoint } from "../endpoints/verify.ts";
import { type JwtEndpointsSettings, type Store, SettingError, createPasswords, isFailure } from "../index.ts";
import { keySettings } from "../program/key-settings.ts";
import { defaultStore } from "../program/server-options.ts";
import { UsageError } from "../program/problem.ts";
import { parseSettings } from "../settings/parse.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { isMemoryStore, openStore, storeFolder } from "../stores/open.ts";
import { type Claims, jtiFrom, nowOf } from "../tokens/claims.ts";
import { keysFrom } from "../keys/key-set.ts";
import { isCanonicalBase64url } from "../tokens/base64url.ts";
import { readJsonSegment } from "../tokens/strict-json.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Program, noStore, optionsHere, print, commonFlags, storeUrl, withStore } from "./command.ts";
import { counted, printable, quoted, spanOf } from "./format.ts";
import { readToken } from "./prompt.ts";

/** How long an ended session is remembered at least, in seconds: the server's refreshTokenLifetime may be unknown here. */
const leastSessionMemory = 30 * 86_400;

const inspect = defineCommand({
  meta: {
    name: "inspect",
    description: "Show the header and the claims of a token; needs no key, and with --verify also checks it",
  },
  args: {
    verify: {
      type: "boolean",
      description: "Also verify it, with the settings and keys that the server has; exit code 1 when it is not valid",
    },
    ...commonFlags,
  },
  async run({ args }) {
    const token = await readToken();
    const { header, claims } = readParts(token);
    const now = Date.now() / 1000;
    let verdict = "no: the signature was not checked, so any program can have made this; --verify checks it";
    if (args.verify === true) {
      const { isValid, reason } = await verdictFor(storeUrl(args.store), token);
      verdict = `${isValid ? "yes" : "no"}, ${reason}`;
      if (!isValid) process.exitCode = 1;
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
    description: "Revoke a valid token and its session",
  },
  args: { ...commonFlags },
  async run({ args }) {
    const token = await readToken();
    readParts(token);
    const url = storeUrl(args.store);
    await withStore(url, async (store) => {
      const context = await contextFor(store, url);
      const problem = await invalidReason(context, token);
      if (problem !== undefined) throw new UsageError(`nothing was revoked: ${problem}`);
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
  meta: {
    name: "flush",
    description: "Remove from the store what it keeps of revoked tokens and ended sessions that have expired",
  },
  args: { ...commonFlags },
  async run({ args }) {
    await withStore(storeUrl(args.store), async (store) => {
      await print(`forgot ${counted(await store.flushExpired(), "expired fact")}\n`);
    });
  },
});

/**
 * Decodes header and claims without verifying them.
 * @throws {UsageError} when it is no token. The text is not quoted: it may be a password that came here by mistake.
 */
function readParts(token: string): { header: Claims; claims: Claims } {
  const segments = token.split(".");
  if (segments.length === 5) throw new UsageError("the token is encrypted (JWE); accepted: a signed one (JWS)");
  if (segments.length !== 3) throw new UsageError("not a token: a signed JWT is three texts joined by dots");
  const [header, claims] = segments.map((text) => (isCanonicalBase64url(text) ? readJsonSegment(text) : undefined));
  if (header === undefined) throw new UsageError("not a token: its header is no base64url of a JSON object");
  if (claims === undefined) throw new UsageError("not a token: its claims are no base64url of a JSON object");
  return { header, claims };
}

/** Makes what the endpoints run with on a store: the environment's settings, and the keys that a server there has. */
async function contextFor(store: Store, url: string): Promise<Context> {
  try {
    const { settings: given } = optionsHere();
    // The store remembers which tokens were rotated, whether or not this environment has rotation on.
    const rotation = { rotateRefreshTokens: true };
    const input = { ...given, ...(await keySettings({ store: url, settings: given }, "refuse")), ...rotation, store };
    const settings = parseSettings(input as unknown as JwtEndpointsSettings);
    const keys = keysFrom(settings);
    await keys();
    return { settings, store, passwords: createPasswords(), keys, clientOf: () => undefined };
  } catch (error) {
    if (error instanceof SettingError || isFailure(error)) throw new UsageError(error.message);
    throw error;
  }
}

/** Whether the endpoints accept a token, and in words why or why not. */
interface Verdict {
  isValid: boolean;
  reason: string;
}

/** Verifies a token. Revocations are looked up where there is a store. */
async function verdictFor(url: string, token: string): Promise<Verdict> {
  const folder = storeFolder(url);
  const isThere = folder === undefined ? !isMemoryStore(url) : holdsStore(folder);
  if (isThere) {
    let verdict: Verdict;
    await withStore(url, async (store) => void (verdict = await verify(await contextFor(store, url), token)));
    return verdict!;
  }
  if (folder !== undefined && url !== defaultStore) throw noStore(folder); // this store was named, so it is wanted
  const { isValid, reason } = await verify(await contextFor(await openStore("memory:"), url), token);
  return { isValid, reason: isValid ? `${reason}; revocation was not checked: there is no store` : reason };
}

async function verify(context: Context, token: string): Promise<Verdict> {
  const problem = await invalidReason(context, token);
  if (problem !== undefined) return { isValid: false, reason: problem };
  try {
    await verifyEndpoint(context, { token }, { method: "POST", url: "", headers: { get: () => null } });
    return { isValid: true, reason: "the signature and the claims are valid" };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { isValid: false, reason: `the signature is valid, but: ${error.message}` };
  }
}

/** Returns why a token is invalid, whatever the store says of it; `undefined` for a valid one. */
async function invalidReason({ settings, keys }: Context, token: string): Promise<string | undefined> {
  const set = await keys();
  try {
    // With any time accepted, which is checked below to word it apart.
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
    const hasExpired = error.data?.code === "token_expired";
    return `the signature is valid, but it ${hasExpired ? "has expired" : "is not valid yet"}`;
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

export const program: Program = {
  name: "token",
  description: "Inspects, verifies and revokes tokens, which are read from standard input",
  commands: { inspect, revoke, flush },
};
