/** Key pairs, key sets on a clock that a test moves, and a publisher of keys on a real socket. */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { type JWK, CompactSign, exportJWK, generateKeyPair } from "jose";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { keysFrom } from "../../src/keys/key-set.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { signToken } from "../../src/tokens/sign.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import { keptIn } from "./runtime.ts";

export const utf8 = new TextEncoder();
export const secret = "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-";
export const epoch = 1_850_000_000;

/** A clock that a test moves, in seconds. */
export const clock = { now: epoch };
export const claims = { token_type: "access", exp: epoch + 90_000, iat: epoch - 60, jti: "0".repeat(32), user_id: "1" };

export interface Pair {
  alg: string;
  /** Private. */
  jwk: JWK;
  publicJwk: JWK;
  sign(header?: Record<string, unknown>): Promise<string>;
}

export async function pairOf(alg: string, kid?: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const more = kid === undefined ? { alg } : { alg, kid };
  const sign = (header = {}) =>
    new CompactSign(utf8.encode(JSON.stringify(claims)))
      .setProtectedHeader({ alg, typ: "JWT", ...(kid !== undefined && { kid }), ...header })
      .sign(privateKey);
  const jwk = { ...(await exportJWK(privateKey)), ...more };
  return { alg, jwk, publicJwk: { ...(await exportJWK(publicKey)), ...more }, sign };
}

export const secretJwk = (kid: string | undefined, fill: string): JWK => ({
  kty: "oct",
  k: fill.repeat(86),
  alg: "HS256",
  ...(kid !== undefined && { kid }),
});

export const hmacToken = (jwk: JWK, header: Record<string, unknown> = {}): Promise<string> =>
  new CompactSign(utf8.encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: "HS256", typ: "JWT", ...(jwk.kid !== undefined && { kid: jwk.kid }), ...header })
    .sign(Uint8Array.from(atob(jwk.k!), (char) => char.charCodeAt(0)));

export function open(more: Partial<JwtEndpointsSettings>) {
  const log: { code: string; message: string; error?: unknown }[] = [];
  const input: JwtEndpointsSettings = {
    store: memoryStore(),
    now: () => clock.now * 1000,
    log: keptIn(log),
    ...more,
  };
  const settings = parseSettings(input);
  const keys = keysFrom(settings);
  /** `"ok"`, or the code of the refusal and, for a 503, when to try again. */
  const judge = async (token: string): Promise<string> => {
    try {
      await verifyToken(settings, await keys(), token, "access");
      return "ok";
    } catch (error) {
      const { code, retryAfter } = (error as { data: { code: string; retryAfter?: number } }).data;
      return retryAfter === undefined ? code : `${code} ${retryAfter}`;
    }
  };
  const sign = async () => signToken((await keys()).signing, claims);
  return { input, settings, keys, judge, sign, log };
}

/** Returns the error of wrong settings, thrown at once or when the keys are first loaded. */
export async function problem(more: Partial<JwtEndpointsSettings>): Promise<string> {
  try {
    await open(more).keys();
  } catch (error) {
    assert.is((error as Error).name, "SettingError", (error as Error).stack);
    assert.not.match((error as Error).message, /\n/);
    return (error as Error).message;
  }
  throw new Error("nothing was wrong");
}

export type Respond = (response: http.ServerResponse) => unknown;
export const json =
  (value: unknown, status = 200, headers = {}): Respond =>
  (response) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));

/** Starts a publisher of keys on a free port; a test may change how it responds. */
export async function publisher(respond: Respond) {
  const state = { respond, hits: 0, url: "" };
  const server = http.createServer((_, response) => {
    state.hits++;
    state.respond(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  publishers.push(server);
  return state;
}
export const publishers: http.Server[] = [];

export const rsa = await pairOf("RS256", "r1");
export const rsa2 = await pairOf("RS256", "r2");

export const pemOf = (label: string, body: string): string =>
  `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
