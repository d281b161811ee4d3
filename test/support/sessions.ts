/** Helpers of the session suites: endpoints with a clock and three users, and the stores and settings to run them with. */
import { SignJWT, decodeJwt } from "jose";
import * as assert from "uvu/assert";
import {
  type JwtEndpointsSettings,
  type LogEvent,
  type Store,
  type UserChanges,
  createJwtEndpoints,
  createPasswords,
} from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { keptIn, temporaryFolder } from "./runtime.ts";

export const secret = "a secret of the session suite, 32 bytes or more";
export const begin = 1_850_000_000;
export const passwordHash = await createPasswords({ iterations: 1 }).hash("correct horse");

export type Pair = Record<"access" | "refresh" | "token", string>;

export type OpenStore = (now: () => number) => Store | Promise<Store>;

export async function setUp(
  more: Partial<JwtEndpointsSettings> = {},
  openStore: OpenStore = (now) => memoryStore({ now }),
  clock = { seconds: begin + 0.5 },
) {
  const now = () => Math.round(clock.seconds * 1000); // the store's clock too, so that facts expire
  const store = await openStore(now);
  const log: LogEvent[] = [];
  for (const [index, username] of ["ada", "bea", "cid"].entries()) {
    if (!(await store.findUserByUsername(username))) {
      await store.addUser({ id: String(index + 1), username, passwordHash });
    }
  }
  const endpoints = createJwtEndpoints({
    store,
    signingKey: secret,
    hashing: { iterations: 1 },
    now,
    log: keptIn(log),
    rotateRefreshTokens: true,
    ...more,
  });
  const post = async (endpoint: string, data: unknown, headers: Record<string, string> = {}) => {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(data),
    };
    const response = await endpoints.fetch(new Request(`http://localhost/jwt/${endpoint}/`, init));
    const body = (await response.json()) as Pair & { non_field_errors?: string[]; detail?: string };
    return { status: response.status, body, text: body.non_field_errors?.[0] };
  };
  const logIn = async (username = "ada"): Promise<Pair> => {
    const { status, body } = await post("create", { username, password: "correct horse" });
    assert.is(status, 200, JSON.stringify(body));
    return body;
  };
  const refresh = (token: string) => post("refresh", { refresh: token });
  const verify = async (token: string) => (await post("verify", { token })).status;
  const guard = async (token: string): Promise<number> => {
    const headers = { authorization: `Bearer ${token}` };
    const response = endpoints.protect(() => new Response("in"))(new Request("http://localhost/me", { headers }));
    return (await response).status;
  };
  return { endpoints, store, clock, log, post, logIn, refresh, verify, guard };
}
export type Opened = Awaited<ReturnType<typeof setUp>>;

export const codesOf = (log: LogEvent[]) => log.map(({ code }) => code);
export const jtiOf = (token: string) => decodeJwt(token).jti!;

/** Expects every endpoint to refuse these tokens. */
export async function expectRevoked({ refresh, verify, guard }: Opened, ...pairs: Partial<Pair>[]): Promise<void> {
  for (const pair of pairs) {
    if (pair.refresh !== undefined) {
      assert.is((await refresh(pair.refresh)).status, 400, "refresh");
      assert.is(await verify(pair.refresh), 400, "verify of a refresh token");
    }
    if (pair.access !== undefined) {
      assert.is(await verify(pair.access), 400, "verify of an access token");
      assert.is(await guard(pair.access), 401, "authenticate");
    }
  }
}

export const signed = (claims: Record<string, unknown>, key = secret) =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(new TextEncoder().encode(key));

export const rotating = ["--rotate-refresh-tokens", "true"];

/** The ways to refresh: settings, and the flags of the server for the same. */
export const refreshing: [what: string, settings: Partial<JwtEndpointsSettings>, flags: string[]][] = [
  ["with rotation", {}, rotating],
  ["without rotation", { rotateRefreshTokens: false }, []],
  [
    "with sliding tokens",
    { rotateRefreshTokens: false, authTokenClasses: ["SlidingToken"] },
    ["--auth-token-classes", "SlidingToken"],
  ],
];

export const stores: [name: string, openStore: OpenStore][] = [
  ["memory", (now) => memoryStore({ now })],
  ["file", (now) => openFileStore(temporaryFolder(), { now })],
];

/** Moves a user's issued-before mark as the commands do (`user logout`, `passwd`, `disable`). */
export async function markUser({ store, clock }: Opened, id: string, changes: UserChanges = {}): Promise<void> {
  for (;;) {
    const { tokensValidFrom } = (await store.findUserById(id))!;
    const mark = Math.max(Math.round(clock.seconds * 1000) / 1000, (tokensValidFrom ?? 0) + 0.001);
    const wanted = { ...changes, tokensValidFrom: mark };
    if ((await store.updateUser(id, wanted, { tokensValidFrom }))!.tokensValidFrom === mark) return;
  }
}

/** Forges a token with the ids of another, in one of four ways that must be refused. */
export async function forge(text: string, way: number): Promise<string> {
  const claims = decodeJwt(text);
  if (way === 0) return `${btoa('{"alg":"none"}').replaceAll("=", "")}.${text.split(".")[1]}.`;
  if (way === 1) return signed(claims, "another secret that is long enough, too");
  return signed(way === 2 ? { ...claims, exp: begin - 1 } : { ...claims, token_type: "access" });
}
